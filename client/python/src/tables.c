/* SPDX-License-Identifier: Apache-2.0
 *
 * tables.c - the Table type: a Mapping of keys to rows, either of what is current or of a snapshot.
 *
 * A lookup encodes the key by the shape that the table had last, reads, and looks at the shape only
 * when the answer asks for it: a row of another shape, or no row. So a table that never changes its
 * shape pays nothing for the fact that it could.
 */
#include <math.h>

#include "native.h"

#define RAW_BYTES    2048 /* of a value, on the stack */
#define ATTEMPTS_MAX 4    /* while the shape changes under a lookup */

bool table_usable(struct table_object *table)
{
    if (table->snapshot != NULL)
        return snapshot_usable(table->snapshot);
    if (LIKELY(!atomic_load_explicit(&table->pond->closed, memory_order_relaxed)))
        return true;
    PyErr_SetString(PyExc_ValueError, "the pond is closed");
    return false;
}

/* --- one row ---------------------------------------------------------------------------------- */

/* Whether the table's shape has changed since `shape` was used (then any exception is dropped). */
static bool shape_changed(struct table_object *table, const struct shape *shape)
{
    const struct sp_schema *schema;
    if (table->snapshot != NULL || sp_table_schema(table->table, &schema) != SP_OK ||
        schema == shape->schema)
        return false;
    PyErr_Clear();
    return table_shape(table) != NULL;
}

static enum key_result read_in_snapshot(struct table_object *table, PyObject *object,
                                        PyObject **out)
{
    struct sp_view view;
    struct key key;
    const struct shape *shape = table_shape_last(table);
    if (shape == NULL)
        return KEY_ERROR;
    enum key_result result = key_encode(table, shape, -1, object, &key);
    if (result != KEY_OK)
        return result;
    int status;
    LOCK_OBJECT(table->snapshot)
    status = sp_view(table->snapshot->snapshot, table->table, key.data, key.size, &view);
    UNLOCK_OBJECT()
    key_release(&key);
    if (status == SP_ENOTFOUND)
        return snapshot_valid(table->snapshot) ? KEY_ABSENT : KEY_ERROR;
    if (status != SP_OK) {
        raise_lookup(table, status);
        return KEY_ERROR;
    }
    *out = row_from_snapshot(table, &view);
    return *out != NULL ? KEY_OK : KEY_ERROR;
}

static enum key_result read_copy(struct table_object *table, PyObject *object, int attempt,
                                 struct row_object **out, bool *again)
{
    struct key key;
    const struct shape *shape = table_shape_last(table);
    if (UNLIKELY(shape == NULL))
        return KEY_ERROR;
    enum key_result result = key_encode(table, shape, -1, object, &key);
    if (UNLIKELY(result != KEY_OK)) {
        *again = shape_changed(table, shape);
        return result;
    }
    struct row_object *row = row_take_copy(table);
    if (UNLIKELY(row == NULL)) {
        key_release(&key);
        return KEY_ERROR;
    }
    int status = sp_get_row_encoded(table->table, key.data, key.size, row->copy);
    key_release(&key);
    if (LIKELY(status == SP_OK)) {
        *again = sp_row_schema(row->copy) != shape->schema && attempt < ATTEMPTS_MAX;
        *out = row;
        return row_adopt_copy(row) == 0 ? KEY_OK : KEY_ERROR;
    }
    Py_DECREF((PyObject *)row);
    if (status == SP_ENOTFOUND) {
        *again = shape_changed(table, shape);
        return KEY_ABSENT;
    }
    raise_lookup(table, status);
    return KEY_ERROR;
}

enum key_result table_read(struct table_object *table, PyObject *object, PyObject **out)
{
    *out = NULL;
    if (UNLIKELY(!table_usable(table)))
        return KEY_ERROR;
    if (table->snapshot != NULL)
        return read_in_snapshot(table, object, out);
    for (int attempt = 0;; attempt++) {
        struct row_object *row = NULL;
        bool again = false;
        enum key_result result = read_copy(table, object, attempt, &row, &again);
        if (LIKELY(result == KEY_OK && !again)) {
            *out = (PyObject *)row;
            return KEY_OK;
        }
        Py_XDECREF((PyObject *)row);
        if (!again || attempt >= ATTEMPTS_MAX)
            return result;
        PyErr_Clear();
    }
}

static PyObject *table_subscript(PyObject *self, PyObject *key)
{
    struct table_object *table = (struct table_object *)self;
    PyObject *row;
    enum key_result result = table_read(table, key, &row);
    if (LIKELY(result == KEY_OK))
        return row;
    return result == KEY_ABSENT ? raise_not_found(table, key) : NULL;
}

static PyObject *table_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *row;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a key and a default");
        return NULL;
    }
    enum key_result result = table_read((struct table_object *)self, args[0], &row);
    if (result == KEY_ABSENT)
        return Py_NewRef(count == 2 ? args[1] : Py_None);
    return row;
}

static int table_contains(PyObject *self, PyObject *object)
{
    struct table_object *table = (struct table_object *)self;
    PyObject *row;
    if (table->snapshot == NULL && table_usable(table)) {
        struct key key;
        const struct shape *shape = table_shape(table);
        enum key_result result =
            shape != NULL ? key_encode(table, shape, -1, object, &key) : KEY_ERROR;
        if (result != KEY_OK)
            return result == KEY_ABSENT ? 0 : -1;
        int status = sp_exists(table->table, key.data, key.size);
        key_release(&key);
        if (status != SP_OK && status != SP_ENOTFOUND)
            raise_lookup(table, status);
        return status == SP_OK ? 1 : status == SP_ENOTFOUND ? 0 : -1;
    }
    enum key_result result = table_read(table, object, &row);
    Py_XDECREF(row);
    return result == KEY_OK ? 1 : result == KEY_ABSENT ? 0 : -1;
}

/* --- raw bytes -------------------------------------------------------------------------------- */

/* The value did not fit on the stack: into a bytes object of its size, as often as it grows. */
static PyObject *raw_large(struct table_object *table, const struct key *key, size_t size)
{
    for (;;) {
        size_t cap = size;
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)cap);
        if (bytes == NULL)
            return NULL;
        int status =
            sp_get(table->table, key->data, key->size, PyBytes_AsString(bytes), cap, &size);
        if (status == SP_OK && size == cap)
            return bytes;
        if (status == SP_OK) {
            PyObject *shorter =
                PyBytes_FromStringAndSize(PyBytes_AsString(bytes), (Py_ssize_t)size);
            Py_DECREF(bytes);
            return shorter;
        }
        Py_DECREF(bytes);
        if (status != SP_ERANGE)
            return raise_lookup(table, status);
    }
}

static PyObject *raw_of_row(PyObject *self, PyObject *key)
{
    PyObject *row = table_subscript(self, key);
    PyObject *raw = row != NULL ? PyObject_GetAttrString(row, "raw") : NULL;
    Py_XDECREF(row);
    return raw;
}

static PyObject *table_raw(PyObject *self, PyObject *object)
{
    struct table_object *table = (struct table_object *)self;
    unsigned char value[RAW_BYTES];
    struct key key;
    size_t size;
    if (UNLIKELY(table->snapshot != NULL))
        return raw_of_row(self, object);
    const struct shape *shape = table_shape_last(table);
    if (UNLIKELY(shape == NULL || !table_usable(table)))
        return NULL;
    if (UNLIKELY(key_encode(table, shape, -1, object, &key) != KEY_OK)) {
        PyErr_Clear();
        return raw_of_row(self, object);
    }
    PyObject *bytes;
    int status = sp_get(table->table, key.data, key.size, value, sizeof value, &size);
    if (LIKELY(status == SP_OK))
        bytes = PyBytes_FromStringAndSize((const char *)value, (Py_ssize_t)size);
    else if (status == SP_ERANGE)
        bytes = raw_large(table, &key, size);
    else if (status == SP_ENOTFOUND)
        bytes = raw_of_row(self, object);
    else
        bytes = raise_lookup(table, status);
    key_release(&key);
    return bytes;
}

/* --- walking ---------------------------------------------------------------------------------- */

static PyObject *table_iter(PyObject *self)
{
    return iterator_new((struct table_object *)self, ITERATE_KEYS);
}

static PyObject *table_iterate(PyObject *self, PyObject *what)
{
    long chosen = PyLong_AsLong(what);
    if (chosen == -1 && PyErr_Occurred())
        return NULL;
    return iterator_new((struct table_object *)self, chosen == 1   ? ITERATE_VALUES
                                                     : chosen == 2 ? ITERATE_ITEMS
                                                                   : ITERATE_KEYS);
}

static PyObject *view_of(PyObject *self, const char *class)
{
    return PyObject_CallMethod(((struct table_object *)self)->state->views, class, "O", self);
}

static PyObject *table_keys(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "TableKeys");
}

static PyObject *table_values(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "TableValues");
}

static PyObject *table_items(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return view_of(self, "TableItems");
}

/* --- information ------------------------------------------------------------------------------ */

static int info_read(PyObject *self, struct sp_table_info *info)
{
    struct table_object *table = (struct table_object *)self;
    if (!table_usable(table))
        return -1;
    int status = sp_table_info(table->table, info);
    if (status == SP_OK)
        return 0;
    raise_status(table->state, status, sp_table_name(table->table));
    return -1;
}

/* The rows of an older version are counted by walking them. */
static Py_ssize_t length_in_snapshot(struct table_object *table)
{
    struct sp_view view;
    struct sp_scan *scan;
    Py_ssize_t count = 0;
    int status;
    LOCK_OBJECT(table->snapshot)
    status = sp_scan_begin(table->snapshot->snapshot, table->table, &scan);
    if (status == SP_OK) {
        while ((status = sp_scan_next(scan, &view)) == SP_OK)
            count++;
        sp_scan_end(scan);
    }
    UNLOCK_OBJECT()
    if (status == SP_ENOTFOUND)
        return snapshot_valid(table->snapshot) ? count : -1;
    raise_lookup(table, status);
    return -1;
}

static Py_ssize_t table_length(PyObject *self)
{
    struct table_object *table = (struct table_object *)self;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (info_read(self, &info) < 0)
        return -1;
    if (table->snapshot != NULL && info.version > table->snapshot->version)
        return length_in_snapshot(table);
    return (Py_ssize_t)info.rows;
}

static PyObject *seconds_of(uint64_t ms)
{
    return PyFloat_FromDouble(ms == UINT64_MAX ? HUGE_VAL : (double)ms / 1000);
}

static PyObject *table_name(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((struct table_object *)self)->name);
}

static PyObject *table_age(PyObject *self, void *Py_UNUSED(closure))
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    return info_read(self, &info) < 0 ? NULL : seconds_of(info.age_ms);
}

static PyObject *table_loaded_at(PyObject *self, void *Py_UNUSED(closure))
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (info_read(self, &info) < 0)
        return NULL;
    return time_to_python(((struct table_object *)self)->state, info.loaded_at_ms);
}

static PyObject *table_changed_at(PyObject *self, void *Py_UNUSED(closure))
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (info_read(self, &info) < 0)
        return NULL;
    return time_to_python(((struct table_object *)self)->state, info.changed_at_ms);
}

static PyObject *table_stale(PyObject *self, void *Py_UNUSED(closure))
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    return info_read(self, &info) < 0 ? NULL : PyBool_FromLong(info.stale);
}

static PyObject *table_version(PyObject *self, void *Py_UNUSED(closure))
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    return info_read(self, &info) < 0 ? NULL : PyLong_FromUnsignedLongLong(info.version);
}

static PyObject *table_schema(PyObject *self, void *Py_UNUSED(closure))
{
    struct table_object *table = (struct table_object *)self;
    const struct shape *shape = table_usable(table) ? table_shape(table) : NULL;
    return shape != NULL ? schema_to_python(table->state, shape) : NULL;
}

static PyObject *table_info(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct state *state = ((struct table_object *)self)->state;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (info_read(self, &info) < 0)
        return NULL;
    PyObject *loaded = time_to_python(state, info.loaded_at_ms);
    PyObject *changed = loaded != NULL ? time_to_python(state, info.changed_at_ms) : NULL;
    PyObject *limit = info.max_stale_ms > 0 ? seconds_of(info.max_stale_ms) : Py_NewRef(Py_None);
    PyObject *result = NULL;
    if (changed != NULL && limit != NULL)
        result = PyObject_CallMethod(
            state->info, "TableInfo", "sKKKKOOdOOOKKz", sp_table_state_text(info.state),
            (unsigned long long)info.version, (unsigned long long)info.rows,
            (unsigned long long)info.bytes, (unsigned long long)info.memory_bytes, loaded, changed,
            info.age_ms == UINT64_MAX ? HUGE_VAL : (double)info.age_ms / 1000, limit,
            info.stale ? Py_True : Py_False, info.fails_when_stale ? Py_True : Py_False,
            (unsigned long long)info.refresh_count, (unsigned long long)info.failure_count,
            info.feed != SP_FEED_NONE ? sp_table_feed_text(info.feed) : NULL);
    Py_XDECREF(loaded);
    Py_XDECREF(changed);
    Py_XDECREF(limit);
    return result;
}

static PyObject *table_by(PyObject *self, PyObject *name)
{
    return index_new((struct table_object *)self, name);
}

static PyObject *table_repr(PyObject *self)
{
    struct table_object *table = (struct table_object *)self;
    return PyUnicode_FromFormat("<sidepond.Table %R%s>", table->name,
                                table->snapshot != NULL ? " in a snapshot" : "");
}

/* --- the type --------------------------------------------------------------------------------- */

PyObject *table_new(struct pond_object *pond, struct snapshot_object *snapshot, PyObject *name)
{
    struct state *state = pond->state;
    struct sp_table *handle;
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (text == NULL)
        return NULL;
    int status = sp_table_open(pond->pond, text, &handle);
    if (status == SP_ENOTABLE) {
        PyObject *class = PyDict_GetItemString(state->errors, "SP_ENOTABLE");
        PyErr_Format(class != NULL ? class : PyExc_KeyError, "no table %R", name);
        return NULL;
    }
    if (status != SP_OK)
        return raise_status(state, status, text);
    struct table_object *table = PyObject_GC_New(struct table_object, state->table_type);
    if (table == NULL)
        return NULL;
    table->state = state;
    table->table = handle;
    table->pond = (struct pond_object *)Py_NewRef((PyObject *)pond);
    table->snapshot = (struct snapshot_object *)Py_XNewRef((PyObject *)snapshot);
    atomic_init(&table->shape, NULL);
    table->name = Py_NewRef(name);
    PyObject_GC_Track(table);
    return (PyObject *)table;
}

static int table_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct table_object *table = (struct table_object *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)table->pond);
    Py_VISIT((PyObject *)table->snapshot);
    return 0;
}

/* A cycle through a table is broken at its pond's or snapshot's dict, so no pointer of a table is
 * ever NULL while somebody can use it. */
static void table_dealloc(PyObject *self)
{
    struct table_object *table = (struct table_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(table->name);
    Py_XDECREF((PyObject *)table->snapshot);
    Py_XDECREF((PyObject *)table->pond);
    PyObject_GC_Del(self);
    Py_DECREF((PyObject *)type);
}

static PyMethodDef table_methods[] = {
    {"get", (PyCFunction)(void (*)(void))table_get, METH_FASTCALL,
     "get(key, default=None): the row of a key, or the default."},
    {"get_many", table_get_many, METH_O,
     "get_many(keys): a list of rows, None where there is none. Looked up together, which takes\n"
     "about a third of the time per key; not of one version unless in a snapshot."},
    {"raw", table_raw, METH_O,
     "raw(key): the encoded value of a row as bytes: all columns but the key's."},
    {"raw_many", table_raw_many, METH_O, "raw_many(keys): a list of bytes or None, as get_many."},
    {"getter", table_getter, METH_O,
     "getter(column): a function of a key that returns this column's value, None if there is no\n"
     "such row. Faster than table[key][column], because no row object is made."},
    {"by", table_by, METH_O, "by(index): the secondary index of this name."},
    {"keys", table_keys, METH_NOARGS, "A view of the keys."},
    {"values", table_values, METH_NOARGS, "A view of the rows."},
    {"items", table_items, METH_NOARGS, "A view of keys and rows."},
    {"info", table_info, METH_NOARGS, "Everything known about the table (TableInfo)."},
    {"_iterate", table_iterate, METH_O, NULL},
    {0}};

static PyGetSetDef table_getset[] = {
    {"name", table_name, NULL, "The table's name.", NULL},
    {"schema", table_schema, NULL, "Columns, key and indexes (Schema).", NULL},
    {"age", table_age, NULL, "Seconds since the last successful refresh (inf: never).", NULL},
    {"loaded_at", table_loaded_at, NULL, "When the last successful refresh was, or None.", NULL},
    {"changed_at", table_changed_at, NULL, "When the last change was committed, or None.", NULL},
    {"stale", table_stale, NULL, "Whether it is older than its max_stale.", NULL},
    {"version", table_version, NULL, "The version of the last commit that changed it.", NULL},
    {0}};

static PyType_Slot table_slots[] = {{Py_tp_doc, (void *)"A table: a Mapping of keys to rows."},
                                    {Py_tp_dealloc, table_dealloc},
                                    {Py_tp_traverse, table_traverse},
                                    {Py_tp_repr, table_repr},
                                    {Py_tp_iter, table_iter},
                                    {Py_tp_methods, table_methods},
                                    {Py_tp_getset, table_getset},
                                    {Py_mp_subscript, table_subscript},
                                    {Py_mp_length, table_length},
                                    {Py_sq_contains, table_contains},
                                    {0, NULL}};

static PyType_Spec table_spec = {
    .name = "sidepond.Table",
    .basicsize = sizeof(struct table_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_GC,
    .slots = table_slots,
};

int table_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &table_spec, &state->table_type);
}
