/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_ask.c - calls about keys whose slots this node does not hold, or does not know whether what
 * it has of them is current.
 *
 * A ring client (SIDEPOND ATTACH) is refused with NOTHELD, since it knows whom else to ask, where
 * the call depends on what is there, and where it would be given a version here: this node may have
 * stood still since the call was sent, and who sent it may have made it elsewhere since. For
 * other clients the call is made at a holder, and the client waits for that. Where nobody answers,
 * reads and writes without a look are run here, by what there is; what changes a value that is
 * there is not, since it would change another one, and is an error. So is what cannot be asked, or
 * whose answer cannot be kept, for want of memory.
 *
 * Calls of several keys are asked of a holder as they are if their keys belong to one slot. Else
 * MGET, EXISTS, TOUCH, DEL and UNLINK are made key by key, here and there, and MSET here; what
 * looks at several slots is refused with CROSSSLOT.
 *
 * Costs: of a read whose slot is held, the slot of its key and a bit. Calls that are asked of
 * others go one at a time for each connection: a round trip each.
 */
#include "server/command/ring_session.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/errand.h"
#include "server/command/multi.h"
#include "server/resp/number.h"
#include "server/ring/ring.h"

#define PARTS_MAX 4096u /* keys of one call that are asked of others one by one */

/* --- which calls ------------------------------------------------------------------------------ */

/* What a call asks of a key's slot. */
enum look {
    LOOK_NONE,   /* nothing: it has no key, or is for this very node */
    LOOK_BLIND,  /* it overwrites or deletes: any node can do it, and twice */
    LOOK_READS,  /* the value is to be current */
    LOOK_CHANGES /* likewise, and then it is changed: not to be done twice */
};

static bool set_looks(const struct call *call)
{
    static const char *const words[] = {"nx", "xx", "get", "keepttl"};
    for (size_t i = 3; i < call->count; i++)
        for (unsigned w = 0; w < sizeof(words) / sizeof(words[0]); w++)
            if (arg_is(&call->args[i], words[w]))
                return true;
    return false;
}

static enum look look_of(const struct call *call)
{
    const struct command *command = call->command;
    if (command->first_key == 0 || command->run == run_sidepond_put ||
        command->run == run_sidepond_erase || command->run == run_sidepond_fill ||
        command->run == run_sidepond_release)
        return LOOK_NONE;
    if (command->flags & COMMAND_READONLY || command->run == run_watch)
        return LOOK_READS;
    if (!(command->flags & COMMAND_WRITE))
        return LOOK_NONE;
    if (command->run == run_set)
        return set_looks(call) ? LOOK_CHANGES : LOOK_BLIND;
    if (command->run == run_sidepond_lease)
        return LOOK_READS;
    if (command->flags & COMMAND_OVERWRITES)
        return command->run == run_setnx || command->run == run_msetnx ? LOOK_CHANGES : LOOK_BLIND;
    return LOOK_CHANGES;
}

/* What is never asked of others: leases and watched keys are those of this node's connections, and
 * of a key that is no row, commands on hashes know nothing but errors. */
static bool stays_here(const struct command *command)
{
    return (command->flags & COMMAND_BLOCKING) || (command->categories & CATEGORY_HASH);
}

static bool is_held(struct session *session, const struct resp_arg *key)
{
    const struct ring *ring = session->service->ring;
    unsigned slot = ring_slot(key->bytes, key->size, ring_slots(ring));
    return ring_held_has(ring_held(ring), slot) || key_is_row(session, key);
}

/* Its keys whose slots are not held. */
static size_t count_missing(struct session *session, const struct call *call)
{
    struct command_keys keys = command_keys(call->command, call->count);
    size_t missing = 0;
    for (size_t i = keys.first; i != 0 && i <= keys.last; i += keys.step)
        missing += !is_held(session, &call->args[i]);
    return missing;
}

static bool is_of_one_slot(struct session *session, const struct call *call)
{
    struct command_keys keys = command_keys(call->command, call->count);
    unsigned slots = ring_slots(session->service->ring);
    const struct resp_arg *first = &call->args[keys.first];
    unsigned slot = ring_slot(first->bytes, first->size, slots);
    for (size_t i = keys.first + keys.step; i <= keys.last; i += keys.step)
        if (ring_slot(call->args[i].bytes, call->args[i].size, slots) != slot)
            return false;
    return true;
}

/* As which a call of several keys is made for each of them; NULL: it cannot be taken apart. */
static const char *name_for_one(const struct command *command)
{
    if (command->run == run_mget)
        return "get";
    return command->run == run_exists || command->run == run_touch || command->run == run_del
               ? command->name
               : NULL;
}

/* --- what is asked ---------------------------------------------------------------------------- */

struct part {
    struct asking *asking;
    size_t key; /* its position in the arguments */
    bool was_asked, out_of_memory;
    struct buffer answer; /* empty: none came */
};

/* One call that others are asked for. */
struct asking {
    struct errand errand; /* first */
    struct call call;     /* its arguments are copies */
    enum look look;
    const char *one;       /* name_for_one; NULL: the whole call is one part */
    _Atomic size_t unsaid; /* parts that have not been answered, and one while they are asked */
    bool muted;
    uint64_t began_ns;
    size_t part_count;
    struct part parts[];
};

static struct asking *asking_of(struct errand *errand)
{
    return (struct asking *)(void *)errand;
}

static void asking_free(struct errand *errand)
{
    struct asking *asking = asking_of(errand);
    for (size_t p = 0; p < asking->part_count; p++)
        buffer_free(&asking->parts[p].answer);
    free((void *)(uintptr_t)asking->call.args);
    free(asking);
}

static void part_is_over(struct asking *asking)
{
    if (atomic_fetch_sub_explicit(&asking->unsaid, 1, memory_order_acq_rel) == 1)
        errand_end(&asking->errand);
}

static void on_answer(void *argument, const void *reply, size_t size)
{
    struct part *part = argument;
    buffer_append(&part->answer, reply, size);
    part->out_of_memory = part->answer.failed;
    if (part->answer.failed)
        buffer_free(&part->answer);
    part_is_over(part->asking);
}

static void write_request(const struct asking *asking, const struct part *part, struct buffer *out)
{
    struct reply request = {out, 2};
    const struct call *call = &asking->call;
    if (asking->one) {
        reply_array(&request, 2);
        reply_text(&request, asking->one);
        reply_bulk(&request, call->args[part->key].bytes, call->args[part->key].size);
        return;
    }
    reply_array(&request, call->count);
    for (size_t i = 0; i < call->count; i++)
        reply_bulk(&request, call->args[i].bytes, call->args[i].size);
}

static void ask_part(struct asking *asking, struct part *part)
{
    struct ring *ring = asking->errand.service->ring;
    const struct resp_arg *key = &asking->call.args[part->key];
    struct buffer request = BUFFER_INIT;
    int status = SP_ENOMEM;
    write_request(asking, part, &request);
    part->was_asked = true; /* before the answer, which may come at once */
    if (!request.failed)
        status = ring_ask(ring, ring_slot(key->bytes, key->size, ring_slots(ring)),
                          asking->look != LOOK_READS, request.bytes, request.size, on_answer, part);
    buffer_free(&request);
    if (status == SP_OK)
        return;
    part->was_asked = false;
    part->out_of_memory = status == SP_ENOMEM;
    part_is_over(asking);
}

/* --- the reply -------------------------------------------------------------------------------- */

static bool begins_with(const struct buffer *answer, const char *text)
{
    return answer->size >= strlen(text) && memcmp(answer->bytes, text, strlen(text)) == 0;
}

static bool has_answer(const struct part *part)
{
    return part->answer.size > 0 && !begins_with(&part->answer, "-NOTHELD");
}

/* As of this connection's protocol; of what is asked of others, that makes a difference for null
 * alone, which is never within a list. */
static void append_answer(struct session *session, const struct buffer *answer)
{
    if (begins_with(answer, "$-1\r\n"))
        reply_null(&session->reply);
    else
        buffer_append(session->reply.out, answer->bytes, answer->size);
}

static void run_here(struct session *session, const struct call *from)
{
    struct call call = *from;
    struct command_keys keys = command_keys(call.command, call.count);
    call.hash = session_hash(session, &call.args[keys.first]);
    session->thread->watched = stopwatch_now(&session->thread->watch);
    session_run(session, &call);
}

/* A request without an answer may still be on its way to a node, and be done there at any time
 * later: so it is not done here as well, where others may have written since. */
static bool may_run_here(const struct asking *asking, const struct part *part)
{
    if (part->out_of_memory)
        return false;
    if (asking->look == LOOK_READS)
        return true;
    return asking->look == LOOK_BLIND && (!part->was_asked || part->answer.size > 0);
}

/* Neither answered nor to be run here. */
static void reply_without(struct session *session, const struct asking *asking,
                          const struct part *part)
{
    if (part->out_of_memory && (!part->was_asked || asking->look == LOOK_READS))
        reply_error(&session->reply, "ERR out of memory");
    else if (!part->was_asked || part->answer.size > 0)
        reply_error(&session->reply,
                    "TRYAGAIN no node holds the key's slot at the moment: nothing has been done");
    else
        reply_error(&session->reply, "ERR no node that holds the key's slot has answered: the "
                                     "command may or may not have been done");
}

/* False: it has been run here, and counted. */
static bool reply_whole(struct session *session, const struct asking *asking)
{
    const struct part *part = &asking->parts[0];
    if (!has_answer(part) && may_run_here(asking, part)) {
        run_here(session, &asking->call);
        return false;
    }
    if (has_answer(part))
        append_answer(session, &part->answer);
    else
        reply_without(session, asking, part);
    return true;
}

/* The answer for one key, from there or from here. */
static void reply_one(struct session *session, const struct asking *asking, size_t key,
                      const struct part *part)
{
    const struct resp_arg args[] = {{asking->one, strlen(asking->one)}, asking->call.args[key]};
    struct call call = {
        .command = command_find(asking->one, strlen(asking->one)), .args = args, .count = 2};
    if (part && has_answer(part))
        append_answer(session, &part->answer);
    else if (!part || may_run_here(asking, part))
        run_here(session, &call);
    else
        reply_without(session, asking, part);
}

/* Adds a number that has been replied since the mark; false: it is an error, and stays. */
static bool take_number(struct session *session, size_t mark, int64_t *sum)
{
    const struct buffer *out = session->reply.out;
    int64_t number;
    if (out->size < mark + 4 || out->bytes[mark] != ':' ||
        !number_parse(out->bytes + mark + 1, out->size - mark - 3, &number))
        return false;
    *sum += number;
    reply_rewind(&session->reply, mark);
    return true;
}

static void reply_parts(struct session *session, const struct asking *asking)
{
    const struct part *part = asking->parts, *end = part + asking->part_count;
    bool lists = asking->call.command->run == run_mget;
    int64_t sum = 0;
    if (lists)
        reply_array(&session->reply, asking->call.count - 1);
    for (size_t i = 1; i < asking->call.count; i++) {
        size_t mark = reply_mark(&session->reply);
        bool is_part = part < end && part->key == i;
        reply_one(session, asking, i, is_part ? part : NULL);
        part += is_part;
        if (!lists && !take_number(session, mark, &sum))
            return;
    }
    if (!lists)
        reply_integer(&session->reply, sum);
}

static void count_call(struct session *session, const struct asking *asking, size_t mark)
{
    struct thread_stats *stats = session->thread->stats;
    const struct buffer *out = session->reply.out;
    bool failed = out->size > mark && out->bytes[mark] == '-';
    if (failed)
        stats_error(stats, out->bytes + mark, out->size - mark);
    stats_call(&stats->by_command[asking->call.command->number], clock_ns() - asking->began_ns,
               failed);
}

/* This node does not hear of changes of a key that it does not hold: who keeps a copy of it is told
 * at once, after the reply, that it may have changed. */
static void untrack(struct session *session, const struct asking *asking)
{
    const struct call *call = &asking->call;
    struct command_keys keys = command_keys(call->command, call->count);
    if (!session->tracking)
        return;
    thread_lock(session->thread);
    for (size_t i = keys.first; asking->look == LOOK_READS && i <= keys.last; i += keys.step) {
        if (tracking_wants(session))
            tracking_read(session, &call->args[i]);
        if (!is_held(session, &call->args[i]))
            tracking_changed(session->service, NULL, call->args[i].bytes, call->args[i].size);
    }
    tracking_after(session, call);
}

/* On the session's thread, when all has been said. */
static void answer(struct errand *errand)
{
    struct asking *asking = asking_of(errand);
    struct session *session = errand->session;
    size_t mark = reply_mark(&session->reply);
    session->thread->now_ms = clock_wall_ms();
    net_output(session->connection); /* to be sent after this callback */
    bool counts = true;
    if (asking->one)
        reply_parts(session, asking);
    else
        counts = reply_whole(session, asking);
    if (counts)
        count_call(session, asking, mark);
    if (asking->muted)
        reply_rewind(&session->reply, mark);
    untrack(session, asking);
    thread_unlock(session->thread);
    session->ring.asking = NULL;
    session->paused = false;
    if (session->ring.awaited != 0)
        ring_hold_replies(session);
    net_resume(session->connection);
    errand_leave(errand);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* The parts' keys, those that are not held; of a call that is asked as it is, the first. */
static void name_parts(struct session *session, struct asking *asking)
{
    struct command_keys keys = command_keys(asking->call.command, asking->call.count);
    size_t p = 0;
    for (size_t i = keys.first; i <= keys.last && p < asking->part_count; i += keys.step)
        if (!asking->one || !is_held(session, &asking->call.args[i]))
            asking->parts[p++] = (struct part){.asking = asking, .key = i, .answer = BUFFER_INIT};
    asking->part_count = p;
}

static struct asking *asking_new(struct session *session, const struct call *call, enum look look,
                                 const char *one, size_t part_count)
{
    size_t bytes;
    struct asking *asking = calloc(1, sizeof(*asking) + part_count * sizeof(asking->parts[0]));
    struct resp_arg *args = asking ? call_copy_args(call, &bytes) : NULL;
    if (!args) {
        free(asking);
        return NULL;
    }
    errand_init(&asking->errand, session);
    asking->errand.done = answer;
    asking->errand.destroy = asking_free;
    asking->call = *call;
    asking->call.args = args;
    asking->call.probe = NULL;
    asking->look = look;
    asking->one = one;
    asking->muted = session->mute == MUTE_ALL || session->mute == MUTE_THIS;
    asking->began_ns = clock_ns();
    asking->part_count = part_count;
    name_parts(session, asking);
    atomic_init(&asking->unsaid, asking->part_count + 1);
    return asking;
}

static void ask(struct session *session, const struct call *call, enum look look, const char *one,
                size_t part_count)
{
    struct asking *asking = asking_new(session, call, look, one, part_count);
    if (!asking) {
        reply_error(&session->reply, "ERR out of memory");
        return;
    }
    session->ring.asking = &asking->errand;
    session->paused = true;
    net_pause(session->connection);
    errand_begin(&asking->errand);
    for (size_t p = 0; p < asking->part_count; p++)
        ask_part(asking, &asking->parts[p]);
    part_is_over(asking);
}

/* --- the decision ----------------------------------------------------------------------------- */

static void reply_not_held(struct session *session)
{
    reply_error(&session->reply, "NOTHELD %llu",
                (unsigned long long)ring_epoch(session->service->ring));
}

static void reply_not_here(struct session *session)
{
    reply_error(&session->reply, "ERR this node does not hold the slots of all keys: WATCH and "
                                 "transactions are for nodes that do");
}

/* Of a client that knows nothing of the ring: false: it is run here all the same. */
static bool ask_others(struct session *session, const struct call *call, enum look look,
                       size_t missing)
{
    const char *one = name_for_one(call->command);
    bool has_nulls = call->command->run == run_mget && session->reply.protocol >= 3;
    if (is_of_one_slot(session, call) && !has_nulls) {
        ask(session, call, look, NULL, 1);
    } else if (look == LOOK_BLIND && !one) {
        return false;
    } else if (!one) {
        reply_error(&session->reply, "CROSSSLOT Keys in request don't hash to the same slot, and "
                                     "this node does not hold all of them");
    } else if (missing > PARTS_MAX) {
        reply_error(&session->reply, "ERR more than %u keys of slots that this node does not hold",
                    PARTS_MAX);
    } else {
        ask(session, call, look, one, missing);
    }
    return true;
}

/* Within MULTI nobody is asked. Also of WATCH. */
static bool refuses(struct session *session, const struct call *call, enum look look)
{
    bool blind = look != LOOK_READS && look != LOOK_CHANGES;
    if (blind && !session->ring.attached)
        return false;
    if (session->ring.attached)
        reply_not_held(session);
    else if (call->command->run != run_sidepond_lease)
        reply_not_here(session);
    else
        return false;
    return true;
}

bool ring_refuses(struct session *session, const struct call *call)
{
    enum look look = look_of(call);
    return look != LOOK_NONE && count_missing(session, call) > 0 && refuses(session, call, look);
}

bool ring_diverts(struct session *session, const struct call *call)
{
    enum look look = look_of(call);
    if (look == LOOK_NONE)
        return false;
    size_t missing = count_missing(session, call);
    if (__builtin_expect(missing == 0, 1))
        return false;
    if (session->ring.attached || multi_is_open(session) || call->command->run == run_watch) {
        if (!refuses(session, call, look))
            return false;
        multi_spoil(session);
        return true;
    }
    return !stays_here(call->command) && ask_others(session, call, look, missing);
}
