/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_compute.c - Cache.get_or_compute: the library's single flight with a Python function.
 *
 * A fresh value is read as get reads it, with the GIL. For anything else the GIL is released until
 * the library calls back: to compute, or, while it waits and a signal has come, to ask whether to
 * go on. What the function raises stays the thread's exception while the library ends the flight.
 */
#include <math.h>

#include "native.h"

#define RAISED 1 /* returned by the callback: there is an exception */

struct job {
    PyObject *function;
    PyThreadState *thread; /* while the GIL is released */
    bool raised;
};

/* --- called back ------------------------------------------------------------------------------ */

/* With the GIL. */
static int call(PyObject *function, struct sp_buffer *value)
{
    struct octets octets;
    PyObject *result = PyObject_CallNoArgs(function);
    if (result == NULL)
        return RAISED;
    int status = RAISED;
    if (octets_get(result, "value", &octets) == 0) {
        status = sp_buffer_set(value, octets.data, octets.size);
        octets_release(&octets);
    }
    Py_DECREF(result);
    if (status == SP_ENOMEM)
        PyErr_NoMemory();
    return status == SP_OK ? SP_OK : RAISED;
}

static int job_compute(void *context, struct sp_buffer *value)
{
    struct job *job = context;
    PyEval_RestoreThread(job->thread);
    int status = call(job->function, value);
    job->raised = status != SP_OK;
    job->thread = PyEval_SaveThread();
    return status;
}

static bool job_go_on(void *context)
{
    struct job *job = context;
    PyEval_RestoreThread(job->thread);
    job->raised = PyErr_CheckSignals() < 0;
    job->thread = PyEval_SaveThread();
    return !job->raised;
}

/* --- the method ------------------------------------------------------------------------------- */

static int wait_ms_get(double seconds, const char *what, uint32_t *out)
{
    if (isnan(seconds) || seconds < 0 || seconds > 3600) {
        PyErr_Format(PyExc_ValueError, "%s is 0 to 3600 seconds", what);
        return -1;
    }
    *out = (uint32_t)(seconds * 1000 + 0.5);
    return 0;
}

static int take_options(PyObject *args, PyObject *keywords, PyObject **key, PyObject **function,
                        struct sp_compute *how)
{
    static char key_name[] = "key", function_name[] = "function", ttl_name[] = "ttl",
                stale_name[] = "stale", wait_name[] = "wait", hold_name[] = "hold";
    static char *names[] = {key_name,  function_name, ttl_name, stale_name,
                            wait_name, hold_name,     NULL};
    PyObject *ttl = Py_None;
    double stale = 0, wait = 5, hold = 10;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|Oddd:get_or_compute", names, key, function,
                                     &ttl, &stale, &wait, &hold) ||
        ttl_ms_get(ttl, &how->ttl_ms) < 0 || wait_ms_get(wait, "wait", &how->wait_ms) < 0 ||
        wait_ms_get(hold, "hold", &how->hold_ms) < 0)
        return -1;
    if (isnan(stale) || stale < 0 || stale > 1e12) {
        PyErr_SetString(PyExc_ValueError, "stale is 0 to 1e12 seconds");
        return -1;
    }
    how->stale_ms = (int64_t)(stale * 1000 + 0.5);
    return 0;
}

/* The value if it is fresh; NULL: with an exception, or it is not. */
static PyObject *read_fresh(struct cache_object *cache, const struct octets *key,
                            const struct sp_compute *how)
{
    int64_t left_ms;
    PyObject *value = cache_read(cache, key);
    if (value == NULL || how->stale_ms == 0 || how->ttl_ms == 0)
        return value;
    int status = sp_cache_ttl(cache->cache, key->data, key->size, &left_ms);
    if (status != SP_OK || (left_ms >= 0 && left_ms < how->stale_ms))
        Py_CLEAR(value);
    return value;
}

static PyObject *compute(struct cache_object *cache, const struct octets *key, PyObject *function,
                         struct sp_compute *how)
{
    struct sp_buffer value = {0};
    struct job job = {.function = function};
    PyObject *result = NULL;
    how->compute = job_compute;
    how->go_on = job_go_on;
    how->context = &job;
    job.thread = PyEval_SaveThread();
    int status = sp_cache_get_or_compute(cache->cache, key->data, key->size, how, &value, NULL);
    PyEval_RestoreThread(job.thread);
    if (status == SP_OK)
        result = PyBytes_FromStringAndSize(value.data, (Py_ssize_t)value.size);
    else if (!job.raised)
        raise_status(cache->state, status, "get_or_compute");
    sp_buffer_free(&value);
    return result;
}

PyObject *cache_get_or_compute(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct cache_object *cache = (struct cache_object *)self;
    struct sp_compute how = SP_COMPUTE_INIT;
    PyObject *key_object, *function;
    struct octets key;
    if (take_options(args, keywords, &key_object, &function, &how) < 0 || !cache_usable(cache) ||
        octets_get(key_object, "key", &key) < 0)
        return NULL;
    PyObject *value = read_fresh(cache, &key, &how);
    if (value == NULL && PyErr_Occurred())
        PyErr_Clear(); /* a pond that cannot be read is as good as a miss */
    if (value == NULL)
        value = compute(cache, &key, function, &how);
    octets_release(&key);
    return value;
}
