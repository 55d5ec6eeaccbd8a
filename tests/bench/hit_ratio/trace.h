/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.h - sequences of requests: made from a seed, or read from a file.
 */
#ifndef SIDEPOND_TRACE_H
#define SIDEPOND_TRACE_H

#include <stddef.h>
#include <stdint.h>

struct trace {
    char name[64];
    uint32_t *keys; /* numbers below key_count, one a request */
    size_t count;
    uint32_t key_count;
    uint32_t base_keys; /* what a cache's size is a share of: without those never seen again */
};

/* How many are made; their names are known by trace_make. */
size_t trace_kinds(void);

/* The trace number `kind`, over about `keys` keys; to be freed by trace_free. */
struct trace trace_make(size_t kind, uint32_t keys, size_t requests, uint64_t seed);

/* Reads a file by what its name ends with: `.lis` (lines of first block, number of blocks, two
 * more numbers), `.csv` (lines of time, object, anything; as libCacheSim has them), any other: a
 * number in each line. Ends the program where the file cannot be read. */
struct trace trace_read(const char *path);

void trace_free(struct trace *trace);

#endif
