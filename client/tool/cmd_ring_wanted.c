/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_ring_wanted.c - `sidepond ring drain`, `undrain` and `weight`: what operators want of a node.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "json.h"
#include "ring_nodes.h"

#define WEIGHT_MAX 1000

/* The state of the node that is the first argument; says so if there is none. */
static int node_read(struct tool *tool, struct sp_ring_node *out, uint64_t *epoch)
{
    struct sp_ring_node *nodes = NULL;
    struct sp_ring_state state;
    size_t count = 0;
    int status = sp_ring_nodes(tool->ring, &nodes, &count, &state);
    if (status != SP_OK)
        return tool_failed(status, "the ring's nodes");
    int found = ring_node_find(nodes, count, tool->args[0]);
    if (found >= 0)
        *out = nodes[found];
    *epoch = state.epoch;
    free(nodes);
    return found >= 0 ? TOOL_OK : TOOL_USAGE;
}

static int tell(const struct tool *tool, const struct sp_ring_node *node, const char *done)
{
    if (tool->json)
        return json_print(json_pack("{s:s, s:s, s:I, s:s}", "node", node->name, "done", done,
                                    "held_slots", (json_int_t)node->held_slots, "state",
                                    ring_state_text(node->state)));
    printf("%s: %s; it holds %" PRIu32 " slots\n", node->name, done, node->held_slots);
    return TOOL_OK;
}

/* A node that has left the ring holds nothing either. */
static int await_drained(struct tool *tool, uint32_t wait_ms, struct sp_ring_node *node,
                         uint64_t epoch)
{
    uint64_t end_us = clock_us() + UINT64_C(1000) * wait_ms, now_us;
    while (node->held_slots > 0 && (now_us = clock_us()) < end_us) {
        int status = sp_ring_wait(tool->ring, epoch, (uint32_t)((end_us - now_us + 999) / 1000));
        if (status != SP_OK && status != SP_ETIMEDOUT)
            return tool_failed(status, "the ring's map");
        int code = node_read(tool, node, &epoch);
        if (code != TOOL_OK)
            return code;
    }
    return TOOL_OK;
}

int tool_ring_drain(struct tool *tool)
{
    struct sp_ring_node node = {0};
    uint32_t wait_ms;
    uint64_t epoch = 0;
    int code = tool_option_ms(tool, "wait", 0, &wait_ms);
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = node_read(tool, &node, &epoch);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_drain(tool->ring, node.name, true);
    if (status != SP_OK)
        return tool_failed(status, "cannot drain \"%s\"", node.name);
    if (wait_ms == 0)
        return tell(tool, &node, "to be drained");
    code = await_drained(tool, wait_ms, &node, epoch);
    if (code != TOOL_OK)
        return code;
    bool drained = node.held_slots == 0;
    code = tell(tool, &node, drained ? "drained" : "not drained yet");
    return code == TOOL_OK && !drained ? TOOL_NO : code;
}

int tool_ring_undrain(struct tool *tool)
{
    struct sp_ring_node node = {0};
    uint64_t epoch;
    int code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = node_read(tool, &node, &epoch);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_drain(tool->ring, node.name, false);
    if (status != SP_OK)
        return tool_failed(status, "cannot undrain \"%s\"", node.name);
    return tell(tool, &node, "to hold data again");
}

int tool_ring_weight(struct tool *tool)
{
    struct sp_ring_node node = {0};
    uint64_t epoch;
    char *end = NULL, done[64];
    errno = 0;
    unsigned long weight = strtoul(tool->args[1], &end, 10);
    if (errno != 0 || end == tool->args[1] || *end != '\0' || weight > WEIGHT_MAX ||
        tool->args[1][0] == '-') {
        tool_error("\"%s\" is not a weight; it is 1 to %d, or 0: as configured", tool->args[1],
                   WEIGHT_MAX);
        return TOOL_USAGE;
    }
    int code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = node_read(tool, &node, &epoch);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_weight(tool->ring, node.name, (uint32_t)weight);
    if (status != SP_OK)
        return tool_failed(status, "cannot weigh \"%s\"", node.name);
    snprintf(done, sizeof done, weight == 0 ? "weight as configured" : "weight %lu", weight);
    return tell(tool, &node, done);
}
