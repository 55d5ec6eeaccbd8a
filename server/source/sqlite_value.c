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

/* A value, and what is needed to read it. Its functions are called on sqlite3_column_value's result
 * without a lock, which is allowed because one thread alone uses the connection. */
struct cell {
    sqlite3_value *value;
    int class; /* SQLITE_INTEGER and so on */
    bool utf8;
    char *scratch;
};

/* The bytes of a TEXT or BLOB. sqlite3_value_text would copy text to end it with a zero. */
static struct sp_value borrow(const struct cell *cell, enum sp_type type)
{
    const bool convert = cell->class == SQLITE_TEXT && !cell->utf8;
    const void *data =
        convert ? (const void *)sqlite3_value_text(cell->value) : sqlite3_value_blob(cell->value);
    return sp_bytes(type, data, data ? (size_t)sqlite3_value_bytes(cell->value) : 0);
}

/* A number as text: an integer's digits, a real's shortest digits without a ".0" at the end. */
static struct sp_value number_text(const struct cell *cell, enum sp_type type)
{
    if (cell->class == SQLITE_INTEGER) {
        const int bytes =
            snprintf(cell->scratch, SQLITE_SCRATCH_BYTES, "%lld", sqlite3_value_int64(cell->value));
        return sp_bytes(type, cell->scratch, (size_t)bytes);
    }
    const struct sp_value real = sp_float(sqlite3_value_double(cell->value));
    size_t bytes = row_value_text(&real, cell->scratch, SQLITE_SCRATCH_BYTES);
    if (bytes > 2 && memcmp(cell->scratch + bytes - 2, ".0", 2) == 0)
        bytes -= 2;
    return sp_bytes(type, cell->scratch, bytes);
}

static const char *value_text(const struct cell *cell, struct sp_value *out)
{
    if (cell->class == SQLITE_INTEGER || cell->class == SQLITE_FLOAT) {
        *out = number_text(cell, SP_TYPE_TEXT);
        return NULL;
    }
    *out = borrow(cell, SP_TYPE_TEXT);
    if (row_utf8_valid(out->bytes.data, out->bytes.size))
        return NULL;
    return cell->class == SQLITE_BLOB ? "a BLOB that is not UTF-8 text" : "text that is not UTF-8";
}

static const char *value_bytes(const struct cell *cell, struct sp_value *out)
{
    if (cell->class != SQLITE_BLOB && cell->class != SQLITE_TEXT)
        return "a number in a column of bytes";
    *out = borrow(cell, SP_TYPE_BYTES);
    return NULL;
}

/* What has only its text form in common with the type. */
static const char *value_parsed(const struct cell *cell, enum sp_type type, struct sp_value *out)
{
    const struct sp_value text = borrow(cell, SP_TYPE_TEXT);
    if (row_value_parse(type, text.bytes.data, text.bytes.size, cell->scratch, out) == SP_OK)
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

static const char *value_int(const struct cell *cell, struct sp_value *out)
{
    switch (cell->class) {
    case SQLITE_INTEGER:
        *out = sp_int(sqlite3_value_int64(cell->value));
        return NULL;
    case SQLITE_FLOAT:
        *out = sp_int(0);
        return real_to_int(sqlite3_value_double(cell->value), &out->i)
                   ? NULL
                   : "a real number in a column of integers";
    case SQLITE_TEXT:
        return value_parsed(cell, SP_TYPE_INT64, out);
    default:
        return "a BLOB in a column of integers";
    }
}

static const char *value_float(const struct cell *cell, struct sp_value *out)
{
    switch (cell->class) {
    case SQLITE_FLOAT:
        *out = sp_float(sqlite3_value_double(cell->value));
        return NULL;
    case SQLITE_INTEGER:
        *out = sp_float((double)sqlite3_value_int64(cell->value));
        return fabs(out->f) <= 0x1p53 ? NULL : "an integer beyond 2^53 in a column of reals";
    case SQLITE_TEXT:
        return value_parsed(cell, SP_TYPE_FLOAT64, out);
    default:
        return "a BLOB in a column of reals";
    }
}

static const char *value_bool(const struct cell *cell, struct sp_value *out)
{
    if (cell->class == SQLITE_TEXT)
        return value_parsed(cell, SP_TYPE_BOOL, out);
    const char *why = value_int(cell, out);
    if (why || out->i < 0 || out->i > 1)
        return "not 0 or 1 in a column of booleans";
    out->type = SP_TYPE_BOOL;
    return NULL;
}

static const char *value_numeric(const struct cell *cell, struct sp_value *out)
{
    switch (cell->class) {
    case SQLITE_TEXT:
        return value_parsed(cell, SP_TYPE_NUMERIC, out);
    case SQLITE_BLOB:
        return "a BLOB in a column of numbers";
    default:
        *out = number_text(cell, SP_TYPE_NUMERIC);
        return NULL;
    }
}

/* --- UUID and JSON -------------------------------------------------------------------------- */

static const char *value_uuid(const struct cell *cell, struct sp_value *out)
{
    switch (cell->class) {
    case SQLITE_TEXT:
        return value_parsed(cell, SP_TYPE_UUID, out);
    case SQLITE_BLOB:
        *out = borrow(cell, SP_TYPE_UUID);
        return out->bytes.size == 16 ? NULL : "a BLOB that has not the 16 bytes of a UUID";
    default:
        return "a number in a column of UUIDs";
    }
}

static const char *value_json(const struct cell *cell, struct sp_value *out)
{
    if (cell->class == SQLITE_TEXT || cell->class == SQLITE_BLOB)
        return value_parsed(cell, SP_TYPE_JSON, out);
    *out = number_text(cell, SP_TYPE_JSON);
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
    const bool fits = bytes > 0 && bytes < SQLITE_SCRATCH_BYTES;
    const char *space = fits ? memrchr(text, ' ', bytes) : NULL;
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

static const char *time_from_seconds(enum sp_type type, int64_t seconds, struct sp_value *out)
{
    if (seconds < UNIX_SECONDS_MIN || seconds > UNIX_SECONDS_MAX)
        return "an integer that is not a time in seconds since 1970";
    return time_from_us(type, seconds * US_PER_SECOND, out);
}

/* A Julian day, or seconds since 1970 where it cannot be one, as SQLite's modifier "auto" has it.
 */
static const char *time_from_real(enum sp_type type, double real, struct sp_value *out)
{
    if (real >= 0 && real < JULIAN_MAX) {
        const double ms = round((real - JULIAN_1970) * 86400000.0);
        return time_from_us(type, (int64_t)ms * 1000, out);
    }
    if (!(real >= (double)UNIX_SECONDS_MIN && real <= (double)UNIX_SECONDS_MAX))
        return "a real number that is no time";
    return time_from_us(type, (int64_t)round(real * (double)US_PER_SECOND), out);
}

static const char *value_time(const struct cell *cell, enum sp_type type, struct sp_value *out)
{
    struct sp_value text;
    switch (cell->class) {
    case SQLITE_TEXT:
        text = borrow(cell, SP_TYPE_TEXT);
        return time_from_text(type, &text, cell->scratch, out);
    case SQLITE_INTEGER:
        return time_from_seconds(type, sqlite3_value_int64(cell->value), out);
    case SQLITE_FLOAT:
        return time_from_real(type, sqlite3_value_double(cell->value), out);
    default:
        return "a BLOB in a column of times";
    }
}

/* --- all of them ---------------------------------------------------------------------------- */

static const char *value_of_type(const struct cell *cell, enum sp_type type, struct sp_value *out)
{
    switch (type) {
    case SP_TYPE_TEXT:
        return value_text(cell, out);
    case SP_TYPE_INT64:
        return value_int(cell, out);
    case SP_TYPE_BYTES:
        return value_bytes(cell, out);
    case SP_TYPE_FLOAT64:
        return value_float(cell, out);
    case SP_TYPE_BOOL:
        return value_bool(cell, out);
    case SP_TYPE_NUMERIC:
        return value_numeric(cell, out);
    case SP_TYPE_UUID:
        return value_uuid(cell, out);
    case SP_TYPE_JSON:
        return value_json(cell, out);
    case SP_TYPE_DATE:
    case SP_TYPE_DATETIME:
    case SP_TYPE_TIMESTAMP:
        return value_time(cell, type, out);
    default:
        return "of a type that SQLite does not have";
    }
}

const char *sqlite_value(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                         char *scratch, struct sp_value *out)
{
    struct cell cell = {
        .value = sqlite3_column_value(stmt, column), .utf8 = utf8, .scratch = scratch};
    cell.class = sqlite3_value_type(cell.value);
    if (cell.class == SQLITE_NULL) {
        *out = sp_null(type);
        return NULL;
    }
    const char *why = value_of_type(&cell, type, out);
    if (why)
        *out = sp_null(type);
    return why;
}
