/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_peer.c - a connection to one certain node of a ring, for what is asked of that one and no
 * other.
 *
 * After anything that goes wrong the connection is thrown away, as a late reply would answer the
 * wrong request; the next request makes another one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "ring_nodes.h"

#define DEFAULT_USER "default"
#define CONNECT_MS   500

void ring_peer_init(struct ring_peer *peer, const struct tool *tool,
                    const struct sp_ring_node *node, const struct sp_ring_state *state)
{
    memset(peer, 0, sizeof *peer);
    peer->tool = tool;
    peer->attach_epoch = state->redis ? 0 : state->epoch;
    memcpy(peer->address, node->address, sizeof peer->address);
}

void ring_peer_close(struct ring_peer *peer)
{
    if (peer->connection != NULL)
        redisFree(peer->connection);
    peer->connection = NULL;
}

static void *failed(struct ring_peer *peer)
{
    const redisContext *connection = peer->connection;
    bool late = connection != NULL && connection->err == REDIS_ERR_IO && errno == EAGAIN;
    const char *text = connection != NULL ? connection->errstr : "out of memory";
    snprintf(peer->why, sizeof peer->why, "%s", late ? "does not answer" : text);
    ring_peer_close(peer);
    return NULL;
}

/* "HOST:PORT", "[ADDRESS]:PORT" or "unix:/PATH". */
static redisContext *connect_to(const char *address)
{
    const struct timeval limit = {.tv_usec = CONNECT_MS * 1000};
    char host[SP_RING_NODE_BYTES];
    if (strncmp(address, "unix:", 5) == 0)
        return redisConnectUnixWithTimeout(address + 5, limit);
    const char *colon = strrchr(address, ':');
    size_t size = colon != NULL ? (size_t)(colon - address) : strlen(address);
    bool brackets = size > 2 && address[0] == '[' && address[size - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(brackets ? size - 2 : size), address + brackets);
    return redisConnectWithTimeout(host, colon != NULL ? atoi(colon + 1) : 0, limit);
}

static bool greet(struct ring_peer *peer, int count, const char **words)
{
    redisReply *reply = redisCommandArgv(peer->connection, count, words, NULL);
    if (reply == NULL)
        return failed(peer) != NULL;
    bool good = reply->type != REDIS_REPLY_ERROR;
    if (!good) {
        snprintf(peer->why, sizeof peer->why, "%s", reply->str);
        ring_peer_close(peer);
    }
    freeReplyObject(reply);
    return good;
}

static bool log_in(struct ring_peer *peer)
{
    const char *file = tool_option(peer->tool, "password-file");
    const char *user = tool_option(peer->tool, "user");
    char *password = NULL;
    if (file == NULL)
        return true;
    if (tool_secret_read(file, "password", &password) != TOOL_OK) {
        ring_peer_close(peer);
        return false;
    }
    const char *words[] = {"AUTH", user != NULL ? user : DEFAULT_USER, password};
    bool good = greet(peer, 3, words);
    tool_secret_free(password);
    return good;
}

static bool attach(struct ring_peer *peer)
{
    char epoch[24];
    const char *words[] = {"SIDEPOND", "ATTACH", epoch};
    if (peer->attach_epoch == 0)
        return true;
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)peer->attach_epoch);
    return greet(peer, 3, words);
}

static bool connected(struct ring_peer *peer)
{
    uint32_t ms = 1000;
    if (peer->connection != NULL)
        return true;
    errno = 0;
    peer->connection = connect_to(peer->address);
    if (peer->connection == NULL || peer->connection->err != 0)
        return failed(peer) != NULL;
    (void)tool_option_ms(peer->tool, "timeout", ms, &ms);
    const struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    if (redisSetTimeout(peer->connection, limit) != REDIS_OK)
        return failed(peer) != NULL;
    return log_in(peer) && attach(peer);
}

redisReply *ring_peer_ask(struct ring_peer *peer, int count, const char **words)
{
    if (!connected(peer))
        return NULL;
    redisReply *reply = redisCommandArgv(peer->connection, count, words, NULL);
    return reply != NULL ? reply : failed(peer);
}

bool ring_peer_append(struct ring_peer *peer, int count, const char **words, const size_t *sizes)
{
    if (!connected(peer))
        return false;
    if (redisAppendCommandArgv(peer->connection, count, words, sizes) == REDIS_OK)
        return true;
    return failed(peer) != NULL;
}

redisReply *ring_peer_next(struct ring_peer *peer)
{
    void *reply = NULL;
    if (peer->connection == NULL)
        return NULL;
    return redisGetReply(peer->connection, &reply) == REDIS_OK ? reply : failed(peer);
}

/* --- INFO ------------------------------------------------------------------------------------- */

bool info_text(const char *info, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);
    for (const char *line = info; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) != 0 || line[size] != ':')
            continue;
        snprintf(out, room, "%.*s", (int)strcspn(line + size + 1, "\r\n"), line + size + 1);
        return true;
    }
    return false;
}

bool info_number(const char *info, const char *name, uint64_t *out)
{
    char text[32], *end;
    if (!info_text(info, name, text, sizeof text))
        return false;
    *out = strtoull(text, &end, 10);
    return end != text;
}
