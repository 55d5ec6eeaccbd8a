/* SPDX-License-Identifier: Apache-2.0
 *
 * torture.h - what the processes of the torture share.
 *
 * Tables `left` and `right` have the same rows in the same states at every version; rows below
 * TORTURE_FIRM are never deleted. A state is serial << 16 | attempt, the serial being that of the
 * transaction that wrote the row. Row 0 of `meta` has the state of the last commit, row 1 counts
 * the rows of `bulk`. All rows of `shape` have one state, and are TORTURE_SHAPED.
 *
 * The shared page is not the pond: it survives the writer, and says what was acknowledged.
 */
#ifndef SIDEPOND_TESTS_TORTURE_H
#define SIDEPOND_TESTS_TORTURE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "tests/mp/pond_kit.h"

#define TORTURE_ROWS       1500u
#define TORTURE_FIRM       1000u
#define TORTURE_CHANGES    400u
#define TORTURE_SHAPED     200u
#define TORTURE_BULK       6000u
#define TORTURE_GROUPS     7u
#define TORTURE_CACHED     700u
#define TORTURE_BODY_MAX   4000u
#define TORTURE_LIMIT      (UINT64_C(32) << 20)
#define TORTURE_LEASE_MS   60u
#define TORTURE_COOLING_MS 300u

enum torture_table { LEFT, RIGHT, META, BULK, SHAPE, TORTURE_TABLES };
extern const char *const torture_names[TORTURE_TABLES];

struct torture_shared {
    _Atomic uint64_t serial;  /* of the last commit that was acknowledged */
    _Atomic uint64_t pending; /* state of the one that is being tried */
    _Atomic uint64_t attempt;
    _Atomic uint64_t acked[TORTURE_ROWS]; /* state of each row then; 0: not there */
    _Atomic uint64_t shaped; /* of the last commit that changed `shape`; even: dropped */
    struct {
        uint32_t count;
        uint32_t row[TORTURE_CHANGES];
        bool gone[TORTURE_CHANGES];
    } changes;                               /* of the pending transaction */
    _Atomic uint64_t cached[TORTURE_CACHED]; /* the last acknowledged write of each key */
    _Atomic bool buried[TORTURE_CACHED];     /* that was a deletion, and left a tombstone */
    _Atomic uint64_t cache_writes;           /* the last number of a write to the cache */
    _Atomic uint64_t cache_pending;          /* number << 16 | key, of the write that is tried */
    _Atomic uint64_t gets, rows_viewed, snapshots, stale, scans, finds, waits;
    _Atomic uint64_t commits, aborts, lives, moved, revoked, reclaimed;
    _Atomic uint32_t ready; /* a writer has opened the pond and checked it */
    _Atomic uint32_t stop;
    _Atomic uint32_t failed;
    char message[512]; /* of the first that failed */
};

struct torture {
    struct torture_shared *shared;
    const char *directory;
    struct kit_random random;
    uint64_t lease_limit_ms;
};

/* Says what is wrong, once, and returns false. */
bool torture_fail(struct torture *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One life of the writer: opens the pond, compares all of it with what was acknowledged, then
 * changes it until it is told to stop. False: something was wrong. */
bool torture_write(struct torture *t);
/* Opens the pond, compares, lets everything end that can, and runs the checker. */
bool torture_examine(struct torture *t);
/* One life of a reader. `pond` NULL: opens one. */
bool torture_read(struct torture *t, struct sp_pond *pond);

/* One life of a writer, or of a reader, in a child that ends with this process; its exit status is
 * 0 if nothing was wrong. `failpoint` NULL: none. */
pid_t torture_start(struct torture *t, bool writer, const char *failpoint);

/* The cache: opening it, some writes, some reads; and whether all is there that was acknowledged.
 */
struct cache;
int torture_cache_open(struct torture *t, struct store *store, struct cache **out);
bool torture_cache_write(struct torture *t, struct cache *cache);
bool torture_cache_read(struct torture *t, struct sp_pond *pond);
bool torture_cache_compare(struct torture *t, struct sp_pond *pond);

#endif
