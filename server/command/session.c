/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c - from bytes to replies: requests are parsed in batches, their keys' cache misses are
 * taken together, and then they are run one after the other.
 *
 * The cache's lock is taken by the first command that needs it and let go at the end of the batch:
 * a pipeline of 64 writes takes it once, for some microseconds. Reads that need no lock do not
 * wait for it.
 */
#include "server/command/access.h"
#include "server/command/client.h"
#include "server/command/commands.h"
#include "server/command/lease.h"
#include "server/command/multi.h"
#include "server/command/pubsub.h"
#include "server/command/tracking.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alloc/clock.h"
#include "server/resp/number.h"
#include "server/ring/ring.h"

static_assert(BATCH_MAX >= NET_AHEAD_MAX, "probes of a thread");

/* --- what commands use ---------------------------------------------------------------------- */

void thread_lock(struct thread *thread)
{
    if (thread->locked)
        return;
    cache_lock(thread->service->cache, thread->now_ms);
    thread->locked = true;
}

void thread_unlock(struct thread *thread)
{
    if (!thread->locked || thread->in_exec)
        return;
    cache_unlock(thread->service->cache);
    thread->locked = false;
}

void reply_wrong_arity(struct session *session, const struct command *command)
{
    reply_error(&session->reply, "ERR wrong number of arguments for '%s' command",
                command_full_name(command));
}

void reply_syntax_error(struct session *session)
{
    reply_error(&session->reply, "ERR syntax error");
}

void reply_not_integer(struct session *session)
{
    reply_error(&session->reply, "ERR value is not an integer or out of range");
}

void reply_help(struct session *session, const char *name, const char *const *lines)
{
    char first[80];
    size_t count = 0;
    while (lines[count])
        count++;
    snprintf(first, sizeof(first),
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    reply_array(&session->reply, count + 3);
    reply_simple(&session->reply, first);
    for (size_t i = 0; i < count; i++)
        reply_simple(&session->reply, lines[i]);
    reply_simple(&session->reply, "HELP");
    reply_simple(&session->reply, "    This text.");
}

void reply_store_error(struct session *session, int status)
{
    if (status == SP_ETOOBIG)
        reply_error(&session->reply,
                    "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    else if (status == SP_ENOSPC || status == SP_ENOSHM)
        reply_error(&session->reply, "OOM command not allowed when used memory > 'maxmemory'.");
    else
        reply_error(&session->reply, "ERR %s", sp_status_text(status));
}

bool arg_is(const struct resp_arg *arg, const char *word)
{
    return strlen(word) == arg->size && strncasecmp(arg->bytes, word, arg->size) == 0;
}

bool arg_integer(struct session *session, const struct resp_arg *arg, int64_t *out)
{
    if (number_parse(arg->bytes, arg->size, out))
        return true;
    reply_not_integer(session);
    return false;
}

bool arg_int32(struct session *session, const struct resp_arg *arg, int32_t *out)
{
    int64_t value;
    if (!arg_integer(session, arg, &value))
        return false;
    if (value < INT32_MIN || value > INT32_MAX) {
        reply_error(&session->reply,
                    "ERR value is out of range, value must between -2147483648 and 2147483647");
        return false;
    }
    *out = (int32_t)value;
    return true;
}

/* --- one request ---------------------------------------------------------------------------- */

static void reply_unknown(struct session *session, const struct call *call)
{
    char args[160];
    size_t used = 0;
    for (size_t i = 1; i < call->count && used < 128; i++) {
        int room = (int)(128 - used);
        int size = call->args[i].size < (size_t)room ? (int)call->args[i].size : room;
        used += (size_t)snprintf(args + used, sizeof(args) - used, "'%.*s' ", size,
                                 call->args[i].bytes);
    }
    args[used] = '\0';
    reply_error(&session->reply, "ERR unknown command '%.*s', with args beginning with: %s",
                call->args[0].size < 128 ? (int)call->args[0].size : 128, call->args[0].bytes,
                args);
}

/* The name of a container in capitals. */
static void print_parent(const struct call *call, char out[32])
{
    const struct resp_arg *name = &call->args[0];
    size_t size = 0;
    for (; size < name->size && size < 31; size++)
        out[size] = (char)toupper((unsigned char)name->bytes[size]);
    out[size] = '\0';
}

void reply_subcommand_error(struct session *session, const struct call *call)
{
    char parent[32];
    print_parent(call, parent);
    reply_error(&session->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                arg_print(&call->args[1]), call->args[1].bytes, parent);
}

static void reply_unknown_sub(struct session *session, const struct call *call)
{
    char parent[32];
    print_parent(call, parent);
    reply_error(&session->reply, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                arg_print(&call->args[1]), call->args[1].bytes, parent);
}

/* The subcommand, where there is one; false: there is none of this name. */
static bool find_sub(struct call *call)
{
    const struct command *parent = call->command;
    if (parent->subcommand_count == 0 || call->count < 2)
        return true;
    const struct command *sub = command_find_sub(parent, call->args[1].bytes, call->args[1].size);
    if (sub)
        call->command = sub;
    return sub != NULL;
}

/* Whether a key that is written to belongs to a table; then the error has been replied. */
static bool writes_row(struct session *session, const struct call *call)
{
    struct command_keys keys = command_keys(call->command, call->count);
    if (!(call->command->flags & COMMAND_WRITE) || keys.first == 0)
        return false;
    for (size_t i = keys.first; i <= keys.last; i += keys.step) {
        if (key_is_row(session, &call->args[i])) {
            reply_row_refused(session, &call->args[i]);
            return true;
        }
    }
    return false;
}

/* Whether the session is a subscriber of RESP2, which cannot tell replies from messages; then most
 * commands are refused, and the error has been replied. */
static bool only_hears(struct session *session, const struct call *call)
{
    if (session->reply.protocol > 2 || (call->command->flags & COMMAND_IN_RESP2_SUBSCRIBER) ||
        pubsub_count(session) == 0)
        return false;
    reply_error(&session->reply,
                "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context",
                command_full_name(call->command));
    return true;
}

/* Whether the session collects a transaction and this cannot be part of one; then the error has
 * been replied. */
static bool breaks_transaction(struct session *session, const struct call *call)
{
    if (!(call->command->flags & COMMAND_NO_MULTI) || !multi_is_open(session))
        return false;
    reply_error(&session->reply, "ERR Command not allowed inside a transaction");
    return true;
}

/* Everything that may be wrong with a request before it is run; false, with the error replied. */
static bool check_request(struct session *session, struct call *call)
{
    const struct command *parent = call->command;
    if (!parent) {
        reply_unknown(session, call);
        return false;
    }
    if (!command_takes(parent, call->count)) {
        if (parent->run == run_exec)
            multi_abort(session, "wrong number of arguments for 'exec' command");
        else
            reply_wrong_arity(session, parent);
        return false;
    }
    if (!find_sub(call)) {
        reply_unknown_sub(session, call);
        return false;
    }
    if (call->command != parent && !command_takes(call->command, call->count)) {
        reply_wrong_arity(session, call->command);
        return false;
    }
    return access_allows(session, call) && !breaks_transaction(session, call) &&
           !only_hears(session, call) && !writes_row(session, call);
}

/* Whether the reply that begins at the mark is an error; then it is counted. */
static bool count_error(struct session *session, size_t mark)
{
    const struct buffer *out = session->reply.out;
    if (__builtin_expect(out->size <= mark || out->bytes[mark] != '-', 1))
        return false;
    stats_error(session->thread->stats, out->bytes + mark, out->size - mark);
    return true;
}

void session_run(struct session *session, const struct call *call)
{
    const struct command *command = call->command;
    struct thread *thread = session->thread;
    uint64_t began = thread->watched;
    size_t mark = reply_mark(&session->reply);
    if (command->flags & COMMAND_LOCK)
        thread_lock(thread);
    if (__builtin_expect(session->tracking != NULL, 0))
        tracking_before(session, call);
    thread->counts_lookups = command->flags & COMMAND_READONLY;
    atomic_store_explicit(&session->client->command, command, memory_order_relaxed);
    command->run(session, call);
    thread->watched = stopwatch_now(&thread->watch);
    uint64_t ns = stopwatch_between(&thread->watch, began, thread->watched);
    stats_call(&thread->stats->by_command[command->number], ns, count_error(session, mark));
    if (__builtin_expect(slowlog_wants(&session->service->slowlog, ns), 0))
        slowlog_add(session, call, ns);
}

/* The reply to CLIENT REPLY SKIP itself is none; MUTE_NEXT becomes MUTE_THIS with it. */
static void mute_reply(struct session *session, size_t mark)
{
    if (session->mute == MUTE_ALL || session->mute == MUTE_THIS)
        reply_rewind(&session->reply, mark);
    if (session->mute == MUTE_THIS)
        session->mute = MUTE_NONE;
    else if (session->mute == MUTE_NEXT)
        session->mute = MUTE_THIS;
}

static bool is_paused(const struct session *session)
{
    return __builtin_expect(
        atomic_load_explicit(&session->service->pause.kind, memory_order_relaxed) != PAUSE_NONE, 0);
}

bool session_request(struct session *session, struct call *call)
{
    size_t mark = reply_mark(&session->reply);
    if (!check_request(session, call)) {
        multi_spoil(session);
        count_error(session, mark);
        if (call->command)
            stats_add(&session->thread->stats->by_command[call->command->number].rejected, 1);
    } else if (is_paused(session) && pause_postpones(session, call)) {
        return false;
    } else if (__builtin_expect(session->service->ring != NULL, 0) && ring_diverts(session, call)) {
        count_error(session, mark);
    } else if (multi_is_open(session) && !(call->command->flags & COMMAND_QUEUELESS)) {
        multi_queue(session, call);
    } else {
        session_run(session, call);
    }
    stats_add(&session->thread->stats->commands, 1);
    if (__builtin_expect(session->mute != MUTE_NONE, 0))
        mute_reply(session, mark);
    if (__builtin_expect(session->tracking != NULL, 0))
        tracking_after(session, call);
    return true;
}

/* --- batches -------------------------------------------------------------------------------- */

static bool session_stops(const struct session *session)
{
    return session->closing || session->paused || net_output_pressed(session->connection);
}

/* Who has not said who he is can say little, as in Redis. */
static const struct resp_limits stranger_limits = {.args_max = 10,
                                                   .inline_bytes_max = 65536,
                                                   .arg_bytes_max = 16384,
                                                   .request_bytes_max = 1 << 20};

#define LINE_KEPT_MAX 65537u /* the longest that the parser takes */

/* What an inline command with quotes was before it was parsed, which changes it: so that it can be
 * shown again. */
static void keep_line(struct thread *thread, const uint8_t *bytes, size_t size)
{
    size_t most = size < LINE_KEPT_MAX ? size : LINE_KEPT_MAX;
    const uint8_t *end = memchr(bytes, '\n', most);
    size_t length = end ? (size_t)(end - bytes) : 0;
    thread->line.size = 0;
    if (memchr(bytes, '"', length) || memchr(bytes, '\'', length))
        buffer_append(&thread->line, bytes, length);
}

/* Parses up to BATCH_MAX requests; returns how many bytes they take. An inline command is a batch
 * of its own. `*more`: another batch may follow. */
static size_t parse_batch(struct session *session, uint8_t *bytes, size_t size, size_t *count,
                          bool *more)
{
    struct thread *thread = session->thread;
    const struct resp_limits *limits =
        session->user ? &session->service->resp_limits : &stranger_limits;
    size_t at = 0;
    bool is_inline = false;
    *count = 0;
    *more = false;
    thread->line.size = 0;
    resp_args_clear(&thread->args);
    while (at < size && *count < BATCH_MAX && !is_inline) {
        struct batch_item *item = &thread->batch[*count];
        is_inline = bytes[at] != '*';
        if (is_inline && at > 0)
            break;
        if (is_inline)
            keep_line(thread, bytes + at, size - at);
        enum resp_parse status = resp_parse(&session->parser, limits, bytes + at, size - at,
                                            &thread->args, &item->request);
        if (status == RESP_INVALID)
            session->broken = true;
        if (status != RESP_DONE)
            return at;
        at += item->request.consumed;
        item->end = at;
        *count += item->request.count > 0;
    }
    *more = at < size;
    return at;
}

/* The first key of a call; NULL: it has none. */
static const struct resp_arg *first_key(const struct call *call)
{
    unsigned key = call->command ? (unsigned)call->command->first_key : 0;
    return key > 0 && key < call->count ? &call->args[key] : NULL;
}

#define WRITES_LOCKED (COMMAND_WRITE | COMMAND_LOCK)

/* Finds the commands and their first keys: those that are read get a probe each, `reads` of them.
 * Returns how many are written. */
static size_t find_commands(struct session *session, size_t count, size_t *reads)
{
    struct thread *thread = session->thread;
    size_t writes = 0;
    *reads = 0;
    for (size_t i = 0; i < count; i++) {
        struct batch_item *item = &thread->batch[i];
        struct call *call = &item->call;
        *call = (struct call){.args = thread->args.items + item->request.first,
                              .count = item->request.count};
        call->command = command_find(call->args[0].bytes, call->args[0].size);
        if (call->command && call->command->subcommand_count > 0)
            find_sub(call); /* whose key may lie elsewhere */
        const struct resp_arg *key = first_key(call);
        if (!key)
            continue;
        call->hash = session_hash(session, key);
        call->writes_key = (call->command->flags & WRITES_LOCKED) == WRITES_LOCKED;
        writes += call->writes_key;
        if (call->writes_key)
            continue;
        call->probe = &thread->probes[(*reads)++];
        cache_probe_of(call->probe, key->bytes, key->size, call->hash);
    }
    return writes;
}

/* Begins to look for the keys of the thread's probes. Each step is a loop of its own, as short as
 * can be: what takes time are page walks and cache misses, and the shorter the loop, the more of
 * them does a processor have on their way at once. */
static void fetch_reads(struct thread *thread, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cache_probe_home(&thread->reads, &thread->probes[i]);
    for (size_t i = 0; i < count; i++)
        cache_probe_fetch(&thread->reads, &thread->probes[i]);
    for (size_t i = 0; i < count; i++) {
        cache_probe_fetch_rest(&thread->reads, &thread->probes[i]);
        key_fetch_touch(thread, &thread->probes[i]);
    }
}

/* The same for writes, through the store's own mapping of the pond, which needs the lock and is
 * left for them. */
static void fetch_writes(struct session *session, size_t count)
{
    struct batch_item *batch = session->thread->batch;
    struct cache *cache = session_cache(session);
    thread_lock(session->thread);
    for (size_t i = 0; i < count; i++) {
        if (batch[i].call.writes_key)
            cache_prefetch_bucket(cache, batch[i].call.hash);
    }
    for (size_t i = 0; i < count; i++) {
        if (batch[i].call.writes_key)
            cache_prefetch_entry(cache, batch[i].call.hash);
    }
}

static void prepare_batch(struct session *session, size_t count)
{
    size_t reads;
    cache_batch_begin(&session->thread->reads, session->service->reader);
    size_t writes = find_commands(session, count, &reads);
    fetch_reads(session->thread, reads);
    if (writes > 1)
        fetch_writes(session, count);
}

/* Of requests that come one at a time on many connections the misses overlap so. Whether the second
 * argument is a key is not asked, nor who may read it: nothing is told. */
void session_ahead(void *context, unsigned number, const struct net_input *inputs, size_t count)
{
    struct service *service = context;
    struct thread *thread = &service->threads[number];
    struct resp_arg key;
    size_t found = 0;
    cache_batch_begin(&thread->reads, service->reader);
    for (size_t i = 0; i < count; i++) {
        if (resp_peek(inputs[i].bytes, inputs[i].size, &key))
            cache_probe_of(&thread->probes[found++], key.bytes, key.size,
                           cache_hash(service->cache, key.bytes, key.size));
    }
    fetch_reads(thread, found);
}

/* Runs them until one stops the rest; returns how many bytes those took that were run. */
static size_t run_batch(struct session *session, uint8_t *bytes, size_t count, size_t parsed)
{
    struct thread *thread = session->thread;
    size_t at = 0, run = 0;
    thread->watched = stopwatch_now(&thread->watch);
    while (run < count && !session_stops(session) &&
           session_request(session, &thread->batch[run].call))
        at = thread->batch[run++].end;
    thread_unlock(thread);
    if (atomic_load_explicit(&session->service->broadcasts, memory_order_relaxed))
        tracking_broadcast(session->service);
    if (run == count)
        return parsed;
    resp_parser_free(&session->parser); /* what follows is shown, and parsed, again */
    if (thread->line.size > 0)
        memcpy(bytes, thread->line.bytes, thread->line.size);
    session->broken = false;
    return at;
}

/* What the parser objected to is the last thing that a client hears. */
static void refuse(struct session *session)
{
    char text[RESP_FAULT_BYTES];
    size_t mark = reply_mark(&session->reply);
    resp_fault_text(&session->parser, text);
    reply_error(&session->reply, "ERR %s", text);
    count_error(session, mark);
    session->closing = true;
}

/* For CLIENT LIST. */
static void client_note(struct session *session)
{
    struct client *client = session->client;
    uint32_t queued = multi_is_open(session) ? (uint32_t)session->multi->queued_count + 1 : 0;
    atomic_store_explicit(&client->active_at_ms, session_now(session), memory_order_relaxed);
    atomic_store_explicit(&client->queued, queued, memory_order_relaxed);
}

size_t session_input(void *context, uint8_t *bytes, size_t size)
{
    struct session *session = context;
    bool in_ring = __builtin_expect(session->service->ring != NULL, 0);
    size_t at = 0, count;
    bool more;
    session->thread->now_ms = clock_wall_ms();
    if (in_ring)
        ring_look(session->service->ring);
    do {
        size_t parsed = parse_batch(session, bytes + at, size - at, &count, &more);
        prepare_batch(session, count);
        at += run_batch(session, bytes + at, count, parsed);
    } while (more && !session_stops(session));
    client_note(session);
    if (in_ring && session->ring.awaited != 0)
        ring_hold_replies(session);
    if (session->broken && !session->closing)
        refuse(session);
    if (session->closing)
        net_close_after_flush(session->connection);
    else if (at < size && !session_stops(session))
        net_hint(session->connection, size - at + resp_more_hint(&session->parser));
    return at;
}

void session_tick(void *context, unsigned thread)
{
    struct service *service = context;
    stopwatch_tune(&service->threads[thread].watch);
}

/* --- opening and closing -------------------------------------------------------------------- */

void *session_opened(void *context, struct net_connection *connection)
{
    struct service *service = context;
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return NULL;
    *session = (struct session){.service = service,
                                .thread = &service->threads[net_thread_of(connection)],
                                .connection = connection,
                                .parser = RESP_PARSER_INIT,
                                .reply = {net_output(connection), 2},
                                .id = net_id(connection)};
    session->client = client_new(session);
    if (!session->client) {
        free(session);
        return NULL;
    }
    access_begin(session);
    return session;
}

void session_closed(void *context)
{
    struct session *session = context;
    pubsub_leave(session);
    wait_leave(session);
    lease_leave(session);
    job_leave(session);
    ring_session_leave(session);
    tracking_stop(session);
    client_free(session->client);
    tracking_leave(session);
    access_end(session);
    multi_free(session->multi);
    resp_parser_free(&session->parser);
    free(session);
}
