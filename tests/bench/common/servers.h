/* SPDX-License-Identifier: Apache-2.0
 *
 * servers.h - Redis and memcached as peers: a server of our own on a Unix socket in the benchmark's
 * directory, filled in pipelined batches, ended by its pid.
 */
#ifndef SIDEPOND_BENCH_SERVERS_H
#define SIDEPOND_BENCH_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum server_kind { SERVER_REDIS, SERVER_MEMCACHED };

struct server {
    enum server_kind kind;
    pid_t pid;
    int fd;
    char socket[96];
    char *out; /* what is still to be sent */
    size_t out_bytes, out_cap;
    size_t answer_bytes; /* expected for it */
    uint64_t empty_bytes;
};

/* False if it is not installed. */
bool server_start(struct server *server, enum server_kind kind);
void server_set(struct server *server, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes);
void server_flush(struct server *server);
/* Resident memory beyond that of the empty server. */
uint64_t server_memory_bytes(const struct server *server);
void server_stop(struct server *server);

#endif
