/* SPDX-License-Identifier: Apache-2.0
 *
 * spread.c - writes that go to all nodes of their slots at the same time.
 *
 * With sidepondd, an item is stamped and goes to each holder and target as PUT or ERASE; with Redis
 * as SET or DEL. A node that is kept back is not asked, so it costs nothing, unless no other has
 * the write. What one node has and another has not is noted (trust.c).
 *
 * An item is written again, stamped anew, where a node knows a newer entry, and by a newer map
 * where a node has nothing to do with the slot any more.
 *
 * With SP_RING_ONE, who is later than the hedging delay is not waited for once a holder has it that
 * missed nothing of the slot, in this call or before: otherwise each copy of the slot would lack
 * something that the other has, and none could be read from. Where every holder that may still
 * answer has missed something already, any holder does. With SP_RING_ALL, and where a holder that
 * missed nothing is late, it is waited for until the keeper has found that it does not answer a
 * PING.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define ROUNDS_MAX  8u
#define MAP_WAIT_MS 200u
#define SPREAD_ARGS 8u

enum result {
    RESULT_KEPT_BACK, /* not asked */
    RESULT_ASKED,     /* no answer so far */
    RESULT_HAS,
    RESULT_REFUSED,
    RESULT_UNSENT,  /* nothing of it was sent */
    RESULT_UNKNOWN, /* it was sent, and there is no answer */
    RESULT_NEWER,
    RESULT_MOVED,
};

struct spread {
    struct sp_ring *ring;
    struct view *view;
    struct spread_item *items;
    size_t count;
    enum sp_ring_need need;
    uint64_t began_us, deadline_us, moved_epoch;
    struct lanes lanes;
    size_t wave; /* the first lane of those that are being filled */
    char *why;
};

/* --- requests --------------------------------------------------------------------------------- */

static struct argument number_argument(char digits[PUT_NUMBER_BYTES], uint64_t number)
{
    return (struct argument){digits, put_digits(digits, number)};
}

static int put_sidepond(const struct spread *spread, const struct spread_item *item,
                        struct sp_buffer *out)
{
    char digits[3][PUT_NUMBER_BYTES];
    struct argument arguments[SPREAD_ARGS] = {
        {"SIDEPOND", 8},
        {item->value != NULL ? "PUT" : "ERASE", item->value != NULL ? 3 : 5},
        number_argument(digits[0], spread->view->map->epoch),
        number_argument(digits[1], item->version)};
    size_t count = 4;
    if (item->value != NULL)
        arguments[count++] = number_argument(digits[2], (uint64_t)item->expiry_ms);
    arguments[count++] = (struct argument){item->key, item->key_bytes};
    if (item->value != NULL)
        arguments[count++] = (struct argument){item->value, item->value_bytes};
    return put_arguments(out, arguments, count);
}

static int put_redis(const struct spread_item *item, struct sp_buffer *out)
{
    char digits[PUT_NUMBER_BYTES];
    struct argument arguments[SPREAD_ARGS] = {{item->value != NULL ? "SET" : "DEL", 3},
                                              {item->key, item->key_bytes}};
    size_t count = 2;
    if (item->value != NULL)
        arguments[count++] = (struct argument){item->value, item->value_bytes};
    if (item->value != NULL && item->ttl_ms != 0) {
        arguments[count++] = (struct argument){"PX", 2};
        arguments[count++] = number_argument(digits, (uint64_t)item->ttl_ms);
    }
    return put_arguments(out, arguments, count);
}

/* --- replies ---------------------------------------------------------------------------------- */

static uint8_t *result_of(const struct spread *spread, struct spread_item *item,
                          const struct node *node)
{
    unsigned i = 0;
    while (i + 1 < item->node_count && spread->view->nodes[item->nodes[i]] != node)
        i++;
    return &item->results[i];
}

static enum result take_error(struct spread *spread, struct spread_item *item, const char *text,
                              const struct node *node)
{
    snprintf(spread->why, NODE_TEXT_BYTES, "%s (%s): %s", node->name, node->address, text);
    if (strncmp(text, "NEWER ", 6) == 0) {
        ring_see_version(spread->ring, strtoull(text + 6, NULL, 10));
        return RESULT_NEWER;
    }
    if (strncmp(text, "MOVED ", 6) == 0 && spread->view->map->parameters.kind == RING_SIDEPOND) {
        uint64_t epoch = strtoull(text + 6, NULL, 10);
        if (epoch > spread->moved_epoch)
            spread->moved_epoch = epoch;
        return RESULT_MOVED;
    }
    item->refused = error_status(text);
    return RESULT_REFUSED;
}

/* The node's clock, and maybe its epoch, which is a later one. */
static void take_clock(struct spread *spread, const struct answer *answer)
{
    if (spread->view->map->parameters.kind == RING_REDIS)
        return;
    if (answer->numbers[0] > 0)
        ring_see_version(spread->ring, (uint64_t)answer->numbers[0]);
    if (answer->type == SP_REPLY_ARRAY && answer->numbers[1] > 0)
        ring_later_epoch(spread->ring, (uint64_t)answer->numbers[1]);
}

static void on_prepare(struct lane *lane, struct answer *answer)
{
    (void)lane, (void)answer;
}

static void on_answer(struct lane *lane, struct answer *answer)
{
    struct spread *spread = lane->context;
    struct spread_item *item = &spread->items[lane->items[lane->item_at++]];
    uint8_t *result = result_of(spread, item, lane->node);
    if (answer->type == SP_REPLY_ERROR) {
        *result = (uint8_t)take_error(spread, item, answer->text, lane->node);
    } else {
        take_clock(spread, answer);
        *result = RESULT_HAS;
    }
}

static const struct lane_rules lane_rules = {on_prepare, on_answer};

/* --- one wave --------------------------------------------------------------------------------- */

static int put_item(struct spread *spread, uint32_t at, struct node *node)
{
    struct spread_item *item = &spread->items[at];
    struct lane *lane = NULL;
    for (size_t i = spread->lanes.count; i > spread->wave && lane == NULL; i--)
        if (spread->lanes.at[i - 1].node == node)
            lane = &spread->lanes.at[i - 1];
    if (lane == NULL)
        lane = lanes_add(&spread->lanes, node, false, false, &lane_rules, spread);
    if (lane == NULL)
        return error_plain(SP_ENOMEM);
    uint8_t *result = result_of(spread, item, node);
    *result = RESULT_UNSENT;
    if (lane->state != LANE_ACTIVE)
        return SP_OK;
    int status = lane_add_item(lane, at);
    if (status == SP_OK)
        status = spread->view->map->parameters.kind == RING_SIDEPOND
                     ? put_sidepond(spread, item, &lane->channel->out)
                     : put_redis(item, &lane->channel->out);
    *result = RESULT_ASKED;
    lane->wanted++;
    return status;
}

static void place_item(struct spread *spread, struct spread_item *item)
{
    const struct ring_map *map = spread->view->map;
    item->slot = ring_slot(item->key, item->key_bytes, map->parameters.slots);
    item->node_count = (uint8_t)ring_map_union(map, item->slot, item->nodes);
    item->holders = map->slots[item->slot].holder_count;
    int64_t now_ms = clock_wall_ms();
    item->version = ring_clock_stamp(&spread->ring->clock, now_ms);
    item->expiry_ms = item->ttl_ms != 0 ? now_ms + item->ttl_ms : 0;
    item->refused = SP_OK;
    memset(item->results, RESULT_KEPT_BACK, sizeof item->results);
}

/* Whether, of the item's holders, another one than this has missed nothing of its slot. */
static bool other_is_trusted(const struct spread *spread, const struct spread_item *item,
                             const struct node *node)
{
    for (unsigned i = 0; i < item->holders; i++) {
        const struct node *other = spread->view->nodes[item->nodes[i]];
        if (other != node && !node_distrusted(other, item->slot))
            return true;
    }
    return false;
}

/* Whoever wants all copies, or the only one that is trusted, waits for a node that is only slow. */
static bool is_kept_back(const struct spread *spread, const struct spread_item *item,
                         const struct node *node)
{
    return spread->need == SP_RING_ALL || !other_is_trusted(spread, item, node)
               ? node_down(node)
               : node_kept_back(node);
}

/* To all that are not kept back; if there are none, or `kept_back`, to the others. */
static int put_to_nodes(struct spread *spread, uint32_t at, bool kept_back)
{
    struct spread_item *item = &spread->items[at];
    int status = SP_OK;
    unsigned asked = 0;
    for (unsigned i = 0; i < item->node_count && status == SP_OK; i++) {
        struct node *node = spread->view->nodes[item->nodes[i]];
        if (!kept_back && is_kept_back(spread, item, node)) {
            item->results[i] = RESULT_KEPT_BACK;
            continue;
        }
        if (kept_back && item->results[i] != RESULT_KEPT_BACK)
            continue;
        status = put_item(spread, at, node);
        asked++;
    }
    return status == SP_OK && asked == 0 && !kept_back ? put_to_nodes(spread, at, true) : status;
}

static unsigned count_results(const struct spread_item *item, enum result result)
{
    unsigned count = 0;
    for (unsigned i = 0; i < item->node_count; i++)
        count += item->results[i] == (uint8_t)result;
    return count;
}

static bool holder_has(const struct spread_item *item)
{
    for (unsigned i = 0; i < item->holders; i++)
        if (item->results[i] == RESULT_HAS)
            return true;
    return false;
}

/* It has not answered for all that it was asked. */
static bool is_late(const struct spread *spread, const struct node *node)
{
    for (size_t i = 0; i < spread->lanes.count; i++)
        if (spread->lanes.at[i].node == node && spread->lanes.at[i].state == LANE_ACTIVE)
            return true;
    return false;
}

/* A holder has it that missed nothing of the slot so far, or there is none left that might. */
static bool trusted_has(const struct spread *spread, const struct spread_item *item)
{
    bool owed = false;
    for (unsigned i = 0; i < item->holders; i++) {
        const struct node *node = spread->view->nodes[item->nodes[i]];
        if (node_distrusted(node, item->slot))
            continue;
        bool late = is_late(spread, node);
        if (item->results[i] == RESULT_HAS && !late)
            return true;
        owed |= late;
    }
    return !owed && holder_has(item);
}

static bool all_good(const struct spread *spread, bool trusted)
{
    for (size_t i = 0; i < spread->count; i++) {
        const struct spread_item *item = &spread->items[i];
        if (item->again && !(trusted ? trusted_has(spread, item) : holder_has(item)))
            return false;
    }
    return true;
}

/* What a lane that is lost, or has been waited for long enough, leaves without an answer. */
static void settle(struct spread *spread, struct lane *lane)
{
    if (lane->state == LANE_LOST)
        memcpy(spread->why, lane->why, sizeof lane->why);
    else if (lane->state == LANE_ACTIVE)
        snprintf(spread->why, NODE_TEXT_BYTES, "%s (%s) did not answer in time", lane->node->name,
                 lane->node->address);
    bool unsent = lane->state == LANE_LOST ? !lane->sent
                                           : !lane->sent_before && lane->channel != NULL &&
                                                 lane->channel->sent <= lane->channel->base;
    for (; lane->item_at < lane->item_count; lane->item_at++) {
        struct spread_item *item = &spread->items[lane->items[lane->item_at]];
        *result_of(spread, item, lane->node) = unsent ? RESULT_UNSENT : RESULT_UNKNOWN;
        if (lane->state == LANE_LOST && lane->status != SP_ENODAEMON)
            item->refused = lane->status;
    }
}

static int send_items(struct spread *spread, bool kept_back)
{
    int status = SP_OK;
    spread->wave = spread->lanes.count;
    for (uint32_t i = 0; i < spread->count && status == SP_OK; i++)
        if (spread->items[i].again && !holder_has(&spread->items[i]))
            status = put_to_nodes(spread, i, kept_back);
    for (size_t i = spread->wave; i < spread->lanes.count && status == SP_OK; i++)
        if (spread->lanes.at[i].state == LANE_ACTIVE)
            lane_start(&spread->lanes, &spread->lanes.at[i], spread->lanes.at[i].wanted);
    return status;
}

/* All that still owe an answer do not answer a PING either. They are suspected from now on. */
static bool waits_for_dead(const struct spread *spread)
{
    bool dead = true;
    for (size_t i = 0; i < spread->lanes.count; i++) {
        struct lane *lane = &spread->lanes.at[i];
        if (lane->state != LANE_ACTIVE)
            continue;
        lane->late = true;
        if (node_suspect(lane->node))
            ring_wake(spread->ring);
        dead = dead && node_down(lane->node);
    }
    return dead;
}

static bool waited_enough(const struct spread *spread, uint64_t now, uint64_t grace)
{
    if (now >= spread->deadline_us)
        return true;
    if (spread->ring->settings.hedge_ms == 0 || now < grace)
        return false;
    /* What nobody has yet is waited for to the end: a node that is late may still take it. */
    bool dead = waits_for_dead(spread);
    return (dead || spread->need == SP_RING_ONE) && all_good(spread, !dead);
}

static int wait_for_answers(struct spread *spread)
{
    bool all_asked = false;
    int status = SP_OK;
    uint64_t hedge_us = spread->ring->settings.hedge_ms * UINT64_C(1000);
    uint64_t grace = spread->began_us + hedge_us;
    for (;;) {
        uint64_t now = clock_us();
        if (waited_enough(spread, now, grace))
            break;
        if (now >= grace && hedge_us != 0 && !all_asked) { /* those kept back are not worse */
            all_asked = true;
            status = send_items(spread, true);
            if (status != SP_OK)
                break;
        }
        uint64_t until = hedge_us == 0 ? spread->deadline_us : now < grace ? grace : now + LOOK_US;
        until = until < spread->deadline_us ? until : spread->deadline_us;
        if (lanes_wait(&spread->lanes, until) == 0)
            break;
    }
    for (size_t i = 0; i < spread->lanes.count; i++) {
        struct lane *lane = &spread->lanes.at[i];
        lane->late = lane->state == LANE_ACTIVE;
        settle(spread, lane);
    }
    return status;
}

static int run_wave(struct spread *spread, bool kept_back)
{
    lanes_begin(&spread->lanes, spread->ring, spread->view);
    spread->began_us = clock_us();
    int status = send_items(spread, kept_back);
    if (status == SP_OK)
        status = wait_for_answers(spread);
    lanes_end(&spread->lanes);
    return status;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void note_missed(struct spread *spread, const struct spread_item *item)
{
    struct node *witnesses[CANDIDATES_MAX];
    size_t count = 0;
    for (unsigned i = 0; i < item->node_count; i++)
        if (item->results[i] == RESULT_HAS)
            witnesses[count++] = spread->view->nodes[item->nodes[i]];
    if (count == 0 || count == item->node_count)
        return;
    for (unsigned i = 0; i < item->node_count; i++) {
        struct node *node = spread->view->nodes[item->nodes[i]];
        if (item->results[i] == RESULT_HAS || item->results[i] == RESULT_NEWER ||
            item->results[i] == RESULT_MOVED)
            continue;
        if (spread->view->map->parameters.kind == RING_REDIS)
            copy_missed(spread->ring, node, item->key, item->key_bytes,
                        item->value == NULL || item->ttl_ms != 0 ||
                            item->results[i] != RESULT_UNKNOWN);
        trust_missed(spread->ring, spread->view, node, item->slot, witnesses, count);
    }
}

/* What a Redis node missed before is made good by a whole value. */
static void note_taken(struct spread *spread, const struct spread_item *item)
{
    if (spread->view->map->parameters.kind != RING_REDIS)
        return;
    for (unsigned i = 0; i < item->node_count; i++) {
        struct node *node = spread->view->nodes[item->nodes[i]];
        if (item->results[i] == RESULT_HAS && node_distrusted(node, item->slot))
            copy_taken(spread->ring, node, item->key, item->key_bytes);
    }
}

static int status_of(const struct spread *spread, const struct spread_item *item)
{
    unsigned have = item->copies.have;
    if (have == item->node_count && have > 0)
        return SP_OK;
    if (have > 0)
        return spread->need == SP_RING_ONE && holder_has(item) ? SP_OK : SP_EPARTIAL;
    if (count_results(item, RESULT_UNKNOWN) > 0)
        return SP_EUNKNOWN;
    if (item->refused != SP_OK)
        return item->refused;
    return SP_ENONODE;
}

static void judge(struct spread *spread, struct spread_item *item)
{
    unsigned replicas = spread->view->map->parameters.replicas;
    item->copies.have = count_results(item, RESULT_HAS);
    item->copies.want = item->node_count > replicas ? item->node_count : replicas;
    item->status = status_of(spread, item);
    note_taken(spread, item);
    note_missed(spread, item);
}

/* Which are to be written once more: those that a node has refused for a reason that is away with
 * another stamp or map. The number of them. */
static size_t take_up(struct spread *spread)
{
    size_t again = 0;
    for (size_t i = 0; i < spread->count; i++) {
        struct spread_item *item = &spread->items[i];
        item->again = item->again && (count_results(item, RESULT_NEWER) > 0 ||
                                      count_results(item, RESULT_MOVED) > 0);
        again += item->again;
    }
    return again;
}

/* Those that nobody has, but somebody was not asked for. */
static int ask_kept_back(struct spread *spread, bool *again)
{
    size_t count = 0;
    for (size_t i = 0; i < spread->count; i++) {
        struct spread_item *item = &spread->items[i];
        again[i] = item->again;
        item->again = item->again && !holder_has(item) && count_results(item, RESULT_NEWER) == 0 &&
                      count_results(item, RESULT_KEPT_BACK) > 0;
        count += item->again;
    }
    int status = count > 0 ? run_wave(spread, true) : SP_OK;
    for (size_t i = 0; i < spread->count; i++)
        spread->items[i].again = again[i];
    return status;
}

static int run_round(struct spread *spread, bool *again)
{
    int status = ring_view(spread->ring, &spread->view);
    if (status != SP_OK)
        return status;
    for (size_t i = 0; i < spread->count; i++)
        if (spread->items[i].again)
            place_item(spread, &spread->items[i]);
    status = run_wave(spread, false);
    if (status == SP_OK)
        status = ask_kept_back(spread, again);
    for (size_t i = 0; i < spread->count && status == SP_OK; i++)
        if (spread->items[i].again)
            judge(spread, &spread->items[i]);
    view_give(spread->view);
    return status;
}

static int run_rounds(struct spread *spread, bool *again)
{
    int status;
    for (size_t i = 0; i < spread->count; i++)
        spread->items[i].again = true;
    for (unsigned round = 0;; round++) {
        spread->moved_epoch = 0;
        status = run_round(spread, again);
        if (status != SP_OK || take_up(spread) == 0 || round == ROUNDS_MAX ||
            clock_us() >= spread->deadline_us)
            return status;
        if (spread->moved_epoch != 0) {
            ring_later_epoch(spread->ring, spread->moved_epoch);
            (void)ring_await_epoch(spread->ring, spread->moved_epoch, false, MAP_WAIT_MS);
        }
    }
}

int spread_run(struct sp_ring *ring, struct spread_item *items, size_t count,
               enum sp_ring_need need, char why[NODE_TEXT_BYTES])
{
    bool few[16], *again = few;
    struct spread spread;
    spread.ring = ring;
    spread.items = items;
    spread.count = count;
    spread.need = need;
    spread.why = why;
    spread.deadline_us = clock_us() + ring->settings.timeout_ms * UINT64_C(1000);
    why[0] = '\0';
    if (count > sizeof few) {
        again = malloc(count);
        if (again == NULL)
            return error_plain(SP_ENOMEM);
    }
    int status = run_rounds(&spread, again);
    if (again != few)
        free(again);
    return status;
}
