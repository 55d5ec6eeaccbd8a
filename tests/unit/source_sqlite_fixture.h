/* SPDX-License-Identifier: Apache-2.0
 *
 * source_sqlite_fixture.h - a SQLite source on a file in a directory of its own, for tests with
 * cmocka.
 */
#ifndef SIDEPOND_TESTS_SOURCE_SQLITE_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_SQLITE_FIXTURE_H

#include <sqlite3.h>

#include "source_fixture.h"

/* Opens f->path anew as f->admin, a sqlite3 that writes. */
void sqlite_connect(struct fixture *f);

/* For each test: an empty file in WAL mode at f->path, and no source. */
int sqlite_setup(void **state);
int sqlite_teardown(void **state);

/* The same for a struct fixture within a larger one. */
void sqlite_make(struct fixture *f);
void sqlite_remove(struct fixture *f);

#define SQLITE_TEST(name) cmocka_unit_test_setup_teardown(name, sqlite_setup, sqlite_teardown)

#endif
