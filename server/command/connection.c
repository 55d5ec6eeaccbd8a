/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c - commands about the connection itself that need nothing else.
 */
#include "server/command/commands.h"

#include "server/resp/number.h"

void command_ping(struct session *session, const struct call *call)
{
    if (call->count > 2) {
        reply_wrong_arity(session, call->command, NULL);
        return;
    }
    const struct resp_arg *text = call->count == 2 ? &call->args[1] : NULL;
    if (session->subscriber && session->reply.protocol == 2) {
        reply_array(&session->reply, 2);
        reply_bulk(&session->reply, "pong", 4);
        reply_bulk(&session->reply, text ? text->bytes : "", text ? text->size : 0);
    } else if (text) {
        reply_bulk(&session->reply, text->bytes, text->size);
    } else {
        reply_simple(&session->reply, "PONG");
    }
}

void command_echo(struct session *session, const struct call *call)
{
    reply_bulk(&session->reply, call->args[1].bytes, call->args[1].size);
}

void command_quit(struct session *session, const struct call *call)
{
    (void)call;
    reply_ok(&session->reply);
    session->closing = true;
}

void command_select(struct session *session, const struct call *call)
{
    int64_t database;
    if (!number_integer(call->args[1].bytes, call->args[1].size, &database))
        reply_error(&session->reply, "ERR invalid DB index");
    else if (database != 0)
        reply_error(&session->reply, "ERR DB index is out of range");
    else
        reply_ok(&session->reply);
}

void command_time(struct session *session, const struct call *call)
{
    (void)call;
    struct timespec now;
    char text[NUMBER_INTEGER_BYTES];
    clock_gettime(CLOCK_REALTIME, &now);
    reply_array(&session->reply, 2);
    reply_bulk(&session->reply, text, number_print(text, now.tv_sec));
    reply_bulk(&session->reply, text, number_print(text, now.tv_nsec / 1000));
}
