/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - whether a Redis server is well, and its registration by that.
 *
 * Well is a server that answers PING and INFO before the deadline, is not loading, and is a master.
 * Its run_id makes the start id, so that a server that was started anew is known as such however
 * fast that was. Between two checks the connection is listened to: when it breaks, the next check
 * comes at once. A server that is not well is taken out at the first check that fails; only where
 * nothing but the connection has broken, it is asked once more on a new one.
 *
 * Costs: a PING and an INFO for each check.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/hash.h"
#include "server/agent/internal.h"
#include "server/log/log.h"

#define AGAIN_MS 100u /* a server that is not well */
#define LATE_MS  5000u

bool server_stopping(struct watched *server)
{
    pthread_mutex_lock(&server->mutex);
    bool stopping = server->stopping;
    pthread_mutex_unlock(&server->mutex);
    return stopping;
}

bool server_pause(struct watched *server, uint32_t ms)
{
    struct pollfd wake = {.fd = server->wake, .events = POLLIN};
    (void)poll(&wake, 1, (int)ms);
    return !server_stopping(server);
}

/* --- one check -------------------------------------------------------------------------------- */

/* The value of a line "KEY:VALUE" of INFO. */
static bool info_value(const char *info, const char *key, char *out, size_t room)
{
    size_t size = strlen(key);
    for (const char *line = info; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, size) != 0 || line[size] != ':')
            continue;
        size_t value = strcspn(line + size + 1, "\r\n");
        snprintf(out, room, "%.*s", (int)value, line + size + 1);
        return true;
    }
    return false;
}

/* What a check has found. */
struct finding {
    enum agent_state state;
    uint64_t start; /* the start id, or 0: why is said */
    uint64_t memory_bytes, keys;
};

static void judge(struct redis *redis, const char *info, struct finding *out)
{
    char loading[16] = "0", role[32] = "", run_id[64];
    out->state = AGENT_REFUSES;
    if (!info_value(info, "run_id", run_id, sizeof run_id)) {
        snprintf(redis->why, sizeof redis->why, "its INFO has no run_id");
        return;
    }
    (void)info_value(info, "loading", loading, sizeof loading);
    (void)info_value(info, "role", role, sizeof role);
    if (strcmp(loading, "0") != 0) {
        out->state = AGENT_LOADING;
        snprintf(redis->why, sizeof redis->why, "it is loading its data");
    } else if (strcmp(role, "master") != 0) {
        out->state = AGENT_REPLICA;
        snprintf(redis->why, sizeof redis->why, "its role is %s, not master", role);
    } else {
        out->state = AGENT_WELL;
        out->start = hash_bytes(run_id, strlen(run_id)) | 1;
    }
}

/* Of database 0: "keys=3,expires=1,avg_ttl=0", or no line if it is empty. */
static void measure(const char *info, struct finding *out)
{
    char memory[32] = "", keys[96] = "";
    (void)info_value(info, "used_memory", memory, sizeof memory);
    (void)info_value(info, "db0", keys, sizeof keys);
    out->memory_bytes = strtoull(memory, NULL, 10);
    out->keys = strncmp(keys, "keys=", 5) == 0 ? strtoull(keys + 5, NULL, 10) : 0;
}

/* Of a server that has not come to INFO. */
static enum agent_state failure(const struct redis *redis)
{
    if (redis->refused)
        return strncmp(redis->why, "LOADING", 7) == 0 ? AGENT_LOADING : AGENT_REFUSES;
    return redis->late ? AGENT_SILENT : AGENT_UNREACHABLE;
}

static void check_once(struct watched *server, struct redis *redis, uint32_t deadline_ms,
                       struct finding *out)
{
    *out = (struct finding){0};
    bool open =
        redis->context != NULL || redis_open(redis, server, server->node.address, deadline_ms);
    redisReply *pong = open ? redis_ask(redis, "PING") : NULL;
    redisReply *info = pong != NULL ? redis_ask(redis, "INFO") : NULL;
    if (info != NULL && info->type == REDIS_REPLY_STRING) {
        judge(redis, info->str, out);
        measure(info->str, out);
    } else {
        out->state = failure(redis);
    }
    freeReplyObject(pong);
    freeReplyObject(info);
}

/* It takes two connections at the most, with a login, a PING and an INFO on each. */
void check_expect(struct watched *server, uint32_t pause_ms, uint32_t deadline_ms)
{
    pthread_mutex_lock(&server->mutex);
    server->due_ms = clock_ms() + pause_ms + UINT64_C(8) * deadline_ms + LATE_MS;
    pthread_mutex_unlock(&server->mutex);
}

/* The limits may be changed meanwhile: those count that it began with. */
static void check(struct watched *server, struct redis *redis, struct finding *out)
{
    uint32_t deadline_ms = server->deadline_ms;
    bool had = redis->context != NULL;
    check_expect(server, 0, deadline_ms);
    redis_deadline(redis, deadline_ms);
    check_once(server, redis, deadline_ms, out);
    bool broke = had && redis->context == NULL && !redis->late;
    if (out->start == 0 && broke)
        check_once(server, redis, deadline_ms, out);
}

/* --- registering ------------------------------------------------------------------------------ */

/* With the mutex. */
static void count(struct watched *server, const struct finding *found, const char *why)
{
    struct agent_figures *figures = &server->figures;
    bool well = found->state == AGENT_WELL;
    figures->state = found->state;
    figures->checks++;
    figures->failed_checks += !well;
    snprintf(figures->why, sizeof figures->why, "%s", well ? "" : why);
    if (!well)
        return;
    figures->answered_at_ms = clock_wall_ms();
    figures->memory_bytes = found->memory_bytes;
    figures->keys = found->keys;
}

static void apply(struct watched *server, const struct finding *found, const char *why)
{
    uint64_t start = found->start;
    pthread_mutex_lock(&server->mutex);
    count(server, found, why);
    uint64_t before = server->start;
    server->start = start;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    if (start == before) {
        if (start == 0)
            log_limited(LOG_WARNING, "agent", 60, "%s at %s is not in the ring: %s",
                        server->node.name, server->node.address, why);
        return;
    }
    member_register(server->member, start != 0, start != 0 ? start : before);
    if (start == 0)
        log_warning("agent", "%s at %s is taken out of the ring: %s", server->node.name,
                    server->node.address, why);
    else
        log_info("agent", "%s at %s is well%s", server->node.name, server->node.address,
                 before != 0 ? ", and has been started anew" : "");
}

/* Until the next check: less than that where the connection breaks. */
static bool listen_to(struct watched *server, const struct redis *redis, uint32_t ms)
{
    check_expect(server, ms, server->deadline_ms);
    struct pollfd fds[2] = {
        {.fd = server->wake, .events = POLLIN},
        {.fd = redis->context != NULL ? redis->context->fd : -1, .events = POLLIN | POLLRDHUP}};
    (void)poll(fds, 2, (int)ms);
    return !server_stopping(server);
}

void *check_server(void *argument)
{
    struct watched *server = argument;
    struct redis redis = {0};
    struct finding found;
    do {
        check(server, &redis, &found);
        apply(server, &found, redis.why);
    } while (listen_to(server, &redis, found.start != 0 ? server->check_ms : AGAIN_MS));
    redis_close(&redis);
    return NULL;
}
