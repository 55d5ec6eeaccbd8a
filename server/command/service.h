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
#include "server/net/net.h"
#include "server/resp/request.h"
#include "server/store/cache.h"
#include "sidepond/sidepond.h"

struct pubsub;
struct thread;

#define WATCH_SLOTS           65536u
#define SERVICE_REDIS_VERSION "7.0.15" /* what clients are to take the server for */

/* Counted by one thread, read by any. */
struct thread_stats {
    _Alignas(64) _Atomic uint64_t commands, hits, misses;
    _Atomic uint64_t *calls; /* by command number */
};
static inline void stats_add(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

struct service_options {
    struct store *store;
    const char *directory; /* the pond's, for its readers */
    unsigned threads;
    uint64_t cache_bytes;
    bool evict;
    const struct net_listen *listens;
    size_t listens_count;
    const struct net_tls *tls;
    const char *users_file; /* NULL: none */
    const char *password;   /* of the user `default`; NULL: none */
    struct net_limits limits;
};

struct service {
    struct service_options options;
    struct cache *cache;
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
    struct resp_limits resp_limits;
    struct acl acl;
    struct acl_log acl_log;
    struct client_registry clients;
    struct pubsub *pubsub;
    int64_t started_at_ms;
};

/* Opens the cache and starts to serve. On an error `why` (NET_WHY_BYTES) says what. */
int service_start(const struct service_options *options, struct service **out, char *why);
void service_stop(struct service *service); /* NULL is fine */
/* Ten times a second, from one thread: expiry. */
void service_tick(struct service *service);

#endif
