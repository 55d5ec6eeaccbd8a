/* SPDX-License-Identifier: Apache-2.0
 *
 * source_mariadb_fixture.h - a MariaDB source on the server of mariadb_server.py, for tests with
 * cmocka.
 */
#ifndef SIDEPOND_TESTS_SOURCE_MARIADB_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_MARIADB_FIXTURE_H

#include <mysql.h>

#include "source_record.h"

struct fixture {
    MYSQL *admin;
    char uri[512];    /* as root, over the socket */
    char reader[512]; /* as "reader", the same way; its password is "open sesame" */
    const struct source_class *class;
    struct source_options options;
    struct source *source;
    struct source_error error;
    struct source_record record;
};

/* pause, resume, crash, start: a verb of mariadb_server.py. */
void server(const char *verb);

/* The server's socket, from the URI. */
const char *server_socket(const struct fixture *f);

/* Connects root anew. */
void admin_connect(struct fixture *f);

/* As root, statements with ";\n" between; fails the test on an error. */
void sql(struct fixture *f, const char *statements);
long sql_long(struct fixture *f, const char *query);

/* For each test: an empty database "shop", the user "reader" without rights, and no source. */
int mariadb_setup(void **state);
void close_source(struct fixture *f);
int mariadb_teardown(void **state);

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

#define MARIADB_TEST(name) cmocka_unit_test_setup_teardown(name, mariadb_setup, mariadb_teardown)

#endif
