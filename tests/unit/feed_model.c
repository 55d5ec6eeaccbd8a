/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_model.c - see feed_model.h.
 */
#include "feed_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"

/* --- text ----------------------------------------------------------------------------------- */

static void *must_have(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static char *cell_text(const struct sp_value *value)
{
    if (value->is_null)
        return must_have(strdup("<null>"));
    const size_t bytes = row_value_text(value, NULL, 0);
    char *text = must_have(malloc(bytes + 1));
    row_value_text(value, text, bytes + 1);
    return text;
}

static char *join(char *const *cells, unsigned count)
{
    size_t size = 1;
    for (unsigned i = 0; i < count; i++)
        size += strlen(cells[i]) + 1;
    char *text = must_have(malloc(size)), *at = text;
    *at = 0;
    for (unsigned i = 0; i < count; i++)
        at += sprintf(at, "%s%s", i ? "|" : "", cells[i]);
    return text;
}

static unsigned key_count(const struct feed_model_table *table)
{
    unsigned count = 0;
    while (table->table->key[count])
        count++;
    return count;
}

static unsigned key_column(const struct feed_model_table *table, unsigned k)
{
    unsigned i = 0;
    while (strcmp(table->description->columns[i].name, table->table->key[k]) != 0)
        i++;
    return i;
}

/* The key of a row, or of the values of a key. */
static char *key_text(const struct feed_model_table *table, const struct sp_value *values,
                      bool is_row)
{
    char *cells[16] = {0};
    const unsigned count = key_count(table);
    for (unsigned k = 0; k < count; k++)
        cells[k] = cell_text(&values[is_row ? key_column(table, k) : k]);
    char *text = join(cells, count);
    for (unsigned k = 0; k < count; k++)
        free(cells[k]);
    return text;
}

/* --- rows ----------------------------------------------------------------------------------- */

static struct feed_model_row **place(const struct feed_model_table *table, const char *key)
{
    unsigned hash = 5381;
    for (const char *at = key; *at; at++)
        hash = hash * 33 + (unsigned char)*at;
    struct feed_model_row **row =
        (struct feed_model_row **)&table->buckets[hash % (sizeof(table->buckets) / sizeof(void *))];
    while (*row && strcmp((*row)->key, key) != 0)
        row = &(*row)->next;
    return row;
}

static void row_free(const struct feed_model_table *table, struct feed_model_row *row)
{
    for (unsigned i = 0; i < table->description->column_count; i++)
        free(row->cells[i]);
    free(row->cells);
    free(row->key);
    free(row);
}

/* Takes the row out; NULL if it is not there. */
static struct feed_model_row *take(struct feed_model_table *table, const char *key)
{
    struct feed_model_row **at = place(table, key), *row = *at;
    if (row) {
        *at = row->next;
        table->row_count--;
    }
    return row;
}

/* Takes the key over. The new row, or the one that is there. */
static struct feed_model_row *add(struct feed_model_table *table, char *key)
{
    struct feed_model_row **at = place(table, key);
    if (*at) {
        free(key);
        return *at;
    }
    *at = must_have(calloc(1, sizeof(**at)));
    (*at)->key = key;
    (*at)->cells = must_have(calloc(table->description->column_count + 1, sizeof(char *)));
    table->row_count++;
    return *at;
}

static void set_cells(struct feed_model_table *table, struct feed_model_row *row,
                      const struct sp_value *values, const bool *absent)
{
    for (unsigned i = 0; i < table->description->column_count; i++) {
        table->absent_count += absent && absent[i];
        if (absent && absent[i] && row->cells[i])
            continue;
        table->odd_count += absent && absent[i];
        free(row->cells[i]);
        row->cells[i] = cell_text(&values[i]);
    }
}

/* --- the log --------------------------------------------------------------------------------- */

static void note(struct feed_model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note(struct feed_model *model, const char *format, ...)
{
    const size_t used = strlen(model->log);
    va_list arguments;
    va_start(arguments, format);
    if (model->logs)
        vsnprintf(model->log + used, sizeof(model->log) - used, format, arguments);
    va_end(arguments);
}

static void note_row(struct feed_model *model, unsigned t, const char *old_key,
                     const struct feed_model_row *row)
{
    const struct feed_model_table *table = &model->tables[t];
    if (!model->logs)
        return;
    char *line = join(row->cells, table->description->column_count);
    if (old_key)
        note(model, "from %s ", old_key);
    note(model, "put %s %s\n", table->table->name, line);
    free(line);
}

/* --- the sinks ------------------------------------------------------------------------------ */

/* The row of the old key takes the new one, with what it holds. */
static void move_row(struct feed_model_table *table, const char *old, const char *key)
{
    struct feed_model_row *row = take(table, old);
    table->odd_count += !row || strcmp(old, key) == 0;
    struct feed_model_row *moved = add(table, must_have(strdup(key)));
    for (unsigned i = 0; row && i < table->description->column_count; i++) {
        char *cell = moved->cells[i];
        moved->cells[i] = row->cells[i];
        row->cells[i] = cell;
    }
    if (row)
        row_free(table, row);
}

static int on_put(void *context, unsigned t, const struct sp_value *old_key,
                  const struct sp_value *values, const bool *absent)
{
    struct feed_model *model = context;
    struct feed_model_table *table = &model->tables[t];
    char *key = key_text(table, values, true);
    char *old = old_key ? key_text(table, old_key, false) : NULL;
    model->inside = true;
    table->put_count++;
    if (old)
        move_row(table, old, key);
    struct feed_model_row *row = add(table, key);
    set_cells(table, row, values, absent);
    note_row(model, t, old, row);
    free(old);
    return model->status;
}

static int on_remove(void *context, unsigned t, const struct sp_value *key)
{
    struct feed_model *model = context;
    struct feed_model_table *table = &model->tables[t];
    char *text = key_text(table, key, false);
    struct feed_model_row *row = take(table, text);
    model->inside = true;
    table->remove_count++;
    table->odd_count += !row;
    note(model, "remove %s %s\n", table->table->name, text);
    if (row)
        row_free(table, row);
    free(text);
    return model->status;
}

static int on_truncate(void *context, unsigned t)
{
    struct feed_model *model = context;
    feed_model_clear(model, t);
    model->inside = true;
    model->tables[t].truncate_count++;
    note(model, "truncate %s\n", model->tables[t].table->name);
    return model->status;
}

static int on_bad_row(void *context, unsigned t, const struct sp_value *values, unsigned column,
                      const char *why)
{
    struct feed_model *model = context;
    struct feed_model_table *table = &model->tables[t];
    char *key = key_text(table, values, true);
    table->bad_count++;
    table->odd_count += !values[column].is_null;
    snprintf(table->last_bad, sizeof(table->last_bad), "%s: %s",
             table->description->columns[column].name, why);
    note(model, "bad %s %s %s\n", table->table->name, key, table->last_bad);
    free(key);
    return model->status;
}

static int on_reshaped(void *context, unsigned t, const char *why)
{
    struct feed_model *model = context;
    struct feed_model_table *table = &model->tables[t];
    table->reshape_count++;
    snprintf(table->last_reshape, sizeof(table->last_reshape), "%s", why);
    note(model, "reshaped %s: %s\n", table->table->name, why);
    return model->status;
}

static bool on_reached(void *context, enum feed_mark mark, const char *position, int64_t at_us)
{
    struct feed_model *model = context;
    snprintf(model->position, sizeof(model->position), "%s", position);
    model->at_us = at_us;
    model->inside = false;
    model->transaction_count += mark == FEED_TRANSACTION;
    model->idle_count += mark == FEED_IDLE;
    model->snapshot_count += mark == FEED_SNAPSHOT;
    if (mark == FEED_SNAPSHOT)
        memcpy(model->snapshot, model->position, sizeof(model->snapshot));
    if (mark == FEED_TRANSACTION)
        note(model, "commit\n");
    if (mark == FEED_TRANSACTION && model->at_commit)
        model->at_commit(model);
    return !model->stop_at_each;
}

struct source_feed_sink feed_model_sink(struct feed_model *model)
{
    return (struct source_feed_sink){model,      on_put,      on_remove, on_truncate,
                                     on_bad_row, on_reshaped, on_reached};
}

static int on_row(void *context, const struct sp_value *values, unsigned count)
{
    struct feed_model *model = context;
    struct feed_model_table *table = &model->tables[model->streaming];
    char *key = key_text(table, values, true);
    (void)count;
    table->odd_count += *place(table, key) != NULL;
    set_cells(table, add(table, key), values, NULL);
    return SP_OK;
}

static int on_bad_streamed(void *context, const struct sp_value *values, unsigned count,
                           unsigned column, const char *why)
{
    struct feed_model *model = context;
    (void)count;
    return on_bad_row(model, model->streaming, values, column, why);
}

struct source_sink feed_model_stream_sink(struct feed_model *model)
{
    return (struct source_sink){model, on_row, on_bad_streamed};
}

/* --- the whole ------------------------------------------------------------------------------ */

void feed_model_clear(struct feed_model *model, unsigned t)
{
    struct feed_model_table *table = &model->tables[t];
    for (size_t i = 0; i < sizeof(table->buckets) / sizeof(*table->buckets); i++)
        while (table->buckets[i]) {
            struct feed_model_row *row = table->buckets[i];
            table->buckets[i] = row->next;
            row_free(table, row);
        }
    table->row_count = 0;
}

void feed_model_free(struct feed_model *model)
{
    for (unsigned i = 0; i < model->table_count; i++)
        feed_model_clear(model, i);
}

const struct feed_model_row *feed_model_find(const struct feed_model *model, unsigned t,
                                             const char *key)
{
    return *place(&model->tables[t], key);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void feed_model_sort_lines(char *text)
{
    size_t count = 0, size = strlen(text);
    for (const char *at = text; *at; at++)
        count += *at == '\n';
    char **lines = must_have(calloc(count + 1, sizeof(*lines)));
    char *copy = must_have(strdup(text)), *at = copy;
    for (size_t i = 0; i < count; i++) {
        lines[i] = at;
        at = strchr(at, '\n');
        *at++ = 0;
    }
    qsort(lines, count, sizeof(*lines), compare_lines);
    char *out = text;
    for (size_t i = 0; i < count; i++)
        out += sprintf(out, "%s\n", lines[i]);
    if ((size_t)(out - text) != size)
        abort();
    free(lines);
    free(copy);
}

char *feed_model_text(const struct feed_model *model, unsigned t)
{
    const struct feed_model_table *table = &model->tables[t];
    size_t size = 0, cap = 65536;
    char *text = must_have(malloc(cap));
    *text = 0;
    for (size_t i = 0; i < sizeof(table->buckets) / sizeof(*table->buckets); i++)
        for (const struct feed_model_row *row = table->buckets[i]; row; row = row->next) {
            char *line = join(row->cells, table->description->column_count);
            while (size + strlen(line) + 2 > cap)
                text = must_have(realloc(text, cap *= 2));
            size += (size_t)sprintf(text + size, "%s\n", line);
            free(line);
        }
    feed_model_sort_lines(text);
    return text;
}
