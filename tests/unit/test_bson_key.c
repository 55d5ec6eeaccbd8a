/* SPDX-License-Identifier: Apache-2.0
 *
 * test_bson_key.c - BSON values as keys (alloc/bson_key.c, bson_parse.c, bson_number.c).
 *
 * Goal: values that MongoDB takes for equal have one key, others have different keys; each value
 * can be asked for by what users have, and by the text that is shown of it.
 * Method: groups of equal values, every one compared with every other; random numbers, whose exact
 * decimal expansions (by printf) say whether they are equal; random documents from libbson, whose
 * keys are made of their bytes and of their JSON. The seed is printed (SIDEPOND_SEED repeats).
 */
#include "bson_random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/bson_number.h"
#include "alloc/row.h"
#include "random_numbers.h"

#define RANDOM_DOCUMENTS 1500
#define RANDOM_NUMBERS   20000

static struct schema *schema; /* one key column, "_id" */

struct key {
    uint8_t bytes[ROW_KEY_BYTES_MAX];
    size_t size;
};

static int encode(const struct sp_value *value, struct key *out)
{
    return row_key_encode(schema, schema->key_columns, 1, value, 1, out->bytes, sizeof(out->bytes),
                          &out->size);
}

static bool same(const struct key *left, const struct key *right)
{
    return left->size == right->size && memcmp(left->bytes, right->bytes, left->size) == 0;
}

/* Text as a person writes it. */
static int encode_text(const char *text, size_t size, struct key *out)
{
    uint8_t scratch[16];
    struct sp_value value;
    int status = row_key_parse(SP_TYPE_BSON_VALUE, text, size, scratch, &value);
    return status == SP_OK ? encode(&value, out) : status;
}

/* --- groups of equal values ---------------------------------------------------------------- */

/* Of these, fields of a struct sp_value. */
#define BYTES_OF(string) .bytes = {string, sizeof(string) - 1}
#define RAW(string)                                                                                \
    {                                                                                              \
        .type = SP_TYPE_BSON_VALUE, BYTES_OF(string)                                               \
    }
#define TEXT(string)                                                                               \
    {                                                                                              \
        .type = SP_TYPE_TEXT, BYTES_OF(string)                                                     \
    }
#define JSON(string)                                                                               \
    {                                                                                              \
        .type = SP_TYPE_JSON, BYTES_OF(string)                                                     \
    }
#define NUM(string)                                                                                \
    {                                                                                              \
        .type = SP_TYPE_NUMERIC, BYTES_OF(string)                                                  \
    }
#define INT(number)                                                                                \
    {                                                                                              \
        .type = SP_TYPE_INT64, .i = (number)                                                       \
    }
#define REAL(number)                                                                               \
    {                                                                                              \
        .type = SP_TYPE_FLOAT64, .f = (number)                                                     \
    }

static const struct {
    int group;
    struct sp_value value;
} equals[] = {
    {1, INT(5)},
    {1, REAL(5)},
    {1, NUM("5")},
    {1, NUM("5.000")},
    {1, NUM("50e-1")},
    {1, NUM("0.05E2")},
    {1, JSON("5")},
    {1, JSON(" 5.0 ")},
    {1, JSON("{\"$numberDecimal\": \"5.00\"}")},
    {1, JSON("{\"$numberInt\": \"5\"}")},
    {1, JSON("{ \"$numberLong\" : \"5\" }")},
    {1, JSON("{\"$numberDouble\": \"5.0\"}")},
    {1, RAW("\x10\5\0\0\0")},
    {1, RAW("\x12\5\0\0\0\0\0\0\0")},
    {1, RAW("\x01\0\0\0\0\0\0\x14\x40")},
    {1, RAW("\x13\5\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\x30")},
    {2, REAL(0.0)},
    {2, REAL(-0.0)},
    {2, INT(0)},
    {2, NUM("-0.00")},
    {2, NUM("0e6000")},
    {2, RAW("\x13\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x6f")},
    {3, REAL(0.1)},
    {4, NUM("0.1")},
    {5, NUM("0.1000000000000000055511151231257827")},
    {6, REAL(0.5)},
    {6, NUM("0.50")},
    {7, INT(INT64_MAX)},
    {7, NUM("9223372036854775807")},
    {7, NUM("9.223372036854775807e18")},
    {8, REAL(0x1p63)},
    {8, NUM("9223372036854775808")},
    {8, JSON("9223372036854775808")},
    {9, INT(INT64_MIN)},
    {9, REAL(-0x1p63)},
    {9, NUM("-9223372036854775808.0")},
    {10, REAL(1e20)},
    {10, NUM("1e20")},
    {11, REAL(0x1p112 * 100000.0)}, /* many factors of two beside those of ten */
    {11, NUM("5192296858534827628530496329220096e5")},
    {12, REAL(__builtin_nan(""))},
    {12, REAL(-__builtin_nan(""))},
    {12, NUM("NaN")},
    {12, JSON("{\"$numberDecimal\": \"NaN\"}")},
    {13, REAL(__builtin_inf())},
    {13, NUM("Infinity")},
    {14, NUM("-Infinity")},
    {15, TEXT("5")},
    {15, JSON("\"5\"")},
    {15, JSON("\"\\u0035\"")},
    {15, RAW("\x02\2\0\0\0\x35\0")},
    {15, RAW("\x0e\2\0\0\0\x35\0")}, /* a symbol is its string */
    {15, JSON("{\"$symbol\": \"5\"}")},
    {16, TEXT("")},
    {17, TEXT("\xf0\x9f\x98\x80")},
    {17, JSON("\"\\ud83d\\ude00\"")},
    {18, TEXT("a\0b")},
    {18, JSON("\"a\\u0000b\"")},
    {19, RAW("\x07\x50\x7f\x1f\x77\xbc\xf8\x6c\xd7\x99\x43\x90\x11")},
    {19, JSON("{\"$oid\": \"507f1f77bcf86cd799439011\"}")},
    {20, TEXT("507f1f77bcf86cd799439011")},
    {21, {.type = SP_TYPE_BOOL, .i = 1}},
    {21, JSON("true")},
    {22, JSON("false")},
    {23, JSON("null")},
    {23, RAW("\x0a")},
    {24, {.type = SP_TYPE_UUID, .bytes = {"0123456789abcdef", 16}}},
    {24, JSON("{\"$uuid\": \"30313233-3435-3637-3839-616263646566\"}")},
    {24, JSON("{\"$binary\": {\"subType\": \"4\", \"base64\": \"MDEyMzQ1Njc4OWFiY2RlZg==\"}}")},
    {25, {.type = SP_TYPE_BYTES, .bytes = {"0123456789abcdef", 16}}},
    {25, JSON("{\"$binary\": {\"base64\": \"MDEyMzQ1Njc4OWFiY2RlZg==\", \"subType\": \"00\"}}")},
    {26, {.type = SP_TYPE_TIMESTAMP, .i = 5000}},
    {26, {.type = SP_TYPE_DATETIME, .i = 5000}},
    {26, JSON("{\"$date\": {\"$numberLong\": \"5\"}}")},
    {26, JSON("{\"$date\": \"1970-01-01T00:00:00.005Z\"}")},
    {26, JSON("{\"$date\": 5}")},
    {27, JSON("{\"$timestamp\": {\"t\": 1, \"i\": 2}}")},
    {28, JSON("{\"$timestamp\": {\"t\": 2, \"i\": 1}}")},
    {29, JSON("{\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"i\"}}")},
    {29, RAW("\x0b^a\0i\0")},
    {30, JSON("{\"$code\": \"f\"}")},
    {31, JSON("{\"$code\": \"f\", \"$scope\": {\"x\": 1}}")},
    {31, RAW("\x0f\x16\0\0\0\2\0\0\0f\0\x0c\0\0\0\x10x\0\1\0\0\0\0")},
    {32, JSON("{\"a\": 1, \"b\": [2.0, {\"c\": 3}]}")},
    {32, JSON("{\"a\":{\"$numberDecimal\":\"1.0\"},\"b\":[2,{\"c\":{\"$numberDouble\":\"3\"}}]}")},
    {33, JSON("{\"b\": [2, {\"c\": 3}], \"a\": 1}")}, /* the order of fields counts */
    {34, JSON("{}")},
    {34, {.type = SP_TYPE_BSON, .bytes = {"\5\0\0\0\0", 5}}},
    {35, JSON("[]")},
    {36, JSON("[1]")},
    {37, JSON("{\"0\": 1}")},
    {38, JSON("{\"$minKey\": 1}")},
    {39, JSON("{\"$maxKey\": 1}")},
    {40, JSON("{\"$undefined\": true}")},
    {41, JSON("{\"$dbPointer\": {\"$ref\": \"a.b\", \"$id\": {\"$oid\": "
              "\"507f1f77bcf86cd799439011\"}}}")},
    {42, JSON("{\"$ref\": \"a\", \"$id\": 1}")}, /* a document, as MongoDB has it */
    {43, JSON("{\"$binary\": {\"base64\": \"3q0=\", \"subType\": \"02\"}}")},
    {43, RAW("\x05\x06\0\0\0\2\2\0\0\0\xde\xad")},
    {44, INT(-5)},
    {45, REAL(1e300)},
    {46, NUM("1e6144")},
    {46, NUM("1000e6141")},
    {47, NUM("1e-6176")},
    {48, REAL(0x1p-1074)},
    {49, NUM("1e23")}, /* the double nearest to it is another number */
    {50, REAL(1e23)},
    {51, NUM("1e22")},
    {51, REAL(1e22)},
};

static void equal_values_have_one_key(void **state)
{
    static struct key left, right;
    const size_t count = sizeof(equals) / sizeof(*equals);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(encode(&equals[i].value, &left), SP_OK);
        for (size_t j = 0; j < count; j++) {
            if (encode(&equals[j].value, &right) != SP_OK)
                fail_msg("value %zu of group %d has no key", j, equals[j].group);
            if (same(&left, &right) != (equals[i].group == equals[j].group))
                fail_msg("values %zu (group %d) and %zu (group %d)", i, equals[i].group, j,
                         equals[j].group);
        }
    }
}

/* The canonical form is a value, and its own canonical form; and it is had in any memory. */
static void canonical_is_canonical(void **state)
{
    static struct key first, second;
    (void)state;
    for (size_t i = 0; i < sizeof(equals) / sizeof(*equals); i++) {
        struct sp_value again;
        size_t size;
        assert_int_equal(encode(&equals[i].value, &first), SP_OK);
        assert_int_equal(
            row_key_decode(schema, schema->key_columns, 1, first.bytes, first.size, &again), SP_OK);
        assert_int_equal(encode(&again, &second), SP_OK);
        assert_true(same(&first, &second));
        assert_int_equal(row_validate(schema, first.bytes, first.size, "", 0), SP_OK);
        for (size_t cap = 0; cap < first.size; cap++) {
            uint8_t *exact = malloc(cap + 1);
            assert_int_equal(row_key_encode(schema, schema->key_columns, 1, &equals[i].value, 1,
                                            exact, cap, &size),
                             SP_ERANGE);
            assert_int_equal(size, first.size);
            free(exact);
        }
    }
}

static void refused(struct sp_value value, int status)
{
    static struct key key;
    assert_int_equal(encode(&value, &key), status);
}

static void what_is_no_key_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "{",
        "[1",
        "\"a",
        "01",
        "nul",
        "1e999",
        "{\"$oid\": \"507f1f77bcf86cd79943901\"}",
        "{\"$oid\": \"507f1f77bcf86cd79943901g\"}",
        "{\"$oid\": 5}",
        "{\"$oid\": \"507f1f77bcf86cd799439011\", \"a\": 1}",
        "{\"$numberInt\": \"x\"}",
        "{\"$numberLong\": \"9223372036854775808\"}",
        "{\"$numberDecimal\": 5}",
        "{\"$numberDecimal\": \"1.2345678901234567890123456789012345\"}",
        "{\"$numberDecimal\": \"1e6145\"}",
        "{\"$date\": \"yesterday\"}",
        "{\"$date\": \"2020-01-01T00:00:00.0001Z\"}",
        "{\"$date\": {\"x\": 1}}",
        "{\"$date\": []}",
        "{\"$uuid\": \"30313233\"}",
        "{\"$binary\": \"MDEy\"}",
        "{\"$binary\": {\"base64\": \"MDEy\"}}",
        "{\"$binary\": {\"base64\": \"MDE\", \"subType\": \"00\"}}",
        "{\"$binary\": {\"base64\": \"M===\", \"subType\": \"00\"}}",
        "{\"$binary\": {\"base64\": \"MD!y\", \"subType\": \"00\"}}",
        "{\"$binary\": {\"base64\": \"\", \"subType\": \"000\"}}",
        "{\"$binary\": {\"base64\": \"\", \"subType\": \"g\"}}",
        "{\"$timestamp\": {\"t\": 1}}",
        "{\"$timestamp\": {\"t\": -1, \"i\": 0}}",
        "{\"$timestamp\": {\"t\": 4294967296, \"i\": 0}}",
        "{\"$regularExpression\": {\"pattern\": \"a\"}}",
        "{\"$regularExpression\": {\"pattern\": \"a\\u0000\", \"options\": \"\"}}",
        "{\"$code\": 1}",
        "{\"$code\": \"f\", \"$scope\": 1}",
        "{\"$code\": \"f\", \"x\": 1}",
        "{\"a\\u0000\": 1}",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "{\"$dbPointer\": {\"$ref\": \"a\"}}",
    };
    static char large[4 * ROW_KEY_BYTES_MAX + 10];
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        static struct key key;
        const struct sp_value value = sp_bytes(SP_TYPE_JSON, wrong[i], strlen(wrong[i]));
        if (encode(&value, &key) != SP_ETYPE)
            fail_msg("%s is a key", wrong[i]);
    }
    refused(sp_null(SP_TYPE_BSON_VALUE), SP_ENULL);
    refused((struct sp_value){.type = SP_TYPE_DATE, .i = 1}, SP_ETYPE);
    refused((struct sp_value){.type = SP_TYPE_TIMESTAMP, .i = 1}, SP_ETYPE);
    refused(sp_bytes(SP_TYPE_UUID, "short", 5), SP_ETYPE);
    refused(sp_bytes(SP_TYPE_NUMERIC, "five", 4), SP_ETYPE);
    refused(sp_bytes(SP_TYPE_BSON, "\6\0\0\0\0", 5), SP_ETYPE);
    refused(sp_bytes(SP_TYPE_BSON_VALUE, "\x10\1\0\0", 4), SP_ETYPE);
    refused(sp_bytes(SP_TYPE_BSON_VALUE, NULL, 0), SP_ETYPE);
    memset(large, 'a', sizeof(large));
    refused(sp_text(large, ROW_KEY_BYTES_MAX), SP_ETOOBIG);
    refused(sp_bytes(SP_TYPE_BYTES, large, ROW_KEY_BYTES_MAX + 1), SP_ETOOBIG);
    refused(sp_bytes(SP_TYPE_JSON, large, sizeof(large)), SP_ETOOBIG);
    memset(large, '[', sizeof(large));
    memset(large + 201, ']', 201);
    refused(sp_bytes(SP_TYPE_JSON, large, 402), SP_ETYPE);
}

/* --- keys as people write them ------------------------------------------------------------- */

static void means(const char *text, const char *json)
{
    static struct key written, meant;
    const struct sp_value value = sp_bytes(SP_TYPE_JSON, json, strlen(json));
    assert_int_equal(encode(&value, &meant), SP_OK);
    if (encode_text(text, strlen(text), &written) != SP_OK || !same(&written, &meant))
        fail_msg("%s does not mean %s", text, json);
}

static void text_has_one_meaning(void **state)
{
    static struct key key;
    (void)state;
    means("507f1f77bcf86cd799439011", "{\"$oid\": \"507f1f77bcf86cd799439011\"}");
    means("507F1F77BCF86CD799439011", "{\"$oid\": \"507f1f77bcf86cd799439011\"}");
    means("123456789012345678901234", "{\"$oid\": \"123456789012345678901234\"}");
    means("\"507f1f77bcf86cd799439011\"", "\"507f1f77bcf86cd799439011\"");
    means("507f1f77bcf86cd79943901", "\"507f1f77bcf86cd79943901\"");
    means("5", "5");
    means("-5.5", "-5.5");
    means("1e3", "1000");
    means("\"5\"", "\"5\"");
    means("007", "\"007\"");
    means("+5", "\"+5\"");
    means("5 ", "\"5 \"");
    means(" 5", "\" 5\"");
    means("-", "\"-\"");
    means("NaN", "\"NaN\"");
    means("true", "true");
    means("null", "null");
    means("True", "\"True\"");
    means("", "\"\"");
    means("a\"b", "\"a\\\"b\"");
    means("{\"a\": 1}", "{\"a\": 1}");
    means("[1]", "[1]");
    assert_int_equal(encode_text("{a: 1}", 6, &key), SP_ETYPE);
    assert_int_equal(encode_text("[draft", 6, &key), SP_ETYPE);
    assert_int_equal(encode_text("\"a", 2, &key), SP_ETYPE);
    assert_int_equal(encode_text("a\xff", 2, &key), SP_ETYPE);
}

/* What a value is shown as, as text and as JSON, names it. */
static void names_itself(const struct sp_value *value, const struct key *key)
{
    static struct key again;
    size_t size = row_value_text(value, NULL, 0);
    char *text = malloc(size + 1);
    row_value_text(value, text, size + 1);
    int status = encode_text(text, size, &again);
    if (status != SP_OK || !same(key, &again))
        fail_msg("the text \"%s\" is another key (%d)", text, status);
    free(text);
    size = row_value_json(value, NULL, 0);
    text = malloc(size + 1);
    row_value_json(value, text, size + 1);
    const struct sp_value json = sp_bytes(SP_TYPE_JSON, text, size);
    status = encode(&json, &again);
    if (status != SP_OK || !same(key, &again))
        fail_msg("the JSON \"%s\" is another key (%d)", text, status);
    free(text);
}

static void text_and_json_name_their_value(void **state)
{
    static struct key key;
    unsigned count = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(equals) / sizeof(*equals); i++) {
        if (equals[i].value.type != SP_TYPE_BSON_VALUE)
            continue;
        assert_int_equal(encode(&equals[i].value, &key), SP_OK);
        names_itself(&equals[i].value, &key);
    }
    for (unsigned i = 0; i < RANDOM_DOCUMENTS; i++) {
        bson_t *document = bson_random();
        bson_iter_t iter;
        struct sp_value value = sp_bytes(SP_TYPE_BSON, bson_get_data(document), document->len);
        if (document->len < ROW_KEY_BYTES_MAX / 2) {
            assert_int_equal(encode(&value, &key), SP_OK);
            names_itself(&value, &key);
        }
        bson_iter_init(&iter, document);
        while (bson_iter_next(&iter)) {
            /* bson_value of a field: its type, and its bytes behind the name */
            const uint8_t *data = bson_get_data(document) + iter.d1;
            value = sp_bytes(SP_TYPE_BSON_VALUE, data, iter.next_off - iter.d1);
            value.bson_type = (uint8_t)bson_iter_type(&iter);
            assert_int_equal(encode(&value, &key), SP_OK);
            names_itself(&value, &key);
            count++;
        }
        bson_destroy(document);
    }
    print_message("%u values\n", count);
}

/* --- numbers ------------------------------------------------------------------------------- */

/* The number in digits and an exponent, without zeros at the ends: equal only for equal numbers. */
static void expanded(const char *plain, char *out)
{
    const char *point = strchr(plain, '.');
    const char *digits = plain + (*plain == '-');
    size_t size = 0;
    long exponent = 0;
    for (const char *at = digits; *at; at++) {
        if (*at == '.')
            continue;
        if (size == 0 && *at == '0')
            continue;
        out[size++] = *at;
    }
    if (point)
        exponent = -(long)strlen(point + 1);
    while (size > 0 && out[size - 1] == '0') {
        size--;
        exponent++;
    }
    snprintf(out + size, 64, "%se%ld", size > 0 && *plain == '-' ? "-" : "", size ? exponent : 0);
}

/* A decimal with few places, close to a double in half of the cases. */
static void random_plain(char *out, size_t cap)
{
    const unsigned places = random_below(12);
    const int64_t digits = (int64_t)random_next() >> random_below(64);
    if (random_below(2))
        snprintf(out, cap, "%.*f", (int)places, (double)digits / (double)(1u << places));
    else if (places)
        snprintf(out, cap, "%" PRId64 ".%0*u", digits / 1000, (int)places, random_below(1000));
    else
        snprintf(out, cap, "%" PRId64, digits);
}

static void numbers_are_equal_when_they_are(void **state)
{
    static char text[1500], mine[1600], theirs[1600];
    static struct key decimal_key, double_key;
    unsigned equal = 0, different = 0;
    (void)state;
    for (unsigned i = 0; i < RANDOM_NUMBERS; i++) {
        random_plain(text, sizeof(text));
        const struct sp_value decimal = sp_bytes(SP_TYPE_NUMERIC, text, strlen(text));
        const struct sp_value real = sp_float(strtod(text, NULL));
        if (encode(&decimal, &decimal_key) != SP_OK)
            continue; /* more than 34 digits */
        assert_int_equal(encode(&real, &double_key), SP_OK);
        expanded(text, mine);
        snprintf(text, sizeof(text), "%.1100f", real.f);
        expanded(text, theirs);
        const bool are = strcmp(mine, theirs) == 0;
        if (are != same(&decimal_key, &double_key))
            fail_msg("%s and %s", mine, theirs);
        equal += are;
        different += !are;
    }
    print_message("%u equal, %u different\n", equal, different);
    assert_true(equal > RANDOM_NUMBERS / 10 && different > RANDOM_NUMBERS / 10);
}

/* libbson's reading of a decimal is ours, where it is exact. */
static void decimals_are_parsed_as_libbson_does(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RANDOM_NUMBERS; i++) {
        char text[BSON_DECIMAL128_STRING];
        struct bson_decimal ours, theirs;
        const bson_decimal128_t decimal = bson_random_decimal();
        bson_decimal128_to_string(&decimal, text);
        assert_int_equal(bson_decimal_parse(text, strlen(text), &ours), SP_OK);
        bson_decimal_load((const uint8_t *)&decimal, &theirs);
        assert_int_equal(ours.kind, theirs.kind);
        if (ours.kind == BSON_FINITE &&
            (ours.negative != theirs.negative || ours.c != theirs.c || ours.e != theirs.e))
            fail_msg("%s", text);
    }
}

/* --- keys of several columns --------------------------------------------------------------- */

static void keys_have_several_columns(void **state)
{
    const struct row_column columns[] = {
        {.name = "a", .type = SP_TYPE_BSON_VALUE, .key_position = 0},
        {.name = "b", .type = SP_TYPE_INT64, .key_position = 1},
        {.name = "c", .type = SP_TYPE_BSON_VALUE, .key_position = 2}};
    const struct sp_value values[] = {sp_float(5), sp_int(6), sp_text("x", 1)};
    struct sp_value out[3];
    struct schema *many;
    uint8_t key[64];
    size_t size;
    (void)state;
    assert_int_equal(schema_build(columns, 3, NULL, 0, &many, NULL, 0), SP_OK);
    assert_int_equal(row_key_encode(many, many->key_columns, 3, values, 3, key, sizeof(key), &size),
                     SP_OK);
    assert_int_equal(size, 4 + 9 + 8 + 4 + 7);
    assert_int_equal(row_key_decode(many, many->key_columns, 3, key, size, out), SP_OK);
    assert_memory_equal(out[0].bytes.data, "\x12\5\0\0\0\0\0\0\0", 9);
    assert_int_equal(out[1].i, 6);
    assert_memory_equal(out[2].bytes.data, "\x02\2\0\0\0x\0", 7);
    schema_free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_values_have_one_key),
        cmocka_unit_test(canonical_is_canonical),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(text_has_one_meaning),
        cmocka_unit_test(text_and_json_name_their_value),
        cmocka_unit_test(numbers_are_equal_when_they_are),
        cmocka_unit_test(decimals_are_parsed_as_libbson_does),
        cmocka_unit_test(keys_have_several_columns),
    };
    const struct row_column id = {.name = "_id", .type = SP_TYPE_BSON_VALUE};
    random_start();
    if (schema_build(&id, 1, NULL, 0, &schema, NULL, 0) != SP_OK)
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    schema_free(schema);
    return failed;
}
