/* SPDX-License-Identifier: Apache-2.0
 *
 * cycles.h - the processor's time stamp counter: the cheapest clock there is, in a unit of its own.
 *
 * Asking the system for the time is a call of some 60 instructions; the counter is one. It can be
 * used where it goes on at one rate, whatever the processor does ("invariant"), which all x86-64
 * processors of the last fifteen years say of theirs. Elsewhere, ask the system.
 */
#ifndef SIDEPOND_CYCLES_H
#define SIDEPOND_CYCLES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether cycles_now is a clock here. */
bool cycles_are_steady(void);

/* At 1 GHz at least where the cycles are steady; else 0. */
static inline uint64_t cycles_now(void)
{
#ifdef __x86_64__
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

#endif
