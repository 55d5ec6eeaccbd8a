/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_writes.c - the methods of Cache that change entries: each a request to the server, for
 * which the GIL is released.
 */
#include <math.h>

#include "native.h"

typedef int set_function(struct sp_cache *, const void *, size_t, const void *, size_t, int64_t);

/* --- one entry -------------------------------------------------------------------------------- */

/* The status, or 1 with an exception. */
static int put(struct cache_object *cache, set_function *set, PyObject *key_object,
               PyObject *value_object, int64_t ttl_ms)
{
    struct octets key, value;
    int status;
    if (!cache_usable(cache) || octets_get(key_object, "key", &key) < 0)
        return 1;
    if (octets_get(value_object, "value", &value) < 0) {
        octets_release(&key);
        return 1;
    }
    Py_BEGIN_ALLOW_THREADS status =
        set(cache->cache, key.data, key.size, value.data, value.size, ttl_ms);
    Py_END_ALLOW_THREADS octets_release(&value);
    octets_release(&key);
    return status;
}

/* What is answered for SP_OK and for the one status that is no error. */
static PyObject *done_or_not(struct cache_object *cache, int status, int not_done, const char *what)
{
    if (status == SP_OK || status == not_done)
        return PyBool_FromLong(status == SP_OK);
    return status == 1 ? NULL : raise_status(cache->state, status, what);
}

static int put_arguments(PyObject *args, PyObject *keywords, PyObject **key, PyObject **value,
                         int64_t *ttl_ms)
{
    static char key_name[] = "key", value_name[] = "value", ttl_name[] = "ttl";
    static char *names[] = {key_name, value_name, ttl_name, NULL};
    PyObject *ttl = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|O", names, key, value, &ttl))
        return -1;
    return ttl_ms_get(ttl, ttl_ms);
}

PyObject *cache_set(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *key, *value;
    int64_t ttl_ms;
    if (put_arguments(args, keywords, &key, &value, &ttl_ms) < 0)
        return NULL;
    int status = put(cache, sp_cache_set, key, value, ttl_ms);
    if (status == SP_OK)
        Py_RETURN_NONE;
    return status == 1 ? NULL : raise_status(cache->state, status, "set");
}

PyObject *cache_add(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *key, *value;
    int64_t ttl_ms;
    if (put_arguments(args, keywords, &key, &value, &ttl_ms) < 0)
        return NULL;
    return done_or_not(cache, put(cache, sp_cache_add, key, value, ttl_ms), SP_EEXISTS, "add");
}

PyObject *cache_replace(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *key, *value;
    int64_t ttl_ms;
    if (put_arguments(args, keywords, &key, &value, &ttl_ms) < 0)
        return NULL;
    return done_or_not(cache, put(cache, sp_cache_replace, key, value, ttl_ms), SP_ENOTFOUND,
                       "replace");
}

/* The status, or 1 with an exception. */
static int delete_status(struct cache_object *cache, PyObject *object)
{
    struct octets key;
    int status;
    if (!cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return 1;
    Py_BEGIN_ALLOW_THREADS status = sp_cache_delete(cache->cache, key.data, key.size);
    Py_END_ALLOW_THREADS octets_release(&key);
    return status;
}

PyObject *cache_delete(PyObject *self, PyObject *key)
{
    struct cache_object *cache = (struct cache_object *)self;
    return done_or_not(cache, delete_status(cache, key), SP_ENOTFOUND, "delete");
}

/* cache[key] = value and del cache[key]; deleting what is not there is no error, since it may have
 * been evicted a moment ago. */
int cache_assign(PyObject *self, PyObject *key, PyObject *value)
{
    struct cache_object *cache = (struct cache_object *)self;
    int status =
        value != NULL ? put(cache, sp_cache_set, key, value, 0) : delete_status(cache, key);
    if (status == SP_OK || (value == NULL && status == SP_ENOTFOUND))
        return 0;
    if (status != 1)
        raise_status(cache->state, status, value != NULL ? "set" : "delete");
    return -1;
}

PyObject *cache_expire(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char key_name[] = "key", ttl_name[] = "ttl";
    static char *names[] = {key_name, ttl_name, NULL};
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *object, *ttl;
    struct octets key;
    int64_t ttl_ms;
    int status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO:expire", names, &object, &ttl) ||
        ttl_ms_get(ttl, &ttl_ms) < 0 || !cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS status = sp_cache_expire(cache->cache, key.data, key.size, ttl_ms);
    Py_END_ALLOW_THREADS octets_release(&key);
    return done_or_not(cache, status, SP_ENOTFOUND, "expire");
}

PyObject *cache_incr(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char key_name[] = "key", by_name[] = "by";
    static char *names[] = {key_name, by_name, NULL};
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *object;
    struct octets key;
    long long by = 1;
    int64_t sum = 0;
    int status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|L:incr", names, &object, &by) ||
        !cache_usable(cache) || octets_get(object, "key", &key) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS status = sp_cache_incr(cache->cache, key.data, key.size, by, &sum);
    Py_END_ALLOW_THREADS octets_release(&key);
    return status == SP_OK ? PyLong_FromLongLong(sum) : raise_status(cache->state, status, "incr");
}

/* --- many ------------------------------------------------------------------------------------- */

struct entries {
    struct sp_set *sets;
    struct octets *octets; /* key and value of each */
    size_t count;          /* that are filled in */
};

/* `pairs` is a list of pairs, which holds the objects. */
static int entries_fill(struct entries *entries, PyObject *pairs, int64_t ttl_ms)
{
    Py_ssize_t count = PyList_Size(pairs);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GetItem(pairs, i);
        struct octets *key = &entries->octets[2 * entries->count], *value = key + 1;
        if (octets_get(PyTuple_GetItem(pair, 0), "key", key) < 0)
            return -1;
        if (octets_get(PyTuple_GetItem(pair, 1), "value", value) < 0) {
            octets_release(key);
            return -1;
        }
        entries->sets[entries->count++] = (struct sp_set){.key = key->data,
                                                          .key_bytes = key->size,
                                                          .value = value->data,
                                                          .value_bytes = value->size,
                                                          .ttl_ms = ttl_ms};
    }
    return 0;
}

static PyObject *set_pairs(struct cache_object *cache, PyObject *pairs, int64_t ttl_ms)
{
    size_t count = (size_t)PyList_Size(pairs);
    struct entries entries = {.sets = PyMem_Calloc(count + 1, sizeof *entries.sets),
                              .octets = PyMem_Calloc(count + 1, 2 * sizeof *entries.octets)};
    int status = 1;
    if (entries.sets == NULL || entries.octets == NULL) {
        PyErr_NoMemory();
    } else if (entries_fill(&entries, pairs, ttl_ms) == 0) {
        Py_BEGIN_ALLOW_THREADS status = sp_cache_mset(cache->cache, entries.sets, entries.count);
        Py_END_ALLOW_THREADS
    }
    for (size_t i = 0; i < 2 * entries.count; i++)
        octets_release(&entries.octets[i]);
    PyMem_Free(entries.octets);
    PyMem_Free(entries.sets);
    if (status == SP_OK)
        Py_RETURN_NONE;
    return status == 1 ? NULL : raise_status(cache->state, status, "set_many");
}

PyObject *cache_set_many(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char entries_name[] = "entries", ttl_name[] = "ttl";
    static char *names[] = {entries_name, ttl_name, NULL};
    struct cache_object *cache = (struct cache_object *)self;
    PyObject *mapping, *ttl = Py_None;
    int64_t ttl_ms;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:set_many", names, &mapping, &ttl) ||
        ttl_ms_get(ttl, &ttl_ms) < 0 || !cache_usable(cache))
        return NULL;
    PyObject *pairs = PyMapping_Items(mapping);
    PyObject *result = pairs != NULL ? set_pairs(cache, pairs, ttl_ms) : NULL;
    Py_XDECREF(pairs);
    return result;
}

/* --- the server ------------------------------------------------------------------------------- */

PyObject *cache_connect(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char address_name[] = "address", user_name[] = "user", password_name[] = "password",
                timeout_name[] = "timeout";
    static char *names[] = {address_name, user_name, password_name, timeout_name, NULL};
    struct cache_object *cache = (struct cache_object *)self;
    struct sp_cache_options options = SP_CACHE_OPTIONS_INIT;
    double timeout = 1;
    int status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|zzzd:connect", names, &options.address,
                                     &options.user, &options.password, &timeout) ||
        !cache_usable(cache))
        return NULL;
    if (isnan(timeout) || timeout < 0.001 || timeout > 1e6) {
        PyErr_SetString(PyExc_ValueError, "a timeout is 0.001 to 1e6 seconds");
        return NULL;
    }
    options.timeout_ms = (uint32_t)(timeout * 1000);
    Py_BEGIN_ALLOW_THREADS status = sp_cache_connect(cache->cache, &options);
    Py_END_ALLOW_THREADS if (status == SP_OK) Py_RETURN_NONE;
    return raise_status(cache->state, status, NULL);
}
