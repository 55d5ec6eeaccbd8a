/* SPDX-License-Identifier: Apache-2.0
 *
 * test_feed_pg_slots.c - Goal: a follower's name is one daemon's at a time, and of a temporary
 * follower nothing stays behind. Method: two sources beside each other on a real server, as two
 * daemons have them.
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
#define SLOTS "SELECT count(*) FROM pg_replication_slots"

/* --- one name, two daemons ------------------------------------------------------------------ */

static struct source *put_aside(struct feed_fixture *x)
{
    struct source *source = x->f->source;
    x->f->source = NULL;
    return source;
}

static void take_back(struct feed_fixture *x, struct source *source)
{
    close_source(x->f);
    x->f->source = source;
}

static void expect_taken(struct feed_fixture *x)
{
    assert_int_equal(feed_check(x), SP_EBUSY);
    if (!strstr(x->f->error.text,
                "source shop: another one follows by the name pond_a: process ") ||
        !strstr(x->f->error.text, " of the server (sidepond/shop from 127.0.0.1). Two daemons"))
        fail_msg("%s", x->f->error.text);
}

/* Over TCP, so that there is an address to tell. */
static void use_tcp(struct feed_fixture *x, char *dsn, size_t cap)
{
    sql(x->f, "ALTER ROLE postgres PASSWORD 'secret'");
    snprintf(dsn, cap, "%s host=127.0.0.1", x->f->dsn);
    x->f->options.dsn = dsn;
    x->f->options.password = "secret";
}

static void test_name_taken(void **state)
{
    struct feed_fixture *x = *state;
    char dsn[600];
    sql(x->f, PUBLISH);
    use_tcp(x, dsn, sizeof(dsn));
    must(x->f, feed_check(x));
    must(x->f, x->class->snapshot(x->f->source, x->position, &x->f->error));
    /* while the first one reads its rows, nobody uses the slot */
    struct source *first = put_aside(x);
    expect_taken(x);
    take_back(x, first);
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
    feed_start(x);
    first = put_aside(x);
    open_source(x->f);
    assert_int_equal(x->class->drop(x->f->source, &x->options, &x->f->error), SP_EBUSY);
    /* when it is gone, the other one follows */
    x->f->class->close(first);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

/* Looking, as before a reload, keeps nobody away. */
static void test_looking_takes_no_name(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    must(x->f, feed_check(x));
    struct source *looking = put_aside(x);
    feed_begin(x);
    feed_sync(x);
    x->f->class->close(looking);
}

/* --- temporary followers -------------------------------------------------------------------- */

static void await_slots(struct feed_fixture *x, long count)
{
    const double deadline = source_now_ms() + 10000;
    while (sql_long(x->f, SLOTS) != count && source_now_ms() < deadline)
        sleep_ms(5);
    assert_int_equal(sql_long(x->f, SLOTS), count);
}

static void test_temporary(void **state)
{
    struct feed_fixture *x = *state;
    uint64_t lag;
    x->options.temporary = true;
    feed_table(x, "t", feed_key_id);
    sql(x->f, "CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql(x->f, PUBLISH);
    feed_begin(x);
    assert_int_equal(sql_long(x->f, SLOTS " WHERE temporary"), 1);
    sql(x->f, "INSERT INTO t VALUES (1, 'a'), (2, 'b'); DELETE FROM t WHERE id = 1");
    feed_sync(x);
    feed_expect_same(x);
    must(x->f, x->class->lag(x->f->source, &lag, &x->f->error));
    assert_true(lag < UINT64_MAX);
    must(x->f, x->class->confirm(x->f->source, x->model.position, &x->f->error));
    feed_sync(x);
    close_source(x->f);
    await_slots(x, 0);
    /* nothing was kept for it */
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->model.position, &x->f->error), SP_ENOTFOUND);
    assert_string_equal(x->f->error.text, "source shop: the follower is temporary: what came while"
                                          " it was not connected is not kept");
    close_source(x->f);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

/* A comparison has a snapshot of its own. */
static void test_temporary_compares(void **state)
{
    struct feed_fixture *x = *state;
    x->options.temporary = true;
    sql(x->f, PUBLISH);
    feed_begin(x);
    feed_sync(x);
    char position[FEED_POSITION_BYTES];
    must(x->f, x->class->snapshot(x->f->source, position, &x->f->error));
    x->model.snapshot_count = 0;
    while (x->model.snapshot_count == 0)
        must(x->f, feed_next(x, 100));
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
    feed_sync(x);
    await_slots(x, 1);
}

/* By one name there may be many, and each has a slot of its own. */
static void test_temporary_of_one_name(void **state)
{
    struct feed_fixture *x = *state;
    x->options.temporary = true;
    sql(x->f, PUBLISH);
    feed_begin(x);
    struct source *first = put_aside(x);
    feed_begin(x);
    assert_int_equal(sql_long(x->f, SLOTS " WHERE temporary AND active"), 2);
    feed_sync(x);
    struct source *second = put_aside(x);
    x->f->source = first;
    feed_sync(x);
    feed_expect_same(x);
    x->f->class->close(second);
}

/* What a follower left that was not temporary before goes; and the other way round it starts anew.
 */
static void test_becomes_temporary(void **state)
{
    struct feed_fixture *x = *state;
    sql(x->f, PUBLISH);
    feed_begin(x);
    feed_sync(x);
    close_source(x->f);
    x->options.temporary = true;
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->model.position, &x->f->error), SP_ENOTFOUND);
    close_source(x->f);
    feed_begin(x);
    assert_int_equal(sql_long(x->f, SLOTS), 1);
    assert_int_equal(sql_long(x->f, SLOTS " WHERE temporary"), 1);
    close_source(x->f);
    x->options.temporary = false;
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->model.position, &x->f->error), SP_ENOTFOUND);
    close_source(x->f);
    feed_begin(x);
    feed_sync(x);
    feed_expect_same(x);
}

/* --- slots that the server lets go ---------------------------------------------------------- */

/* PostgreSQL 18 gives up a slot that nobody uses, if it is told to: then all rows are read again.
 */
static void test_idle_slot(void **state)
{
    struct feed_fixture *x = *state;
    need_server(x->f, 180000);
    sql(x->f, PUBLISH);
    feed_begin(x);
    feed_sync(x);
    close_source(x->f);
    sql(x->f, "ALTER SYSTEM SET idle_replication_slot_timeout = '1s'");
    sql(x->f, "SELECT pg_reload_conf()");
    const double deadline = source_now_ms() + 15000;
    while (sql_long(x->f, SLOTS " WHERE wal_status = 'lost'") == 0 && source_now_ms() < deadline) {
        sql(x->f, "CHECKPOINT");
        sleep_ms(100);
    }
    sql(x->f, "ALTER SYSTEM RESET idle_replication_slot_timeout");
    sql(x->f, "SELECT pg_reload_conf()");
    must(x->f, feed_check(x));
    assert_int_equal(x->class->start(x->f->source, x->model.position, &x->f->error), SP_ENOTFOUND);
    assert_string_equal(x->f->error.text, "source shop: the replication slot pond_a was given up by"
                                          " the server (idle_replication_slot_timeout)");
    close_source(x->f);
    feed_begin(x);
    feed_sync(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_name_taken),
        FEED_TEST(test_looking_takes_no_name),
        FEED_TEST(test_temporary),
        FEED_TEST(test_temporary_compares),
        FEED_TEST(test_temporary_of_one_name),
        FEED_TEST(test_becomes_temporary),
        FEED_TEST(test_idle_slot),
    };
    return cmocka_run_group_tests_name("feed_pg_slots", tests, feed_pg_group_setup, NULL);
}
