/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_clock.h - the wall clock for reads of the cache, at the price of a few instructions. Not
 * exported.
 *
 * Asking the system is a call of some 60 instructions, which costs a read its overlap with the
 * next one: more than half as much again of a get that misses the processor's caches. So each
 * thread keeps the last answer, and takes it again while the processor's counter (alloc/cycles.h)
 * has not gone on by CACHE_CLOCK_CYCLES, which is at most a millisecond. Where that is no clock,
 * the system is asked each time.
 */
#ifndef SIDEPOND_LOCAL_CACHE_CLOCK_H
#define SIDEPOND_LOCAL_CACHE_CLOCK_H

#include "alloc/cycles.h"

#define CACHE_CLOCK_CYCLES (UINT64_C(1) << 20) /* counters go at 1 GHz at least */

struct cache_clock {
    uint64_t cycles; /* at the last answer */
    int64_t now_ms;
    uint64_t limit; /* cycles for which it holds; 0: there is none, or it does not hold */
};
extern _Thread_local struct cache_clock cache_clock __attribute__((tls_model("initial-exec")));

/* cache_clock.c: asks the system. */
int64_t cache_clock_ask(void);

/* Unix time in ms, at most a millisecond old. */
static inline int64_t cache_clock_ms(void)
{
    if (__builtin_expect(cycles_now() - cache_clock.cycles < cache_clock.limit, 1))
        return cache_clock.now_ms;
    return cache_clock_ask();
}

#endif
