/* SPDX-License-Identifier: Apache-2.0
 *
 * source_fixture.h - a source under test, for tests with cmocka: it is opened, and what it reads,
 * describes or refuses is compared as text.
 *
 * What differs from database to database is in one fixture for each, which sets a struct fixture up
 * and gives sql(): source_sqlite_fixture.h, and in tests/system source_pg_fixture.h and
 * source_mariadb_fixture.h. A program links one of them.
 */
#ifndef SIDEPOND_TESTS_SOURCE_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_FIXTURE_H

#include "source_record.h"

struct fixture {
    void *admin; /* who writes: a connection of the database's own client library */
    union {
        char dsn[512];  /* of a server, as its administrator */
        char path[512]; /* of SQLite's file */
    };
    char reader[600]; /* the DSN of the user "reader", where there are users */
    const struct source_class *class;
    struct source_options options;
    struct source *source;
    struct source_error error;
    struct source_record record;
};

/* As who writes; fails the test on an error. Of the database's fixture. Statements end with ";\n",
 * the last one without. */
void sql(struct fixture *f, const char *statements);

/* Fails the test with the error's text. */
void must(struct fixture *f, int status);

/* Opens f->source if it is not open; closes it if it is. */
void open_source(struct fixture *f);
void close_source(struct fixture *f);

/* --- reading -------------------------------------------------------------------------------- */

/* Reads a whole table into f->record. */
int read_table(struct fixture *f, const struct source_table *table, const struct sp_value *since);

/* The same into f->record as it is, where rows are only counted. */
int count_rows(struct fixture *f, const struct source_table *table);

/* What is read, described or refused must be exactly this text, or begin with it. */
void expect_since(struct fixture *f, const struct source_table *table, const struct sp_value *since,
                  const char *rows);
void expect_rows(struct fixture *f, const struct source_table *table, const char *rows);
void expect_description(struct fixture *f, const struct source_table *table, const char *text);
void expect_error(struct fixture *f, const struct source_table *table, int status,
                  const char *text);
void expect_error_begins(struct fixture *f, const struct source_table *table, int status,
                         const char *text);

/* The sink's own status ends a reading of endless rows, at once. */
void expect_sink_stops(struct fixture *f, const char *endless);

/* The rows, of 100 bytes of variable values each, pass through without growing the process. */
void expect_steady_memory(struct fixture *f, const struct source_table *table, long rows, long kib);
bool is_sanitized(void); /* whose allocator keeps what was freed */

/* --- what all databases have ---------------------------------------------------------------- */

/* A table "users" is configured with columns that it has not. `there` are those it has, id and
 * email among them. */
void expect_unknown_columns(struct fixture *f, const char *there);

/* A change between describe and stream is found out. The source stays in its snapshot. */
void expect_schema_change(struct fixture *f, const struct source_table *table, const char *change);

/* A table "t" of s, with a collation that knows no case, of B, b and A: text is compared byte by
 * byte nevertheless. */
void expect_watermark_by_bytes(struct fixture *f, const char *statements);

struct sp_value of_type(enum sp_type type, int64_t i);

/* --- another thread ------------------------------------------------------------------------- */

/* Statements that another thread runs after a delay. */
struct later {
    struct fixture *f;
    const char *statements;
    unsigned delay_ms;
    double done_ms; /* source_now_ms() then */
    pthread_t thread;
};
void later_start(struct later *later);
void later_join(struct later *later);

#endif
