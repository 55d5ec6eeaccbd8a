/* SPDX-License-Identifier: Apache-2.0
 *
 * lane.c - the parts of several nodes in one call, all waited for at the same time.
 *
 * A lane ends DONE, with all replies, or LOST: refused, reset, the greeting refused, or connecting
 * took too long. That a node is silent does not end its lane: the engine above goes on without it,
 * and lanes_end closes what still owes a reply, as that would be taken for the reply to the next
 * request.
 *
 * A connection out of the pool that turns out to be closed is replaced by a fresh one, and the
 * requests are sent again, if none of them has been answered and they may be sent twice. Where they
 * may not be, the socket is looked at before anything is sent.
 *
 * Costs: a send and a recv for each lane; a poll only when a lane connects, cannot send everything
 * at once, or is nearly late. The recv blocks for less than the hedging delay, as sockets'
 * time-outs count in ticks of some milliseconds; the rest is waited for by the poll, which is
 * exact.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define POLL_FEW 16u

/* --- losing ----------------------------------------------------------------------------------- */

static void lane_lose(struct lanes *lanes, struct lane *lane, int status, const char *why)
{
    struct channel *channel = lane->channel;
    lane->state = LANE_LOST;
    lane->status = status;
    snprintf(lane->why, sizeof lane->why, "%s (%s): %s", lane->node->name, lane->node->address,
             why);
    lane->sent = lane->sent_before;
    if (channel != NULL) {
        lane->sent |= channel->sent > channel->base;
        pool_drop(lanes->ring, lane->node, channel);
    }
    lane->channel = NULL;
}

/* What is wrong with the node opens its breaker; what is wrong with this process does not. */
static void lane_fail(struct lanes *lanes, struct lane *lane, int error)
{
    int status = SP_ENODAEMON;
    if (error == ENOMEM)
        status = SP_ENOMEM;
    else if (error == EMFILE || error == ENFILE || error == ENOBUFS)
        status = SP_ESYS;
    else if (error == EACCES || error == EPERM)
        status = SP_EACCESS;
    if (status == SP_ENODAEMON && node_failed(lane->node, error == ETIMEDOUT || error == EAGAIN))
        ring_wake(lanes->ring);
    lane_lose(lanes, lane, status,
              error == ECONNRESET ? "the connection was closed" : strerror(error));
}

/* --- beginning -------------------------------------------------------------------------------- */

void lanes_begin(struct lanes *lanes, struct sp_ring *ring, const struct view *view)
{
    lanes->ring = ring;
    lanes->view = view;
    lanes->at = lanes->few;
    lanes->cap = sizeof lanes->few / sizeof lanes->few[0];
    lanes->count = 0;
}

static int lanes_reserve(struct lanes *lanes)
{
    if (lanes->count < lanes->cap)
        return SP_OK;
    struct lane *more = malloc(lanes->cap * 2 * sizeof *more);
    if (more == NULL)
        return SP_ENOMEM;
    memcpy(more, lanes->at, lanes->count * sizeof *more);
    if (lanes->at != lanes->few)
        free(lanes->at);
    lanes->at = more;
    lanes->cap *= 2;
    return SP_OK;
}

static int lane_open(struct lanes *lanes, struct lane *lane, bool fresh, int *error)
{
    bool attach = lanes->view->map->parameters.kind == RING_SIDEPOND;
    for (;;) {
        int status = pool_take(lanes->ring, lane->node, attach, lanes->view->map->epoch, fresh,
                               &lane->channel, error);
        if (status != SP_OK || !lane->once || !lane->channel->reused ||
            channel_usable(lane->channel))
            return status;
        pool_outdate(lanes->ring, lane->node, lane->channel);
        pool_drop(lanes->ring, lane->node, lane->channel);
        lane->channel = NULL;
    }
}

struct lane *lanes_add(struct lanes *lanes, struct node *node, bool once, bool fresh,
                       const struct lane_rules *rules, void *context)
{
    int error;
    if (lanes_reserve(lanes) != SP_OK)
        return NULL;
    struct lane *lane = &lanes->at[lanes->count++];
    lane->node = node;
    lane->channel = NULL;
    lane->rules = rules;
    lane->context = context;
    lane->state = LANE_ACTIVE;
    lane->once = once;
    lane->sent = lane->sent_before = lane->retried = lane->late = false;
    lane->status = SP_OK;
    lane->wanted = lane->got = 0;
    lane->items = NULL;
    lane->item_count = lane->item_cap = lane->item_at = 0;
    lane->part = 0;
    lane->settled = lane->given_up = false;
    lane->why[0] = '\0';
    if (lane_open(lanes, lane, fresh, &error) != SP_OK)
        lane_fail(lanes, lane, error);
    return lane;
}

int lane_add_item(struct lane *lane, uint32_t item)
{
    if (lane->item_count == lane->item_cap) {
        size_t cap = lane->item_cap != 0 ? lane->item_cap * 2 : 16;
        uint32_t *items = realloc(lane->items, cap * sizeof *items);
        if (items == NULL)
            return error_plain(SP_ENOMEM);
        lane->items = items;
        lane->item_cap = cap;
    }
    lane->items[lane->item_count++] = item;
    return SP_OK;
}

/* The same requests on a fresh connection. */
static void lane_again(struct lanes *lanes, struct lane *lane)
{
    struct channel *old = lane->channel;
    int error;
    lane->retried = true;
    lane->sent_before |= old->sent > old->base;
    lane->channel = NULL;
    pool_outdate(lanes->ring, lane->node, old);
    int status = lane_open(lanes, lane, true, &error);
    if (status == SP_OK) {
        struct sp_buffer *out = &lane->channel->out;
        size_t bytes = old->out.size - old->base;
        if (sp_buffer_reserve(out, out->size + bytes) == SP_OK) {
            memcpy((char *)out->data + out->size, (char *)old->out.data + old->base, bytes);
            out->size += bytes;
        } else {
            status = SP_ENOMEM;
            error = ENOMEM;
        }
    }
    pool_drop(lanes->ring, lane->node, old);
    if (status != SP_OK)
        lane_fail(lanes, lane, error);
}

static void lane_error(struct lanes *lanes, struct lane *lane, int error)
{
    const struct channel *channel = lane->channel;
    bool again = channel->reused && !lane->retried && lane->got == 0 && channel_begins(channel) &&
                 (!lane->once || channel->sent == channel->base) &&
                 (error == ECONNRESET || error == EPIPE);
    if (!again) {
        lane_fail(lanes, lane, error);
        return;
    }
    lane_again(lanes, lane);
    if (lane->state == LANE_ACTIVE && !lane->channel->connecting) {
        error = channel_send(lane->channel);
        if (error != 0)
            lane_fail(lanes, lane, error);
    }
}

void lane_start(struct lanes *lanes, struct lane *lane, size_t wanted)
{
    lane->wanted = wanted;
    lane->began_us = clock_us();
    if (lane->state != LANE_ACTIVE || lane->channel->connecting)
        return;
    int error = channel_send(lane->channel);
    if (error != 0)
        lane_error(lanes, lane, error);
}

/* --- replies ---------------------------------------------------------------------------------- */

/* Of AUTH and ATTACH. False: the lane is lost. */
static bool take_greeting(struct lanes *lanes, struct lane *lane)
{
    struct answer *answer = &lane->channel->answer;
    lane->channel->greetings--;
    if (answer->type == SP_REPLY_ARRAY) {
        ring_later_epoch(lanes->ring, (uint64_t)answer->numbers[1]);
        if (answer->numbers[2] > 0)
            ring_see_version(lanes->ring, (uint64_t)answer->numbers[2]);
    }
    if (answer->type != SP_REPLY_ERROR)
        return true;
    char why[ANSWER_TEXT_BYTES];
    int status = error_status(answer->text);
    memcpy(why, answer->text, sizeof why);
    if (status != SP_EACCESS && node_failed(lane->node, false))
        ring_wake(lanes->ring);
    lane_lose(lanes, lane, status, why);
    lane->sent = lane->sent_before; /* what stands behind a refused greeting is refused */
    return false;
}

static bool take_reply(struct lane *lane)
{
    struct channel *channel = lane->channel;
    lane->got++;
    lane->rules->answered(lane, &channel->answer);
    if (lane->got < lane->wanted)
        return true;
    lane->state = LANE_DONE;
    return false;
}

static void take_replies(struct lanes *lanes, struct lane *lane)
{
    bool more = true;
    while (more) {
        struct channel *channel = lane->channel;
        struct answer *answer = &channel->answer;
        if (channel_begins(channel))
            answer->tree = false;
        answer->value = NULL;
        if (channel->greetings == 0)
            lane->rules->prepare(lane, answer);
        int got = channel_reply(channel);
        if (got < 0)
            lane_fail(lanes, lane, got == SP_ENOMEM ? ENOMEM : EPROTO);
        if (got <= 0)
            return;
        more = channel->greetings > 0 ? take_greeting(lanes, lane) : take_reply(lane);
    }
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void lane_receive(struct lanes *lanes, struct lane *lane, bool wait)
{
    bool some;
    int error = channel_receive(lane->channel, wait, &some);
    if (error != 0)
        lane_error(lanes, lane, error);
    else if (some)
        take_replies(lanes, lane);
}

static void lane_step(struct lanes *lanes, struct lane *lane, short events)
{
    int error = 0;
    if (lane->channel->connecting) {
        error = channel_connected(lane->channel);
        if (error != 0)
            error = pool_next_address(lanes->ring, lane->node, lane->channel, error);
        if (error != 0)
            lane_fail(lanes, lane, error);
        if (error != 0 || lane->channel->connecting)
            return;
    }
    if (lane->channel->sent < lane->channel->out.size)
        error = channel_send(lane->channel);
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0)
        lane_receive(lanes, lane, false); /* what it still has to say tells more than `error` */
    else if (error != 0)
        lane_error(lanes, lane, error);
}

static short events_of(const struct channel *channel)
{
    if (channel->connecting)
        return POLLOUT;
    return channel->sent < channel->out.size ? POLLIN | POLLOUT : POLLIN;
}

struct polled {
    struct pollfd *polls;
    uint32_t *lanes; /* which one each is of */
    size_t count, cap;
    uint64_t until_us;
};

/* As many active lanes as fit, and when the first of them will have connected for too long. */
static void collect(const struct lanes *lanes, struct polled *polled)
{
    for (size_t i = 0; i < lanes->count && polled->count < polled->cap; i++) {
        const struct channel *channel = lanes->at[i].channel;
        if (lanes->at[i].state != LANE_ACTIVE)
            continue;
        if (channel->connecting && channel->connect_by_us < polled->until_us)
            polled->until_us = channel->connect_by_us;
        polled->polls[polled->count] =
            (struct pollfd){.fd = channel->fd, .events = events_of(channel)};
        polled->lanes[polled->count++] = (uint32_t)i;
    }
}

static void lose_unconnected(struct lanes *lanes)
{
    uint64_t now = clock_us();
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->at[i];
        if (lane->state == LANE_ACTIVE && lane->channel->connecting &&
            lane->channel->connect_by_us <= now) {
            int error = pool_next_address(lanes->ring, lane->node, lane->channel, ETIMEDOUT);
            if (error != 0)
                lane_fail(lanes, lane, error);
        }
    }
}

static void poll_lanes(struct lanes *lanes, const struct polled *polled)
{
    uint64_t now = clock_us();
    uint64_t left_us = polled->until_us > now ? polled->until_us - now : 0;
    const struct timespec left = {.tv_sec = (time_t)(left_us / 1000000),
                                  .tv_nsec = (long)(left_us % 1000000 * 1000)};
    int ready = ppoll(polled->polls, polled->count, &left, NULL);
    for (size_t i = 0; ready > 0 && i < polled->count; i++)
        if (polled->polls[i].revents != 0)
            lane_step(lanes, &lanes->at[polled->lanes[i]], polled->polls[i].revents);
    if (ready <= 0)
        lose_unconnected(lanes);
}

/* Without memory for all of them, the first ones. */
static void wait_many(struct lanes *lanes, size_t active, uint64_t until_us)
{
    struct pollfd few[POLL_FEW];
    uint32_t few_lanes[POLL_FEW];
    struct polled polled = {few, few_lanes, 0, POLL_FEW, until_us};
    void *more = NULL;
    if (active > POLL_FEW)
        more = malloc(active * (sizeof(struct pollfd) + sizeof(uint32_t)));
    if (more != NULL)
        polled = (struct polled){more, (uint32_t *)((struct pollfd *)more + active), 0, active,
                                 until_us};
    collect(lanes, &polled);
    poll_lanes(lanes, &polled);
    free(more);
}

static size_t count_active(const struct lanes *lanes)
{
    size_t active = 0;
    for (size_t i = 0; i < lanes->count; i++)
        active += lanes->at[i].state == LANE_ACTIVE;
    return active;
}

/* A lane whose answer is to be waited for, if all that is left to do is to wait for answers, for at
 * least as long as a socket would. All of them are wanted, so any will do, and a recv that blocks
 * costs less than a poll before it. The last one is likely to be answered last, and then the others
 * do not put the thread to sleep once more. */
static struct lane *silent_lane(const struct lanes *lanes, uint64_t until_us)
{
    const struct ring_settings *settings = &lanes->ring->settings;
    struct lane *last = NULL;
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->at[i];
        if (lane->state != LANE_ACTIVE)
            continue;
        if (lane->late || lane->channel->connecting ||
            lane->channel->sent < lane->channel->out.size)
            return NULL;
        last = lane;
    }
    if (last == NULL || settings->receive_ms == 0)
        return NULL;
    return until_us >= clock_us() + settings->hedge_ms * UINT64_C(950) ? last : NULL;
}

size_t lanes_wait(struct lanes *lanes, uint64_t until_us)
{
    struct lane *silent = silent_lane(lanes, until_us);
    size_t active = silent != NULL ? 1 : count_active(lanes);
    if (silent != NULL)
        lane_receive(lanes, silent, true);
    else if (active > 0)
        wait_many(lanes, active, until_us);
    return count_active(lanes);
}

void lanes_end(struct lanes *lanes)
{
    uint64_t now = clock_us();
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->at[i];
        if (lane->state == LANE_DONE) {
            node_answered(lane->node, now - lane->began_us, lane->wanted);
            pool_give(lanes->ring, lane->node, lane->channel);
        } else if (lane->channel != NULL) {
            if (lane->late && node_failed(lane->node, true))
                ring_wake(lanes->ring);
            pool_drop(lanes->ring, lane->node, lane->channel);
        }
        free(lane->items);
    }
    if (lanes->at != lanes->few)
        free(lanes->at);
    lanes->count = 0;
}
