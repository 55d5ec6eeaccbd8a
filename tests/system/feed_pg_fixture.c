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

const char *const feed_key_id[] = {"id", NULL};

int feed_pg_group_setup(void **state)
{
    struct fixture f = {0};
    (void)state;
    if (!getenv("SIDEPOND_PG_DSN"))
        return -1;
    snprintf(f.dsn, sizeof(f.dsn), "%s", getenv("SIDEPOND_PG_DSN"));
    admin_connect(&f);
    sql(&f, "CREATE ROLE reader LOGIN");
    sql(&f, "ALTER SYSTEM SET wal_level = 'logical'");
    sql(&f, "ALTER SYSTEM SET max_prepared_transactions = 4");
    PQfinish(f.admin);
    server("restart");
    return 0;
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
    if (!x || pg_setup((void **)&x->f) != 0)
        return -1;
    x->class = x->f->class->feed;
    x->options = (struct source_feed_options){.name = "pond_a"};
    x->sink = feed_model_sink(&x->model);
    feed_table(x, "marker", feed_key_id);
    sql(x->f, "DROP PUBLICATION IF EXISTS sidepond;"
              "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;"
              "CREATE TABLE marker (id int PRIMARY KEY, n int NOT NULL);"
              "INSERT INTO marker VALUES (1, 0)");
    *state = x;
    return 0;
}

static void forget(struct feed_fixture *x)
{
    feed_model_free(&x->model);
    for (unsigned i = 0; i < x->count; i++)
        source_description_free(&x->descriptions[i]);
    x->model.table_count = 0;
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
    forget(x);
    pg_teardown((void **)&x->f);
    free(x);
    return 0;
}

static int describe(struct feed_fixture *x)
{
    int status = SP_OK;
    forget(x);
    for (unsigned i = 0; i < x->count && status == SP_OK; i++) {
        status =
            x->f->class->describe(x->f->source, &x->tables[i], &x->descriptions[i], &x->f->error);
        x->model.tables[i] =
            (struct feed_model_table){.table = &x->tables[i], .description = &x->descriptions[i]};
    }
    x->model.table_count = x->count;
    return status;
}

static int check(struct feed_fixture *x)
{
    const struct source_description *descriptions[FEED_MODEL_TABLES];
    for (unsigned i = 0; i < x->count; i++)
        descriptions[i] = &x->descriptions[i];
    return x->class->check(x->f->source, &x->options, x->tables, descriptions, x->count, x->stream,
                           &x->f->error);
}

int feed_check(struct feed_fixture *x)
{
    open_source(x->f);
    must(x->f, describe(x));
    return check(x);
}

void feed_expect_refusal(struct feed_fixture *x, const char *text)
{
    assert_int_equal(feed_check(x), SP_ECONFIG);
    assert_string_equal(x->f->error.text, text);
}

void feed_snapshot(struct feed_fixture *x)
{
    struct source_sink sink = feed_model_stream_sink(&x->model);
    must(x->f, x->class->snapshot(x->f->source, x->position, &x->f->error));
    for (unsigned i = 0; i < x->count; i++) {
        feed_model_clear(&x->model, i);
        x->model.streaming = i;
        must(x->f, x->f->class->stream(x->f->source, &x->tables[i], &x->descriptions[i], NULL,
                                       &sink, &x->f->error));
    }
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
}

void feed_start(struct feed_fixture *x)
{
    must(x->f, x->class->start(x->f->source, x->position, &x->f->error));
}

void feed_begin(struct feed_fixture *x)
{
    must(x->f, feed_check(x));
    feed_snapshot(x);
    feed_start(x);
}

void feed_reopen(struct feed_fixture *x)
{
    close_source(x->f);
    open_source(x->f);
    must(x->f, check(x));
    memcpy(x->position, x->model.position, sizeof(x->position));
    must(x->f, x->class->start(x->f->source, x->position, &x->f->error));
}

int feed_next(struct feed_fixture *x, uint32_t timeout_ms)
{
    return x->class->next(x->f->source, timeout_ms, &x->sink, &x->f->error);
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

void feed_expect_same(struct feed_fixture *x)
{
    for (unsigned i = 0; i < x->count; i++) {
        struct fixture other = {.class = x->f->class, .options = x->f->options};
        must(&other, read_table(&other, &x->tables[i], NULL));
        char *ours = feed_model_text(&x->model, i);
        char *theirs = strdup(other.record.text ? other.record.text : "");
        feed_model_sort_lines(theirs);
        assert_string_equal(ours, theirs);
        assert_int_equal(x->model.tables[i].odd_count, 0);
        free(ours);
        free(theirs);
        source_record_free(&other.record);
        close_source(&other);
    }
}
