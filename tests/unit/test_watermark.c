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

/* --- fields of documents: the byte of the BSON type, and the value --------------------------- */

#define BSON(...)                                                                                  \
    sp_bytes(SP_TYPE_BSON_VALUE, (const unsigned char[]){__VA_ARGS__},                             \
             sizeof((const unsigned char[]){__VA_ARGS__}))
#define INT32_OF(n)     BSON(0x10, (n), 0, 0, 0)
#define INT64_OF(n)     BSON(0x12, (n), 0, 0, 0, 0, 0, 0, 0)
#define DATE_OF(n)      BSON(0x09, (n), 0, 0, 0, 0, 0, 0, 0)
#define TIMESTAMP_OF(n) BSON(0x11, 9, 0, 0, 0, (n), 0, 0, 0)
#define OBJECT_ID_OF(n) BSON(0x07, 0, 0, 0, (n), 1, 2, 3, 4, 5, 6, 7, 8)
#define ONE_AND_A_HALF  BSON(0x01, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f)
#define HALF            BSON(0x01, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f)
#define INFINITE        BSON(0x01, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f)
#define STRING_A        BSON(0x02, 2, 0, 0, 0, 'a', 0)
#define STRING_AB       BSON(0x02, 3, 0, 0, 0, 'a', 'b', 0)

static void assert_same(const struct sp_value *a, const struct sp_value *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->bytes.size, b->bytes.size);
    assert_memory_equal(a->bytes.data, b->bytes.data, b->bytes.size);
}

/* Each raises the mark above all before it, and none of them lowers it. */
static void test_documents_rise(void **state)
{
    const struct sp_value rising[] = {HALF,       INT32_OF(1), ONE_AND_A_HALF,  INT64_OF(2),
                                      STRING_A,   STRING_AB,   OBJECT_ID_OF(4), OBJECT_ID_OF(5),
                                      DATE_OF(1), DATE_OF(2),  TIMESTAMP_OF(1), TIMESTAMP_OF(2)};
    struct watermark mark = {0};
    (void)state;
    for (unsigned i = 0; i < sizeof(rising) / sizeof(rising[0]); i++) {
        watermark_raise(&mark, &rising[i], NOW_MS);
        for (unsigned k = 0; k < i; k++)
            watermark_raise(&mark, &rising[k], NOW_MS);
        assert_true(mark.set);
        assert_same(&mark.value, &rising[i]);
    }
}

/* Infinities, other types, lengths that are not the type's, and times to come do not count. */
static void test_documents_that_do_not_count(void **state)
{
    const struct sp_value wrong[] = {INFINITE,
                                     BSON(0x08, 1),
                                     BSON(0x0a),
                                     BSON(0x10, 1),
                                     BSON(0x02, 1, 0, 0),
                                     BSON(0x07, 1),
                                     BSON(0x09, 0, 0, 0, 0, 0, 0, 0, 0x7f),
                                     BSON(0x11, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff),
                                     BSON(0x07, 0xff, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)};
    struct watermark mark = {0};
    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        watermark_raise(&mark, &wrong[i], NOW_MS);
    assert_false(mark.set);
}

static void assert_document_since(struct sp_value seen, int64_t overlap, struct sp_value expected)
{
    struct watermark mark = {0};
    char scratch[WATERMARK_TEXT_BYTES];
    struct sp_value since;
    watermark_raise(&mark, &seen, NOW_MS);
    assert_true(mark.set);
    watermark_since(&mark, overlap, scratch, &since);
    assert_same(&since, &expected);
}

static void test_documents_overlap(void **state)
{
    (void)state;
    assert_document_since(INT32_OF(7), 0, INT32_OF(7));
    assert_document_since(INT32_OF(7), 5, INT64_OF(2));
    assert_document_since(INT64_OF(7), 7, INT64_OF(0));
    assert_document_since(ONE_AND_A_HALF, 1, HALF);
    assert_document_since(DATE_OF(7), 2001, DATE_OF(4));
    assert_document_since(TIMESTAMP_OF(7), 0, TIMESTAMP_OF(7));
    assert_document_since(TIMESTAMP_OF(7), 2 * SECOND_US + 1, BSON(0x11, 0, 0, 0, 0, 4, 0, 0, 0));
    assert_document_since(TIMESTAMP_OF(7), 9 * SECOND_US, BSON(0x11, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_document_since(OBJECT_ID_OF(7), SECOND_US,
                          BSON(0x07, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_document_since(STRING_AB, 5, STRING_AB);
    assert_document_since(
        BSON(0x02, 11, 0, 0, 0, '2', '0', '2', '5', '-', '1', '1', '-', '2', '0', 0), DAY_US,
        BSON(0x02, 11, 0, 0, 0, '2', '0', '2', '5', '-', '1', '1', '-', '1', '9', 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_rises),
        cmocka_unit_test(test_only_nulls),
        cmocka_unit_test(test_future_is_not_believed),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_texts_rise),
        cmocka_unit_test(test_documents_rise),
        cmocka_unit_test(test_documents_that_do_not_count),
        cmocka_unit_test(test_documents_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
