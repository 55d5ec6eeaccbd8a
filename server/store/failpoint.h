/* SPDX-License-Identifier: Apache-2.0
 *
 * failpoint.h - named places at which the crash tests end the process.
 *
 * With SP_FAILPOINTS (a test build), the environment variable SIDEPOND_FAILPOINT=NAME[:N] kills the
 * process by SIGKILL at the Nth passage (1 by default) of that place. In other builds a failpoint
 * is nothing at all.
 */
#ifndef SIDEPOND_FAILPOINT_H
#define SIDEPOND_FAILPOINT_H

#ifdef SP_FAILPOINTS
void failpoint_hit(const char *name);
#define FAILPOINT(name) failpoint_hit(name)
#else
#define FAILPOINT(name) ((void)0)
#endif

#endif
