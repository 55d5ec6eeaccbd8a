/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_session.h - what a session does for the ring that its server is a node of
 * (server/ring/ring.h, docs/RING.md).
 *
 *   ring_write.c     what was written is passed on; replies are held until others have it; WAIT
 *   ring_ask.c       a call about keys that this node does not hold is refused, or asked of a
 *                    node that does
 *   ring_commands.c  SIDEPOND ATTACH, PUT, ERASE and the rest; CLUSTER
 *   ring_pull.c      SIDEPOND PULL
 *
 * Where service->ring is NULL nothing of this is called, but the commands, which say so.
 */
#ifndef SIDEPOND_COMMAND_RING_SESSION_H
#define SIDEPOND_COMMAND_RING_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "client/ring/slot.h"

struct call;
struct errand;
struct resp_arg;
struct session;

/* Of a session; zeros at first. */
struct session_ring {
    bool attached;         /* it has called SIDEPOND ATTACH */
    bool held;             /* its replies are */
    bool muted;            /* the reply to its WAIT */
    uint64_t last;         /* the place of its last write (ring_place); 0: nobody waits for that */
    uint64_t awaited;      /* the highest place that its replies have to wait for; 0: none */
    uint64_t until_ms;     /* of its WAIT, by clock_ms */
    uint32_t copies;       /* that its WAIT wants */
    uint32_t look_ms;      /* and when it looks again */
    struct errand *hold;   /* NULL: it has not held anything */
    struct errand *asking; /* NULL: it waits for no other node */
};

/* --- writing (ring_write.c) ------------------------------------------------------------------- */

/* A key has been written or deleted by a command; with the cache's lock. */
void ring_note_written(struct session *session, const struct resp_arg *key, uint64_t hash);
/* A place for its replies to wait for; 0: none. */
void ring_note_place(struct session *session, uint64_t place);
/* After a piece of input that has written something: its replies wait. */
void ring_hold_replies(struct session *session);
/* The session closes. */
void ring_session_leave(struct session *session);
/* RESET. */
void ring_session_reset(struct session *session);

/* --- reading (ring_ask.c) --------------------------------------------------------------------- */

/* Whether a call that has been checked is not to be run here: it has been refused, or the session
 * waits for another node's answer. */
bool ring_diverts(struct session *session, const struct call *call);
/* The same within EXEC, where nobody can be asked. */
bool ring_refuses(struct session *session, const struct call *call);

/* --- arguments (ring_commands.c) -------------------------------------------------------------- */

/* A bitmap of slots; false: it has not a bit for each. */
bool ring_take_slots(const struct resp_arg *arg, unsigned slots, uint64_t out[RING_SLOT_WORDS]);
struct ring;
/* What lies here is given to nobody yet: see ring_gives. */
void ring_reply_aged(struct session *session, const struct ring *ring);
#define RING_SLOTS_ERROR "ERR the bitmap of slots must have %u bytes"

#endif
