/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_ring.h - what a cache does as a copy of a ring's data (docs/RING.md, "Versions"): entries
 * with the versions of others, tombstones, and a digest for each slot.
 *
 * A cache keeps slots from cache_keep_slots on. Then each deletion leaves a tombstone: an entry
 * flagged ENTRY_TOMBSTONE, without a value, whose expiry is long past, so that readers take it for
 * absent as they do with those of tables. It goes when it is old enough: tombstone_ms after its
 * version. What is evicted leaves none. What expires leaves one that has lapsed, and goes
 * CACHE_LAPSED_MS after its version, or, where cache_keep_expired says so, as late as that of a
 * deletion: a copy that did not get the write would bring back the one before it, and that it did
 * not is known only some time after the write. So an entry that lives for longer leaves nothing
 * where nobody has missed writes.
 *
 * cache_delete leaves one for a key that is absent, too, and returns false: another node may have a
 * write that has not come here yet, which the client has seen acknowledged before it asked for the
 * deletion; without the tombstone the key would be there again as soon as that write arrives. So a
 * deletion is to be passed on whatever cache_delete returns. A write that has expired by the time
 * it ends is a deletion.
 *
 * Memory: a deletion makes the tombstone out of the entry, so it works when the cache is full; one
 * of a key that is absent needs room, and without it leaves no tombstone (cache_delete) or is
 * refused (cache_apply). Tombstones are never evicted, for then what was deleted could come back. A
 * cache that is full of them refuses writes with SP_ENOSPC until they have gone, or
 * cache_set_tombstone_ms makes them go.
 *
 * cache_flush leaves no tombstones, and takes away those that are there. So the other copies bring
 * back what it has taken out: a node of a ring is not to be flushed, but emptied key by key by
 * cache_scan and cache_delete, or refuses.
 *
 * The digest of a slot is the XOR over its entries, tombstones among them, of a hash of key,
 * version, expiry, flag, size and a checksum of key and value (cache_ring.c). It is the same on
 * every node that has the same entries.
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
    /* Given and seen versions; lives as long as the cache. From now on writes are stamped by it,
     * each above the entry that it replaces; where the clock is a second ahead of the wall's, those
     * of different keys may have the same version. It gets to see the versions of all entries, but
     * for those later than latest_ms, Unix ms. */
    struct ring_clock *clock;
    int64_t latest_ms;
};

/* Makes the digests, all anew if there are some, for which it walks over everything: without the
 * lock, before anybody else uses the cache. SP_ENOMEM. */
int cache_keep_slots(struct cache *cache, const struct cache_slots_options *options);
/* Also a shorter time counts for the tombstones that are there. At most some 30 years. */
void cache_set_tombstone_ms(struct cache *cache, uint64_t tombstone_ms);

/* Entries that are later than latest_ms said, when the slots were begun to be kept. */
uint64_t cache_slots_ahead(const struct cache *cache);

/* A version that is later than the time by more than this is of a wrong clock: see
 * cache_counts_as. CACHE_AHEAD_ANY, as in the beginning: none is. */
#define CACHE_AHEAD_ANY INT64_MAX
void cache_set_ahead(struct cache *cache, int64_t ahead_ms);
/* What a version counts as: one of a wrong clock as one older than those of right clocks, the same
 * one on all nodes. An entry with such a version gets the other one, or gives way, when it is met:
 * by cache_apply, a write, or cache_scan_slots. */
uint64_t cache_counts_as(const struct cache *cache, uint64_t version);
/* How many entries have been met like that. Without the lock. */
uint64_t cache_restamped(const struct cache *cache);

#define CACHE_LAPSED_MS 15000

/* From now on what has expired in these slots, and in no others, leaves a tombstone for longer: for
 * slots of which another copy has missed writes. */
void cache_keep_expired(struct cache *cache, const uint64_t slots[RING_SLOT_WORDS]);

/* An entry that somebody else has stamped. `value` NULL: a deletion. */
struct cache_stamped {
    uint64_t hash, version;
    const void *key, *value;
    size_t key_bytes, value_bytes;
    int64_t expiry_ms;
};

/* Puts it in the place of an older one. SP_OK: it counts now, or was there; *changed (may be NULL)
 * says which. SP_EEXISTS: there is a newer one, or one of the same version that counts more, whose
 * version is *current. SP_EINVAL: no version. Else as cache_put. An entry that has expired by now
 * is a deletion of what was before it, and a deletion that is older than tombstone_ms leaves
 * nothing. */
int cache_apply(struct cache *cache, const struct cache_stamped *stamped, bool *changed,
                uint64_t *current);

/* Any entry, as cache_find, tombstones too, and those that have expired but are still there. */
struct cache_copy {
    struct cache_entry entry;
    bool tombstone;
};
bool cache_find_copy(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     struct cache_copy *out);

/* As cache_scan, over the entries of these slots, tombstones too; what has expired goes, and is
 * visited as the tombstone that it leaves, if any. `count` is of entries visited or passed over,
 * each of which is looked at. */
uint64_t cache_scan_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS],
                          void (*visit)(void *context, const struct cache_copy *copy),
                          void *context);

/* Takes out everything of these slots, without tombstones and events, some under each call: as
 * cache_scan, 0: all done. */
uint64_t cache_drop_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS]);

/* As cache_drop_slots, of what has a version up to this one, or counts as such. *dropped counts. */
uint64_t cache_drop_older(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS], uint64_t version,
                          uint64_t *dropped);

/* What is remembered of a cache in the pond, and taken along into another one: Unix ms, 0: not
 * known. Without the lock, by one thread. */
struct cache_life {
    int64_t whole_ms; /* when it was last a whole and current copy */
    int64_t since_ms; /* since when the ring has lived: see docs/RING.md, "Nodes" */
};
void cache_life(const struct cache *cache, struct cache_life *out);
void cache_set_life(struct cache *cache, const struct cache_life *life);

struct cache_slot {
    uint64_t digest;
    uint32_t entries, tombstones; /* the latter are none of the former */
};
/* Without the lock, and so maybe of another moment than the next one's. */
void cache_slot(const struct cache *cache, unsigned slot, struct cache_slot *out);

uint64_t cache_tombstones(const struct cache *cache);

#endif
