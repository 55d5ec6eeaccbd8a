/* SPDX-License-Identifier: Apache-2.0
 *
 * errors.c - statuses of the library as exceptions. The classes are in sidepond/_errors.py.
 */
#include "native.h"

static PyObject *raise_text(struct state *state, int status, const char *what, const char *text)
{
    PyObject *name = PyUnicode_FromString(sp_status_name(status));
    PyObject *class = name != NULL ? dict_get(state->errors, name) : NULL;
    Py_XDECREF(name);
    if (PyErr_Occurred())
        return NULL;
    PyObject *raised = class != NULL ? class : state->error;
    if (what != NULL)
        PyErr_Format(raised, "%s: %s", what, text);
    else
        PyErr_SetString(raised, text);
    Py_XDECREF(class);
    return NULL;
}

PyObject *raise_status(struct state *state, int status, const char *what)
{
    const char *detail = sp_error_detail();
    return raise_text(state, status, what, detail[0] != '\0' ? detail : sp_status_text(status));
}

PyObject *raise_plain(struct state *state, int status, const char *what)
{
    return raise_text(state, status, what, sp_status_text(status));
}

PyObject *raise_lookup(struct table_object *table, int status)
{
    return raise_text(table->state, status, sp_table_name(table->table), sp_status_text(status));
}

PyObject *raise_not_found(struct table_object *table, PyObject *key)
{
    PyObject *error = PyObject_CallFunctionObjArgs(table->state->not_found, table->name, key, NULL);
    if (error != NULL)
        PyErr_SetObject(table->state->not_found, error);
    Py_XDECREF(error);
    return NULL;
}

PyObject *raise_ended(struct state *state)
{
    PyErr_SetString(state->stale, "the snapshot has ended");
    return NULL;
}
