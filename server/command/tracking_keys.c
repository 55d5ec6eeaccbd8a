/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_keys.c - the table of who has read which key.
 *
 * Each stripe is a hash table with chains that doubles as it fills and never shrinks, but for
 * tracked_keys_clear, which puts an empty one in its place. The clients of a key are a sorted
 * array, of which the first, that most keys have alone, lies in the key's block.
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

static uint64_t bytes_of(const struct tracked *tracked)
{
    return sizeof(*tracked) + tracked->key_bytes +
           (tracked->more ? tracked->cap * sizeof(uint64_t) : 0);
}

static struct tracked_table *new_table(size_t bucket_count)
{
    struct tracked_table *table =
        calloc(1, sizeof(*table) + bucket_count * sizeof(struct tracked *));
    if (table)
        table->bucket_count = bucket_count;
    return table;
}

static void free_keys(struct tracked_table *table)
{
    for (size_t i = 0; i < table->bucket_count; i++) {
        struct tracked *next;
        for (struct tracked *tracked = table->buckets[i]; tracked; tracked = next) {
            next = tracked->next;
            tracked_free(tracked);
        }
        table->buckets[i] = NULL;
    }
}

static void destroy_stripes(struct tracked_keys *keys, unsigned count)
{
    for (unsigned s = 0; s < count; s++) {
        struct tracked_stripe *stripe = &keys->stripes[s];
        if (stripe->table)
            free_keys(stripe->table);
        free(stripe->table);
        pthread_mutex_destroy(&stripe->lock);
    }
}

int tracked_keys_init(struct tracked_keys *keys)
{
    *keys = (struct tracked_keys){.keys = 0};
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        struct tracked_stripe *stripe = &keys->stripes[s];
        pthread_mutex_init(&stripe->lock, NULL);
        stripe->table = new_table(BUCKETS_FIRST);
        if (!stripe->table) {
            destroy_stripes(keys, s + 1);
            return SP_ENOMEM;
        }
    }
    pthread_mutex_init(&keys->dead_lock, NULL);
    return SP_OK;
}

void tracked_keys_destroy(struct tracked_keys *keys)
{
    tracked_keys_bury(keys);
    destroy_stripes(keys, TRACKED_STRIPES);
    pthread_mutex_destroy(&keys->dead_lock);
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
    struct tracked_table *table = stripe->table;
    struct tracked **link = &table->buckets[hash & (table->bucket_count - 1)];
    while (*link && ((*link)->hash != hash || (*link)->key_bytes != key_bytes ||
                     memcmp((*link)->key, key, key_bytes) != 0))
        link = &(*link)->next;
    return link;
}

static void grow_stripe(struct tracked_stripe *stripe)
{
    struct tracked_table *old = stripe->table, *table = new_table(old->bucket_count * 2);
    if (!table)
        return; /* chains get longer */
    for (size_t i = 0; i < old->bucket_count; i++) {
        struct tracked *next;
        for (struct tracked *tracked = old->buckets[i]; tracked; tracked = next) {
            size_t at = tracked->hash & (table->bucket_count - 1);
            next = tracked->next;
            tracked->next = table->buckets[at];
            table->buckets[at] = tracked;
        }
    }
    stripe->table = table;
    free(old);
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

/* With the stripe's lock; negative counts wrap around, as unsigned numbers do. */
static void count_change(struct tracked_keys *keys, struct tracked_stripe *stripe, uint64_t count,
                         uint64_t items, uint64_t bytes)
{
    stripe->count += count;
    stripe->items += items;
    stripe->bytes += bytes;
    atomic_fetch_add_explicit(&keys->keys, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&keys->items, items, memory_order_relaxed);
    atomic_fetch_add_explicit(&keys->bytes, bytes, memory_order_relaxed);
}

static int add_key(struct tracked_keys *keys, struct tracked_stripe *stripe, struct tracked **link,
                   struct tracked *tracked)
{
    if (!tracked)
        return SP_ENOMEM;
    *link = tracked;
    count_change(keys, stripe, 1, 1, bytes_of(tracked));
    if (stripe->count > stripe->table->bucket_count)
        grow_stripe(stripe);
    return SP_OK;
}

static int add_client(struct tracked_keys *keys, struct tracked_stripe *stripe,
                      struct tracked *tracked, uint64_t id)
{
    uint64_t before = bytes_of(tracked);
    int status = add_id(tracked, id);
    if (status == SP_OK)
        count_change(keys, stripe, 0, 1, bytes_of(tracked) - before);
    return status == SP_EEXISTS ? SP_OK : status;
}

int tracked_keys_add(struct tracked_keys *keys, uint64_t hash, const void *key, size_t key_bytes,
                     uint64_t id)
{
    struct tracked_stripe *stripe = stripe_of(keys, hash);
    pthread_mutex_lock(&stripe->lock);
    struct tracked **link = link_of(stripe, hash, key, key_bytes);
    int status = *link ? add_client(keys, stripe, *link, id)
                       : add_key(keys, stripe, link, new_tracked(hash, key, key_bytes, id));
    pthread_mutex_unlock(&stripe->lock);
    return status;
}

/* With the stripe's lock. */
static struct tracked *take_link(struct tracked_keys *keys, struct tracked_stripe *stripe,
                                 struct tracked **link)
{
    struct tracked *tracked = *link;
    *link = tracked->next;
    tracked->next = NULL;
    count_change(keys, stripe, -UINT64_C(1), -(uint64_t)tracked->count, -bytes_of(tracked));
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
        struct tracked_table *table = stripe->table;
        struct tracked **link = &table->buckets[stripe->hand++ & (table->bucket_count - 1)];
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
        for (size_t i = 0; i < stripe->table->bucket_count && stripe->count > 0; i++) {
            struct tracked **link = &stripe->table->buckets[i];
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

/* Where there is no memory for a new table the keys of the old one are freed at once. */
static void clear_stripe(struct tracked_keys *keys, struct tracked_stripe *stripe)
{
    struct tracked_table *table = new_table(BUCKETS_FIRST), *old = NULL;
    pthread_mutex_lock(&stripe->lock);
    count_change(keys, stripe, -stripe->count, -stripe->items, -stripe->bytes);
    if (table) {
        old = stripe->table;
        stripe->table = table;
    } else {
        free_keys(stripe->table);
    }
    pthread_mutex_unlock(&stripe->lock);
    if (!old)
        return;
    pthread_mutex_lock(&keys->dead_lock);
    old->next = keys->dead;
    keys->dead = old;
    pthread_mutex_unlock(&keys->dead_lock);
}

void tracked_keys_clear(struct tracked_keys *keys)
{
    for (unsigned s = 0; s < TRACKED_STRIPES; s++) {
        pthread_mutex_lock(&keys->stripes[s].lock);
        bool empty = keys->stripes[s].count == 0;
        pthread_mutex_unlock(&keys->stripes[s].lock);
        if (!empty)
            clear_stripe(keys, &keys->stripes[s]);
    }
}

void tracked_keys_bury(struct tracked_keys *keys)
{
    pthread_mutex_lock(&keys->dead_lock);
    struct tracked_table *next, *table = keys->dead;
    keys->dead = NULL;
    pthread_mutex_unlock(&keys->dead_lock);
    for (; table; table = next) {
        next = table->next;
        free_keys(table);
        free(table);
    }
}
