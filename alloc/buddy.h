/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy.h - the allocator of an arena of units, by index, with its metadata out of line.
 *
 * The arena is units 0 .. usable-1. What a unit is (its bytes, its address) is the caller's
 * business: this component knows indices only, and no mapping, lock or log.
 *
 * A request takes exactly `count` units. The rest of the free run it was cut from stays free, and
 * any run of used units can be given back, also a part of what one request got or the
 * neighbours of several. Free neighbours merge at once, whatever their alignment.
 *
 * The metadata lies in memory given by the caller and holds no pointer, so it can be part of a
 * file mapped at different addresses. It may be a sparse file: buddy_meta_spans() names the bytes
 * that must be backed for a range of units, and nothing outside the spans of the usable units is
 * ever read or written.
 *
 * Thread rules: one thread at a time per metadata. No atomics. A checker that attaches to
 * metadata which another process is changing reads in bounds, but what it reports is noise.
 *
 * Misuse by the writer (double free, range outside the arena) aborts through SP_CHECK. The
 * functions for readers (attach, check, stats, next_free_run, is_free, is_used, and the counters)
 * never abort and stay in bounds whatever the metadata's bytes are.
 */
#ifndef SIDEPOND_ALLOC_BUDDY_H
#define SIDEPOND_ALLOC_BUDDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDDY_NONE       UINT64_MAX             /* "no unit": the answer of a failed request */
#define BUDDY_MAX_UNITS  (1ULL << 40)           /* largest arena */
#define BUDDY_MAX_ORDER  40                     /* largest order in the statistics */
#define BUDDY_MAX_LEVELS 7                      /* levels of the index over BUDDY_MAX_UNITS */
#define BUDDY_MAX_SPANS  (BUDDY_MAX_LEVELS + 2) /* most spans that buddy_meta_spans() names */

#define BUDDY_CACHE_UNITS 256 /* longest block that the cache keeps */
#define BUDDY_CACHE_DEPTH 28  /* blocks of one length that it keeps */
#define BUDDY_CACHE_WAIT  4   /* blocks that wait for their bits to arrive from memory */

struct buddy_head;
struct buddy_node;

/* Blocks of one length that were freed and rest before they are merged: a ring of two lines. */
struct buddy_ring {
    uint32_t top;   /* slot after the newest */
    uint32_t count; /* blocks in the ring */
    uint32_t unused[2];
    uint32_t first[BUDDY_CACHE_DEPTH]; /* first units; UINT32_MAX in free slots */
};

/* Optional private memory of the writer, 33 KiB. See buddy_use_cache(). */
struct buddy_cache {
    struct buddy_ring ring[BUDDY_CACHE_UNITS + 1]; /* by length; 0 is unused */
    uint64_t resting_units; /* in rings and waiting: counted as free, though used in the bitmap */
    uint32_t hand;          /* ring to take from next when too much rests */
    uint32_t turn;          /* place whose block has waited longest, modulo BUDDY_CACHE_WAIT */
    uint32_t waiting[BUDDY_CACHE_WAIT]; /* first units of blocks just freed; UINT32_MAX: none */
    uint32_t waiting_count[BUDDY_CACHE_WAIT]; /* and their lengths */
};

/* A handle: private memory of one process, embedded by the caller, never in the mapping. Copying it
 * makes a second writer: do not. */
struct buddy {
    struct buddy_head *head;                    /* start of the metadata */
    uint64_t *bits;                             /* one bit per unit, 1 = free */
    struct buddy_node *level[BUDDY_MAX_LEVELS]; /* arrays of index nodes, leaves first */
    unsigned level_count;                       /* levels in use; the last is one node, the root */
    uint64_t max_units;                         /* limit of the arena */
    uint64_t usable_units;                      /* units 0 .. usable_units-1 exist */
    uint64_t free_units;                        /* how many of them are free */
    uint64_t last_first;       /* the run that the last request was cut from, as it is now; */
    uint64_t last_count;       /* 0: unknown. Spares measuring a long run at each request */
    struct buddy_cache *cache; /* blocks that rest, or NULL */
};

struct buddy_span {
    size_t off; /* from the start of the metadata, in bytes */
    size_t len;
};

struct buddy_stats {
    uint64_t usable_units;
    uint64_t free_units;
    uint64_t largest_run;                      /* units of the longest free run */
    uint64_t free_runs;                        /* count of maximal free runs */
    uint64_t free_blocks[BUDDY_MAX_ORDER + 1]; /* by order k: free blocks of 2^k units at a
                                                  multiple of 2^k whose buddy is not all free */
};

/* Bytes of metadata for an arena of up to max_units units; 0 if max_units is 0 or beyond
 * BUDDY_MAX_UNITS. A multiple of 4096. The metadata must be aligned to 64 bytes. */
size_t buddy_meta_bytes(uint64_t max_units);

/* Byte ranges of metadata that must be backed before units [from, to) are made usable, in rising
 * order and each in whole 64-byte lines. Fills at most max_spans and returns how many there are
 * (never above BUDDY_MAX_SPANS); 0 for an empty range or one beyond max_units. */
size_t buddy_meta_spans(uint64_t max_units, uint64_t from, uint64_t to, struct buddy_span *spans,
                        size_t max_spans);

/* Starts an empty arena (usable_units = 0) on metadata that is all zero bytes; touches none of it.
 * SP_EINVAL for a max_units that buddy_meta_bytes() refuses. `meta` must outlive the handle. */
int buddy_format(struct buddy *b, void *meta, uint64_t max_units);

/* Units [usable_units, usable_units_new) become usable and free. Their metadata must be backed;
 * its former content does not matter. */
void buddy_grow(struct buddy *b, uint64_t usable_units_new);

/* Units [usable_units_new, usable_units) cease to exist. All of them must be free. */
void buddy_shrink(struct buddy *b, uint64_t usable_units_new);

/* Takes `count` (at least 1) neighbouring units and returns the first, or BUDDY_NONE exactly if
 * no free run is that long. Prefers the shortest run that is long enough, up to the width of a
 * length class, and among equals the one with the lowest address; cuts from the run's front. */
uint64_t buddy_alloc(struct buddy *b, uint64_t count);

/* The same with a first unit that is a multiple of align_units (a power of two). Units skipped
 * for the alignment stay free. Succeeds exactly if an aligned place exists. */
uint64_t buddy_alloc_aligned(struct buddy *b, uint64_t count, uint64_t align_units);

/* The first run of at least `count` units from *cursor on that begins below `below`: takes its
 * first `count` units, and moves *cursor behind them. BUDDY_NONE if there is none. For a writer
 * that moves blocks down: it starts with *cursor 0 and goes on, so that all its requests together
 * look at each free run once. What rests in the cache is not seen. */
uint64_t buddy_alloc_low(struct buddy *b, uint64_t count, uint64_t *cursor, uint64_t below);

/* Gives units [first, first + count) back; all of them must be in use. count 0 does nothing. */
void buddy_free(struct buddy *b, uint64_t first, uint64_t count);

/* Lets freed blocks of up to BUDDY_CACHE_UNITS rest in `cache` for a while, to be handed out again
 * to requests of the same length: several times faster, and the block's memory is often still near.
 * About 1/64 of the usable units rest at most. Resting units count as free in buddy_free_units(),
 * and a request still fails only if no run is long enough (what rests is merged first). Until they
 * are merged, buddy_is_used(), the bitmap and all else in the metadata call them used. A block
 * freed twice is noticed at one of the next BUDDY_CACHE_WAIT frees, before it can be handed out
 * again. The cache must outlive the handle; call it after format or rebuild_end. NULL ends the use
 * of the present cache. */
void buddy_use_cache(struct buddy *b, struct buddy_cache *cache);

/* Merges all that rests. Afterwards the metadata alone says what is free. */
void buddy_settle(struct buddy *b);

uint64_t buddy_free_units(const struct buddy *b);
uint64_t buddy_usable_units(const struct buddy *b);
uint64_t buddy_largest_run(const struct buddy *b);

/* True if all of the units are in use, or all free. False if some are outside the usable ones, and
 * for count 0. */
bool buddy_is_used(const struct buddy *b, uint64_t first, uint64_t count);
bool buddy_is_free(const struct buddy *b, uint64_t first, uint64_t count);

/* The first maximal free run that ends after unit `from`, cut to start no earlier than `from`.
 * False if there is none. Start with 0 and go on with *first + *count to visit all. */
bool buddy_next_free_run(const struct buddy *b, uint64_t from, uint64_t *first, uint64_t *count);

/* Walks the whole bitmap: cost linear in the usable units (about 1 ms per GiB of arena in 16-byte
 * units). */
void buddy_stats(const struct buddy *b, struct buddy_stats *stats);

/* Rebuild after a crash. begin: all of `usable_units` units are free, whatever the metadata was
 * (it must be backed). mark: units in use; SP_ECORRUPT, and nothing marked, if one of them is
 * marked already or outside the usable ones. end: builds the index in one pass over the bitmap.
 * Between begin and end nothing but mark, is_used and is_free may be called. */
void buddy_rebuild_begin(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units);
int buddy_rebuild_mark(struct buddy *b, uint64_t first, uint64_t count);
void buddy_rebuild_end(struct buddy *b);

/* Opens metadata as it is, for the reading functions only. SP_EINVAL for limits that cannot be. */
int buddy_attach(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units);

/* Recomputes every level from the bitmap and compares. SP_OK, or SP_ECORRUPT with a sentence in
 * `why` (always terminated; why_bytes may be 0). Cost as buddy_stats(), times five. The writer
 * calls buddy_settle() first. */
int buddy_check(const struct buddy *b, char *why, size_t why_bytes);

#endif
