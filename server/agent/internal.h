/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of server/agent share.
 *
 *   agent.c      starting, changing and ending; what operators see
 *   server.c     one server: its member's calls, its start and end
 *   check.c      a thread for each server: whether it is well; registering it
 *   copy.c       another one: what it lacks of its slots, copied from the holders
 *   copy_key.c   how keys are compared and brought over
 *   redis.c      a connection with deadlines
 *
 * A server has a member of its own, so that its entry in ZooKeeper goes when it is not well, and
 * the others' stay. Locks: a server's mutex guards what is marked, the agent's the list of servers;
 * the agent's is taken first. Neither is held while anything is waited for.
 */
#ifndef SIDEPOND_AGENT_INTERNAL_H
#define SIDEPOND_AGENT_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#include "client/member/member.h"
#include "server/agent/agent.h"

/* A user and password of Redis; NULL: none. */
struct login {
    char *user, *password;
};

struct watched {
    struct ring_node node; /* zone and weight are of the thread that changes the agent */
    _Atomic uint32_t check_ms, deadline_ms;
    _Atomic uint64_t throttle_bytes;
    struct member *member;
    pthread_t checker, copier;
    bool has_checker, has_copier;
    int wake; /* an eventfd, readable when the threads are to end */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    bool stopping;
    bool map_changed;
    unsigned losses; /* of sessions: what was copied before may be old */
    uint64_t start;  /* under which it is registered; 0: it is not */
    struct ring_map *map;
    struct login login;
    struct agent_figures figures; /* those that are counted */
    uint64_t due_ms;              /* monotonic: by when a check should have come to its end */
};

struct agent {
    pthread_mutex_t mutex; /* of the list, which only the thread that starts the agent changes */
    unsigned count;
    struct watched **servers;
};

/* --- server.c -------------------------------------------------------------------------------- */

/* With its login, and nothing that runs. SP_ECONFIG, SP_ENOMEM, SP_ESYS with why. */
int server_new(const struct config_agent *config, const struct config_agent_node *node,
               struct watched **out, char why[AGENT_WHY_BYTES]);
/* Opens its member and starts its threads. */
int server_open(struct watched *server, const struct config_agent *config, const char *credential,
                char why[AGENT_WHY_BYTES]);
void server_limits(struct watched *server, const struct config_agent *config);
/* Its threads end, and its entry says that it leaves the ring. */
void server_tell_to_leave(struct watched *server);
/* Until the map is without it, or until then (clock_ms). */
void server_await_gone(struct watched *server, uint64_t until_ms);
void server_tell_to_end(struct watched *server);
void server_free(struct watched *server); /* waits for it to end */
int login_read(const struct config_agent_node *node, struct login *out, char why[AGENT_WHY_BYTES]);
void login_free(struct login *login);

/* --- redis.c --------------------------------------------------------------------------------- */

struct redis {
    redisContext *context; /* NULL: not connected */
    char why[256];         /* what went wrong last */
    bool late;             /* that was a deadline */
    bool refused;          /* that was an error that the server said */
};

/* Connects and logs in with the server's user. */
bool redis_open(struct redis *redis, struct watched *server, const char *address,
                uint32_t deadline_ms);
void redis_close(struct redis *redis);
/* Of an open one: from now on. */
void redis_deadline(struct redis *redis, uint32_t deadline_ms);
/* Sends a command without waiting. Arguments are a format of hiredis. */
void redis_send(struct redis *redis, const char *format, ...);
/* The next reply, to be freed; NULL: the connection is lost, and why is said. */
redisReply *redis_receive(struct redis *redis);
/* Both; an error of the server is NULL too, and why is its text. */
redisReply *redis_ask(struct redis *redis, const char *format, ...);

/* --- check.c, copy.c ------------------------------------------------------------------------- */

/* The next check begins after a pause: notes by when it should have come to its end. */
void check_expect(struct watched *server, uint32_t pause_ms, uint32_t deadline_ms);
void *check_server(void *argument);
void *copy_to_server(void *argument);
bool server_stopping(struct watched *server);
/* Waits; false: the threads are to end. */
bool server_pause(struct watched *server, uint32_t ms);

/* --- copy_key.c ------------------------------------------------------------------------------ */

struct copy {
    struct watched *server;
    struct redis from, to;
    unsigned slot_count;             /* of the ring */
    uint64_t slots[RING_SLOT_WORDS]; /* that are copied */
    uint64_t keys, bytes;            /* brought over */
    uint64_t removed;                /* that the holder no longer had */
    int64_t begun_ms;
};

/* Those keys of a reply of SCAN that are in the slots; false: `from.why` or `to.why` says. */
bool copy_keys(struct copy *copy, const redisReply *keys);
bool copy_remove_strangers(struct copy *copy, const redisReply *keys);

#endif
