/* SPDX-License-Identifier: Apache-2.0
 *
 * stopwatch.c - see stopwatch.h.
 */
#include "server/command/stopwatch.h"

/* After so many cycles a scale is right to 1 in 1,000 or better, and no product overflows before
 * TUNED_MOST: then the first scale has been refined for an hour, and stays. */
#define TUNED_LEAST (UINT64_C(1) << 24)
#define TUNED_MOST  (UINT64_C(1) << 43)

void stopwatch_init(struct stopwatch *watch)
{
    *watch = (struct stopwatch){.began_ns = clock_ns(), .began_cycles = cycles_now()};
}

void stopwatch_tune(struct stopwatch *watch)
{
    uint64_t cycles = cycles_now() - watch->began_cycles;
    if (!cycles_are_steady() || cycles < TUNED_LEAST || cycles > TUNED_MOST)
        return;
    watch->scale = ((clock_ns() - watch->began_ns) << STOPWATCH_SHIFT) / cycles;
}
