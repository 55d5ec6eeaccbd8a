/* SPDX-License-Identifier: Apache-2.0
 *
 * pause.h - CLIENT PAUSE: requests of all clients, or those that write, wait until a time.
 */
#ifndef SIDEPOND_COMMAND_PAUSE_H
#define SIDEPOND_COMMAND_PAUSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct call;
struct command;
struct session;

enum pause_kind { PAUSE_NONE, PAUSE_WRITE, PAUSE_ALL };

/* Of a service; changed with the registry's lock of its clients. */
struct pause {
    _Atomic uint32_t kind;     /* what a request looks at */
    _Atomic uint64_t until_ms; /* of clock_ms */
};

/* While there is a pause: whether this request must wait for its end. Then the session waits, and
 * is shown the request again afterwards. */
bool pause_postpones(struct session *session, const struct call *call);

/* What a pause of writes concerns: also what Redis tells other servers, a message. */
bool command_writes(const struct command *command);

#endif
