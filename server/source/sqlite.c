/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite.c - rows out of an SQLite database file.
 *
 * The file is opened read-only and never made. One deferred transaction, made real by a first read,
 * gives all tables of a group one snapshot. In WAL mode that disturbs nobody; in the rollback modes
 * a writer cannot commit while rows are read, so keep such databases in WAL mode.
 *
 * A file that was replaced (renamed over) is opened anew at the next begin. Locks are waited for,
 * BUSY_TIMEOUT_MS at most. A progress handler ends a statement that is canceled or takes longer
 * than statement_timeout; what it does not reach (a sort), sqlite3_interrupt does.
 *
 * Costs: near that of sqlite3_step alone; memory: SQLite's page cache and one row.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "alloc/row.h"
#include "server/source/sqlite.h"

#define BUSY_TIMEOUT_MS 5000
#define BUSY_STEP_MS    2
#define PROGRESS_STEPS  2000 /* of SQLite's machine, some 50 us, between looks at the clock */
#define SECONDS_PER_DAY INT64_C(86400)
#define US_PER_SECOND   INT64_C(1000000)

/* --- calls ---------------------------------------------------------------------------------- */

void sqlite_call_begin(struct source *source)
{
    const uint64_t now = clock_ms();
    const uint32_t limit = source->options->statement_timeout_ms;
    source->deadline_ms = limit ? now + limit : 0;
    source->busy_until_ms = now + BUSY_TIMEOUT_MS;
}

static bool must_stop(const struct source *source)
{
    return waker_asked(&source->waker) ||
           (source->deadline_ms && clock_ms() >= source->deadline_ms);
}

static int on_progress(void *context)
{
    return must_stop(context);
}

static int on_busy(void *context, int count)
{
    struct source *source = context;
    (void)count;
    if (must_stop(source) || clock_ms() >= source->busy_until_ms)
        return 0;
    waker_poll(&source->waker, -1, 0, BUSY_STEP_MS);
    return 1;
}

static int canceled(struct source_error *error)
{
    return source_fail(error, SP_ECANCELED, true, "canceled");
}

static int fail_as(struct source *source, const struct source_table *table, int status,
                   bool transient, const char *what, struct source_error *error)
{
    const char *name = source->options->name;
    if (table)
        return source_fail(error, status, transient, "table %s: %s", table->name, what);
    return source_fail(error, status, transient, "source %s: %s: %s", name, source->path, what);
}

int sqlite_failed(struct source *source, const struct source_table *table, int rc,
                  struct source_error *error)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return source_no_memory(error);
    case SQLITE_INTERRUPT:
        if (waker_take(&source->waker))
            return canceled(error);
        return fail_as(source, table, SP_ESOURCE, true, "took longer than statement_timeout",
                       error);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        if (waker_take(&source->waker))
            return canceled(error);
        return fail_as(source, table, SP_ESOURCE, true,
                       "is locked by a writer (WAL mode would let it be read meanwhile)", error);
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
        return fail_as(source, table, SP_ECONFIG, false, sqlite3_errmsg(source->db), error);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return fail_as(source, NULL, SP_ESOURCE, false, sqlite3_errmsg(source->db), error);
    case SQLITE_CANTOPEN:
        return fail_as(source, NULL, SP_ESOURCE, true,
                       "cannot be opened (in WAL mode, its directory must be writable, or its -wal "
                       "and -shm files be there)",
                       error);
    default:
        return fail_as(source, NULL, SP_ESOURCE, true, sqlite3_errmsg(source->db), error);
    }
}

int sqlite_prepare(struct source *source, const struct source_table *table, const char *sql,
                   sqlite3_stmt **out, struct source_error *error)
{
    *out = NULL;
    if (waker_take(&source->waker))
        return canceled(error);
    const int rc = sqlite3_prepare_v2(source->db, sql, -1, out, NULL);
    return rc == SQLITE_OK ? SP_OK : sqlite_failed(source, table, rc, error);
}

int sqlite_run(struct source *source, const char *sql, struct source_error *error)
{
    if (waker_take(&source->waker))
        return canceled(error);
    const int rc = sqlite3_exec(source->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SP_OK : sqlite_failed(source, NULL, rc, error);
}

/* --- opening -------------------------------------------------------------------------------- */

static int open_failed(const struct source *source, int number, struct source_error *error)
{
    const char *path = source->options->path;
    if (number == ENOENT)
        return source_fail(error, SP_ESOURCE, true, "source %s: there is no file %s",
                           source->options->name, path);
    return source_fail(error, SP_ESOURCE, true, "source %s: %s: %s", source->options->name, path,
                       strerror(number));
}

/* The file's identity and its path as SQLite takes no URI for: absolute. */
static int find_file(struct source *source, struct source_error *error)
{
    free(source->path);
    source->path = realpath(source->options->path, NULL);
    if (!source->path || stat(source->path, &source->file) != 0)
        return open_failed(source, errno, error);
    if (!S_ISREG(source->file.st_mode))
        return source_fail(error, SP_ESOURCE, false, "source %s: %s is not a file",
                           source->options->name, source->path);
    return access(source->path, R_OK) == 0 ? SP_OK : open_failed(source, errno, error);
}

static int read_encoding(struct source *source, struct source_error *error)
{
    sqlite3_stmt *stmt;
    int status = sqlite_prepare(source, NULL, "PRAGMA encoding", &stmt, error);
    if (status != SP_OK)
        return status;
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        source->utf8 = strcmp((const char *)sqlite3_column_text(stmt, 0), "UTF-8") == 0;
    else
        status = sqlite_failed(source, NULL, rc, error);
    sqlite3_finalize(stmt);
    return status;
}

static void close_file(struct source *source)
{
    sqlite_changes_forget(source);
    sqlite3_finalize(source->version_stmt);
    source->version_stmt = NULL;
    sqlite3_close(source->db);
    source->db = NULL;
}

static int open_file(struct source *source, struct source_error *error)
{
    int status = find_file(source, error);
    if (status != SP_OK)
        return status;
    int rc = sqlite3_open_v2(source->path, &source->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                             NULL);
    if (rc != SQLITE_OK)
        return source->db ? sqlite_failed(source, NULL, rc, error) : source_no_memory(error);
    sqlite3_extended_result_codes(source->db, 1);
    sqlite3_progress_handler(source->db, PROGRESS_STEPS, on_progress, source);
    sqlite3_busy_handler(source->db, on_busy, source);
    status = read_encoding(source, error);
    if (status == SP_OK)
        status = sqlite_run(source, "SELECT 1 FROM sqlite_master", error);
    if (status == SP_OK)
        status = sqlite_prepare(source, NULL, "PRAGMA data_version", &source->version_stmt, error);
    if (status == SP_OK) {
        rc = sqlite_version_read(source, &source->version);
        status = rc == SQLITE_OK ? SP_OK : sqlite_failed(source, NULL, rc, error);
    }
    if (status == SP_OK)
        sqlite_changes_open(source);
    return status;
}

/* cancel() may be looking at the handle. */
static int reopen(struct source *source, struct source_error *error)
{
    pthread_mutex_lock(&source->db_mutex);
    close_file(source);
    const int status = open_file(source, error);
    pthread_mutex_unlock(&source->db_mutex);
    return status;
}

static void sqlite_close(struct source *source)
{
    close_file(source);
    if (source->inotify_fd >= 0)
        close(source->inotify_fd);
    waker_close(&source->waker);
    pthread_mutex_destroy(&source->db_mutex);
    free(source->path);
    free(source);
}

static int sqlite_open(const struct source_options *options, struct source **out,
                       struct source_error *error)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return source_no_memory(error);
    source->options = options;
    source->inotify_fd = -1;
    pthread_mutex_init(&source->db_mutex, NULL);
    int status = waker_open(&source->waker);
    if (status != SP_OK) {
        source_fail(error, status, true, "source %s: eventfd: %s", options->name, strerror(errno));
        sqlite_close(source);
        return status;
    }
    source_announce(options, source);
    sqlite_call_begin(source);
    status = reopen(source, error);
    if (status != SP_OK) {
        source_announce(options, NULL);
        sqlite_close(source);
        return status;
    }
    *out = source;
    return SP_OK;
}

/* --- transactions --------------------------------------------------------------------------- */

bool sqlite_file_replaced(const struct source *source)
{
    struct stat now;
    return stat(source->options->path, &now) == 0 &&
           (now.st_dev != source->file.st_dev || now.st_ino != source->file.st_ino);
}

int sqlite_follow_file(struct source *source, struct source_error *error)
{
    if (source->version_stmt &&
        (!sqlite3_get_autocommit(source->db) || !sqlite_file_replaced(source)))
        return SP_OK;
    return reopen(source, error);
}

static int sqlite_begin(struct source *source, struct source_error *error)
{
    sqlite_call_begin(source);
    int status = sqlite_follow_file(source, error);
    if (status != SP_OK)
        return status;
    sqlite_changes_before(source);
    status = sqlite_run(source, "BEGIN; SELECT 1 FROM sqlite_master", error);
    if (status != SP_OK)
        return status;
    sqlite_changes_after(source);
    const int rc = sqlite_version_read(source, &source->version);
    return rc == SQLITE_OK ? SP_OK : sqlite_failed(source, NULL, rc, error);
}

static int sqlite_end(struct source *source, struct source_error *error)
{
    sqlite_call_begin(source);
    return sqlite_run(source, "COMMIT", error);
}

static void sqlite_cancel(struct source *source)
{
    waker_ask(&source->waker);
    if (pthread_mutex_trylock(&source->db_mutex) != 0)
        return; /* being opened anew: looks at the waker */
    if (source->db)
        sqlite3_interrupt(source->db);
    pthread_mutex_unlock(&source->db_mutex);
}

/* --- watermarks ----------------------------------------------------------------------------- */

static bool is_time(enum sp_type type)
{
    return type == SP_TYPE_TIMESTAMP || type == SP_TYPE_DATETIME || type == SP_TYPE_DATE;
}

static void put_since(struct sqlite_select *select, enum sp_type type)
{
    struct sql_text *sql = &select->sql;
    sql_put(sql, select->has_where ? " AND (" : " WHERE (");
    sql_put_name(sql, select->watermark, '`');
    sql_put(sql, type == SP_TYPE_TEXT ? " COLLATE BINARY >= ?1" : " >= ?1");
    if (is_time(type)) {
        sql_put(sql, " OR (");
        sql_put_name(sql, select->watermark, '`');
        sql_put(sql, " >= ?2 AND typeof(");
        sql_put_name(sql, select->watermark, '`');
        sql_put(sql, ") = 'integer') OR (");
        sql_put_name(sql, select->watermark, '`');
        sql_put(sql, " >= ?3 AND typeof(");
        sql_put_name(sql, select->watermark, '`');
        sql_put(sql, ") = 'real')");
    }
    sql_put(sql, ")");
}

/* A time may be stored in three ways, and as text with any zone and separator. What is asked of
 * SQLite is therefore coarse (the day before, or the second), and the rows are looked at again. */
static int bind_time(sqlite3_stmt *stmt, const struct sp_value *since)
{
    const int64_t unit = since->type == SP_TYPE_DATE ? 1 : SECONDS_PER_DAY * US_PER_SECOND;
    const int64_t day = since->i / unit - (since->i % unit < 0);
    const int64_t seconds = since->type == SP_TYPE_DATE
                                ? day * SECONDS_PER_DAY
                                : since->i / US_PER_SECOND - (since->i % US_PER_SECOND < 0);
    struct sp_value before = sp_int(day - 1);
    char text[SQLITE_SCRATCH_BYTES];
    before.type = SP_TYPE_DATE;
    size_t bytes = row_value_text(&before, text, sizeof(text));
    if (text[0] < '0' || text[0] > '9')
        bytes = 0; /* a year that does not sort as text: all of them */
    const double julian = (double)seconds / (double)SECONDS_PER_DAY + 2440587.5 - 1e-3;
    sqlite3_bind_text(stmt, 1, text, (int)bytes, SQLITE_TRANSIENT);
    sqlite3_bind_int64(stmt, 2, seconds);
    return sqlite3_bind_double(stmt, 3, julian);
}

static int bind_since(sqlite3_stmt *stmt, const struct sp_value *since)
{
    const void *data = since->bytes.data ? since->bytes.data : "";
    switch (since->type) {
    case SP_TYPE_INT64:
        return sqlite3_bind_int64(stmt, 1, since->i);
    case SP_TYPE_FLOAT64:
        return sqlite3_bind_double(stmt, 1, since->f);
    case SP_TYPE_TEXT:
    case SP_TYPE_NUMERIC:
        return sqlite3_bind_text64(stmt, 1, data, since->bytes.size, SQLITE_TRANSIENT, SQLITE_UTF8);
    case SP_TYPE_BYTES:
        return sqlite3_bind_blob64(stmt, 1, data, since->bytes.size, SQLITE_TRANSIENT);
    default:
        return bind_time(stmt, since);
    }
}

/* --- rows ----------------------------------------------------------------------------------- */

struct reading {
    struct source *source;
    const struct source_table *table;
    const struct source_description *description;
    const struct source_sink *sink;
    sqlite3_stmt *stmt;
    struct sp_value *values;
    char *scratch;    /* SQLITE_SCRATCH_BYTES for each column */
    int since_column; /* a time to be looked at again, or -1 */
    int64_t since;
};

/* Decodes a row; the first column that cannot be read, or -1. */
static int read_row(const struct reading *r, const char **why)
{
    int bad = -1;
    for (unsigned i = 0; i < r->description->column_count; i++) {
        const struct source_column *column = &r->description->columns[i];
        const char *wrong =
            sqlite_value(r->stmt, (int)i, column->type, r->source->utf8,
                         r->scratch + (size_t)i * SQLITE_SCRATCH_BYTES, &r->values[i]);
        if (!wrong && r->values[i].is_null && !column->nullable)
            wrong = "NULL in a column that is declared not to have it";
        if (wrong && bad < 0) {
            bad = (int)i;
            *why = wrong;
        }
    }
    return bad;
}

static int take_row(const struct reading *r)
{
    const unsigned count = r->description->column_count;
    const char *why = NULL;
    const int bad = read_row(r, &why);
    if (bad >= 0)
        return r->sink->bad_row(r->sink->context, r->values, count, (unsigned)bad, why);
    if (r->since_column >= 0 && r->values[r->since_column].i < r->since)
        return SP_OK;
    return r->sink->row(r->sink->context, r->values, count);
}

static int read_rows(const struct reading *r, struct source_error *error)
{
    int rc, status = SP_OK;
    while ((rc = sqlite3_step(r->stmt)) == SQLITE_ROW) {
        status = take_row(r);
        if (status != SP_OK)
            return source_fail(error, status, true,
                               "table %s: the receiver of its rows stopped: %s", r->table->name,
                               sp_status_text(status));
        if (waker_take(&r->source->waker))
            return canceled(error);
    }
    return rc == SQLITE_DONE ? SP_OK : sqlite_failed(r->source, r->table, rc, error);
}

static int reading_start(struct reading *r, struct sqlite_select *select,
                         const struct sp_value *since, struct source_error *error)
{
    const unsigned count = r->description->column_count;
    if (since && (!select->watermark || since->is_null))
        return source_fail(error, SP_EINVAL, false, "table %s: no watermark to read from",
                           r->table->name);
    if (since)
        put_since(select, since->type);
    if (sql_failed(&select->sql))
        return source_no_memory(error);
    int status = sqlite_prepare(r->source, r->table, select->sql.text, &r->stmt, error);
    if (status != SP_OK)
        return status;
    if (since && bind_since(r->stmt, since) != SQLITE_OK)
        return source_no_memory(error);
    if (since && is_time(since->type)) {
        r->since_column = source_watermark_column(r->table, r->description);
        r->since = since->i;
    }
    r->values = calloc(count, sizeof(*r->values));
    r->scratch = malloc((size_t)count * SQLITE_SCRATCH_BYTES);
    return r->values && r->scratch ? SP_OK : source_no_memory(error);
}

static int sqlite_stream(struct source *source, const struct source_table *table,
                         const struct source_description *description, const struct sp_value *since,
                         const struct source_sink *sink, struct source_error *error)
{
    struct reading r = {.source = source,
                        .table = table,
                        .description = description,
                        .sink = sink,
                        .since_column = -1};
    struct sqlite_select select;
    sqlite_call_begin(source);
    int status = sqlite_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = source_description_compare(table, description, &select.description, error);
    if (status == SP_OK)
        status = reading_start(&r, &select, since, error);
    if (status == SP_OK)
        status = read_rows(&r, error);
    if (status == SP_OK)
        sqlite_changes_note(source, table);
    sqlite3_finalize(r.stmt);
    free(r.values);
    free(r.scratch);
    sqlite_select_free(&select);
    return status;
}

const struct source_class source_sqlite = {
    .type = "sqlite",
    .features = SOURCE_CAN_NOTIFY | SOURCE_CAN_WATERMARK,
    .open = sqlite_open,
    .describe = sqlite_describe,
    .begin = sqlite_begin,
    .stream = sqlite_stream,
    .end = sqlite_end,
    .listen = sqlite_listen,
    .wait = sqlite_wait,
    .changed = sqlite_changed,
    .cancel = sqlite_cancel,
    .close = sqlite_close,
};
