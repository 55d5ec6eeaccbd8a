/* SPDX-License-Identifier: Apache-2.0
 *
 * map_chain.c - copies that move so that another one has room.
 *
 * Where a slot lacks a copy and all nodes that may have it are at their quota, one of them takes it
 * and gives up another slot, to a node below its quota, or to one that gives up a third slot, and
 * so on. This is the augmenting path of a flow from slots through zones to nodes: as the quotas can
 * be kept (each zone's is at most what its nodes can have of all slots), there is such a chain as
 * long as they are not. A node is reached once in a search, so a search costs at most what there
 * are copies, times the nodes that a zone keeps out; most end after a few steps.
 *
 * On a shortest chain a slot changes one copy, or two of different zones that do not exclude each
 * other: a node that can take the slot from either was reached from the first one. So what was
 * checked for each step alone holds for all of them together.
 */
#include "client/ring/map_internal.h"

bool plan_may_take(const struct plan *plan, unsigned node, unsigned slot, unsigned without)
{
    const struct ring_slot_copies *copies = &plan->map->slots[slot];
    unsigned in_zone = 0;
    for (unsigned i = 0; i < copies->target_count; i++) {
        const unsigned other = copies->targets[i];
        if (other == node)
            return false;
        in_zone += other != without && plan->nodes[other].zone == plan->nodes[node].zone;
    }
    return in_zone < plan->zone_copies;
}

void plan_take(struct plan *plan, unsigned node, unsigned slot)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    copies->targets[copies->target_count++] = (uint16_t)node;
    plan_has(plan, node)[slot / 64] |= UINT64_C(1) << slot % 64;
    plan->nodes[node].copies++;
}

void plan_replace(struct plan *plan, unsigned slot, unsigned from, unsigned to)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    unsigned i = 0;
    while (copies->targets[i] != from)
        i++;
    copies->targets[i] = (uint16_t)to;
    plan_has(plan, from)[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    plan_has(plan, to)[slot / 64] |= UINT64_C(1) << slot % 64;
    plan->nodes[from].copies--;
    plan->nodes[to].copies++;
}

struct search {
    struct plan *plan;
    unsigned unreached_count, queued, done; /* of plan->unreached and plan->queue */
    unsigned end;                           /* below its quota */
    bool free; /* only copies are given up that their node does not hold yet */
};

/* All but `start`, which may be nobody. */
static void search_begin(struct search *search, unsigned start)
{
    struct plan *plan = search->plan;
    search->unreached_count = search->queued = search->done = 0;
    for (unsigned i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].takes && i != start)
            plan->unreached[search->unreached_count++] = (uint16_t)i;
    if (start != RING_NOBODY) {
        plan->steps[start].from = RING_NOBODY;
        plan->queue[search->queued++] = (uint16_t)start;
    }
}

/* Reaches those that can take the slot from that node. True: one of them is below its quota. */
static bool search_reach(struct search *search, unsigned slot, unsigned from)
{
    struct plan *plan = search->plan;
    unsigned kept = 0;
    for (unsigned i = 0; i < search->unreached_count; i++) {
        const uint16_t node = plan->unreached[i];
        if (!plan_may_take(plan, node, slot, from)) {
            plan->unreached[kept++] = node;
            continue;
        }
        plan->steps[node] = (struct plan_step){(uint16_t)from, (uint16_t)slot};
        search->end = node;
        if (plan->nodes[node].copies < plan->nodes[node].quota)
            return true;
        plan->queue[search->queued++] = node;
    }
    search->unreached_count = kept;
    return false;
}

static bool search_on(struct search *search)
{
    struct plan *plan = search->plan;
    while (search->done < search->queued && search->unreached_count > 0) {
        const unsigned node = plan->queue[search->done++];
        for (unsigned slot = plan_next_slot(plan, node, 0); slot < plan->slots;
             slot = plan_next_slot(plan, node, slot + 1))
            if (!(search->free && ring_is_holder(&plan->map->slots[slot], node)) &&
                search_reach(search, slot, node))
                return true;
    }
    return false;
}

/* Moves along the chain from its end; returns the node at its beginning. */
static unsigned chain_apply(struct plan *plan, unsigned end)
{
    unsigned node = end;
    while (plan->steps[node].from != RING_NOBODY) {
        const struct plan_step step = plan->steps[node];
        plan_replace(plan, step.slot, step.from, node);
        node = step.from;
    }
    return node;
}

bool plan_chain_to_slot(struct plan *plan, unsigned slot)
{
    struct search search = {.plan = plan, .free = true};
    bool found;
    do {
        search_begin(&search, RING_NOBODY);
        found = search_reach(&search, slot, RING_NOBODY) || search_on(&search);
        search.free = !search.free;
    } while (!found && !search.free);
    if (found)
        plan_take(plan, chain_apply(plan, search.end), slot);
    return found;
}

bool plan_chain_from_node(struct plan *plan, unsigned node)
{
    struct search search = {.plan = plan, .free = true};
    bool found;
    do {
        search_begin(&search, node);
        found = search_on(&search);
        search.free = !search.free;
    } while (!found && !search.free);
    if (found)
        chain_apply(plan, search.end);
    return found;
}
