/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_stream.c - rows of a SELECT as they come, none of them kept.
 *
 * libmariadb hands out pointers into its read buffer, which live until the next row is fetched.
 * Costs: near that of reading the rows alone; memory: one row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "server/source/mariadb.h"

struct reading {
    struct source *source;
    const struct source_table *table;
    const struct source_description *description;
    const struct source_sink *sink;
    const enum maria_form *forms;
    struct sp_value *values;
    struct maria_scratch *scratch; /* one for each column */
    MYSQL_RES *result;
};

/* --- rows ----------------------------------------------------------------------------------- */

/* Decodes the fields of a row. Returns the first that cannot be read, or -1. */
static int read_row(struct reading *r, const MYSQL_ROW row, const unsigned long *lengths,
                    const char **why)
{
    int bad = -1;
    for (unsigned i = 0; i < r->description->column_count; i++) {
        const struct source_column *column = &r->description->columns[i];
        const char *wrong = NULL;
        r->values[i] = sp_null(column->type);
        if (row[i])
            wrong = maria_value(r->forms[i], column->type, row[i], lengths[i], &r->scratch[i],
                                &r->values[i]);
        else if (!column->nullable)
            wrong = "NULL in a column that is declared not to have it";
        if (wrong && bad < 0) {
            bad = (int)i;
            *why = wrong;
        }
    }
    return bad;
}

static int give_row(struct reading *r, const MYSQL_ROW row)
{
    const struct source_sink *sink = r->sink;
    const unsigned count = r->description->column_count;
    const char *why = NULL;
    const int bad = read_row(r, row, mysql_fetch_lengths(r->result), &why);
    return bad < 0 ? sink->row(sink->context, r->values, count)
                   : sink->bad_row(sink->context, r->values, count, (unsigned)bad, why);
}

/* The next row, or NULL: after the last one, or after an error. */
static MYSQL_ROW next_row(struct reading *r)
{
    MYSQL_ROW row = NULL;
    if (waker_take(r->source->wake)) {
        r->source->cut = CUT_CANCELED;
        return NULL;
    }
    int wait = mysql_fetch_row_start(&row, r->result);
    while (wait)
        wait = mysql_fetch_row_cont(&row, r->result, maria_wait(r->source, wait));
    return row;
}

static int read_rows(struct reading *r, struct source_error *error)
{
    for (MYSQL_ROW row; (row = next_row(r));) {
        const int status = give_row(r, row);
        if (status == SP_OK)
            continue;
        r->source->broken = true; /* the server goes on sending */
        r->source->running = false;
        return source_fail(error, status, true, "table %s: the receiver of its rows stopped: %s",
                           r->table->name, sp_status_text(status));
    }
    if (r->source->cut != CUT_NOT || mysql_errno(r->source->conn) != 0)
        return maria_failed(r->source, r->table, error);
    r->source->running = false;
    return SP_OK;
}

/* --- watermarks ----------------------------------------------------------------------------- */

static bool is_time(enum sp_type type)
{
    return type == SP_TYPE_TIMESTAMP || type == SP_TYPE_DATETIME || type == SP_TYPE_DATE;
}

/* 2026-11-20T12:00:00Z as MariaDB reads it, within the years that it has. */
static void put_time(struct sql_text *sql, const struct sp_value *since)
{
    char text[64];
    row_value_text(since, text, sizeof(text));
    char *zone = strchr(text, 'Z');
    char *between = strchr(text, 'T');
    if (zone)
        *zone = 0;
    if (between)
        *between = ' ';
    sql_put(sql, "'");
    if (text[0] == '-')
        sql_put(sql, "0000-01-01");
    else
        sql_put(sql, text[0] == '+' ? "9999-12-31 23:59:59.999999" : text);
    sql_put(sql, "'");
}

static void put_hex(struct sql_text *sql, const struct sp_value *since)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = since->bytes.data;
    sql_put(sql, "x'");
    for (size_t i = 0; i < since->bytes.size; i++) {
        const char pair[] = {digits[bytes[i] >> 4], digits[bytes[i] & 15], 0};
        sql_put(sql, pair);
    }
    sql_put(sql, "'");
}

static void put_literal(struct sql_text *sql, const struct sp_value *since)
{
    char text[64];
    if (is_time(since->type)) {
        put_time(sql, since);
    } else if (since->type == SP_TYPE_NUMERIC) {
        sql_put_bytes(sql, since->bytes.data, since->bytes.size);
    } else if (since->type == SP_TYPE_TEXT || since->type == SP_TYPE_BYTES) {
        put_hex(sql, since);
    } else if (since->type == SP_TYPE_FLOAT32 || since->type == SP_TYPE_FLOAT64) {
        snprintf(text, sizeof(text), "%.17e", since->f); /* exactly, and as a DOUBLE */
        sql_put(sql, text);
    } else {
        snprintf(text, sizeof(text), "%lld", (long long)since->i);
        sql_put(sql, text);
    }
}

static int put_since(struct reading *r, struct maria_select *select, const struct sp_value *since,
                     struct source_error *error)
{
    const bool is_text = since->type == SP_TYPE_TEXT;
    if (!select->watermark || since->is_null)
        return source_fail(error, SP_EINVAL, false, "table %s: no watermark to read from",
                           r->table->name);
    sql_put(&select->sql, select->has_where ? " AND " : " WHERE ");
    /* text is compared as bytes, as who keeps the highest value does */
    sql_put(&select->sql, is_text ? "CAST(CONVERT(" : "");
    sql_put_name(&select->sql, r->table->watermark, '`');
    sql_put(&select->sql, is_text ? " USING utf8mb4) AS BINARY) >= " : " >= ");
    put_literal(&select->sql, since);
    return SP_OK;
}

/* --- the whole ------------------------------------------------------------------------------ */

static int start(struct reading *r, const struct maria_select *select, struct source_error *error)
{
    const unsigned count = r->description->column_count ? r->description->column_count : 1;
    r->values = calloc(count, sizeof(*r->values));
    r->scratch = calloc(count, sizeof(*r->scratch));
    if (!r->values || !r->scratch || sql_failed(&select->sql))
        return source_no_memory(error);
    const int status = maria_send(r->source, r->table, select->sql.text, error);
    if (status != SP_OK)
        return status;
    r->result = mysql_use_result(r->source->conn);
    return r->result ? SP_OK : maria_failed(r->source, r->table, error);
}

/* What is left of an abandoned result would be read to its end. */
static void stop(struct reading *r)
{
    if (r->result && r->source->broken)
        maria_abandon(r->source);
    mysql_free_result(r->result);
    free(r->values);
    free(r->scratch);
}

int maria_stream(struct source *source, const struct source_table *table,
                 const struct source_description *description, const struct sp_value *since,
                 const struct source_sink *sink, struct source_error *error)
{
    struct maria_select select = {0};
    struct reading r = {.source = source, .table = table, .description = description, .sink = sink};
    int status = maria_call_begin(source, error);
    if (status == SP_OK)
        status = maria_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = source_description_compare(table, description, &select.description, error);
    if (status == SP_OK && since)
        status = put_since(&r, &select, since, error);
    r.forms = select.forms;
    if (status == SP_OK)
        status = start(&r, &select, error);
    if (status == SP_OK)
        status = read_rows(&r, error);
    stop(&r);
    maria_select_free(&select);
    return status;
}
