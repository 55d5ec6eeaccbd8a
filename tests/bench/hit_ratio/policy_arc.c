/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_arc.c - ARC, the adaptive replacement cache (FAST 2003).
 *
 * Two lists of entries, seen once lately (recent) and at least twice (frequent), and a ghost list
 * behind each. A hit in a ghost list makes the list before it larger, at the other's cost.
 */
#include "list.h"

enum { NOWHERE, RECENT, FREQUENT, RECENT_GHOST, FREQUENT_GHOST, PLACES };

struct arc {
    struct links links;
    struct list list[PLACES];
    uint8_t *where;
    uint32_t capacity;
    uint32_t target; /* of RECENT */
};

static void *arc_create(const struct policy_options *options)
{
    struct arc *arc = policy_alloc(1, sizeof(*arc));
    arc->links = links_new(options->key_count);
    for (unsigned i = 0; i < PLACES; i++)
        arc->list[i] = list_empty();
    arc->where = policy_alloc(options->key_count, 1);
    arc->capacity = options->capacity;
    return arc;
}

static void arc_destroy(void *cache)
{
    struct arc *arc = cache;
    links_free(&arc->links);
    free(arc->where);
    free(arc);
}

static void arc_add(struct arc *arc, unsigned place, uint32_t key)
{
    list_push(&arc->list[place], &arc->links, key);
    arc->where[key] = (uint8_t)place;
}

static void arc_remove(struct arc *arc, uint32_t key)
{
    list_remove(&arc->list[arc->where[key]], &arc->links, key);
    arc->where[key] = NOWHERE;
}

static void arc_drop_oldest(struct arc *arc, unsigned place)
{
    arc_remove(arc, arc->list[place].oldest);
}

/* Evicts an entry, whose key stays as a ghost. */
static void arc_replace(struct arc *arc, bool in_frequent_ghost)
{
    uint32_t recent = arc->list[RECENT].size;
    bool from_recent =
        recent > 0 && (recent > arc->target || (in_frequent_ghost && recent == arc->target) ||
                       arc->list[FREQUENT].size == 0);
    unsigned place = from_recent ? RECENT : FREQUENT;
    uint32_t key = arc->list[place].oldest;
    arc_remove(arc, key);
    arc_add(arc, from_recent ? RECENT_GHOST : FREQUENT_GHOST, key);
}

static void arc_ghost_hit(struct arc *arc, uint32_t key)
{
    bool frequent = arc->where[key] == FREQUENT_GHOST;
    uint32_t here = arc->list[arc->where[key]].size;
    uint32_t there = arc->list[frequent ? RECENT_GHOST : FREQUENT_GHOST].size;
    uint32_t step = there > here ? there / here : 1;
    if (frequent)
        arc->target -= step < arc->target ? step : arc->target;
    else
        arc->target = arc->target + step < arc->capacity ? arc->target + step : arc->capacity;
    arc_replace(arc, frequent);
    arc_remove(arc, key);
    arc_add(arc, FREQUENT, key);
}

static void arc_miss(struct arc *arc, uint32_t key)
{
    uint32_t recent = arc->list[RECENT].size + arc->list[RECENT_GHOST].size;
    uint32_t all = recent + arc->list[FREQUENT].size + arc->list[FREQUENT_GHOST].size;
    if (recent == arc->capacity) {
        if (arc->list[RECENT_GHOST].size > 0) {
            arc_drop_oldest(arc, RECENT_GHOST);
            arc_replace(arc, false);
        } else {
            arc_drop_oldest(arc, RECENT);
        }
    } else if (all >= arc->capacity) {
        if (all >= 2 * arc->capacity)
            arc_drop_oldest(arc, FREQUENT_GHOST);
        arc_replace(arc, false);
    }
    arc_add(arc, RECENT, key);
}

static bool arc_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct arc *arc = cache;
    switch (arc->where[key]) {
    case RECENT:
    case FREQUENT:
        arc_remove(arc, key);
        arc_add(arc, FREQUENT, key);
        return true;
    case RECENT_GHOST:
    case FREQUENT_GHOST:
        arc_ghost_hit(arc, key);
        return false;
    default:
        arc_miss(arc, key);
        return false;
    }
}

const struct policy policy_arc = {
    .name = "arc", .create = arc_create, .destroy = arc_destroy, .request = arc_request};
