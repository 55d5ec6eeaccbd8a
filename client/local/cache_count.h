/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_count.h - hits and misses of the cache's readers in this process. Not exported.
 *
 *   a read --adds 1--> the thread's line in the handle --now and then--> the head of the hints file
 *
 * A line is written by the threads of one number alone, and its counters never go back: so adding
 * takes no locked instruction and no other processor's cache line. What the lines hold beyond what
 * was told goes into the file by one atomic addition, at most ten times a second and process; the
 * thread that finds it due tells for all of them. When that is, is looked up after so many reads
 * that the clock costs a busy thread nothing, and after each read of an idle one.
 *
 * Limits: lines are dealt out by turns, so of more than CACHE_COUNT_LINES threads some share one,
 * and are counted about right. A process that reads no more, and does not close the pond, keeps its
 * last tenth of a second to itself. Where the file cannot be written, nothing is told.
 */
#ifndef SIDEPOND_LOCAL_CACHE_COUNT_H
#define SIDEPOND_LOCAL_CACHE_COUNT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#include "alloc/hints.h"
#include "client/local/internal.h"
#include "sidepond/status.h"

#define CACHE_COUNT_LINES   64u
#define CACHE_COUNT_TELL_MS 100u

struct cache_count_line {
    _Alignas(64) _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    /* The clock is looked at when one of the two goes beyond these. */
    _Atomic uint64_t hits_look, misses_look;
    _Atomic uint64_t looked_ms;
    _Atomic uint32_t step; /* reads until the next look */
};
static_assert(sizeof(struct cache_count_line) == 64, "a line");

struct cache_count {
    /* The first one is of threads that have no number yet, and stays zero. */
    struct cache_count_line lines[1 + CACHE_COUNT_LINES];
    _Alignas(64) _Atomic uint64_t told_ms;
    atomic_flag telling;
    uint64_t hits, misses; /* told, or left to whom the process was forked from */
};

/* Of the thread: its line's offset in bytes; 0: none yet. In the block that each thread has from
 * its start, so that reaching it takes one instruction, and no call from a library that was loaded
 * late. */
extern _Thread_local uint32_t cache_count_offset __attribute__((tls_model("initial-exec")));

static inline struct cache_count_line *cache_count_line(struct cache_count *count)
{
    return (struct cache_count_line *)((char *)count->lines + cache_count_offset);
}

/* cache_count.c. Adds, and tells if that is due; `hints` NULL or without a file: to nobody. */
void cache_count_add(struct cache_count *count, struct hints *hints, uint64_t hits,
                     uint64_t misses);
/* Tells what is not told yet. */
void cache_count_tell(struct cache_count *count, struct hints *hints);
/* In the child of a fork: what was counted so far is the parent's. */
void cache_count_forked(struct cache_count *count);

#endif
