/* SPDX-License-Identifier: Apache-2.0
 *
 * test_feed_fault.c - Goal: what goes wrong with a feed harms no row that is right, is told to who
 * operates it, and leaves nothing at the database that nobody looks after. Each test tells of one
 * fault that was there. Method: as test_feed.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feed_fixture.h"

/* --- rows ------------------------------------------------------------------------------------- */

static void put_long(int64_t id, unsigned bytes, bool unfit)
{
    script_put(USERS_T, id, id, id);
    script.changes[script.count - 1].name_bytes = bytes;
    script.changes[script.count - 1].unfit = unfit;
}

/* A row is refused when its batch is stored, which is while another one is taken: that one stays.
 */
static void test_another_row_is_refused(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, FEED("users", "max_row: 128KiB, indexes: [{name: n, columns: [name]}]"));
    put_long(1, 70000, true); /* too long for an index */
    for (int64_t id = 2; id <= 5; id++)
        put_long(id, 60000, false);
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 9);
    script_touch(USERS_T, 1, 5); /* of which nothing is known */
    script.changes[script.count - 1].unfit = true;
    script_commit();
    AWAIT_END(f, 1);
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* --- failures --------------------------------------------------------------------------------- */

static void break_next(enum script_breakage breakage, bool at_once)
{
    script_lock();
    script.breakage = breakage;
    script.at_once = at_once;
    script_unlock();
}

/* It starts each time, says that nothing is missing, and then the connection is lost: that is told,
 * and the pauses grow. */
static void test_is_lost_after_each_start(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    break_next(SCRIPT_LOSES, false);
    put_one(50);
    AWAIT(f, status_of(f, "users").failures_total[REFRESH_FAILURE_SOURCE] >= 2);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FAILING);
    break_next(SCRIPT_WHOLE, false);
    AWAIT_END(f, 1);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH && failures(f, "users") == 0);
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* What the database keeps is looked at meanwhile. */
static void test_is_lost_and_lags(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    SET(script.lag, UINT64_C(5) << 30);
    break_next(SCRIPT_LOSES, true);
    AWAIT(f, SEEN(script.drops) == 1 || reloads(f, REFRESH_RELOAD_LAG) == 1);
}

/* A change that is never understood is behind us when all rows are read. */
static void test_is_not_understood(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    put_one(49);
    AWAIT_END(f, 1);
    break_next(SCRIPT_MISREADS, false);
    put_one(50);
    AWAIT(f, reloads(f, REFRESH_RELOAD_LOST) == 1);
    AWAIT_END(f, 1);
    assert_int_equal(SEEN(script.snapshots), 2);
    put_one(51); /* nor is the next one: it is not read again for that */
    AWAIT(f, status_of(f, "users").failures_total[REFRESH_FAILURE_SOURCE] >= 1);
    break_next(SCRIPT_WHOLE, false);
    AWAIT_END(f, 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_LOST), 1);
}

/* A status of the call without a word in the error is a failure all the same. */
static void test_fails_silently(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    break_next(SCRIPT_SILENT, false);
    put_one(50);
    AWAIT(f, failures(f, "users") > 0);
    break_next(SCRIPT_WHOLE, false);
    AWAIT_END(f, 1);
}

/* --- what the database keeps ------------------------------------------------------------------ */

static void break_reading(bool describe, bool stream)
{
    script_lock();
    script.describe_fails = describe;
    script.stream_fails = stream;
    script.next_fails = describe || stream;
    script_unlock();
}

/* A table that is gone: nothing is kept for it any longer. */
static void test_table_is_gone(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    break_reading(true, false);
    AWAIT(f, SEEN(script.drops) == 1 && rows_of(f, "_feeds") == 0);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_FAILING);
    break_reading(false, false);
    refresh_users(f);
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
}

/* The pause of a group that is held back may be long. */
static void test_nothing_is_kept_while_held_back(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10,
                    "  - {name: users, source: db, key: [id], refresh: {mode: feed, every: 1h}}\n");
    script_truncate(USERS_T);
    script_commit();
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    AWAIT(f, SEEN(script.drops) == 1 && rows_of(f, "_feeds") == 0);
    assert_int_equal(rows_of(f, "users"), 10);
    confirm(f);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(rows_of(f, "users"), 0);
}

/* Nor is it in a hold in which nobody can say how much it is. */
static void test_nothing_is_kept_unmeasured(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    assert_int_equal(refresh_hold(f->refresh, "users"), SP_OK);
    AWAIT(f, SEEN(script.open_now) == 0);
    break_reading(true, false);
    AWAIT(f, SEEN(script.drops) == 1 && rows_of(f, "_feeds") == 0);
    break_reading(false, false);
    refresh_users(f);
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 1);
}

/* A first load that never ended may have left something behind. */
static void test_left_while_loading(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fill(ORDERS_T, 10);
    script.stream_fails = true;
    fixture_start(f, ALONE);
    AWAIT(f, failures(f, "users") > 0);
    fixture_restart(f);
    script.stream_fails = false;
    fixture_start(f, "  - {name: orders, source: db, key: [id], " FAST "}\n");
    AWAIT(f, SEEN(script.drops) == 1 && rows_of(f, "_feeds") == 0);
}

/* That all rows have to be read is known to the next daemon too. */
static void test_owes_a_reload(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    SET(script.stream_fails, true);
    script_add(SCRIPT_RESHAPE, USERS_T, 0);
    script_commit();
    AWAIT(f, failures(f, "users") > 0);
    assert_int_equal(position_of(f, 0), 0);
    fixture_restart(f);
    script.stream_fails = false;
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_RESHAPED), 0);
}

/* --- asking and comparing --------------------------------------------------------------------- */

static void refuse(const char *why, bool for_now)
{
    script_lock();
    snprintf(script.refuse, sizeof(script.refuse), "%s", why);
    script.for_now = for_now;
    script.next_fails = true;
    script_unlock();
}

/* A "no" that passes, as of a connection that the database still takes for alive, costs nothing. */
static void test_no_for_now(void **state)
{
    struct fixture *f = *state;
    start_following(f, 10, ALONE);
    refuse("the slot is active", true);
    AWAIT(f, status_of(f, "users").failures_total[REFRESH_FAILURE_CONFIG] > 0);
    put_one(50);
    assert_int_not_equal(feed_of(f, "users").state, REFRESH_FEED_FALLEN_BACK);
    refuse("", false);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(SEEN(script.drops), 0);
    assert_int_equal(SEEN(script.snapshots), 1);
}

/* Nor does looking before serving, or before a reload, complain of it. */
static void test_no_for_now_is_no_complaint(void **state)
{
    struct fixture *f = *state;
    struct refresh_check found;
    char *said = NULL;
    size_t size;
    struct config *config = fixture_load(f, ALONE);
    snprintf(script.refuse, sizeof(script.refuse), "the slot is active");
    script.for_now = true;
    FILE *out = open_memstream(&said, &size);
    assert_int_equal(refresh_check(config, script_find, out, NULL, &found), SP_OK);
    fclose(out);
    assert_string_equal(said, "");
    free(said);
    config_free(config);
}

/* A comparison that does not end keeps no change away. */
static void test_comparison_fails(void **state)
{
    struct fixture *f = *state;
    struct refresh_status status;
    uint64_t ticket;
    start_following(f, 10, ALONE);
    SET(script.stream_fails, true);
    assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
    AWAIT(f, refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
    assert_true(status.failures_in_a_row > 0);
    put_one(50);
    AWAIT_END(f, 1);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH);
    SET(script.stream_fails, false);
    assert_int_equal(refresh_now(f->refresh, "users", &ticket), SP_OK);
    AWAIT(f, refresh_ended(f->refresh, "users", ticket, &status) == SP_OK);
    assert_int_equal(status.feed.comparisons_total, 1);
}

/* A load reads also what the source says has not changed since it was read. */
static void test_load_reads_all(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    script.unchanged = true;
    fixture_start(f, ALONE);
    AWAIT(f, follows(f, "users"));
    put_hidden(20);
    script_commit();
    AWAIT(f, SEEN(script.confirmed) > 0);
    script_lock();
    script.floor = script.count + 1;
    script.next_fails = true;
    script_unlock();
    put_one(2);
    AWAIT(f, row_is(f, "users", 20, "name", "n1"));
    AWAIT_END(f, 1);
    assert_int_equal(reloads(f, REFRESH_RELOAD_LOST), 1);
}

/* Rows that were damaged and dropped when the pond was opened are not missing for a day. */
static void test_rows_that_were_damaged(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    put_hidden(20);
    script_commit();
    fixture_restart(f);
    f->damaged = true;
    fixture_start(f, ALONE);
    AWAIT(f, feed_of(f, "users").rows.drift_inserted_total == 1);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
    put_one(50);
    AWAIT_END(f, 1);
    assert_int_equal(feed_of(f, "users").comparisons_total, 1);
    fixture_restart(f);
    f->damaged = false;
    fixture_start(f, ALONE);
    AWAIT(f, follows(f, "users"));
    put_one(51);
    AWAIT_END(f, 1);
    assert_int_equal(feed_of(f, "users").comparisons_total, 0);
}

/* A database that is idle need not say when. */
static void test_idle_without_a_time(void **state)
{
    struct fixture *f = *state;
    fill(USERS_T, 10);
    script.idle_untimed = true;
    fixture_start(f, ALONE);
    AWAIT(f, follows(f, "users") && feed_of(f, "users").at_ms > 0);
    int64_t first = feed_of(f, "users").at_ms;
    AWAIT(f, feed_of(f, "users").at_ms > first + 100);
    assert_true(feed_of(f, "users").delay_ms < 1000);
}

/* --- too much would go ------------------------------------------------------------------------ */

/* What one transaction puts in does not make up for what the next one takes. */
static void test_drop_after_inserts(void **state)
{
    struct fixture *f = *state;
    start_following(f, 100, FEED("users", "max_drop: 30%"));
    hold_delivery(script.count);
    for (int64_t id = 101; id <= 200; id++)
        script_put(USERS_T, id, id, id);
    script_commit();
    script_put(USERS_T, 201, 1, 1); /* in one batch with those */
    for (int64_t id = 1; id <= 70; id++)
        script_remove(USERS_T, id);
    script_commit();
    hold_delivery(0);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 100);
    assert_non_null(strstr(status_of(f, "users").error, " of "));
    confirm(f);
    AWAIT_END(f, 1);
    AWAIT(f, follows(f, "users"));
}

/* Nor do small ones add up because they have arrived together. */
static void test_drops_do_not_add_up(void **state)
{
    struct fixture *f = *state;
    start_following(f, 100, FEED("users", "max_drop: 30%"));
    hold_delivery(script.count);
    for (int64_t id = 1; id <= 80; id++) {
        script_move(USERS_T, 250, 240, id, id); /* from a key that is not there */
        script_remove(USERS_T, id);
        script_commit();
    }
    script_put(USERS_T, 100, 5, 5);
    script_truncate(USERS_T);
    for (int64_t id = 1; id <= 21; id++)
        script_put(USERS_T, id, id, id);
    script_commit();
    hold_delivery(0);
    AWAIT_END(f, 1);
    assert_int_equal(rows_of(f, "users"), 21);
    assert_int_equal(SEEN(script.snapshots), 1);
}

static void truncate_once(void)
{
    SET(script.on_begin, NULL);
    script_truncate(USERS_T);
    script_commit();
}

/* What is delivered while rows are read, because they may be newer than the position, is judged. */
static void test_drop_while_comparing(void **state)
{
    struct fixture *f = *state;
    script.inexact = true;
    fill(USERS_T, 50);
    fill(ORDERS_T, 50);
    fixture_start(f, FEED("users", "group: g") FEED("orders", "group: g"));
    AWAIT(f, follows(f, "users"));
    AWAIT_END(f, 2);
    SET(script.on_begin, truncate_once);
    refresh_users(f);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_HELD);
    assert_int_equal(rows_of(f, "users"), 50);
    confirm(f);
    AWAIT_END(f, 2);
    AWAIT(f, follows(f, "users"));
    assert_int_equal(rows_of(f, "users"), 0);
}

/* --- leaving ---------------------------------------------------------------------------------- */

static _Atomic bool blocks, blocked;

static void block(void)
{
    while (blocks) {
        blocked = true;
        pause_ms(1);
    }
}

/* A group leaves and is wanted again before another one has ended, so that nobody was told. */
static void test_two_quick_reloads(void **state)
{
    struct fixture *f = *state;
    const char *all = ALONE FEED("orders", "group: g") FEED("items", "group: g");
    const char *slow = "  - {name: orders, source: db, key: [id], group: g, " FAST "}\n"
                       "  - {name: items, source: db, key: [id], group: g, " FAST "}\n";
    fill(USERS_T, 10);
    blocks = true;
    script.on_begin = block; /* ends only when it has read */
    fixture_start(f, all);
    AWAIT(f, follows(f, "users") && blocked);
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, slow)), SP_OK);
    AWAIT(f, SEEN(script.open_now) == 1);
    for (unsigned i = 0; i < 20; i++) { /* its thread is joined */
        refresh_tick(f->refresh);
        pause_ms(1);
    }
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, all)), SP_OK);
    refresh_tick(f->refresh);
    blocks = false;
    AWAIT(f, follows(f, "users") && follows(f, "items"));
    put_one(50);
    AWAIT(f, row_is(f, "users", 1, "name", "n50"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_another_row_is_refused),
        TEST(test_is_lost_after_each_start),
        TEST(test_is_lost_and_lags),
        TEST(test_is_not_understood),
        TEST(test_fails_silently),
        TEST(test_table_is_gone),
        TEST(test_nothing_is_kept_while_held_back),
        TEST(test_nothing_is_kept_unmeasured),
        TEST(test_left_while_loading),
        TEST(test_owes_a_reload),
        TEST(test_no_for_now),
        TEST(test_no_for_now_is_no_complaint),
        TEST(test_comparison_fails),
        TEST(test_load_reads_all),
        TEST(test_rows_that_were_damaged),
        TEST(test_idle_without_a_time),
        TEST(test_drop_after_inserts),
        TEST(test_drops_do_not_add_up),
        TEST(test_drop_while_comparing),
        TEST(test_two_quick_reloads),
    };
    return cmocka_run_group_tests_name("feed_fault", tests, NULL, NULL);
}
