/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.h - the cache server inside the daemon: started, changed at a reload, ended.
 *
 * All functions are the main loop's. Expiry runs on a thread of its own, so that a million entries
 * that go at once delay neither the heartbeat nor the watchdog.
 */
#ifndef SIDEPOND_DAEMON_CACHE_H
#define SIDEPOND_DAEMON_CACHE_H

#include <stddef.h>

#include "server/config/config.h"
#include "server/net/net.h"

struct daemon_cache;
struct service;
struct store;

/* Serves on every address of the configuration. `gid`: whose the Unix sockets are, -1: the daemon's
 * own. What is kept of the configuration is copied. On an error `why` (NET_WHY_BYTES) is a
 * sentence that names the address or file: SP_EBUSY (address taken), SP_ECONFIG, SP_EINVAL,
 * SP_EACCESS, SP_ENOSPC, SP_ENOSHM, SP_ENOMEM, SP_ESYS. */
int cache_server_start(struct store *store, const struct config *config, long gid,
                       struct daemon_cache **out, char *why);

/* Goes over from one configuration to another of the same pond, for which
 * cache_server_needs_restart is NULL: addresses, limits, memory, certificates, users. On an error
 * the old one stays in use, and why says what is wrong. */
int cache_server_change(struct daemon_cache *cache, const struct config *from,
                        const struct config *to, char *why);

/* The option that cannot change while the daemon runs; NULL if none of these has. */
const char *cache_server_needs_restart(const struct config_cache *from,
                                       const struct config_cache *to);

void cache_server_stop(struct daemon_cache *cache); /* NULL is fine */

/* For the metrics; ends with the cache. NULL of NULL. */
struct service *cache_server_service(struct daemon_cache *cache);

/* As of now. */
struct cache_server_figures {
    uint64_t keys, clients;
};
void cache_server_figures(struct daemon_cache *cache, struct cache_server_figures *out);

#endif
