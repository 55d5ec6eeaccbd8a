/* SPDX-License-Identifier: Apache-2.0
 *
 * lease.h - what a session has to do with leases (lease_table.h).
 */
#ifndef SIDEPOND_COMMAND_LEASE_H
#define SIDEPOND_COMMAND_LEASE_H

struct session;
struct session_leases;

/* The session closes or begins anew: its leases end. */
void lease_leave(struct session *session);

#endif
