/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh_fixture.h - what the tests of refresh share: a store in a directory of its own, a refresh
 * of the fake database (refresh_fake.h), and looking at both.
 */
#ifndef SIDEPOND_TESTS_REFRESH_FIXTURE_H
#define SIDEPOND_TESTS_REFRESH_FIXTURE_H

#include "refresh_fake.h"
#include "server/refresh/refresh.h"
#include "sidepond/sidepond.h"

enum { AWAIT_MS = 20000 };

struct fixture {
    char directory[64];
    struct store *store;
    struct refresh *refresh;
    const struct source_class *(*find_source)(const char *type); /* NULL: fake_find */
    bool damaged; /* rows of the pond are gone, says who opened it */
};

int fixture_setup(void **state);
int fixture_teardown(void **state); /* ends the refresh, if there is one */
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* The tables as lines of YAML; a refresh of them begins. */
void fixture_start(struct fixture *f, const char *tables);
/* Ends the refresh and the store, and opens the store again: as the next daemon would. */
void fixture_restart(struct fixture *f);
struct config *fixture_load(const struct fixture *f, const char *tables);
/* Of users alone, refreshed all the time; ends when they are there. */
void start_users(struct fixture *f);

#define USERS(rest) "  - {name: users, source: db, key: [id], " rest "}\n"
#define FAST        "refresh: {every: 10ms}"

/* A field of the fake database, read and written while a refresh runs. */
#define SEEN(field)                                                                                \
    (__extension__({                                                                               \
        fake_lock();                                                                               \
        __typeof__(field) seen_value = (field);                                                    \
        fake_unlock();                                                                             \
        seen_value;                                                                                \
    }))

#define SET(field, value)                                                                          \
    do {                                                                                           \
        fake_lock();                                                                               \
        (field) = (value);                                                                         \
        fake_unlock();                                                                             \
    } while (0)

/* Waits until a condition holds, turning the refresh as the daemon's loop does. */
#define AWAIT(f, condition)                                                                        \
    do {                                                                                           \
        unsigned await_left = AWAIT_MS;                                                            \
        while (!(condition)) {                                                                     \
            refresh_tick((f)->refresh);                                                            \
            pause_ms(1);                                                                           \
            if (--await_left == 0)                                                                 \
                fail_msg("waited for: %s", #condition);                                            \
        }                                                                                          \
    } while (0)

void pause_ms(unsigned ms);
struct refresh_status status_of(struct fixture *f, const char *table);
uint64_t passes(struct fixture *f, const char *table);
uint64_t failures(struct fixture *f, const char *table); /* in a row */
/* What is held back of users is let go. */
void confirm(struct fixture *f);
/* Two more passes: the second began after the first ended, so it saw what was put in before. */
void await_pass(struct fixture *f, const char *table);

struct sp_table *table_of(struct fixture *f, const char *name); /* NULL: none */
uint64_t rows_of(struct fixture *f, const char *name);
/* Whether the row is there and its column has this value (text; NULL: SQL NULL). */
bool row_is(struct fixture *f, const char *name, int64_t id, const char *column,
            const char *expected);

#endif
