/* SPDX-License-Identifier: Apache-2.0
 *
 * row_text.c - values as text for people, and text as values.
 *
 * Floats are written with the fewest digits that read back as the same float. Most floats of real
 * data are decimals with a few digits: n / 10^k with both exact is correctly rounded, so the k that
 * gives the float back is found by trying, without big arithmetic. The others go through printf and
 * strtod, in the C locale whatever the process has set.
 *
 * Costs: integers and times some ten nanoseconds; floats that are short decimals about as much,
 * others about a microsecond. Nothing is allocated.
 * Limits: text of a float that is parsed has at most FLOAT_TEXT_BYTES_MAX characters.
 */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alloc/bson_internal.h"
#include "alloc/row_internal.h"

#define FLOAT_TEXT_BYTES_MAX 1023

/* --- output -------------------------------------------------------------------------------- */

void row_text_put(struct row_text *text, const void *data, size_t bytes)
{
    if (text->size + 1 < text->cap) {
        const size_t room = text->cap - 1 - text->size;
        const size_t fit = bytes < room ? bytes : room;
        if (fit > 0)
            memcpy(text->out + text->size, data, fit);
    }
    text->size += bytes;
}

void row_text_puts(struct row_text *text, const char *string)
{
    row_text_put(text, string, strlen(string));
}

size_t row_text_end(struct row_text *text)
{
    if (text->cap > 0)
        text->out[text->size < text->cap ? text->size : text->cap - 1] = 0;
    return text->size;
}

/* --- integers and UUIDs -------------------------------------------------------------------- */

static size_t put_unsigned(uint64_t number, char *out)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

size_t row_format_int(int64_t i, char *out)
{
    if (i >= 0)
        return put_unsigned((uint64_t)i, out);
    *out = '-';
    return 1 + put_unsigned(-(uint64_t)i, out + 1);
}

static void put_hex(unsigned char byte, char *out)
{
    static const char digits[] = "0123456789abcdef";
    out[0] = digits[byte >> 4];
    out[1] = digits[byte & 15];
}

size_t row_format_uuid(const unsigned char *uuid, char *out)
{
    char *at = out;
    for (unsigned i = 0; i < 16; i++, at += 2) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        put_hex(uuid[i], at);
    }
    return (size_t)(at - out);
}

/* --- floats to text ------------------------------------------------------------------------ */

/* How a kind of float is written: exactly, by trying decimals with up to so many places; or by
 * printf with a precision that surely suffices. */
struct float_kind {
    unsigned places_max;
    double limit;      /* whole numbers below it are exact */
    double normal_min; /* floats below it have fewer digits than others */
    int precision_min;
    int precision_max;
    bool is_float32;
};
static const struct float_kind float64_kind = {15, 0x1p53, DBL_MIN, 15, 17, false};
static const struct float_kind float32_kind = {8, 0x1p24, FLT_MIN, 6, 9, true};

static bool reads_back(const struct float_kind *kind, double decimal, double f)
{
    return kind->is_float32 ? (float)decimal == (float)f : decimal == f;
}

/* Writes n / 10^places with its point. */
static size_t put_decimal(uint64_t n, uint64_t scale, unsigned places, char *out)
{
    size_t size = put_unsigned(n / scale, out);
    uint64_t fraction = n % scale;
    out[size++] = '.';
    if (places == 0)
        places = 1;
    for (unsigned i = places; i-- > 0; fraction /= 10)
        out[size + i] = (char)('0' + fraction % 10);
    return size + places;
}

/* A positive float as a short decimal; 0 if it is none. */
static size_t format_short(const struct float_kind *kind, double f, char *out)
{
    uint64_t scale = 1;
    if (f >= kind->limit || f < 1e-5)
        return 0;
    for (unsigned places = 0; places <= kind->places_max; places++, scale *= 10) {
        const double scaled = f * (double)scale + 0.5;
        if (scaled >= kind->limit)
            return 0;
        const uint64_t n = (uint64_t)scaled;
        if (reads_back(kind, (double)n / (double)scale, f))
            return put_decimal(n, scale, places, out);
    }
    return 0;
}

/* A positive float by printf, with the least precision that reads back. */
static size_t format_long(const struct float_kind *kind, double f, char *out)
{
    char text[ROW_FORMAT_BYTES];
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = c ? uselocale(c) : (locale_t)0;
    int precision = f < kind->normal_min ? 1 : kind->precision_min;
    int size;
    for (;; precision++) {
        size = snprintf(text, sizeof(text), "%.*g", precision, f);
        const double back = kind->is_float32 ? (double)strtof(text, NULL) : strtod(text, NULL);
        if (precision == kind->precision_max || back == f)
            break;
    }
    if (c) {
        uselocale(before);
        freelocale(c);
    }
    memcpy(out, text, (size_t)size);
    if (!memchr(text, '.', (size_t)size) && !memchr(text, 'e', (size_t)size)) {
        memcpy(out + size, ".0", 2);
        size += 2;
    }
    return (size_t)size;
}

static size_t format_float(const struct float_kind *kind, double f, char *out)
{
    size_t sign = 0;
    if (isnan(f)) {
        memcpy(out, "NaN", 3);
        return 3;
    }
    if (signbit(f)) {
        out[sign++] = '-';
        f = -f;
    }
    if (isinf(f) || f == 0) {
        const char *word = f == 0 ? "0.0" : "Infinity";
        memcpy(out + sign, word, strlen(word));
        return sign + strlen(word);
    }
    size_t size = format_short(kind, f, out + sign);
    return sign + (size ? size : format_long(kind, f, out + sign));
}

size_t row_format_float64(double f, char *out)
{
    return format_float(&float64_kind, f, out);
}

size_t row_format_float32(float f, char *out)
{
    return format_float(&float32_kind, f, out);
}

/* --- values to text ------------------------------------------------------------------------ */

static void put_bytes_hex(struct row_text *text, const unsigned char *bytes, size_t count)
{
    char hex[2];
    row_text_put(text, "\\x", 2);
    for (size_t i = 0; i < count; i++) {
        put_hex(bytes[i], hex);
        row_text_put(text, hex, sizeof(hex));
    }
}

static void put_value(struct row_text *text, const struct sp_value *value)
{
    char formatted[ROW_FORMAT_BYTES];
    size_t size = 0;
    switch (value->type) {
    case SP_TYPE_BOOL:
        row_text_puts(text, value->i ? "true" : "false");
        return;
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
        size = row_format_int(value->i, formatted);
        break;
    case SP_TYPE_FLOAT64:
        size = row_format_float64(value->f, formatted);
        break;
    case SP_TYPE_FLOAT32:
        size = row_format_float32((float)value->f, formatted);
        break;
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
    case SP_TYPE_DATE:
        size = row_format_time(value->type, value->i, formatted);
        break;
    case SP_TYPE_UUID:
        if (value->bytes.size == 16)
            size = row_format_uuid(value->bytes.data, formatted);
        break;
    case SP_TYPE_BYTES:
        put_bytes_hex(text, value->bytes.data, value->bytes.size);
        return;
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        bson_text_put(text, value);
        return;
    case SP_TYPE_TEXT:
    case SP_TYPE_NUMERIC:
    case SP_TYPE_JSON:
        row_text_put(text, value->bytes.data, value->bytes.size);
        return;
    }
    row_text_put(text, formatted, size);
}

size_t row_value_text(const struct sp_value *value, char *out, size_t cap)
{
    struct row_text text = {.out = out, .cap = cap};
    if (!value->is_null)
        put_value(&text, value);
    return row_text_end(&text);
}

/* --- text to values ------------------------------------------------------------------------ */

static bool is_word(const char *text, size_t text_bytes, const char *word)
{
    return text_bytes == strlen(word) && strncasecmp(text, word, text_bytes) == 0;
}

static int parse_bool(const char *text, size_t text_bytes, int64_t *out)
{
    static const char *const words[][2] = {{"false", "true"}, {"f", "t"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        for (int truth = 0; truth <= 1; truth++)
            if (is_word(text, text_bytes, words[i][truth])) {
                *out = truth;
                return SP_OK;
            }
    return SP_ETYPE;
}

static int parse_int(const char *text, size_t text_bytes, int64_t *out)
{
    const bool negative = text_bytes > 0 && *text == '-';
    size_t i = negative || (text_bytes > 0 && *text == '+');
    int64_t number = 0;
    if (i == text_bytes)
        return SP_ETYPE;
    for (; i < text_bytes; i++) {
        const int digit = text[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number))
            return SP_ETYPE;
    }
    /* counted downwards: there is one more negative number */
    if (!negative && __builtin_sub_overflow(0, number, &number))
        return SP_ETYPE;
    *out = number;
    return SP_OK;
}

static size_t count_digits(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return (size_t)(at - start);
}

static bool parse_exponent(const char *at, const char *end, struct row_decimal *out)
{
    out->exponent = at;
    out->exponent_bytes = (size_t)(end - at);
    if (at < end && (*at == '+' || *at == '-'))
        at++;
    const size_t digits = count_digits(at, end);
    return digits > 0 && at + digits == end;
}

bool row_decimal_parse(const char *text, size_t text_bytes, struct row_decimal *out)
{
    if (text_bytes == 0)
        return false;
    const char *at = text;
    const char *end = text + text_bytes;
    *out = (struct row_decimal){.negative = *at == '-'};
    if (*at == '-' || *at == '+')
        at++;
    out->whole = at;
    out->whole_bytes = count_digits(at, end);
    at += out->whole_bytes;
    if (at < end && *at == '.') {
        out->fraction = ++at;
        out->fraction_bytes = count_digits(at, end);
        at += out->fraction_bytes;
    }
    if (out->whole_bytes + out->fraction_bytes == 0)
        return false;
    if (at < end && (*at == 'e' || *at == 'E'))
        return parse_exponent(at + 1, end, out);
    return at == end;
}

bool row_special_parse(const char *text, size_t text_bytes, double *out)
{
    const bool negative = text_bytes > 0 && *text == '-';
    const size_t skip = negative || (text_bytes > 0 && *text == '+');
    if (is_word(text, text_bytes, "nan"))
        *out = NAN;
    else if (is_word(text + skip, text_bytes - skip, "infinity") ||
             is_word(text + skip, text_bytes - skip, "inf"))
        *out = negative ? -INFINITY : INFINITY;
    else
        return false;
    return true;
}

static int parse_float(enum sp_type type, const char *text, size_t text_bytes, double *out)
{
    struct row_decimal decimal;
    char copy[FLOAT_TEXT_BYTES_MAX + 1];
    if (row_special_parse(text, text_bytes, out))
        return SP_OK;
    if (text_bytes > FLOAT_TEXT_BYTES_MAX || !row_decimal_parse(text, text_bytes, &decimal))
        return SP_ETYPE;
    memcpy(copy, text, text_bytes);
    copy[text_bytes] = 0;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return SP_ENOMEM;
    locale_t before = uselocale(c);
    *out = type == SP_TYPE_FLOAT32 ? (double)strtof(copy, NULL) : strtod(copy, NULL);
    uselocale(before);
    freelocale(c);
    return isinf(*out) ? SP_ETYPE : SP_OK;
}

static int parse_numeric(const char *text, size_t text_bytes)
{
    struct row_decimal decimal;
    double special;
    return row_decimal_parse(text, text_bytes, &decimal) ||
                   row_special_parse(text, text_bytes, &special)
               ? SP_OK
               : SP_ETYPE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int parse_uuid(const char *text, size_t text_bytes, unsigned char *out)
{
    size_t byte = 0;
    if (text_bytes != 36)
        return SP_ETYPE;
    for (size_t i = 0; i < text_bytes; byte++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-')
                return SP_ETYPE;
        }
        const int high = hex_digit(text[i]);
        const int low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return SP_ETYPE;
        out[byte] = (unsigned char)(high << 4 | low);
        i += 2;
    }
    return SP_OK;
}

int row_value_parse(enum sp_type type, const char *text, size_t text_bytes, void *scratch,
                    struct sp_value *out)
{
    if (!text)
        text = "";
    *out = sp_bytes(type, text, text_bytes);
    switch (type) {
    case SP_TYPE_BOOL:
        return parse_bool(text, text_bytes, &out->i);
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
        if (parse_int(text, text_bytes, &out->i) != SP_OK || !row_value_fits(out))
            return SP_ETYPE;
        return SP_OK;
    case SP_TYPE_FLOAT64:
    case SP_TYPE_FLOAT32:
        return parse_float(type, text, text_bytes, &out->f);
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
    case SP_TYPE_DATE:
        return row_parse_time(type, text, text_bytes, &out->i);
    case SP_TYPE_UUID:
        *out = sp_bytes(type, scratch, 16);
        return parse_uuid(text, text_bytes, scratch);
    case SP_TYPE_NUMERIC:
        return parse_numeric(text, text_bytes);
    case SP_TYPE_JSON:
        return row_json_valid(text, text_bytes) ? SP_OK : SP_ETYPE;
    case SP_TYPE_TEXT:
        return row_utf8_valid(text, text_bytes) ? SP_OK : SP_ETYPE;
    case SP_TYPE_BYTES:
        return SP_OK;
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        return SP_ETYPE;
    }
    return SP_ETYPE;
}
