/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h - all sessions, for who asks about others: CLIENT LIST, CLIENT KILL, INFO.
 *
 * A session belongs to its thread; what others may see of it lies in a struct client: what never
 * changes, what is changed under the registry's lock, and atomics.
 */
#ifndef SIDEPOND_COMMAND_CLIENT_H
#define SIDEPOND_COMMAND_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/command/command.h"
#include "server/net/net.h"

#define CLIENT_NAME_MAX   255u
#define CLIENT_INFO_BYTES 1024u

struct service;

struct client {
    struct client *next, *prev; /* in the registry */
    struct session *session;    /* of its thread: to be touched there only */
    uint64_t id;
    unsigned thread;
    char address[NET_ADDRESS_BYTES], local_address[NET_ADDRESS_BYTES];
    int fd;
    int64_t opened_at_ms;
    bool is_unix;
    char name[CLIENT_NAME_MAX + 1], library[64], library_version[64], user[256]; /* lock */
    _Atomic int64_t active_at_ms;
    _Atomic(const struct command *) command; /* the last one */
    _Atomic uint32_t flags;                  /* enum client_flag */
    _Atomic uint32_t channels, patterns, protocol;
    _Atomic int64_t redirect; /* of CLIENT TRACKING: to whom; 0: nobody; -1: it is off */
    _Atomic uint32_t unblock; /* enum unblock, of wait.h */
    _Atomic uint32_t queued;  /* 0: no MULTI; else requests after it, and 1 */
};

enum client_flag {
    CLIENT_MULTI = 1u << 0,           /* x: only printed, from `queued` */
    CLIENT_SUBSCRIBER = 1u << 1,      /* P */
    CLIENT_TRACKING = 1u << 2,        /* t */
    CLIENT_CLOSING = 1u << 3,         /* A */
    CLIENT_NO_EVICT = 1u << 4,        /* e */
    CLIENT_NO_TOUCH = 1u << 5,        /* T */
    CLIENT_BLOCKED = 1u << 6,         /* b */
    CLIENT_TRACKING_BROKEN = 1u << 8, /* R: whom it redirects to is gone */
    CLIENT_BROADCAST = 1u << 9        /* B: it tracks prefixes */
};

struct client_registry {
    pthread_mutex_t lock;
    struct client *first;
    size_t count;
};

void client_registry_init(struct client_registry *registry);
void client_registry_destroy(struct client_registry *registry);

/* A session's client, in the registry; NULL: no memory. */
struct client *client_new(struct session *session);
void client_free(struct client *client);

/* By its number; with the registry's lock. NULL: there is none. */
struct client *client_find(struct client_registry *registry, uint64_t id);
/* The session of a client of this thread; NULL: it has closed. */
struct session *client_session(struct client_registry *registry, uint64_t id);

/* As CLIENT INFO says it, without a line's end; takes the registry's lock. */
void client_describe(struct session *session, char *out, size_t cap);

#endif
