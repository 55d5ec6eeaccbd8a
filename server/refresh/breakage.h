/* SPDX-License-Identifier: Apache-2.0
 *
 * breakage.h - faults that can be compiled into the refresh, to see that the tests find them.
 *
 * Never defined but by targets of tests/crash and tests/system. Each breaks one sentence of
 * docs/adr/0010-change-feeds.md.
 */
#ifndef SIDEPOND_REFRESH_BREAKAGE_H
#define SIDEPOND_REFRESH_BREAKAGE_H

#ifdef SP_BREAK_FEED_POSITION /* the position is committed after its rows, not with them */
#define BREAKS_POSITION true
#else
#define BREAKS_POSITION false
#endif

#ifdef SP_BREAK_FEED_HALF /* what has arrived is committed, in the middle too */
#define BREAKS_HALF true
#else
#define BREAKS_HALF false
#endif

#ifdef SP_BREAK_FEED_REMOVE /* every tenth row that is deleted stays */
#define BREAKS_REMOVE true
#else
#define BREAKS_REMOVE false
#endif

#endif
