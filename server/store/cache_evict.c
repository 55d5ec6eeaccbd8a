/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_evict.c - who goes when the cache is full.
 *
 * A hand sweeps over the buckets in the order of the index, that is, of hashes. Each slot has two
 * bits of use (cache_note.h), and a bit that says whether it was touched since the hand's last
 * visit: readers set it, without a lock, in this process's array or in the hints file. An entry
 * comes in with use 0. At a visit, one that was touched gains a step; one that was not goes if its
 * use is 0, and loses a step if not. So what is asked for once, as by a scan, goes at the hand's
 * first visit, and what is asked for often stays for up to three visits without being asked for.
 *
 * Costs: a visit looks at a bucket's slots, note and touches, all in order of memory; entries
 * themselves are looked at only when they go.
 *
 * CLOCK with counters: A. J. Smith, "Sequentiality and prefetching in database systems", ACM TODS
 * 3(3), 1978; that new entries begin at the lowest use is what SIEVE (Y. Zhang et al., NSDI 2024)
 * and S3-FIFO (J. Yang et al., SOSP 2023) have shown to matter.
 */
#include "server/store/cache_internal.h"

#include <string.h>
#include <sys/mman.h>

/* --- touches ---------------------------------------------------------------------------------- */

/* A byte for each bucket that the index can have with entries of the smallest size. */
static uint64_t places_for(const struct store *store)
{
    uint64_t entries = store->region.unit_limit / 3; /* 36 bytes of head are three units */
    uint64_t places = SEGMENT_BUCKETS_MAX;
    while (places < entries / 2 && places < HINTS_BYTES_MAX)
        places *= 2;
    return places;
}

int cache_use_open(struct cache *cache)
{
    struct store *store = cache->store;
    const uint64_t *id = store->region.super->id;
    cache->places = places_for(store);
    cache->hints.fd = -1;
    void *map = mmap(NULL, cache->places, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return SP_ENOMEM;
    cache->touched = map;
    if (hints_create(store->directory, id, cache->places, store->options.gid, NULL) != SP_OK ||
        hints_attach(store->directory, id, &cache->hints) != SP_OK)
        cache->hints.fd = -1; /* then readers of other processes say nothing */
    else
        hints_counts(&cache->hints, &cache->readers.seen_hits, &cache->readers.seen_misses);
    return SP_OK;
}

void cache_use_close(struct cache *cache)
{
    if (cache->hints.fd >= 0)
        hints_detach(&cache->hints);
    munmap((void *)cache->touched, cache->places);
}

/* A count that went back, by whatever hand, counts from there on. */
static void count_on(uint64_t *sum, uint64_t *seen, uint64_t now)
{
    if (now > *seen)
        *sum += now - *seen;
    *seen = now;
}

void cache_use_count(struct cache *cache)
{
    uint64_t hits, misses;
    if (cache->hints.fd < 0)
        return;
    hints_counts(&cache->hints, &hits, &misses);
    count_on(&cache->readers.hits, &cache->readers.seen_hits, hits);
    count_on(&cache->readers.misses, &cache->readers.seen_misses, misses);
}

_Atomic uint8_t *cache_touched(const struct cache *cache, uint64_t *places)
{
    *places = cache->places;
    return cache->touched;
}

/* The hints file has room for the directory as it is now. */
static void grow_hints(struct cache *cache)
{
    uint64_t words = UINT64_C(1) << dir_depth(
                         atomic_load_explicit(cache_index(cache)->dir, memory_order_relaxed));
    uint64_t wanted = words * SEGMENT_BUCKETS_MAX;
    if (cache->hints.fd < 0 || wanted == cache->hinted)
        return;
    cache->hinted = wanted;
    hints_grow(&cache->hints, cache->store->region.super->id, wanted);
}

/* Takes the touches of the segment that the hand has come to. */
static void take_touches(struct cache *cache, const struct segment_ref *segment)
{
    uint64_t first = cache->evict.position * SEGMENT_BUCKETS_MAX;
    grow_hints(cache);
    memset(cache->used, 0, sizeof(cache->used));
    if (first + segment->bucket_count > cache->places)
        return;
    if (cache->hints.fd >= 0)
        hints_take(&cache->hints, first, cache->used, segment->bucket_count);
    for (unsigned b = 0; b < segment->bucket_count; b++) {
        _Atomic uint8_t *byte = &cache->touched[first + b];
        if (atomic_load_explicit(byte, memory_order_relaxed) != 0)
            cache->used[b] |= atomic_exchange_explicit(byte, 0, memory_order_relaxed);
    }
}

/* --- use -------------------------------------------------------------------------------------- */

static void gain(const struct place *place)
{
    unsigned use = note_use(*place->note, place->number);
    if (use < NOTE_USE_MAX)
        *place->note = note_set_use(*place->note, place->number, use + 1);
}

void cache_use_inserted(struct cache *cache, const struct place *place)
{
    (void)cache;
    *place->note = note_set_use(*place->note, place->number, 0);
}

void cache_use_replaced(struct cache *cache, const struct place *place)
{
    (void)cache;
    gain(place);
}

/* --- the hand --------------------------------------------------------------------------------- */

static bool was_touched(const struct cache *cache, const struct place *place,
                        const struct segment_ref *segment)
{
    uint8_t byte = cache->used[place->home - segment->buckets];
    return byte & (place->distance > 0 ? HINT_OVERFLOW : 1u << place->number);
}

/* Visits a bucket's slots until one goes; false: all stay. */
static bool evict_from(struct cache *cache, const struct segment_ref *segment, unsigned b,
                       uint64_t keep)
{
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t word = atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
        if (word == 0 || slot_unit(word) == keep)
            continue;
        struct place place = index_place(cache_index(cache), segment, b, s);
        unsigned use = note_use(*place.note, s);
        if (was_touched(cache, &place, segment)) {
            gain(&place);
        } else if (use > 0) {
            *place.note = note_set_use(*place.note, s, use - 1);
        } else {
            cache_lose(cache, &place, CACHE_EVICTED);
            return true;
        }
    }
    return false;
}

bool cache_evict_one(struct cache *cache, uint64_t keep)
{
    struct index *index = cache_index(cache);
    for (unsigned rounds = 0; rounds <= NOTE_USE_MAX + 2;) {
        struct segment_ref segment;
        uint64_t before = cache->evict.segment;
        if (!hand_next(index, &cache->evict, &segment)) {
            rounds++;
            continue;
        }
        if (cache->evict.segment != before)
            take_touches(cache, &segment);
        if (evict_from(cache, &segment, cache->evict.bucket, keep))
            return true;
    }
    return false;
}
