/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.c - what the policies have in common.
 */
#include "policy.h"

#include <stdlib.h>

#include "common/bench.h"

void *policy_create(const struct policy *policy, struct policy_options options)
{
    options.rules = policy->rules;
    return policy->create(&options);
}

void *policy_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        bench_die("no memory for %zu times %zu bytes", count, size);
    return memory;
}

uint64_t policy_hash(uint64_t key)
{
    uint64_t z = key + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t policy_random(uint64_t *state)
{
    uint64_t now = *state;
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return policy_hash(now);
}
