/* SPDX-License-Identifier: Apache-2.0
 *
 * values.c - values of a pond as Python objects, and Python objects as values of a key.
 *
 *   bool, int, float, str, bytes   themselves
 *   numeric                        decimal.Decimal
 *   timestamp                      datetime, aware, UTC
 *   datetime                       datetime, naive
 *   date                           date
 *   uuid                           uuid.UUID
 *   json                           what json.loads makes of it
 *   bson, bson_value               documents.c
 *   NULL                           None
 *
 * Times outside of Python's years 1 to 9999, and infinite ones, are strings in ISO 8601 form.
 */
#include <limits.h>

#include "native.h"

#define SECOND_US    INT64_C(1000000)
#define DAY_US       (86400 * SECOND_US)
#define ORDINAL_1970 719163 /* date(1970, 1, 1).toordinal() */

int values_init(struct state *state)
{
    PyObject *datetime = PyImport_ImportModule("datetime");
    PyObject *decimal = PyImport_ImportModule("decimal");
    PyObject *uuid = PyImport_ImportModule("uuid");
    PyObject *json = PyImport_ImportModule("json");
    if (datetime != NULL && decimal != NULL && uuid != NULL && json != NULL) {
        state->decimal = PyObject_GetAttrString(decimal, "Decimal");
        state->uuid = PyObject_GetAttrString(uuid, "UUID");
        state->json_loads = PyObject_GetAttrString(json, "loads");
        state->datetime = PyObject_GetAttrString(datetime, "datetime");
        state->date = PyObject_GetAttrString(datetime, "date");
        PyObject *zone = PyObject_GetAttrString(datetime, "timezone");
        if (zone != NULL)
            state->utc = PyObject_GetAttrString(zone, "utc");
        Py_XDECREF(zone);
    }
    if (state->datetime != NULL && state->utc != NULL) {
        state->epoch_naive = PyObject_CallFunction(state->datetime, "iii", 1970, 1, 1);
        state->epoch_utc =
            PyObject_CallFunction(state->datetime, "iiiiiiiO", 1970, 1, 1, 0, 0, 0, 0, state->utc);
    }
    Py_XDECREF(datetime);
    Py_XDECREF(decimal);
    Py_XDECREF(uuid);
    Py_XDECREF(json);
    return PyErr_Occurred() ? -1 : 0;
}

/* --- to Python -------------------------------------------------------------------------------- */

static PyObject *text_of(const struct sp_value *value)
{
    char small[128];
    size_t size = sp_value_text(value, small, sizeof small);
    return PyUnicode_FromStringAndSize(small, (Py_ssize_t)(size < sizeof small ? size : 0));
}

/* Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: the
 * days are counted in 400-year eras from March, so that the leap day comes last. */
static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    int64_t shifted = days + 719468; /* from 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * month_from_march + 2) / 5) + 1;
    *month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

#define DAY_MIN (1 - ORDINAL_1970)       /* 0001-01-01 */
#define DAY_MAX (3652059 - ORDINAL_1970) /* 9999-12-31 */

static PyObject *datetime_of(struct state *state, const struct sp_value *value)
{
    int64_t days = value->i / DAY_US - (value->i % DAY_US < 0);
    int64_t us = value->i - days * DAY_US;
    int year, month, day;
    if (days < DAY_MIN || days > DAY_MAX)
        return text_of(value);
    civil_from_days(days, &year, &month, &day);
    int seconds = (int)(us / SECOND_US);
    PyObject *zone = value->type == SP_TYPE_TIMESTAMP ? state->utc : Py_None;
    return PyObject_CallFunction(state->datetime, "iiiiiiiO", year, month, day, seconds / 3600,
                                 seconds / 60 % 60, seconds % 60, (int)(us % SECOND_US), zone);
}

static PyObject *date_of(struct state *state, const struct sp_value *value)
{
    int year, month, day;
    if (value->i < DAY_MIN || value->i > DAY_MAX)
        return text_of(value);
    civil_from_days(value->i, &year, &month, &day);
    return PyObject_CallFunction(state->date, "iii", year, month, day);
}

static PyObject *uuid_of(struct state *state, const struct sp_value *value)
{
    return PyObject_CallFunction(state->uuid, "Oy#", Py_None, value->bytes.data,
                                 (Py_ssize_t)value->bytes.size);
}

static PyObject *from_string(PyObject *function, const struct sp_value *value)
{
    return PyObject_CallFunction(function, "s#", value->bytes.size > 0 ? value->bytes.data : "",
                                 (Py_ssize_t)value->bytes.size);
}

static PyObject *value_to_python_rare(struct state *state, const struct sp_value *value)
{
    switch (value->type) {
    case SP_TYPE_NUMERIC:
        return from_string(state->decimal, value);
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        return datetime_of(state, value);
    case SP_TYPE_DATE:
        return date_of(state, value);
    case SP_TYPE_UUID:
        return uuid_of(state, value);
    case SP_TYPE_JSON:
        return from_string(state->json_loads, value);
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        return document_to_python(state, value);
    default:
        PyErr_Format(state->error, "a value of unknown type %d", (int)value->type);
        return NULL;
    }
}

PyObject *value_to_python(struct state *state, const struct sp_value *value)
{
    if (value->is_null)
        Py_RETURN_NONE;
    switch (value->type) {
    case SP_TYPE_TEXT:
        return PyUnicode_FromStringAndSize(value->bytes.data, (Py_ssize_t)value->bytes.size);
    case SP_TYPE_BYTES:
        return PyBytes_FromStringAndSize(value->bytes.data, (Py_ssize_t)value->bytes.size);
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
        return PyLong_FromLongLong(value->i);
    case SP_TYPE_BOOL:
        return PyBool_FromLong(value->i != 0);
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
        return PyFloat_FromDouble(value->f);
    default:
        return value_to_python_rare(state, value);
    }
}

PyObject *time_to_python(struct state *state, int64_t unix_ms)
{
    struct sp_value value = {.type = SP_TYPE_TIMESTAMP};
    if (unix_ms <= 0 || unix_ms > INT64_MAX / 1000)
        Py_RETURN_NONE;
    value.i = unix_ms * 1000;
    return value_to_python(state, &value);
}

/* --- from Python ------------------------------------------------------------------------------ */

static int attribute_int(PyObject *object, const char *name, int64_t *out)
{
    PyObject *attribute = PyObject_GetAttrString(object, name);
    if (attribute == NULL)
        return -1;
    *out = PyLong_AsLongLong(attribute);
    Py_DECREF(attribute);
    return PyErr_Occurred() ? -1 : 0;
}

static int datetime_from(struct state *state, PyObject *object, struct sp_value *out)
{
    int64_t days, seconds, us;
    PyObject *zone = PyObject_GetAttrString(object, "tzinfo");
    if (zone == NULL)
        return -1;
    bool naive = zone == Py_None;
    Py_DECREF(zone);
    PyObject *since = PyNumber_Subtract(object, naive ? state->epoch_naive : state->epoch_utc);
    if (since == NULL)
        return -1;
    int failed = attribute_int(since, "days", &days) < 0 ||
                 attribute_int(since, "seconds", &seconds) < 0 ||
                 attribute_int(since, "microseconds", &us) < 0;
    Py_DECREF(since);
    if (failed)
        return -1;
    *out = sp_int(days * DAY_US + seconds * SECOND_US + us);
    out->type = naive ? SP_TYPE_DATETIME : SP_TYPE_TIMESTAMP;
    return 0;
}

static int date_from(PyObject *object, struct sp_value *out)
{
    PyObject *ordinal = PyObject_CallMethod(object, "toordinal", NULL);
    if (ordinal == NULL)
        return -1;
    *out = sp_int(PyLong_AsLongLong(ordinal) - ORDINAL_1970);
    out->type = SP_TYPE_DATE;
    Py_DECREF(ordinal);
    return PyErr_Occurred() ? -1 : 0;
}

/* Text or bytes that `object` (owned by this function, handed on in *keep) holds. */
static int bytes_from(enum sp_type type, PyObject *object, struct sp_value *out, PyObject **keep)
{
    const char *data;
    Py_ssize_t size;
    if (object == NULL)
        return -1;
    *keep = object;
    if (PyUnicode_Check(object)) {
        data = PyUnicode_AsUTF8AndSize(object, &size);
    } else {
        data = PyBytes_AsString(object);
        size = data != NULL ? PyBytes_Size(object) : 0;
    }
    if (data == NULL)
        return -1;
    *out = sp_bytes(type, data, (size_t)size);
    return 0;
}

/* sidepond.Binary and such: what a document can hold. 0 and *keep not set: it is none of those. */
static int document_from(struct state *state, PyObject *object, struct sp_value *out,
                         PyObject **keep)
{
    PyObject *json = PyObject_CallMethod(state->bson, "key_json", "(O)", object);
    if (json != Py_None)
        return bytes_from(SP_TYPE_JSON, json, out, keep);
    Py_DECREF(json);
    return 0;
}

static int rare_from(struct state *state, PyObject *object, struct sp_value *out, PyObject **keep)
{
    if (object == Py_None) {
        *out = sp_null(SP_TYPE_INT64);
        return 0;
    }
    int is = PyObject_IsInstance(object, state->datetime);
    if (is != 0)
        return is < 0 ? -1 : datetime_from(state, object, out);
    is = PyObject_IsInstance(object, state->date);
    if (is != 0)
        return is < 0 ? -1 : date_from(object, out);
    is = PyObject_IsInstance(object, state->uuid);
    if (is != 0)
        return is < 0
                   ? -1
                   : bytes_from(SP_TYPE_UUID, PyObject_GetAttrString(object, "bytes"), out, keep);
    is = PyObject_IsInstance(object, state->decimal);
    if (is != 0)
        return is < 0 ? -1
                      : bytes_from(SP_TYPE_NUMERIC,
                                   PyObject_CallMethod(object, "__format__", "s", "f"), out, keep);
    if (PyByteArray_Check(object) || PyMemoryView_Check(object))
        return bytes_from(SP_TYPE_BYTES, PyBytes_FromObject(object), out, keep);
    if (document_from(state, object, out, keep) != 0)
        return -1;
    if (*keep != NULL)
        return 0;
    if (PyBytes_Check(object))
        return bytes_from(SP_TYPE_BYTES, Py_NewRef(object), out, keep);
    PyObject *type = PyType_GetName(Py_TYPE(object));
    PyErr_Format(PyExc_TypeError, "%U cannot be part of a key", type);
    Py_XDECREF(type);
    return -1;
}

int value_from_python(struct state *state, PyObject *object, struct sp_value *out, PyObject **keep)
{
    if (PyUnicode_Check(object))
        return bytes_from(SP_TYPE_TEXT, Py_NewRef(object), out, keep);
    if (PyBytes_CheckExact(object))
        return bytes_from(SP_TYPE_BYTES, Py_NewRef(object), out, keep);
    if (PyBool_Check(object)) {
        *out = sp_bool(object == Py_True);
        return 0;
    }
    if (PyLong_Check(object)) {
        int overflow;
        *out = sp_int(PyLong_AsLongLongAndOverflow(object, &overflow));
        return overflow != 0 ? 1 : PyErr_Occurred() ? -1 : 0;
    }
    if (PyFloat_Check(object)) {
        *out = sp_float(PyFloat_AsDouble(object));
        return 0;
    }
    return rare_from(state, object, out, keep);
}
