/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: a value that comes from MariaDB's binary log is the one that reading its table gives, where
 * the server has ways of its own: addresses, character sets, labels. And what is followed beside
 * plain changes: see the tests.
 * Method: runs under mariadb_server.py, which starts a server for it alone. Rows are written while
 * they are followed, and the model that comes of it is compared with a second reading. The random
 * addresses are the server's: a failure prints the rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed_model.h"
#include "source_mariadb_fixture.h"

#define SYNC_MS 30000
#define LAST_ID "1000000" /* of the row that is written last */

static const char *const key_id[] = {"id", NULL};

/* The table "t", followed. */
struct follower {
    struct fixture *f;
    const struct source_feed_class *class;
    struct source_table table;
    struct source_description description;
    struct feed_model model;
    char stream[FEED_STREAM_BYTES];
    const char *last; /* the statement that makes the last row; NULL: an INSERT of the key */
};

/* Opens, describes and checks; the status of the check. */
static int check(struct follower *w, struct fixture *f)
{
    const struct source_feed_options options = {.name = "test"};
    const struct source_description *described = &w->description;
    w->f = f;
    w->class = f->class->feed;
    w->table = (struct source_table){.name = "t", .relation = "t", .key = key_id};
    open_source(f);
    must(f, f->class->describe(f->source, &w->table, &w->description, &f->error));
    w->model.tables[0] =
        (struct feed_model_table){.table = &w->table, .description = &w->description};
    w->model.table_count = 1;
    return w->class->check(f->source, &options, &w->table, &described, 1, w->stream, &f->error);
}

static void start(struct follower *w, struct fixture *f)
{
    char position[FEED_POSITION_BYTES];
    must(f, check(w, f));
    must(f, w->class->snapshot(f->source, position, &f->error));
    must(f, f->class->end(f->source, &f->error));
    must(f, w->class->start(f->source, position, &f->error));
}

static void stop(struct follower *w)
{
    close_source(w->f);
    feed_model_free(&w->model);
    source_description_free(&w->description);
}

/* Reads the log until the last row has come, and its transaction has ended. */
static void catch_up(struct follower *w)
{
    const double deadline = source_now_ms() + SYNC_MS;
    const struct source_feed_sink sink = feed_model_sink(&w->model);
    sql(w->f, w->last ? w->last : "INSERT INTO t (id) VALUES (" LAST_ID ")");
    while (!feed_model_find(&w->model, 0, LAST_ID) || w->model.inside) {
        must(w->f, w->class->next(w->f->source, 100, &sink, &w->f->error));
        if (source_now_ms() > deadline)
            fail_msg("the feed has not told of a commit within %d ms", SYNC_MS);
    }
    assert_int_equal(w->model.tables[0].reshape_count, 0);
    assert_int_equal(w->model.tables[0].odd_count, 0);
}

static void expect_same(struct follower *w)
{
    struct fixture other = {.class = w->f->class, .options = w->f->options};
    catch_up(w);
    must(&other, read_table(&other, &w->table, NULL));
    char *ours = feed_model_text(&w->model, 0);
    feed_model_sort_lines(other.record.text);
    assert_string_equal(ours, other.record.text);
    free(ours);
    source_record_free(&other.record);
    close_source(&other);
}

/* The statements in between leave nothing of the table as it was. */
static void follow_until(struct fixture *f, const char *create, const char *statements,
                         const char *last)
{
    struct follower *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    sql(f, "DROP TABLE IF EXISTS t");
    sql(f, create);
    start(w, f);
    w->last = last;
    sql(f, statements);
    expect_same(w);
    stop(w);
    free(w);
}

static void follow(struct fixture *f, const char *create, const char *statements)
{
    follow_until(f, create, statements, NULL);
}

/* --- tests ---------------------------------------------------------------------------------- */

/* MariaDB leaves out a single zero word, too, and has rules of its own for what ends in an INET4.
 */
static void test_addresses(void **state)
{
    struct fixture *f = *state;
    follow(f, "CREATE TABLE t (id int PRIMARY KEY, a inet6, b inet4)",
           "INSERT INTO t (id, a) VALUES (1, '1:2:3:0:5:6:7:8'), (2, '2001:db8:0:1:1:1:1:1'),"
           " (3, '::1.2.3.4'), (4, '::2'), (5, '::1:2'), (6, '::ffff:0:1'), (7, '::ffff:1.2.3.4'),"
           " (8, '1:0:0:2:0:0:3:4'), (9, '1:0:2:0:0:3:0:0'), (10, '0:1::'), (11, '::ffff'),"
           " (12, '::1:0'), (13, '::1:2:3'), (14, '1::'), (15, '0:1:2:3:4:5:6:0'), (16, '::'),"
           " (17, '0:1:0:1:0:1:0:1'), (18, '1:0:1:0:1:0:1:0'), (19, '::fffe:1.2.3.4'),"
           " (20, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'), (21, '1:2:3:4:5:6:7:0');\n"
           "INSERT INTO t (id, a) SELECT 1000 + seq, CAST(UNHEX(CONCAT("
           " IF(RAND(seq) < 0.5, '0000', '000f'), IF(RAND() < 0.5, '0000', 'ff00'),"
           " IF(RAND() < 0.5, '0000', 'abcd'), IF(RAND() < 0.5, '0000', '0001'),"
           " IF(RAND() < 0.5, '0000', '0001'), IF(RAND() < 0.5, '0000', 'ffff'),"
           " IF(RAND() < 0.5, '0000', '0102'), IF(RAND() < 0.5, '0000', '0001'))) AS inet6)"
           " FROM seq_1_to_1000;\n"
           "INSERT INTO t (id, b) VALUES (5000, '0.0.0.0'), (5001, '255.0.10.1')");
}

/* Words of the catalog's own comments may be labels. A label that it may have lost is refused. */
static void test_labels(void **state)
{
    struct fixture *f = *state;
    follow(f,
           "CREATE TABLE t (id int PRIMARY KEY, a enum('RAW', 'COMPRESSED', ' COMPRESSED*/'),"
           " b set('/* mariadb-5.3 */', 'x'), c enum('?', 'y') CHARACTER SET latin1)",
           "INSERT INTO t VALUES (1, 'COMPRESSED', 'x,/* mariadb-5.3 */', '?'),"
           " (2, ' COMPRESSED*/', '', 'y'), (3, 'RAW', NULL, NULL)");
    struct follower *w = calloc(1, sizeof(*w));
    sql(f, "ALTER TABLE t ADD d enum('\xf0\x9f\x98\x80', 'z') CHARACTER SET utf8mb4");
    assert_int_equal(check(w, f), SP_ECONFIG);
    assert_string_equal(f->error.text,
                        "table t: no change feed: d has labels with question marks, which may "
                        "stand for characters beyond the BMP that the catalog does not tell");
    stop(w);
    free(w);
}

/* Each byte (but zero, which ends the model's lines) between two others. */
static void test_charsets_of_one_byte(void **state)
{
    struct fixture *f = *state;
    static const char *const sets[] = {
        "armscii8", "ascii",    "cp1250", "cp1251",  "cp1256", "cp1257", "cp850",
        "cp852",    "cp866",    "dec8",   "geostd8", "greek",  "hebrew", "hp8",
        "keybcs2",  "koi8r",    "koi8u",  "latin1",  "latin2", "latin5", "latin7",
        "macce",    "macroman", "swe7",   "tis620",
    };
    const size_t count = sizeof(sets) / sizeof(*sets);
    char create[4096] = "CREATE TABLE t (id int PRIMARY KEY";
    char insert[4096] = "INSERT INTO t SELECT seq";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(create);
        snprintf(create + used, sizeof(create) - used, ", `%s` varchar(9) CHARACTER SET %s%s",
                 sets[i], sets[i], i + 1 < count ? "" : ")");
        used = strlen(insert);
        snprintf(insert + used, sizeof(insert) - used, ", CONVERT(CHAR(120, seq, 121) USING %s)%s",
                 sets[i], i + 1 < count ? "" : " FROM seq_1_to_255");
    }
    assert_int_equal(sql_long(f, "SELECT COUNT(*) FROM information_schema.CHARACTER_SETS WHERE"
                                 " MAXLEN = 1 AND CHARACTER_SET_NAME <> 'binary'"),
                     count);
    follow(f, create, insert);
}

/* All characters of two and three bytes, and all that are none. */
static void test_charsets_of_more_bytes(void **state)
{
    struct fixture *f = *state;
    static const char *const sets[] = {"big5",   "cp932", "eucjpms", "euckr",
                                       "gb2312", "gbk",   "sjis",    "ujis"};
    sql(f, "SET sql_mode = ''");
    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
        char create[128], insert[512];
        snprintf(create, sizeof(create),
                 "CREATE TABLE t (id int PRIMARY KEY, a text CHARACTER SET %s)", sets[i]);
        snprintf(insert, sizeof(insert),
                 "INSERT INTO t SELECT f.seq, CONVERT(GROUP_CONCAT(CHAR(f.seq, s.seq) SEPARATOR"
                 " '\n') USING %s) FROM seq_128_to_255 f, seq_1_to_255 s GROUP BY f.seq;\n"
                 "INSERT INTO t SELECT 256 + f.seq, CONVERT(GROUP_CONCAT(CHAR(0x8f, f.seq, s.seq)"
                 " SEPARATOR '\n') USING %s) FROM seq_128_to_255 f, seq_1_to_255 s GROUP BY f.seq",
                 sets[i], sets[i]);
        follow(f, create, insert);
    }
}

static void test_charsets_of_units(void **state)
{
    struct fixture *f = *state;
    follow(f,
           "CREATE TABLE t (id int PRIMARY KEY, a varchar(9) CHARACTER SET ucs2, b varchar(9)"
           " CHARACTER SET utf16, c varchar(9) CHARACTER SET utf16le, d varchar(9) CHARACTER SET"
           " utf32, e varchar(9) CHARACTER SET utf8mb3)",
           "INSERT INTO t SELECT seq, c, c, c, c, c FROM (SELECT seq, CONVERT(CONVERT(UNHEX(CONCAT("
           "'0041', LPAD(HEX(seq * 61), 4, '0'), '20ac')) USING ucs2) USING utf8mb4) AS c FROM"
           " seq_1_to_900) q;\n"
           "INSERT INTO t SELECT seq, NULL, c, c, c, NULL FROM (SELECT seq, CONCAT('x', CONVERT("
           "CONVERT(UNHEX(LPAD(HEX(0x10000 + seq % 1000 * 1048), 8, '0')) USING utf32) USING"
           " utf8mb4), 'y') AS c FROM seq_1000_to_1999) q");
}

/* A snapshot may have to wait until the feed has come to its place. */
static void test_snapshot_waits(void **state)
{
    struct fixture *f = *state;
    struct follower *w = calloc(1, sizeof(*w));
    const struct source_sink sink = feed_model_stream_sink(&w->model);
    char position[FEED_POSITION_BYTES];
    sql(f, "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1);\n"
           "SET GLOBAL idle_readonly_transaction_timeout = 1");
    must(f, check(w, f));
    sql(f, "SET GLOBAL idle_readonly_transaction_timeout = DEFAULT");
    must(f, w->class->snapshot(f->source, position, &f->error));
    sleep_ms(1500);
    must(f, f->class->stream(f->source, &w->table, &w->description, NULL, &sink, &f->error));
    must(f, f->class->end(f->source, &f->error));
    assert_int_equal(w->model.tables[0].row_count, 1);
    stop(w);
    free(w);
}

/* What writes rows by itself, or in other ways than INSERT, UPDATE and DELETE. */
static void test_writers(void **state)
{
    struct fixture *f = *state;
    const char *directory = getenv("SIDEPOND_MARIADB_DIR");
    char load[1024];
    snprintf(load, sizeof(load),
             "SELECT seq, 'loaded', 1 FROM seq_300_to_320 INTO OUTFILE '%s/rows';\n"
             "LOAD DATA INFILE '%s/rows' REPLACE INTO TABLE t",
             directory, directory);
    sql(f, "CREATE TABLE o (id int PRIMARY KEY, n int);\n"
           "INSERT INTO o SELECT seq, seq FROM seq_1_to_20;\n"
           "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), n int);\n"
           "CREATE TRIGGER o_u AFTER UPDATE ON o FOR EACH ROW"
           " REPLACE INTO t VALUES (NEW.id, 'trigger', NEW.n);\n"
           "CREATE TRIGGER o_d BEFORE DELETE ON o FOR EACH ROW DELETE FROM t WHERE id = OLD.id");
    follow(f,
           "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), n int)"
           " PARTITION BY HASH (id) PARTITIONS 3",
           "UPDATE o SET n = n + 1;\nDELETE FROM o WHERE id < 5;\n"
           "REPLACE INTO t VALUES (6, 'replaced', 1), (30, 'new', 2);\n"
           "INSERT INTO t VALUES (6, 'x', 1), (31, 'y', 1)"
           " ON DUPLICATE KEY UPDATE a = 'again', id = id + 100;\n"
           "INSERT IGNORE INTO t VALUES (7, 'ignored', 1), (32, 'z', 1);\n"
           "DROP TRIGGER o_u;\nDROP TRIGGER o_d;\n"
           "UPDATE t, o SET t.n = 9, o.n = 8 WHERE t.id = o.id AND o.id < 10;\n"
           "DELETE t, o FROM t JOIN o ON t.id = o.id WHERE o.id > 15;\n"
           "UPDATE t SET id = id + 1 ORDER BY id DESC;\n"
           "INSERT INTO t VALUES (40, 'returned', 1) RETURNING id");
    follow(f, "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), n int)", load);
}

/* Keys that only the server takes for the same, and such as it computes. */
static void test_keys(void **state)
{
    struct fixture *f = *state;
    follow(f,
           "CREATE TABLE t (id varchar(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY"
           " KEY, n int)",
           "INSERT INTO t VALUES ('a', 1), ('B', 2), ('\xc3\xa9', 3), ('x  ', 4);\n"
           "UPDATE t SET id = 'A' WHERE id = 'a';\nREPLACE INTO t VALUES ('b', 7);\n"
           "INSERT INTO t VALUES ('X', 1) ON DUPLICATE KEY UPDATE id = 'X', n = 9;\n"
           "DELETE FROM t WHERE id = 'E'");
    follow_until(
        f, "CREATE TABLE t (x int PRIMARY KEY, id int AS (x + 1) VIRTUAL UNIQUE, y int)",
        "INSERT INTO t (x, y) VALUES (1, 1), (2, 2), (3, 3);\nUPDATE t SET y = 5 WHERE x = 1;\n"
        "UPDATE t SET x = 7 WHERE x = 2;\nDELETE FROM t WHERE x = 3",
        "INSERT INTO t (x) VALUES (" LAST_ID " - 1)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARIADB_TEST(test_addresses),
        MARIADB_TEST(test_labels),
        MARIADB_TEST(test_charsets_of_one_byte),
        MARIADB_TEST(test_charsets_of_more_bytes),
        MARIADB_TEST(test_charsets_of_units),
        MARIADB_TEST(test_snapshot_waits),
        MARIADB_TEST(test_writers),
        MARIADB_TEST(test_keys),
    };
    return cmocka_run_group_tests_name("feed_mariadb_values", tests, NULL, NULL);
}
