/* SPDX-License-Identifier: Apache-2.0
 *
 * source_pg_fixture.h - a PostgreSQL source on the server of pg_server.py, for tests with cmocka.
 */
#ifndef SIDEPOND_TESTS_SOURCE_PG_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_PG_FIXTURE_H

#include <libpq-fe.h>

#include "source_record.h"

struct fixture {
    PGconn *admin;
    char dsn[512]; /* as the superuser, over the socket */
    const struct source_class *class;
    struct source_options options;
    struct source *source;
    struct source_error error;
    struct source_record record;
};

/* pause, resume, crash, start: a verb of pg_server.py. */
void server(const char *verb);

/* Connects the superuser anew. */
void admin_connect(struct fixture *f);

/* As the superuser; fails the test on an error. */
void sql(struct fixture *f, const char *statements);
long sql_long(struct fixture *f, const char *query);

/* Ends the test as skipped where the server is older: 150000 is PostgreSQL 15. */
void need_server(struct fixture *f, int version);

/* For each test: an empty schema public, and no source. */
int pg_setup(void **state);
void close_source(struct fixture *f);
int pg_teardown(void **state);

/* Fails the test with the error's text. */
void must(struct fixture *f, int status);

/* Opens f->source if it is not open. */
void open_source(struct fixture *f);

/* Reads a whole table into f->record. */
int read_table(struct fixture *f, const struct source_table *table, const struct sp_value *since);

/* What is read, described or refused must be exactly this text. */
void expect_since(struct fixture *f, const struct source_table *table, const struct sp_value *since,
                  const char *rows);
void expect_rows(struct fixture *f, const struct source_table *table, const char *rows);
void expect_description(struct fixture *f, const struct source_table *table, const char *text);
void expect_error(struct fixture *f, const struct source_table *table, int status,
                  const char *text);

/* Opening must fail, as transient, with this in the text. */
void expect_open_error(struct fixture *f, const char *dsn, const char *password, const char *text);
void sleep_ms(long ms);

/* For each program: the role "reader". */
int pg_make_reader(void **state);

#define PG_TEST(name) cmocka_unit_test_setup_teardown(name, pg_setup, pg_teardown)

#endif
