/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_fixture.h - what the tests of change feeds share, on top of refresh_fixture.h: tables of
 * mode feed, filled and looked at.
 */
#ifndef SIDEPOND_TESTS_FEED_FIXTURE_H
#define SIDEPOND_TESTS_FEED_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "feed_script.h"
#include "refresh_fixture.h"

enum { USERS_T, ORDERS_T, ITEMS_T };

#define FEED(name, rest)                                                                           \
    "  - {name: " name ", source: db, key: [id], refresh: {mode: feed, every: 20ms}, " rest "}\n"
#define ALONE FEED("users", "max_row: 4KiB")
#define BOTH  FEED("users", "group: g") FEED("orders", "group: g")

/* A field of the script, read and written while a refresh runs. */
#undef SEEN
#define SEEN(field)                                                                                \
    (__extension__({                                                                               \
        script_lock();                                                                             \
        __typeof__(field) seen_value = (field);                                                    \
        script_unlock();                                                                           \
        seen_value;                                                                                \
    }))

#undef SET
#define SET(field, value)                                                                          \
    do {                                                                                           \
        script_lock();                                                                             \
        (field) = (value);                                                                         \
        script_unlock();                                                                           \
    } while (0)

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, feed_setup, fixture_teardown)

static inline int feed_setup(void **state)
{
    script_reset();
    int status = fixture_setup(state);
    ((struct fixture *)*state)->find_source = script_find;
    return status;
}

static inline void fill(unsigned table, unsigned count)
{
    for (unsigned i = 1; i <= count; i++)
        script_put(table, i, i, 1000 + i);
    script_commit();
}

/* A row of users, in a transaction of its own. */
static inline void put_one(int64_t name)
{
    script_put(USERS_T, 1, name, name);
    script_commit();
}

/* It happens with what is next committed, and the feed does not tell of it. */
static inline void put_hidden(int64_t id)
{
    script_put(USERS_T, id, 1, 1);
    script.changes[script.count - 1].hidden = true;
}

/* The feed delivers nothing from this change on; 0: all again. */
static inline void hold_delivery(unsigned from)
{
    SET(script.hold, from);
}

/* The position of the pond, whose tables are as they were at it. */
static inline unsigned position_of(struct fixture *f, unsigned tables)
{
    char why[256] = "";
    unsigned position = 0;
    int status = script_check(refresh_pond(f->refresh), tables, &position, why, sizeof(why));
    if (status == SP_EDATA)
        fail_msg("%s", why);
    return status == SP_OK ? position : 0;
}

#define AWAIT_END(f, tables) AWAIT(f, position_of(f, tables) == atomic_load(script.end))

static inline struct refresh_feed_status feed_of(struct fixture *f, const char *table)
{
    return status_of(f, table).feed;
}

static inline bool follows(struct fixture *f, const char *table)
{
    return feed_of(f, table).state == REFRESH_FEED_FOLLOWING;
}

/* So many users, and a refresh that follows them. */
static inline void start_following(struct fixture *f, unsigned users, const char *tables)
{
    fill(USERS_T, users);
    fixture_start(f, tables);
    AWAIT(f, follows(f, "users"));
}

/* Now, whatever is left of a pause. */
static inline void refresh_users(struct fixture *f)
{
    assert_int_equal(refresh_now(f->refresh, "users", NULL), SP_OK);
}

static inline uint64_t reloads(struct fixture *f, enum refresh_reload reason)
{
    return feed_of(f, "users").reloads_total[reason];
}

#endif
