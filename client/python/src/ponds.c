/* SPDX-License-Identifier: Apache-2.0
 *
 * ponds.c - the Pond type: opening, waiting, information, and the Mapping of names to tables.
 *
 * close() only forbids further use. The mapping itself goes when the last table, row and memoryview
 * of the pond is gone, so none of them can ever point to nothing. Waiting releases the GIL and
 * looks for signals every SLICE_MS.
 */
#include <math.h>
#include <time.h>

#include "native.h"

#define SLICE_MS 50

/* --- waiting ---------------------------------------------------------------------------------- */

uint64_t wait_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

int wait_limit_ms(PyObject *object, uint64_t otherwise, uint64_t *out)
{
    *out = otherwise;
    if (object == NULL || object == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(object);
    if (PyErr_Occurred())
        return -1;
    if (isnan(seconds) || seconds < 0) {
        PyErr_SetString(PyExc_ValueError, "a time to wait is a number of seconds, not below 0");
        return -1;
    }
    *out = seconds >= 1e12 ? UINT64_MAX : (uint64_t)(seconds * 1000 + 0.5);
    return 0;
}

uint32_t wait_slice_ms(uint64_t begun, uint64_t limit)
{
    uint64_t past = wait_now_ms() - begun;
    uint64_t left = limit == UINT64_MAX ? SLICE_MS : past < limit ? limit - past : 0;
    return left < SLICE_MS ? (uint32_t)left : SLICE_MS;
}

static int open_waiting(const char *name, struct sp_open_options *options, uint64_t limit,
                        struct sp_pond **out)
{
    uint64_t begun = wait_now_ms();
    for (;;) {
        int status;
        options->wait_ms = wait_slice_ms(begun, limit);
        Py_BEGIN_ALLOW_THREADS status = sp_open(name, options, out);
        Py_END_ALLOW_THREADS bool later =
            status == SP_ENOPOND || status == SP_ENOTREADY || status == SP_ETIMEDOUT;
        if (!later || wait_slice_ms(begun, limit) == 0)
            return status;
        if (PyErr_CheckSignals() < 0)
            return SP_ECANCELED;
    }
}

bool pond_usable(struct pond_object *pond)
{
    if (LIKELY(!atomic_load_explicit(&pond->closed, memory_order_relaxed)))
        return true;
    PyErr_SetString(PyExc_ValueError, "the pond is closed");
    return false;
}

static PyObject *pond_wait(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char version_name[] = "version", timeout_name[] = "timeout";
    static char *names[] = {version_name, timeout_name, NULL};
    struct pond_object *pond = (struct pond_object *)self;
    PyObject *version_object = Py_None, *timeout_object = Py_None;
    uint64_t limit, begun = wait_now_ms();
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OO:wait", names, &version_object,
                                     &timeout_object) ||
        wait_limit_ms(timeout_object, UINT64_MAX, &limit) < 0 || !pond_usable(pond))
        return NULL;
    uint64_t version = version_object == Py_None ? sp_pond_version(pond->pond)
                                                 : PyLong_AsUnsignedLongLong(version_object);
    if (PyErr_Occurred())
        return NULL;
    for (;;) {
        uint64_t now = 0;
        uint32_t slice = wait_slice_ms(begun, limit);
        int status;
        Py_BEGIN_ALLOW_THREADS status = sp_wait(pond->pond, version, slice, &now);
        Py_END_ALLOW_THREADS if (status == SP_OK) return PyLong_FromUnsignedLongLong(now);
        if (status != SP_ETIMEDOUT || wait_slice_ms(begun, limit) == 0)
            return raise_status(pond->state, status, "wait");
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

PyObject *pond_open(PyObject *module, PyObject *args)
{
    struct state *state = PyModule_GetState(module);
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    struct sp_pond *handle = NULL;
    const char *name;
    PyObject *wait;
    int populate;
    uint64_t limit;
    if (!PyArg_ParseTuple(args, "zOp:open", &name, &wait, &populate) ||
        wait_limit_ms(wait, 0, &limit) < 0)
        return NULL;
    options.populate = populate != 0;
    int status = open_waiting(name, &options, limit, &handle);
    if (status != SP_OK)
        return PyErr_Occurred() ? NULL : raise_status(state, status, NULL);
    struct pond_object *pond = PyObject_GC_New(struct pond_object, state->pond_type);
    if (pond == NULL) {
        sp_close(handle);
        return NULL;
    }
    pond->state = state;
    pond->pond = handle;
    pond->tables = PyDict_New();
    pond->cache = NULL;
    atomic_init(&pond->shapes, NULL);
    atomic_init(&pond->closed, false);
    PyObject_GC_Track(pond);
    if (pond->tables == NULL)
        Py_CLEAR(pond);
    return (PyObject *)pond;
}

/* --- tables ----------------------------------------------------------------------------------- */

static PyObject *pond_subscript(PyObject *self, PyObject *name)
{
    struct pond_object *pond = (struct pond_object *)self;
    if (!pond_usable(pond))
        return NULL;
    PyObject *table = dict_get(pond->tables, name);
    if (table != NULL || PyErr_Occurred())
        return table;
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a table's name is a str");
        return NULL;
    }
    table = table_new(pond, NULL, name);
    if (table != NULL && PyDict_SetItem(pond->tables, name, table) < 0)
        Py_CLEAR(table);
    return table;
}

static PyObject *names_list(struct pond_object *pond)
{
    const char *names[SP_TABLES_MAX];
    if (!pond_usable(pond))
        return NULL;
    size_t count = sp_table_names(pond->pond, names, SP_TABLES_MAX);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count && i < SP_TABLES_MAX; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *pond_iter(PyObject *self)
{
    PyObject *list = names_list((struct pond_object *)self);
    PyObject *iterator = list != NULL ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return iterator;
}

static Py_ssize_t pond_length(PyObject *self)
{
    PyObject *list = names_list((struct pond_object *)self);
    Py_ssize_t count = list != NULL ? PyList_Size(list) : -1;
    Py_XDECREF(list);
    return count;
}

static int pond_contains(PyObject *self, PyObject *name)
{
    PyObject *list = names_list((struct pond_object *)self);
    int found = list != NULL ? PySequence_Contains(list, name) : -1;
    Py_XDECREF(list);
    return found;
}

/* --- information ------------------------------------------------------------------------------ */

static PyObject *pond_info(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct pond_object *pond = (struct pond_object *)self;
    struct sp_pond_info info = SP_POND_INFO_INIT;
    char id[40];
    if (!pond_usable(pond))
        return NULL;
    int status = sp_pond_info(pond->pond, &info);
    if (status != SP_OK)
        return raise_status(pond->state, status, "info");
    PyOS_snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)info.id[0],
                  (unsigned long long)info.id[1]);
    return PyObject_CallMethod(
        pond->state->info, "PondInfo", "ssKsKKKKnLOd", info.name, sp_pond_state_text(info.state),
        (unsigned long long)info.version, id, (unsigned long long)info.limit_bytes,
        (unsigned long long)info.committed_bytes, (unsigned long long)info.used_bytes,
        (unsigned long long)info.free_bytes, (Py_ssize_t)info.table_count,
        (long long)info.writer_pid, info.writer_alive ? Py_True : Py_False,
        info.heartbeat_age_ms == UINT64_MAX ? HUGE_VAL : (double)info.heartbeat_age_ms / 1000);
}

static PyObject *pond_readers(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct pond_object *pond = (struct pond_object *)self;
    if (!pond_usable(pond))
        return NULL;
    struct sp_reader_info *readers = PyMem_Calloc(SP_LEASES_MAX, sizeof *readers);
    if (readers == NULL)
        return PyErr_NoMemory();
    size_t count = sp_readers(pond->pond, readers, SP_LEASES_MAX);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count && i < SP_LEASES_MAX; i++) {
        PyObject *one = PyObject_CallMethod(
            pond->state->info, "ReaderInfo", "LKdO", (long long)readers[i].pid,
            (unsigned long long)readers[i].version, (double)readers[i].held_ms / 1000,
            readers[i].revoked ? Py_True : Py_False);
        if (one == NULL || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    PyMem_Free(readers);
    return list;
}

static PyObject *pond_version(PyObject *self, void *Py_UNUSED(closure))
{
    struct pond_object *pond = (struct pond_object *)self;
    return pond_usable(pond) ? PyLong_FromUnsignedLongLong(sp_pond_version(pond->pond)) : NULL;
}

static PyObject *pond_name(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *info = pond_info(self, NULL);
    PyObject *name = info != NULL ? PyObject_GetAttrString(info, "name") : NULL;
    Py_XDECREF(info);
    return name;
}

static PyObject *pond_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&((struct pond_object *)self)->closed));
}

static PyObject *pond_snapshot(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct pond_object *pond = (struct pond_object *)self;
    return pond_usable(pond) ? snapshot_new(pond) : NULL;
}

/* Made once: looking for it costs more than reading it. */
static PyObject *pond_cache(PyObject *self, void *Py_UNUSED(closure))
{
    struct pond_object *pond = (struct pond_object *)self;
    PyObject *cache = NULL;
    if (!pond_usable(pond))
        return NULL;
    LOCK_OBJECT(self)
    if (pond->cache == NULL)
        pond->cache = cache_new(pond);
    cache = Py_XNewRef(pond->cache);
    UNLOCK_OBJECT()
    return cache;
}

/* --- the end ---------------------------------------------------------------------------------- */

static int pond_clear(PyObject *self)
{
    struct pond_object *pond = (struct pond_object *)self;
    atomic_store(&pond->closed, true);
    if (pond->tables != NULL)
        PyDict_Clear(pond->tables);
    Py_CLEAR(pond->cache);
    return 0;
}

static PyObject *pond_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    LOCK_OBJECT(self)
    pond_clear(self);
    UNLOCK_OBJECT()
    Py_RETURN_NONE;
}

static PyObject *pond_enter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return pond_usable((struct pond_object *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *pond_exit(PyObject *self, PyObject *Py_UNUSED(args))
{
    return pond_close(self, NULL);
}

static PyObject *pond_repr(PyObject *self)
{
    struct pond_object *pond = (struct pond_object *)self;
    if (atomic_load(&pond->closed))
        return PyUnicode_FromString("<sidepond.Pond, closed>");
    PyObject *name = pond_name(self, NULL);
    PyObject *text = NULL;
    if (name != NULL)
        text = PyUnicode_FromFormat("<sidepond.Pond %R, version %llu>", name,
                                    (unsigned long long)sp_pond_version(pond->pond));
    Py_XDECREF(name);
    return text;
}

static int pond_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct pond_object *)self)->tables);
    Py_VISIT(((struct pond_object *)self)->cache);
    return 0;
}

static void pond_dealloc(PyObject *self)
{
    struct pond_object *pond = (struct pond_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(pond->tables);
    Py_CLEAR(pond->cache);
    shapes_free(pond);
    sp_close(pond->pond);
    PyObject_GC_Del(self);
    Py_DECREF((PyObject *)type);
}

static PyMethodDef pond_methods[] = {
    {"get", (PyCFunction)(void (*)(void))mapping_get, METH_FASTCALL,
     "get(name, default=None): a table, or the default."},
    {"keys", mapping_keys, METH_NOARGS, "A view of the tables' names."},
    {"values", mapping_values, METH_NOARGS, "A view of the tables."},
    {"items", mapping_items, METH_NOARGS, "A view of names and tables."},
    {"snapshot", pond_snapshot, METH_NOARGS,
     "All tables as they are now, for use in a with block (Snapshot)."},
    {"wait", (PyCFunction)(void (*)(void))pond_wait, METH_VARARGS | METH_KEYWORDS,
     "wait(version=None, timeout=None): waits until the pond's version is above the given one\n"
     "(default: the one now) and returns it. Raises Timeout after so many seconds."},
    {"info", pond_info, METH_NOARGS, "Everything known about the pond (PondInfo)."},
    {"readers", pond_readers, METH_NOARGS, "Who holds snapshots now: a list of ReaderInfo."},
    {"close", pond_close, METH_NOARGS, "Forbids further use; leaving a with block does it."},
    {"__enter__", pond_enter, METH_NOARGS, NULL},
    {"__exit__", pond_exit, METH_VARARGS, NULL},
    {0}};

static PyGetSetDef pond_getset[] = {
    {"name", pond_name, NULL, "The pond's name.", NULL},
    {"version", pond_version, NULL, "How many commits there were; grows with each.", NULL},
    {"cache", pond_cache, NULL, "The pond's cache (Cache). NoTable if it has none.", NULL},
    {"closed", pond_closed, NULL, "Whether close() was called.", NULL},
    {0}};

static PyType_Slot pond_slots[] = {{Py_tp_doc, (void *)"A pond: a Mapping of names to tables."},
                                   {Py_tp_dealloc, pond_dealloc},
                                   {Py_tp_traverse, pond_traverse},
                                   {Py_tp_clear, pond_clear},
                                   {Py_tp_repr, pond_repr},
                                   {Py_tp_iter, pond_iter},
                                   {Py_tp_methods, pond_methods},
                                   {Py_tp_getset, pond_getset},
                                   {Py_mp_subscript, pond_subscript},
                                   {Py_mp_length, pond_length},
                                   {Py_sq_contains, pond_contains},
                                   {0, NULL}};

static PyType_Spec pond_spec = {
    .name = "sidepond.Pond",
    .basicsize = sizeof(struct pond_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_GC,
    .slots = pond_slots,
};

int pond_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &pond_spec, &state->pond_type);
}
