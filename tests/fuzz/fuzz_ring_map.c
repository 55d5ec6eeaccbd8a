/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_ring_map.c - fuzz target of a ring's map as bytes (client/ring/map_encode.c).
 *
 * Goal: whatever is read from ZooKeeper, a file or a node is refused, or is a map that can be used.
 * Method: the input as it is, and once more with size and checksum made right, so that fuzzing gets
 * behind them. What is decoded encodes to the same bytes, all its nodes are nodes, and the next map
 * of some of its own nodes keeps all slots held. The input lies in memory of exactly its size.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/hash.h"
#include "client/ring/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: what is claimed does not hold. */
static void claim(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void check_slots(const struct ring_map *map)
{
    for (unsigned i = 0; i < map->parameters.slots; i++) {
        const struct ring_slot_copies *slot = &map->slots[i];
        uint16_t nodes[2 * RING_COPIES_MAX];
        const unsigned count = ring_map_union(map, i, nodes);
        claim(slot->holder_count >= 1 && slot->holder_count <= RING_COPIES_MAX);
        claim(slot->target_count >= 1 && slot->target_count <= RING_COPIES_MAX);
        claim(count >= slot->holder_count);
        for (unsigned j = 0; j < count; j++)
            claim(nodes[j] < map->node_count);
    }
}

static void use(const struct ring_map *map)
{
    char why[RING_WHY_BYTES];
    struct ring_map *next;
    const unsigned count = map->node_count > 2 ? map->node_count - 1 : map->node_count;
    check_slots(map);
    claim(ring_map_find(map, map->nodes[0].name) == 0);
    claim(ring_map_next(map, &map->parameters, map->nodes, count, &next, why) == SP_OK);
    if (next != NULL)
        check_slots(next);
    ring_map_unref(next);
}

static void decode(const uint8_t *bytes, size_t size)
{
    struct ring_map *map;
    const int status = ring_map_decode(bytes, size, &map);
    claim(status == SP_OK || status == SP_EFORMAT || status == SP_ECORRUPT);
    if (status != SP_OK) {
        claim(map == NULL);
        return;
    }
    uint8_t *again;
    size_t again_size;
    claim(ring_map_encode(map, &again, &again_size) == SP_OK);
    claim(again_size == size && memcmp(again, bytes, size) == 0);
    use(map);
    free(again);
    ring_map_unref(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = calloc(1, size ? size : 1);
    if (size > 0)
        memcpy(bytes, data, size);
    decode(bytes, size);
    if (size >= 34) {
        const uint32_t total = (uint32_t)size;
        memcpy(bytes, "SPRING\1", 8);
        memcpy(bytes + 16, &total, sizeof total);
        const uint64_t checksum = hash_bytes(bytes, size - 8);
        memcpy(bytes + size - 8, &checksum, sizeof checksum);
        decode(bytes, size);
    }
    free(bytes);
    return 0;
}
