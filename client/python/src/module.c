/* SPDX-License-Identifier: Apache-2.0
 *
 * module.c - the extension module sidepond._native: its state, types and functions.
 */
#include "native.h"

int type_init(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out != NULL ? 0 : -1;
}

static PyObject *module_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyUnicode_FromString(sp_version());
}

static PyMethodDef module_methods[] = {
    {"open", pond_open, METH_VARARGS, "open(name, wait, populate): see sidepond.open."},
    {"version", module_version, METH_NOARGS, "The library's version."},
    {0}};

static int modules_import(struct state *state)
{
    PyObject *errors = PyImport_ImportModule("sidepond._errors");
    if (errors == NULL)
        return -1;
    state->errors = PyObject_GetAttrString(errors, "BY_STATUS");
    state->error = PyObject_GetAttrString(errors, "Error");
    state->not_found = PyObject_GetAttrString(errors, "NotFound");
    state->stale = PyObject_GetAttrString(errors, "Stale");
    Py_DECREF(errors);
    state->info = PyImport_ImportModule("sidepond._info");
    state->views = PyImport_ImportModule("sidepond._views");
    state->abc = PyImport_ImportModule("collections.abc");
    state->cached = PyImport_ImportModule("sidepond._cached");
    state->bson = PyImport_ImportModule("sidepond._bson");
    if (state->bson != NULL)
        state->object_id = PyObject_GetAttrString(state->bson, "ObjectId");
    state->binary_name = PyUnicode_InternFromString("binary");
    return PyErr_Occurred() ? -1 : 0;
}

static int types_make(PyObject *module, struct state *state)
{
    int (*const inits[])(PyObject *, struct state *) = {
        row_type_init,      table_type_init,    getter_type_init, index_type_init, pond_type_init,
        snapshot_type_init, iterator_type_init, cache_type_init,  ring_type_init};
    for (size_t i = 0; i < sizeof inits / sizeof inits[0]; i++)
        if (inits[i](module, state) != 0)
            return -1;
    PyTypeObject *const public[] = {state->row_type,  state->table_type,    state->index_type,
                                    state->pond_type, state->snapshot_type, state->cache_type,
                                    state->ring_type};
    for (size_t i = 0; i < sizeof public / sizeof public[0]; i++)
        if (PyModule_AddType(module, public[i]) != 0)
            return -1;
    return 0;
}

static int module_exec(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (modules_import(state) != 0 || values_init(state) != 0)
        return -1;
    return types_make(module, state);
}

#define STATE_OBJECTS(X)                                                                           \
    X(pond_type)                                                                                   \
    X(table_type)                                                                                  \
    X(row_type)                                                                                    \
    X(snapshot_type)                                                                               \
    X(index_type)                                                                                  \
    X(iterator_type)                                                                               \
    X(getter_type)                                                                                 \
    X(blob_type)                                                                                   \
    X(cache_type)                                                                                  \
    X(ring_type)                                                                                   \
    X(errors)                                                                                      \
    X(error)                                                                                       \
    X(not_found)                                                                                   \
    X(stale)                                                                                       \
    X(decimal)                                                                                     \
    X(uuid)                                                                                        \
    X(json_loads)                                                                                  \
    X(datetime)                                                                                    \
    X(date)                                                                                        \
    X(utc)                                                                                         \
    X(epoch_utc)                                                                                   \
    X(epoch_naive)                                                                                 \
    X(info)                                                                                        \
    X(views)                                                                                       \
    X(abc)                                                                                         \
    X(cached)                                                                                      \
    X(bson)                                                                                        \
    X(object_id)                                                                                   \
    X(binary_name)

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
#define VISIT(name) Py_VISIT((PyObject *)state->name);
    STATE_OBJECTS(VISIT)
#undef VISIT
    return 0;
}

static int module_clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(state->name);
    STATE_OBJECTS(CLEAR)
#undef CLEAR
    return 0;
}

static void module_free(void *module)
{
    struct state *state = PyModule_GetState(module);
    if (state == NULL)
        return;
    spare_rows_free(state);
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec},
#if defined(Py_GIL_DISABLED)
                                          {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
                                          {0, NULL}};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sidepond._native",
    .m_doc = "The part of the package that is written in C.",
    .m_size = sizeof(struct state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
