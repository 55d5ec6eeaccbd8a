/* SPDX-License-Identifier: Apache-2.0
 *
 * private_table.h - the limit that a read is compared with: a hash table in this process's own
 * memory, of the same buckets, tags and entries as a pond, with the same hash, but for one thread
 * and never changed. No directory, no versions, nothing to validate.
 */
#ifndef SIDEPOND_BENCH_PRIVATE_TABLE_H
#define SIDEPOND_BENCH_PRIVATE_TABLE_H

#include <stdbool.h>

#include "sidepond/sidepond.h"

struct private_table;

struct private_table *private_new(uint32_t row_count, uint64_t bytes, bool huge_pages);
void private_free(struct private_table *table);
void private_put(struct private_table *table, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes);
int private_get(struct private_table *table, const void *key, size_t key_bytes, void *out,
                size_t cap, size_t *size);
/* The same in batches, with prefetch. */
int private_mget(struct private_table *table, struct sp_get *gets, size_t count);

#endif
