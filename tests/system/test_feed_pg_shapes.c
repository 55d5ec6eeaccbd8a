/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: a table that changes without a row of it changing, by its columns, its partitions or what
 * is published of it, is noticed by PostgreSQL's change feed, while it runs and while it does not.
 * Method: as test_feed_postgresql.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "feed_pg_fixture.h"

#define PUBLISH                                                                                    \
    "CREATE PUBLICATION sidepond FOR ALL TABLES WITH (publish_via_partition_root = true)"

/* --- columns -------------------------------------------------------------------------------- */

static void expect_reshape(struct feed_fixture *x, unsigned table, const char *why)
{
    const double deadline = source_now_ms() + 15000;
    while (x->model.tables[table].reshape_count == 0 && source_now_ms() < deadline)
        must(x->f, feed_next(x, 100));
    assert_int_equal(x->model.tables[table].reshape_count, 1);
    assert_string_equal(x->model.tables[table].last_reshape, why);
    close_source(x->f);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

static void test_reshaped(void **state)
{
    static const char *const columns[] = {"id", "a", NULL};
    struct feed_fixture *x = *state;
    struct source_table *named = feed_table(x, "u", feed_key_id);
    named->columns = columns;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE u (LIKE t INCLUDING ALL)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    /* told by the stream, with the next row */
    sql(x->f, "ALTER TABLE t ADD c int; INSERT INTO t VALUES (1, 'a', 1)");
    expect_reshape(x, 1, "a column has been added");
    sql(x->f, "ALTER TABLE t DROP c; INSERT INTO t VALUES (2, 'b')");
    expect_reshape(x, 1, "a column is gone or is no longer published");
    sql(x->f, "ALTER TABLE t ALTER a TYPE varchar(20); INSERT INTO t VALUES (3, 'c')");
    expect_reshape(x, 1, "a column is of another type now");
    sql(x->f, "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (3)");
    expect_reshape(x, 1, "another table has its name now");
    /* a column that is not asked for is no change */
    sql(x->f, "ALTER TABLE u ADD c int DEFAULT 5; INSERT INTO u VALUES (1, 'a', 1)");
    feed_sync(x);
    assert_int_equal(x->model.tables[0].reshape_count, 0);
    feed_expect_same(x);
}

/* What changes a table and no row of it, only the catalog knows. */
static void test_reshaped_quietly(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "TRUNCATE t; INSERT INTO t VALUES (1, 1)"); /* which is none of those */
    feed_sync(x);
    const double deadline = source_now_ms() + 10000;
    const unsigned long idle = x->model.idle_count;
    while (x->model.idle_count == idle && source_now_ms() < deadline)
        must(x->f, feed_next(x, 1000));
    assert_int_equal(x->model.tables[0].reshape_count, 0);
    sql(x->f, "ALTER TABLE t ALTER a TYPE int USING a + 1");
    expect_reshape(x, 0, "its definition has changed");
    sql(x->f, "ALTER TABLE t ADD b int DEFAULT 7");
    expect_reshape(x, 0, "its definition has changed");
}

/* --- partitions, publications ---------------------------------------------------------------- */

static void test_partitions(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "CREATE TABLE t2 (a text, id int PRIMARY KEY);" /* another order of columns */
              "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (100) TO (200);"
              "INSERT INTO t VALUES (1, 'a'), (101, 'b')");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t VALUES (2, 'c'), (102, 'd'); UPDATE t SET id = 103 WHERE id = 1;"
              "DELETE FROM t WHERE id = 101; TRUNCATE t; INSERT INTO t2 VALUES ('e', 150)");
    feed_sync(x);
    feed_expect_same(x);
    sql(x->f, "CREATE TABLE t3 (id int PRIMARY KEY, a text); INSERT INTO t3 VALUES (201, 'f');"
              "ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (200) TO (300)");
    expect_reshape(x, 0, "its definition has changed");
    sql(x->f, "TRUNCATE t3"); /* which the stream does not tell of */
    expect_reshape(x, 0, "its definition has changed");
}

/* Looks at each table twice. */
static void look_around(struct feed_fixture *x)
{
    const double deadline = source_now_ms() + 20000;
    const unsigned long idle = x->model.idle_count + 2 * x->count;
    while (x->model.idle_count < idle && source_now_ms() < deadline)
        must(x->f, feed_next(x, 1000));
    assert_true(x->model.idle_count >= idle);
}

/* That a partition was emptied, the stream does not tell, and that of all it does is no excuse. */
static void test_truncated_partitions(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200);"
              "INSERT INTO t VALUES (1, 'a'), (101, 'b')");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "TRUNCATE t");
    sql(x->f, "INSERT INTO t VALUES (2, 'c'), (102, 'd')");
    look_around(x);
    assert_int_equal(x->model.tables[0].truncate_count, 1);
    assert_int_equal(x->model.tables[0].reshape_count, 0);
    feed_expect_same(x);
    sql(x->f, "TRUNCATE t");
    sql(x->f, "INSERT INTO t VALUES (3, 'e'), (103, 'f')");
    sql(x->f, "TRUNCATE t2");
    expect_reshape(x, 0, "its definition has changed");
}

/* Taken out of the publication, and back in, as a schema or by an ancestor. */
static void test_published_again(void **state)
{
    struct feed_fixture *x = *state;
    need_server(x->f, 150000);
    feed_table(x, "t1", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "CREATE PUBLICATION sidepond FOR TABLES IN SCHEMA public");
    feed_begin(x);
    feed_sync(x);
    sql(x->f, "ALTER PUBLICATION sidepond DROP TABLES IN SCHEMA public;"
              " ALTER PUBLICATION sidepond ADD TABLES IN SCHEMA public");
    expect_reshape(x, 0, "its definition has changed");
    close_source(x->f);
    sql(x->f, "ALTER PUBLICATION sidepond DROP TABLES IN SCHEMA public;"
              " ALTER PUBLICATION sidepond ADD TABLE t, marker");
    feed_begin(x);
    feed_sync(x);
    sql(x->f, "ALTER PUBLICATION sidepond DROP TABLE t; ALTER PUBLICATION sidepond ADD TABLE t");
    expect_reshape(x, 0, "its definition has changed");
}

static void expect_stream(struct feed_fixture *x, const char *statements, bool is_another)
{
    char before[FEED_STREAM_BYTES];
    memcpy(before, x->stream, sizeof(before));
    close_source(x->f);
    sql(x->f, statements);
    must(x->f, feed_check(x));
    if ((strcmp(before, x->stream) != 0) != is_another)
        fail_msg("%s: %s, %s", statements, before, x->stream);
}

/* What is in no stream, and done while nobody followed, makes another one. */
static void test_changed_while_away(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    feed_table(x, "u", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200);"
              "CREATE TABLE u (id int PRIMARY KEY, a int)");
    sql(x->f, PUBLISH);
    must(x->f, feed_check(x));
    expect_stream(x,
                  "INSERT INTO t VALUES (1), (101); INSERT INTO u VALUES (1, 1);"
                  "UPDATE u SET a = 2; DELETE FROM t WHERE id = 1; TRUNCATE u;"
                  "CREATE INDEX ON u (a); CREATE INDEX ON t (a)",
                  false);
    expect_stream(x, "VACUUM", false);
    expect_stream(x, "ANALYZE", false);
    expect_stream(x, "ALTER TABLE t DETACH PARTITION t1", true);
    expect_stream(x, "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (100)", true);
    expect_stream(x, "TRUNCATE t1", true);
    expect_stream(x, "ALTER TABLE u ALTER a TYPE int USING a + 1", true);
    expect_stream(x, "ALTER TABLE u ADD b int DEFAULT 1", true);
    expect_stream(x, "DROP PUBLICATION sidepond; " PUBLISH, true);
    expect_stream(x, "SELECT 1", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_reshaped),        FEED_TEST(test_reshaped_quietly),
        FEED_TEST(test_partitions),      FEED_TEST(test_truncated_partitions),
        FEED_TEST(test_published_again), FEED_TEST(test_changed_while_away),
    };
    return cmocka_run_group_tests_name("feed_pg_shapes", tests, feed_pg_group_setup, NULL);
}
