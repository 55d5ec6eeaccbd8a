/* SPDX-License-Identifier: Apache-2.0
 *
 * figures.c - what operators see of a node's part in the ring. Counted when it is asked for, a walk
 * over the slots of the map.
 */
#include <string.h>

#include "server/ring/internal.h"

static void count_slots(const struct ring *ring, struct ring_figures *out)
{
    const struct ring_map *map = ring->map;
    for (unsigned slot = 0; map && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        bool by_map = slots_has(&ring->by_map, slot);
        bool held = ring_held_has(&ring->held, slot);
        out->owned += by_map && copies->holder_count > 0 && copies->holders[0] == ring->self;
        out->held += held;
        out->suspect += by_map && !held;
        out->pulling += slots_has(&ring->targeted, slot) && !slots_has(&ring->trusted, slot);
        out->under_replicated += copies->holder_count < map->parameters.replicas;
    }
}

void ring_figures(struct ring *ring, struct ring_figures *out)
{
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&ring->lock);
    out->in_zookeeper = ring->in_zookeeper;
    out->epoch = ring->map ? ring->map->epoch : 0;
    out->in_map = ring->map && ring->self >= 0;
    out->stands_in = ring->stands_in;
    count_slots(ring, out);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_lock(&ring->member_lock);
    if (ring->member)
        member_status(ring->member, &out->member);
    pthread_mutex_unlock(&ring->member_lock);
    out->pulled_entries = atomic_load(&ring->pulled_entries);
    out->pulled_bytes = atomic_load(&ring->pulled_bytes);
    out->compared_slots = atomic_load(&ring->compared_slots);
    out->differing_slots = atomic_load(&ring->differing_slots);
}

static void peer_figures(const struct peer *peer, struct ring_peer_figures *out)
{
    struct slots missed = peer->missed;
    slots_join(&missed, &peer->sending);
    memset(out, 0, sizeof(*out));
    memcpy(out->name, peer->name, sizeof(out->name));
    out->reachable = peer->reachable;
    out->sent = peer->figures.sent;
    out->failed = peer->figures.failed;
    out->queued = peer->queue.count;
    out->missed = slots_count(&missed);
    out->repaired_out = peer->figures.repaired_out;
    out->repaired_in = peer->figures.repaired_in;
}

size_t ring_peer_figures(struct ring *ring, struct ring_peer_figures *out, size_t most)
{
    size_t count = 0;
    pthread_mutex_lock(&ring->lock);
    for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++) {
        if (!ring->peers[i])
            continue;
        if (count < most)
            peer_figures(ring->peers[i], &out[count]);
        count++;
    }
    pthread_mutex_unlock(&ring->lock);
    return count;
}
