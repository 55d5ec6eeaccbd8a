/* SPDX-License-Identifier: Apache-2.0
 *
 * binlog_sample.c - see binlog_sample.h.
 */
#include "binlog_sample.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC                                                                                      \
    "\xfe"                                                                                         \
    "bin"
#define MAGIC_BYTES  4
#define HEADER_BYTES 19
#define SIZE_AT      9 /* of an event, in its header */

static struct binlog_charset latin1;

static const struct binlog_column columns[] = {
    {.type = SP_TYPE_INT32},
    {.type = SP_TYPE_INT32, .is_unsigned = true},
    {.type = SP_TYPE_NUMERIC, .is_unsigned = true},
    {.type = SP_TYPE_BOOL, .is_boolean = true},
    {.type = SP_TYPE_INT64},
    {.type = SP_TYPE_NUMERIC},
    {.type = SP_TYPE_FLOAT32},
    {.type = SP_TYPE_FLOAT64},
    {.type = SP_TYPE_NUMERIC},
    {.type = SP_TYPE_TEXT},
    {.type = SP_TYPE_TEXT},
    {.type = SP_TYPE_TEXT, .charset = &latin1},
    {.type = SP_TYPE_TEXT, .form = BINLOG_ENUM, .label_count = 2},
    {.type = SP_TYPE_TEXT, .form = BINLOG_SET, .label_count = 3},
    {.type = SP_TYPE_BYTES, .is_binary = true},
    {.type = SP_TYPE_BYTES},
    {.type = SP_TYPE_DATE},
    {.type = SP_TYPE_DATETIME},
    {.type = SP_TYPE_TIMESTAMP},
    {.type = SP_TYPE_TEXT},
    {.type = SP_TYPE_JSON},
    {.type = SP_TYPE_UUID, .form = BINLOG_UUID},
    {.type = SP_TYPE_TEXT, .form = BINLOG_INET6},
    {.type = SP_TYPE_TEXT, .form = BINLOG_INET4},
    {.type = SP_TYPE_BYTES},
    {.type = SP_TYPE_INT32},
    {.at = -1},
};

static bool fill_column(struct binlog_column *column, unsigned i)
{
    static const char *const labels[] = {"a", "it's", "x", "y", "z"};
    const char *const *first = column->form == BINLOG_SET ? labels + 2 : labels;
    const unsigned label_count = column->label_count;
    column->at = column->at < 0 ? -1 : (int)i;
    column->nullable = i > 0;
    column->label_count = 0;
    column->labels = calloc(label_count + 1, sizeof(*column->labels));
    for (unsigned k = 0; column->labels && k < label_count; k++) {
        column->labels[k] = strdup(first[k]);
        column->label_count += column->labels[k] != NULL;
    }
    return column->labels && column->label_count == label_count;
}

/* As much of MariaDB's as the files have. */
static void fill_latin1(void)
{
    for (unsigned i = 0; i < 256; i++)
        latin1.bytes[i] = (uint16_t)i;
    latin1.bytes[0x80] = 0x20ac;
}

bool sample_table(struct binlog_table *out)
{
    bool good = true;
    fill_latin1();
    *out = (struct binlog_table){.database = strdup("shop"), .name = strdup("sample")};
    out->columns = calloc(1, sizeof(columns));
    out->key = calloc(1, sizeof(*out->key));
    out->key_count = 1;
    out->described_count = SAMPLE_COLUMNS;
    if (!out->database || !out->name || !out->columns || !out->key)
        return false;
    memcpy(out->columns, columns, sizeof(columns));
    out->column_count = sizeof(columns) / sizeof(*columns);
    for (unsigned i = 0; i < out->column_count; i++)
        good = fill_column(&out->columns[i], i) && good;
    return good;
}

static int read_event(struct binlog *log, const unsigned char *data, size_t size,
                      const struct source_feed_sink *sink, enum binlog_point *point)
{
    unsigned char *event = malloc(size ? size : 1);
    if (!event)
        return SP_ENOMEM;
    memcpy(event, data, size);
    const int status = binlog_event(log, event, size, sink, point);
    free(event);
    return status;
}

int sample_read(struct binlog *log, const unsigned char *data, size_t size,
                const struct source_feed_sink *sink,
                void (*at_point)(void *context, enum binlog_point point))
{
    size_t at = size >= MAGIC_BYTES && memcmp(data, MAGIC, MAGIC_BYTES) == 0 ? MAGIC_BYTES : 0;
    int status = SP_OK;
    while (at < size && status == SP_OK) {
        enum binlog_point point;
        size_t bytes = size - at;
        if (bytes >= HEADER_BYTES) {
            const unsigned char *told = data + at + SIZE_AT;
            const size_t event = (size_t)told[0] | (size_t)told[1] << 8 | (size_t)told[2] << 16 |
                                 (size_t)told[3] << 24;
            if (event > 0 && event < bytes)
                bytes = event;
        }
        status = read_event(log, data + at, bytes, sink, &point);
        if (status == SP_OK && at_point)
            at_point(sink->context, point);
        at += bytes;
    }
    return status;
}
