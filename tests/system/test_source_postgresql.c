/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the PostgreSQL source delivers what is in the tables, exactly; it can be ended at any time;
 * and what goes wrong with a real server comes back as a clear error, in time.
 * Method: runs under pg_server.py, which starts a server for it alone (SIDEPOND_PG_DSN); faults are
 * made by that script (crash, pause, start) and by the superuser. Each test has a schema of its
 * own. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/source/source.h"
#include "source_record.h"

struct fixture {
    PGconn *admin;
    char dsn[512]; /* as the superuser, over the socket */
    const struct source_class *class;
    struct source_options options;
    struct source *source;
    struct source_error error;
    struct source_record record;
};

/* --- fixture -------------------------------------------------------------------------------- */

static void server(const char *verb)
{
    char command[1024];
    snprintf(command, sizeof(command), "'%s' %s '%s' >&2", getenv("SIDEPOND_PG_SERVER"), verb,
             getenv("SIDEPOND_PG_DIR"));
    assert_int_equal(system(command), 0);
}

static void admin_connect(struct fixture *f)
{
    PQfinish(f->admin);
    f->admin = PQconnectdb(f->dsn);
    if (PQstatus(f->admin) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(f->admin));
    PQclear(PQexec(f->admin, "SET client_min_messages = error"));
}

static void sql(struct fixture *f, const char *statements)
{
    PGresult *result = PQexec(f->admin, statements);
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", statements, PQerrorMessage(f->admin));
    PQclear(result);
}

static long sql_long(struct fixture *f, const char *query)
{
    PGresult *result = PQexec(f->admin, query);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    const long number = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return number;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *dsn = getenv("SIDEPOND_PG_DSN");
    if (!f || !dsn)
        return -1;
    snprintf(f->dsn, sizeof(f->dsn), "%s", dsn);
    f->class = source_find("postgresql");
    f->options = (struct source_options){
        .name = "shop", .type = "postgresql", .dsn = f->dsn, .connect_timeout_ms = 5000};
    admin_connect(f);
    sql(f,
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public");
    *state = f;
    return 0;
}

static void close_source(struct fixture *f)
{
    if (f->source)
        f->class->close(f->source);
    f->source = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_source(f);
    source_record_free(&f->record);
    PQfinish(f->admin);
    free(f);
    return 0;
}

static void must(struct fixture *f, int status)
{
    if (status != SP_OK)
        fail_msg("%s: %s", sp_status_name(status), f->error.text);
}

static void open_source(struct fixture *f)
{
    if (!f->source)
        must(f, f->class->open(&f->options, &f->source, &f->error));
}

static int read_table(struct fixture *f, const struct source_table *table,
                      const struct sp_value *since)
{
    open_source(f);
    source_record_free(&f->record);
    return source_record_read(f->class, f->source, table, since, &f->record, &f->error);
}

static void expect_since(struct fixture *f, const struct source_table *table,
                         const struct sp_value *since, const char *rows)
{
    must(f, read_table(f, table, since));
    assert_string_equal(f->record.text ? f->record.text : "", rows);
}

static void expect_rows(struct fixture *f, const struct source_table *table, const char *rows)
{
    expect_since(f, table, NULL, rows);
}

static void expect_description(struct fixture *f, const struct source_table *table,
                               const char *text)
{
    struct source_description description;
    open_source(f);
    must(f, f->class->describe(f->source, table, &description, &f->error));
    assert_string_equal(source_record_description(&description), text);
    source_description_free(&description);
}

static void expect_error(struct fixture *f, const struct source_table *table, int status,
                         const char *text)
{
    struct source_description description;
    open_source(f);
    assert_int_equal(f->class->describe(f->source, table, &description, &f->error), status);
    assert_string_equal(f->error.text, text);
}

static void expect_open_error(struct fixture *f, const char *dsn, const char *password,
                              const char *text)
{
    struct source_options options = f->options;
    struct source *source = NULL;
    options.dsn = dsn;
    options.password = password;
    assert_int_equal(f->class->open(&options, &source, &f->error), SP_ESOURCE);
    assert_null(source);
    assert_true(f->error.transient);
    if (!strstr(f->error.text, text))
        fail_msg("no \"%s\" in: %s", text, f->error.text);
}

static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

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
                                          "Infinity",
                                          "-Infinity",
                                          "1000000000000.5",
                                          "-1",
                                          "0.1",
                                          "0.12345",
                                          "5e131071",
                                          "1e-16383"};
    sql(f, "CREATE TABLE t (n numeric)");
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
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
    assert_int_equal(lines, sizeof(numbers) / sizeof(*numbers) + 2000);
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

/* --- what is asked for ---------------------------------------------------------------------- */

static void test_names(void **state)
{
    struct fixture *f = *state;
    const char *const columns[] = {"Name", "id", NULL};
    const char *const key[] = {"id", NULL};
    sql(f, "CREATE SCHEMA IF NOT EXISTS \"Odd\"; DROP TABLE IF EXISTS \"Odd\".\"A.\"\"b\";"
           "CREATE TABLE \"Odd\".\"A.\"\"b\" (id int PRIMARY KEY, \"Name\" text, \"x\"\"y\" int);"
           "INSERT INTO \"Odd\".\"A.\"\"b\" VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);"
           "CREATE TABLE \"Users\" (id int); INSERT INTO \"Users\" VALUES (1)");
    const struct source_table odd = {.name = "t",
                                     .relation = "Odd.\"A.\"\"b\"",
                                     .columns = columns,
                                     .key = key,
                                     .where = "id > 1 -- but one"};
    expect_rows(f, &odd, "two|2\nthree|3\n");
    const struct source_table all = {.name = "t", .relation = "\"Odd\".\"A.\"\"b\""};
    expect_description(f, &all, "id int32 integer not-null\nName text text\nx\"y int32 integer\n");
    const struct source_table users = {.name = "users", .relation = "Users"};
    expect_rows(f, &users, "1\n");
    const struct source_table query = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM \"Users\" u GROUP BY 1; -- ;\n;"};
    expect_error(f, &query, SP_ECONFIG, "table q: syntax error at or near \";\"");
    const struct source_table good = {
        .name = "q", .query = "SELECT u.id, count(*) AS n FROM \"Users\" u GROUP BY 1 ; "};
    expect_description(f, &good, "id int32 integer\nn int64 bigint\n");
    expect_rows(f, &good, "1|1\n");
}

static void test_wrong_names(void **state)
{
    struct fixture *f = *state;
    const char *const columns[] = {"id", "emial", NULL}, *const id[] = {"id", NULL};
    const char *const email[] = {"email", NULL}, *const wrong[] = {"ID", NULL};
    sql(f, "CREATE TABLE users (id int, email text, name text)");
    struct source_table table = {.name = "users", .relation = "public.usersx"};
    expect_error(f, &table, SP_ECONFIG, "table users: relation \"public.usersx\" does not exist");
    table = (struct source_table){.name = "users", .relation = "users", .columns = columns};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: column emial does not exist; there are: id, email, name");
    table = (struct source_table){.name = "users", .relation = "users", .key = wrong};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: key column ID does not exist; there are: id, email, name");
    table =
        (struct source_table){.name = "users", .relation = "users", .columns = email, .key = id};
    expect_error(f, &table, SP_ECONFIG, "table users: key column id is not among its columns");
    table = (struct source_table){.name = "users", .relation = "users", .watermark = "changed"};
    expect_error(
        f, &table, SP_ECONFIG,
        "table users: watermark column changed does not exist; there are: id, email, name");
    table = (struct source_table){.name = "users", .relation = "users", .where = "nope = 1"};
    expect_error(f, &table, SP_ECONFIG, "table users: column \"nope\" does not exist");
    table = (struct source_table){.name = "users", .query = "SELECT 1 AS a, 2 AS a"};
    expect_error(f, &table, SP_ECONFIG,
                 "table users: two columns are called a; give one another name");
    table = (struct source_table){.name = "users", .query = "DELETE FROM users RETURNING id"};
    expect_error(f, &table, SP_ECONFIG, "table users: syntax error at or near \"FROM\"");
    table = (struct source_table){.name = "users", .relation = "users"};
    expect_rows(f, &table, ""); /* the connection has taken no harm */
}

static void test_not_null_and_estimates(void **state)
{
    struct fixture *f = *state;
    struct source_description d;
    sql(f, "CREATE TABLE a (id int PRIMARY KEY, s text); CREATE TABLE b (id int NOT NULL);"
           "CREATE VIEW v AS SELECT id FROM a;"
           "INSERT INTO a SELECT i, repeat('x', 92) FROM generate_series(1, 10000) i; ANALYZE a");
    const struct source_table outer_join = {
        .name = "q", .query = "SELECT a.s, b.id FROM a LEFT JOIN b ON a.id = b.id"};
    const struct source_table view = {.name = "v", .relation = "v"};
    expect_description(f, &outer_join, "s text text\nid int32 integer\n");
    expect_description(f, &view, "id int32 integer\n");
    const struct source_table table = {.name = "a", .relation = "a", .where = "id <= 5000"};
    must(f, f->class->describe(f->source, &table, &d, &f->error));
    assert_in_range(d.row_estimate, 4900, 5100);
    assert_in_range(d.byte_estimate, 400000, 600000);
    source_description_free(&d);
}

/* --- rights --------------------------------------------------------------------------------- */

static void reader_dsn(struct fixture *f, char *dsn, size_t cap)
{
    sql(f, "DROP OWNED BY reader");
    snprintf(dsn, cap, "%s user=reader", f->dsn);
    f->options.dsn = dsn;
}

static void test_rights(void **state)
{
    struct fixture *f = *state;
    char dsn[600];
    const char *const id[] = {"id", NULL};
    struct source_table table = {.name = "users", .relation = "users"};
    sql(f, "CREATE TABLE users (id int, secret text); INSERT INTO users VALUES (1, 'x')");
    reader_dsn(f, dsn, sizeof(dsn));
    expect_error(f, &table, SP_ECONFIG, "table users: permission denied for table users");
    sql(f, "GRANT SELECT (id) ON users TO reader");
    expect_error(f, &table, SP_ECONFIG, "table users: permission denied for table users");
    table.columns = id;
    expect_rows(f, &table, "1\n");
}

/* Nothing can be written through a source, even where the role may write. */
static void test_read_only(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = "SELECT nextval('s') AS n"};
    sql(f, "CREATE SEQUENCE s");
    open_source(f);
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: cannot execute nextval() in a read-only transaction"
                        " (SQLSTATE 25006)");
}

static void test_password(void **state)
{
    struct fixture *f = *state;
    char dsn[256];
    struct source_options options = f->options;
    sql(f, "ALTER ROLE reader PASSWORD 'open sesame'");
    snprintf(dsn, sizeof(dsn), "host=127.0.0.1 port=%s dbname=postgres user=reader",
             PQport(f->admin));
    expect_open_error(f, dsn, "barley",
                      "source shop: cannot connect: connection to server at \"127.0.0.1\"");
    assert_non_null(strstr(f->error.text, "password authentication failed for user \"reader\""));
    assert_null(strstr(f->error.text, "barley"));
    expect_open_error(f, dsn, NULL, "asks for a password and none is configured");
    options.dsn = dsn;
    options.password = "open sesame";
    must(f, f->class->open(&options, &f->source, &f->error));
    assert_int_equal(sql_long(f, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"
                                 " AND application_name = 'sidepond/shop'"),
                     1);
}

/* --- connecting ----------------------------------------------------------------------------- */

static void test_no_server(void **state)
{
    struct fixture *f = *state;
    char dsn[600];
    expect_open_error(f, "host=/nonexistent dbname=x", NULL, "No such file or directory");
    snprintf(dsn, sizeof(dsn), "%s dbname=nope", f->dsn);
    expect_open_error(f, dsn, NULL, "database \"nope\" does not exist");
    struct source *source = NULL;
    f->options.dsn = "host=x secret";
    f->options.password = "sesame";
    assert_int_equal(f->class->open(&f->options, &source, &f->error), SP_ECONFIG);
    assert_string_equal(f->error.text, "source shop: dsn is not a connection string");
}

/* A server that hangs: connecting ends by its time limit and by cancel, whichever is first. */
static void test_connect_hangs(void **state)
{
    struct fixture *f = *state;
    f->options.connect_timeout_ms = 200;
    server("pause");
    struct source *source = NULL;
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: no connection within connect_timeout (200 ms)");
    assert_true(took < 3000);
}

static void cancel_when_announced(void *context, struct source *source)
{
    struct source_canceler *canceler = context;
    if (source)
        source_canceler_start(canceler, source_find("postgresql"), source, 100);
    else
        source_canceler_join(canceler);
}

static void test_cancel_connecting(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    struct source *source = NULL;
    f->options.connect_timeout_ms = 60000;
    f->options.cancelable = cancel_when_announced;
    f->options.cancelable_context = &canceler;
    server("pause");
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    server("resume");
    assert_int_equal(status, SP_ECANCELED);
    assert_true(took < 3000);
}

/* --- snapshots, changes --------------------------------------------------------------------- */

static void test_snapshot(void **state)
{
    struct fixture *f = *state;
    const struct source_table a = {.name = "a", .relation = "a"};
    const struct source_table b = {.name = "b", .relation = "b"};
    struct source_description da, db;
    sql(f, "CREATE TABLE a (x int); CREATE TABLE b (x int); INSERT INTO a VALUES (1);"
           "INSERT INTO b VALUES (1)");
    open_source(f);
    must(f, f->class->describe(f->source, &a, &da, &f->error));
    must(f, f->class->describe(f->source, &b, &db, &f->error));
    const struct source_sink sink = source_record_sink(&f->record);
    must(f, f->class->begin(f->source, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    sql(f, "UPDATE a SET x = 2; UPDATE b SET x = 2");
    must(f, f->class->stream(f->source, &b, &db, NULL, &sink, &f->error));
    must(f, f->class->stream(f->source, &a, &da, NULL, &sink, &f->error));
    must(f, f->class->end(f->source, &f->error));
    assert_string_equal(f->record.text, "1\n1\n1\n");
    source_description_free(&da);
    source_description_free(&db);
    expect_rows(f, &b, "2\n");
}

static void test_schema_change(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t"};
    static const char *const changes[] = {
        "ALTER TABLE t ADD COLUMN c text",
        "ALTER TABLE t RENAME COLUMN b TO bb",
        "ALTER TABLE t DROP COLUMN bb",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        "DROP TABLE t",
    };
    sql(f, "CREATE TABLE t (a int, b text)");
    const struct source_sink sink = source_record_sink(&f->record);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        struct source_description d;
        open_source(f);
        must(f, f->class->describe(f->source, &table, &d, &f->error));
        sql(f, changes[i]);
        must(f, f->class->begin(f->source, &f->error));
        assert_int_equal(f->class->stream(f->source, &table, &d, NULL, &sink, &f->error),
                         SP_ECONFIG);
        source_description_free(&d);
        close_source(f);
    }
    assert_string_equal(f->error.text, "table t: relation \"t\" does not exist");
}

/* --- watermarks ----------------------------------------------------------------------------- */

static struct sp_value of_type(enum sp_type type, int64_t i)
{
    struct sp_value value = sp_int(i);
    value.type = type;
    return value;
}

static void test_watermark(void **state)
{
    struct fixture *f = *state;
    sql(f, "CREATE TABLE t (id int2, z timestamptz, l timestamp, d date, n numeric, s text, o oid,"
           " g pg_lsn, r float8, u uuid);"
           "INSERT INTO t VALUES (1, '2026-11-20 11:59:59.999999+00', '2026-11-20 11:59:59.999999',"
           " '2026-11-19', 1.4999, 'a', 1, '0/1', 0.1, '00000000-0000-0000-0000-000000000001'),"
           "(2, '2026-11-20 12:00:00+00', '2026-11-20 12:00:00', '2026-11-20', 1.5, 'b''\\', 5,"
           " '0/A', 0.30000000000000004, '00000000-0000-0000-0000-0000000000ff');"
           "INSERT INTO t DEFAULT VALUES");
    const struct {
        const char *column;
        struct sp_value since;
    } cases[] = {
        {"id", of_type(SP_TYPE_INT32, 2)},
        {"z", of_type(SP_TYPE_TIMESTAMP, INT64_C(1795176000) * 1000000)},
        {"l", of_type(SP_TYPE_DATETIME, INT64_C(1795176000) * 1000000)},
        {"d", of_type(SP_TYPE_DATE, 20777)},
        {"n", sp_bytes(SP_TYPE_NUMERIC, "1.5", 3)},
        {"s", sp_text("b'\\", 3)},
        {"o", sp_int(5)},
        {"r", sp_float(0.30000000000000004)},
        {"u", sp_bytes(SP_TYPE_UUID, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff", 16)},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *const columns[] = {"id", cases[i].column, NULL};
        const struct source_table table = {.name = "t",
                                           .relation = "t",
                                           .columns = i ? columns : columns + 1,
                                           .where = "id < 100 OR id IS NULL",
                                           .watermark = cases[i].column};
        must(f, read_table(f, &table, &cases[i].since));
        assert_int_equal(f->record.row_count, 1);
        assert_int_equal(f->record.text[0], '2');
    }
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "id"};
    const struct sp_value low = of_type(SP_TYPE_INT32, -40000), none = sp_null(SP_TYPE_INT32);
    must(f, read_table(f, &table, &low)); /* below int2: the overlap can get there */
    assert_int_equal(f->record.row_count, 2);
    assert_int_equal(read_table(f, &table, &none), SP_EINVAL);
    const struct source_table time = {.name = "t", .relation = "t", .watermark = "z"};
    const struct sp_value ancient = of_type(SP_TYPE_TIMESTAMP, INT64_MIN / 100);
    const struct sp_value future = of_type(SP_TYPE_TIMESTAMP, INT64_MAX / 4);
    const struct source_table unordered = {.name = "t", .relation = "t", .watermark = "g"};
    expect_error(f, &unordered, SP_ECONFIG,
                 "table t: column g of type pg_lsn cannot be a watermark");
    close_source(f);
    must(f, read_table(f, &time, &ancient));
    assert_int_equal(f->record.row_count, 2);
    must(f, read_table(f, &time, &future));
    assert_int_equal(f->record.row_count, 0);
}

/* Text is compared byte by byte, whatever the collation of the column. */
static void test_watermark_collation(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .relation = "t", .watermark = "s"};
    const struct sp_value since = sp_text("a", 1);
    sql(f,
        "CREATE COLLATION IF NOT EXISTS public.words (provider = icu, locale = 'en');"
        "CREATE TABLE t (s text COLLATE public.words); INSERT INTO t VALUES ('B'), ('b'), ('A')");
    expect_since(f, &table, &since, "b\n");
}

/* --- being told ----------------------------------------------------------------------------- */

struct later {
    struct fixture *f;
    const char *statements;
    double done_ms;
};

static void *sql_later(void *context)
{
    struct later *later = context;
    sleep_ms(50);
    sql(later->f, later->statements);
    later->done_ms = source_now_ms();
    return NULL;
}

static void test_notify(void **state)
{
    struct fixture *f = *state;
    const struct source_table tables[] = {{.name = "a", .relation = "a"},
                                          {.name = "b", .relation = "a", .channel = "Odd \"one"}};
    struct later later = {.f = f, .statements = "NOTIFY sidepond_a"};
    pthread_t thread;
    bool changed = true;
    sql(f, "CREATE TABLE a (x int)");
    open_source(f);
    must(f, f->class->listen(f->source, tables, 2, &f->error));
    must(f, f->class->wait(f->source, 1, &changed, &f->error));
    assert_false(changed);
    assert_int_equal(pthread_create(&thread, NULL, sql_later, &later), 0);
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    const double woken = source_now_ms();
    pthread_join(thread, NULL);
    assert_true(changed);
    print_message("awake %.2f ms after the notification\n", woken - later.done_ms);
    sql(f, "SELECT pg_notify('Odd \"one', i::text) FROM generate_series(1, 1000) i");
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    assert_true(changed);
    must(f, f->class->wait(f->source, 20, &changed, &f->error)); /* a burst is one change */
    assert_false(changed);
    expect_rows(f, &tables[0], ""); /* told during begin ... end: for the next wait */
    must(f, f->class->begin(f->source, &f->error));
    sql(f, "NOTIFY sidepond_a");
    must(f, f->class->end(f->source, &f->error));
    must(f, f->class->wait(f->source, 10000, &changed, &f->error));
    assert_true(changed);
}

/* --- faults --------------------------------------------------------------------------------- */

static void test_connection_lost(void **state)
{
    struct fixture *f = *state;
    bool changed;
    struct later later = {.f = f,
                          .statements = "SELECT pg_terminate_backend(pid) FROM"
                                        " pg_stat_activity WHERE application_name LIKE"
                                        " 'sidepond/%'"};
    pthread_t thread;
    open_source(f);
    assert_int_equal(pthread_create(&thread, NULL, sql_later, &later), 0);
    int status = SP_OK;
    while (status == SP_OK)
        status = f->class->wait(f->source, 10000, &changed, &f->error);
    pthread_join(thread, NULL);
    assert_int_equal(status, SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
}

static void big_table(struct fixture *f, long rows)
{
    char make[256];
    snprintf(make, sizeof(make),
             "CREATE UNLOGGED TABLE big AS SELECT i::int8 AS id, repeat('x', 100) AS s FROM"
             " generate_series(1, %ld) i",
             rows);
    sql(f, make);
}

static void crash_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("crash");
}

static void test_server_killed(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "kept"};
    sql(f, "CREATE TABLE kept AS SELECT i AS id, repeat('x', 100) AS s FROM"
           " generate_series(1, 200000) i");
    open_source(f);
    f->record = (struct source_record){.count_only = true, .at_row = crash_at_1000};
    assert_int_equal(source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error),
                     SP_ESOURCE);
    assert_true(f->error.transient);
    print_message("%s\n", f->error.text);
    expect_open_error(f, f->dsn, NULL, "source shop: cannot connect: connection to server");
    server("start");
    close_source(f);
    admin_connect(f);
    f->record = (struct source_record){.count_only = true};
    open_source(f);
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    assert_int_equal(f->record.row_count, 200000);
}

static const char sleepy[] = "SELECT 1 AS id, pg_sleep(1000)::text AS s";

static void test_statement_timeout(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = sleepy};
    f->options.statement_timeout_ms = 100;
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: canceling statement due to statement timeout (SQLSTATE 57014)");
    assert_true(f->error.transient);
}

static void pause_at_1000(struct source_record *record)
{
    if (record->row_count == 1000)
        server("pause");
}

/* A server that hangs in the middle of the rows: our own clock ends it. */
static void test_server_hangs(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "big", .relation = "big"};
    big_table(f, 200000);
    f->options.statement_timeout_ms = 1000;
    open_source(f);
    f->record = (struct source_record){.count_only = true, .at_row = pause_at_1000};
    const double begun = source_now_ms();
    const int status = source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error);
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "source shop: the server has not answered within statement_timeout");
    assert_in_range((long)(source_now_ms() - begun), 1000, 15000);
}

/* What the server ran for us is gone soon after the connection is closed. */
static void expect_no_backend(struct fixture *f)
{
    const double begun = source_now_ms();
    while (sql_long(f, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE"
                       " 'sidepond/%'") > 0) {
        assert_true(source_now_ms() - begun < 10000);
        sleep_ms(20);
    }
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    const struct source_table rows = {.name = "t",
                                      .query = "SELECT generate_series(1, 2000000000) AS i"};
    const struct source_table silent = {.name = "t", .query = sleepy};
    const struct source_table *const tables[] = {&rows, &silent};
    bool changed;
    for (size_t i = 0; i < 2; i++) {
        open_source(f);
        f->record = (struct source_record){.count_only = true};
        source_canceler_start(&canceler, f->class, f->source, 100);
        assert_int_equal(
            source_record_read(f->class, f->source, tables[i], NULL, &f->record, &f->error),
            SP_ECANCELED);
        source_canceler_join(&canceler);
        assert_int_equal(f->class->begin(f->source, &f->error), SP_ESOURCE);
        close_source(f);
        expect_no_backend(f);
    }
    open_source(f);
    source_canceler_start(&canceler, f->class, f->source, 50);
    assert_int_equal(f->class->wait(f->source, 60000, &changed, &f->error), SP_ECANCELED);
    source_canceler_join(&canceler);
    must(f, f->class->wait(f->source, 1, &changed, &f->error)); /* waiting does no harm */
    must(f, f->class->begin(f->source, &f->error));
    f->class->cancel(f->source); /* nothing runs: ends the next call */
    assert_int_equal(f->class->end(f->source, &f->error), SP_ECANCELED);
}

static void test_sink_stops(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t",
                                       .query = "SELECT generate_series(1, 2000000000) AS i"};
    open_source(f);
    f->record = (struct source_record){.count_only = true, .stop_at = 10, .stop_status = SP_ENOSPC};
    assert_int_equal(source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error),
                     SP_ENOSPC);
    assert_int_equal(f->record.row_count, 10);
}

/* A text of the database's error may quote a row: it is not passed on. */
static void test_error_without_data(void **state)
{
    struct fixture *f = *state;
    const struct source_table table = {.name = "t", .query = "SELECT s::int AS i FROM t"};
    sql(f, "CREATE TABLE t (s text); INSERT INTO t VALUES ('secret')");
    assert_int_equal(read_table(f, &table, NULL), SP_ESOURCE);
    assert_string_equal(f->error.text,
                        "table t: the database cannot compute the query (SQLSTATE 22P02)");
}

static void test_memory(void **state)
{
    struct fixture *f = *state;
    const bool sanitized = getenv("SIDEPOND_SANITIZE") && getenv("SIDEPOND_SANITIZE")[0];
    const struct source_table table = {.name = "big", .relation = "big"};
    const long rows = sanitized ? 100000 : 1000000;
    big_table(f, rows);
    open_source(f);
    f->record = (struct source_record){.count_only = true};
    const long before = source_rss_kib();
    const double begun = source_now_ms();
    must(f, source_record_read(f->class, f->source, &table, NULL, &f->record, &f->error));
    print_message("%ld rows in %.0f ms, grown by %ld KiB\n", rows, source_now_ms() - begun,
                  source_rss_kib() - before);
    assert_int_equal(f->record.row_count, rows);
    assert_int_equal(f->record.bytes, rows * 100);
    if (!sanitized) /* whose allocator keeps what was freed */
        assert_true(source_rss_kib() - before < 4096);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int make_reader(void **state)
{
    struct fixture f = {0};
    (void)state;
    if (!getenv("SIDEPOND_PG_DSN"))
        return -1;
    snprintf(f.dsn, sizeof(f.dsn), "%s", getenv("SIDEPOND_PG_DSN"));
    admin_connect(&f);
    sql(&f, "CREATE ROLE reader LOGIN");
    PQfinish(f.admin);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers),         TEST(test_numeric),
        TEST(test_text_and_bytes),  TEST(test_times),
        TEST(test_json_and_arrays), TEST(test_other_types),
        TEST(test_broken_encoding), TEST(test_names),
        TEST(test_wrong_names),     TEST(test_not_null_and_estimates),
        TEST(test_rights),          TEST(test_read_only),
        TEST(test_password),        TEST(test_no_server),
        TEST(test_connect_hangs),   TEST(test_cancel_connecting),
        TEST(test_snapshot),        TEST(test_schema_change),
        TEST(test_watermark),       TEST(test_watermark_collation),
        TEST(test_notify),          TEST(test_connection_lost),
        TEST(test_server_killed),   TEST(test_statement_timeout),
        TEST(test_server_hangs),    TEST(test_cancel),
        TEST(test_sink_stops),      TEST(test_error_without_data),
        TEST(test_memory),
    };
    return cmocka_run_group_tests_name("source_postgresql", tests, make_reader, NULL);
}
