/* SPDX-License-Identifier: Apache-2.0
 *
 * slowlog.c - SLOWLOG: the calls that took long, the newest first.
 *
 * A list under a lock that is taken for a slow call only. An entry has at most 32 arguments of at
 * most 128 bytes and what says how much more there was, in one piece of memory: 6 KiB at the worst.
 */
#include "server/command/slowlog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/command/client.h"
#include "server/command/commands.h"
#include "server/resp/number.h"

#define ARGS_MAX      32u
#define ARG_BYTES_MAX 128u
#define MORE_BYTES    64u /* "... (N more arguments)" */

struct slowlog_entry {
    struct slowlog_entry *older, *newer;
    uint64_t id, us;
    int64_t at_ms;
    char address[NET_ADDRESS_BYTES], name[CLIENT_NAME_MAX + 1];
    size_t arg_count;
    uint32_t arg_sizes[ARGS_MAX];
    char text[]; /* of all arguments */
};

/* --- the list --------------------------------------------------------------------------------- */

void slowlog_init(struct slowlog *log)
{
    *log = (struct slowlog){.count_max = 0};
    atomic_init(&log->after_ns, UINT64_MAX);
    pthread_mutex_init(&log->lock, NULL);
}

/* With the lock, or when nobody else has the log. */
static void cut(struct slowlog *log, uint32_t count)
{
    while (log->count > count) {
        struct slowlog_entry *oldest = log->oldest;
        log->oldest = oldest->newer;
        if (log->oldest)
            log->oldest->older = NULL;
        else
            log->newest = NULL;
        log->count--;
        free(oldest);
    }
}

void slowlog_destroy(struct slowlog *log)
{
    cut(log, 0);
    pthread_mutex_destroy(&log->lock);
}

void slowlog_configure(struct slowlog *log, int64_t after_us, uint32_t count_max)
{
    uint64_t after_ns = after_us < 0 || count_max == 0         ? UINT64_MAX
                        : after_us > INT64_MAX / INT64_C(1000) ? INT64_MAX
                                                               : (uint64_t)after_us * 1000;
    pthread_mutex_lock(&log->lock);
    log->count_max = count_max;
    cut(log, count_max);
    pthread_mutex_unlock(&log->lock);
    atomic_store_explicit(&log->after_ns, after_ns, memory_order_relaxed);
}

/* --- a new entry ------------------------------------------------------------------------------ */

/* An argument as the log shows it, at `to` unless that is NULL; its size. */
static size_t print_arg(const struct call *call, size_t i, char *to)
{
    const struct resp_arg *arg = &call->args[i];
    char more[MORE_BYTES];
    size_t shown = arg->size < ARG_BYTES_MAX ? arg->size : ARG_BYTES_MAX;
    int size = 0;
    if (i == ARGS_MAX - 1 && call->count > ARGS_MAX) {
        shown = 0;
        size = snprintf(more, sizeof(more), "... (%zu more arguments)", call->count - ARGS_MAX + 1);
    } else if (arg->size > ARG_BYTES_MAX) {
        size = snprintf(more, sizeof(more), "... (%zu more bytes)", arg->size - ARG_BYTES_MAX);
    }
    if (to) {
        memcpy(to, arg->bytes, shown);
        memcpy(to + shown, more, (size_t)size);
    }
    return shown + (size_t)size;
}

static struct slowlog_entry *make_entry(const struct call *call)
{
    size_t count = call->count < ARGS_MAX ? call->count : ARGS_MAX;
    size_t total = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        total += print_arg(call, i, NULL);
    struct slowlog_entry *entry = malloc(sizeof(*entry) + total);
    if (!entry)
        return NULL;
    *entry = (struct slowlog_entry){.arg_count = count};
    for (size_t i = 0; i < count; i++) {
        entry->arg_sizes[i] = (uint32_t)print_arg(call, i, entry->text + at);
        at += entry->arg_sizes[i];
    }
    return entry;
}

/* Whether arguments may be passwords; EXEC stands for what it ran, which is there itself. */
static bool is_left_out(const struct command *command)
{
    return command->run == run_auth || command->run == run_hello ||
           command->run == run_acl_setuser || command->run == run_exec;
}

void slowlog_add(struct session *session, const struct call *call, uint64_t ns)
{
    struct slowlog *log = &session->service->slowlog;
    struct client *client = session->client;
    struct slowlog_entry *entry = is_left_out(call->command) ? NULL : make_entry(call);
    if (!entry)
        return;
    entry->us = ns / 1000;
    entry->at_ms = session_now(session);
    memcpy(entry->address, client->address, sizeof(entry->address));
    memcpy(entry->name, client->name, sizeof(entry->name)); /* only this thread changes it */
    pthread_mutex_lock(&log->lock);
    entry->id = log->next_id++;
    entry->older = log->newest;
    if (log->newest)
        log->newest->newer = entry;
    else
        log->oldest = entry;
    log->newest = entry;
    log->count++;
    cut(log, log->count_max);
    pthread_mutex_unlock(&log->lock);
}

/* --- SLOWLOG ---------------------------------------------------------------------------------- */

static void reply_entry(struct session *session, const struct slowlog_entry *entry)
{
    struct reply *reply = &session->reply;
    const char *text = entry->text;
    reply_array(reply, 6);
    reply_integer(reply, (int64_t)entry->id);
    reply_integer(reply, entry->at_ms / 1000);
    reply_integer(reply, (int64_t)entry->us);
    reply_array(reply, entry->arg_count);
    for (size_t i = 0; i < entry->arg_count; i++) {
        reply_bulk(reply, text, entry->arg_sizes[i]);
        text += entry->arg_sizes[i];
    }
    reply_text(reply, entry->address);
    reply_text(reply, entry->name);
}

void run_slowlog_get(struct session *session, const struct call *call)
{
    struct slowlog *log = &session->service->slowlog;
    int64_t wanted = 10;
    if (call->count > 3) {
        reply_error(&session->reply,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG "
                    "HELP.",
                    arg_print(&call->args[1]), call->args[1].bytes);
        return;
    }
    if (call->count == 3 &&
        (!number_parse(call->args[2].bytes, call->args[2].size, &wanted) || wanted < -1)) {
        reply_error(&session->reply, "ERR count should be greater than or equal to -1");
        return;
    }
    pthread_mutex_lock(&log->lock);
    size_t count = wanted < 0 || wanted > log->count ? log->count : (size_t)wanted;
    const struct slowlog_entry *entry = log->newest;
    reply_array(&session->reply, count);
    for (size_t i = 0; i < count; i++, entry = entry->older)
        reply_entry(session, entry);
    pthread_mutex_unlock(&log->lock);
}

void run_slowlog_len(struct session *session, const struct call *call)
{
    struct slowlog *log = &session->service->slowlog;
    (void)call;
    pthread_mutex_lock(&log->lock);
    reply_integer(&session->reply, log->count);
    pthread_mutex_unlock(&log->lock);
}

void run_slowlog_reset(struct session *session, const struct call *call)
{
    struct slowlog *log = &session->service->slowlog;
    (void)call;
    pthread_mutex_lock(&log->lock);
    cut(log, 0);
    pthread_mutex_unlock(&log->lock);
    reply_ok(&session->reply);
}

void run_slowlog_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    The newest calls that were slow, 10 unless a count is given; -1: all.",
        "LEN",
        "    How many there are.",
        "RESET",
        "    Forgets them.",
        NULL};
    (void)call;
    reply_help(session, "SLOWLOG", lines);
}
