/* SPDX-License-Identifier: Apache-2.0
 *
 * multi.c - transactions: MULTI, EXEC, DISCARD, and WATCH.
 *
 * Requests after MULTI are checked and copied; EXEC runs them under one lock, and no client sees
 * some of their effects without the others (several_begin). WATCH remembers the version of a key's
 * entry, and its place, since a key that goes and comes within a millisecond may get the same
 * version once in 256 times; EXEC does nothing if one of them is another by then. A key that is not
 * there has none, and may come and go until EXEC: for those, writes are counted by the keys' hash,
 * while anybody watches. Once in WATCH_SLOTS that is another key's write, and EXEC does nothing
 * without need, as it may.
 */
#include "server/command/multi.h"
#include "server/command/commands.h"

#include <stdlib.h>
#include <string.h>

/* --- state ---------------------------------------------------------------------------------- */

static struct multi *multi_of(struct session *session)
{
    if (!session->multi)
        session->multi = calloc(1, sizeof(*session->multi));
    if (session->multi)
        session->multi->watchers = &session->service->watchers;
    return session->multi;
}

static void forget_queued(struct multi *multi)
{
    for (size_t i = 0; i < multi->queued_count; i++)
        free((void *)(uintptr_t)multi->queued[i].args);
    multi->queued_count = 0;
    multi->queued_bytes = 0;
}

static void forget_watched(struct multi *multi)
{
    struct watched *next;
    for (struct watched *w = multi->watched; w; w = next) {
        next = w->next;
        free(w);
    }
    if (multi->watched)
        atomic_fetch_sub_explicit(multi->watchers, 1, memory_order_relaxed);
    multi->watched = NULL;
}

void multi_free(struct multi *multi)
{
    if (!multi)
        return;
    forget_queued(multi);
    forget_watched(multi);
    free(multi->queued);
    free(multi);
}

bool multi_is_open(const struct session *session)
{
    return session->multi && session->multi->open;
}

bool multi_writes(const struct session *session)
{
    bool writes = false;
    for (size_t i = 0; multi_is_open(session) && i < session->multi->queued_count; i++)
        writes |= command_writes(session->multi->queued[i].command);
    return writes;
}

void multi_spoil(struct session *session)
{
    if (multi_is_open(session))
        session->multi->spoiled = true;
}

/* --- queueing ------------------------------------------------------------------------------- */

struct resp_arg *call_copy_args(const struct call *call, size_t *bytes)
{
    *bytes = call->count * sizeof(struct resp_arg);
    for (size_t i = 0; i < call->count; i++)
        *bytes += call->args[i].size;
    struct resp_arg *args = malloc(*bytes);
    if (!args)
        return NULL;
    char *at = (char *)(args + call->count);
    for (size_t i = 0; i < call->count; i++) {
        args[i] = (struct resp_arg){at, call->args[i].size};
        memcpy(at, call->args[i].bytes, call->args[i].size);
        at += call->args[i].size;
    }
    return args;
}

static bool grow_queue(struct multi *multi)
{
    size_t cap = multi->queued_cap ? multi->queued_cap * 2 : 8;
    struct call *queued = realloc(multi->queued, cap * sizeof(*queued));
    if (!queued)
        return false;
    multi->queued = queued;
    multi->queued_cap = cap;
    return true;
}

void multi_queue(struct session *session, const struct call *call)
{
    struct multi *multi = session->multi;
    size_t bytes;
    struct resp_arg *args = NULL;
    if (multi->queued_bytes > MULTI_BYTES_MAX) {
        multi->spoiled = true;
        reply_error(&session->reply, "ERR the transaction is larger than %u bytes",
                    MULTI_BYTES_MAX);
        return;
    }
    if (multi->queued_count < multi->queued_cap || grow_queue(multi))
        args = call_copy_args(call, &bytes);
    if (!args) {
        multi->spoiled = true;
        reply_error(&session->reply, "ERR out of memory");
        return;
    }
    struct call *queued = &multi->queued[multi->queued_count++];
    *queued = *call;
    queued->args = args;
    queued->probe = NULL; /* which is of this batch */
    multi->queued_bytes += bytes;
    reply_simple(&session->reply, "QUEUED");
}

/* --- commands ------------------------------------------------------------------------------- */

void run_multi(struct session *session, const struct call *call)
{
    (void)call;
    struct multi *multi = multi_of(session);
    if (!multi) {
        reply_error(&session->reply, "ERR out of memory");
    } else if (multi->open) {
        reply_error(&session->reply, "ERR MULTI calls can not be nested");
    } else {
        multi->open = true;
        multi->spoiled = false;
        reply_ok(&session->reply);
    }
}

static void close_multi(struct multi *multi)
{
    multi->open = false;
    multi->spoiled = false;
    forget_queued(multi);
    forget_watched(multi);
}

void run_discard(struct session *session, const struct call *call)
{
    (void)call;
    if (!multi_is_open(session)) {
        reply_error(&session->reply, "ERR DISCARD without MULTI");
        return;
    }
    close_multi(session->multi);
    reply_ok(&session->reply);
}

/* The place and version of a key's entry; zeros: there is none. */
static void look_at(struct session *session, const struct resp_arg *key, uint64_t *unit,
                    uint64_t *version)
{
    struct cache_entry entry = {.unit = 0, .version = 0};
    struct cache *cache = session_cache(session);
    uint64_t hash = cache_hash(cache, key->bytes, key->size);
    bool found = cache_find(cache, hash, key->bytes, key->size, &entry);
    *unit = found ? entry.unit : 0;
    *version = found ? entry.version : 0;
}

static uint32_t writes_of(const struct session *session, const struct resp_arg *key)
{
    return session->service->writes[session_hash(session, key) % WATCH_SLOTS];
}

static bool watched_changed(struct session *session)
{
    for (const struct watched *w = session->multi->watched; w; w = w->next) {
        struct resp_arg key = {w->key, w->key_bytes};
        uint64_t unit, version;
        look_at(session, &key, &unit, &version);
        if (unit != w->unit || version != w->version ||
            (w->unit == 0 && writes_of(session, &key) != w->writes))
            return true;
    }
    return false;
}

static void run_queued(struct session *session)
{
    struct multi *multi = session->multi;
    reply_array(&session->reply, multi->queued_count);
    session->thread->in_exec = true;
    several_begin(session);
    for (size_t i = 0; i < multi->queued_count; i++) {
        if (!session->service->ring || !ring_refuses(session, &multi->queued[i]))
            session_run(session, &multi->queued[i]);
    }
    several_end(session);
    session->thread->in_exec = false;
}

void multi_abort(struct session *session, const char *why)
{
    reply_error(&session->reply, "EXECABORT Transaction discarded because of: %s", why);
    if (session->multi)
        close_multi(session->multi);
}

void run_exec(struct session *session, const struct call *call)
{
    (void)call;
    if (!multi_is_open(session)) {
        reply_error(&session->reply, "ERR EXEC without MULTI");
        return;
    }
    struct multi *multi = session->multi;
    multi->open = false;
    if (multi->spoiled)
        reply_error(&session->reply, "EXECABORT Transaction discarded because of previous errors.");
    else if (watched_changed(session))
        reply_null_array(&session->reply);
    else
        run_queued(session);
    close_multi(multi);
}

void run_watch(struct session *session, const struct call *call)
{
    if (multi_is_open(session)) {
        reply_error(&session->reply, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    struct multi *multi = multi_of(session);
    for (size_t i = 1; i < call->count; i++) {
        const struct resp_arg *key = &call->args[i];
        struct watched *w = multi ? malloc(sizeof(*w) + key->size) : NULL;
        if (!w) {
            reply_error(&session->reply, "ERR out of memory");
            return;
        }
        w->key_bytes = key->size;
        memcpy(w->key, key->bytes, key->size);
        look_at(session, key, &w->unit, &w->version);
        w->writes = writes_of(session, key);
        if (!multi->watched)
            atomic_fetch_add_explicit(multi->watchers, 1, memory_order_relaxed);
        w->next = multi->watched;
        multi->watched = w;
    }
    reply_ok(&session->reply);
}

void run_unwatch(struct session *session, const struct call *call)
{
    (void)call;
    if (session->multi)
        forget_watched(session->multi);
    reply_ok(&session->reply);
}
