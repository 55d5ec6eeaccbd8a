/* SPDX-License-Identifier: Apache-2.0
 *
 * info.c - what there is to see of a ring, and what operators want of its nodes.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

/* --- looking ---------------------------------------------------------------------------------- */

static bool among(const uint16_t *positions, unsigned count, uint16_t position)
{
    for (unsigned i = 0; i < count; i++)
        if (positions[i] == position)
            return true;
    return false;
}

static void add_slot(struct sp_ring_node *nodes, const struct ring_slot_copies *slot,
                     unsigned replicas, struct sp_ring_state *state)
{
    if (slot->holder_count > 0)
        nodes[slot->holders[0]].owned_slots++;
    for (unsigned i = 0; i < slot->holder_count; i++)
        nodes[slot->holders[i]].held_slots++;
    for (unsigned i = 0; i < slot->target_count; i++)
        nodes[slot->targets[i]].wanted_slots++;
    state->under_replicated_slots += slot->holder_count < replicas;
    bool settled = slot->holder_count == slot->target_count;
    for (unsigned i = 0; i < slot->target_count && settled; i++)
        settled = among(slot->holders, slot->holder_count, slot->targets[i]);
    state->unsettled_slots += !settled;
}

static enum sp_ring_node_state state_of(const struct ring_node *node,
                                        const struct sp_ring_node *counts)
{
    if (node->state == RING_NODE_DRAINING)
        return counts->held_slots > 0 ? SP_RING_DRAINING : SP_RING_DRAINED;
    return counts->held_slots < counts->wanted_slots ? SP_RING_JOINING : SP_RING_READY;
}

static void fill_in(struct sp_ring_node *out, const struct ring_node *of, const struct node *node)
{
    memcpy(out->name, of->name, sizeof of->name);
    memcpy(out->address, of->address, sizeof of->address);
    memcpy(out->zone, of->zone, sizeof of->zone);
    out->weight = of->weight;
    out->state = state_of(of, out);
    out->kept_back = node_kept_back(node);
    out->distrusted = atomic_load_explicit(&node->distrusted, memory_order_relaxed);
    out->calls = atomic_load_explicit(&node->calls, memory_order_relaxed);
    out->failures = atomic_load_explicit(&node->failures, memory_order_relaxed);
    out->hedged = atomic_load_explicit(&node->hedged, memory_order_relaxed);
    node_latencies(node, &out->median_us, &out->p99_us);
}

int sp_ring_nodes(struct sp_ring *ring, struct sp_ring_node **out, size_t *count,
                  struct sp_ring_state *state)
{
    struct sp_ring_state ignored;
    struct view *view;
    *out = NULL;
    *count = 0;
    int status = ring_view(ring, &view);
    if (status != SP_OK)
        return status;
    const struct ring_map *map = view->map;
    struct sp_ring_node *nodes = calloc(map->node_count + 1, sizeof *nodes);
    state = state != NULL ? state : &ignored;
    *state = (struct sp_ring_state){.epoch = map->epoch,
                                    .slots = map->parameters.slots,
                                    .replicas = map->parameters.replicas,
                                    .redis = map->parameters.kind == RING_REDIS};
    for (unsigned i = 0; nodes != NULL && i < map->parameters.slots; i++)
        add_slot(nodes, &map->slots[i], map->parameters.replicas, state);
    for (uint32_t i = 0; nodes != NULL && i < map->node_count; i++)
        fill_in(&nodes[i], &map->nodes[i], view->nodes[i]);
    pthread_mutex_lock(&ring->mutex);
    state->zookeeper_away =
        ring->settings.source == SOURCE_ZOOKEEPER && ring->watch.status.link != MEMBER_CONNECTED;
    pthread_mutex_unlock(&ring->mutex);
    *out = nodes;
    *count = nodes != NULL ? map->node_count : 0;
    view_give(view);
    return nodes != NULL ? SP_OK : error_plain(SP_ENOMEM);
}

static void fill_where(const struct view *view, unsigned slot, struct sp_ring_where *out)
{
    uint16_t positions[CANDIDATES_MAX];
    *out = (struct sp_ring_where){.slot = slot};
    out->holder_count = view->map->slots[slot].holder_count;
    out->count = ring_map_union(view->map, slot, positions);
    for (unsigned i = 0; i < out->count; i++)
        memcpy(out->names[i], view->map->nodes[positions[i]].name, RING_NAME_BYTES);
}

int sp_ring_where(struct sp_ring *ring, const void *key, size_t key_bytes,
                  struct sp_ring_where *out)
{
    struct view *view;
    int status = ring_check_key(key, key_bytes);
    if (status == SP_OK)
        status = ring_view(ring, &view);
    if (status != SP_OK)
        return status;
    fill_where(view, ring_slot(key, key_bytes, view->map->parameters.slots), out);
    view_give(view);
    return SP_OK;
}

int sp_ring_where_slot(struct sp_ring *ring, uint32_t slot, struct sp_ring_where *out)
{
    struct view *view;
    int status = ring_view(ring, &view);
    if (status != SP_OK)
        return status;
    if (slot < view->map->parameters.slots)
        fill_where(view, slot, out);
    else
        status = error_set(SP_EINVAL, "the ring has %u slots, and no slot %u",
                           view->map->parameters.slots, slot);
    view_give(view);
    return status;
}

int sp_ring_wait(struct sp_ring *ring, uint64_t epoch, uint32_t ms)
{
    int status = ring_alive(ring);
    return status == SP_OK ? ring_await_epoch(ring, epoch, true, ms) : status;
}

/* --- wanting ---------------------------------------------------------------------------------- */

/* Changes one of the two things that can be wanted. */
static int want(struct sp_ring *ring, const char *node, const bool *drain, const uint32_t *weight)
{
    struct member_wish wish;
    int status = ring_alive(ring);
    if (status != SP_OK)
        return status;
    if (ring->settings.source != SOURCE_ZOOKEEPER)
        return error_set(SP_EINVAL, "what is wanted of nodes lies in ZooKeeper");
    if (weight != NULL && *weight > RING_WEIGHT_MAX)
        return error_set(SP_EINVAL, "a weight is at most %u", RING_WEIGHT_MAX);
    status = member_wanted(ring->watch.member, node, &wish, ring->settings.timeout_ms);
    if (status != SP_OK)
        return error_set(status, "%s", node);
    if (drain != NULL)
        wish.drain = *drain;
    if (weight != NULL)
        wish.weight = (uint16_t)*weight;
    status = member_want(ring->watch.member, node, &wish, ring->settings.timeout_ms);
    return status == SP_OK ? SP_OK : error_set(status, "%s", node);
}

int sp_ring_drain(struct sp_ring *ring, const char *node, bool drain)
{
    return want(ring, node, &drain, NULL);
}

int sp_ring_weight(struct sp_ring *ring, const char *node, uint32_t weight)
{
    return want(ring, node, NULL, &weight);
}
