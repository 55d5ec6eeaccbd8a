/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_ring.h - what a cache does as a copy of a ring's data (docs/RING.md, "Versions"): entries
 * with the versions of others, tombstones, and a digest for each slot.
 *
 * A cache keeps slots from cache_keep_slots on. Then each deletion leaves a tombstone: an entry
 * flagged ENTRY_TOMBSTONE, without a value, whose expiry is long past, so that readers take it for
 * absent without a look at the flag. It goes when it is old enough. What is evicted or expires
 * leaves none.
 *
 * The digest of a slot is the XOR over its entries, tombstones among them, of a hash of key,
 * version, expiry, value and flag. It is the same on every node that has the same entries.
 *
 * All functions need the cache's lock but where it says otherwise.
 */
#ifndef SIDEPOND_STORE_CACHE_RING_H
#define SIDEPOND_STORE_CACHE_RING_H

#include "client/ring/clock.h"
#include "client/ring/slot.h"
#include "server/store/cache.h"

struct cache_slots_options {
    unsigned slots; /* a power of two */
    uint64_t tombstone_ms;
    /* Given and seen versions; lives as long as the cache. From now on writes are stamped by it. */
    struct ring_clock *clock;
};

/* Makes the digests, for which it walks over everything: without the lock, before anybody else uses
 * the cache. SP_ENOMEM. */
int cache_keep_slots(struct cache *cache, const struct cache_slots_options *options);
void cache_set_tombstone_ms(struct cache *cache, uint64_t tombstone_ms);

/* An entry that somebody else has stamped. `value` NULL: a deletion. */
struct cache_stamped {
    uint64_t hash, version;
    const void *key, *value;
    size_t key_bytes, value_bytes;
    int64_t expiry_ms;
};

/* Puts it in the place of an older one. SP_OK: it counts now, or was there; *changed (may be NULL)
 * says which. SP_EEXISTS: there is a newer one, whose version is *current. Else as cache_put. An
 * entry that has expired by now is a deletion of what was before it. */
int cache_apply(struct cache *cache, const struct cache_stamped *stamped, bool *changed,
                uint64_t *current);

/* Any entry, as cache_find, tombstones too, and those that have expired but are still there. */
struct cache_copy {
    struct cache_entry entry;
    bool tombstone;
};
bool cache_find_copy(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     struct cache_copy *out);

/* As cache_scan, over the entries of these slots, tombstones too. `count` is of entries visited or
 * passed over. */
uint64_t cache_scan_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS],
                          void (*visit)(void *context, const struct cache_copy *copy),
                          void *context);

/* Takes out everything of these slots, without tombstones and events, some under each call: as
 * cache_scan, 0: all done. */
uint64_t cache_drop_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS]);

struct cache_slot {
    uint64_t digest;
    uint32_t entries, tombstones;
};
/* Without the lock, and so maybe of another moment than the next one's. */
void cache_slot(const struct cache *cache, unsigned slot, struct cache_slot *out);

uint64_t cache_tombstones(const struct cache *cache);

#endif
