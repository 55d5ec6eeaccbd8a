/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_stream.c - rows by COPY (SELECT ...) TO STDOUT in binary form.
 *
 * libpq hands each message out in a buffer of its own; postgresql_copy.c decodes it. Costs: near
 * that of reading the messages alone; memory: one row and libpq's buffer.
 *
 * A snapshot does not protect from everything: TRUNCATE, and what writes a table anew, empties it
 * for older snapshots too. From its description on the table is locked against that, so what was
 * done before is looked for then: the catalog as the snapshot has it names another file than the
 * table has now. Such a reading fails, and another one is right. Limits: what a view or a query
 * reads is not looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "server/source/postgresql.h"

#define UPKEEP_ROWS  1024
#define VERSION_TREE 120000 /* pg_partition_tree */

struct reading {
    struct source *source;
    const struct source_table *table;
    struct pg_copy copy;
};

/* --- rows ----------------------------------------------------------------------------------- */

static int read_message(struct reading *r, const char *data, size_t size,
                        struct source_error *error)
{
    int status;
    if (!pg_copy_message(&r->copy, data, size, &status))
        status = source_fail(error, SP_ESOURCE, false,
                             "table %s: what the server sends is not PostgreSQL's COPY format",
                             r->table->name);
    else if (status != SP_OK)
        source_fail(error, status, true, "table %s: the receiver of its rows stopped: %s",
                    r->table->name, sp_status_text(status));
    if (status != SP_OK)
        r->source->broken = true; /* the server goes on sending */
    return status;
}

static int read_rows(struct reading *r, struct source_error *error)
{
    PGconn *conn = r->source->conn;
    int status = SP_OK;
    for (unsigned i = 0; status == SP_OK; i++) {
        char *message = NULL;
        if (i % UPKEEP_ROWS == 0)
            pg_feed_upkeep(r->source->feed);
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

/* --- what a snapshot does not see ------------------------------------------------------------- */

#define REWRITTEN_SQL                                                                              \
    "WITH RECURSIVE tree (oid) AS (SELECT $1::regclass::oid UNION SELECT i.inhrelid FROM tree t"   \
    " JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid"                                        \
    " AND coalesce(pg_catalog.to_jsonb(i) ->> 'inhdetachpending', 'false') = 'false')"             \
    " SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = $1::regclass::oid)"       \
    " OR EXISTS (SELECT FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid"                   \
    " WHERE c.relkind = 'r' AND c.relfilenode <> 0"                                                \
    " AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid))"

/* Its partitions are others now. */
#define PARTITIONS_SQL                                                                             \
    " OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = $1::regclass::oid"                \
    " AND c.relkind = 'p' AND (SELECT count(*) FROM tree)"                                         \
    " <> (SELECT count(*) FROM pg_catalog.pg_partition_tree($1::regclass)))"

static int check_not_rewritten(struct source *source, const struct source_table *table,
                               struct source_error *error)
{
    struct sql_text name = {0};
    PGresult *result = NULL;
    pg_put_relation(&name, table->relation);
    const char *params[] = {name.text};
    const char *rewritten =
        PQserverVersion(source->conn) < VERSION_TREE ? REWRITTEN_SQL : REWRITTEN_SQL PARTITIONS_SQL;
    int status = sql_failed(&name) ? source_no_memory(error)
                                   : pg_query(source, table, rewritten, params, 1, &result, error);
    if (status == SP_OK)
        status = pg_demand(source, result, 1, 1, error);
    if (status == SP_OK && PQgetvalue(result, 0, 0)[0] == 't')
        status = source_fail(error, SP_ESOURCE, true,
                             "table %s: it was truncated or written anew while its group was read;"
                             " it is read again",
                             table->name);
    PQclear(result);
    sql_free(&name);
    return status;
}

/* --- the whole ------------------------------------------------------------------------------ */

static int start_copy(struct reading *r, const struct pg_select *select, struct source_error *error)
{
    struct sql_text sql = {0};
    PGresult *result = NULL;
    if (sql_failed(&select->sql))
        return source_no_memory(error);
    sql_put(&sql, "COPY (");
    sql_put(&sql, select->sql.text);
    sql_put(&sql, ") TO STDOUT (FORMAT binary)");
    const int status = sql_failed(&sql)
                           ? source_no_memory(error)
                           : pg_query(r->source, r->table, sql.text, NULL, 0, &result, error);
    PQclear(result);
    sql_free(&sql);
    return status;
}

int pg_stream(struct source *source, const struct source_table *table,
              const struct source_description *description, const struct sp_value *since,
              const struct source_sink *sink, struct source_error *error)
{
    struct reading r = {.source = source, .table = table};
    struct pg_select select = {0};
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = source_description_compare(table, description, &select.description, error);
    if (status == SP_OK && table->relation && !since)
        status = check_not_rewritten(source, table, error);
    if (status == SP_OK && since)
        status = put_since(&r, &select, since, error);
    if (status == SP_OK && pg_copy_open(&r.copy, description, select.types, sink) != SP_OK)
        status = source_no_memory(error);
    if (status == SP_OK)
        status = start_copy(&r, &select, error);
    if (status == SP_OK)
        status = read_rows(&r, error);
    pg_copy_close(&r.copy);
    pg_select_free(&select);
    return status;
}
