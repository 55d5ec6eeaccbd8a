/* SPDX-License-Identifier: Apache-2.0
 *
 * mappings.c - the methods of a Mapping that are not worth code of their own for the few tables of
 * a pond: the views of collections.abc, and get by __getitem__.
 */
#include "native.h"

static PyObject *view_of(PyObject *self, const char *class)
{
    struct state *state = PyType_GetModuleState(Py_TYPE(self));
    return state != NULL ? PyObject_CallMethod(state->abc, class, "O", self) : NULL;
}

PyObject *mapping_keys(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "KeysView");
}

PyObject *mapping_values(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "ValuesView");
}

PyObject *mapping_items(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "ItemsView");
}

PyObject *mapping_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a name and a default");
        return NULL;
    }
    PyObject *table = PyObject_GetItem(self, args[0]);
    if (table != NULL || !PyErr_ExceptionMatches(PyExc_KeyError))
        return table;
    PyErr_Clear();
    return Py_NewRef(count == 2 ? args[1] : Py_None);
}
