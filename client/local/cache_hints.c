/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_hints.c - the hints file as readers use it.
 *
 * It is opened with the cache and, when the pond is replaced, with the first lookup that goes
 * through find.h afterwards. Where it is absent, or this process may not write it, there is a
 * struct without any bytes in its place, so that it is looked for once only.
 *
 * How many hints there are is asked of the system when the daemon announces more than were known:
 * what stands in the file itself is not believed, as others can write it too.
 */
#include <stdlib.h>

#include "client/local/cache_read.h"

static struct cache_hints *hints_of(const char *directory, const struct mapping *map)
{
    struct cache_hints *hints = calloc(1, sizeof *hints);
    if (hints == NULL)
        return NULL;
    static const _Atomic uint64_t nothing;
    hints->map = map;
    hints->announced = &nothing;
    if (hints_attach(directory, map->id, &hints->file) == SP_OK) {
        hints->bytes = hints->file.bytes;
        hints->announced = &hints->file.head->hint_bytes;
        atomic_init(&hints->limit, hints_backed(&hints->file));
    }
    return hints;
}

void cache_hints_open(struct sp_cache *cache, const struct mapping *map, bool retry)
{
    struct cache_hints *now = atomic_load_explicit(&cache->hints, memory_order_acquire);
    if (now != NULL && now->map == map && (now->bytes != NULL || !retry))
        return;
    pthread_mutex_lock(&cache->table.pond->mutex);
    struct cache_hints *first = atomic_load_explicit(&cache->hints, memory_order_relaxed);
    struct cache_hints *fresh = NULL;
    if (first == now)
        fresh = hints_of(cache->table.pond->directory, map);
    if (fresh != NULL) {
        fresh->older = first;
        atomic_store_explicit(&cache->hints, fresh, memory_order_release);
    }
    pthread_mutex_unlock(&cache->table.pond->mutex);
}

void cache_hints_free(struct cache_hints *hints)
{
    while (hints != NULL) {
        struct cache_hints *older = hints->older;
        hints_detach(&hints->file);
        free(hints);
        hints = older;
    }
}

NEVER_INLINE bool cache_hints_more(struct cache_hints *hints, uint64_t place)
{
    uint64_t limit = atomic_load_explicit(&hints->limit, memory_order_relaxed);
    if (atomic_load_explicit(hints->announced, memory_order_relaxed) <= limit)
        return false;
    limit = hints_backed(&hints->file);
    atomic_store_explicit(&hints->limit, limit, memory_order_relaxed);
    return place < limit;
}
