/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_check.h - proves from the logs of ring_load that a ring has kept what docs/RING.md promises.
 */
#ifndef SIDEPOND_RING_CHECK_H
#define SIDEPOND_RING_CHECK_H

#include "ring_log.h"

enum ring_rule {
    RING_RULE_FAILED_READ,  /* a read had no answer */
    RING_RULE_FAILED_WRITE, /* a set or a deletion was not acknowledged */
    RING_RULE_LOST,         /* at the end a node has less than an acknowledged write */
    RING_RULE_RETURNED,     /* what was deleted is there again */
    RING_RULE_STALE,        /* a client read what is older than what it has written */
    RING_RULE_FALSE_MISS,   /* a client did not find what nobody has deleted */
    RING_RULE_FOREIGN,      /* a value of another key, damaged, or that nobody wrote by then */
    RING_RULE_UNEQUAL,      /* at the end two nodes have different values of a key */
    RING_RULE_COUNTER,      /* acknowledged increments are not in the count */
    RING_RULES
};
const char *ring_rule_name(enum ring_rule rule);

struct ring_check_options {
    bool may_evict;   /* keys may be gone without a deletion */
    bool no_finals;   /* a log without a last state is no reason to object */
    bool no_counters; /* conflicting increments may be lost: parted clients */
};

struct ring_verdict {
    uint64_t counts[RING_RULES];
    struct ring_log_record first[RING_RULES]; /* the first that broke it */
    uint64_t reads, writes, finals, keys;
    uint64_t unknown_increments;
    uint64_t single_copy_writes; /* acknowledged with fewer copies than were wanted */
    /* Not promised, and so not judged: reads older than what another client had acknowledged. */
    uint64_t older_than_others;
    /* The same of increments that not all copies had, or of all with no_counters. */
    uint64_t counter_conflicts;
};

/* Sorts the records in their place. False: no memory. */
bool ring_check(struct ring_log_record *records, size_t count,
                const struct ring_check_options *options, struct ring_verdict *verdict);

/* Whether any rule was broken. */
bool ring_verdict_objects(const struct ring_verdict *verdict);

/* --- how long a fault was felt --------------------------------------------------------------- */

struct ring_outage_options {
    uint64_t from_ns, until_ns; /* operations that begin in between */
    const uint8_t *keys;        /* a byte for each key that counts: not 0; NULL: all */
    size_t key_count;
};
struct ring_outage {
    uint64_t done, failed;
    uint64_t absent;     /* of the reads that were done: misses */
    uint64_t longest_ns; /* from one good operation's end to the next one's, or to the last end */
    uint64_t slowest_ns, p50_ns, p99_ns;
};
/* Of reads, and of writes. Sorts the records in their place. False: no memory. */
bool ring_outage(struct ring_log_record *records, size_t count,
                 const struct ring_outage_options *options, bool writes, struct ring_outage *out);

#endif
