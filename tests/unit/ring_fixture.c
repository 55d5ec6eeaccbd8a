/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_fixture.c - see ring_fixture.h.
 */
#include "ring_fixture.h"

#include <stdio.h>
#include <stdlib.h>

struct ring *ring_fixture_make(uint16_t slots)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        abort();
    ring->options.parameters = (struct ring_parameters){.slots = slots, .replicas = 2};
    snprintf(ring->options.node.name, sizeof(ring->options.node.name), "a");
    atomic_store(&ring->ack_timeout_ms, 20);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->member_lock, NULL);
    pthread_mutex_init(&ring->beat_lock, NULL);
    pthread_mutex_init(&ring->lookups.lock, NULL);
    pthread_cond_init(&ring->control_wake, NULL);
    pthread_cond_init(&ring->repair_wake, NULL);
    return ring;
}

static void free_peers(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    for (uint32_t i = 0; i < ring->map->node_count; i++)
        if (ring->peers[i])
            peer_end(ring->peers[i]);
    pthread_mutex_unlock(&ring->lock);
    for (uint32_t i = 0; i < ring->map->node_count; i++)
        if (ring->peers[i])
            peer_free(ring->peers[i]);
}

void ring_fixture_free(struct ring *ring)
{
    free_peers(ring);
    ring_map_unref(ring->map);
    lookups_free(&ring->lookups);
    pthread_cond_destroy(&ring->control_wake);
    pthread_cond_destroy(&ring->repair_wake);
    pthread_mutex_destroy(&ring->member_lock);
    pthread_mutex_destroy(&ring->beat_lock);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
}
