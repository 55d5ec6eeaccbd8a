/* SPDX-License-Identifier: Apache-2.0
 *
 * sim.h - requests of a trace, one after another, to a policy's cache.
 */
#ifndef SIDEPOND_SIM_H
#define SIDEPOND_SIM_H

#include "policy.h"
#include "trace.h"

struct sim_result {
    double hit_ratio; /* 0 to 1, of all requests, the first ones too */
    double examined;  /* entries for each eviction; 0: not counted */
    double densest;   /* see policy.h */
};

/* The n-th request comes at n / requests_per_s. */
struct sim_result sim_run(const struct policy *policy, const struct trace *trace, uint32_t capacity,
                          unsigned requests_per_s);

#endif
