/* SPDX-License-Identifier: Apache-2.0
 *
 * textbook_buddy.h - the buddy allocator that docs/adr/0001 decided against, as a reference for
 * bench_alloc: requests placed at aligned blocks of the next power of two, tails trimmed.
 */
#ifndef SIDEPOND_BENCH_TEXTBOOK_BUDDY_H
#define SIDEPOND_BENCH_TEXTBOOK_BUDDY_H

#include <stddef.h>
#include <stdint.h>

#define TEXTBOOK_ORDERS 28
#define TEXTBOOK_NONE   UINT32_MAX

struct textbook_buddy {
    uint32_t *next; /* by a free block's first unit: its neighbours in the list of its order */
    uint32_t *prev;
    unsigned char *order; /* by a free block's first unit: order + 1; 0 elsewhere */
    uint32_t heads[TEXTBOOK_ORDERS];
    uint64_t units;
};

/* An arena of `units` free units (a power of two below 2^TEXTBOOK_ORDERS). 0, or -1 without
 * memory. Never freed: the bench's process ends. */
int textbook_init(struct textbook_buddy *t, uint64_t units);

/* The first of `count` units, or TEXTBOOK_NONE. */
uint32_t textbook_alloc(struct textbook_buddy *t, uint32_t count);

void textbook_free(struct textbook_buddy *t, uint32_t first, uint32_t count);

/* Bytes of metadata that `units` units need. */
size_t textbook_meta_bytes(uint64_t units);

#endif
