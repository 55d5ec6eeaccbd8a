/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.h - a session that waits: nothing of what its client sends is read or run until the wait
 * ends, by a wake-up on its thread, by its time, by CLIENT UNBLOCK, or with the connection.
 */
#ifndef SIDEPOND_COMMAND_WAIT_H
#define SIDEPOND_COMMAND_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct net_timer;
struct session;

/* What a session has for it; zeros at first. */
struct wait {
    LIST_ENTRY(session) link; /* of its thread's that wait */
    struct net_timer *timer;
    void (*over)(struct session *session);
    bool waits;
};

/* What CLIENT UNBLOCK has asked for; in struct client. */
enum unblock { UNBLOCK_CLOSED, UNBLOCK_OPEN, UNBLOCK_TIMEOUT, UNBLOCK_ERROR };

/* Lets the session wait; when so many milliseconds are over, or when somebody unblocks it, for
 * which it may have to be `open`, `over` is called. It must end the wait then. False: no memory,
 * and the session does not wait. */
bool wait_begin(struct session *session, bool open, uint64_t ms,
                void (*over)(struct session *session));
/* Of a session that waits: so many milliseconds more, from `over` instead of ending it. */
void wait_longer(struct session *session, uint64_t ms);
/* Ends the wait. UNBLOCK_TIMEOUT or UNBLOCK_ERROR: somebody has been told that this is how it ends,
 * whatever else has happened. */
enum unblock wait_end(struct session *session);
/* Whether somebody has been told so already. */
bool wait_is_unblocked(const struct session *session);
/* The session closes. */
void wait_leave(struct session *session);

#endif
