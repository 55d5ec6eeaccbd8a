/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the SQLite source delivers what is in the file, exactly, and says clearly what it cannot.
 * Method: each test makes a database file in a directory of its own, reads it through the source
 * and compares the rows as text; changes come from a second connection. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "source_sqlite_fixture.h"

/* --- types ---------------------------------------------------------------------------------- */

static void test_declared_types(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT NOT NULL, b BIGINT, c BOOLEAN, d REAL,"
           " e DOUBLE PRECISION, f NUMERIC, g DECIMAL(10, 2), h TEXT, i VARCHAR(20) NOT NULL,"
           " j BLOB, k DATE, l DATETIME, m TIMESTAMP, n JSON, o UUID, p, q geometry,"
           " r unsigned big int, s timestamp with time zone, u POINT)");
    expect_description(f, &table,
                       "id int64 INTEGER not-null\na int64 INT not-null\nb int64 BIGINT\n"
                       "c bool BOOLEAN\nd float64 REAL\ne float64 DOUBLE PRECISION\n"
                       "f numeric NUMERIC\ng numeric DECIMAL(10, 2)\nh text TEXT\n"
                       "i text VARCHAR(20) not-null\nj bytes BLOB\nk date DATE\n"
                       "l datetime DATETIME\nm timestamp TIMESTAMP\nn json JSON\no uuid UUID\n"
                       "p text \nq text geometry as-text\nr int64 unsigned big int\n"
                       "s timestamp timestamp with time zone\nu text POINT as-text\n");
}

static void test_values(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f,
        "CREATE TABLE t (i INT, r REAL, b BOOLEAN, n NUMERIC, s TEXT, y BLOB, j JSON, u UUID);"
        "INSERT INTO t VALUES (9223372036854775807, 0.1, 1, '12.50', 'caf' || char(233), x'00ff',"
        " '{\"a\": [1, null]}', '00112233-4455-6677-8899-AABBCCDDEEFF'),"
        "(-9223372036854775807 - 1, -1e300, 0, 12345678901234567, '', x'', '7',"
        " x'00112233445566778899aabbccddeeff'),"
        "(0, 9e999, 'true', 0.1, x'c3a9', 'text', 1.5, NULL),"
        "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),"
        "('42', 3, 'F', -1e20, 42, x'01', '\"x\"', NULL),"
        "(7.0, '2.5', 0.0, '1e400', 0.30000000000000004, '', 'null', NULL)");
    expect_rows(f, &table,
                "9223372036854775807|0.1|true|12.5|caf\xc3\xa9|\\x00ff|{\"a\": [1, null]}|"
                "00112233-4455-6677-8899-aabbccddeeff\n"
                "-9223372036854775808|-1e+300|false|12345678901234567||\\x|7|"
                "00112233-4455-6677-8899-aabbccddeeff\n"
                "0|Infinity|true|0.1|\xc3\xa9|\\x74657874|1.5|<null>\n"
                "<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>\n"
                "42|3.0|false|-1e+20|42|\\x01|\"x\"|<null>\n"
                "7|2.5|false|Infinity|0.3|\\x|null|<null>\n");
}

/* A zero byte is a character of UTF-8 like any other. */
static void test_zero_in_text(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (s TEXT); INSERT INTO t VALUES ('a' || char(0) || 'b')");
    open_source(f);
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    assert_int_equal(f->record.bytes, 3);
    assert_memory_equal(f->record.text, "a\0b\n", 4);
}

/* What would lose something is a bad row, named by its column; the other columns are there. */
static void test_bad_rows(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, i INT, r REAL, b BOOLEAN, n NUMERIC, s TEXT,"
           " y BLOB, d DATE, l DATETIME, j JSON, u UUID);"
           "INSERT INTO t (id, i) VALUES (1, 1.5), (2, 'x'), (3, x'00');"
           "INSERT INTO t (id, r) VALUES (4, 'x'), (5, x'00');"
           "INSERT INTO t (id, b) VALUES (6, 2), (7, 'maybe');"
           "INSERT INTO t (id, n) VALUES (8, 'x'), (9, x'01');"
           "INSERT INTO t (id, s) VALUES (10, CAST(x'ff' AS TEXT)), (11, x'c0');"
           "INSERT INTO t (id, y) VALUES (12, 1);"
           "INSERT INTO t (id, d) VALUES (13, '2026-02-30'), (14, 3600), (15, '2026-01-01 10:00');"
           "INSERT INTO t (id, l) VALUES (16, '10:00'), (17, 1700000000000), (18, 9e300),"
           " (19, x'00');"
           "INSERT INTO t (id, j) VALUES (20, '{'), (21, 9e999);"
           "INSERT INTO t (id, u) VALUES (22, 'x'), (23, x'00'), (24, 5);"
           "INSERT INTO t (id, i, s) VALUES (25, 'x', CAST(x'ff' AS TEXT))");
    open_source(f);
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    assert_int_equal(f->record.row_count, 0);
    assert_int_equal(f->record.bad_count, 25);
    static const char *const expected[] = {
        "bad 1: a real number in a column of integers: 1|",
        "bad 1: text that is not an integer: 2|",
        "bad 1: a BLOB in a column of integers: 3|",
        "bad 2: text that is not a number: 4|",
        "bad 2: a BLOB in a column of reals: 5|",
        "bad 3: not 0 or 1 in a column of booleans: 6|",
        "bad 3: text that is not true or false: 7|",
        "bad 4: text that is not a number: 8|",
        "bad 4: a BLOB in a column of numbers: 9|",
        "bad 5: text that is not UTF-8: 10|",
        "bad 5: a BLOB that is not UTF-8 text: 11|",
        "bad 6: a number in a column of bytes: 12|",
        "bad 7: text that is not a date: 13|",
        "bad 7: a time of day in a column of dates: 14|",
        "bad 7: a time of day in a column of dates: 15|",
        "bad 8: text that is not a time: 16|",
        "bad 8: an integer that is not a time in seconds since 1970: 17|",
        "bad 8: a real number that is no time: 18|",
        "bad 8: a BLOB in a column of times: 19|",
        "bad 9: text that is not JSON: 20|",
        "bad 9: an infinity in a column of JSON: 21|",
        "bad 10: text that is not a UUID: 22|",
        "bad 10: a BLOB that has not the 16 bytes of a UUID: 23|",
        "bad 10: a number in a column of UUIDs: 24|",
        "bad 1: text that is not an integer: 25|<null>|<null>|<null>|<null>|<null>|",
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
        if (!strstr(f->record.text, expected[i]))
            fail_msg("no \"%s\" in:\n%s", expected[i], f->record.text);
}

/* INTEGER PRIMARY KEY DESC is not the rowid, and may hold NULL. */
static void test_null_in_not_null(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, a); INSERT INTO t VALUES (NULL, 1)");
    expect_rows(f, &table, "bad 0: NULL in a column that is declared not to have it: <null>|1\n");
}

static void test_not_null(void **state)
{
    struct fixture *f = *state;
    const struct source_table tables[] = {
        {.name = "a", .relation = "a"},
        {.name = "b", .relation = "b"},
        {.name = "c", .relation = "c"},
        {.name = "v", .relation = "v"},
        {.name = "q", .query = "SELECT a.x, b.y FROM a LEFT JOIN b ON a.x = b.x"},
    };
    sql(f, "CREATE TABLE a (x TEXT PRIMARY KEY, y INT NOT NULL);"
           "CREATE TABLE b (x TEXT, y INT NOT NULL, PRIMARY KEY (x, y)) WITHOUT ROWID;"
           "CREATE TABLE c (x INTEGER, y INTEGER, PRIMARY KEY (x, y));"
           "CREATE VIEW v AS SELECT y FROM a");
    expect_description(f, &tables[0], "x text TEXT\ny int64 INT not-null\n");
    expect_description(f, &tables[1], "x text TEXT not-null\ny int64 INT not-null\n");
    expect_description(f, &tables[2], "x int64 INTEGER\ny int64 INTEGER\n");
    expect_description(f, &tables[3], "y int64 INT\n");
    expect_description(f, &tables[4], "x text TEXT\ny int64 INT\n");
}

static void test_utf16_database(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    unlink(f->path);
    sqlite_connect(f);
    sql(f,
        "PRAGMA encoding = 'UTF-16be';"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, u UUID, d DATE, y BLOB);"
        "INSERT INTO t VALUES (1, 'caf' || char(233) || char(128512),"
        " '00112233-4455-6677-8899-aabbccddeeff', '2026-01-02', x'00'), (2, '', NULL, NULL, '')");
    expect_rows(f, &table,
                "1|caf\xc3\xa9\xf0\x9f\x98\x80|00112233-4455-6677-8899-aabbccddeeff|2026-01-02|"
                "\\x00\n2||<null>|<null>|\\x\n");
}

static void test_times(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (d DATE, l DATETIME, z TIMESTAMP);"
           "INSERT INTO t VALUES ('2026-02-28', '2026-02-28 12:30:00', '2026-02-28T12:30:00Z'),"
           "(86400, 0, 1700000000), (2440588.5, 2440587.5, 2460000.25),"
           "('2024-02-29 00:00:00', '2026-01-01T01:00:00+02:00', '2026-01-01 00:00:00.123456'),"
           "('0001-01-01', '2026-01-01 00:00:00.500 +00:00', '2026-01-01 10:00-05:00'),"
           "('-infinity', 'infinity', '9999-12-31 23:59:59.999999'),"
           "(-86400, -1, -1.5), (NULL, NULL, NULL), (NULL, 1700000000.25, 2440588.0)");
    expect_rows(f, &table,
                "2026-02-28|2026-02-28T12:30:00|2026-02-28T12:30:00Z\n"
                "1970-01-02|1970-01-01T00:00:00|2023-11-14T22:13:20Z\n"
                "1970-01-02|1970-01-01T00:00:00|2023-02-24T18:00:00Z\n"
                "2024-02-29|2025-12-31T23:00:00|2026-01-01T00:00:00.123456Z\n"
                "0001-01-01|2026-01-01T00:00:00.500000|2026-01-01T15:00:00Z\n"
                "-infinity|infinity|9999-12-31T23:59:59.999999Z\n"
                "1969-12-31|1969-12-31T23:59:59|1969-12-31T23:59:58.500000Z\n"
                "<null>|<null>|<null>\n"
                /* SQLite stores a whole Julian day as an integer: seconds */
                "<null>|2023-11-14T22:13:20.250000|1970-01-29T05:56:28Z\n");
}

/* --- what is asked for ---------------------------------------------------------------------- */

static void test_columns_where_key(void **state)
{
    struct fixture *f = *state;
    const char *const columns[] = {"name", "id", NULL};
    const char *const key[] = {"id", NULL};
    const struct source_table table = {.name = "users",
                                       .relation = "we`ird \"users\"",
                                       .columns = columns,
                                       .where = "id > 1 -- not the first",
                                       .key = key};
    sql(f,
        "CREATE TABLE \"we`ird \"\"users\"\"\" (id INTEGER PRIMARY KEY, email, name);"
        "INSERT INTO \"we`ird \"\"users\"\"\" VALUES (1, 'a', 'A'), (2, 'b', 'B'), (3, 'c', 'C')");
    expect_rows(f, &table, "B|2\nC|3\n");
}

static void test_query(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, born TEXT);"
           "INSERT INTO t VALUES (1, 2, '2000-02-29'), (2, 3, NULL)");
    open_source(f);
    const struct source_table bad = {.name = "q", .query = "SELECT 1; DROP TABLE t"};
    expect_error(f, &bad, SP_ECONFIG, "table q: near \";\": syntax error");
    const struct source_table good = {
        .name = "q",
        .query = "SELECT id, count(*) AS n, CAST(sum(x) AS INTEGER) AS total, CAST(x AS REAL) AS r,"
                 " born AS \"born [date]\", lower('AB') FROM t GROUP BY id ORDER BY id -- all",
    };
    expect_description(f, &good,
                       "id int64 INTEGER\nn text \ntotal int64 INT\nr float64 REAL\n"
                       "born date date\nlower('AB') text \n");
    expect_rows(f, &good, "1|1|2|2.0|2000-02-29|ab\n2|1|3|3.0|<null>|ab\n");
}

static void test_wrong_names(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE users (id INTEGER PRIMARY KEY, email, name, ok BOOLEAN)");
    expect_unknown_columns(f, "id, email, name, ok");
    struct source_table table = {.name = "u", .relation = "usersx"};
    expect_error(f, &table, SP_ECONFIG, "table u: no such table: usersx");
    table = (struct source_table){.name = "u", .relation = "users", .watermark = "ok"};
    expect_error(f, &table, SP_ECONFIG, "table u: column ok of type BOOLEAN cannot be a watermark");
    table = (struct source_table){.name = "u", .relation = "users", .where = "nope = 1"};
    expect_error(f, &table, SP_ECONFIG, "table u: no such column: nope");
    table = (struct source_table){.name = "u", .query = "DELETE FROM users"};
    expect_error(f, &table, SP_ECONFIG, "table u: near \"DELETE\": syntax error");
}

static void test_estimates(void **state)
{
    struct fixture *f = *state;
    struct source_description d;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT);"
           "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000)"
           " INSERT INTO t SELECT i, printf('%092d', i) FROM c; PRAGMA wal_checkpoint(TRUNCATE)");
    open_source(f);
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_int_equal(d.row_estimate, 20000);
    assert_int_equal(d.byte_estimate, 2000000);
    source_description_free(&d);
    sql(f, "INSERT INTO t VALUES (1000000000000, 'far')");
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_int_equal(d.row_estimate, -1);
    source_description_free(&d);
    sql(f, "ANALYZE");
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_int_equal(d.row_estimate, 20001);
    source_description_free(&d);
}

/* --- files ---------------------------------------------------------------------------------- */

static void expect_file_error(struct fixture *f, const char *path, const char *text)
{
    struct source_options options = f->options;
    struct source *source = NULL;
    options.path = path;
    assert_int_equal(f->class->open(&options, &source, &f->error), SP_ESOURCE);
    assert_null(source);
    if (!strstr(f->error.text, text))
        fail_msg("no \"%s\" in: %s", text, f->error.text);
}

static void test_wrong_files(void **state)
{
    struct fixture *f = *state;
    char path[600], text[700];
    snprintf(path, sizeof(path), "%s.new", f->path);
    snprintf(text, sizeof(text), "source app: there is no file %s", path);
    expect_file_error(f, path, text);
    assert_int_equal(access(path, F_OK), -1);
    expect_file_error(f, ":memory:", "there is no file :memory:");
    expect_file_error(f, "/", "is not a file");
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("not a database\n", file);
    fclose(file);
    expect_file_error(f, path, "file is not a database");
    assert_false(f->error.transient);
}

static void test_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "q", .query = "SELECT id FROM t"};
    sql(f, "PRAGMA journal_mode = DELETE; CREATE TABLE t (id INTEGER PRIMARY KEY);"
           "INSERT INTO t VALUES (1)");
    struct stat before, after;
    assert_int_equal(stat(f->path, &before), 0);
    expect_rows(f, &table, "1\n");
    assert_int_equal(stat(f->path, &after), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    assert_int_equal(before.st_size, after.st_size);
}

/* A new file renamed over the old one is read from the next begin on. */
static void test_file_replaced(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    char path[600];
    bool changed;
    sqlite3 *other;
    sql(f, "PRAGMA journal_mode = DELETE; CREATE TABLE t (a INT); INSERT INTO t VALUES (1)");
    expect_rows(f, &table, "1\n");
    must(f, f->class->listen(f->source, &table, 1, &f->error));
    snprintf(path, sizeof(path), "%s.new", f->path);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    sqlite3_exec(other, "CREATE TABLE t (a INT); INSERT INTO t VALUES (2)", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_int_equal(rename(path, f->path), 0);
    must(f, f->class->wait(f->source, 5000, &changed, &f->error));
    assert_true(changed);
    expect_rows(f, &table, "2\n");
    must(f, f->class->wait(f->source, 0, &changed, &f->error));
    assert_false(changed);
    assert_int_equal(unlink(f->path), 0);
    expect_rows(f, &table, "2\n"); /* gone is not replaced: what is open is read */
}

/* --- snapshots and changes ------------------------------------------------------------------ */

static void test_snapshot(void **state)
{
    struct fixture *f = *state;
    const struct source_table a = {.name = "a", .relation = "a"};
    const struct source_table b = {.name = "b", .relation = "b"};
    struct source_description da, db;
    sql(f, "CREATE TABLE a (x INT); CREATE TABLE b (x INT);"
           "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
    open_source(f);
    must(f, f->class->describe(f->source, &a, &da, &f->error));
    must(f, f->class->describe(f->source, &b, &db, &f->error));
    const struct source_sink sink = source_record_sink(&f->record);
    must(f, f->class->begin(f->source, &f->error));
    sql(f, "UPDATE a SET x = 2; UPDATE b SET x = 2");
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    sql(f, "UPDATE a SET x = 3; UPDATE b SET x = 3");
    must(f, f->class->stream(f->source, &b, &db, NULL, &sink, &f->error));
    must(f, f->class->end(f->source, &f->error));
    assert_string_equal(f->record.text, "1\n1\n");
    bool changed;
    must(f, f->class->wait(f->source, 0, &changed, &f->error));
    assert_true(changed); /* what came after the snapshot is told */
    source_description_free(&da);
    source_description_free(&db);
}

static void test_schema_change(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    static const char *const changes[] = {
        "ALTER TABLE t ADD COLUMN c TEXT",
        "ALTER TABLE t RENAME COLUMN b TO bb",
        "ALTER TABLE t DROP COLUMN bb",
        "DROP TABLE t; CREATE TABLE t (a TEXT, c TEXT)",
        "DROP TABLE t; CREATE TABLE t (a TEXT NOT NULL, c TEXT)",
        "DROP TABLE t",
    };
    sql(f, "CREATE TABLE t (a INT, b TEXT)");
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        expect_schema_change(f, &table, changes[i]);
        must(f, f->class->end(f->source, &f->error));
    }
    assert_string_equal(f->error.text, "table t: no such table: t");
}

static void test_locked(void **state)
{
    struct fixture *f = *state;
    sql(f, "PRAGMA journal_mode = DELETE; CREATE TABLE t (a INT)");
    f->options.statement_timeout_ms = 100;
    open_source(f);
    sql(f, "BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)");
    const double begun = source_now_ms();
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
    assert_true(f->error.transient);
    assert_true(source_now_ms() - begun < 2000);
    assert_non_null(strstr(f->error.text, "is locked by a writer"));
    bool changed = true;
    must(f, f->class->wait(f->source, 20, &changed, &f->error)); /* a lock is no change */
    assert_false(changed);
    sql(f, "COMMIT");
    must(f, f->class->wait(f->source, 1000, &changed, &f->error));
    assert_true(changed);
}

/* --- watermarks ----------------------------------------------------------------------------- */

static void test_watermark(void **state)
{
    struct fixture *f = *state;
    struct source_table table = {
        .name = "t", .relation = "t", .watermark = "i", .where = "id < 100 OR id IS NULL"};
    const char *const i[] = {"i", "id", NULL}, *const s[] = {"id", "s", NULL};
    const char *const r[] = {"id", "r", NULL}, *const n[] = {"n", "id", NULL};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, i INT, s TEXT, r REAL, n NUMERIC);"
           "INSERT INTO t VALUES (1, 1, 'a', 0.5, 0.1), (2, 5, 'b', 1.5, 5), (3, NULL, NULL, NULL,"
           " NULL), (4, 7, 'c''d', 2.5, 10), (100, 9, 'z', 9, 99)");
    open_source(f);
    struct sp_value since = sp_int(5);
    table.columns = i;
    expect_since(f, &table, &since, "5|2\n7|4\n");
    since = sp_text("c'd", 3);
    table.columns = s, table.watermark = "s";
    expect_since(f, &table, &since, "4|c'd\n");
    since = sp_float(1.25);
    table.columns = r, table.watermark = "r";
    expect_since(f, &table, &since, "2|1.5\n4|2.5\n");
    since = sp_bytes(SP_TYPE_NUMERIC, "4.5", 3);
    table.columns = n, table.watermark = "n";
    expect_since(f, &table, &since, "5|2\n10|4\n");
}

static void test_watermark_time(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "at"};
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP); CREATE INDEX t_at ON t (at);"
           "INSERT INTO t VALUES (1, '2026-11-20 11:59:59'), (2, '2026-11-20 12:00:00'),"
           "(3, '2026-11-20T12:00:01Z'), (4, '2026-11-19 23:30:00-12:30'),"
           "(5, '2026-11-21 01:00:00+13:00'), (6, '2026-11-21 02:00:00+13:00'), (7, NULL),"
           "(8, 1795176000), (9, 1795175999), (10, julianday('2026-11-20 18:00:00')),"
           "(11, julianday('2026-11-20 11:59:00')), (12, '2000-01-01'), (13, 'infinity'),"
           "(14, 1795176000.5), (15, 1795175999.5)");
    open_source(f);
    const struct sp_value since = of_type(SP_TYPE_TIMESTAMP, INT64_C(1795176000) * 1000000);
    source_record_free(&f->record);
    must(f, source_record_read(f->class, f->source, &table, &since, &f->record, &f->error));
    /* the order is the plan's: compare what is there */
    static const char *const there[] = {
        "2|2026-11-20T12:00:00Z\n",  "3|2026-11-20T12:00:01Z\n",         "4|2026-11-20T12:00:00Z\n",
        "5|2026-11-20T12:00:00Z\n",  "6|2026-11-20T13:00:00Z\n",         "8|2026-11-20T12:00:00Z\n",
        "10|2026-11-20T18:00:00Z\n", "14|2026-11-20T12:00:00.500000Z\n", "13|infinity\n"};
    for (size_t i = 0; i < sizeof(there) / sizeof(*there); i++)
        if (!strstr(f->record.text, there[i]))
            fail_msg("no \"%s\" in:\n%s", there[i], f->record.text);
    assert_int_equal(f->record.row_count, sizeof(there) / sizeof(*there));
}

static void test_watermark_collation(void **state)
{
    expect_watermark_by_bytes(*state, "CREATE TABLE t (s TEXT COLLATE NOCASE)");
}

static void test_watermark_missing(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    const struct sp_value since = sp_int(5);
    sql(f, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
    open_source(f);
    assert_int_equal(source_record_read(f->class, f->source, &table, &since, &f->record, &f->error),
                     SP_EINVAL);
}

/* --- waiting, canceling --------------------------------------------------------------------- */

static void wait_for_commit(struct fixture *f, const char *mode)
{
    double worst = 0;
    for (int i = 0; i < 5; i++) {
        struct later later = {.f = f, .statements = "UPDATE t SET a = a + 1", .delay_ms = 30};
        bool changed;
        later_start(&later);
        must(f, f->class->wait(f->source, 10000, &changed, &f->error));
        const double woken = source_now_ms();
        later_join(&later);
        assert_true(changed);
        if (woken - later.done_ms > worst)
            worst = woken - later.done_ms;
    }
    print_message("%s: awake %.2f ms after a commit, at worst\n", mode, worst);
    assert_true(worst < 500);
}

static double waiting_share(struct fixture *f)
{
    struct timespec before, after;
    bool changed = true;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    must(f, f->class->wait(f->source, 500, &changed, &f->error));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    assert_false(changed);
    return ((double)(after.tv_sec - before.tv_sec) * 1e3 +
            (double)(after.tv_nsec - before.tv_nsec) / 1e6) /
           5;
}

static void test_wait(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (a INT); INSERT INTO t VALUES (1)");
    open_source(f);
    wait_for_commit(f, "WAL, without inotify");
    print_message("waiting without inotify takes %.3f %% of a processor\n", waiting_share(f));
    must(f, f->class->listen(f->source, &table, 1, &f->error));
    wait_for_commit(f, "WAL");
    print_message("waiting takes %.3f %% of a processor\n", waiting_share(f));
    close_source(f);
    sql(f, "PRAGMA journal_mode = DELETE");
    open_source(f);
    must(f, f->class->listen(f->source, &table, 1, &f->error));
    wait_for_commit(f, "rollback journal");
}

static const char endless[] = "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c)"
                              " SELECT i FROM c";

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = endless};
    const struct source_table silent = {
        .name = "t",
        .query = "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c)"
                 " SELECT i FROM c WHERE i < 0"};
    struct source_canceler canceler;
    bool changed;
    open_source(f);
    source_canceler_start(&canceler, f->class, f->source, 30);
    assert_int_equal(count_rows(f, &table), SP_ECANCELED);
    source_canceler_join(&canceler);
    assert_true(f->record.row_count > 0);
    must(f, f->class->end(f->source, &f->error));
    source_canceler_start(&canceler, f->class, f->source, 30);
    assert_int_equal(count_rows(f, &silent), SP_ECANCELED);
    source_canceler_join(&canceler);
    source_canceler_start(&canceler, f->class, f->source, 30);
    assert_int_equal(f->class->wait(f->source, 60000, &changed, &f->error), SP_ECANCELED);
    source_canceler_join(&canceler);
    f->class->cancel(f->source); /* nothing runs: ends the next call, and only that */
    f->class->cancel(f->source);
    assert_int_equal(f->class->wait(f->source, 60000, &changed, &f->error), SP_ECANCELED);
    must(f, f->class->wait(f->source, 1, &changed, &f->error));
}

static void test_statement_timeout(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = endless};
    f->options.statement_timeout_ms = 50;
    open_source(f);
    assert_int_equal(count_rows(f, &table), SP_ESOURCE);
    assert_string_equal(f->error.text, "table t: took longer than statement_timeout");
    assert_true(f->error.transient);
}

static void test_sink_stops(void **state)
{
    expect_sink_stops(*state, endless);
}

/* A million rows pass through without growing the process. */
static void test_memory(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    char insert[256];
    const long rows = is_sanitized() ? 50000 : 1000000;
    snprintf(insert, sizeof(insert),
             "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB);"
             "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %ld)"
             " INSERT INTO t SELECT i, zeroblob(100) FROM c",
             rows);
    sql(f, insert);
    expect_steady_memory(f, &table, rows, 16384);
}

static void test_registry(void **state)
{
    (void)state;
    assert_null(source_find("oracle"));
    assert_non_null(source_find("postgresql"));
    for (const struct source_class *const *c = source_classes(); *c; c++)
        assert_ptr_equal(source_find((*c)->type), *c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE_TEST(test_declared_types),
        SQLITE_TEST(test_values),
        SQLITE_TEST(test_zero_in_text),
        SQLITE_TEST(test_bad_rows),
        SQLITE_TEST(test_null_in_not_null),
        SQLITE_TEST(test_not_null),
        SQLITE_TEST(test_utf16_database),
        SQLITE_TEST(test_times),
        SQLITE_TEST(test_columns_where_key),
        SQLITE_TEST(test_query),
        SQLITE_TEST(test_wrong_names),
        SQLITE_TEST(test_estimates),
        SQLITE_TEST(test_wrong_files),
        SQLITE_TEST(test_nothing_is_written),
        SQLITE_TEST(test_file_replaced),
        SQLITE_TEST(test_snapshot),
        SQLITE_TEST(test_schema_change),
        SQLITE_TEST(test_locked),
        SQLITE_TEST(test_watermark),
        SQLITE_TEST(test_watermark_time),
        SQLITE_TEST(test_watermark_collation),
        SQLITE_TEST(test_watermark_missing),
        SQLITE_TEST(test_wait),
        SQLITE_TEST(test_cancel),
        SQLITE_TEST(test_statement_timeout),
        SQLITE_TEST(test_sink_stops),
        SQLITE_TEST(test_memory),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests_name("source_sqlite", tests, NULL, NULL);
}
