/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.h - the servers that are measured: ours, Redis, memcached and the floor. Each is a process
 * of the benchmark's own, on a free loopback port or a Unix socket, with a directory in that of the
 * benchmark, and is ended by its pid.
 */
#ifndef SIDEPOND_BENCH_PEERS_H
#define SIDEPOND_BENCH_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "wire.h"

enum peer_kind { PEER_OURS, PEER_REDIS, PEER_MEMCACHED, PEER_FLOOR, PEER_KINDS };
enum peer_transport { PEER_TCP, PEER_UNIX };
enum peer_keeps { PEER_KEEPS_NOTHING, PEER_KEEPS_RDB, PEER_KEEPS_AOF }; /* of Redis */

struct peer_options {
    enum peer_kind kind;
    enum peer_transport transport;
    unsigned threads; /* 0: 1 */
    bool pinned;      /* to the first processor */
    bool huge_pages;  /* of ours */
    enum peer_keeps keeps;
};

struct peer {
    struct peer_options options;
    enum wire wire;
    pid_t pid;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    unsigned port;
    char directory[128], socket[144];
};

const char *peer_name(enum peer_kind kind);

/* Waits until it can be connected to. False: it is not installed. */
bool peer_start(struct peer *peer, const struct peer_options *options);
/* The same process again, over the files that it left; does not wait. */
void peer_restart(struct peer *peer);
void peer_kill(struct peer *peer);
/* Kills it and removes its directory. */
void peer_stop(struct peer *peer);

/* A connection, blocking; -1: nobody listens. */
int peer_connect(const struct peer *peer);
/* One request and its whole reply, if it is one line, or the first bytes of it, with a 0 at the
 * end; bytes, 0: the connection is gone. */
size_t peer_ask(int fd, const char *request, size_t request_bytes, char *reply, size_t room);

struct peer_fill {
    uint32_t first, count;
    uint64_t expires_unix_s; /* 0: never */
    bool lognormal;          /* sizes as rows_lognormal draws them, or WIRE_VALUE_BYTES */
};
/* Entries by SET in batches; dies if one is refused. Bytes of keys and values. */
uint64_t peer_fill(const struct peer *peer, const struct peer_fill *fill);

/* Private memory of the process, and of ours the blocks of the pond's files. */
uint64_t peer_memory_bytes(const struct peer *peer);

/* Processor time that its threads have taken. */
double peer_cpu_s(const struct peer *peer);

/* Pins the calling process to one processor; -1: to all. */
void peer_pin(int cpu);

#endif
