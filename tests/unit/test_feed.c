/* SPDX-License-Identifier: Apache-2.0
 *
 * test_feed.c - Goal: the pond holds, at any moment, a state that the database had, with the
 * position that belongs to it; whatever happens to the feed. Method: a database that is a list of
 * changes (feed_script.c), so that what the tables are at each position is known; after each effect
 * that a test waits for, tables and position are read in one snapshot and compared with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "feed_fixture.h"

/* --- following -------------------------------------------------------------------------------- */

static void test_loads_and_follows(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 100);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 100);
    script_put(USERS_T, 7, 70, 5);
    script_put(USERS_T, 120, 1, 2);
    script_remove(USERS_T, 8);
    script_move(USERS_T, 9, 130, 9, 9);
    script_commit();
    AWAIT_END(f, 1);
    assert_true(row_is(f, "users", 7, "name", "n70"));
    assert_true(row_is(f, "users", 130, "stamp", "9"));
    assert_int_equal(rows_of(f, "users"), 100);
    AWAIT(f, feed_of(f, "users").rows.removed_total == 1);
    struct refresh_feed_status feed = feed_of(f, "users");
    assert_int_equal(feed.state, REFRESH_FEED_FOLLOWING);
    assert_int_equal(feed.rows.put_total, 3);
    assert_int_equal(feed.transactions_total, 1);
    assert_int_equal(feed.reloads_total[REFRESH_RELOAD_FIRST], 1);
    assert_int_equal(passes(f, "users"), 1);
    AWAIT(f, SEEN(script.confirmed) == atomic_load(script.end));
}

/* A new daemon goes on from the row in _feeds, without reading anything. */
static void test_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 50);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    script_put(USERS_T, 1, 2, 3);
    script_commit();
    AWAIT_END(f, 1);
    fixture_restart(f);
    script_remove(USERS_T, 2);
    script_commit();
    unsigned streams = SEEN(script.streams);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    assert_int_equal(SEEN(script.streams), streams);
    assert_int_equal(rows_of(f, "users"), 49);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH);
    assert_int_equal(passes(f, "users"), 0);
}

/* What is delivered by and by, also in the middle of transactions, and committed together. */
static void test_only_whole_transactions(void **state)
{
    struct fixture *f = *state;
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    fill(USERS_T, 50);
    script.burst = 7;
    fixture_start(f, BOTH);
    AWAIT(f, follows(f, "users"));
    for (unsigned t = 0; t < 400; t++) {
        for (unsigned i = (unsigned)rand_r(&seed) % 12; i > 0; i--) {
            unsigned table = (unsigned)rand_r(&seed) % 2;
            int64_t id = rand_r(&seed) % 90 + 1;
            if (rand_r(&seed) % 4 == 0)
                script_remove(table, id);
            else
                script_put(table, id, rand_r(&seed) % 1000, (int64_t)t);
        }
        script_commit();
        position_of(f, 2);
    }
    AWAIT_END(f, 2);
    struct refresh_feed_status feed = feed_of(f, "users");
    AWAIT(f, feed_of(f, "users").transactions_total == 400);
    assert_true(feed.commits_total <= 400);
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* What arrives together is committed together. */
static void test_coalesces(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    hold_delivery(script.count);
    for (unsigned i = 0; i < 500; i++) {
        script_put(USERS_T, 1 + i % 10, i, i);
        script_commit();
    }
    hold_delivery(0);
    AWAIT_END(f, 1);
    AWAIT(f, feed_of(f, "users").transactions_total == 500);
    assert_true(feed_of(f, "users").commits_total < 100);
}

static void test_absent_columns(void **state)
{
    struct fixture *f = *state;
    script_put(USERS_T, 1, 1, 1);
    script.changes[0].name_bytes = 3000;
    script_put(USERS_T, 2, 22, 2);
    script_commit();
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    script_touch(USERS_T, 1, 10);
    script_put(USERS_T, 3, 33, 3);
    script_touch(USERS_T, 3, 30);      /* of the same transaction */
    script_move(USERS_T, 2, 4, 0, 20); /* and under another key */
    script.changes[script.count - 1].absent_name = true;
    script_commit();
    AWAIT_END(f, 1);
    assert_true(row_is(f, "users", 4, "name", "n22"));
    assert_true(row_is(f, "users", 3, "name", "n33"));
    assert_true(row_is(f, "users", 3, "stamp", "30"));
    assert_int_equal(SEEN(script.snapshots), 1);
}

static void test_truncates(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 100);
    fill(ORDERS_T, 20);
    fixture_start(f, BOTH);
    AWAIT_END(f, 2);
    script_put(USERS_T, 200, 1, 1);
    script_truncate(USERS_T);
    for (unsigned i = 0; i < 90; i++)
        script_put(USERS_T, 100 + i % 60, i, i); /* some twice */
    script_put(ORDERS_T, 5, 5, 5);
    script_commit();
    AWAIT_END(f, 2);
    assert_int_equal(rows_of(f, "users"), 60);
    assert_int_equal(rows_of(f, "orders"), 20);
    assert_int_equal(SEEN(script.snapshots), 1);
}

static void test_bad_rows(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    script_add(SCRIPT_BAD, USERS_T, 1);
    script_put(USERS_T, 2, 1, 1);
    script.changes[script.count - 1].null_stamp = true;
    script_put(USERS_T, 5, 5, 5);
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 8);
    /* Nothing can be filled in for a row that was skipped. */
    script_touch(USERS_T, 1, 10);
    script_add(SCRIPT_BAD, USERS_T, 1);
    script_commit();
    AWAIT_END(f, 1);
    script_put(USERS_T, 1, 100, 1);
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 9);
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* A row that became too large is skipped, and what was there of it goes. */
static void test_large_rows_go(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    script_put(USERS_T, 3, 1, 1);
    script.changes[script.count - 1].name_bytes = 6000;
    script_commit();
    AWAIT(f, rows_of(f, "users") == 9);
    assert_false(row_is(f, "users", 3, "stamp", "1003"));
}

/* A lost connection costs nothing but the time. */
static void test_connects_again(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    script.burst = 2;
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    script_lock();
    script.hold = script.count + 3; /* in the middle of the next one */
    script_unlock();
    for (unsigned i = 0; i < 6; i++)
        script_put(USERS_T, 20 + i, i, i);
    script_commit();
    pause_ms(30);
    assert_int_equal(rows_of(f, "users"), 10);
    script_lock();
    script.next_fails = true;
    script.hold = 0;
    script_unlock();
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 16);
    assert_int_equal(SEEN(script.snapshots), 1);
    assert_int_equal(SEEN(script.starts), 2);
    assert_int_equal(status_of(f, "users").failures_total[REFRESH_FAILURE_SOURCE], 0);
}

/* --- age -------------------------------------------------------------------------------------- */

static struct sp_table_info info_of(struct fixture *f)
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_int_equal(sp_table_info(table_of(f, "users"), &info), SP_OK);
    return info;
}

/* A quiet database keeps its tables fresh by saying so, and a silent one does not. */
static void test_quiet_is_fresh(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, FEED("users", "max_stale: 400ms, on_stale: fail"));
    for (unsigned i = 0; i < 60; i++) {
        pause_ms(10);
        assert_false(info_of(f).stale);
    }
    SET(script.silent, true);
    AWAIT(f, info_of(f).stale);
    put_one(1);
    AWAIT(f, !info_of(f).stale);
    assert_int_equal(failures(f, "users"), 0);
}

/* Rows are as old as the database says, by a clock of which the difference is known. */
static void test_age_is_the_databases(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    AWAIT(f, status_of(f, "users").feed.at_ms > 0);
    pause_ms(150); /* until it has been told that nothing is missing */
    script_lock();
    script.silent = true;
    script.behind_us = 30000000;
    script_unlock();
    pause_ms(20);
    script_put(USERS_T, 1, 77, 1);
    script_commit();
    AWAIT(f, feed_of(f, "users").delay_ms >= 29000);
    assert_true(feed_of(f, "users").delay_ms < 31000);
    AWAIT(f, info_of(f).age_ms >= 29000);
    assert_true(info_of(f).age_ms < 60000);
}

/* --- operators -------------------------------------------------------------------------------- */

static void test_hold_and_refresh(void **state)
{
    struct fixture *f = *state;
    uint64_t ticket;
    struct refresh_status status;
    start_following(f, 10, ALONE);
    assert_int_equal(refresh_hold(f->refresh, "users"), SP_OK);
    AWAIT(f, SEEN(script.open_now) == 0);
    script_remove(USERS_T, 1);
    script_commit();
    assert_int_equal(rows_of(f, "users"), 10);
    assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
    AWAIT(f, refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
    AWAIT_END(f, 1);
    assert_int_equal(feed_of(f, "users").comparisons_total, 1);
    assert_int_equal(feed_of(f, "users").rows.drift_deleted_total, 0);
    assert_int_equal(SEEN(script.snapshots), 2);
}

static void check_drift(struct fixture *f)
{
    struct refresh_status status;
    uint64_t ticket;
    start_following(f, 100, FEED("users", "max_row: 4KiB"));
    for (unsigned i = 0; i < 6; i++) {
        if (i < 3)
            script_put(USERS_T, 150 + i, i, i);
        else if (i < 5)
            script_put(USERS_T, i, 77, 77);
        else
            script_remove(USERS_T, 50);
        script.changes[script.count - 1].hidden = true;
    }
    put_one(5);
    AWAIT(f, row_is(f, "users", 1, "name", "n5"));
    assert_int_equal(rows_of(f, "users"), 100);
    assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
    AWAIT(f, refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
    assert_int_equal(status.failures_in_a_row, 0);
    AWAIT_END(f, 1);
    assert_int_equal(status.feed.rows.drift_inserted_total, 3);
    assert_int_equal(status.feed.rows.drift_updated_total, 2);
    assert_int_equal(status.feed.rows.drift_deleted_total, 1);
    assert_int_equal(status.feed.comparisons_total, 1);
    script_put(USERS_T, 2, 6, 6);
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
    AWAIT(f, refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
    assert_int_equal(status.feed.rows.drift_updated_total, 2);
    assert_int_equal(status.feed.comparisons_total, 2);
}

static void test_drift_is_mended(void **state)
{
    check_drift(*state);
}

static void test_drift_is_mended_inexactly(void **state)
{
    script.inexact = true;
    check_drift(*state);
}

static void test_compares_by_itself(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10,
                    "  - {name: users, source: db, key: [id], refresh: {mode: feed, full_every: "
                    "1s}}\n");
    put_hidden(20);
    script_commit();
    AWAIT(f, feed_of(f, "users").rows.drift_inserted_total == 1);
    AWAIT_END(f, 1);
}

/* --- snapshots that are not exact ------------------------------------------------------------- */

static void write_meanwhile(void)
{
    static _Atomic unsigned turn;
    unsigned n = atomic_fetch_add(&turn, 1);
    script_put(USERS_T, 100 + n % 50, n, n);
    script_put(ORDERS_T, 100 + n % 50, n, n);
    script_remove(USERS_T, 1 + n % 20);
    script_commit();
}

/* The second table is read later than the first: nothing of it is seen before both agree. */
static void test_inexact_snapshot(void **state)
{
    struct fixture *f = *state;
    struct refresh_status status;
    uint64_t ticket;
    script.inexact = true;
    script.on_begin = write_meanwhile;
    fill(USERS_T, 50);
    fill(ORDERS_T, 50);
    fixture_start(f, BOTH);
    AWAIT_END(f, 2);
    for (unsigned i = 0; i < 10; i++) {
        script_put(ORDERS_T, 3, i, i);
        script_commit();
        assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
        AWAIT(f, position_of(f, 2) && refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
        assert_int_equal(status.failures_in_a_row, 0);
    }
    AWAIT_END(f, 2);
    assert_int_equal(feed_of(f, "users").comparisons_total, 10);
    assert_int_equal(feed_of(f, "users").rows.drift_inserted_total, 0);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* Two groups write their positions into the same table. */
static void test_groups_side_by_side(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 50);
    fill(ORDERS_T, 50);
    fixture_start(f, FEED("users", "group: a") FEED("orders", "group: b"));
    AWAIT(f, follows(f, "users") && follows(f, "orders"));
    for (unsigned i = 0; i < 300; i++) {
        script_put(USERS_T, 1 + i % 50, i, i);
        script_put(ORDERS_T, 1 + i % 50, i + 1, i);
        script_commit();
    }
    AWAIT(f, row_is(f, "users", 50, "name", "n299") && row_is(f, "orders", 50, "name", "n300"));
    AWAIT(f, feed_of(f, "users").transactions_total == 300);
    AWAIT(f, feed_of(f, "orders").transactions_total == 300);
    assert_int_equal(rows_of(f, "_feeds"), 2);
    assert_string_not_equal(feed_of(f, "users").position, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_loads_and_follows),
        TEST(test_goes_on_after_a_restart),
        TEST(test_only_whole_transactions),
        TEST(test_coalesces),
        TEST(test_absent_columns),
        TEST(test_truncates),
        TEST(test_bad_rows),
        TEST(test_large_rows_go),
        TEST(test_connects_again),
        TEST(test_quiet_is_fresh),
        TEST(test_age_is_the_databases),
        TEST(test_hold_and_refresh),
        TEST(test_drift_is_mended),
        TEST(test_drift_is_mended_inexactly),
        TEST(test_compares_by_itself),
        TEST(test_inexact_snapshot),
        TEST(test_groups_side_by_side),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
