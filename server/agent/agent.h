/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.h - Redis servers that stand as they are, as nodes of a ring: the agent registers each one
 * in ZooKeeper while it is well, takes it out while it is not, and copies to it what it lacks
 * before it becomes a holder.
 */
#ifndef SIDEPOND_AGENT_H
#define SIDEPOND_AGENT_H

#include "server/config/config.h"

#define AGENT_WHY_BYTES 512u

struct agent;

/* The configuration stays the caller's, and in place until agent_stop. A server or a ZooKeeper that
 * does not answer is no error. SP_ECONFIG, SP_EINVAL, SP_ENOMEM, SP_ESYS with why. */
int agent_start(const struct config_agent *config, struct agent **out, char why[AGENT_WHY_BYTES]);
/* Takes the nodes out of the ring; a few seconds at the most. */
void agent_stop(struct agent *agent);

#endif
