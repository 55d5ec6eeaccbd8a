/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.h - Redis servers that stand as they are, as nodes of a ring: the agent registers each one
 * in ZooKeeper while it is well, takes it out while it is not, and copies to it what it lacks
 * before it becomes a holder.
 */
#ifndef SIDEPOND_AGENT_H
#define SIDEPOND_AGENT_H

#include "client/ring/map.h"
#include "server/config/config.h"

#define AGENT_WHY_BYTES 512u

struct agent;

/* The configuration stays the caller's. A server or a ZooKeeper that does not answer is no error.
 * SP_ECONFIG, SP_EINVAL, SP_ENOMEM, SP_ESYS with why. */
int agent_start(const struct config_agent *config, struct agent **out, char why[AGENT_WHY_BYTES]);
/* Goes over to other servers, weights, zones, logins and times; the ring stays the one of
 * agent_start. A server that is in both by name and address stays in the ring meanwhile. What is
 * wrong is found before anything is changed; only where the system has no more threads a server is
 * left out. The same thread as agent_start's. */
int agent_change(struct agent *agent, const struct config_agent *config, char why[AGENT_WHY_BYTES]);
/* Takes the nodes out of the ring; a few seconds at the most. NULL is fine. */
void agent_stop(struct agent *agent);

/* --- what operators see, on any thread -------------------------------------------------------- */

/* How a server was at its last check. */
enum agent_state {
    AGENT_UNCHECKED,
    AGENT_WELL,
    AGENT_UNREACHABLE, /* it refuses connections, or they break */
    AGENT_SILENT,      /* it does not answer in time */
    AGENT_REFUSES,     /* it answers with an error, or is no Redis */
    AGENT_LOADING,
    AGENT_REPLICA,
    AGENT_STATES,
};
const char *agent_state_name(enum agent_state state);

struct agent_figures {
    char name[RING_NAME_BYTES];
    enum agent_state state;
    bool connected;         /* to ZooKeeper */
    bool registered;        /* there */
    int64_t answered_at_ms; /* wall clock of the last good check; 0: never */
    uint64_t late_ms;       /* how long the checks have not come to an end that they should have */
    uint64_t checks, failed_checks;
    uint64_t memory_bytes, keys; /* as of the last good check; of database 0 */
    uint64_t copied_keys, copied_bytes, removed_keys;
    unsigned held, pulling; /* slots: whose holder it is, and that it still has to get */
    char why[256];          /* it is not well; "": it is */
};
/* At most `most`; returns how many servers there are. */
size_t agent_figures(struct agent *agent, struct agent_figures *out, size_t most);

#endif
