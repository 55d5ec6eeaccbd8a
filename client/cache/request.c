/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c - commands as bytes, their way to the server and back, and what a reply means.
 *
 * When is a request sent again? A connection out of the pool may turn out to be closed, because the
 * server was started again a moment ago. Then it is sent once more, on a new connection, if nothing
 * of it had been sent, or if doing it twice is the same as doing it once. After a time-out it never
 * is: the server may be at it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cache/link.h"

/* --- commands --------------------------------------------------------------------------------- */

void command_word(struct command *command, const char *word)
{
    command_add(command, word, strlen(word));
}

void command_number(struct command *command, int64_t number, char digits[NUMBER_BYTES])
{
    int size = snprintf(digits, NUMBER_BYTES, "%" PRId64, number);
    command_add(command, digits, (size_t)size);
}

static void put(struct sp_buffer *out, const void *data, size_t size)
{
    if (size > 0)
        memcpy((char *)out->data + out->size, data, size);
    out->size += size;
}

static void put_head(struct sp_buffer *out, char kind, size_t number)
{
    char head[NUMBER_BYTES + 3];
    int size = snprintf(head, sizeof head, "%c%zu\r\n", kind, number);
    put(out, head, (size_t)size);
}

/* An array of bulk strings, as every request is. */
static int put_command(struct sp_buffer *out, const struct command *command)
{
    size_t bytes = out->size + NUMBER_BYTES + 3;
    for (size_t i = 0; i < command->count; i++)
        bytes += command->args[i].size + NUMBER_BYTES + 5;
    int status = sp_buffer_reserve(out, bytes);
    if (status != SP_OK)
        return error_plain(status);
    put_head(out, '*', command->count);
    for (size_t i = 0; i < command->count; i++) {
        put_head(out, '$', command->args[i].size);
        put(out, command->args[i].data, command->args[i].size);
        put(out, "\r\n", 2);
    }
    return SP_OK;
}

static int put_request(struct sp_buffer *out, const struct request *request)
{
    int status = SP_OK;
    for (size_t i = 0; i < request->count && status == SP_OK; i++)
        status = put_command(out, &request->commands[i]);
    return status;
}

/* --- to the server and back ------------------------------------------------------------------- */

/* The replies are the caller's only if all of them are there. */
static int send_bytes(struct connection *connection, const struct request *request,
                      const struct sp_buffer *bytes, redisReply **replies, size_t *sent)
{
    struct exchange exchange = {.bytes = bytes->data,
                                .size = bytes->size,
                                .replies = replies,
                                .wanted = request->count,
                                .extra_ms = request->extra_ms,
                                .go_on = request->go_on,
                                .context = request->context};
    int status = connection_exchange(connection, &exchange);
    if (status != SP_OK)
        for (size_t i = 0; i < exchange.got; i++)
            freeReplyObject(replies[i]);
    *sent = exchange.sent;
    return status;
}

int request_run_on(struct connection *connection, const struct request *request,
                   redisReply **replies)
{
    struct sp_buffer bytes = {0};
    size_t sent;
    int status = put_request(&bytes, request);
    if (status == SP_OK)
        status = send_bytes(connection, request, &bytes, replies, &sent);
    sp_buffer_free(&bytes);
    return status;
}

static int run_again(struct sp_cache *cache, const struct request *request,
                     const struct sp_buffer *bytes, redisReply **replies, struct connection **kept)
{
    bool again = false;
    int status;
    do {
        size_t sent;
        status = link_take(cache, again, kept);
        if (status != SP_OK)
            return status;
        status = send_bytes(*kept, request, bytes, replies, &sent);
        if (status != SP_OK) {
            link_drop(cache, *kept);
            again = !again && status == SP_ENODAEMON && (sent == 0 || request->repeatable);
        }
    } while (status != SP_OK && again);
    return status;
}

int request_run(struct sp_cache *cache, const struct request *request, redisReply **replies,
                struct connection **kept)
{
    struct sp_buffer bytes = {0};
    struct connection *connection;
    int status = put_request(&bytes, request);
    if (status == SP_OK)
        status = run_again(cache, request, &bytes, replies, &connection);
    sp_buffer_free(&bytes);
    if (status != SP_OK)
        return status;
    if (kept != NULL)
        *kept = connection;
    else
        link_give(cache, connection);
    return SP_OK;
}

/* --- replies ---------------------------------------------------------------------------------- */

int error_status(const char *text)
{
    static const struct {
        const char *begin;
        int status;
    } known[] = {
        {"OOM ", SP_ENOSPC},
        {"NOAUTH ", SP_EACCESS},
        {"NOPERM ", SP_EACCESS},
        {"WRONGPASS ", SP_EACCESS},
        {"WRONGTYPE ", SP_ETYPE},
        {"ERR value is not an integer", SP_ETYPE},
        {"ERR increment or decrement would overflow", SP_ERANGE},
        {"ERR string exceeds maximum allowed size", SP_ETOOBIG},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(text, known[i].begin, strlen(known[i].begin)) == 0)
            return known[i].status;
    return SP_EREFUSED;
}

int reply_status(const redisReply *reply, unsigned types, const char *address)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return error_set(error_status(reply->str), "%s: %s", address, reply->str);
    if ((types & 1u << reply->type) == 0)
        return error_set(SP_EREFUSED, "%s: a reply of another kind than was expected", address);
    return SP_OK;
}
