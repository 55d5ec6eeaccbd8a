/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_server.h - a cache server (resp_server) for tests of the client library: a process of the
 * test's own, on a pond in a directory of its own, and an open handle of its cache.
 */
#ifndef SIDEPOND_TESTS_CACHE_SERVER_H
#define SIDEPOND_TESTS_CACHE_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "sidepond/cache.h"
#include "tests/system/client_asserts.h"

struct cache_server {
    char directory[64]; /* of the pond, and its socket */
    char address[96];   /* "unix:" and the socket */
    pid_t pid;          /* 0: it does not run */
    struct sp_pond *pond;
    struct sp_cache *cache;
};

/* Starts the server, and returns when it serves. `options` (NULL at the end) go after directory and
 * address. Again after cache_server_end: on what is in the directory. */
void cache_server_start(struct cache_server *server, const char *const *options);
/* Ends the process by a signal, and waits for it. */
void cache_server_end(struct cache_server *server, int signal);
void cache_server_open(struct cache_server *server);
/* All of it, and the directory. */
void cache_server_remove(struct cache_server *server);

/* cmocka's set-up and tear-down: one server for a group of tests, *state its struct. */
int cache_server_setup(void **state);
int cache_server_teardown(void **state);

#endif
