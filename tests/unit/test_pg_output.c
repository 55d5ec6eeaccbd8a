/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the replication messages of PostgreSQL, and its values in text form, are read exactly, and
 * what is none is refused.
 * Method: messages that a real server (15) sent, also cut at each byte; texts as it prints them.
 * What whole tables come to is tested against a server (tests/system/test_feed_postgresql.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "server/source/postgresql_feed.h"

/* What stands before a message in a stream: w, two positions and a time. */
#define HEAD "77000000000000000100000000000000020000000000000003"

static struct pg_output output;
static unsigned char bytes[1024];

static size_t unhex(const char *hex)
{
    const size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return size;
}

/* Reads a message from memory of its own size, and sees that a part of it is none. */
static void read_message(const char *hex)
{
    const size_t size = unhex(hex);
    for (size_t i = 0; i <= size; i++) {
        unsigned char *part = malloc(i ? i : 1);
        assert_non_null(part);
        memcpy(part, bytes, i);
        assert_int_equal(pg_output_read(part, i, &output), i == size);
        free(part);
    }
    assert_true(pg_output_read(bytes, size, &output)); /* what it points to stays */
}

static void expect_field(const struct pg_field *field, const char *text)
{
    assert_int_equal(field->kind, PG_FIELD_TEXT);
    assert_int_equal(field->size, strlen(text));
    assert_memory_equal(field->data, text, field->size);
}

static void test_messages(void **state)
{
    (void)state;
    read_message(HEAD "42000000000150d1a80003044464bc73b4000002db");
    assert_int_equal(output.kind, PG_MESSAGE_BEGIN);
    assert_int_equal(output.lsn, 0x150d1a8);
    read_message(HEAD "4300000000000150d1a8000000000150d1d80003044464bc73b4");
    assert_int_equal(output.kind, PG_MESSAGE_COMMIT);
    assert_int_equal(output.lsn, 0x150d1d8);
    assert_int_equal(output.time_us / 1000000, 1795801524);
    read_message(HEAD "52000040007075626c69630074006400050169640000000017ffffffff00610000000019ffff"
                      "ffff006e00000006a4000a0006007a00000004a0ffffffff00616900000003efffffffff");
    assert_int_equal(output.kind, PG_MESSAGE_RELATION);
    assert_int_equal(output.relation, 16384);
    assert_string_equal(output.schema, "public");
    assert_string_equal(output.name, "t");
    assert_int_equal(output.count, 5);
    assert_string_equal(output.columns[2].name, "n");
    assert_int_equal(output.columns[2].type, PG_NUMERIC);
    assert_int_equal(output.columns[2].modifier, 10 << 16 | 6);
    assert_int_equal(output.columns[4].modifier, -1);
    read_message("6b00000016b374d8480003044464bc73b401");
    assert_int_equal(output.kind, PG_MESSAGE_KEEPALIVE);
    assert_int_equal(output.lsn, UINT64_C(0x16b374d848));
    assert_true(output.answer);
}

static void test_rows(void **state)
{
    (void)state;
    read_message(HEAD
                 "49000040004e00057400000001317400000005636166c3a974000000052d312e3530740000001"
                 "9323032362d31312d32372031373a30353a30302e32352b303074000000087b312c4e554c4c7d");
    assert_int_equal(output.kind, PG_MESSAGE_INSERT);
    assert_int_equal(output.new.count, 5);
    expect_field(&output.new.fields[3], "2026-11-27 17:05:00.25+00");
    read_message(HEAD "55000040004e0005740000000133757400000004332e30306e6e");
    assert_int_equal(output.kind, PG_MESSAGE_UPDATE);
    assert_int_equal(output.old.kind, 0);
    assert_int_equal(output.new.fields[1].kind, PG_FIELD_UNCHANGED);
    assert_int_equal(output.new.fields[3].kind, PG_FIELD_NULL);
    read_message(HEAD "55000040074f00027400000001317400000001614e0002740000000131740000000162");
    assert_int_equal(output.old.kind, 'O');
    expect_field(&output.old.fields[1], "a");
    expect_field(&output.new.fields[1], "b");
    read_message(HEAD "44000040004b00057400000001326e6e6e6e");
    assert_int_equal(output.kind, PG_MESSAGE_DELETE);
    assert_int_equal(output.old.kind, 'K');
    read_message(HEAD "5400000002000000400000004007");
    assert_int_equal(output.kind, PG_MESSAGE_TRUNCATE);
    assert_int_equal(pg_output_truncated(&output, 1), 16391);
    assert_true(pg_output_read(bytes, unhex(HEAD "590000400f7075626c6963006d6f6f6400"), &output));
    assert_int_equal(output.kind, PG_MESSAGE_OTHER);
    assert_false(pg_output_read(bytes, unhex(HEAD "51"), &output));
}

static void test_positions(void **state)
{
    char text[PG_LSN_BYTES];
    uint64_t lsn;
    (void)state;
    pg_lsn_text(UINT64_C(0x16b374d848), text);
    assert_string_equal(text, "16/B374D848");
    assert_true(pg_lsn_read("16/b374d848", &lsn));
    assert_int_equal(lsn, UINT64_C(0x16b374d848));
    assert_false(pg_lsn_read("16", &lsn));
    assert_false(pg_lsn_read("/1", &lsn));
    assert_false(pg_lsn_read("1/", &lsn));
    assert_false(pg_lsn_read("1/123456789", &lsn));
    assert_false(pg_lsn_read("1/2 ", &lsn));
    char position[PG_POSITION_BYTES];
    uint32_t timeline;
    pg_position_text(UINT64_MAX, 999999999, position);
    assert_string_equal(position, "FFFFFFFF/FFFFFFFF@999999999");
    assert_true(pg_position_read(position, &lsn, &timeline));
    assert_true(lsn == UINT64_MAX && timeline == 999999999);
    assert_false(pg_position_read("1/2", &lsn, &timeline));
    assert_false(pg_position_read("1/2@", &lsn, &timeline));
    assert_false(pg_position_read("1/2@1 ", &lsn, &timeline));
    assert_false(pg_position_read("1/2@1234567890", &lsn, &timeline));
    assert_false(pg_position_read("", &lsn, &timeline));
}

/* A history as the server writes it: which timelines it came by, and where each of them ended. */
static void test_history(void **state)
{
    static const char history[] = "1\t0/3000158\tno recovery target specified\n\n"
                                  "2\t0/5000000\tbefore 2026-11-20 12:00:00+00\n";
    (void)state;
    assert_true(pg_history_has(history, 1, 0x3000158));
    assert_false(pg_history_has(history, 1, 0x3000159));
    assert_true(pg_history_has(history, 2, 0x4000000));
    assert_false(pg_history_has(history, 3, 1));
    assert_false(pg_history_has("", 1, 1));
    assert_false(pg_history_has("1", 1, 1));
    assert_false(pg_history_has("x\n1\tq\n", 1, 1));
}

/* The text as it comes, and what row_value_text makes of the value; NULL: it is none. */
struct example {
    Oid type;
    bool is_array;
    const char *text, *value;
};

static void check_example(const struct example *example)
{
    const struct pg_form form = {example->type, example->is_array, ','};
    struct source_scratch scratch = {0};
    struct sp_value value;
    enum sp_type type = SP_TYPE_TEXT;
    char text[256];
    const size_t size = strlen(example->text);
    unsigned char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, example->text, size);
    pg_type(example->type, &type);
    if (example->is_array)
        type = SP_TYPE_JSON;
    const char *why = pg_text_value(&form, type, copy, size, &scratch, &value);
    if ((why == NULL) != (example->value != NULL))
        fail_msg("%s: %s", example->text, why ? why : "is none");
    if (!why) {
        row_value_text(&value, text, sizeof(text));
        assert_string_equal(text, example->value);
        assert_int_equal(value.type, type);
    }
    free(scratch.text);
    free(copy);
}

static void test_values(void **state)
{
    static const struct example examples[] = {
        {PG_BOOL, false, "t", "true"},
        {PG_BOOL, false, "true", NULL},
        {PG_INT4, false, "-2147483648", "-2147483648"},
        {PG_INT4, false, "2147483648", NULL},
        {PG_INT8, false, "-9223372036854775808", "-9223372036854775808"},
        {PG_INT8, false, "9223372036854775807", "9223372036854775807"},
        {PG_INT8, false, "9223372036854775808", NULL},
        {PG_INT8, false, "99999999999999999999", NULL},
        {PG_INT8, false, "", NULL},
        {PG_INT8, false, "1 ", NULL},
        {PG_FLOAT8, false, "1e-300", "1e-300"},
        {PG_FLOAT4, false, "-Infinity", "-Infinity"},
        {PG_NUMERIC, false, "-0.00012300", "-0.00012300"},
        {PG_DATE, false, "0044-03-15 BC", "-0043-03-15"},
        {PG_DATE, false, "5874897-12-31", "+5874897-12-31"},
        {PG_DATE, false, "infinity", "infinity"},
        {PG_DATE, false, "2026-13-01", NULL},
        {PG_DATE, false, "2026-02-29", NULL},
        {PG_TIMESTAMP, false, "1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999"},
        {PG_TIMESTAMP, false, "2026-11-27 17:05:00+00", NULL},
        {PG_TIMESTAMPTZ, false, "2026-11-27 17:05:00.25+05:30", "2026-11-27T11:35:00.250000Z"},
        {PG_TIMESTAMPTZ, false, "1800-01-01 00:00:00-00:00:52", "1800-01-01T00:00:52Z"},
        {PG_TIMESTAMPTZ, false, "4713-01-01 00:00:00+00 BC", "-4712-01-01T00:00:00Z"},
        {PG_TIMESTAMPTZ, false, "294276-12-31 00:00:00+00", NULL},
        {PG_TIMESTAMPTZ, false, "2026-11-27 17:05:00", NULL},
        {PG_BYTEA, false, "\\x00fF", NULL},
        {PG_BYTEA, false, "\\x00ff", "\\x00ff"},
        {PG_BYTEA, false, "\\x0", NULL},
        {PG_INET, false, "10.0.0.1", "10.0.0.1/32"},
        {PG_INET, false, "::1", "::1/128"},
        {PG_INET, false, "10.0.0.1/8", "10.0.0.1/8"},
        {PG_TEXT, false, "\xff", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(*examples); i++)
        check_example(&examples[i]);
}

static void test_arrays(void **state)
{
    static const struct example examples[] = {
        {PG_INT4, true, "{1,NULL,3}", "[1,null,3]"},
        {PG_INT4, true, "{}", "[]"},
        {PG_INT4, true, "[2:3]={1,2}", "[1,2]"},
        {PG_INT4, true, "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
        {PG_TEXT, true, "{{a,\"b \\\"c\\\\\"},{NULL,\"NULL\"}}",
         "[[\"a\",\"b \\\"c\\\\\"],[null,\"NULL\"]]"},
        {PG_TEXT, true, "{\"\",\"a,}b\",\"\t\x01\"}", "[\"\",\"a,}b\",\"\\t\\u0001\"]"},
        {PG_FLOAT8, true, "{1e+300,-0,NaN,-Infinity}", "[1e+300,-0,\"NaN\",\"-Infinity\"]"},
        {PG_BOOL, true, "{t,f}", "[true,false]"},
        {PG_JSONB, true, "{\"{\\\"x\\\": 1}\",2}", "[{\"x\": 1},2]"},
        {PG_DATE, true, "{2026-01-01,\"0044-03-15 BC\"}", "[\"2026-01-01\",\"0044-03-15 BC\"]"},
        {PG_TIMESTAMP, true, "{\"2026-11-27 17:05:00\",infinity}",
         "[\"2026-11-27T17:05:00\",\"infinity\"]"},
        {PG_TIMESTAMPTZ, true, "{\"2026-11-27 17:05:00-03:30\",\"0044-03-15 12:00:00+00 BC\"}",
         "[\"2026-11-27T17:05:00-03:30\",\"0044-03-15T12:00:00+00:00 BC\"]"},
        {PG_INT4, true, "{1", NULL},
        {PG_INT4, true, "{1}}", NULL},
        {PG_INT4, true, "{{1}", NULL},
        {PG_INT4, true, "{1,}", NULL},
        {PG_INT4, true, "1,2", NULL},
        {PG_INT4, true, "", NULL},
        {PG_TEXT, true, "{\"a", NULL},
        {PG_TEXT, true, "{\"a\\", NULL},
        {PG_INT4, true, "{{{{{{{1}}}}}}}", NULL},
        {PG_TEXT, true, "{\xff}", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(*examples); i++)
        check_example(&examples[i]);
}

/* A NaN has a sign, which its text does not show: in binary form it must not show either, or a row
 * that came by COPY would differ from the same one that came by the stream. */
static void test_nan(void **state)
{
    static const unsigned char f8[] = {0xff, 0xf8, 0, 0, 0, 0, 0, 1}, f4[] = {0xff, 0xc0, 0, 1};
    const struct pg_form form = {PG_FLOAT8, false, ','};
    struct source_scratch scratch = {0};
    struct sp_value value, text;
    (void)state;
    assert_null(
        pg_text_value(&form, SP_TYPE_FLOAT64, (const unsigned char *)"NaN", 3, &scratch, &text));
    assert_null(pg_value(PG_FLOAT8, f8, sizeof(f8), &scratch, &value));
    assert_memory_equal(&value.f, &text.f, sizeof(value.f));
    assert_null(pg_value(PG_FLOAT4, f4, sizeof(f4), &scratch, &value));
    assert_memory_equal(&value.f, &text.f, sizeof(value.f));
    free(scratch.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),  cmocka_unit_test(test_rows),
        cmocka_unit_test(test_positions), cmocka_unit_test(test_history),
        cmocka_unit_test(test_values),    cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests_name("pg_output", tests, NULL, NULL);
}
