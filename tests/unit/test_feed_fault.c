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
    fill(USERS_T, 10);
    fixture_start(f, FEED("users", "max_row: 128KiB, indexes: [{name: n, columns: [name]}]"));
    AWAIT(f, follows(f, "users"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_another_row_is_refused),
    };
    return cmocka_run_group_tests_name("feed_fault", tests, NULL, NULL);
}
