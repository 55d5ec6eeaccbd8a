/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_writer.h - the least that writes a cache into a pond, for tests of reading it: entries are
 * inserted, replaced and removed as docs/CONCURRENCY.md says, and freed at once. One thread.
 */
#ifndef SIDEPOND_TESTS_CACHE_WRITER_H
#define SIDEPOND_TESTS_CACHE_WRITER_H

#include "server/store/internal.h"

struct cache_writer {
    struct store *store;
    struct shape *shape;
};

/* Makes the cache in the first free table slot, and commits it. */
int cache_writer_open(struct cache_writer *writer, struct store *store);
/* Lets go; the entries stay in the pond. */
void cache_writer_close(struct cache_writer *writer);

int cache_writer_put(struct cache_writer *writer, const void *key, size_t key_bytes,
                     const void *value, size_t value_bytes, int64_t expiry_ms, uint64_t version);
bool cache_writer_remove(struct cache_writer *writer, const void *key, size_t key_bytes);

#endif
