/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_query.c - statements on a connection to MariaDB, and what its errors are worth.
 *
 * libmariadb's calls come as pairs, _start and _cont: where one would block it returns what it
 * waits for, and the wait is ours, on its socket and on the waker. A call that has to end early is
 * told that its time is over: it then gives up by itself and leaves nothing behind; the connection
 * is marked broken.
 *
 * An error's text is told only where it cannot quote a row: those of class 22, and most of those
 * without a class of their own (HY000), may.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <errmsg.h>
#include <mysqld_error.h>

#include "alloc/clock.h"
#include "server/source/mariadb.h"

#define GRACE_MS 5000 /* what the server may be late with its own time limit */

/* Numbers that this library's header does not have. */
enum {
    ERROR_KILLED = 1927,           /* connection was killed */
    ERROR_STATEMENT_TIME = 1969,   /* max_statement_time exceeded */
    ERROR_TABLE_CHANGED = 1412,    /* table definition has changed, retry transaction */
    ERROR_VIEW_INVALID = 1356,     /* view references invalid tables, or lacks rights */
    ERROR_IDLE_TRANSACTION = 4030, /* idle_transaction_timeout */
    ERROR_IDLE_MYSQL = 4031,       /* MySQL: disconnected for inactivity */
    ERROR_CLIENT_FIRST = 2000,
    ERROR_CLIENT_LAST = 2999,
};

/* --- errors --------------------------------------------------------------------------------- */

static int cut_off(struct source *source, struct source_error *error)
{
    const bool by_time = source->cut == CUT_OUT_OF_TIME;
    source->cut = CUT_NOT;
    source->broken = true;
    if (!by_time)
        return source_fail(error, SP_ECANCELED, true, "canceled");
    if (!source->connected)
        return source_fail(error, SP_ESOURCE, true,
                           "source %s: no connection within connect_timeout (%u ms)",
                           source->options->name, source->options->connect_timeout_ms);
    return source_fail(error, SP_ESOURCE, true,
                       "source %s: the server has not answered within statement_timeout",
                       source->options->name);
}

static bool is_connection_lost(unsigned number)
{
    return (number >= ERROR_CLIENT_FIRST && number <= ERROR_CLIENT_LAST) ||
           number == ERROR_KILLED || number == ERROR_IDLE_MYSQL ||
           number == ERROR_IDLE_TRANSACTION || number == ER_SERVER_SHUTDOWN ||
           number == ER_NORMAL_SHUTDOWN;
}

/* Whose cause is what was asked for, not the state of the server. */
static bool is_wrong_question(unsigned number, const char *state)
{
    if (number == ER_USER_LIMIT_REACHED || number == ER_TOO_MANY_USER_CONNECTIONS)
        return false;
    return strncmp(state, "42", 2) == 0 || strncmp(state, "3D", 2) == 0 ||
           strncmp(state, "0A", 2) == 0 || strncmp(state, "21", 2) == 0 ||
           number == ERROR_VIEW_INVALID;
}

static bool may_quote_a_row(unsigned number, const char *state)
{
    static const unsigned harmless[] = {
        ER_LOCK_WAIT_TIMEOUT, ERROR_TABLE_CHANGED, ER_OPTION_PREVENTS_STATEMENT,
        ERROR_STATEMENT_TIME, ER_CANT_OPEN_FILE,   ER_DISK_FULL,
        ER_OUTOFMEMORY};
    for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
        if (harmless[i] == number)
            return false;
    return strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
           strncmp(state, "HY", 2) == 0 || strncmp(state, "01", 2) == 0;
}

int maria_failed(struct source *source, const struct source_table *table,
                 struct source_error *error)
{
    const unsigned number = mysql_errno(source->conn);
    const char *state = mysql_sqlstate(source->conn);
    const char *text = mysql_error(source->conn);
    const char *what = table ? "table" : "source";
    const char *name = table ? table->name : source->options->name;
    if (source->cut != CUT_NOT)
        return cut_off(source, error);
    source->running = false;
    source->broken = source->broken || is_connection_lost(number) || !source->connected;
    if (!source->connected)
        return source_fail(error, SP_ESOURCE, true, "source %s: cannot connect: %s",
                           source->options->name, text);
    if (number == 0 || is_connection_lost(number))
        return source_fail(error, SP_ESOURCE, true, "source %s: the connection was lost: %s",
                           source->options->name, *text ? text : "the server closed it");
    if (is_wrong_question(number, state))
        return source_fail(error, SP_ECONFIG, false, "%s %s: %s", what, name, text);
    if (may_quote_a_row(number, state))
        return source_fail(error, SP_ESOURCE, true,
                           "%s %s: the database cannot compute the query (error %u, SQLSTATE %s)",
                           what, name, number, state);
    return source_fail(error, SP_ESOURCE, true, "%s %s: %s (error %u)", what, name, text, number);
}

/* --- waiting -------------------------------------------------------------------------------- */

int maria_call_begin(struct source *source, struct source_error *error)
{
    const uint32_t limit = source->options->statement_timeout_ms;
    source->deadline_ms = limit ? clock_ms() + limit + GRACE_MS : 0;
    if (source->broken)
        return source_fail(error, SP_ESOURCE, true, "source %s: the connection was lost before",
                           source->options->name);
    if (!waker_take(source->wake))
        return SP_OK;
    source->cut = CUT_CANCELED;
    return cut_off(source, error);
}

int maria_wait(struct source *source, int wanted)
{
    const int events = (wanted & MYSQL_WAIT_READ ? POLLIN : 0) |
                       (wanted & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
                       (wanted & MYSQL_WAIT_EXCEPT ? POLLPRI : 0);
    while (source->cut == CUT_NOT) {
        const int left = waker_left_ms(source->deadline_ms);
        if (waker_take(source->wake))
            source->cut = CUT_CANCELED;
        else if (left == 0)
            source->cut = CUT_OUT_OF_TIME;
        else if (waker_poll(source->wake, mysql_get_socket(source->conn), (short)events, left))
            return wanted & ~MYSQL_WAIT_TIMEOUT;
    }
    return MYSQL_WAIT_TIMEOUT;
}

/* --- statements ----------------------------------------------------------------------------- */

int maria_send(struct source *source, const struct source_table *table, const char *sql,
               struct source_error *error)
{
    int failed = 0;
    source->running = true;
    int wait = mysql_real_query_start(&failed, source->conn, sql, strlen(sql));
    while (wait)
        wait = mysql_real_query_cont(&failed, source->conn, maria_wait(source, wait));
    return failed || source->cut != CUT_NOT ? maria_failed(source, table, error) : SP_OK;
}

int maria_query(struct source *source, const struct source_table *table, const char *sql,
                MYSQL_RES **out, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    const int status = maria_send(source, table, sql, error);
    if (status != SP_OK)
        return status;
    int wait = mysql_store_result_start(&result, source->conn);
    while (wait)
        wait = mysql_store_result_cont(&result, source->conn, maria_wait(source, wait));
    if (source->cut != CUT_NOT || (!result && mysql_field_count(source->conn) > 0)) {
        mysql_free_result(result);
        return maria_failed(source, table, error);
    }
    source->running = false;
    if (out)
        *out = result;
    else
        mysql_free_result(result);
    return SP_OK;
}

/* CURRENT_USER() has no quotes; what comes after the last @ is the host. */
void maria_account(struct source *source, char *out, size_t cap)
{
    MYSQL_RES *result = NULL;
    struct source_error ignored;
    source_copy(out, cap, "this user");
    if (maria_query(source, NULL, "SELECT CURRENT_USER()", &result, &ignored) != SP_OK)
        return;
    const MYSQL_ROW row = result ? mysql_fetch_row(result) : NULL;
    const char *host = row && row[0] ? strrchr(row[0], '@') : NULL;
    if (host)
        snprintf(out, cap, "'%.*s'@'%s'", (int)(host - row[0]), row[0], host + 1);
    mysql_free_result(result);
}
