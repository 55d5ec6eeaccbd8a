/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite_value.c - SQLite's declared types, and its values as values of those types.
 *
 * SQLite lets any column hold anything. A column's type here is what it was declared as (the table
 * below); a value of another storage class is converted where nothing is lost, and is a bad row
 * where something would be. Times may be ISO 8601 text, Unix seconds (INTEGER) or Julian days
 * (REAL), which are SQLite's own three ways; a time zone in the text is applied, so the result is
 * UTC.
 *
 * Costs: text and bytes are borrowed from SQLite's page; some 10 ns a value, some 30 for a time.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "alloc/row.h"
#include "server/source/sqlite.h"

#define US_PER_SECOND    INT64_C(1000000)
#define US_PER_DAY       (86400 * US_PER_SECOND)
#define JULIAN_MAX       5373484.5 /* the first day that SQLite's own functions do not know */
#define JULIAN_1970      2440587.5
#define UNIX_SECONDS_MAX INT64_C(253402300799) /* the end of 9999, as in SQLite's functions */
#define UNIX_SECONDS_MIN INT64_C(-62167219200)

/* --- declared types ------------------------------------------------------------------------- */

enum match { MATCH_EXACT, MATCH_PART };

struct type_rule {
    enum match match;
    const char *word;
    enum sp_type type;
    bool as_text;
};

/* The first that matches counts, in any case, with "(...)" left out of the declared type. */
static const struct type_rule rules[] = {
    {MATCH_EXACT, "BOOL", SP_TYPE_BOOL, false},
    {MATCH_EXACT, "BOOLEAN", SP_TYPE_BOOL, false},
    {MATCH_EXACT, "DATE", SP_TYPE_DATE, false},
    {MATCH_EXACT, "DATETIME", SP_TYPE_DATETIME, false},
    {MATCH_EXACT, "TIMESTAMP WITHOUT TIME ZONE", SP_TYPE_DATETIME, false},
    {MATCH_EXACT, "TIMESTAMP", SP_TYPE_TIMESTAMP, false},
    {MATCH_EXACT, "TIMESTAMPTZ", SP_TYPE_TIMESTAMP, false},
    {MATCH_EXACT, "TIMESTAMP WITH TIME ZONE", SP_TYPE_TIMESTAMP, false},
    {MATCH_EXACT, "JSON", SP_TYPE_JSON, false},
    {MATCH_EXACT, "UUID", SP_TYPE_UUID, false},
    {MATCH_EXACT, "GUID", SP_TYPE_UUID, false},
    {MATCH_EXACT, "UNIQUEIDENTIFIER", SP_TYPE_UUID, false},
    {MATCH_EXACT, "NUM", SP_TYPE_NUMERIC, false},
    {MATCH_EXACT, "NUMBER", SP_TYPE_NUMERIC, false},
    {MATCH_EXACT, "NUMERIC", SP_TYPE_NUMERIC, false},
    {MATCH_EXACT, "DECIMAL", SP_TYPE_NUMERIC, false},
    {MATCH_EXACT, "DEC", SP_TYPE_NUMERIC, false},
    {MATCH_EXACT, "STRING", SP_TYPE_TEXT, false},
    {MATCH_EXACT, "", SP_TYPE_TEXT, false},
    {MATCH_PART, "POINT", SP_TYPE_TEXT, true}, /* not an INT */
    {MATCH_PART, "INTERVAL", SP_TYPE_TEXT, true},
    {MATCH_PART, "INT", SP_TYPE_INT64, false},
    {MATCH_EXACT, "SERIAL", SP_TYPE_INT64, false},
    {MATCH_EXACT, "BIGSERIAL", SP_TYPE_INT64, false},
    {MATCH_PART, "CHAR", SP_TYPE_TEXT, false},
    {MATCH_PART, "CLOB", SP_TYPE_TEXT, false},
    {MATCH_PART, "TEXT", SP_TYPE_TEXT, false},
    {MATCH_PART, "BLOB", SP_TYPE_BYTES, false},
    {MATCH_PART, "BINARY", SP_TYPE_BYTES, false},
    {MATCH_EXACT, "BYTEA", SP_TYPE_BYTES, false},
    {MATCH_PART, "REAL", SP_TYPE_FLOAT64, false},
    {MATCH_PART, "FLOA", SP_TYPE_FLOAT64, false},
    {MATCH_PART, "DOUB", SP_TYPE_FLOAT64, false},
};

/* Upper case, without "(...)", one space between words. */
static void normalize(const char *declared, char *out, size_t cap)
{
    size_t used = 0;
    int depth = 0;
    for (const char *at = declared; *at && used + 1 < cap; at++) {
        depth += *at == '(';
        const bool space = depth > 0 || isspace((unsigned char)*at);
        depth -= *at == ')' && depth > 0;
        if (!space)
            out[used++] = (char)toupper((unsigned char)*at);
        else if (used > 0 && out[used - 1] != ' ')
            out[used++] = ' ';
    }
    if (used > 0 && out[used - 1] == ' ')
        used--;
    out[used] = 0;
}

enum sp_type sqlite_type(const char *declared, bool *as_text)
{
    char type[128];
    normalize(declared ? declared : "", type, sizeof(type));
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        const struct type_rule *rule = &rules[i];
        const bool matches = rule->match == MATCH_EXACT ? strcmp(type, rule->word) == 0
                                                        : strstr(type, rule->word) != NULL;
        if (matches) {
            *as_text = rule->as_text;
            return rule->type;
        }
    }
    *as_text = true;
    return SP_TYPE_TEXT;
}

/* --- text ----------------------------------------------------------------------------------- */

/* The bytes of a TEXT or BLOB. sqlite3_column_text would copy text to end it with a zero. */
static struct sp_value borrow(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8)
{
    const bool is_text = sqlite3_column_type(stmt, column) == SQLITE_TEXT;
    const void *data = is_text && !utf8 ? (const void *)sqlite3_column_text(stmt, column)
                                        : sqlite3_column_blob(stmt, column);
    const int bytes = sqlite3_column_bytes(stmt, column);
    return sp_bytes(type, data, data ? (size_t)bytes : 0);
}

/* A number as text: an integer's digits, a real's shortest digits without a ".0" at the end. */
static struct sp_value number_text(sqlite3_stmt *stmt, int column, enum sp_type type, char *scratch)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_INTEGER) {
        const int bytes =
            snprintf(scratch, SQLITE_SCRATCH_BYTES, "%lld", sqlite3_column_int64(stmt, column));
        return sp_bytes(type, scratch, (size_t)bytes);
    }
    const struct sp_value real = sp_float(sqlite3_column_double(stmt, column));
    size_t bytes = row_value_text(&real, scratch, SQLITE_SCRATCH_BYTES);
    if (bytes > 2 && memcmp(scratch + bytes - 2, ".0", 2) == 0)
        bytes -= 2;
    return sp_bytes(type, scratch, bytes);
}

static const char *value_text(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                              struct sp_value *out)
{
    const int class = sqlite3_column_type(stmt, column);
    if (class == SQLITE_INTEGER || class == SQLITE_FLOAT) {
        *out = number_text(stmt, column, SP_TYPE_TEXT, scratch);
        return NULL;
    }
    *out = borrow(stmt, column, SP_TYPE_TEXT, utf8);
    if (row_utf8_valid(out->bytes.data, out->bytes.size))
        return NULL;
    return class == SQLITE_BLOB ? "a BLOB that is not UTF-8 text" : "text that is not UTF-8";
}

static const char *value_bytes(sqlite3_stmt *stmt, int column, bool utf8, struct sp_value *out)
{
    const int class = sqlite3_column_type(stmt, column);
    if (class != SQLITE_BLOB && class != SQLITE_TEXT)
        return "a number in a column of bytes";
    *out = borrow(stmt, column, SP_TYPE_BYTES, utf8);
    return NULL;
}

/* What has only its text form in common with the type. */
static const char *value_parsed(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                                char *scratch, struct sp_value *out)
{
    const struct sp_value text = borrow(stmt, column, SP_TYPE_TEXT, utf8);
    if (row_value_parse(type, text.bytes.data, text.bytes.size, scratch, out) == SP_OK)
        return NULL;
    switch (type) {
    case SP_TYPE_BOOL:
        return "text that is not true or false";
    case SP_TYPE_INT64:
        return "text that is not an integer";
    case SP_TYPE_UUID:
        return "text that is not a UUID";
    case SP_TYPE_JSON:
        return "text that is not JSON";
    default:
        return "text that is not a number";
    }
}

/* --- numbers -------------------------------------------------------------------------------- */

/* A real that is an integer, exactly. */
static bool real_to_int(double real, int64_t *out)
{
    if (!(real >= -0x1p63 && real < 0x1p63) || real != trunc(real))
        return false;
    *out = (int64_t)real;
    return true;
}

static const char *value_int(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                             struct sp_value *out)
{
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        *out = sp_int(sqlite3_column_int64(stmt, column));
        return NULL;
    case SQLITE_FLOAT:
        *out = sp_int(0);
        return real_to_int(sqlite3_column_double(stmt, column), &out->i)
                   ? NULL
                   : "a real number in a column of integers";
    case SQLITE_TEXT:
        return value_parsed(stmt, column, SP_TYPE_INT64, utf8, scratch, out);
    default:
        return "a BLOB in a column of integers";
    }
}

static const char *value_float(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                               struct sp_value *out)
{
    const int64_t i = sqlite3_column_int64(stmt, column);
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_FLOAT:
        *out = sp_float(sqlite3_column_double(stmt, column));
        return NULL;
    case SQLITE_INTEGER:
        *out = sp_float((double)i);
        return i >= -(INT64_C(1) << 53) && i <= INT64_C(1) << 53
                   ? NULL
                   : "an integer beyond 2^53 in a column of reals";
    case SQLITE_TEXT:
        return value_parsed(stmt, column, SP_TYPE_FLOAT64, utf8, scratch, out);
    default:
        return "a BLOB in a column of reals";
    }
}

static const char *value_bool(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                              struct sp_value *out)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_TEXT)
        return value_parsed(stmt, column, SP_TYPE_BOOL, utf8, scratch, out);
    const char *why = value_int(stmt, column, utf8, scratch, out);
    if (why || out->i < 0 || out->i > 1)
        return "not 0 or 1 in a column of booleans";
    out->type = SP_TYPE_BOOL;
    return NULL;
}

static const char *value_numeric(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                                 struct sp_value *out)
{
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_TEXT:
        return value_parsed(stmt, column, SP_TYPE_NUMERIC, utf8, scratch, out);
    case SQLITE_BLOB:
        return "a BLOB in a column of numbers";
    default:
        *out = number_text(stmt, column, SP_TYPE_NUMERIC, scratch);
        return NULL;
    }
}

/* --- UUID and JSON -------------------------------------------------------------------------- */

static const char *value_uuid(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                              struct sp_value *out)
{
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_TEXT:
        return value_parsed(stmt, column, SP_TYPE_UUID, utf8, scratch, out);
    case SQLITE_BLOB:
        *out = borrow(stmt, column, SP_TYPE_UUID, utf8);
        return out->bytes.size == 16 ? NULL : "a BLOB that has not the 16 bytes of a UUID";
    default:
        return "a number in a column of UUIDs";
    }
}

static const char *value_json(sqlite3_stmt *stmt, int column, bool utf8, char *scratch,
                              struct sp_value *out)
{
    const int class = sqlite3_column_type(stmt, column);
    if (class == SQLITE_TEXT || class == SQLITE_BLOB)
        return value_parsed(stmt, column, SP_TYPE_JSON, utf8, scratch, out);
    *out = number_text(stmt, column, SP_TYPE_JSON, scratch);
    return row_json_valid(out->bytes.data, out->bytes.size) ? NULL
                                                            : "an infinity in a column of JSON";
}

/* --- times ---------------------------------------------------------------------------------- */

/* Microseconds since 1970 as a value of the type: a date has no time of day. */
static const char *time_from_us(enum sp_type type, int64_t us, struct sp_value *out)
{
    *out = sp_int(us);
    out->type = type;
    if (type != SP_TYPE_DATE)
        return NULL;
    out->i = us / US_PER_DAY - (us % US_PER_DAY < 0);
    return us % US_PER_DAY == 0 ? NULL : "a time of day in a column of dates";
}

/* Text with its zone applied, also where a space stands before the zone ("... +00:00"). */
static bool parse_zoned(const char *text, size_t bytes, char *scratch, struct sp_value *out)
{
    const char *space = bytes < SQLITE_SCRATCH_BYTES ? memrchr(text, ' ', bytes) : NULL;
    if (space && space > text && space + 1 < text + bytes && strchr("+-Zz", space[1])) {
        const size_t before = (size_t)(space - text);
        memcpy(scratch, text, before);
        memcpy(scratch + before, space + 1, bytes - before - 1);
        text = scratch;
        bytes--;
    }
    return row_value_parse(SP_TYPE_TIMESTAMP, text, bytes, scratch, out) == SP_OK;
}

static const char *time_from_text(enum sp_type type, const struct sp_value *text, char *scratch,
                                  struct sp_value *out)
{
    if (row_value_parse(type, text->bytes.data, text->bytes.size, scratch, out) == SP_OK)
        return NULL;
    if (!parse_zoned(text->bytes.data, text->bytes.size, scratch, out))
        return type == SP_TYPE_DATE ? "text that is not a date" : "text that is not a time";
    return time_from_us(type, out->i, out);
}

static const char *time_from_julian(enum sp_type type, double days, struct sp_value *out)
{
    if (!(days >= 0 && days < JULIAN_MAX))
        return "a real number that is not a Julian day";
    const double ms = round((days - JULIAN_1970) * 86400000.0);
    return time_from_us(type, (int64_t)ms * 1000, out);
}

static const char *value_time(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                              char *scratch, struct sp_value *out)
{
    const int64_t seconds = sqlite3_column_int64(stmt, column);
    struct sp_value text;
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_TEXT:
        text = borrow(stmt, column, SP_TYPE_TEXT, utf8);
        return time_from_text(type, &text, scratch, out);
    case SQLITE_INTEGER:
        if (seconds < UNIX_SECONDS_MIN || seconds > UNIX_SECONDS_MAX)
            return "an integer that is not a time in seconds since 1970";
        return time_from_us(type, seconds * US_PER_SECOND, out);
    case SQLITE_FLOAT:
        return time_from_julian(type, sqlite3_column_double(stmt, column), out);
    default:
        return "a BLOB in a column of times";
    }
}

/* --- all of them ---------------------------------------------------------------------------- */

static const char *value_of_type(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                                 char *scratch, struct sp_value *out)
{
    switch (type) {
    case SP_TYPE_TEXT:
        return value_text(stmt, column, utf8, scratch, out);
    case SP_TYPE_INT64:
        return value_int(stmt, column, utf8, scratch, out);
    case SP_TYPE_BYTES:
        return value_bytes(stmt, column, utf8, out);
    case SP_TYPE_FLOAT64:
        return value_float(stmt, column, utf8, scratch, out);
    case SP_TYPE_BOOL:
        return value_bool(stmt, column, utf8, scratch, out);
    case SP_TYPE_NUMERIC:
        return value_numeric(stmt, column, utf8, scratch, out);
    case SP_TYPE_UUID:
        return value_uuid(stmt, column, utf8, scratch, out);
    case SP_TYPE_JSON:
        return value_json(stmt, column, utf8, scratch, out);
    case SP_TYPE_DATE:
    case SP_TYPE_DATETIME:
    case SP_TYPE_TIMESTAMP:
        return value_time(stmt, column, type, utf8, scratch, out);
    default:
        return "of a type that SQLite does not have";
    }
}

const char *sqlite_value(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                         char *scratch, struct sp_value *out)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL) {
        *out = sp_null(type);
        return NULL;
    }
    const char *why = value_of_type(stmt, column, type, utf8, scratch, out);
    if (why)
        *out = sp_null(type);
    return why;
}
