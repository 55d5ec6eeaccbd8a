/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_writer.c - see cache_writer.h.
 */
#include "tests/unit/cache_writer.h"

int cache_writer_open(struct cache_writer *writer, struct store *store)
{
    const struct cache_options options = {.limit_bytes = UINT64_MAX / 2, .evict = false};
    writer->store = store;
    return cache_open(store, &options, &writer->cache);
}

void cache_writer_close(struct cache_writer *writer)
{
    cache_close(writer->cache);
    *writer = (struct cache_writer){.store = NULL};
}

/* At a time of 0 nothing expires for the writer. */
int cache_writer_put(struct cache_writer *writer, const void *key, size_t key_bytes,
                     const void *value, size_t value_bytes, int64_t expiry_ms)
{
    uint64_t hash = cache_hash(writer->cache, key, key_bytes);
    cache_lock(writer->cache, 0);
    int status = cache_put(writer->cache, hash, key, key_bytes, value, value_bytes, expiry_ms);
    cache_unlock(writer->cache);
    return status;
}

bool cache_writer_remove(struct cache_writer *writer, const void *key, size_t key_bytes)
{
    uint64_t hash = cache_hash(writer->cache, key, key_bytes);
    cache_lock(writer->cache, 0);
    bool there = cache_delete(writer->cache, hash, key, key_bytes);
    cache_unlock(writer->cache);
    return there;
}
