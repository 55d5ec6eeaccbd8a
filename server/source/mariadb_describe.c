/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_describe.c - what columns a table, view or query of MariaDB has, and the SELECT that
 * reads them in forms that mariadb_value.c knows.
 *
 * The catalog (information_schema) says which columns a table has, so that a wrong name can be
 * told with the right ones beside it, whether it is a view, and about how many rows there are. The
 * statement itself with LIMIT 0 then checks every right and the condition, and its result tells
 * the types, without reading a row.
 *
 * FLOAT is asked for as DOUBLE: as text the server rounds it to six digits. NOT NULL of a date is
 * not kept: dates that are all zeros arrive as NULL.
 *
 * Costs: two round trips; a stream repeats them, inside its snapshot, to notice a changed table.
 */
#include <stdlib.h>
#include <string.h>

#include "server/source/mariadb.h"

enum { CATALOG_NAME, CATALOG_TYPE, CATALOG_KIND, CATALOG_ROWS, CATALOG_BYTES };

#define CATALOG_SQL                                                                                \
    "SELECT c.COLUMN_NAME, c.COLUMN_TYPE, t.TABLE_TYPE, t.TABLE_ROWS, t.DATA_LENGTH"               \
    " FROM information_schema.TABLES t JOIN information_schema.COLUMNS c"                          \
    " ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME WHERE"

/* --- names ---------------------------------------------------------------------------------- */

/* A part without its quotes; for a part of any length. */
static void put_plain(struct sql_text *plain, const char *at, const char *end)
{
    const bool quoted = *at == '`';
    if (quoted) {
        at++;
        end -= end > at && end[-1] == '`';
    }
    while (at < end) {
        sql_put_bytes(plain, at, 1);
        at += quoted && *at == '`' && at + 1 < end ? 2 : 1;
    }
}

void maria_split_relation(const char *relation, struct sql_text *database, struct sql_text *table)
{
    const char *end = sql_part_end(relation, '`');
    sql_put(database, "");
    sql_put(table, "");
    if (*end == '.') {
        put_plain(database, relation, end);
        relation = end + 1;
        end = relation + strlen(relation);
        if (*relation == '`')
            end = sql_part_end(relation, '`');
    }
    put_plain(table, relation, end);
}

void maria_put_string(struct source *source, struct sql_text *sql, const char *text, size_t bytes)
{
    char *escaped = malloc(2 * bytes + 1);
    if (!escaped) {
        sql->failed = true;
        return;
    }
    const unsigned long size = mysql_real_escape_string(source->conn, escaped, text, bytes);
    sql_put(sql, "'");
    sql_put_bytes(sql, escaped, size);
    sql_put(sql, "'");
    free(escaped);
}

static void put_from(struct sql_text *sql, const struct source_table *table)
{
    struct sql_text database = {0}, name = {0};
    sql_put(sql, " FROM ");
    if (table->query) {
        sql_put_subquery(sql, table->query);
        return;
    }
    maria_split_relation(table->relation, &database, &name);
    sql->failed = sql->failed || sql_failed(&database) || sql_failed(&name);
    if (!sql->failed && database.size > 0) {
        sql_put_name(sql, database.text, '`');
        sql_put(sql, ".");
    }
    if (!sql->failed)
        sql_put_name(sql, name.text, '`');
    sql_free(&database);
    sql_free(&name);
}

/* --- the catalog ---------------------------------------------------------------------------- */

static void put_schema(struct source *source, struct sql_text *sql, const struct sql_text *database)
{
    if (database->size > 0)
        maria_put_string(source, sql, database->text, database->size);
    else
        sql_put(sql, "DATABASE()");
}

/* What it said: a row for each column. */
struct catalog {
    MYSQL_RES *result;
    MYSQL_ROW *rows;
    unsigned count;
};

static int keep_rows(struct catalog *catalog, struct source_error *error)
{
    catalog->count = catalog->result ? (unsigned)mysql_num_rows(catalog->result) : 0;
    catalog->rows = calloc(catalog->count ? catalog->count : 1, sizeof(*catalog->rows));
    for (unsigned i = 0; catalog->rows && i < catalog->count; i++)
        catalog->rows[i] = mysql_fetch_row(catalog->result);
    return catalog->rows ? SP_OK : source_no_memory(error);
}

static void free_catalog(struct catalog *catalog)
{
    free(catalog->rows);
    mysql_free_result(catalog->result);
}

static int ask_catalog(struct source *source, const struct source_table *table, struct catalog *out,
                       struct source_error *error)
{
    struct sql_text sql = {0}, database = {0}, name = {0};
    maria_split_relation(table->relation, &database, &name);
    sql_put(&sql, CATALOG_SQL);
    for (unsigned i = 0; i < 2 && !sql_failed(&database) && !sql_failed(&name); i++) {
        sql_put(&sql, i == 0 ? " t.TABLE_SCHEMA = " : " AND c.TABLE_SCHEMA = ");
        put_schema(source, &sql, &database);
        sql_put(&sql, i == 0 ? " AND t.TABLE_NAME = " : " AND c.TABLE_NAME = ");
        maria_put_string(source, &sql, name.text, name.size);
    }
    sql_put(&sql, " ORDER BY c.ORDINAL_POSITION");
    int status = sql_failed(&sql) || sql_failed(&database) || sql_failed(&name)
                     ? source_no_memory(error)
                     : maria_query(source, table, sql.text, &out->result, error);
    if (status == SP_OK)
        status = keep_rows(out, error);
    sql_free(&sql);
    sql_free(&database);
    sql_free(&name);
    return status;
}

static const char *catalog_cell(const struct catalog *catalog, unsigned row, unsigned column)
{
    const char *cell = catalog->rows[row][column];
    return cell ? cell : "";
}

static const char *catalog_name(const void *context, unsigned i)
{
    return catalog_cell(context, i, CATALOG_NAME);
}

static struct source_names catalog_names(const struct catalog *catalog)
{
    return (struct source_names){catalog->count, catalog_name, catalog};
}

static bool is_view(const struct catalog *catalog)
{
    return catalog->count == 0 || strstr(catalog_cell(catalog, 0, CATALOG_KIND), "VIEW");
}

/* What the server keeps about a table; nothing is known of a part of it. */
static void read_estimate(const struct source_table *table, const struct catalog *catalog,
                          struct source_description *description)
{
    if (is_view(catalog) || (table->where && table->where[0]))
        return;
    const char *rows = catalog_cell(catalog, 0, CATALOG_ROWS);
    const char *bytes = catalog_cell(catalog, 0, CATALOG_BYTES);
    if (*rows)
        description->row_estimate = strtoll(rows, NULL, 10);
    if (*bytes)
        description->byte_estimate = strtoll(bytes, NULL, 10);
}

/* --- what the statement returns ------------------------------------------------------------- */

static const char *field_name(const void *context, unsigned i)
{
    return mysql_fetch_field_direct((MYSQL_RES *)context, i)->name;
}

static struct source_names field_names(MYSQL_RES *fields)
{
    return (struct source_names){mysql_num_fields(fields), field_name, fields};
}

static bool has_columns(const struct source_table *table)
{
    return table->columns && table->columns[0];
}

/* Of a table only the columns wanted, since others may be forbidden; of a query all of them. */
static int ask_fields(struct source *source, const struct source_table *table, MYSQL_RES **out,
                      struct source_error *error)
{
    struct sql_text sql = {0};
    sql_put(&sql, "SELECT ");
    if (table->query || !has_columns(table))
        sql_put(&sql, "*");
    for (unsigned i = 0; !table->query && has_columns(table) && table->columns[i]; i++) {
        sql_put(&sql, i ? ", " : "");
        sql_put_name(&sql, table->columns[i], '`');
    }
    put_from(&sql, table);
    sql_put_where(&sql, table);
    sql_put(&sql, " LIMIT 0");
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : maria_query(source, table, sql.text, out, error);
    if (status == SP_OK && !*out)
        status = source_fail(error, SP_ECONFIG, false, "table %s: the query returns no rows",
                             table->name);
    sql_free(&sql);
    return status;
}

static void set_column(const struct source_table *table, const MYSQL_FIELD *field,
                       const struct catalog *catalog, struct source_column *column,
                       enum maria_form *form)
{
    const char *native = maria_type_name(field);
    *form = maria_type(field, &column->type, &column->as_text);
    column->nullable =
        table->query || is_view(catalog) || !(field->flags & NOT_NULL_FLAG) || *form == FORM_TIME;
    source_copy(column->name, sizeof(column->name), field->name);
    if (catalog->count > 0 && strcmp(native, "json") != 0) {
        const struct source_names names = catalog_names(catalog);
        const int row = source_name_find(&names, field->name);
        native = row < 0 ? native : catalog_cell(catalog, (unsigned)row, CATALOG_TYPE);
    }
    source_copy(column->native_type, sizeof(column->native_type), native);
}

static bool is_ordered(const struct source_column *column, enum maria_form form,
                       const MYSQL_FIELD *field)
{
    return !column->as_text && column->type != SP_TYPE_BOOL && form != FORM_JSON &&
           form != FORM_UUID && field->type != MYSQL_TYPE_GEOMETRY;
}

/* --- the SELECT ----------------------------------------------------------------------------- */

static int select_columns(struct maria_select *select, const struct source_table *table,
                          MYSQL_RES *fields, const struct catalog *catalog,
                          struct source_error *error)
{
    const struct source_names names = field_names(fields);
    unsigned count = 0;
    while (table->columns && table->columns[count])
        count++;
    const bool every = count == 0;
    count = every ? names.count : count;
    const int status = source_description_alloc(&select->description, count, error);
    select->forms = calloc(count ? count : 1, sizeof(*select->forms));
    if (status != SP_OK || !select->forms)
        return source_no_memory(error);
    sql_put(&select->sql, "SELECT ");
    for (unsigned i = 0; i < count; i++) {
        struct source_column *column = &select->description.columns[i];
        const int at = every ? (int)i : source_name_find(&names, table->columns[i]);
        if (at < 0) /* a name in another case than the database's */
            return source_fail(error, SP_ECONFIG, false, "table %s: column %s does not exist",
                               table->name, table->columns[i]);
        const MYSQL_FIELD *field = mysql_fetch_field_direct(fields, (unsigned)at);
        set_column(table, field, catalog, column, &select->forms[i]);
        sql_put(&select->sql, i ? ", " : "");
        sql_put_name(&select->sql, field->name, '`');
        if (field->type == MYSQL_TYPE_FLOAT)
            sql_put(&select->sql, " + 0e0");
        if (table->watermark && strcmp(column->name, table->watermark) == 0) {
            select->watermark = column;
            select->watermark_ordered = is_ordered(column, select->forms[i], field);
        }
    }
    put_from(&select->sql, table);
    select->has_where = sql_put_where(&select->sql, table);
    read_estimate(table, catalog, &select->description);
    return sql_failed(&select->sql) ? source_no_memory(error) : SP_OK;
}

int maria_select_make(struct source *source, const struct source_table *table,
                      struct maria_select *out, struct source_error *error)
{
    struct catalog catalog = {0};
    MYSQL_RES *fields = NULL;
    int status = SP_OK;
    *out = (struct maria_select){0};
    if (!table->query)
        status = ask_catalog(source, table, &catalog, error);
    if (status == SP_OK && catalog.count > 0) {
        const struct source_names names = catalog_names(&catalog);
        status = source_check_names(table, &names, error);
    }
    if (status == SP_OK)
        status = ask_fields(source, table, &fields, error);
    if (status == SP_OK && table->query) {
        const struct source_names names = field_names(fields);
        status = source_check_names(table, &names, error);
    }
    if (status == SP_OK)
        status = select_columns(out, table, fields, &catalog, error);
    free_catalog(&catalog);
    mysql_free_result(fields);
    return status;
}

void maria_select_free(struct maria_select *select)
{
    sql_free(&select->sql);
    free(select->forms);
    source_description_free(&select->description);
}

int maria_describe(struct source *source, const struct source_table *table,
                   struct source_description *out, struct source_error *error)
{
    struct maria_select select = {0};
    int status = maria_call_begin(source, error);
    if (status == SP_OK)
        status = maria_select_make(source, table, &select, error);
    if (status == SP_OK && select.watermark && !select.watermark_ordered)
        status = source_no_watermark(table, select.watermark, error);
    if (status == SP_OK) {
        *out = select.description;
        select.description = (struct source_description){0};
    }
    maria_select_free(&select);
    return status;
}
