/* SPDX-License-Identifier: Apache-2.0
 *
 * source_server_fixture.h - a source on a real server, for tests with cmocka.
 *
 * A program runs under pg_server.py or mariadb_server.py, which start a server for it alone, and
 * links source_pg_fixture.c or source_mariadb_fixture.c, which say what differs.
 */
#ifndef SIDEPOND_TESTS_SOURCE_SERVER_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_SERVER_FIXTURE_H

#include "source_fixture.h"

/* --- of the database's fixture -------------------------------------------------------------- */

/* Queries whose answer is rows without end, and one that is long in coming; how many sessions the
 * source has; and how the error begins where the server does not run. */
extern const char server_endless[], server_sleepy[], server_sessions[], server_is_gone[];

/* The variables that its script sets begin so. */
extern const char server_variables[];

/* Connects the administrator anew. */
void admin_connect(struct fixture *f);
long sql_long(struct fixture *f, const char *query);

/* A table "big" of id and s, 100 bytes; one that need not survive a crash is made faster. */
void make_big(struct fixture *f, long rows, bool is_lasting);

/* --- of all --------------------------------------------------------------------------------- */

/* pause, resume, crash, start: a verb of the script. */
void server(const char *verb);

/* Opening must fail, as transient, with this in the text. */
void expect_open_error(struct fixture *f, const char *dsn, const char *password, const char *text);

#endif
