/* SPDX-License-Identifier: Apache-2.0
 *
 * view.c - the map in use with its nodes, and the order in which a slot's nodes are asked.
 *
 * Nodes outlive maps: one that is in the next map under the same name and address stays what it is,
 * with its connections, breaker and missed slots.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

/* --- candidates ------------------------------------------------------------------------------- */

enum rank { RANK_GOOD, RANK_KEPT_BACK, RANK_DISTRUSTED, RANK_BOTH, RANKS };

static enum rank rank_of(const struct node *node, unsigned slot, bool once)
{
    bool kept_back = once ? node_down(node) : node_kept_back(node);
    if (node_distrusted(node, slot))
        return kept_back ? RANK_BOTH : RANK_DISTRUSTED;
    return kept_back ? RANK_KEPT_BACK : RANK_GOOD;
}

unsigned view_candidates(const struct view *view, unsigned slot, bool once,
                         uint16_t out[CANDIDATES_MAX])
{
    uint16_t all[CANDIDATES_MAX];
    enum rank ranks[CANDIDATES_MAX];
    unsigned count = ring_map_union(view->map, slot, all), good = 0;
    for (unsigned i = 0; i < count; i++) {
        ranks[i] = rank_of(view->nodes[all[i]], slot, once);
        if (ranks[i] == RANK_GOOD)
            out[good++] = all[i];
    }
    for (int rank = RANK_KEPT_BACK; good < count && rank < RANKS; rank++)
        for (unsigned i = 0; i < count; i++)
            if (ranks[i] == (enum rank)rank)
                out[good++] = all[i];
    return count;
}

bool view_holds(const struct view *view, unsigned slot, const struct node *node)
{
    const struct ring_slot_copies *copies = &view->map->slots[slot];
    unsigned i = 0;
    while (i < copies->holder_count && view->nodes[copies->holders[i]] != node)
        i++;
    return i < copies->holder_count;
}

/* That it has been started anew is either said by `restarted`, or by a start id that is not this
 * view's: new_process sets the one before it clears the other. */
bool view_believes(const struct view *view, unsigned slot, const struct node *node)
{
    const struct ring_slot_copies *copies = &view->map->slots[slot];
    if (atomic_load_explicit(&node->restarted, memory_order_acquire))
        return false;
    uint64_t start = atomic_load_explicit(&node->start, memory_order_relaxed);
    for (unsigned i = 0; i < copies->holder_count; i++)
        if (view->nodes[copies->holders[i]] == node)
            return view->map->nodes[copies->holders[i]].start == start &&
                   !node_distrusted(node, slot);
    return false;
}

/* --- views ------------------------------------------------------------------------------------ */

struct view *view_take(struct sp_ring *ring)
{
    pthread_mutex_lock(&ring->mutex);
    struct view *view = ring->view;
    if (view != NULL)
        atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&ring->mutex);
    return view;
}

void view_give(struct view *view)
{
    if (view == NULL || atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < view->map->node_count; i++)
        if (view->nodes[i] != NULL)
            node_unref(view->nodes[i]);
    ring_map_unref(view->map);
    free(view);
}

/* The mutex need not be held: only the keeper, or who opens the ring, changes the list. */
static struct node *find_node(const struct sp_ring *ring, const struct ring_node *wanted)
{
    struct node *node = ring->nodes;
    while (node != NULL &&
           (strcmp(node->name, wanted->name) != 0 || strcmp(node->address, wanted->address) != 0))
        node = node->next;
    return node;
}

/* The map knows of it, so whether it is a holder does not depend on what it had before. Calls that
 * go by the map before see by the start id that it is another process. */
static void new_process(struct sp_ring *ring, struct node *node, uint64_t start)
{
    atomic_store_explicit(&node->start, start, memory_order_relaxed);
    pool_renew(ring, node);
    atomic_store_explicit(&node->restarted, false, memory_order_release);
}

/* A name that cannot be resolved is one of a node that cannot be reached, until it can be. With a
 * view in use, silence of the resolver must not hold up the rest. */
static struct node *obtain_node(struct sp_ring *ring, const struct ring_node *wanted)
{
    struct node *node = find_node(ring, wanted);
    if (node != NULL) {
        lookup_want(node);
        if (node->start != wanted->start)
            new_process(ring, node, wanted->start);
        return node;
    }
    node = node_new(wanted);
    if (node == NULL)
        return NULL;
    if (ring->view != NULL && node_has_name(wanted->address))
        lookup_want(node);
    else if (node_resolve(wanted->address, &node->addresses) != SP_OK)
        lookup_want(node);
    pthread_mutex_lock(&ring->mutex);
    node->next = ring->nodes;
    ring->nodes = node;
    pthread_mutex_unlock(&ring->mutex);
    return node;
}

static bool in_view(const struct view *view, const struct node *node)
{
    for (uint32_t i = 0; i < view->map->node_count; i++)
        if (view->nodes[i] == node)
            return true;
    return false;
}

/* Takes nodes out that the view does not have; the mutex is held. */
static struct node *take_gone(struct sp_ring *ring, const struct view *view)
{
    struct node *gone = NULL, **at = &ring->nodes;
    while (*at != NULL) {
        struct node *node = *at;
        if (in_view(view, node)) {
            at = &node->next;
            continue;
        }
        *at = node->next;
        node->gone = true;
        node->next = gone;
        gone = node;
    }
    return gone;
}

static void swap_view(struct sp_ring *ring, struct view *view)
{
    pthread_mutex_lock(&ring->mutex);
    struct view *before = ring->view;
    struct node *gone = take_gone(ring, view);
    if (before != NULL && before->map->parameters.slots != view->map->parameters.slots)
        trust_renumber(ring->nodes, before->map->parameters.slots, view->map->parameters.slots);
    ring->view = view;
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->mutex);
    view_give(before);
    while (gone != NULL) {
        struct node *next = gone->next;
        node_unref(gone);
        gone = next;
    }
}

int view_install(struct sp_ring *ring, const struct ring_map *map)
{
    struct view *view = calloc(1, sizeof *view + map->node_count * sizeof(struct node *));
    if (view == NULL)
        return error_plain(SP_ENOMEM);
    atomic_init(&view->references, 1);
    view->map = ring_map_ref(map);
    for (uint32_t i = 0; i < map->node_count; i++) {
        view->nodes[i] = obtain_node(ring, &map->nodes[i]);
        if (view->nodes[i] == NULL) {
            view_give(view);
            return error_plain(SP_ENOMEM);
        }
        node_ref(view->nodes[i]);
    }
    if (ring->view != NULL)
        lookup_await(ring, view);
    swap_view(ring, view);
    return SP_OK;
}
