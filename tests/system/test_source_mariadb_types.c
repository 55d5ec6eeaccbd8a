/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: every type of MariaDB arrives from the MariaDB source exactly, its edge values too.
 * Method: runs under mariadb_server.py, which starts a server for it alone; rows are compared as
 * text. The random floats are the server's: a failure prints the number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_mariadb_fixture.h"

static void test_integers(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (a tinyint PRIMARY KEY, b tinyint unsigned NOT NULL, c smallint,"
           " d smallint unsigned, e mediumint, f mediumint unsigned zerofill, g int,"
           " h int unsigned, i bigint, j bigint unsigned, k year, l bool, m tinyint(1) unsigned);\n"
           "INSERT INTO t VALUES (-128, 0, -32768, 0, -8388608, 0, -2147483648, 0,"
           " -9223372036854775808, 0, 1901, false, 0), (127, 255, 32767, 65535, 8388607, 16777215,"
           " 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 2155, true, 255),"
           " (0, 1, NULL, NULL, NULL, 42, NULL, NULL, NULL, NULL, 0, NULL, NULL)");
    expect_description(f, &table,
                       "a int32 tinyint(4) not-null\nb int32 tinyint(3) unsigned not-null\n"
                       "c int32 smallint(6)\nd int32 smallint(5) unsigned\ne int32 mediumint(9)\n"
                       "f int32 mediumint(8) unsigned zerofill\ng int32 int(11)\n"
                       "h int64 int(10) unsigned\ni int64 bigint(20)\n"
                       "j numeric bigint(20) unsigned\nk int32 year(4)\nl bool tinyint(1)\n"
                       "m int32 tinyint(1) unsigned\n");
    expect_rows(f, &table,
                "-128|0|-32768|0|-8388608|0|-2147483648|0|-9223372036854775808|0|1901|false|0\n"
                "0|1|<null>|<null>|<null>|42|<null>|<null>|<null>|<null>|0|<null>|<null>\n"
                "127|255|32767|65535|8388607|16777215|2147483647|4294967295|9223372036854775807|"
                "18446744073709551615|2155|true|255\n");
}

static void test_bits_and_bools(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, a bit, b bit(8), c bit(63), d bit(64), e bool);\n"
           "INSERT INTO t VALUES (1, 0, b'101', 1, 1, 1), (2, 1, 255, 0x7fffffffffffffff,"
           " 0xffffffffffffffff, 0), (3, NULL, NULL, NULL, NULL, 2)");
    expect_description(f, &table,
                       "id int32 int(11) not-null\na bool bit(1)\nb int64 bit(8)\n"
                       "c int64 bit(63)\nd numeric bit(64)\ne bool tinyint(1)\n");
    expect_rows(f, &table,
                "1|false|5|1|1|true\n2|true|255|9223372036854775807|18446744073709551615|false\n"
                "bad 5: not 0 or 1 in a column of booleans: 3|<null>|<null>|<null>|<null>|"
                "<null>\n");
}

static void test_decimals_and_floats(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, a decimal(10,2), b decimal(65,30), c decimal(5,0)"
           " zerofill, d float, e double, f float(7,3));\n"
           "INSERT INTO t VALUES (1, -12345678.90, 12345678901234567890123456789012345.5, 7, 0.1,"
           " 0.1, 1.5), (2, 0, -0.000000000000000000000000000001, 0, 16777217, 1e300, -2),"
           " (3, NULL, NULL, NULL, -3.4028234e38, -2.2250738585072014e-308, NULL)");
    expect_description(f, &table,
                       "id int32 int(11) not-null\na numeric decimal(10,2)\n"
                       "b numeric decimal(65,30)\nc numeric decimal(5,0) unsigned zerofill\n"
                       "d float32 float\ne float64 double\nf float32 float(7,3)\n");
    expect_rows(f, &table,
                "1|-12345678.90|12345678901234567890123456789012345.500000000000000000000000000000"
                "|7|0.1|0.1|1.5\n"
                "2|0.00|-0.000000000000000000000000000001|0|16777216.0|1e+300|-2.0\n"
                "3|<null>|<null>|<null>|-3.4028235e+38|-2.2250738585072014e-308|<null>\n");
}

/* Both arrive as the same number that the server has: it compares them itself. */
static void test_random_floats(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    char check[256];
    unsigned lines = 0;
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, d double, s float);\n"
           "INSERT INTO t SELECT seq, @x := (RAND(seq) - 0.5) * POW(10, RAND() * 60 - 30), @x FROM"
           " seq_1_to_300");
    must(f, read_table(f, &table, NULL));
    for (char *line = strtok(f->record.text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        char id[16], d[64], s[64];
        assert_int_equal(sscanf(line, "%15[^|]|%63[^|]|%63s", id, d, s), 3);
        snprintf(check, sizeof(check),
                 "SELECT d = %s%s AND s = CAST(%s AS FLOAT) FROM t WHERE id = %s", d,
                 strchr(d, 'e') ? "" : "e0", s, id);
        if (sql_long(f, check) != 1)
            fail_msg("%s", line);
    }
    assert_int_equal(lines, 300);
}

static void test_text_and_bytes(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), b char(4), c text CHARACTER SET"
           " latin1, d varchar(9) CHARACTER SET utf16, e enum('sad','ok','it''s'),"
           " f set('x','y'), g binary(4), h varbinary(9), i longblob, j char(3) CHARACTER SET"
           " ucs2, k varchar(9) COLLATE utf8mb4_bin);\n"
           "INSERT INTO t VALUES (1, 'caf\xc3\xa9 \xf0\x9f\x98\x80', 'ab  ', 'caf\xc3\xa9 \xe2\x82"
           "\xac', '\xf0\x9f\x98\x80', 'it''s', 'x,y', 'ab', x'00ff', x'00', '\xc3\xa9', 'k'),"
           " (2, '', '', '', '', 'sad', '', '', '', '', '', ''), (3, NULL, NULL, NULL, NULL, NULL,"
           " NULL, NULL, NULL, NULL, NULL, NULL)");
    expect_description(f, &table,
                       "id int32 int(11) not-null\na text varchar(20)\nb text char(4)\n"
                       "c text text\nd text varchar(9)\ne text enum('sad','ok','it''s')\n"
                       "f text set('x','y')\ng bytes binary(4)\nh bytes varbinary(9)\n"
                       "i bytes longblob\nj text char(3)\nk text varchar(9)\n");
    expect_rows(f, &table,
                "1|caf\xc3\xa9 \xf0\x9f\x98\x80|ab|caf\xc3\xa9 \xe2\x82\xac|\xf0\x9f\x98\x80|it's|"
                "x,y|\\x61620000|\\x00ff|\\x00|\xc3\xa9|k\n"
                "2|||||sad||\\x00000000|\\x|\\x||\n"
                "3|<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>\n");
}

static void test_times(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f,
        "SET time_zone = '+02:00', sql_mode = 'ALLOW_INVALID_DATES';\n"
        "CREATE TABLE t (id int PRIMARY KEY, a timestamp(6) NULL, b datetime(3), c date NOT NULL,"
        " d time(2), e datetime);\n"
        "INSERT INTO t VALUES (1, '2026-11-20 12:00:00.123456', '1969-12-31 23:59:59.999',"
        " '2000-01-01', '-838:59:58.99', '9999-12-31 23:59:59'),"
        " (2, '1970-01-01 02:00:01', '0000-01-01', '1000-01-01', '00:00:00', '2026-02-28'),"
        " (3, 0, 0, 0, 0, 0), (4, NULL, NULL, '2024-02-29', NULL, NULL),"
        " (5, NULL, NULL, '2026-02-31', NULL, NULL), (6, NULL, NULL, '2026-05-00', NULL, NULL)");
    expect_description(f, &table,
                       "id int32 int(11) not-null\na timestamp timestamp(6)\n"
                       "b datetime datetime(3)\nc date date\nd text time(2) as-text\n"
                       "e datetime datetime\n");
    expect_rows(f, &table,
                "1|2026-11-20T10:00:00.123456Z|1969-12-31T23:59:59.999000|2000-01-01|-838:59:58.99"
                "|9999-12-31T23:59:59\n"
                "2|1970-01-01T00:00:01Z|0000-01-01T00:00:00|1000-01-01|00:00:00.00|"
                "2026-02-28T00:00:00\n"
                "3|<null>|<null>|<null>|00:00:00.00|<null>\n"
                "4|<null>|<null>|2024-02-29|<null>|<null>\n"
                "bad 3: a date that is not in the calendar: 5|<null>|<null>|<null>|<null>|<null>\n"
                "bad 3: a date that is not in the calendar: 6|<null>|<null>|<null>|<null>|"
                "<null>\n");
}

static void test_other_types(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    const struct source_table query = {
        .name = "q",
        .query = "SELECT j, u, 1.50 AS n, NULL AS z, 'a' AS s, 1 = 1 AS b, x'00' AS x,"
                 " COUNT(*) AS c, CAST(id AS UNSIGNED) AS v, DATE '2026-11-20' AS d FROM t"};
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, j json, u uuid, a inet6, b inet4, p point,"
           " g int AS (id * 2), s int AS (id * 3) STORED, h int INVISIBLE);\n"
           "INSERT INTO t (id, j, u, a, b, p) VALUES (1, '{\"a\":  [1.50]}',"
           " '00112233-4455-6677-8899-AABBCCDDEEFF', '::1', '10.0.0.1', POINT(1, 2))");
    expect_description(f, &table,
                       "id int32 int(11) not-null\nj json json\nu uuid uuid\n"
                       "a text inet6 as-text\nb text inet4 as-text\np bytes point\n"
                       "g int32 int(11)\ns int32 int(11)\n");
    expect_rows(f, &table,
                "1|{\"a\":  [1.50]}|00112233-4455-6677-8899-aabbccddeeff|::1|10.0.0.1|"
                "\\x000000000101000000000000000000f03f0000000000000040|2|3\n");
    expect_description(
        f, &query,
        "j json json\nu uuid uuid\nn numeric decimal\nz bytes binary\ns text varchar\n"
        "b int32 int\nx bytes varbinary\nc int64 bigint\nv numeric bigint unsigned\n"
        "d date date\n");
    expect_rows(f, &query,
                "{\"a\":  [1.50]}|00112233-4455-6677-8899-aabbccddeeff|1.50|<null>|a|1|\\x00|1|1|"
                "2026-11-20\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARIADB_TEST(test_integers),
        MARIADB_TEST(test_bits_and_bools),
        MARIADB_TEST(test_decimals_and_floats),
        MARIADB_TEST(test_random_floats),
        MARIADB_TEST(test_text_and_bytes),
        MARIADB_TEST(test_times),
        MARIADB_TEST(test_other_types),
    };
    return cmocka_run_group_tests_name("source_mariadb_types", tests, NULL, NULL);
}
