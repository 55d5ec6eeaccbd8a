/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.h - the cache of a pond: keys and values that clients put in, beside the tables.
 *
 * One index of entries (format.h) with an expiry and a version each. An entry is written
 * whole and then published in the place of the one before, which is freed at once: there are no
 * older versions, and no transactions. Readers of the pond find entries without a lock, by
 * client/local; everything here changes them, or reads more than one at a time.
 *
 * Threads: all functions but cache_open, cache_close and cache_lock need the cache's lock, which is
 * the store's, and is to be held for microseconds. What they return of an entry is valid until the
 * next call that writes, or the end of the lock.
 *
 * Memory: the cache may take limit_bytes of the pond for entries and index. When that is used up,
 * or the pond has no more, entries are evicted (cache_evict.c), or writes are refused with
 * SP_ENOSPC. Entries whose time is over go within a quarter of a second (cache_tick), of a million
 * at once within a few seconds, and are not there for anybody from that very millisecond on.
 */
#ifndef SIDEPOND_STORE_CACHE_H
#define SIDEPOND_STORE_CACHE_H

#include "alloc/format.h"
#include "server/store/store.h"

#define CACHE_KEY_MAX    65535u           /* bytes */
#define CACHE_VALUE_MAX  ((1u << 28) - 1) /* bytes */
#define CACHE_NO_EXPIRY  INT64_C(0)
#define CACHE_EXPIRY_MAX ENTRY_EXPIRY_MAX /* Unix ms, in the year 2527 */

struct cache;

enum cache_gone { CACHE_EXPIRED, CACHE_EVICTED };

struct cache_options {
    uint64_t limit_bytes;
    bool evict; /* when full; false: refuse writes */
    /* Told of each entry that has gone by itself, with the lock held. May be NULL. */
    void (*on_gone)(void *context, enum cache_gone why, const void *key, size_t key_bytes);
    void *context;
};

/* Opens the cache that the pond has, with what is in it, or makes one. SP_ENOSPC, SP_ENOSHM.
 * At most one for each store; it ends before the store does. */
int cache_open(struct store *store, const struct cache_options *options, struct cache **out);
void cache_close(struct cache *cache);

/* `now_ms`: wall clock, by which entries expire until the unlock. */
void cache_lock(struct cache *cache, int64_t now_ms);
void cache_unlock(struct cache *cache);

/* A limit that is lower than what is in use takes effect as entries are written. */
void cache_configure(struct cache *cache, uint64_t limit_bytes, bool evict);

/* --- reading ------------------------------------------------------------------------------- */

struct cache_entry {
    const uint8_t *key, *value;
    size_t key_bytes, value_bytes;
    int64_t expiry_ms; /* wall clock; CACHE_NO_EXPIRY */
    uint64_t version;  /* hybrid logical clock (format.h); grows with each write of the key */
    uint64_t unit;     /* the store's business */
};

uint64_t cache_hash(const struct cache *cache, const void *key, size_t key_bytes);

/* For a batch: a key's first step, some time later its second, some time later the call that looks
 * at it; the time is well spent on the steps of other keys. No lock is needed for cache_hash; the
 * steps need it. */
void cache_prefetch_bucket(const struct cache *cache, uint64_t hash);
void cache_prefetch_entry(const struct cache *cache, uint64_t hash);

/* An entry that has expired is taken out, and not found. */
bool cache_find(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                struct cache_entry *out);

/* Any entry, each about as likely as another; false: there is none. What it and cache_scan find to
 * have expired goes. */
bool cache_random(struct cache *cache, uint64_t random, struct cache_entry *out);

/* Visits some entries, at least `count` if there are as many (up to a bucket's overflow more), and
 * returns where to go on; 0: that was all. Starts with 0. What is there all the while is visited at
 * least once; what comes and goes meanwhile, maybe. */
uint64_t cache_scan(struct cache *cache, uint64_t cursor, unsigned count,
                    void (*visit)(void *context, const struct cache_entry *entry), void *context);

/* --- writing ------------------------------------------------------------------------------- */

struct cache_write {
    uint8_t *value; /* to be filled by the caller */
    size_t key_bytes, value_bytes;
    uint64_t hash, unit;
    unsigned slot; /* of the ring, where slots are kept */
};

/* Makes room for a key with a value of this size, evicting others if need be, but not `needed`
 * (may be NULL), which stays readable. The caller fills write->value, then ends or cancels it;
 * nothing else may be called in between. SP_ETOOBIG, SP_ENOSPC, SP_ENOSHM. */
int cache_write_begin(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                      size_t value_bytes, const struct cache_entry *needed,
                      struct cache_write *write);
/* Publishes it, in the place of the key's entry if there is one,. An expiry after
 * CACHE_EXPIRY_MAX is that one. On an error (SP_ENOSPC, SP_ENOSHM:
 * the index cannot grow) it is cancelled. */
int cache_write_end(struct cache *cache, struct cache_write *write, int64_t expiry_ms);
void cache_write_cancel(struct cache *cache, struct cache_write *write);

/* All three in one. */
int cache_put(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
              const void *value, size_t value_bytes, int64_t expiry_ms);

/* Gives an entry that was found another expiry. Costs a copy of it. */
int cache_set_expiry(struct cache *cache, uint64_t hash, const struct cache_entry *entry,
                     int64_t expiry_ms);

/* Takes a key out; false: it was not there. In a ring see cache_ring.h. */
bool cache_delete(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes);

/* Takes everything out at once. The memory comes back over the next ticks. Not in a ring: see
 * cache_ring.h. */
int cache_flush(struct cache *cache);

/* --- use ----------------------------------------------------------------------------------- */

/* Where readers of this process say which entries they use, as others do in the hints file
 * (format.h): set bits by relaxed atomics, any thread, no lock. `*places`: how many bytes. */
_Atomic uint8_t *cache_touched(const struct cache *cache, uint64_t *places);

/* --- upkeep and information ---------------------------------------------------------------- */

/* Takes out what has expired, a little under each of several locks. Call it, without the lock, ten
 * times a second; returns how many. */
uint64_t cache_tick(struct cache *cache, int64_t now_ms);

struct cache_info {
    uint64_t entries, expiring; /* entries, and those of them that have an expiry */
    uint64_t bytes;             /* keys and values */
    uint64_t memory_bytes;      /* of the pond: entries and index */
    uint64_t limit_bytes;
    uint64_t written, deleted, expired, evicted, refused;
    uint64_t shm_hits, shm_misses; /* of readers in other processes, as they say */
    bool evict;
};
void cache_info(struct cache *cache, struct cache_info *out);        /* takes the lock */
void cache_info_locked(struct cache *cache, struct cache_info *out); /* with it */
uint64_t cache_entries(const struct cache *cache);
/* Of the pond, for one entry with its share of the index. */
uint64_t cache_entry_memory(const struct cache_entry *entry);

#endif
