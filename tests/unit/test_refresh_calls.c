/* SPDX-License-Identifier: Apache-2.0
 *
 * test_refresh_calls.c - Goal: what operators ask of refresh happens: a refresh now and word of its
 * end, and a hold that nothing but a call by name ends. Method: as test_refresh.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "refresh_fixture.h"
#include "server/log/log.h"

#define HOUR "refresh: {every: 1h}"

static bool ended(struct fixture *f, uint64_t ticket, struct refresh_status *out)
{
    int status = refresh_ended(f->refresh, "users", ticket, out);
    assert_true(status == SP_OK || status == SP_EBUSY);
    return status == SP_OK;
}

static void test_tickets(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 120);
    users->row_count = 100;
    struct refresh_status status;
    uint64_t first, second;
    fixture_start(f, USERS("max_drop: 30%, " HOUR));
    AWAIT(f, passes(f, "users") > 0);
    fake_lock();
    users->row_count = 120;
    users->rows[0].stamp = 5;
    fake_unlock();
    assert_int_equal(refresh_now(f->refresh, "users", &first), SP_OK);
    AWAIT(f, ended(f, first, &status));
    assert_int_equal(status.failures_in_a_row, 0);
    assert_int_equal(status.last.inserted, 20);
    assert_int_equal(status.last.updated, 1);
    assert_int_equal(status.last.unchanged, 99);
    SET(users->row_count, 1);
    assert_int_equal(refresh_now(f->refresh, "users", &second), SP_OK);
    assert_true(second > first);
    AWAIT(f, ended(f, second, &status));
    assert_int_equal(status.missing_rows, 119);
    assert_int_equal(refresh_confirm(f->refresh, "users", &second), SP_OK);
    AWAIT(f, ended(f, second, &status));
    assert_int_equal(status.last.deleted, 119);
    assert_int_equal(refresh_ended(f->refresh, "users", second + 1, &status), SP_ENOTABLE);
    assert_int_equal(refresh_ended(f->refresh, "nobody", 1, &status), SP_ENOTABLE);
}

static void test_operator_holds(void **state)
{
    struct fixture *f = *state;
    struct fake_table *users = fake_add("users", 20);
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    fake_add("orders", 10);
    fake_add("others", 10);
    users->row_count = 10;
    static const char tables[] =
        USERS("group: g, " FAST) "  - {name: orders, source: db, key: [id], group: g, " FAST "}\n"
                                 "  - {name: others, source: db, key: [id], " FAST "}\n";
    fixture_start(f, tables);
    AWAIT(f, passes(f, "users") > 0 && passes(f, "others") > 0);
    assert_int_equal(refresh_hold(f->refresh, "nobody"), SP_ENOTABLE);
    assert_int_equal(refresh_hold(f->refresh, "orders"), SP_OK);
    assert_true(status_of(f, "users").held_by_operator);
    assert_int_equal(status_of(f, "users").state, SP_TABLE_HELD);
    assert_non_null(strstr(status_of(f, "users").error, "SIDEPOND REFRESH users"));
    AWAIT(f, sp_table_info(table_of(f, "users"), &info) == SP_OK && info.state == SP_TABLE_HELD);
    SET(users->row_count, 20);
    assert_int_equal(refresh_now(f->refresh, NULL, NULL), SP_OK); /* releases nothing */
    await_pass(f, "others");
    assert_int_equal(rows_of(f, "users"), 10);
    confirm(f);
    AWAIT(f, rows_of(f, "users") == 20);
    AWAIT(f, status_of(f, "users").state == SP_TABLE_FRESH);
    assert_int_equal(status_of(f, "users").failures_total[REFRESH_FAILURE_INTERNAL], 0);

    /* Also when the group is configured otherwise meanwhile. */
    assert_int_equal(refresh_hold(f->refresh, "users"), SP_OK);
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, USERS(FAST))), SP_OK);
    AWAIT(f, refresh_tick(f->refresh));
    assert_true(status_of(f, "users").held_by_operator);
    assert_int_equal(refresh_now(f->refresh, "users", NULL), SP_OK);
    await_pass(f, "users");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tickets),
        TEST(test_operator_holds),
    };
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
