/* SPDX-License-Identifier: Apache-2.0
 *
 * source_feed_fixture.c - see source_feed_fixture.h.
 */
#include "source_feed_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

const char *const feed_key_id[] = {"id", NULL};

void feed_init(struct feed_fixture *x, struct fixture *f, const char *name)
{
    x->f = f;
    x->class = f->class->feed;
    x->options = (struct source_feed_options){.name = name};
    x->sink = feed_model_sink(&x->model);
}

static void forget(struct feed_fixture *x)
{
    feed_model_free(&x->model);
    for (unsigned i = 0; i < x->count; i++)
        source_description_free(&x->descriptions[i]);
    x->model.table_count = 0;
}

void feed_end(struct feed_fixture *x)
{
    close_source(x->f);
    forget(x);
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

/* Fails where they differ first: the whole may be long. */
static void expect_same_text(const struct source_table *table, const char *ours, const char *theirs)
{
    size_t same = 0;
    while (ours[same] && ours[same] == theirs[same])
        same++;
    while (same > 0 && ours[same - 1] != '\n')
        same--;
    if (strcmp(ours + same, theirs + same) != 0)
        fail_msg("table %s: delivered\n%.300s\nbut there is\n%.300s", table->name, ours + same,
                 theirs + same);
}

/* The table as the open snapshot holds it. */
static void compare_table(struct feed_fixture *x, unsigned i)
{
    struct feed_model read = {.table_count = 1};
    const struct source_sink sink = feed_model_stream_sink(&read);
    read.tables[0] =
        (struct feed_model_table){.table = &x->tables[i], .description = &x->descriptions[i]};
    must(x->f, x->f->class->stream(x->f->source, &x->tables[i], &x->descriptions[i], NULL, &sink,
                                   &x->f->error));
    char *ours = feed_model_text(&x->model, i), *theirs = feed_model_text(&read, 0);
    expect_same_text(&x->tables[i], ours, theirs);
    free(ours);
    free(theirs);
    feed_model_free(&read);
}

void feed_compare(struct feed_fixture *x)
{
    const unsigned long before = x->model.snapshot_count;
    must(x->f, x->class->snapshot(x->f->source, x->position, &x->f->error));
    while (x->model.snapshot_count == before)
        must(x->f, feed_next(x, 1000));
    assert_string_equal(x->model.snapshot, x->position);
    assert_string_equal(x->model.position, x->position);
    must(x->f, feed_next(x, 5)); /* nothing more */
    assert_string_equal(x->model.position, x->position);
    for (unsigned i = 0; i < x->count; i++)
        compare_table(x, i);
    must(x->f, x->f->class->end(x->f->source, &x->f->error));
}

void feed_expect_same(struct feed_fixture *x)
{
    for (unsigned i = 0; i < x->count; i++) {
        struct fixture other = {.class = x->f->class, .options = x->f->options};
        must(&other, read_table(&other, &x->tables[i], NULL));
        char *ours = feed_model_text(&x->model, i);
        char *theirs = strdup(other.record.text ? other.record.text : "");
        feed_model_sort_lines(theirs);
        expect_same_text(&x->tables[i], ours, theirs);
        assert_int_equal(x->model.tables[i].odd_count, 0);
        free(ours);
        free(theirs);
        source_record_free(&other.record);
        close_source(&other);
    }
}
