/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.h - `sidepondd --agent`: Redis servers as nodes of a ring, in place of a pond.
 */
#ifndef SIDEPOND_DAEMON_AGENT_H
#define SIDEPOND_DAEMON_AGENT_H

/* Runs until it is told to end; the exit code. */
int daemon_agent(const char *config_path);

#endif
