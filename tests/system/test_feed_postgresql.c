/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: PostgreSQL's change feed delivers every committed transaction once, in order, as a whole
 * and to the byte as COPY would; says of itself when it cannot; and joins snapshot and stream
 * without a gap or an overlap. Method: runs under pg_server.py, which starts a server for it alone.
 * The source is driven directly; what it tells is kept as a model of the tables, which is compared
 * with the database. Writers run beside it where the order of things could matter; their seed is
 * printed.
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
#include <time.h>

#include "feed_pg_fixture.h"

#define PUBLISH                                                                                    \
    "CREATE PUBLICATION sidepond FOR ALL TABLES WITH (publish_via_partition_root = true)"

/* --- types ---------------------------------------------------------------------------------- */

static const char types_sql[] =
    "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog;"
    "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA pg_catalog;"
    "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);"
    "CREATE DOMAIN email AS citext; CREATE DOMAIN small AS int2; CREATE DOMAIN ints AS int[];"
    "CREATE TABLE t (id int PRIMARY KEY, a int2, b int8, c oid, d float4, e float8, g bool,"
    " h numeric, i numeric(10,3), j text, k varchar(20), l char(4), m name, n mood, o email,"
    " p bytea, q uuid, r small, s \"char\", z timestamptz, zl timestamp, zd date, js json,"
    " jb jsonb, ai int[], at text[], an numeric[], ab bool[], af float8[], ad date[],"
    " az timestamptz[], al timestamp[], aj jsonb[], am mood[], ax box[], ae email[], di ints,"
    " iv interval, ip inet, ci cidr, ti time, tz timetz, ra int4range, mr int4multirange,"
    " mo money, pa pair, bi bit(3), po point, xm xml, ts tsvector, hs hstore, rg regclass,"
    " rt tstzrange, ls pg_lsn, ma macaddr)";

static const char types_rows[] =
    "INSERT INTO t VALUES (1, -32768, -9223372036854775808, 4294967295, 0.1, 0.1, true, 0,"
    " 1.5, E'caf\\u00e9 \\U0001F600 \\\\ \" '' \\x01', 'abc', 'ab', 'nam', 'ok', 'A@b', '\\x00ff',"
    " '00112233-4455-6677-8899-AABBCCDDEEFF', 7, 'x', '2026-11-20 12:00:00.123456+02',"
    " '1969-12-31 23:59:59.999999', '2000-01-01', '{\"a\":  1}', '{\"b\": [1, 2], \"a\": 1.50}',"
    " '{1,NULL,3}', '{{a,\"b \\\"c\\\\ d\"},{NULL,\"NULL\"}}', '{1.50,NaN,-Infinity}', "
    "'{t,f,NULL}',"
    " '{1e300,-0,NaN,0.1}', '{2026-01-01,infinity,0044-03-15 BC}',"
    " '{2026-11-20 12:00:00.5+02,infinity,0044-03-15 12:00:00+00 BC,1800-01-01 00:00:00+00}',"
    " '{2026-11-20 12:00:00.5,-infinity}', ARRAY['{\"x\": 1}', '\"a b\"']::jsonb[], '{sad,ok}',"
    " '{(1,1),(0,0);(2,2),(1,1)}', '{A@b,\"c d\"}', '{3,4}', '1 day 02:00', '10.0.0.1', "
    "'10.0.0.0/8',"
    " '12:00', '12:00+01', '[1,5)', '{[1,5),[8,9)}', '1234.5', '(1,\"x y\")', '101', '(1,2)',"
    " '<?xml version=\"1.0\"?><a/>', 'x y', 'a=>1, b=>NULL', 't', '[2026-01-01,2026-02-01)', "
    "'16/B37',"
    " '08:00:2b:01:02:03'),"
    "(2, 32767, 9223372036854775807, 0, '-Infinity', '-1e-300', false, 'NaN', NULL, '', '', '', '',"
    " 'sad', '', '', NULL, -8, '', 'infinity', '-infinity', '-infinity', 'null', '\"x\"', '{}', "
    "'{}',"
    " '[2:3]={1,2}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '-1 mon',"
    " '::1', '::/0', '00:00', '00:00-05:30', 'empty', '{}', '-1', '(,)', '000', '(0,-1e10)', 'x', "
    "'',"
    " '', NULL, 'empty', '0/0', 'ff:ff:ff:ff:ff:ff'),"
    "(4, 0, 0, 1, '1e-40', 1.7976931348623157e308, NULL, 'Infinity', -0.001,"
    " E'tab\\there \\b\\f', ' ', 'a b ', '', NULL, NULL, NULL, NULL, NULL, NULL,"
    " '4713-01-01 00:00:00+00 BC', '294246-12-31 00:00:00', '5874897-12-31', NULL, NULL,"
    " '{{1,2},{3,4}}', E'{\"\",\"a,b\",\"{x}\",\"\\\\\\\\ \\t\"}', '{0.00010}', NULL, NULL, NULL,"
    " '{{2000-01-01 00:00:00+00},{2000-01-01 00:00:00.000001+00}}', NULL, NULL, NULL, NULL, NULL,"
    " NULL, NULL, '10.0.0.1/8', NULL, '12:00:00.000001', NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
    " '<a>&amp;</a>', NULL, NULL, NULL, NULL, NULL, NULL);"
    "INSERT INTO t (id) VALUES (5)";

/* What the stream says must be what COPY says, for each type. In several time zones, as text of
 * ranges and arrays is in the role's. */
static void test_types(void **state)
{
    static const char *const zones[] = {"UTC", "Asia/Kolkata", "America/St_Johns",
                                        "Europe/Amsterdam"};
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, types_sql);
    sql(x->f, PUBLISH);
    for (size_t i = 0; i < sizeof(zones) / sizeof(*zones); i++) {
        char set[100];
        snprintf(set, sizeof(set), "ALTER ROLE postgres SET TimeZone = '%s'", zones[i]);
        sql(x->f, set);
        close_source(x->f);
        feed_begin(x);
        sql(x->f, "TRUNCATE t");
        sql(x->f, types_rows);
        sql(x->f, "UPDATE t SET a = 1 WHERE id = 1");
        feed_sync(x);
        assert_int_equal(x->model.tables[0].row_count, 4);
        feed_expect_same(x);
    }
    sql(x->f, "ALTER ROLE postgres RESET TimeZone");
    sql(x->f, "INSERT INTO t (id, z, j) VALUES (9, '294276-12-31', 'x')");
    feed_sync(x);
    assert_int_equal(x->model.tables[0].bad_count, 1);
    assert_string_equal(x->model.tables[0].last_bad,
                        "z: a time that does not fit: after the year 294247");
}

static void test_random_values(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id serial PRIMARY KEY, n numeric, e float8, d float4,"
              " z timestamptz, da date, b bytea, fs float8[], s text[], zs timestamptz[]);"
              " SET TimeZone = 'America/St_Johns'");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t (n, e, d, z, da, b, fs, s, zs) SELECT"
              " (random() * 10 ^ (random() * 60 - 30))::numeric, v, v::float4,"
              " 'epoch'::timestamptz + (random() - 0.5) * interval '8000 years',"
              " date '2000-01-01' + ((random() - 0.5) * 2000000)::int, decode(md5(i::text), 'hex'),"
              " ARRAY[v, NULL, -v], ARRAY[chr(1 + i % 200), chr(1 + i / 3), NULL, i::text],"
              " ARRAY['epoch'::timestamptz + (random() - 0.5) * interval '800 years']"
              " FROM (SELECT i, (random() - 0.5) * 10 ^ (random() * 70 - 35) AS v"
              " FROM generate_series(1, 3000) i OFFSET 0) q WHERE chr(1 + i % 200) <> E'\\n'"
              " AND chr(1 + i / 3) <> E'\\n'");
    feed_sync(x);
    assert_true(x->model.tables[0].row_count > 2900);
    feed_expect_same(x);
}

/* --- changes -------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text, big text);"
              "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i");
    sql(x->f, PUBLISH);
    feed_begin(x);
    assert_int_equal(x->model.tables[0].row_count, 10);
    sql(x->f, "INSERT INTO t VALUES (11, 'new'); UPDATE t SET a = 'changed' WHERE id = 2;"
              "DELETE FROM t WHERE id = 3; UPDATE t SET id = 40 WHERE id = 4");
    sql(x->f, "BEGIN; DELETE FROM t; ROLLBACK");
    sql(x->f, "BEGIN; SAVEPOINT a; DELETE FROM t; ROLLBACK TO a;"
              " INSERT INTO t VALUES (50, 'after a savepoint'); COMMIT");
    /* keys that move onto each other's places within one transaction */
    sql(x->f, "BEGIN; UPDATE t SET id = 100 WHERE id = 5; UPDATE t SET id = 5 WHERE id = 6;"
              " UPDATE t SET id = 6 WHERE id = 100; COMMIT");
    feed_sync(x);
    feed_expect_same(x);
    assert_int_equal(x->model.tables[0].remove_count, 1);
    sql(x->f,
        "TRUNCATE t, marker; INSERT INTO marker VALUES (1, 0); INSERT INTO t VALUES (1, 'x')");
    feed_sync(x);
    feed_expect_same(x);
    assert_int_equal(x->model.tables[0].truncate_count, 1);
    assert_int_equal(x->model.tables[0].row_count, 1);
    assert_int_equal(x->model.tables[0].reshape_count, 0);
}

/* A value that is stored apart and has not changed is not in the log. */
static void test_unchanged_values(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    feed_table(x, "u", feed_key_id);
    sql(x->f, "CREATE TABLE t (id text PRIMARY KEY, n int, big text);"
              "ALTER TABLE t ALTER big SET STORAGE EXTERNAL;"
              "ALTER TABLE t ALTER id SET STORAGE EXTERNAL;"
              "CREATE TABLE u (LIKE t INCLUDING ALL); ALTER TABLE u REPLICA IDENTITY FULL;"
              "INSERT INTO t VALUES ('a', 1, repeat('x', 20000)), (repeat('k', 2500), 1, 'y');"
              "INSERT INTO u TABLE t");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "UPDATE t SET n = 2; UPDATE u SET n = 2; UPDATE t SET id = 'b' WHERE id = 'a';"
              "UPDATE u SET id = 'b' WHERE id = 'a'; UPDATE u SET big = 'z' WHERE id = 'b'");
    feed_sync(x);
    feed_expect_same(x);
}

/* Whole transactions, also where next() returns in the middle of one, and their time. */
static void test_large_transaction(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i");
    unsigned calls = 0;
    while (x->model.transaction_count == 0) {
        must(x->f, feed_next(x, 10000));
        calls++;
    }
    assert_true(calls > 1);
    assert_int_equal(x->model.tables[0].row_count, 50000);
    const int64_t off = x->model.at_us - (int64_t)time(NULL) * 1000000;
    assert_true(off > -30 * INT64_C(1000000) && off < 30 * INT64_C(1000000));
    feed_sync(x);
    feed_expect_same(x);
    /* the caller may ask to stop at each */
    const unsigned long before = x->model.transaction_count;
    x->model.stop_at_each = true;
    sql(x->f, "INSERT INTO t VALUES (-1); DELETE FROM t WHERE id = -1;");
    sql(x->f, "INSERT INTO t VALUES (-2)");
    feed_sync(x);
    assert_int_equal(x->model.transaction_count, before + 3);
}

/* --- what is refused ------------------------------------------------------------------------ */

static void test_refusals(void **state)
{
    static const char *const key_a[] = {"a", NULL};
    struct feed_fixture *x = *state;
    struct source_table *t = feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL)");
    feed_expect_refusal(x, "source shop: there is no such publication: CREATE PUBLICATION"
                           " \"sidepond\" FOR TABLE \"t\", \"marker\" WITH"
                           " (publish_via_partition_root = true)");
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE marker WITH (publish = 'insert')");
    feed_expect_refusal(x, "source shop: ALTER PUBLICATION \"sidepond\" SET (publish = 'insert,"
                           " update, delete, truncate'): not all of these are published");
    sql(x->f, "ALTER PUBLICATION \"sidepond\" SET (publish = 'insert, update, delete, truncate')");
    feed_expect_refusal(x, "table t: ALTER PUBLICATION \"sidepond\" ADD TABLE \"t\"");
    sql(x->f, "ALTER PUBLICATION sidepond ADD TABLE t");
    must(x->f, feed_check(x));
    t->key = key_a;
    feed_expect_refusal(x, "table t: a deleted row would not be told by its key column a: ALTER"
                           " TABLE t REPLICA IDENTITY FULL, or USING INDEX one that has it");
    sql(x->f, "CREATE UNIQUE INDEX i ON t (a); ALTER TABLE t REPLICA IDENTITY USING INDEX i");
    must(x->f, feed_check(x));
    t->key = feed_key_id;
    sql(x->f, "ALTER TABLE t REPLICA IDENTITY NOTHING");
    feed_expect_refusal(x, "table t: a deleted row would not be told by its key column id: ALTER"
                           " TABLE t REPLICA IDENTITY FULL, or USING INDEX one that has it");
    sql(x->f, "ALTER TABLE t REPLICA IDENTITY FULL");
    must(x->f, feed_check(x));
    sql(x->f, "ALTER TABLE t ADD g int GENERATED ALWAYS AS (id * 2) STORED");
    feed_expect_refusal(x, PQserverVersion(x->f->admin) < 180000
                               ? "table t: column g is generated, and so not in the stream: name"
                                 " the others by `columns`"
                               : "table t: column g is generated, and not published: ALTER"
                                 " PUBLICATION ... SET (publish_generated_columns = stored)");
    sql(x->f,
        "ALTER TABLE t DROP g; CREATE TYPE pair AS (a int, b text); ALTER TABLE t ADD p pair[]");
    feed_expect_refusal(x, "table t: column p is an array of objects: leave it out by `columns`");
    sql(x->f, "ALTER TABLE t DROP p; CREATE DOMAIN ints AS int[]; ALTER TABLE t ADD p ints[]");
    feed_expect_refusal(x, "table t: column p is an array of arrays of a type of its own: leave it"
                           " out by `columns`");
    sql(x->f, "ALTER TABLE t DROP p; CREATE VIEW v AS SELECT * FROM t");
    t->relation = "v";
    feed_expect_refusal(x, "table t: it is no table of this database but a view or a foreign one,"
                           " which has no changes of its own");
    t->relation = NULL;
    t->query = "SELECT * FROM t";
    feed_expect_refusal(x, "table t: the changes of a query cannot be followed: name a table by"
                           " `relation`");
}

static void test_refusals_by_rows(void **state)
{
    struct feed_fixture *x = *state;
    struct source_table *t = feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL);"
              "ALTER TABLE t REPLICA IDENTITY FULL;"
              "CREATE PUBLICATION sidepond FOR TABLE marker, t");
    t->where = "id > 5";
    char text[SOURCE_ERROR_BYTES];
    snprintf(text, sizeof(text),
             "table t: its changes can only be followed if the publication has the same condition:"
             " ALTER PUBLICATION \"sidepond\" ADD TABLE t WHERE (id > 5)%s",
             PQserverVersion(x->f->admin) < 150000 ? " (PostgreSQL 15)" : ", after a DROP TABLE");
    feed_expect_refusal(x, text);
    t->where = NULL;
    need_server(x->f, 150000);
    sql(x->f, "ALTER PUBLICATION sidepond SET TABLE marker, t WHERE (id > 4)");
    feed_expect_refusal(x, "table t: the publication has some of its rows only: `where:` has to say"
                           " which: (id > 4)");
    t->where = "id > 5";
    feed_expect_refusal(x, "table t: its changes can only be followed if the publication has the"
                           " same condition: ALTER PUBLICATION \"sidepond\" ADD TABLE t WHERE"
                           " (id > 5), after a DROP TABLE");
    t->where = "id >= 5 - 1 AND id <> 4"; /* is not seen to be the same */
    assert_int_equal(feed_check(x), SP_ECONFIG);
    t->where = "4 < t.id";
    assert_int_equal(feed_check(x), SP_ECONFIG);
    t->where = "t.id > 2 + 2";
    must(x->f, feed_check(x));
    t->where = NULL;
    sql(x->f, "ALTER PUBLICATION sidepond SET TABLE marker, t (id)");
    feed_expect_refusal(x, "table t: column a is not in the publication's column list");
}

static void test_refusals_of_server(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    sql(x->f, "GRANT SELECT ON marker TO reader");
    x->f->options.dsn = x->f->reader;
    feed_expect_refusal(x, "source shop: the role may not follow changes: ALTER ROLE \"reader\""
                           " REPLICATION");
    sql(x->f, "ALTER ROLE reader REPLICATION");
    close_source(x->f);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
    close_source(x->f);
    sql(x->f, "ALTER ROLE reader NOREPLICATION;"
              "SELECT pg_drop_replication_slot('pond_a') FROM pg_replication_slots WHERE active_pid"
              " IS NULL");
    sql(x->f, "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_replication_slots WHERE active_pid IS NOT"
              " NULL) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;"
              "SELECT pg_drop_replication_slot('pond_a') FROM pg_replication_slots;"
              "SELECT pg_create_physical_replication_slot('pond_a')");
    x->f->options.dsn = x->f->dsn;
    feed_expect_refusal(x, "source shop: there is a replication slot pond_a of another kind (plugin"
                           " , database ): SELECT pg_drop_replication_slot('pond_a')");
    sql(x->f, "SELECT pg_drop_replication_slot('pond_a');"
              "SELECT pg_create_physical_replication_slot('s' || i)"
              " FROM generate_series(1, current_setting('max_replication_slots')::int - 1) i");
    feed_expect_refusal(x, "source shop: 1 replication slots are free and 2 needed: raise"
                           " max_replication_slots by ALTER SYSTEM, then restart the server");
}

static void test_row_filter(void **state)
{
    struct feed_fixture *x = *state;
    struct source_table *t = feed_table(x, "t", feed_key_id);
    need_server(x->f, 150000);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text, b int);"
              "ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t SELECT i, 'a', i"
              " FROM generate_series(1, 10) i;"
              "CREATE PUBLICATION sidepond FOR TABLE marker, t WHERE (b > 5 AND a = 'a')");
    t->where = "b > 5 AND a = 'a'";
    feed_begin(x);
    assert_int_equal(x->model.tables[0].row_count, 5);
    char before[FEED_STREAM_BYTES];
    memcpy(before, x->stream, sizeof(before));
    sql(x->f, "UPDATE t SET b = 7 WHERE id = 1; UPDATE t SET b = 1 WHERE id = 9;"
              "UPDATE t SET a = 'b' WHERE id = 10; DELETE FROM t WHERE id < 4;"
              "INSERT INTO t VALUES (20, 'a', 20), (21, 'x', 21)");
    feed_sync(x);
    feed_expect_same(x);
    close_source(x->f);
    must(x->f, feed_check(x));
    assert_string_equal(before, x->stream);
    /* another condition is another set of rows */
    close_source(x->f);
    t->where = "b > 6";
    sql(x->f, "ALTER PUBLICATION sidepond SET TABLE marker, t WHERE (b > 6)");
    must(x->f, feed_check(x));
    assert_string_not_equal(before, x->stream);
}

/* The position's place in the log, as SQL has it. */
static int lsn_bytes(const struct feed_fixture *x)
{
    return (int)strcspn(x->model.position, "@");
}

/* --- positions ------------------------------------------------------------------------------ */

static void test_resume(void **state)
{
    struct feed_fixture *x = *state;
    uint64_t lag;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t VALUES (1, 'a')");
    feed_sync(x);
    const unsigned long seen = x->model.transaction_count;
    sql(x->f, "INSERT INTO t VALUES (2, 'b')");
    feed_reopen(x);
    feed_sync(x);
    assert_int_equal(x->model.transaction_count, seen + 2); /* nothing again */
    feed_expect_same(x);
    must(x->f, x->class->lag(x->f->source, &lag, &x->f->error));
    assert_true(lag > 0 && lag < 16 * 1024 * 1024);
    must(x->f, x->class->confirm(x->f->source, x->model.position, &x->f->error));
    /* what was confirmed is not to be had again */
    feed_sync(x);
    must(x->f, x->class->confirm(x->f->source, x->model.position, &x->f->error));
    char at[300];
    snprintf(at, sizeof(at),
             "SELECT (confirmed_flush_lsn >= '%.*s')::int FROM pg_replication_slots"
             " WHERE slot_name = 'pond_a'",
             lsn_bytes(x), x->model.position);
    while (sql_long(x->f, at) == 0)
        must(x->f, feed_next(x, 10));
    close_source(x->f);
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->position, &x->f->error), SP_ENOTFOUND);
    assert_string_equal(x->f->error.text,
                        "source shop: the replication slot pond_a does not go back"
                        " to the position that is asked for");
    assert_int_equal(x->class->start(x->f->source, "7FFFFFFF/0@1", &x->f->error), SP_ENOTFOUND);
    assert_int_equal(x->class->start(x->f->source, "0/1@7", &x->f->error), SP_ENOTFOUND);
    assert_string_equal(x->f->error.text,
                        "source shop: the server's log is another one since before"
                        " the position (timeline 1 instead of 7)");
    assert_int_equal(x->class->start(x->f->source, "not one", &x->f->error), SP_ENOTFOUND);
}

static void expect_gone(struct feed_fixture *x, const char *why)
{
    close_source(x->f);
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->position, &x->f->error), SP_ENOTFOUND);
    assert_string_equal(x->f->error.text, why);
    feed_snapshot(x); /* which makes the slot again */
    feed_start(x);
    feed_sync(x);
    feed_expect_same(x);
}

static void test_slot_gone(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    close_source(x->f);
    open_source(x->f);
    must(x->f, x->class->drop(x->f->source, &x->options, &x->f->error));
    must(x->f, x->class->drop(x->f->source, &x->options, &x->f->error)); /* once more is no error */
    assert_int_equal(sql_long(x->f, "SELECT count(*) FROM pg_replication_slots"), 0);
    expect_gone(x, "source shop: the replication slot pond_a is gone");
    /* the server gives it up, as it may where its disk would fill */
    close_source(x->f);
    sql(x->f, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
    sql(x->f, "ALTER SYSTEM SET max_wal_size = '32MB'");
    sql(x->f, "SELECT pg_reload_conf()");
    for (int i = 0; i < 4; i++)
        sql(x->f, "SELECT pg_logical_emit_message(false, '', 'x'); SELECT pg_switch_wal();");
    sql(x->f, "CHECKPOINT");
    assert_int_equal(sql_long(x->f, "SELECT (wal_status = 'lost')::int FROM pg_replication_slots"),
                     1);
    sql(x->f, "ALTER SYSTEM RESET max_slot_wal_keep_size");
    sql(x->f, "ALTER SYSTEM RESET max_wal_size");
    sql(x->f, "SELECT pg_reload_conf()");
    expect_gone(x, "source shop: the replication slot pond_a was given up by the server"
                   " (max_slot_wal_keep_size)");
}

/* Nothing of the tables, but much else: the position moves on, so that the log need not be kept,
 * and the time says that the pond is not behind. */
static void test_idle(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, "CREATE TABLE other (id serial, a text)");
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE marker");
    feed_begin(x);
    feed_sync(x);
    sql(x->f, "INSERT INTO other (a) SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
    char at[100];
    const double deadline = source_now_ms() + 10000;
    const unsigned long idle = x->model.idle_count;
    const int64_t began = (int64_t)time(NULL) * 1000000;
    snprintf(at, sizeof(at), "SELECT ('%.*s' < pg_current_wal_lsn())::int", lsn_bytes(x),
             x->model.position);
    assert_int_equal(sql_long(x->f, at), 1);
    while (x->model.idle_count == idle && source_now_ms() < deadline)
        must(x->f, feed_next(x, 1000));
    assert_true(x->model.idle_count > idle);
    assert_true(x->model.at_us >= began - 1000000);
    snprintf(at, sizeof(at), "SELECT (pg_current_wal_lsn() - '%.*s' < 100000)::int", lsn_bytes(x),
             x->model.position);
    assert_int_equal(sql_long(x->f, at), 1);
}

/* The log is flushed up to the middle of a record while who writes it does not commit. All that is
 * there has been sent all the same. */
static void test_idle_within_a_record(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f,
        "CREATE TABLE other (id int, a text); ALTER TABLE other ALTER a SET STORAGE EXTERNAL");
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE marker");
    feed_begin(x);
    feed_sync(x);
    PGconn *writer = PQconnectdb(x->f->dsn);
    PQclear(PQexec(writer, "BEGIN; INSERT INTO other SELECT i, repeat('x', 50000)"
                           " FROM generate_series(1, 20) i"));
    const int64_t began = (int64_t)time(NULL) * 1000000;
    const double deadline = source_now_ms() + 8000;
    unsigned long idle = x->model.idle_count;
    for (int rounds = 0; rounds < 3; rounds++, idle = x->model.idle_count)
        while (x->model.idle_count == idle && source_now_ms() < deadline)
            must(x->f, feed_next(x, 100));
    PQfinish(writer);
    assert_true(source_now_ms() < deadline);
    assert_true(x->model.at_us >= began);
    feed_sync(x);
}

/* What the role has for sessions that wait is not for the one that holds the first snapshot. */
static void test_idle_while_loading(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    sql(x->f, "ALTER ROLE postgres SET idle_in_transaction_session_timeout = '100ms'");
    const int status = feed_check(x);
    sql(x->f, "ALTER ROLE postgres RESET idle_in_transaction_session_timeout");
    must(x->f, status);
    must(x->f, x->class->snapshot(x->f->source, x->position, &x->f->error));
    sleep_ms(500); /* as a long load */
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
    feed_start(x);
    sql(x->f, "UPDATE marker SET n = -1");
    while (x->model.transaction_count == 0)
        must(x->f, feed_next(x, 100));
}

/* --- snapshots while others write ------------------------------------------------------------ */

struct writer {
    struct feed_fixture *x;
    pthread_t thread;
    unsigned seed;
    atomic_bool *stop;
    unsigned long committed;
};

/* Accounts whose sum stays: money moves, accounts are merged and split, keys change. */
static void write_once(PGconn *conn, unsigned *seed)
{
    char statement[700];
    const int a = (int)(rand_r(seed) % 200), b = (int)(rand_r(seed) % 200);
    const char *end = rand_r(seed) % 5 == 0 ? "ROLLBACK" : "COMMIT";
    switch (rand_r(seed) % 4) {
    case 0: /* merge */
        snprintf(statement, sizeof(statement),
                 "BEGIN; WITH d AS (DELETE FROM t WHERE id = %d AND id <> (SELECT min(id) FROM t)"
                 " RETURNING n) UPDATE t SET n = n + (SELECT n FROM d) WHERE id ="
                 " (SELECT min(id) FROM t) AND EXISTS (SELECT FROM d); %s",
                 a, end);
        break;
    case 1: /* split */
        snprintf(statement, sizeof(statement),
                 "BEGIN; UPDATE t SET n = n - 1 WHERE id = (SELECT min(id) FROM t);"
                 " INSERT INTO t SELECT coalesce(max(id), 0) + 1, 1 FROM t; %s",
                 end);
        break;
    case 2: /* another key */
        snprintf(statement, sizeof(statement),
                 "BEGIN; UPDATE t SET id = %d WHERE id = %d AND NOT EXISTS"
                 " (SELECT FROM t WHERE id = %d); %s",
                 a, b, a, end);
        break;
    default:
        snprintf(
            statement, sizeof(statement),
            "BEGIN; UPDATE t SET n = n + CASE id WHEN %d THEN 1 ELSE -1 END WHERE id IN (%d, %d)"
            " AND (SELECT count(*) FROM t WHERE id IN (%d, %d)) = 2; %s",
            a, a, b, a, b, end);
    }
    PGresult *result = PQexec(conn, statement);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        PQclear(PQexec(conn, "ROLLBACK"));
    PQclear(result);
}

static void *write_on(void *context)
{
    struct writer *writer = context;
    PGconn *conn = PQconnectdb(writer->x->f->dsn);
    PQclear(PQexec(conn, "SET default_transaction_isolation = 'serializable';"
                         "SET client_min_messages = 'error'"));
    while (!atomic_load(writer->stop)) {
        write_once(conn, &writer->seed);
        writer->committed++;
    }
    PQfinish(conn);
    return NULL;
}

static long sum_of(const struct feed_model *model)
{
    long sum = 0;
    for (size_t i = 0; i < sizeof(model->tables[0].buckets) / sizeof(void *); i++)
        for (const struct feed_model_row *row = model->tables[0].buckets[i]; row; row = row->next)
            sum += strtol(row->cells[1], NULL, 10);
    return sum;
}

static void check_sum(struct feed_model *model)
{
    if (sum_of(model) != 1000)
        fail_msg("at %s the sum is %ld", model->position, sum_of(model));
}

static void run_under_writers(struct feed_fixture *x, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        close_source(x->f);
        must(x->f, feed_check(x));
        feed_snapshot(x);
        check_sum(&x->model);
        feed_start(x);
        for (int k = 0; k < 20; k++)
            must(x->f, feed_next(x, 20));
        feed_compare(x);
        feed_compare(x);
        for (int k = 0; k < 10 || x->model.inside; k++) /* a model cannot give up a half */
            must(x->f, feed_next(x, 20));
        feed_reopen(x);
        for (int k = 0; k < 10; k++)
            must(x->f, feed_next(x, 20));
        assert_int_equal(x->model.tables[0].odd_count, 0);
    }
}

static void test_joined_without_gap(void **state)
{
    struct feed_fixture *x = *state;
    atomic_bool stop = false;
    struct writer writers[4];
    const char *given = getenv("SIDEPOND_TEST_SEED");
    const unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, n int NOT NULL);"
              "CREATE UNIQUE INDEX i ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX i;"
              "INSERT INTO t SELECT i, 10 FROM generate_series(1, 100) i");
    sql(x->f, PUBLISH);
    for (int i = 0; i < 4; i++) {
        writers[i] = (struct writer){.x = x, .seed = seed + (unsigned)i, .stop = &stop};
        pthread_create(&writers[i].thread, NULL, write_on, &writers[i]);
    }
    x->model.at_commit = check_sum;
    run_under_writers(x, 3);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(writers[i].thread, NULL);
    feed_sync(x);
    feed_expect_same(x);
    print_message("%lu transactions seen\n", x->model.transaction_count);
    assert_true(x->model.transaction_count > 50);
}

/* --- when things break ----------------------------------------------------------------------- */

/* While rows are read for long, the server hears of us: it would give up after a minute. */
static int slow_row(void *context, const struct sp_value *values, unsigned count)
{
    (void)context;
    (void)values;
    (void)count;
    sleep_ms(1);
    return SP_OK;
}

static void test_heard_of_during_a_long_read(void **state)
{
    struct feed_fixture *x = *state;
    const struct source_sink slow = {x, slow_row, NULL};
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text);"
              "INSERT INTO t SELECT i FROM generate_series(1, 5000) i");
    sql(x->f, PUBLISH);
    feed_begin(x);
    feed_sync(x);
    must(x->f, x->class->snapshot(x->f->source, x->position, &x->f->error));
    while (x->model.snapshot_count == 0)
        must(x->f, feed_next(x, 1000));
    sql(x->f, "SELECT set_config('test.before', reply_time::text, false) FROM pg_stat_replication"
              " JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = 'pond_a'");
    must(x->f, x->f->class->stream(x->f->source, &x->tables[0], &x->descriptions[0], NULL, &slow,
                                   &x->f->error));
    assert_int_equal(
        sql_long(x->f, "SELECT (reply_time > current_setting('test.before')"
                       "::timestamptz)::int FROM pg_stat_replication JOIN pg_replication_slots"
                       " ON active_pid = pid WHERE slot_name = 'pond_a'"),
        1);
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
    feed_sync(x);
}

static void test_server_killed(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t VALUES (1, 'a')");
    feed_sync(x);
    sql(x->f, "INSERT INTO t VALUES (2, 'b')");
    server("crash");
    int status = SP_OK;
    for (int i = 0; i < 100 && status == SP_OK; i++)
        status = feed_next(x, 100);
    assert_int_equal(status, SP_ESOURCE);
    assert_true(x->f->error.transient);
    server("start");
    admin_connect(x->f);
    const unsigned long seen = x->model.transaction_count;
    feed_reopen(x);
    feed_sync(x);
    assert_true(x->model.transaction_count <= seen + 2); /* nothing twice */
    feed_expect_same(x);
}

static void test_canceled(void **state)
{
    struct feed_fixture *x = *state;
    struct source_canceler canceler;
    sql(x->f, PUBLISH);
    feed_begin(x);
    source_canceler_start(&canceler, x->f->class, x->f->source, 50);
    const double began = source_now_ms();
    int status = SP_OK;
    while (status == SP_OK && source_now_ms() < began + 5000)
        status = feed_next(x, 5000);
    source_canceler_join(&canceler);
    assert_int_equal(status, SP_ECANCELED);
    assert_true(source_now_ms() - began < 2000);
}

/* A slot that is being made waits for whoever writes. If that is given up, nothing of it stays,
 * though they go on. */
static void test_slot_given_up(void **state)
{
    struct feed_fixture *x = *state;
    struct source_canceler canceler;
    sql(x->f, PUBLISH);
    sql(x->f, "CREATE TABLE other (id int)");
    must(x->f, feed_check(x));
    sql(x->f, "BEGIN; INSERT INTO other VALUES (1)");
    source_canceler_start(&canceler, x->f->class, x->f->source, 100);
    assert_int_equal(x->class->snapshot(x->f->source, x->position, &x->f->error), SP_ECANCELED);
    source_canceler_join(&canceler);
    close_source(x->f);
    const double deadline = source_now_ms() + 10000;
    while (sql_long(x->f, "SELECT count(*) FROM pg_replication_slots") > 0)
        if (source_now_ms() > deadline)
            fail_msg("the server still makes the slot");
    sql(x->f, "ROLLBACK");
    feed_begin(x);
    feed_sync(x);
}

/* While the feed runs, a snapshot that waits for others is given up soon; the feed goes on over the
 * same connection, and the server keeps nothing of it. */
static void test_no_snapshot_now(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    sql(x->f, "CREATE TABLE other (id int)");
    feed_begin(x);
    PGconn *writer = PQconnectdb(x->f->dsn);
    PQclear(PQexec(writer, "BEGIN; INSERT INTO other VALUES (1)"));
    const double began = source_now_ms();
    assert_int_equal(x->class->snapshot(x->f->source, x->position, &x->f->error), SP_ESOURCE);
    assert_string_equal(x->f->error.text,
                        "source shop: no snapshot to compare with now: it waits for transactions"
                        " that write and do not end");
    assert_true(x->f->error.transient);
    assert_true(source_now_ms() - began < 10000);
    feed_sync(x);
    feed_expect_same(x);
    const double deadline = source_now_ms() + 10000;
    while (sql_long(x->f, "SELECT (SELECT count(*) FROM pg_replication_slots)"
                          " + (SELECT count(*) FROM pg_stat_replication)") != 2)
        if (source_now_ms() > deadline)
            fail_msg("the server still makes the slot");
    PQclear(PQexec(writer, "COMMIT"));
    PQfinish(writer);
    feed_compare(x);
    feed_sync(x);
}

/* While the feed runs, no other connection is to be had for the snapshot: the feed goes on. */
static void test_no_connection_for_a_snapshot(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    sql(x->f, "GRANT SELECT ON marker TO reader; ALTER ROLE reader REPLICATION");
    x->f->options.dsn = x->f->reader;
    feed_begin(x);
    feed_sync(x);
    sql(x->f, "ALTER ROLE reader NOLOGIN");
    const int status = x->class->snapshot(x->f->source, x->position, &x->f->error);
    sql(x->f, "ALTER ROLE reader LOGIN");
    assert_int_equal(status, SP_ESOURCE);
    assert_non_null(strstr(x->f->error.text, "\"reader\" is not permitted to log in"));
    feed_sync(x);
    feed_compare(x);
    feed_sync(x);
    sql(x->f, "ALTER ROLE reader NOREPLICATION");
}

/* The publication goes away under the feed: an error, and the next check says what to do. */
/* The stream ends, or (from PostgreSQL 18 on) leaves out what is not published; then the table's
 * definition is seen to be another. */
static void test_publication_gone(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "DROP PUBLICATION sidepond; UPDATE marker SET n = -1");
    int status = SP_OK;
    for (int i = 0; i < 100 && status == SP_OK && x->model.tables[0].reshape_count == 0; i++)
        status = feed_next(x, 100);
    assert_true(status != SP_OK || x->model.tables[0].reshape_count > 0);
    close_source(x->f);
    assert_int_equal(feed_check(x), SP_ECONFIG);
    sql(x->f, PUBLISH);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_types),
        FEED_TEST(test_random_values),
        FEED_TEST(test_changes),
        FEED_TEST(test_unchanged_values),
        FEED_TEST(test_large_transaction),
        FEED_TEST(test_refusals),
        FEED_TEST(test_refusals_by_rows),
        FEED_TEST(test_refusals_of_server),
        FEED_TEST(test_row_filter),
        FEED_TEST(test_resume),
        FEED_TEST(test_slot_gone),
        FEED_TEST(test_idle),
        FEED_TEST(test_idle_within_a_record),
        FEED_TEST(test_idle_while_loading),
        FEED_TEST(test_joined_without_gap),
        FEED_TEST(test_heard_of_during_a_long_read),
        FEED_TEST(test_server_killed),
        FEED_TEST(test_canceled),
        FEED_TEST(test_slot_given_up),
        FEED_TEST(test_no_snapshot_now),
        FEED_TEST(test_no_connection_for_a_snapshot),
        FEED_TEST(test_publication_gone),
    };
    return cmocka_run_group_tests_name("feed_postgresql", tests, feed_pg_group_setup, NULL);
}
