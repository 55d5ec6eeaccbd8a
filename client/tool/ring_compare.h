/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_compare.h - whether the copies of a ring are equal, and copying what is missing.
 */
#ifndef SIDEPOND_TOOL_RING_COMPARE_H
#define SIDEPOND_TOOL_RING_COMPARE_H

#include "ring_nodes.h"

struct ring_compare {
    struct tool *tool;
    struct sp_ring_state state;
    struct sp_ring_node *nodes;
    struct peer *peers; /* one a node */
    size_t count;
    bool copies;   /* write what is missing */
    bool stray;    /* also what only nodes have that are none of its copies */
    uint64_t rate; /* keys a second */
    bool progress; /* draw a bar on standard error */

    /* What was found. */
    uint64_t slots, differing_slots; /* sidepondd */
    uint64_t keys;                   /* Redis: as often as a node has one */
    uint64_t missing, copied, strays, failures;
    json_t *differences; /* the first of them, in words */
    bool unreachable;    /* a node did not answer */
};

int ring_compare_open(struct tool *tool, struct ring_compare *out);
void ring_compare_close(struct ring_compare *compare);
/* Notes a difference, in words; the first hundred are kept. */
void ring_compare_note(struct ring_compare *compare, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Says which node did not answer, and gives the exit code. */
int ring_compare_lost(struct ring_compare *compare, size_t node);
int ring_compare_find(const struct ring_compare *compare, const char *name);

/* sidepondd nodes: the digests of all holders, slot by slot. */
int ring_compare_digests(struct ring_compare *compare);
/* Redis nodes: each key of each node, at the other nodes that shall have it. */
int ring_compare_keys(struct ring_compare *compare);

#endif
