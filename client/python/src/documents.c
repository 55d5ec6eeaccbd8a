/* SPDX-License-Identifier: Apache-2.0
 *
 * documents.c - documents as Python sees them: a dict, or one field that is found by its path.
 *
 *   document, array                 dict, list
 *   double, int32, int64, bool      float, int, int, bool
 *   string, symbol                  str
 *   binary                          bytes; uuid.UUID for subtype 4; sidepond.Binary for others
 *   date                            datetime, aware, UTC
 *   decimal128                      decimal.Decimal
 *   ObjectId, regular expression,   sidepond.ObjectId, Regex, Timestamp, Code, DBPointer, MinKey,
 *   timestamp, code, ...            MaxKey
 *   null, undefined                 None
 *
 * Nothing is kept: a document is decoded anew at each access. A field costs the walk to it and one
 * value.
 *
 * Limits: documents in documents, LEVELS_MAX deep.
 */
#include <string.h>

#include "native.h"
#include "sidepond/bson.h"

#define LEVELS_MAX 200

static PyObject *element_to_python(struct state *state, const struct sp_value *value,
                                   unsigned level);

static PyObject *raise_damaged(struct state *state)
{
    return raise_plain(state, SP_ECORRUPT, "a document");
}

/* --- documents and arrays --------------------------------------------------------------------- */

static int add_entry(PyObject *container, const struct sp_bson_entry *entry, PyObject *value)
{
    if (PyList_Check(container))
        return PyList_Append(container, value);
    PyObject *name = PyUnicode_FromStringAndSize(entry->name, (Py_ssize_t)entry->name_bytes);
    int failed = name == NULL || PyDict_SetItem(container, name, value) < 0;
    Py_XDECREF(name);
    return failed ? -1 : 0;
}

/* Fills a dict or a list (which this function owns) and returns it. */
static PyObject *container_filled(struct state *state, const struct sp_value *document,
                                  PyObject *container, unsigned level)
{
    struct sp_bson_walk walk;
    struct sp_bson_entry entry;
    int status = level < LEVELS_MAX ? sp_bson_walk_begin(document, &walk) : SP_ECORRUPT;
    if (container == NULL)
        return NULL;
    while (status == SP_OK && (status = sp_bson_walk_next(&walk, &entry)) == SP_OK) {
        PyObject *value = element_to_python(state, &entry.value, level + 1);
        int failed = value == NULL || add_entry(container, &entry, value) < 0;
        Py_XDECREF(value);
        if (failed) {
            Py_DECREF(container);
            return NULL;
        }
    }
    if (status == SP_ENOTFOUND)
        return container;
    Py_DECREF(container);
    return raise_damaged(state);
}

/* --- the types of BSON alone ------------------------------------------------------------------ */

static PyObject *decimal_of(struct state *state, const void *data)
{
    char text[SP_BSON_DECIMAL_BYTES];
    sp_bson_decimal_text(data, text);
    return PyObject_CallFunction(state->decimal, "s", text);
}

/* A string, its length before it. */
static PyObject *string_of(const unsigned char *data, size_t size)
{
    return PyUnicode_FromStringAndSize((const char *)data + 4, (Py_ssize_t)size - 5);
}

/* Without calling its class, which is written in Python and would check what is known here. */
static PyObject *object_id_of(struct state *state, const void *data)
{
    PyObject *binary = PyBytes_FromStringAndSize(data, 12);
    PyObject *id = binary != NULL ? PyType_GenericAlloc((PyTypeObject *)state->object_id, 0) : NULL;
    if (id != NULL && PyObject_GenericSetAttr(id, state->binary_name, binary) < 0)
        Py_CLEAR(id);
    Py_XDECREF(binary);
    return id;
}

static PyObject *binary_of(struct state *state, const unsigned char *data, size_t size)
{
    const int subtype = data[4];
    uint32_t inner = 0;
    size_t skip = 5;
    if (subtype == 2 && size >= 9) {
        memcpy(&inner, data + 5, sizeof inner);
        skip = inner == size - 9 ? 9 : 5;
    }
    return PyObject_CallMethod(state->bson, "Binary", "y#i", data + skip, (Py_ssize_t)(size - skip),
                               subtype);
}

static PyObject *regex_of(struct state *state, const char *data)
{
    return PyObject_CallMethod(state->bson, "Regex", "ss", data, data + strlen(data) + 1);
}

static PyObject *timestamp_of(struct state *state, const unsigned char *data)
{
    uint32_t inc, time;
    memcpy(&inc, data, sizeof inc);
    memcpy(&time, data + sizeof inc, sizeof time);
    return PyObject_CallMethod(state->bson, "Timestamp", "II", time, inc);
}

static PyObject *pointer_of(struct state *state, const unsigned char *data, size_t size)
{
    PyObject *id = object_id_of(state, data + size - 12);
    PyObject *name = id != NULL ? string_of(data, size - 12) : NULL;
    PyObject *pointer =
        name != NULL ? PyObject_CallMethod(state->bson, "DBPointer", "OO", name, id) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(id);
    return pointer;
}

static PyObject *code_of(struct state *state, PyObject *code, PyObject *scope)
{
    PyObject *result = code != NULL && scope != NULL
                           ? PyObject_CallMethod(state->bson, "Code", "OO", code, scope)
                           : NULL;
    Py_XDECREF(code);
    Py_XDECREF(scope);
    return result;
}

static PyObject *scope_of(struct state *state, const unsigned char *data, size_t size,
                          unsigned level)
{
    uint32_t code_bytes;
    memcpy(&code_bytes, data + 4, sizeof code_bytes);
    const size_t before = 8 + (size_t)code_bytes;
    const struct sp_value scope = sp_bytes(SP_TYPE_BSON, data + before, size - before);
    PyObject *code = string_of(data + 4, 4 + (size_t)code_bytes);
    return code_of(state, code, container_filled(state, &scope, PyDict_New(), level));
}

/* The date that no TIMESTAMP holds, and whatever else has no form in Python. */
static PyObject *text_of(const struct sp_value *value)
{
    char small[128];
    size_t size = sp_value_text(value, small, sizeof small);
    return PyUnicode_FromStringAndSize(small, (Py_ssize_t)(size < sizeof small ? size : 0));
}

static PyObject *rare_to_python(struct state *state, const struct sp_value *value, unsigned level)
{
    const void *data;
    size_t size;
    switch (sp_bson_raw(value, &data, &size)) {
    case SP_BSON_ARRAY:
        return container_filled(state, value, PyList_New(0), level);
    case SP_BSON_OBJECT_ID:
        return object_id_of(state, data);
    case SP_BSON_DECIMAL128:
        return decimal_of(state, data);
    case SP_BSON_BINARY:
        return binary_of(state, data, size);
    case SP_BSON_REGEX:
        return regex_of(state, data);
    case SP_BSON_TIMESTAMP:
        return timestamp_of(state, data);
    case SP_BSON_SYMBOL:
        return string_of(data, size);
    case SP_BSON_CODE:
        return code_of(state, string_of(data, size), Py_NewRef(Py_None));
    case SP_BSON_CODE_WITH_SCOPE:
        return scope_of(state, data, size, level);
    case SP_BSON_DB_POINTER:
        return pointer_of(state, data, size);
    case SP_BSON_UNDEFINED:
        Py_RETURN_NONE;
    case SP_BSON_MIN_KEY:
        return PyObject_CallMethod(state->bson, "MinKey", NULL);
    case SP_BSON_MAX_KEY:
        return PyObject_CallMethod(state->bson, "MaxKey", NULL);
    case SP_BSON_DATE:
        return text_of(value);
    default:
        return raise_damaged(state);
    }
}

/* A value as a walk or a field gives it: plain where it can be. */
static PyObject *element_to_python(struct state *state, const struct sp_value *value,
                                   unsigned level)
{
    if (value->is_null)
        Py_RETURN_NONE;
    if (value->type == SP_TYPE_BSON)
        return container_filled(state, value, PyDict_New(), level);
    if (value->type == SP_TYPE_BSON_VALUE)
        return rare_to_python(state, value, level);
    return value_to_python(state, value);
}

PyObject *document_to_python(struct state *state, const struct sp_value *value)
{
    struct sp_value plain;
    if (sp_bson_plain(value, &plain) != SP_OK)
        return raise_damaged(state);
    return element_to_python(state, &plain, 0);
}

/* --- fields ----------------------------------------------------------------------------------- */

const char *field_path(PyObject *path)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(path)) {
        PyErr_Format(PyExc_TypeError, "a path is a str, not %R", path);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(path, &size);
    if (text != NULL && strlen(text) != (size_t)size) {
        PyErr_SetString(PyExc_ValueError, "a path has no zero character");
        return NULL;
    }
    return text;
}

/* row.field(path[, default]) */
PyObject *row_field(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct row_object *row = (struct row_object *)self;
    struct sp_value value;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "field takes a path and a default");
        return NULL;
    }
    const char *path = field_path(args[0]);
    if (path == NULL || (row->snapshot != NULL && !snapshot_usable(row->snapshot)))
        return NULL;
    int status = sp_view_field(&row->view, path, &value);
    if (status == SP_ENOTFOUND && (row->snapshot == NULL || snapshot_valid(row->snapshot))) {
        if (count == 2)
            return Py_NewRef(args[1]);
        PyObject *class = PyDict_GetItemString(row->table->state->errors, "SP_ENOCOLUMN");
        PyErr_Format(class != NULL ? class : PyExc_KeyError, "the document has no field %R",
                     args[0]);
        return NULL;
    }
    return PyErr_Occurred() ? NULL : row_value(row, status, &value);
}
