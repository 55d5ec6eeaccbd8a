/* SPDX-License-Identifier: Apache-2.0
 *
 * multi.h - a session between MULTI and EXEC, and what it watches.
 */
#ifndef SIDEPOND_COMMAND_MULTI_H
#define SIDEPOND_COMMAND_MULTI_H

#include "server/command/session.h"

#define MULTI_BYTES_MAX (1u << 30) /* of one transaction's arguments */

struct watched {
    struct watched *next;
    uint64_t unit, version; /* of its entry; 0: there was none, and since one may come and go: */
    uint32_t writes;        /* those to keys with such a hash until then */
    size_t key_bytes;
    char key[];
};

struct multi {
    bool open;
    bool spoiled; /* a request was wrong: EXEC refuses */
    struct call *queued;
    size_t queued_count, queued_cap, queued_bytes;
    struct watched *watched;
    _Atomic uint32_t *watchers; /* this session is one of them while it watches */
};

bool multi_is_open(const struct session *session);
void multi_queue(struct session *session, const struct call *call);
/* Whether it has queued a write. */
bool multi_writes(const struct session *session);
/* A request was refused; no-op outside of MULTI. */
void multi_spoil(struct session *session);
/* EXEC itself was wrong: replies why, and ends the transaction if there is one. */
void multi_abort(struct session *session, const char *why);
void multi_free(struct multi *multi); /* NULL is fine */

/* A copy of a call's arguments in one block to be freed, and its size; NULL: no memory. */
struct resp_arg *call_copy_args(const struct call *call, size_t *bytes);

#endif
