/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshots.c - the Snapshot type: all tables of a pond at one version, and memoryviews of bytes in
 * place.
 *
 * A memoryview's memory is exported by a Blob, which holds the snapshot. At the snapshot's end the
 * memoryviews handed out are released, so their use raises ValueError. A slice of one cannot be
 * released that way: the library's snapshot, and with it the mapping, then stays until the last
 * slice is gone. Its bytes are right only as long as the lease is.
 */
#include "native.h"

#define MEMORIES_MIN 64

struct blob_object {
    PyObject_HEAD struct snapshot_object *snapshot;
    const void *data;
    Py_ssize_t size;
};

/* --- the snapshot ----------------------------------------------------------------------------- */

bool snapshot_usable(struct snapshot_object *snapshot)
{
    if (LIKELY(!snapshot->ended))
        return true;
    raise_ended(snapshot->state);
    return false;
}

bool snapshot_valid(struct snapshot_object *snapshot)
{
    int status = snapshot->snapshot != NULL ? sp_snapshot_check(snapshot->snapshot) : SP_ESTALE;
    if (LIKELY(status == SP_OK))
        return true;
    raise_status(snapshot->state, status, NULL);
    return false;
}

PyObject *snapshot_new(struct pond_object *pond)
{
    struct state *state = pond->state;
    struct sp_snapshot *handle;
    int status = sp_snapshot_begin(pond->pond, &handle);
    if (status != SP_OK)
        return raise_status(state, status, "snapshot");
    struct snapshot_object *snapshot =
        PyObject_GC_New(struct snapshot_object, state->snapshot_type);
    if (snapshot == NULL) {
        sp_snapshot_end(handle);
        return NULL;
    }
    snapshot->state = state;
    snapshot->pond = (struct pond_object *)Py_NewRef((PyObject *)pond);
    snapshot->snapshot = handle;
    snapshot->tables = PyDict_New();
    snapshot->memories = PyList_New(0);
    snapshot->memories_max = MEMORIES_MIN;
    snapshot->exports = 0;
    snapshot->version = sp_snapshot_version(handle);
    snapshot->ended = false;
    PyObject_GC_Track(snapshot);
    if (snapshot->tables != NULL && snapshot->memories != NULL)
        return (PyObject *)snapshot;
    Py_DECREF((PyObject *)snapshot);
    return NULL;
}

static void handle_end(struct snapshot_object *snapshot)
{
    if (!snapshot->ended || snapshot->exports > 0)
        return;
    sp_snapshot_end(snapshot->snapshot);
    snapshot->snapshot = NULL;
}

/* A memoryview that somebody has made slices of goes on; the Blob's export keeps count. */
static void memories_release(struct snapshot_object *snapshot)
{
    PyObject *memories = snapshot->memories;
    snapshot->memories = NULL;
    for (Py_ssize_t i = 0; memories != NULL && i < PyList_Size(memories); i++) {
        PyObject *done = PyObject_CallMethod(PyList_GetItem(memories, i), "release", NULL);
        if (done == NULL)
            PyErr_Clear();
        Py_XDECREF(done);
    }
    Py_XDECREF(memories);
}

static void snapshot_finish(struct snapshot_object *snapshot)
{
    if (snapshot->ended)
        return;
    snapshot->ended = true;
    memories_release(snapshot);
    Py_CLEAR(snapshot->tables);
    handle_end(snapshot);
}

static PyObject *snapshot_subscript(PyObject *self, PyObject *name)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    if (!snapshot_usable(snapshot))
        return NULL;
    PyObject *table = dict_get(snapshot->tables, name);
    if (table != NULL || PyErr_Occurred())
        return table;
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a table's name is a str");
        return NULL;
    }
    table = table_new(snapshot->pond, snapshot, name);
    if (table != NULL && PyDict_SetItem(snapshot->tables, name, table) < 0)
        Py_CLEAR(table);
    return table;
}

static PyObject *of_pond(PyObject *self, const char *method)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    if (!snapshot_usable(snapshot))
        return NULL;
    return PyObject_CallMethod((PyObject *)snapshot->pond, method, NULL);
}

static PyObject *snapshot_iter(PyObject *self)
{
    return of_pond(self, "__iter__");
}

static Py_ssize_t snapshot_length(PyObject *self)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    return snapshot_usable(snapshot) ? PyObject_Length((PyObject *)snapshot->pond) : -1;
}

static int snapshot_contains(PyObject *self, PyObject *name)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    return snapshot_usable(snapshot) ? PySequence_Contains((PyObject *)snapshot->pond, name) : -1;
}

static PyObject *snapshot_version(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((struct snapshot_object *)self)->version);
}

static PyObject *snapshot_ended(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((struct snapshot_object *)self)->ended);
}

static PyObject *snapshot_check(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    if (!snapshot_usable(snapshot) || !snapshot_valid(snapshot))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *snapshot_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    LOCK_OBJECT(self)
    snapshot_finish((struct snapshot_object *)self);
    UNLOCK_OBJECT()
    Py_RETURN_NONE;
}

static PyObject *snapshot_enter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return snapshot_usable((struct snapshot_object *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *snapshot_exit(PyObject *self, PyObject *Py_UNUSED(args))
{
    return snapshot_close(self, NULL);
}

static PyObject *snapshot_repr(PyObject *self)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    return PyUnicode_FromFormat("<sidepond.Snapshot of version %llu%s>",
                                (unsigned long long)snapshot->version,
                                snapshot->ended ? ", ended" : "");
}

static int snapshot_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)snapshot->pond);
    Py_VISIT(snapshot->tables);
    Py_VISIT(snapshot->memories);
    return 0;
}

static int snapshot_clear(PyObject *self)
{
    snapshot_finish((struct snapshot_object *)self);
    return 0;
}

static void snapshot_dealloc(PyObject *self)
{
    struct snapshot_object *snapshot = (struct snapshot_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    snapshot_finish(snapshot);
    Py_XDECREF((PyObject *)snapshot->pond);
    PyObject_GC_Del(self);
    Py_DECREF((PyObject *)type);
}

/* --- memory in place -------------------------------------------------------------------------- */

static int blob_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    struct blob_object *blob = (struct blob_object *)self;
    int failed =
        PyBuffer_FillInfo(buffer, self, (void *)(uintptr_t)blob->data, blob->size, 1, flags);
    if (failed == 0)
        blob->snapshot->exports++;
    return failed;
}

static void blob_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(buffer))
{
    struct snapshot_object *snapshot = ((struct blob_object *)self)->snapshot;
    LOCK_OBJECT((PyObject *)snapshot)
    snapshot->exports--;
    handle_end(snapshot);
    UNLOCK_OBJECT()
}

static void blob_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF((PyObject *)((struct blob_object *)self)->snapshot);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

/* Drops the memoryviews that nobody else holds any more. */
static int memories_tidy(struct snapshot_object *snapshot)
{
    Py_ssize_t count = PyList_Size(snapshot->memories);
    if (count < snapshot->memories_max)
        return 0;
    PyObject *kept = PyList_New(0);
    for (Py_ssize_t i = 0; kept != NULL && i < count; i++) {
        PyObject *memory = PyList_GetItem(snapshot->memories, i);
        if (Py_REFCNT(memory) > 1 && PyList_Append(kept, memory) < 0)
            Py_CLEAR(kept);
    }
    if (kept == NULL)
        return -1;
    snapshot->memories_max = 2 * PyList_Size(kept) + MEMORIES_MIN;
    PyObject *dropped = snapshot->memories;
    snapshot->memories = kept;
    Py_DECREF(dropped);
    return 0;
}

PyObject *snapshot_memory(struct snapshot_object *snapshot, const void *data, size_t size)
{
    struct blob_object *blob = PyObject_New(struct blob_object, snapshot->state->blob_type);
    if (blob == NULL)
        return NULL;
    blob->snapshot = (struct snapshot_object *)Py_NewRef((PyObject *)snapshot);
    blob->data = size > 0 ? data : "";
    blob->size = (Py_ssize_t)size;
    PyObject *memory = PyMemoryView_FromObject((PyObject *)blob);
    Py_DECREF((PyObject *)blob);
    if (memory != NULL &&
        (memories_tidy(snapshot) < 0 || PyList_Append(snapshot->memories, memory) < 0))
        Py_CLEAR(memory);
    return memory;
}

/* --- the types -------------------------------------------------------------------------------- */

static PyMethodDef snapshot_methods[] = {
    {"get", (PyCFunction)(void (*)(void))mapping_get, METH_FASTCALL,
     "get(name, default=None): a table, or the default."},
    {"keys", mapping_keys, METH_NOARGS, "A view of the tables' names."},
    {"values", mapping_values, METH_NOARGS, "A view of the tables."},
    {"items", mapping_items, METH_NOARGS, "A view of names and tables."},
    {"check", snapshot_check, METH_NOARGS,
     "Raises Stale if the snapshot was held for too long; call it after using views."},
    {"close", snapshot_close, METH_NOARGS, "Ends the snapshot; leaving a with block does it."},
    {"__enter__", snapshot_enter, METH_NOARGS, NULL},
    {"__exit__", snapshot_exit, METH_VARARGS, NULL},
    {0}};

static PyGetSetDef snapshot_getset[] = {
    {"version", snapshot_version, NULL, "The version that all tables are of.", NULL},
    {"closed", snapshot_ended, NULL, "Whether it has ended.", NULL},
    {0}};

static PyType_Slot snapshot_slots[] = {
    {Py_tp_doc, (void *)"All tables of a pond at one version: a Mapping of names to tables."},
    {Py_tp_dealloc, snapshot_dealloc},
    {Py_tp_traverse, snapshot_traverse},
    {Py_tp_clear, snapshot_clear},
    {Py_tp_repr, snapshot_repr},
    {Py_tp_iter, snapshot_iter},
    {Py_tp_methods, snapshot_methods},
    {Py_tp_getset, snapshot_getset},
    {Py_mp_subscript, snapshot_subscript},
    {Py_mp_length, snapshot_length},
    {Py_sq_contains, snapshot_contains},
    {0, NULL}};

static PyType_Spec snapshot_spec = {
    .name = "sidepond.Snapshot",
    .basicsize = sizeof(struct snapshot_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_GC,
    .slots = snapshot_slots,
};

static PyType_Slot blob_slots[] = {{Py_tp_dealloc, blob_dealloc},
                                   {Py_bf_getbuffer, blob_getbuffer},
                                   {Py_bf_releasebuffer, blob_releasebuffer},
                                   {0, NULL}};

static PyType_Spec blob_spec = {
    .name = "sidepond._native.Blob",
    .basicsize = sizeof(struct blob_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = blob_slots,
};

int snapshot_type_init(PyObject *module, struct state *state)
{
    int failed = type_init(module, &blob_spec, &state->blob_type);
    return failed != 0 ? failed : type_init(module, &snapshot_spec, &state->snapshot_type);
}
