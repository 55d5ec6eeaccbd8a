/* SPDX-License-Identifier: Apache-2.0
 *
 * source_pg_fixture.h - a PostgreSQL source on the server of pg_server.py, for tests with cmocka.
 */
#ifndef SIDEPOND_TESTS_SOURCE_PG_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_PG_FIXTURE_H

#include <libpq-fe.h>

#include "source_server_fixture.h"

/* For each test: an empty schema public, and no source. f->admin is a PGconn of the superuser. */
int pg_setup(void **state);
int pg_teardown(void **state);

/* Statements on a connection of their own, outside of a test. */
int pg_run(const char *statements);

/* For each program: the role "reader". */
int pg_make_reader(void **state);

#define PG_TEST(name) cmocka_unit_test_setup_teardown(name, pg_setup, pg_teardown)

#endif
