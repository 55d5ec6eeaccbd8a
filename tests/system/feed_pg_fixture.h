/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_pg_fixture.h - PostgreSQL's change feed on the server of pg_server.py, for tests with
 * cmocka.
 *
 * The last of the tables is always "marker", of one row: feed_sync() writes it and reads the feed
 * until that is there, and so all that was committed before.
 */
#ifndef SIDEPOND_TESTS_FEED_PG_FIXTURE_H
#define SIDEPOND_TESTS_FEED_PG_FIXTURE_H

#include "feed_model.h"
#include "source_pg_fixture.h"

struct feed_fixture {
    struct fixture *f;
    const struct source_feed_class *class;
    struct source_feed_options options;
    struct source_table tables[FEED_MODEL_TABLES];
    struct source_description descriptions[FEED_MODEL_TABLES];
    unsigned count;
    struct feed_model model;
    struct source_feed_sink sink;
    char stream[FEED_STREAM_BYTES];
    char position[FEED_POSITION_BYTES]; /* of the last snapshot() */
    long marker;
};

extern const char *const feed_key_id[]; /* {"id", NULL} */

/* wal_level, and a restart; checks on the way that without it the feed says so. */
int feed_pg_group_setup(void **state);
int feed_pg_setup(void **state);
int feed_pg_teardown(void **state);

/* A table to follow, before feed_check. */
struct source_table *feed_table(struct feed_fixture *x, const char *name, const char *const *key);

int feed_check(struct feed_fixture *x); /* opens, describes, checks */

/* The feed must refuse with exactly this text. */
void feed_expect_refusal(struct feed_fixture *x, const char *text);

void feed_snapshot(struct feed_fixture *x); /* snapshot, stream all into an empty model, end */
void feed_start(struct feed_fixture *x);
void feed_begin(struct feed_fixture *x);  /* check, snapshot, start */
void feed_reopen(struct feed_fixture *x); /* as after a restart: at the last position reached */
int feed_next(struct feed_fixture *x, uint32_t timeout_ms);
void feed_sync(struct feed_fixture *x);

/* Model and database must be the same now, row by row, and the feed have done nothing odd. */
void feed_expect_same(struct feed_fixture *x);

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, feed_pg_setup, feed_pg_teardown)

#endif
