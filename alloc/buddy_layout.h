/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy_layout.h - how the allocator's metadata lies in memory. Internal to alloc/buddy*.c.
 *
 *   metadata   | head | bits ...        | level 0 nodes ...   | level 1 ... | ... | root |
 *               each part starts at a multiple of 4096 and is as long as max_units needs
 *
 *   bits       one bit per unit, 1 = free; bits beyond the usable units are 0
 *   bucket     BUDDY_BUCKET_UNITS units: the grain at which the index knows where a run starts
 *   node       64 children: buckets at level 0, nodes of the level below elsewhere
 *
 * A run is a maximal row of free units. It belongs to the bucket of its first unit, and to a
 * class by its length.
 */
#ifndef SIDEPOND_ALLOC_BUDDY_LAYOUT_H
#define SIDEPOND_ALLOC_BUDDY_LAYOUT_H

#include <assert.h>

#include "alloc/buddy.h"

#define BUDDY_WORD_UNITS   64
#define BUDDY_BUCKET_WORDS 4
#define BUDDY_BUCKET_SHIFT 8 /* log2 of the units in a bucket */
#define BUDDY_BUCKET_UNITS (1ULL << BUDDY_BUCKET_SHIFT)
#define BUDDY_FAN          64
#define BUDDY_FAN_SHIFT    6
#define BUDDY_CLASSES      256
#define BUDDY_CLASS_WORDS  (BUDDY_CLASSES / 64)
#define BUDDY_PART_ALIGN   4096

static_assert(BUDDY_BUCKET_WORDS * BUDDY_WORD_UNITS == BUDDY_BUCKET_UNITS, "bucket shift");

/* Offset 0 of the metadata. Written by the allocator at each change. */
struct buddy_head {
    uint64_t free_units; /* 0: copy of the handle's counter, for those who attach */
    uint64_t unused[7];  /* 8: zero */
};
static_assert(sizeof(struct buddy_head) == 64, "one line");

/* One node of the index.
 *
 *      0  longest      units of the longest run that starts below this node
 *      8  full         bit i: child i is free as a whole (a free buddy block of its size)
 *     16  classes      bit c: has[c] is not 0
 *     32  unused       zero
 *     64  has[c]       bit i: below child i starts a run of class c
 */
struct buddy_node {
    uint64_t longest;
    uint64_t full;
    uint64_t classes[BUDDY_CLASS_WORDS];
    uint64_t unused[6 - BUDDY_CLASS_WORDS];
    uint64_t has[BUDDY_CLASSES];
};
static_assert(offsetof(struct buddy_node, has) == 64, "header is one line");
static_assert(sizeof(struct buddy_node) == 64 + 8 * BUDDY_CLASSES, "no padding");

struct buddy_run {
    uint64_t first;
    uint64_t count;
};

/* Classes of run lengths: exact below 64 units, 32 to an octave below 512, 8 to an octave below
 * 2^21, and one for all longer runs. Rising: a longer run is never of a lower class. */
static inline unsigned buddy_class_of(uint64_t units)
{
    if (units < 64)
        return (unsigned)units - 1;
    unsigned order = 63 - (unsigned)__builtin_clzll(units);
    if (order < 9)
        return ((order - 5) << 5) + (unsigned)(units >> (order - 5)) - 1;
    if (order < 21)
        return 159 + ((order - 9) << 3) + ((unsigned)(units >> (order - 3)) & 7);
    return BUDDY_CLASSES - 1;
}

/* The lowest class all of whose runs have `units` units or more; BUDDY_CLASSES if none has. */
static inline unsigned buddy_class_fitting(uint64_t units)
{
    return buddy_class_of(units - 1) + 1;
}

/* Runs of the classes below this one have exactly class + 1 units. */
#define BUDDY_EXACT_CLASSES 63

/* log2 of the units below one child, and below one node, of a level. */
static inline unsigned buddy_child_shift(unsigned level)
{
    return BUDDY_BUCKET_SHIFT + level * BUDDY_FAN_SHIFT;
}

static inline uint64_t buddy_ceil_shift(uint64_t units, unsigned shift)
{
    return (units + (1ULL << shift) - 1) >> shift;
}

static inline uint64_t buddy_bucket_count(uint64_t units)
{
    return buddy_ceil_shift(units, BUDDY_BUCKET_SHIFT);
}

/* Nodes of a level that exist for an arena of so many units. */
static inline uint64_t buddy_node_count(uint64_t units, unsigned level)
{
    return buddy_ceil_shift(units, buddy_child_shift(level + 1));
}

/* The bits of a word at which a run starts. */
static inline uint64_t buddy_word_starts(const uint64_t *bits, uint64_t word)
{
    uint64_t free = bits[word];
    uint64_t before = free << 1;

    if ((free & 1) != 0 && word > 0)
        before |= bits[word - 1] >> 63;
    return free & ~before;
}

/* The highest class present in a node, or -1. */
static inline int buddy_top_class(const struct buddy_node *node)
{
    for (int i = BUDDY_CLASS_WORDS - 1; i >= 0; i--) {
        if (node->classes[i] != 0)
            return i * 64 + 63 - __builtin_clzll(node->classes[i]);
    }
    return -1;
}

static inline const struct buddy_node *buddy_root(const struct buddy *b)
{
    return &b->level[b->level_count - 1][0];
}

static inline bool buddy_unit_is_free(const struct buddy *b, uint64_t unit)
{
    return (b->bits[unit / 64] >> (unit % 64) & 1) != 0;
}

/* The head counts as the bitmap does: what rests is used. */
static inline void buddy_set_free_units(struct buddy *b, uint64_t units)
{
    b->free_units = units;
    b->head->free_units = units - (b->cache != NULL ? b->cache->resting_units : 0);
}

static inline uint64_t buddy_head_mask(uint64_t first)
{
    return UINT64_MAX << (first % 64);
}

static inline uint64_t buddy_tail_mask(uint64_t end)
{
    return UINT64_MAX >> (63 - (end - 1) % 64);
}

/* Points the handle's parts into `meta`. SP_EINVAL if max_units or usable_units cannot be. */
int buddy_bind(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units);

/* The first used unit from `unit` on, by the bitmap alone, or usable_units. Linear. */
uint64_t buddy_scan_used(const struct buddy *b, uint64_t unit);

/* What a node should be, computed from the bitmap (level 0) or the level below. In bounds whatever
 * the bytes are. */
void buddy_node_build(const struct buddy *b, unsigned level, uint64_t index,
                      struct buddy_node *out);

/* The run that a request of `count` units should be cut from: the lowest of the shortest class that
 * has one long enough. False if no run is. */
bool buddy_find_run(const struct buddy *b, uint64_t count, struct buddy_run *run);

/* The first unit of the run that `unit`, which is free, belongs to. */
uint64_t buddy_run_start(const struct buddy *b, uint64_t unit);

/* Cuts units [first, first + count) out of the run that holds them. */
void buddy_take(struct buddy *b, struct buddy_run run, uint64_t first, uint64_t count);

/* Makes used units free and merges them with the runs at both sides. */
void buddy_give(struct buddy *b, uint64_t first, uint64_t count);

/* Clears the bits of free units, and leaves the index as it is. */
void buddy_bits_take(struct buddy *b, uint64_t first, uint64_t count);

#endif
