/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c - single requests of the library's own: of the keeper, and for what commands there are.
 */
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

/* --- one node --------------------------------------------------------------------------------- */

static void prepare_ask(struct lane *lane, struct answer *answer)
{
    const struct answer *wanted = lane->context;
    answer->tree = wanted->tree;
    answer->value = wanted->value;
}

static void answered_ask(struct lane *lane, struct answer *answer)
{
    memcpy(lane->context, answer, sizeof *answer);
}

int node_ask(struct sp_ring *ring, const struct view *view, struct node *node,
             const struct argument *arguments, size_t count, uint32_t ms, struct answer *answer)
{
    static const struct lane_rules rules = {prepare_ask, answered_ask};
    struct lanes lanes;
    uint64_t until = clock_us() + ms * UINT64_C(1000);
    int status = SP_OK;
    lanes_begin(&lanes, ring, view);
    struct lane *lane = lanes_add(&lanes, node, false, false, &rules, answer);
    if (lane == NULL)
        return error_plain(SP_ENOMEM);
    if (lane->state == LANE_ACTIVE)
        status = put_arguments(&lane->channel->out, arguments, count);
    if (status == SP_OK) {
        lane_start(&lanes, lane, 1);
        while (lane->state == LANE_ACTIVE && clock_us() < until)
            (void)lanes_wait(&lanes, until);
        if (lane->state == LANE_LOST)
            status = error_set(lane->status, "%s", lane->why);
        else if (lane->state == LANE_ACTIVE)
            status = error_set(SP_ETIMEDOUT, "%s (%s) did not answer within %u ms", node->name,
                               node->address, ms);
    }
    lanes_end(&lanes);
    return status;
}

/* --- PING of many ----------------------------------------------------------------------------- */

static void prepare_ping(struct lane *lane, struct answer *answer)
{
    (void)lane, (void)answer;
}

static void answered_ping(struct lane *lane, struct answer *answer)
{
    bool *answered = lane->context;
    *answered = answer->type == SP_REPLY_TEXT && strcmp(answer->text, "PONG") == 0;
}

void nodes_ping(struct sp_ring *ring, const struct view *view, struct node *const *nodes,
                size_t count, uint32_t ms, bool *answered)
{
    static const struct lane_rules rules = {prepare_ping, answered_ping};
    static const struct argument ping = {"PING", 4};
    struct lanes lanes;
    uint64_t until = clock_us() + ms * UINT64_C(1000);
    lanes_begin(&lanes, ring, view);
    for (size_t i = 0; i < count; i++) {
        answered[i] = false;
        struct lane *lane = lanes_add(&lanes, nodes[i], false, true, &rules, &answered[i]);
        if (lane == NULL)
            break;
        if (lane->state == LANE_ACTIVE && put_arguments(&lane->channel->out, &ping, 1) == SP_OK)
            lane_start(&lanes, lane, 1);
    }
    while (clock_us() < until && lanes_wait(&lanes, until) > 0)
        continue;
    /* Not by lanes_end: a PONG closes the breaker, but an error such as LOADING does not. */
    for (size_t i = 0; i < lanes.count; i++)
        if (lanes.at[i].state == LANE_DONE && !answered[i]) {
            pool_drop(ring, lanes.at[i].node, lanes.at[i].channel);
            lanes.at[i].channel = NULL;
            lanes.at[i].state = LANE_LOST;
        }
    lanes_end(&lanes);
}
