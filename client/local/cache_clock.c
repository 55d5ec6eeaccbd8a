/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_clock.c - see cache_clock.h.
 */
#include "client/local/cache_clock.h"

#include "alloc/clock.h"

_Thread_local struct cache_clock cache_clock;

int64_t cache_clock_ask(void)
{
    if (!cycles_are_steady())
        return clock_wall_coarse_ms();
    /* The counter first, so that the answer is never taken for younger than it is. */
    cache_clock.cycles = cycles_now();
    cache_clock.now_ms = clock_wall_ms();
    cache_clock.limit = CACHE_CLOCK_CYCLES;
    return cache_clock.now_ms;
}
