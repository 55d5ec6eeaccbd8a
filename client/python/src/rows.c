/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.c - the Row type: a lazy Mapping of column names to values.
 *
 * A column is found by comparing the identity of its interned name, then read by the library from
 * the row's bytes; nothing else is decoded. Freed Row objects keep their buffer and are used again
 * (at most SPARE_ROWS of them), so that reading one column of a row costs little more than reading
 * the row's bytes.
 *
 * A row of a snapshot reads the pond's memory, which may change under it when the lease is lost. So
 * variable values are copied first, then the lease is checked, and only then a Python object is
 * made.
 */
#include <string.h>

#include "native.h"

#define SPARE_ROWS       64
#define SPARE_BYTES_MAX  16384 /* larger buffers are given back */
#define COLUMN_BYTES_MAX 512   /* copied on the stack */

/* --- making and freeing ----------------------------------------------------------------------- */

struct row_object *row_take(struct table_object *table)
{
    struct state *state = table->state;
    struct row_object *row = state->spare_rows;
    if (LIKELY(row != NULL)) {
        state->spare_rows = row->next_spare;
        state->spare_count--;
        PyObject_Init((PyObject *)row, state->row_type);
    } else {
        row = PyObject_New(struct row_object, state->row_type);
        if (row == NULL)
            return NULL;
        row->copy = NULL;
    }
    row->table = (struct table_object *)Py_NewRef((PyObject *)table);
    row->shape = NULL;
    row->block = NULL;
    row->snapshot = NULL;
    return row;
}

struct row_object *row_take_copy(struct table_object *table)
{
    struct row_object *row = row_take(table);
    if (LIKELY(row != NULL && row->copy != NULL))
        return row;
    if (row == NULL)
        return NULL;
    row->copy = sp_row_new();
    if (row->copy != NULL)
        return row;
    Py_DECREF((PyObject *)row);
    PyErr_NoMemory();
    return NULL;
}

int row_adopt_copy(struct row_object *row)
{
    struct table_object *table = row->table;
    const struct sp_schema *schema = sp_row_schema(row->copy);
    struct shape *shape = atomic_load_explicit(&table->shape, memory_order_acquire);
    if (UNLIKELY(shape == NULL || shape->schema != schema)) {
        shape = shape_get(table->pond, schema);
        if (shape == NULL)
            return -1;
        atomic_store_explicit(&table->shape, shape, memory_order_release);
    }
    row->shape = shape;
    row->view.schema = schema;
    sp_row_bytes(row->copy, &row->view.key, &row->view.key_bytes, &row->view.value,
                 &row->view.value_bytes);
    return 0;
}

PyObject *row_from_view(struct table_object *table, const struct sp_view *view)
{
    struct shape *shape = shape_get(table->pond, view->schema);
    struct row_object *row = shape != NULL ? row_take(table) : NULL;
    if (row == NULL)
        return NULL;
    row->block = PyMem_Malloc(view->key_bytes + view->value_bytes + 1);
    if (row->block == NULL) {
        Py_DECREF((PyObject *)row);
        return PyErr_NoMemory();
    }
    char *value = (char *)row->block + view->key_bytes;
    memcpy(row->block, view->key, view->key_bytes);
    if (view->value_bytes > 0)
        memcpy(value, view->value, view->value_bytes);
    row->shape = shape;
    row->view = *view;
    row->view.key = row->block;
    row->view.value = value;
    return (PyObject *)row;
}

PyObject *row_from_snapshot(struct table_object *table, const struct sp_view *view)
{
    struct shape *shape = shape_get(table->pond, view->schema);
    struct row_object *row = shape != NULL ? row_take(table) : NULL;
    if (row == NULL)
        return NULL;
    row->snapshot = (struct snapshot_object *)Py_NewRef((PyObject *)table->snapshot);
    row->shape = shape;
    row->view = *view;
    return (PyObject *)row;
}

static bool row_spare(struct state *state, struct row_object *row)
{
#if defined(Py_GIL_DISABLED)
    (void)state;
    (void)row;
    return false;
#else
    if (state->spare_count >= SPARE_ROWS)
        return false;
    if (row->copy != NULL && row->shape != NULL && row->view.value_bytes > SPARE_BYTES_MAX)
        return false;
    row->next_spare = state->spare_rows;
    state->spare_rows = row;
    state->spare_count++;
    return true;
#endif
}

static void row_dealloc(PyObject *self)
{
    struct row_object *row = (struct row_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    struct table_object *table = row->table;
    struct state *state = table->state;
    Py_XDECREF((PyObject *)row->snapshot);
    PyMem_Free(row->block);
    if (!row_spare(state, row)) {
        sp_row_free(row->copy);
        PyObject_Free(row);
    }
    Py_DECREF((PyObject *)table);
    Py_DECREF((PyObject *)type);
}

void spare_rows_free(struct state *state)
{
    while (state->spare_rows != NULL) {
        struct row_object *row = state->spare_rows;
        state->spare_rows = row->next_spare;
        sp_row_free(row->copy);
        PyObject_Free(row);
    }
    state->spare_count = 0;
}

/* --- one column ------------------------------------------------------------------------------- */

static bool is_variable(const struct sp_value *value)
{
    return !value->is_null && (value->type == SP_TYPE_UUID || sp_type_width(value->type) == 0);
}

/* Copies what lies in the pond, checks that it was right, and only then looks at it. */
static PyObject *value_in_snapshot(struct row_object *row, int status, struct sp_value value)
{
    unsigned char small[COLUMN_BYTES_MAX];
    PyObject *result = NULL;
    void *heap = NULL;
    if (status == SP_OK && is_variable(&value)) {
        void *copy =
            value.bytes.size <= sizeof small ? small : (heap = PyMem_Malloc(value.bytes.size));
        if (copy == NULL)
            return PyErr_NoMemory();
        if (value.bytes.size > 0)
            memcpy(copy, value.bytes.data, value.bytes.size);
        value.bytes.data = copy;
    }
    if (snapshot_valid(row->snapshot))
        result = status == SP_OK ? value_to_python(row->table->state, &value)
                                 : raise_lookup(row->table, status);
    PyMem_Free(heap);
    return result;
}

PyObject *row_value(struct row_object *row, int status, const struct sp_value *found)
{
    if (UNLIKELY(row->snapshot != NULL))
        return value_in_snapshot(row, status, *found);
    if (UNLIKELY(status != SP_OK))
        return raise_lookup(row->table, status);
    return value_to_python(row->table->state, found);
}

PyObject *row_column(struct row_object *row, size_t column)
{
    struct sp_value value = {0};
    if (UNLIKELY(row->snapshot != NULL && !snapshot_usable(row->snapshot)))
        return NULL;
    int status = sp_view_column(&row->view, column, &value);
    return row_value(row, status, &value);
}

/* Position of a name by its identity, or -1. */
static Py_ssize_t column_by_identity(const struct shape *shape, PyObject *name)
{
    for (size_t i = 0; i < shape->column_count; i++)
        if (shape->names[i] == name)
            return (Py_ssize_t)i;
    return -1;
}

/* Position of a name by comparing it, or -1 (perhaps with an exception: unhashable). */
static Py_ssize_t column_by_equality(const struct shape *shape, PyObject *name)
{
    PyObject *position = dict_get(shape->positions, name);
    Py_ssize_t at = position != NULL ? PyLong_AsSsize_t(position) : -1;
    Py_XDECREF(position);
    return at;
}

static Py_ssize_t column_find(const struct shape *shape, PyObject *name)
{
    Py_ssize_t at = column_by_identity(shape, name);
    return LIKELY(at >= 0) ? at : column_by_equality(shape, name);
}

static PyObject *raise_no_column(struct row_object *row, PyObject *name, const char *status)
{
    PyObject *class = PyDict_GetItemString(row->table->state->errors, status);
    if (!PyErr_Occurred())
        PyErr_Format(class != NULL ? class : PyExc_KeyError, "table %U has no column %R",
                     row->table->name, name);
    return NULL;
}

static PyObject *row_subscript(PyObject *self, PyObject *name)
{
    struct row_object *row = (struct row_object *)self;
    Py_ssize_t at = column_find(row->shape, name);
    if (LIKELY(at >= 0))
        return row_column(row, (size_t)at);
    return raise_no_column(row, name, "SP_ENOCOLUMN");
}

static PyObject *row_getattro(PyObject *self, PyObject *name)
{
    struct row_object *row = (struct row_object *)self;
    Py_ssize_t at = column_by_identity(row->shape, name);
    if (at < 0)
        at = column_by_equality(row->shape, name);
    if (at >= 0 && row->shape->is_attribute[at])
        return row_column(row, (size_t)at);
    return PyErr_Occurred() ? NULL : PyObject_GenericGetAttr(self, name);
}

/* --- the rest of a Mapping -------------------------------------------------------------------- */

static Py_ssize_t row_length(PyObject *self)
{
    return (Py_ssize_t)((struct row_object *)self)->shape->column_count;
}

static int row_contains(PyObject *self, PyObject *name)
{
    if (column_find(((struct row_object *)self)->shape, name) >= 0)
        return 1;
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *row_iter(PyObject *self)
{
    return PyObject_GetIter(((struct row_object *)self)->shape->positions);
}

static PyObject *row_to_dict(PyObject *self)
{
    struct row_object *row = (struct row_object *)self;
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < row->shape->column_count; i++) {
        PyObject *value = row_column(row, i);
        if (value == NULL || PyDict_SetItem(dict, row->shape->names[i], value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *row_keys(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyObject_CallMethod(((struct row_object *)self)->shape->positions, "keys", NULL);
}

static PyObject *dict_method(PyObject *self, const char *name)
{
    PyObject *dict = row_to_dict(self);
    PyObject *result = dict != NULL ? PyObject_CallMethod(dict, name, NULL) : NULL;
    Py_XDECREF(dict);
    return result;
}

static PyObject *row_values(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return dict_method(self, "values");
}

static PyObject *row_items(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return dict_method(self, "items");
}

static PyObject *row_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct row_object *row = (struct row_object *)self;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a column name and a default");
        return NULL;
    }
    Py_ssize_t at = column_find(row->shape, args[0]);
    if (at >= 0)
        return row_column(row, (size_t)at);
    return PyErr_Occurred() ? NULL : Py_NewRef(count == 2 ? args[1] : Py_None);
}

static PyObject *row_richcompare(PyObject *self, PyObject *other, int operation)
{
    struct row_object *row = (struct row_object *)self;
    bool is_row = Py_TYPE(other) == row->table->state->row_type;
    if ((operation != Py_EQ && operation != Py_NE) || (!is_row && !PyDict_Check(other)))
        return Py_NewRef(Py_NotImplemented);
    PyObject *left = row_to_dict(self);
    PyObject *right = left == NULL ? NULL : is_row ? row_to_dict(other) : Py_NewRef(other);
    PyObject *result = right != NULL ? PyObject_RichCompare(left, right, operation) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return result;
}

static PyObject *row_repr(PyObject *self)
{
    struct row_object *row = (struct row_object *)self;
    PyObject *dict = row_to_dict(self);
    PyObject *text = NULL;
    if (dict != NULL)
        text = PyUnicode_FromFormat("<sidepond.Row of %U: %R>", row->table->name, dict);
    Py_XDECREF(dict);
    return text;
}

/* --- json, raw, view -------------------------------------------------------------------------- */

static PyObject *row_json(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct row_object *row = (struct row_object *)self;
    char small[1024];
    if (row->snapshot != NULL && !snapshot_usable(row->snapshot))
        return NULL;
    size_t size = sp_view_json(&row->view, small, sizeof small);
    char *text = size < sizeof small ? small : PyMem_Malloc(size + 1);
    if (text == NULL)
        return PyErr_NoMemory();
    if (text != small) {
        size_t again = sp_view_json(&row->view, text, size + 1);
        size = again < size ? again : size;
    }
    PyObject *result = NULL;
    if (row->snapshot == NULL || snapshot_valid(row->snapshot))
        result = PyUnicode_FromStringAndSize(text, (Py_ssize_t)size);
    if (text != small)
        PyMem_Free(text);
    return result;
}

static PyObject *row_raw(PyObject *self, void *Py_UNUSED(closure))
{
    struct row_object *row = (struct row_object *)self;
    if (row->snapshot != NULL && !snapshot_usable(row->snapshot))
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(row->view.value, (Py_ssize_t)row->view.value_bytes);
    if (row->snapshot != NULL && bytes != NULL && !snapshot_valid(row->snapshot))
        Py_CLEAR(bytes);
    return bytes;
}

static PyObject *row_view(PyObject *self, PyObject *name)
{
    struct row_object *row = (struct row_object *)self;
    struct sp_value value;
    Py_ssize_t at = column_find(row->shape, name);
    if (at < 0)
        return raise_no_column(row, name, "SP_ENOCOLUMN");
    if (row->snapshot == NULL) {
        PyErr_SetString(PyExc_ValueError,
                        "only rows of a snapshot have views; this one is a copy of its own");
        return NULL;
    }
    if (!snapshot_usable(row->snapshot))
        return NULL;
    int status = sp_view_column(&row->view, (size_t)at, &value);
    if (!snapshot_valid(row->snapshot))
        return NULL;
    if (status != SP_OK)
        return raise_lookup(row->table, status);
    if (value.is_null)
        Py_RETURN_NONE;
    if (!is_variable(&value)) {
        PyErr_Format(PyExc_TypeError, "column %R is %s; views are for text, bytes, numeric, json",
                     name, sp_type_name(value.type));
        return NULL;
    }
    return snapshot_memory(row->snapshot, value.bytes.data, value.bytes.size);
}

static PyMethodDef row_methods[] = {
    {"keys", row_keys, METH_NOARGS, "The names of the columns."},
    {"values", row_values, METH_NOARGS, "The values of all columns."},
    {"items", row_items, METH_NOARGS, "Names and values of all columns."},
    {"get", (PyCFunction)(void (*)(void))row_get, METH_FASTCALL,
     "get(column, default=None): a column's value, or the default if there is no such column."},
    {"field", (PyCFunction)(void (*)(void))row_field, METH_FASTCALL,
     "field(path, default): a field of the row's document (\"address.city\", \"tags.0\"). Without "
     "a "
     "default\na field that is missing is a NoColumn; one that is null is None."},
    {"json", row_json, METH_NOARGS, "The row as a JSON object (str)."},
    {"view", row_view, METH_O,
     "view(column): a memoryview of a column's bytes where they lie, for rows of a snapshot. It "
     "is\n"
     "released when the snapshot ends."},
    {0}};

static PyGetSetDef row_getset[] = {
    {"raw", row_raw, NULL, "The row's encoded value (bytes): all columns but the key's.", NULL},
    {0}};

static PyType_Slot row_slots[] = {
    {Py_tp_doc, (void *)"A row: a Mapping of column names to values, decoded when asked for."},
    {Py_tp_dealloc, row_dealloc},
    {Py_tp_repr, row_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_getattro, row_getattro},
    {Py_tp_richcompare, row_richcompare},
    {Py_tp_iter, row_iter},
    {Py_tp_methods, row_methods},
    {Py_tp_getset, row_getset},
    {Py_mp_subscript, row_subscript},
    {Py_mp_length, row_length},
    {Py_sq_contains, row_contains},
    {0, NULL}};

static PyType_Spec row_spec = {
    .name = "sidepond.Row",
    .basicsize = sizeof(struct row_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = row_slots,
};

int row_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &row_spec, &state->row_type);
}
