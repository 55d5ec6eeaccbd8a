/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_list.c - policies that keep their keys in lists: LRU, LFU, SIEVE, S3-FIFO and memcached's
 * segmented LRU.
 *
 * LFU counts the hits of an entry while it is in the cache, and among the least used evicts the
 * one that came to its count first. SIEVE and S3-FIFO are as published (NSDI 2024, SOSP 2023), the
 * latter with a small queue of a tenth and a ghost queue as long as the main queue. memcached's
 * has HOT and WARM limited to a fifth and two fifths of the entries; its limits by age, and its
 * slabs, are left out.
 */
#include "list.h"

enum where { NOWHERE, FIRST, SECOND, THIRD }; /* which list a key is in */

#define USE_MAX      65535u
#define S3_USE_MAX   3u
#define S3_PERCENT   10u
#define HOT_PERCENT  20u
#define WARM_PERCENT 40u

struct lists {
    struct links links;
    struct list first, second, third;
    struct list *by_use; /* LFU only */
    uint8_t *where;
    uint16_t *use;
    uint32_t capacity, count, least_use, hand;
};

static void *lists_create(const struct policy_options *options)
{
    struct lists *lists = policy_alloc(1, sizeof(*lists));
    lists->links = links_new(options->key_count);
    lists->first = lists->second = lists->third = list_empty();
    lists->where = policy_alloc(options->key_count, 1);
    lists->use = policy_alloc(options->key_count, sizeof(uint16_t));
    lists->capacity = options->capacity;
    lists->hand = KEY_NONE;
    return lists;
}

static void lists_destroy(void *cache)
{
    struct lists *lists = cache;
    links_free(&lists->links);
    free(lists->by_use);
    free(lists->where);
    free(lists->use);
    free(lists);
}

static void add(struct lists *lists, struct list *list, enum where where, uint32_t key)
{
    list_push(list, &lists->links, key);
    lists->where[key] = (uint8_t)where;
}

static uint32_t pop(struct lists *lists, struct list *list)
{
    uint32_t key = list_pop(list, &lists->links);
    lists->where[key] = NOWHERE;
    return key;
}

/* --- LRU ------------------------------------------------------------------------------------ */

static bool lru_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct lists *lists = cache;
    bool hit = lists->where[key] != NOWHERE;
    if (hit)
        list_remove(&lists->first, &lists->links, key);
    else if (lists->first.size == lists->capacity)
        pop(lists, &lists->first);
    add(lists, &lists->first, FIRST, key);
    return hit;
}

const struct policy policy_lru = {
    .name = "lru", .create = lists_create, .destroy = lists_destroy, .request = lru_request};

/* --- LFU ------------------------------------------------------------------------------------ */

static void *lfu_create(const struct policy_options *options)
{
    struct lists *lists = lists_create(options);
    lists->by_use = policy_alloc(USE_MAX + 1, sizeof(struct list));
    for (unsigned i = 0; i <= USE_MAX; i++)
        lists->by_use[i] = list_empty();
    return lists;
}

static void lfu_hit(struct lists *lists, uint32_t key)
{
    unsigned use = lists->use[key];
    list_remove(&lists->by_use[use], &lists->links, key);
    if (use < USE_MAX) {
        if (lists->by_use[use].size == 0 && lists->least_use == use)
            lists->least_use++;
        use++;
    }
    lists->use[key] = (uint16_t)use;
    list_push(&lists->by_use[use], &lists->links, key);
}

static bool lfu_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct lists *lists = cache;
    if (lists->where[key] != NOWHERE) {
        lfu_hit(lists, key);
        return true;
    }
    if (lists->count == lists->capacity)
        pop(lists, &lists->by_use[lists->least_use]);
    else
        lists->count++;
    lists->use[key] = 0;
    lists->least_use = 0;
    add(lists, &lists->by_use[0], FIRST, key);
    return false;
}

const struct policy policy_lfu = {
    .name = "lfu", .create = lfu_create, .destroy = lists_destroy, .request = lfu_request};

/* --- SIEVE ---------------------------------------------------------------------------------- */

static void sieve_evict(struct lists *lists)
{
    uint32_t key = lists->hand == KEY_NONE ? lists->first.oldest : lists->hand;
    while (lists->use[key] != 0) {
        lists->use[key] = 0;
        key = lists->links.newer[key];
        if (key == KEY_NONE)
            key = lists->first.oldest;
    }
    lists->hand = lists->links.newer[key];
    list_remove(&lists->first, &lists->links, key);
    lists->where[key] = NOWHERE;
}

static bool sieve_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct lists *lists = cache;
    if (lists->where[key] != NOWHERE) {
        lists->use[key] = 1;
        return true;
    }
    if (lists->first.size == lists->capacity)
        sieve_evict(lists);
    lists->use[key] = 0;
    add(lists, &lists->first, FIRST, key);
    return false;
}

const struct policy policy_sieve = {
    .name = "sieve", .create = lists_create, .destroy = lists_destroy, .request = sieve_request};

/* --- S3-FIFO -------------------------------------------------------------------------------- */

static uint32_t percent_of(const struct lists *lists, unsigned percent)
{
    uint32_t part = (uint32_t)((uint64_t)lists->capacity * percent / 100);
    return part > 0 ? part : 1;
}

/* first: small, second: main, third: ghost. */
static void s3_evict_main(struct lists *lists)
{
    for (;;) {
        uint32_t key = pop(lists, &lists->second);
        if (lists->use[key] == 0)
            return;
        lists->use[key]--;
        add(lists, &lists->second, SECOND, key);
    }
}

/* Evicts from small, unless everything in it has been used: then it is all in main. */
static bool s3_evict_small(struct lists *lists)
{
    while (lists->first.size > 0) {
        uint32_t key = pop(lists, &lists->first);
        bool used = lists->use[key] > 1;
        lists->use[key] = 0;
        if (used) {
            add(lists, &lists->second, SECOND, key);
            continue;
        }
        if (lists->third.size == lists->capacity - percent_of(lists, S3_PERCENT))
            pop(lists, &lists->third);
        add(lists, &lists->third, THIRD, key);
        return true;
    }
    return false;
}

static void s3_evict(struct lists *lists)
{
    if (lists->first.size >= percent_of(lists, S3_PERCENT) && s3_evict_small(lists))
        return;
    if (lists->second.size > 0)
        s3_evict_main(lists);
    else
        s3_evict_small(lists);
}

static bool s3_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct lists *lists = cache;
    if (lists->where[key] == FIRST || lists->where[key] == SECOND) {
        lists->use[key] += lists->use[key] < S3_USE_MAX;
        return true;
    }
    bool ghost = lists->where[key] == THIRD;
    if (ghost) {
        list_remove(&lists->third, &lists->links, key);
        lists->where[key] = NOWHERE;
    }
    if (lists->first.size + lists->second.size == lists->capacity)
        s3_evict(lists);
    lists->use[key] = 0;
    if (ghost)
        add(lists, &lists->second, SECOND, key);
    else
        add(lists, &lists->first, FIRST, key);
    return false;
}

const struct policy policy_s3fifo = {
    .name = "s3-fifo", .create = lists_create, .destroy = lists_destroy, .request = s3_request};

/* --- memcached ------------------------------------------------------------------------------ */

/* first: HOT, second: WARM, third: COLD. use: 1 fetched, 2 active. */
static void warm_up(struct lists *lists, uint32_t key)
{
    lists->use[key] = 1;
    add(lists, &lists->second, SECOND, key);
}

/* Brings HOT or WARM down to its share: what is active is kept warm. */
static void shrink(struct lists *lists, struct list *list, uint32_t share)
{
    for (unsigned tries = 0; list->size > share && tries < 5; tries++) {
        uint32_t key = pop(lists, list);
        if (lists->use[key] == 2)
            warm_up(lists, key);
        else
            add(lists, &lists->third, THIRD, key);
    }
}

static void memcached_evict(struct lists *lists)
{
    if (lists->third.size > 0)
        pop(lists, &lists->third);
    else
        pop(lists, lists->second.size > 0 ? &lists->second : &lists->first);
}

static bool memcached_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct lists *lists = cache;
    if (lists->where[key] != NOWHERE) {
        lists->use[key] += lists->use[key] < 2;
        if (lists->use[key] == 2 && lists->where[key] == THIRD) {
            list_remove(&lists->third, &lists->links, key);
            warm_up(lists, key);
        }
        return true;
    }
    if (lists->first.size + lists->second.size + lists->third.size == lists->capacity)
        memcached_evict(lists);
    lists->use[key] = 0;
    add(lists, &lists->first, FIRST, key);
    shrink(lists, &lists->first, percent_of(lists, HOT_PERCENT));
    shrink(lists, &lists->second, percent_of(lists, WARM_PERCENT));
    return false;
}

const struct policy policy_memcached = {.name = "memcached",
                                        .create = lists_create,
                                        .destroy = lists_destroy,
                                        .request = memcached_request};
