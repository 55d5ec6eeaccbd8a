/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: MariaDB's binary log is read as it was meant, statements in it are judged on the safe side,
 * text is what the server's tables make of it, and positions are what they say. Method: files that
 * a MariaDB 10.11 has written (the corpus of fuzz_binlog, with the statements that made them below)
 * are read into text. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binlog_sample.h"
#include "source_record.h"

#define NULLS_5  "|<null>|<null>|<null>|<null>|<null>"
#define NULLS_25 NULLS_5 NULLS_5 NULLS_5 NULLS_5 NULLS_5
#define HALF     NULLS_5 "|<null>|<null>|0.5000000000|<null>|<null>" NULLS_5 NULLS_5 NULLS_5

#define FULL_ROW                                                                                   \
    "put 1|255|18446744073709551615|true|8191|18446744073709551615|0.1|1e+300|"                    \
    "-12345678901234567890.0123456789|ab|caf\xc3\xa9|caf\xc3\xa9 \xe2\x82\xac|it's|x,z|"           \
    "\\x6162000000|\\x00ff|2024-02-29|1969-12-31T23:59:59.999000|"                                 \
    "2038-01-19T03:14:07.999990Z|-838:59:58.9|{\"a\": 1}|"                                         \
    "00112233-4455-1677-8899-aabbccddeeff|2001:db8::1|10.0.0.1|"                                   \
    "\\x000000000101000000000000000000f03f0000000000000040|2026\n"

struct reader {
    struct binlog log;
    struct binlog_table table;
    char text[8192];
};

static void note(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct reader *r, const char *format, ...)
{
    const size_t used = strlen(r->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->text + used, sizeof(r->text) - used, format, arguments);
    va_end(arguments);
}

static int on_put(void *context, unsigned table, const struct sp_value *old_key,
                  const struct sp_value *values, const bool *absent)
{
    struct reader *r = context;
    struct source_record record = {0};
    const struct source_sink sink = source_record_sink(&record);
    assert_int_equal(table, 0);
    assert_null(absent);
    assert_int_equal(sink.row(sink.context, values, SAMPLE_COLUMNS), SP_OK);
    if (old_key)
        note(r, "from %lld ", (long long)old_key->i);
    note(r, "put %s", record.text);
    source_record_free(&record);
    return SP_OK;
}

static int on_remove(void *context, unsigned table, const struct sp_value *key)
{
    assert_int_equal(table, 0);
    note(context, "remove %lld\n", (long long)key->i);
    return SP_OK;
}

static int on_truncate(void *context, unsigned table)
{
    assert_int_equal(table, 0);
    note(context, "truncate\n");
    return SP_OK;
}

static int on_bad_row(void *context, unsigned table, const struct sp_value *values, unsigned column,
                      const char *why)
{
    assert_int_equal(table, 0);
    note(context, "bad %lld %u %s\n", (long long)values[0].i, column, why);
    return SP_OK;
}

static int on_reshaped(void *context, unsigned table, const char *why)
{
    assert_int_equal(table, 0);
    note(context, "reshaped: %s\n", why);
    return SP_OK;
}

static void at_point(void *context, enum binlog_point point)
{
    struct reader *r = context;
    char position[FEED_POSITION_BYTES];
    if (point == BINLOG_GROUP && r->log.changes > 0) {
        gtid_print_ids(&r->log.state, position);
        note(r, "commit %s\n", position);
    }
    if (point == BINLOG_HEARTBEAT)
        note(r, "idle\n");
}

static unsigned char *read_file(const char *name, size_t *size)
{
    char path[1024];
    const char *tree = getenv("SIDEPOND_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/binlog/%s", tree ? tree : ".", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be opened", path);
    unsigned char *data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

/* What a log says. */
static void expect_log(const char *name, const unsigned char *data, size_t size, const char *text)
{
    struct reader *r = calloc(1, sizeof(*r));
    const struct gtid_state start = {0};
    const struct source_feed_sink sink = {r,          on_put,      on_remove, on_truncate,
                                          on_bad_row, on_reshaped, NULL};
    assert_true(sample_table(&r->table));
    assert_int_equal(binlog_open(&r->log, &r->table, 1, &start), SP_OK);
    if (sample_read(&r->log, data, size, &sink, at_point) != SP_OK)
        fail_msg("%s: %s", name, r->log.why);
    assert_string_equal(r->text, text);
    binlog_close(&r->log);
    binlog_table_free(&r->table);
    free(r);
}

/* What a file of the corpus says. */
static void expect_file(const char *name, const char *text)
{
    size_t size;
    unsigned char *data = read_file(name, &size);
    expect_log(name, data, size, text);
    free(data);
}

/* --- files ---------------------------------------------------------------------------------- */

/* INSERT of a row with everything; INSERT (id) of 2 and 3; UPDATE SET h = 0.5, p = '0000-00-00',
 * id = id + 10 of these; DELETE of 12. */
static void test_types(void **state)
{
    (void)state;
    expect_file("types", FULL_ROW "commit 0-1-4\n"
                                  "put 2" NULLS_25 "\n"
                                  "put 3" NULLS_25 "\n"
                                  "commit 0-1-5\n"
                                  "from 2 put 12" HALF "\n"
                                  "from 3 put 13" HALF "\n"
                                  "commit 0-1-6\n"
                                  "remove 12\n"
                                  "commit 0-1-7\n");
}

/* What cannot be told row by row: see the texts. The XA transaction that is rolled back, and the
 * last row, which has a column less, change nothing. */
static void test_statements(void **state)
{
    (void)state;
    expect_file(
        "statements",
        "bad 1 3 not 0 or 1 in a column of booleans\n"
        "commit 0-1-10\n"
        "truncate\n"
        "commit 0-1-11\n"
        "put 1" NULLS_25 "\n"
        "commit 0-1-12\n"
        "reshaped: a statement has changed it\n"
        "commit 0-1-13\n"
        "reshaped: a change was logged as a statement: binlog_format is not ROW in its session\n"
        "commit 0-1-14\n"
        "reshaped: a change was logged without all columns: binlog_row_image is not FULL in its "
        "session\n"
        "commit 0-1-15\n"
        "reshaped: an XA transaction was committed, whose rows the log had before\n"
        "commit 0-1-17\n"
        "reshaped: a statement has changed it\n"
        "commit 0-1-20\n"
        "reshaped: its columns are others in the log\n"
        "commit 0-1-21\n");
}

static void test_compressed(void **state)
{
    (void)state;
    expect_file("compressed", FULL_ROW "commit 0-1-24\n"
                                       "put 2" NULLS_25 "\n"
                                       "put 3" NULLS_25 "\n"
                                       "commit 0-1-25\n"
                                       "truncate\n"
                                       "commit 0-1-26\n");
}

static void test_no_checksum(void **state)
{
    (void)state;
    expect_file("no_checksum", "put 1" NULLS_25 "\n"
                               "commit 0-1-29\n");
}

/* The place of the first event of a type, or of what follows it. */
static size_t place_of(const unsigned char *data, unsigned char type, bool behind)
{
    size_t at = 4, size = 0;
    do {
        at += size;
        size = data[at + 9] + ((size_t)data[at + 10] << 8);
    } while (data[at + 4] != type);
    return behind ? at + size : at;
}

/* The server died while it wrote a transaction, and goes on in another file: what was read of it is
 * no transaction, and not what a heartbeat speaks of. */
static void test_unfinished(void **state)
{
    (void)state;
    static const unsigned char rotate[19 + 8 + 7 + 4] = {[4] = 4, [9] = 38, [27] = 'b'};
    static const unsigned char heartbeat[19 + 4] = {[4] = 27, [9] = 23};
    size_t size;
    unsigned char *data = read_file("types", &size);
    const size_t format = place_of(data, 15, true); /* with what marks the file */
    size = place_of(data, 16, false);               /* XID */
    memcpy(data + size, heartbeat, sizeof(heartbeat));
    expect_log("in a transaction", data, size + sizeof(heartbeat), FULL_ROW);
    memcpy(data + size, rotate, sizeof(rotate));
    memcpy(data + size + sizeof(rotate), data + 4, format - 4);
    memcpy(data + size + sizeof(rotate) + format - 4, heartbeat, sizeof(heartbeat));
    expect_log("no end", data, size + sizeof(rotate) + format - 4 + sizeof(heartbeat),
               FULL_ROW "reshaped: a transaction in the log has no end\nidle\n");
    free(data);
}

/* Before the format is known nothing is taken from a server, so the sink may be empty. */
static void test_too_early(void **state)
{
    (void)state;
    const struct source_feed_sink sink = {0};
    const struct gtid_state start = {0};
    struct binlog_table table;
    assert_true(sample_table(&table));
    for (unsigned type = 0; type < 256; type++) {
        unsigned char event[19 + 64] = {[4] = (unsigned char)type, [9] = sizeof(event)};
        enum binlog_point point;
        struct binlog log;
        assert_int_equal(binlog_open(&log, &table, 1, &start), SP_OK);
        const bool may_come = type == 4 || type == 15; /* ROTATE, FORMAT_DESCRIPTION */
        const int status = binlog_event(&log, event, sizeof(event), &sink, &point);
        if (may_come ? type == 4 && status != SP_OK
                     : status != SP_ESOURCE || point != BINLOG_INSIDE)
            fail_msg("event %u: %s", type, sp_status_name(status));
        binlog_close(&log);
    }
    binlog_table_free(&table);
}

/* --- statements ----------------------------------------------------------------------------- */

static void test_touch(void **state)
{
    (void)state;
    char database[] = "shop", name[] = "users";
    const struct binlog_table table = {.database = database, .name = name};
    static const struct {
        const char *sql, *database;
        enum binlog_touch touch;
    } cases[] = {
        {"TRUNCATE users", "shop", TOUCH_TRUNCATE},
        {"truncate table `users`", "shop", TOUCH_TRUNCATE},
        {"TRUNCATE TABLE shop.users /* why */", "", TOUCH_TRUNCATE},
        {"TRUNCATE `shop` . `users`", "other", TOUCH_TRUNCATE},
        {"TRUNCATE other.users", "shop", TOUCH_NOT},
        {"TRUNCATE USERS", "shop", TOUCH_SHAPE}, /* the same on some servers */
        {"TRUNCATE Shop.users", "shop", TOUCH_SHAPE},
        {"TRUNCATE users", "other", TOUCH_NOT},
        {"TRUNCATE users_2", "shop", TOUCH_NOT},
        {"ALTER TABLE users ADD x int", "shop", TOUCH_SHAPE},
        {"/* users */ ALTER TABLE other ADD x int", "shop", TOUCH_SHAPE},
        {"alter table shop.USERS add x int", "", TOUCH_SHAPE},
        {"ALTER TABLE users ADD x int", "other", TOUCH_NOT},
        {"ALTER TABLE users2 ADD x int", "shop", TOUCH_NOT},
        {"RENAME TABLE a TO shop.users", "other", TOUCH_SHAPE},
        {"CREATE OR REPLACE TABLE users (id int)", "shop", TOUCH_SHAPE},
        {"DROP TABLE IF EXISTS `users` /* generated by server */", "shop", TOUCH_SHAPE},
        {"DROP DATABASE shop", "", TOUCH_SHAPE},
        {"DROP DATABASE shop2", "", TOUCH_NOT},
        {"CREATE OR REPLACE SCHEMA shop", "", TOUCH_SHAPE},
        {"CREATE DATABASE shop", "", TOUCH_NOT},
        {"DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `users`", "shop", TOUCH_NOT},
        {"DROP TEMPORARY TABLE IF EXISTS users", "shop", TOUCH_NOT},
        {"CREATE INDEX i ON users (a)", "shop", TOUCH_NOT},
        {"CREATE UNIQUE INDEX i ON users (a)", "shop", TOUCH_NOT},
        {"CREATE OR REPLACE VIEW v AS SELECT * FROM users", "shop", TOUCH_NOT},
        {"ANALYZE TABLE users", "shop", TOUCH_NOT},
        {"UPDATE users SET a = 1", "shop", TOUCH_ROWS},
        {"SET STATEMENT max_statement_time = 1 FOR DELETE FROM users", "shop", TOUCH_ROWS},
        {"/*!50001 ALTER TABLE users ADD x int */", "shop", TOUCH_SHAPE},
        {"/*!40000 ALTER TABLE `other` DISABLE KEYS */", "shop", TOUCH_NOT},
        {"/*!50001 CREATE */ /*M!100000 VIEW v */ AS SELECT 1", "shop", TOUCH_NOT},
        {"/* why */ -- so", "shop", TOUCH_NOT},
        {"LOAD DATA INFILE 'x' INTO TABLE users", "shop", TOUCH_ROWS},
        {"INSERT INTO orders SELECT 1", "shop", TOUCH_ROWS}, /* there may be a trigger */
        {"SELECT `other`.`f`()", "shop", TOUCH_ROWS},
        {"ANALYZE UPDATE v SET a = 1", "shop", TOUCH_ROWS},
        {"ANALYZE FORMAT=JSON DELETE FROM v", "shop", TOUCH_ROWS},
        {"ANALYZE LOCAL TABLE users", "shop", TOUCH_NOT},
        {"CREATE TABLE other AS SELECT f()", "shop", TOUCH_ROWS},
        {"CREATE TEMPORARY TABLE other AS SELECT f()", "shop", TOUCH_ROWS},
        {"CREATE TEMPORARY TABLE users (id int)", "shop", TOUCH_NOT},
        {"SET PASSWORD FOR 'users'@'%' = '*1'", "shop", TOUCH_NOT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const enum binlog_touch touch =
            binlog_statement_on(cases[i].sql, strlen(cases[i].sql), cases[i].database, &table);
        if (touch != cases[i].touch)
            fail_msg("%s in %s: %d", cases[i].sql, cases[i].database, (int)touch);
    }
}

static void test_effects(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        enum binlog_effect effect;
    } cases[] = {
        {"BEGIN", EFFECT_BEGIN},
        {"COMMIT", EFFECT_COMMIT},
        {"ROLLBACK", EFFECT_ROLLBACK},
        {"ROLLBACK TO `s`", EFFECT_ROLLBACK},
        {"SAVEPOINT `s`", EFFECT_NONE},
        {"XA END X'78',X'',1", EFFECT_NONE},
        {"XA COMMIT X'78'", EFFECT_COMMIT},
        {"COMMITMENT", EFFECT_OTHER},
        {"", EFFECT_OTHER},
        {"/* unfinished", EFFECT_OTHER},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(binlog_statement(cases[i].sql, strlen(cases[i].sql)), cases[i].effect);
}

/* --- character sets ------------------------------------------------------------------------- */

#define PAIRS (128 * 192) /* two bytes, from 0x80 and from 0x40 on */

static void expect_text(const struct binlog_charset *set, const char *data, size_t bytes,
                        const char *wanted)
{
    struct source_scratch scratch = {0};
    size_t size = 0;
    const char *why = binlog_charset_text(set, (const unsigned char *)data, bytes, &scratch, &size);
    if (wanted) {
        assert_null(why);
        assert_int_equal(size, strlen(wanted));
        assert_memory_equal(scratch.text, wanted, size);
    } else {
        assert_string_equal(why, "text that is not of its character set");
    }
    free(scratch.text);
}

/* A set of the ASCII characters, and one of two bytes, 0x80 0x41. */
static void test_charset_tables(void **state)
{
    (void)state;
    struct binlog_charset *set = binlog_charset_new("of_test");
    char *answer = malloc(PAIRS * 4);
    size_t bytes = 0;
    for (unsigned i = 0; i < 256; i++) {
        answer[bytes++] = i < 128 ? (char)i : '?';
        answer[bytes++] = '\n';
    }
    assert_false(binlog_charset_answer(set, CHARSET_BYTES, answer, bytes - 1));
    assert_false(binlog_charset_answer(set, CHARSET_BYTES, "\xf0\x9f\x98\x80\n", 5));
    assert_true(binlog_charset_answer(set, CHARSET_BYTES, answer, bytes));
    expect_text(set, "a\x80z", 3, "a?z");
    bytes = 0;
    for (unsigned i = 0; i < PAIRS; i++) {
        memcpy(answer + bytes, i == 1 ? "\xe2\x82\xac\n" : "?A\n", 4);
        bytes += i == 1 ? 4 : 3;
    }
    assert_true(binlog_charset_answer(set, CHARSET_PAIRS, answer, bytes));
    expect_text(set, "a\x80\x41\x80\x42\x80", 6, "a\xe2\x82\xac?B?");
    free(answer);
    binlog_charset_free(set);
}

static void test_charset_units(void **state)
{
    (void)state;
    struct binlog_charset *utf16 = binlog_charset_new("utf16le");
    struct binlog_charset *utf32 = binlog_charset_new("utf32");
    expect_text(utf16, "a\0\x3d\xd8\x00\xde", 6, "a\xf0\x9f\x98\x80");
    expect_text(utf16, "a\0\x3d\xd8", 4, NULL);      /* half of two */
    expect_text(utf16, "\x3d\xd8\x3d\xd8", 4, NULL); /* first halves only */
    expect_text(utf16, "\x00\xde\x61\x00", 4, NULL); /* a second half */
    expect_text(utf16, "a\0b", 3, NULL);
    expect_text(utf32, "\0\x01\xf6\x00", 4, "\xf0\x9f\x98\x80");
    expect_text(utf32, "\0\x11\x00\x00", 4, NULL); /* beyond Unicode */
    expect_text(utf32, "", 0, "");
    binlog_charset_free(utf16);
    binlog_charset_free(utf32);
}

/* --- positions ------------------------------------------------------------------------------ */

static void test_positions(void **state)
{
    (void)state;
    static const char *const good[] = {"none",
                                       "0-1-1",
                                       "0-1-18446744073709551615",
                                       "0-1-5,4294967295-4294967295-7",
                                       "none@binlog.000001:4",
                                       "0-1-5,2-1-3@odd:@,name.1:18446744073709551615"};
    static const char *const bad[] = {
        "x",       "0-1",     "0-1-",     "0-1-2,",         "0-1-2x",   "-",
        "0-1--2",  "0-1-2 3", "NONE",     "4294967296-1-1", "0,1",      "0-1-18446744073709551616",
        "0-1-1@",  "0-1-1@f", "0-1-1@f:", "0-1-1@f:1x",     "0-1-1@:1", "@f:1x",
        "nonesuch"};
    struct gtid_state a, b;
    char text[FEED_POSITION_BYTES];
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(gtid_parse(good[i], &a));
        gtid_print(&a, text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (gtid_parse(bad[i], &a))
            fail_msg("%s", bad[i]);
    assert_true(gtid_parse("0-1-5,1-1-7", &a) && gtid_parse("0-2-5", &b));
    assert_true(gtid_covers(&a, &b));
    assert_false(gtid_same(&a, &b));
    assert_false(gtid_covers(&b, &a));
    assert_true(gtid_parse("", &b) && gtid_covers(&a, &b));
    assert_true(gtid_advance(&a, &(struct gtid){0, 3, 6}));
    gtid_print(&a, text);
    assert_string_equal(text, "0-3-6,1-1-7");
    for (unsigned i = a.count; i < GTID_DOMAINS_MAX; i++)
        assert_true(gtid_advance(&a, &(struct gtid){100 + i, 1, 1}));
    assert_false(gtid_advance(&a, &(struct gtid){99, 1, 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),          cmocka_unit_test(test_statements),
        cmocka_unit_test(test_compressed),     cmocka_unit_test(test_no_checksum),
        cmocka_unit_test(test_unfinished),     cmocka_unit_test(test_too_early),
        cmocka_unit_test(test_touch),          cmocka_unit_test(test_effects),
        cmocka_unit_test(test_charset_tables), cmocka_unit_test(test_charset_units),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests_name("binlog", tests, NULL, NULL);
}
