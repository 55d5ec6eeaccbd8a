/* SPDX-License-Identifier: Apache-2.0
 *
 * map_place.c - chooses the targets of all slots, by the quotas, and moves few copies.
 *
 * Targets stay where they can; what lacks is filled, first by nodes that hold the slot anyway; then
 * nodes above their quota give to those below. What a node has not yet pulled is given up rather
 * than what it has. The first map of 1000 nodes and 16384 slots compares 20 million scores; a node
 * that joins or leaves costs about as many steps as it has or gets copies.
 */
#include <stdlib.h>
#include <string.h>

#include "client/ring/map_internal.h"

/* --- what can stay --------------------------------------------------------------------------- */

static void keep_if_it_can(struct plan *plan, unsigned slot, unsigned node, bool holder)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    if (plan->nodes[node].takes && ring_is_holder(copies, node) == holder &&
        copies->target_count < plan->copies && plan_may_take(plan, node, slot, RING_NOBODY))
        plan_take(plan, node, slot);
}

/* Holders come first where not all can stay; those that stay keep their order. */
static void keep_targets(struct plan *plan, unsigned slot)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    const struct ring_slot_copies before = *copies;
    copies->target_count = 0;
    for (unsigned i = 0; i < before.target_count; i++)
        keep_if_it_can(plan, slot, before.targets[i], true);
    for (unsigned i = 0; i < before.target_count; i++)
        keep_if_it_can(plan, slot, before.targets[i], false);
    const struct ring_slot_copies stay = *copies;
    copies->target_count = 0;
    for (unsigned i = 0; i < before.target_count; i++)
        if (ring_is_target(&stay, before.targets[i]))
            copies->targets[copies->target_count++] = before.targets[i];
}

/* --- what lacks ------------------------------------------------------------------------------ */

static bool is_below(const struct plan *plan, unsigned node)
{
    return plan->nodes[node].takes && plan->nodes[node].copies < plan->nodes[node].quota;
}

static uint32_t lacks(const struct plan *plan, unsigned node)
{
    return plan->nodes[node].quota - plan->nodes[node].copies;
}

static void find_below(struct plan *plan)
{
    plan->below_count = 0;
    memset(plan->zone_lacks, 0, plan->zone_count * sizeof *plan->zone_lacks);
    for (unsigned i = 0; i < plan->node_count; i++)
        if (is_below(plan, i)) {
            plan->below_seeds[plan->below_count] = plan->nodes[i].seed;
            plan->zone_lacks[plan->nodes[i].zone] += lacks(plan, i);
            plan->below[plan->below_count++] = (uint16_t)i;
        }
}

static void fill_by_holders(struct plan *plan, unsigned slot)
{
    const struct ring_slot_copies *copies = &plan->map->slots[slot];
    for (unsigned i = 0; i < copies->holder_count && copies->target_count < plan->copies; i++)
        if (is_below(plan, copies->holders[i]) &&
            plan_may_take(plan, copies->holders[i], slot, RING_NOBODY))
            plan_take(plan, copies->holders[i], slot);
}

/* Where the slots that are left are hardly enough for what a zone or a node lacks, it presses: it
 * must be in each of them, or chains have to mend it afterwards. */
static bool zone_presses(const struct plan *plan, unsigned zone)
{
    return plan->zone_lacks[zone] >= plan->zone_copies * plan->left;
}

static bool presses(const struct plan *plan, unsigned node)
{
    return zone_presses(plan, plan->nodes[node].zone) || lacks(plan, node) >= plan->left;
}

/* Of several nodes of a zone, one can press without the zone. */
static bool any_presses(const struct plan *plan)
{
    if (plan->most_lacks < plan->left)
        return false;
    for (unsigned zone = 0; zone < plan->zone_count; zone++)
        if (zone_presses(plan, zone))
            return true;
    for (unsigned i = 0; plan->zone_copies > 1 && i < plan->below_count; i++)
        if (lacks(plan, plan->below[i]) >= plan->left)
            return true;
    return false;
}

/* The one with the highest score of those below their quota, or of those among them that press;
 * RING_NOBODY: none may have it. */
static unsigned best_below(const struct plan *plan, unsigned slot, bool pressing)
{
    uint64_t best_score = 0;
    unsigned best = RING_NOBODY;
    for (unsigned i = 0; i < plan->below_count; i++) {
        const uint64_t score = plan_score(plan->below_seeds[i], slot);
        if ((best == RING_NOBODY || score > best_score) &&
            plan_may_take(plan, plan->below[i], slot, RING_NOBODY) &&
            (!pressing || presses(plan, plan->below[i]))) {
            best = plan->below[i];
            best_score = score;
        }
    }
    return best;
}

static bool fill_one(struct plan *plan, unsigned slot)
{
    unsigned node = any_presses(plan) ? best_below(plan, slot, true) : RING_NOBODY;
    if (node == RING_NOBODY)
        node = best_below(plan, slot, false);
    if (node == RING_NOBODY) {
        if (!plan_chain_to_slot(plan, slot))
            return false;
        find_below(plan);
        return true;
    }
    plan_take(plan, node, slot);
    plan->zone_lacks[plan->nodes[node].zone]--;
    if (!is_below(plan, node))
        find_below(plan);
    return true;
}

static bool is_short(const struct plan *plan, unsigned slot)
{
    return plan->map->slots[slot].target_count < plan->copies;
}

static void fill(struct plan *plan)
{
    find_below(plan);
    for (unsigned zone = 0; zone < plan->zone_count; zone++)
        if (plan->zone_lacks[zone] > plan->most_lacks)
            plan->most_lacks = plan->zone_lacks[zone];
    for (unsigned slot = 0; slot < plan->slots; slot++)
        plan->left += is_short(plan, slot);
    for (unsigned slot = 0; slot < plan->slots; slot++) {
        if (!is_short(plan, slot))
            continue;
        while (is_short(plan, slot) && fill_one(plan, slot))
            ;
        plan->left--;
    }
}

/* --- what is too much ------------------------------------------------------------------------ */

static int compare_ranks(const void *one, const void *other)
{
    const struct plan_rank *a = one, *b = other;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->slot < b->slot ? -1 : 1;
}

/* The node's slots in the order in which it gives them up: by the score that it would have for the
 * slot if there were as many slots more before it. That of the slot itself would tell the slots
 * that it owns from others. */
static unsigned rank_slots(struct plan *plan, unsigned node)
{
    unsigned count = 0;
    for (unsigned slot = plan_next_slot(plan, node, 0); slot < plan->slots;
         slot = plan_next_slot(plan, node, slot + 1)) {
        plan->ranks[count].score = plan_score(plan->nodes[node].seed, plan->slots + slot);
        plan->ranks[count++].slot = (uint16_t)slot;
    }
    qsort(plan->ranks, count, sizeof *plan->ranks, compare_ranks);
    return count;
}

/* The best receiver of those where this costs so much: 1 for what the giver has and 1 for what the
 * receiver has not. */
static unsigned best_receiver(const struct plan *plan, unsigned slot, unsigned giver, unsigned cost)
{
    const struct ring_slot_copies *copies = &plan->map->slots[slot];
    const unsigned giver_cost = ring_is_holder(copies, giver);
    uint64_t best_score = 0;
    unsigned best = RING_NOBODY;
    for (unsigned i = 0; i < plan->below_count; i++) {
        const unsigned node = plan->below[i];
        if (giver_cost + !ring_is_holder(copies, node) != cost)
            continue;
        const uint64_t score = plan_score(plan->below_seeds[i], slot);
        if ((best == RING_NOBODY || score > best_score) && plan_may_take(plan, node, slot, giver)) {
            best = node;
            best_score = score;
        }
    }
    return best;
}

static void give(struct plan *plan, unsigned giver, unsigned rank_count, unsigned cost)
{
    const struct plan_node *node = &plan->nodes[giver];
    for (unsigned i = 0; i < rank_count && node->copies > node->quota; i++) {
        const unsigned slot = plan->ranks[i].slot;
        if (!plan_bit(plan, plan->has, giver, slot))
            continue;
        const unsigned receiver = best_receiver(plan, slot, giver, cost);
        if (receiver == RING_NOBODY)
            continue;
        plan_replace(plan, slot, giver, receiver);
        if (!is_below(plan, receiver))
            find_below(plan);
    }
}

static void give_surplus(struct plan *plan, unsigned giver)
{
    const struct plan_node *node = &plan->nodes[giver];
    if (node->copies <= node->quota)
        return;
    const unsigned rank_count = rank_slots(plan, giver);
    for (unsigned cost = 0; cost <= 2; cost++)
        give(plan, giver, rank_count, cost);
    while (node->copies > node->quota && plan_chain_from_node(plan, giver))
        ;
    find_below(plan);
}

void plan_place(struct plan *plan)
{
    for (unsigned slot = 0; slot < plan->slots; slot++)
        keep_targets(plan, slot);
    for (unsigned slot = 0; slot < plan->slots; slot++)
        fill_by_holders(plan, slot);
    fill(plan);
    for (unsigned i = 0; i < plan->node_count; i++)
        give_surplus(plan, i);
}
