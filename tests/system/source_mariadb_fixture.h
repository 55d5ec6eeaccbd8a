/* SPDX-License-Identifier: Apache-2.0
 *
 * source_mariadb_fixture.h - a MariaDB source on the server of mariadb_server.py, for tests with
 * cmocka.
 */
#ifndef SIDEPOND_TESTS_SOURCE_MARIADB_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_MARIADB_FIXTURE_H

#include <mysql.h>

#include "source_server_fixture.h"

/* The server's socket, from the URI. */
const char *server_socket(const struct fixture *f);

/* The first row of an answer: its first value, or "". */
void sql_text(struct fixture *f, const char *query, char *text, size_t cap);

/* For each test: an empty database "shop", the user "reader" without rights, whose password is
 * "open sesame", and no source. f->admin is a MYSQL of root. */
int mariadb_setup(void **state);
int mariadb_teardown(void **state);

#define MARIADB_TEST(name) cmocka_unit_test_setup_teardown(name, mariadb_setup, mariadb_teardown)

#endif
