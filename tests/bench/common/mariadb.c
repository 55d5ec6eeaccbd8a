/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb.c - filling and reading a table of MariaDB.
 */
#include "mariadb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "rows.h"

#define ROWS_OF_AN_INSERT 500
#define ROW_TEXT_BYTES    (ROWS_KEY_BYTES + 2 * ROWS_VALUE_BYTES + 16)

const char *mariadb_uri(void)
{
    return getenv("SIDEPOND_MARIADB_URI");
}

void mariadb_need(char **argv)
{
    if (!mariadb_uri())
        bench_run_under("mariadb_server.py", "run", argv);
}

MYSQL *mariadb_connect_root(void)
{
    const char *path = strstr(mariadb_uri(), "socket=");
    MYSQL *conn = mysql_init(NULL);
    if (!path || !conn)
        bench_die("MariaDB: no socket in %s", mariadb_uri());
    mysql_optionsv(conn, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (!mysql_real_connect(conn, "localhost", "root", NULL, "shop", 0, path + strlen("socket="),
                            0))
        bench_die("MariaDB: %s", mysql_error(conn));
    return conn;
}

void mariadb_do(MYSQL *conn, const char *sql)
{
    if (mysql_query(conn, sql) != 0)
        bench_die("MariaDB: %s", mysql_error(conn));
    mysql_free_result(mysql_store_result(conn));
}

static char *put_row(char *at, uint32_t number)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char value[ROWS_VALUE_BYTES];
    rows_value(number, 0, value, sizeof(value));
    memcpy(at, "('", 2);
    at += 2;
    rows_key(number, at);
    at += ROWS_KEY_BYTES;
    memcpy(at, "',x'", 4);
    at += 4;
    for (unsigned i = 0; i < sizeof(value); i++) {
        *at++ = digits[value[i] >> 4];
        *at++ = digits[value[i] & 15];
    }
    memcpy(at, "'),", 3);
    return at + 3;
}

static void insert_rows(MYSQL *conn, const char *name, uint32_t first, uint32_t end)
{
    static char sql[ROWS_OF_AN_INSERT * ROW_TEXT_BYTES + 64];
    char *at = sql + snprintf(sql, sizeof(sql), "INSERT INTO %s (k, v) VALUES ", name);
    for (uint32_t i = first; i < end; i++)
        at = put_row(at, i);
    at[-1] = 0;
    mariadb_do(conn, sql);
}

void mariadb_make(MYSQL *conn, const char *name, uint32_t rows)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "CREATE TABLE %s (k varchar(24) NOT NULL PRIMARY KEY, v varbinary(%u) NOT NULL)", name,
             ROWS_VALUE_BYTES);
    mariadb_do(conn, sql);
    mariadb_do(conn, "SET SESSION sql_log_bin = 0");
    mariadb_do(conn, "BEGIN");
    for (uint32_t i = 0; i < rows; i += ROWS_OF_AN_INSERT)
        insert_rows(conn, name, i, i + ROWS_OF_AN_INSERT < rows ? i + ROWS_OF_AN_INSERT : rows);
    mariadb_do(conn, "COMMIT");
    snprintf(sql, sizeof(sql), "ANALYZE TABLE %s", name);
    mariadb_do(conn, sql);
}

uint64_t mariadb_read_all(MYSQL *conn, const char *name)
{
    char sql[128];
    uint64_t bytes = 0;
    snprintf(sql, sizeof(sql), "SELECT k, v FROM %s", name);
    if (mysql_query(conn, sql) != 0)
        bench_die("MariaDB: %s", mysql_error(conn));
    MYSQL_RES *result = mysql_use_result(conn);
    while (result && mysql_fetch_row(result)) {
        const unsigned long *lengths = mysql_fetch_lengths(result);
        bytes += lengths[0] + lengths[1];
    }
    if (!result || mysql_errno(conn) != 0)
        bench_die("MariaDB: %s", mysql_error(conn));
    mysql_free_result(result);
    return bytes;
}
