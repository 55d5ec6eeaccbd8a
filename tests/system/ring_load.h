/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load.h - what ring_load needs of a client library: one for our ring, one for Redis Cluster
 * and Sentinel, so that all of them do the same work and are judged by the same checker.
 */
#ifndef SIDEPOND_RING_LOAD_H
#define SIDEPOND_RING_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring_log.h"

struct ring_load_options {
    const char *client;    /* "ring", "cluster", "sentinel" */
    const char *nodes;     /* as the client wants them: see each */
    const char *zookeeper; /* of "ring", in the place of nodes */
    const char *cluster;   /* of "ring", in ZooKeeper */
    const char *pond;      /* of "ring": of a daemon that tells of it; see struct sp_ring_options */
    bool redis;            /* of "ring": the nodes are Redis */
    uint16_t slots;        /* of "ring" with nodes; 0: as the library has it */
    bool need_all;
    uint32_t timeout_ms, hedge_ms; /* 0: as the library has it */
};

struct ring_load_value {
    uint8_t *data; /* grown by the client, freed by the caller */
    size_t bytes, room;
};

struct ring_load_copies {
    uint8_t have, want;
};

struct ring_load_many {
    uint32_t first, count; /* keys; at most RING_LOAD_MANY */
    uint32_t number;
    uint16_t writer;
    size_t value_bytes;
};
#define RING_LOAD_MANY 512u

#define RING_LOAD_NO_COPY (-1)
#define RING_LOAD_LINE    1024u

/* What a client does. Operations return an enum ring_log_outcome. */
struct ring_load_client {
    const char *name;
    /* Before all threads; what it returns is handed to connect. NULL: it says why and fails. */
    void *(*open)(const struct ring_load_options *options);
    void (*close)(void *opened);
    /* One for each thread. */
    void *(*connect)(void *opened);
    void (*disconnect)(void *connection);
    int (*get)(void *connection, const char *key, size_t bytes, struct ring_load_value *value);
    int (*set)(void *connection, const char *key, size_t bytes, const void *value,
               size_t value_bytes, uint32_t ttl_ms, struct ring_load_copies *copies);
    /* Keys `first` to `first` + `count` - 1 with values of this writer, at once, numbered from
     * `number` on; *outcome of each. NULL: they are set one by one. */
    void (*set_many)(void *connection, const struct ring_load_many *many, uint8_t *outcomes);
    int (*delete)(void *connection, const char *key, size_t bytes, struct ring_load_copies *copies);
    int (*incr)(void *connection, const char *key, size_t bytes, int64_t *count,
                struct ring_load_copies *copies);
    /* The copy of the key that one of its holders has; RING_LOAD_NO_COPY: there are not so many.
     * NULL: the client knows of no copies. */
    int (*get_copy)(void *connection, const char *key, size_t bytes, unsigned copy,
                    struct ring_load_value *value);
    /* The name of the key's owner, valid until the next call. NULL where the client knows none. */
    const char *(*owner)(void *connection, const char *key, size_t bytes);
    /* A line "EPOCH NAME..." with those nodes whose breakers are open, where that has changed since
     * it was called last, which only one thread does. NULL where the client knows no breakers. */
    bool (*look)(void *opened, char line[RING_LOAD_LINE]);
    /* Why the last operation failed, for humans. */
    const char *(*why)(void *connection);
};

extern const struct ring_load_client ring_load_redis_cluster, ring_load_redis_sentinel;
extern const struct ring_load_client ring_load_ring;

/* Dies unless it could be had. */
void ring_load_value_room(struct ring_load_value *value, size_t bytes);

uint64_t ring_load_now_ns(void); /* CLOCK_MONOTONIC */

#endif
