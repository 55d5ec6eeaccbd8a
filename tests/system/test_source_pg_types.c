/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: every type of PostgreSQL arrives from the PostgreSQL source exactly, its edge values too.
 * Method: runs under pg_server.py, which starts a server for it alone; rows are compared as text,
 * numerics with what the server itself prints. The random numerics are the server's: a failure
 * prints the number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_pg_fixture.h"

/* --- types ---------------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE TABLE t (id int PRIMARY KEY, a int2, b int8 NOT NULL, c oid, d float4, e float8,"
           " g bool, h serial);"
           "INSERT INTO t VALUES (-2147483648, -32768, -9223372036854775808, 0, 0.1, 0.1, true, 1),"
           "(2147483647, 32767, 9223372036854775807, 4294967295, '-Infinity', '-1e-300', false, 2),"
           "(0, NULL, 0, NULL, 'NaN', 'NaN', NULL, 3)");
    expect_description(f, &table,
                       "id int32 integer not-null\na int32 smallint\nb int64 bigint not-null\n"
                       "c int64 oid\nd float32 real\ne float64 double precision\ng bool boolean\n"
                       "h int32 integer not-null\n");
    expect_rows(f, &table,
                "-2147483648|-32768|-9223372036854775808|0|0.1|0.1|true|1\n"
                "2147483647|32767|9223372036854775807|4294967295|-Infinity|-1e-300|false|2\n"
                "0|<null>|0|<null>|NaN|NaN|<null>|3\n");
}

/* The text must be what PostgreSQL itself prints, digit for digit. */
static void test_numeric(void **state)
{
    struct fixture *f = *state;
    const struct source_table exact = {.name = "t", .query = "SELECT n, n::text AS s FROM t"};
    static const char *const numbers[] = {"0",
                                          "0.0000",
                                          "-0.00012300",
                                          "1",
                                          "9999",
                                          "10000",
                                          "10001",
                                          "99999999",
                                          "100000000",
                                          "1e100",
                                          "1e-100",
                                          "-9999.9999",
                                          "10000.0001",
                                          "0.0001",
                                          "0.00001",
                                          "123456789.123456789",
                                          "12345678901234567890123456789.000000000000001",
                                          "NaN",
                                          "1000000000000.5",
                                          "-1",
                                          "0.1",
                                          "0.12345",
                                          "5e131071",
                                          "1e-16383",
                                          "Infinity",
                                          "-Infinity"};
    /* the last two are known from PostgreSQL 14 on */
    const size_t count =
        sizeof(numbers) / sizeof(*numbers) - (PQserverVersion(f->admin) < 140000 ? 2 : 0);
    sql(f, "CREATE TABLE t (n numeric)");
    for (size_t i = 0; i < count; i++) {
        char insert[256];
        snprintf(insert, sizeof(insert), "INSERT INTO t VALUES ('%s')", numbers[i]);
        sql(f, insert);
    }
    sql(f, "INSERT INTO t SELECT (random() * 10 ^ (random() * 60 - 30))::numeric *"
           " (random() * 10 ^ (random() * 60 - 30))::numeric FROM generate_series(1, 2000)");
    must(f, read_table(f, &exact, NULL));
    unsigned lines = 0;
    for (char *line = strtok(f->record.text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        const size_t half = (strlen(line) - 1) / 2;
        if (line[half] != '|' || memcmp(line, line + half + 1, half) != 0)
            fail_msg("%s", line);
    }
    assert_int_equal(lines, count + 2000);
    const struct source_table scaled = {
        .name = "t", .query = "SELECT 1.5::numeric(10,3) AS a, NULL::numeric AS b"};
    expect_description(f, &scaled, "a numeric numeric(10,3)\nb numeric numeric\n");
    expect_rows(f, &scaled, "1.500|<null>\n");
}

static void test_text_and_bytes(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog; CREATE TYPE mood AS ENUM"
           " ('sad', 'ok'); CREATE DOMAIN email AS citext; CREATE DOMAIN small AS int2 NOT NULL;"
           "CREATE TABLE t (a text, b varchar(5), c char(4), d name, e mood, f email, g bytea,"
           " h uuid, i small, j \"char\");"
           "INSERT INTO t VALUES (E'caf\\u00e9 \\U0001F600', 'abc', 'ab', 'nam', 'ok', 'A@b',"
           " '\\x00ff', '00112233-4455-6677-8899-AABBCCDDEEFF', 7, 'x'),"
           "('', '', '', '', 'sad', '', '', NULL, 8, ''),"
           "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 9, NULL)");
    expect_description(f, &table,
                       "a text text\nb text character varying(5)\nc text character(4)\n"
                       "d text name\ne text mood\nf text citext\ng bytes bytea\nh uuid uuid\n"
                       "i int32 smallint\nj text \"char\" as-text\n");
    expect_rows(f, &table,
                "caf\xc3\xa9 \xf0\x9f\x98\x80|abc|ab  |nam|ok|A@b|\\x00ff|"
                "00112233-4455-6677-8899-aabbccddeeff|7|x\n"
                "||    ||sad||\\x|<null>|8|\n"
                "<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>|9|<null>\n");
}

static void test_times(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f,
        "CREATE TABLE t (z timestamptz, l timestamp, d date);"
        "INSERT INTO t VALUES ('2026-11-20 12:00:00.123456+02', '1969-12-31 23:59:59.999999',"
        " '2000-01-01'), ('infinity', '-infinity', 'infinity'),"
        "('-infinity', 'infinity', '-infinity'),"
        "('4713-01-01 00:00:00+00 BC', '0001-01-01', '4713-01-01 BC'),"
        "('294246-12-31 00:00:00+00', '1999-12-31 23:59:59', '5874897-12-31'), (NULL, NULL, NULL),"
        "('294276-12-31', NULL, NULL)");
    expect_description(f, &table,
                       "z timestamp timestamp with time zone\n"
                       "l datetime timestamp without time zone\nd date date\n");
    expect_rows(f, &table,
                "2026-11-20T10:00:00.123456Z|1969-12-31T23:59:59.999999|2000-01-01\n"
                "infinity|-infinity|infinity\n-infinity|infinity|-infinity\n"
                "-4712-01-01T00:00:00Z|0001-01-01T00:00:00|-4712-01-01\n"
                "+294246-12-31T00:00:00Z|1999-12-31T23:59:59|+5874897-12-31\n"
                "<null>|<null>|<null>\n"
                "bad 0: a time that does not fit: after the year 294247: <null>|<null>|<null>\n");
}

static void test_json_and_arrays(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f,
        "CREATE TABLE t (j json, b jsonb, i int[], s text[], n numeric[], k jsonb[], v int2vector);"
        "INSERT INTO t VALUES ('{\"a\":  1}', '{\"b\": [1, 2], \"a\": 1.50}', '{1,NULL,3}',"
        " '{{a,\"b \\\"c\"},{NULL,e}}', '{1.50,NaN}', ARRAY['{\"x\": 1}']::jsonb[], '1 2'),"
        "('null', '\"x\"', '{}', '{}', '[2:3]={1,2}', '{}', ''),"
        "(NULL, NULL, NULL, NULL, NULL, NULL, NULL)");
    expect_description(f, &table,
                       "j json json\nb json jsonb\ni json integer[]\ns json text[]\n"
                       "n json numeric[]\nk json jsonb[]\nv json int2vector\n");
    expect_rows(f, &table,
                "{\"a\":  1}|{\"a\": 1.50, \"b\": [1, 2]}|[1,null,3]|"
                "[[\"a\",\"b \\\"c\"],[null,\"e\"]]|[1.50,\"NaN\"]|[{\"x\": 1}]|[1,2]\n"
                "null|\"x\"|[]|[]|[1,2]|[]|[]\n"
                "<null>|<null>|<null>|<null>|<null>|<null>|<null>\n");
}

static void test_other_types(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    sql(f, "SET TimeZone = 'UTC'; CREATE TYPE pair AS (a int, b text);"
           "CREATE TABLE t (a interval, b inet, c time, d timetz, e int4range, g money, h pair,"
           " i bit(3), j point, k xml, l tsvector);"
           "INSERT INTO t VALUES ('1 day 02:00', '10.0.0.1/8', '12:00', '12:00+01', '[1,5)', '1.5',"
           " '(1,x)', '101', '(1,2)', '<a/>', 'x y')");
    expect_description(f, &table,
                       "a text interval as-text\nb text inet as-text\n"
                       "c text time without time zone as-text\nd text time with time zone as-text\n"
                       "e text int4range as-text\ng text money as-text\nh text pair as-text\n"
                       "i text bit(3) as-text\nj text point as-text\nk text xml as-text\n"
                       "l text tsvector as-text\n");
    expect_rows(f, &table,
                "1 day 02:00:00|10.0.0.1/8|12:00:00|12:00:00+01|[1,5)|$1.50|(1,x)|101|(1,2)|<a/>|"
                "'x' 'y'\n");
}

/* A database without an encoding may hold anything; only what is UTF-8 comes through. */
static void test_broken_encoding(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t", .where = "id < 4"};
    char dsn[600];
    sql(f, "DROP DATABASE IF EXISTS raw");
    sql(f, "CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    snprintf(dsn, sizeof(dsn), "%s dbname=raw", f->dsn);
    PGconn *raw = PQconnectdb(dsn);
    PGresult *made = PQexec(raw, "CREATE TABLE t (id int, s text); INSERT INTO t VALUES (1, 'ok'),"
                                 "(2, E'\\xff'), (3, E'\\xc3\\xa9')");
    assert_int_equal(PQresultStatus(made), PGRES_COMMAND_OK);
    PQclear(made);
    PQfinish(raw);
    f->options.dsn = dsn;
    expect_rows(f, &table, "1|ok\nbad 1: text that is not UTF-8: 2|<null>\n3|\xc3\xa9\n");
    close_source(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PG_TEST(test_numbers),         PG_TEST(test_numeric),         PG_TEST(test_text_and_bytes),
        PG_TEST(test_times),           PG_TEST(test_json_and_arrays), PG_TEST(test_other_types),
        PG_TEST(test_broken_encoding),
    };
    return cmocka_run_group_tests_name("source_pg_types", tests, pg_make_reader, NULL);
}
