/* SPDX-License-Identifier: Apache-2.0
 *
 * map_internal.h - what the files of the map share: making maps, and the plan by which the next one
 * is made (docs/RING.md, "The map").
 */
#ifndef SIDEPOND_RING_MAP_INTERNAL_H
#define SIDEPOND_RING_MAP_INTERNAL_H

#include "client/ring/map.h"

#define RING_NOBODY UINT16_MAX

/* With one reference, all slots and nodes zeros; NULL: no memory. */
struct ring_map *ring_map_new(const struct ring_parameters *parameters, uint64_t epoch,
                              uint32_t node_count);
/* The same with the next epoch. */
struct ring_map *ring_map_copy(const struct ring_map *map);

bool ring_parameters_check(const struct ring_parameters *parameters, char *why);

static inline bool ring_list_has(const uint16_t *list, unsigned count, unsigned node)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == node)
            return true;
    return false;
}
static inline bool ring_is_holder(const struct ring_slot_copies *slot, unsigned node)
{
    return ring_list_has(slot->holders, slot->holder_count, node);
}
static inline bool ring_is_target(const struct ring_slot_copies *slot, unsigned node)
{
    return ring_list_has(slot->targets, slot->target_count, node);
}

/* Where all targets are holders, or nobody is, the targets are the holders. */
void ring_slot_settle(struct ring_slot_copies *slot);

/* --- the plan of a map ----------------------------------------------------------------------- */

struct plan_node {
    uint64_t seed;                /* of its scores */
    uint16_t zone;                /* those of nodes that take copies are numbered by their names */
    bool takes;                   /* copies: it does not drain, or all do */
    uint32_t had;                 /* copies in the map before */
    uint32_t quota;               /* of copies */
    uint32_t copies;              /* that it has now, as a target */
    uint32_t owned;               /* as the first target; shall be from... */
    uint32_t least_own, most_own; /* ...to */
};

/* How a node was reached in a search: it can take this slot from that node. */
struct plan_step {
    uint16_t from; /* RING_NOBODY: the search began here */
    uint16_t slot;
};

/* A slot of a node, by how much they fit. */
struct plan_rank {
    uint64_t score;
    uint16_t slot;
};

/* Some of a node's slots: the word of the bitmap, and those of its bits. */
struct plan_piece {
    uint16_t word;
    uint64_t bits;
};
#define PIECES_MAX (RING_SLOT_WORDS + 1)
#define ZONES_KEPT                                                                                 \
    32u /* with more zones each has few nodes, and nothing is found for all of them */

/* What a zone may have of the slots that a node can give up. */
struct plan_zone_pieces {
    uint64_t search; /* which slots these are of; 0: none yet */
    unsigned count;
    struct plan_piece pieces[PIECES_MAX];
};

/* An item among which a total is divided. */
struct share {
    uint64_t weight;
    uint32_t most; /* it gets no more; not 0 */
    uint32_t had;  /* it has now */
    uint32_t gets; /* the result */
};

struct plan {
    struct ring_map *map; /* that is made */
    unsigned node_count, slots;
    unsigned taking;         /* nodes that take copies */
    unsigned copies;         /* of each slot */
    unsigned zone_count;     /* of nodes that take copies */
    unsigned zone_copies;    /* of one slot that a zone may have */
    struct plan_node *nodes; /* as in the map */
    /* Bitmaps of slots, `words` each. */
    unsigned words;
    uint64_t *has;   /* [node]: whose target it is */
    uint64_t *holds; /* [node]: whose holder it is */
    uint64_t *full;  /* [zone]: of which it has as many copies as it may */
    /* Room for what follows, by nodes, but for ranks, by slots. */
    uint16_t *below; /* nodes below their quota, */
    unsigned below_count;
    unsigned left;           /* slots that lack copies, from the one that is being filled on */
    uint32_t most_lacks;     /* no zone lacks more */
    uint64_t *below_seeds;   /* and their seeds, */
    uint32_t *zone_lacks;    /* copies that these lack, by zones, */
    uint16_t *unreached;     /* those that a search has not reached, */
    uint16_t *queue;         /* those whose turn comes, */
    struct plan_step *steps; /* how each was reached, */
    struct plan_rank *ranks; /* a node's slots, */
    struct share *shares;    /* zones and nodes. */
    struct plan_zone_pieces *zone_pieces; /* ZONES_KEPT */
    uint64_t pieces_found;
};

static inline uint64_t *plan_bitmap(const struct plan *plan, uint64_t *of, unsigned index)
{
    return of + (size_t)index * plan->words;
}
static inline bool plan_bit(const struct plan *plan, const uint64_t *of, unsigned index,
                            unsigned slot)
{
    return of[(size_t)index * plan->words + slot / 64] >> slot % 64 & 1;
}

/* The map has its nodes, and holders and targets as far as they are known. SP_ENOMEM. */
int plan_init(struct plan *plan, struct ring_map *map);
void plan_free(struct plan *plan);

/* The first of the node's slots from this one on; plan->slots: there is none. */
unsigned plan_next_slot(const struct plan *plan, unsigned node, unsigned slot);
uint64_t plan_seed(const char *name);
/* How well a node of this seed and a slot fit: the finaliser of SplitMix64 (Steele, Lea, Flood,
 * OOPSLA 2014). */
static inline uint64_t plan_score(uint64_t seed, unsigned slot)
{
    uint64_t x = seed + (slot + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* In proportion to the weights; the sum of `most` is no less than the total. At most
 * RING_NODES_MAX items. */
void plan_divide(struct share *shares, unsigned count, uint32_t total);

/* In this order. */
void plan_quotas(struct plan *plan); /* gives each node its quota of copies */
void plan_place(struct plan *plan);  /* chooses the targets by it */
void plan_order(struct plan *plan);  /* chooses the first of each slot's targets */

/* --- chains (map_chain.c) -------------------------------------------------------------------- */

/* Whether the node may take a copy of the slot, if `without` gives up its own; RING_NOBODY. */
static inline bool plan_may_take(const struct plan *plan, unsigned node, unsigned slot,
                                 unsigned without)
{
    const unsigned zone = plan->nodes[node].zone;
    return !plan_bit(plan, plan->has, node, slot) &&
           (!plan_bit(plan, plan->full, zone, slot) ||
            (without != RING_NOBODY && plan->nodes[without].zone == zone));
}
void plan_take(struct plan *plan, unsigned node, unsigned slot);
void plan_replace(struct plan *plan, unsigned slot, unsigned from, unsigned to);

/* Makes room by the shortest chain, so that a slot gets the copy that it lacks, or a node gets rid
 * of one. False: there is no chain, which does not happen with quotas of plan_quotas. */
bool plan_chain_to_slot(struct plan *plan, unsigned slot);
bool plan_chain_from_node(struct plan *plan, unsigned node);

#endif
