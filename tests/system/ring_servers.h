/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_servers.h - redis-servers that a test starts, stops, kills and starts again, each on a free
 * port of the loopback that it keeps.
 */
#ifndef SIDEPOND_TESTS_RING_SERVERS_H
#define SIDEPOND_TESTS_RING_SERVERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "sidepond/ring.h"
#include "tests/system/client_asserts.h"

#define SERVERS 3u

struct ring_servers {
    char directory[64];
    char list[256]; /* as sp_ring_options.nodes */
    int ports[SERVERS];
    pid_t pids[SERVERS];
    struct sp_ring *ring;
};

/* Starts all of them, and opens a ring of them. */
int ring_servers_setup(void **state);
int ring_servers_teardown(void **state);

void ring_servers_start(struct ring_servers *servers, unsigned which); /* empty; until it answers */
void ring_servers_signal(const struct ring_servers *servers, unsigned which, int signal);
void ring_servers_kill(struct ring_servers *servers, unsigned which); /* -9, until it is gone */

/* The server that is the first, or the second, to be asked for a key. */
unsigned ring_servers_of(const struct ring_servers *servers, const char *key, unsigned copy);
/* A key of this number that the server owns. */
void ring_servers_key(const struct ring_servers *servers, unsigned owner, unsigned number,
                      char out[32]);
/* What GET of this one server says, for comparison; "" if it is not there. */
void ring_servers_get(const struct ring_servers *servers, unsigned which, const char *key,
                      char out[64]);

#endif
