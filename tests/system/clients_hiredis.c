/* SPDX-License-Identifier: Apache-2.0
 *
 * clients_hiredis.c - the C client hiredis at work with a server; test_clients.py runs it.
 *
 *     clients_hiredis HOST PORT SOCKET
 *
 * The same over TCP and over the Unix socket: plain commands, binary keys and values, null, errors,
 * a transaction, and a pipeline of 10,000 requests. Ends with 1 at the first reply that is not what
 * Redis says.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <hiredis/hiredis.h>

#define PIPELINE      10000
#define REPLY_SECONDS 10

static void check(bool right, const char *what, const redisContext *context)
{
    if (right)
        return;
    fprintf(stderr, "clients_hiredis: %s: %s\n", what, context->err ? context->errstr : "wrong");
    exit(1);
}

/* The reply, of which hiredis frees nothing until freeReplyObject. */
static redisReply *expect(redisContext *context, redisReply *reply, int type, const char *what)
{
    check(reply && reply->type == type, what, context);
    return reply;
}

static void plain_commands(redisContext *context)
{
    redisReply *reply = redisCommand(context, "SET %s %d", "count", 41);
    freeReplyObject(expect(context, reply, REDIS_REPLY_STATUS, "SET"));
    reply = expect(context, redisCommand(context, "INCR count"), REDIS_REPLY_INTEGER, "INCR");
    check(reply->integer == 42, "INCR", context);
    freeReplyObject(reply);
    reply = redisCommand(context, "GET not-there");
    freeReplyObject(expect(context, reply, REDIS_REPLY_NIL, "GET of nothing"));
    reply = expect(context, redisCommand(context, "GET"), REDIS_REPLY_ERROR, "GET alone");
    check(strstr(reply->str, "wrong number of arguments") != NULL, "GET alone", context);
    freeReplyObject(reply);
}

static void any_bytes(redisContext *context)
{
    static const char key[] = "k\0\r\n\xff", value[] = "v\0\r\n$5\r\n\xfe";
    redisReply *reply = redisCommand(context, "SET %b %b", key, sizeof(key), value, sizeof(value));
    freeReplyObject(expect(context, reply, REDIS_REPLY_STATUS, "SET of bytes"));
    reply = redisCommand(context, "GET %b", key, sizeof(key));
    expect(context, reply, REDIS_REPLY_STRING, "GET of bytes");
    check(reply->len == sizeof(value) && memcmp(reply->str, value, sizeof(value)) == 0,
          "GET of bytes", context);
    freeReplyObject(reply);
}

static void transaction(redisContext *context)
{
    redisReply *reply;
    redisAppendCommand(context, "MULTI");
    redisAppendCommand(context, "SET t 1");
    redisAppendCommand(context, "MGET t not-there");
    redisAppendCommand(context, "EXEC");
    for (int i = 0; i < 3; i++) {
        check(redisGetReply(context, (void **)&reply) == REDIS_OK, "MULTI", context);
        freeReplyObject(expect(context, reply, REDIS_REPLY_STATUS, "MULTI"));
    }
    check(redisGetReply(context, (void **)&reply) == REDIS_OK, "EXEC", context);
    expect(context, reply, REDIS_REPLY_ARRAY, "EXEC");
    check(reply->elements == 2 && reply->element[1]->elements == 2 &&
              reply->element[1]->element[1]->type == REDIS_REPLY_NIL,
          "EXEC", context);
    freeReplyObject(reply);
}

static void pipeline(redisContext *context)
{
    redisReply *reply;
    for (int i = 0; i < PIPELINE; i++)
        redisAppendCommand(context, "SET p:%d %d", i, i);
    for (int i = 0; i < PIPELINE; i++)
        redisAppendCommand(context, "GET p:%d", i);
    for (int i = 0; i < 2 * PIPELINE; i++) {
        check(redisGetReply(context, (void **)&reply) == REDIS_OK && reply, "pipeline", context);
        check(i < PIPELINE ? reply->type == REDIS_REPLY_STATUS : atoi(reply->str) == i - PIPELINE,
              "pipeline", context);
        freeReplyObject(reply);
    }
}

static void run(redisContext *context, const char *name)
{
    if (!context) {
        fputs("clients_hiredis: out of memory\n", stderr);
        exit(1);
    }
    check(!context->err, name, context);
    redisSetTimeout(context, (struct timeval){.tv_sec = REPLY_SECONDS});
    plain_commands(context);
    any_bytes(context);
    transaction(context);
    pipeline(context);
    redisFree(context);
    printf("hiredis over %s\n", name);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: clients_hiredis HOST PORT SOCKET\n", stderr);
        return 2;
    }
    run(redisConnect(argv[1], atoi(argv[2])), "TCP");
    run(redisConnectUnix(argv[3]), "a Unix socket");
    return 0;
}
