/* SPDX-License-Identifier: Apache-2.0
 *
 * row_json.c - rows and values as JSON.
 *
 * Whatever a row holds, what comes out is valid JSON: text is escaped and repaired on the way, a
 * number is put in form, and a JSON column is checked before it is copied. The output is written
 * once, from left to right, without allocation; what does not fit is only counted.
 *
 * Costs: about a nanosecond for each byte of text and of JSON columns, some ten nanoseconds for
 * each number. Limits: JSON columns deeper than ROW_JSON_DEPTH_MAX come out as strings.
 */
#include <math.h>
#include <string.h>

#include "alloc/bson_internal.h"
#include "alloc/row_internal.h"

/* --- strings ------------------------------------------------------------------------------- */

/* What a byte asks for inside of a JSON string: nothing, an escape, or a look at its character. */
enum { PLAIN = 0, ESCAPE = 1, UTF8 = 2 };

static unsigned kind_of(unsigned char c)
{
    if (c >= 0x80)
        return UTF8;
    return c < 0x20 || c == '"' || c == '\\' ? ESCAPE : PLAIN;
}

static void put_escape(struct row_text *json, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(letters); i += 2)
        if ((unsigned char)letters[i] == c) {
            const char escape[2] = {'\\', letters[i + 1]};
            row_text_put(json, escape, sizeof(escape));
            return;
        }
    const char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    row_text_put(json, escape, sizeof(escape));
}

/* The bytes of a string that can go out as they are, from `from` on. */
static size_t plain_run(const unsigned char *bytes, size_t from, size_t count)
{
    size_t i = from;
    size_t used;
    while (i < count) {
        unsigned kind = kind_of(bytes[i]);
        if (kind == ESCAPE || (kind == UTF8 && !row_utf8_next(bytes + i, count - i, &used)))
            break;
        i += kind == PLAIN ? 1 : used;
    }
    return i - from;
}

void row_json_string(struct row_text *json, const void *data, size_t count)
{
    static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */
    const unsigned char *bytes = data;
    row_text_put(json, "\"", 1);
    for (size_t i = 0; i < count;) {
        const size_t run = plain_run(bytes, i, count);
        row_text_put(json, bytes + i, run);
        i += run;
        if (i == count)
            break;
        const unsigned char c = bytes[i];
        size_t used = 1;
        if (kind_of(c) == ESCAPE)
            put_escape(json, c);
        else if (!row_utf8_next(bytes + i, count - i, &used))
            row_text_puts(json, replacement);
        else
            row_text_put(json, bytes + i, used); /* it changed since plain_run saw it */
        i += used;
    }
    row_text_put(json, "\"", 1);
}

void row_json_base64(struct row_text *json, const unsigned char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    row_text_put(json, "\"", 1);
    for (size_t i = 0; i < count; i += 3) {
        const size_t left = count - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 |
                               (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        const char quad[4] = {digits[group >> 18], digits[group >> 12 & 63],
                              left > 1 ? digits[group >> 6 & 63] : '=',
                              left > 2 ? digits[group & 63] : '='};
        row_text_put(json, quad, sizeof(quad));
    }
    row_text_put(json, "\"", 1);
}

/* --- numbers ------------------------------------------------------------------------------- */

/* Text of digits as JSON wants it: a digit on both sides of the point, no zeros in front, no plus.
 * The digits themselves stay ("12.50"). */
static void put_numeric(struct row_text *json, const char *text, size_t text_bytes)
{
    struct row_decimal d;
    if (!row_decimal_parse(text, text_bytes, &d)) {
        row_json_string(json, text, text_bytes);
        return;
    }
    while (d.whole_bytes > 1 && *d.whole == '0') {
        d.whole++;
        d.whole_bytes--;
    }
    if (d.negative)
        row_text_put(json, "-", 1);
    row_text_put(json, d.whole_bytes ? d.whole : "0", d.whole_bytes ? d.whole_bytes : 1);
    if (d.fraction_bytes) {
        row_text_put(json, ".", 1);
        row_text_put(json, d.fraction, d.fraction_bytes);
    }
    if (d.exponent_bytes) {
        row_text_put(json, "e", 1);
        row_text_put(json, d.exponent, d.exponent_bytes);
    }
}

static void put_float(struct row_text *json, enum sp_type type, double f)
{
    char formatted[ROW_FORMAT_BYTES];
    if (!isfinite(f)) {
        row_text_puts(json, "null");
        return;
    }
    size_t size = type == SP_TYPE_FLOAT32 ? row_format_float32((float)f, formatted)
                                          : row_format_float64(f, formatted);
    row_text_put(json, formatted, size);
}

/* --- values and rows ----------------------------------------------------------------------- */

static void put_json(struct row_text *json, const void *data, size_t count)
{
    if (row_json_valid(data, count))
        row_text_put(json, data, count);
    else
        row_json_string(json, data, count);
}

static void put_time(struct row_text *json, const struct sp_value *value)
{
    char formatted[ROW_FORMAT_BYTES];
    row_json_string(json, formatted, row_format_time(value->type, value->i, formatted));
}

static void put_uuid(struct row_text *json, const struct sp_value *value)
{
    char formatted[ROW_FORMAT_BYTES];
    if (value->bytes.size == 16)
        row_json_string(json, formatted, row_format_uuid(value->bytes.data, formatted));
    else
        row_text_puts(json, "null");
}

static void put_int(struct row_text *json, int64_t i)
{
    char formatted[ROW_FORMAT_BYTES];
    row_text_put(json, formatted, row_format_int(i, formatted));
}

static void put_value(struct row_text *json, const struct sp_value *value)
{
    if (value->is_null) {
        row_text_puts(json, "null");
        return;
    }
    switch (value->type) {
    case SP_TYPE_BOOL:
        row_text_puts(json, value->i ? "true" : "false");
        return;
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
        put_int(json, value->i);
        return;
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
        put_float(json, value->type, value->f);
        return;
    case SP_TYPE_NUMERIC:
        put_numeric(json, value->bytes.data, value->bytes.size);
        return;
    case SP_TYPE_TEXT:
        row_json_string(json, value->bytes.data, value->bytes.size);
        return;
    case SP_TYPE_BYTES:
        row_json_base64(json, value->bytes.data, value->bytes.size);
        return;
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        bson_json_put(json, value);
        return;
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
    case SP_TYPE_DATE:
        put_time(json, value);
        return;
    case SP_TYPE_UUID:
        put_uuid(json, value);
        return;
    case SP_TYPE_JSON:
        put_json(json, value->bytes.data, value->bytes.size);
        return;
    }
    row_text_puts(json, "null");
}

size_t row_value_json(const struct sp_value *value, char *out, size_t cap)
{
    struct row_text json = {.out = out, .cap = cap};
    put_value(&json, value);
    return row_text_end(&json);
}

size_t row_json(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes, char *out, size_t cap)
{
    struct row_text json = {.out = out, .cap = cap};
    row_text_put(&json, "{", 1);
    for (unsigned i = 0; i < schema->column_count; i++) {
        const struct row_column *column = &schema->columns[i];
        struct sp_value found;
        if (row_column_get(schema, i, key, key_bytes, value, value_bytes, &found) != SP_OK)
            found = sp_null(column->type);
        row_text_put(&json, ", ", i == 0 ? 0 : 2);
        row_json_string(&json, column->name, strlen(column->name));
        row_text_put(&json, ": ", 2);
        put_value(&json, &found);
    }
    row_text_put(&json, "}", 1);
    return row_text_end(&json);
}
