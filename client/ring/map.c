/* SPDX-License-Identifier: Apache-2.0
 *
 * map.c - maps as things: made, counted, asked, and what may be in them.
 *
 * A map is one block of memory: itself, the nodes, the slots. With 16384 slots and ten nodes it
 * takes 230 KiB.
 */
#include "client/ring/map.h"

#include <stdlib.h>
#include <string.h>

#include "client/ring/map_internal.h"

struct ring_map *ring_map_new(const struct ring_parameters *parameters, uint64_t epoch,
                              uint32_t node_count)
{
    const size_t nodes_bytes = node_count * sizeof(struct ring_node);
    struct ring_map *map =
        calloc(1, sizeof *map + nodes_bytes + parameters->slots * sizeof(struct ring_slot_copies));
    if (map == NULL)
        return NULL;
    atomic_init(&map->references, 1);
    map->node_count = node_count;
    map->epoch = epoch;
    map->parameters = *parameters;
    map->nodes = (struct ring_node *)(map + 1);
    map->slots = (struct ring_slot_copies *)((char *)map->nodes + nodes_bytes);
    return map;
}

struct ring_map *ring_map_copy(const struct ring_map *map)
{
    struct ring_map *copy = ring_map_new(&map->parameters, map->epoch + 1, map->node_count);
    if (copy == NULL)
        return NULL;
    memcpy(copy->nodes, map->nodes, map->node_count * sizeof *map->nodes);
    memcpy(copy->slots, map->slots, map->parameters.slots * sizeof *map->slots);
    return copy;
}

struct ring_map *ring_map_ref(const struct ring_map *map)
{
    struct ring_map *own = (struct ring_map *)map;
    atomic_fetch_add_explicit(&own->references, 1, memory_order_relaxed);
    return own;
}

/* Release, and acquire by the last: all that others read of the map comes before it is freed. */
void ring_map_unref(const struct ring_map *map)
{
    struct ring_map *own = (struct ring_map *)map;
    if (own != NULL && atomic_fetch_sub_explicit(&own->references, 1, memory_order_acq_rel) == 1)
        free(own);
}

int ring_map_find(const struct ring_map *map, const char *name)
{
    int first = 0, last = (int)map->node_count - 1;
    while (first <= last) {
        const int middle = (first + last) / 2;
        const int order = strcmp(map->nodes[middle].name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            first = middle + 1;
        else
            last = middle - 1;
    }
    return -1;
}

unsigned ring_map_union(const struct ring_map *map, unsigned slot,
                        uint16_t nodes[2 * RING_COPIES_MAX])
{
    const struct ring_slot_copies *copies = &map->slots[slot];
    unsigned count = 0;
    for (; count < copies->holder_count; count++)
        nodes[count] = copies->holders[count];
    for (unsigned i = 0; i < copies->target_count; i++)
        if (!ring_is_holder(copies, copies->targets[i]))
            nodes[count++] = copies->targets[i];
    return count;
}

/* --- holding --------------------------------------------------------------------------------- */

void ring_slot_settle(struct ring_slot_copies *slot)
{
    for (unsigned i = 0; slot->holder_count > 0 && i < slot->target_count; i++)
        if (!ring_is_holder(slot, slot->targets[i]))
            return;
    memcpy(slot->holders, slot->targets, sizeof slot->holders);
    slot->holder_count = slot->target_count;
}

/* Where there is no room, the last holder that shall not be one any more makes some. There is one,
 * as this node is a target and no holder. */
static void add_holder(struct ring_slot_copies *slot, unsigned node)
{
    unsigned at = slot->holder_count;
    if (at == RING_COPIES_MAX) {
        while (at > 0 && ring_is_target(slot, slot->holders[at - 1]))
            at--;
        if (at == 0)
            return;
        memmove(&slot->holders[at - 1], &slot->holders[at],
                (RING_COPIES_MAX - at) * sizeof *slot->holders);
        slot->holder_count--;
    }
    slot->holders[slot->holder_count++] = (uint16_t)node;
    ring_slot_settle(slot);
}

static bool becomes_holder(const struct ring_map *map, const uint64_t slots[RING_SLOT_WORDS],
                           unsigned slot, unsigned node)
{
    return (slots[slot / 64] >> slot % 64 & 1) && ring_is_target(&map->slots[slot], node) &&
           !ring_is_holder(&map->slots[slot], node);
}

int ring_map_hold(const struct ring_map *map, const char *name, uint64_t start,
                  const uint64_t slots[RING_SLOT_WORDS], struct ring_map **out)
{
    const int node = ring_map_find(map, name);
    unsigned slot = 0;
    *out = NULL;
    if (node < 0 || map->nodes[node].start != start)
        return SP_OK;
    while (slot < map->parameters.slots && !becomes_holder(map, slots, slot, (unsigned)node))
        slot++;
    if (slot == map->parameters.slots)
        return SP_OK;
    struct ring_map *next = ring_map_copy(map);
    if (next == NULL)
        return SP_ENOMEM;
    for (; slot < map->parameters.slots; slot++)
        if (becomes_holder(map, slots, slot, (unsigned)node))
            add_holder(&next->slots[slot], (unsigned)node);
    *out = next;
    return SP_OK;
}
