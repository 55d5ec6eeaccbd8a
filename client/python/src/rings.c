/* SPDX-License-Identifier: Apache-2.0
 *
 * rings.c - the Ring type: opening and closing, where keys lie, nodes, and the list of all methods.
 * What is asked of nodes is in ring_calls.c, what is wanted of them in ring_wanted.c.
 *
 * A Ring needs no pond. Its calls release the GIL, and may be made by many threads at once; closing
 * waits for nobody: the handle goes when the last call that uses it has ended.
 */
#include <math.h>
#include <stdlib.h>

#include "native.h"

/* --- the handle ------------------------------------------------------------------------------- */

struct sp_ring *ring_enter(struct ring_object *ring)
{
    struct sp_ring *handle = NULL;
    LOCK_OBJECT((PyObject *)ring);
    if (!ring->closed) {
        handle = ring->ring;
        ring->calls++;
    }
    UNLOCK_OBJECT();
    if (handle == NULL)
        PyErr_SetString(PyExc_ValueError, "the ring is closed");
    return handle;
}

/* After a call has ended, or the ring was closed. */
static void close_if_unused(struct ring_object *ring, unsigned ended, bool closing)
{
    struct sp_ring *unused = NULL;
    LOCK_OBJECT((PyObject *)ring);
    ring->calls -= ended;
    ring->closed = ring->closed || closing;
    if (ring->closed && ring->calls == 0) {
        unused = ring->ring;
        ring->ring = NULL;
    }
    UNLOCK_OBJECT();
    if (unused == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS;
    sp_ring_close(unused);
    Py_END_ALLOW_THREADS;
}

void ring_leave(struct ring_object *ring)
{
    close_if_unused(ring, 1, false);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Seconds as milliseconds; NULL and None leave it as it is. */
static int ms_get(PyObject *object, const char *name, uint32_t *out)
{
    if (object == NULL || object == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(object);
    if (PyErr_Occurred())
        return -1;
    if (isnan(seconds) || seconds < 0.001 || seconds > 1e6) {
        PyErr_Format(PyExc_ValueError, "%s is 0.001 to 1e6 seconds", name);
        return -1;
    }
    *out = (uint32_t)(seconds * 1000 + 0.5);
    return 0;
}

struct times {
    PyObject *connect, *timeout, *hedge, *probe;
};

/* With a hedge of 0 a second copy is asked only if the first one fails. */
static int times_get(const struct times *times, struct sp_ring_options *options)
{
    if (times->hedge != NULL && PyNumber_Check(times->hedge) && PyObject_IsTrue(times->hedge) == 0)
        options->hedge_ms = 0;
    else if (ms_get(times->hedge, "hedge", &options->hedge_ms) < 0)
        return -1;
    return ms_get(times->connect, "connect", &options->connect_ms) < 0 ||
                   ms_get(times->timeout, "timeout", &options->timeout_ms) < 0 ||
                   ms_get(times->probe, "probe", &options->probe_ms) < 0
               ? -1
               : 0;
}

static int options_get(PyObject *args, PyObject *keywords, struct sp_ring_options *options)
{
    static char zookeeper[] = "zookeeper", cluster[] = "cluster", nodes[] = "nodes",
                pond[] = "pond", file[] = "file", credential[] = "credential", redis[] = "redis",
                replicas[] = "replicas", slots[] = "slots", user[] = "user",
                password[] = "password", connect[] = "connect", timeout[] = "timeout",
                hedge[] = "hedge", probe[] = "probe", idle[] = "idle";
    static char *names[] = {zookeeper, cluster,  nodes, pond, file,     credential,
                            redis,     replicas, slots, user, password, connect,
                            timeout,   hedge,    probe, idle, NULL};
    struct times times = {0};
    int is_redis = 0;
    unsigned char copies = options->replicas;
    unsigned short slot_count = options->slots;
    unsigned idle_max = options->idle_max;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|z$szzzzpbHzzOOOOI:Ring", names,
                                     &options->zookeeper, &options->cluster, &options->nodes,
                                     &options->pond, &options->file, &options->credential,
                                     &is_redis, &copies, &slot_count, &options->user,
                                     &options->password, &times.connect, &times.timeout,
                                     &times.hedge, &times.probe, &idle_max))
        return -1;
    options->redis = is_redis;
    options->replicas = copies;
    options->slots = slot_count;
    options->idle_max = idle_max;
    return times_get(&times, options);
}

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    struct state *state = PyType_GetModuleState(type);
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *handle;
    int status;
    if (state == NULL || options_get(args, keywords, &options) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_open(&options, &handle);
    Py_END_ALLOW_THREADS;
    if (status != SP_OK)
        return raise_status(state, status, NULL);
    struct ring_object *ring = PyObject_New(struct ring_object, type);
    if (ring == NULL) {
        sp_ring_close(handle);
        return NULL;
    }
    ring->state = state;
    ring->ring = handle;
    ring->calls = 0;
    ring->closed = false;
    return (PyObject *)ring;
}

static void ring_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    close_if_unused((struct ring_object *)self, 0, true);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *ring_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    close_if_unused((struct ring_object *)self, 0, true);
    Py_RETURN_NONE;
}

static PyObject *ring_self(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(self);
}

static PyObject *ring_exit(PyObject *self, PyObject *Py_UNUSED(args))
{
    return ring_close(self, NULL);
}

static PyObject *ring_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((struct ring_object *)self)->closed);
}

/* --- the ring itself -------------------------------------------------------------------------- */

static PyObject *names_to_python(const struct sp_ring_where *where, unsigned first, unsigned end)
{
    PyObject *names = PyTuple_New((Py_ssize_t)(end - first));
    for (unsigned i = first; i < end && names != NULL; i++) {
        PyObject *name = PyUnicode_FromString(where->names[i]);
        if (name == NULL || PyTuple_SetItem(names, (Py_ssize_t)(i - first), name) < 0)
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *place_to_python(struct state *state, const struct sp_ring_where *where)
{
    PyObject *place = NULL;
    PyObject *holders = names_to_python(where, 0, where->holder_count);
    PyObject *joining = names_to_python(where, where->holder_count, where->count);
    if (holders != NULL && joining != NULL)
        place = PyObject_CallMethod(state->info, "RingPlace", "IOO", (unsigned)where->slot, holders,
                                    joining);
    Py_XDECREF(holders);
    Py_XDECREF(joining);
    return place;
}

static PyObject *ring_where_slot(PyObject *self, PyObject *object)
{
    struct ring_object *ring = (struct ring_object *)self;
    struct sp_ring_where where;
    const unsigned long slot = PyLong_AsUnsignedLong(object);
    if (PyErr_Occurred())
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    if (handle == NULL)
        return NULL;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_where_slot(handle, slot < UINT32_MAX ? (uint32_t)slot : UINT32_MAX, &where);
    Py_END_ALLOW_THREADS;
    PyObject *place = status == SP_OK ? place_to_python(ring->state, &where)
                                      : raise_status(ring->state, status, "where_slot");
    ring_leave(ring);
    return place;
}

static PyObject *ring_where(PyObject *self, PyObject *object)
{
    struct ring_object *ring = (struct ring_object *)self;
    struct sp_ring_where where;
    struct octets key;
    if (octets_get(object, "key", &key) < 0)
        return NULL;
    struct sp_ring *handle = ring_enter(ring);
    if (handle == NULL) {
        octets_release(&key);
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_where(handle, key.data, key.size, &where);
    Py_END_ALLOW_THREADS;
    octets_release(&key);
    PyObject *place = status == SP_OK ? place_to_python(ring->state, &where)
                                      : raise_status(ring->state, status, "where");
    ring_leave(ring);
    return place;
}

static PyObject *node_to_python(struct state *state, const struct sp_ring_node *node)
{
    static const char *const states[] = {"joining", "ready", "draining", "drained"};
    return PyObject_CallMethod(
        state->info, "RingNode", "sssIsIIIOOKKKdd", node->name, node->address, node->zone,
        (unsigned)node->weight, (unsigned)node->state < 4 ? states[node->state] : "unknown",
        (unsigned)node->owned_slots, (unsigned)node->held_slots, (unsigned)node->wanted_slots,
        node->kept_back ? Py_True : Py_False, node->distrusted ? Py_True : Py_False,
        (unsigned long long)node->calls, (unsigned long long)node->failures,
        (unsigned long long)node->hedged, node->median_us / 1e6, node->p99_us / 1e6);
}

/* The status of sp_ring_nodes, or 1 with an exception. */
static int nodes_ask(struct ring_object *ring, struct sp_ring_node **nodes, size_t *count,
                     struct sp_ring_state *state)
{
    struct sp_ring *handle = ring_enter(ring);
    int status;
    if (handle == NULL)
        return 1;
    Py_BEGIN_ALLOW_THREADS;
    status = sp_ring_nodes(handle, nodes, count, state);
    Py_END_ALLOW_THREADS;
    if (status != SP_OK)
        raise_status(ring->state, status, "nodes");
    ring_leave(ring);
    return status == SP_OK ? SP_OK : 1;
}

static PyObject *ring_nodes(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring_object *ring = (struct ring_object *)self;
    struct sp_ring_node *nodes;
    size_t count;
    if (nodes_ask(ring, &nodes, &count, NULL) != SP_OK)
        return NULL;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *node = node_to_python(ring->state, &nodes[i]);
        if (node == NULL || PyList_Append(list, node) < 0)
            Py_CLEAR(list);
        Py_XDECREF(node);
    }
    free(nodes);
    return list;
}

static PyObject *ring_info(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring_object *ring = (struct ring_object *)self;
    struct sp_ring_node *nodes;
    struct sp_ring_state of;
    size_t count;
    if (nodes_ask(ring, &nodes, &count, &of) != SP_OK)
        return NULL;
    free(nodes);
    return PyObject_CallMethod(
        ring->state->info, "RingInfo", "KIIOIIO", (unsigned long long)of.epoch, (unsigned)of.slots,
        (unsigned)of.replicas, of.redis ? Py_True : Py_False, (unsigned)of.under_replicated_slots,
        (unsigned)of.unsettled_slots, of.zookeeper_away ? Py_True : Py_False);
}

/* --- the type --------------------------------------------------------------------------------- */

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef ring_methods[] = {
    {"get", (PyCFunction)(void (*)(void))ring_get, METH_FASTCALL,
     "get(key, default=None): the value as bytes, or the default."},
    {"get_many", ring_get_many, METH_O,
     "get_many(keys): a dictionary of those that there are. Each node is asked once, all at the\n"
     "same time."},
    {"set", KEYWORDS(ring_set),
     "set(key, value, ttl=None, need=\"one\"): how many copies have it. With need=\"all\" fewer\n"
     "than all are Partial."},
    {"delete", KEYWORDS(ring_delete),
     "delete(key, need=\"one\"): how many copies have deleted it, whether or not it was there."},
    {"set_many", KEYWORDS(ring_set_many),
     "set_many(entries, ttl=None, need=\"one\"): how many copies there are of each, at least."},
    {"incr", KEYWORDS(ring_incr),
     "incr(key, by=1): adds to a number in decimal digits, 0 if there is none; the sum. Unknown:\n"
     "no answer came, it may have been done or not."},
    {"execute", ring_execute, METH_VARARGS,
     "execute(command, ...): any command of Redis whose keys belong to one slot; its reply as\n"
     "None, int, bytes or list. An error of the server is Refused."},
    {"where", ring_where, METH_O, "where(key): its slot, and the nodes that hold it, in order."},
    {"where_slot", ring_where_slot, METH_O, "where_slot(slot): the same of a slot."},
    {"wait", KEYWORDS(ring_wait),
     "wait(epoch=None, timeout=None): waits until the map's epoch is another one than `epoch`, or\n"
     "than now; the epoch then. Timeout."},
    {"drain", ring_drain, METH_O,
     "drain(node): wants the node's data to move away; its state is \"drained\" in the end. Needs\n"
     "a ring of ZooKeeper, as undrain and weight do."},
    {"undrain", ring_undrain, METH_O, "undrain(node): it is to hold data again."},
    {"weight", KEYWORDS(ring_weight),
     "weight(node, weight): how much of the data it shall have, 1 to 1000; 0: as configured."},
    {"nodes", ring_nodes, METH_NOARGS, "nodes(): the nodes in the order of their names."},
    {"info", ring_info, METH_NOARGS, "info(): epoch, redundancy, and whether ZooKeeper is away."},
    {"close", ring_close, METH_NOARGS, "close(): ends the ring; calls that run still end."},
    {"__enter__", ring_self, METH_NOARGS, NULL},
    {"__exit__", ring_exit, METH_VARARGS, NULL},
    {0}};

static PyGetSetDef ring_properties[] = {
    {"closed", ring_closed, NULL, "Whether close() was called.", NULL}, {0}};

static PyType_Slot ring_slots[] = {
    {Py_tp_doc, (void *)"A ring of nodes, each key on several of them."},
    {Py_tp_new, ring_new},
    {Py_tp_dealloc, ring_dealloc},
    {Py_tp_methods, ring_methods},
    {Py_tp_getset, ring_properties},
    {0, NULL}};

static PyType_Spec ring_spec = {
    .name = "sidepond.Ring",
    .basicsize = sizeof(struct ring_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = ring_slots,
};

int ring_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &ring_spec, &state->ring_type);
}
