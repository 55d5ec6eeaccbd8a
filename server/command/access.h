/* SPDX-License-Identifier: Apache-2.0
 *
 * access.h - who a session is, and whether it may.
 */
#ifndef SIDEPOND_COMMAND_ACCESS_H
#define SIDEPOND_COMMAND_ACCESS_H

#include "server/command/session.h"

/* A new session is `default` if that has no password, else nobody. */
void access_begin(struct session *session);
void access_end(struct session *session);

/* Whether the session's user may make this call; false, with the error replied. */
bool access_allows(struct session *session, const struct call *call);

/* Makes the session another user; false, with the error replied. */
bool access_authenticate(struct session *session, const struct resp_arg *name,
                         const struct resp_arg *password);

#endif
