/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h - one client's conversation, and the thread that it is on.
 *
 * Everything of a session belongs to its I/O thread. A command's function gets the session and its
 * call, and appends exactly one reply (or pauses the session and replies later). Arguments are good
 * until it returns.
 */
#ifndef SIDEPOND_COMMAND_SESSION_H
#define SIDEPOND_COMMAND_SESSION_H

#include <limits.h>

#include "client/local/cache_read.h"
#include "server/command/command.h"
#include "server/command/ring_session.h"
#include "server/command/service.h"
#include "server/command/stopwatch.h"
#include "server/command/wait.h"
#include "server/net/net.h"
#include "server/resp/reply.h"
#include "server/store/cache.h"

/* Requests that are parsed, prefetched and then run together. Pages of so many buckets and entries
 * stay in the processor's first-level TLB (64 places): with 64 requests a GET takes a third longer,
 * and with fewer misses overlap less. */
#define BATCH_MAX 16u

struct acl_user;
struct client;
struct job;
struct multi;
struct row_tables;
struct tracking_member;
struct session_leases;

struct batch_item {
    struct call call; /* command NULL: unknown */
    struct resp_request request;
    size_t end; /* of its bytes in the input */
};

/* What one I/O thread has for itself. */
struct thread {
    struct service *service;
    unsigned number;
    struct resp_args args;
    struct batch_item batch[BATCH_MAX];
    struct buffer line;       /* of an inline command with quotes, as it came */
    struct cache_batch reads; /* of the probes */
    struct cache_probe probes[BATCH_MAX];
    int64_t now_ms;         /* wall clock, of this piece of input */
    struct stopwatch watch; /* of calls */
    uint64_t watched;       /* when the last call ended; at first, when the batch began */
    bool locked;            /* this thread holds the cache's lock */
    bool in_exec;           /* EXEC is running: the lock stays */
    bool counts_lookups;    /* the command that runs counts as hit or miss */
    unsigned several;       /* depth of several_begin */
    struct row_tables *tables;
    LIST_HEAD(, session) waiting;
    struct thread_stats *stats;
};

struct session {
    struct service *service;
    struct thread *thread;
    struct net_connection *connection;
    struct resp_parser parser;
    struct reply reply; /* to the connection's output */
    uint64_t id;
    struct client *client;         /* what others see of it */
    const struct acl_user *user;   /* NULL: has not authenticated */
    uint64_t acl_generation;       /* as of which `user` is right */
    struct multi *multi;           /* NULL: neither MULTI nor WATCH */
    struct session_leases *leases; /* NULL: it has not called LEASE */
    struct job *job;               /* that it waits for; NULL: none */
    struct wait wait;
    struct session_ring ring;
    struct tracking_member *tracking; /* NULL: CLIENT TRACKING is off */
    bool closing;                     /* after this reply */
    bool paused;                      /* waits for something; what has come is run later */
    bool broken;                      /* what comes next is no request */
    uint8_t mute;                     /* enum mute */
};

/* CLIENT REPLY: which replies are left out. */
enum mute { MUTE_NONE, MUTE_ALL, MUTE_THIS, MUTE_NEXT };

/* --- running ------------------------------------------------------------------------------- */

/* For net.h; the context is the service. */
void *session_opened(void *context, struct net_connection *connection);
size_t session_input(void *session, uint8_t *bytes, size_t size);
void session_closed(void *session);
void session_ahead(void *context, unsigned thread, const struct net_input *inputs, size_t count);
void session_tick(void *context, unsigned thread);

/* Takes the cache's lock for this thread if it has not got it; it is let go when the batch ends,
 * or by thread_unlock. */
void thread_lock(struct thread *thread);
void thread_unlock(struct thread *thread);

/* Runs one call that has been checked, with lock, statistics and slow log. */
void session_run(struct session *session, const struct call *call);
/* Checks and runs a request: unknown command, arity, access, MULTI. False: it is to be shown again,
 * after the pause for which the session waits now. */
bool session_request(struct session *session, struct call *call);

/* --- for commands -------------------------------------------------------------------------- */

static inline struct cache *session_cache(const struct session *session)
{
    return session->service->cache;
}
static inline int64_t session_now(const struct session *session)
{
    return session->thread->now_ms;
}
static inline uint64_t session_hash(const struct session *session, const struct resp_arg *key)
{
    return cache_hash(session->service->cache, key->bytes, key->size);
}

/* Whether a key that was looked for was there. */
static inline void session_count_lookup(struct session *session, bool hit)
{
    struct thread_stats *stats = session->thread->stats;
    stats_add(hit ? &stats->hits : &stats->misses, 1);
}

/* The errors of Redis that many commands have. */
void reply_wrong_arity(struct session *session, const struct command *command);
/* A subcommand that takes less. */
void reply_subcommand_error(struct session *session, const struct call *call);
void reply_syntax_error(struct session *session);
void reply_not_integer(struct session *session);
/* What a failed write says: SP_ENOSPC is OOM, SP_ETOOBIG too long. */
void reply_store_error(struct session *session, int status);

/* What `name` HELP says: a line each for the form and the meaning of its subcommands; NULL ends
 * them. */
void reply_help(struct session *session, const char *name, const char *const *lines);

/* An argument's size for %.*s, which stops at a zero byte before. */
static inline int arg_print(const struct resp_arg *arg)
{
    return arg->size < INT_MAX ? (int)arg->size : INT_MAX;
}
/* Whether an argument is this word, in any case. */
bool arg_is(const struct resp_arg *arg, const char *word);
/* Integers as Redis takes them; false, with the error replied. */
bool arg_integer(struct session *session, const struct resp_arg *arg, int64_t *out);
bool arg_int32(struct session *session, const struct resp_arg *arg, int32_t *out);

#endif
