/* SPDX-License-Identifier: Apache-2.0
 *
 * breakage.h - faults that can be compiled into the store, to see that the tests find them.
 *
 * Never defined but by targets of tests/mp and tests/system. Each fault but the last three breaks
 * one step of docs/CONCURRENCY.md.
 */
#ifndef SIDEPOND_BREAKAGE_H
#define SIDEPOND_BREAKAGE_H

#ifdef SP_BREAK_SEQUENCE /* W2: a slot changes and its home's sequence does not */
#define BREAKS_SEQUENCE true
#else
#define BREAKS_SEQUENCE false
#endif

#ifdef SP_BREAK_RECLAIM /* W4: versions are freed and nobody is told */
#define BREAKS_RECLAIM true
#else
#define BREAKS_RECLAIM false
#endif

#ifdef SP_BREAK_PINS /* W4: leases are not looked at */
#define BREAKS_PINS true
#else
#define BREAKS_PINS false
#endif

#ifdef SP_BREAK_COMMIT /* W3: committed is raised before the entries have their versions */
#define BREAKS_COMMIT true
#else
#define BREAKS_COMMIT false
#endif

#ifdef SP_BREAK_ROUTE /* W7: a root or directory is replaced and the route does not change */
#define BREAKS_ROUTE true
#else
#define BREAKS_ROUTE false
#endif

#ifdef SP_BREAK_APPLY /* docs/RING.md: some of the writes that others have stamped are not kept */
#define BREAKS_APPLY true
#else
#define BREAKS_APPLY false
#endif

#ifdef SP_BREAK_TOMBSTONE /* recovery lets the cache's tombstones go as those of tables do */
#define BREAKS_TOMBSTONE true
#else
#define BREAKS_TOMBSTONE false
#endif

#ifdef SP_BREAK_SPACE /* blocks that begin at every 512th unit are never given back */
#define BREAKS_SPACE true
#else
#define BREAKS_SPACE false
#endif

#endif
