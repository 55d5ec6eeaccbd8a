/* SPDX-License-Identifier: Apache-2.0
 *
 * histogram.c - step = the position of the highest bit and the six bits below it. Times below 64 ns
 * have a step of their own each; what is beyond the last step is counted in it.
 */
#include "histogram.h"

#define STEPS_A_DOUBLING (1u << HISTOGRAM_STEP_BITS)

static unsigned step_of(uint64_t ns)
{
    if (ns < STEPS_A_DOUBLING)
        return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
    unsigned step = (shift << HISTOGRAM_STEP_BITS) + (unsigned)(ns >> shift);
    return step < HISTOGRAM_STEPS ? step : HISTOGRAM_STEPS - 1;
}

static uint64_t upper_ns(unsigned step)
{
    if (step < 2 * STEPS_A_DOUBLING)
        return step;
    unsigned shift = (step >> HISTOGRAM_STEP_BITS) - 1;
    return ((uint64_t)(step - (shift << HISTOGRAM_STEP_BITS) + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->steps[step_of(ns)]++;
    histogram->count++;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

uint64_t histogram_percentile_ns(const struct histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * fraction);
    uint64_t seen = 0;
    for (unsigned step = 0; step < HISTOGRAM_STEPS; step++) {
        seen += histogram->steps[step];
        if (seen > wanted)
            return upper_ns(step) < histogram->max_ns ? upper_ns(step) : histogram->max_ns;
    }
    return histogram->max_ns;
}
