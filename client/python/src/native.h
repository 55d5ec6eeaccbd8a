/* SPDX-License-Identifier: Apache-2.0
 *
 * native.h - the objects of the extension module sidepond._native and what its files share.
 *
 * The module uses the stable ABI of Python 3.11, so one build serves every later version too
 * (except free-threaded ones, for which it is built again; nothing here relies on the GIL then).
 *
 * Who holds whom (strong references):
 *
 *   Row ----> Table ----> Pond          Pond closes the mapping when the last of them is gone,
 *    |          |          ^ |          so a row, a table or a memoryview can never outlive it.
 *    |          v          | v
 *    +----> Snapshot ------+ shapes     A memoryview holds its Snapshot through a Blob.
 *           Cache ---------+                               Ring stands alone.
 *
 * A row read outside a snapshot owns a copy of its bytes; in a snapshot it points into the pond,
 * and every access to it is followed by a check of the snapshot's lease.
 */
#ifndef SIDEPOND_PYTHON_NATIVE_H
#define SIDEPOND_PYTHON_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/cache.h"
#include "sidepond/ring.h"
#include "sidepond/sidepond.h"

#if defined(Py_GIL_DISABLED)
#define LOCK_OBJECT(object) Py_BEGIN_CRITICAL_SECTION(object)
#define UNLOCK_OBJECT()     Py_END_CRITICAL_SECTION()
#else
#define LOCK_OBJECT(object) {
#define UNLOCK_OBJECT()     }
#endif

#if defined(__GNUC__)
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define LIKELY(x)   (x)
#define UNLIKELY(x) (x)
#endif

struct row_object;

/* What the module keeps: its types and the Python classes that values are made of. */
struct state {
    PyTypeObject *pond_type;
    PyTypeObject *table_type;
    PyTypeObject *row_type;
    PyTypeObject *snapshot_type;
    PyTypeObject *index_type;
    PyTypeObject *iterator_type;
    PyTypeObject *getter_type;
    PyTypeObject *blob_type;
    PyTypeObject *cache_type;
    PyTypeObject *ring_type;
    PyObject *errors; /* dict: status name -> class */
    PyObject *error;  /* the base class */
    PyObject *not_found;
    PyObject *stale;
    PyObject *decimal;
    PyObject *uuid;
    PyObject *json_loads;
    PyObject *datetime;
    PyObject *date;
    PyObject *utc;
    PyObject *epoch_utc;
    PyObject *epoch_naive;
    PyObject *info;                /* module sidepond._info */
    PyObject *views;               /* module sidepond._views */
    PyObject *abc;                 /* module collections.abc */
    PyObject *cached;              /* module sidepond._cached */
    PyObject *bson;                /* module sidepond._bson */
    PyObject *object_id;           /* its class ObjectId */
    PyObject *binary_name;         /* "binary", its attribute */
    struct row_object *spare_rows; /* freed Row objects with their buffers */
    unsigned spare_count;
};

/* How a table's single key column is encoded without help; KEY_OTHER asks the library. */
enum key_kind { KEY_TEXT, KEY_BYTES, KEY_INT64, KEY_INT32, KEY_BSON, KEY_OTHER };

/* A schema as Python sees it. Made once for each schema, never changed, freed with the pond. */
struct shape {
    const struct sp_schema *schema;
    struct shape *next;
    size_t column_count;
    PyObject **names;   /* interned strings */
    bool *is_attribute; /* row.NAME works: no method of Row has that name */
    enum sp_type *types;
    PyObject *positions; /* dict: name -> position */
    enum key_kind key_kind;
    size_t key_count;
    bool has_document; /* a column of type bson */
};

struct pond_object {
    PyObject_HEAD struct state *state;
    struct sp_pond *pond;
    PyObject *tables; /* dict: name -> Table */
    PyObject *cache;  /* Cache, or NULL: nobody has asked for it */
    struct shape *_Atomic shapes;
    atomic_bool closed;
};

struct cache_object {
    PyObject_HEAD struct state *state;
    struct sp_cache *cache;
    struct pond_object *pond;
};

struct ring_object {
    PyObject_HEAD struct state *state;
    struct sp_ring *ring; /* NULL: closed, and no call uses it any more */
    unsigned calls;       /* that use it */
    bool closed;
};

struct snapshot_object {
    PyObject_HEAD struct state *state;
    struct pond_object *pond;
    struct sp_snapshot *snapshot; /* NULL once it is over and no buffer is out */
    PyObject *tables;             /* dict: name -> Table */
    PyObject *memories;           /* list of memoryviews handed out */
    Py_ssize_t memories_max;      /* tidy the list when it is longer */
    Py_ssize_t exports;           /* buffers in use */
    uint64_t version;
    bool ended;
};

struct table_object {
    PyObject_HEAD struct state *state;
    struct sp_table *table;
    struct pond_object *pond;
    struct snapshot_object *snapshot; /* NULL: reads what is current */
    struct shape *_Atomic shape;      /* as seen last */
    PyObject *name;
};

struct row_object {
    PyObject_HEAD struct table_object *table;
    const struct shape *shape;
    struct sp_row *copy;              /* the bytes, or */
    void *block;                      /* the bytes, or */
    struct snapshot_object *snapshot; /* who keeps them in place */
    struct sp_view view;              /* points into one of the three */
    struct row_object *next_spare;
};

/* --- errors.c --------------------------------------------------------------------------------- */
/* Sets the exception for a status; `what` (may be NULL) is put before its text. Returns NULL. */
PyObject *raise_status(struct state *state, int status, const char *what);
/* The same for the lookups that leave sp_error_detail alone. */
PyObject *raise_lookup(struct table_object *table, int status);
/* The status' own text. */
PyObject *raise_plain(struct state *state, int status, const char *what);
PyObject *raise_not_found(struct table_object *table, PyObject *key);
PyObject *raise_ended(struct state *state);

/* --- values.c --------------------------------------------------------------------------------- */
int values_init(struct state *state);
PyObject *value_to_python(struct state *state, const struct sp_value *value);
/* Unix milliseconds as an aware datetime; None for 0. */
PyObject *time_to_python(struct state *state, int64_t unix_ms);
/* A key's value. *keep (NULL at first) gets an object that must live as long as the value. */
int value_from_python(struct state *state, PyObject *object, struct sp_value *out, PyObject **keep);

/* --- keys.c ----------------------------------------------------------------------------------- */
#define KEY_SMALL_BYTES 256
struct key {
    const void *data;
    size_t size;
    void *heap;
    unsigned char small[KEY_SMALL_BYTES];
};
enum key_result { KEY_OK = 0, KEY_ABSENT = 1, KEY_ERROR = -1 };
/* Encodes a key (of the primary index for index -1). KEY_ABSENT: no row can have it. The bytes live
 * as long as `object` and until key_release. */
enum key_result key_encode(struct table_object *table, const struct shape *shape, int index,
                           PyObject *object, struct key *out);
/* The general way: any number of columns of any type. */
enum key_result key_encode_slow(struct table_object *table, const struct shape *shape, int index,
                                PyObject *object, struct key *out);
/* A key's values, not encoded. Filled only for KEY_OK; then to be released. */
#define KEY_COLUMNS_MAX 16
struct key_values {
    struct sp_value values[KEY_COLUMNS_MAX];
    PyObject *keep[KEY_COLUMNS_MAX]; /* what the values point into */
    size_t count;
};
enum key_result key_values_get(struct table_object *table, const struct shape *shape, int index,
                               PyObject *object, struct key_values *out);
void key_values_release(struct key_values *values);
static inline void key_release(struct key *key)
{
    if (UNLIKELY(key->heap != NULL))
        PyMem_Free(key->heap);
}
PyObject *key_to_python(struct table_object *table, const struct shape *shape, const void *key,
                        size_t key_bytes);

/* --- shapes.c --------------------------------------------------------------------------------- */
/* The shape of a schema, made if it is new. NULL with an exception. */
struct shape *shape_get(struct pond_object *pond, const struct sp_schema *schema);
/* The table's shape now. */
struct shape *table_shape(struct table_object *table);
/* The shape used last; NULL with an exception. Right for encoding keys if the answer is checked. */
static inline struct shape *table_shape_last(struct table_object *table)
{
    struct shape *shape = atomic_load_explicit(&table->shape, memory_order_acquire);
    return LIKELY(shape != NULL) ? shape : table_shape(table);
}
void shapes_free(struct pond_object *pond);
PyObject *schema_to_python(struct state *state, const struct shape *shape);

/* --- rows.c ----------------------------------------------------------------------------------- */
int row_type_init(PyObject *module, struct state *state);
/* A Row that holds a reference to the table and has room for a copy in row->copy. */
struct row_object *row_take_copy(struct table_object *table);
/* A Row without bytes. */
struct row_object *row_take(struct table_object *table);
/* A Row with a copy of a view's bytes. */
PyObject *row_from_view(struct table_object *table, const struct sp_view *view);
/* A Row that points into its table's snapshot. */
PyObject *row_from_snapshot(struct table_object *table, const struct sp_view *view);
/* After row->copy was read into. */
int row_adopt_copy(struct row_object *row);
PyObject *row_column(struct row_object *row, size_t column);
/* A value that the library found in the row, or its status, as Python has it. */
PyObject *row_value(struct row_object *row, int status, const struct sp_value *found);
void spare_rows_free(struct state *state);

/* --- documents.c ------------------------------------------------------------------------------ */
/* A BSON or a BSON_VALUE. */
PyObject *document_to_python(struct state *state, const struct sp_value *value);
/* The text of a path, which the object keeps; NULL with an exception. */
const char *field_path(PyObject *path);
PyObject *row_field(PyObject *self, PyObject *const *args, Py_ssize_t count);

/* --- tables.c --------------------------------------------------------------------------------- */
int table_type_init(PyObject *module, struct state *state);
PyObject *table_new(struct pond_object *pond, struct snapshot_object *snapshot, PyObject *name);
/* Reads a row into a new Row: KEY_OK, KEY_ABSENT or KEY_ERROR with an exception. */
enum key_result table_read(struct table_object *table, PyObject *key, PyObject **out);
/* False with an exception if the pond is closed or the snapshot over. */
bool table_usable(struct table_object *table);
/* get_many, raw_many (batches.c) */
PyObject *table_get_many(PyObject *self, PyObject *keys);
PyObject *table_raw_many(PyObject *self, PyObject *keys);
/* getter (getters.c) */
int getter_type_init(PyObject *module, struct state *state);
PyObject *table_getter(PyObject *self, PyObject *name);

/* --- indexes.c -------------------------------------------------------------------------------- */
int index_type_init(PyObject *module, struct state *state);
PyObject *index_new(struct table_object *table, PyObject *name);

/* --- iterators.c ------------------------------------------------------------------------------ */
enum iterate { ITERATE_KEYS = 0, ITERATE_VALUES = 1, ITERATE_ITEMS = 2 };
int iterator_type_init(PyObject *module, struct state *state);
PyObject *iterator_new(struct table_object *table, enum iterate what);

/* --- ponds.c ---------------------------------------------------------------------------------- */
uint64_t wait_now_ms(void);
/* Seconds from Python as milliseconds: `otherwise` for None, UINT64_MAX for infinity. */
int wait_limit_ms(PyObject *object, uint64_t otherwise, uint64_t *out);
/* How long to sleep now, so that signals are seen; 0 when the time is over. */
uint32_t wait_slice_ms(uint64_t begun, uint64_t limit);
int pond_type_init(PyObject *module, struct state *state);
PyObject *pond_open(PyObject *module, PyObject *args);
/* False with an exception if the pond is closed. */
bool pond_usable(struct pond_object *pond);

/* --- caches.c --------------------------------------------------------------------------------- */
/* A key or a value, as bytes of a Python object that must live as long. */
struct octets {
    const void *data;
    size_t size;
    Py_buffer buffer;
    bool buffered;
};
int cache_type_init(PyObject *module, struct state *state);
PyObject *cache_new(struct pond_object *pond);
/* str in UTF-8, or what has a buffer; `what` is for the exception. */
int octets_get(PyObject *object, const char *what, struct octets *out);
void octets_release(struct octets *octets);
/* Seconds (a number or a timedelta) as milliseconds, 0 for None and infinity. */
int ttl_ms_get(PyObject *object, int64_t *out);
/* The value of a key as bytes, or NULL: with an exception, or there is none. */
PyObject *cache_read(struct cache_object *cache, const struct octets *key);
bool cache_usable(struct cache_object *cache);

/* --- cache_writes.c --------------------------------------------------------------------------- */
PyObject *cache_set(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_add(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_replace(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_set_many(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_incr(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_expire(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *cache_delete(PyObject *self, PyObject *key);
PyObject *cache_connect(PyObject *self, PyObject *args, PyObject *keywords);
int cache_assign(PyObject *self, PyObject *key, PyObject *value);

/* --- cache_compute.c -------------------------------------------------------------------------- */
PyObject *cache_get_or_compute(PyObject *self, PyObject *args, PyObject *keywords);

/* --- rings.c ---------------------------------------------------------------------------------- */
int ring_type_init(PyObject *module, struct state *state);
/* The handle for one call, which ends with ring_leave; NULL with an exception: it is closed. */
struct sp_ring *ring_enter(struct ring_object *ring);
void ring_leave(struct ring_object *ring);

/* --- ring_wanted.c ---------------------------------------------------------------------------- */
PyObject *ring_drain(PyObject *self, PyObject *node);
PyObject *ring_undrain(PyObject *self, PyObject *node);
PyObject *ring_weight(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *ring_wait(PyObject *self, PyObject *args, PyObject *keywords);

/* --- ring_calls.c ----------------------------------------------------------------------------- */
PyObject *ring_get(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ring_get_many(PyObject *self, PyObject *keys);
PyObject *ring_set(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *ring_delete(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *ring_set_many(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *ring_incr(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *ring_execute(PyObject *self, PyObject *args);

/* --- snapshots.c ------------------------------------------------------------------------------ */
int snapshot_type_init(PyObject *module, struct state *state);
PyObject *snapshot_new(struct pond_object *pond);
/* Whether the snapshot can be used; else sets the exception. */
bool snapshot_usable(struct snapshot_object *snapshot);
/* After reading through it: whether what was read was right. */
bool snapshot_valid(struct snapshot_object *snapshot);
/* A memoryview of bytes in the pond, released when the snapshot ends. */
PyObject *snapshot_memory(struct snapshot_object *snapshot, const void *data, size_t size);

/* --- mappings.c ------------------------------------------------------------------------------- */
/* Methods of Pond and Snapshot that collections.abc or __getitem__ can do. */
PyObject *mapping_get(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *mapping_keys(PyObject *self, PyObject *unused);
PyObject *mapping_values(PyObject *self, PyObject *unused);
PyObject *mapping_items(PyObject *self, PyObject *unused);

/* --- small things ----------------------------------------------------------------------------- */
/* dict[key] as a new reference; NULL without an exception if there is none. */
static inline PyObject *dict_get(PyObject *dict, PyObject *key)
{
#if defined(Py_GIL_DISABLED)
    PyObject *value;
    return PyDict_GetItemRef(dict, key, &value) < 0 ? NULL : value;
#else
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
}
/* Makes a type of the module's and stores it. */
int type_init(PyObject *module, PyType_Spec *spec, PyTypeObject **out);

#endif
