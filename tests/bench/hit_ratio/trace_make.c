/* SPDX-License-Identifier: Apache-2.0
 *
 * trace_make.c - traces from a seed.
 *
 * Popularity follows Zipf's law: the key of rank r is asked for in proportion to 1 / r^exponent. A
 * draw looks its random number up in the running sum of that, by bisection. On top of it:
 *   scan     after every fifth of as many requests as there are keys, a tenth as many new keys
 *   shift    the ranks are dealt anew when as many requests as keys were made
 *   drift    the ranks move by one key every hundred requests
 *   loop     no law: the keys one after another, over and over; 15 % of the keys
 *   wonders  every other request is of a key never asked for again
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/rows.h"
#include "policy.h"
#include "trace.h"

enum shape { PLAIN, SCAN, SHIFT, DRIFT, LOOP, WONDERS };

static const struct kind {
    const char *name;
    double exponent;
    enum shape shape;
} kinds[] = {
    {"zipf 0.8", 0.8, PLAIN},    {"zipf 0.99", 0.99, PLAIN},      {"zipf 1.2", 1.2, PLAIN},
    {"zipf, scans", 0.99, SCAN}, {"zipf, shifting", 0.99, SHIFT}, {"zipf, drifting", 0.99, DRIFT},
    {"loop", 0, LOOP},           {"half one-hit", 0.99, WONDERS},
};

struct maker {
    struct trace *trace;
    double *sums; /* of the ranks up to here, divided by the last */
    uint32_t *ranked;
    uint32_t keys;
    uint64_t random;
};

static uint32_t rank_drawn(struct maker *maker)
{
    double at = (double)(rows_random(&maker->random) >> 11) * 0x1p-53;
    uint32_t low = 0, high = maker->keys - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (maker->sums[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void law(struct maker *maker, double exponent)
{
    double sum = 0;
    for (uint32_t i = 0; i < maker->keys; i++)
        maker->sums[i] = sum += pow((double)i + 1, -exponent);
    for (uint32_t i = 0; i < maker->keys; i++)
        maker->sums[i] /= sum;
}

static void deal(struct maker *maker)
{
    for (uint32_t i = maker->keys; i > 1; i--) {
        uint32_t other = (uint32_t)(rows_random(&maker->random) % i);
        uint32_t held = maker->ranked[i - 1];
        maker->ranked[i - 1] = maker->ranked[other];
        maker->ranked[other] = held;
    }
}

static uint32_t key_drawn(struct maker *maker, enum shape shape, size_t i)
{
    struct trace *trace = maker->trace;
    switch (shape) {
    case LOOP:
        return (uint32_t)(i % (maker->keys * UINT64_C(15) / 100));
    case SCAN:
        if (i % (maker->keys / 10 * 3) >= maker->keys / 5)
            return trace->key_count++;
        break;
    case WONDERS:
        if (i % 2 == 1)
            return trace->key_count++;
        break;
    case SHIFT:
        if (i > 0 && i % maker->keys == 0)
            deal(maker);
        break;
    case DRIFT:
        return (uint32_t)((rank_drawn(maker) + i / 100) % maker->keys);
    case PLAIN:
        break;
    }
    return maker->ranked[rank_drawn(maker)];
}

size_t trace_kinds(void)
{
    return sizeof(kinds) / sizeof(kinds[0]);
}

struct trace trace_make(size_t kind, uint32_t keys, size_t requests, uint64_t seed)
{
    struct trace trace = {.count = requests, .key_count = keys, .base_keys = keys};
    struct maker maker = {.trace = &trace, .keys = keys, .random = seed};
    snprintf(trace.name, sizeof(trace.name), "%s", kinds[kind].name);
    trace.keys = policy_alloc(requests, sizeof(uint32_t));
    maker.sums = policy_alloc(keys, sizeof(double));
    maker.ranked = policy_alloc(keys, sizeof(uint32_t));
    for (uint32_t i = 0; i < keys; i++)
        maker.ranked[i] = i;
    law(&maker, kinds[kind].exponent);
    for (size_t i = 0; i < requests; i++)
        trace.keys[i] = key_drawn(&maker, kinds[kind].shape, i);
    free(maker.sums);
    free(maker.ranked);
    return trace;
}

void trace_free(struct trace *trace)
{
    free(trace->keys);
}
