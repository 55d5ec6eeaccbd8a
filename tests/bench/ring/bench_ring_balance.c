/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_ring_balance.c - how evenly the ring's map places copies, how few move, and how long it
 * takes, against circles of 160 and of 1000 virtual points a node.
 *
 * Method. 16384 slots, two copies each. Balance is the most loaded node's copies over the mean, or
 * over its part by weight. Movement is how many copies come to a node that had them not, over what
 * must move: a mean node's copies. What is judged alone has no peer; the other rows show both. The
 * nodes' names are numbered, so every run places the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ring/map.h"
#include "common/bench.h"
#include "points.h"

#define SLOTS     RING_SLOTS_MAX
#define COPIES    2u
#define NODES_MAX 1001u
#define OURS      0u /* instead of a number of points */

static struct ring_node nodes[NODES_MAX];

static void name_nodes(void)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        snprintf(nodes[i].name, sizeof nodes[i].name, "cache-%04u.example.org", i);
        snprintf(nodes[i].address, sizeof nodes[i].address, "10.0.%u.%u:6379", i / 250,
                 i % 250 + 1);
        nodes[i].weight = 100;
        nodes[i].start = i + 1;
    }
}

/* Who has which copy; the nodes are numbered as above, in the order of their names. */
struct placing {
    uint16_t targets[SLOTS * COPIES];
};

static struct ring_map *next_map(const struct ring_map *map, unsigned node_count)
{
    struct ring_parameters parameters = RING_PARAMETERS_INIT;
    struct ring_map *next;
    char why[RING_WHY_BYTES];
    bench_must(ring_map_next(map, &parameters, nodes, node_count, &next, why), "ring_map_next");
    if (next == NULL)
        bench_die("the map has not changed");
    return next;
}

static void copy_targets(const struct ring_map *map, struct placing *to)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        memcpy(&to->targets[slot * COPIES], map->slots[slot].targets, COPIES * sizeof(uint16_t));
}

/* With that many nodes, after there were `before` (0: none). */
static void place(unsigned points, unsigned before, unsigned node_count, struct placing *to)
{
    if (points != OURS) {
        points_place(nodes, node_count, points, SLOTS, COPIES, to->targets);
        return;
    }
    struct ring_map *old = before ? next_map(NULL, before) : NULL;
    struct ring_map *map = next_map(old, node_count);
    copy_targets(map, to);
    ring_map_unref(map);
    ring_map_unref(old);
}

/* The most loaded node's copies over its part. */
static double balance(unsigned points, unsigned node_count)
{
    static struct placing placing;
    unsigned copies[NODES_MAX] = {0};
    double weights = 0, most = 0;
    place(points, 0, node_count, &placing);
    for (unsigned i = 0; i < SLOTS * COPIES; i++)
        copies[placing.targets[i]]++;
    for (unsigned i = 0; i < node_count; i++)
        weights += nodes[i].weight;
    for (unsigned i = 0; i < node_count; i++) {
        const double part = nodes[i].weight / weights * SLOTS * COPIES;
        most = copies[i] / part > most ? copies[i] / part : most;
    }
    return most;
}

/* What moves when the last node joins, or leaves, over a mean node's copies. Of three nodes with
 * two copies, and of more, a node that leaves has had so many. */
static double movement(unsigned points, unsigned before, unsigned after)
{
    static struct placing old, new;
    const unsigned more = before > after ? before : after;
    unsigned moved = 0;
    place(points, 0, before, &old);
    place(points, before, after, &new);
    for (unsigned i = 0; i < SLOTS; i++)
        for (unsigned j = 0; j < COPIES; j++) {
            const uint16_t node = new.targets[i * COPIES + j];
            moved += node != old.targets[i * COPIES] && node != old.targets[i * COPIES + 1];
        }
    return moved / ((double)SLOTS * COPIES / more);
}

/* A row that is judged, and one for each kind of circle. */
static void rows(const char *what, double ours, double few, double many, double reach)
{
    char text[200];
    snprintf(text, sizeof text, "%s", what);
    bench_row(&(struct bench_row){text, ours, 0, "x", BENCH_AT_MOST, reach});
    snprintf(text, sizeof text, "%s, against 160 points", what);
    bench_row(&(struct bench_row){text, ours, few, "x", BENCH_INFORMS, 0});
    snprintf(text, sizeof text, "%s, against 1000 points", what);
    bench_row(&(struct bench_row){text, ours, many, "x", BENCH_INFORMS, 0});
}

static void size_rows(unsigned size)
{
    char text[100];
    snprintf(text, sizeof text, "%u nodes: most loaded to mean", size);
    rows(text, balance(OURS, size), balance(160, size), balance(1000, size), 1.05);
    snprintf(text, sizeof text, "%u nodes, one joins: moved to least", size);
    rows(text, movement(OURS, size, size + 1), movement(160, size, size + 1),
         movement(1000, size, size + 1), 1.1);
    snprintf(text, sizeof text, "%u nodes, one leaves: moved to least", size);
    rows(text, movement(OURS, size, size - 1), movement(160, size, size - 1),
         movement(1000, size, size - 1), 1.1);
}

static void weight_rows(void)
{
    for (unsigned i = 0; i < NODES_MAX; i++)
        nodes[i].weight = (uint16_t)(50u << i % 4);
    rows("20 nodes of weights 1:2:4:8, most loaded to its part", balance(OURS, 20),
         balance(160, 20), balance(1000, 20), 1.05);
    for (unsigned i = 0; i < NODES_MAX; i++)
        nodes[i].weight = 100;
}

static void time_rows(unsigned size)
{
    static struct placing placing;
    char text[100];
    double started = bench_thread_ns();
    points_place(nodes, size, 160, SLOTS, COPIES, placing.targets);
    const double points = (bench_thread_ns() - started) / 1e6;
    started = bench_thread_ns();
    struct ring_map *map = next_map(NULL, size);
    const double first = (bench_thread_ns() - started) / 1e6;
    started = bench_thread_ns();
    struct ring_map *more = next_map(map, size + 1);
    const double joined = (bench_thread_ns() - started) / 1e6;
    snprintf(text, sizeof text, "%u nodes: first map", size);
    bench_row(&(struct bench_row){text, first, 0, "ms", BENCH_AT_MOST, 100});
    snprintf(text, sizeof text, "%u nodes: first map, against a circle of 160 points", size);
    bench_row(&(struct bench_row){text, first, points, "ms", BENCH_INFORMS, 0});
    snprintf(text, sizeof text, "%u nodes: next map when one joins", size);
    bench_row(&(struct bench_row){text, joined, 0, "ms", BENCH_AT_MOST, 100});
    ring_map_unref(map);
    ring_map_unref(more);
}

int main(int argc, char **argv)
{
    static const unsigned sizes[] = {3, 10, 100, 1000};
    bench_start("ring-balance", argc, argv);
    name_nodes();
    for (unsigned i = 0; i < (bench_quick() ? 3u : 4u); i++)
        size_rows(sizes[i]);
    weight_rows();
    time_rows(bench_quick() ? 100 : 1000);
    return bench_finish();
}
