/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h - a connection to one server of the Redis protocol: the pond's cache server, or one
 * certain node of a ring. It is made and logged in when something is asked, with --user and
 * --password-file.
 */
#ifndef SIDEPOND_TOOL_PEER_H
#define SIDEPOND_TOOL_PEER_H

#include <hiredis/hiredis.h>

#include "tool.h"

#define PEER_WHY_BYTES 256

/* One thread. */
struct peer {
    const struct tool *tool;
    bool cache_server;                /* the pond's; named so when something goes wrong */
    char address[SP_RING_NODE_BYTES]; /* "HOST:PORT", "[ADDRESS]:PORT" or "unix:/PATH" */
    uint64_t attach_epoch; /* not 0: as a ring client's, so that the node answers for itself only */
    uint32_t answer_ms;    /* how long an answer may take */
    redisContext *connection; /* NULL: none */
    bool hung_up;             /* it was the server that ended the last one */
    char why[PEER_WHY_BYTES]; /* what went wrong last, printable; "": nothing */
};

/* After tool_credentials. */
void peer_init(struct peer *peer, const struct tool *tool, const char *address, uint32_t answer_ms);
/* The cache server of the tool's pond. */
void peer_init_cache(struct peer *peer, const struct tool *tool, uint32_t answer_ms);
void peer_close(struct peer *peer);

/* Reply of one request, or NULL with peer->why. Errors of the server are replies. */
redisReply *peer_call(struct peer *peer, int count, const char **words);
/* The same, but an error of the server is none: NULL with peer->why. */
redisReply *peer_ask(struct peer *peer, int count, const char **words);
/* Pipelines: appends a request; then one reply for each, in order. */
bool peer_append(struct peer *peer, int count, const char **words, const size_t *sizes);
redisReply *peer_next(struct peer *peer);

/* Puts into peer->why that the server refused `command` with this error, or what else it is that
 * came as its reply. */
void peer_refused(struct peer *peer, const char *command, const redisReply *reply);

#endif
