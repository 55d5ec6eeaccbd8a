/* SPDX-License-Identifier: Apache-2.0
 *
 * cycles.c - see cycles.h.
 */
#include "alloc/cycles.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <stdatomic.h>

enum steady { UNKNOWN, STEADY, NOT_STEADY };

/* Bit 8 of EDX of leaf 0x80000007. Asked once, since a virtual machine answers slowly. */
bool cycles_are_steady(void)
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
#else
bool cycles_are_steady(void)
{
    return false;
}
#endif
