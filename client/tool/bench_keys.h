/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_keys.h - the keys of a table in random order, and a private hash table of the same rows.
 */
#ifndef SIDEPOND_TOOL_BENCH_KEYS_H
#define SIDEPOND_TOOL_BENCH_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "tool.h"

/* A row, one after the other in `bytes`: key, then value. */
struct bench_row {
    size_t off;
    uint32_t key_bytes;
    uint32_t value_bytes;
};

struct bench_keys {
    unsigned char *bytes;
    /* The keys once more, in the order of rows: what is asked for. With the keys in `bytes` a
     * question would fetch its answer from memory. */
    unsigned char *asked;
    size_t bytes_used, bytes_room;
    struct bench_row *rows; /* in random order after bench_keys_shuffle */
    size_t count, room;
    size_t value_bytes_max;
    uint32_t *buckets; /* private table: row number + 1, open addressing */
    uint64_t mask;
};

/* Reads at most `max` rows of a table. */
int bench_keys_read(struct bench_keys *keys, struct tool *tool, struct sp_table *table, size_t max);
void bench_keys_shuffle(struct bench_keys *keys, uint64_t seed);
/* Fills `asked`. */
int bench_keys_ask(struct bench_keys *keys);
int bench_keys_index(struct bench_keys *keys);
void bench_keys_free(struct bench_keys *keys);

static inline const unsigned char *bench_key(const struct bench_keys *keys,
                                             const struct bench_row *row)
{
    return keys->bytes + row->off;
}

/* Copies a row's value out of the private table; its size, or SIZE_MAX. */
size_t bench_private_get(const struct bench_keys *keys, const void *key, size_t key_bytes,
                         void *out);

#endif
