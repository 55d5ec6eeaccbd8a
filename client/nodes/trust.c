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
 * Bits are of the slots of the map in use. Where another map has another number of slots, they are
 * changed to those.
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

/* --- noting ----------------------------------------------------------------------------------- */

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

static void merge(uint64_t to[RING_SLOT_WORDS], const uint64_t from[RING_SLOT_WORDS])
{
    for (size_t i = 0; i < RING_SLOT_WORDS; i++)
        to[i] |= from[i];
}

/* Both numbers are powers of two, and a slot is what is left of a checksum. */
void trust_mark(uint64_t slots[RING_SLOT_WORDS], unsigned slot, unsigned before, unsigned now)
{
    for (unsigned at = slot & (now - 1); at < now; at += before)
        slots[at / 64] |= UINT64_C(1) << (at % 64);
}

static void renumber(uint64_t slots[RING_SLOT_WORDS], unsigned before, unsigned now)
{
    uint64_t old[RING_SLOT_WORDS];
    memcpy(old, slots, sizeof old);
    memset(slots, 0, sizeof old);
    for (unsigned slot = 0; slot < before; slot++)
        if ((old[slot / 64] >> (slot % 64) & 1) != 0)
            trust_mark(slots, slot, before, now);
}

static void load_missed(const struct node *node, uint64_t slots[RING_SLOT_WORDS])
{
    for (size_t i = 0; i < RING_SLOT_WORDS; i++)
        slots[i] = atomic_load_explicit(&node->missed[i], memory_order_relaxed);
}

static void store_missed(struct node *node, const uint64_t slots[RING_SLOT_WORDS])
{
    for (size_t i = 0; i < RING_SLOT_WORDS; i++)
        atomic_store_explicit(&node->missed[i], slots[i], memory_order_relaxed);
}

void trust_renumber(struct node *nodes, unsigned before, unsigned now)
{
    for (struct node *node = nodes; node != NULL; node = node->next) {
        uint64_t slots[RING_SLOT_WORDS];
        load_missed(node, slots);
        renumber(slots, before, now);
        store_missed(node, slots);
        for (struct telling *at = node->tellings; at != NULL; at = at->next)
            renumber(at->slots, before, now);
    }
}

/* The mutex is held. False: the node was not trusted there already. */
static bool distrust(const struct sp_ring *ring, const struct view *view, struct node *node,
                     unsigned slot, uint64_t marks[RING_SLOT_WORDS])
{
    bool news = false;
    memset(marks, 0, RING_SLOT_WORDS * sizeof *marks);
    trust_mark(marks, slot, view->map->parameters.slots, ring->view->map->parameters.slots);
    node->missed_count++;
    for (size_t i = 0; i < RING_SLOT_WORDS; i++)
        if (marks[i] != 0)
            news |= (marks[i] & ~atomic_fetch_or_explicit(&node->missed[i], marks[i],
                                                          memory_order_relaxed)) != 0;
    atomic_store_explicit(&node->distrusted, true, memory_order_relaxed);
    return news;
}

void trust_missed(struct sp_ring *ring, const struct view *view, struct node *node, unsigned slot,
                  struct node *const *witnesses, size_t witness_count)
{
    uint64_t marks[RING_SLOT_WORDS];
    bool news = false;
    pthread_mutex_lock(&ring->mutex);
    (void)distrust(ring, view, node, slot, marks);
    for (size_t i = 0; i < witness_count && node->keys == NULL; i++) {
        struct telling *telling = telling_of(node, witnesses[i]);
        if (telling == NULL)
            continue;
        news |= !telling->pending;
        telling->pending = true;
        merge(telling->slots, marks);
    }
    pthread_mutex_unlock(&ring->mutex);
    if (news)
        ring_wake(ring);
}

/* Nothing is told: the witness knows what it could not pass on, and has noted it or still tries. */
void trust_behind(struct sp_ring *ring, const struct view *view, struct node *node, unsigned slot,
                  struct node *witness)
{
    uint64_t marks[RING_SLOT_WORDS];
    pthread_mutex_lock(&ring->mutex);
    bool news = distrust(ring, view, node, slot, marks);
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
        store_missed(node, (const uint64_t[RING_SLOT_WORDS]){0});
        atomic_store_explicit(&node->distrusted, false, memory_order_relaxed);
        done = node->tellings;
        node->tellings = NULL;
    }
    pthread_mutex_unlock(&ring->mutex);
    free_tellings(done);
}

/* --- telling ---------------------------------------------------------------------------------- */

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
    merge(telling->slots, slots);
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
