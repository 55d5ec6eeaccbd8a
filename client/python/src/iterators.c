/* SPDX-License-Identifier: Apache-2.0
 *
 * iterators.c - walking a table: keys, rows, or both, all of one version.
 *
 * Outside a snapshot an iterator begins one of its own, which ends with it; its rows are copies. So
 * a loop that takes longer than the daemon's lease_limit raises Stale rather than go on with wrong
 * rows.
 */
#include <string.h>

#include "native.h"

#define KEY_COPY_BYTES 512

struct iterator_object {
    PyObject_HEAD struct table_object *table;
    struct sp_snapshot *own; /* NULL in a snapshot */
    struct sp_scan *scan;    /* NULL at the end */
    const struct shape *shape;
    enum iterate what;
};

static void iterator_finish(struct iterator_object *iterator)
{
    if (iterator->scan != NULL)
        sp_scan_end(iterator->scan);
    iterator->scan = NULL;
    sp_snapshot_end(iterator->own);
    iterator->own = NULL;
}

static struct sp_snapshot *snapshot_of(const struct iterator_object *iterator)
{
    return iterator->own != NULL ? iterator->own : iterator->table->snapshot->snapshot;
}

PyObject *iterator_new(struct table_object *table, enum iterate what)
{
    struct state *state = table->state;
    if (!table_usable(table))
        return NULL;
    struct iterator_object *iterator = PyObject_New(struct iterator_object, state->iterator_type);
    if (iterator == NULL)
        return NULL;
    iterator->table = (struct table_object *)Py_NewRef((PyObject *)table);
    iterator->own = NULL;
    iterator->scan = NULL;
    iterator->shape = NULL;
    iterator->what = what;
    int status = SP_OK;
    if (table->snapshot == NULL)
        status = sp_snapshot_begin(table->pond->pond, &iterator->own);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot_of(iterator), table->table, &iterator->scan);
    if (status == SP_OK)
        return (PyObject *)iterator;
    iterator->scan = NULL;
    raise_status(state, status, sp_table_name(table->table));
    Py_DECREF((PyObject *)iterator);
    return NULL;
}

/* The key's bytes are copied and checked before they are decoded. */
static PyObject *key_of(struct iterator_object *iterator, const struct sp_view *view)
{
    unsigned char small[KEY_COPY_BYTES];
    void *copy = view->key_bytes <= sizeof small ? small : PyMem_Malloc(view->key_bytes);
    PyObject *key = NULL;
    if (copy == NULL)
        return PyErr_NoMemory();
    memcpy(copy, view->key, view->key_bytes);
    int status = sp_snapshot_check(snapshot_of(iterator));
    if (status == SP_OK)
        key = key_to_python(iterator->table, iterator->shape, copy, view->key_bytes);
    else
        raise_lookup(iterator->table, status);
    if (copy != small)
        PyMem_Free(copy);
    return key;
}

static PyObject *row_of(struct iterator_object *iterator, const struct sp_view *view)
{
    if (iterator->own == NULL)
        return row_from_snapshot(iterator->table, view);
    PyObject *row = row_from_view(iterator->table, view);
    int status = sp_snapshot_check(iterator->own);
    if (status == SP_OK || row == NULL)
        return row;
    Py_DECREF(row);
    return raise_lookup(iterator->table, status);
}

static PyObject *item_of(struct iterator_object *iterator, const struct sp_view *view)
{
    PyObject *key = key_of(iterator, view);
    PyObject *row = key != NULL ? row_of(iterator, view) : NULL;
    PyObject *pair = row != NULL ? PyTuple_Pack(2, key, row) : NULL;
    Py_XDECREF(key);
    Py_XDECREF(row);
    return pair;
}

static PyObject *iterator_step(struct iterator_object *iterator)
{
    struct sp_view view;
    if (iterator->scan == NULL)
        return NULL;
    if (iterator->own == NULL && !snapshot_usable(iterator->table->snapshot))
        return NULL;
    int status = sp_scan_next(iterator->scan, &view);
    if (status == SP_ENOTFOUND)
        status = sp_snapshot_check(snapshot_of(iterator));
    else if (status == SP_OK) {
        if (iterator->shape == NULL || iterator->shape->schema != view.schema)
            iterator->shape = shape_get(iterator->table->pond, view.schema);
        if (iterator->shape == NULL)
            return NULL;
        return iterator->what == ITERATE_KEYS     ? key_of(iterator, &view)
               : iterator->what == ITERATE_VALUES ? row_of(iterator, &view)
                                                  : item_of(iterator, &view);
    }
    iterator_finish(iterator);
    if (status != SP_OK)
        raise_lookup(iterator->table, status);
    return NULL;
}

static PyObject *iterator_next(PyObject *self)
{
    PyObject *result;
    LOCK_OBJECT(self)
    result = iterator_step((struct iterator_object *)self);
    UNLOCK_OBJECT()
    return result;
}

static void iterator_dealloc(PyObject *self)
{
    struct iterator_object *iterator = (struct iterator_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    iterator_finish(iterator);
    Py_XDECREF((PyObject *)iterator->table);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static PyType_Slot iterator_slots[] = {{Py_tp_dealloc, iterator_dealloc},
                                       {Py_tp_iter, PyObject_SelfIter},
                                       {Py_tp_iternext, iterator_next},
                                       {0, NULL}};

static PyType_Spec iterator_spec = {
    .name = "sidepond._native.Iterator",
    .basicsize = sizeof(struct iterator_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = iterator_slots,
};

int iterator_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &iterator_spec, &state->iterator_type);
}
