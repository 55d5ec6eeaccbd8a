/* SPDX-License-Identifier: Apache-2.0
 *
 * source_server_tests.c - see source_server_tests.h.
 */
#include "source_server_tests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- canceling ------------------------------------------------------------------------------ */

static void expect_no_session(struct fixture *f)
{
    const double begun = source_now_ms();
    while (sql_long(f, server_sessions) > 0) {
        assert_true(source_now_ms() - begun < 10000);
        sleep_ms(20);
    }
}

void expect_canceled(struct fixture *f, const char *query)
{
    struct source_canceler canceler;
    const struct source_table table = {.name = "t", .query = query};
    open_source(f);
    f->record = (struct source_record){0};
    source_canceler_start(&canceler, f->class, f->source, 100);
    const double begun = source_now_ms();
    assert_int_equal(count_rows(f, &table), SP_ECANCELED);
    source_canceler_join(&canceler);
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
    close_source(f);
    assert_true(source_now_ms() - begun < 3000);
    expect_no_session(f);
}

void expect_next_canceled(struct fixture *f)
{
    must(f, f->class->begin(f->source, &f->error));
    f->class->cancel(f->source);
    assert_int_equal(f->class->end(f->source, &f->error), SP_ECANCELED);
}

/* --- watermarks ----------------------------------------------------------------------------- */

void expect_watermarks(struct fixture *f, const struct watermark_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *const columns[] = {"id", cases[i].column, NULL};
        const struct source_table table = {.name = "t",
                                           .relation = "t",
                                           .columns = i ? columns : columns + 1,
                                           .where = "id < 100 OR id IS NULL",
                                           .watermark = cases[i].column};
        must(f, read_table(f, &table, &cases[i].since));
        if (f->record.row_count != 1 || f->record.text[0] != '2')
            fail_msg("%s: %s", cases[i].column, f->record.text);
    }
}

static void expect_count(struct fixture *f, const struct source_table *table,
                         const struct sp_value *since, uint64_t count)
{
    must(f, read_table(f, table, since));
    assert_int_equal(f->record.row_count, count);
}

void expect_far_watermarks(struct fixture *f, const char *time_column, enum sp_type type)
{
    const struct source_table id = {.name = "t", .relation = "t", .watermark = "id"};
    const struct source_table time = {.name = "t", .relation = "t", .watermark = time_column};
    const struct sp_value low = of_type(SP_TYPE_INT32, -40000), none = sp_null(SP_TYPE_INT32);
    const struct sp_value ancient = of_type(type, INT64_MIN / 100);
    const struct sp_value future = of_type(type, INT64_MAX / 4);
    expect_count(f, &id, &low, 2); /* below 16 bits: the overlap can get there */
    assert_int_equal(read_table(f, &id, &none), SP_EINVAL);
    close_source(f);
    expect_count(f, &time, &ancient, 2);
    expect_count(f, &time, &future, 0);
}

/* --- tests: a server that hangs -------------------------------------------------------------- */

/* The status of opening on a paused server, which is quick in coming. */
static int open_paused(struct fixture *f)
{
    struct source *source = NULL;
    server("pause");
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    server("resume");
    assert_true(took < 3000);
    return status;
}

/* Connecting ends by its time limit and by cancel, whichever is first. */
void test_connect_hangs(void **state)
{
    struct fixture *f = *state;
    f->options.connect_timeout_ms = 200;
    assert_int_equal(open_paused(f), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: no connection within connect_timeout (200 ms)");
}

static void cancel_when_announced(void *context, struct source *source)
{
    struct source_canceler *canceler = context;
    if (source)
        source_canceler_start(canceler, canceler->class, source, 100);
    else
        source_canceler_join(canceler);
}

void test_cancel_connecting(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler = {.class = f->class};
    f->options.connect_timeout_ms = 60000;
    f->options.cancelable = cancel_when_announced;
    f->options.cancelable_context = &canceler;
    assert_int_equal(open_paused(f), SP_ECANCELED);
}

static void pause_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("pause");
}

/* A server that hangs in the middle of the rows: our own clock ends it. */
void test_server_hangs(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    make_big(f, 200000, false);
    f->options.statement_timeout_ms = 1000;
    open_source(f);
    f->record = (struct source_record){.at_row = pause_at_1000};
    const double begun = source_now_ms();
    const int status = count_rows(f, &table);
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: the server has not answered within statement_timeout");
    assert_in_range((long)(source_now_ms() - begun), 1000, 15000);
}

/* --- tests: the others ----------------------------------------------------------------------- */

void test_snapshot(void **state)
{
    struct fixture *f = *state;
    const struct source_table a = {.name = "a", .relation = "a"};
    const struct source_table b = {.name = "b", .relation = "b"};
    struct source_description da, db;
    sql(f, "CREATE TABLE a (x int);\nCREATE TABLE b (x int);\nINSERT INTO a VALUES (1);\n"
           "INSERT INTO b VALUES (1)");
    open_source(f);
    must(f, f->class->describe(f->source, &a, &da, &f->error));
    must(f, f->class->describe(f->source, &b, &db, &f->error));
    const struct source_sink sink = source_record_sink(&f->record);
    must(f, f->class->begin(f->source, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    sql(f, "UPDATE a SET x = 2;\nUPDATE b SET x = 2");
    must(f, f->class->stream(f->source, &b, &db, NULL, &sink, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    must(f, f->class->end(f->source, &f->error));
    assert_string_equal(f->record.text, "1\n1\n1\n");
    source_description_free(&da);
    source_description_free(&db);
    expect_rows(f, &b, "2\n");
}

static void crash_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("crash");
}

void test_server_killed(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    make_big(f, 200000, true);
    f->record = (struct source_record){.at_row = crash_at_1000};
    assert_int_equal(count_rows(f, &table), SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    expect_open_error(f, f->dsn, NULL, server_is_gone);
    server("start");
    close_source(f);
    admin_connect(f);
    f->record = (struct source_record){0};
    must(f, count_rows(f, &table));
    assert_int_equal(f->record.row_count, 200000);
}

void test_sink_stops(void **state)
{
    expect_sink_stops(*state, server_endless);
}
