/* SPDX-License-Identifier: Apache-2.0
 *
 * source_fixture.c - see source_fixture.h.
 */
#include "source_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void must(struct fixture *f, int status)
{
    if (status != SP_OK)
        fail_msg("%s: %s", sp_status_name(status), f->error.text);
}

void open_source(struct fixture *f)
{
    if (!f->source)
        must(f, f->class->open(&f->options, &f->source, &f->error));
}

void close_source(struct fixture *f)
{
    if (f->source)
        f->class->close(f->source);
    f->source = NULL;
}

/* --- reading -------------------------------------------------------------------------------- */

int read_table(struct fixture *f, const struct source_table *table, const struct sp_value *since)
{
    open_source(f);
    source_record_free(&f->record);
    return source_record_read(f->class, f->source, table, since, &f->record, &f->error);
}

int count_rows(struct fixture *f, const struct source_table *table)
{
    open_source(f);
    f->record.count_only = true;
    return source_record_read(f->class, f->source, table, NULL, &f->record, &f->error);
}

void expect_since(struct fixture *f, const struct source_table *table, const struct sp_value *since,
                  const char *rows)
{
    must(f, read_table(f, table, since));
    assert_string_equal(f->record.text ? f->record.text : "", rows);
}

void expect_rows(struct fixture *f, const struct source_table *table, const char *rows)
{
    expect_since(f, table, NULL, rows);
}

void expect_description(struct fixture *f, const struct source_table *table, const char *text)
{
    struct source_description description;
    open_source(f);
    must(f, f->class->describe(f->source, table, &description, &f->error));
    assert_string_equal(source_record_description(&description), text);
    source_description_free(&description);
}

static void expect_refusal(struct fixture *f, const struct source_table *table, int status)
{
    struct source_description description;
    open_source(f);
    assert_int_equal(f->class->describe(f->source, table, &description, &f->error), status);
    assert_int_equal(f->error.status, status);
}

void expect_error(struct fixture *f, const struct source_table *table, int status, const char *text)
{
    expect_refusal(f, table, status);
    assert_string_equal(f->error.text, text);
}

void expect_error_begins(struct fixture *f, const struct source_table *table, int status,
                         const char *text)
{
    expect_refusal(f, table, status);
    if (strncmp(f->error.text, text, strlen(text)) != 0)
        assert_string_equal(f->error.text, text);
}

void expect_sink_stops(struct fixture *f, const char *endless)
{
    const struct source_table table = {.name = "t", .query = endless};
    f->record = (struct source_record){.stop_at = 10, .stop_status = SP_ENOSPC};
    assert_int_equal(count_rows(f, &table), SP_ENOSPC);
    assert_int_equal(f->record.row_count, 10);
    const double begun = source_now_ms();
    close_source(f); /* what is still to come is not read to its end */
    assert_true(source_now_ms() - begun < 3000);
}

bool is_sanitized(void)
{
    const char *sanitizers = getenv("SIDEPOND_SANITIZE");
    return sanitizers && *sanitizers;
}

void expect_steady_memory(struct fixture *f, const struct source_table *table, long rows, long kib)
{
    open_source(f);
    f->record = (struct source_record){0};
    const long before = source_rss_kib();
    const double begun = source_now_ms();
    must(f, count_rows(f, table));
    const long grown = source_rss_kib() - before;
    print_message("%ld rows in %.0f ms, grown by %ld KiB\n", rows, source_now_ms() - begun, grown);
    assert_int_equal(f->record.row_count, rows);
    assert_int_equal(f->record.bytes, rows * 100);
    assert_true(grown < kib);
}

/* --- what all databases have ---------------------------------------------------------------- */

static void expect_unknown(struct fixture *f, const struct source_table *table, const char *what,
                           const char *there)
{
    char text[256];
    snprintf(text, sizeof(text), "table users: %s does not exist; there are: %s", what, there);
    expect_error(f, table, SP_ECONFIG, text);
}

void expect_unknown_columns(struct fixture *f, const char *there)
{
    const char *const columns[] = {"id", "emial", NULL}, *const id[] = {"id", NULL};
    const char *const email[] = {"email", NULL}, *const wrong[] = {"ID", NULL};
    struct source_table table = {.name = "users", .relation = "users", .columns = columns};
    expect_unknown(f, &table, "column emial", there);
    table = (struct source_table){.name = "users", .relation = "users", .key = wrong};
    expect_unknown(f, &table, "key column ID", there);
    table = (struct source_table){.name = "users", .relation = "users", .watermark = "changed"};
    expect_unknown(f, &table, "watermark column changed", there);
    table =
        (struct source_table){.name = "users", .relation = "users", .columns = email, .key = id};
    expect_error(f, &table, SP_ECONFIG, "table users: key column id is not among its columns");
}

void expect_schema_change(struct fixture *f, const struct source_table *table, const char *change)
{
    struct source_description description;
    const struct source_sink sink = source_record_sink(&f->record);
    open_source(f);
    must(f, f->class->describe(f->source, table, &description, &f->error));
    sql(f, change);
    must(f, f->class->begin(f->source, &f->error));
    assert_int_equal(f->class->stream(f->source, table, &description, NULL, &sink, &f->error),
                     SP_ECONFIG);
    source_description_free(&description);
}

void expect_watermark_by_bytes(struct fixture *f, const char *statements)
{
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "s"};
    const struct sp_value since = sp_text("a", 1);
    sql(f, statements);
    sql(f, "INSERT INTO t VALUES ('B'), ('b'), ('A')");
    expect_since(f, &table, &since, "b\n");
}

struct sp_value of_type(enum sp_type type, int64_t i)
{
    struct sp_value value = sp_int(i);
    value.type = type;
    return value;
}

/* --- another thread ------------------------------------------------------------------------- */

static void *run_later(void *context)
{
    struct later *later = context;
    sleep_ms(later->delay_ms);
    sql(later->f, later->statements);
    later->done_ms = source_now_ms();
    return NULL;
}

void later_start(struct later *later)
{
    assert_int_equal(pthread_create(&later->thread, NULL, run_later, later), 0);
}

void later_join(struct later *later)
{
    pthread_join(later->thread, NULL);
}
