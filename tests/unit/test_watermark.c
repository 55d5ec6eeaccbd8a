/* SPDX-License-Identifier: Apache-2.0
 *
 * test_watermark.c - Goal: a mark is the highest value seen that can be believed, and reading
 * starts at it less the overlap, without overflow. Method: a table of cases for each type.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/refresh/watermark.h"

#define NOW_MS    INT64_C(1763638200000) /* 2025-11-20 11:30 UTC */
#define SECOND_US INT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)

static struct sp_value of(enum sp_type type, int64_t i)
{
    return (struct sp_value){.type = type, .i = i};
}

static struct sp_value text(const char *bytes)
{
    return sp_text(bytes, strlen(bytes));
}

static void test_types(void **state)
{
    (void)state;
    assert_true(watermark_type_ok(SP_TYPE_INT64));
    assert_true(watermark_type_ok(SP_TYPE_TIMESTAMP));
    assert_true(watermark_type_ok(SP_TYPE_TEXT));
    assert_false(watermark_type_ok(SP_TYPE_NUMERIC));
    assert_false(watermark_type_ok(SP_TYPE_JSON));
    assert_false(watermark_type_ok(SP_TYPE_BOOL));
}

static void test_rises(void **state)
{
    struct watermark mark = {0};
    struct sp_value values[] = {sp_int(5), sp_int(-7), sp_null(SP_TYPE_INT64), sp_int(9),
                                sp_int(8)};
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        watermark_raise(&mark, &values[i], NOW_MS);
    assert_true(mark.set);
    assert_int_equal(mark.value.i, 9);
}

static void test_only_nulls(void **state)
{
    struct watermark mark = {0};
    struct sp_value none = sp_null(SP_TYPE_TIMESTAMP);
    (void)state;
    watermark_raise(&mark, &none, NOW_MS);
    assert_false(mark.set);
}

/* One row dated into the next century must not hide all that follows. */
static void test_future_is_not_believed(void **state)
{
    struct watermark mark = {0};
    struct sp_value now = of(SP_TYPE_TIMESTAMP, NOW_MS * 1000);
    struct sp_value soon = of(SP_TYPE_TIMESTAMP, NOW_MS * 1000 + DAY_US);
    struct sp_value far = of(SP_TYPE_TIMESTAMP, NOW_MS * 1000 + 30 * DAY_US);
    struct sp_value never = of(SP_TYPE_TIMESTAMP, INT64_MAX);
    (void)state;
    watermark_raise(&mark, &far, NOW_MS);
    watermark_raise(&mark, &never, NOW_MS);
    assert_false(mark.set);
    watermark_raise(&mark, &now, NOW_MS);
    watermark_raise(&mark, &soon, NOW_MS);
    assert_int_equal(mark.value.i, soon.i);
    struct watermark dates = {0};
    struct sp_value today = of(SP_TYPE_DATE, NOW_MS / 86400000);
    struct sp_value endless = of(SP_TYPE_DATE, INT32_MAX);
    watermark_raise(&dates, &today, NOW_MS);
    watermark_raise(&dates, &endless, NOW_MS);
    assert_int_equal(dates.value.i, today.i);
}

static void test_floats(void **state)
{
    struct watermark mark = {0};
    struct sp_value values[] = {sp_float(-1.5), sp_float(__builtin_nan("")), sp_float(2.25),
                                sp_float(__builtin_inf())};
    char scratch[WATERMARK_TEXT_BYTES];
    struct sp_value since;
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        watermark_raise(&mark, &values[i], NOW_MS);
    watermark_since(&mark, 2, scratch, &since);
    assert_true(since.f == 0.25);
}

static int64_t since_of(enum sp_type type, int64_t mark_value, int64_t overlap)
{
    struct watermark mark = {.set = true, .value = of(type, mark_value)};
    char scratch[WATERMARK_TEXT_BYTES];
    struct sp_value since;
    watermark_since(&mark, overlap, scratch, &since);
    assert_int_equal(since.type, type);
    return since.i;
}

static void test_overlap(void **state)
{
    (void)state;
    assert_int_equal(since_of(SP_TYPE_INT64, 100, 30), 70);
    assert_true(since_of(SP_TYPE_INT64, INT64_MIN + 5, 30) == INT64_MIN);
    assert_int_equal(since_of(SP_TYPE_INT32, INT32_MIN + 5, 30), INT32_MIN);
    assert_int_equal(since_of(SP_TYPE_TIMESTAMP, 10 * SECOND_US, 5 * SECOND_US), 5 * SECOND_US);
    assert_true(since_of(SP_TYPE_TIMESTAMP, 5, INT64_MAX) == 5 - INT64_MAX);
    assert_true(since_of(SP_TYPE_TIMESTAMP, -5, INT64_MAX) == INT64_MIN + 1);
    assert_int_equal(since_of(SP_TYPE_DATE, 100, 0), 100);
    assert_int_equal(since_of(SP_TYPE_DATE, 100, 5 * SECOND_US), 99);
    assert_int_equal(since_of(SP_TYPE_DATE, 100, 2 * DAY_US), 98);
}

static void assert_text_since(const char *seen, int64_t overlap, const char *expected)
{
    struct watermark mark = {0};
    struct sp_value value = text(seen);
    char scratch[WATERMARK_TEXT_BYTES];
    struct sp_value since;
    watermark_raise(&mark, &value, NOW_MS);
    assert_true(mark.set);
    watermark_since(&mark, overlap, scratch, &since);
    assert_int_equal(since.type, SP_TYPE_TEXT);
    assert_int_equal(since.bytes.size, strlen(expected));
    assert_memory_equal(since.bytes.data, expected, strlen(expected));
}

static void test_texts(void **state)
{
    (void)state;
    assert_text_since("2025-11-20 11:30:00", 5 * SECOND_US, "2025-11-20 11:29:55");
    assert_text_since("2025-11-20T11:30:00", 5 * SECOND_US, "2025-11-20T11:29:55");
    assert_text_since("2025-11-20T11:30:00.250Z", 5 * SECOND_US, "2025-11-20T11:29:55.25");
    assert_text_since("2025-11-20 00:00:01.5", 2 * SECOND_US, "2025-11-19 23:59:59.5");
    assert_text_since("2025-11-20", DAY_US, "2025-11-19");
    assert_text_since("version-17", 5, "version-17");
    assert_text_since("2025-11-20 11:30:00", 0, "2025-11-20 11:30:00");
}

static void test_texts_rise(void **state)
{
    struct watermark mark = {0};
    struct watermark copy;
    char longer[WATERMARK_TEXT_BYTES + 1];
    struct sp_value values[] = {text("b"), text(""), text("ba"), text("az")};
    (void)state;
    memset(longer, 'z', sizeof(longer));
    for (unsigned i = 0; i < 4; i++)
        watermark_raise(&mark, &values[i], NOW_MS);
    struct sp_value over = sp_text(longer, sizeof(longer));
    watermark_raise(&mark, &over, NOW_MS);
    watermark_copy(&copy, &mark);
    mark.text[0] = '?';
    assert_int_equal(copy.value.bytes.size, 2);
    assert_memory_equal(copy.value.bytes.data, "ba", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),      cmocka_unit_test(test_rises),
        cmocka_unit_test(test_only_nulls), cmocka_unit_test(test_future_is_not_believed),
        cmocka_unit_test(test_floats),     cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_texts),      cmocka_unit_test(test_texts_rise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
