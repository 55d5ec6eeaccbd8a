/* SPDX-License-Identifier: Apache-2.0
 *
 * redis.c - a connection to a Redis server, each of whose answers has a deadline.
 *
 * A connection that has missed a deadline is of no use any more, because the late answer would be
 * taken for the next one's; so is any other that went wrong. It is thrown away, never reconnected.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/agent/internal.h"

static struct timeval span(uint32_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* HOST:PORT, [ADDRESS]:PORT or unix:/PATH. */
static redisContext *connect_to(const char *address, uint32_t deadline_ms)
{
    char host[RING_ADDRESS_BYTES];
    if (strncmp(address, "unix:", 5) == 0)
        return redisConnectUnixWithTimeout(address + 5, span(deadline_ms));
    const char *colon = strrchr(address, ':');
    bool brackets = address[0] == '[';
    size_t size = colon != NULL ? (size_t)(colon - address) : 0;
    if (size < 1 + 2u * brackets || size >= sizeof host)
        return NULL;
    snprintf(host, sizeof host, "%.*s", (int)(size - 2 * brackets), address + brackets);
    return redisConnectWithTimeout(host, atoi(colon + 1), span(deadline_ms));
}

static void lost(struct redis *redis)
{
    redis->late = redis->context->err == REDIS_ERR_IO &&
                  strstr(redis->context->errstr, "unavailable") != NULL;
    snprintf(redis->why, sizeof redis->why, "%s",
             redis->late ? "it does not answer in time" : redis->context->errstr);
    redis_close(redis);
}

/* The login may be changed meanwhile. */
static redisReply *say_login(struct redis *redis, struct watched *server)
{
    pthread_mutex_lock(&server->mutex);
    char *user = server->login.user != NULL ? strdup(server->login.user) : NULL;
    char *password = strdup(server->login.password != NULL ? server->login.password : "");
    pthread_mutex_unlock(&server->mutex);
    redisReply *reply = NULL;
    if (password != NULL && user != NULL)
        reply = redis_ask(redis, "AUTH %s %s", user, password);
    else if (password != NULL)
        reply = redis_ask(redis, "AUTH %s", password);
    config_password_free(password);
    free(user);
    return reply;
}

static bool log_in(struct redis *redis, struct watched *server)
{
    pthread_mutex_lock(&server->mutex);
    bool needed = server->login.password != NULL;
    pthread_mutex_unlock(&server->mutex);
    if (!needed)
        return true;
    redisReply *reply = say_login(redis, server);
    bool good = reply != NULL;
    freeReplyObject(reply);
    if (!good && redis->context != NULL)
        redis_close(redis);
    return good;
}

bool redis_open(struct redis *redis, struct watched *server, const char *address,
                uint32_t deadline_ms)
{
    redis_close(redis);
    redis->late = redis->refused = false;
    redis->context = connect_to(address, deadline_ms);
    if (redis->context == NULL) {
        snprintf(redis->why, sizeof redis->why, "no connection to %s", address);
        return false;
    }
    if (redis->context->err != 0) {
        lost(redis);
        return false;
    }
    redisSetTimeout(redis->context, span(deadline_ms));
    return log_in(redis, server);
}

void redis_close(struct redis *redis)
{
    if (redis->context != NULL)
        redisFree(redis->context);
    redis->context = NULL;
}

void redis_deadline(struct redis *redis, uint32_t deadline_ms)
{
    if (redis->context != NULL)
        redisSetTimeout(redis->context, span(deadline_ms));
}

void redis_send(struct redis *redis, const char *format, ...)
{
    va_list arguments;
    if (redis->context == NULL)
        return;
    va_start(arguments, format);
    redisvAppendCommand(redis->context, format, arguments);
    va_end(arguments);
}

redisReply *redis_receive(struct redis *redis)
{
    void *reply = NULL;
    if (redis->context == NULL)
        return NULL;
    if (redisGetReply(redis->context, &reply) == REDIS_OK)
        return reply;
    lost(redis);
    return NULL;
}

redisReply *redis_ask(struct redis *redis, const char *format, ...)
{
    va_list arguments;
    if (redis->context == NULL)
        return NULL;
    va_start(arguments, format);
    redisvAppendCommand(redis->context, format, arguments);
    va_end(arguments);
    redisReply *reply = redis_receive(redis);
    redis->refused = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    if (!redis->refused)
        return reply;
    snprintf(redis->why, sizeof redis->why, "%s", reply->str);
    freeReplyObject(reply);
    return NULL;
}
