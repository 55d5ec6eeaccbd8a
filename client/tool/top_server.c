/* SPDX-License-Identifier: Apache-2.0
 *
 * top_server.c - asks the pond's cache server how it does: one INFO a sample, over the Unix socket
 * in the pond's directory.
 *
 * A connection that fails is made anew for the next sample, so a daemon that restarts is seen
 * again. No answer takes longer than ANSWER_MS; what is wrong is said in a sentence that tells what
 * to do.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "top.h"

#define SOCKET_NAME  "socket"
#define ANSWER_MS    1000
#define DEFAULT_USER "default"
#define INFO_SECTIONS                                                                              \
    "server", "clients", "memory", "stats", "commandstats", "latencybuckets", "keyspace"

/* --- who we are --------------------------------------------------------------------------------
 */

int top_server_init(struct top_server *server, const struct tool *tool)
{
    char directory[TOOL_PATH_BYTES];
    const char *file = tool_option(tool, "password-file");
    *server = (struct top_server){.user = tool_option(tool, "user")};
    tool_directory(tool, directory);
    if (snprintf(server->path, sizeof server->path, "%s/" SOCKET_NAME, directory) >=
        (int)sizeof server->path)
        server->path[0] = '\0';
    if (server->user != NULL && file == NULL) {
        tool_error("--user needs --password-file");
        return TOOL_USAGE;
    }
    return file != NULL ? tool_secret_read(file, "password", &server->password) : TOOL_OK;
}

static void hang_up(struct top_server *server)
{
    if (server->connection != NULL)
        redisFree(server->connection);
    server->connection = NULL;
}

void top_server_free(struct top_server *server)
{
    hang_up(server);
    tool_secret_free(server->password);
    server->password = NULL;
}

/* --- what is wrong -----------------------------------------------------------------------------
 */

static void say_no_connection(const struct top_server *server, int error, const char *text,
                              char why[TOP_WHY_BYTES])
{
    if (error == ENOENT)
        snprintf(why, TOP_WHY_BYTES, "the pond has no cache server");
    else if (error == ECONNREFUSED)
        snprintf(why, TOP_WHY_BYTES, "the cache server is not running");
    else if (error == EACCES)
        snprintf(why, TOP_WHY_BYTES, "may not connect to the cache server (%.150s)", server->path);
    else
        snprintf(why, TOP_WHY_BYTES, "cannot connect to the cache server: %.150s", text);
}

static void say_refused(const char *error, char why[TOP_WHY_BYTES])
{
    if (strncmp(error, "NOAUTH", 6) == 0)
        snprintf(why, TOP_WHY_BYTES,
                 "the cache server asks for a password: --password-file FILE, and --user NAME");
    else if (strncmp(error, "WRONGPASS", 9) == 0)
        snprintf(why, TOP_WHY_BYTES, "the cache server does not take this user and password");
    else if (strncmp(error, "NOPERM", 6) == 0)
        snprintf(why, TOP_WHY_BYTES, "the user of the cache server may not run INFO");
    else
        snprintf(why, TOP_WHY_BYTES, "the cache server refuses: %.150s", error);
    for (char *at = why; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

/* --- asking ------------------------------------------------------------------------------------
 */

/* NULL: the connection is gone, or the server refused; why says it. */
static redisReply *call(struct top_server *server, int count, const char **words,
                        char why[TOP_WHY_BYTES])
{
    redisReply *reply = redisCommandArgv(server->connection, count, words, NULL);
    if (reply == NULL) {
        bool late = server->connection->err == REDIS_ERR_IO && errno == EAGAIN;
        if (late)
            snprintf(why, TOP_WHY_BYTES, "the cache server does not answer");
        else
            say_no_connection(server, 0, server->connection->errstr, why);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        say_refused(reply->str, why);
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

static bool log_in(struct top_server *server, char why[TOP_WHY_BYTES])
{
    const char *words[] = {"AUTH", server->user != NULL ? server->user : DEFAULT_USER,
                           server->password};
    if (server->password == NULL)
        return true;
    redisReply *reply = call(server, 3, words, why);
    if (reply != NULL)
        freeReplyObject(reply);
    return reply != NULL;
}

static bool connect_now(struct top_server *server, char why[TOP_WHY_BYTES])
{
    const struct timeval limit = {.tv_sec = ANSWER_MS / 1000, .tv_usec = ANSWER_MS % 1000 * 1000};
    errno = 0;
    server->connection = redisConnectUnixWithTimeout(server->path, limit);
    if (server->connection == NULL || server->connection->err != 0) {
        const char *text = server->connection ? server->connection->errstr : "out of memory";
        say_no_connection(server, errno, text, why);
        return false;
    }
    return redisSetTimeout(server->connection, limit) == REDIS_OK && log_in(server, why);
}

static redisReply *ask(struct top_server *server, char why[TOP_WHY_BYTES])
{
    const char *words[] = {"INFO", INFO_SECTIONS};
    if (server->connection == NULL && !connect_now(server, why))
        return NULL;
    return call(server, (int)(sizeof words / sizeof words[0]), words, why);
}

void top_server_ask(struct top_server *server, struct top_cache *out)
{
    bool had_connection = server->connection != NULL;
    redisReply *reply = ask(server, out->why);
    if (reply == NULL && had_connection && server->connection != NULL &&
        server->connection->err == REDIS_ERR_EOF) {
        hang_up(server); /* the server was another one, or closed an idle connection */
        reply = ask(server, out->why);
    }
    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        out->seen = top_info_parse(reply->str, reply->len, out);
    if (reply != NULL)
        freeReplyObject(reply);
    if (out->seen) {
        out->why[0] = '\0';
        return;
    }
    hang_up(server);
    if (out->why[0] == '\0')
        snprintf(out->why, sizeof out->why, "the cache server's answer makes no sense");
}
