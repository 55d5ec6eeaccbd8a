/* SPDX-License-Identifier: Apache-2.0
 *
 * service.h - what all clients share: the cache, the pond, users, settings, statistics.
 *
 *   net --bytes--> session --requests--> table of commands --> cache (the store's lock for writes)
 *                                                          \-> pond  (no lock)
 *
 * A service serves on some addresses with some threads (net.h). Lock order: a thread that holds the
 * cache's lock may take the service's other locks, never the other way round.
 */
#ifndef SIDEPOND_COMMAND_SERVICE_H
#define SIDEPOND_COMMAND_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/command/acl.h"
#include "server/command/acl_log.h"
#include "server/command/client.h"
#include "server/command/jobs.h"
#include "server/command/pause.h"
#include "server/command/slowlog.h"
#include "server/command/stats.h"
#include "server/command/tracking.h"
#include "server/net/net.h"
#include "server/resp/request.h"
#include "server/store/cache.h"
#include "sidepond/sidepond.h"

struct lease_table;
struct operators;
struct pubsub;
struct ring;
struct ring_options;
struct thread;
struct tracking;

#define WATCH_SLOTS           65536u
#define SERVICE_REDIS_VERSION "7.0.15" /* what clients are to take the server for */

/* What can change while the service runs. */
struct service_settings {
    uint64_t cache_bytes;
    bool evict;
    struct net_limits limits;
    int64_t slow_after_us; /* calls that take so long are in the slow log; negative: none */
    uint32_t slow_length;
    uint32_t events;           /* the classes of keyspace events that are published */
    uint64_t tracked_keys_max; /* that clients are told of (CLIENT TRACKING); 0: any number */
};
#define SERVICE_SETTINGS_INIT                                                                      \
    {                                                                                              \
        .evict = true, .limits = NET_LIMITS_INIT, .slow_after_us = 10000, .slow_length = 128,      \
        .tracked_keys_max = TRACKING_KEYS_MAX_DEFAULT                                              \
    }

/* Where it serves, for INFO and CONFIG GET. */
struct service_addresses {
    char bind[512], unix_socket[NET_ADDRESS_BYTES];
    unsigned port, tls_port;
};

struct service_options {
    struct store *store;
    const char *directory; /* the pond's, for its readers */
    unsigned threads;
    struct service_settings settings;
    const struct net_listen *listens;
    size_t listens_count;
    const struct net_tls *tls;
    const char *users_file; /* NULL: none */
    const char *password;   /* of the user `default`; NULL: none */
    /* NULL: it is in no ring. For service_start, which starts the ring when the cache is open and
     * before anybody is served; `cache` is filled in. */
    const struct ring_options *ring;
};

struct service {
    struct service_options options;
    struct cache *cache;
    struct ring *ring; /* NULL: none; never changes */
    struct sp_pond *pond;
    struct sp_cache *reader;  /* the cache, for reads without the lock */
    _Atomic uint8_t *touched; /* cache_touched */
    uint64_t places;
    struct net *net;
    struct thread *threads;
    unsigned thread_count;
    /* Odd while several keys change as one: reads without a lock wait for the lock then. */
    _Atomic uint64_t multi_sequence;
    _Atomic uint32_t events;      /* the classes of keyspace events that somebody wants */
    _Atomic uint32_t watchers;    /* sessions that watch keys; raised with the cache's lock */
    uint32_t writes[WATCH_SLOTS]; /* while there are any: of keys by hash; with the lock */
    _Atomic uint32_t trackers;    /* sessions that track keys; raised with the cache's lock */
    _Atomic bool broadcasts;      /* tracking_broadcast has something to tell */
    /* Changed often where there are leases, so apart from what each request reads. */
    _Atomic uint32_t lease_count; /* of `leases`; raised from 0 with the cache's lock */
    _Atomic uint32_t blocked;     /* clients that wait */
    uint8_t apart[64];
    struct pause pause;
    struct resp_limits resp_limits;
    struct acl acl;
    struct acl_log acl_log;
    struct client_registry clients;
    struct pubsub *pubsub;
    struct tracking *tracking;
    struct lease_table *leases;
    struct slowlog slowlog;
    struct jobs jobs;
    _Atomic(const struct operators *) operators; /* NULL: no daemon */
    struct rates rates;
    struct stats_base base;             /* with the cache's lock */
    struct service_settings settings;   /* likewise */
    struct service_addresses addresses; /* likewise */
    int64_t started_at_ms;
};

/* Opens the cache, joins the ring and starts to serve. On an error `why` (NET_WHY_BYTES) says what.
 */
int service_start(const struct service_options *options, struct service **out, char *why);
void service_stop(struct service *service); /* NULL is fine */
/* What others than the service need of it; NULL: it is in no ring. */
struct ring *service_ring(const struct service *service);
/* Ten times a second, from one thread: expiry, and figures per second. */
void service_tick(struct service *service);

/* Who answers SIDEPOND from now on (operators.h); lives longer than the service. Any thread. */
void service_set_operators(struct service *service, const struct operators *operators);

/* Goes over to other settings; the second way with the cache's lock. */
void service_configure(struct service *service, const struct service_settings *settings);
void service_configure_locked(struct service *service, const struct service_settings *settings);
/* Takes note of the addresses that it serves on by now. */
void service_note_addresses(struct service *service, const struct net_listen *listens,
                            size_t count);

#endif
