/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_slots.c - Goal: what a node trusts of its slots is what no change of the map can have
 * made old. Method: a ring without threads but those of its peers, which reach nobody, and maps
 * made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/ring/internal.h"

enum { SLOTS = 16, TARGETED = 3, HELD = 4 };

static int setup(void **state)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    ring->options.parameters = (struct ring_parameters){.slots = SLOTS, .replicas = 2};
    snprintf(ring->options.node.name, sizeof(ring->options.node.name), "a");
    ring->in_zookeeper = true;
    ring->start = 7;
    atomic_store(&ring->ack_timeout_ms, 20);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->member_lock, NULL);
    pthread_cond_init(&ring->control_wake, NULL);
    pthread_cond_init(&ring->repair_wake, NULL);
    *state = ring;
    return 0;
}

static int teardown(void **state)
{
    struct ring *ring = *state;
    pthread_mutex_lock(&ring->lock);
    for (uint32_t i = 0; i < ring->map->node_count; i++)
        if (ring->peers[i])
            peer_end(ring->peers[i]);
    pthread_mutex_unlock(&ring->lock);
    for (uint32_t i = 0; i < ring->map->node_count; i++)
        if (ring->peers[i])
            peer_free(ring->peers[i]);
    ring_map_unref(ring->map);
    pthread_cond_destroy(&ring->control_wake);
    pthread_cond_destroy(&ring->repair_wake);
    pthread_mutex_destroy(&ring->member_lock);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
    return 0;
}

/* Of nodes a and b, of which a is a holder of HELD, and a target of TARGETED. */
static void take_map(struct ring *ring, uint64_t epoch)
{
    const struct ring_node nodes[2] = {
        {.name = "a", .address = "127.0.0.1:1", .weight = 1, .start = 7},
        {.name = "b", .address = "127.0.0.1:1", .weight = 1, .start = 8}};
    struct ring_map *map;
    char why[RING_WHY_BYTES];
    assert_int_equal(ring_map_next(NULL, &ring->options.parameters, nodes, 2, &map, why), SP_OK);
    map->epoch = epoch;
    map->slots[TARGETED] = (struct ring_slot_copies){
        .holders = {1}, .holder_count = 1, .targets = {0, 1}, .target_count = 2};
    ring_take_map(ring, map);
    ring_map_unref(map);
}

static void trust_all(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    memset(&ring->trusted, 0xff, sizeof(ring->trusted));
    memset(&ring->round, 0xff, sizeof(ring->round));
    ring_update_held(ring);
    pthread_mutex_unlock(&ring->lock);
}

/* A target's slot is as good as it was, by the next map. */
static void test_next_map(void **state)
{
    struct ring *ring = *state;
    take_map(ring, 5);
    assert_false(slots_has(&ring->trusted, TARGETED));
    trust_all(ring);
    take_map(ring, 6);
    assert_true(slots_has(&ring->trusted, TARGETED) && slots_has(&ring->round, TARGETED));
    assert_true(ring_held_has(ring_held(ring), HELD));
    assert_false(ring_held_has(ring_held(ring), TARGETED));
}

/* It may have been another's by the one that was not seen. */
static void test_skipped_map(void **state)
{
    struct ring *ring = *state;
    take_map(ring, 5);
    trust_all(ring);
    take_map(ring, 7);
    assert_false(slots_has(&ring->trusted, TARGETED));
    assert_false(slots_has(&ring->round, TARGETED));
    assert_true(ring_held_has(ring_held(ring), HELD));
    trust_all(ring);
    take_map(ring, 6);
    assert_false(slots_has(&ring->trusted, TARGETED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_next_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_skipped_map, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
