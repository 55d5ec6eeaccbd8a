/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.c - Python objects as encoded keys, and back.
 *
 * A table with one text, bytes or integer key column, which is nearly every one, has its key
 * encoded here in a few nanoseconds and mostly without a copy: the bytes of a str or bytes object
 * are the key. So has one of ObjectIds, the usual keys of documents. All other keys go through
 * sp_key_encode.
 */
#include <string.h>

#include "native.h"

static enum key_result encode_int(PyObject *object, bool narrow, struct key *out)
{
    int overflow;
    int64_t number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (UNLIKELY(number == -1 && overflow == 0 && PyErr_Occurred()))
        return KEY_ERROR;
    if (UNLIKELY(overflow != 0 || (narrow && (number < INT32_MIN || number > INT32_MAX))))
        return KEY_ABSENT;
    memcpy(out->small, &number, sizeof number); /* little-endian: int32 are the first 4 bytes */
    out->data = out->small;
    out->size = narrow ? 4 : 8;
    return KEY_OK;
}

/* A sidepond.ObjectId: its type byte and its bytes. False, without an exception: to be encoded the
 * general way. */
static bool encode_object_id(struct state *state, PyObject *object, struct key *out)
{
    if ((PyObject *)Py_TYPE(object) != state->object_id)
        return false;
    PyObject *binary = PyObject_GetAttr(object, state->binary_name);
    const bool whole = binary != NULL && PyBytes_Check(binary) && PyBytes_Size(binary) == 12;
    if (whole) {
        out->small[0] = SP_BSON_OBJECT_ID;
        memcpy(out->small + 1, PyBytes_AsString(binary), 12);
        out->data = out->small;
        out->size = 13;
    }
    Py_XDECREF(binary);
    PyErr_Clear();
    return whole;
}

enum key_result key_encode(struct table_object *table, const struct shape *shape, int index,
                           PyObject *object, struct key *out)
{
    Py_ssize_t size;
    out->heap = NULL;
    if (LIKELY(index < 0)) {
        switch (shape->key_kind) {
        case KEY_TEXT:
            if (UNLIKELY(!PyUnicode_Check(object)))
                break;
            out->data = PyUnicode_AsUTF8AndSize(object, &size);
            out->size = (size_t)size;
            return LIKELY(out->data != NULL) ? KEY_OK : KEY_ERROR;
        case KEY_BYTES:
            if (UNLIKELY(!PyBytes_Check(object)))
                break;
            out->data = PyBytes_AsString(object);
            out->size = (size_t)PyBytes_Size(object);
            return KEY_OK;
        case KEY_INT64:
        case KEY_INT32:
            if (UNLIKELY(!PyLong_Check(object)))
                break;
            return encode_int(object, shape->key_kind == KEY_INT32, out);
        case KEY_BSON:
            if (LIKELY(encode_object_id(table->state, object, out)))
                return KEY_OK;
            break;
        case KEY_OTHER:
            break;
        }
    }
    return key_encode_slow(table, shape, index, object, out);
}

/* Which columns a key needs, for a message: "(id int64, day date)". */
static PyObject *key_columns_text(const struct shape *shape, int index, size_t count)
{
    PyObject *text = PyUnicode_FromString("(");
    for (size_t i = 0; text != NULL && i < count; i++) {
        size_t column;
        if (sp_schema_index_column(shape->schema, index, i, &column) != SP_OK ||
            column >= shape->column_count)
            continue;
        PyObject *longer =
            PyUnicode_FromFormat("%U%s%U %s", text, i > 0 ? ", " : "", shape->names[column],
                                 sp_type_name(shape->types[column]));
        Py_DECREF(text);
        text = longer;
    }
    return text;
}

static size_t key_column_count(const struct shape *shape, int index)
{
    struct sp_index_info info = {0};
    if (index < 0)
        return shape->key_count;
    return sp_schema_index(shape->schema, (size_t)index, &info) == SP_OK ? info.column_count : 0;
}

static enum key_result raise_key(struct table_object *table, const struct shape *shape, int index,
                                 PyObject *object)
{
    PyObject *columns = key_columns_text(shape, index, key_column_count(shape, index));
    if (columns != NULL)
        PyErr_Format(PyExc_TypeError, "%R is no key of %U: it needs %U)", object, table->name,
                     columns);
    Py_XDECREF(columns);
    return KEY_ERROR;
}

static enum key_result encode_values(struct table_object *table, const struct shape *shape,
                                     int index, PyObject *object, const struct sp_value *values,
                                     size_t count, struct key *out)
{
    int status =
        sp_key_encode(shape->schema, index, values, count, out->small, KEY_SMALL_BYTES, &out->size);
    out->data = out->small;
    if (status == SP_ERANGE && out->size > KEY_SMALL_BYTES) {
        size_t cap = out->size;
        out->heap = PyMem_Malloc(cap);
        if (out->heap == NULL) {
            PyErr_NoMemory();
            return KEY_ERROR;
        }
        out->data = out->heap;
        status = sp_key_encode(shape->schema, index, values, count, out->heap, cap, &out->size);
    }
    switch (status) {
    case SP_OK:
        return KEY_OK;
    case SP_ETOOBIG:
        return KEY_ABSENT;
    case SP_ETYPE:
    case SP_ENULL:
    case SP_EINVAL:
        return raise_key(table, shape, index, object);
    default:
        raise_status(table->state, status, "key");
        return KEY_ERROR;
    }
}

/* An int column asked for an int it cannot hold has no such row; that is no type error. */
static bool out_of_range(const struct shape *shape, int index, size_t i,
                         const struct sp_value *value)
{
    size_t column;
    if (value->type != SP_TYPE_INT64 || value->is_null ||
        sp_schema_index_column(shape->schema, index, i, &column) != SP_OK ||
        column >= shape->column_count)
        return false;
    enum sp_type type = shape->types[column];
    return (type == SP_TYPE_INT32 && (value->i < INT32_MIN || value->i > INT32_MAX)) ||
           (type == SP_TYPE_BOOL && (value->i < 0 || value->i > 1));
}

/* None is no key but for a document's, where it is null. */
static void null_for_documents(const struct shape *shape, int index, size_t i,
                               struct sp_value *value)
{
    size_t column;
    if (value->is_null && sp_schema_index_column(shape->schema, index, i, &column) == SP_OK &&
        column < shape->column_count && shape->types[column] == SP_TYPE_BSON_VALUE)
        *value = sp_bytes(SP_TYPE_BSON_VALUE, "\x0a", 1);
}

void key_values_release(struct key_values *values)
{
    for (size_t i = 0; i < values->count; i++)
        Py_XDECREF(values->keep[i]);
}

enum key_result key_values_get(struct table_object *table, const struct shape *shape, int index,
                               PyObject *object, struct key_values *out)
{
    /* A sidepond.Timestamp, which is a tuple too, can be the one value of a key. */
    bool many = PyTuple_CheckExact(object) ||
                (PyTuple_Check(object) && key_column_count(shape, index) != 1);
    Py_ssize_t count = many ? PyTuple_Size(object) : 1;
    out->count = 0;
    if ((size_t)count != key_column_count(shape, index) || count > KEY_COLUMNS_MAX)
        return raise_key(table, shape, index, object);
    while (out->count < (size_t)count) {
        size_t i = out->count++;
        PyObject *part = many ? PyTuple_GetItem(object, (Py_ssize_t)i) : object;
        out->keep[i] = NULL;
        int got = value_from_python(table->state, part, &out->values[i], &out->keep[i]);
        if (got == 0)
            null_for_documents(shape, index, i, &out->values[i]);
        if (got == 0 && !out_of_range(shape, index, i, &out->values[i]))
            continue;
        key_values_release(out);
        return got < 0 ? KEY_ERROR : KEY_ABSENT;
    }
    return KEY_OK;
}

enum key_result key_encode_slow(struct table_object *table, const struct shape *shape, int index,
                                PyObject *object, struct key *out)
{
    struct key_values values;
    out->heap = NULL;
    enum key_result result = key_values_get(table, shape, index, object, &values);
    if (result != KEY_OK)
        return result;
    result = encode_values(table, shape, index, object, values.values, values.count, out);
    key_values_release(&values);
    return result;
}

PyObject *key_to_python(struct table_object *table, const struct shape *shape, const void *key,
                        size_t key_bytes)
{
    struct sp_value values[KEY_COLUMNS_MAX];
    if (shape->key_count > KEY_COLUMNS_MAX)
        return raise_lookup(table, SP_ECORRUPT);
    int status = sp_key_decode(shape->schema, -1, key, key_bytes, values);
    if (status != SP_OK)
        return raise_lookup(table, status);
    if (shape->key_count == 1)
        return value_to_python(table->state, &values[0]);
    PyObject *tuple = PyTuple_New((Py_ssize_t)shape->key_count);
    for (size_t i = 0; tuple != NULL && i < shape->key_count; i++) {
        PyObject *part = value_to_python(table->state, &values[i]);
        if (part == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, part) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}
