/* SPDX-License-Identifier: Apache-2.0
 *
 * rules.h - what must hold between values.
 */
#ifndef SIDEPOND_CONFIG_RULES_H
#define SIDEPOND_CONFIG_RULES_H

#include "server/config/config.h"
#include "server/config/tree.h"

/* Complains of all that is wrong or doubtful. Members may be NULL where an earlier check complained
 * already. */
void config_rules_check(const struct config *config, struct tree *tree,
                        struct complaints *complaints);

/* Those of the cache, and that there is a cache or tables; called by the above. */
void config_cache_rules_check(const struct config *config, struct tree *tree,
                              struct complaints *complaints);

/* Those of the ring. */
void config_ring_rules_check(const struct config *config, struct tree *tree,
                             struct complaints *complaints);

/* Those of the agent. */
void config_agent_rules_check(const struct config *config, struct tree *tree,
                              struct complaints *complaints);

#endif
