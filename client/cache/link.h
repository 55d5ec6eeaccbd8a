/* SPDX-License-Identifier: Apache-2.0
 *
 * link.h - what the files of client/cache share: the way from a cache of the reader library to the
 * server that writes it.
 *
 *   sp_cache --link--> cache_link --all--> connection, connection, ...
 *                        | settings         each with its socket and hiredis' reader of replies
 *                        | idle --> those that nobody uses now
 *
 *   write.c, compute.c   what a user asks for, as requests, and replies as statuses
 *   request.c            requests as bytes; when a request is sent again
 *   link.c               settings, the pool of connections, fork
 *   connection.c         one socket: connecting, sending and receiving until a deadline
 *   buffer.c             struct sp_buffer
 *
 * Locks: the pond's mutex guards the link's lists and settings, and is never held while anything is
 * sent or waited for. So a fork, which takes it, finds the lists whole.
 */
#ifndef SIDEPOND_CACHE_LINK_H
#define SIDEPOND_CACHE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#include "client/local/cache_read.h"

#define LINK_ADDRESS_BYTES  512u
#define LINK_USER_BYTES     256u
#define LINK_PASSWORD_BYTES 1024u
#define LINK_IDLE_MAX       32u /* connections kept though nobody uses them */

struct link_settings {
    char address[LINK_ADDRESS_BYTES];
    char user[LINK_USER_BYTES];         /* "": none */
    char password[LINK_PASSWORD_BYTES]; /* "": none */
    uint32_t timeout_ms;
    unsigned generation; /* raised with each change */
};

/* --- connection.c ----------------------------------------------------------------------------- */

struct connection {
    int fd; /* -1: closed */
    redisReader *reader;
    bool reused; /* has answered before */
    unsigned generation;
    uint32_t timeout_ms;
    struct connection *next, *prev; /* all of the link's */
    struct connection *next_idle;
    char address[LINK_ADDRESS_BYTES];
};

/* Requests that go out together, and the replies that come. */
struct exchange {
    const char *bytes;
    size_t size, sent;
    redisReply **replies; /* to be freed by the caller, whatever the status */
    size_t wanted, got;
    uint32_t extra_ms; /* the server may be silent for as much more than the timeout */
    bool (*go_on)(void *context);
    void *context;
    bool broken; /* nothing more can be sent */
};

/* SP_EINVAL, with a detail, if it is none of the three forms of an address. */
int connection_check_address(const char *address);
/* "HOST:PORT" or "[ADDRESS]:PORT" in its two parts; false if it is neither. */
bool connection_split_address(const char *address, char host[LINK_ADDRESS_BYTES],
                              const char **port);
/* Opens the socket of a connection that is zero but for its fd of -1, and logs in. SP_ENODAEMON,
 * SP_ETIMEDOUT, SP_EACCESS, ... with a detail. On failure what there is must still be closed. */
int connection_open(struct connection *connection, const struct link_settings *settings);
/* What is not SP_OK leaves the connection unusable, and a detail: SP_ENODAEMON, SP_ETIMEDOUT,
 * SP_ECANCELED, SP_ENOMEM. */
int connection_exchange(struct connection *connection, struct exchange *exchange);
/* Whether the other side has neither closed it nor said what nobody asked. */
bool connection_usable(const struct connection *connection);
/* Closes this process' descriptor; where another process has one too, the connection lives on. */
void connection_close(struct connection *connection);
/* Ends the connection, whoever else may have a descriptor of it. */
void connection_end(struct connection *connection);

/* --- link.c ----------------------------------------------------------------------------------- */

struct cache_link {
    struct link_settings settings;
    struct connection *all;
    struct connection *idle;
    unsigned idle_count;
};

/* A connection that is the caller's alone until link_give or link_drop. `fresh`: none that has been
 * used before. */
int link_take(struct sp_cache *cache, bool fresh, struct connection **out);
void link_give(struct sp_cache *cache, struct connection *connection);
void link_drop(struct sp_cache *cache, struct connection *connection);
/* The server's address as of now, for texts. */
void link_address(struct sp_cache *cache, char out[LINK_ADDRESS_BYTES]);

/* --- request.c -------------------------------------------------------------------------------- */

#define REQUEST_ARGS_MAX 8u

struct argument {
    const void *data;
    size_t size;
};

/* One command; the arguments' bytes are the caller's. */
struct command {
    struct argument args[REQUEST_ARGS_MAX];
    size_t count;
};

struct request {
    const struct command *commands;
    size_t count;
    bool repeatable; /* doing it twice is the same as doing it once */
    uint32_t extra_ms;
    bool (*go_on)(void *context);
    void *context;
};

static inline void command_add(struct command *command, const void *data, size_t size)
{
    command->args[command->count++] = (struct argument){data, size};
}
void command_word(struct command *command, const char *word);
/* The digits are written into `digits`, which must live as long as the command. */
#define NUMBER_BYTES 24u
void command_number(struct command *command, int64_t number, char digits[NUMBER_BYTES]);

/* Sends the commands and waits for their replies, `request->count` of them, which the caller frees
 * if the status is SP_OK. With `kept`, the connection is the caller's afterwards. */
int request_run(struct sp_cache *cache, const struct request *request, redisReply **replies,
                struct connection **kept);
/* The same once, on a connection that the caller keeps. */
int request_run_on(struct connection *connection, const struct request *request,
                   redisReply **replies);
/* What an error of the server stands for. */
int error_status(const char *text);
/* The status that an error of the server stands for, with its text as detail; SP_OK if the reply is
 * of one of the types asked for, a bit 1 << REDIS_REPLY_X for each. */
int reply_status(const redisReply *reply, unsigned types, const char *address);

#endif
