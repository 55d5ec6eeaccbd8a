/* SPDX-License-Identifier: Apache-2.0
 *
 * copy.c - what a Redis node missed: keys are kept, and copied to it by DUMP and RESTORE when it
 * answers again.
 *
 * Redis entries carry no versions. So that a write which comes in between is not undone, a key is
 * dumped once more after it has been restored, and restored again if it is another value by then;
 * what remains is the time between the arrivals of one write at two nodes. A key that is another
 * one each time counts as missed still.
 *
 * Where the other copy does not have the key, it is removed: what the node has may be old. But a
 * value that was sent to the node, and only not answered in time, is most likely there. So the key
 * stays then, as the other one may have been started anew and be empty.
 *
 * Limits: KEYS_MAX keys and KEYS_BYTES_MAX bytes of them for each node. What is beyond is not
 * copied, and the node is then not trusted in those slots by this handle, until it leaves the map
 * or the handle is closed; `sidepond repair` makes the copies equal.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"
#include "client/ring/slot.h"

#define KEYS_MAX       65536u
#define KEYS_BYTES_MAX (16u << 20)
#define TURN_US        100000u /* and after so long */
#define KEYS_AT_ONCE   256u    /* then probes and changes of the map have their turn */
#define BUCKETS        4096u
#define COPY_TRIES     4u
#define COPY_MS        500u

struct missed_key {
    struct missed_key *next, *bucket_next;
    uint32_t hash;
    size_t size;
    bool dropped; /* it is not missed any more, and in no bucket */
    bool may_remove;
    char bytes[];
};

struct missed_keys {
    struct missed_key *first, **last;
    size_t count, bytes;
    bool overflown;
    const struct missed_key *copying; /* popped, and not there yet */
    struct missed_key *buckets[BUCKETS];
};

/* --- the set of keys; the mutex is held ------------------------------------------------------- */

static uint32_t hash_of(const void *key, size_t size)
{
    const uint8_t *bytes = key;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

/* Where the link to a key is, or would be. */
static struct missed_key **keys_find(struct missed_keys *keys, const void *bytes, size_t size)
{
    uint32_t hash = hash_of(bytes, size);
    struct missed_key **at = &keys->buckets[hash % BUCKETS];
    while (*at != NULL && ((*at)->hash != hash || (*at)->size != size ||
                           (size > 0 && memcmp((*at)->bytes, bytes, size) != 0)))
        at = &(*at)->bucket_next;
    return at;
}

static void keys_append(struct missed_keys *keys, struct missed_key *key)
{
    key->next = NULL;
    *keys->last = key;
    keys->last = &key->next;
    key->bucket_next = keys->buckets[key->hash % BUCKETS];
    keys->buckets[key->hash % BUCKETS] = key;
    keys->count++;
    keys->bytes += key->size;
}

static struct missed_key *keys_pop(struct missed_keys *keys)
{
    struct missed_key *key = keys->first;
    if (key == NULL)
        return NULL;
    keys->first = key->next;
    if (keys->first == NULL)
        keys->last = &keys->first;
    if (!key->dropped)
        *keys_find(keys, key->bytes, key->size) = key->bucket_next;
    keys->count--;
    keys->bytes -= key->size;
    return key;
}

static struct missed_keys *keys_of(struct node *node)
{
    if (node->keys == NULL) {
        node->keys = calloc(1, sizeof *node->keys);
        if (node->keys != NULL)
            node->keys->last = &node->keys->first;
    }
    return node->keys;
}

void copy_missed(struct sp_ring *ring, struct node *node, const void *bytes, size_t size,
                 bool may_remove)
{
    struct missed_key *key = malloc(sizeof *key + size);
    pthread_mutex_lock(&ring->mutex);
    struct missed_keys *keys = keys_of(node);
    if (keys == NULL || key == NULL) {
        if (keys != NULL)
            keys->overflown = true;
    } else {
        key->size = size;
        key->dropped = false;
        key->may_remove = may_remove;
        if (size > 0)
            memcpy(key->bytes, bytes, size);
        key->hash = hash_of(key->bytes, size);
        struct missed_key *known = *keys_find(keys, bytes, size);
        if (known != NULL) {
            known->may_remove = may_remove; /* the latest write counts */
        } else {
            bool room = keys->count < KEYS_MAX && keys->bytes + size <= KEYS_BYTES_MAX;
            keys->overflown |= !room;
            if (room) {
                keys_append(keys, key);
                key = NULL;
            }
        }
    }
    pthread_mutex_unlock(&ring->mutex);
    free(key);
}

void copy_taken(struct sp_ring *ring, struct node *node, const void *key, size_t key_bytes)
{
    pthread_mutex_lock(&ring->mutex);
    struct missed_key **at = node->keys != NULL ? keys_find(node->keys, key, key_bytes) : NULL;
    if (at != NULL && *at != NULL) {
        (*at)->dropped = true;
        *at = (*at)->bucket_next;
    }
    pthread_mutex_unlock(&ring->mutex);
}

void copy_forget(struct node *node)
{
    struct missed_key *key;
    while (node->keys != NULL && (key = keys_pop(node->keys)) != NULL)
        free(key);
    free(node->keys);
    node->keys = NULL;
}

/* --- copying ---------------------------------------------------------------------------------- */

/* The key's value as DUMP has it, and its time to live (0: none), of the first other node that
 * answers. SP_ENOTFOUND: it is not there. */
static int fetch(struct sp_ring *ring, const struct view *view, struct node *from,
                 const struct missed_key *key, struct sp_buffer *dump, int64_t *ttl_ms)
{
    struct answer answer = {.value = dump};
    const struct argument dump_of[] = {{"DUMP", 4}, {key->bytes, key->size}};
    const struct argument ttl_of[] = {{"PTTL", 4}, {key->bytes, key->size}};
    int status = node_ask(ring, view, from, dump_of, 2, COPY_MS, &answer);
    if (status != SP_OK)
        return status;
    if (answer.type == SP_REPLY_NULL)
        return SP_ENOTFOUND;
    if (answer.type != SP_REPLY_TEXT)
        return SP_EREFUSED;
    answer = (struct answer){0};
    status = node_ask(ring, view, from, ttl_of, 2, COPY_MS, &answer);
    *ttl_ms = answer.numbers[0] > 0 ? answer.numbers[0] : 0;
    return status == SP_OK && answer.type != SP_REPLY_INTEGER ? SP_EREFUSED : status;
}

static int restore(struct sp_ring *ring, const struct view *view, struct node *to,
                   const struct missed_key *key, const struct sp_buffer *dump, int64_t ttl_ms)
{
    char digits[PUT_NUMBER_BYTES];
    struct answer answer = {0};
    const struct argument del[] = {{"DEL", 3}, {key->bytes, key->size}};
    const struct argument restore_it[] = {
        {"RESTORE", 7},
        {key->bytes, key->size},
        {digits, put_digits(digits, (uint64_t)ttl_ms)},
        {dump != NULL ? dump->data : "", dump != NULL ? dump->size : 0},
        {"REPLACE", 7}};
    int status = dump == NULL ? node_ask(ring, view, to, del, 2, COPY_MS, &answer)
                              : node_ask(ring, view, to, restore_it, 5, COPY_MS, &answer);
    return status == SP_OK && answer.type == SP_REPLY_ERROR ? SP_EREFUSED : status;
}

/* Whether what `from` lacks is nowhere else: a target may not have been given it yet by a holder
 * that is kept back. */
static bool may_know(const struct view *view, unsigned slot, const struct node *from,
                     const struct node *to)
{
    const struct ring_slot_copies *copies = &view->map->slots[slot];
    bool others = false;
    for (unsigned i = 0; i < copies->holder_count; i++)
        others = others || view->nodes[copies->holders[i]] != to;
    return !others || view_holds(view, slot, from);
}

static bool is_same(int status, const struct sp_buffer *now, int before,
                    const struct sp_buffer *old)
{
    return status == before &&
           (status == SP_ENOTFOUND ||
            (old->size == now->size && memcmp(old->data, now->data, old->size) == 0));
}

/* Until two fetches in a row are the same; SP_EBUSY: none were. */
static int copy_from(struct sp_ring *ring, const struct view *view, unsigned slot,
                     struct node *from, struct node *to, const struct missed_key *key)
{
    struct sp_buffer dumps[2] = {{0}, {0}};
    int64_t ttl_ms = 0;
    int before = SP_OK;
    bool same = false;
    int status = fetch(ring, view, from, key, &dumps[0], &ttl_ms);
    if (status == SP_ENOTFOUND && !may_know(view, slot, from, to))
        status = SP_EREFUSED;
    else if (status == SP_ENOTFOUND)
        same = !key->may_remove; /* what there is of it stays */
    for (unsigned i = 0; i < COPY_TRIES && !same && (status == SP_OK || status == SP_ENOTFOUND);
         i++) {
        struct sp_buffer *old = &dumps[i % 2], *now = &dumps[1 - i % 2];
        before = status;
        status = restore(ring, view, to, key, before == SP_OK ? old : NULL, ttl_ms);
        if (status != SP_OK)
            break;
        status = fetch(ring, view, from, key, now, &ttl_ms);
        same = is_same(status, now, before, old);
    }
    sp_buffer_free(&dumps[0]);
    sp_buffer_free(&dumps[1]);
    if (same)
        return SP_OK;
    return status == SP_OK || status == SP_ENOTFOUND ? SP_EBUSY : status;
}

static bool is_key(const struct missed_key *key, const void *bytes, size_t size)
{
    return key != NULL && key->size == size && (size == 0 || memcmp(key->bytes, bytes, size) == 0);
}

static bool has_missed(struct sp_ring *ring, const struct node *node, const void *bytes,
                       size_t size)
{
    pthread_mutex_lock(&ring->mutex);
    struct missed_keys *keys = node->keys;
    bool missed = keys != NULL && (keys->overflown || *keys_find(keys, bytes, size) != NULL ||
                                   is_key(keys->copying, bytes, size));
    pthread_mutex_unlock(&ring->mutex);
    return missed;
}

/* From the first other copy that has not missed it itself. */
static bool copy_key(struct sp_ring *ring, const struct view *view, struct node *to,
                     const struct missed_key *key)
{
    uint16_t positions[CANDIDATES_MAX];
    unsigned slot = ring_slot(key->bytes, key->size, view->map->parameters.slots);
    unsigned count = view_candidates(view, slot, false, positions);
    for (unsigned i = 0; i < count; i++) {
        struct node *from = view->nodes[positions[i]];
        if (from == to || node_kept_back(from) || has_missed(ring, from, key->bytes, key->size))
            continue;
        if (copy_from(ring, view, slot, from, to, key) == SP_OK)
            return true;
    }
    return false;
}

static struct missed_key *pop_locked(struct sp_ring *ring, struct node *node)
{
    pthread_mutex_lock(&ring->mutex);
    struct missed_key *key = node->keys != NULL ? keys_pop(node->keys) : NULL;
    if (key != NULL)
        node->keys->copying = key;
    pthread_mutex_unlock(&ring->mutex);
    return key;
}

static void copied_locked(struct sp_ring *ring, struct node *node, struct missed_key *key)
{
    pthread_mutex_lock(&ring->mutex);
    node->keys->copying = NULL;
    pthread_mutex_unlock(&ring->mutex);
    free(key);
}

static void put_back(struct sp_ring *ring, struct node *node, struct missed_key *key)
{
    pthread_mutex_lock(&ring->mutex);
    node->keys->copying = NULL;
    struct missed_key *known = *keys_find(node->keys, key->bytes, key->size);
    if (known != NULL)
        free(key);
    else
        keys_append(node->keys, key);
    pthread_mutex_unlock(&ring->mutex);
}

enum copied { COPIED_ALL, COPIED_SOME, COPIED_STUCK };

static enum copied copy_some(struct sp_ring *ring, const struct view *view, struct node *node,
                             uint64_t *missed)
{
    struct missed_key *key = NULL;
    uint64_t until_us = clock_us() + TURN_US;
    for (unsigned i = 0; i < KEYS_AT_ONCE && clock_us() < until_us; i++) {
        pthread_mutex_lock(&ring->mutex);
        *missed = node->missed_count;
        bool stopping = ring->stopping;
        pthread_mutex_unlock(&ring->mutex);
        if (stopping)
            return COPIED_STUCK;
        key = pop_locked(ring, node);
        if (key == NULL)
            return COPIED_ALL;
        if (!key->dropped && !copy_key(ring, view, node, key)) {
            put_back(ring, node, key);
            return COPIED_STUCK;
        }
        copied_locked(ring, node, key);
    }
    return COPIED_SOME;
}

bool copy_find(struct sp_ring *ring, const struct view *view, unsigned slot, const void *key,
               size_t key_bytes, uint32_t ms, struct sp_buffer *value)
{
    const struct ring_slot_copies *copies = &view->map->slots[slot];
    const struct argument get[] = {{"GET", 3}, {key, key_bytes}};
    for (unsigned i = 0; i < copies->holder_count; i++) {
        struct node *node = view->nodes[copies->holders[i]];
        struct answer answer = {.value = value};
        if (!node_distrusted(node, slot) || node_kept_back(node) ||
            has_missed(ring, node, key, key_bytes))
            continue;
        if (node_ask(ring, view, node, get, 2, ms, &answer) == SP_OK &&
            answer.type == SP_REPLY_TEXT)
            return true;
    }
    return false;
}

bool copy_keep(struct sp_ring *ring, const struct view *view)
{
    bool more = false;
    if (view->map->parameters.kind != RING_REDIS)
        return false;
    for (uint32_t i = 0; i < view->map->node_count; i++) {
        struct node *node = view->nodes[i];
        uint64_t missed = 0;
        if (!atomic_load_explicit(&node->distrusted, memory_order_relaxed) || node_kept_back(node))
            continue;
        enum copied copied = copy_some(ring, view, node, &missed);
        more |= copied == COPIED_SOME;
        if (copied != COPIED_ALL)
            continue;
        pthread_mutex_lock(&ring->mutex);
        bool all = node->keys != NULL && !node->keys->overflown;
        pthread_mutex_unlock(&ring->mutex);
        if (all)
            trust_clear(ring, node, missed);
    }
    return more;
}
