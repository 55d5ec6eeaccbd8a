/* SPDX-License-Identifier: Apache-2.0
 *
 * test_feed_pg_odd.c - Goal: tables that are out of the ordinary are followed like others, or the
 * feed says what is in the way; and what is changed at a table while it is followed is noticed
 * before it hides a row. Method: a real server; model and database are compared row by row.
 */
#include "feed_pg_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define PUBLISH                                                                                    \
    "CREATE PUBLICATION sidepond FOR ALL TABLES WITH (publish_via_partition_root = true)"
#define AWAIT_MS 15000

static void await_reshape(struct feed_fixture *x, unsigned table, const char *why)
{
    const double deadline = source_now_ms() + AWAIT_MS;
    while (x->model.tables[table].reshape_count == 0 && source_now_ms() < deadline)
        must(x->f, feed_next(x, 100));
    assert_int_equal(x->model.tables[table].reshape_count, 1);
    assert_string_equal(x->model.tables[table].last_reshape, why);
    close_source(x->f);
}

static void begin_anew(struct feed_fixture *x)
{
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

/* --- names ---------------------------------------------------------------------------------- */

/* The same name in two schemas, of which one is in the search path. */
static void test_schemas(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, "DROP SCHEMA IF EXISTS a, \"B.b\" CASCADE; CREATE SCHEMA a; CREATE SCHEMA \"B.b\";"
              "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE a.t (id int CONSTRAINT k "
              "PRIMARY KEY);"
              "CREATE TABLE \"B.b\".t (id int PRIMARY KEY, s text)");
    feed_table(x, "here", feed_key_id)->relation = "t";
    feed_table(x, "there", feed_key_id)->relation = "a.t";
    feed_table(x, "yonder", feed_key_id)->relation = "\"B.b\".t";
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE marker, t, a.t, \"B.b\".t");
    feed_begin(x);
    sql(x->f,
        "INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO a.t VALUES (10);"
        "INSERT INTO \"B.b\".t VALUES (20, 'x'); UPDATE t SET n = 3; DELETE FROM t WHERE id = 1;"
        "TRUNCATE a.t; INSERT INTO a.t VALUES (11)");
    feed_sync(x);
    feed_expect_same(x);
    /* they change places */
    sql(x->f, "BEGIN; ALTER TABLE t RENAME TO u; ALTER TABLE a.t SET SCHEMA public;"
              "ALTER TABLE u SET SCHEMA a; ALTER TABLE a.u RENAME TO t; INSERT INTO t VALUES (99);"
              "UPDATE a.t SET n = 5; COMMIT");
    await_reshape(x, 0, "another table has its name now");
    begin_anew(x);
}

static void test_quoted_names(void **state)
{
    static const char *const key[] = {"Ke\"y", "zwei te", NULL};
    struct feed_fixture *x = *state;
    struct source_table *t = feed_table(x, "t", key);
    t->relation = "public.\"Odd.na\"\"me\"";
    x->options.publication = "pub \"x'y";
    sql(x->f, "DROP PUBLICATION IF EXISTS \"pub \"\"x'y\";"
              "CREATE TABLE \"Odd.na\"\"me\" (\"Ke\"\"y\" int, \"zwei te\" text, \"a,b\" text,"
              " \"\\x\" int, \"\xc3\xa4\" int, PRIMARY KEY (\"zwei te\", \"Ke\"\"y\"));"
              "CREATE PUBLICATION \"pub \"\"x'y\" FOR ALL TABLES");
    feed_begin(x);
    sql(x->f, "INSERT INTO \"Odd.na\"\"me\" VALUES (1, 'a|b', 'c', 1, 2), (2, 'x', NULL, 1, 2);"
              "UPDATE \"Odd.na\"\"me\" SET \"zwei te\" = 'moved' WHERE \"Ke\"\"y\" = 1;"
              "DELETE FROM \"Odd.na\"\"me\" WHERE \"Ke\"\"y\" = 2");
    feed_sync(x);
    feed_expect_same(x);
    assert_int_equal(x->model.tables[0].row_count, 1);
    close_source(x->f);
    sql(x->f, "DROP PUBLICATION \"pub \"\"x'y\"");
}

/* --- ways to write -------------------------------------------------------------------------- */

static void test_ways_to_write(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, n int, s text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "INSERT INTO t SELECT i, i, 'a' FROM generate_series(1, 2000) i;"
              "INSERT INTO t VALUES (1, -1, 'b'), (5000, 0, 'c') ON CONFLICT (id) DO UPDATE"
              " SET n = excluded.n; INSERT INTO t VALUES (2, 0) ON CONFLICT DO NOTHING;"
              "WITH gone AS (DELETE FROM t WHERE id % 7 = 0 RETURNING *)"
              " INSERT INTO t SELECT id + 10000, n, s FROM gone");
    sql(x->f, "COPY t (id, n) FROM PROGRAM 'seq -f \"%g\t1\" 20000 21000'");
    sql(x->f,
        "BEGIN; CREATE TEMPORARY TABLE tmp (id int) ON COMMIT DROP; INSERT INTO tmp VALUES (1);"
        "DELETE FROM t USING tmp WHERE t.id = tmp.id; COMMIT");
    sql(x->f, "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
              " UPDATE t SET n = n * 2 WHERE id = new.id + 1; RETURN new; END $$;"
              "CREATE TRIGGER twice AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice();"
              "INSERT INTO t VALUES (4999, 1); DROP TRIGGER twice ON t");
    if (PQserverVersion(x->f->admin) >= 150000)
        sql(x->f, "MERGE INTO t USING (SELECT generate_series(2, 30000, 3) AS id) s ON t.id = s.id"
                  " WHEN MATCHED AND t.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET s = 'm'"
                  " WHEN NOT MATCHED AND s.id < 100 THEN INSERT VALUES (s.id, 1, 'n')");
    feed_sync(x);
    feed_expect_same(x);
}

/* Much more than the server keeps in memory, with parts that are rolled back, beside another one.
 */
static void test_large_and_nested(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, s text)");
    sql(x->f, "ALTER SYSTEM SET logical_decoding_work_mem = '64kB'");
    sql(x->f, "SELECT pg_reload_conf()");
    sql(x->f, PUBLISH);
    feed_begin(x);
    PGconn *other = PQconnectdb(x->f->dsn);
    PQclear(PQexec(other, "BEGIN; INSERT INTO t VALUES (-1, 'other')"));
    sql(x->f, "BEGIN; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i;"
              "SAVEPOINT a; UPDATE t SET s = 'y' WHERE id % 2 = 0; SAVEPOINT b; DELETE FROM t;"
              "ROLLBACK TO b; DELETE FROM t WHERE id % 3 = 0; RELEASE a; SAVEPOINT c;"
              "ALTER TABLE marker ADD z int; ROLLBACK TO c; COMMIT");
    feed_sync(x);
    PQclear(PQexec(other, "UPDATE t SET s = 'late' WHERE id = 1; COMMIT"));
    PQfinish(other);
    feed_sync(x);
    feed_expect_same(x);
    close_source(x->f);
    sql(x->f, "ALTER SYSTEM RESET logical_decoding_work_mem");
    sql(x->f, "SELECT pg_reload_conf()");
}

/* Generated columns that are stored, published by PostgreSQL 18. */
static void test_generated(void **state)
{
    struct feed_fixture *x = *state;
    need_server(x->f, 180000);
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text, g text GENERATED ALWAYS AS (a || '!')"
              " STORED); INSERT INTO t VALUES (1, 'x')");
    sql(x->f, PUBLISH);
    feed_expect_refusal(x, "table t: column g is generated, and not published: ALTER PUBLICATION"
                           " ... SET (publish_generated_columns = stored)");
    sql(x->f, "ALTER PUBLICATION sidepond SET (publish_generated_columns = stored)");
    feed_begin(x);
    sql(x->f, "INSERT INTO t VALUES (2, 'y'), (3, NULL); UPDATE t SET a = 'z' WHERE id = 1");
    feed_sync(x);
    feed_expect_same(x);
    assert_string_equal(feed_model_find(&x->model, 0, "1")->cells[2], "z!");
    sql(x->f, "ALTER TABLE t ADD v int GENERATED ALWAYS AS (id * 2) VIRTUAL");
    close_source(x->f);
    feed_expect_refusal(x, "table t: column v is generated, and so not in the stream: name the"
                           " others by `columns`");
}

/* A prepared transaction is one of the moment at which it is committed, wherever one began to read.
 */
static void test_prepared(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'a')");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "BEGIN; INSERT INTO t VALUES (2, 'kept'); DELETE FROM t WHERE id = 1");
    sql(x->f, "PREPARE TRANSACTION 'kept'");
    sql(x->f, "BEGIN; INSERT INTO t VALUES (3, 'not kept')");
    sql(x->f, "PREPARE TRANSACTION 'not kept'");
    feed_sync(x);
    feed_expect_same(x);
    feed_reopen(x);
    sql(x->f, "INSERT INTO t VALUES (4, 'b')");
    sql(x->f, "COMMIT PREPARED 'kept'");
    sql(x->f, "ROLLBACK PREPARED 'not kept'");
    feed_sync(x);
    feed_expect_same(x);
    assert_int_equal(x->model.tables[0].row_count, 2);
}

/* --- replica identity ----------------------------------------------------------------------- */

/* The primary key becomes another one: then deleted rows are told by that. */
static void test_other_primary_key(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int NOT NULL, a int NOT NULL, n int, PRIMARY KEY (id));"
              "INSERT INTO t SELECT i, i, i FROM generate_series(1, 10) i");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (a);"
              "UPDATE t SET id = 100 WHERE id = 1; DELETE FROM t WHERE id = 2");
    await_reshape(x, 0, "its replica identity no longer has the key");
    feed_expect_refusal(x, "table t: a deleted row would not be told by its key column id: ALTER"
                           " TABLE t REPLICA IDENTITY FULL, or USING INDEX one that has it");
    sql(x->f, "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)");
    begin_anew(x);
    /* without a row that tells */
    sql(x->f, "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (a)");
    await_reshape(x, 0, "its definition has changed");
}

/* The same of a single partition, of which the stream says nothing. */
static void test_other_key_of_partition(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int NOT NULL, a int NOT NULL) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "ALTER TABLE t1 ADD PRIMARY KEY (id); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "DELETE FROM t WHERE id = 3");
    feed_sync(x);
    feed_expect_same(x);
    sql(x->f, "ALTER TABLE t1 DROP CONSTRAINT t1_pkey, ADD PRIMARY KEY (a);"
              "DELETE FROM t WHERE id = 2");
    await_reshape(x, 0, "its replica identity no longer has the key");
    sql(x->f, "ALTER TABLE t1 DROP CONSTRAINT t1_pkey, ADD PRIMARY KEY (id)");
    begin_anew(x);
    sql(x->f, "ALTER TABLE t1 DROP CONSTRAINT t1_pkey, ADD PRIMARY KEY (a)");
    await_reshape(x, 0, "its definition has changed");
}

/* --- what changes a table ------------------------------------------------------------------- */

static void test_sequences_of_ddl(void **state)
{
    static const char *const sequences[] = {
        "BEGIN; ALTER TABLE t ADD c int; INSERT INTO t VALUES (101, 1, 1); ALTER TABLE t DROP c;"
        "INSERT INTO t VALUES (102, 2); COMMIT",
        "BEGIN; INSERT INTO t VALUES (103, 3); TRUNCATE t; ALTER TABLE t ALTER n TYPE bigint"
        " USING n + 1; INSERT INTO t VALUES (104, 4); COMMIT",
        "BEGIN; ALTER TABLE t RENAME TO old; CREATE TABLE t (id int PRIMARY KEY, n bigint);"
        "INSERT INTO t SELECT * FROM old; DELETE FROM old; UPDATE t SET n = n + 1;"
        " DROP TABLE old; COMMIT",
        "BEGIN; ALTER TABLE t RENAME n TO m; UPDATE t SET m = 7; ALTER TABLE t RENAME m TO n;"
        "INSERT INTO t VALUES (105, 5); COMMIT; ALTER TABLE t ALTER n SET DEFAULT 5",
        "BEGIN; DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, n text); COMMIT",
        "BEGIN; ALTER TABLE t ADD g int DEFAULT 1; ALTER TABLE t DROP n; COMMIT",
    };
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences); i++) {
        sql(x->f, sequences[i]);
        const double deadline = source_now_ms() + AWAIT_MS;
        while (x->model.tables[0].reshape_count == 0 && source_now_ms() < deadline)
            must(x->f, feed_next(x, 100));
        if (x->model.tables[0].reshape_count != 1)
            fail_msg("not noticed: %s", sequences[i]);
        close_source(x->f);
        begin_anew(x);
    }
}

/* A type changes, and with it the text of rows that nobody has written. */
static void test_type_changed(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    feed_table(x, "u", feed_key_id);
    sql(x->f, "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE hue AS ENUM ('red', 'blue');"
              "CREATE DOMAIN shade AS hue; CREATE TYPE pair AS (a int, b text);"
              "CREATE TABLE t (id int PRIMARY KEY, m mood, s shade[], p pair);"
              "CREATE TABLE u (id int PRIMARY KEY, n int);"
              "INSERT INTO t VALUES (1, 'ok', '{red}', '(1,b)'), (2, 'sad', NULL, NULL)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'");
    await_reshape(x, 0, "its definition has changed");
    assert_int_equal(x->model.tables[1].reshape_count, 0);
    begin_anew(x);
    sql(x->f, "ALTER TYPE hue RENAME VALUE 'red' TO 'rose'");
    await_reshape(x, 0, "its definition has changed");
    begin_anew(x);
    sql(x->f, "ALTER TYPE pair ADD ATTRIBUTE c int");
    await_reshape(x, 0, "its definition has changed");
    begin_anew(x);
}

/* A table from which another one begins to inherit cannot be followed any more. */
static void test_inherited(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    sql(x->f, "CREATE TABLE child () INHERITS (t); INSERT INTO child VALUES (2, 2)");
    await_reshape(x, 0, "its definition has changed");
    feed_expect_refusal(x,
                        "table t: other tables inherit from it, whose changes are told as theirs;"
                        " follow them one by one");
    sql(x->f, "ALTER TABLE child ADD PRIMARY KEY (id)");
    x->tables[0].relation = "child";
    begin_anew(x);
    sql(x->f, "UPDATE t SET n = n + 1; DELETE FROM ONLY t");
    feed_sync(x);
    feed_expect_same(x);
}

/* --- partitions ----------------------------------------------------------------------------- */

static void test_tree_of_partitions(void **state)
{
    struct feed_fixture *x = *state;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int, k int, s text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1) PARTITION BY RANGE (id);"
              "CREATE TABLE t11 PARTITION OF t1 FOR VALUES FROM (0) TO (100);"
              "CREATE TABLE t12 (s text, gone int, k int NOT NULL, id int NOT NULL);"
              "ALTER TABLE t12 DROP gone; ALTER TABLE t1 ATTACH PARTITION t12 FOR VALUES FROM (100)"
              " TO (200); CREATE TABLE t2 PARTITION OF t DEFAULT");
    x->tables[0].key = (const char *const[]){"id", "k", NULL};
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE t, marker"
              " WITH (publish_via_partition_root = true)");
    feed_begin(x);
    sql(x->f, "INSERT INTO t SELECT i, i % 3, repeat('s', 3000) FROM generate_series(1, 199) i;"
              "UPDATE t SET k = 2 WHERE id = 4; UPDATE t SET id = 150 WHERE id = 1 AND k = 1;"
              "DELETE FROM t WHERE id = 7; UPDATE t SET s = 'x' WHERE id = 10");
    feed_sync(x);
    feed_expect_same(x);
    sql(x->f, "ALTER TABLE t DETACH PARTITION t2");
    await_reshape(x, 0, "its definition has changed");
    begin_anew(x);
    sql(x->f, "BEGIN; DELETE FROM t2 WHERE k = 1; ALTER TABLE t ATTACH PARTITION t2 DEFAULT;"
              "INSERT INTO t VALUES (500, 0, 'new'); COMMIT");
    await_reshape(x, 0, "its definition has changed");
    begin_anew(x);
}

/* A partition of a table that is published as a whole is told as that. */
static void test_partition_alone(void **state)
{
    struct feed_fixture *x = *state;
    struct source_table *t = feed_table(x, "t", feed_key_id);
    t->relation = "t1";
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);"
              "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
              "INSERT INTO t VALUES (1, 1)");
    sql(x->f, "CREATE PUBLICATION sidepond FOR TABLE t, marker"
              " WITH (publish_via_partition_root = true)");
    feed_expect_refusal(x, "table t: its changes are published as those of the table that it is a"
                           " partition of: follow that, or another publication");
    sql(x->f, "ALTER PUBLICATION sidepond SET (publish_via_partition_root = false)");
    begin_anew(x);
    sql(x->f, "INSERT INTO t VALUES (2, 2); DELETE FROM t WHERE id = 1; TRUNCATE t1;"
              "INSERT INTO t1 VALUES (3, 3)");
    feed_sync(x);
    feed_expect_same(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_schemas),           FEED_TEST(test_quoted_names),
        FEED_TEST(test_ways_to_write),     FEED_TEST(test_large_and_nested),
        FEED_TEST(test_prepared),          FEED_TEST(test_generated),
        FEED_TEST(test_other_primary_key), FEED_TEST(test_other_key_of_partition),
        FEED_TEST(test_sequences_of_ddl),  FEED_TEST(test_type_changed),
        FEED_TEST(test_inherited),         FEED_TEST(test_tree_of_partitions),
        FEED_TEST(test_partition_alone),
    };
    return cmocka_run_group_tests_name("feed_pg_odd", tests, feed_pg_group_setup, NULL);
}
