/* SPDX-License-Identifier: Apache-2.0
 *
 * batches.c - table.get_many and table.raw_many: keys looked up BATCH at a time by sp_mget, which
 * waits for memory once for all of them.
 *
 * Values land in one buffer of BATCH rooms. What does not fit its room is read again alone.
 */
#include "native.h"

#define BATCH      64
#define ROOM_BYTES 1024

struct batch {
    struct table_object *table;
    const struct shape *shape;
    bool raw;
    struct key keys[BATCH];
    struct sp_get gets[BATCH];
    size_t positions[BATCH]; /* of gets[] in the batch */
    size_t count;            /* gets in use */
    char values[BATCH][ROOM_BYTES];
};

static PyObject *single(struct batch *batch, PyObject *key)
{
    PyObject *row;
    enum key_result result = table_read(batch->table, key, &row);
    if (result == KEY_ABSENT)
        return Py_NewRef(Py_None);
    if (result == KEY_ERROR || !batch->raw)
        return row;
    PyObject *raw = PyObject_GetAttrString(row, "raw");
    Py_DECREF(row);
    return raw;
}

static PyObject *found(struct batch *batch, const struct sp_get *get)
{
    if (batch->raw)
        return PyBytes_FromStringAndSize(get->out, (Py_ssize_t)get->size);
    struct sp_view view = {get->key, get->key_bytes, get->out, get->size, batch->shape->schema};
    return row_from_view(batch->table, &view);
}

static PyObject *result_of(struct batch *batch, const struct sp_get *get, PyObject *key, bool sure)
{
    if (sure && get->status == SP_OK)
        return found(batch, get);
    if (sure && get->status == SP_ENOTFOUND)
        return Py_NewRef(Py_None);
    return single(batch, key);
}

static int keys_encode(struct batch *batch, PyObject *keys, Py_ssize_t from, Py_ssize_t count,
                       PyObject *out)
{
    batch->count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        struct key *key = &batch->keys[batch->count];
        enum key_result result =
            key_encode(batch->table, batch->shape, -1, PyList_GetItem(keys, from + i), key);
        if (result == KEY_ERROR)
            return -1;
        if (result == KEY_ABSENT) {
            if (PyList_SetItem(out, from + i, Py_NewRef(Py_None)) < 0)
                return -1;
            continue;
        }
        batch->gets[batch->count] = (struct sp_get){.key = key->data,
                                                    .key_bytes = key->size,
                                                    .out = batch->values[batch->count],
                                                    .cap = ROOM_BYTES};
        batch->positions[batch->count++] = (size_t)i;
    }
    return 0;
}

static int batch_run(struct batch *batch, PyObject *keys, Py_ssize_t from, Py_ssize_t count,
                     PyObject *out)
{
    const struct sp_schema *schema;
    int failed = keys_encode(batch, keys, from, count, out);
    if (failed == 0) {
        int status = sp_mget(batch->table->table, batch->gets, batch->count);
        if (status != SP_OK) {
            raise_lookup(batch->table, status);
            failed = -1;
        }
    }
    /* values of another shape than the keys' must not be taken for this one's */
    bool sure = failed == 0 && sp_table_schema(batch->table->table, &schema) == SP_OK &&
                schema == batch->shape->schema;
    for (size_t i = 0; i < batch->count && failed == 0; i++) {
        Py_ssize_t at = from + (Py_ssize_t)batch->positions[i];
        PyObject *item = result_of(batch, &batch->gets[i], PyList_GetItem(keys, at), sure);
        failed = item == NULL ? -1 : PyList_SetItem(out, at, item);
    }
    for (size_t i = 0; i < batch->count; i++)
        key_release(&batch->keys[i]);
    return failed;
}

static int all_single(struct batch *batch, PyObject *keys, Py_ssize_t count, PyObject *out)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = single(batch, PyList_GetItem(keys, i));
        if (item == NULL || PyList_SetItem(out, i, item) < 0)
            return -1;
    }
    return 0;
}

static int all_batches(struct batch *batch, PyObject *keys, Py_ssize_t count, PyObject *out)
{
    for (Py_ssize_t from = 0; from < count; from += BATCH) {
        Py_ssize_t now = count - from < BATCH ? count - from : BATCH;
        batch->shape = table_shape(batch->table);
        if (batch->shape == NULL || batch_run(batch, keys, from, now, out) < 0)
            return -1;
    }
    return 0;
}

/* Works on a list of its own, so that nobody changes it meanwhile. */
static PyObject *many(PyObject *self, PyObject *iterable, bool raw)
{
    struct table_object *table = (struct table_object *)self;
    if (!table_usable(table))
        return NULL;
    PyObject *keys = PySequence_List(iterable);
    PyObject *out = keys != NULL ? PyList_New(PyList_Size(keys)) : NULL;
    struct batch *batch = out != NULL ? PyMem_Malloc(sizeof *batch) : NULL;
    int failed = -1;
    if (batch != NULL) {
        Py_ssize_t count = PyList_Size(keys);
        batch->table = table;
        batch->raw = raw;
        failed = (table->snapshot != NULL ? all_single : all_batches)(batch, keys, count, out);
    } else if (out != NULL) {
        PyErr_NoMemory();
    }
    PyMem_Free(batch);
    Py_XDECREF(keys);
    if (failed != 0)
        Py_CLEAR(out);
    return out;
}

PyObject *table_get_many(PyObject *self, PyObject *keys)
{
    return many(self, keys, false);
}

PyObject *table_raw_many(PyObject *self, PyObject *keys)
{
    return many(self, keys, true);
}
