/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_wanted.c - the methods of Ring for operators: what is wanted of a node, and waiting for
 * another map.
 *
 * Waiting lets signals and close() through every slice (ponds.c).
 */
#include <stdlib.h>

#include "native.h"

#define EPOCH_NOW UINT64_MAX

/* --- drain, undrain, weight ------------------------------------------------------------------- */

static PyObject *drain(PyObject *self, PyObject *object, bool wanted)
{
    struct ring_object *ring = (struct ring_object *)self;
    const char *node = PyUnicode_AsUTF8AndSize(object, NULL);
    if (node == NULL)
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_drain(handle, node, wanted);
    Py_END_ALLOW_THREADS;
    PyObject *result = status == SP_OK
                           ? Py_NewRef(Py_None)
                           : raise_status(ring->state, status, wanted ? "drain" : "undrain");
    ring_leave(ring);
    return result;
}

PyObject *ring_drain(PyObject *self, PyObject *node)
{
    return drain(self, node, true);
}

PyObject *ring_undrain(PyObject *self, PyObject *node)
{
    return drain(self, node, false);
}

PyObject *ring_weight(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char node_name[] = "node", weight_name[] = "weight";
    static char *names[] = {node_name, weight_name, NULL};
    struct ring_object *ring = (struct ring_object *)self;
    PyObject *weight_object;
    const char *node;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sO:weight", names, &node, &weight_object))
        return NULL;
    const unsigned long weight = PyLong_AsUnsignedLong(weight_object);
    if (PyErr_Occurred())
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_weight(handle, node, weight < UINT32_MAX ? (uint32_t)weight : UINT32_MAX);
    Py_END_ALLOW_THREADS;
    PyObject *result =
        status == SP_OK ? Py_NewRef(Py_None) : raise_status(ring->state, status, "weight");
    ring_leave(ring);
    return result;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static int epoch_now(struct sp_ring *handle, uint64_t *epoch)
{
    struct sp_ring_state state = {0};
    struct sp_ring_node *nodes;
    size_t count;
    int status = sp_ring_nodes(handle, &nodes, &count, &state);
    free(nodes);
    *epoch = state.epoch;
    return status;
}

/* One slice of waiting. The status, or 1 with an exception: the ring was closed. *epoch EPOCH_NOW
 * at the beginning: that of now. */
static int wait_slice(struct ring_object *ring, uint64_t *epoch, uint32_t ms, uint64_t *now)
{
    struct sp_ring *handle = ring_enter(ring);
    int status = SP_OK;
    if (handle == NULL)
        return 1;
    Py_BEGIN_ALLOW_THREADS;
    if (*epoch == EPOCH_NOW)
        status = epoch_now(handle, epoch);
    if (status == SP_OK)
        status = sp_ring_wait(handle, *epoch, ms);
    if (status == SP_OK)
        status = epoch_now(handle, now);
    Py_END_ALLOW_THREADS;
    ring_leave(ring);
    return status;
}

PyObject *ring_wait(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char epoch_name[] = "epoch", timeout_name[] = "timeout";
    static char *names[] = {epoch_name, timeout_name, NULL};
    struct ring_object *ring = (struct ring_object *)self;
    PyObject *epoch_object = Py_None, *timeout_object = Py_None;
    uint64_t limit, now = 0;
    const uint64_t begun = wait_now_ms();
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OO:wait", names, &epoch_object,
                                     &timeout_object) ||
        wait_limit_ms(timeout_object, UINT64_MAX, &limit) < 0)
        return NULL;
    uint64_t epoch = epoch_object == Py_None ? EPOCH_NOW : PyLong_AsUnsignedLongLong(epoch_object);
    if (PyErr_Occurred())
        return NULL;
    for (;;) {
        int status = wait_slice(ring, &epoch, wait_slice_ms(begun, limit), &now);
        if (status == SP_OK)
            return PyLong_FromUnsignedLongLong(now);
        if (status == 1)
            return NULL;
        if (status != SP_ETIMEDOUT || wait_slice_ms(begun, limit) == 0)
            return raise_status(ring->state, status, "wait");
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
}
