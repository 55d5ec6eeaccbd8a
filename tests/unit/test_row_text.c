/* SPDX-License-Identifier: Apache-2.0
 *
 * test_row_text.c - values as text and JSON, and text as values (alloc/row_text.c, row_time.c,
 * row_json.c, row_check.c).
 *
 * Goal: text says exactly what a value is and reads back as the same value; JSON is valid whatever
 * a row holds; nothing depends on the process's locale.
 * Method: tables of edge values; random floats, times and rows from a printed seed (SIDEPOND_SEED
 * repeats), read back; the calendar is counted day by day over 800 years; JSON is read by jansson,
 * which also says what a checker of JSON has to take. Buffers have exactly the size needed.
 */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "alloc/row.h"
#include "random_numbers.h"

static struct sp_value number(enum sp_type type, int64_t i)
{
    struct sp_value value = {.type = type, .i = i};
    return value;
}

static struct sp_value real(enum sp_type type, double f)
{
    struct sp_value value = {.type = type, .f = f};
    return value;
}

static struct sp_value string(enum sp_type type, const char *bytes)
{
    return sp_bytes(type, bytes, strlen(bytes));
}

typedef size_t (*writer)(const struct sp_value *value, char *out, size_t cap);

/* Writes into memory of exactly the size; checks that less room gives a prefix and the same size.
 */
static char *written(writer write, const struct sp_value *value, size_t *size)
{
    char shorter[8];
    *size = write(value, NULL, 0);
    char *out = malloc(*size + 1);
    assert_int_equal(write(value, out, *size + 1), *size);
    assert_int_equal(out[*size], 0);
    for (size_t cap = 1; cap <= sizeof(shorter) && cap <= *size; cap++) {
        memset(shorter, 'x', sizeof(shorter));
        assert_int_equal(write(value, shorter, cap), *size);
        assert_memory_equal(shorter, out, cap - 1);
        assert_int_equal(shorter[cap - 1], 0);
    }
    return out;
}

static void writes(writer write, struct sp_value value, const char *expected)
{
    size_t size;
    char *out = written(write, &value, &size);
    if (size != strlen(expected) || memcmp(out, expected, size) != 0)
        fail_msg("\"%s\" instead of \"%s\"", out, expected);
    free(out);
}

static int parse(enum sp_type type, const char *text, struct sp_value *out)
{
    static unsigned char scratch[16];
    const size_t size = strlen(text);
    char *exact = malloc(size + 1);
    memcpy(exact, text, size);
    int status = row_value_parse(type, exact, size, scratch, out);
    free(exact);
    return status;
}

/* --- text ---------------------------------------------------------------------------------- */

static void values_have_text(void **state)
{
    (void)state;
    writes(row_value_text, sp_null(SP_TYPE_TEXT), "");
    writes(row_value_text, sp_bool(true), "true");
    writes(row_value_text, sp_bool(false), "false");
    writes(row_value_text, sp_int(0), "0");
    writes(row_value_text, sp_int(INT64_MIN), "-9223372036854775808");
    writes(row_value_text, number(SP_TYPE_INT32, INT32_MAX), "2147483647");
    writes(row_value_text, string(SP_TYPE_TEXT, "a \"b\"\n"), "a \"b\"\n");
    writes(row_value_text, string(SP_TYPE_NUMERIC, "-12.50"), "-12.50");
    writes(row_value_text, string(SP_TYPE_JSON, "[1, 2]"), "[1, 2]");
    writes(row_value_text, sp_bytes(SP_TYPE_BYTES, "\0\x0f\xff", 3), "\\x000fff");
    writes(row_value_text, sp_bytes(SP_TYPE_BYTES, NULL, 0), "\\x");
    writes(row_value_text,
           sp_bytes(SP_TYPE_UUID,
                    "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF", 16),
           "00112233-4455-6677-8899-aabbccddeeff");
}

static void floats_have_the_shortest_text(void **state)
{
    (void)state;
    writes(row_value_text, sp_float(0), "0.0");
    writes(row_value_text, sp_float(-0.0), "-0.0");
    writes(row_value_text, sp_float(1), "1.0");
    writes(row_value_text, sp_float(0.1), "0.1");
    writes(row_value_text, sp_float(-1.1), "-1.1");
    writes(row_value_text, sp_float(0.1 + 0.2), "0.30000000000000004");
    writes(row_value_text, sp_float(1234567.875), "1234567.875");
    writes(row_value_text, sp_float(9007199254740991), "9007199254740991.0");
    writes(row_value_text, sp_float(9007199254740992), "9007199254740992.0");
    writes(row_value_text, sp_float(1e300), "1e+300");
    writes(row_value_text, sp_float(5e-324), "5e-324");
    writes(row_value_text, sp_float(1.7976931348623157e308), "1.7976931348623157e+308");
    writes(row_value_text, sp_float(NAN), "NaN");
    writes(row_value_text, sp_float(-INFINITY), "-Infinity");
    writes(row_value_text, real(SP_TYPE_FLOAT32, 0.1f), "0.1");
    writes(row_value_text, real(SP_TYPE_FLOAT32, 16777216.0f), "16777216.0");
    writes(row_value_text, real(SP_TYPE_FLOAT32, 3.4028235e38f), "3.4028235e+38");
    writes(row_value_text, real(SP_TYPE_FLOAT32, 1e-45f), "1e-45");
}

static double random_double(void)
{
    double f;
    uint64_t bits = random_next();
    switch (random_below(3)) {
    case 0: /* what prices and coordinates look like */
        return (double)(int64_t)(random_next() >> (20 + random_below(40))) /
               pow(10, random_below(9));
    case 1:
        return (double)(int64_t)random_next();
    default:
        memcpy(&f, &bits, sizeof(f));
        return f;
    }
}

static void check_float(enum sp_type type, double f)
{
    struct sp_value value = real(type, f), back;
    char text[64];
    const size_t size = row_value_text(&value, text, sizeof(text));
    assert_true(size < sizeof(text));
    assert_int_equal(row_value_parse(type, text, size, NULL, &back), SP_OK);
    if (isnan(f) ? !isnan(back.f) : back.i != value.i) /* i: the bits of f */
        fail_msg("%a is \"%s\", which is %a", f, text, back.f);
}

static void floats_read_back(void **state)
{
    (void)state;
    for (unsigned i = 0, tries = random_tries(100000); i < tries; i++) {
        const double f = random_double();
        check_float(SP_TYPE_FLOAT64, f);
        check_float(SP_TYPE_FLOAT32, (float)f);
    }
}

/* A process may have set a locale that writes 1,5. One is compiled into a directory of the test's
 * own, as few machines have one installed. */
static bool set_comma_locale(const char *directory)
{
    char command[256];
    snprintf(command, sizeof(command), "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null",
             directory);
    return system(command) == 0 && setenv("LOCPATH", directory, 1) == 0 &&
           setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

static void floats_do_not_know_the_locale(void **state)
{
    char directory[128], command[256], native[16];
    const char *root = getenv("TMPDIR");
    struct sp_value value;
    (void)state;
    snprintf(directory, sizeof(directory), "%s/sidepond-row.XXXXXX", root ? root : "/tmp");
    assert_non_null(mkdtemp(directory));
    const bool comma = set_comma_locale(directory);
    snprintf(native, sizeof(native), "%.1f", 1.5);
    writes(row_value_text, sp_float(1.5), "1.5");
    writes(row_value_text, sp_float(0.1 + 0.2), "0.30000000000000004");
    assert_int_equal(parse(SP_TYPE_FLOAT64, "0.30000000000000004", &value), SP_OK);
    assert_true(value.f == 0.1 + 0.2);
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
    assert_string_equal(native, comma ? "1,5" : "1.5");
    if (!comma)
        skip(); /* no localedef, or nothing to make a locale of */
}

/* --- times --------------------------------------------------------------------------------- */

#define DAY_US INT64_C(86400000000)

static void times_have_text(void **state)
{
    const struct {
        enum sp_type type;
        int64_t i;
        const char *text;
    } cases[] = {
        {SP_TYPE_TIMESTAMP, 0, "1970-01-01T00:00:00Z"},
        {SP_TYPE_DATETIME, 0, "1970-01-01T00:00:00"},
        {SP_TYPE_TIMESTAMP, -1, "1969-12-31T23:59:59.999999Z"},
        {SP_TYPE_TIMESTAMP, INT64_C(1700000000123456), "2023-11-14T22:13:20.123456Z"},
        {SP_TYPE_DATETIME, INT64_C(951782400500000), "2000-02-29T00:00:00.500000"},
        {SP_TYPE_TIMESTAMP, INT64_MAX, "infinity"},
        {SP_TYPE_DATETIME, INT64_MIN, "-infinity"},
        {SP_TYPE_TIMESTAMP, INT64_MAX - 1, "+294247-01-10T04:00:54.775806Z"},
        {SP_TYPE_TIMESTAMP, INT64_MIN + 1, "-290308-12-21T19:59:05.224193Z"},
        {SP_TYPE_DATE, 0, "1970-01-01"},
        {SP_TYPE_DATE, -719468, "0000-03-01"},
        {SP_TYPE_DATE, -719529, "-0001-12-31"},
        {SP_TYPE_DATE, -719528, "0000-01-01"},
        {SP_TYPE_DATE, -735160, "-0043-03-15"},
        {SP_TYPE_DATE, 2932896, "9999-12-31"},
        {SP_TYPE_DATE, 2932897, "+10000-01-01"},
        {SP_TYPE_DATE, INT32_MAX, "infinity"},
        {SP_TYPE_DATE, INT32_MIN, "-infinity"},
        {SP_TYPE_DATE, INT32_MAX - 1, "+5881580-07-10"},
        {SP_TYPE_DATE, INT32_MIN + 1, "-5877641-06-24"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct sp_value back;
        writes(row_value_text, number(cases[i].type, cases[i].i), cases[i].text);
        assert_int_equal(parse(cases[i].type, cases[i].text, &back), SP_OK);
        assert_true(back.i == cases[i].i);
    }
}

/* Counts a calendar by hand, day after day, and compares. */
static void every_day_has_its_date(void **state)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = -450, month = 1, day = 1;
    (void)state;
    for (int64_t days = -883887; year < 2450; days++) {
        struct sp_value value = number(SP_TYPE_DATE, days), back;
        char expected[32], text[32];
        snprintf(expected, sizeof(expected), "%s%04d-%02d-%02d", year < 0 ? "-" : "", abs(year),
                 month, day);
        const size_t size = row_value_text(&value, text, sizeof(text));
        assert_string_equal(text, expected);
        assert_int_equal(row_value_parse(SP_TYPE_DATE, text, size, NULL, &back), SP_OK);
        assert_int_equal(back.i, days);
        const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (++day > lengths[month - 1] + (month == 2 && leap)) {
            day = 1;
            month = month % 12 + 1;
            year += month == 1;
        }
    }
}

static void times_read_back(void **state)
{
    static const enum sp_type types[] = {SP_TYPE_TIMESTAMP, SP_TYPE_DATETIME, SP_TYPE_DATE};
    (void)state;
    for (unsigned i = 0, tries = random_tries(200000); i < tries; i++) {
        const enum sp_type type = types[i % 3];
        int64_t time = (int64_t)random_next() >> random_below(64);
        if (type == SP_TYPE_DATE)
            time = (int32_t)time;
        struct sp_value value = number(type, time), back;
        char text[64];
        const size_t size = row_value_text(&value, text, sizeof(text));
        assert_int_equal(row_value_parse(type, text, size, NULL, &back), SP_OK);
        assert_true(back.i == time);
    }
}

static void times_are_read_in_other_forms(void **state)
{
    const struct {
        enum sp_type type;
        const char *text;
        int64_t i;
    } cases[] = {
        {SP_TYPE_TIMESTAMP, "1970-01-02", DAY_US},
        {SP_TYPE_TIMESTAMP, "1970-01-01 00:01", 60000000},
        {SP_TYPE_TIMESTAMP, "1970-01-01t00:00:01z", 1000000},
        {SP_TYPE_TIMESTAMP, "1970-01-01 00:00:00.5", 500000},
        {SP_TYPE_TIMESTAMP, "1970-01-01 00:00:00.123456000", 123456},
        {SP_TYPE_TIMESTAMP, "1970-01-01 02:00:00+02", 0},
        {SP_TYPE_TIMESTAMP, "1970-01-01 02:30:00+0230", 0},
        {SP_TYPE_TIMESTAMP, "1969-12-31 18:30:00-05:30", 0},
        {SP_TYPE_DATETIME, "+1970-01-01T00:00:00", 0},
        {SP_TYPE_TIMESTAMP, "INFINITY", INT64_MAX},
        {SP_TYPE_DATE, "-infinity", INT32_MIN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct sp_value value;
        if (parse(cases[i].type, cases[i].text, &value) != SP_OK || value.i != cases[i].i)
            fail_msg("%s", cases[i].text);
    }
}

static void wrong_times_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "1970",
        "1970-01",
        "1970-01-00",
        "1970-13-01",
        "1970-00-01",
        "1970-02-29",
        "1900-02-29",
        "1970-04-31",
        "70-01-01",
        "12026-01-01",
        "1970-1-1",
        "1970-01-01T",
        "1970-01-01T24:00",
        "1970-01-01T00:60",
        "1970-01-01T00:00:60",
        "1970-01-01T00:00:00.",
        "1970-01-01T00:00:00.1234567",
        "1970-01-01T00:00:00,5",
        "1970-01-01T00:00:00ZZ",
        "1970-01-01T00:00:00 Z",
        "1970-01-01T00:00:00+2",
        "1970-01-01T00:00:00+02:",
        "1970-01-01T00:00:00+02:60",
        "1970-01-01T00:00:00+24",
        " 1970-01-01",
        "1970-01-01 ",
        "1970-01-01 BC",
        "+294247-01-10T04:00:54.775807Z",
        "-290308-12-21T19:59:05.224192Z",
        "+99999999-01-01",
        "+123456789-01-01",
        "+infinity",
        "inf",
        "now",
        "0",
    };
    struct sp_value value;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (parse(SP_TYPE_TIMESTAMP, texts[i], &value) != SP_ETYPE)
            fail_msg("\"%s\" was taken", texts[i]);
    assert_int_equal(parse(SP_TYPE_DATE, "+5881580-07-11", &value), SP_ETYPE);
    assert_int_equal(parse(SP_TYPE_DATE, "-5877641-06-23", &value), SP_ETYPE);
    assert_int_equal(parse(SP_TYPE_DATETIME, "1970-01-01T00:00:00+00", &value), SP_ETYPE);
}

/* --- text to values ------------------------------------------------------------------------ */

static void text_is_taken_or_refused(void **state)
{
    const struct {
        const char *text;
        enum sp_type type;
        int status;
    } cases[] = {
        {"T", SP_TYPE_BOOL, SP_OK},
        {"0", SP_TYPE_BOOL, SP_OK},
        {"", SP_TYPE_BOOL, SP_ETYPE},
        {"truee", SP_TYPE_BOOL, SP_ETYPE},
        {"-9223372036854775809", SP_TYPE_INT64, SP_ETYPE},
        {"99999999999999999999999", SP_TYPE_INT64, SP_ETYPE},
        {"-", SP_TYPE_INT64, SP_ETYPE},
        {"1x", SP_TYPE_INT64, SP_ETYPE},
        {"1", SP_TYPE_FLOAT64, SP_OK},
        {".5e-3", SP_TYPE_FLOAT64, SP_OK},
        {"-inf", SP_TYPE_FLOAT64, SP_OK},
        {"0x10", SP_TYPE_FLOAT64, SP_ETYPE},
        {"1e", SP_TYPE_FLOAT64, SP_ETYPE},
        {"1e999", SP_TYPE_FLOAT64, SP_ETYPE},
        {"1e39", SP_TYPE_FLOAT32, SP_ETYPE},
        {".", SP_TYPE_FLOAT64, SP_ETYPE},
        {"1,5", SP_TYPE_FLOAT64, SP_ETYPE},
        {"123456789012345678901234567890.5", SP_TYPE_NUMERIC, SP_OK},
        {"NaN", SP_TYPE_NUMERIC, SP_OK},
        {"1e400", SP_TYPE_NUMERIC, SP_OK},
        {"1.2.3", SP_TYPE_NUMERIC, SP_ETYPE},
        {"", SP_TYPE_NUMERIC, SP_ETYPE},
        {"", SP_TYPE_TEXT, SP_OK},
        {"h\xc3\xa9", SP_TYPE_TEXT, SP_OK},
        {"h\xc3", SP_TYPE_TEXT, SP_ETYPE},
        {"h\xc3", SP_TYPE_BYTES, SP_OK},
        {" {} ", SP_TYPE_JSON, SP_OK},
        {"{'a': 1}", SP_TYPE_JSON, SP_ETYPE},
        {"00112233-4455-6677-8899-AABBCCDDEEFF", SP_TYPE_UUID, SP_OK},
        {"001122334455-6677-8899-aabbccddeeff00", SP_TYPE_UUID, SP_ETYPE},
        {"00112233445566778899aabbccddeeff", SP_TYPE_UUID, SP_ETYPE},
        {"1", (enum sp_type)0, SP_ETYPE},
    };
    struct sp_value value;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (parse(cases[i].type, cases[i].text, &value) != cases[i].status)
            fail_msg("case %zu: \"%s\"", i, cases[i].text);
    assert_int_equal(row_value_parse(SP_TYPE_TEXT, NULL, 0, NULL, &value), SP_OK);
    assert_int_equal(row_value_parse(SP_TYPE_FLOAT64, NULL, 0, NULL, &value), SP_ETYPE);
}

/* --- JSON ---------------------------------------------------------------------------------- */

#define FFFD "\xEF\xBF\xBD"

static void values_have_json(void **state)
{
    (void)state;
    writes(row_value_json, sp_null(SP_TYPE_INT64), "null");
    writes(row_value_json, sp_bool(true), "true");
    writes(row_value_json, sp_int(INT64_C(9007199254740993)), "9007199254740993");
    writes(row_value_json, sp_int(INT64_MIN), "-9223372036854775808");
    writes(row_value_json, sp_float(1), "1.0");
    writes(row_value_json, sp_float(NAN), "null");
    writes(row_value_json, sp_float(INFINITY), "null");
    writes(row_value_json, real(SP_TYPE_FLOAT32, 0.1f), "0.1");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "-12.50"), "-12.50");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "+007.50"), "7.50");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "-.5"), "-0.5");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "000"), "0");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "5."), "5");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "1E+20"), "1e+20");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "NaN"), "\"NaN\"");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "-Infinity"), "\"-Infinity\"");
    writes(row_value_json, string(SP_TYPE_NUMERIC, "1,5"), "\"1,5\"");
    writes(row_value_json, sp_bytes(SP_TYPE_NUMERIC, NULL, 0), "\"\"");
    writes(row_value_json, sp_bytes(SP_TYPE_BYTES, NULL, 0), "\"\"");
    writes(row_value_json, sp_bytes(SP_TYPE_BYTES, "\0", 1), "\"AA==\"");
    writes(row_value_json, sp_bytes(SP_TYPE_BYTES, "\xff\xfe", 2), "\"//4=\"");
    writes(row_value_json, sp_bytes(SP_TYPE_BYTES, "Man", 3), "\"TWFu\"");
    writes(row_value_json, number(SP_TYPE_DATE, 1), "\"1970-01-02\"");
    writes(row_value_json, number(SP_TYPE_TIMESTAMP, INT64_MAX), "\"infinity\"");
    writes(row_value_json, sp_bytes(SP_TYPE_UUID, "0123456789abcdef", 16),
           "\"30313233-3435-3637-3839-616263646566\"");
    writes(row_value_json, string(SP_TYPE_JSON, " {\"a\": [1]}\n"), " {\"a\": [1]}\n");
    writes(row_value_json, string(SP_TYPE_JSON, "{\"a\": [1}"), "\"{\\\"a\\\": [1}\"");
    writes(row_value_json, string(SP_TYPE_JSON, "\"\xff\""), "\"\\\"" FFFD "\\\"\"");
    writes(row_value_json, number((enum sp_type)77, 5), "null");
}

static void strings_are_escaped_and_repaired(void **state)
{
    (void)state;
    writes(row_value_json, sp_text(NULL, 0), "\"\"");
    writes(row_value_json, sp_text("a\0b", 3), "\"a\\u0000b\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\"\\/\b\f\n\r\t\x1f\x7f"),
           "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\x7f\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x86"),
           "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x86\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "x\xc3"), "\"x" FFFD "\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xe2\x82y"), "\"" FFFD "y\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\x80\xff"), "\"" FFFD FFFD "\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xc0\xaf"), "\"" FFFD FFFD "\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xed\xa0\x80"), "\"" FFFD FFFD FFFD "\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xf4\x90\x80\x80"), "\"" FFFD FFFD FFFD FFFD "\"");
    writes(row_value_json, string(SP_TYPE_TEXT, "\xf0\x9f\xa6"), "\"" FFFD "\"");
}

static void utf8_is_checked(void **state)
{
    char text[64];
    (void)state;
    assert_true(row_utf8_valid(NULL, 0));
    for (size_t at = 0; at < 40; at++) {
        memset(text, 'a', sizeof(text));
        assert_true(row_utf8_valid(text, at));
        memcpy(text + at, "\xf4\x8f\xbf\xbf", 4);
        assert_true(row_utf8_valid(text, at + 4));
        assert_true(row_utf8_valid(text, at + 14));
        assert_false(row_utf8_valid(text, at + 3));
        text[at + 1] = '\x90';
        assert_false(row_utf8_valid(text, at + 4));
    }
}

static void json_is_checked(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "12",
        "1.5",
        "1e5",
        "1E+5",
        "-1.25e-3",
        "\"\"",
        "\"a\\u00e9\\n\"",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ ] ",
        "[1,2]",
        "[[],{}]",
        "{\"a\":{\"b\":[{}]}}",
        "{\"a\":1,\"b\":[2,{\"c\":3}],\"d\":\"\"}",
        "\t\r\n[1 , 2 ]\n",
        "\"\xc3\xa9\"",
    };
    static const char *const bad[] = {
        "",    " ",       "01",       "1.",          ".5",      "+1",     "-",
        "1e",  "1e+",     "0x1",      "tru",         "truee",   "nul",    "NaN",
        "\"",  "\"\\\"",  "\"\\x\"",  "\"\\u12g4\"", "\"\\u12", "\"\n\"", "\"\xff\"",
        "[",   "]",       "[1",       "[1,]",        "[,1]",    "[1 2]",  "{",
        "}",   "{\"a\"}", "{\"a\":}", "{\"a\":1,}",  "{a:1}",   "{1:1}",  "{\"a\":1 \"b\":2}",
        "[}",  "{]",      "[1]]",     "1 2",         "{}{}",    "[]1",    "{\"a\":[}]",
        "'a'",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        if (!row_json_valid(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (row_json_valid(bad[i], strlen(bad[i])))
            fail_msg("taken: %s", bad[i]);
    assert_false(row_json_valid("1\0", 2));
    assert_false(row_json_valid("\"\0\"", 3));
    char deep[2 * ROW_JSON_DEPTH_MAX + 2];
    memset(deep, '[', ROW_JSON_DEPTH_MAX + 1);
    memset(deep + ROW_JSON_DEPTH_MAX + 1, ']', ROW_JSON_DEPTH_MAX + 1);
    assert_true(row_json_valid(deep + 1, 2 * ROW_JSON_DEPTH_MAX));
    assert_false(row_json_valid(deep, 2 * ROW_JSON_DEPTH_MAX + 2));
}

/* Random strings of JSON's own characters: the checker must agree with jansson. Numbers like 1e1100
   are left out: JSON has no largest number, but jansson cannot hold them and stops there. */
static void json_is_checked_like_jansson_does(void **state)
{
    static const char *const pieces[] = {"{", "}",    "[",    "]",    ",", ":",  "\"a\"", "\"b\"",
                                         "1", "-2.5", "true", "null", " ", "\"", "e",     "0"};
    unsigned valid = 0;
    (void)state;
    for (unsigned i = 0, tries = random_tries(300000); i < tries; i++) {
        char text[64];
        const unsigned count = 1 + random_below(9);
        size_t used = 0;
        for (unsigned j = 0; j < count; j++) {
            const char *piece = pieces[random_below(sizeof(pieces) / sizeof(*pieces))];
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", piece);
        }
        json_error_t error;
        json_t *parsed = json_loads(text, JSON_DECODE_ANY, &error);
        if (!parsed && json_error_code(&error) == json_error_numeric_overflow)
            continue;
        if (row_json_valid(text, strlen(text)) != (parsed != NULL))
            fail_msg("%s: jansson %s it", text, parsed ? "takes" : "refuses");
        valid += parsed != NULL;
        json_decref(parsed);
    }
    assert_true(valid > 1000);
}

/* --- rows ---------------------------------------------------------------------------------- */

/* One column of each type, then what their bytes are, at random. */
static struct schema *all_types(void)
{
    struct row_column columns[14];
    char names[14][40];
    struct schema *schema;
    for (unsigned i = 0; i < 14; i++) {
        snprintf(names[i], sizeof(names[i]), "%s\"\n\xff%u", sp_type_name((enum sp_type)i), i);
        columns[i] = (struct row_column){.name = names[i],
                                         .type = (enum sp_type)(i ? i : SP_TYPE_BYTES),
                                         .nullable = i % 2,
                                         .key_position = i ? -1 : 0};
    }
    assert_int_equal(schema_build(columns, 14, NULL, 0, &schema, NULL, 0), SP_OK);
    return schema;
}

static void json_of_any_bytes_is_valid(void **state)
{
    struct schema *schema = all_types();
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        const size_t size = random_below(160);
        unsigned char *bytes = malloc(size + 1);
        for (size_t j = 0; j < size; j++)
            bytes[j] = (unsigned char)(random_next() >> (random_below(3) ? 58 : 56));
        const size_t needed = row_json(schema, bytes, size, bytes, size, NULL, 0);
        char *json = malloc(needed + 1);
        assert_int_equal(row_json(schema, bytes, size, bytes, size, json, needed + 1), needed);
        json_error_t error;
        json_t *parsed = json_loadb(json, needed, JSON_ALLOW_NUL, &error);
        if (!parsed && json_error_code(&error) != json_error_numeric_overflow)
            fail_msg("%s in %s", error.text, json);
        if (parsed)
            assert_int_equal(json_object_size(parsed), 14);
        json_decref(parsed);
        free(json);
        free(bytes);
    }
    schema_free(schema);
}

static void rows_have_json(void **state)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_INT64, .key_position = 0},
        {.name = "name", .type = SP_TYPE_TEXT, .key_position = -1, .nullable = true},
        {.name = "ok", .type = SP_TYPE_BOOL, .key_position = -1},
    };
    const struct sp_value values[] = {sp_int(7), sp_null(SP_TYPE_TEXT), sp_bool(true)};
    unsigned char key[8] = {7}, value[16];
    struct schema *schema;
    char json[64];
    size_t size;
    (void)state;
    assert_int_equal(schema_build(columns, 3, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_int_equal(row_encode(schema, values, value, sizeof(value), &size, NULL), SP_OK);
    row_json(schema, key, sizeof(key), value, size, json, sizeof(json));
    assert_string_equal(json, "{\"id\": 7, \"name\": null, \"ok\": true}");
    row_json(schema, key, 3, value, 0, json, sizeof(json)); /* nothing of it can be read */
    assert_string_equal(json, "{\"id\": null, \"name\": null, \"ok\": null}");
    assert_int_equal(row_json(schema, key, sizeof(key), value, size, json, 5), 35);
    assert_string_equal(json, "{\"id");
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_text),
        cmocka_unit_test(floats_have_the_shortest_text),
        cmocka_unit_test(floats_read_back),
        cmocka_unit_test(floats_do_not_know_the_locale),
        cmocka_unit_test(times_have_text),
        cmocka_unit_test(every_day_has_its_date),
        cmocka_unit_test(times_read_back),
        cmocka_unit_test(times_are_read_in_other_forms),
        cmocka_unit_test(wrong_times_are_refused),
        cmocka_unit_test(text_is_taken_or_refused),
        cmocka_unit_test(values_have_json),
        cmocka_unit_test(strings_are_escaped_and_repaired),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(json_is_checked),
        cmocka_unit_test(json_is_checked_like_jansson_does),
        cmocka_unit_test(json_of_any_bytes_is_valid),
        cmocka_unit_test(rows_have_json),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
