/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_json.c - BSON as relaxed extended JSON (version 2), and the notation of keys.
 *
 * The output is written once, from left to right, as the document is walked. Where it turns out to
 * be damaged, or deeper than BSON_DEPTH_MAX, what was written of it is taken back and "null" stands
 * for the whole; so what comes out is valid JSON whatever the bytes are. Broken UTF-8 becomes
 * U+FFFD.
 *
 * The notation of a key is what row_key_parse reads back as the same value: an ObjectId is its 24
 * digits, a string is itself where nothing else could be meant by it, everything else is JSON.
 *
 * Costs: as row_json.c. Recursive, by BSON_DEPTH_MAX levels of about 200 bytes of stack.
 */
#include <math.h>
#include <string.h>

#include "alloc/bson_internal.h"

#define DATE_MS_MAX INT64_C(253402300799999) /* the last one of the year 9999 */

static int put_fields(struct row_text *json, const struct bson_element *element, unsigned depth);

/* --- scalars ------------------------------------------------------------------------------- */

static void put_int(struct row_text *json, int64_t i)
{
    char digits[ROW_FORMAT_BYTES];
    row_text_put(json, digits, row_format_int(i, digits));
}

static void put_double(struct row_text *json, double f)
{
    char digits[ROW_FORMAT_BYTES];
    const size_t size = row_format_float64(f, digits);
    if (isfinite(f)) {
        row_text_put(json, digits, size);
        return;
    }
    row_text_puts(json, "{\"$numberDouble\": \"");
    row_text_put(json, digits, size);
    row_text_puts(json, "\"}");
}

static void put_decimal(struct row_text *json, const uint8_t *data)
{
    char digits[SP_BSON_DECIMAL_BYTES];
    row_text_puts(json, "{\"$numberDecimal\": \"");
    row_text_put(json, digits, sp_bson_decimal_text(data, digits));
    row_text_puts(json, "\"}");
}

static void put_hex(struct row_text *out, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        const char hex[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
        row_text_put(out, hex, sizeof(hex));
    }
}

static void put_object_id(struct row_text *json, const uint8_t *data)
{
    row_text_puts(json, "{\"$oid\": \"");
    put_hex(json, data, BSON_OBJECT_ID_BYTES);
    row_text_puts(json, "\"}");
}

/* With three digits of a second, or none if they are zeros. */
static void put_date(struct row_text *json, int64_t ms)
{
    char text[ROW_FORMAT_BYTES];
    if (ms < 0 || ms > DATE_MS_MAX) {
        row_text_puts(json, "{\"$date\": {\"$numberLong\": \"");
        put_int(json, ms);
        row_text_puts(json, "\"}}");
        return;
    }
    const char fraction[] = {'.', (char)('0' + ms / 100 % 10), (char)('0' + ms / 10 % 10),
                             (char)('0' + ms % 10)};
    const size_t size = row_format_time(SP_TYPE_TIMESTAMP, (ms - ms % 1000) * 1000, text);
    row_text_puts(json, "{\"$date\": \"");
    row_text_put(json, text, size - 1); /* without the Z */
    row_text_put(json, fraction, ms % 1000 ? sizeof(fraction) : 0);
    row_text_puts(json, "Z\"}");
}

/* Of the old subtype 2 the bytes have a length of their own before them. */
static void put_binary(struct row_text *json, const uint8_t *data, size_t size)
{
    const uint8_t subtype = data[4];
    const uint8_t *bytes = data + 5;
    size_t count = size - 5;
    if (subtype == 2 && count >= sizeof(uint32_t) && bson_load32(bytes) == count - 4) {
        bytes += sizeof(uint32_t);
        count -= sizeof(uint32_t);
    }
    row_text_puts(json, "{\"$binary\": {\"base64\": ");
    row_json_base64(json, bytes, count);
    row_text_puts(json, ", \"subType\": \"");
    put_hex(json, &subtype, 1);
    row_text_puts(json, "\"}}");
}

static void put_regex(struct row_text *json, const uint8_t *data, size_t size)
{
    const size_t pattern = strnlen((const char *)data, size);
    const size_t rest = size - pattern - (pattern < size);
    const uint8_t *options = data + size - rest;
    row_text_puts(json, "{\"$regularExpression\": {\"pattern\": ");
    row_json_string(json, data, pattern);
    row_text_puts(json, ", \"options\": ");
    row_json_string(json, options, strnlen((const char *)options, rest));
    row_text_puts(json, "}}");
}

static void put_timestamp(struct row_text *json, const uint8_t *data)
{
    row_text_puts(json, "{\"$timestamp\": {\"t\": ");
    put_int(json, bson_load32(data + 4));
    row_text_puts(json, ", \"i\": ");
    put_int(json, bson_load32(data));
    row_text_puts(json, "}}");
}

/* --- what holds strings -------------------------------------------------------------------- */

/* A string, its length before it, that has been checked. */
static void put_string(struct row_text *json, const struct bson_element *element)
{
    row_json_string(json, element->data + 4, element->size - 5);
}

static void put_wrapped(struct row_text *json, const char *name, const struct bson_element *element)
{
    row_text_puts(json, name);
    put_string(json, element);
    row_text_puts(json, "}");
}

static void put_pointer(struct row_text *json, const struct bson_element *element)
{
    struct bson_element name = *element;
    name.size -= BSON_OBJECT_ID_BYTES;
    row_text_puts(json, "{\"$dbPointer\": {\"$ref\": ");
    put_string(json, &name);
    row_text_puts(json, ", \"$id\": ");
    put_object_id(json, element->data + name.size);
    row_text_puts(json, "}}");
}

static int put_scope(struct row_text *json, const struct bson_element *element, unsigned depth)
{
    struct bson_element code = *element;
    struct bson_element scope = {.type = SP_BSON_DOCUMENT};
    code.data += sizeof(uint32_t);
    code.size = sizeof(uint32_t) + (size_t)bson_load32(code.data);
    if (code.size > element->size - sizeof(uint32_t) - BSON_BYTES_MIN || code.size < 5)
        return SP_ECORRUPT;
    scope.data = code.data + code.size;
    scope.size = element->size - sizeof(uint32_t) - code.size;
    row_text_puts(json, "{\"$code\": ");
    put_string(json, &code);
    row_text_puts(json, ", \"$scope\": ");
    int status = put_fields(json, &scope, depth);
    row_text_puts(json, "}");
    return status;
}

/* --- elements ------------------------------------------------------------------------------ */

/* The types whose values have no other values in them. */
static void put_scalar(struct row_text *json, const struct bson_element *element)
{
    switch (element->type) {
    case SP_BSON_DOUBLE:
        put_double(json, bson_load_double(element->data));
        return;
    case SP_BSON_STRING:
        put_string(json, element);
        return;
    case SP_BSON_BINARY:
        put_binary(json, element->data, element->size);
        return;
    case SP_BSON_UNDEFINED:
        row_text_puts(json, "{\"$undefined\": true}");
        return;
    case SP_BSON_OBJECT_ID:
        put_object_id(json, element->data);
        return;
    case SP_BSON_BOOL:
        row_text_puts(json, *element->data ? "true" : "false");
        return;
    case SP_BSON_DATE:
        put_date(json, bson_load64(element->data));
        return;
    case SP_BSON_REGEX:
        put_regex(json, element->data, element->size);
        return;
    case SP_BSON_DB_POINTER:
        put_pointer(json, element);
        return;
    case SP_BSON_CODE:
        put_wrapped(json, "{\"$code\": ", element);
        return;
    case SP_BSON_SYMBOL:
        put_wrapped(json, "{\"$symbol\": ", element);
        return;
    case SP_BSON_INT32:
        put_int(json, (int32_t)bson_load32(element->data));
        return;
    case SP_BSON_TIMESTAMP:
        put_timestamp(json, element->data);
        return;
    case SP_BSON_INT64:
        put_int(json, bson_load64(element->data));
        return;
    case SP_BSON_DECIMAL128:
        put_decimal(json, element->data);
        return;
    case SP_BSON_MIN_KEY:
        row_text_puts(json, "{\"$minKey\": 1}");
        return;
    case SP_BSON_MAX_KEY:
        row_text_puts(json, "{\"$maxKey\": 1}");
        return;
    default:
        row_text_puts(json, "null");
    }
}

static int put_element(struct row_text *json, const struct bson_element *element, unsigned depth)
{
    int status = bson_check(element->type, element->data, element->size);
    if (status != SP_OK)
        return status;
    switch (element->type) {
    case SP_BSON_DOCUMENT:
    case SP_BSON_ARRAY:
        return put_fields(json, element, depth);
    case SP_BSON_CODE_WITH_SCOPE:
        return put_scope(json, element, depth);
    default:
        put_scalar(json, element);
        return SP_OK;
    }
}

/* A document or an array. */
static int put_fields(struct row_text *json, const struct bson_element *element, unsigned depth)
{
    const bool is_array = element->type == SP_BSON_ARRAY;
    struct bson_cursor cursor;
    struct bson_element field;
    bool first = true;
    if (depth == BSON_DEPTH_MAX)
        return SP_ECORRUPT;
    int status = bson_open(element->data, element->size, &cursor);
    row_text_put(json, is_array ? "[" : "{", 1);
    while (status == SP_OK && (status = bson_next(&cursor, &field)) == SP_OK) {
        row_text_put(json, ", ", first ? 0 : 2);
        first = false;
        if (!is_array) {
            row_json_string(json, field.name, field.name_bytes);
            row_text_put(json, ": ", 2);
        }
        status = put_element(json, &field, depth + 1);
    }
    row_text_put(json, is_array ? "]" : "}", 1);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

/* --- values -------------------------------------------------------------------------------- */

void bson_json_put(struct row_text *json, const struct sp_value *value)
{
    const size_t start = json->size;
    struct bson_element element;
    if (bson_element_of(value, &element) && put_element(json, &element, 0) == SP_OK)
        return;
    json->size = start;
    row_text_puts(json, "null");
}

/* Whether a string as it is would be read as this string. */
static bool is_plain(const char *text, size_t bytes)
{
    uint8_t scratch[16];
    struct sp_value value;
    return row_key_parse(SP_TYPE_BSON_VALUE, text, bytes, scratch, &value) == SP_OK &&
           value.type == SP_TYPE_TEXT;
}

void bson_text_put(struct row_text *text, const struct sp_value *value)
{
    struct bson_element element;
    if (value->type == SP_TYPE_BSON || !bson_element_of(value, &element) ||
        bson_check(element.type, element.data, element.size) != SP_OK) {
        bson_json_put(text, value);
        return;
    }
    const char *string = (const char *)element.data + 4;
    if (element.type == SP_BSON_OBJECT_ID)
        put_hex(text, element.data, element.size);
    else if (element.type == SP_BSON_STRING && is_plain(string, element.size - 5))
        row_text_put(text, string, element.size - 5);
    else
        bson_json_put(text, value);
}
