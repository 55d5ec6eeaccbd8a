/* SPDX-License-Identifier: Apache-2.0
 *
 * sim.c - runs a policy. The cache starts empty, and its seed is always the same.
 */
#include "sim.h"

#define SEED           UINT64_C(1)
#define CAPACITY_LEAST 16u

struct sim_result sim_run(const struct policy *policy, const struct trace *trace, uint32_t capacity,
                          unsigned requests_per_s)
{
    struct policy_options options = {
        .capacity = capacity, .key_count = trace->key_count, .seed = SEED};
    if (options.capacity < CAPACITY_LEAST)
        options.capacity = CAPACITY_LEAST;
    void *cache = policy_create(policy, options);
    size_t hits = 0;
    for (size_t i = 0; i < trace->count; i++)
        hits += policy->request(cache, trace->keys[i], (uint32_t)(i * 1000 / requests_per_s));
    struct policy_counts counts = {0};
    if (policy->counts)
        policy->counts(cache, &counts);
    policy->destroy(cache);
    struct sim_result result = {.hit_ratio = (double)hits / (double)trace->count,
                                .densest = counts.densest};
    if (counts.evictions > 0)
        result.examined = (double)counts.examined / (double)counts.evictions;
    return result;
}
