/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the MariaDB source reads what it is asked for; it can be ended at any time; and what goes
 * wrong with a real server comes back as a clear error, in time. Method: runs under
 * mariadb_server.py, which starts a server for it alone (SIDEPOND_MARIADB_URI); faults are made by
 * that script (crash, pause, start) and by root. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_mariadb_fixture.h"
#include "source_server_tests.h"

/* --- what is asked for ---------------------------------------------------------------------- */

static void test_names(void **state)
{
    struct fixture *f = *state;
    const char *const columns[] = {"Name", "id", NULL};
    const char *const key[] = {"id", NULL};
    sql(f, "CREATE OR REPLACE DATABASE `Odd`;\n"
           "CREATE TABLE `Odd`.`A.``b` (id int PRIMARY KEY, `Name` text, `x``y` int);\n"
           "INSERT INTO `Odd`.`A.``b` VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);\n"
           "CREATE TABLE `Users` (id int);\nINSERT INTO `Users` VALUES (1);\n"
           "CREATE TABLE users (name text)");
    const struct source_table odd = {.name = "t",
                                     .relation = "Odd.`A.``b`",
                                     .columns = columns,
                                     .key = key,
                                     .where = "id > 1 -- but one"};
    expect_rows(f, &odd, "two|2\nthree|3\n");
    const struct source_table all = {.name = "t", .relation = "`Odd`.`A.``b`"};
    expect_description(f, &all, "id int32 int(11) not-null\nName text text\nx`y int32 int(11)\n");
    const struct source_table users = {.name = "users", .relation = "Users"};
    expect_rows(f, &users, "1\n");
    const struct source_table query = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM Users u GROUP BY 1; -- ;\n;"};
    expect_error_begins(f, &query, SP_ECONFIG, "table q: You have an error in your SQL syntax");
    const struct source_table good = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM Users u GROUP BY 1 ; "};
    expect_description(f, &good, "id int32 int\nn int64 bigint\n");
    expect_rows(f, &good, "1|1\n");
    sql(f, "DROP DATABASE `Odd`");
}

static void test_wrong_names(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE users (id int, email text, name text)");
    expect_unknown_columns(f, "id, email, name");
    struct source_table table = {.name = "users", .relation = "shop.usersx"};
    expect_error(f, &table, SP_ECONFIG, "table users: Table 'shop.usersx' doesn't exist");
    table = (struct source_table){.name = "users", .relation = "users", .where = "nope = 1"};
    expect_error(f, &table, SP_ECONFIG, "table users: Unknown column 'nope' in 'WHERE'");
    table = (struct source_table){.name = "users", .query = "SELECT 1 AS a, 2 AS a"};
    expect_error(f, &table, SP_ECONFIG, "table users: Duplicate column name 'a'");
    table = (struct source_table){.name = "users", .query = "DELETE FROM users RETURNING id"};
    expect_error_begins(f, &table, SP_ECONFIG, "table users: You have an error in your SQL syntax");
    table = (struct source_table){.name = "users", .relation = "users"};
    expect_rows(f, &table, ""); /* the connection has taken no harm */
}

static void test_not_null_and_estimates(void **state)
{
    struct fixture *f = *state;
    struct source_description d;
    sql(f, "CREATE TABLE a (id int PRIMARY KEY, s text);\nCREATE TABLE b (id int NOT NULL);\n"
           "CREATE VIEW v AS SELECT id FROM a;\n"
           "INSERT INTO a SELECT seq, REPEAT('x', 92) FROM seq_1_to_10000;\nANALYZE TABLE a");
    const struct source_table outer_join = {
        .name = "q", .query = "SELECT a.s, b.id FROM a LEFT JOIN b ON a.id = b.id"};
    const struct source_table view = {.name = "v", .relation = "v"};
    expect_description(f, &outer_join, "s text text\nid int32 int\n");
    expect_description(f, &view, "id int32 int(11)\n");
    struct source_table table = {.name = "a", .relation = "a"};
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_in_range(d.row_estimate, 9000, 11000);
    assert_in_range(d.byte_estimate, 900000, 2500000);
    source_description_free(&d);
    table.where = "id <= 5000";
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_int_equal(d.row_estimate, -1);
    source_description_free(&d);
}

/* --- rights --------------------------------------------------------------------------------- */

static void as_reader(struct fixture *f)
{
    f->options.dsn = f->reader;
    f->options.password = "open sesame";
}

static void test_rights(void **state)
{
    struct fixture *f = *state;
    const char *const id[] = {"id", NULL};
    struct source_table table = {.name = "users", .relation = "users"};
    sql(f, "CREATE TABLE users (id int, secret text);\nINSERT INTO users VALUES (1, 'x');\n"
           "GRANT SELECT (id) ON shop.users TO reader");
    as_reader(f);
    expect_error_begins(f, &table, SP_ECONFIG,
                        "table users: SELECT command denied to user 'reader'@");
    table.columns = id;
    expect_rows(f, &table, "1\n");
    table.where = "secret = 'x'";
    expect_error_begins(f, &table, SP_ECONFIG,
                        "table users: SELECT command denied to user 'reader'@");
}

/* Nothing can be written through a source, even where the user may write. */
static void test_read_only(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = "SELECT NEXTVAL(s) AS n"};
    sql(f, "CREATE SEQUENCE s");
    open_source(f);
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    print_message("%s\n", f->error.text);
    assert_int_equal(sql_long(f, "SELECT NEXTVAL(s)"), 1);
}

static void test_password(void **state)
{
    struct fixture *f = *state;
    char dsn[256];
    snprintf(dsn, sizeof(dsn), "mysql://reader@127.0.0.1:%ld/", sql_long(f, "SELECT @@port"));
    expect_open_error(f, dsn, "barley", "source shop: cannot connect: Access denied for user");
    assert_null(strstr(f->error.text, "barley"));
    expect_open_error(f, dsn, NULL, "Access denied for user");
    f->options.dsn = dsn;
    f->options.password = "open sesame";
    open_source(f);
    assert_int_equal(
        sql_long(f, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'reader'"),
        1);
}

/* --- connecting ----------------------------------------------------------------------------- */

static void test_no_server(void **state)
{
    struct fixture *f = *state;
    static const char *const broken[] = {
        "x secret",
        "mariadb://u:secret@h/db",
        "mariadb://h:99999/db",
        "mariadb://h/db?secret=1",
        "mariadb://h/db?ssl",
        "mariadb://h/db?ssl=maybe",
        "mariadb://h/db?ssl=0&ssl-ca=x",
        "mariadb://h/db?ssl-verify-server-cert=1",
        "mariadb://h%zz/",
        "mariadb://[::1/",
    };
    char dsn[600];
    expect_open_error(f, "mariadb://u@localhost/x?socket=/nonexistent", NULL,
                      "Can't connect to local server through socket '/nonexistent'");
    expect_open_error(f, "mysql://u@[::1]:1/", NULL, "Can't connect to server on '::1'");
    snprintf(dsn, sizeof(dsn), "mariadb://root@localhost/no%%70e?socket=%s", server_socket(f));
    expect_open_error(f, dsn, NULL, "Unknown database 'nope'");
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        struct source *source = NULL;
        f->options.dsn = broken[i];
        f->options.password = "sesame";
        assert_int_equal(f->class->open(&f->options, &source, &f->error), SP_ECONFIG);
        print_message("%s\n", f->error.text);
        assert_null(strstr(f->error.text, "secret"));
    }
}

/* --- changes of the schema ------------------------------------------------------------------ */

static void test_schema_change(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    static const char *const changes[] = {
        "ALTER TABLE t ADD COLUMN c text",        "ALTER TABLE t RENAME COLUMN b TO bb",
        "ALTER TABLE t DROP COLUMN bb",           "ALTER TABLE t MODIFY a bigint",
        "ALTER TABLE t MODIFY a bigint NOT NULL", "DROP TABLE t",
    };
    sql(f, "CREATE TABLE t (a int, b text)");
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        expect_schema_change(f, &table, changes[i]);
        close_source(f);
    }
    assert_string_equal(f->error.text, "table t: Table 'shop.t' doesn't exist");
}

/* --- watermarks ----------------------------------------------------------------------------- */

static void test_watermark(void **state)
{
    struct fixture *f = *state;
    sql(f,
        "SET time_zone = '+00:00';\n"
        "CREATE TABLE t (id smallint, z timestamp(6) NULL, l datetime(6), d date, n decimal(9,4),"
        " s text, o int unsigned, g time, r double, h float, b varbinary(9), u bigint unsigned,"
        " e enum('z','a'), y year, i bit(9));\n"
        "INSERT INTO t VALUES (1, '2026-11-20 11:59:59.999999', '2026-11-20 11:59:59.999999',"
        " '2026-11-19', 1.4999, 'a', 1, 0, 0.1, 0.1, 'a', 1, 'a', 1999, 1),"
        "(2, '2026-11-20 12:00:00', '2026-11-20 12:00:00', '2026-11-20', 1.5, 'b\\'\\\\', 5, 1,"
        " 0.30000000000000004, 0.7, x'00ff', 18446744073709551615, 'z', 2000, 2);\n"
        "INSERT INTO t () VALUES ()");
    const struct watermark_case cases[] = {
        {"id", of_type(SP_TYPE_INT32, 2)},
        {"z", of_type(SP_TYPE_TIMESTAMP, INT64_C(1795176000) * 1000000)},
        {"l", of_type(SP_TYPE_DATETIME, INT64_C(1795176000) * 1000000)},
        {"d", of_type(SP_TYPE_DATE, 20777)},
        {"n", sp_bytes(SP_TYPE_NUMERIC, "1.5", 3)},
        {"s", sp_text("b'\\", 3)},
        {"o", sp_int(5)},
        {"r", sp_float(0.30000000000000004)},
        {"h", {.type = SP_TYPE_FLOAT32, .f = (double)0.7f}},
        {"u", sp_bytes(SP_TYPE_NUMERIC, "18446744073709551615", 20)},
        {"e", sp_text("z", 1)},
        {"y", of_type(SP_TYPE_INT32, 2000)},
        {"i", sp_int(2)},
    };
    expect_watermarks(f, cases, sizeof(cases) / sizeof(*cases));
    expect_far_watermarks(f, "l", SP_TYPE_DATETIME);
    const struct source_table unordered = {.name = "t", .relation = "t", .watermark = "g"};
    expect_error(f, &unordered, SP_ECONFIG, "table t: column g of type time cannot be a watermark");
}

static void test_watermark_collation(void **state)
{
    expect_watermark_by_bytes(*state, "CREATE TABLE t (s text COLLATE utf8mb4_general_ci)");
}

/* --- faults --------------------------------------------------------------------------------- */

/* A connection that the server has ended is of no more use, and that can be tried again. */
static void test_connection_lost(void **state)
{
    struct fixture *f = *state;
    sql(f, "GRANT SELECT ON shop.* TO reader");
    as_reader(f);
    open_source(f);
    sql(f, "KILL USER reader");
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
    assert_true(f->error.transient);
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
}

static void make_one(struct fixture *f)
{
    sql(f, "CREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\n"
           "GRANT SELECT ON shop.* TO reader");
}

static void test_statement_timeout(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = server_sleepy};
    make_one(f);
    f->options.statement_timeout_ms = 100;
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_non_null(strstr(f->error.text, "max_statement_time"));
    assert_true(f->error.transient);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    make_one(f);
    as_reader(f);
    expect_canceled(f, server_endless);
    expect_canceled(f, server_sleepy);
    open_source(f);
    expect_next_canceled(f);
}

/* A text of the database's error may quote a row: it is not passed on. */
static void test_error_without_data(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t",
                                       .query = "SELECT CAST(n AS UNSIGNED) * n AS i FROM t"};
    sql(f, "CREATE TABLE t (n bigint unsigned);\nINSERT INTO t VALUES (12345678901234)");
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text, "table t: the database cannot compute the query (error 1690,"
                                       " SQLSTATE 22003)");
}

static void test_memory(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    const long rows = is_sanitized() ? 50000 : 300000;
    make_big(f, rows, false);
    expect_steady_memory(f, &table, rows, is_sanitized() ? LONG_MAX : 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARIADB_TEST(test_names),
        MARIADB_TEST(test_wrong_names),
        MARIADB_TEST(test_not_null_and_estimates),
        MARIADB_TEST(test_rights),
        MARIADB_TEST(test_read_only),
        MARIADB_TEST(test_password),
        MARIADB_TEST(test_no_server),
        MARIADB_TEST(test_connect_hangs),
        MARIADB_TEST(test_cancel_connecting),
        MARIADB_TEST(test_snapshot),
        MARIADB_TEST(test_schema_change),
        MARIADB_TEST(test_watermark),
        MARIADB_TEST(test_watermark_collation),
        MARIADB_TEST(test_connection_lost),
        MARIADB_TEST(test_server_killed),
        MARIADB_TEST(test_statement_timeout),
        MARIADB_TEST(test_server_hangs),
        MARIADB_TEST(test_cancel),
        MARIADB_TEST(test_sink_stops),
        MARIADB_TEST(test_error_without_data),
        MARIADB_TEST(test_memory),
    };
    return cmocka_run_group_tests_name("source_mariadb", tests, NULL, NULL);
}
