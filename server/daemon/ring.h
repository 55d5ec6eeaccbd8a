/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h - the ring that the daemon's cache server is a node of: its options out of the
 * configuration.
 */
#ifndef SIDEPOND_DAEMON_RING_H
#define SIDEPOND_DAEMON_RING_H

#include "server/config/config.h"
#include "server/net/net.h"
#include "server/ring/ring.h"

/* In the pond's directory: the map, for processes of this host; and with "-CLUSTER" behind it the
 * last map of that ring, for this daemon's own starts. */
#define DAEMON_RING_FILE "ring"

/* What options point to that is not the configuration's. */
struct daemon_ring {
    struct ring_options options;
    struct ring_node *list;
    char *credential, *password;
    char published[4096], also[4096 + RING_NAME_BYTES];
};

/* Reads the passwords' files. `gid` must live as long as the ring: whose the published file is, -1:
 * the daemon's own. Lent until daemon_ring_free. On an error why (NET_WHY_BYTES) is a sentence. */
int daemon_ring_read(const struct config *config, const long *gid, struct daemon_ring *out,
                     char *why);
void daemon_ring_free(struct daemon_ring *ring);

/* The option that cannot change while the daemon runs; NULL if none of these has. */
const char *daemon_ring_needs_restart(const struct config_ring *from, const struct config_ring *to);

/* This node leaves, and a moment is given to those that still ask it. NULL is fine. */
void daemon_ring_leave(struct ring *ring, bool in_zookeeper);

#endif
