/* SPDX-License-Identifier: Apache-2.0
 *
 * database.h - databases that hold the rows of rows.h: an SQLite file, and a PostgreSQL server of
 * our own (tests/system/pg_server.py).
 *
 * The table is t (k text primary key, v bytes), generation 0; with `changed` it has a third column
 * of that name, an indexed integer, at first the row's number.
 */
#ifndef SIDEPOND_BENCH_DATABASE_H
#define SIDEPOND_BENCH_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>
#include <sqlite3.h>

/* Makes the file, in WAL mode. */
void sqlite_make(const char *path, uint32_t rows, bool changed);
sqlite3 *sqlite_connect(const char *path);
void sqlite_do(sqlite3 *db, const char *sql);
/* Reads both columns of all rows and does nothing with them; how many bytes. */
uint64_t sqlite_read_all(sqlite3 *db);

/* Runs this program again with a server beside it, unless it is there: returns in that one only.
 * Ends with status 77 where PostgreSQL is not installed. */
void postgresql_need(char **argv);
const char *postgresql_dsn(void);
PGconn *postgresql_connect(void);
void postgresql_do(PGconn *conn, const char *sql);
/* Makes the table `name`. */
void postgresql_make(PGconn *conn, const char *name, uint32_t rows, bool changed);
/* Reads both columns of all rows by COPY in binary form; how many bytes. */
uint64_t postgresql_read_all(PGconn *conn, const char *name);

#endif
