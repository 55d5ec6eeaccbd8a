/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql.c - a connection to PostgreSQL: opening it, statements on it, its transactions, and
 * being told of changes.
 *
 * libpq is used without ever blocking in it: every wait is a poll on its socket and on the waker,
 * so that cancel and deadlines work while connecting, while a statement runs and while rows come. A
 * call that is cut off leaves the connection in the middle of something, so it is marked broken and
 * closed; the server notices within two seconds (client_connection_check_interval, PostgreSQL 14
 * and later) or at its next write to us.
 *
 * The session is read-only. Its search_path and time zone are what the role has; what the text of
 * values depends on (DateStyle and the like) is fixed.
 *
 * Limits: the lookup of a host name is libpq's and blocks.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/source/postgresql_feed.h"

#define GRACE_MS 5000 /* what the server may be late with its own statement_timeout */

#define SETTLE_MS       5 /* how long a burst of notifications is read on at most */
#define SETTLE_QUIET_MS 1

#define SESSION_SQL                                                                                \
    "SET default_transaction_read_only = on; SET DateStyle = 'ISO, YMD';"                          \
    " SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex';"       \
    " SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count ="  \
    " 3;"                                                                                          \
    " SET idle_in_transaction_session_timeout = '10min'; SET statement_timeout = "

/* --- errors --------------------------------------------------------------------------------- */

/* libpq's text on one line, without the lines that begin with a tab, which guess at causes, and
 * without one that the line before says too: it tries with TLS and without. */
static void one_line(const char *message, char *out, size_t cap)
{
    size_t used = 0;
    const char *last = NULL;
    out[0] = 0;
    while (*message && used < cap) {
        const size_t bytes = strcspn(message, "\n");
        const bool again = last && strncmp(last, message, bytes + 1) == 0;
        if (bytes > 0 && *message != '\t' && !again) {
            used += (size_t)snprintf(out + used, cap - used, "%s%.*s", used ? "; " : "", (int)bytes,
                                     message);
            last = message;
        }
        message += bytes + (message[bytes] == '\n');
    }
}

int pg_connection_failed(struct source *source, const char *what, struct source_error *error)
{
    char message[SOURCE_ERROR_BYTES];
    one_line(source->last_words[0] ? source->last_words : PQerrorMessage(source->conn), message,
             sizeof(message));
    source->broken = true;
    return source_fail(error, SP_ESOURCE, true, "source %s: %s: %s", source->options->name, what,
                       message[0] ? message : "the server closed it");
}

static int canceled(struct source *source, struct source_error *error)
{
    source->broken = true;
    return source_fail(error, SP_ECANCELED, true, "canceled");
}

static int out_of_time(struct source *source, struct source_error *error)
{
    source->broken = true;
    return source_fail(error, SP_ESOURCE, true,
                       "source %s: the server has not answered within statement_timeout",
                       source->options->name);
}

/* Classes of SQLSTATE whose cause is what was asked for, not the state of the server. */
static bool is_wrong_question(const char *state)
{
    return strncmp(state, "42", 2) == 0 || strncmp(state, "3F", 2) == 0 ||
           strncmp(state, "0A", 2) == 0;
}

static int result_failed(struct source *source, const struct source_table *table,
                         const PGresult *result, struct source_error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *what = table ? "table" : "source";
    const char *name = table ? table->name : source->options->name;
    if (!state || !primary || PQstatus(source->conn) == CONNECTION_BAD)
        return pg_connection_failed(source, "the connection was lost", error);
    source_copy(source->sqlstate, sizeof(source->sqlstate), state);
    if (strncmp(state, "22", 2) == 0) /* its text may quote a row */
        return source_fail(error, SP_ESOURCE, true,
                           "%s %s: the database cannot compute the query (SQLSTATE %s)", what, name,
                           state);
    if (is_wrong_question(state))
        return source_fail(error, SP_ECONFIG, false, "%s %s: %s", what, name, primary);
    return source_fail(error, SP_ESOURCE, true, "%s %s: %s (SQLSTATE %s)", what, name, primary,
                       state);
}

/* --- statements ----------------------------------------------------------------------------- */

int pg_call_begin(struct source *source, struct source_error *error)
{
    const uint32_t limit = source->options->statement_timeout_ms;
    source->deadline_ms = limit ? clock_ms() + limit + GRACE_MS : 0;
    source->sqlstate[0] = '\0';
    if (source->broken)
        return source_fail(error, SP_ESOURCE, true, "source %s: the connection was lost before",
                           source->options->name);
    return waker_take(&source->waker) ? canceled(source, error) : SP_OK;
}

int pg_wait_input(struct source *source, struct source_error *error)
{
    const int unsent = PQflush(source->conn);
    const short events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
    const int left = waker_left_ms(source->deadline_ms), due = pg_feed_upkeep(source->feed);
    if (unsent < 0)
        return pg_connection_failed(source, "the connection was lost", error);
    if (waker_take(&source->waker))
        return canceled(source, error);
    if (left == 0)
        return out_of_time(source, error);
    const int wait = due >= 0 && (left < 0 || due < left) ? due : left;
    if (waker_poll(&source->waker, PQsocket(source->conn), events, wait) &&
        PQconsumeInput(source->conn) == 0)
        return pg_connection_failed(source, "the connection was lost", error);
    return SP_OK;
}

static int next_result(struct source *source, PGresult **out, struct source_error *error)
{
    while (PQisBusy(source->conn)) {
        const int status = pg_wait_input(source, error);
        if (status != SP_OK)
            return status;
    }
    *out = PQgetResult(source->conn);
    return SP_OK;
}

static bool is_error(const PGresult *result)
{
    const ExecStatusType status = PQresultStatus(result);
    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_OUT &&
           status != PGRES_COPY_BOTH && status != PGRES_EMPTY_QUERY;
}

/* The last result, or the first that is an error. */
int pg_finish(struct source *source, const struct source_table *table, PGresult **out,
              struct source_error *error)
{
    PGresult *kept = NULL, *next = NULL;
    int status;
    while ((status = next_result(source, &next, error)) == SP_OK && next) {
        const ExecStatusType kind = PQresultStatus(next);
        const bool is_copy =
            kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH || kind == PGRES_COPY_IN;
        if (kept && is_error(kept)) {
            PQclear(next);
        } else {
            PQclear(kept);
            kept = next;
        }
        if (is_copy)
            break;
    }
    if (status == SP_OK && (!kept || is_error(kept)))
        status = result_failed(source, table, kept, error);
    if (status != SP_OK || !out) {
        PQclear(kept);
        kept = NULL;
    }
    if (out)
        *out = kept;
    return status;
}

int pg_query(struct source *source, const struct source_table *table, const char *sql,
             const char *const *params, int param_count, PGresult **out, struct source_error *error)
{
    const int sent =
        params ? PQsendQueryParams(source->conn, sql, param_count, NULL, params, NULL, NULL, 0)
               : PQsendQuery(source->conn, sql);
    if (!sent)
        return pg_connection_failed(source, "cannot send to the server", error);
    return pg_finish(source, table, out, error);
}

int pg_demand(struct source *source, const PGresult *result, int rows, int columns,
              struct source_error *error)
{
    if (PQntuples(result) >= rows && PQnfields(result) == columns)
        return SP_OK;
    return source_fail(error, SP_ESOURCE, true,
                       "source %s: the server answers in another form than PostgreSQL does",
                       source->options->name);
}

int pg_describe_sql(struct source *source, const struct source_table *table, const char *sql,
                    PGresult **out, struct source_error *error)
{
    if (!PQsendPrepare(source->conn, "", sql, 0, NULL))
        return pg_connection_failed(source, "cannot send to the server", error);
    const int status = pg_finish(source, table, NULL, error);
    if (status != SP_OK)
        return status;
    if (!PQsendDescribePrepared(source->conn, ""))
        return pg_connection_failed(source, "cannot send to the server", error);
    return pg_finish(source, table, out, error);
}

/* --- connecting ----------------------------------------------------------------------------- */

/* Notices are nobody's concern here, but a server that shuts down says so in one. */
static void on_notice(void *context, const PGresult *result)
{
    struct source *source = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (severity && primary && strcmp(severity, "FATAL") == 0)
        source_copy(source->last_words, sizeof(source->last_words), primary);
}

/* What stands before dbname, the connection string may change; what stands after it is ours. */
static PGconn *start_connecting(const struct source_options *options, bool replication)
{
    char application[256];
    snprintf(application, sizeof(application), "sidepond/%s", options->name);
    const bool has_dsn = options->dsn && options->dsn[0];
    const char *const keywords[] = {"keepalives",
                                    "keepalives_idle",
                                    "keepalives_interval",
                                    "keepalives_count",
                                    "tcp_user_timeout",
                                    "application_name",
                                    "dbname",
                                    "password",
                                    "client_encoding",
                                    replication ? "replication" : NULL,
                                    NULL};
    const char *const values[] = {"1",
                                  "30",
                                  "10",
                                  "3",
                                  "30000",
                                  application,
                                  has_dsn ? options->dsn : NULL,
                                  options->password,
                                  "UTF8",
                                  "database",
                                  NULL};
    return PQconnectStartParams(keywords, values, 1);
}

/* libpq's own complaint would quote a piece of it, which may be a misplaced password. */
static bool is_connection_string(const char *dsn)
{
    const bool is_name = !strchr(dsn, '=') && !strstr(dsn, "://"); /* of a database */
    PQconninfoOption *parsed = is_name ? NULL : PQconninfoParse(dsn, NULL);
    const bool good = is_name || parsed;
    PQconninfoFree(parsed);
    return good;
}

static int connect_failed(struct source *source, struct source_error *error)
{
    const char *name = source->options->name;
    if (PQconnectionNeedsPassword(source->conn))
        return source_fail(error, SP_ESOURCE, true,
                           "source %s: the server asks for a password and none is configured",
                           name);
    return pg_connection_failed(source, "cannot connect", error);
}

/* Drives the connection on until it stands. */
static int finish_connecting(struct source *source, uint64_t deadline_ms,
                             struct source_error *error)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED)
            return connect_failed(source, error);
        const int left = waker_left_ms(deadline_ms);
        if (waker_take(&source->waker))
            return canceled(source, error);
        if (left == 0)
            return source_fail(error, SP_ESOURCE, true,
                               "source %s: no connection within connect_timeout (%u ms)",
                               source->options->name, source->options->connect_timeout_ms);
        const short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (waker_poll(&source->waker, PQsocket(source->conn), events, left))
            state = PQconnectPoll(source->conn);
    }
    return SP_OK;
}

/* Text of no known encoding is taken as it is, and looked at row by row. */
static bool is_raw(const struct source *source)
{
    const char *encoding = PQparameterStatus(source->conn, "server_encoding");
    return encoding && strcmp(encoding, "SQL_ASCII") == 0;
}

static int prepare_session(struct source *source, struct source_error *error)
{
    char sql[512];
    struct source_error ignored;
    snprintf(sql, sizeof(sql), SESSION_SQL "%u%s", source->options->statement_timeout_ms,
             is_raw(source) ? "; SET client_encoding = 'SQL_ASCII'" : "");
    int status = pg_query(source, NULL, sql, NULL, 0, NULL, error);
    if (status != SP_OK)
        return status;
    /* Older servers do not have it, and then find out at their next write. */
    pg_query(source, NULL, "SET client_connection_check_interval = 2000", NULL, 0, NULL, &ignored);
    return source->broken ? source_fail(error, ignored.status, true, "%s", ignored.text) : SP_OK;
}

/* What the text of values depends on must be the same in the stream as in the other session. One
 * statement at a time: not every server takes more here. */
static int prepare_replication(struct source *source, struct source_error *error)
{
    static const char *const settings[] = {
        "SET DateStyle = 'ISO, YMD'",   "SET IntervalStyle = 'postgres'",
        "SET extra_float_digits = 3",   "SET bytea_output = 'hex'",
        "SET statement_timeout = 0",    ("SET wal_sender_timeout = " PG_SENDER_TIMEOUT),
        "SET idle_session_timeout = 0", "SET idle_in_transaction_session_timeout = 0",
        "SET tcp_keepalives_idle = 30", "SET tcp_keepalives_interval = 10",
        "SET tcp_keepalives_count = 3", "SET client_encoding = 'SQL_ASCII'"};
    const size_t count = sizeof(settings) / sizeof(*settings) - (is_raw(source) ? 0 : 1);
    int status = SP_OK;
    for (size_t i = 0; i < count && status == SP_OK; i++)
        status = pg_query(source, NULL, settings[i], NULL, 0, NULL, error);
    return status;
}

static int connect_begin(struct source *source, bool replication, struct source_error *error)
{
    const uint32_t limit = source->options->connect_timeout_ms;
    const uint64_t deadline = limit ? clock_ms() + limit : 0;
    source->conn = start_connecting(source->options, replication);
    if (!source->conn)
        return source_no_memory(error);
    PQsetNoticeReceiver(source->conn, on_notice, source);
    if (PQstatus(source->conn) == CONNECTION_BAD)
        return connect_failed(source, error);
    const int status = finish_connecting(source, deadline, error);
    if (status != SP_OK)
        return status;
    PQsetnonblocking(source->conn, 1);
    source->deadline_ms = deadline;
    return replication ? prepare_replication(source, error) : prepare_session(source, error);
}

static int connect_source(struct source *source, struct source_error *error)
{
    if (source->options->dsn && !is_connection_string(source->options->dsn))
        return source_fail(
            error, SP_ECONFIG, false,
            "source %s: dsn is not a connection string of libpq (host=... dbname=..., or "
            "postgresql://...), or has an option that does not exist",
            source->options->name);
    return connect_begin(source, false, error);
}

int pg_connect_replication(struct source *source, PGconn **out, struct source_error *error)
{
    PGconn *before = source->conn;
    const bool was_broken = source->broken;
    source->conn = NULL;
    const int status = connect_begin(source, true, error);
    *out = source->conn;
    source->conn = before;
    source->broken = was_broken; /* which is about the connection that is there */
    if (status != SP_OK) {
        PQfinish(*out);
        *out = NULL;
    }
    return status;
}

static void pg_close(struct source *source)
{
    pg_feed_free(source->feed);
    PQfinish(source->conn);
    waker_close(&source->waker);
    free(source);
}

static int pg_open(const struct source_options *options, struct source **out,
                   struct source_error *error)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return source_no_memory(error);
    source->options = options;
    int status = waker_open(&source->waker);
    if (status != SP_OK) {
        source_fail(error, status, true, "source %s: eventfd: %s", options->name, strerror(errno));
        pg_close(source);
        return status;
    }
    source_announce(options, source);
    status = connect_source(source, error);
    if (status != SP_OK) {
        source_announce(options, NULL);
        pg_close(source);
        return status;
    }
    *out = source;
    return SP_OK;
}

/* --- transactions --------------------------------------------------------------------------- */

/* Whether there was one. */
static bool take_notifications(struct source *source)
{
    PGnotify *notification;
    bool any = false;
    while ((notification = PQnotifies(source->conn))) {
        PQfreemem(notification);
        any = true;
    }
    return any;
}

static int pg_begin(struct source *source, struct source_error *error)
{
    int status = pg_call_begin(source, error);
    if (status != SP_OK)
        return status;
    if (PQconsumeInput(source->conn) == 0)
        return pg_connection_failed(source, "the connection was lost", error);
    take_notifications(source); /* what was told by now, the snapshot will hold */
    return pg_query(source, NULL, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0, NULL,
                    error);
}

static int pg_end(struct source *source, struct source_error *error)
{
    const int status = pg_call_begin(source, error);
    pg_feed_resume(source->feed);
    return status == SP_OK ? pg_query(source, NULL, "COMMIT", NULL, 0, NULL, error) : status;
}

/* --- being told of changes ------------------------------------------------------------------ */

static int pg_listen(struct source *source, const struct source_table *tables, unsigned count,
                     struct source_error *error)
{
    struct sql_text sql = {0};
    int status = pg_call_begin(source, error);
    for (unsigned i = 0; i < count; i++) {
        char channel[300];
        snprintf(channel, sizeof(channel), "sidepond_%s", tables[i].name);
        sql_put(&sql, "LISTEN ");
        sql_put_name(&sql, tables[i].channel ? tables[i].channel : channel, '"');
        sql_put(&sql, ";");
    }
    if (status == SP_OK && count > 0)
        status = sql_failed(&sql) ? source_no_memory(error)
                                  : pg_query(source, NULL, sql.text, NULL, 0, NULL, error);
    sql_free(&sql);
    return status;
}

/* Reads on for a moment: what is told in a burst is one change. */
static int settle(struct source *source, struct source_error *error)
{
    const uint64_t deadline = clock_ms() + SETTLE_MS;
    while (waker_left_ms(deadline) > 0 &&
           waker_poll(&source->waker, PQsocket(source->conn), POLLIN, SETTLE_QUIET_MS))
        if (PQconsumeInput(source->conn) == 0)
            return pg_connection_failed(source, "the connection was lost", error);
    take_notifications(source);
    return SP_OK;
}

static int pg_wait(struct source *source, uint32_t timeout_ms, bool *changed,
                   struct source_error *error)
{
    const uint64_t deadline = clock_ms() + timeout_ms;
    *changed = false;
    if (source->broken)
        return pg_call_begin(source, error);
    for (;;) {
        if (waker_take(&source->waker))
            return source_fail(error, SP_ECANCELED, true, "canceled");
        const int left = waker_left_ms(deadline);
        *changed = take_notifications(source);
        if (*changed || left == 0)
            return *changed ? settle(source, error) : SP_OK;
        if (waker_poll(&source->waker, PQsocket(source->conn), POLLIN, left) &&
            PQconsumeInput(source->conn) == 0)
            return pg_connection_failed(source, "the connection was lost", error);
    }
}

/* The server answers behind what it had to tell before, so the next wait tells of it. */
static int pg_check(struct source *source, struct source_error *error)
{
    const int status = pg_call_begin(source, error);
    return status == SP_OK ? pg_query(source, NULL, "SELECT 1", NULL, 0, NULL, error) : status;
}

static void pg_cancel(struct source *source)
{
    waker_ask(&source->waker);
}

const struct source_class source_postgresql = {
    .type = "postgresql",
    .features = SOURCE_CAN_NOTIFY | SOURCE_CAN_WATERMARK,
    .open = pg_open,
    .describe = pg_describe,
    .begin = pg_begin,
    .stream = pg_stream,
    .end = pg_end,
    .listen = pg_listen,
    .wait = pg_wait,
    .check = pg_check,
    .cancel = pg_cancel,
    .close = pg_close,
    .feed = &pg_feed,
};
