/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.h - what a cache's eviction policy is to the simulator.
 *
 * A simulated cache holds keys, not bytes: every entry has the same size, and the capacity is a
 * number of entries. Keys are the numbers 0 to key_count - 1, so a policy keeps what it knows of a
 * key in arrays. A request of a key that is not there inserts it, as an application does that has
 * fetched the value elsewhere. One thread.
 */
#ifndef SIDEPOND_POLICY_H
#define SIDEPOND_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_NONE UINT32_MAX

struct policy_options {
    uint32_t capacity;  /* entries; at least 1 */
    uint32_t key_count; /* keys of the trace */
    uint64_t seed;
    const void *rules; /* the policy's own */
};

struct policy_counts {
    uint64_t evictions;
    uint64_t examined; /* entries that were looked at to find whom to evict; 0: not counted */
    double densest;    /* the most entries that a 64th of the hashes had, to its part of them */
};

struct policy {
    const char *name;
    bool (*request)(void *cache, uint32_t key, uint32_t now_ms); /* whether it was there */
    void *(*create)(const struct policy_options *options);       /* never NULL */
    void (*destroy)(void *cache);
    void (*counts)(const void *cache, struct policy_counts *counts); /* NULL: not counted */
    const void *rules;                                               /* given to create */
};

/* Makes the policy's cache; what is in options.rules does not count. */
void *policy_create(const struct policy *policy, struct policy_options options);

/* policy_list.c */
extern const struct policy policy_lru, policy_lfu, policy_sieve, policy_s3fifo, policy_memcached;
/* policy_arc.c */
extern const struct policy policy_arc;
/* policy_redis.c */
extern const struct policy policy_redis_lru, policy_redis_lru_ms, policy_redis_lfu;

/* Memory for a policy, zeroed; ends the program where there is none. */
void *policy_alloc(size_t count, size_t size);

/* A hash of a key. */
uint64_t policy_hash(uint64_t key);

#endif
