/* SPDX-License-Identifier: Apache-2.0
 *
 * points.c - a circle of virtual points, sorted; a slot is looked up by bisection.
 */
#include "points.h"

#include <stdbool.h>
#include <stdlib.h>

#include "client/ring/map_internal.h"
#include "common/bench.h"

struct point {
    uint64_t at;
    uint16_t node;
};

static int compare_points(const void *one, const void *other)
{
    const struct point *a = one, *b = other;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

static size_t points_of(const struct ring_node *node, unsigned points)
{
    return (size_t)points * node->weight / 100;
}

/* The first point from there on, around the circle. */
static size_t first_from(const struct point *circle, size_t count, uint64_t at)
{
    size_t first = 0, last = count;
    while (first < last) {
        const size_t middle = (first + last) / 2;
        if (circle[middle].at < at)
            first = middle + 1;
        else
            last = middle;
    }
    return first % count;
}

static void place(const struct point *circle, size_t count, unsigned slot, unsigned copies,
                  uint16_t *targets)
{
    size_t i = first_from(circle, count, plan_score(0, slot));
    for (unsigned copy = 0; copy < copies; i = (i + 1) % count)
        if (!ring_list_has(targets, copy, circle[i].node))
            targets[copy++] = circle[i].node;
}

void points_place(const struct ring_node *nodes, unsigned node_count, unsigned points,
                  unsigned slots, unsigned copies, uint16_t *targets)
{
    size_t count = 0, made = 0;
    if (node_count < copies)
        bench_die("fewer nodes than copies");
    for (unsigned i = 0; i < node_count; i++)
        count += points_of(&nodes[i], points);
    struct point *circle = malloc(count * sizeof *circle);
    if (circle == NULL)
        bench_die("no memory");
    for (unsigned i = 0; i < node_count; i++)
        for (size_t j = 0; j < points_of(&nodes[i], points); j++)
            circle[made++] =
                (struct point){plan_score(plan_seed(nodes[i].name), (unsigned)j), (uint16_t)i};
    qsort(circle, count, sizeof *circle, compare_points);
    for (unsigned slot = 0; slot < slots; slot++)
        place(circle, count, slot, copies, targets + (size_t)slot * copies);
    free(circle);
}
