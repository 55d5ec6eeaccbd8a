/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_use.c - which entries of the cache are used.
 *
 * A bit for each slot, and one for all that overflow from a bucket, says that an entry was touched
 * since a hand of eviction was there. Readers of this process set it in an array of its own, those
 * of other processes in the hints file (format.h); a hand that comes to a segment puts the file's
 * bits to the array's, where each waits until it comes to its slot. A bit that is lost, because its
 * segment was split meanwhile, is a use that does not count.
 */
#include "server/store/cache_internal.h"

#include <sys/mman.h>

/* A byte for each bucket that the index can have with entries of the smallest size. */
static uint64_t places_for(const struct store *store)
{
    uint64_t entries = store->region.unit_limit / 2; /* 20 bytes of head are two units */
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
    return SP_OK;
}

void cache_use_close(struct cache *cache)
{
    if (cache->hints.fd >= 0)
        hints_detach(&cache->hints);
    munmap((void *)cache->touched, cache->places);
}

_Atomic uint8_t *cache_touched(const struct cache *cache, uint64_t *places)
{
    *places = cache->places;
    return cache->touched;
}

/* The place of a bucket's byte. */
static uint64_t place_of(const struct cache *cache, uint64_t prefix, const struct bucket *bucket)
{
    const struct region *region = &cache->store->region;
    uint64_t dir = atomic_load_explicit(cache_index(cache)->dir, memory_order_relaxed);
    uint64_t position = prefix >> (CURSOR_PREFIX_BITS - dir_depth(dir));
    const _Atomic uint64_t *words = region_at(region, dir_unit(dir));
    uint64_t segment = atomic_load_explicit(&words[position], memory_order_relaxed);
    const struct bucket *first = region_at(region, segment_unit(segment));
    return hint_place(position, UINT64_C(1) << dir_depth(dir), segment, (unsigned)(bucket - first));
}

void cache_use_prefetch(const struct cache *cache, uint64_t prefix, const struct bucket *bucket)
{
    uint64_t at = place_of(cache, prefix, bucket);
    if (at < cache->places)
        __builtin_prefetch((const void *)&cache->touched[at], 1);
}

/* The byte that has an entry's bit; NULL: it has none. */
static _Atomic uint8_t *byte_of(const struct cache *cache, uint64_t prefix,
                                const struct place *place, uint8_t *bit)
{
    uint64_t at = place_of(cache, prefix, place->home);
    *bit = (uint8_t)(place->distance > 0 ? HINT_OVERFLOW : 1u << place->number);
    return at < cache->places ? &cache->touched[at] : NULL;
}

bool cache_use_take(struct cache *cache, uint64_t prefix, const struct place *place)
{
    uint8_t bit;
    _Atomic uint8_t *byte = byte_of(cache, prefix, place, &bit);
    if (!byte || !(atomic_load_explicit(byte, memory_order_relaxed) & bit))
        return false;
    atomic_fetch_and_explicit(byte, (uint8_t)~bit, memory_order_relaxed);
    return true;
}

void cache_use_set(struct cache *cache, uint64_t prefix, const struct place *place)
{
    uint8_t bit;
    _Atomic uint8_t *byte = byte_of(cache, prefix, place, &bit);
    if (byte && !(atomic_load_explicit(byte, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(byte, bit, memory_order_relaxed);
}

/* The hints file has room for the directory as it is now. */
static void grow_hints(struct cache *cache)
{
    uint64_t words = UINT64_C(1) << dir_depth(
                         atomic_load_explicit(cache_index(cache)->dir, memory_order_relaxed));
    uint64_t wanted = words * SEGMENT_BUCKETS_MAX;
    if (wanted == cache->hinted)
        return;
    cache->hinted = wanted;
    hints_grow(&cache->hints, cache->store->region.super->id, wanted);
}

void cache_use_collect(struct cache *cache, uint64_t prefix, const struct segment_ref *segment)
{
    uint8_t taken[SEGMENT_BUCKETS_MAX];
    uint64_t first = place_of(cache, prefix, segment->buckets);
    if (cache->hints.fd < 0 || first + segment->bucket_count > cache->places)
        return;
    grow_hints(cache);
    hints_take(&cache->hints, first, taken, segment->bucket_count);
    for (unsigned b = 0; b < segment->bucket_count; b++) {
        if (taken[b])
            atomic_fetch_or_explicit(&cache->touched[first + b], taken[b], memory_order_relaxed);
    }
}
