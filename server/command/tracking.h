/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking.h - clients that keep copies of what they read are told when it changes.
 *
 *   tracking.c           CLIENT TRACKING and its kin; what a session's commands do for it
 *   tracking_tell.c      from a change to the clients that are to hear of it, on their threads
 *   tracking_rows.c      changes of tables
 *   tracking_keys.c      the table of who has read which key
 *   tracking_prefixes.c  who wants to hear of which prefixes
 *
 * While no client tracks, a read costs a look at a pointer of its session, and a write a look at
 * service->trackers. Why no client keeps an old value for good: docs/CONCURRENCY.md, T1 to T4.
 */
#ifndef SIDEPOND_COMMAND_TRACKING_H
#define SIDEPOND_COMMAND_TRACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACKING_KEYS_MAX_DEFAULT UINT64_C(1000000)

struct call;
struct resp_arg;
struct service;
struct session;
struct tracking;

struct tracking *tracking_new(void); /* NULL: no memory */
void tracking_free(struct tracking *tracking);
/* At most so many keys are remembered; 0: any number. */
void tracking_configure(struct tracking *tracking, uint64_t keys_max);

/* --- of a session that tracks, on its thread ------------------------------------------------- */

/* Before a command that reads is run: its keys are remembered. */
void tracking_before(struct session *session, const struct call *call);
/* Whether a key that the request reads is remembered, by CLIENT TRACKING and CACHING. For a command
 * that finds out later what it reads; it calls tracking_read with the cache's lock under which it
 * has read the key. */
bool tracking_wants(const struct session *session);
void tracking_read(struct session *session, const struct resp_arg *key);
/* After a request: what it changed of what this session has read is told. */
void tracking_after(struct session *session, const struct call *call);
/* The session tracks no longer; as it ends, or RESET. */
void tracking_stop(struct session *session);
/* The session is gone: not in the registry of clients, and no other one can redirect to it. */
void tracking_leave(struct session *session);

/* --- changes; any thread --------------------------------------------------------------------- */

/* A key is another one now, and everybody who reads it sees that. `writer` may be NULL. */
void tracking_changed(struct service *service, struct session *writer, const void *key,
                      size_t key_bytes);
/* All are gone. */
void tracking_flushed(struct service *service, struct session *writer);
/* At the end of a batch of requests, if service->broadcasts: what has changed under prefixes is
 * told. */
void tracking_broadcast(struct service *service);
/* Ten times a second: tables that have changed, and what was left to do. */
void tracking_tick(struct service *service);

/* --- information ------------------------------------------------------------------------------ */

struct tracking_totals {
    uint64_t clients, keys, items, prefixes;
};
void tracking_totals(const struct service *service, struct tracking_totals *out);

#endif
