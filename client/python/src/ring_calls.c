/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_calls.c - the methods of Ring that ask nodes: for each the GIL is released.
 */
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* --- what is given ---------------------------------------------------------------------------- */

static int need_get(const char *text, enum sp_ring_need *out)
{
    *out = text != NULL && strcmp(text, "all") == 0 ? SP_RING_ALL : SP_RING_ONE;
    if (text == NULL || *out == SP_RING_ALL || strcmp(text, "one") == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "need is \"one\" or \"all\", not \"%s\"", text);
    return -1;
}

/* Keys, values or arguments: as many octets as there is room for are to be released. */
struct many {
    struct octets *octets;
    size_t count; /* filled in */
};

static int many_init(struct many *many, size_t room)
{
    many->count = 0;
    many->octets = PyMem_Calloc(room + 1, sizeof *many->octets);
    if (many->octets == NULL)
        PyErr_NoMemory();
    return many->octets != NULL ? 0 : -1;
}

static int many_add(struct many *many, PyObject *object, const char *what)
{
    if (octets_get(object, what, &many->octets[many->count]) < 0)
        return -1;
    many->count++;
    return 0;
}

static void many_free(struct many *many)
{
    for (size_t i = 0; i < many->count; i++)
        octets_release(&many->octets[i]);
    PyMem_Free(many->octets);
}

/* --- reading ---------------------------------------------------------------------------------- */

static PyObject *bytes_of(const struct sp_buffer *buffer)
{
    return PyBytes_FromStringAndSize(buffer->data, (Py_ssize_t)buffer->size);
}

PyObject *ring_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct ring_object *ring = (struct ring_object *)self;
    struct sp_buffer value = {0};
    struct octets key;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a key and a default");
        return NULL;
    }
    if (octets_get(args[0], "key", &key) < 0)
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    PyObject *result = NULL;
    if (handle != NULL) {
        int status;
        Py_BEGIN_ALLOW_THREADS;
        status = sp_ring_get(handle, key.data, key.size, &value);
        Py_END_ALLOW_THREADS;
        if (status == SP_OK)
            result = bytes_of(&value);
        else if (status == SP_ENOTFOUND)
            result = Py_NewRef(count == 2 ? args[1] : Py_None);
        else
            raise_status(ring->state, status, "get");
        ring_leave(ring);
    }
    sp_buffer_free(&value);
    octets_release(&key);
    return result;
}

/* The values that there are, by the keys as they were given. */
static PyObject *found(PyObject *keys, const struct sp_ring_get *gets, size_t count)
{
    PyObject *values = PyDict_New();
    for (size_t i = 0; i < count && values != NULL; i++) {
        if (gets[i].status != SP_OK)
            continue;
        PyObject *value = bytes_of(&gets[i].value);
        if (value == NULL || PyDict_SetItem(values, PyList_GetItem(keys, (Py_ssize_t)i), value) < 0)
            Py_CLEAR(values);
        Py_XDECREF(value);
    }
    return values;
}

static PyObject *get_keys(struct ring_object *ring, PyObject *keys, const struct many *many,
                          struct sp_ring_get *gets)
{
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return NULL;
    for (size_t i = 0; i < many->count; i++)
        gets[i] =
            (struct sp_ring_get){.key = many->octets[i].data, .key_bytes = many->octets[i].size};
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_mget(handle, gets, many->count);
    Py_END_ALLOW_THREADS;
    PyObject *values = NULL;
    if (status == SP_OK)
        values = found(keys, gets, many->count);
    else
        raise_status(ring->state, status, "get_many");
    for (size_t i = 0; i < many->count; i++)
        sp_buffer_free(&gets[i].value);
    ring_leave(ring);
    return values;
}

/* Works on a list of its own, so that nobody changes it meanwhile. */
PyObject *ring_get_many(PyObject *self, PyObject *iterable)
{
    PyObject *keys = PySequence_List(iterable), *values = NULL;
    struct many many;
    if (keys == NULL)
        return NULL;
    const Py_ssize_t count = PyList_Size(keys);
    struct sp_ring_get *gets = PyMem_Calloc((size_t)count + 1, sizeof *gets);
    if (gets == NULL) {
        PyErr_NoMemory();
    } else if (many_init(&many, (size_t)count) == 0) {
        Py_ssize_t i = 0;
        while (i < count && many_add(&many, PyList_GetItem(keys, i), "key") == 0)
            i++;
        if (i == count)
            values = get_keys((struct ring_object *)self, keys, &many, gets);
        many_free(&many);
    }
    PyMem_Free(gets);
    Py_DECREF(keys);
    return values;
}

/* --- writing ---------------------------------------------------------------------------------- */

static PyObject *copies_or_error(struct ring_object *ring, int status, unsigned have,
                                 const char *what)
{
    return status == SP_OK ? PyLong_FromUnsignedLong(have)
                           : raise_status(ring->state, status, what);
}

static PyObject *put(struct ring_object *ring, const struct octets *key, const struct octets *value,
                     int64_t ttl_ms, enum sp_ring_need need)
{
    struct sp_ring_copies copies = {0};
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    if (value != NULL)
        status = sp_ring_set(handle, key->data, key->size, value->data, value->size, ttl_ms, need,
                             &copies);
    else
        status = sp_ring_delete(handle, key->data, key->size, need, &copies);
    Py_END_ALLOW_THREADS;
    PyObject *result = copies_or_error(ring, status, copies.have, value != NULL ? "set" : "delete");
    ring_leave(ring);
    return result;
}

PyObject *ring_set(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char key_name[] = "key", value_name[] = "value", ttl_name[] = "ttl",
                need_name[] = "need";
    static char *names[] = {key_name, value_name, ttl_name, need_name, NULL};
    PyObject *key_object, *value_object, *ttl = Py_None, *result = NULL;
    struct octets key, value;
    const char *need_text = NULL;
    enum sp_ring_need need;
    int64_t ttl_ms;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|Os:set", names, &key_object, &value_object,
                                     &ttl, &need_text) ||
        ttl_ms_get(ttl, &ttl_ms) < 0 || need_get(need_text, &need) < 0 ||
        octets_get(key_object, "key", &key) < 0)
        return NULL;
    if (octets_get(value_object, "value", &value) == 0) {
        result = put((struct ring_object *)self, &key, &value, ttl_ms, need);
        octets_release(&value);
    }
    octets_release(&key);
    return result;
}

PyObject *ring_delete(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char key_name[] = "key", need_name[] = "need";
    static char *names[] = {key_name, need_name, NULL};
    const char *need_text = NULL;
    enum sp_ring_need need;
    PyObject *object;
    struct octets key;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|s:delete", names, &object, &need_text) ||
        need_get(need_text, &need) < 0 || octets_get(object, "key", &key) < 0)
        return NULL;
    PyObject *result = put((struct ring_object *)self, &key, NULL, 0, need);
    octets_release(&key);
    return result;
}

/* The fewest copies of any; the error that came is the first one's. */
static PyObject *put_many(struct ring_object *ring, const struct many *many,
                          struct sp_ring_put *puts, int64_t ttl_ms, enum sp_ring_need need)
{
    const size_t count = many->count / 2;
    struct sp_ring *handle = ring_enter(ring);
    unsigned least = 0;
    int status;
    if (handle == NULL)
        return NULL;
    /* Without a value a put is a deletion, and what is empty may have no address. */
    for (size_t i = 0; i < count; i++)
        puts[i] = (struct sp_ring_put){
            .key = many->octets[2 * i].data,
            .key_bytes = many->octets[2 * i].size,
            .value = many->octets[2 * i + 1].size ? many->octets[2 * i + 1].data : "",
            .value_bytes = many->octets[2 * i + 1].size,
            .ttl_ms = ttl_ms};
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_mput(handle, puts, count, need);
    Py_END_ALLOW_THREADS;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || puts[i].copies.have < least)
            least = puts[i].copies.have;
    PyObject *result = copies_or_error(ring, status, least, "set_many");
    ring_leave(ring);
    return result;
}

static int pairs_add(struct many *many, PyObject *pairs)
{
    for (Py_ssize_t i = 0; i < PyList_Size(pairs); i++) {
        PyObject *pair = PyList_GetItem(pairs, i);
        if (many_add(many, PyTuple_GetItem(pair, 0), "key") < 0 ||
            many_add(many, PyTuple_GetItem(pair, 1), "value") < 0)
            return -1;
    }
    return 0;
}

PyObject *ring_set_many(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char entries_name[] = "entries", ttl_name[] = "ttl", need_name[] = "need";
    static char *names[] = {entries_name, ttl_name, need_name, NULL};
    PyObject *mapping, *ttl = Py_None, *result = NULL;
    const char *need_text = NULL;
    enum sp_ring_need need;
    struct many many;
    int64_t ttl_ms;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|Os:set_many", names, &mapping, &ttl,
                                     &need_text) ||
        ttl_ms_get(ttl, &ttl_ms) < 0 || need_get(need_text, &need) < 0)
        return NULL;
    PyObject *pairs = PyMapping_Items(mapping);
    if (pairs == NULL)
        return NULL;
    const size_t count = (size_t)PyList_Size(pairs);
    struct sp_ring_put *puts = PyMem_Calloc(count + 1, sizeof *puts);
    if (puts == NULL) {
        PyErr_NoMemory();
    } else if (many_init(&many, 2 * count) == 0) {
        if (pairs_add(&many, pairs) == 0)
            result = put_many((struct ring_object *)self, &many, puts, ttl_ms, need);
        many_free(&many);
    }
    PyMem_Free(puts);
    Py_DECREF(pairs);
    return result;
}

PyObject *ring_incr(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char key_name[] = "key", by_name[] = "by";
    static char *names[] = {key_name, by_name, NULL};
    struct ring_object *ring = (struct ring_object *)self;
    PyObject *object, *result = NULL;
    struct octets key;
    long long by = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|L:incr", names, &object, &by) ||
        octets_get(object, "key", &key) < 0)
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    if (handle != NULL) {
        int64_t sum = 0;
        int status;
        Py_BEGIN_ALLOW_THREADS;
        status = sp_ring_incr(handle, key.data, key.size, by, &sum, NULL);
        Py_END_ALLOW_THREADS;
        result =
            status == SP_OK ? PyLong_FromLongLong(sum) : raise_status(ring->state, status, "incr");
        ring_leave(ring);
    }
    octets_release(&key);
    return result;
}

/* --- any command ------------------------------------------------------------------------------ */

static PyObject *error_to_python(struct state *state, const struct sp_reply *reply)
{
    PyObject *name = PyUnicode_FromString("SP_EREFUSED");
    PyObject *class = name != NULL ? dict_get(state->errors, name) : NULL;
    PyObject *error = class != NULL
                          ? PyObject_CallFunction(class, "s#", reply->text, (Py_ssize_t)reply->size)
                          : NULL;
    Py_XDECREF(class);
    Py_XDECREF(name);
    return error;
}

static PyObject *reply_to_python(struct state *state, const struct sp_reply *reply);

static PyObject *items_to_python(struct state *state, const struct sp_reply *reply)
{
    PyObject *list = PyList_New((Py_ssize_t)reply->item_count);
    for (size_t i = 0; i < reply->item_count && list != NULL; i++) {
        PyObject *item = reply_to_python(state, reply->items[i]);
        if (item == NULL || PyList_SetItem(list, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *reply_to_python(struct state *state, const struct sp_reply *reply)
{
    switch (reply->type) {
    case SP_REPLY_INTEGER:
        return PyLong_FromLongLong(reply->integer);
    case SP_REPLY_TEXT:
        return PyBytes_FromStringAndSize(reply->text, (Py_ssize_t)reply->size);
    case SP_REPLY_ERROR:
        return error_to_python(state, reply);
    case SP_REPLY_ARRAY:
        return items_to_python(state, reply);
    case SP_REPLY_NULL:
    default:
        return Py_NewRef(Py_None);
    }
}

/* An error is raised; one within an array is a value. */
static PyObject *reply_or_error(struct state *state, const struct sp_reply *reply)
{
    PyObject *result = reply_to_python(state, reply);
    if (result == NULL || reply->type != SP_REPLY_ERROR)
        return result;
    PyErr_SetObject((PyObject *)Py_TYPE(result), result);
    Py_DECREF(result);
    return NULL;
}

static PyObject *call(struct ring_object *ring, const struct many *many, const char **arguments,
                      size_t *sizes)
{
    struct sp_ring_call one = {
        .argument_count = many->count, .arguments = arguments, .sizes = sizes};
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return NULL;
    for (size_t i = 0; i < many->count; i++) {
        arguments[i] = many->octets[i].data;
        sizes[i] = many->octets[i].size;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_call(handle, &one, 1);
    Py_END_ALLOW_THREADS;
    PyObject *result = status == SP_OK ? reply_or_error(ring->state, one.reply)
                                       : raise_status(ring->state, status, "execute");
    sp_reply_free(one.reply);
    ring_leave(ring);
    return result;
}

/* Numbers are sent as their text; these objects live as long as the list that holds them. */
static PyObject *arguments_as_texts(PyObject *args)
{
    PyObject *list = PySequence_List(args);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_Size(list); i++) {
        PyObject *item = PyList_GetItem(list, i);
        if (!PyLong_Check(item) && !PyFloat_Check(item))
            continue;
        PyObject *text = PyBool_Check(item) ? NULL : PyObject_Str(item);
        if (text == NULL && !PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "an argument is bytes, str, int or float, not bool");
        if (text == NULL || PyList_SetItem(list, i, text) < 0)
            Py_CLEAR(list);
    }
    return list;
}

PyObject *ring_execute(PyObject *self, PyObject *args)
{
    PyObject *texts = arguments_as_texts(args), *result = NULL;
    struct many many;
    if (texts == NULL)
        return NULL;
    const Py_ssize_t count = PyList_Size(texts);
    const char **arguments = PyMem_Calloc((size_t)count + 1, sizeof *arguments);
    size_t *sizes = PyMem_Calloc((size_t)count + 1, sizeof *sizes);
    if (count == 0) {
        PyErr_SetString(PyExc_TypeError, "execute takes a command and its arguments");
    } else if (arguments == NULL || sizes == NULL) {
        PyErr_NoMemory();
    } else if (many_init(&many, (size_t)count) == 0) {
        Py_ssize_t i = 0;
        while (i < count && many_add(&many, PyList_GetItem(texts, i), "argument") == 0)
            i++;
        if (i == count)
            result = call((struct ring_object *)self, &many, arguments, sizes);
        many_free(&many);
    }
    PyMem_Free(sizes);
    PyMem_Free(arguments);
    Py_DECREF(texts);
    return result;
}
