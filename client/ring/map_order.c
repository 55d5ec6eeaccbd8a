/* SPDX-License-Identifier: Apache-2.0
 *
 * map_order.c - chooses which of a slot's targets is the first, its owner.
 *
 * Of c copies, with k of each slot, a node shall own from c/k rounded down to c/k rounded up. That
 * can be kept always, as each slot could be divided evenly between its targets. Whoever owns too
 * much hands a slot on to another of its targets, which may hand on another slot: the shortest
 * chain there is. Owned slots are compared, so searching costs at most what there are copies.
 */
#include "client/ring/map_internal.h"

struct order {
    struct plan *plan;
    uint64_t reached[RING_NODES_MAX / 64];
    unsigned queued, done; /* of plan->queue */
    bool giving;           /* else taking */
};

/* True: this node can be the end of the chain. */
static bool order_reach(struct order *order, unsigned node, unsigned from, unsigned slot)
{
    struct plan *plan = order->plan;
    const struct plan_node *reached = &plan->nodes[node];
    if (order->reached[node / 64] >> node % 64 & 1)
        return false;
    order->reached[node / 64] |= UINT64_C(1) << node % 64;
    plan->steps[node] = (struct plan_step){(uint16_t)from, (uint16_t)slot};
    plan->queue[order->queued++] = (uint16_t)node;
    return from != RING_NOBODY && (order->giving ? reached->owned < reached->most_own
                                                 : reached->owned > reached->least_own);
}

/* From the owner to the slot's other targets, or from one of these to the owner. */
static bool order_step(struct order *order, unsigned node, unsigned slot)
{
    const struct ring_slot_copies *copies = &order->plan->map->slots[slot];
    if ((copies->targets[0] == node) != order->giving)
        return false;
    if (!order->giving)
        return order_reach(order, copies->targets[0], node, slot);
    for (unsigned i = 1; i < copies->target_count; i++)
        if (order_reach(order, copies->targets[i], node, slot))
            return true;
    return false;
}

/* The end of the shortest chain; RING_NOBODY: there is none. */
static unsigned order_search(struct order *order, unsigned start)
{
    struct plan *plan = order->plan;
    order_reach(order, start, RING_NOBODY, 0);
    while (order->done < order->queued) {
        const unsigned node = plan->queue[order->done++];
        for (unsigned slot = plan_next_slot(plan, node, 0); slot < plan->slots;
             slot = plan_next_slot(plan, node, slot + 1))
            if (order_step(order, node, slot))
                return plan->queue[order->queued - 1];
    }
    return RING_NOBODY;
}

/* The owner and this node change places. */
static void make_owner(struct plan *plan, unsigned slot, unsigned node)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    unsigned i = 0;
    while (copies->targets[i] != node)
        i++;
    plan->nodes[copies->targets[0]].owned--;
    plan->nodes[node].owned++;
    copies->targets[i] = copies->targets[0];
    copies->targets[0] = (uint16_t)node;
}

static bool order_chain(struct plan *plan, unsigned start, bool giving)
{
    struct order order = {.plan = plan, .giving = giving};
    unsigned node = order_search(&order, start);
    if (node == RING_NOBODY)
        return false;
    for (; node != start; node = plan->steps[node].from)
        make_owner(plan, plan->steps[node].slot, giving ? node : plan->steps[node].from);
    return true;
}

/* Chains of one step, all in one walk: one that is possible later was possible before. */
static void give_away(struct plan *plan, unsigned node)
{
    const struct plan_node *giver = &plan->nodes[node];
    for (unsigned slot = plan_next_slot(plan, node, 0);
         slot < plan->slots && giver->owned > giver->most_own;
         slot = plan_next_slot(plan, node, slot + 1)) {
        const struct ring_slot_copies *copies = &plan->map->slots[slot];
        for (unsigned i = 1; copies->targets[0] == node && i < copies->target_count; i++)
            if (plan->nodes[copies->targets[i]].owned < plan->nodes[copies->targets[i]].most_own)
                make_owner(plan, slot, copies->targets[i]);
    }
    while (giver->owned > giver->most_own && order_chain(plan, node, true))
        ;
}

static void take_over(struct plan *plan, unsigned node)
{
    const struct plan_node *taker = &plan->nodes[node];
    for (unsigned slot = plan_next_slot(plan, node, 0);
         slot < plan->slots && taker->owned < taker->least_own;
         slot = plan_next_slot(plan, node, slot + 1)) {
        const struct plan_node *owner = &plan->nodes[plan->map->slots[slot].targets[0]];
        if (owner != taker && owner->owned > owner->least_own)
            make_owner(plan, slot, node);
    }
    while (taker->owned < taker->least_own && order_chain(plan, node, false))
        ;
}

void plan_order(struct plan *plan)
{
    for (unsigned slot = 0; slot < plan->slots; slot++)
        plan->nodes[plan->map->slots[slot].targets[0]].owned++;
    for (unsigned i = 0; i < plan->node_count; i++) {
        plan->nodes[i].least_own = plan->nodes[i].copies / plan->copies;
        plan->nodes[i].most_own = (plan->nodes[i].copies + plan->copies - 1) / plan->copies;
    }
    for (unsigned i = 0; i < plan->node_count; i++)
        give_away(plan, i);
    for (unsigned i = 0; i < plan->node_count; i++)
        take_over(plan, i);
}
