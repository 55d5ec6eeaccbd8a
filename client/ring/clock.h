/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h - the hybrid logical clock that stamps writes (docs/RING.md, "Versions"): 48 bits,
 * milliseconds since 2024 * 256 plus a count (alloc/format.h has the constants).
 */
#ifndef SIDEPOND_RING_CLOCK_H
#define SIDEPOND_RING_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "alloc/format.h"

/* The latest version that was seen or given. Starts as {0}; any thread. */
struct ring_clock {
    _Atomic uint64_t last;
};

/* The version of the wall clock at this time, Unix ms. */
static inline uint64_t ring_clock_of(int64_t wall_ms)
{
    int64_t ms = wall_ms - ENTRY_CLOCK_EPOCH_MS;
    return (uint64_t)(ms > 0 ? ms : 0) << ENTRY_CLOCK_COUNT_BITS;
}
static inline int64_t ring_clock_wall_ms(uint64_t version)
{
    return (int64_t)(version >> ENTRY_CLOCK_COUNT_BITS) + ENTRY_CLOCK_EPOCH_MS;
}

/* A version later than all that this clock has seen or given. */
uint64_t ring_clock_stamp(struct ring_clock *clock, int64_t wall_ms);
/* Takes note of a version that somebody else has given. */
void ring_clock_see(struct ring_clock *clock, uint64_t version);
/* The same, unless it is later than this time, Unix ms: then somebody's clock is wrong. */
void ring_clock_see_until(struct ring_clock *clock, uint64_t version, int64_t latest_ms);

#endif
