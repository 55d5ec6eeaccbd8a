/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_nodes.h - what the ring commands share: opening the ring that the options name, asking
 * one certain node, and a picture of all nodes.
 */
#ifndef SIDEPOND_TOOL_RING_NODES_H
#define SIDEPOND_TOOL_RING_NODES_H

#include <jansson.h>

#include "peer.h"
#include "table.h"
#include "tool.h"

/* --- the ring ------------------------------------------------------------------------------- */

/* Opens tool->ring; says what is wrong. */
int tool_ring_open(struct tool *tool);
/* --need; all, if it is not given. */
enum sp_ring_need tool_ring_need(const struct tool *tool);
/* Position of a node, or -1 after having said which there are. */
int ring_node_find(const struct sp_ring_node *nodes, size_t count, const char *name);

/* --- one node ------------------------------------------------------------------------------- */

/* The connection asks as a ring client's, so that the node answers for itself only. */
void ring_peer_init(struct peer *peer, const struct tool *tool, const struct sp_ring_node *node,
                    const struct sp_ring_state *state);

/* The text behind "name:" in an INFO; false: it is not there. */
bool info_text(const char *info, const char *name, char *out, size_t room);
bool info_number(const char *info, const char *name, uint64_t *out);

/* --- all nodes ------------------------------------------------------------------------------ */

/* What a node says of itself. */
struct ring_figure {
    bool answers;
    char why[PEER_WHY_BYTES];
    uint64_t keys, memory_bytes, process_id;
    uint32_t round_trip_us;
    uint64_t missed_slots, queued; /* what the others still have to send to it */
    uint64_t suspect_slots, pulling_slots;
};

struct ring_picture {
    struct sp_ring_state state;
    struct sp_ring_node *nodes;
    struct ring_figure *figures;
    size_t count;
};
/* Asks all nodes at the same time, so that one that hangs holds up none but itself. */
int ring_picture_take(struct tool *tool, struct ring_picture *out);
void ring_picture_free(struct ring_picture *picture);
/* Every slot has all its copies, every node answers, and no write is still on its way. */
bool ring_picture_complete(const struct ring_picture *picture);
json_t *ring_picture_json(const struct ring_picture *picture);
/* The table and the sentence below it. */
void ring_picture_print(const struct tool *tool, const struct ring_picture *picture, FILE *out);
/* One line without numbers that change all the time: what `ring watch` tells elsewhere. Returns
 * `out`. */
const char *ring_picture_line(const struct ring_picture *picture, char *out, size_t room);

const char *ring_state_text(enum sp_ring_node_state state);

#endif
