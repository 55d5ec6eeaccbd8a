/* SPDX-License-Identifier: Apache-2.0
 *
 * test_sqlite_changed.c - Goal: the SQLite source never takes a table that changed for one that did
 * not, and takes most that did not for what they are. Method: a second connection writes, rolls
 * back, checkpoints and changes the schema, at random and at the same time too; in each snapshot
 * the source is asked about each table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "source_sqlite_fixture.h"

enum { WATCHED = 3 };
static const struct source_table watched[WATCHED] = {
    {.name = "a", .relation = "a"}, {.name = "b", .relation = "b"}, {.name = "v", .relation = "v"}};

/* A snapshot in which each table is asked about, and read if it may have changed. */
static void look(struct fixture *f, bool changed[WATCHED])
{
    struct source_description description;
    const struct source_sink sink = source_record_sink(&f->record);
    must(f, f->class->begin(f->source, &f->error));
    for (unsigned i = 0; i < WATCHED; i++) {
        must(f, f->class->changed(f->source, &watched[i], &changed[i], &f->error));
        if (!changed[i])
            continue;
        must(f, f->class->describe(f->source, &watched[i], &description, &f->error));
        must(f, f->class->stream(f->source, &watched[i], &description, NULL, &sink, &f->error));
        source_description_free(&description);
        source_record_free(&f->record);
    }
    must(f, f->class->end(f->source, &f->error));
}

static void expect_changed(struct fixture *f, bool a, bool b)
{
    bool changed[WATCHED];
    look(f, changed);
    assert_int_equal(changed[0], a);
    assert_int_equal(changed[1], b);
    assert_true(changed[2]);
}

static void make_watched(struct fixture *f)
{
    sql(f, "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX by_name ON a (name);"
           "CREATE TABLE b (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE other (x);"
           "CREATE VIEW v AS SELECT * FROM a;"
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
           "INSERT INTO a SELECT i, 'name ' || i FROM n; INSERT INTO b SELECT * FROM a;"
           "INSERT INTO b VALUES (5000, hex(zeroblob(50000)))");
    open_source(f);
}

static void test_changed_tables(void **state)
{
    struct fixture *f = *state;
    make_watched(f);
    expect_changed(f, true, true);
    expect_changed(f, false, false);
    sql(f, "INSERT INTO other VALUES (1)");
    expect_changed(f, false, false);
    sql(f, "UPDATE a SET name = 'x' WHERE id = 1000");
    expect_changed(f, true, false);
    sql(f, "INSERT INTO b VALUES (9000, 'the last one')");
    expect_changed(f, false, true);
    sql(f, "DELETE FROM b WHERE id = 3; UPDATE a SET name = name || 'x'");
    expect_changed(f, true, true);
    expect_changed(f, false, false);
    sql(f, "UPDATE b SET name = hex(zeroblob(25000)) || hex(randomblob(25000)) WHERE id = 5000");
    expect_changed(f, false, true);
    sql(f, "BEGIN; INSERT INTO a VALUES (7000, 'y'); ROLLBACK");
    expect_changed(f, false, false);
}

/* What cannot be known counts as changed. */
static void test_changed_unknown(void **state)
{
    struct fixture *f = *state;
    make_watched(f);
    expect_changed(f, true, true);
    sql(f, "UPDATE a SET name = 'x' WHERE id = 1; PRAGMA wal_checkpoint(TRUNCATE)");
    sql(f, "INSERT INTO other VALUES (1)");
    expect_changed(f, true, true);
    expect_changed(f, false, false);
    sql(f, "ALTER TABLE other ADD COLUMN y");
    expect_changed(f, true, true);
    sql(f, "INSERT INTO a VALUES (7000, 'y')");
    must(f, f->class->begin(f->source, &f->error)); /* asks nobody */
    must(f, f->class->end(f->source, &f->error));
    expect_changed(f, true, true);
}

static void test_changed_rollback_mode(void **state)
{
    struct fixture *f = *state;
    char path[600];
    make_watched(f);
    close_source(f);
    sql(f, "PRAGMA journal_mode = DELETE");
    open_source(f);
    for (unsigned i = 0; i < 3; i++)
        expect_changed(f, true, true);
    snprintf(path, sizeof(path), "%s-shm", f->path);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Changes one of the tables "a" and "b" (returns its number), or neither (WATCHED). */
static unsigned write_something(struct fixture *f, unsigned *seed)
{
    unsigned table = (unsigned)rand_r(seed) % 3;
    int id = rand_r(seed) % 3000, bytes = rand_r(seed) % 3000;
    char text[128];
    if (table == 2)
        snprintf(text, sizeof(text), "INSERT INTO other VALUES (hex(randomblob(%d)))", bytes);
    else if (bytes % 5 == 0)
        snprintf(text, sizeof(text), "BEGIN; DELETE FROM %c WHERE id > %d; ROLLBACK", "ab"[table],
                 id);
    else
        snprintf(text, sizeof(text), "INSERT OR REPLACE INTO %c VALUES (%d, hex(randomblob(%d)))",
                 "ab"[table], id, bytes);
    sql(f, text);
    return table == 2 || bytes % 5 == 0 ? WATCHED : table;
}

/* Random writes, checkpoints and rollbacks: a change is never overlooked. */
static void test_changed_random(void **state)
{
    struct fixture *f = *state;
    unsigned seed = (unsigned)time(NULL), known = 0;
    bool changed[WATCHED];
    print_message("seed %u\n", seed);
    make_watched(f);
    look(f, changed);
    for (unsigned round = 0; round < 300; round++) {
        bool wrote[WATCHED + 1] = {false};
        for (unsigned i = (unsigned)rand_r(&seed) % 3; i > 0; i--)
            wrote[write_something(f, &seed)] = true;
        if (rand_r(&seed) % 20 == 0)
            sql(f, rand_r(&seed) % 2 ? "PRAGMA wal_checkpoint(RESTART)" : "PRAGMA wal_checkpoint");
        look(f, changed);
        for (unsigned i = 0; i < 2; i++) {
            assert_true(changed[i] || !wrote[i]);
            known += !changed[i];
        }
    }
    assert_true(known > 20);
}

struct busy_writer {
    const char *path;
    _Atomic bool stop;
};

static void *write_all_the_time(void *context)
{
    struct busy_writer *writer = context;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(writer->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_exec(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 200", NULL, NULL,
                 NULL);
    for (unsigned i = 0; !writer->stop; i++)
        sqlite3_exec(db,
                     i % 3 ? "INSERT INTO other VALUES (1)"
                           : "UPDATE a SET name = name + 1 WHERE id = 1000",
                     NULL, NULL, NULL);
    sqlite3_close(db);
    return NULL;
}

/* While another one commits: two snapshots between which nothing changed are equal. */
static void test_changed_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct source_description description;
    struct source_record records[2] = {{0}};
    struct busy_writer writer = {.path = f->path};
    pthread_t thread;
    unsigned unchanged = 0;
    sql(f, "CREATE TABLE a (id INTEGER PRIMARY KEY, name INTEGER); CREATE TABLE other (x);"
           "INSERT INTO a VALUES (1000, 0)");
    open_source(f);
    must(f, f->class->describe(f->source, &watched[0], &description, &f->error));
    assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, &writer), 0);
    const double end = source_now_ms() + 700;
    for (unsigned i = 0; source_now_ms() < end; i++) {
        struct source_record *now = &records[i % 2], *before = &records[(i + 1) % 2];
        const struct source_sink sink = source_record_sink(now);
        bool changed;
        source_record_free(now);
        *now = (struct source_record){0};
        must(f, f->class->begin(f->source, &f->error));
        must(f, f->class->changed(f->source, &watched[0], &changed, &f->error));
        must(f, f->class->stream(f->source, &watched[0], &description, NULL, &sink, &f->error));
        must(f, f->class->end(f->source, &f->error));
        if (!changed)
            assert_string_equal(now->text, before->text);
        unchanged += !changed;
    }
    writer.stop = true;
    pthread_join(thread, NULL);
    source_record_free(&records[0]);
    source_record_free(&records[1]);
    source_description_free(&description);
    print_message("%u times unchanged\n", unchanged);
    assert_true(unchanged > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE_TEST(test_changed_tables),        SQLITE_TEST(test_changed_unknown),
        SQLITE_TEST(test_changed_rollback_mode), SQLITE_TEST(test_changed_random),
        SQLITE_TEST(test_changed_meanwhile),
    };
    return cmocka_run_group_tests_name("sqlite_changed", tests, NULL, NULL);
}
