/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_text.c - values in PostgreSQL's text form.
 *
 * A row that comes by the change feed must be byte for byte the one that COPY delivers in binary
 * form, or the next full pass would write it again. The stream is in text form because for most
 * types only the server knows their text: ranges, composites, whatever an extension brings. The
 * session fixes what text depends on (DateStyle ISO, bytea in hex, all digits of floats), so each
 * form here is the one form PostgreSQL writes:
 *
 *   bool          t, f
 *   date          2026-11-27, 0044-03-15 BC, infinity, -infinity
 *   timestamp     2026-11-27 17:05:00.25, with " BC" behind
 *   timestamptz   the same with a zone: +02, +05:30, -00:00:52
 *   bytea         \x00ff
 *   inet          what casting it to text makes: with the network's bits, which the output leaves
 *                 out for a single host
 *
 * Costs: text is borrowed; numbers, times and bytes are read in one pass. Limits: as
 * postgresql_value.c.
 */
#include <string.h>

#include "alloc/row.h"
#include "server/source/postgresql_feed.h"

#define DAY_US (INT64_C(86400) * 1000000)

struct text {
    const char *at, *end;
};

static const char not_its_type[] = "a field that is not of its type";

/* --- pieces --------------------------------------------------------------------------------- */

static bool take_char(struct text *text, char c)
{
    if (text->at == text->end || *text->at != c)
        return false;
    text->at++;
    return true;
}

/* Digits, at most `most` of them. Returns how many there were. */
static unsigned take_digits(struct text *text, unsigned most, int64_t *out)
{
    unsigned count = 0;
    *out = 0;
    for (; count < most && text->at < text->end && *text->at >= '0' && *text->at <= '9'; count++)
        *out = *out * 10 + (*text->at++ - '0');
    return count;
}

static bool take_two(struct text *text, int64_t *out)
{
    return take_digits(text, 2, out) == 2;
}

static bool is_word(const struct text *text, const char *word)
{
    const size_t size = (size_t)(text->end - text->at);
    return size == strlen(word) && memcmp(text->at, word, size) == 0;
}

/* "infinity" and "-infinity" as the two ends of a range. */
static bool is_infinite(const struct text *text, int64_t high, int64_t low, int64_t *out)
{
    if (is_word(text, "infinity"))
        *out = high;
    else if (is_word(text, "-infinity"))
        *out = low;
    else
        return false;
    return true;
}

/* --- times ---------------------------------------------------------------------------------- */

struct moment {
    int64_t year, month, day;
    int64_t us;      /* of the day */
    int64_t zone_us; /* east of Greenwich */
};

static bool take_date(struct text *text, struct moment *out)
{
    return take_digits(text, 7, &out->year) >= 4 && take_char(text, '-') &&
           take_two(text, &out->month) && take_char(text, '-') && take_two(text, &out->day);
}

static bool days_of(const struct moment *m, int64_t *out)
{
    return row_days_since_1970(m->year, (unsigned)m->month, (unsigned)m->day, out);
}

static bool take_clock(struct text *text, int64_t *us)
{
    int64_t hour, minute, second, fraction = 0;
    if (!take_two(text, &hour) || !take_char(text, ':') || !take_two(text, &minute) ||
        !take_char(text, ':') || !take_two(text, &second))
        return false;
    if (take_char(text, '.')) {
        unsigned digits = take_digits(text, 6, &fraction);
        if (digits == 0)
            return false;
        for (; digits < 6; digits++)
            fraction *= 10;
    }
    *us = ((hour * 60 + minute) * 60 + second) * 1000000 + fraction;
    return true;
}

static bool take_zone(struct text *text, int64_t *us)
{
    int64_t hour, minute = 0, second = 0;
    const bool west = take_char(text, '-');
    if (!west && !take_char(text, '+'))
        return false;
    if (!take_two(text, &hour) || (take_char(text, ':') && !take_two(text, &minute)) ||
        (take_char(text, ':') && !take_two(text, &second)))
        return false;
    *us = ((hour * 60 + minute) * 60 + second) * (west ? -1000000 : 1000000);
    return true;
}

/* What may stand at the end of all of them. */
static bool take_era(struct text *text, struct moment *out)
{
    if (is_word(text, " BC")) {
        out->year = 1 - out->year;
        text->at = text->end;
    }
    return text->at == text->end;
}

static const char *text_date(struct text text, struct sp_value *out)
{
    struct moment m;
    *out = (struct sp_value){.type = SP_TYPE_DATE};
    if (is_infinite(&text, INT32_MAX, INT32_MIN, &out->i))
        return NULL;
    if (!take_date(&text, &m) || !take_era(&text, &m) || !days_of(&m, &out->i))
        return not_its_type;
    return out->i == (int32_t)out->i ? NULL : "a date that does not fit";
}

static const char *text_timestamp(struct text text, enum sp_type type, struct sp_value *out)
{
    struct moment m = {.zone_us = 0};
    *out = (struct sp_value){.type = type};
    if (is_infinite(&text, INT64_MAX, INT64_MIN, &out->i))
        return NULL;
    if (!take_date(&text, &m) || !take_char(&text, ' ') || !take_clock(&text, &m.us) ||
        (type == SP_TYPE_TIMESTAMP && !take_zone(&text, &m.zone_us)) || !take_era(&text, &m) ||
        !days_of(&m, &out->i))
        return not_its_type;
    if (__builtin_mul_overflow(out->i, DAY_US, &out->i) ||
        __builtin_add_overflow(out->i, m.us - m.zone_us, &out->i) || out->i == INT64_MAX)
        return "a time that does not fit: after the year 294247";
    return NULL;
}

/* --- numbers, bytes ------------------------------------------------------------------------- */

static const char *text_integer(struct text text, enum sp_type type, struct sp_value *out)
{
    int64_t digits, rest;
    const bool negative = take_char(&text, '-');
    const unsigned count = take_digits(&text, 18, &digits);
    uint64_t n = (uint64_t)digits;
    *out = (struct sp_value){.type = type};
    if (count == 18 && take_digits(&text, 1, &rest) == 1)
        n = n * 10 + (uint64_t)rest; /* 19 digits are less than 2^64 */
    if (count == 0 || text.at != text.end || n > (uint64_t)INT64_MAX + negative)
        return not_its_type;
    out->i = (int64_t)(negative ? 0 - n : n);
    return type == SP_TYPE_INT64 || out->i == (int32_t)out->i ? NULL : not_its_type;
}

static const char *text_bool(struct text text, struct sp_value *out)
{
    *out = (struct sp_value){.type = SP_TYPE_BOOL, .i = is_word(&text, "t")};
    return out->i || is_word(&text, "f") ? NULL : not_its_type;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *text_bytea(struct text text, struct source_scratch *scratch,
                              struct sp_value *out)
{
    if (!take_char(&text, '\\') || !take_char(&text, 'x') || (text.end - text.at) % 2 != 0)
        return not_its_type;
    const size_t size = (size_t)(text.end - text.at) / 2;
    if (!source_scratch_reserve(scratch, size + 1))
        return "no memory for bytes";
    for (size_t i = 0; i < size; i++) {
        const int high = hex_digit(text.at[2 * i]), low = hex_digit(text.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return not_its_type;
        scratch->text[i] = (char)(high << 4 | low);
    }
    *out = sp_bytes(SP_TYPE_BYTES, scratch->text, size);
    return NULL;
}

/* --- text ----------------------------------------------------------------------------------- */

static const char *checked_text(enum sp_type type, const void *data, size_t bytes,
                                struct sp_value *out)
{
    *out = sp_bytes(type, data, bytes);
    return row_utf8_valid(data, bytes) ? NULL : "text that is not UTF-8";
}

static const char *text_inet(struct text text, struct source_scratch *scratch, struct sp_value *out)
{
    const size_t size = (size_t)(text.end - text.at);
    if (memchr(text.at, '/', size))
        return checked_text(SP_TYPE_TEXT, text.at, size, out);
    const char *bits = memchr(text.at, ':', size) ? "/128" : "/32";
    if (!source_scratch_reserve(scratch, size + sizeof("/128")))
        return "no memory for an address";
    memcpy(scratch->text, text.at, size);
    memcpy(scratch->text + size, bits, strlen(bits));
    return checked_text(SP_TYPE_TEXT, scratch->text, size + strlen(bits), out);
}

static const char *text_array(const struct pg_form *form, const unsigned char *data, size_t bytes,
                              struct source_scratch *scratch, struct sp_value *out)
{
    size_t size;
    const char *why = pg_array_json(form, data, bytes, scratch, &size);
    return why ? why : checked_text(SP_TYPE_JSON, scratch->text, size, out);
}

static const char *parsed(enum sp_type type, struct text text, struct source_scratch *scratch,
                          struct sp_value *out)
{
    if (!source_scratch_reserve(scratch, 16))
        return "no memory for a value";
    return row_value_parse(type, text.at, (size_t)(text.end - text.at), scratch->text, out) == SP_OK
               ? NULL
               : not_its_type;
}

const char *pg_text_value(const struct pg_form *form, enum sp_type type, const unsigned char *data,
                          size_t bytes, struct source_scratch *scratch, struct sp_value *out)
{
    const struct text text = {(const char *)data, (const char *)data + bytes};
    if (form->is_array)
        return text_array(form, data, bytes, scratch, out);
    switch (type) {
    case SP_TYPE_BOOL:
        return text_bool(text, out);
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
        return text_integer(text, type, out);
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
    case SP_TYPE_NUMERIC:
    case SP_TYPE_UUID:
        return parsed(type, text, scratch, out);
    case SP_TYPE_DATE:
        return text_date(text, out);
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        return text_timestamp(text, type, out);
    case SP_TYPE_BYTES:
        return text_bytea(text, scratch, out);
    default:
        if (form->type == PG_INET)
            return text_inet(text, scratch, out);
        return checked_text(type, data, bytes, out);
    }
}
