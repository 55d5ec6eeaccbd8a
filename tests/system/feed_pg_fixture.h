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

#include "source_feed_fixture.h"
#include "source_pg_fixture.h"

/* For each program: the role "reader", wal_level, and a restart. */
int feed_pg_group_setup(void **state);
int feed_pg_setup(void **state);
int feed_pg_teardown(void **state);

/* A table to follow, before feed_check. */
struct source_table *feed_table(struct feed_fixture *x, const char *name, const char *const *key);

/* Until all that was committed is delivered. */
void feed_sync(struct feed_fixture *x);

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, feed_pg_setup, feed_pg_teardown)

#endif
