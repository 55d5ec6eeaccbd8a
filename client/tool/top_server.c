/* SPDX-License-Identifier: Apache-2.0
 *
 * top_server.c - asks the pond's cache server how it does: one INFO a sample.
 *
 * A connection that fails is made anew for the next sample, so a daemon that restarts is seen
 * again.
 */
#include "top.h"

#define INFO_SECTIONS                                                                              \
    "server", "clients", "memory", "stats", "commandstats", "latencybuckets", "keyspace"

void top_server_ask(struct peer *server, struct top_cache *out)
{
    const char *words[] = {"INFO", INFO_SECTIONS};
    const int count = (int)(sizeof words / sizeof words[0]);
    bool had_connection = server->connection != NULL;
    redisReply *reply = peer_ask(server, count, words);
    if (reply == NULL && had_connection && server->hung_up)
        reply = peer_ask(server, count, words); /* it was restarted, or closes idle connections */
    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        out->seen = top_info_parse(reply->str, reply->len, out);
    if (reply != NULL && !out->seen)
        peer_refused(server, words[0], reply);
    if (reply != NULL)
        freeReplyObject(reply);
    snprintf(out->why, sizeof out->why, "%s", out->seen ? "" : server->why);
}
