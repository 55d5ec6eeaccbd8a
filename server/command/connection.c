/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c - commands about the connection itself that need nothing else.
 */
#include "server/command/commands.h"

#include "server/command/access.h"
#include "server/command/client.h"
#include "server/command/lease.h"
#include "server/command/multi.h"
#include "server/command/pubsub.h"
#include "server/command/tracking.h"
#include "server/resp/number.h"

void run_ping(struct session *session, const struct call *call)
{
    if (call->count > 2) {
        reply_wrong_arity(session, call->command);
        return;
    }
    const struct resp_arg *text = call->count == 2 ? &call->args[1] : NULL;
    if (session->reply.protocol == 2 && pubsub_count(session) > 0) {
        reply_array(&session->reply, 2);
        reply_bulk(&session->reply, "pong", 4);
        reply_bulk(&session->reply, text ? text->bytes : "", text ? text->size : 0);
    } else if (text) {
        reply_bulk(&session->reply, text->bytes, text->size);
    } else {
        reply_simple(&session->reply, "PONG");
    }
}

void run_echo(struct session *session, const struct call *call)
{
    reply_bulk(&session->reply, call->args[1].bytes, call->args[1].size);
}

void run_quit(struct session *session, const struct call *call)
{
    (void)call;
    reply_ok(&session->reply);
    session->closing = true;
}

/* As a connection is that has just been made. */
void run_reset(struct session *session, const struct call *call)
{
    (void)call;
    multi_free(session->multi);
    session->multi = NULL;
    pubsub_leave(session);
    tracking_stop(session);
    lease_leave(session);
    ring_session_reset(session);
    access_end(session);
    access_begin(session);
    session->mute = MUTE_NONE;
    session->reply.protocol = 2;
    atomic_store_explicit(&session->client->protocol, 2, memory_order_relaxed);
    reply_simple(&session->reply, "RESET");
}

void run_select(struct session *session, const struct call *call)
{
    int32_t database;
    if (!arg_int32(session, &call->args[1], &database))
        return;
    if (database != 0)
        reply_error(&session->reply, "ERR DB index is out of range");
    else
        reply_ok(&session->reply);
}

void run_time(struct session *session, const struct call *call)
{
    (void)call;
    struct timespec now;
    char text[NUMBER_INT_BYTES];
    clock_gettime(CLOCK_REALTIME, &now);
    reply_array(&session->reply, 2);
    reply_bulk(&session->reply, text, number_print(text, now.tv_sec));
    reply_bulk(&session->reply, text, number_print(text, now.tv_nsec / 1000));
}
