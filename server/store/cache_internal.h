/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_internal.h - what the files of the cache share; everything is called with the lock held.
 *
 *   cache.c         opening, finding, writing, deleting, the walk over all
 *   cache_evict.c   who goes when there is no room
 *   cache_expire.c  who goes because its time is over
 */
#ifndef SIDEPOND_STORE_CACHE_INTERNAL_H
#define SIDEPOND_STORE_CACHE_INTERNAL_H

#include "alloc/hints.h"
#include "server/store/cache.h"
#include "server/store/cache_note.h"
#include "server/store/internal.h"

/* A place in a sweep over the index: of a segment by its directory position, and a bucket in it. */
struct cache_hand {
    uint64_t position;
    uint64_t segment; /* the directory's word, to see that it is still this one */
    unsigned bucket;
};

struct cache {
    struct store *store;
    struct table *table;
    struct cache_options options;
    uint64_t limit_units;
    int64_t now_ms; /* of this lock */
    struct cache_hand evict, expire;
    _Atomic uint8_t *touched;          /* of this process: see cache_touched */
    uint64_t places;                   /* bytes there, and in the hints file at most */
    struct hints hints;                /* of other processes */
    uint64_t hinted;                   /* how many places the hints file was asked for */
    uint8_t used[SEGMENT_BUCKETS_MAX]; /* what the evicting hand's segment had of both */
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
static inline bool cache_expired(const struct cache *cache, const struct entry *entry)
{
    int64_t expiry_ms = entry_expiry(entry);
    return expiry_ms != CACHE_NO_EXPIRY && expiry_ms <= cache->now_ms;
}

/* Unpublishes an entry and frees it. */
void cache_remove(struct cache *cache, const struct place *place);
/* The same for one that goes by itself: the owner is told. */
void cache_lose(struct cache *cache, const struct place *place, enum cache_gone why);

/* Moves a hand to the next bucket, by way of the next segment where need be; false: it has come to
 * the end of the index, and stands at its start again. */
struct segment_ref;
bool hand_next(struct index *index, struct cache_hand *hand, struct segment_ref *segment);

/* --- cache_evict.c -------------------------------------------------------------------------- */

/* Evicts one entry that does not lie at `keep` (0: any); false: there is none. */
bool cache_evict_one(struct cache *cache, uint64_t keep);
/* Makes the places for touches; without the hints file, if that cannot be had. */
int cache_use_open(struct cache *cache);
void cache_use_close(struct cache *cache);
/* Looks at what readers of other processes have counted. */
void cache_use_count(struct cache *cache);
/* An entry has been put in where none of its key was, or in the place of an older one. */
void cache_use_inserted(struct cache *cache, const struct place *place);
void cache_use_replaced(struct cache *cache, const struct place *place);

/* --- cache_expire.c ------------------------------------------------------------------------- */

/* Notes that an entry of this bucket and segment expires then (or never). Also for recovery. */
void cache_note_expiry(uint32_t *note, struct segment_head *head, int64_t expiry_ms,
                       int64_t now_ms);

#endif
