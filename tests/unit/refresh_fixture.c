/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh_fixture.c - a store, a refresh and a fake database, fresh ones for each test.
 */
#include "refresh_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct config *fixture_load(const struct fixture *f, const char *tables)
{
    char text[4096];
    struct config *config = NULL;
    int size = snprintf(text, sizeof(text),
                        "directory: %s\nmemory: 2MiB\n"
                        "sources:\n  - {name: db, type: sqlite, path: /nowhere}\ntables:\n%s",
                        f->directory, tables);
    assert_int_equal(config_load_buffer("test.yaml", text, (size_t)size, stderr, &config), SP_OK);
    return config;
}

void fixture_start(struct fixture *f, const char *tables)
{
    struct refresh_options options = {.store = f->store,
                                      .directory = f->directory,
                                      .find_source = f->find_source ? f->find_source : fake_find,
                                      .damaged = f->damaged,
                                      .feed_look_ms = 20};
    assert_int_equal(refresh_new(&options, &f->refresh), SP_OK);
    assert_int_equal(refresh_apply(f->refresh, fixture_load(f, tables)), SP_OK);
}

static int open_store(struct fixture *f)
{
    char why[STORE_WHY_BYTES];
    struct store_opened opened;
    struct store_options options = {.directory = f->directory,
                                    .name = "main",
                                    .limit_bytes = 2 << 20,
                                    .lease_limit_ms = 60000,
                                    .gid = -1};
    int status = store_open(&options, &f->store, &opened, why);
    if (status != SP_OK)
        fprintf(stderr, "%s\n", why);
    return status;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->directory, sizeof(f->directory), "/dev/shm/sidepond-test-refresh.XXXXXX");
    if (!mkdtemp(f->directory) || open_store(f) != SP_OK)
        return -1;
    fake_reset();
    *state = f;
    return 0;
}

static void end_refresh(struct fixture *f)
{
    if (!f->refresh)
        return;
    refresh_stop(f->refresh);
    while (!refresh_tick(f->refresh))
        pause_ms(1);
    refresh_free(f->refresh);
    f->refresh = NULL;
}

void fixture_restart(struct fixture *f)
{
    end_refresh(f);
    store_close(f->store);
    assert_int_equal(open_store(f), SP_OK);
}

void start_users(struct fixture *f)
{
    fixture_start(f, USERS(FAST));
    AWAIT(f, passes(f, "users") > 0);
}

void confirm(struct fixture *f)
{
    assert_int_equal(refresh_confirm(f->refresh, "users", NULL), SP_OK);
}

void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&pause, NULL);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    end_refresh(f);
    store_close(f->store);
    snprintf(command, sizeof(command), "rm -rf %s", f->directory);
    int failed = system(command);
    assert_int_equal(fake.open_now, 0);
    free(f);
    return failed;
}

struct refresh_status status_of(struct fixture *f, const char *table)
{
    struct refresh_status *all = NULL;
    struct refresh_status found = {0};
    size_t count = 0;
    assert_int_equal(refresh_status(f->refresh, &all, &count), SP_OK);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].table, table) == 0)
            found = all[i];
    free(all);
    return found;
}

uint64_t passes(struct fixture *f, const char *table)
{
    struct refresh_status status = status_of(f, table);
    return status.full_total + status.incremental_total;
}

uint64_t failures(struct fixture *f, const char *table)
{
    return status_of(f, table).failures_in_a_row;
}

void await_pass(struct fixture *f, const char *table)
{
    uint64_t before = passes(f, table);
    AWAIT(f, passes(f, table) >= before + 2);
}

struct sp_table *table_of(struct fixture *f, const char *name)
{
    struct sp_table *table = NULL;
    struct sp_pond *pond = refresh_pond(f->refresh);
    return pond && sp_table_open(pond, name, &table) == SP_OK ? table : NULL;
}

uint64_t rows_of(struct fixture *f, const char *name)
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    struct sp_table *table = table_of(f, name);
    return table && sp_table_info(table, &info) == SP_OK ? info.rows : 0;
}

bool row_is(struct fixture *f, const char *name, int64_t id, const char *column,
            const char *expected)
{
    struct sp_value key = sp_int(id);
    struct sp_value value;
    struct sp_row *row = sp_row_new();
    struct sp_table *table = table_of(f, name);
    char text[64];
    bool same = false;
    if (table && sp_get_row(table, &key, 1, row) == SP_OK &&
        sp_row_column(row, column, &value) == SP_OK) {
        sp_value_text(&value, text, sizeof(text));
        same = expected ? !value.is_null && strcmp(text, expected) == 0 : value.is_null;
    }
    sp_row_free(row);
    return same;
}
