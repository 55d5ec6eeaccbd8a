/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb.h - the rows of rows.h in a MariaDB server of our own (tests/system/mariadb_server.py),
 * as database.h has them for other databases.
 */
#ifndef SIDEPOND_BENCH_MARIADB_H
#define SIDEPOND_BENCH_MARIADB_H

#include <stdint.h>

#include <mysql.h>

/* Runs this program again with a server beside it, unless it is there: returns in that one only.
 * Ends with status 77 where MariaDB is not installed. */
void mariadb_need(char **argv);
const char *mariadb_uri(void);
MYSQL *mariadb_connect_root(void);
void mariadb_do(MYSQL *conn, const char *sql);
/* Makes the table `name`. */
void mariadb_make(MYSQL *conn, const char *name, uint32_t rows);
/* Reads both columns of all rows unbuffered; how many bytes. */
uint64_t mariadb_read_all(MYSQL *conn, const char *name);

#endif
