/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite.h - what the files of the SQLite source share.
 */
#ifndef SIDEPOND_SOURCE_SQLITE_H
#define SIDEPOND_SOURCE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "server/source/source_internal.h"

struct sqlite_map;

/* What sqlite_changed.c knows. */
struct sqlite_changes {
    struct sqlite_map *maps;
    bool wal; /* the file is in WAL mode */
    uint64_t begins;
    bool known, next_known; /* `from` and `next_from` are set */
    unsigned char from[48]; /* the wal-index before the last begin */
    unsigned char next_from[48];
    int64_t schema;
    bool told; /* `pages` holds all that changed between the last begin and the one before */
    uint32_t *pages;
    size_t count;
};

struct source {
    const struct source_options *options;
    sqlite3 *db; /* changed under db_mutex, after open */
    pthread_mutex_t db_mutex;
    char *path;       /* absolute, links followed; owned */
    struct stat file; /* of the file that is open */
    bool utf8;        /* the database's own encoding: text can be taken without a copy */
    struct waker waker;
    uint64_t deadline_ms;       /* of the running call; 0: none */
    uint64_t busy_until_ms;     /* how long to wait for a lock */
    sqlite3_stmt *version_stmt; /* PRAGMA data_version */
    int64_t version;            /* what it said at the last begin, or change told */
    int inotify_fd;             /* on the file's directory; -1: there is none */
    struct sqlite_changes changes;
};

/* A SELECT over the table, and what its columns are. */
struct sqlite_select {
    struct sql_text sql; /* ends after WHERE (...) if there is a condition */
    bool has_where;
    char *watermark; /* the name of the watermark column in that SQL, or NULL */
    struct source_description description;
};

/* Reads what the table is now. Freed by sqlite_select_free also after a failure. */
int sqlite_select_make(struct source *source, const struct source_table *table,
                       struct sqlite_select *out, struct source_error *error);
void sqlite_select_free(struct sqlite_select *select);

int sqlite_describe(struct source *source, const struct source_table *table,
                    struct source_description *out, struct source_error *error);

/* The type of a declared type (NULL or "": none), by the table in sqlite_value.c. */
enum sp_type sqlite_type(const char *declared, bool *as_text);

/* One column of the statement's row. `scratch` (SQLITE_SCRATCH_BYTES) holds what is not in the
 * statement's own memory. Returns NULL, or why it cannot be had as that type. */
#define SQLITE_SCRATCH_BYTES 64
const char *sqlite_value(sqlite3_stmt *stmt, int column, enum sp_type type, bool utf8,
                         char *scratch, struct sp_value *out);

/* A sqlite3_stmt of `sql`. Failing is the configuration's fault if SQLite says SQLITE_ERROR. */
int sqlite_prepare(struct source *source, const struct source_table *table, const char *sql,
                   sqlite3_stmt **out, struct source_error *error);

/* The error for a failed call: canceled, timed out, busy, or what SQLite says. `table` may be NULL
 */
int sqlite_failed(struct source *source, const struct source_table *table, int rc,
                  struct source_error *error);

/* Steps through a statement of ours that has no rows to give. */
int sqlite_run(struct source *source, const char *sql, struct source_error *error);

/* Arms the deadlines; the first thing each call from outside does. */
void sqlite_call_begin(struct source *source);

/* sqlite_wait.c: the data version, and waiting for another. */
int sqlite_version_read(struct source *source, int64_t *version);
int sqlite_listen(struct source *source, const struct source_table *tables, unsigned count,
                  struct source_error *error);
int sqlite_wait(struct source *source, uint32_t timeout_ms, bool *changed,
                struct source_error *error);

/* sqlite_changed.c: the file is open; right before and right after a transaction begins; a table
 * has been read in it; whether one changed since then; nothing is known any more. */
void sqlite_changes_open(struct source *source);
void sqlite_changes_before(struct source *source);
void sqlite_changes_after(struct source *source);
void sqlite_changes_note(struct source *source, const struct source_table *table);
int sqlite_changed(struct source *source, const struct source_table *table, bool *changed,
                   struct source_error *error);
void sqlite_changes_forget(struct source *source);

/* Outside a transaction, opens the file anew if it was replaced, or if opening failed before. */
int sqlite_follow_file(struct source *source, struct source_error *error);
bool sqlite_file_replaced(const struct source *source);

#endif
