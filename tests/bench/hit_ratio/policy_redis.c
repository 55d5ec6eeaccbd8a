/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_redis.c - Redis's allkeys-lru and allkeys-lfu with its default settings.
 *
 * An eviction draws 5 entries at random, keeps the 16 idlest ever drawn in a pool, and evicts the
 * idlest of them that is still there. LRU's idle time comes from a clock of one second, and, to
 * see what the clock costs it, in a variant of one millisecond. LFU's counter has 8 bits, starts
 * at 5, goes up with a probability that falls as it grows, and down by one in each idle minute.
 * The draw is of independent entries, which is better than neighbouring ones of a hash table.
 */
#include <stdlib.h>
#include <string.h>

#include "common/rows.h"
#include "policy.h"

#define SAMPLES         5u
#define POOL            16u
#define LFU_START       5u
#define LFU_LOG_FACTOR  10u
#define LFU_COUNTER_MAX 255u
#define MINUTE_MS       60000u

struct pooled {
    uint32_t key, idle;
};

struct redis {
    uint32_t *keys; /* that are there */
    uint32_t *at;   /* where in keys; KEY_NONE: not there */
    uint32_t *used; /* clock at the last use */
    uint8_t *counter;
    struct pooled pool[POOL]; /* the idlest last */
    unsigned pooled;
    uint32_t capacity, count;
    uint32_t clock_ms; /* a tick of LRU's clock; 0: LFU */
    uint64_t random;
};

static struct redis *redis_create(const struct policy_options *options, uint32_t clock_ms)
{
    struct redis *redis = policy_alloc(1, sizeof(*redis));
    redis->keys = policy_alloc(options->capacity, sizeof(uint32_t));
    redis->at = policy_alloc(options->key_count, sizeof(uint32_t));
    memset(redis->at, 0xff, options->key_count * sizeof(uint32_t));
    redis->used = policy_alloc(options->key_count, sizeof(uint32_t));
    redis->counter = policy_alloc(options->key_count, 1);
    redis->capacity = options->capacity;
    redis->clock_ms = clock_ms;
    redis->random = options->seed;
    return redis;
}

static void redis_destroy(void *cache)
{
    struct redis *redis = cache;
    free(redis->keys);
    free(redis->at);
    free(redis->used);
    free(redis->counter);
    free(redis);
}

static unsigned decayed(const struct redis *redis, uint32_t key, uint32_t now_ms)
{
    uint32_t minutes = now_ms / MINUTE_MS - redis->used[key];
    unsigned counter = redis->counter[key];
    return minutes >= counter ? 0 : counter - minutes;
}

static void lfu_touch(struct redis *redis, uint32_t key, uint32_t now_ms)
{
    unsigned counter = decayed(redis, key, now_ms);
    unsigned above = counter > LFU_START ? counter - LFU_START : 0;
    uint64_t one_in = (uint64_t)above * LFU_LOG_FACTOR + 1;
    if (counter < LFU_COUNTER_MAX && rows_random(&redis->random) % one_in == 0)
        counter++;
    redis->counter[key] = (uint8_t)counter;
    redis->used[key] = now_ms / MINUTE_MS;
}

static uint32_t idle(const struct redis *redis, uint32_t key, uint32_t now_ms)
{
    if (redis->clock_ms == 0)
        return LFU_COUNTER_MAX - decayed(redis, key, now_ms);
    return now_ms / redis->clock_ms - redis->used[key];
}

static void pool_offer(struct redis *redis, uint32_t key, uint32_t idle_time)
{
    unsigned place = 0;
    while (place < redis->pooled && redis->pool[place].idle < idle_time)
        place++;
    if (redis->pooled < POOL) {
        memmove(&redis->pool[place + 1], &redis->pool[place],
                (redis->pooled - place) * sizeof(struct pooled));
        redis->pooled++;
    } else if (place == 0) {
        return;
    } else {
        place--;
        memmove(&redis->pool[0], &redis->pool[1], place * sizeof(struct pooled));
    }
    redis->pool[place] = (struct pooled){key, idle_time};
}

static void redis_evict(struct redis *redis, uint32_t now_ms)
{
    for (;;) {
        for (unsigned i = 0; i < SAMPLES; i++) {
            uint32_t key = redis->keys[rows_random(&redis->random) % redis->count];
            pool_offer(redis, key, idle(redis, key, now_ms));
        }
        while (redis->pooled > 0) {
            uint32_t key = redis->pool[--redis->pooled].key;
            if (redis->at[key] == KEY_NONE)
                continue;
            uint32_t last = redis->keys[--redis->count];
            redis->keys[redis->at[key]] = last;
            redis->at[last] = redis->at[key];
            redis->at[key] = KEY_NONE;
            return;
        }
    }
}

static bool redis_request(void *cache, uint32_t key, uint32_t now_ms)
{
    struct redis *redis = cache;
    bool hit = redis->at[key] != KEY_NONE;
    if (!hit) {
        if (redis->count == redis->capacity)
            redis_evict(redis, now_ms);
        redis->at[key] = redis->count;
        redis->keys[redis->count++] = key;
        redis->counter[key] = LFU_START;
    }
    if (redis->clock_ms != 0)
        redis->used[key] = now_ms / redis->clock_ms;
    else if (hit)
        lfu_touch(redis, key, now_ms);
    else
        redis->used[key] = now_ms / MINUTE_MS;
    return hit;
}

static void *lru_create(const struct policy_options *options)
{
    return redis_create(options, 1000);
}

static void *lru_ms_create(const struct policy_options *options)
{
    return redis_create(options, 1);
}

static void *lfu_create(const struct policy_options *options)
{
    return redis_create(options, 0);
}

const struct policy policy_redis_lru = {
    .name = "redis-lru", .create = lru_create, .destroy = redis_destroy, .request = redis_request};
const struct policy policy_redis_lru_ms = {.name = "redis-lru-ms",
                                           .create = lru_ms_create,
                                           .destroy = redis_destroy,
                                           .request = redis_request};
const struct policy policy_redis_lfu = {
    .name = "redis-lfu", .create = lfu_create, .destroy = redis_destroy, .request = redis_request};
