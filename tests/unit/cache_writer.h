/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_writer.h - a cache that a test of reading it writes.
 */
#ifndef SIDEPOND_TESTS_CACHE_WRITER_H
#define SIDEPOND_TESTS_CACHE_WRITER_H

#include "server/store/cache.h"

struct cache_writer {
    struct store *store;
    struct cache *cache;
};

/* Makes the cache. */
int cache_writer_open(struct cache_writer *writer, struct store *store);
/* Lets go; the entries stay in the pond. */
void cache_writer_close(struct cache_writer *writer);

int cache_writer_put(struct cache_writer *writer, const void *key, size_t key_bytes,
                     const void *value, size_t value_bytes, int64_t expiry_ms);
bool cache_writer_remove(struct cache_writer *writer, const void *key, size_t key_bytes);

#endif
