/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_pg_fixture.c - see feed_pg_fixture.h.
 */
#include "feed_pg_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_MS 20000.0

int feed_pg_group_setup(void **state)
{
    int status = pg_make_reader(state);
    if (status == 0)
        status = pg_run("ALTER SYSTEM SET wal_level = 'logical'");
    if (status == 0)
        status = pg_run("ALTER SYSTEM SET max_prepared_transactions = 4");
    if (status == 0)
        server("restart");
    return status;
}

struct source_table *feed_table(struct feed_fixture *x, const char *name, const char *const *key)
{
    if (x->count > 0)
        x->tables[x->count] = x->tables[x->count - 1]; /* the marker stays the last */
    struct source_table *table = &x->tables[x->count ? x->count - 1 : 0];
    *table = (struct source_table){.name = name, .relation = name, .key = key};
    x->count++;
    return table;
}

int feed_pg_setup(void **state)
{
    struct feed_fixture *x = calloc(1, sizeof(*x));
    struct fixture *f;
    if (!x || pg_setup((void **)&f) != 0)
        return -1;
    feed_init(x, f, "pond_a");
    feed_table(x, "marker", feed_key_id);
    sql(x->f, "DROP PUBLICATION IF EXISTS sidepond;"
              "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;"
              "CREATE TABLE marker (id int PRIMARY KEY, n int NOT NULL);"
              "INSERT INTO marker VALUES (1, 0)");
    *state = x;
    return 0;
}

int feed_pg_teardown(void **state)
{
    struct feed_fixture *x = *state;
    close_source(x->f);
    if (x->f->admin && PQstatus(x->f->admin) == CONNECTION_OK) {
        PGresult *slots = PQexec(x->f->admin, "SELECT count(pg_terminate_backend(active_pid)) FROM"
                                              " pg_replication_slots WHERE active_pid IS NOT NULL");
        PQclear(slots);
        while (sql_long(x->f, "SELECT count(active_pid) FROM pg_replication_slots") > 0)
            sleep_ms(5);
    }
    feed_end(x);
    pg_teardown((void **)&x->f);
    free(x);
    return 0;
}

static bool marker_is(const struct feed_fixture *x, long n)
{
    const struct feed_model_row *row = feed_model_find(&x->model, x->count - 1, "1");
    return row && strtol(row->cells[1], NULL, 10) == n;
}

void feed_sync(struct feed_fixture *x)
{
    const double deadline = source_now_ms() + SYNC_MS;
    char update[64];
    snprintf(update, sizeof(update), "UPDATE marker SET n = %ld", ++x->marker);
    sql(x->f, update);
    while (!marker_is(x, x->marker) || x->model.inside) {
        must(x->f, feed_next(x, 100));
        if (source_now_ms() > deadline)
            fail_msg("the feed has not told of a commit within %.0f s", SYNC_MS / 1000);
    }
}
