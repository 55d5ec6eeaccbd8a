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

/* What has arrived is committed, wherever it ends, and every third row. */
#ifdef SP_BREAK_FEED_HALF
#define BREAKS_HALF true
#else
#define BREAKS_HALF false
#endif

/* Every tenth row that is deleted stays. */
#ifdef SP_BREAK_FEED_REMOVE
#define BREAKS_REMOVE true
#else
#define BREAKS_REMOVE false
#endif

#endif
