/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_stream.c - rows by COPY (SELECT ...) TO STDOUT in binary form.
 *
 *   "PGCOPY\n\377\r\n\0" | flags u32 | extension size u32, extension       (once, before the rows)
 *   field count u16 | for each field: size u32 (0xffffffff: NULL), bytes   (each row)
 *   0xffff                                                                 (after the last row)
 *
 * The server sends each row as one message, which libpq hands out in one buffer; values point into
 * it. Costs: near that of reading the messages alone; memory: one row and libpq's buffer.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "server/source/postgresql.h"

#define FIELD_NULL           UINT32_MAX
#define COPY_END             UINT16_MAX
#define WATERMARK_TEXT_BYTES 64

static const char signature[11] = "PGCOPY\n\377\r\n";

struct reading {
    struct source *source;
    const struct source_table *table;
    const struct source_description *description;
    const struct source_sink *sink;
    const Oid *types;
    struct sp_value *values;
    struct pg_scratch *scratch; /* one for each column */
    bool header_seen;
};

struct bytes {
    const unsigned char *at;
    size_t left;
};

static bool take_u16(struct bytes *from, uint16_t *out)
{
    if (from->left < sizeof(*out))
        return false;
    memcpy(out, from->at, sizeof(*out));
    *out = be16toh(*out);
    from->at += sizeof(*out);
    from->left -= sizeof(*out);
    return true;
}

static bool take_u32(struct bytes *from, uint32_t *out)
{
    if (from->left < sizeof(*out))
        return false;
    memcpy(out, from->at, sizeof(*out));
    *out = be32toh(*out);
    from->at += sizeof(*out);
    from->left -= sizeof(*out);
    return true;
}

static bool skip(struct bytes *from, size_t count)
{
    if (from->left < count)
        return false;
    from->at += count;
    from->left -= count;
    return true;
}

static int malformed(const struct reading *r, struct source_error *error)
{
    r->source->broken = true;
    return source_fail(error, SP_ESOURCE, false,
                       "table %s: what the server sends is not PostgreSQL's COPY format",
                       r->table->name);
}

static bool take_header(struct bytes *from)
{
    uint32_t flags, extension;
    if (from->left < sizeof(signature) || memcmp(from->at, signature, sizeof(signature)) != 0)
        return false;
    return skip(from, sizeof(signature)) && take_u32(from, &flags) && take_u32(from, &extension) &&
           skip(from, extension);
}

/* --- rows ----------------------------------------------------------------------------------- */

static const char *read_field(const struct reading *r, unsigned i, uint32_t size,
                              const unsigned char *data)
{
    const struct source_column *column = &r->description->columns[i];
    const char *why = NULL;
    if (size == FIELD_NULL && !column->nullable)
        why = "NULL in a column that is declared not to have it";
    else if (size != FIELD_NULL)
        why = pg_value(r->types[i], data, size, &r->scratch[i], &r->values[i]);
    if (size == FIELD_NULL || why)
        r->values[i] = sp_null(column->type);
    return why;
}

/* Decodes the fields of a row. `*bad` gets the first that cannot be read, or -1. */
static bool read_row(const struct reading *r, struct bytes *from, int *bad, const char **why)
{
    *bad = -1;
    for (unsigned i = 0; i < r->description->column_count; i++) {
        uint32_t size;
        if (!take_u32(from, &size))
            return false;
        const unsigned char *data = from->at;
        if (size != FIELD_NULL && !skip(from, size))
            return false;
        const char *wrong = read_field(r, i, size, data);
        if (wrong && *bad < 0) {
            *bad = (int)i;
            *why = wrong;
        }
    }
    return true;
}

static int give_row(const struct reading *r, int bad, const char *why, struct source_error *error)
{
    const unsigned count = r->description->column_count;
    const int status =
        bad < 0 ? r->sink->row(r->sink->context, r->values, count)
                : r->sink->bad_row(r->sink->context, r->values, count, (unsigned)bad, why);
    if (status == SP_OK)
        return SP_OK;
    r->source->broken = true; /* the server goes on sending */
    return source_fail(error, status, true, "table %s: the receiver of its rows stopped: %s",
                       r->table->name, sp_status_text(status));
}

/* One message: a row, with the header before the first, or the end. */
static int read_message(struct reading *r, const char *data, size_t size,
                        struct source_error *error)
{
    struct bytes from = {(const unsigned char *)data, size};
    if (!r->header_seen && !take_header(&from))
        return malformed(r, error);
    r->header_seen = true;
    while (from.left > 0) {
        uint16_t field_count;
        const char *why = NULL;
        int bad;
        if (!take_u16(&from, &field_count))
            return malformed(r, error);
        if (field_count == COPY_END)
            return from.left == 0 ? SP_OK : malformed(r, error);
        if (field_count != r->description->column_count || !read_row(r, &from, &bad, &why))
            return malformed(r, error);
        const int status = give_row(r, bad, why, error);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

static int read_rows(struct reading *r, struct source_error *error)
{
    PGconn *conn = r->source->conn;
    int status = SP_OK;
    while (status == SP_OK) {
        char *message = NULL;
        const int size = PQgetCopyData(conn, &message, 1);
        if (size == 0) {
            status = pg_wait_input(r->source, error);
        } else if (size > 0) {
            status = read_message(r, message, (size_t)size, error);
            PQfreemem(message);
        } else if (size == -1) {
            return pg_finish(r->source, r->table, NULL, error);
        } else {
            return pg_connection_failed(r->source, "the connection was lost", error);
        }
    }
    return status;
}

/* --- watermarks ----------------------------------------------------------------------------- */

static bool is_time(enum sp_type type)
{
    return type == SP_TYPE_TIMESTAMP || type == SP_TYPE_DATETIME || type == SP_TYPE_DATE;
}

static bool is_int(enum sp_type type)
{
    return type == SP_TYPE_INT32 || type == SP_TYPE_INT64;
}

/* The value as PostgreSQL reads it; NULL for a time before the year 0, which all rows are after. */
static char *since_text(const struct sp_value *since, struct source_error *error)
{
    char *text = malloc(row_value_text(since, NULL, 0) + 1);
    if (!text) {
        source_no_memory(error);
        return NULL;
    }
    row_value_text(since, text, row_value_text(since, NULL, 0) + 1);
    if (is_time(since->type) && text[0] == '+') /* a year beyond 9999 */
        memmove(text, text + 1, strlen(text));
    else if (is_time(since->type) && text[0] == '-')
        strcpy(text, "-infinity");
    return text;
}

static int put_since(struct reading *r, struct pg_select *select, const struct sp_value *since,
                     struct source_error *error)
{
    if (!select->watermark || since->is_null)
        return source_fail(error, SP_EINVAL, false, "table %s: no watermark to read from",
                           r->table->name);
    char *text = since_text(since, error);
    char *literal = text ? PQescapeLiteral(r->source->conn, text, strlen(text)) : NULL;
    free(text);
    if (!literal)
        return source_no_memory(error);
    sql_put(&select->sql, select->has_where ? " AND " : " WHERE ");
    sql_put_name(&select->sql, r->table->watermark, '"');
    /* text is compared as bytes, as who keeps the highest value does */
    sql_put(&select->sql, since->type == SP_TYPE_TEXT ? " COLLATE \"C\" >= " : " >= ");
    sql_put(&select->sql, literal);
    sql_put(&select->sql, "::");
    /* less the overlap, an integer may be below its column's range */
    sql_put(&select->sql, is_int(since->type) ? "bigint" : select->watermark->native_type);
    PQfreemem(literal);
    return SP_OK;
}

/* --- the whole ------------------------------------------------------------------------------ */

static int start_copy(struct reading *r, struct pg_select *select, struct source_error *error)
{
    struct sql_text sql = {0};
    PGresult *result = NULL;
    const unsigned count = r->description->column_count;
    r->types = select->types;
    r->values = calloc(count ? count : 1, sizeof(*r->values));
    r->scratch = calloc(count ? count : 1, sizeof(*r->scratch));
    sql_put(&sql, "COPY (");
    if (!sql_failed(&select->sql))
        sql_put(&sql, select->sql.text);
    sql_put(&sql, ") TO STDOUT (FORMAT binary)");
    const bool failed = sql_failed(&sql) || sql_failed(&select->sql) || !r->values || !r->scratch;
    const int status = failed ? source_no_memory(error)
                              : pg_query(r->source, r->table, sql.text, NULL, 0, &result, error);
    PQclear(result);
    sql_free(&sql);
    return status;
}

static void reading_free(struct reading *r)
{
    for (unsigned i = 0; r->scratch && i < r->description->column_count; i++)
        free(r->scratch[i].text);
    free(r->scratch);
    free(r->values);
}

int pg_stream(struct source *source, const struct source_table *table,
              const struct source_description *description, const struct sp_value *since,
              const struct source_sink *sink, struct source_error *error)
{
    struct reading r = {.source = source, .table = table, .description = description, .sink = sink};
    struct pg_select select = {0};
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = source_description_compare(table, description, &select.description, error);
    if (status == SP_OK && since)
        status = put_since(&r, &select, since, error);
    if (status == SP_OK)
        status = start_copy(&r, &select, error);
    if (status == SP_OK)
        status = read_rows(&r, error);
    reading_free(&r);
    pg_select_free(&select);
    return status;
}
