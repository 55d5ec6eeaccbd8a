/* SPDX-License-Identifier: Apache-2.0
 *
 * map_plan.c - the plan of a map: who takes copies, in which zone, and how many.
 *
 * Quotas are divided twice, among the zones and then among the nodes of each. Both times whole
 * numbers come out whose sum is exact, so that the places can be exact as well (map_place.c).
 * The plan of 1000 nodes and 16384 slots takes 6 MB while it is made.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/fnv.h"
#include "client/ring/map_internal.h"

#define OPEN UINT32_MAX /* of a share: not divided yet */

/* --- shares ---------------------------------------------------------------------------------- */

/* Those that would get all that they may or more get that, and the others divide the rest. */
static bool fill_up(struct share *shares, unsigned count, uint64_t *total, uint64_t *weights)
{
    const uint64_t of = *total, by = *weights;
    bool any = false;
    for (unsigned i = 0; i < count; i++)
        if (shares[i].gets == OPEN && shares[i].weight * of >= shares[i].most * by) {
            shares[i].gets = shares[i].most;
            *total -= shares[i].most;
            *weights -= shares[i].weight;
            any = true;
        }
    return any;
}

struct remainder {
    uint64_t size;
    uint16_t share;
    bool had; /* more than it gets without it */
};

static int compare_remainders(const void *one, const void *other)
{
    const struct remainder *a = one, *b = other;
    if (a->had != b->had)
        return a->had ? -1 : 1;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->share < b->share ? -1 : 1;
}

static void divide_rest(struct share *shares, unsigned count, uint64_t total, uint64_t weights)
{
    struct remainder remainders[RING_NODES_MAX];
    unsigned remainder_count = 0;
    uint64_t left = total;
    for (unsigned i = 0; i < count; i++) {
        if (shares[i].gets != OPEN)
            continue;
        const uint64_t part = shares[i].weight * total;
        shares[i].gets = (uint32_t)(part / weights);
        left -= shares[i].gets;
        if (part % weights)
            remainders[remainder_count++] =
                (struct remainder){part % weights, (uint16_t)i, shares[i].had > shares[i].gets};
    }
    qsort(remainders, remainder_count, sizeof *remainders, compare_remainders);
    for (unsigned i = 0; i < left && i < remainder_count; i++)
        shares[remainders[i].share].gets++;
}

void plan_divide(struct share *shares, unsigned count, uint32_t total)
{
    uint64_t left = total, weights = 0;
    for (unsigned i = 0; i < count; i++) {
        shares[i].gets = OPEN;
        weights += shares[i].weight;
    }
    while (weights > 0 && fill_up(shares, count, &left, &weights))
        ;
    if (weights > 0)
        divide_rest(shares, count, left, weights);
}

/* --- quotas ---------------------------------------------------------------------------------- */

/* Shares of zones first; returns how many. */
static void zone_shares(struct plan *plan, struct share *zones)
{
    memset(zones, 0, plan->zone_count * sizeof *zones);
    for (unsigned i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].takes) {
            struct share *zone = &zones[plan->nodes[i].zone];
            zone->weight += plan->map->nodes[i].weight;
            zone->had += plan->nodes[i].had;
            if (zone->most < plan->zone_copies * plan->slots)
                zone->most += plan->slots;
        }
    plan_divide(zones, plan->zone_count, plan->slots * plan->copies);
}

static void node_shares(struct plan *plan, unsigned zone, uint32_t total, struct share *shares)
{
    unsigned count = 0;
    for (unsigned i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].takes && plan->nodes[i].zone == zone)
            shares[count++] =
                (struct share){plan->map->nodes[i].weight, plan->slots, plan->nodes[i].had, 0};
    plan_divide(shares, count, total);
    count = 0;
    for (unsigned i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].takes && plan->nodes[i].zone == zone)
            plan->nodes[i].quota = shares[count++].gets;
}

void plan_quotas(struct plan *plan)
{
    struct share *zones = plan->shares, *nodes = plan->shares + plan->node_count;
    zone_shares(plan, zones);
    for (unsigned zone = 0; zone < plan->zone_count; zone++)
        node_shares(plan, zone, zones[zone].gets, nodes);
}

/* --- the plan -------------------------------------------------------------------------------- */

uint64_t plan_seed(const char *text)
{
    return fnv_bytes(FNV_START, text, strlen(text));
}

unsigned plan_next_slot(const struct plan *plan, unsigned node, unsigned slot)
{
    const uint64_t *has = plan_bitmap(plan, plan->has, node);
    if (slot >= plan->slots)
        return plan->slots;
    uint64_t word = has[slot / 64] >> slot % 64;
    if (word)
        return slot + (unsigned)__builtin_ctzll(word);
    for (unsigned i = slot / 64 + 1; i < plan->words; i++)
        if (has[i])
            return i * 64 + (unsigned)__builtin_ctzll(has[i]);
    return plan->slots;
}

/* The zone of an earlier node, or a new one. */
static unsigned zone_of(const struct plan *plan, unsigned node)
{
    const char *zone = plan->map->nodes[node].zone;
    for (unsigned i = 0; zone[0] && i < node; i++)
        if (plan->nodes[i].takes && strcmp(plan->map->nodes[i].zone, zone) == 0)
            return plan->nodes[i].zone;
    return plan->zone_count;
}

static void find_takers(struct plan *plan)
{
    for (unsigned i = 0; i < plan->node_count; i++)
        plan->taking += plan->map->nodes[i].state != RING_NODE_DRAINING;
    for (unsigned i = 0; i < plan->node_count; i++)
        plan->nodes[i].takes = plan->taking == 0 || plan->map->nodes[i].state != RING_NODE_DRAINING;
    if (plan->taking == 0)
        plan->taking = plan->node_count;
    for (unsigned i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].takes) {
            plan->nodes[i].zone = (uint16_t)zone_of(plan, i);
            plan->zone_count += plan->nodes[i].zone == plan->zone_count;
        }
}

static bool plan_room(struct plan *plan)
{
    const size_t count = plan->node_count;
    plan->nodes = calloc(count, sizeof *plan->nodes);
    plan->has = calloc(count * plan->words * 3, sizeof *plan->has);
    plan->below = calloc(count * 3, sizeof *plan->below);
    plan->below_seeds = calloc(count, sizeof *plan->below_seeds);
    plan->zone_lacks = calloc(count, sizeof *plan->zone_lacks);
    plan->steps = calloc(count, sizeof *plan->steps);
    plan->ranks = calloc(plan->slots, sizeof *plan->ranks);
    plan->shares = calloc(count * 2, sizeof *plan->shares);
    plan->zone_pieces = calloc(ZONES_KEPT, sizeof *plan->zone_pieces);
    if (!plan->nodes || !plan->has || !plan->below || !plan->below_seeds || !plan->zone_lacks ||
        !plan->steps || !plan->ranks || !plan->shares || !plan->zone_pieces)
        return false;
    plan->holds = plan->has + count * plan->words;
    plan->full = plan->holds + count * plan->words;
    plan->unreached = plan->below + count;
    plan->queue = plan->unreached + count;
    return true;
}

/* What each node has now; whether it may keep that is looked at later. */
static void count_slots(struct plan *plan)
{
    for (unsigned slot = 0; slot < plan->slots; slot++) {
        const struct ring_slot_copies *copies = &plan->map->slots[slot];
        for (unsigned i = 0; i < copies->target_count; i++)
            plan->nodes[copies->targets[i]].had++;
        for (unsigned i = 0; i < copies->holder_count; i++)
            plan_bitmap(plan, plan->holds, copies->holders[i])[slot / 64] |= UINT64_C(1)
                                                                             << slot % 64;
    }
}

int plan_init(struct plan *plan, struct ring_map *map)
{
    const unsigned replicas = map->parameters.replicas;
    *plan = (struct plan){.map = map, .node_count = map->node_count};
    plan->slots = map->parameters.slots;
    plan->words = (plan->slots + 63) / 64;
    if (!plan_room(plan)) {
        plan_free(plan);
        return SP_ENOMEM;
    }
    find_takers(plan);
    plan->copies = replicas < plan->taking ? replicas : plan->taking;
    plan->zone_copies = (plan->copies + plan->zone_count - 1) / plan->zone_count;
    for (unsigned i = 0; i < plan->node_count; i++)
        plan->nodes[i].seed = plan_seed(map->nodes[i].name);
    count_slots(plan);
    return SP_OK;
}

void plan_free(struct plan *plan)
{
    free(plan->zone_pieces);
    free(plan->shares);
    free(plan->ranks);
    free(plan->steps);
    free(plan->zone_lacks);
    free(plan->below_seeds);
    free(plan->below);
    free(plan->has);
    free(plan->nodes);
}
