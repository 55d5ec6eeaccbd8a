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

#include <cmocka.h>

#include "feed_script.h"
#include "refresh_fixture.h"

enum { USERS_T, ORDERS_T, ITEMS_T };

#define FEED(name, rest)                                                                           \
    "  - {name: " name ", source: db, key: [id], refresh: {mode: feed, every: 20ms}, " rest "}\n"
#define ALONE FEED("users", "max_row: 4KiB")
#define BOTH  FEED("users", "group: g") FEED("orders", "group: g")

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, feed_setup, fixture_teardown)

static int feed_setup(void **state)
{
    script_reset();
    int status = fixture_setup(state);
    ((struct fixture *)*state)->find_source = script_find;
    return status;
}

static void fill(unsigned table, unsigned count)
{
    for (unsigned i = 1; i <= count; i++)
        script_put(table, i, i, 1000 + i);
    script_commit();
}

/* The position of the pond, whose tables are as they were at it. */
static unsigned position_of(struct fixture *f, unsigned tables)
{
    char why[256] = "";
    unsigned position = 0;
    int status = script_check(refresh_pond(f->refresh), tables, &position, why, sizeof(why));
    if (status == SP_EDATA)
        fail_msg("%s", why);
    return status == SP_OK ? position : 0;
}

#define AWAIT_END(f, tables) AWAIT(f, position_of(f, tables) == atomic_load(script.end))

static struct refresh_feed_status feed_of(struct fixture *f, const char *table)
{
    return status_of(f, table).feed;
}


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
    unsigned streams = script.streams;
    fixture_start(f, ALONE);
    AWAIT_END(f, 1);
    assert_int_equal(script.streams, streams);
    assert_int_equal(rows_of(f, "users"), 49);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH);
    assert_int_equal(passes(f, "users"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_loads_and_follows),
        TEST(test_goes_on_after_a_restart),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
