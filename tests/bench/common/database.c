/* SPDX-License-Identifier: Apache-2.0
 *
 * database.c - filling and reading the databases that ponds are loaded from.
 */
#include "database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "rows.h"

/* --- SQLite --------------------------------------------------------------------------------- */

static void sqlite_must(sqlite3 *db, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        bench_die("SQLite: %s", sqlite3_errmsg(db));
}

void sqlite_do(sqlite3 *db, const char *sql)
{
    sqlite_must(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

sqlite3 *sqlite_connect(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK)
        bench_die("SQLite: %s cannot be opened", path);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static void sqlite_fill(sqlite3 *db, uint32_t rows)
{
    sqlite3_stmt *insert;
    char key[ROWS_KEY_BYTES];
    char value[ROWS_VALUE_BYTES];
    sqlite_must(db,
                sqlite3_prepare_v2(db, "INSERT INTO t (k, v) VALUES (?1, ?2)", -1, &insert, NULL));
    for (uint32_t i = 0; i < rows; i++) {
        rows_key(i, key);
        rows_value(i, 0, value, sizeof(value));
        sqlite3_bind_text(insert, 1, key, sizeof(key), SQLITE_STATIC);
        sqlite3_bind_blob(insert, 2, value, sizeof(value), SQLITE_STATIC);
        sqlite_must(db, sqlite3_step(insert));
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
}

void sqlite_make(const char *path, uint32_t rows, bool changed)
{
    sqlite3 *db = sqlite_connect(path);
    sqlite_do(db,
              "PRAGMA synchronous = off; PRAGMA journal_mode = wal; PRAGMA cache_size = -65536; "
              "BEGIN; CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v BLOB NOT NULL)");
    if (changed)
        sqlite_do(db, "ALTER TABLE t ADD COLUMN changed INTEGER NOT NULL DEFAULT 0");
    sqlite_fill(db, rows);
    if (changed)
        sqlite_do(db, "UPDATE t SET changed = rowid - 1; CREATE INDEX t_changed ON t (changed)");
    sqlite_do(db, "COMMIT; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(db);
}

uint64_t sqlite_read_all(sqlite3 *db)
{
    sqlite3_stmt *select;
    uint64_t bytes = 0;
    int rc;
    sqlite_must(db, sqlite3_prepare_v2(db, "SELECT k, v FROM t", -1, &select, NULL));
    while ((rc = sqlite3_step(select)) == SQLITE_ROW) {
        for (int column = 0; column < 2; column++)
            if (sqlite3_column_blob(select, column))
                bytes += (uint64_t)sqlite3_column_bytes(select, column);
    }
    sqlite_must(db, rc);
    sqlite3_finalize(select);
    return bytes;
}

/* --- PostgreSQL ----------------------------------------------------------------------------- */

const char *postgresql_dsn(void)
{
    return getenv("SIDEPOND_PG_DSN");
}

void postgresql_need(char **argv)
{
    if (!postgresql_dsn())
        bench_run_under("pg_server.py", "run", argv);
}

PGconn *postgresql_connect(void)
{
    PGconn *conn = PQconnectdb(postgresql_dsn());
    if (PQstatus(conn) != CONNECTION_OK)
        bench_die("PostgreSQL: %s", PQerrorMessage(conn));
    return conn;
}

static void postgresql_must(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted)
        bench_die("PostgreSQL: %s", PQerrorMessage(conn));
    PQclear(result);
}

void postgresql_do(PGconn *conn, const char *sql)
{
    postgresql_must(conn, PQexec(conn, sql), PGRES_COMMAND_OK);
}

static void put_row(PGconn *conn, uint32_t number)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char value[ROWS_VALUE_BYTES];
    char line[ROWS_KEY_BYTES + 2 * ROWS_VALUE_BYTES + 8];
    rows_key(number, line);
    rows_value(number, 0, value, sizeof(value));
    char *at = line + ROWS_KEY_BYTES;
    memcpy(at, "\t\\\\x", 4);
    at += 4;
    for (unsigned i = 0; i < sizeof(value); i++) {
        *at++ = digits[value[i] >> 4];
        *at++ = digits[value[i] & 15];
    }
    *at++ = '\n';
    if (PQputCopyData(conn, line, (int)(at - line)) != 1)
        bench_die("PostgreSQL: %s", PQerrorMessage(conn));
}

void postgresql_make(PGconn *conn, const char *name, uint32_t rows, bool changed)
{
    char sql[256];
    if (changed)
        postgresql_do(conn, "CREATE SEQUENCE numbers MINVALUE 0");
    snprintf(sql, sizeof(sql), "CREATE TABLE %s (k text NOT NULL, v bytea NOT NULL%s)", name,
             changed ? ", changed bigint NOT NULL DEFAULT nextval('numbers')" : "");
    postgresql_do(conn, sql);
    snprintf(sql, sizeof(sql), "COPY %s (k, v) FROM STDIN", name);
    postgresql_must(conn, PQexec(conn, sql), PGRES_COPY_IN);
    for (uint32_t i = 0; i < rows; i++)
        put_row(conn, i);
    if (PQputCopyEnd(conn, NULL) != 1)
        bench_die("PostgreSQL: %s", PQerrorMessage(conn));
    postgresql_must(conn, PQgetResult(conn), PGRES_COMMAND_OK);
    PQclear(PQgetResult(conn));
    snprintf(sql, sizeof(sql), "ALTER TABLE %s ADD PRIMARY KEY (k)", name);
    postgresql_do(conn, sql);
    snprintf(sql, sizeof(sql), "CREATE INDEX ON %s (changed)", name);
    if (changed)
        postgresql_do(conn, sql);
    snprintf(sql, sizeof(sql), "VACUUM ANALYZE %s", name);
    postgresql_do(conn, sql);
}

uint64_t postgresql_read_all(PGconn *conn, const char *name)
{
    char sql[128];
    char *row;
    int size;
    uint64_t bytes = 0;
    snprintf(sql, sizeof(sql), "COPY (SELECT k, v FROM %s) TO STDOUT (FORMAT binary)", name);
    postgresql_must(conn, PQexec(conn, sql), PGRES_COPY_OUT);
    while ((size = PQgetCopyData(conn, &row, 0)) > 0) {
        bytes += (uint64_t)size;
        PQfreemem(row);
    }
    postgresql_must(conn, PQgetResult(conn), PGRES_COMMAND_OK);
    PQclear(PQgetResult(conn));
    return bytes;
}
