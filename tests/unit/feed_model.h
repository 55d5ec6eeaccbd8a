/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_model.h - tables as a change feed makes them, in memory, for tests to compare.
 *
 * Each row is a line as source_record.h writes it. What was told can be written down, too. What a
 * feed should not do is counted: a row removed that is not there, a value left out of a row that is
 * not there.
 */
#ifndef SIDEPOND_TESTS_FEED_MODEL_H
#define SIDEPOND_TESTS_FEED_MODEL_H

#include "sidepond/source_feed.h"

#define FEED_MODEL_TABLES 8

struct feed_model_row {
    struct feed_model_row *next;
    char *key;
    char **cells;
};

struct feed_model_table {
    const struct source_table *table;
    const struct source_description *description;
    struct feed_model_row *buckets[1024];
    unsigned long row_count, put_count, remove_count, truncate_count, bad_count, reshape_count;
    unsigned long odd_count;    /* of what a feed should not do */
    unsigned long absent_count; /* values that were left out */
    char last_bad[256];         /* "column: why" */
    char last_reshape[256];
};

struct feed_model {
    struct feed_model_table tables[FEED_MODEL_TABLES];
    unsigned table_count;
    unsigned streaming; /* the table that stream() reads into */
    unsigned long transaction_count, idle_count, snapshot_count;
    char position[FEED_POSITION_BYTES]; /* the last that was reached */
    char snapshot[FEED_POSITION_BYTES]; /* the last of FEED_SNAPSHOT */
    int64_t at_us;
    bool stop_at_each; /* reached() says false */
    bool inside;       /* of a transaction: a row was put, and its end not yet reached */
    int status;        /* what the sink returns */
    bool logs;         /* what is told is written down: "put users 1|a", one a line */
    char log[16384];
    void (*at_commit)(struct feed_model *model);
    void *context;
};

void feed_model_clear(struct feed_model *model, unsigned table);
void feed_model_free(struct feed_model *model);

struct source_feed_sink feed_model_sink(struct feed_model *model);

/* Adds rows to the table `streaming`, which must not be there yet. */
struct source_sink feed_model_stream_sink(struct feed_model *model);

/* All rows of a table as sorted lines; to be freed. */
char *feed_model_text(const struct feed_model *model, unsigned table);

/* A row by the text of its key, or NULL. */
const struct feed_model_row *feed_model_find(const struct feed_model *model, unsigned table,
                                             const char *key);

/* Sorts the lines of a text in place. */
void feed_model_sort_lines(char *text);

#endif
