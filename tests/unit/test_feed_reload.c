/* SPDX-License-Identifier: Apache-2.0
 *
 * test_feed_reload.c - Goal: what ends a feed ends it once: a lost position, other columns, too
 * much that is kept, a drop that is held back, a database that does not let it; and a follower that
 * leaves leaves nothing behind. Method: as test_feed.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feed_fixture.h"

/* --- reloads ---------------------------------------------------------------------------------- */

static void raise_floor(void)
{
    script_lock();
    script.floor = atomic_load(script.end);
    script.next_fails = true;
    script_unlock();
}

static void test_lost_once(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    put_one(5);
    AWAIT_END(f, 1);
    hold_delivery(script.count);
    script_put(USERS_T, 2, 5, 5);
    script_commit();
    raise_floor();
    hold_delivery(0);
    AWAIT_END(f, 1);
    AWAIT(f, reloads(f, REFRESH_RELOAD_LOST) == 1 && follows(f, "users"));
    script_put(USERS_T, 3, 5, 5);
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_LOST), 1);
    assert_int_equal(SEEN(script.snapshots), 2);
}

/* A database that loses each position is no reason to read it without a pause. */
static void test_lost_again_and_again(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    script.always_lost = true;
    fixture_start(f, ALONE);
    AWAIT(f, failures(f, "users") > 0);
    unsigned before = SEEN(script.snapshots);
    assert_true(before <= 3);
    pause_ms(200);
    assert_true(SEEN(script.snapshots) <= before + 5);
    assert_non_null(strstr(status_of(f, "users").error, "no longer has the position"));
    SET(script.always_lost, false);
    AWAIT(f, follows(f, "users"));
    AWAIT(f, failures(f, "users") == 0);
    AWAIT_END(f, 1);
}

static void test_reshaped(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    assert_false(row_is(f, "users", 4, "extra", "8"));
    script_put(USERS_T, 1, 5, 5);
    script_add(SCRIPT_RESHAPE, USERS_T, 0);
    SET(script.extra, true);
    script_commit();
    AWAIT_END(f, 1);
    assert_true(row_is(f, "users", 4, "extra", "8"));
    assert_int_equal(reloads(f, REFRESH_RELOAD_RESHAPED), 1);
    AWAIT(f, follows(f, "users"));
}

/* Other tables, another database: the position of before says nothing. */
static void test_changed(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fill(ORDERS_T, 10);
    fixture_start(f, FEED("users", "group: g"));
    AWAIT_END(f, 1);
    fixture_restart(f);
    script_put(ORDERS_T, 3, 1, 1);
    script_commit();
    fixture_start(f, BOTH);
    AWAIT_END(f, 2);
    AWAIT(f, reloads(f, REFRESH_RELOAD_CHANGED) == 1);
    fixture_restart(f);
    snprintf(script.stream, sizeof(script.stream), "two");
    fixture_start(f, BOTH);
    AWAIT(f, reloads(f, REFRESH_RELOAD_CHANGED) == 1);
    AWAIT_END(f, 2);
    assert_int_equal(SEEN(script.snapshots), 3);
}

static void test_missing_row(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    put_hidden(20);
    script_touch(USERS_T, 20, 3);
    script_commit();
    AWAIT_END(f, 1);
    assert_true(row_is(f, "users", 20, "name", "n1"));
    assert_int_equal(reloads(f, REFRESH_RELOAD_MISSING), 1);
}

static void test_max_lag(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    SET(script.lag, UINT64_C(5) << 30);
    AWAIT(f, SEEN(script.drops) == 1);
    SET(script.lag, 1000);
    AWAIT(f, reloads(f, REFRESH_RELOAD_LAG) == 1 && follows(f, "users"));
    AWAIT(f, feed_of(f, "users").lag_bytes == 1000);
    assert_int_equal(SEEN(script.snapshots), 2);
    AWAIT_END(f, 1);
}

/* A hold may last: what the database keeps meanwhile has its limit all the same. */
static void test_max_lag_while_held(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    assert_int_equal(refresh_hold(f->refresh, "users"), SP_OK);
    AWAIT(f, SEEN(script.opens) > 2);
    assert_int_equal(SEEN(script.drops), 0);
    SET(script.lag, UINT64_C(5) << 30);
    AWAIT(f, SEEN(script.drops) == 1);
    AWAIT(f, rows_of(f, "_feeds") == 0);
    SET(script.lag, 0);
    refresh_users(f);
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
}

static void test_bad_row_fails(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, FEED("users", "on_bad_row: fail"));
    script_add(SCRIPT_BAD, USERS_T, 1);
    script_commit();
    AWAIT(f, status_of(f, "users").failures_total[REFRESH_FAILURE_DATA] > 0);
    assert_true(rows_of(f, "users") >= 9); /* the snapshot has the row no more */
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_DATA), 1);
}

/* A transaction that does not fit leaves everything as it was, and is tried again. */
static void test_does_not_fit(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, BOTH);
    AWAIT_END(f, 2);
    unsigned before = position_of(f, 2);
    for (unsigned i = 0; i < 400; i++) {
        script_put(i % 2, 1 + i / 2, i, i);
        script.changes[script.count - 1].name_bytes = 8000 + i % 100;
    }
    script_commit();
    AWAIT(f, status_of(f, "users").failures_total[REFRESH_FAILURE_SPACE] > 1);
    assert_int_equal(position_of(f, 2), before);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FAILING);
    assert_non_null(strstr(status_of(f, "users").error, "memory:"));
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* --- too much would go ------------------------------------------------------------------------ */

static void test_max_drop_is_confirmed(void **state)
{
    struct fixture *f = *state;
    start_following(f, 100, FEED("users", "max_drop: 30%"));
    for (unsigned i = 1; i <= 20; i++) { /* each one is small */
        script_remove(USERS_T, i);
        script_commit();
    }
    AWAIT_END(f, 1);
    script_truncate(USERS_T);
    put_one(1);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 80);
    assert_non_null(strstr(status_of(f, "users").error, "confirm/users"));
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_int_equal(sp_table_info(table_of(f, "users"), &info), SP_OK);
    assert_int_equal(info.state, SP_TABLE_HELD);
    confirm(f);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users") && status_of(f, "users").state == SP_TABLE_FRESH);
    assert_int_equal(rows_of(f, "users"), 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_DROP), 1);
}

static void test_max_drop_heals(void **state)
{
    struct fixture *f = *state;
    start_following(f, 100, ALONE);
    script_truncate(USERS_T);
    script_commit();
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 100);
    fill(USERS_T, 90);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users") && status_of(f, "users").state == SP_TABLE_FRESH);
}

/* --- not possible ----------------------------------------------------------------------------- */

static void test_falls_back(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    snprintf(script.refuse, sizeof(script.refuse), "wal_level is replica");
    fixture_start(f, ALONE);
    AWAIT(f, passes(f, "users") >= 2);
    struct refresh_feed_status feed = feed_of(f, "users");
    assert_int_equal(feed.state, REFRESH_FEED_FALLEN_BACK);
    assert_string_equal(feed.why, "wal_level is replica");
    script_remove(USERS_T, 1);
    script_commit();
    AWAIT(f, rows_of(f, "users") == 9);
    assert_int_equal(SEEN(script.checks), 1);
    assert_int_equal(SEEN(script.opens), 1);
    SET(script.refuse[0], '\0');
    refresh_users(f);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(SEEN(script.opens), 2); /* a right that was granted holds for a new one */
    AWAIT_END(f, 1);
    assert_string_equal(feed_of(f, "users").why, "");
}

/* What has been read while it was not possible is newer than the position of before. */
static void test_falls_back_and_comes_back(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    script_lock();
    snprintf(script.refuse, sizeof(script.refuse), "max_wal_senders is 0");
    script.next_fails = true;
    script_unlock();
    AWAIT(f, feed_of(f, "users").state == REFRESH_FEED_FALLEN_BACK);
    AWAIT(f, SEEN(script.drops) == 1);
    put_one(5);
    AWAIT(f, row_is(f, "users", 1, "name", "n5"));
    assert_int_equal(position_of(f, 0), 0);
    SET(script.refuse[0], '\0');
    refresh_users(f);
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
    assert_int_equal(SEEN(script.snapshots), 2);
}

/* `sidepondd --check --connect` says it before anything is served, and that it is no fault. */
static void test_check_says_so(void **state)
{
    struct fixture *f = *state;
    struct refresh_check found;
    char *said = NULL;
    size_t size;
    struct config *config = fixture_load(f, BOTH);
    snprintf(script.refuse, sizeof(script.refuse), "wal_level is replica");
    FILE *out = open_memstream(&said, &size);
    assert_int_equal(refresh_check(config, script_find, out, NULL, &found), SP_OK);
    fclose(out);
    assert_string_equal(said, "test.yaml:6: warning: group g cannot follow its database, and reads "
                              "all rows instead: wal_level is replica\n");
    assert_int_equal(found.wrong, 0);
    free(said);
    fake_add("users", 1);
    fake_add("orders", 1);
    out = open_memstream(&said, &size);
    assert_int_equal(refresh_check(config, fake_find, out, NULL, &found), SP_OK);
    fclose(out);
    assert_non_null(strstr(said, "cannot tell its changes one by one"));
    assert_int_equal(found.wrong, 2);
    free(said);
    config_free(config);
}

/* --- leaving ---------------------------------------------------------------------------------- */

#define OTHER "  - {name: orders, source: db, key: [id], refresh: {every: 20ms}}\n"

static void test_leaves(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fill(ORDERS_T, 10);
    script.drop_fails = true;
    fixture_start(f, ALONE OTHER);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, OTHER)), SP_OK);
    AWAIT(f, position_of(f, 0) == 0 && rows_of(f, "_feeds") == 1); /* void, but not forgotten */
    SET(script.drop_fails, false);
    AWAIT(f, rows_of(f, "_feeds") == 0);
    assert_int_equal(SEEN(script.drops), 1);
    assert_non_null(strstr(script.dropped, "sidepond_main_users_"));
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, ALONE OTHER)), SP_OK);
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
}

/* The daemon was not running when the group was taken out. */
static void test_left_while_away(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    fixture_restart(f);
    fixture_start(f, "  - {name: users, source: db, key: [id], " FAST "}\n");
    AWAIT(f, SEEN(script.drops) == 1);
    AWAIT(f, rows_of(f, "_feeds") == 0 && passes(f, "users") > 0);
    assert_int_equal(feed_of(f, "users").state, REFRESH_FEED_NONE);
}

/* It is wanted again before the database has been told. */
static void test_comes_back(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fill(ORDERS_T, 10);
    script.drop_fails = true;
    fixture_start(f, ALONE OTHER);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, OTHER)), SP_OK);
    AWAIT(f, position_of(f, 0) == 0 && rows_of(f, "_feeds") == 1);
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, ALONE OTHER)), SP_OK);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(SEEN(script.drops), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lost_once),
        TEST(test_lost_again_and_again),
        TEST(test_reshaped),
        TEST(test_changed),
        TEST(test_missing_row),
        TEST(test_max_lag),
        TEST(test_max_lag_while_held),
        TEST(test_bad_row_fails),
        TEST(test_does_not_fit),
        TEST(test_max_drop_is_confirmed),
        TEST(test_max_drop_heals),
        TEST(test_falls_back),
        TEST(test_falls_back_and_comes_back),
        TEST(test_check_says_so),
        TEST(test_leaves),
        TEST(test_left_while_away),
        TEST(test_comes_back),
    };
    return cmocka_run_group_tests_name("feed_reload", tests, NULL, NULL);
}
