/* SPDX-License-Identifier: Apache-2.0
 *
 * caches.c - the Cache type: keys and values as bytes of Python objects, reading, and the list of
 * all methods. Writing is in cache_writes.c, get_or_compute in cache_compute.c.
 *
 * Reading touches shared memory only and keeps the GIL; all that talks to the server releases it.
 */
#include <math.h>

#include "native.h"

#define VALUE_BYTES 2048 /* of a value, on the stack */
#define BATCH       64
#define ROOM_BYTES  1024 /* for each value of a batch; larger ones are read again, alone */

/* --- what is given ---------------------------------------------------------------------------- */

int octets_get(PyObject *object, const char *what, struct octets *out)
{
    Py_ssize_t size;
    out->buffered = false;
    if (PyUnicode_Check(object)) {
        out->data = PyUnicode_AsUTF8AndSize(object, &size);
        out->size = (size_t)size;
        return out->data != NULL ? 0 : -1;
    }
    if (PyObject_CheckBuffer(object)) {
        if (PyObject_GetBuffer(object, &out->buffer, PyBUF_SIMPLE) < 0)
            return -1;
        out->data = out->buffer.buf;
        out->size = (size_t)out->buffer.len;
        out->buffered = true;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "a %s is bytes or str, not %R", what,
                 (PyObject *)Py_TYPE(object));
    return -1;
}

void octets_release(struct octets *octets)
{
    if (octets->buffered)
        PyBuffer_Release(&octets->buffer);
    octets->buffered = false;
}

static double seconds_of(PyObject *object)
{
    PyObject *total = PyObject_GetAttrString(object, "total_seconds");
    if (total == NULL) {
        PyErr_Clear();
        return PyFloat_AsDouble(object);
    }
    PyObject *number = PyObject_CallNoArgs(total);
    double seconds = number != NULL ? PyFloat_AsDouble(number) : -1;
    Py_XDECREF(number);
    Py_DECREF(total);
    return seconds;
}

int ttl_ms_get(PyObject *object, int64_t *out)
{
    *out = 0;
    if (object == NULL || object == Py_None)
        return 0;
    double seconds = seconds_of(object);
    if (PyErr_Occurred())
        return -1;
    if (isnan(seconds) || seconds <= 0) {
        PyErr_SetString(PyExc_ValueError, "a time to live is a number of seconds above 0, or None");
        return -1;
    }
    if (isinf(seconds))
        return 0;
    if (seconds > 1e12) {
        PyErr_SetString(PyExc_ValueError, "a time to live is at most 1e12 seconds");
        return -1;
    }
    *out = (int64_t)(seconds * 1000 + 0.5);
    if (*out == 0)
        *out = 1;
    return 0;
}

bool cache_usable(struct cache_object *cache)
{
    return pond_usable(cache->pond);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A value that did not fit, which may grow meanwhile. */
static PyObject *read_large(struct cache_object *cache, const struct octets *key, size_t size)
{
    for (;;) {
        size_t cap = size;
        char *room = PyMem_Malloc(cap);
        if (room == NULL)
            return PyErr_NoMemory();
        int status = sp_cache_get(cache->cache, key->data, key->size, room, cap, &size);
        PyObject *value = NULL;
        if (status == SP_OK)
            value = PyBytes_FromStringAndSize(room, (Py_ssize_t)size);
        PyMem_Free(room);
        if (status == SP_OK || status == SP_ENOTFOUND)
            return value;
        if (status != SP_ERANGE)
            return raise_plain(cache->state, status, "cache");
    }
}

PyObject *cache_read(struct cache_object *cache, const struct octets *key)
{
    char room[VALUE_BYTES];
    size_t size = 0;
    int status = sp_cache_get(cache->cache, key->data, key->size, room, sizeof room, &size);
    if (LIKELY(status == SP_OK))
        return PyBytes_FromStringAndSize(room, (Py_ssize_t)size);
    if (status == SP_ENOTFOUND)
        return NULL;
    if (status == SP_ERANGE)
        return read_large(cache, key, size);
    return raise_plain(cache->state, status, "cache");
}

/* The value of a key object, or NULL: with an exception, or there is none. */
static PyObject *lookup(PyObject *self, PyObject *object)
{
    struct cache_object *cache = (struct cache_object *)self;
    struct octets key;
    if (!cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return NULL;
    PyObject *value = cache_read(cache, &key);
    octets_release(&key);
    return value;
}

static PyObject *cache_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get takes a key and a default");
        return NULL;
    }
    PyObject *value = lookup(self, args[0]);
    if (value != NULL || PyErr_Occurred())
        return value;
    return Py_NewRef(count == 2 ? args[1] : Py_None);
}

static PyObject *cache_subscript(PyObject *self, PyObject *key)
{
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *value = lookup(self, key);
    if (value != NULL || PyErr_Occurred())
        return value;
    PyObject *error = PyObject_CallFunction(cache->state->not_found, "sO", "", key);
    if (error != NULL)
        PyErr_SetObject(cache->state->not_found, error);
    Py_XDECREF(error);
    return NULL;
}

static int cache_contains(PyObject *self, PyObject *object)
{
    struct cache_object *cache = (struct cache_object *)self;
    struct octets key;
    if (!cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return -1;
    int status = sp_cache_exists(cache->cache, key.data, key.size);
    octets_release(&key);
    if (status == SP_OK || status == SP_ENOTFOUND)
        return status == SP_OK;
    raise_plain(cache->state, status, "cache");
    return -1;
}

static PyObject *cache_ttl(PyObject *self, PyObject *object)
{
    struct cache_object *cache = (struct cache_object *)self;
    struct octets key;
    int64_t ms;
    if (!cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return NULL;
    int status = sp_cache_ttl(cache->cache, key.data, key.size, &ms);
    octets_release(&key);
    if (status == SP_ENOTFOUND)
        Py_RETURN_NONE;
    if (status != SP_OK)
        return raise_plain(cache->state, status, "cache");
    return PyFloat_FromDouble(ms < 0 ? HUGE_VAL : (double)ms / 1000);
}

/* --- many ------------------------------------------------------------------------------------- */

struct batch {
    struct cache_object *cache;
    struct octets keys[BATCH];
    struct sp_get gets[BATCH];
    char values[BATCH][ROOM_BYTES];
};

static PyObject *batch_result(struct batch *batch, size_t i)
{
    const struct sp_get *get = &batch->gets[i];
    PyObject *value = NULL;
    if (get->status == SP_OK)
        value = PyBytes_FromStringAndSize(batch->values[i], (Py_ssize_t)get->size);
    else if (get->status == SP_ERANGE)
        value = read_large(batch->cache, &batch->keys[i], get->size);
    else if (get->status != SP_ENOTFOUND)
        raise_plain(batch->cache->state, get->status, "cache");
    return value != NULL || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

static int batch_run(struct batch *batch, PyObject *keys, Py_ssize_t from, size_t count,
                     PyObject *out)
{
    size_t taken = 0;
    for (; taken < count; taken++) {
        struct octets *key = &batch->keys[taken];
        if (octets_get(PyList_GetItem(keys, from + (Py_ssize_t)taken), "key", key) < 0)
            break;
        batch->gets[taken] = (struct sp_get){.key = key->data,
                                             .key_bytes = key->size,
                                             .out = batch->values[taken],
                                             .cap = ROOM_BYTES};
    }
    int failed = taken < count ? -1 : 0;
    if (failed == 0)
        (void)sp_cache_mget(batch->cache->cache, batch->gets, count);
    for (size_t i = 0; i < taken && failed == 0; i++) {
        PyObject *value = batch_result(batch, i);
        failed = value == NULL ? -1 : PyList_SetItem(out, from + (Py_ssize_t)i, value);
    }
    for (size_t i = 0; i < taken; i++)
        octets_release(&batch->keys[i]);
    return failed;
}

/* Works on a list of its own, so that nobody changes it meanwhile. */
static PyObject *cache_get_many(PyObject *self, PyObject *iterable)
{
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *keys = cache_usable(cache) ? PySequence_List(iterable) : NULL;
    if (keys == NULL)
        return NULL;
    Py_ssize_t count = PyList_Size(keys);
    PyObject *out = PyList_New(count);
    struct batch *batch = PyMem_Malloc(sizeof *batch);
    int failed = out != NULL && batch != NULL ? 0 : -1;
    if (batch == NULL)
        PyErr_NoMemory();
    else
        batch->cache = cache;
    for (Py_ssize_t from = 0; from < count && failed == 0; from += BATCH)
        failed = batch_run(batch, keys, from, (size_t)(count - from < BATCH ? count - from : BATCH),
                           out);
    PyMem_Free(batch);
    Py_DECREF(keys);
    if (failed != 0)
        Py_CLEAR(out);
    return out;
}

/* --- the type --------------------------------------------------------------------------------- */

/* The decorator is written in Python. */
static PyObject *cache_cached(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct cache_object *cache = (struct cache_object *)self;
    if (PyTuple_Size(args) > 0) {
        PyErr_SetString(PyExc_TypeError,
                        "cached takes arguments by name only: @cache.cached(ttl=60)");
        return NULL;
    }
    PyObject *function = PyObject_GetAttrString(cache->state->cached, "cached");
    PyObject *own = function != NULL ? PyTuple_Pack(1, self) : NULL;
    PyObject *decorator = own != NULL ? PyObject_Call(function, own, keywords) : NULL;
    Py_XDECREF(own);
    Py_XDECREF(function);
    return decorator;
}

PyObject *cache_new(struct pond_object *pond)
{
    struct sp_cache *handle;
    int status = sp_cache_open(pond->pond, &handle);
    if (status != SP_OK)
        return raise_status(pond->state, status, NULL);
    struct cache_object *cache = PyObject_GC_New(struct cache_object, pond->state->cache_type);
    if (cache == NULL)
        return NULL;
    cache->state = pond->state;
    cache->cache = handle;
    cache->pond = (struct pond_object *)Py_NewRef((PyObject *)pond);
    PyObject_GC_Track(cache);
    return (PyObject *)cache;
}

static PyObject *cache_repr(PyObject *self)
{
    struct cache_object *cache = (struct cache_object *)self;
    return PyUnicode_FromFormat("<sidepond.Cache of %R>", (PyObject *)cache->pond);
}

static int cache_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)((struct cache_object *)self)->pond);
    return 0;
}

/* The pond's tp_clear breaks the cycle; so a Cache always has its pond. */
static void cache_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_DECREF((PyObject *)((struct cache_object *)self)->pond);
    PyObject_GC_Del(self);
    Py_DECREF((PyObject *)type);
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef cache_methods[] = {
    {"get", (PyCFunction)(void (*)(void))cache_get, METH_FASTCALL,
     "get(key, default=None): the value as bytes, or the default."},
    {"get_many", cache_get_many, METH_O, "get_many(keys): a list of values or None."},
    {"ttl", cache_ttl, METH_O,
     "ttl(key): the seconds that it has left, math.inf if it does not expire, None if it does\n"
     "not exist."},
    {"set", KEYWORDS(cache_set), "set(key, value, ttl=None): puts an entry in."},
    {"set_many", KEYWORDS(cache_set_many),
     "set_many(entries, ttl=None): puts the entries of a mapping in, in few round trips."},
    {"add", KEYWORDS(cache_add),
     "add(key, value, ttl=None): puts it in if there is none, and says whether it did."},
    {"replace", KEYWORDS(cache_replace),
     "replace(key, value, ttl=None): puts it in if there is one, and says whether it did."},
    {"delete", cache_delete, METH_O, "delete(key): takes it out, and says whether it was there."},
    {"incr", KEYWORDS(cache_incr),
     "incr(key, by=1): adds to a number in decimal digits, 0 if there is none; the sum."},
    {"expire", KEYWORDS(cache_expire),
     "expire(key, ttl): seconds from now, None for never; says whether it was there."},
    {"get_or_compute", KEYWORDS(cache_get_or_compute),
     "get_or_compute(key, function, ttl=None, stale=0, wait=5, hold=10): the value, or else what\n"
     "function() returns, which is put in. Of all who miss a key one calls the function; the\n"
     "others wait for it."},
    {"cached", KEYWORDS(cache_cached),
     "cached(*, ttl, stale, key, dumps, loads, wait, hold): a decorator for functions."},
    {"connect", KEYWORDS(cache_connect),
     "connect(address=None, user=None, password=None, timeout=1): how to reach the server."},
    {0}};

static PyType_Slot cache_slots[] = {
    {Py_tp_doc, (void *)"The cache of a pond: keys to bytes, with an expiry."},
    {Py_tp_dealloc, cache_dealloc},
    {Py_tp_traverse, cache_traverse},
    {Py_tp_repr, cache_repr},
    {Py_tp_methods, cache_methods},
    {Py_mp_subscript, cache_subscript},
    {Py_mp_ass_subscript, cache_assign},
    {Py_sq_contains, cache_contains},
    {0, NULL}};

static PyType_Spec cache_spec = {
    .name = "sidepond.Cache",
    .basicsize = sizeof(struct cache_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_GC,
    .slots = cache_slots,
};

int cache_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &cache_spec, &state->cache_type);
}
