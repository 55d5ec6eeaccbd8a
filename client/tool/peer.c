/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.c - connects to a server of the Redis protocol, logs in, asks, and says what went wrong.
 *
 * After anything that goes wrong the connection is thrown away, as a late reply would answer the
 * wrong request; the next request makes another one.
 *
 * Limits: hiredis takes a server's word for how many elements an array has, and makes room for
 * them.
 */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>

_Static_assert(5 + sizeof(((struct sockaddr_un *)0)->sun_path) <= SP_RING_NODE_BYTES, "it fits");

enum { CONNECT_MS = 500 };

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static struct timeval interval(uint32_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

/* hiredis would cut a socket's path that is too long. */
static size_t room_for(const char *address)
{
    return begins(address, "unix:") ? 5 + sizeof(((struct sockaddr_un *)0)->sun_path)
                                    : SP_RING_NODE_BYTES;
}

void peer_init(struct peer *peer, const struct tool *tool, const char *address, uint32_t answer_ms)
{
    memset(peer, 0, sizeof *peer);
    (void)signal(SIGPIPE, SIG_IGN); /* the server may close the connection any time */
    peer->tool = tool;
    peer->answer_ms = answer_ms;
    if (strlen(address) < room_for(address))
        snprintf(peer->address, sizeof peer->address, "%s", address);
}

void peer_init_cache(struct peer *peer, const struct tool *tool, uint32_t answer_ms)
{
    char directory[TOOL_PATH_BYTES], address[TOOL_PATH_BYTES + 16];
    tool_directory(tool, directory);
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    peer_init(peer, tool, address, answer_ms);
    peer->cache_server = true;
}

void peer_close(struct peer *peer)
{
    if (peer->connection != NULL)
        redisFree(peer->connection);
    peer->connection = NULL;
}

/* --- what is wrong ---------------------------------------------------------------------------- */

/* The words may be the server's, who is not trusted with a terminal. */
static void say(struct peer *peer, const char *what, const char *words)
{
    snprintf(peer->why, sizeof peer->why, "%s%s%.180s",
             peer->cache_server ? "the cache server " : "", what, words);
    for (char *at = peer->why; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static void say_unreachable(struct peer *peer, int error, const char *text)
{
    if (peer->address[0] == '\0')
        say(peer, "cannot be reached: its address is too long", "");
    else if (error == ENOENT && peer->cache_server)
        say(peer, "is not there: the daemon's configuration has no cache:, or it has ended", "");
    else if (error == ECONNREFUSED)
        say(peer, "is not running", "");
    else if (error == EACCES)
        say(peer, "may not be connected to: no permission for ", peer->address);
    else if (error == ETIMEDOUT)
        say(peer, "does not answer", "");
    else
        say(peer, "cannot be reached: ", text);
}

/* Ends the connection, with the reason. */
static void *failed(struct peer *peer)
{
    const redisContext *connection = peer->connection;
    int error = connection != NULL && connection->err == REDIS_ERR_IO ? errno : 0;
    peer->hung_up = error == EPIPE || error == ECONNRESET ||
                    (connection != NULL && connection->err == REDIS_ERR_EOF);
    if (error == EAGAIN)
        say(peer, "does not answer", "");
    else if (peer->hung_up)
        say(peer, "has closed the connection", "");
    else
        say(peer, "cannot be asked: ", connection != NULL ? connection->errstr : "out of memory");
    peer_close(peer);
    return NULL;
}

void peer_refused(struct peer *peer, const char *command, const redisReply *reply)
{
    const char *error = reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
    if (error == NULL)
        say(peer, "answers something else to ", command);
    else if (begins(error, "NOAUTH"))
        say(peer, "asks for a password: --password-file FILE, and --user NAME", "");
    else if (begins(error, "WRONGPASS"))
        say(peer, "does not take this user and password", "");
    else if (begins(error, "NOPERM"))
        say(peer, "does not let this user do ", command);
    else
        say(peer, "refuses: ", begins(error, "ERR ") ? error + 4 : error);
}

/* --- connecting ------------------------------------------------------------------------------- */

static redisContext *connect_to(const char *address)
{
    const struct timeval limit = interval(CONNECT_MS);
    char host[SP_RING_NODE_BYTES];
    if (begins(address, "unix:"))
        return redisConnectUnixWithTimeout(address + 5, limit);
    const char *colon = strrchr(address, ':');
    size_t size = colon != NULL ? (size_t)(colon - address) : strlen(address);
    bool brackets = size > 2 && address[0] == '[' && address[size - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(brackets ? size - 2 : size), address + brackets);
    return redisConnectWithTimeout(host, colon != NULL ? atoi(colon + 1) : 0, limit);
}

/* A request whose reply is of no interest. */
static bool greet(struct peer *peer, int count, const char **words)
{
    redisReply *reply = redisCommandArgv(peer->connection, count, words, NULL);
    if (reply == NULL)
        return failed(peer) != NULL;
    bool good = reply->type != REDIS_REPLY_ERROR;
    if (!good) {
        peer_refused(peer, words[0], reply);
        peer_close(peer);
    }
    freeReplyObject(reply);
    return good;
}

static bool log_in(struct peer *peer)
{
    const struct tool *tool = peer->tool;
    const char *with_user[] = {"AUTH", tool->user, tool->password};
    const char *without[] = {"AUTH", tool->password};
    if (tool->password == NULL)
        return true;
    return tool->user != NULL ? greet(peer, 3, with_user) : greet(peer, 2, without);
}

static bool attach(struct peer *peer)
{
    char epoch[24];
    const char *words[] = {"SIDEPOND", "ATTACH", epoch};
    if (peer->attach_epoch == 0)
        return true;
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)peer->attach_epoch);
    return greet(peer, 3, words);
}

static bool connected(struct peer *peer)
{
    if (peer->connection != NULL)
        return true;
    errno = 0;
    peer->why[0] = '\0';
    peer->hung_up = false;
    peer->connection = peer->address[0] != '\0' ? connect_to(peer->address) : NULL;
    if (peer->connection == NULL || peer->connection->err != 0) {
        const char *text = peer->connection != NULL ? peer->connection->errstr : "out of memory";
        say_unreachable(peer, errno, text);
        peer_close(peer);
        return false;
    }
    if (redisSetTimeout(peer->connection, interval(peer->answer_ms)) != REDIS_OK)
        return failed(peer) != NULL;
    return log_in(peer) && attach(peer);
}

/* --- asking ----------------------------------------------------------------------------------- */

redisReply *peer_call(struct peer *peer, int count, const char **words)
{
    if (!connected(peer))
        return NULL;
    redisReply *reply = redisCommandArgv(peer->connection, count, words, NULL);
    return reply != NULL ? reply : failed(peer);
}

redisReply *peer_ask(struct peer *peer, int count, const char **words)
{
    redisReply *reply = peer_call(peer, count, words);
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return reply;
    peer_refused(peer, words[0], reply);
    freeReplyObject(reply);
    peer_close(peer);
    return NULL;
}

bool peer_append(struct peer *peer, int count, const char **words, const size_t *sizes)
{
    if (!connected(peer))
        return false;
    if (redisAppendCommandArgv(peer->connection, count, words, sizes) == REDIS_OK)
        return true;
    return failed(peer) != NULL;
}

redisReply *peer_next(struct peer *peer)
{
    void *reply = NULL;
    if (peer->connection == NULL)
        return NULL;
    return redisGetReply(peer->connection, &reply) == REDIS_OK ? reply : failed(peer);
}
