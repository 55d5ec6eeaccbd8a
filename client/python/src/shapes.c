/* SPDX-License-Identifier: Apache-2.0
 *
 * shapes.c - schemas as Python sees them: interned column names, positions, the kind of key.
 *
 * A shape is made once for each schema the pond hands out and kept until the pond is closed. The
 * list of a pond's shapes only grows at its head, by compare-and-swap, so it needs no lock.
 */
#include <string.h>

#include "native.h"

static void shape_free(struct shape *shape)
{
    for (size_t i = 0; shape->names != NULL && i < shape->column_count; i++)
        Py_XDECREF(shape->names[i]);
    Py_XDECREF(shape->positions);
    PyMem_Free(shape->names);
    PyMem_Free(shape->is_attribute);
    PyMem_Free(shape->types);
    PyMem_Free(shape);
}

static int column_fill(struct state *state, struct shape *shape, size_t i)
{
    struct sp_column_info info;
    int status = sp_schema_column(shape->schema, i, &info);
    if (status != SP_OK) {
        raise_status(state, status, "column");
        return -1;
    }
    shape->types[i] = info.type;
    shape->has_document = shape->has_document || info.type == SP_TYPE_BSON;
    shape->names[i] = PyUnicode_InternFromString(info.name);
    PyObject *position = PyLong_FromSize_t(i);
    int failed = shape->names[i] == NULL || position == NULL ||
                 PyDict_SetItem(shape->positions, shape->names[i], position) < 0;
    Py_XDECREF(position);
    if (failed)
        return -1;
    int taken = PyObject_HasAttr((PyObject *)state->row_type, shape->names[i]);
    shape->is_attribute[i] = !taken;
    return 0;
}

static enum key_kind key_kind_of(const struct shape *shape)
{
    size_t column;
    if (shape->key_count != 1 || sp_schema_index_column(shape->schema, -1, 0, &column) != SP_OK ||
        column >= shape->column_count)
        return KEY_OTHER;
    switch (shape->types[column]) {
    case SP_TYPE_TEXT:
        return KEY_TEXT;
    case SP_TYPE_BYTES:
        return KEY_BYTES;
    case SP_TYPE_INT64:
        return KEY_INT64;
    case SP_TYPE_INT32:
        return KEY_INT32;
    case SP_TYPE_BSON_VALUE:
        return KEY_BSON;
    default:
        return KEY_OTHER;
    }
}

static struct shape *shape_make(struct state *state, const struct sp_schema *schema)
{
    struct shape *shape = PyMem_Calloc(1, sizeof *shape);
    if (shape == NULL)
        goto no_memory;
    shape->schema = schema;
    shape->column_count = sp_schema_column_count(schema);
    shape->key_count = sp_schema_key_count(schema);
    shape->names = PyMem_Calloc(shape->column_count + 1, sizeof *shape->names);
    shape->is_attribute = PyMem_Calloc(shape->column_count + 1, sizeof *shape->is_attribute);
    shape->types = PyMem_Calloc(shape->column_count + 1, sizeof *shape->types);
    shape->positions = PyDict_New();
    if (shape->names == NULL || shape->is_attribute == NULL || shape->types == NULL ||
        shape->positions == NULL)
        goto no_memory;
    for (size_t i = 0; i < shape->column_count; i++)
        if (column_fill(state, shape, i) < 0)
            goto failed;
    shape->key_kind = key_kind_of(shape);
    return shape;
no_memory:
    PyErr_NoMemory();
failed:
    if (shape != NULL)
        shape_free(shape);
    return NULL;
}

static struct shape *shape_find(struct shape *list, const struct sp_schema *schema)
{
    while (list != NULL && list->schema != schema)
        list = list->next;
    return list;
}

struct shape *shape_get(struct pond_object *pond, const struct sp_schema *schema)
{
    struct shape *head = atomic_load_explicit(&pond->shapes, memory_order_acquire);
    struct shape *found = shape_find(head, schema);
    if (found != NULL)
        return found;
    struct shape *made = shape_make(pond->state, schema);
    if (made == NULL)
        return NULL;
    do {
        found = shape_find(head, schema);
        if (found != NULL) {
            shape_free(made);
            return found;
        }
        made->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&pond->shapes, &head, made,
                                                    memory_order_acq_rel, memory_order_acquire));
    return made;
}

struct shape *table_shape(struct table_object *table)
{
    const struct sp_schema *schema;
    int status = sp_table_schema(table->table, &schema);
    if (status != SP_OK) {
        raise_lookup(table, status);
        return NULL;
    }
    struct shape *shape = atomic_load_explicit(&table->shape, memory_order_acquire);
    if (shape != NULL && shape->schema == schema)
        return shape;
    shape = shape_get(table->pond, schema);
    if (shape != NULL)
        atomic_store_explicit(&table->shape, shape, memory_order_release);
    return shape;
}

void shapes_free(struct pond_object *pond)
{
    struct shape *shape = atomic_exchange(&pond->shapes, NULL);
    while (shape != NULL) {
        struct shape *next = shape->next;
        shape_free(shape);
        shape = next;
    }
}

/* --- sidepond.Schema -------------------------------------------------------------------------- */

static PyObject *names_of(const struct shape *shape, int index, size_t count)
{
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; names != NULL && i < count; i++) {
        size_t column;
        if (sp_schema_index_column(shape->schema, index, i, &column) != SP_OK ||
            column >= shape->column_count) {
            PyErr_SetString(PyExc_RuntimeError, "schema without a column");
            Py_CLEAR(names);
        } else if (PyTuple_SetItem(names, (Py_ssize_t)i, Py_NewRef(shape->names[column])) < 0) {
            Py_CLEAR(names);
        }
    }
    return names;
}

static PyObject *column_to_python(struct state *state, const struct shape *shape, size_t i)
{
    struct sp_column_info info;
    int status = sp_schema_column(shape->schema, i, &info);
    if (status != SP_OK)
        return raise_status(state, status, "column");
    return PyObject_CallMethod(state->info, "Column", "OsO", shape->names[i],
                               sp_type_name(info.type), info.nullable ? Py_True : Py_False);
}

static PyObject *index_to_python(struct state *state, const struct shape *shape, size_t i)
{
    struct sp_index_info info;
    int status = sp_schema_index(shape->schema, i, &info);
    if (status != SP_OK)
        return raise_status(state, status, "index");
    PyObject *columns = names_of(shape, (int)i, info.column_count);
    if (columns == NULL)
        return NULL;
    return PyObject_CallMethod(state->info, "IndexInfo", "sON", info.name,
                               info.unique ? Py_True : Py_False, columns);
}

static PyObject *tuple_of(struct state *state, const struct shape *shape, size_t count,
                          PyObject *(*make)(struct state *, const struct shape *, size_t))
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *item = make(state, shape, i);
        if (item == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

PyObject *schema_to_python(struct state *state, const struct shape *shape)
{
    PyObject *columns = tuple_of(state, shape, shape->column_count, column_to_python);
    PyObject *key = columns != NULL ? names_of(shape, -1, shape->key_count) : NULL;
    PyObject *indexes =
        key != NULL ? tuple_of(state, shape, sp_schema_index_count(shape->schema), index_to_python)
                    : NULL;
    PyObject *schema = NULL;
    if (indexes != NULL)
        schema = PyObject_CallMethod(state->info, "Schema", "OOO", columns, key, indexes);
    Py_XDECREF(columns);
    Py_XDECREF(key);
    Py_XDECREF(indexes);
    return schema;
}
