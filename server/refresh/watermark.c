/* SPDX-License-Identifier: Apache-2.0
 *
 * watermark.c - the highest value seen, and where the next reading starts.
 *
 * A mark lives in memory alone: the first pass after a start is a full one, which finds it anew.
 * Cost: a comparison for each row. Limits: texts up to WATERMARK_TEXT_BYTES - 1 bytes, compared
 * byte by byte, as the database's "C" collation and SQLite's BINARY do.
 */
#include "server/refresh/watermark.h"

#include <string.h>

#include "alloc/row.h"
#include "server/refresh/watermark_bson.h"

#define DAY_US      (INT64_C(86400) * 1000000)
#define FUTURE_DAYS 2

enum { TEXT_DATE_BYTES = 10 };

bool watermark_type_ok(enum sp_type type)
{
    switch (type) {
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
    case SP_TYPE_DATE:
    case SP_TYPE_TEXT:
    case SP_TYPE_BSON_VALUE:
        return true;
    default:
        return false;
    }
}

/* What is kept in the mark's own bytes. */
static bool is_text(enum sp_type type)
{
    return type == SP_TYPE_TEXT || type == SP_TYPE_BSON_VALUE;
}

static bool is_float(enum sp_type type)
{
    return type == SP_TYPE_FLOAT64 || type == SP_TYPE_FLOAT32;
}

static bool too_late(const struct sp_value *value, int64_t now_ms)
{
    if (value->type == SP_TYPE_DATE)
        return value->i > now_ms / 86400000 + FUTURE_DAYS;
    if (value->type == SP_TYPE_TIMESTAMP || value->type == SP_TYPE_DATETIME)
        return value->i > now_ms * 1000 + FUTURE_DAYS * DAY_US;
    if (value->type == SP_TYPE_BSON_VALUE)
        return watermark_bson_ms(value) > now_ms + FUTURE_DAYS * DAY_US / 1000;
    return false;
}

static bool is_higher(const struct watermark *mark, const struct sp_value *value)
{
    if (is_float(value->type)) {
        double infinity = __builtin_inf();
        return value->f > -infinity && value->f < infinity &&
               (!mark->set || value->f > mark->value.f);
    }
    if (!is_text(value->type))
        return !mark->set || value->i > mark->value.i;
    if (value->bytes.size >= WATERMARK_TEXT_BYTES)
        return false;
    if (value->type == SP_TYPE_BSON_VALUE)
        return watermark_bson_counts(value) &&
               (!mark->set || watermark_bson_compare(value, &mark->value) > 0);
    if (!mark->set)
        return true;
    size_t old_size = mark->value.bytes.size;
    size_t common = value->bytes.size < old_size ? value->bytes.size : old_size;
    int order = common ? memcmp(value->bytes.data, mark->text, common) : 0;
    return order > 0 || (order == 0 && value->bytes.size > old_size);
}

void watermark_raise(struct watermark *mark, const struct sp_value *value, int64_t now_ms)
{
    if (value->is_null || !is_higher(mark, value) || too_late(value, now_ms))
        return;
    mark->set = true;
    mark->value = *value;
    if (!is_text(value->type))
        return;
    if (value->bytes.size)
        memcpy(mark->text, value->bytes.data, value->bytes.size);
    mark->value.bytes.data = mark->text;
}

void watermark_copy(struct watermark *to, const struct watermark *from)
{
    *to = *from;
    if (from->set && is_text(from->value.type))
        to->value.bytes.data = to->text;
}

static int64_t minus(int64_t a, int64_t b, int64_t least)
{
    int64_t result;
    if (__builtin_sub_overflow(a, b, &result) || result < least)
        return least;
    return result;
}

/* A text that is a time, less the overlap, in the form the column has it: with its separator, but
 * without a zone and without zeros at the end, so that it sorts before every form of that time. */
static bool text_minus(const struct watermark *mark, int64_t overlap, char *scratch, size_t *size)
{
    struct sp_value time;
    const char *text = mark->text;
    size_t bytes = mark->value.bytes.size;
    if (row_value_parse(SP_TYPE_DATETIME, text, bytes, scratch, &time) != SP_OK &&
        row_value_parse(SP_TYPE_TIMESTAMP, text, bytes, scratch, &time) != SP_OK)
        return false;
    if (bytes < TEXT_DATE_BYTES || time.i == INT64_MAX || time.i == INT64_MIN)
        return false;
    bool only_date = bytes == TEXT_DATE_BYTES;
    time = (struct sp_value){.type = SP_TYPE_DATETIME, .i = minus(time.i, overlap, INT64_MIN + 1)};
    *size = row_value_text(&time, scratch, WATERMARK_TEXT_BYTES);
    char *point = memchr(scratch, '.', *size);
    while (point && *size > 0 && (scratch[*size - 1] == '0' || scratch[*size - 1] == '.')) {
        bool end = scratch[*size - 1] == '.';
        --*size;
        if (end)
            break;
    }
    if (only_date)
        *size = TEXT_DATE_BYTES;
    else if (*size > TEXT_DATE_BYTES)
        scratch[TEXT_DATE_BYTES] = text[TEXT_DATE_BYTES];
    return true;
}

void watermark_since(const struct watermark *mark, int64_t overlap,
                     char scratch[WATERMARK_TEXT_BYTES], struct sp_value *out)
{
    *out = mark->value;
    switch (mark->value.type) {
    case SP_TYPE_INT32:
        out->i = minus(out->i, overlap, INT32_MIN);
        break;
    case SP_TYPE_DATE:
        out->i = minus(out->i, overlap / DAY_US + (overlap % DAY_US != 0), INT32_MIN + 1);
        break;
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        out->i = minus(out->i, overlap, INT64_MIN + 1);
        break;
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
        out->f -= (double)overlap;
        break;
    case SP_TYPE_TEXT: {
        size_t size = mark->value.bytes.size;
        if (overlap == 0 || !text_minus(mark, overlap, scratch, &size)) {
            size = mark->value.bytes.size;
            memcpy(scratch, mark->text, size);
        }
        *out = sp_bytes(SP_TYPE_TEXT, scratch, size);
        break;
    }
    case SP_TYPE_BSON_VALUE:
        watermark_bson_since(&mark->value, overlap, scratch, out);
        break;
    default:
        out->i = minus(out->i, overlap, INT64_MIN);
    }
}
