/* SPDX-License-Identifier: Apache-2.0
 *
 * stopwatch.h - how long a command took, for the price of one instruction.
 *
 * It counts the processor's cycles, and learns on the way how many nanoseconds each has. Until the
 * first stopwatch_tune, and where cycles are no clock, it asks the system. Of one thread; nothing
 * may be measured across a call of stopwatch_tune.
 */
#ifndef SIDEPOND_STOPWATCH_H
#define SIDEPOND_STOPWATCH_H

#include "alloc/clock.h"
#include "alloc/cycles.h"

#define STOPWATCH_SHIFT 20

struct stopwatch {
    uint64_t began_ns, began_cycles;
    uint64_t scale; /* nanoseconds of 2^STOPWATCH_SHIFT cycles; 0: the system is asked */
};

void stopwatch_init(struct stopwatch *watch);

/* Learns from all the time since stopwatch_init: the longer it has been, the better. */
void stopwatch_tune(struct stopwatch *watch);

static inline uint64_t stopwatch_now(const struct stopwatch *watch)
{
    return __builtin_expect(watch->scale != 0, 1) ? cycles_now() : clock_ns();
}

/* In nanoseconds. Right up to an hour; 0 where the counter of another processor is behind. */
static inline uint64_t stopwatch_between(const struct stopwatch *watch, uint64_t from, uint64_t to)
{
    uint64_t passed = to > from ? to - from : 0;
    return __builtin_expect(watch->scale != 0, 1) ? passed * watch->scale >> STOPWATCH_SHIFT
                                                  : passed;
}

#endif
