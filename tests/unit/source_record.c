/* SPDX-License-Identifier: Apache-2.0
 *
 * source_record.c - see source_record.h.
 */
#include "source_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/row.h"

static void put(struct source_record *record, const char *text, size_t bytes)
{
    while (record->size + bytes + 1 > record->cap) {
        record->cap = record->cap ? record->cap * 2 : 4096;
        record->text = realloc(record->text, record->cap);
        if (!record->text)
            abort();
    }
    memcpy(record->text + record->size, text, bytes);
    record->size += bytes;
    record->text[record->size] = 0;
}

static void put_value(struct source_record *record, const struct sp_value *value)
{
    if (value->is_null) {
        put(record, "<null>", 6);
        return;
    }
    const size_t bytes = row_value_text(value, NULL, 0);
    char *text = malloc(bytes + 1);
    if (!text)
        abort();
    row_value_text(value, text, bytes + 1);
    put(record, text, bytes);
    free(text);
}

static void put_row(struct source_record *record, const struct sp_value *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            put(record, "|", 1);
        put_value(record, &values[i]);
    }
    put(record, "\n", 1);
}

static void count_bytes(struct source_record *record, const struct sp_value *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!values[i].is_null && sp_type_width(values[i].type) == 0)
            record->bytes += values[i].bytes.size;
}

static int on_row(void *context, const struct sp_value *values, unsigned count)
{
    struct source_record *record = context;
    record->row_count++;
    count_bytes(record, values, count);
    if (!record->count_only)
        put_row(record, values, count);
    if (record->at_row)
        record->at_row(record);
    return record->stop_at == record->row_count ? record->stop_status : SP_OK;
}

static int on_bad_row(void *context, const struct sp_value *values, unsigned count, unsigned column,
                      const char *why)
{
    struct source_record *record = context;
    char head[512];
    record->bad_count++;
    snprintf(head, sizeof(head), "bad %u: %s: ", column, why);
    put(record, head, strlen(head));
    put_row(record, values, count);
    return record->stop_status && record->stop_at == 0 ? record->stop_status : SP_OK;
}

struct source_sink source_record_sink(struct source_record *record)
{
    struct source_sink sink = {.context = record, .row = on_row, .bad_row = on_bad_row};
    return sink;
}

void source_record_free(struct source_record *record)
{
    free(record->text);
    *record = (struct source_record){0};
}

const char *source_record_description(const struct source_description *description)
{
    static char text[16384];
    size_t used = 0;
    text[0] = 0;
    for (unsigned i = 0; i < description->column_count && used < sizeof(text); i++) {
        const struct source_column *c = &description->columns[i];
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s %s%s%s\n", c->name,
                                 sp_type_name(c->type), c->native_type,
                                 c->nullable ? "" : " not-null", c->as_text ? " as-text" : "");
    }
    return text;
}

int source_record_read(const struct source_class *class, struct source *source,
                       const struct source_table *table, const struct sp_value *since,
                       struct source_record *record, struct source_error *error)
{
    struct source_description description = {0};
    const struct source_sink sink = source_record_sink(record);
    int status = class->describe(source, table, &description, error);
    if (status == SP_OK)
        status = class->begin(source, error);
    if (status == SP_OK)
        status = class->stream(source, table, &description, since, &sink, error);
    if (status == SP_OK)
        status = class->end(source, error);
    source_description_free(&description);
    return status;
}

void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void *cancel_later(void *context)
{
    struct source_canceler *canceler = context;
    sleep_ms(canceler->delay_ms);
    canceler->class->cancel(canceler->source);
    return NULL;
}

void source_canceler_start(struct source_canceler *canceler, const struct source_class *class,
                           struct source *source, unsigned delay_ms)
{
    *canceler = (struct source_canceler){.class = class, .source = source, .delay_ms = delay_ms};
    if (pthread_create(&canceler->thread, NULL, cancel_later, canceler) != 0)
        abort();
}

void source_canceler_join(struct source_canceler *canceler)
{
    pthread_join(canceler->thread, NULL);
}

double source_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

long source_rss_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}
