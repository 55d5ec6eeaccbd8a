/* SPDX-License-Identifier: Apache-2.0
 *
 * trust.c - slots of which a node missed writes of this handle: it is asked for them after all
 * others, until those that took the writes say that it has caught up.
 *
 *   node --tellings--> for each witness: the slots that it is still to be told of (MISS)
 *      `--missed        the slots in which the node is not trusted
 *
 * A call only sets bits, and wakes the keeper where a witness has nothing to be told so far; so a
 * node that is down costs a write nothing but that. The keeper tells witnesses what has gathered,
 * and asks them for MISSED once they know all of it and the node answers. When all witnesses that
 * are left in the map say 0, and nothing has been missed meanwhile, the node is trusted again.
 *
 * Rings of Redis have no MISS: copy.c keeps the keys, and clears the node when all are copied.
 *
 * Cost: 2 KB for each pair of a node that missed something and a witness, while it is so.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define TELL_MS 100u

struct telling {
    struct node *witness;
    struct telling *next;
    bool pending; /* some bit of slots is set */
    uint64_t slots[RING_SLOT_WORDS];
};

/* --- noting -------------------------------------------------------------------------------------
 */

/* The mutex is held. NULL: no memory. */
static struct telling *telling_of(struct node *node, struct node *witness)
{
    struct telling *telling = node->tellings;
    while (telling != NULL && telling->witness != witness)
        telling = telling->next;
    if (telling != NULL)
        return telling;
    telling = calloc(1, sizeof *telling);
    if (telling == NULL)
        return NULL;
    node_ref(witness);
    telling->witness = witness;
    telling->next = node->tellings;
    node->tellings = telling;
    return telling;
}

void trust_missed(struct sp_ring *ring, struct node *node, unsigned slot,
                  struct node *const *witnesses, size_t witness_count)
{
    bool news = false;
    pthread_mutex_lock(&ring->mutex);
    node->missed_count++;
    atomic_fetch_or_explicit(&node->missed[slot / 64], UINT64_C(1) << (slot % 64),
                             memory_order_relaxed);
    atomic_store_explicit(&node->distrusted, true, memory_order_relaxed);
    for (size_t i = 0; i < witness_count && node->keys == NULL; i++) {
        struct telling *telling = telling_of(node, witnesses[i]);
        if (telling == NULL)
            continue;
        news |= !telling->pending;
        telling->pending = true;
        telling->slots[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    pthread_mutex_unlock(&ring->mutex);
    if (news)
        ring_wake(ring);
}

/* Nothing is told: the witness knows what it could not pass on, and has noted it or still tries. */
void trust_behind(struct sp_ring *ring, struct node *node, unsigned slot, struct node *witness)
{
    uint64_t bit = UINT64_C(1) << (slot % 64);
    pthread_mutex_lock(&ring->mutex);
    node->missed_count++;
    bool news =
        !(atomic_fetch_or_explicit(&node->missed[slot / 64], bit, memory_order_relaxed) & bit);
    atomic_store_explicit(&node->distrusted, true, memory_order_relaxed);
    (void)telling_of(node, witness);
    pthread_mutex_unlock(&ring->mutex);
    if (news)
        ring_wake(ring);
}

static void free_tellings(struct telling *tellings)
{
    while (tellings != NULL) {
        struct telling *next = tellings->next;
        node_unref(tellings->witness); /* NOLINT: a witness tells of others, but not for ever */
        free(tellings);
        tellings = next;
    }
}

void trust_forget(struct node *node)
{
    free_tellings(node->tellings);
    node->tellings = NULL;
}

void trust_clear(struct sp_ring *ring, struct node *node, uint64_t missed)
{
    struct telling *done = NULL;
    pthread_mutex_lock(&ring->mutex);
    if (node->missed_count == missed) {
        for (size_t i = 0; i < RING_SLOT_WORDS; i++)
            atomic_store_explicit(&node->missed[i], 0, memory_order_relaxed);
        atomic_store_explicit(&node->distrusted, false, memory_order_relaxed);
        done = node->tellings;
        node->tellings = NULL;
    }
    pthread_mutex_unlock(&ring->mutex);
    free_tellings(done);
}

/* --- telling ------------------------------------------------------------------------------------
 */

/* Bit s % 8 of byte s / 8. */
static size_t bitmap_of(const uint64_t slots[RING_SLOT_WORDS], unsigned count,
                        uint8_t out[RING_SLOTS_MAX / 8])
{
    for (unsigned i = 0; i < count / 8; i++)
        out[i] = (uint8_t)(slots[i / 8] >> (i % 8 * 8));
    return count / 8;
}

static bool tell(struct sp_ring *ring, const struct view *view, const struct node *node,
                 struct node *witness, const uint64_t slots[RING_SLOT_WORDS])
{
    uint8_t bitmap[RING_SLOTS_MAX / 8];
    struct answer answer = {0};
    const struct argument arguments[] = {
        {"SIDEPOND", 8},
        {"MISS", 4},
        {node->name, strlen(node->name)},
        {bitmap, bitmap_of(slots, view->map->parameters.slots, bitmap)}};
    return node_ask(ring, view, witness, arguments, 4, TELL_MS, &answer) == SP_OK &&
           answer.type != SP_REPLY_ERROR;
}

/* A copy of what is to be told, which is taken for told; false: nothing. */
static bool take_news(struct sp_ring *ring, struct telling *telling,
                      uint64_t slots[RING_SLOT_WORDS])
{
    pthread_mutex_lock(&ring->mutex);
    bool pending = telling->pending;
    memcpy(slots, telling->slots, sizeof telling->slots);
    memset(telling->slots, 0, sizeof telling->slots);
    telling->pending = false;
    pthread_mutex_unlock(&ring->mutex);
    return pending;
}

static void put_back(struct sp_ring *ring, struct telling *telling,
                     const uint64_t slots[RING_SLOT_WORDS])
{
    pthread_mutex_lock(&ring->mutex);
    for (size_t i = 0; i < RING_SLOT_WORDS; i++)
        telling->slots[i] |= slots[i];
    telling->pending = true;
    pthread_mutex_unlock(&ring->mutex);
}

/* In how many slots the witness has what the node missed; -1: no answer. */
static int64_t ask_missed(struct sp_ring *ring, const struct view *view, const struct node *node,
                          struct node *witness)
{
    struct answer answer = {0};
    const struct argument arguments[] = {
        {"SIDEPOND", 8}, {"MISSED", 6}, {node->name, strlen(node->name)}};
    int status = node_ask(ring, view, witness, arguments, 3, TELL_MS, &answer);
    return status == SP_OK && answer.type == SP_REPLY_INTEGER ? answer.numbers[0] : -1;
}

/* Whether this witness has nothing left of what the node missed. */
static bool ask_witness(struct sp_ring *ring, const struct view *view, struct node *node,
                        struct telling *telling)
{
    uint64_t slots[RING_SLOT_WORDS];
    if (telling->witness->gone)
        return true;
    if (node_kept_back(telling->witness))
        return false;
    if (take_news(ring, telling, slots) && !tell(ring, view, node, telling->witness, slots)) {
        put_back(ring, telling, slots);
        return false;
    }
    return !node_kept_back(node) && ask_missed(ring, view, node, telling->witness) == 0;
}

/* Others only put tellings before the first one, so the list can be walked along without the mutex.
 */
static void keep_node(struct sp_ring *ring, const struct view *view, struct node *node)
{
    bool clean = true;
    pthread_mutex_lock(&ring->mutex);
    uint64_t missed = node->missed_count;
    struct telling *telling = node->tellings;
    pthread_mutex_unlock(&ring->mutex);
    if (telling == NULL)
        return;
    for (; telling != NULL; telling = telling->next)
        clean &= ask_witness(ring, view, node, telling);
    if (clean && !node_kept_back(node))
        trust_clear(ring, node, missed);
}

void trust_keep(struct sp_ring *ring, const struct view *view)
{
    if (view->map->parameters.kind == RING_REDIS)
        return;
    for (uint32_t i = 0; i < view->map->node_count; i++) {
        struct node *node = view->nodes[i];
        if (atomic_load_explicit(&node->distrusted, memory_order_relaxed))
            keep_node(ring, view, node);
    }
}
