/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c - sp_ring_call and sp_ring_incr: any command, by its keys.
 *
 * What reads is asked of the slot's nodes as sp_ring_get is. Everything else runs at the first
 * candidate, once. A sidepondd passes on what it has done, and WAIT, which is sent behind it in the
 * same piece, says how many others have it; if that is not all, those are distrusted. With Redis
 * the same command is sent to the other copies afterwards; where that would not do the same there
 * (SPOP, XADD, scripts), the key is copied by the keeper instead, as is what a copy did not take.
 *
 * A call that is to keep its place among others of its slot goes to one node with them, in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define COMMANDS_MS   1000u
#define WAIT_MS       "100" /* for a copy that neither takes it nor is known to be away */
#define ARGUMENTS_FEW 16u

struct calls {
    struct sp_ring *ring;
    struct sp_ring_call *at;
    struct call_plan {
        const struct command_info *info;
        struct command_place place;
        bool passed_on; /* Redis: to be done at the other copies */
        bool seen_to;   /* its other copies have been dealt with */
        uint8_t results[CANDIDATES_MAX];
    } * plans;
    size_t count;
    bool redis;
};

/* --- what commands there are ------------------------------------------------------------------ */

static int ask_commands(struct sp_ring *ring, const struct view *view, struct commands **out)
{
    static const struct argument arguments[] = {{"COMMAND", 7}};
    int status = SP_ENONODE;
    for (int kept_back = 0; kept_back < 2 && status != SP_OK; kept_back++)
        for (uint32_t i = 0; i < view->map->node_count && status != SP_OK; i++) {
            struct answer answer = {.tree = true};
            if (node_kept_back(view->nodes[i]) != (kept_back != 0))
                continue;
            status = node_ask(ring, view, view->nodes[i], arguments, 1, COMMANDS_MS, &answer);
            if (status == SP_OK) {
                status = commands_make(answer.reply, out);
                sp_reply_free(answer.reply);
            }
        }
    return status == SP_ENODAEMON ? SP_ENONODE : status;
}

static int commands_of(struct sp_ring *ring, const struct commands **out)
{
    struct commands *commands = atomic_load_explicit(&ring->commands, memory_order_acquire);
    struct view *view;
    *out = commands;
    if (commands != NULL)
        return SP_OK;
    int status = ring_view(ring, &view);
    if (status != SP_OK)
        return status;
    status = ask_commands(ring, view, &commands);
    view_give(view);
    if (status != SP_OK)
        return status;
    struct commands *before = NULL;
    if (!atomic_compare_exchange_strong(&ring->commands, &before, commands)) {
        commands_free(commands);
        commands = before;
    }
    *out = commands;
    return SP_OK;
}

static int plan_call(const struct commands *commands, const struct sp_ring_call *call,
                     unsigned slots, struct call_plan *plan)
{
    *plan = (struct call_plan){0};
    if (call->argument_count == 0)
        return error_set(SP_EINVAL, "a command has a name");
    size_t size = call_size(call, 0);
    plan->info = commands_find(commands, call->arguments[0], size);
    if (plan->info == NULL)
        return error_set(SP_EINVAL, "the nodes know no command \"%.*s\"",
                         (int)(size < 64 ? size : 64), call->arguments[0]);
    if (plan->info->refused)
        return error_set(SP_EINVAL, "%s changes the connection, which is the library's",
                         plan->info->name);
    return command_place(plan->info, call, slots, &plan->place);
}

/* --- the first copy --------------------------------------------------------------------------- */

static int put_call(const struct sp_ring_call *call, struct sp_buffer *out)
{
    struct argument few[ARGUMENTS_FEW] = {{0}}, *arguments = few;
    if (call->argument_count > ARGUMENTS_FEW) {
        arguments = malloc(call->argument_count * sizeof *arguments);
        if (arguments == NULL)
            return error_plain(SP_ENOMEM);
    }
    for (size_t i = 0; i < call->argument_count; i++)
        arguments[i] = (struct argument){call->arguments[i], call_size(call, i)};
    int status = put_arguments(out, arguments, call->argument_count);
    if (arguments != few)
        free(arguments);
    return status;
}

static int put_item(struct batch *batch, uint32_t at, struct sp_buffer *out)
{
    char digits[PUT_NUMBER_BYTES];
    uint16_t nodes[CANDIDATES_MAX];
    const struct calls *calls = batch->context;
    const struct call_plan *plan = &calls->plans[at];
    int status = put_call(&calls->at[at], out);
    if (status != SP_OK || calls->redis || !plan->info->writes || !plan->place.keyed)
        return status;
    unsigned count = ring_map_union(batch->view->map, plan->place.slot, nodes);
    if (count <= 1)
        return SP_OK;
    batch->items[at].parts = 2;
    const struct argument wait[] = {
        {"WAIT", 4}, {digits, put_digits(digits, count - 1)}, {WAIT_MS, 3}};
    return put_arguments(out, wait, 3);
}

static void prepare_item(struct batch *batch, uint32_t at, unsigned part, struct answer *answer)
{
    (void)batch, (void)at;
    answer->tree = part == 0;
}

static enum verdict judge_null(const struct batch *batch, uint32_t at, const struct sp_reply *reply,
                               const struct node *node)
{
    const struct call_plan *plan = &((const struct calls *)batch->context)->plans[at];
    bool absence = reply->type == SP_REPLY_NULL && plan->info->reads && plan->place.keyed;
    return absence ? batch_absence(batch, &batch->items[at], node) : VERDICT_DONE;
}

/* An error is the reply, unless it says that the node has not done it and another one may. */
static enum verdict judge_reply(struct batch *batch, uint32_t at, struct sp_reply *reply,
                                const struct node *node)
{
    struct calls *calls = batch->context;
    struct sp_ring_call *call = &calls->at[at];
    struct item *item = &batch->items[at];
    enum verdict verdict = VERDICT_DONE;
    if (reply->type == SP_REPLY_ERROR)
        verdict = verdict_of_error(batch, item, reply->text, node);
    if (verdict != VERDICT_DONE) {
        sp_reply_free(reply);
        return verdict;
    }
    sp_reply_free(call->reply);
    call->reply = reply;
    verdict = judge_null(batch, at, reply, node);
    if (verdict != VERDICT_DONE)
        return verdict;
    item->status = SP_OK;
    call->copies.have = calls->plans[at].info->writes && reply->type != SP_REPLY_ERROR;
    for (uint32_t i = 0; i < batch->view->map->node_count; i++)
        if (batch->view->nodes[i] == node)
            item->answered_by = (uint16_t)i;
    return VERDICT_DONE;
}

static enum verdict answered_item(struct batch *batch, uint32_t at, unsigned part,
                                  struct answer *answer, const struct node *node)
{
    struct calls *calls = batch->context;
    if (part == 0) {
        batch->items[at].verdict = (uint8_t)judge_reply(batch, at, answer->reply, node);
    } else if (answer->type == SP_REPLY_INTEGER && answer->numbers[0] > 0 &&
               calls->at[at].copies.have > 0) {
        calls->at[at].copies.have += (unsigned)answer->numbers[0];
    }
    return batch->items[at].verdict;
}

/* While a slot moves there are more of them than there shall be. */
static unsigned wanted_copies(const struct ring_map *map, unsigned slot)
{
    uint16_t nodes[CANDIDATES_MAX];
    unsigned count = ring_map_union(map, slot, nodes);
    return count > map->parameters.replicas ? count : map->parameters.replicas;
}

static int plan_calls(struct batch *batch)
{
    struct calls *calls = batch->context;
    const struct ring_parameters *of = &batch->view->map->parameters;
    const struct commands *commands;
    int status = commands_of(calls->ring, &commands);
    calls->redis = of->kind == RING_REDIS;
    for (size_t i = 0; i < calls->count && status == SP_OK; i++) {
        struct call_plan *plan = &calls->plans[i];
        struct item *item = &batch->items[i];
        if (item->done)
            continue;
        status = plan_call(commands, &calls->at[i], of->slots, plan);
        if (status != SP_OK)
            break;
        item->slot = plan->place.slot;
        item->keyless = !plan->place.keyed;
        item->once = !plan->info->reads;
        if (plan->info->writes && plan->place.keyed)
            calls->at[i].copies.want = wanted_copies(batch->view->map, plan->place.slot);
    }
    return status;
}

/* --- the other copies, of Redis --------------------------------------------------------------- */

static void prepare_copy(struct lane *lane, struct answer *answer)
{
    (void)lane, (void)answer;
}

static void answered_copy(struct lane *lane, struct answer *answer)
{
    struct calls *calls = lane->context;
    uint32_t item = lane->items[lane->item_at++];
    if (answer->type != SP_REPLY_ERROR) {
        calls->at[item / CANDIDATES_MAX].copies.have++;
        calls->plans[item / CANDIDATES_MAX].results[item % CANDIDATES_MAX] = 1;
    }
}

static const struct lane_rules copy_rules = {prepare_copy, answered_copy};

static bool add_copy(struct calls *calls, struct lanes *lanes, uint32_t at, unsigned copy,
                     struct node *node)
{
    struct lane *lane = NULL;
    for (size_t i = 0; i < lanes->count && lane == NULL; i++)
        if (lanes->at[i].node == node)
            lane = &lanes->at[i];
    if (lane == NULL)
        lane = lanes_add(lanes, node, true, false, &copy_rules, calls);
    if (lane == NULL || lane->state != LANE_ACTIVE ||
        lane_add_item(lane, at * CANDIDATES_MAX + copy) != SP_OK ||
        put_call(&calls->at[at], &lane->channel->out) != SP_OK)
        return false;
    lane->wanted++;
    return true;
}

static void note_missed(struct calls *calls, const struct batch *batch, uint32_t at)
{
    const struct call_plan *plan = &calls->plans[at];
    const struct sp_ring_call *call = &calls->at[at];
    uint16_t nodes[CANDIDATES_MAX];
    unsigned count = ring_map_union(batch->view->map, plan->place.slot, nodes);
    for (unsigned i = 0; i < count; i++) {
        if (plan->results[i] != 0)
            continue;
        struct node *node = batch->view->nodes[nodes[i]];
        copy_missed(calls->ring, node, call->arguments[plan->place.key],
                    call_size(call, plan->place.key), true);
        trust_missed(calls->ring, batch->view, node, plan->place.slot, NULL, 0);
    }
}

static void send_copies(struct calls *calls, const struct batch *batch, struct lanes *lanes)
{
    for (uint32_t at = 0; at < calls->count; at++) {
        uint16_t nodes[CANDIDATES_MAX];
        struct call_plan *plan = &calls->plans[at];
        if (!plan->passed_on)
            continue;
        unsigned count = ring_map_union(batch->view->map, plan->place.slot, nodes);
        for (unsigned i = 0; i < count; i++) {
            struct node *node = batch->view->nodes[nodes[i]];
            plan->results[i] = nodes[i] == batch->items[at].answered_by;
            if (plan->results[i] == 0 && !plan->info->random && !node_kept_back(node))
                (void)add_copy(calls, lanes, at, i, node);
        }
    }
    for (size_t i = 0; i < lanes->count; i++)
        if (lanes->at[i].state == LANE_ACTIVE)
            lane_start(lanes, &lanes->at[i], lanes->at[i].wanted);
}

/* Those that were done in this round. */
static void pass_on(struct calls *calls, const struct batch *batch)
{
    struct lanes lanes;
    bool some = false;
    for (size_t i = 0; i < calls->count; i++) {
        struct call_plan *plan = &calls->plans[i];
        plan->passed_on = plan->info->writes && plan->place.keyed && calls->at[i].copies.have > 0 &&
                          !plan->seen_to;
        some |= plan->passed_on;
    }
    if (!some)
        return;
    lanes_begin(&lanes, calls->ring, batch->view);
    send_copies(calls, batch, &lanes);
    while (clock_us() < batch->deadline_us && lanes_wait(&lanes, batch->deadline_us) > 0)
        continue;
    for (size_t i = 0; i < lanes.count; i++)
        lanes.at[i].late = true;
    lanes_end(&lanes);
    for (uint32_t i = 0; i < calls->count; i++)
        if (calls->plans[i].passed_on)
            note_missed(calls, batch, i);
}

/* --- copies that are behind ------------------------------------------------------------------- */

/* What a sidepondd could not pass on in time the others do not have, though this caller will take
 * it for done: they are read from last until they have it. */
static void note_behind(struct calls *calls, const struct batch *batch, uint32_t at)
{
    const struct ring_map *map = batch->view->map;
    const struct sp_ring_call *call = &calls->at[at];
    const struct call_plan *plan = &calls->plans[at];
    uint16_t nodes[CANDIDATES_MAX];
    if (call->copies.have == 0 || plan->seen_to || !plan->place.keyed)
        return;
    unsigned count = ring_map_union(map, plan->place.slot, nodes);
    if (call->copies.have >= count)
        return;
    for (unsigned i = 0; i < count; i++)
        if (nodes[i] != batch->items[at].answered_by)
            trust_behind(calls->ring, batch->view, batch->view->nodes[nodes[i]], plan->place.slot,
                         batch->view->nodes[batch->items[at].answered_by]);
}

/* While the view is there by which they were done: the positions and slots are of that. */
static void see_to_copies(struct batch *batch)
{
    struct calls *calls = batch->context;
    if (calls->redis)
        pass_on(calls, batch);
    for (uint32_t i = 0; i < calls->count; i++) {
        if (!calls->redis)
            note_behind(calls, batch, i);
        calls->plans[i].seen_to |= calls->at[i].copies.have > 0;
    }
}

static const struct batch_rules call_rules = {plan_calls, put_item, prepare_item, answered_item,
                                              see_to_copies};

/* --- calls ------------------------------------------------------------------------------------ */

static int run_calls(struct calls *calls, struct item *items)
{
    struct batch batch = {.ring = calls->ring,
                          .rules = &call_rules,
                          .context = calls,
                          .items = items,
                          .count = calls->count};
    int status = batch_run(&batch);
    view_give(batch.view);
    for (size_t i = 0; i < calls->count; i++) {
        struct sp_ring_call *call = &calls->at[i];
        call->status = status != SP_OK && !items[i].done ? status : items[i].status;
        if (call->status == SP_ENOTFOUND && call->reply != NULL)
            call->status = SP_OK; /* no copy has it: the reply says so */
        if (call->status != SP_OK) {
            sp_reply_free(call->reply);
            call->reply = NULL;
        }
        if (status == SP_OK && call->status != SP_OK)
            status = error_set(call->status, "%s", batch.why);
    }
    return status;
}

int sp_ring_call(struct sp_ring *ring, struct sp_ring_call *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        at[i].reply = NULL;
        at[i].copies = (struct sp_ring_copies){0};
        at[i].status = SP_EINVAL;
    }
    if (count == 0)
        return SP_OK;
    if (count > UINT32_MAX / CANDIDATES_MAX)
        return error_plain(SP_EINVAL);
    struct item *items = calloc(count, sizeof *items);
    struct call_plan *plans = calloc(count, sizeof *plans);
    struct calls calls = {.ring = ring, .at = at, .plans = plans, .count = count};
    int status = items != NULL && plans != NULL ? run_calls(&calls, items) : error_plain(SP_ENOMEM);
    free(items);
    free(plans);
    return status;
}

int sp_ring_incr(struct sp_ring *ring, const void *key, size_t key_bytes, int64_t by, int64_t *out,
                 struct sp_ring_copies *copies)
{
    char digits[PUT_NUMBER_BYTES];
    int written = snprintf(digits, sizeof digits, "%lld", (long long)by);
    const char *const arguments[] = {"INCRBY", key, digits};
    const size_t sizes[] = {6, key_bytes, (size_t)written};
    struct sp_ring_call call = {.argument_count = 3, .arguments = arguments, .sizes = sizes};
    int status = ring_check_key(key, key_bytes);
    if (status == SP_OK)
        status = sp_ring_call(ring, &call, 1);
    if (copies != NULL)
        *copies = call.copies;
    if (status == SP_OK && call.reply->type == SP_REPLY_ERROR)
        status = error_set(error_status(call.reply->text), "%s", call.reply->text);
    else if (status == SP_OK && call.reply->type != SP_REPLY_INTEGER)
        status = error_set(SP_EREFUSED, "a reply of another kind than was expected");
    else if (status == SP_OK && out != NULL)
        *out = call.reply->integer;
    sp_reply_free(call.reply);
    return status;
}
