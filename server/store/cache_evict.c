/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_evict.c - who goes when the cache is full (docs/adr/0008-eviction.md).
 */
#include "server/store/cache_internal.h"

void cache_use_inserted(struct cache *cache, const struct place *place)
{
    (void)cache;
    *place->note = note_set_use(*place->note, place->number, 0);
}

void cache_use_replaced(struct cache *cache, const struct place *place)
{
    (void)cache;
    unsigned use = note_use(*place->note, place->number);
    if (use < NOTE_USE_MAX)
        *place->note = note_set_use(*place->note, place->number, use + 1);
}

/* Evicts from the hand's bucket; false: all in it are in use. */
static bool evict_from(struct cache *cache, const struct segment_ref *segment, unsigned b,
                       uint64_t keep)
{
    uint32_t *note = segment_notes(segment->buckets, segment->bucket_count) + b;
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t word = atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
        if (word == 0 || slot_unit(word) == keep)
            continue;
        unsigned use = note_use(*note, s);
        if (use > 0) {
            *note = note_set_use(*note, s, use - 1);
            continue;
        }
        struct place place = index_place(cache_index(cache), segment, b, s);
        cache_lose(cache, &place, CACHE_EVICTED);
        return true;
    }
    return false;
}

bool cache_evict_one(struct cache *cache, uint64_t keep)
{
    struct index *index = cache_index(cache);
    for (unsigned rounds = 0; rounds <= NOTE_USE_MAX + 1;) {
        struct segment_ref segment;
        if (!hand_next(index, &cache->evict, &segment)) {
            rounds++;
            continue;
        }
        if (evict_from(cache, &segment, cache->evict.bucket, keep))
            return true;
    }
    return false;
}
