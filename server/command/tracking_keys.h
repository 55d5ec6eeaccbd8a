/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_keys.h - who has read which key: a table from keys to numbers of clients.
 *
 * The table is cut into stripes, each with a mutex of its own, by the top bits of the key's hash.
 * Every function may be called from any thread; none calls out or takes another lock.
 */
#ifndef SIDEPOND_COMMAND_TRACKING_KEYS_H
#define SIDEPOND_COMMAND_TRACKING_KEYS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACKED_STRIPES 64u

/* A key and the clients that read it, in rising order. Owned by who has taken it out. */
struct tracked {
    struct tracked *next; /* in its bucket, or of what was taken */
    uint64_t hash;
    uint64_t *more; /* ids of more than one client; NULL: there is one */
    uint64_t one;
    uint32_t count, cap; /* cap: of `more` */
    uint32_t key_bytes;
    char key[];
};

struct tracked_table {
    struct tracked_table *next; /* of those that nobody uses any more */
    size_t bucket_count;        /* a power of two */
    struct tracked *buckets[];
};

struct tracked_stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct tracked_table *table;
    uint64_t count, items, bytes; /* keys; their clients, summed; memory of both */
    size_t hand;                  /* where eviction goes on */
};

struct tracked_keys {
    struct tracked_stripe stripes[TRACKED_STRIPES];
    _Atomic uint64_t keys, items, bytes; /* of all stripes */
    _Atomic unsigned hand;               /* the stripe where eviction goes on */
    pthread_mutex_t dead_lock;
    struct tracked_table *dead; /* with that lock: to be freed by tracked_keys_bury */
};

static inline const uint64_t *tracked_ids(const struct tracked *tracked)
{
    return tracked->more ? tracked->more : &tracked->one;
}
void tracked_free(struct tracked *tracked);

/* SP_ENOMEM; then destroy need not be called. */
int tracked_keys_init(struct tracked_keys *keys);
void tracked_keys_destroy(struct tracked_keys *keys);

/* Notes that a client is about to read a key. SP_ENOMEM: it is not noted. */
int tracked_keys_add(struct tracked_keys *keys, uint64_t hash, const void *key, size_t key_bytes,
                     uint64_t id);

/* Takes a key out, for the caller to free; NULL: nobody has read it. */
struct tracked *tracked_keys_take(struct tracked_keys *keys, uint64_t hash, const void *key,
                                  size_t key_bytes);
/* Any key; NULL: there is none. */
struct tracked *tracked_keys_take_any(struct tracked_keys *keys);
/* All for which `wanted` says so, as a list. It is called with a stripe's lock held. */
struct tracked *tracked_keys_take_all(struct tracked_keys *keys,
                                      bool (*wanted)(void *context, const struct tracked *tracked),
                                      void *context);
/* Forgets all, in a time that does not depend on how many they are. The memory comes back when
 * tracked_keys_bury is called. */
void tracked_keys_clear(struct tracked_keys *keys);
void tracked_keys_bury(struct tracked_keys *keys);

#endif
