/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.c - many questions, each to be answered by one of its slot's nodes.
 *
 * In a round, each item goes to the first of its candidates; those for one node go there in one
 * piece. An item whose node is refused, reset, or says that the next one should be asked, goes to
 * the next candidate. Where the hedging delay passes without an answer, it goes to the next one as
 * well, and the first answer counts. So all candidates have been asked before an item fails.
 *
 * What is not to be done twice is never sent to a second node unless it is certain that the first
 * has not done it: nothing of it was sent, or the node said so.
 *
 * Nodes that missed writes of this handle are asked when the others have failed. When these are
 * only silent, half of the time goes by first: an old value is worse than a late one.
 * What such nodes of sidepondd do not have is absent when those that are still silent do not answer
 * a PING either.
 *
 * Nodes that say that they do not know whether what they hold is current (NOTHELD) may know in a
 * moment: if that is why an item failed, it is asked again in another round until the time is over.
 * Each round goes by the map of its moment, which may be another one, with other slots.
 *
 * Costs: for one item whose node answers, nothing is allocated beyond a list of one item, and the
 * time is that of lane.c.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define PAUSE_FIRST_MS 1u
#define PAUSE_MAX_MS   16u

/* --- items ------------------------------------------------------------------------------------ */

static void finish(struct batch *batch, struct item *item, int status)
{
    if (item->pending)
        batch->waiting--;
    item->pending = false;
    item->done = true;
    item->status = status;
    batch->left--;
}

static void set_pending(struct batch *batch, struct item *item)
{
    batch->waiting += !item->pending;
    item->pending = true;
}

/* Any nodes, those first that are not kept back. */
static unsigned any_candidates(const struct view *view, uint16_t out[CANDIDATES_MAX])
{
    unsigned count = 0;
    for (int kept_back = 0; kept_back < 2; kept_back++)
        for (uint32_t i = 0; i < view->map->node_count && count < CANDIDATES_MAX; i++)
            if (node_kept_back(view->nodes[i]) == (kept_back != 0))
                out[count++] = (uint16_t)i;
    return count;
}

static uint8_t count_trusted(const struct view *view, const struct item *item)
{
    uint8_t count = 0;
    while (count < item->candidate_count &&
           (item->keyless || !node_distrusted(view->nodes[item->candidates[count]], item->slot)))
        count++;
    return count;
}

static void prepare_round(struct batch *batch)
{
    batch->half_over = batch->half_over || clock_us() >= batch->half_us;
    batch->waiting = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        if (item->done)
            continue;
        item->candidate_count =
            (uint8_t)(item->keyless
                          ? any_candidates(batch->view, item->candidates)
                          : view_candidates(batch->view, item->slot, item->once, item->candidates));
        item->trusted = count_trusted(batch->view, item);
        item->tried = item->live = item->prompt = item->hoped = 0;
        item->unsure = item->absent = item->believed = item->pending = item->half = false;
        item->status = SP_ENONODE;
        set_pending(batch, item);
        batch->once |= item->once;
    }
}

static void leave_lane(struct item *item, const struct lane *lane)
{
    item->live--;
    item->prompt -= !lane->late;
    item->hoped -= !lane->given_up;
}

/* Nothing is waited for any more, or only what cannot be reached, while others say that it is not
 * there. */
static bool is_left(const struct item *item)
{
    return item->live == 0 || (item->absent && !item->unsure && item->hoped == 0);
}

/* Nothing is waited for any more that would count against an absence that is believed. */
static bool absent_for_good(const struct item *item)
{
    return item->believed && item->prompt == 0;
}

/* A lane that it was in will not answer it. */
static void go_on(struct batch *batch, struct item *item)
{
    if (!item->done && (is_left(item) || absent_for_good(item)))
        set_pending(batch, item);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void on_prepare(struct lane *lane, struct answer *answer)
{
    struct batch *batch = lane->context;
    uint32_t item = lane->items[lane->item_at];
    batch->rules->prepare(batch, item, lane->part, answer);
    if (batch->items[item].done)
        answer->value = NULL;
}

enum verdict batch_absence(const struct batch *batch, const struct item *item,
                           const struct node *node)
{
    if (batch->view->map->parameters.kind == RING_REDIS)
        return view_holds(batch->view, item->slot, node) ? VERDICT_ABSENT : VERDICT_REFUSED;
    for (unsigned i = 0; i < item->trusted; i++)
        if (batch->view->nodes[item->candidates[i]] == node && !node_distrusted(node, item->slot))
            return VERDICT_DONE;
    return VERDICT_ABSENT;
}

static void take_verdict(struct batch *batch, struct item *item, enum verdict verdict,
                         const struct lane *lane)
{
    leave_lane(item, lane);
    item->unsure |= verdict == VERDICT_UNSURE;
    if (verdict == VERDICT_ABSENT) {
        item->absent = true;
        item->believed |= view_believes(batch->view, item->slot, lane->node);
    }
    if (verdict == VERDICT_DONE)
        finish(batch, item, item->status);
    else
        go_on(batch, item);
}

static void on_answer(struct lane *lane, struct answer *answer)
{
    struct batch *batch = lane->context;
    uint32_t at = lane->items[lane->item_at];
    struct item *item = &batch->items[at];
    unsigned part = lane->part++;
    bool last = lane->part == item->parts;
    if (last) {
        lane->item_at++;
        lane->part = 0;
    }
    if (item->done) {
        if (answer->tree)
            sp_reply_free(answer->reply);
        if (last)
            leave_lane(item, lane);
        return;
    }
    enum verdict verdict = batch->rules->answered(batch, at, part, answer, lane->node);
    item->half = verdict == VERDICT_DONE;
    if (last)
        take_verdict(batch, item, verdict, lane);
}

static const struct lane_rules lane_rules = {on_prepare, on_answer};

/* --- sending ---------------------------------------------------------------------------------- */

static void note_lost(struct batch *batch, struct item *item, const struct lane *lane)
{
    if (lane->status == SP_EACCESS || lane->status == SP_ENOMEM || lane->status == SP_ESYS ||
        lane->status == SP_EREFUSED)
        item->status = lane->status;
    memcpy(batch->why, lane->why, sizeof lane->why);
}

/* The lane of this wave to a node; NULL: no memory. */
static struct lane *lane_to(struct batch *batch, size_t wave, struct node *node)
{
    for (size_t i = batch->lanes.count; i > wave; i--)
        if (batch->lanes.at[i - 1].node == node)
            return &batch->lanes.at[i - 1];
    return lanes_add(&batch->lanes, node, batch->once, false, &lane_rules, batch);
}

static int put_item(struct batch *batch, struct lane *lane, uint32_t at)
{
    struct item *item = &batch->items[at];
    item->parts = 1;
    int status = lane_add_item(lane, at);
    if (status == SP_OK)
        status = batch->rules->put(batch, at, &lane->channel->out);
    if (status != SP_OK)
        return status;
    lane->wanted += item->parts;
    item->live++;
    item->prompt++;
    item->hoped++;
    item->pending = false;
    batch->waiting--;
    return SP_OK;
}

/* Whether the item has another candidate that may be asked by now. Those that are not trusted may
 * have an old value, so silence of the others is no reason to ask them before half of the time is
 * over; nor is it that another one does not yet know whether its own counts, or, of Redis, knows of
 * no value: of sidepondd, that alone is not believed which is not trusted either.
 * Where an absence is believed, a node that is down is not worth another try.
 */
static bool may_try(const struct batch *batch, struct item *item)
{
    while (item->believed && item->tried < item->trusted &&
           node_down(batch->view->nodes[item->candidates[item->tried]]))
        item->tried++;
    if (item->tried == item->candidate_count || (item->believed && item->tried == item->trusted))
        return false;
    if (item->tried < item->trusted || batch->half_over)
        return true;
    bool sidepond = batch->view->map->parameters.kind == RING_SIDEPOND;
    return is_left(item) && !item->unsure && (!item->absent || sidepond);
}

/* To the next candidate to which a lane can be opened. */
static int send_item(struct batch *batch, size_t wave, uint32_t at)
{
    struct item *item = &batch->items[at];
    while (may_try(batch, item)) {
        uint16_t position = item->candidates[item->tried++];
        struct lane *lane = lane_to(batch, wave, batch->view->nodes[position]);
        if (lane == NULL)
            return error_plain(SP_ENOMEM);
        if (lane->state == LANE_ACTIVE)
            return put_item(batch, lane, at);
        note_lost(batch, item, lane);
    }
    if (!is_left(item) && !absent_for_good(item)) {
        item->pending = false;
        batch->waiting--;
    } else {
        finish(batch, item, item->absent && !item->unsure ? SP_ENOTFOUND : item->status);
    }
    return SP_OK;
}

static int send_waiting(struct batch *batch)
{
    size_t wave = batch->lanes.count;
    int status = SP_OK;
    for (uint32_t i = 0; batch->waiting > 0 && i < batch->count && status == SP_OK; i++)
        if (batch->items[i].pending)
            status = send_item(batch, wave, i);
    for (size_t i = wave; i < batch->lanes.count && status == SP_OK; i++)
        if (batch->lanes.at[i].state == LANE_ACTIVE)
            lane_start(&batch->lanes, &batch->lanes.at[i], batch->lanes.at[i].wanted);
    return status;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void settle_lost(struct batch *batch, struct lane *lane)
{
    lane->settled = true;
    for (; lane->item_at < lane->item_count; lane->item_at++) {
        struct item *item = &batch->items[lane->items[lane->item_at]];
        if (!item->done) {
            note_lost(batch, item, lane);
            if (item->half)
                finish(batch, item, SP_OK);
            else if (item->once && lane->sent)
                finish(batch, item, SP_EUNKNOWN);
        }
        leave_lane(item, lane);
        go_on(batch, item);
    }
}

/* The hedging delay has passed: what can be asked of another one is, and an absence that is
 * believed counts. */
static void hedge(struct batch *batch, struct lane *lane)
{
    bool hedged = false, first = !lane->late;
    lane->late = true;
    if (node_suspect(lane->node))
        ring_wake(batch->ring);
    for (size_t i = lane->item_at; i < lane->item_count; i++) {
        struct item *item = &batch->items[lane->items[i]];
        item->prompt -= first;
        if (item->done || item->once)
            continue;
        if (may_try(batch, item))
            hedged = true;
        else if (!absent_for_good(item))
            continue;
        set_pending(batch, item);
    }
    if (hedged)
        atomic_fetch_add_explicit(&lane->node->hedged, 1, memory_order_relaxed);
}

/* It does not answer a PING either. Of Redis it is waited for all the same: there an absence that
 * is not believed may be that of a server which came back empty. */
static void give_up(struct batch *batch, struct lane *lane)
{
    lane->given_up = true;
    for (size_t i = lane->item_at; i < lane->item_count; i++) {
        struct item *item = &batch->items[lane->items[i]];
        item->hoped--;
        go_on(batch, item);
    }
}

static bool may_give_up(const struct batch *batch, const struct lane *lane)
{
    return lane->state == LANE_ACTIVE && lane->late && !lane->given_up &&
           batch->view->map->parameters.kind == RING_SIDEPOND;
}

/* Half of the time is over, too. */
static void look_at_clock(struct batch *batch)
{
    if (batch->half_over || clock_us() < batch->half_us)
        return;
    batch->half_over = true;
    for (size_t i = 0; i < batch->lanes.count; i++)
        if (batch->lanes.at[i].state == LANE_ACTIVE && batch->lanes.at[i].late)
            hedge(batch, &batch->lanes.at[i]);
}

static void look_at_lanes(struct batch *batch)
{
    uint64_t hedge_us = batch->ring->settings.hedge_ms * UINT64_C(1000);
    uint64_t now = 0;
    for (size_t i = 0; i < batch->lanes.count; i++) {
        struct lane *lane = &batch->lanes.at[i];
        if (lane->state == LANE_LOST && !lane->settled) {
            settle_lost(batch, lane);
        } else if (lane->state == LANE_ACTIVE && !lane->late && hedge_us != 0) {
            now = now != 0 ? now : clock_us();
            if (now >= lane->began_us + hedge_us)
                hedge(batch, lane);
        } else if (may_give_up(batch, lane) && node_down(lane->node)) {
            give_up(batch, lane);
        }
    }
}

/* Until when there is nothing to do but to wait. */
static uint64_t wake_us(const struct batch *batch)
{
    uint64_t hedge_us = batch->ring->settings.hedge_ms * UINT64_C(1000);
    uint64_t wake = batch->half_over ? batch->deadline_us : batch->half_us;
    uint64_t now = clock_us();
    for (size_t i = 0; i < batch->lanes.count && hedge_us != 0; i++) {
        const struct lane *lane = &batch->lanes.at[i];
        if (lane->state == LANE_ACTIVE && !lane->late && lane->began_us + hedge_us < wake)
            wake = lane->began_us + hedge_us;
        if (may_give_up(batch, lane) && now + LOOK_US < wake)
            wake = now + LOOK_US;
    }
    return wake;
}

static int status_in_the_end(const struct item *item)
{
    if (item->half)
        return SP_OK;
    if (item->absent)
        return SP_ENOTFOUND;
    return item->once ? SP_EUNKNOWN : SP_ETIMEDOUT;
}

static void time_is_over(struct batch *batch)
{
    for (size_t i = 0; i < batch->lanes.count; i++)
        batch->lanes.at[i].late = true;
    snprintf(batch->why, sizeof batch->why, "no answer within %u ms",
             batch->ring->settings.timeout_ms);
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        if (!item->done)
            finish(batch, item, status_in_the_end(item));
    }
}

static int run_round(struct batch *batch)
{
    prepare_round(batch);
    lanes_begin(&batch->lanes, batch->ring, batch->view);
    int status = SP_OK;
    while (batch->left > 0 && status == SP_OK) {
        if (batch->waiting > 0)
            status = send_waiting(batch);
        look_at_lanes(batch);
        if (batch->waiting > 0 || batch->left == 0 || status != SP_OK)
            continue;
        if (lanes_wait(&batch->lanes, wake_us(batch)) > 0)
            look_at_clock(batch);
        look_at_lanes(batch);
        if (batch->left > 0 && batch->waiting == 0 && clock_us() >= batch->deadline_us)
            time_is_over(batch);
    }
    lanes_end(&batch->lanes);
    if (batch->rules->round_over != NULL)
        batch->rules->round_over(batch);
    return status;
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* Those that another round may help. */
static size_t take_up_unsure(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        if (!item->done || !item->unsure || item->status != SP_ENONODE)
            continue;
        item->done = false;
        batch->left++;
    }
    return batch->left;
}

/* The view of now in the place of the one before, if there is one. */
static int take_view(struct batch *batch)
{
    view_give(batch->view);
    int status = ring_view(batch->ring, &batch->view);
    return status == SP_OK ? batch->rules->plan(batch) : status;
}

/* Who could not tell until the end does not count against an absence. */
static void take_absent(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        if (item->done && item->absent && item->status == SP_ENONODE)
            item->status = SP_ENOTFOUND;
    }
}

int batch_run(struct batch *batch)
{
    uint32_t pause_ms = PAUSE_FIRST_MS;
    batch->view = NULL;
    int status = take_view(batch);
    uint64_t now = clock_us();
    batch->deadline_us = now + batch->ring->settings.timeout_ms * UINT64_C(1000);
    batch->half_us = now + batch->ring->settings.timeout_ms * UINT64_C(500);
    batch->half_over = false;
    batch->left = batch->count;
    batch->once = false;
    while (status == SP_OK) {
        status = run_round(batch);
        if (status != SP_OK || clock_us() + pause_ms * UINT64_C(1000) >= batch->deadline_us ||
            take_up_unsure(batch) == 0)
            break;
        const struct timespec pause = {.tv_nsec = pause_ms * 1000000L};
        nanosleep(&pause, NULL);
        pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms * 2 : pause_ms;
        status = take_view(batch);
    }
    take_absent(batch);
    return status;
}
