/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite_describe.c - what columns a table, view or query of SQLite has.
 *
 * The type of a column is the first of these that there is:
 *   1. what its name says in brackets, in a query: SELECT ... AS "born [date]"
 *   2. the declared type of the table's column that it comes from
 *   3. the affinity of a CAST, which SQLite tells of a table made of the query
 *   4. text
 * A column is not NULL if the table declares it so, if it is the rowid's other name (INTEGER
 * PRIMARY KEY), or if it is in the primary key of a WITHOUT ROWID table. Of views and queries
 * nothing is known.
 *
 * Costs: a few prepared statements; estimates read at most 1,000 rows.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/source/sqlite.h"

#define SAMPLE_ROWS     1000
#define ROW_BYTES_LEAST 16 /* a rowid span of more rows than fit into the file says nothing */

/* A column of the table or query, chosen or not. */
struct candidate {
    struct source_column column;
    char *raw; /* the name as SQL has it */
    bool typed;
};

struct candidates {
    unsigned count;
    struct candidate *list;
};

/* --- what there is -------------------------------------------------------------------------- */

static void candidates_free(struct candidates *all)
{
    for (unsigned i = 0; all->list && i < all->count; i++)
        free(all->list[i].raw);
    free(all->list);
}

static const char *candidate_name(const void *context, unsigned i)
{
    const struct candidates *all = context;
    return all->list[i].column.name;
}

/* Splits "born [date]" into a name and a type. */
static void candidate_set(struct candidate *one, const char *declared)
{
    struct source_column *column = &one->column;
    source_copy(column->name, sizeof(column->name), one->raw);
    char *open = strrchr(column->name, '[');
    const size_t bytes = strlen(column->name);
    if (open && open > column->name && column->name[bytes - 1] == ']' && open[1] != ']') {
        column->name[bytes - 1] = 0;
        source_copy(column->native_type, sizeof(column->native_type), open + 1);
        while (open > column->name && open[-1] == ' ')
            open--;
        *open = 0;
        one->typed = true;
    } else if (declared) {
        source_copy(column->native_type, sizeof(column->native_type), declared);
        one->typed = true;
    }
    column->nullable = true;
}

static int candidates_read(sqlite3_stmt *stmt, struct candidates *all, struct source_error *error)
{
    const int count = sqlite3_column_count(stmt);
    all->list = calloc((size_t)count + 1, sizeof(*all->list));
    if (!all->list)
        return source_no_memory(error);
    all->count = (unsigned)count;
    for (int i = 0; i < count; i++) {
        const char *name = sqlite3_column_name(stmt, i);
        all->list[i].raw = name ? strdup(name) : NULL;
        if (!all->list[i].raw)
            return source_no_memory(error);
        candidate_set(&all->list[i], sqlite3_column_decltype(stmt, i));
    }
    return SP_OK;
}

static void put_from(struct sql_text *sql, const struct source_table *table)
{
    sql_put(sql, " FROM ");
    if (table->query)
        sql_put_subquery(sql, table->query);
    else
        sql_put_name(sql, table->relation, '`'); /* never taken for a string, as "x" may be */
}

/* The affinity of columns that no table declares: of a temporary table made of the query. */
static int candidates_affinity(struct source *source, const struct source_table *table,
                               struct candidates *all, struct source_error *error)
{
    struct sql_text sql = {0};
    sqlite3_stmt *stmt = NULL;
    sql_put(&sql, "CREATE TEMP TABLE sidepond_types AS SELECT *");
    put_from(&sql, table);
    sql_put(&sql, " LIMIT 0");
    int status = sql_failed(&sql) ? source_no_memory(error) : sqlite_run(source, sql.text, error);
    sql_free(&sql);
    if (status != SP_OK)
        return status;
    status = sqlite_prepare(source, table, "SELECT * FROM temp.sidepond_types", &stmt, error);
    for (unsigned i = 0; status == SP_OK && i < all->count; i++) {
        const char *declared = sqlite3_column_decltype(stmt, (int)i);
        struct source_column *column = &all->list[i].column;
        if (!all->list[i].typed && declared)
            source_copy(column->native_type, sizeof(column->native_type), declared);
    }
    sqlite3_finalize(stmt);
    struct source_error ignored;
    const int dropped =
        sqlite_run(source, "DROP TABLE temp.sidepond_types", status == SP_OK ? error : &ignored);
    return status == SP_OK ? dropped : status;
}

static int candidates_types(struct source *source, const struct source_table *table,
                            struct candidates *all, struct source_error *error)
{
    bool all_typed = true;
    for (unsigned i = 0; i < all->count; i++)
        all_typed = all_typed && all->list[i].typed;
    int status = all_typed ? SP_OK : candidates_affinity(source, table, all, error);
    for (unsigned i = 0; i < all->count; i++) {
        struct source_column *column = &all->list[i].column;
        column->type = sqlite_type(column->native_type, &column->as_text);
    }
    return status;
}

/* --- NOT NULL ------------------------------------------------------------------------------- */

static bool table_has_rowid(struct source *source, const char *table)
{
    return sqlite3_table_column_metadata(source->db, "main", table, "rowid", NULL, NULL, NULL, NULL,
                                         NULL) == SQLITE_OK;
}

static void candidates_not_null(struct source *source, const char *relation, struct candidates *all)
{
    int not_null, in_key, key_count = 0, last_key = -1;
    const bool has_rowid = table_has_rowid(source, relation);
    for (unsigned i = 0; i < all->count; i++) {
        if (sqlite3_table_column_metadata(source->db, "main", relation, all->list[i].raw, NULL,
                                          NULL, &not_null, &in_key, NULL) != SQLITE_OK)
            return; /* a view */
        all->list[i].column.nullable = !(not_null || (in_key && !has_rowid));
        key_count += in_key;
        last_key = in_key ? (int)i : last_key;
    }
    if (key_count == 1 && strcasecmp(all->list[last_key].column.native_type, "INTEGER") == 0)
        all->list[last_key].column.nullable = false;
}

/* --- the SELECT ----------------------------------------------------------------------------- */

static int select_column(struct sqlite_select *select, const struct source_table *table,
                         const struct candidate *one, unsigned position)
{
    select->description.columns[position] = one->column;
    if (position > 0)
        sql_put(&select->sql, ", ");
    sql_put_name(&select->sql, one->raw, '`');
    if (table->watermark && strcmp(table->watermark, one->column.name) == 0) {
        free(select->watermark);
        select->watermark = strdup(one->raw);
        return select->watermark ? SP_OK : SP_ENOMEM;
    }
    return SP_OK;
}

static int select_columns(struct sqlite_select *select, const struct source_table *table,
                          const struct candidates *all, struct source_error *error)
{
    const struct source_names names = {all->count, candidate_name, all};
    unsigned count = 0;
    int status = source_check_names(table, &names, error);
    if (status != SP_OK)
        return status;
    while (table->columns && table->columns[count])
        count++;
    const bool every = count == 0;
    count = every ? all->count : count;
    status = source_description_alloc(&select->description, count, error);
    sql_put(&select->sql, "SELECT ");
    for (unsigned i = 0; status == SP_OK && i < count; i++) {
        const int from = every ? (int)i : source_name_find(&names, table->columns[i]);
        if (select_column(select, table, &all->list[from], i) != SP_OK)
            status = source_no_memory(error);
    }
    return status;
}

static int select_finish(struct sqlite_select *select, const struct source_table *table,
                         struct source_error *error)
{
    put_from(&select->sql, table);
    select->has_where = sql_put_where(&select->sql, table);
    return sql_failed(&select->sql) ? source_no_memory(error) : SP_OK;
}

int sqlite_select_make(struct source *source, const struct source_table *table,
                       struct sqlite_select *out, struct source_error *error)
{
    struct sql_text sql = {0};
    struct candidates all = {0};
    sqlite3_stmt *stmt = NULL;
    *out = (struct sqlite_select){0};
    sql_put(&sql, "SELECT *");
    put_from(&sql, table);
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : sqlite_prepare(source, table, sql.text, &stmt, error);
    if (status == SP_OK)
        status = candidates_read(stmt, &all, error);
    sqlite3_finalize(stmt);
    if (status == SP_OK)
        status = candidates_types(source, table, &all, error);
    if (status == SP_OK && table->relation && !table->query)
        candidates_not_null(source, table->relation, &all);
    if (status == SP_OK)
        status = select_columns(out, table, &all, error);
    if (status == SP_OK)
        status = select_finish(out, table, error);
    candidates_free(&all);
    sql_free(&sql);
    return status;
}

void sqlite_select_free(struct sqlite_select *select)
{
    sql_free(&select->sql);
    free(select->watermark);
    source_description_free(&select->description);
}

/* --- estimates ------------------------------------------------------------------------------ */

/* The first integer that a query gives, with one text bound; -1 if it gives none. */
static int64_t query_int(struct source *source, const char *sql, const char *bound)
{
    sqlite3_stmt *stmt = NULL;
    int64_t result = -1;
    if (sqlite3_prepare_v2(source->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return -1;
    if (bound)
        sqlite3_bind_text(stmt, 1, bound, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        result = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return result;
}

/* Rows by ANALYZE's statistics, else by the span of rowids where the file can hold so many. */
static int64_t estimate_rows(struct source *source, const char *relation)
{
    struct sql_text sql = {0};
    int64_t rows = query_int(
        source, "SELECT CAST(stat AS INTEGER) FROM sqlite_stat1 WHERE tbl = ?1", relation);
    if (rows >= 0 || !table_has_rowid(source, relation))
        return rows;
    sql_put(&sql, "SELECT coalesce((SELECT max(rowid) FROM ");
    sql_put_name(&sql, relation, '`');
    sql_put(&sql, ") - (SELECT min(rowid) FROM ");
    sql_put_name(&sql, relation, '`');
    sql_put(&sql, ") + 1, 0)");
    rows = sql_failed(&sql) ? -1 : query_int(source, sql.text, NULL);
    sql_free(&sql);
    return rows <= (int64_t)source->file.st_size / ROW_BYTES_LEAST ? rows : -1;
}

static int64_t row_bytes(sqlite3_stmt *stmt)
{
    int64_t bytes = 0;
    for (int i = 0; i < sqlite3_column_count(stmt); i++) {
        const int class = sqlite3_column_type(stmt, i);
        const bool is_number = class == SQLITE_INTEGER || class == SQLITE_FLOAT;
        bytes += is_number ? 8 : sqlite3_column_bytes(stmt, i);
    }
    return bytes;
}

/* The first rows' mean size, for all of them. */
static int64_t estimate_bytes(sqlite3_stmt *stmt, int64_t rows)
{
    int64_t bytes = 0, count = 0;
    while (count < SAMPLE_ROWS && sqlite3_step(stmt) == SQLITE_ROW) {
        bytes += row_bytes(stmt);
        count++;
    }
    return count > 0 ? (int64_t)((double)bytes / (double)count * (double)rows) : 0;
}

static int check_watermark(const struct source_table *table,
                           const struct source_description *description, struct source_error *error)
{
    const int column = source_watermark_column(table, description);
    const enum sp_type type = column < 0 ? SP_TYPE_INT64 : description->columns[column].type;
    if (type == SP_TYPE_BOOL || type == SP_TYPE_UUID || type == SP_TYPE_JSON)
        return source_no_watermark(table, &description->columns[column], error);
    return SP_OK;
}

int sqlite_describe(struct source *source, const struct source_table *table,
                    struct source_description *out, struct source_error *error)
{
    struct sqlite_select select = {0};
    sqlite3_stmt *stmt = NULL;
    sqlite_call_begin(source);
    int status = sqlite_follow_file(source, error);
    if (status == SP_OK)
        status = sqlite_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = check_watermark(table, &select.description, error);
    if (status == SP_OK)
        status = sqlite_prepare(source, table, select.sql.text, &stmt, error);
    if (status == SP_OK && !table->query && !select.has_where) {
        const int64_t rows = estimate_rows(source, table->relation);
        select.description.row_estimate = rows;
        select.description.byte_estimate = rows < 0 ? -1 : estimate_bytes(stmt, rows);
    }
    sqlite3_finalize(stmt);
    if (status == SP_OK) {
        *out = select.description;
        select.description = (struct source_description){0};
    }
    sqlite_select_free(&select);
    return status;
}
