/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.h - the data that is loaded, and a pond that holds it: one table "t" of a text key `k` and
 * bytes `v`. Every row is a function of its number and generation, so it can be checked anywhere.
 */
#ifndef SIDEPOND_BENCH_ROWS_H
#define SIDEPOND_BENCH_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "server/store/store.h"

#define ROWS_KEY_BYTES   24u
#define ROWS_VALUE_BYTES 100u
#define ROWS_VALUE_MAX   65536u
#define ROWS_A           1000000u /* data A: 100-byte values */
#define ROWS_B           10000u
#define ROWS_BATCH       256u

/* A generator that is good enough, and the same everywhere. */
uint64_t rows_random(uint64_t *state);

/* Zero-padded decimal, spread over the key space: not in the order of the numbers. */
void rows_key(uint32_t number, char out[ROWS_KEY_BYTES]);
void rows_value(uint32_t number, uint32_t generation, void *out, size_t bytes);
/* Lognormal: median 200 bytes, sigma 1.2, at most ROWS_VALUE_MAX. */
size_t rows_lognormal(uint32_t number, uint32_t generation);

/* 0, 1, 2, ... shuffled; to be freed. */
uint32_t *rows_order(uint32_t count, uint64_t seed);

/* The table's schema; to be freed with schema_free. */
struct schema *rows_schema(void);
/* Opens the pond in the directory for writing. */
struct store *rows_open(const char *directory, uint64_t limit_bytes, struct store_opened *opened);

/* Which rows, of which generation and size, a transaction writes. */
struct rows_load {
    const uint32_t *numbers; /* NULL: 0 to count - 1 */
    uint32_t count;
    uint32_t generation;
    bool lognormal;
    uint32_t hint; /* of the table */
};
/* Writes them in one transaction; keys and values written, in bytes. */
uint64_t rows_write(struct store *store, const struct schema *schema, const struct rows_load *load);

#endif
