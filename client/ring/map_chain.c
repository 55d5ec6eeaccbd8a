/* SPDX-License-Identifier: Apache-2.0
 *
 * map_chain.c - copies that move so that another one has room.
 *
 * Where a slot lacks a copy and all nodes that may have it are at their quota, one of them takes it
 * and gives up another slot, to a node below its quota, or to one that gives up a third slot, and
 * so on. This is the augmenting path of a flow from slots through zones to nodes: as the quotas can
 * be kept (each zone's is at most what its nodes can have of all slots), there is such a chain as
 * long as they are not. A node is reached once in a search, so a search costs at most what there
 * are copies, times the nodes that a zone keeps out; most end after a few steps. What a zone's
 * limit leaves of a node's slots is found once for all nodes of that zone: where zones are near
 * their limits, that is next to nothing, and it is there that many nodes are looked at in vain.
 *
 * On a shortest chain a slot changes one copy, or two of different zones that do not exclude each
 * other: a node that can take the slot from either was reached from the first one. So what was
 * checked for each step alone holds for all of them together.
 */
#include "client/ring/map_internal.h"

static void set_bit(const struct plan *plan, uint64_t *of, unsigned index, unsigned slot, bool on)
{
    uint64_t *word = &plan_bitmap(plan, of, index)[slot / 64];
    const uint64_t bit = UINT64_C(1) << slot % 64;
    *word = on ? *word | bit : *word & ~bit;
}

/* The node has become a target of the slot, or is none any more. */
static void note(struct plan *plan, unsigned node, unsigned slot, bool target)
{
    const struct ring_slot_copies *copies = &plan->map->slots[slot];
    const unsigned zone = plan->nodes[node].zone;
    unsigned in_zone = 0;
    for (unsigned i = 0; i < copies->target_count; i++)
        in_zone += plan->nodes[copies->targets[i]].zone == zone;
    set_bit(plan, plan->has, node, slot, target);
    set_bit(plan, plan->full, zone, slot, in_zone >= plan->zone_copies);
    plan->nodes[node].copies += target ? 1u : -1u;
}

void plan_take(struct plan *plan, unsigned node, unsigned slot)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    copies->targets[copies->target_count++] = (uint16_t)node;
    note(plan, node, slot, true);
}

void plan_replace(struct plan *plan, unsigned slot, unsigned from, unsigned to)
{
    struct ring_slot_copies *copies = &plan->map->slots[slot];
    unsigned i = 0;
    while (copies->targets[i] != from)
        i++;
    copies->targets[i] = (uint16_t)to;
    note(plan, from, slot, false);
    note(plan, to, slot, true);
}

/* --- searching ------------------------------------------------------------------------------- */

struct search {
    struct plan *plan;
    unsigned unreached_count, queued, done; /* of plan->unreached and plan->queue */
    unsigned first;                         /* slot from which slots are gone through */
    unsigned end;                           /* the node below its quota */
    bool free; /* only copies are given up that their node does not hold yet */
    unsigned piece_count;
    struct plan_piece pieces[PIECES_MAX]; /* what a node can give up, from `first` around */
    uint64_t number;                      /* of these pieces, among all */
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

/* True: this node is below its quota. */
static bool search_reach(struct search *search, unsigned node, unsigned slot, unsigned from)
{
    struct plan *plan = search->plan;
    plan->steps[node] = (struct plan_step){(uint16_t)from, (uint16_t)slot};
    plan->queue[search->queued++] = (uint16_t)node;
    search->end = node;
    return plan->nodes[node].copies < plan->nodes[node].quota;
}

/* From the slot that lacks a copy to those that may have it. */
static bool search_from_slot(struct search *search, unsigned slot)
{
    struct plan *plan = search->plan;
    unsigned kept = 0;
    for (unsigned i = 0; i < search->unreached_count; i++)
        if (!plan_may_take(plan, plan->unreached[i], slot, RING_NOBODY))
            plan->unreached[kept++] = plan->unreached[i];
        else if (search_reach(search, plan->unreached[i], slot, RING_NOBODY))
            return true;
    search->unreached_count = kept;
    return false;
}

static void add_piece(struct search *search, unsigned node, unsigned word, uint64_t of)
{
    const struct plan *plan = search->plan;
    uint64_t bits = of & plan_bitmap(plan, plan->has, node)[word];
    if (search->free)
        bits &= ~plan_bitmap(plan, plan->holds, node)[word];
    if (bits)
        search->pieces[search->piece_count++] = (struct plan_piece){(uint16_t)word, bits};
}

static void find_pieces(struct search *search, unsigned node)
{
    const unsigned first_word = search->first / 64;
    const uint64_t behind = UINT64_MAX << search->first % 64;
    search->piece_count = 0;
    search->number = ++search->plan->pieces_found;
    add_piece(search, node, first_word, behind);
    for (unsigned word = first_word + 1; word < search->plan->words; word++)
        add_piece(search, node, word, UINT64_MAX);
    for (unsigned word = 0; word < first_word; word++)
        add_piece(search, node, word, UINT64_MAX);
    add_piece(search, node, first_word, ~behind);
}

/* Those of the pieces that a zone may have besides. */
static void find_zone_pieces(const struct search *search, unsigned zone,
                             struct plan_zone_pieces *out)
{
    const struct plan *plan = search->plan;
    const uint64_t *full = plan_bitmap(plan, plan->full, zone);
    out->count = 0;
    for (unsigned i = 0; i < search->piece_count; i++) {
        const struct plan_piece piece = search->pieces[i];
        out->pieces[out->count] = (struct plan_piece){piece.word, piece.bits & ~full[piece.word]};
        out->count += out->pieces[out->count].bits != 0;
    }
}

/* What nodes of this zone may take of the pieces. The first of them finds it for all: near a zone's
 * limit, that is little or nothing. */
static const struct plan_zone_pieces *zone_pieces(const struct search *search, unsigned zone)
{
    struct plan_zone_pieces *known = &search->plan->zone_pieces[zone];
    if (known->search != search->number) {
        known->search = search->number;
        find_zone_pieces(search, zone, known);
    }
    return known;
}

/* The first slot of the pieces that a node can take from another; RING_SLOTS_MAX: there is none. */
static unsigned first_to_take(const struct search *search, unsigned node, unsigned from)
{
    const struct plan *plan = search->plan;
    const uint64_t *has = plan_bitmap(plan, plan->has, node);
    const unsigned zone = plan->nodes[node].zone;
    const uint64_t *full = plan_bitmap(plan, plan->full, zone);
    const struct plan_piece *pieces = search->pieces;
    unsigned count = search->piece_count;
    const bool same_zone = zone == plan->nodes[from].zone;
    if (!same_zone && plan->zone_count <= ZONES_KEPT) {
        const struct plan_zone_pieces *others = zone_pieces(search, zone);
        pieces = others->pieces;
        count = others->count;
    }
    for (unsigned i = 0; i < count; i++) {
        const unsigned word = pieces[i].word;
        const uint64_t bits = pieces[i].bits & ~has[word] & (same_zone ? UINT64_MAX : ~full[word]);
        if (bits)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return RING_SLOTS_MAX;
}

/* From a node to those that can take one of its slots. */
static bool search_from_node(struct search *search, unsigned from)
{
    struct plan *plan = search->plan;
    unsigned kept = 0;
    find_pieces(search, from);
    for (unsigned i = 0; i < search->unreached_count; i++) {
        const uint16_t node = plan->unreached[i];
        const unsigned slot = first_to_take(search, node, from);
        if (slot == RING_SLOTS_MAX)
            plan->unreached[kept++] = node;
        else if (search_reach(search, node, slot, from))
            return true;
    }
    search->unreached_count = kept;
    return false;
}

static bool search_on(struct search *search)
{
    while (search->done < search->queued && search->unreached_count > 0)
        if (search_from_node(search, search->plan->queue[search->done++]))
            return true;
    return false;
}

/* --- chains ---------------------------------------------------------------------------------- */

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
    struct search search = {.plan = plan, .first = slot, .free = true};
    bool found;
    do {
        search_begin(&search, RING_NOBODY);
        found = search_from_slot(&search, slot) || search_on(&search);
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
