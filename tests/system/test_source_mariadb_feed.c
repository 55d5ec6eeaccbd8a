/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: MariaDB's change feed delivers every committed transaction once, whole and in order, each
 * value as a stream would; it says so where it cannot; and its snapshots belong to their places.
 * Method: runs under mariadb_server.py, which starts a server for it alone. What is delivered is
 * written down as text, and kept as a table in memory that is compared with the database. The
 * random writers' seed is printed; SIDEPOND_SEED sets it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_feed_fixture.h"
#include "source_mariadb_fixture.h"

#define KEYS 64

/* --- following ------------------------------------------------------------------------------ */

static struct feed_fixture *follow(struct fixture *f, const char *const *names)
{
    struct feed_fixture *x = calloc(1, sizeof(*x));
    assert_non_null(x);
    feed_init(x, f, "test");
    x->model.logs = true;
    for (; names[x->count]; x->count++)
        x->tables[x->count] = (struct source_table){
            .name = names[x->count], .relation = names[x->count], .key = feed_key_id};
    return x;
}

static void unfollow(struct feed_fixture *x)
{
    for (unsigned i = 0; i < x->count; i++)
        assert_int_equal(x->model.tables[i].absent_count, 0);
    feed_end(x);
    free(x);
}

/* As the first load does; the feed then runs. */
static void load(struct feed_fixture *x)
{
    feed_begin(x);
    memcpy(x->model.position, x->position, sizeof(x->position));
}

/* Until the feed has gone on to where the log is now. */
static void catch_up(struct feed_fixture *x)
{
    char wanted[FEED_POSITION_BYTES];
    const double begun = source_now_ms();
    sql_text(x->f, "SELECT @@GLOBAL.gtid_binlog_pos", wanted, sizeof(wanted));
    const size_t bytes = strlen(wanted);
    while (strncmp(x->model.position, wanted, bytes) != 0 || x->model.position[bytes] != '@') {
        must(x->f, feed_next(x, 100));
        if (source_now_ms() - begun > 10000)
            fail_msg("at %s, not at %s", x->model.position, wanted);
    }
}

static void expect_log(struct feed_fixture *x, const char *text)
{
    catch_up(x);
    assert_string_equal(x->model.log, text);
    x->model.log[0] = 0;
}

static const char *const users[] = {"users", NULL};
static const char *const users_twice[] = {"users", "users", NULL};

static void make_users(struct fixture *f)
{
    sql(f, "CREATE TABLE users (id int PRIMARY KEY, name varchar(20), age tinyint);\n"
           "INSERT INTO users VALUES (1, 'one', 1), (2, 'two', 2)");
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
    struct fixture *f = *state;
    make_users(f);
    struct feed_fixture *x = follow(f, users);
    load(x);
    sql(f, "INSERT INTO users VALUES (3, 'three', 3);\nUPDATE users SET age = NULL WHERE id < 3;\n"
           "UPDATE users SET id = 9 WHERE id = 3;\nDELETE FROM users WHERE id = 1;\n"
           "START TRANSACTION;\nDELETE FROM users;\nROLLBACK;\n"
           "START TRANSACTION;\nINSERT INTO users VALUES (4, 'four', 4);\nSAVEPOINT s;\n"
           "INSERT INTO users VALUES (5, 'five', 5);\nROLLBACK TO s;\n"
           "REPLACE INTO users VALUES (2, 'zwei', 2);\nCOMMIT;\n"
           "CREATE TABLE other (id int);\nINSERT INTO other VALUES (1);\n"
           "ANALYZE TABLE users;\nCREATE VIEW users_view AS SELECT * FROM users;\n"
           "TRUNCATE TABLE other;\nTRUNCATE users;\nINSERT INTO users VALUES (6, 'six', 6)");
    expect_log(x, "put users 3|three|3\ncommit\n"
                  "put users 1|one|<null>\nput users 2|two|<null>\ncommit\n"
                  "from 3 put users 9|three|3\ncommit\n"
                  "remove users 1\ncommit\n"
                  "put users 4|four|4\nput users 2|zwei|2\ncommit\n"
                  "truncate users\ncommit\n"
                  "put users 6|six|6\ncommit\n");
    uint64_t lag = 1;
    must(f, x->class->lag(f->source, &lag, &f->error));
    assert_int_equal(lag, 0);
    unfollow(x);
}

/* Where the log does not tell a change row by row, it is said. */
static void test_reshaped(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *statements, *said;
    } cases[] = {
        {"ALTER TABLE users ADD COLUMN city text;\nINSERT INTO users VALUES (3, 'c', 3, 'Ulm')",
         "a statement has changed it"},
        {"ALTER TABLE users RENAME COLUMN name TO nom", "a statement has changed it"},
        {"RENAME TABLE users TO gone", "a statement has changed it"},
        {"DROP TABLE users", "a statement has changed it"},
        {"CREATE OR REPLACE TABLE users (id int PRIMARY KEY)", "a statement has changed it"},
        {"SET binlog_format = 'STATEMENT';\nUPDATE users SET age = 7",
         "a change was logged as a statement"},
        {"SET binlog_row_image = 'MINIMAL';\nUPDATE users SET age = 7",
         "a change was logged without all columns"},
        {"XA START 'x';\nUPDATE users SET age = 7;\nXA END 'x';\nXA PREPARE 'x';\nXA COMMIT 'x'",
         "an XA transaction was committed"},
        {"CREATE TABLE m (id int) ENGINE = MyISAM;\nSTART TRANSACTION;\nUPDATE users SET age = 7;\n"
         "INSERT INTO m VALUES (1);\nROLLBACK",
         NULL},
        {"XA START 'x';\nUPDATE users SET age = 7;\nXA END 'x';\nXA PREPARE 'x';\nXA ROLLBACK 'x'",
         NULL},
        {"XA START 'x';\nUPDATE users SET age = 8;\nXA END 'x';\nXA COMMIT 'x' ONE PHASE", NULL},
        {"CREATE VIEW v AS SELECT * FROM users;\nSET binlog_format = 'MIXED';\n"
         "UPDATE v SET age = 7",
         "a change was logged as a statement"},
        {"CREATE TABLE o (id int PRIMARY KEY);\nSET binlog_format = 'STATEMENT';\n"
         "CREATE TRIGGER t AFTER INSERT ON o FOR EACH ROW DELETE FROM users;\n"
         "INSERT INTO o VALUES (1)",
         "a change was logged as a statement"},
        {"CREATE FUNCTION g() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE users SET "
         "age = 9; RETURN 1; END;\nSET binlog_format = 'STATEMENT';\nDO g()",
         "a change was logged as a statement"},
        {"CREATE VIEW v AS SELECT * FROM users;\nSET binlog_format = 'STATEMENT';\n"
         "ANALYZE UPDATE v SET age = 7",
         "a change was logged as a statement"},
        {"SET binlog_format = 'STATEMENT';\nXA START 'x';\nUPDATE users SET age = 7;\n"
         "XA END 'x';\nXA PREPARE 'x';\nXA COMMIT 'x'",
         "an XA transaction was committed"},
        {"SET binlog_format = 'STATEMENT';\nCREATE TEMPORARY TABLE users (id int);\n"
         "TRUNCATE users;\nDROP TEMPORARY TABLE users",
         "a statement has changed it"},
        {"SET binlog_alter_two_phase = 1;\nALTER TABLE users ADD COLUMN city text",
         "a statement has changed it"},
        {"UPDATE users SET age = 1;\nSET binlog_alter_two_phase = 1;\n"
         "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;"
         " ALTER TABLE users ADD UNIQUE (age); END",
         NULL},
        {"CREATE INDEX i ON users (age);\nCREATE TABLE users_2 (id int);\n"
         "INSERT INTO users_2 VALUES (1);\nDROP TABLE users_2;\nOPTIMIZE TABLE users",
         NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        sql(f, "DROP DATABASE shop;\nCREATE DATABASE shop;\nUSE shop;\n"
               "SET binlog_format = 'ROW', binlog_row_image = 'FULL'");
        make_users(f);
        struct feed_fixture *x = follow(f, users);
        load(x);
        sql(f, cases[i].statements);
        catch_up(x);
        if (cases[i].said ? !strstr(x->model.log, cases[i].said)
                          : x->model.tables[0].reshape_count != 0)
            fail_msg("%s: %s", cases[i].statements, x->model.log);
        unfollow(x);
    }
}

/* Two tables of the pond are of one in the database. */
static void test_twice(void **state)
{
    struct fixture *f = *state;
    static const char *const few[] = {"id", "age", NULL};
    make_users(f);
    struct feed_fixture *x = follow(f, users_twice);
    x->tables[1].name = "ages";
    x->tables[1].columns = few;
    load(x);
    sql(f, "UPDATE users SET age = 7 WHERE id = 1;\nDELETE FROM users WHERE id = 2;\n"
           "TRUNCATE users;\nALTER TABLE users ADD x int");
    expect_log(x, "put users 1|one|7\nput ages 1|7\ncommit\n"
                  "remove users 2\nremove ages 2\ncommit\n"
                  "truncate users\ntruncate ages\ncommit\n"
                  "reshaped users: a statement has changed it\n"
                  "reshaped ages: a statement has changed it\ncommit\n");
    unfollow(x);
}

static void test_two_tables(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"users", "orders", NULL};
    make_users(f);
    sql(f, "CREATE TABLE orders (id bigint PRIMARY KEY, total decimal(9,2))");
    struct feed_fixture *x = follow(f, names);
    load(x);
    sql(f, "START TRANSACTION;\nINSERT INTO orders VALUES (1, 1.50);\n"
           "UPDATE users SET age = 3 WHERE id = 1;\nDELETE FROM orders;\nCOMMIT;\n"
           "UPDATE users, orders SET users.age = 1;\n"
           "INSERT INTO orders VALUES (2, -2.25), (3, 0)");
    expect_log(x, "put orders 1|1.50\nput users 1|one|3\nremove orders 1\ncommit\n"
                  "put orders 2|-2.25\nput orders 3|0.00\ncommit\n");
    unfollow(x);
}

static void expect_start(struct feed_fixture *x, const char *position, int status)
{
    struct fixture *f = x->f;
    close_source(f);
    must(f, feed_check(x));
    const int got = x->class->start(f->source, position, &f->error);
    if (got != status)
        fail_msg("%s: %s", sp_status_name(got), f->error.text);
}

static void test_resume(void **state)
{
    struct fixture *f = *state;
    char position[FEED_POSITION_BYTES], stream[FEED_STREAM_BYTES];
    make_users(f);
    struct feed_fixture *x = follow(f, users);
    load(x);
    sql(f, "UPDATE users SET age = 10 WHERE id = 1;\nUPDATE users SET age = 20 WHERE id = 2");
    expect_log(x, "put users 1|one|10\ncommit\nput users 2|two|20\ncommit\n");
    snprintf(position, sizeof(position), "%s", x->model.position);
    snprintf(stream, sizeof(stream), "%s", x->stream);
    close_source(f);
    sql(f, "UPDATE users SET age = 11 WHERE id = 1");
    server("crash");
    server("start");
    admin_connect(f);
    sql(f, "USE shop;\nUPDATE users SET age = 21 WHERE id = 2");
    expect_start(x, position, SP_OK);
    assert_string_equal(x->stream, stream);
    expect_log(x, "put users 1|one|11\ncommit\nput users 2|two|21\ncommit\n");
    expect_start(x, "0-1-999999", SP_ENOTFOUND);
    expect_start(x, "nonsense", SP_ENOTFOUND);
    sql(f, "FLUSH BINARY LOGS;\nUPDATE users SET age = 22 WHERE id = 2;\nFLUSH BINARY LOGS");
    const long last = sql_long(f, "SELECT SUBSTRING_INDEX(@@gtid_binlog_pos, '-', -1)");
    char file[64], purge[100];
    sql_text(f, "SHOW MASTER STATUS", file, sizeof(file));
    snprintf(purge, sizeof(purge), "PURGE BINARY LOGS TO '%s'", file);
    sql(f, purge);
    expect_start(x, position, SP_ENOTFOUND);
    snprintf(position, sizeof(position), "0-1-%ld", last);
    expect_start(x, position, SP_ENOTFOUND); /* without its place it is no proof */
    close_source(f);
    load(x);
    sql(f, "UPDATE users SET age = 23 WHERE id = 2");
    expect_log(x, "put users 2|two|23\ncommit\n");
    unfollow(x);
}

/* The same GTID in the same place, but of another history; and a place that is no more. */
static void test_begun_anew(void **state)
{
    struct fixture *f = *state;
    char position[FEED_POSITION_BYTES];
    make_users(f);
    sql(f, "RESET MASTER;\nUPDATE users SET age = 7 WHERE id = 1");
    struct feed_fixture *x = follow(f, users);
    load(x);
    sql(f, "UPDATE users SET age = 8 WHERE id = 1");
    expect_log(x, "put users 1|one|8\ncommit\n");
    snprintf(position, sizeof(position), "%s", x->model.position);
    expect_start(x, position, SP_OK);
    close_source(f);
    sql(f, "RESET MASTER;\nCREATE TABLE other (id int);\nINSERT INTO other VALUES (1), (2), (3);\n"
           "INSERT INTO other VALUES (1), (2), (3)");
    expect_start(x, position, SP_ENOTFOUND);
    print_message("%s\n", f->error.text);
    sql(f, "RESET MASTER;\nUPDATE users SET age = 7 WHERE id = 1");
    expect_start(x, position, SP_ENOTFOUND);
    print_message("%s\n", f->error.text);
    unfollow(x);
}

/* The same types in the log mean other values after an ALTER: a position of before it is of another
 * stream, and a snapshot does not go with what was looked up before. */
static void test_altered(void **state)
{
    struct fixture *f = *state;
    char stream[FEED_STREAM_BYTES], position[FEED_POSITION_BYTES];
    static const char *const alters[] = {
        "ALTER TABLE users MODIFY kind enum('b', 'a')",
        "ALTER TABLE users MODIFY name varchar(20) CHARACTER SET latin2",
        "ALTER TABLE users RENAME COLUMN name TO other, RENAME COLUMN other TO name",
    };
    make_users(f);
    sql(f, "ALTER TABLE users ADD kind enum('a', 'b') DEFAULT 'b',"
           " MODIFY name varchar(20) CHARACTER SET latin1,"
           " ADD other varchar(20) CHARACTER SET latin1");
    struct feed_fixture *x = follow(f, users);
    for (size_t i = 0; i < sizeof(alters) / sizeof(*alters); i++) {
        close_source(f);
        must(f, feed_check(x));
        snprintf(stream, sizeof(stream), "%s", x->stream);
        sql(f, alters[i]);
        assert_int_equal(x->class->snapshot(f->source, position, &f->error), SP_ESOURCE);
        close_source(f);
        must(f, feed_check(x));
        assert_string_not_equal(x->stream, stream);
        must(f, x->class->snapshot(f->source, position, &f->error));
    }
    unfollow(x);
}

/* What is logged right after a new log file was begun, and the position before anything is. */
static void test_rotated(void **state)
{
    struct fixture *f = *state;
    char position[FEED_POSITION_BYTES];
    make_users(f);
    sql(f, "FLUSH BINARY LOGS");
    struct feed_fixture *x = follow(f, users);
    load(x);
    snprintf(position, sizeof(position), "%s", x->model.position);
    expect_start(x, position, SP_OK);
    sql(f, "FLUSH BINARY LOGS;\nUPDATE users SET age = 8 WHERE id = 1;\nFLUSH BINARY LOGS");
    expect_log(x, "put users 1|one|8\ncommit\n");
    snprintf(position, sizeof(position), "%s", x->model.position);
    expect_start(x, position, SP_OK);
    catch_up(x);
    unfollow(x);
}

static void expect_refused(struct feed_fixture *x, const char *text)
{
    struct fixture *f = x->f;
    close_source(f);
    assert_int_equal(feed_check(x), SP_ECONFIG);
    if (!strstr(f->error.text, text))
        fail_msg("no \"%s\" in: %s", text, f->error.text);
}

/* Tables whose rows in the log are not what the catalog says, or not in the log. */
static void expect_tables_refused(struct feed_fixture *x)
{
    static const struct {
        const char *made, *said;
    } cases[] = {
        {"CREATE TABLE odd (id int PRIMARY KEY, t text UNIQUE)", "it has a UNIQUE key on a column"},
        {"SET GLOBAL sql_mode = 'ANSI';\nCREATE TABLE odd (id int PRIMARY KEY, t text UNIQUE)",
         "it has a UNIQUE key on a column"},
        {"SET GLOBAL sql_mode = DEFAULT;\nCREATE TABLE odd (id int PRIMARY KEY, t text COMPRESSED)",
         "t is COMPRESSED"},
        {"SET GLOBAL mysql56_temporal_format = 0;\n"
         "CREATE TABLE odd (id int PRIMARY KEY, t datetime(3));\n"
         "SET GLOBAL mysql56_temporal_format = 1",
         "t has the format of times of before"},
        {"CREATE TABLE odd (id int PRIMARY KEY, t int) ENGINE = Aria", "its engine is not InnoDB"},
    };
    static const char *const id_only[] = {"id", NULL};
    x->tables[0].relation = "odd";
    x->tables[0].columns = id_only;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        sql(x->f, "DROP TABLE IF EXISTS odd");
        sql(x->f, cases[i].made);
        expect_refused(x, cases[i].said);
    }
    x->tables[0].columns = NULL;
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    make_users(f);
    sql(f, "CREATE TABLE child (id int PRIMARY KEY, u int, FOREIGN KEY (u) REFERENCES users (id)"
           " ON DELETE CASCADE);\nCREATE VIEW v AS SELECT * FROM users");
    struct feed_fixture *x = follow(f, users);
    sql(f, "SET GLOBAL binlog_format = 'MIXED'");
    expect_refused(x, "SET GLOBAL binlog_format = 'ROW'");
    sql(f, "SET GLOBAL binlog_format = 'ROW', GLOBAL binlog_row_image = 'MINIMAL'");
    expect_refused(x, "SET GLOBAL binlog_row_image = 'FULL'");
    sql(f, "SET GLOBAL binlog_row_image = 'FULL'");
    x->tables[0].where = "id > 1";
    expect_refused(x, "table users: no change feed: it is a query or has `where`");
    x->tables[0].where = NULL;
    x->tables[0].relation = "v";
    expect_refused(x, "it is not a plain table");
    x->tables[0].relation = "child";
    expect_refused(x, "it has a foreign key that changes rows by itself");
    expect_tables_refused(x);
    sql(f, "SET GLOBAL gtid_slave_pos = '9-9-9', GLOBAL gtid_strict_mode = 0");
    expect_refused(x, "start it with log_slave_updates");
    sql(f, "SET GLOBAL gtid_slave_pos = ''");
    sql(f, "SET server_id = 77;\nINSERT INTO users VALUES (3, 'three', 3);\nSET server_id = 1");
    expect_refused(x, "SET GLOBAL gtid_strict_mode = 1");
    sql(f, "RESET MASTER;\nSET GLOBAL gtid_strict_mode = 0");
    x->tables[0].relation = "users";
    f->options.dsn = f->reader;
    f->options.password = "open sesame";
    sql(f, "GRANT SELECT ON shop.users TO reader");
    expect_refused(x, "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO");
    sql(f, "GRANT REPLICATION SLAVE ADMIN, BINLOG MONITOR ON *.* TO reader");
    expect_refused(x, "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO");
    sql(f, "GRANT REPLICATION SLAVE ON *.* TO reader;\nGRANT SELECT ON shop.child TO reader;\n"
           "GRANT SELECT ON shop.odd TO reader");
    x->tables[0].relation = "child"; /* also with no more than these rights */
    expect_refused(x, "it has a foreign key that changes rows by itself");
    expect_tables_refused(x);
    x->tables[0].relation = "users";
    close_source(f);
    load(x);
    unfollow(x);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct source_canceler canceler;
    make_users(f);
    struct feed_fixture *x = follow(f, users);
    load(x);
    const double begun = source_now_ms();
    while (x->model.idle_count < 3) /* a heartbeat a second, or the position of others' changes */
        must(f, feed_next(x, 2000));
    assert_true(source_now_ms() - begun < 10000);
    source_canceler_start(&canceler, f->class, f->source, 100);
    int status = SP_OK;
    while (status == SP_OK)
        status = feed_next(x, 60000);
    source_canceler_join(&canceler);
    assert_int_equal(status, SP_ECANCELED);
    assert_int_equal(feed_next(x, 1), SP_ESOURCE);
    close_source(f);
    load(x);
    server("crash");
    status = SP_OK;
    while (status == SP_OK)
        status = feed_next(x, 60000);
    assert_int_equal(status, SP_ESOURCE);
    print_message("%s\n", f->error.text);
    server("start");
    admin_connect(f);
    unfollow(x);
}

/* --- every type as a stream has it ---------------------------------------------------------- */

#define TYPES_SQL                                                                                  \
    "CREATE TABLE types (id int PRIMARY KEY, a tinyint, b tinyint unsigned, c smallint,"           \
    " d mediumint, e mediumint unsigned, f int unsigned, g bigint, h bigint unsigned, i year,"     \
    " j bool, k bit(1), l bit(13), m bit(64), n float, o double, p decimal(30,10),"                \
    " q decimal(65,0), r decimal(9,9), s char(9), t varchar(300), u text, v longtext CHARACTER"    \
    " SET latin1, w varchar(9) CHARACTER SET utf16, x char(5) CHARACTER SET ucs2,"                 \
    " y enum('a','it''s','\xc3\xa9','b\\nc\\\\d'), z set('x','y','z'), aa binary(5), ab "          \
    "varbinary(300),"                                                                              \
    " ac blob, ad date, ae datetime, af datetime(3), ag datetime(6), ah timestamp NULL,"           \
    " ai timestamp(5) NULL, aj time, ak time(1), al time(6), am json, an uuid, ao inet6,"          \
    " ap inet4, aq point, ar decimal(5,2) unsigned zerofill, au int AS (id * 2) VIRTUAL,"          \
    " av int AS (id * 3) STORED, aw int INVISIBLE, ax time(3), ay char(200) CHARACTER SET "        \
    "utf8mb4)"

static const char *const types[] = {"types", NULL};

static void insert_types(struct fixture *f)
{
    sql(f,
        "SET time_zone = '+00:00', sql_mode = '';\n"
        "INSERT INTO types (id) VALUES (1);\n"
        "INSERT INTO types (id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r) VALUES"
        " (2, -128, 255, -32768, -8388608, 16777215, 4294967295, -9223372036854775808,"
        " 18446744073709551615, 1901, 1, 1, 8191, 0xffffffffffffffff, 0.1, 1e300,"
        " -12345678901234567890.0123456789, -99999999999999999999999999999999999999999999999999,"
        " -0.000000001),"
        " (3, 127, 0, 32767, 8388607, 0, 0, 9223372036854775807, 0, 0, 0, 0, 0, 0, -3.4e38, -0.0,"
        " 0, 0, 0.999999999);\n"
        "INSERT INTO types (id, s, t, u, v, w, x, y, z, aa, ab, ac, am, an, ao, ap, aq, ay) VALUES"
        " (4, 'ab  ', REPEAT('\xf0\x9f\x98\x80', 300), 'u', 'caf\xc3\xa9 \xe2\x82\xac',"
        " '\xf0\x9f\x98\x80', 'x\xc3\xa9', 'it''s', 'x,z', 'ab', x'0000', x'00ff', '{\"a\": 1}',"
        " '00112233-4455-1677-8899-aabbccddeeff', '::ffff:1.2.3.4', '1.2.3.0', POINT(1, 2),"
        " REPEAT('\xf0\x9f\x98\x80', 200)),"
        " (16, NULL, NULL, NULL, CONVERT(x'81418d8f909d80' USING latin1), NULL, NULL, "
        "'b\\nc\\\\d', NULL,"
        " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),"
        " (5, '', '', '', '', '', '', '', '', '', '', '', '[]',"
        " '00112233-4455-7677-8899-aabbccddee00', '::', '0.0.0.0', NULL, ''),"
        " (6, NULL, NULL, NULL, NULL, NULL, NULL, '\xc3\xa9', 'y', x'ff00ff0000', NULL, NULL, NULL,"
        " 'ffffffff-ffff-ffff-ffff-ffffffffffff', '2001:db8::1:0:0:1', '255.255.255.255', NULL,"
        " 'a'), (14, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
        " '123e4567-e89b-42d3-a456-426614174000', '1:2:3:4:5:6:7:8', NULL, NULL, NULL), (15, NULL,"
        " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
        " '00000000-0000-0000-0000-000000000000', '::1', NULL, NULL, NULL);\n"
        "INSERT INTO types (id, ad, ae, af, ag, ah, ai, aj, ak, al, ax, ar) VALUES"
        " (7, '1000-01-01', '1000-01-01', '1969-12-31 23:59:59.999', '9999-12-31 23:59:59.999999',"
        " '1970-01-01 00:00:01', '2038-01-19 03:14:07.99999', '-838:59:59', '838:59:58.9',"
        " '-00:00:00.000001', '-10:11:12.5', 1.5),"
        " (8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),"
        " (9, '2024-02-29', '2024-02-29 12:34:56', '0000-01-01', '2000-03-01 00:00:00.5',"
        " '2026-11-27 17:00:00', '2026-11-27 17:00:00.00001', '00:00:01', '-00:00:00.1',"
        " '12:13:14.151617', '-00:59:59.999', 999.99)");
}

static void test_types(void **state)
{
    struct fixture *f = *state;
    for (unsigned compressed = 0; compressed < 2; compressed++) {
        sql(f, compressed ? "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10"
                          : "SET GLOBAL log_bin_compress = OFF");
        admin_connect(f);
        sql(f, "USE shop;\nDROP TABLE IF EXISTS types;\n" TYPES_SQL);
        struct feed_fixture *x = follow(f, types);
        x->model.logs = false;
        load(x);
        insert_types(f);
        catch_up(x);
        assert_int_equal(x->model.tables[0].reshape_count, 0);
        assert_non_null(feed_model_find(&x->model, 0, "9"));
        feed_expect_same(x);
        sql(f,
            "UPDATE types SET id = id + 20, a = 1 WHERE id > 2;\nDELETE FROM types WHERE id < 3");
        catch_up(x);
        feed_expect_same(x);
        unfollow(x);
    }
    sql(f, "SET GLOBAL log_bin_compress = OFF");
}

static void test_bad_rows(void **state)
{
    struct fixture *f = *state;
    make_users(f);
    sql(f, "SET sql_mode = 'ALLOW_INVALID_DATES';\n"
           "CREATE TABLE types (id int PRIMARY KEY, flag bool, made date)");
    struct feed_fixture *x = follow(f, types);
    load(x);
    sql(f, "INSERT INTO types VALUES (1, 2, '2026-01-01'), (2, 1, '2026-02-31');\n"
           "UPDATE types SET id = 3 WHERE id = 1;\nUPDATE types SET flag = 1 WHERE id = 3");
    expect_log(x, "bad types 1 flag: not 0 or 1 in a column of booleans\n"
                  "bad types 2 made: a date that is not in the calendar\ncommit\n"
                  "remove types 1\nbad types 3 flag: not 0 or 1 in a column of booleans\ncommit\n"
                  "put types 3|true|2026-01-01\ncommit\n");
    unfollow(x);
}

/* --- snapshots while others write ----------------------------------------------------------- */

struct writer {
    char uri[512];
    unsigned seed;
    atomic_bool stop;
    unsigned transactions;
};

static void *write_at_random(void *context)
{
    struct writer *writer = context;
    struct fixture f = {0};
    char statement[256];
    snprintf(f.dsn, sizeof(f.dsn), "%s", writer->uri);
    admin_connect(&f);
    sql(&f, "USE shop");
    while (!atomic_load_explicit(&writer->stop, memory_order_relaxed)) {
        const unsigned a = (unsigned)rand_r(&writer->seed) % KEYS;
        const unsigned b = (unsigned)rand_r(&writer->seed) % KEYS;
        const unsigned what = (unsigned)rand_r(&writer->seed) % 8;
        sql(&f, "START TRANSACTION");
        snprintf(statement, sizeof(statement),
                 what < 4   ? "UPDATE IGNORE accounts SET cents = cents - 1 WHERE id = %u"
                 : what < 6 ? "REPLACE INTO accounts VALUES (%u, 100)"
                            : "DELETE FROM accounts WHERE id = %u",
                 a);
        sql(&f, statement);
        snprintf(statement, sizeof(statement), "REPLACE INTO notes VALUES (%u, '%u')", b, a);
        sql(&f, statement);
        sql(&f, what == 3 ? "ROLLBACK" : "COMMIT");
        writer->transactions++;
    }
    mysql_close(f.admin);
    return NULL;
}

static void test_exact_snapshots(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"accounts", "notes", NULL};
    const char *given = getenv("SIDEPOND_SEED");
    const unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)source_now_ms();
    struct writer writers[3] = {{.seed = seed}, {.seed = seed + 1}, {.seed = seed + 2}};
    pthread_t threads[3];
    print_message("seed %u\n", seed);
    sql(f, "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint);\n"
           "CREATE TABLE notes (id int PRIMARY KEY, text varchar(20));\n"
           "INSERT INTO accounts SELECT seq, 100 FROM seq_1_to_30");
    struct feed_fixture *x = follow(f, names);
    x->model.logs = false;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(writers[i].uri, sizeof(writers[i].uri), "%s", f->dsn);
        assert_int_equal(pthread_create(&threads[i], NULL, write_at_random, &writers[i]), 0);
    }
    load(x);
    for (unsigned i = 0; i < 30; i++)
        feed_compare(x);
    for (unsigned i = 0; i < 3; i++) {
        atomic_store_explicit(&writers[i].stop, true, memory_order_relaxed);
        pthread_join(threads[i], NULL);
    }
    catch_up(x);
    feed_expect_same(x);
    assert_int_equal(x->model.tables[0].reshape_count, 0);
    print_message("%lu transactions delivered, %u written\n", x->model.transaction_count,
                  writers[0].transactions + writers[1].transactions + writers[2].transactions);
    unfollow(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARIADB_TEST(test_changes),         MARIADB_TEST(test_reshaped),
        MARIADB_TEST(test_two_tables),      MARIADB_TEST(test_twice),
        MARIADB_TEST(test_begun_anew),      MARIADB_TEST(test_rotated),
        MARIADB_TEST(test_altered),         MARIADB_TEST(test_resume),
        MARIADB_TEST(test_refused),         MARIADB_TEST(test_cancel),
        MARIADB_TEST(test_types),           MARIADB_TEST(test_bad_rows),
        MARIADB_TEST(test_exact_snapshots),
    };
    return cmocka_run_group_tests_name("source_mariadb_feed", tests, NULL, NULL);
}
