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
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_pg_fixture.h"

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
    const char *const columns[] = {"id", "emial", NULL}, *const id[] = {"id", NULL};
    const char *const email[] = {"email", NULL}, *const wrong[] = {"ID", NULL};
    sql(f, "CREATE TABLE users (id int, email text, name text)");
    struct source_table table = {.name = "users", .relation = "public.usersx"};
    expect_error(f, &table, SP_ECONFIG, "table users: relation \"public.usersx\" does not exist");
    table = (struct source_table){.name = "users", .relation = "users", .columns = columns};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: column emial does not exist; there are: id, email, name");
    table = (struct source_table){.name = "users", .relation = "users", .key = wrong};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: key column ID does not exist; there are: id, email, name");
    table =
        (struct source_table){.name = "users", .relation = "users", .columns = email, .key = id};
    expect_error(f, &table, SP_ECONFIG, "table users: key column id is not among its columns");
    table = (struct source_table){.name = "users", .relation = "users", .watermark = "changed"};
    expect_error(
        f, &table, SP_ECONFIG,
        "table users: watermark column changed does not exist; there are: id, email, name");
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

static void reader_dsn(struct fixture *f, char *dsn, size_t cap)
{
    sql(f, "DROP OWNED BY reader");
    snprintf(dsn, cap, "%s user=reader", f->dsn);
    f->options.dsn = dsn;
}

static void test_rights(void **state)
{
    struct fixture *f = *state;
    char dsn[600];
    const char *const id[] = {"id", NULL};
    struct source_table table = {.name = "users", .relation = "users"};
    sql(f, "CREATE TABLE users (id int, secret text); INSERT INTO users VALUES (1, 'x')");
    reader_dsn(f, dsn, sizeof(dsn));
    expect_error(f, &table, SP_ECONFIG, "table users: permission denied for table users");
    sql(f, "GRANT SELECT (id) ON users TO reader");
    expect_error(f, &table, SP_ECONFIG, "table users: permission denied for table users");
    table.columns = id;
    expect_rows(f, &table, "1\n");
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
    assert_string_equal(f->error.text, "source shop: dsn is not a connection string");
}

/* A server that hangs: connecting ends by its time limit and by cancel, whichever is first. */
static void test_connect_hangs(void **state)
{
    struct fixture *f = *state;
    f->options.connect_timeout_ms = 200;
    server("pause");
    struct source *source = NULL;
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: no connection within connect_timeout (200 ms)");
    assert_true(took < 3000);
}

static void cancel_when_announced(void *context, struct source *source)
{
    struct source_canceler *canceler = context;
    if (source)
        source_canceler_start(canceler, source_find("postgresql"), source, 100);
    else
        source_canceler_join(canceler);
}

static void test_cancel_connecting(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    struct source *source = NULL;
    f->options.connect_timeout_ms = 60000;
    f->options.cancelable = cancel_when_announced;
    f->options.cancelable_context = &canceler;
    server("pause");
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    server("resume");
    assert_int_equal(status, SP_ECANCELED);
    assert_true(took < 3000);
}

/* --- snapshots, changes --------------------------------------------------------------------- */

static void test_snapshot(void **state)
{
    struct fixture *f = *state;
    const struct source_table a = {.name = "a", .relation = "a"};
    const struct source_table b = {.name = "b", .relation = "b"};
    struct source_description da, db;
    sql(f, "CREATE TABLE a (x int); CREATE TABLE b (x int); INSERT INTO a VALUES (1);"
           "INSERT INTO b VALUES (1)");
    open_source(f);
    must(f, f->class->describe(f->source, &a, &da, &f->error));
    must(f, f->class->describe(f->source, &b, &db, &f->error));
    const struct source_sink sink = source_record_sink(&f->record);
    must(f, f->class->begin(f->source, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    sql(f, "UPDATE a SET x = 2; UPDATE b SET x = 2");
    must(f, f->class->stream(f->source, &b, &db, NULL, &sink, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    must(f, f->class->end(f->source, &f->error));
    assert_string_equal(f->record.text, "1\n1\n1\n");
    source_description_free(&da);
    source_description_free(&db);
    expect_rows(f, &b, "2\n");
}

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
    const struct source_sink sink = source_record_sink(&f->record);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        struct source_description d;
        open_source(f);
        must(f, f->class->describe(f->source, &table, &d, &f->error));
        sql(f, changes[i]);
        must(f, f->class->begin(f->source, &f->error));
        assert_int_equal(f->class->stream(f->source, &table, &d, NULL, &sink, &f->error),
                         SP_ECONFIG);
        source_description_free(&d);
        close_source(f);
    }
    assert_string_equal(f->error.text, "table t: relation \"t\" does not exist");
}

/* --- watermarks ----------------------------------------------------------------------------- */

static struct sp_value of_type(enum sp_type type, int64_t i)
{
    struct sp_value value = sp_int(i);
    value.type = type;
    return value;
}

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
    const struct {
        const char *column;
        struct sp_value since;
    } cases[] = {
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
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *const columns[] = {"id", cases[i].column, NULL};
        const struct source_table table = {.name = "t",
                                           .relation = "t",
                                           .columns = i ? columns : columns + 1,
                                           .where = "id < 100 OR id IS NULL",
                                           .watermark = cases[i].column};
        must(f, read_table(f, &table, &cases[i].since));
        assert_int_equal(f->record.row_count, 1);
        assert_int_equal(f->record.text[0], '2');
    }
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "id"};
    const struct sp_value low = of_type(SP_TYPE_INT32, -40000), none = sp_null(SP_TYPE_INT32);
    must(f, read_table(f, &table, &low)); /* below int2: the overlap can get there */
    assert_int_equal(f->record.row_count, 2);
    assert_int_equal(read_table(f, &table, &none), SP_EINVAL);
    const struct source_table time = {.name = "t", .relation = "t", .watermark = "z"};
    const struct sp_value ancient = of_type(SP_TYPE_TIMESTAMP, INT64_MIN / 100);
    const struct sp_value future = of_type(SP_TYPE_TIMESTAMP, INT64_MAX / 4);
    const struct source_table unordered = {.name = "t", .relation = "t", .watermark = "g"};
    expect_error(f, &unordered, SP_ECONFIG,
                 "table t: column g of type pg_lsn cannot be a watermark");
    close_source(f);
    must(f, read_table(f, &time, &ancient));
    assert_int_equal(f->record.row_count, 2);
    must(f, read_table(f, &time, &future));
    assert_int_equal(f->record.row_count, 0);
}

/* Text is compared byte by byte, whatever the collation of the column. */
static void test_watermark_collation(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "s"};
    const struct sp_value since = sp_text("a", 1);
    sql(f,
        "CREATE COLLATION IF NOT EXISTS public.words (provider = icu, locale = 'en');"
        "CREATE TABLE t (s text COLLATE public.words); INSERT INTO t VALUES ('B'), ('b'), ('A')");
    expect_since(f, &table, &since, "b\n");
}

/* --- being told ----------------------------------------------------------------------------- */

struct later {
    struct fixture *f;
    const char *statements;
    double done_ms;
};

static void *sql_later(void *context)
{
    struct later *later = context;
    sleep_ms(50);
    sql(later->f, later->statements);
    later->done_ms = source_now_ms();
    return NULL;
}

static void test_notify(void **state)
{
    struct fixture *f = *state;
    const struct source_table tables[] = {{.name = "a", .relation = "a"},
                                          {.name = "b", .relation = "a", .channel = "Odd \"one"}};
    struct later later = {.f = f, .statements = "NOTIFY sidepond_a"};
    pthread_t thread;
    bool changed = true;
    sql(f, "CREATE TABLE a (x int)");
    open_source(f);
    must(f, f->class->listen(f->source, tables, 2, &f->error));
    must(f, f->class->wait(f->source, 1, &changed, &f->error));
    assert_false(changed);
    assert_int_equal(pthread_create(&thread, NULL, sql_later, &later), 0);
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    const double woken = source_now_ms();
    pthread_join(thread, NULL);
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
                                        " 'sidepond/%'"};
    pthread_t thread;
    open_source(f);
    assert_int_equal(pthread_create(&thread, NULL, sql_later, &later), 0);
    int status = SP_OK;
    while (status == SP_OK)
        status = f->class->wait(f->source, 10000, &changed, &f->error);
    pthread_join(thread, NULL);
    assert_int_equal(status, SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
}

static void big_table(struct fixture *f, long rows)
{
    char make[256];
    snprintf(make, sizeof(make),
             "CREATE UNLOGGED TABLE big AS SELECT i::int8 AS id, repeat('x', 100) AS s FROM"
             " generate_series(1, %ld) i",
             rows);
    sql(f, make);
}

static void crash_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("crash");
}

static void test_server_killed(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "kept"};
    sql(f, "CREATE TABLE kept AS SELECT i AS id, repeat('x', 100) AS s FROM"
           " generate_series(1, 200000) i");
    open_source(f);
    f->record = (struct source_record){.count_only = true, .at_row = crash_at_1000};
    assert_int_equal(source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error),
                     SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    expect_open_error(f, f->dsn, NULL, "source shop: cannot connect: connection to server");
    server("start");
    close_source(f);
    admin_connect(f);
    f->record = (struct source_record){.count_only = true};
    open_source(f);
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    assert_int_equal(f->record.row_count, 200000);
}

static const char sleepy[] = "SELECT 1 AS id, pg_sleep(1000)::text AS s";

static void test_statement_timeout(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = sleepy};
    f->options.statement_timeout_ms = 100;
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: canceling statement due to statement timeout (SQLSTATE 57014)");
    assert_true(f->error.transient);
}

static void pause_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("pause");
}

/* A server that hangs in the middle of the rows: our own clock ends it. */
static void test_server_hangs(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    big_table(f, 200000);
    f->options.statement_timeout_ms = 1000;
    open_source(f);
    f->record = (struct source_record){.count_only = true, .at_row = pause_at_1000};
    const double begun = source_now_ms();
    const int status = source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error);
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: the server has not answered within statement_timeout");
    assert_in_range((long)(source_now_ms() - begun), 1000, 15000);
}

/* What the server ran for us is gone soon after the connection is closed. Before PostgreSQL 14 a
 * server that computes does not look. */
static void expect_no_backend(struct fixture *f)
{
    const double begun = source_now_ms();
    if (PQserverVersion(f->admin) < 140000)
        sql(f, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
               " WHERE application_name LIKE 'sidepond/%'");
    while (sql_long(f, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE"
                       " 'sidepond/%'") > 0) {
        assert_true(source_now_ms() - begun < 10000);
        sleep_ms(20);
    }
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    const struct source_table rows = {.name = "t",
                                      .query = "SELECT generate_series(1, 2000000000) AS i"};
    const struct source_table silent = {.name = "t", .query = sleepy};
    const struct source_table *const tables[] = {&rows, &silent};
    bool changed;
    for (size_t i = 0; i < 2; i++) {
        open_source(f);
        f->record = (struct source_record){.count_only = true};
        source_canceler_start(&canceler, f->class, f->source, 100);
        assert_int_equal(
            source_record_read(f->class, f->source, tables[i], NULL, &f->record, &f->error),
            SP_ECANCELED);
        source_canceler_join(&canceler);
        assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
        close_source(f);
        expect_no_backend(f);
    }
    open_source(f);
    source_canceler_start(&canceler, f->class, f->source, 50);
    assert_int_equal(f->class->wait(f->source, 60000, &changed, &f->error), SP_ECANCELED);
    source_canceler_join(&canceler);
    must(f, f->class->wait(f->source, 1, &changed, &f->error)); /* waiting does no harm */
    must(f, f->class->begin(f->source, &f->error));
    f->class->cancel(f->source); /* nothing runs: ends the next call */
    assert_int_equal(f->class->end(f->source, &f->error), SP_ECANCELED);
}

static void test_sink_stops(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t",
                                       .query = "SELECT generate_series(1, 2000000000) AS i"};
    open_source(f);
    f->record = (struct source_record){.count_only = true, .stop_at = 10, .stop_status = SP_ENOSPC};
    assert_int_equal(source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error),
                     SP_ENOSPC);
    assert_int_equal(f->record.row_count, 10);
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
    const bool sanitized = getenv("SIDEPOND_SANITIZE") && getenv("SIDEPOND_SANITIZE")[0];
    const struct source_table table = {.name = "big", .relation = "big"};
    const long rows = sanitized ? 100000 : 1000000;
    big_table(f, rows);
    open_source(f);
    f->record = (struct source_record){.count_only = true};
    const long before = source_rss_kib();
    const double begun = source_now_ms();
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    print_message("%ld rows in %.0f ms, grown by %ld KiB\n", rows, source_now_ms() - begun,
                  source_rss_kib() - before);
    assert_int_equal(f->record.row_count, rows);
    assert_int_equal(f->record.bytes, rows * 100);
    if (!sanitized) /* whose allocator keeps what was freed */
        assert_true(source_rss_kib() - before < 4096);
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
