/* SPDX-License-Identifier: Apache-2.0
 *
 * map_next.c - the map that follows from a map and the nodes that are there now.
 *
 * What the old map says of the nodes that stay is carried over (steps 1 to 3 of docs/RING.md), the
 * targets are planned anew by quotas (4 to 6), and what is complete is settled (7). All of it is
 * compared with the old map, and dropped if nothing is different.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ring/map_internal.h"

/* --- what is given --------------------------------------------------------------------------- */

static int compare_names(const void *one, const void *other)
{
    return strcmp(((const struct ring_node *)one)->name, ((const struct ring_node *)other)->name);
}

static int invalid(char *why, const char *text)
{
    snprintf(why, RING_WHY_BYTES, "%s", text);
    return SP_EINVAL;
}

static int check(const struct ring_map *map, const struct ring_parameters *parameters,
                 const struct ring_node *members, size_t count, char *why)
{
    if (!ring_parameters_check(parameters, why))
        return SP_EINVAL;
    if (map != NULL && map->parameters.slots != parameters->slots)
        return invalid(why, "the map has another number of slots");
    if (map != NULL && map->parameters.kind != parameters->kind)
        return invalid(why, "the map is of another kind of nodes");
    if (count > RING_NODES_MAX)
        return invalid(why, "these are more than 1024 nodes");
    for (size_t i = 0; i < count; i++)
        if (ring_node_check(&members[i], why) != SP_OK)
            return SP_EINVAL;
    return SP_OK;
}

/* Zeros behind the texts, so that equal nodes are equal bytes. */
static void put_node(struct ring_node *to, const struct ring_node *node)
{
    snprintf(to->name, sizeof to->name, "%s", node->name);
    snprintf(to->address, sizeof to->address, "%s", node->address);
    snprintf(to->zone, sizeof to->zone, "%s", node->zone);
    to->weight = node->weight;
    to->state = node->state;
    to->start = node->start;
}

static int put_members(struct ring_map *map, const struct ring_node *members, char *why)
{
    for (unsigned i = 0; i < map->node_count; i++)
        put_node(&map->nodes[i], &members[i]);
    qsort(map->nodes, map->node_count, sizeof *map->nodes, compare_names);
    for (unsigned i = 1; i < map->node_count; i++)
        if (compare_names(&map->nodes[i - 1], &map->nodes[i]) == 0) {
            snprintf(why, RING_WHY_BYTES, "there are two nodes of the name %s", map->nodes[i].name);
            return SP_EINVAL;
        }
    return SP_OK;
}

/* --- what stays ------------------------------------------------------------------------------ */

/* Where the old map's nodes are in the new one. */
struct carry {
    uint16_t to[RING_NODES_MAX]; /* RING_NOBODY: nowhere */
    bool anew[RING_NODES_MAX];   /* by new positions: it has been started anew */
};

static void carry_init(struct carry *carry, const struct ring_map *map, const struct ring_map *next)
{
    memset(carry, 0, sizeof *carry);
    for (unsigned i = 0; i < map->node_count; i++) {
        const int at = ring_map_find(next, map->nodes[i].name);
        carry->to[i] = at < 0 ? RING_NOBODY : (uint16_t)at;
        if (at >= 0)
            carry->anew[at] = next->nodes[at].start != map->nodes[i].start;
    }
}

static uint8_t carry_list(const struct carry *carry, const uint16_t *from, unsigned count,
                          uint16_t *to)
{
    uint8_t kept = 0;
    for (unsigned i = 0; i < count; i++)
        if (carry->to[from[i]] != RING_NOBODY)
            to[kept++] = carry->to[from[i]];
    return kept;
}

/* Nodes that have been started anew hold nothing, unless there is nobody else. */
static void drop_anew(const struct carry *carry, struct ring_slot_copies *slot)
{
    uint16_t holders[RING_COPIES_MAX];
    uint8_t kept = 0;
    for (unsigned i = 0; i < slot->holder_count; i++)
        if (!carry->anew[slot->holders[i]])
            holders[kept++] = slot->holders[i];
    if (kept == 0)
        return;
    memcpy(slot->holders, holders, sizeof holders);
    slot->holder_count = kept;
}

static void carry_slot(const struct carry *carry, const struct ring_slot_copies *from,
                       struct ring_slot_copies *to)
{
    to->holder_count = carry_list(carry, from->holders, from->holder_count, to->holders);
    to->target_count = carry_list(carry, from->targets, from->target_count, to->targets);
    drop_anew(carry, to);
    if (to->holder_count == 0) {
        memcpy(to->holders, to->targets, sizeof to->holders);
        to->holder_count = to->target_count;
    }
}

static void carry_over(const struct ring_map *map, struct ring_map *next)
{
    struct carry carry;
    carry_init(&carry, map, next);
    for (unsigned i = 0; i < next->parameters.slots; i++)
        carry_slot(&carry, &map->slots[i], &next->slots[i]);
}

/* --- the next map ---------------------------------------------------------------------------- */

static bool is_same_list(const uint16_t *a, unsigned a_count, const uint16_t *b, unsigned b_count)
{
    return a_count == b_count && memcmp(a, b, a_count * sizeof *a) == 0;
}

static bool is_same_node(const struct ring_node *a, const struct ring_node *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->address, b->address) == 0 &&
           strcmp(a->zone, b->zone) == 0 && a->weight == b->weight && a->state == b->state &&
           a->start == b->start;
}

static bool is_same(const struct ring_map *a, const struct ring_map *b)
{
    if (a->node_count != b->node_count || a->parameters.replicas != b->parameters.replicas)
        return false;
    for (unsigned i = 0; i < a->node_count; i++)
        if (!is_same_node(&a->nodes[i], &b->nodes[i]))
            return false;
    for (unsigned i = 0; i < a->parameters.slots; i++) {
        const struct ring_slot_copies *x = &a->slots[i], *y = &b->slots[i];
        if (!is_same_list(x->holders, x->holder_count, y->holders, y->holder_count) ||
            !is_same_list(x->targets, x->target_count, y->targets, y->target_count))
            return false;
    }
    return true;
}

static int plan_map(struct ring_map *map)
{
    struct plan plan;
    if (plan_init(&plan, map) != SP_OK)
        return SP_ENOMEM;
    plan_quotas(&plan);
    plan_place(&plan);
    plan_order(&plan);
    plan_free(&plan);
    for (unsigned i = 0; i < map->parameters.slots; i++)
        ring_slot_settle(&map->slots[i]);
    return SP_OK;
}

int ring_map_next(const struct ring_map *map, const struct ring_parameters *parameters,
                  const struct ring_node *members, size_t count, struct ring_map **out, char *why)
{
    *out = NULL;
    int status = check(map, parameters, members, count, why);
    if (status != SP_OK || count == 0)
        return status;
    struct ring_map *next =
        ring_map_new(parameters, map == NULL ? 1 : map->epoch + 1, (uint32_t)count);
    if (next == NULL)
        return SP_ENOMEM;
    status = put_members(next, members, why);
    if (status == SP_OK && map != NULL)
        carry_over(map, next);
    if (status == SP_OK)
        status = plan_map(next);
    if (status == SP_OK && (map == NULL || !is_same(map, next)))
        *out = next;
    else
        ring_map_unref(next);
    return status;
}
