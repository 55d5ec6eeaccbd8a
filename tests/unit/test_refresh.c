/* SPDX-License-Identifier: Apache-2.0
 *
 * test_refresh.c - Goal: what refresh promises holds, above all when things go wrong. Method: a
 * real store in a directory of its own, real reads through the client library, and a database that
 * is an array and fails when told to (refresh_fake.c). Every effect is waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "refresh_fixture.h"
#include "server/log/log.h"

/* --- reading ---------------------------------------------------------------------------------- */

static void test_follows(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 1000);
    start_users(f);
    assert_int_equal(rows_of(f, "users"), 1000);
    assert_true(row_is(f, "users", 7, "name", "n7"));

    fake_lock();
    users->rows[6].null_name = true;
    users->rows[0].stamp = 77;
    users->row_count = 990;
    fake_unlock();
    await_pass(f, "users");
    assert_true(row_is(f, "users", 7, "name", NULL));
    assert_true(row_is(f, "users", 1, "stamp", "77"));
    assert_int_equal(rows_of(f, "users"), 990);
    struct refresh_status status = status_of(f, "users");
    assert_int_equal(status.inserted_total, 1000);
    assert_int_equal(status.updated_total, 2);
    assert_int_equal(status.deleted_total, 10);
    assert_int_equal(status.state, SP_TABLE_FRESH);
    assert_string_equal(status.error, "");
}

static void test_unchanged_writes_nothing(void **state)
{
    struct fixture *f = *state;
    fake_add("users", 500);
    start_users(f);
    uint64_t version = sp_pond_version(refresh_pond(f->refresh));
    uint64_t written = status_of(f, "users").written_bytes_total;
    await_pass(f, "users");
    assert_int_equal(sp_pond_version(refresh_pond(f->refresh)), version);
    assert_int_equal(status_of(f, "users").written_bytes_total, written);
    assert_true(status_of(f, "users").unchanged_total >= 1000);
}

/* What the database says has not changed is not read; but it is when what was read last is not in
 * the pond, and when an operator asks. */
static void test_unchanged_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    struct fake_table *orders = fake_add("orders", 100);
    users->unchanged = true;
    fixture_start(f, USERS("group: g, " FAST) "  - {name: orders, source: db, key: [id], group: g, "
                                              "max_drop: 10%, " FAST "}\n");
    AWAIT(f, passes(f, "users") > 4);
    assert_int_equal(SEEN(users->streams), 1);
    assert_true(SEEN(orders->streams) > 3);
    assert_int_equal(status_of(f, "users").rows, 100);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FRESH);
    fake_lock();
    users->unchanged = false;
    users->row_count = 90;
    orders->row_count = 50; /* the pass that reads the ten rows less is not committed */
    fake_unlock();
    AWAIT(f, status_of(f, "orders").state == SP_TABLE_HELD);
    SET(users->unchanged, true);
    assert_int_equal(rows_of(f, "users"), 100);
    SET(orders->row_count, 100);
    AWAIT(f, rows_of(f, "users") == 90);
    unsigned streams = SEEN(users->streams);
    await_pass(f, "users");
    assert_int_equal(SEEN(users->streams), streams);
    assert_int_equal(refresh_now(f->refresh, "users", NULL), SP_OK);
    AWAIT(f, SEEN(users->streams) == streams + 1);
}

/* --- bad rows --------------------------------------------------------------------------------- */

static void spoil(struct fake_table *users)
{
    users->rows[1].null_key = true;
    users->rows[2].id = 1;
    users->rows[3].name_bytes = 5000;
    users->rows[4].undecodable = true;
    users->rows[5].null_stamp = true;
}

static void test_bad_rows_are_skipped(void **state)
{
    struct fixture *f = *state;
    spoil(fake_add("users", 100));
    fixture_start(f, USERS("max_row: 4KiB, refresh: {every: 1h}"));
    AWAIT(f, passes(f, "users") > 0);
    struct refresh_status status = status_of(f, "users");
    for (unsigned i = 0; i < REFRESH_SKIP_COUNT; i++)
        assert_int_equal(status.skipped_total[i], 1);
    assert_int_equal(rows_of(f, "users"), 95);
    assert_true(row_is(f, "users", 1, "name", "n1"));
    assert_int_equal(status.read_total, 100);
}

static void test_bad_rows_fail(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    fixture_start(f, USERS("on_bad_row: fail, " FAST));
    AWAIT(f, passes(f, "users") > 0);
    fake_lock();
    users->rows[50].name_bytes = 3;
    users->rows[2].id = 1;
    fake_unlock();
    AWAIT(f, failures(f, "users") > 0);
    struct refresh_status status = status_of(f, "users");
    assert_true(status.failures_total[REFRESH_FAILURE_DATA] > 0);
    assert_non_null(strstr(status.error, "key 1"));
    assert_int_equal(status.state, SP_TABLE_FAILING);
    assert_true(row_is(f, "users", 51, "name", "n51"));

    SET(users->rows[2].id, 3);
    AWAIT(f, failures(f, "users") == 0);
    assert_true(row_is(f, "users", 51, "name", "xxx"));
}

/* Rows larger than a batch go through it, up to max_row. */
static void test_large_rows(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 3);
    users->rows[1].name_bytes = 700000;
    start_users(f);
    assert_int_equal(rows_of(f, "users"), 3);
    assert_int_equal(status_of(f, "users").skipped_total[REFRESH_SKIP_TOO_LARGE], 0);
}

/* One row whose key in a secondary index is too long: it is left out, its neighbours are not. */
static void test_long_secondary_key(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    users->rows[40].name_bytes = 70000;
    users->rows[60].name_bytes = 70000;
    users->rows[61].id = 1;
    fixture_start(f, USERS("indexes: [{name: by_name, columns: [name]}], " FAST));
    AWAIT(f, passes(f, "users") > 0);
    assert_int_equal(rows_of(f, "users"), 97);
    assert_int_equal(status_of(f, "users").skipped_total[REFRESH_SKIP_TOO_LARGE] % 2, 0);
    assert_true(status_of(f, "users").skipped_total[REFRESH_SKIP_TOO_LARGE] >= 2);
    assert_true(row_is(f, "users", 40, "name", "n40"));
    assert_true(row_is(f, "users", 100, "name", "n100"));

    fake_lock();
    users->rows[40].name_bytes = 3;
    users->rows[50].name_bytes = 70000; /* was good before */
    fake_unlock();
    AWAIT(f, row_is(f, "users", 41, "name", "xxx"));
    assert_int_equal(rows_of(f, "users"), 97);
}

static void test_long_secondary_key_fails(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    users->rows[40].name_bytes = 70000;
    fixture_start(f, USERS("on_bad_row: fail, indexes: [{name: by_name, columns: [name]}], " FAST));
    AWAIT(f, failures(f, "users") > 0);
    assert_true(status_of(f, "users").failures_total[REFRESH_FAILURE_DATA] > 0);
    assert_non_null(strstr(status_of(f, "users").error, "key 41"));
}

/* --- what may not happen ---------------------------------------------------------------------- */

static void test_max_drop_holds_back(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    fake_add("others", 10);
    fixture_start(
        f, USERS("max_drop: 30%, " FAST) "  - {name: others, source: db, key: [id], refresh: "
                                         "{every: 10ms}}\n");
    AWAIT(f, passes(f, "users") > 0 && passes(f, "others") > 0);
    assert_int_equal(refresh_confirm(f->refresh, "users", NULL), SP_EINVAL);
    assert_int_equal(refresh_confirm(f->refresh, "nobody", NULL), SP_ENOTABLE);

    SET(users->row_count, 70); /* exactly what is allowed */
    AWAIT(f, rows_of(f, "users") == 70);

    SET(users->row_count, 10);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    struct refresh_status status = status_of(f, "users");
    assert_int_equal(status.missing_rows, 60);
    assert_non_null(strstr(status.error, "60 of 70 rows"));
    assert_int_equal(rows_of(f, "users"), 70);
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_int_equal(sp_table_info(table_of(f, "users"), &info), SP_OK);
    assert_int_equal(info.state, SP_TABLE_HELD);
    await_pass(f, "others"); /* who goes on */

    confirm(f);
    AWAIT(f, rows_of(f, "users") == 10);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH);
    assert_int_equal(status_of(f, "users").missing_rows, 0);

    SET(users->row_count, 0); /* a confirmation is for one time */
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 10);
}

static void test_does_not_fit(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    fixture_start(f, USERS("max_row: 1MiB, " FAST));
    AWAIT(f, passes(f, "users") > 0);
    fake_lock();
    users->row_count = 4000;
    for (unsigned i = 0; i < 4000; i++)
        users->rows[i] = (struct fake_row){.id = i + 1, .name_bytes = 1000};
    fake_unlock();
    AWAIT(f, failures(f, "users") > 0);
    struct refresh_status status = status_of(f, "users");
    assert_true(status.failures_total[REFRESH_FAILURE_SPACE] > 0);
    /* 4000 rows of 20 + 8 + about 1,010 bytes */
    assert_non_null(strstr(status.error, "its 4,000 rows need about 4.0 MiB"));
    assert_non_null(strstr(status.error, "the pond has 2 MiB"));
    assert_non_null(strstr(status.error, "raise memory:"));
    assert_int_equal(rows_of(f, "users"), 100);
    assert_true(row_is(f, "users", 1, "name", "n1"));

    SET(users->row_count, 500);
    AWAIT(f, failures(f, "users") == 0);
    assert_int_equal(rows_of(f, "users"), 500);
}

/* --- a database that fails -------------------------------------------------------------------- */

static void test_database_down(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 10);
    fake.refuse_open = true;
    fixture_start(f, USERS(FAST));
    AWAIT(f, failures(f, "users") > 1);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FAILING);
    assert_non_null(strstr(status_of(f, "users").error, "the database is down"));
    SET(fake.refuse_open, false);
    AWAIT(f, passes(f, "users") > 0);

    fake_lock();
    fake.refuse_open = true;
    users->stream_fails = true;
    users->rows[0].stamp = 5;
    fake_unlock();
    AWAIT(f, failures(f, "users") > 2);
    assert_int_equal(rows_of(f, "users"), 10);
    assert_true(row_is(f, "users", 1, "stamp", "1000"));

    fake_lock();
    fake.refuse_open = false;
    users->stream_fails = false;
    fake_unlock();
    AWAIT(f, failures(f, "users") == 0);
    assert_true(row_is(f, "users", 1, "stamp", "5"));
}

/* A connection that was idle and is found dead is replaced; nobody needs to know. */
static void test_idle_connection_lost(void **state)
{
    struct fixture *f = *state;
    fake_add("users", 10);
    start_users(f);
    SET(fake.begin_failures, 1);
    AWAIT(f, SEEN(fake.begin_failures) == 0);
    await_pass(f, "users");
    assert_int_equal(status_of(f, "users").failures_total[REFRESH_FAILURE_SOURCE], 0);
    assert_int_equal(SEEN(fake.opens), 2);
}

static void test_stops_while_reading(void **state)
{
    struct fixture *f = *state;
    fake_add("users", 10)->stream_hangs = true;
    fixture_start(f, USERS(FAST));
    AWAIT(f, SEEN(fake.tables[0].streams) > 0);
    /* The teardown ends it. */
}

/* --- shapes ----------------------------------------------------------------------------------- */

static void test_column_added(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    start_users(f);
    fake_lock();
    users->extra = true;
    users->odd_type = true;
    fake_unlock();
    AWAIT(f, row_is(f, "users", 4, "extra", "8"));
    assert_int_equal(rows_of(f, "users"), 100);

    SET(users->extra, false); /* in the middle of a pass: the stream is the first to notice */
    AWAIT(f, !row_is(f, "users", 4, "extra", "8"));
    assert_true(row_is(f, "users", 4, "name", "n4"));
    assert_int_equal(status_of(f, "users").failures_total[REFRESH_FAILURE_CONFIG], 0);
}

static void test_changed_while_streaming(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    start_users(f);
    SET(users->stream_stale, true);
    await_pass(f, "users");
    assert_int_equal(failures(f, "users"), 0);
    assert_int_equal(status_of(f, "users").failures_total[REFRESH_FAILURE_CONFIG], 0);
}

/* A new shape starts empty; that it has fewer rows than the old one counts for max_drop. */
static void test_new_shape_keeps_max_drop(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    start_users(f);
    fake_lock();
    users->extra = true;
    users->row_count = 1;
    fake_unlock();
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 100);
    confirm(f);
    AWAIT(f, rows_of(f, "users") == 1);
    assert_true(row_is(f, "users", 1, "extra", "2"));
}

static void test_table_gone(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 10);
    start_users(f);
    SET(users->gone, true);
    AWAIT(f, failures(f, "users") > 0);
    assert_true(status_of(f, "users").failures_total[REFRESH_FAILURE_CONFIG] > 0);
    assert_int_equal(rows_of(f, "users"), 10);
    SET(users->gone, false);
    AWAIT(f, failures(f, "users") == 0);
}

/* --- groups ----------------------------------------------------------------------------------- */

static void test_group_is_one(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 10);
    struct fake_table *orders = fake_add("orders", 10);
    fixture_start(
        f, USERS("group: shop, " FAST) "  - {name: orders, source: db, key: [id], group: shop, "
                                       "refresh: {every: 10ms}}\n");
    AWAIT(f, passes(f, "users") > 0);
    assert_int_equal(SEEN(fake.opens), 1);
    fake_lock();
    users->rows[0].stamp = 5;
    orders->row_count = 0; /* is held back, and so is users */
    fake_unlock();
    AWAIT(f, failures(f, "users") > 0);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FAILING);
    assert_int_equal(status_of(f, "orders").state, SP_TABLE_HELD);
    assert_non_null(strstr(status_of(f, "users").error, "table orders of its group"));
    assert_true(row_is(f, "users", 1, "stamp", "1000"));
    assert_int_equal(rows_of(f, "orders"), 10);

    SET(orders->row_count, 9);
    AWAIT(f, failures(f, "users") == 0);
    assert_true(row_is(f, "users", 1, "stamp", "5"));
    assert_int_equal(rows_of(f, "orders"), 9);
}

/* --- watermarks and notifications ------------------------------------------------------------- */

#define INCREMENTAL                                                                                \
    "refresh: {mode: incremental, every: 10ms, watermark: stamp, overlap: 10, full_every: %s}"

static void test_incremental(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    char tables[512];
    snprintf(tables, sizeof(tables), USERS(INCREMENTAL), "1h");
    fixture_start(f, tables);
    AWAIT(f, status_of(f, "users").incremental_total > 0);
    assert_int_equal(status_of(f, "users").full_total, 1);
    assert_int_equal(SEEN(users->last_since), 1099 - 10);
    fake_lock();
    users->rows[100] = (struct fake_row){.id = 500, .stamp = 2000};
    users->rows[3].stamp = 2001;
    users->row_count = 101;
    fake_unlock();
    AWAIT(f, row_is(f, "users", 500, "stamp", "2000") && row_is(f, "users", 4, "stamp", "2001"));
    AWAIT(f, SEEN(users->last_since) == 2001 - 10);

    SET(users->row_count, 100);
    await_pass(f, "users"); /* incremental passes do not see deletes */
    assert_int_equal(rows_of(f, "users"), 101);
    assert_int_equal(refresh_now(f->refresh, "users", NULL), SP_OK);
    AWAIT(f, rows_of(f, "users") == 100); /* full ones do */
}

static void test_incremental_goes_full(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 100);
    char tables[512];
    snprintf(tables, sizeof(tables), USERS(INCREMENTAL), "1s");
    fixture_start(f, tables);
    AWAIT(f, status_of(f, "users").incremental_total > 0);
    SET(users->row_count, 99);
    AWAIT(f, rows_of(f, "users") == 99);
    AWAIT(f, status_of(f, "users").full_total >= 2); /* counted after the commit is visible */
}

static void test_notified(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 10);
    fixture_start(f, USERS("refresh: {mode: notified}"));
    AWAIT(f, passes(f, "users") == 1);
    assert_int_equal(SEEN(fake.listens), 1);
    assert_false(SEEN(fake.listened_late));
    fake_lock();
    users->rows[0].stamp = 5;
    fake.changed = true;
    fake_unlock();
    AWAIT(f, row_is(f, "users", 1, "stamp", "5"));

    /* A lost connection: what was missed meanwhile comes with a full pass over the next one. */
    fake_lock();
    users->rows[0].stamp = 6;
    fake.wait_fails = true;
    fake_unlock();
    AWAIT(f, row_is(f, "users", 1, "stamp", "6"));
    assert_int_equal(SEEN(fake.listens), 2);
    assert_int_equal(failures(f, "users"), 0);
}

static int64_t success_at(struct fixture *f, const char *name)
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_int_equal(sp_table_info(table_of(f, name), &info), SP_OK);
    return info.loaded_at_ms;
}

/* A quiet database that answers keeps its tables fresh; one that does not answer does not. */
static void test_notified_quiet(void **state)
{
    struct fixture *f = *state;
    fake_add("users", 10);
    fixture_start(f, USERS("max_stale: 3s, refresh: {mode: notified}"));
    AWAIT(f, passes(f, "users") == 1);
    int64_t loaded_at = success_at(f, "users");
    AWAIT(f, success_at(f, "users") > loaded_at);
    assert_int_equal(passes(f, "users"), 1);
    assert_int_equal(SEEN(fake.opens), 1);
    assert_true(SEEN(fake.checks) > 0);
    SET(fake.check_fails, true);
    AWAIT(f, SEEN(fake.opens) > 1); /* it is found out without any pass */
    AWAIT(f, passes(f, "users") > 1);
}

/* --- changing the configuration --------------------------------------------------------------- */

static void test_apply(void **state)
{
    struct fixture *f = *state;
    fake_add("users", 10);
    fake_add("orders", 20);
    fake_add("items", 30);
    fixture_start(f, USERS(FAST) "  - {name: orders, source: db, key: [id], " FAST "}\n");
    AWAIT(f, passes(f, "users") > 0 && passes(f, "orders") > 0);
    unsigned opens = SEEN(fake.opens);

    /* users as before, orders away, items new */
    assert_int_equal(
        refresh_apply(
            f->refresh,
            fixture_load(f, USERS(FAST) "  - {name: items, source: db, key: [id], " FAST "}\n")),
        SP_OK);
    AWAIT(f, passes(f, "items") > 0);
    assert_int_equal(SEEN(fake.opens), opens + 1);
    AWAIT(f, refresh_tick(f->refresh));
    assert_null(table_of(f, "orders"));
    assert_int_equal(rows_of(f, "items"), 30);
    assert_int_equal(refresh_now(f->refresh, "orders", NULL), SP_ENOTABLE);
    await_pass(f, "users");

    /* users otherwise: another thread, but the counters and the rows go on */
    uint64_t before = passes(f, "users");
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, USERS("max_drop: 10%, " FAST))),
                     SP_OK);
    AWAIT(f, passes(f, "users") > before);
    AWAIT(f, refresh_tick(f->refresh));
    assert_null(table_of(f, "items"));
    assert_int_equal(rows_of(f, "users"), 10);
    assert_int_equal(SEEN(fake.open_now), 1);
}

static void test_ready(void **state)
{
    struct fixture *f = *state;
    char why[128];
    struct fake_table *users = fake_add("users", 10);
    users->stream_hangs = true;
    fixture_start(f, USERS("max_stale: 50ms, on_stale: fail, refresh: {every: 10ms}"));
    AWAIT(f, SEEN(users->streams) > 0);
    assert_false(refresh_ready(f->refresh, why, sizeof(why)));
    assert_string_equal(why, "table users has not been loaded yet");
    SET(users->stream_hangs, false);
    refresh_stop(f->refresh); /* the one that hangs */
    AWAIT(f, refresh_tick(f->refresh));
    assert_int_equal(
        refresh_apply(f->refresh, fixture_load(f, USERS("max_stale: 50ms, on_stale: fail, "
                                                        "refresh: {every: 10ms}"))),
        SP_OK);
    AWAIT(f, refresh_ready(f->refresh, why, sizeof(why)));
    SET(users->stream_hangs, true);
    AWAIT(f, !refresh_ready(f->refresh, why, sizeof(why)));
    assert_string_equal(why, "table users is stale and its on_stale is fail");
}

/* A table whose first pass has begun has its name in the pond, and is still not there to be read.
 */
static void test_ready_needs_all(void **state)
{
    struct fixture *f = *state;
    char why[128];
    struct sp_table *table;
    struct fake_table *users = fake_add("users", 10);
    fake_add("others", 10);
    users->stream_fails = true;
    fixture_start(
        f, USERS(FAST) "  - {name: others, source: db, key: [id], refresh: {every: 10ms}}\n");
    AWAIT(f, passes(f, "others") > 1 && failures(f, "users") > 0);
    assert_false(refresh_ready(f->refresh, why, sizeof(why)));
    assert_string_equal(why, "table users has not been loaded yet");
    assert_true(refresh_table_loaded(refresh_pond(f->refresh), "others", &table));
    assert_false(refresh_table_loaded(refresh_pond(f->refresh), "users", &table));
    SET(users->stream_fails, false);
    AWAIT(f, refresh_ready(f->refresh, why, sizeof(why)));
}

/* --- looking before --------------------------------------------------------------------------- */

static void test_check(void **state)
{
    struct fixture *f = *state;
    struct refresh_check found;
    char *text = NULL;
    size_t size = 0;
    fake_add("users", 10);
    struct config *config = fixture_load(
        f, USERS("indexes: [{name: by_mail, columns: [mail]}]") "  - {name: orders, source: db, "
                                                                "key: [id]}\n"
                                                                "  - {name: good, source: db, "
                                                                "relation: users, key: [id]}\n");
    FILE *complaints = open_memstream(&text, &size);
    assert_int_equal(refresh_check(config, fake_find, complaints, NULL, &found), SP_OK);
    fclose(complaints);
    assert_int_equal(found.wrong, 2);
    assert_int_equal(found.unreachable, 0);
    assert_non_null(strstr(text, "test.yaml:6: table users: index column mail is not among"));
    assert_non_null(strstr(text, "test.yaml:7: table orders: there is no table orders"));
    fake.refuse_open = true;
    assert_int_equal(refresh_check(config, fake_find, NULL, NULL, &found), SP_OK);
    assert_int_equal(found.wrong, 0);
    assert_int_equal(found.unreachable, 1);
    config_free(config);
    free(text);
}

static void test_estimate(void **state)
{
    struct fixture *f = *state;
    struct refresh_estimate estimate;
    char why[SOURCE_ERROR_BYTES];
    fake_add("users", 1000);
    struct config *config = fixture_load(f, USERS("indexes: [{name: by_stamp, columns: [stamp]}]"));
    assert_int_equal(refresh_estimate(config, fake_find, 10000, &estimate, why), SP_OK);
    assert_true(estimate.exact);
    assert_int_equal(estimate.rows, 1000);
    uint64_t whole = estimate.total_bytes;
    assert_int_equal(refresh_estimate(config, fake_find, 500, &estimate, why), SP_OK);
    assert_int_equal(estimate.rows, 1000); /* counted, since there is no estimate */
    assert_true(estimate.total_bytes > whole * 9 / 10 && estimate.total_bytes < whole * 11 / 10);
    config_free(config);

    fixture_start(f, USERS("indexes: [{name: by_stamp, columns: [stamp]}], " FAST));
    AWAIT(f, passes(f, "users") > 0);
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_int_equal(sp_table_info(table_of(f, "users"), &info), SP_OK);
    printf("estimated %llu, taken %llu\n", (unsigned long long)whole,
           (unsigned long long)info.memory_bytes);
    assert_true(whole > info.memory_bytes * 7 / 10 && whole < info.memory_bytes * 15 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_follows),
        TEST(test_unchanged_writes_nothing),
        TEST(test_unchanged_is_not_read),
        TEST(test_bad_rows_are_skipped),
        TEST(test_bad_rows_fail),
        TEST(test_large_rows),
        TEST(test_long_secondary_key),
        TEST(test_long_secondary_key_fails),
        TEST(test_max_drop_holds_back),
        TEST(test_does_not_fit),
        TEST(test_database_down),
        TEST(test_idle_connection_lost),
        TEST(test_stops_while_reading),
        TEST(test_column_added),
        TEST(test_changed_while_streaming),
        TEST(test_new_shape_keeps_max_drop),
        TEST(test_table_gone),
        TEST(test_group_is_one),
        TEST(test_incremental),
        TEST(test_incremental_goes_full),
        TEST(test_notified),
        TEST(test_notified_quiet),
        TEST(test_apply),
        TEST(test_ready),
        TEST(test_ready_needs_all),
        TEST(test_check),
        TEST(test_estimate),
    };
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
