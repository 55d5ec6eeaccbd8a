/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.c - what the policies have in common.
 */
#include "policy.h"

#include <stdlib.h>

#include "common/bench.h"
#include "common/rows.h"

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
    return rows_random(&key);
}
