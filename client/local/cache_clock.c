/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_clock.c - see cache_clock.h.
 */
#include "client/local/cache_clock.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "alloc/clock.h"

_Thread_local struct cache_clock cache_clock;

#ifdef __x86_64__
#include <cpuid.h>

enum steady { UNKNOWN, STEADY, NOT_STEADY };

/* Bit 8 of EDX of leaf 0x80000007: the counter goes on at one rate, whatever the processor does.
 * Asked once, since a virtual machine answers slowly. */
static bool counter_is_steady(void)
{
    static _Atomic int known;
    int steady = atomic_load_explicit(&known, memory_order_relaxed);
    if (steady == UNKNOWN) {
        unsigned a, b, c, d;
        steady = __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8) ? STEADY : NOT_STEADY;
        atomic_store_explicit(&known, steady, memory_order_relaxed);
    }
    return steady == STEADY;
}

int64_t cache_clock_ask(void)
{
    if (!counter_is_steady())
        return clock_wall_coarse_ms();
    /* The counter first, so that the answer is never taken for younger than it is. */
    cache_clock.cycles = __builtin_ia32_rdtsc();
    cache_clock.now_ms = clock_wall_ms();
    cache_clock.limit = CACHE_CLOCK_CYCLES;
    return cache_clock.now_ms;
}
#else
int64_t cache_clock_ask(void)
{
    return clock_wall_coarse_ms();
}
#endif
