/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h - the checker: walks a whole pond and says what is wrong with it.
 *
 * Verifies each table root and schema, each directory, segment and bucket (places, tags, counts),
 * each entry (bounds, checksum, hash, order of versions), that no two blocks overlap, and that the
 * allocator's metadata agrees with what can be reached: nothing lost, nothing handed out twice.
 */
#ifndef SIDEPOND_CHECK_H
#define SIDEPOND_CHECK_H

#include <stdatomic.h>

#include "alloc/region.h"

struct check_options {
    /* The pond has a living writer: what it changes meanwhile is looked at again, uncommitted
     * entries are no fault, and the allocator, which changes all the time, is not compared. */
    bool live;
    /* With `live`, from the writer's process: holds its lock, or lets it go, around one more look
     * at a segment that looked wrong whenever it was looked at. NULL: from another process. */
    void (*hold)(void *context, bool held);
    /* Its writer was killed: what it left in the allocator is compared, but no complaint, since the
     * next one makes that anew. */
    bool killed;
    /* Called for each complaint, at most complaints_max of them. May be NULL. */
    void (*complain)(void *context, const char *text);
    void *context;
    uint64_t complaints_max;
    const atomic_bool *unwanted; /* true ends the walk soon; NULL: nobody does */
};

struct check_report {
    uint64_t complaints;
    uint64_t tables, indexes, segments, buckets;
    uint64_t entries;      /* heads of chains */
    uint64_t old_versions; /* behind them */
    uint64_t uncommitted;  /* left by a writer that died; recovery takes them out */
    uint64_t tombstones;
    uint64_t reachable_units, used_units, leaked_units;
    bool allocator_checked;
};

/* SP_OK if there was nothing to complain of, SP_ECORRUPT if there was, SP_ENOMEM; SP_ECANCELED: it
 * was unwanted, and the report is of a part. A leak is a
 * complaint only if there is nothing uncommitted that could explain it. */
int check_pond(const struct region *region, const struct check_options *options,
               struct check_report *report);

#endif
