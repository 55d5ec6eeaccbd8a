/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_internal.h - what the files of the cache share; everything is called with the lock held.
 *
 *   cache.c         opening, finding, writing, deleting, the walk over all
 *   cache_evict.c   who goes when there is no room
 *   cache_ghost.c   whom it has thrown out lately
 *   cache_use.c     which entries are used
 *   cache_expire.c  who goes because its time is over
 *   cache_ring.c    versions of others, tombstones, digests of slots
 */
#ifndef SIDEPOND_STORE_CACHE_INTERNAL_H
#define SIDEPOND_STORE_CACHE_INTERNAL_H

#include "alloc/hints.h"
#include "server/store/cache.h"
#include "server/store/cache_note.h"
#include "server/store/cache_ring.h"
#include "server/store/internal.h"

/* A place in a sweep over the index: of a segment by its directory position, and a bucket in it. */
struct cache_hand {
    uint64_t position;
    uint64_t segment; /* the directory's word, to see that it is still this one */
    unsigned bucket;
};

/* Where a hand of eviction stands. It takes the slots of one number in all buckets, in the order of
 * hashes, then those of the number before. */
struct evict_hand {
    uint64_t prefix;  /* of the segment: CURSOR_PREFIX_BITS of the hash */
    uint64_t segment; /* unit of the segment that it was in last */
    unsigned bucket, number;
};
enum evict_part { EVICT_PROBATION, EVICT_MAIN };

/* How long tombstones stay in a cache that nobody has told. */
#define TOMBSTONE_MS     UINT64_C(3600000)
#define TOMBSTONE_MS_MAX (UINT64_C(1) << 40)

/* What cache_slot says of a slot; written with the lock held. */
struct slot_sum {
    _Atomic uint64_t digest;
    _Atomic uint32_t entries, tombstones;
};

/* From cache_keep_slots on. */
struct cache_slots {
    unsigned count;
    struct ring_clock *clock;
    int64_t ahead_ms;                       /* see cache_set_ahead */
    uint64_t ahead;                         /* see cache_slots_ahead */
    _Atomic uint64_t restamped;             /* see cache_restamped */
    bool keeps_expired;                     /* any of: */
    uint64_t keep_expired[RING_SLOT_WORDS]; /* see cache_keep_expired */
    struct slot_sum sums[];
};

/* Hashes that were evicted lately. */
struct ghosts {
    uint16_t *marks; /* NULL: there are none */
    uint64_t lines;
};

struct cache {
    struct store *store;
    struct table *table;
    struct cache_options options;
    uint64_t limit_units;
    uint64_t writes; /* counts on, for versions */
    int64_t now_ms;  /* of this lock */
    struct cache_hand expire;
    bool renote;                /* the hand that expires looks at all entries of this round */
    uint64_t tombstone_ms;      /* how long a tombstone stays */
    struct cache_slots *slots;  /* NULL: none are kept */
    struct evict_hand hands[2]; /* by part */
    uint64_t probation;         /* entries in this state */
    struct ghosts ghosts;
    _Atomic uint8_t *touched; /* a bit for each slot: see cache_touched */
    uint64_t places;          /* bytes there, and in the hints file at most */
    struct hints hints;       /* of other processes */
    uint64_t hinted;          /* how many places the hints file was asked for */
    struct {
        uint64_t written, deleted, expired, evicted, refused;
    } stats;
    struct {
        uint64_t hits, misses;           /* since the cache was opened */
        uint64_t seen_hits, seen_misses; /* in the hints file, at the last look */
    } readers;
};

static inline struct shape *cache_shape(const struct cache *cache)
{
    return cache->table->current;
}
static inline struct index *cache_index(const struct cache *cache)
{
    return &cache->table->current->indexes[0];
}

struct cache_entry cache_entry_at(const struct cache *cache, uint64_t unit);
static inline int64_t cache_expiry_of(const struct entry *entry)
{
    return entry_expiry(atomic_load_explicit(&entry->born_word, memory_order_relaxed),
                        atomic_load_explicit(&entry->prev_word, memory_order_relaxed));
}
static inline bool cache_expired(const struct cache *cache, const struct entry *entry)
{
    int64_t expiry_ms = cache_expiry_of(entry);
    return expiry_ms != CACHE_NO_EXPIRY && expiry_ms <= cache->now_ms;
}
static inline bool cache_is_tombstone(const struct entry *entry)
{
    return entry_flags(atomic_load_explicit(&entry->born_word, memory_order_relaxed)) &
           ENTRY_TOMBSTONE;
}
static inline uint64_t cache_version_of(const struct entry *entry)
{
    return entry_clock(atomic_load_explicit(&entry->prev_word, memory_order_relaxed),
                       entry->checksum);
}
/* When a tombstone of this version goes. */
static inline int64_t cache_tombstone_due(const struct cache *cache, uint64_t version)
{
    return ring_clock_wall_ms(cache_counts_as(cache, version)) + (int64_t)cache->tombstone_ms;
}
/* The same of what an entry that has expired leaves: see cache_ring.h. */
int64_t cache_lapsed_due(const struct cache *cache, const struct entry *entry);
/* When an entry goes by itself; CACHE_NO_EXPIRY: it does not. */
static inline int64_t cache_due(const struct cache *cache, const struct entry *entry)
{
    int64_t expiry_ms = cache_expiry_of(entry);
    if (!cache_is_tombstone(entry))
        return expiry_ms;
    return expiry_ms == ENTRY_LAPSED_EXPIRY ? cache_lapsed_due(cache, entry)
                                            : cache_tombstone_due(cache, cache_version_of(entry));
}

/* cache_write_end with a version of somebody else, later than that of the key's entry. */
int cache_write_stamped(struct cache *cache, struct cache_write *write, int64_t expiry_ms,
                        uint64_t version);
/* The version of a write by this cache, later than that of the entry it replaces (NULL: none). */
uint64_t cache_next_version(struct cache *cache, const struct place *replaced);
/* Makes a tombstone of an entry, in its memory: so a deletion does not fail because there is none
 * left. A crash in the middle leaves nothing of the key. */
void cache_bury(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version);
/* The same of one that has expired. */
void cache_lapse(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version);
/* Gives an entry another version, in its memory, as cache_bury does. */
void cache_restamp(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version);
/* cache_bury of a write that nobody has seen yet. */
int cache_bury_write(struct cache *cache, const struct cache_write *write, uint64_t version);
/* A live entry's place; one that has expired goes. */
bool cache_find_live(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     struct place *place);
/* Puts in a tombstone of a key that has no entry. */
int cache_put_tombstone(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                        uint64_t version);
/* cache_write_end of what has expired, and cache_delete, where slots are kept. */
int cache_write_expired(struct cache *cache, struct cache_write *write);
bool cache_delete_stamped(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes);

/* Goes over the buckets as cache_scan does, until `look` has found `count`. It gets a segment and a
 * bucket of it, and returns how many entries it has found at home there. */
struct cache_walk {
    unsigned (*look)(struct cache *cache, const struct segment_ref *segment, unsigned home,
                     void *context);
    void *context;
};
uint64_t cache_walk(struct cache *cache, uint64_t cursor, unsigned count,
                    const struct cache_walk *walk);

/* The key's slot, whose sums are fetched meanwhile; 0 where no slots are kept. */
unsigned cache_slots_find(const struct cache *cache, const void *key, size_t key_bytes);
/* An entry of this slot has taken the place of another of its key; 0: there was none, or is none.
 * Both can still be read. */
void cache_slots_changed(struct cache *cache, unsigned slot, uint64_t out, uint64_t in);
/* A version of the ring's clock, later than that of the entry of before, unless that is of a wrong
 * clock. */
uint64_t cache_slots_stamp(struct cache *cache, uint64_t before);
/* Whether an entry that expires leaves a tombstone. */
bool cache_slots_keep(const struct cache *cache, const struct entry *entry);
/* The cache is empty again. */
void cache_slots_reset(struct cache *cache);

/* Unpublishes an entry and frees it. */
void cache_remove(struct cache *cache, const struct place *place);
/* The same for one that goes by itself: the owner is told. */
void cache_lose(struct cache *cache, const struct place *place, enum cache_gone why);

/* A place in the order of hashes is 28 bits of the directory's prefix, and a place in the segment.
 * So it means the same after the directory has been doubled. */
#define CURSOR_PREFIX_BITS DIR_DEPTH_MAX
#define CURSOR_PREFIX_END  (UINT64_C(1) << CURSOR_PREFIX_BITS)

static inline uint64_t cursor_prefix(uint64_t hash)
{
    return hash >> (64 - CURSOR_PREFIX_BITS);
}

/* The segment that has this prefix; `*next` is that of the one after it, or CURSOR_PREFIX_END. */
struct segment_ref cache_segment_at(const struct cache *cache, uint64_t prefix, uint64_t *next);

/* --- cache_evict.c -------------------------------------------------------------------------- */

/* Evicts one entry that does not lie at `keep` (0: any); false: there is none. */
bool cache_evict_one(struct cache *cache, uint64_t keep);
/* What state a new entry gets, and the slot from which it had best look for a free one. */
enum note_state cache_state_of_new(struct cache *cache, uint64_t hash, unsigned *from);
/* An entry has been put in where none of its key was; one goes. */
void cache_evict_inserted(struct cache *cache, const struct place *place, enum note_state state);
void cache_evict_removed(struct cache *cache, const struct place *place);
/* The cache is empty again. */
void cache_evict_reset(struct cache *cache);

/* --- cache_ghost.c -------------------------------------------------------------------------- */

/* Makes the table fit so many entries, empty, unless it does. Without memory there is none. */
void ghosts_fit(struct ghosts *ghosts, uint64_t entries);
void ghosts_free(struct ghosts *ghosts);
void ghosts_add(struct ghosts *ghosts, uint64_t hash);
/* Whether a hash is there; it is taken out. */
bool ghosts_take(struct ghosts *ghosts, uint64_t hash);

/* --- cache_use.c ---------------------------------------------------------------------------- */

/* Makes the places for touches; without the hints file, if that cannot be had. */
int cache_use_open(struct cache *cache);
void cache_use_close(struct cache *cache);
/* Puts what other processes have touched in a segment to what this one has. All prefixes are those
 * of an entry's hash, or of its segment. */
void cache_use_collect(struct cache *cache, uint64_t prefix, const struct segment_ref *segment);
/* Whether an entry was touched; then it is no longer. */
bool cache_use_take(struct cache *cache, uint64_t prefix, const struct place *place);
/* Fetches the place of a bucket's touches. */
void cache_use_prefetch(const struct cache *cache, uint64_t prefix, const struct bucket *bucket);
void cache_use_set(struct cache *cache, uint64_t prefix, const struct place *place);
/* Looks at what readers of other processes have counted. */
void cache_use_count(struct cache *cache);

/* --- cache_expire.c ------------------------------------------------------------------------- */

/* Notes that an entry of this bucket and segment expires then (or never). Also for recovery. */
void cache_note_expiry(uint32_t *note, struct segment_head *head, int64_t expiry_ms,
                       int64_t now_ms);

#endif
