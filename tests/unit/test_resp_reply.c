/* SPDX-License-Identifier: Apache-2.0
 *
 * test_resp_reply.c - replies, numbers and patterns (server/resp/reply.h, number.h, glob.h).
 *
 * Goal: each reply is what Redis 7.0 sends in RESP2 and RESP3; numbers are read and written as
 * there; patterns match what a plain recursive matcher matches, in bounded time.
 * Method: tables of cases; for integers printf, for patterns the recursive matcher below, on
 * random inputs from a printed seed (SIDEPOND_SEED repeats).
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random_numbers.h"
#include "server/resp/glob.h"
#include "server/resp/reply.h"

/* --- replies --------------------------------------------------------------------------------- */

static void check_out(struct reply *reply, const char *two, const char *three)
{
    const char *expected = reply->protocol >= 3 ? three : two;
    buffer_append(reply->out, "", 1);
    assert_string_equal(reply->out->bytes, expected);
    reply_rewind(reply, 0);
}

static void check_heads(struct reply *reply)
{
    reply_array(reply, 0);
    reply_array(reply, 12);
    check_out(reply, "*0\r\n*12\r\n", "*0\r\n*12\r\n");
    reply_map(reply, 3);
    check_out(reply, "*6\r\n", "%3\r\n");
    reply_set(reply, 3);
    check_out(reply, "*3\r\n", "~3\r\n");
    reply_push(reply, 2);
    check_out(reply, "*2\r\n", ">2\r\n");
    reply_null(reply);
    check_out(reply, "$-1\r\n", "_\r\n");
    reply_null_array(reply);
    check_out(reply, "*-1\r\n", "_\r\n");
}

static void check_values(struct reply *reply)
{
    reply_ok(reply);
    reply_simple(reply, "PONG");
    check_out(reply, "+OK\r\n+PONG\r\n", "+OK\r\n+PONG\r\n");
    reply_integer(reply, 0);
    reply_integer(reply, -1);
    reply_integer(reply, INT64_MIN);
    check_out(reply, ":0\r\n:-1\r\n:-9223372036854775808\r\n",
              ":0\r\n:-1\r\n:-9223372036854775808\r\n");
    reply_bulk(reply, NULL, 0);
    reply_text(reply, "0123456789");
    check_out(reply, "$0\r\n\r\n$10\r\n0123456789\r\n", "$0\r\n\r\n$10\r\n0123456789\r\n");
    reply_boolean(reply, true);
    reply_boolean(reply, false);
    check_out(reply, ":1\r\n:0\r\n", "#t\r\n#f\r\n");
    reply_verbatim(reply, "some\r\ntext", 10);
    check_out(reply, "$10\r\nsome\r\ntext\r\n", "=14\r\ntxt:some\r\ntext\r\n");
}

static void check_doubles(struct reply *reply)
{
    reply_double(reply, 1.5);
    reply_double(reply, 0.1);
    check_out(reply, "$3\r\n1.5\r\n$19\r\n0.10000000000000001\r\n",
              ",1.5\r\n,0.10000000000000001\r\n");
    reply_double(reply, -(double)INFINITY);
    reply_double(reply, (double)INFINITY);
    check_out(reply, "$4\r\n-inf\r\n$3\r\ninf\r\n", ",-inf\r\n,inf\r\n");
    reply_double(reply, -(double)NAN);
    reply_double(reply, -1.7976931348623157e308);
    check_out(reply, "$3\r\nnan\r\n$24\r\n-1.7976931348623157e+308\r\n",
              ",nan\r\n,-1.7976931348623157e+308\r\n");
}

static void check_errors(struct reply *reply)
{
    char letters[5000];
    reply_error(reply, "ERR wrong number of arguments for '%s' command", "get");
    check_out(reply, "-ERR wrong number of arguments for 'get' command\r\n",
              "-ERR wrong number of arguments for 'get' command\r\n");
    reply_error(reply, "\r\nERR %s\r\n", "a\r\n+OK\nb");
    check_out(reply, "-ERR a  +OK b\r\n", "-ERR a  +OK b\r\n");
    reply_error(reply, "%s", "");
    check_out(reply, "-\r\n", "-\r\n");
    memset(letters, 'x', sizeof(letters) - 1);
    letters[sizeof(letters) - 1] = '\0';
    reply_error(reply, "%s", letters);
    assert_int_equal(reply->out->size, sizeof(letters) - 1 + 3);
    reply_rewind(reply, 0);
}

static void check_parts(struct reply *reply)
{
    reply_ok(reply);
    size_t mark = reply_mark(reply);
    char *place = reply_bulk_begin(reply, 5);
    memcpy(place, "wrong", 5);
    reply_rewind(reply, mark);
    place = reply_bulk_begin(reply, 5);
    memcpy(place, "right", 5);
    check_out(reply, "+OK\r\n$5\r\nright\r\n", "+OK\r\n$5\r\nright\r\n");
    reply_ok(reply);
    mark = reply_mark(reply);
    for (int i = 0; i < 11; i++)
        reply_integer(reply, 7);
    reply_array_at(reply, mark, 11);
    assert_int_equal(reply->out->size, 5 + 5 + 11 * 4);
    assert_memory_equal(reply->out->bytes, "+OK\r\n*11\r\n:7\r\n:7", 16);
    reply_rewind(reply, 0);
}

static void test_replies(void **state)
{
    (void)state;
    for (unsigned protocol = 2; protocol <= 3; protocol++) {
        struct buffer out = BUFFER_INIT;
        struct reply reply = {&out, protocol};
        check_heads(&reply);
        check_values(&reply);
        check_doubles(&reply);
        check_errors(&reply);
        check_parts(&reply);
        assert_false(out.failed);
        buffer_free(&out);
    }
}

/* Each size is written into a buffer that has just the room that was asked for. */
static void test_bulk_sizes(void **state)
{
    static char value[120000];
    (void)state;
    memset(value, 'v', sizeof(value));
    for (size_t size = 0; size < sizeof(value); size += size < 1100 ? 1 : 997) {
        struct buffer out = BUFFER_INIT;
        struct reply reply = {&out, 2};
        char head[32];
        int head_size = snprintf(head, sizeof(head), "$%zu\r\n", size);
        reply_bulk(&reply, value, size);
        assert_int_equal(out.size, (size_t)head_size + size + 2);
        assert_memory_equal(out.bytes, head, head_size);
        assert_memory_equal(out.bytes + head_size, value, size);
        assert_memory_equal(out.bytes + out.size - 2, "\r\n", 2);
        buffer_free(&out);
    }
}

static void test_failed_buffer_takes_nothing(void **state)
{
    struct buffer out = BUFFER_INIT;
    struct reply reply = {&out, 3};
    (void)state;
    assert_null(reply_bulk_begin(&reply, SIZE_MAX - 10));
    assert_true(out.failed);
    reply_ok(&reply);
    reply_integer(&reply, 1);
    reply_text(&reply, "text");
    reply_error(&reply, "ERR %d", 1);
    reply_double(&reply, 1);
    reply_verbatim(&reply, "text", 4);
    reply_array_at(&reply, 0, 1);
    assert_int_equal(out.size, 0);
    buffer_free(&out);
}

/* --- numbers --------------------------------------------------------------------------------- */

static void check_integer(int64_t value)
{
    char text[NUMBER_INT_BYTES + 1];
    char expected[32];
    int64_t back = 0;
    size_t size = number_print(text, value);
    text[size] = '\0';
    snprintf(expected, sizeof(expected), "%" PRId64, value);
    assert_string_equal(text, expected);
    assert_true(number_parse(text, size, &back));
    assert_int_equal(back, value);
}

static void test_integers(void **state)
{
    static const char *const wrong[] = {"",
                                        "-",
                                        "+1",
                                        "01",
                                        "-0",
                                        "-01",
                                        " 1",
                                        "1 ",
                                        "00",
                                        "1a",
                                        "a",
                                        "--1",
                                        "1.0",
                                        "0x1",
                                        "1-",
                                        "1e3",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "123456789012345678901"};
    int64_t value = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(number_parse(wrong[i], strlen(wrong[i]), &value));
    assert_false(number_parse("1\0", 2, &value));
    for (int64_t i = -100100; i <= 100100; i++)
        check_integer(i);
    for (int shift = 0; shift < 63; shift++) {
        check_integer(INT64_C(1) << shift);
        check_integer(-(INT64_C(1) << shift) - 1);
    }
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10) {
        check_integer(power * 10 - 1);
        check_integer(power * 10);
    }
    check_integer(INT64_MAX);
    check_integer(INT64_MIN);
    for (int i = 0; i < 100000; i++)
        check_integer((int64_t)(random_next() >> random_next() % 64));
}

static void test_floats(void **state)
{
    static const char *const wrong[] = {"",    " 1", "1 ",  "nan",    "-nan",    "1.0x",    "x",
                                        "\t1", "1e", "--1", "1e5000", "-1e5000", "1e-5000", "."};
    static const char *const right[] = {"0",   "-0",  "+1",        "01.50", ".5",     "5.",
                                        "1e3", "inf", "-infinity", "0x1p4", "1e-300", "1e400"};
    long double value = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(number_parse_long_double(wrong[i], strlen(wrong[i]), &value));
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        assert_true(number_parse_long_double(right[i], strlen(right[i]), &value));
        assert_true(value == strtold(right[i], NULL));
    }
    assert_false(number_parse_long_double("1\0", 2, &value));
    assert_true(number_parse_long_double("12345", 2, &value) && value == 12);
}

static void test_float_sizes(void **state)
{
    char text[NUMBER_FLOAT_BYTES];
    long double value = 0;
    (void)state;
    memset(text, '0', sizeof(text));
    assert_true(number_parse_long_double(text, sizeof(text) - 1, &value));
    assert_false(number_parse_long_double(text, sizeof(text), &value));
}

static void test_long_double_texts(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"10.5", "10.5"},  {"0", "0"},       {"-0", "0"},         {"-0.00000000000000000001", "0"},
        {"3.0e3", "3000"}, {"100", "100"},   {"-1.250", "-1.25"}, {"1e20", "100000000000000000000"},
        {"inf", "inf"},    {"-inf", "-inf"}, {"0.1", "0.1"},      {"1e-17", "0.00000000000000001"},
    };
    char text[NUMBER_FLOAT_BYTES + 1];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        long double value = 0;
        assert_true(number_parse_long_double(cases[i].in, strlen(cases[i].in), &value));
        text[number_print_long_double(text, value)] = '\0';
        assert_string_equal(text, cases[i].out);
    }
    assert_int_equal(number_print_long_double(text, (long double)NAN), 0);
    assert_int_equal(number_print_long_double(text, 1e4930L), 4931);
}

/* --- patterns -------------------------------------------------------------------------------- */

static bool glob_is(const char *pattern, const char *string, bool no_case)
{
    return glob_match(pattern, strlen(pattern), string, strlen(string), no_case);
}

static void test_globs(void **state)
{
    static const struct {
        const char *pattern, *string;
        bool matches, matches_no_case;
    } cases[] = {
        {"", "", true, true},
        {"", "a", false, false},
        {"*", "", false, false},
        {"*", "a", true, true},
        {"**", "abc", true, true},
        {"a*", "a", true, true},
        {"*a", "bba", true, true},
        {"*a", "bbab", false, false},
        {"h?llo", "hello", true, true},
        {"h?llo", "hllo", false, false},
        {"h[ae]llo", "hallo", true, true},
        {"h[^e]llo", "hello", false, false},
        {"h[a-c]x", "hbx", true, true},
        {"h[c-a]x", "hbx", true, true},
        {"[abc", "b", true, true},
        {"[", "a", false, false},
        {"[^", "a", true, true},
        {"[]a]", "]", false, false},
        {"[\\]]", "]", true, true},
        {"[a-]", "-", false, false},
        {"[a-", "-", true, true},
        {"[\\", "\\", true, true},
        {"\\*", "*", true, true},
        {"\\*", "a", false, false},
        {"a\\", "a\\", true, true},
        {"A?C", "abc", false, true},
        {"[A-C]", "b", false, true},
        {"[\\A]", "a", false, false},
        {"[^A]", "a", true, false},
        {"*b*d*", "abcde", true, true},
        {"a*b", "ab", true, true},
        {"*[0-9]", "x7", true, true},
        {"*?", "x", true, true},
        {"[\x80-z]", "a", true, true},
        {"[\xe0-\xff]", "\xf0", true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (glob_is(cases[i].pattern, cases[i].string, false) != cases[i].matches ||
            glob_is(cases[i].pattern, cases[i].string, true) != cases[i].matches_no_case)
            fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].string);
    }
}

/* What the pattern says of one byte, as a predicate that is asked for the bytes 0 to 255; and the
 * size of the element. */
static size_t element(const char *p, size_t size, bool set[256])
{
    memset(set, 0, 256);
    if (*p == '?') {
        memset(set, 1, 256);
        return 1;
    }
    if (*p == '\\' && size >= 2) {
        set[(unsigned char)p[1]] = true;
        return 2;
    }
    if (*p != '[') {
        set[(unsigned char)*p] = true;
        return 1;
    }
    size_t i = 1;
    bool inverted = i < size && p[i] == '^';
    for (i += inverted; i < size && p[i] != ']'; i++) {
        if (p[i] == '\\' && i + 1 < size) {
            set[(unsigned char)p[++i]] = true;
        } else if (i + 2 < size && p[i + 1] == '-') {
            unsigned char low = (unsigned char)(p[i] < p[i + 2] ? p[i] : p[i + 2]);
            unsigned char high = (unsigned char)(p[i] < p[i + 2] ? p[i + 2] : p[i]);
            memset(set + low, 1, (size_t)(high - low) + 1);
            i += 2;
        } else {
            set[(unsigned char)p[i]] = true;
        }
    }
    for (int c = 0; c < 256 && inverted; c++)
        set[c] = !set[c];
    return i < size ? i + 1 : size;
}

static bool reference(const char *p, size_t p_size, const char *s, size_t s_size)
{
    bool set[256];
    if (p_size == 0)
        return s_size == 0;
    if (*p == '*')
        return reference(p + 1, p_size - 1, s, s_size) ||
               (s_size > 0 && reference(p, p_size, s + 1, s_size - 1));
    if (s_size == 0)
        return false;
    size_t size = element(p, p_size, set);
    return set[(unsigned char)*s] && reference(p + size, p_size - size, s + 1, s_size - 1);
}

static void fill(char *out, size_t size, const char *letters)
{
    for (size_t i = 0; i < size; i++)
        out[i] = letters[random_next() % strlen(letters)];
}

static void test_globs_equal_the_reference(void **state)
{
    unsigned matches = 0;
    (void)state;
    for (unsigned i = 0, tries = random_tries(1000000); i < tries; i++) {
        char pattern[10];
        char string[10];
        size_t pattern_size = random_next() % sizeof(pattern);
        size_t string_size = 1 + random_next() % (sizeof(string) - 1);
        fill(pattern, pattern_size, i % 2 ? "aabc*?" : "abc**?[]^-\\");
        fill(string, string_size, i % 4 < 2 ? "abc" : "abc-]^[\\");
        bool expected = reference(pattern, pattern_size, string, string_size);
        if (glob_match(pattern, pattern_size, string, string_size, false) != expected)
            fail_msg("\"%.*s\" and \"%.*s\"", (int)pattern_size, pattern, (int)string_size, string);
        matches += expected;
    }
    assert_in_range(matches, 10000, 990000);
}

/* With no bound, this is a matter of years. */
static void test_globs_are_bounded(void **state)
{
    char pattern[2001];
    static char string[20000];
    (void)state;
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(pattern + i, "a*", 2);
    pattern[2000] = 'b';
    memset(string, 'a', sizeof(string));
    assert_false(glob_match(pattern, 2001, string, sizeof(string), false));
    assert_true(glob_match(pattern, 2000, string, sizeof(string), false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_bulk_sizes),
        cmocka_unit_test(test_failed_buffer_takes_nothing),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_float_sizes),
        cmocka_unit_test(test_long_double_texts),
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_globs_equal_the_reference),
        cmocka_unit_test(test_globs_are_bounded),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
