/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c - the hybrid logical clock (Kulkarni and others, OPODIS 2014): it follows the wall clock,
 * and counts where that stands still, goes back, or is behind another node's.
 *
 * One word, moved on by compare and exchange; relaxed, as nothing else is published by it. More
 * than 256 stamps a millisecond run ahead of the wall clock, which catches up afterwards.
 */
#include "client/ring/clock.h"

#define VERSION_LAST ((UINT64_C(1) << ENTRY_CLOCK_BITS) - 1)

uint64_t ring_clock_stamp(struct ring_clock *clock, int64_t wall_ms)
{
    const uint64_t wall = ring_clock_of(wall_ms);
    uint64_t last = atomic_load_explicit(&clock->last, memory_order_relaxed);
    uint64_t next;
    do
        next = wall > last ? wall : last + 1;
    while (!atomic_compare_exchange_weak_explicit(&clock->last, &last, next, memory_order_relaxed,
                                                  memory_order_relaxed));
    return next;
}

void ring_clock_see(struct ring_clock *clock, uint64_t version)
{
    uint64_t last = atomic_load_explicit(&clock->last, memory_order_relaxed);
    /* What is no version must not make all later stamps none. */
    if (version > VERSION_LAST)
        return;
    while (version > last &&
           !atomic_compare_exchange_weak_explicit(&clock->last, &last, version,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void ring_clock_see_until(struct ring_clock *clock, uint64_t version, int64_t latest_ms)
{
    if (version <= ring_clock_of(latest_ms))
        ring_clock_see(clock, version);
}
