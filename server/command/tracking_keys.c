/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_keys.c - the table of who has read which key.
 *
 * Each stripe is a hash table with chains that doubles as it fills and never shrinks, but for
 * tracked_keys_clear. The clients of a key are a sorted array, of which the first, that most keys
 * have alone, lies in the key's block.
 *
 * Costs: adding and taking are one mutex that is hardly ever contended and a look at a chain of
 * about one key, plus a move of the larger ids where a key has several clients. A key takes 56
 * bytes and its own, and 8 for each client from the second on.
 */
#include "server/command/tracking_keys.h"

#include <stdlib.h>
#include <string.h>

#include "sidepond/status.h"

#define BUCKETS_FIRST 16u
#define IDS_FIRST     4u

void tracked_free(struct tracked *tracked)
{
    if (tracked)
        free(tracked->more);
    free(tracked);
}

static void free_chain(struct tracked *chain)
{
    struct tracked *next;
    for (; chain; chain = next) {
        next = chain->next;
        tracked_free(chain);
    }
}

int tracked_keys_init(struct tracked_keys *keys)
{
    *keys = (struct tracked_keys){.keys = 0};
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        struct tracked_stripe *stripe = &keys->stripes[s];
        pthread_mutex_init(&stripe->lock, NULL);
        stripe->bucket_count = BUCKETS_FIRST;
        stripe->buckets = calloc(BUCKETS_FIRST, sizeof(struct tracked *));
        if (stripe->buckets)
            continue;
        for (unsigned i = 0; i <= s; i++) {
            pthread_mutex_destroy(&keys->stripes[i].lock);
            free(keys->stripes[i].buckets);
        }
        return SP_ENOMEM;
    }
    return SP_OK;
}

void tracked_keys_destroy(struct tracked_keys *keys)
{
    tracked_keys_clear(keys);
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        pthread_mutex_destroy(&keys->stripes[s].lock);
        free(keys->stripes[s].buckets);
    }
}

/* The stripe is of the hash's top bits and the bucket of its lowest. */
static struct tracked_stripe *stripe_of(struct tracked_keys *keys, uint64_t hash)
{
    return &keys->stripes[hash >> 58];
}

/* The link that leads to a key, or to the end of where it would be. */
static struct tracked **link_of(const struct tracked_stripe *stripe, uint64_t hash, const void *key,
                                size_t key_bytes)
{
    struct tracked **link = &stripe->buckets[hash & (stripe->bucket_count - 1)];
    while (*link && ((*link)->hash != hash || (*link)->key_bytes != key_bytes ||
                     memcmp((*link)->key, key, key_bytes) != 0))
        link = &(*link)->next;
    return link;
}

static void grow_stripe(struct tracked_stripe *stripe)
{
    size_t count = stripe->bucket_count * 2;
    struct tracked **buckets = calloc(count, sizeof(struct tracked *));
    if (!buckets)
        return; /* chains get longer */
    for (size_t i = 0; i < stripe->bucket_count; i++) {
        struct tracked *next;
        for (struct tracked *tracked = stripe->buckets[i]; tracked; tracked = next) {
            next = tracked->next;
            tracked->next = buckets[tracked->hash & (count - 1)];
            buckets[tracked->hash & (count - 1)] = tracked;
        }
    }
    free(stripe->buckets);
    stripe->buckets = buckets;
    stripe->bucket_count = count;
}

static struct tracked *new_tracked(uint64_t hash, const void *key, size_t key_bytes, uint64_t id)
{
    struct tracked *tracked = malloc(sizeof(*tracked) + key_bytes);
    if (!tracked)
        return NULL;
    *tracked =
        (struct tracked){.hash = hash, .one = id, .count = 1, .key_bytes = (uint32_t)key_bytes};
    memcpy(tracked->key, key, key_bytes);
    return tracked;
}

static bool grow_ids(struct tracked *tracked)
{
    uint32_t cap = tracked->cap ? tracked->cap * 2 : IDS_FIRST;
    uint64_t *more = realloc(tracked->more, cap * sizeof(*more));
    if (!more)
        return false;
    if (!tracked->more)
        more[0] = tracked->one;
    tracked->more = more;
    tracked->cap = cap;
    return true;
}

/* The first place from which on there are ids that are not smaller. */
static uint32_t place_of(const struct tracked *tracked, uint64_t id)
{
    const uint64_t *ids = tracked_ids(tracked);
    uint32_t low = 0, high = tracked->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* SP_OK, SP_EEXISTS, SP_ENOMEM. */
static int add_id(struct tracked *tracked, uint64_t id)
{
    uint32_t at = place_of(tracked, id);
    if (at < tracked->count && tracked_ids(tracked)[at] == id)
        return SP_EEXISTS;
    if ((!tracked->more || tracked->count == tracked->cap) && !grow_ids(tracked))
        return SP_ENOMEM;
    memmove(tracked->more + at + 1, tracked->more + at, (tracked->count - at) * sizeof(uint64_t));
    tracked->more[at] = id;
    tracked->count++;
    return SP_OK;
}

static void count_out(struct tracked_keys *keys, const struct tracked *tracked)
{
    atomic_fetch_sub_explicit(&keys->keys, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&keys->items, tracked->count, memory_order_relaxed);
}

static int add_key(struct tracked_keys *keys, struct tracked_stripe *stripe, struct tracked **link,
                   struct tracked *tracked)
{
    if (!tracked)
        return SP_ENOMEM;
    *link = tracked;
    if (++stripe->count > stripe->bucket_count)
        grow_stripe(stripe);
    atomic_fetch_add_explicit(&keys->keys, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&keys->items, 1, memory_order_relaxed);
    return SP_OK;
}

int tracked_keys_add(struct tracked_keys *keys, uint64_t hash, const void *key, size_t key_bytes,
                     uint64_t id)
{
    struct tracked_stripe *stripe = stripe_of(keys, hash);
    int status;
    pthread_mutex_lock(&stripe->lock);
    struct tracked **link = link_of(stripe, hash, key, key_bytes);
    if (!*link) {
        status = add_key(keys, stripe, link, new_tracked(hash, key, key_bytes, id));
    } else {
        status = add_id(*link, id);
        if (status == SP_OK)
            atomic_fetch_add_explicit(&keys->items, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&stripe->lock);
    return status == SP_EEXISTS ? SP_OK : status;
}

/* With the stripe's lock. */
static struct tracked *take_link(struct tracked_keys *keys, struct tracked_stripe *stripe,
                                 struct tracked **link)
{
    struct tracked *tracked = *link;
    *link = tracked->next;
    tracked->next = NULL;
    stripe->count--;
    count_out(keys, tracked);
    return tracked;
}

struct tracked *tracked_keys_take(struct tracked_keys *keys, uint64_t hash, const void *key,
                                  size_t key_bytes)
{
    struct tracked_stripe *stripe = stripe_of(keys, hash);
    pthread_mutex_lock(&stripe->lock);
    struct tracked **link = link_of(stripe, hash, key, key_bytes);
    struct tracked *tracked = *link ? take_link(keys, stripe, link) : NULL;
    pthread_mutex_unlock(&stripe->lock);
    return tracked;
}

/* The first key from the stripe's hand on. */
static struct tracked *take_at_hand(struct tracked_keys *keys, struct tracked_stripe *stripe)
{
    struct tracked *tracked = NULL;
    pthread_mutex_lock(&stripe->lock);
    while (stripe->count > 0 && !tracked) {
        struct tracked **link = &stripe->buckets[stripe->hand++ & (stripe->bucket_count - 1)];
        if (*link)
            tracked = take_link(keys, stripe, link);
    }
    pthread_mutex_unlock(&stripe->lock);
    return tracked;
}

struct tracked *tracked_keys_take_any(struct tracked_keys *keys)
{
    for (unsigned tries = 0; tries < TRACKED_STRIPES; tries++) {
        unsigned hand = atomic_fetch_add_explicit(&keys->hand, 1, memory_order_relaxed);
        struct tracked *tracked = take_at_hand(keys, &keys->stripes[hand % TRACKED_STRIPES]);
        if (tracked)
            return tracked;
    }
    return NULL;
}

struct tracked *tracked_keys_take_all(struct tracked_keys *keys,
                                      bool (*wanted)(void *context, const struct tracked *tracked),
                                      void *context)
{
    struct tracked *all = NULL;
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        struct tracked_stripe *stripe = &keys->stripes[s];
        pthread_mutex_lock(&stripe->lock);
        for (size_t i = 0; i < stripe->bucket_count && stripe->count > 0; i++) {
            struct tracked **link = &stripe->buckets[i];
            while (*link) {
                if (!wanted(context, *link)) {
                    link = &(*link)->next;
                    continue;
                }
                struct tracked *tracked = take_link(keys, stripe, link);
                tracked->next = all;
                all = tracked;
            }
        }
        pthread_mutex_unlock(&stripe->lock);
    }
    return all;
}

/* The keys of a stripe as chains, of which it has none afterwards, in a table of the first size
 * where there is memory for one. */
static struct tracked **take_buckets(struct tracked_keys *keys, struct tracked_stripe *stripe,
                                     size_t *count)
{
    struct tracked **buckets = calloc(BUCKETS_FIRST, sizeof(struct tracked *)), **old;
    pthread_mutex_lock(&stripe->lock);
    *count = stripe->bucket_count;
    old = stripe->buckets;
    for (size_t i = 0; i < stripe->bucket_count; i++) {
        for (const struct tracked *tracked = old[i]; tracked; tracked = tracked->next)
            count_out(keys, tracked);
    }
    stripe->count = 0;
    if (buckets) {
        stripe->buckets = buckets;
        stripe->bucket_count = BUCKETS_FIRST;
    } else {
        for (size_t i = 0; i < stripe->bucket_count; i++) {
            free_chain(old[i]);
            old[i] = NULL;
        }
        old = NULL;
    }
    pthread_mutex_unlock(&stripe->lock);
    return old;
}

void tracked_keys_clear(struct tracked_keys *keys)
{
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        size_t count;
        struct tracked **buckets = take_buckets(keys, &keys->stripes[s], &count);
        for (size_t i = 0; buckets && i < count; i++)
            free_chain(buckets[i]);
        free(buckets);
    }
}
