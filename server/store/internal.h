/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of the store share, and nobody else includes.
 *
 *   store.c      opening, closing, status, information, the tick
 *   space.c      memory of the arena: backing it, handing it out, giving it back
 *   index.c      the extendible index: find, publish, replace, remove, grow, split
 *   shape.c      one shape of a table: its root, schema and indexes
 *   txn.c        transactions: begin, commit, abort
 *   put.c        rows: batches, the full pass, deletes
 *   posting.c    secondary indexes: collecting and applying changes of postings
 *   reclaim.c    leases and the freeing of versions nobody needs
 *   compact.c    moving entries to lower addresses
 *   recover.c    attaching to a pond after a crash
 *   snapfile.c   snapshot files, and filling a new pond from an old one
 *   cache.c      the cache: finding, writing, deleting, the walk over all
 *   cache_evict.c, cache_expire.c   which of its entries go by themselves
 *   cache_carry.c   the cache of a pond that is replaced
 *   cache_ring.c    what it does as a copy of a ring's data
 *
 * Everything here is called with the store's lock held, unless it says otherwise.
 */
#ifndef SIDEPOND_STORE_INTERNAL_H
#define SIDEPOND_STORE_INTERNAL_H

#include <pthread.h>

#include "alloc/buddy.h"
#include "alloc/hash.h"
#include "alloc/region.h"
#include "alloc/sound.h"
#include "server/store/breakage.h"
#include "server/store/failpoint.h"
#include "server/store/store.h"

#define CHUNK_UNITS (UINT64_C(1) << 16) /* 1 MiB: memory is backed and given back in these */
#define CHUNK_BYTES (CHUNK_UNITS * FORMAT_UNIT_BYTES)
#define COOLING_MS  10000u /* cooling_ms, where the options do not say */
#define INDEXES_MAX (1 + ROW_INDEXES_MAX)

/* A growing array of fixed-size items in private memory. */
struct vector {
    void *items;
    size_t count, cap;
};
/* Room for one more; NULL if there is no memory. */
void *vector_push(struct vector *vector, size_t item_bytes);
void vector_free(struct vector *vector);

/* --- index ---------------------------------------------------------------------------------- */

struct shape;

/* One hash index, primary or secondary. `dir` is the dir word in the shape's root. */
struct index {
    struct shape *shape;
    _Atomic uint64_t *dir;
    uint64_t entry_count; /* slots in use */
    bool noted;           /* the cache's: each bucket has a note */
};

/* Where a key's slot is. */
struct place {
    struct bucket *home;
    _Atomic uint64_t *slot;
    struct segment_head *head;
    uint64_t word;     /* the slot's word */
    unsigned distance; /* buckets after home */
    unsigned number;   /* of the slot in its bucket */
    uint32_t *note;    /* of the slot's bucket; NULL where there are none */
};

/* What the cache's buckets have behind the segment's last bucket (cache_note.h). */
static inline uint32_t *segment_notes(struct bucket *buckets, unsigned bucket_count)
{
    return (uint32_t *)(void *)(buckets + bucket_count);
}

/* --- tables --------------------------------------------------------------------------------- */

/* One shape of a table, with what the writer knows of it. */
struct shape {
    struct store *store;
    uint64_t root_unit;
    struct table_root *root;
    struct schema *schema;
    unsigned index_count; /* of indexes[]: 1 + secondary ones */
    struct index indexes[INDEXES_MAX];
    uint64_t rows;  /* as the open transaction, if any, sees them */
    uint64_t bytes; /* keys and values of these rows */
    uint64_t units; /* everything allocated for this shape */
};

struct table {
    struct table_slot *slot;
    struct shape *current;     /* committed, maybe as dropped; NULL before the first commit */
    struct store_table *owner; /* the open transaction's use of it, or NULL */
};

/* What a pass over a table remembers: one bit for each unit of the arena at which an entry starts.
 */
struct pass {
    uint64_t *seen; /* NULL: no pass */
    size_t seen_bytes;
    uint64_t before, met;
};

struct posting_buffer {
    uint8_t *bytes;
    size_t size, cap;
    struct vector ops; /* struct posting_op of posting.c */
};

struct store_table {
    struct store_table *next; /* in its transaction */
    struct store_txn *txn;
    struct table *table;
    struct shape *shape;                /* table->current, or the new shape */
    bool staged;                        /* shape is new */
    uint64_t rows_before, bytes_before; /* of table->current, for abort */
    struct pass pass;
    struct posting_buffer postings;
    struct store_counts counts;
};

/* One entry made by a transaction. */
struct change {
    uint64_t unit;
    struct index *index;
};

struct store_txn {
    struct store *store;
    struct store_txn *next, *prev; /* in the store's list */
    uint64_t born;                 /* VERSION_UNCOMMITTED | number */
    struct store_table *tables;
    struct vector changes; /* struct change */
    bool failed;           /* ran out of space: can only be aborted */
};

/* An entry with old versions or a tombstone, that waits for leases to end. */
struct held {
    uint64_t unit;
    struct index *index;
};
struct held_set { /* open addressing by unit; unit 0: empty */
    struct held *slots;
    size_t cap, count;
};

/* A block to be freed, and the shape it counts for. */
struct unlinked {
    uint64_t unit;
    struct shape *shape;
};

struct held_root {
    struct table *table;
    struct shape *shape;
};

/* A shape that nobody sees any more and that is freed bit by bit. */
struct grave {
    struct shape *shape;
    unsigned index;
    uint64_t dir_position;
};

struct store {
    pthread_mutex_t lock;
    _Atomic uint32_t waiting; /* who wants the lock for microseconds: see store_breathe */
    pthread_cond_t commit_over;
    bool committing; /* a commit is under way, which lets go of the lock at times */
    char directory[256];
    struct store_options options;
    struct region region;
    struct region_leases leases;
    int lock_fd;
    struct buddy buddy;
    struct buddy_cache *resting; /* freed blocks that wait to be handed out again */
    uint64_t usable_units;
    uint8_t *chunk_punched;  /* by chunk */
    uint64_t *chunk_free_ms; /* by chunk: when it was first seen wholly free; 0: it is not */
    uint64_t punched_units;
    uint64_t punch_chunk;  /* where the next tick looks for chunks to give back */
    uint64_t collapse_off; /* in the arena: huge pages were asked for up to here */
    struct table tables[FORMAT_TABLES_MAX];
    struct store_txn *txns;
    uint64_t txn_serial;
    uint64_t version_floor; /* of the pond or file that this one was filled from: commits are
                               counted from there, so that who waits for a newer version gets one */
    uint64_t segment_serial;
    struct held_set held;
    uint64_t held_pins_hash;
    struct vector held_roots; /* struct held_root: replaced shapes that leases still see */
    struct vector unlinked;   /* struct unlinked: work space of reclaim.c */
    struct vector graves;
    uint64_t lease_old_since[FORMAT_LEASES_MAX]; /* ms at which it was first seen to be old; 0 */
    uint64_t lease_old_version[FORMAT_LEASES_MAX];
    struct { /* compact.c: where it goes on, and blocks whose contents have moved */
        unsigned table, index;
        uint64_t position;
        uint64_t cursor; /* of buddy_alloc_low, within one tick */
    } compact;
    struct {
        struct vector units;                /* uint64_t: first units of entries */
        uint64_t leases[FORMAT_LEASES_MAX]; /* as they were when the contents moved */
        bool leases_unknown;                /* they could not be read then */
    } moved;
    uint64_t retired_punch_ms; /* when old ponds' memory may be given back; 0: none */
    int retired_fds[REGION_RETIRED_MAX];
    uint64_t cache_expiring;   /* entries of the cache that have an expiry */
    uint64_t cache_tombstones; /* beside its entries */
    struct {
        uint64_t commits, aborts, reclaimed, moved, revoked;
    } stats;
};

static inline uint64_t store_committed(const struct store *store)
{
    return atomic_load_explicit(&store->region.super->committed, memory_order_relaxed) &
           VERSION_MASK;
}
static inline struct entry *store_entry(const struct store *store, uint64_t unit)
{
    return region_at(&store->region, unit);
}
static inline uint64_t entry_units(const struct entry *entry)
{
    return bytes_to_units(
        entry_bytes(atomic_load_explicit(&entry->born_word, memory_order_relaxed),
                    atomic_load_explicit(&entry->prev_word, memory_order_relaxed)));
}
/* The parts of an entry, by plain loads: the writer is alone. */
struct entry_view {
    uint64_t born, prev;
    unsigned flags;
    const uint8_t *key, *value;
    size_t key_bytes, value_bytes;
};
static inline struct entry_view entry_view(const struct entry *entry)
{
    uint64_t b = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t p = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    size_t key_bytes = entry_key_bytes(b);
    return (struct entry_view){.born = entry_born(b),
                               .prev = entry_prev(b, p),
                               .flags = entry_flags(b),
                               .key = entry->bytes,
                               .value = entry->bytes + key_bytes,
                               .key_bytes = key_bytes,
                               .value_bytes = entry_value_bytes(p)};
}

/* --- the lock (store.c) --------------------------------------------------------------------- */

/* For what holds the lock for long, between steps that leave everything as it should be: lets those
 * in who hold it shortly (cache_lock), if there are any. Costs a load. */
void store_breathe(struct store *store);
/* Takes the lock when those are through. */
void store_lock(struct store *store);

/* --- space.c -------------------------------------------------------------------------------- */

/* Units that are backed with memory; align_units a power of two. SP_ENOSPC, SP_ENOSHM. */
int space_alloc(struct store *store, uint64_t count, uint64_t align_units, uint64_t *unit);
/* The same, at the lowest place from *cursor on and below a unit (buddy_alloc_low). */
int space_alloc_low(struct store *store, uint64_t count, uint64_t *cursor, uint64_t below,
                    uint64_t *unit);
/* The block may be handed out again at once (W7). */
void space_free(struct store *store, uint64_t unit, uint64_t count);
int space_init(struct store *store);
/* Once the allocator's metadata stands: freed blocks may rest, until space_settle. */
void space_let_rest(struct store *store);
void space_settle(struct store *store);
void space_destroy(struct store *store);
/* Finds the chunks of an attached pond that have no memory. */
int space_find_holes(struct store *store);
/* Gives back chunks that have been free for long; huge pages for new ones. Once a second. */
void space_tick(struct store *store, uint64_t now_ms);

/* --- index.c -------------------------------------------------------------------------------- */

/* Makes an empty index for about row_hint entries. */
int index_create(struct index *index, uint64_t row_hint);
/* The slot of a key's newest version. */
bool index_find(const struct index *index, uint64_t hash, const void *key, size_t key_bytes,
                struct place *out);
/* The slot that holds this very unit. */
bool index_find_unit(const struct index *index, uint64_t hash, uint64_t unit, struct place *out);
/* Publishes an entry whose key is not there, in the first free slot of its bucket from a number on;
 * `out`: where, may be NULL. */
int index_insert(struct index *index, uint64_t hash, uint64_t unit, unsigned from,
                 struct place *out);
/* Publishes another entry for the same key (R5 sees the one or the other). */
void index_replace(const struct place *place, uint64_t unit);
void index_remove(struct index *index, const struct place *place);
/* The place of a slot in use. */
struct segment_ref;
struct place index_place(const struct index *index, const struct segment_ref *segment, unsigned b,
                         unsigned number);
/* Prefetching, in two steps with some time between them: what a later index_find will touch. */
const struct bucket *index_prefetch_bucket(const struct index *index, uint64_t hash);
void index_prefetch_entry(const struct index *index, uint64_t hash);
/* Walks all segments: the first position is 0; false at the end. */
struct segment_ref {
    struct bucket *buckets;
    unsigned bucket_count;
    uint64_t unit;  /* of the first bucket */
    uint64_t units; /* of the block, which starts at unit - 4 */
};
bool index_next_segment(const struct index *index, uint64_t *position, struct segment_ref *out);
/* Frees directory and segments, not the entries. */
void index_destroy(struct index *index);
/* Rebuilds the segment at a position of index_next_segment where it has become far too large for
 * its entries, or, with `move`, in any case: at the lowest address that is free. */
void index_tidy_segment(struct index *index, uint64_t position, bool move);

/* --- shape.c -------------------------------------------------------------------------------- */

int shape_create(struct store *store, const struct schema *schema, uint32_t root_flags,
                 uint64_t row_hint, struct shape **out);
/* The shape whose root is at this unit, which has been checked. rows, bytes, units and the indexes'
 * entry counts are recovery's to fill in. */
int shape_open(struct store *store, uint64_t root_unit, struct shape **out);
/* Frees everything of a shape: entries (all versions), indexes, root. At most `budget` segments;
 * true when it is all gone and the struct freed. */
bool shape_bury(struct grave *grave, unsigned budget);
void shape_free_struct(struct shape *shape);
bool shape_matches(const struct shape *shape, const struct schema *schema);

/* --- entries (put.c) ------------------------------------------------------------------------ */

/* Allocates and writes an entry; it is not yet published. */
int entry_create(struct store *store, struct shape *shape, uint64_t born, unsigned flags,
                 uint64_t prev, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes, uint64_t *unit);
void entry_free(struct store *store, struct shape *shape, uint64_t unit);

/* Puts one key of an index within a transaction, whatever is there: publishes the new version and
 * notes the change. `place` is where the key is, NULL if it is not there; `value` NULL writes a
 * tombstone. `*unit` may be NULL. */
int txn_write(struct store_txn *txn, struct index *index, const struct place *place, uint64_t hash,
              unsigned flags, const void *key, size_t key_bytes, const void *value,
              size_t value_bytes, uint64_t *unit);

/* --- tables (txn.c) ------------------------------------------------------------------------- */

/* NULL: there is no slot of this name. */
struct table *table_find(struct store *store, const char *name);
/* Makes a table, empty, in a transaction of its own. */
int table_create(struct store *store, const char *name, const struct schema *schema,
                 uint32_t root_flags, struct table **out);
/* Puts an empty shape in the place of a table's, at once and for everybody: for one without
 * versions and leases. `born` is that of its entries. */
int table_replace(struct store *store, struct table *table, uint64_t born);

/* The flag of an entry that was replaced in the transaction that made it. */
#define ENTRY_DEAD 128u

/* --- posting.c ------------------------------------------------------------------------------ */

/* Notes what a change of a row means for the secondary indexes: old and new value, either may be
 * NULL. Applied when the buffer is full and at the commit. */
int posting_row_changed(struct store_table *table, const void *key, size_t key_bytes,
                        const void *old_value, size_t old_bytes, const void *new_value,
                        size_t new_bytes);
/* SP_ETOOBIG if a secondary key of the row is longer than a key may be. */
int posting_row_check(const struct schema *schema, const struct store_row *row);
int posting_flush(struct store_table *table);
void posting_free(struct posting_buffer *buffer);

/* --- reclaim.c ------------------------------------------------------------------------------ */

/* After a commit: frees what the changes replaced, or holds it for leases. */
void reclaim_changes(struct store *store, const struct change *changes, size_t count);
void reclaim_root(struct store *store, struct table *table, struct shape *old);

/* Tells readers how much of the arena is used; for people. */
static inline void store_note_used(struct store *store)
{
    atomic_store_explicit(&store->region.super->used_units,
                          store->usable_units - buddy_free_units(&store->buddy),
                          memory_order_relaxed);
}
/* Frees a little of what is buried; false: there is nothing. */
bool bury_some(struct store *store);
/* Looks at leases and at what is held. */
void reclaim_tick(struct store *store, uint64_t now_ms);
/* Copies the words of all leases; whether each that was held then has ended since. */
void leases_note(struct store *store, uint64_t *words);
bool leases_ended(struct store *store, const uint64_t *words);
/* Takes back all that are held; false if they cannot be read. */
bool leases_revoke(struct store *store);
/* Whether the leases' mapping may be touched now. */
bool leases_readable(struct store *store);
/* Before versions are unlinked, and again before they are freed. */
void reclaim_seq_raise(struct store *store);
/* Puts an entry with old versions, or a tombstone, among the held. */
int reclaim_hold(struct store *store, uint64_t unit, struct index *index);
void held_erase(struct store *store, uint64_t unit);

/* --- routes (store.c) ----------------------------------------------------------------------- */

/* After a change of what slot->route stands for, and before anything is freed that it made
 * unreachable. */
void route_raise(struct table_slot *slot);

/* --- ages (store.c) -------------------------------------------------------------------------- */

/* How old a table's rows are, as it is kept in snapshot files. */
struct table_age {
    int64_t refreshed_at_ms; /* wall clock; 0: never */
    uint64_t max_stale_ms;
    uint64_t fails_when_stale; /* 0 or 1 */
};
/* For rows that come from elsewhere: they are as old as they were there. Takes the lock. */
void store_table_age(struct store *store, const char *name, const struct table_age *age);

/* --- compact.c, recover.c, snapfile.c --------------------------------------------------------- */

void compact_tick(struct store *store);
void moves_pending_set(struct store *store, bool pending);
int recover(struct store *store, struct store_opened *opened, char *why);
/* Copies every table of the pond in the directory, as readers see it, into this new one. A table
 * that cannot be read is left out, counted and named in `opened`. */
int migrate(struct store *store, struct store_opened *opened, char *why);
/* The same for its cache, of which only memory for the new one can be lacking. */
int cache_carry(struct store *store, const struct region *old);

#endif
