/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the PostgreSQL source reads what it is asked for; it can be ended at any time; and what
 * goes wrong with a real server comes back as a clear error, in time. Method: runs under
 * pg_server.py, which starts a server for it alone (SIDEPOND_PG_DSN); faults are made by that
 * script (crash, pause, start) and by the superuser. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_pg_fixture.h"
#include "source_server_tests.h"

/* --- what is asked for ---------------------------------------------------------------------- */

static void test_names(void **state)
{
    struct fixture *f = *state;
    const char *const columns[] = {"Name", "id", NULL};
    const char *const key[] = {"id", NULL};
    sql(f, "CREATE SCHEMA IF NOT EXISTS \"Odd\"; DROP TABLE IF EXISTS \"Odd\".\"A.\"\"b\";"
           "CREATE TABLE \"Odd\".\"A.\"\"b\" (id int PRIMARY KEY, \"Name\" text, \"x\"\"y\" int);"
           "INSERT INTO \"Odd\".\"A.\"\"b\" VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);"
           "CREATE TABLE \"Users\" (id int); INSERT INTO \"Users\" VALUES (1)");
    const struct source_table odd = {.name = "t",
                                     .relation = "Odd.\"A.\"\"b\"",
                                     .columns = columns,
                                     .key = key,
                                     .where = "id > 1 -- but one"};
    expect_rows(f, &odd, "two|2\nthree|3\n");
    const struct source_table all = {.name = "t", .relation = "\"Odd\".\"A.\"\"b\""};
    expect_description(f, &all, "id int32 integer not-null\nName text text\nx\"y int32 integer\n");
    const struct source_table users = {.name = "users", .relation = "Users"};
    expect_rows(f, &users, "1\n");
    const struct source_table query = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM \"Users\" u GROUP BY 1; -- ;\n;"};
    expect_error(f, &query, SP_ECONFIG, "table q: syntax error at or near \";\"");
    const struct source_table good = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM \"Users\" u GROUP BY 1 ; "};
    expect_description(f, &good, "id int32 integer\nn int64 bigint\n");
    expect_rows(f, &good, "1|1\n");
}

static void test_wrong_names(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE users (id int, email text, name text)");
    expect_unknown_columns(f, "id, email, name");
    struct source_table table = {.name = "users", .relation = "public.usersx"};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: relation public.usersx does not exist; there are: users");
    table.relation = "nosuch.users";
    expect_error(f, &table, SP_ECONFIG,
                 "table users: relation nosuch.users does not exist: there is no such schema");
    table = (struct source_table){.name = "users", .relation = "users", .where = "nope = 1"};
    expect_error(f, &table, SP_ECONFIG, "table users: column \"nope\" does not exist");
    table = (struct source_table){.name = "users", .query = "SELECT 1 AS a, 2 AS a"};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: two columns are called a; give one another name");
    table = (struct source_table){.name = "users", .query = "DELETE FROM users RETURNING id"};
    expect_error(f, &table, SP_ECONFIG, "table users: syntax error at or near \"FROM\"");
    table = (struct source_table){.name = "users", .relation = "users"};
    expect_rows(f, &table, ""); /* the connection has taken no harm */
}

static void test_not_null_and_estimates(void **state)
{
    struct fixture *f = *state;
    struct source_description d;
    sql(f, "CREATE TABLE a (id int PRIMARY KEY, s text); CREATE TABLE b (id int NOT NULL);"
           "CREATE VIEW v AS SELECT id FROM a;"
           "INSERT INTO a SELECT i, repeat('x', 92) FROM generate_series(1, 10000) i; ANALYZE a");
    const struct source_table outer_join = {
        .name = "q", .query = "SELECT a.s, b.id FROM a LEFT JOIN b ON a.id = b.id"};
    const struct source_table view = {.name = "v", .relation = "v"};
    expect_description(f, &outer_join, "s text text\nid int32 integer\n");
    expect_description(f, &view, "id int32 integer\n");
    const struct source_table table = {.name = "a", .relation = "a", .where = "id <= 5000"};
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_in_range(d.row_estimate, 4900, 5100);
    assert_in_range(d.byte_estimate, 400000, 600000);
    source_description_free(&d);
}

/* --- rights --------------------------------------------------------------------------------- */

static void test_rights(void **state)
{
    struct fixture *f = *state;
    const char *const id[] = {"id", NULL};
    const char *denied = "table users: permission denied for table users: "
                         "GRANT SELECT ON \"users\" TO \"reader\"";
    struct source_table table = {.name = "users", .relation = "users"};
    sql(f, "CREATE TABLE users (id int, secret text); INSERT INTO users VALUES (1, 'x')");
    sql(f, "DROP OWNED BY reader");
    f->options.dsn = f->reader;
    expect_error(f, &table, SP_ECONFIG, denied);
    sql(f, "GRANT SELECT (id) ON users TO reader");
    expect_error(f, &table, SP_ECONFIG, denied);
    table.columns = id;
    expect_rows(f, &table, "1\n");
    sql(f, "CREATE SCHEMA \"Out\"; CREATE TABLE \"Out\".t (id int)");
    table = (struct source_table){.name = "t", .relation = "Out.t"};
    expect_error(f, &table, SP_ECONFIG,
                 "table t: permission denied for schema Out: "
                 "GRANT USAGE ON SCHEMA \"Out\" TO \"reader\"");
    sql(f, "DROP SCHEMA \"Out\" CASCADE");
}

/* Nothing can be written through a source, even where the role may write. */
static void test_read_only(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = "SELECT nextval('s') AS n"};
    sql(f, "CREATE SEQUENCE s");
    open_source(f);
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: cannot execute nextval() in a read-only transaction"
                        " (SQLSTATE 25006)");
}

static void test_password(void **state)
{
    struct fixture *f = *state;
    char dsn[256];
    struct source_options options = f->options;
    sql(f, "ALTER ROLE reader PASSWORD 'open sesame'");
    snprintf(dsn, sizeof(dsn), "host=127.0.0.1 port=%s dbname=postgres user=reader",
             PQport(f->admin));
    expect_open_error(f, dsn, "barley",
                      "source shop: cannot connect: connection to server at \"127.0.0.1\"");
    assert_non_null(strstr(f->error.text, "password authentication failed for user \"reader\""));
    assert_null(strstr(f->error.text, "barley"));
    expect_open_error(f, dsn, NULL, "asks for a password and none is configured");
    options.dsn = dsn;
    options.password = "open sesame";
    must(f, f->class->open(&options, &f->source, &f->error));
    assert_int_equal(sql_long(f, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"
                                 " AND application_name = 'sidepond/shop'"),
                     1);
}

/* --- connecting ----------------------------------------------------------------------------- */

static void test_no_server(void **state)
{
    struct fixture *f = *state;
    char dsn[600];
    expect_open_error(f, "host=/nonexistent dbname=x", NULL, "No such file or directory");
    snprintf(dsn, sizeof(dsn), "%s dbname=nope", f->dsn);
    expect_open_error(f, dsn, NULL, "database \"nope\" does not exist");
    struct source *source = NULL;
    f->options.dsn = "host=x secret";
    f->options.password = "sesame";
    assert_int_equal(f->class->open(&f->options, &source, &f->error), SP_ECONFIG);
    assert_string_equal(f->error.text,
                        "source shop: dsn is not a connection string of libpq (host=... "
                        "dbname=..., or postgresql://...), or has an option that does not exist");
}

/* --- changes while it is read ----------------------------------------------------------------- */

/* What no snapshot protects from: a table that is emptied, or written anew, or gets a part. */
static void expect_rewritten(struct fixture *f, const char *statement)
{
    const struct source_table first = {.name = "a", .relation = "a"};
    const struct source_table second = {.name = "b", .relation = "b"};
    const struct source_table *const tables[] = {&first, &second};
    const struct source_sink sink = source_record_sink(&f->record);
    struct source_description descriptions[2];
    open_source(f);
    for (int i = 0; i < 2; i++) /* which locks a table, too, if it is done within the snapshot */
        must(f, f->class->describe(f->source, tables[i], &descriptions[i], &f->error));
    must(f, f->class->begin(f->source, &f->error));
    for (int i = 0; i < 2; i++) {
        const int status =
            f->class->stream(f->source, tables[i], &descriptions[i], NULL, &sink, &f->error);
        source_description_free(&descriptions[i]);
        assert_int_equal(status, i == 0 ? SP_OK : SP_ESOURCE);
        if (i == 0)
            sql(f, statement);
    }
    assert_true(f->error.transient);
    assert_string_equal(f->error.text, "table b: it was truncated or written anew while its group"
                                       " was read; it is read again");
    close_source(f);
    expect_rows(f, &first, "1\n");
}

static void test_rewritten(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE a (id int); INSERT INTO a VALUES (1); CREATE TABLE b (id int, n int)");
    expect_rewritten(f, "TRUNCATE b");
    expect_rewritten(f, "ALTER TABLE b ALTER n TYPE int USING n + 1");
    expect_rewritten(f, "DROP TABLE b; CREATE TABLE b (id int, n int)");
    sql(f, "DROP TABLE b; CREATE TABLE b (id int, n int) PARTITION BY RANGE (id);"
           "CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (5);"
           "CREATE TABLE b2 (id int, n int); INSERT INTO b2 VALUES (7, 7)");
    expect_rewritten(f, "TRUNCATE b1");
    expect_rewritten(f, "ALTER TABLE b ATTACH PARTITION b2 FOR VALUES FROM (5) TO (10)");
}

/* A partition on its way out, whose DETACH CONCURRENTLY was broken off: its rows are not seen any
 * more, and those of the others can be read. */
static void test_detach_pending(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "b", .relation = "b"};
    need_server(f, 140000);
    sql(f, "CREATE TABLE b (id int) PARTITION BY RANGE (id);"
           "CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (5);"
           "CREATE TABLE b2 PARTITION OF b FOR VALUES FROM (5) TO (10);"
           "INSERT INTO b VALUES (1), (7)");
    PGconn *reader = PQconnectdb(f->dsn);
    PQclear(PQexec(reader, "BEGIN; SELECT FROM b"));
    sql(f, "SET statement_timeout = 300");
    PQclear(PQexec(f->admin, "ALTER TABLE b DETACH PARTITION b1 CONCURRENTLY"));
    sql(f, "RESET statement_timeout");
    PQfinish(reader);
    assert_int_equal(sql_long(f, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), 1);
    expect_rows(f, &table, "7\n");
    sql(f, "ALTER TABLE b DETACH PARTITION b1 FINALIZE");
    expect_rows(f, &table, "7\n");
}

enum { TURNS = 200 };

/* One change for each turn at most, so that no description meets more than a few. */
static void *come_and_go(void *context)
{
    atomic_uint *turn = context;
    unsigned done = 0;
    bool there = false;
    PGconn *writer = PQconnectdb(getenv("SIDEPOND_PG_DSN"));
    while (done < TURNS) {
        const unsigned now = atomic_load(turn);
        if (now == done) {
            sleep_ms(1);
            continue;
        }
        done = now;
        PQclear(PQexec(writer, there ? "ALTER TABLE t DROP COLUMN extra"
                                     : "ALTER TABLE t ADD COLUMN extra int"));
        there = !there;
    }
    PQfinish(writer);
    return NULL;
}

/* A column that comes or goes meanwhile is no error of the configuration, with which a daemon would
 * not start. */
static void test_described_while_columns_change(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    atomic_uint turn = 0;
    pthread_t writer;
    int status = SP_OK;
    sql(f, "CREATE TABLE t (id int PRIMARY KEY)");
    open_source(f);
    assert_int_equal(pthread_create(&writer, NULL, come_and_go, &turn), 0);
    for (unsigned i = 1; i <= TURNS && status == SP_OK; i++) {
        struct source_description description = {0};
        atomic_store(&turn, i);
        status = f->class->describe(f->source, &table, &description, &f->error);
        source_description_free(&description);
    }
    atomic_store(&turn, TURNS);
    pthread_join(writer, NULL);
    must(f, status);
}

static void test_schema_change(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    static const char *const changes[] = {
        "ALTER TABLE t ADD COLUMN c text",
        "ALTER TABLE t RENAME COLUMN b TO bb",
        "ALTER TABLE t DROP COLUMN bb",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        "DROP TABLE t",
    };
    sql(f, "CREATE TABLE t (a int, b text)");
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        expect_schema_change(f, &table, changes[i]);
        close_source(f);
    }
    assert_string_equal(f->error.text, "table t: relation \"t\" does not exist");
}

/* --- watermarks ----------------------------------------------------------------------------- */

static void test_watermark(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE t (id int2, z timestamptz, l timestamp, d date, n numeric, s text, o oid,"
           " g pg_lsn, r float8, u uuid);"
           "INSERT INTO t VALUES (1, '2026-11-20 11:59:59.999999+00', '2026-11-20 11:59:59.999999',"
           " '2026-11-19', 1.4999, 'a', 1, '0/1', 0.1, '00000000-0000-0000-0000-000000000001'),"
           "(2, '2026-11-20 12:00:00+00', '2026-11-20 12:00:00', '2026-11-20', 1.5, 'b''\\', 5,"
           " '0/A', 0.30000000000000004, '00000000-0000-0000-0000-0000000000ff');"
           "INSERT INTO t DEFAULT VALUES");
    const struct watermark_case cases[] = {
        {"id", of_type(SP_TYPE_INT32, 2)},
        {"z", of_type(SP_TYPE_TIMESTAMP, INT64_C(1795176000) * 1000000)},
        {"l", of_type(SP_TYPE_DATETIME, INT64_C(1795176000) * 1000000)},
        {"d", of_type(SP_TYPE_DATE, 20777)},
        {"n", sp_bytes(SP_TYPE_NUMERIC, "1.5", 3)},
        {"s", sp_text("b'\\", 3)},
        {"o", sp_int(5)},
        {"r", sp_float(0.30000000000000004)},
        {"u", sp_bytes(SP_TYPE_UUID, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff", 16)},
    };
    expect_watermarks(f, cases, sizeof(cases) / sizeof(*cases));
    expect_far_watermarks(f, "z", SP_TYPE_TIMESTAMP);
    const struct source_table unordered = {.name = "t", .relation = "t", .watermark = "g"};
    expect_error(f, &unordered, SP_ECONFIG,
                 "table t: column g of type pg_lsn cannot be a watermark");
}

static void test_watermark_collation(void **state)
{
    expect_watermark_by_bytes(
        *state, "CREATE COLLATION IF NOT EXISTS public.words (provider = icu, locale = 'en');"
                "CREATE TABLE t (s text COLLATE public.words)");
}

/* --- being told ----------------------------------------------------------------------------- */

static void test_notify(void **state)
{
    struct fixture *f = *state;
    const struct source_table tables[] = {{.name = "a", .relation = "a"},
                                          {.name = "b", .relation = "a", .channel = "Odd \"one"}};
    struct later later = {.f = f, .statements = "NOTIFY sidepond_a", .delay_ms = 50};
    bool changed = true;
    sql(f, "CREATE TABLE a (x int)");
    open_source(f);
    must(f, f->class->listen(f->source, tables, 2, &f->error));
    must(f, f->class->wait(f->source, 1, &changed, &f->error));
    assert_false(changed);
    later_start(&later);
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    const double woken = source_now_ms();
    later_join(&later);
    assert_true(changed);
    print_message("awake %.2f ms after the notification\n", woken - later.done_ms);
    sql(f, "SELECT pg_notify('Odd \"one', i::text) FROM generate_series(1, 1000) i");
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    assert_true(changed);
    must(f, f->class->wait(f->source, 20, &changed, &f->error)); /* a burst is one change */
    assert_false(changed);
    expect_rows(f, &tables[0], ""); /* told during begin ... end: for the next wait */
    must(f, f->class->begin(f->source, &f->error));
    sql(f, "NOTIFY sidepond_a");
    must(f, f->class->end(f->source, &f->error));
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    assert_true(changed);
}

/* --- faults --------------------------------------------------------------------------------- */

static void test_connection_lost(void **state)
{
    struct fixture *f = *state;
    bool changed;
    struct later later = {.f = f,
                          .statements = "SELECT pg_terminate_backend(pid) FROM"
                                        " pg_stat_activity WHERE application_name LIKE"
                                        " 'sidepond/%'",
                          .delay_ms = 50};
    open_source(f);
    later_start(&later);
    int status = SP_OK;
    while (status == SP_OK)
        status = f->class->wait(f->source, 10000, &changed, &f->error);
    later_join(&later);
    assert_int_equal(status, SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
}

static void test_statement_timeout(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = server_sleepy};
    f->options.statement_timeout_ms = 100;
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: canceling statement due to statement timeout (SQLSTATE 57014)");
    assert_true(f->error.transient);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    bool changed;
    expect_canceled(f, server_endless);
    expect_canceled(f, server_sleepy);
    open_source(f);
    source_canceler_start(&canceler, f->class, f->source, 50);
    assert_int_equal(f->class->wait(f->source, 60000, &changed, &f->error), SP_ECANCELED);
    source_canceler_join(&canceler);
    must(f, f->class->wait(f->source, 1, &changed, &f->error)); /* waiting does no harm */
    expect_next_canceled(f);
}

/* A text of the database's error may quote a row: it is not passed on. */
static void test_error_without_data(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = "SELECT s::int AS i FROM t"};
    sql(f, "CREATE TABLE t (s text); INSERT INTO t VALUES ('secret')");
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: the database cannot compute the query (SQLSTATE 22P02)");
}

static void test_memory(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    const long rows = is_sanitized() ? 100000 : 1000000;
    make_big(f, rows, false);
    expect_steady_memory(f, &table, rows, is_sanitized() ? LONG_MAX : 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PG_TEST(test_names),
        PG_TEST(test_wrong_names),
        PG_TEST(test_not_null_and_estimates),
        PG_TEST(test_rights),
        PG_TEST(test_read_only),
        PG_TEST(test_password),
        PG_TEST(test_no_server),
        PG_TEST(test_connect_hangs),
        PG_TEST(test_cancel_connecting),
        PG_TEST(test_snapshot),
        PG_TEST(test_rewritten),
        PG_TEST(test_detach_pending),
        PG_TEST(test_described_while_columns_change),
        PG_TEST(test_schema_change),
        PG_TEST(test_watermark),
        PG_TEST(test_watermark_collation),
        PG_TEST(test_notify),
        PG_TEST(test_connection_lost),
        PG_TEST(test_server_killed),
        PG_TEST(test_statement_timeout),
        PG_TEST(test_server_hangs),
        PG_TEST(test_cancel),
        PG_TEST(test_sink_stops),
        PG_TEST(test_error_without_data),
        PG_TEST(test_memory),
    };
    return cmocka_run_group_tests_name("source_postgresql", tests, pg_make_reader, NULL);
}
