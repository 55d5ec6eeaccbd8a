/* SPDX-License-Identifier: Apache-2.0
 *
 * indexes.c - the Index type: table.by(name)[key].
 *
 * A unique index gives the row (or NotFound), any other one a list of rows, which may be empty.
 * Rows found outside a snapshot are copies, read through a snapshot of the lookup's own, so that a
 * list is of one version.
 */
#include "native.h"

struct index_object {
    PyObject_HEAD struct table_object *table;
    PyObject *name;
};

/* The index's position in a shape, or -1 with an exception. */
static int index_position(struct index_object *index, const struct shape *shape, bool *unique)
{
    struct sp_index_info info;
    const char *name = PyUnicode_AsUTF8AndSize(index->name, NULL);
    int position = name != NULL ? sp_schema_find_index(shape->schema, name) : -1;
    if (position >= 0 && sp_schema_index(shape->schema, (size_t)position, &info) == SP_OK) {
        *unique = info.unique;
        return position;
    }
    PyObject *class = PyDict_GetItemString(index->table->state->errors, "SP_ENOINDEX");
    if (!PyErr_Occurred())
        PyErr_Format(class != NULL ? class : PyExc_KeyError, "table %U has no index %R",
                     index->table->name, index->name);
    return -1;
}

PyObject *index_new(struct table_object *table, PyObject *name)
{
    bool unique;
    const struct shape *shape = table_usable(table) ? table_shape(table) : NULL;
    if (shape == NULL)
        return NULL;
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "an index's name is a str");
        return NULL;
    }
    struct index_object *index = PyObject_New(struct index_object, table->state->index_type);
    if (index == NULL)
        return NULL;
    index->table = (struct table_object *)Py_NewRef((PyObject *)table);
    index->name = Py_NewRef(name);
    if (index_position(index, shape, &unique) < 0) {
        Py_DECREF((PyObject *)index);
        return NULL;
    }
    return (PyObject *)index;
}

/* Appends rows to a list; stops after the first where `only_one`. The status is that of the walk.
 */
static int rows_append(struct table_object *table, struct sp_snapshot *snapshot,
                       struct sp_scan *scan, bool only_one, PyObject *list)
{
    struct sp_view view;
    int status;
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        PyObject *row =
            table->snapshot != NULL ? row_from_snapshot(table, &view) : row_from_view(table, &view);
        int failed = row == NULL ? -1 : PyList_Append(list, row);
        Py_XDECREF(row);
        if (failed < 0)
            return SP_ENOMEM;
        if (only_one)
            break;
    }
    return status == SP_OK || status == SP_ENOTFOUND ? sp_snapshot_check(snapshot) : status;
}

static int find_in(struct table_object *table, struct sp_snapshot *snapshot, int position,
                   const struct key *key, bool only_one, PyObject *list)
{
    struct sp_scan *scan;
    int status =
        sp_find_begin(snapshot, table->table, (size_t)position, key->data, key->size, &scan);
    if (status == SP_ENOTFOUND)
        return SP_OK;
    if (status != SP_OK)
        return status;
    status = rows_append(table, snapshot, scan, only_one, list);
    sp_scan_end(scan);
    return status;
}

static int find_rows(struct table_object *table, int position, const struct key *key, bool only_one,
                     PyObject *list)
{
    struct sp_snapshot *snapshot;
    int status;
    if (table->snapshot != NULL) {
        LOCK_OBJECT(table->snapshot)
        status = find_in(table, table->snapshot->snapshot, position, key, only_one, list);
        UNLOCK_OBJECT()
        return status;
    }
    status = sp_snapshot_begin(table->pond->pond, &snapshot);
    if (status == SP_OK) {
        status = find_in(table, snapshot, position, key, only_one, list);
        sp_snapshot_end(snapshot);
    }
    return status;
}

/* The list of rows with a key; NULL with an exception. */
static PyObject *index_find(struct index_object *index, const struct shape *shape, int position,
                            PyObject *object, bool only_one)
{
    struct table_object *table = index->table;
    struct key key;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    enum key_result result = key_encode(table, shape, position, object, &key);
    int status = SP_OK;
    if (result == KEY_OK) {
        status = find_rows(table, position, &key, only_one, list);
        key_release(&key);
    }
    if (status != SP_OK && !PyErr_Occurred())
        raise_status(table->state, status, sp_table_name(table->table));
    if (status != SP_OK || result == KEY_ERROR)
        Py_CLEAR(list);
    return list;
}

/* The row of a unique index outside a snapshot, which takes no lease. KEY_ABSENT: none. */
static enum key_result unique_read(struct index_object *index, const struct shape *shape,
                                   int position, PyObject *object, PyObject **out)
{
    struct table_object *table = index->table;
    struct key_values values;
    enum key_result result = key_values_get(table, shape, position, object, &values);
    if (result != KEY_OK)
        return result;
    struct row_object *row = row_take_copy(table);
    int status = SP_ENOMEM;
    if (row != NULL)
        status =
            sp_find_row(table->table, (size_t)position, values.values, values.count, row->copy);
    key_values_release(&values);
    if (row != NULL && status == SP_OK && row_adopt_copy(row) == 0) {
        *out = (PyObject *)row;
        return KEY_OK;
    }
    Py_XDECREF((PyObject *)row);
    if (status == SP_ENOTFOUND)
        return KEY_ABSENT;
    if (!PyErr_Occurred())
        raise_status(table->state, status, sp_table_name(table->table));
    return KEY_ERROR;
}

/* The row or the list of rows; KEY_ABSENT where there is none (and for a list the empty list). */
static enum key_result index_read(struct index_object *index, PyObject *object, PyObject **out)
{
    struct table_object *table = index->table;
    bool unique = false;
    const struct shape *shape = table_usable(table) ? table_shape(table) : NULL;
    int position = shape != NULL ? index_position(index, shape, &unique) : -1;
    *out = NULL;
    if (position < 0)
        return KEY_ERROR;
    if (unique && table->snapshot == NULL)
        return unique_read(index, shape, position, object, out);
    PyObject *list = index_find(index, shape, position, object, unique);
    if (list == NULL)
        return KEY_ERROR;
    bool found = PyList_Size(list) > 0;
    if (!unique) {
        *out = list;
    } else {
        *out = found ? Py_NewRef(PyList_GetItem(list, 0)) : NULL;
        Py_DECREF(list);
    }
    return found ? KEY_OK : KEY_ABSENT;
}

static PyObject *index_subscript(PyObject *self, PyObject *key)
{
    struct index_object *index = (struct index_object *)self;
    PyObject *result;
    if (index_read(index, key, &result) == KEY_ABSENT && result == NULL)
        return raise_not_found(index->table, key);
    return result;
}

static PyObject *index_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *result;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a key and a default");
        return NULL;
    }
    if (index_read((struct index_object *)self, args[0], &result) != KEY_ABSENT)
        return result;
    Py_XDECREF(result);
    return Py_NewRef(count == 2 ? args[1] : Py_None);
}

static int index_contains(PyObject *self, PyObject *key)
{
    PyObject *result;
    enum key_result found = index_read((struct index_object *)self, key, &result);
    Py_XDECREF(result);
    return found == KEY_OK ? 1 : found == KEY_ABSENT ? 0 : -1;
}

static PyObject *index_name(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((struct index_object *)self)->name);
}

static PyObject *index_unique(PyObject *self, void *Py_UNUSED(closure))
{
    struct index_object *index = (struct index_object *)self;
    const struct shape *shape = table_usable(index->table) ? table_shape(index->table) : NULL;
    bool unique;
    if (shape == NULL || index_position(index, shape, &unique) < 0)
        return NULL;
    return PyBool_FromLong(unique);
}

static PyObject *index_repr(PyObject *self)
{
    struct index_object *index = (struct index_object *)self;
    return PyUnicode_FromFormat("<sidepond.Index %R of %U>", index->name, index->table->name);
}

static void index_dealloc(PyObject *self)
{
    struct index_object *index = (struct index_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(index->name);
    Py_XDECREF((PyObject *)index->table);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static PyMethodDef index_methods[] = {
    {"get", (PyCFunction)(void (*)(void))index_get, METH_FASTCALL,
     "get(key, default=None): the row (unique) or the rows, or the default if there are none."},
    {0}};

static PyGetSetDef index_getset[] = {
    {"name", index_name, NULL, "The index's name.", NULL},
    {"unique", index_unique, NULL, "Whether a key has at most one row.", NULL},
    {0}};

static PyType_Slot index_slots[] = {
    {Py_tp_doc,
     (void *)"A secondary index: index[key] is a row if it is unique, else a list of rows."},
    {Py_tp_dealloc, index_dealloc},
    {Py_tp_repr, index_repr},
    {Py_tp_methods, index_methods},
    {Py_tp_getset, index_getset},
    {Py_mp_subscript, index_subscript},
    {Py_sq_contains, index_contains},
    {0, NULL}};

static PyType_Spec index_spec = {
    .name = "sidepond.Index",
    .basicsize = sizeof(struct index_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = index_slots,
};

int index_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &index_spec, &state->index_type);
}
