/* SPDX-License-Identifier: Apache-2.0
 *
 * lease_table.h - which client computes the value of which key, and who waits for it.
 *
 * A key's lease is held by at most one client at a time. It has a token, a number that no other
 * lease of this service has; a value is stored for a token only while it is the key's. It ends when
 *
 *   - its holder gives it back, or its connection closes, or its time is over: then the first of
 *     those who wait for the key holds a new one;
 *   - somebody deletes the key: likewise;
 *   - somebody writes the key, the holder too: then all who wait look at the key again.
 *
 * Threads: leases are in a hash table in stripes, each with a lock, which is taken within the
 * cache's lock or without it. Where "with the cache's lock" is said, no key is written meanwhile.
 * A client's functions are called on its thread, unless it says otherwise.
 *
 * Costs: a hash chain for each operation. Who writes a key while there is no lease at all reads one
 * counter (service.h). Who writes a key for which many wait puts each of them on a list, and makes
 * one post to each thread. Limits: LEASES_MAX with keys of LEASES_BYTES_MAX in all,
 * LEASES_OF_CLIENT_MAX for each client; a client waits for one key at a time.
 */
#ifndef SIDEPOND_COMMAND_LEASE_TABLE_H
#define SIDEPOND_COMMAND_LEASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASES_MAX           65536u
#define LEASES_BYTES_MAX     (UINT64_C(64) << 20)
#define LEASES_OF_CLIENT_MAX 1024u

struct lease_table;
struct lease_client;
struct resp_arg;
struct service;

struct lease_table *lease_table_new(struct service *service); /* NULL: no memory */
void lease_table_free(struct lease_table *leases);            /* after all clients have left */

/* A client on an I/O thread. `wake` is called there when what it waits for has changed. NULL: no
 * memory. */
struct lease_client *lease_client_new(struct lease_table *leases, unsigned thread,
                                      void (*wake)(void *session), void *session);
/* It waits for nothing and holds nothing from now on; it is gone. */
void lease_client_leave(struct lease_client *client);

struct lease_key {
    const void *bytes;
    size_t size;
    uint64_t hash;
};

/* A lease for the client, unless another one has the key's; with the cache's lock. SP_OK;
 * SP_EBUSY: another has it, and if `waits`, the client is told when that changes; SP_ENOSPC: there
 * are as many as there may be; SP_ENOMEM. */
int lease_table_take(struct lease_client *client, const struct lease_key *key, uint64_t hold_ns,
                     bool waits, uint64_t *token);
/* Whether the client was given the key's lease since it began to wait, and has it still. */
bool lease_table_given(struct lease_client *client, const struct lease_key *key, uint64_t *token);
/* It waits no longer; a lease that it was given and did not hear of goes to the next. */
void lease_table_wait_no_more(struct lease_client *client, const struct lease_key *key);
/* Ends the client's leases whose time is over. When the next one's is, on the clock of clock_ns; 0:
 * it has none. */
uint64_t lease_table_expire(struct lease_client *client);

/* Any thread. Whether this is the key's token, and its time is not over. */
bool lease_table_is_valid(struct lease_table *leases, const struct lease_key *key, uint64_t token);
/* Any thread. Ends it; false: it had ended. */
bool lease_table_give_back(struct lease_table *leases, const struct lease_key *key, uint64_t token);

/* A key is written or deleted, all are deleted: any thread, with the cache's lock. All leases have
 * ended when the last of these returns; who waits is told by and by, by the thread named. */
void lease_table_key_written(struct lease_table *leases, uint64_t hash);
void lease_table_key_deleted(struct lease_table *leases, uint64_t hash);
void lease_table_all_deleted(struct lease_table *leases, unsigned thread);

#endif
