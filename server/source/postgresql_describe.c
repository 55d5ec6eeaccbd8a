/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_describe.c - what columns a table, view or query of PostgreSQL has, and the SELECT
 * that reads them in forms that postgresql_value.c knows.
 *
 * The server is asked to prepare "SELECT *", which says names and types (of a domain, its base
 * type's) but checks no right and reads nothing; the catalog then says of each type what kind it
 * is, and of a table's columns which cannot be NULL. Types without a binary form here are cast to
 * text by the server, arrays to JSON. EXPLAIN of the final SELECT checks every right and the
 * condition, and gives estimates, without running it.
 *
 * Costs: four round trips; a stream repeats three of them, inside its snapshot, to notice a changed
 * table.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/postgresql.h"

#define DESCRIBE_TRIES 5

/* One row for each column asked about, in their order. */
#define CATALOG_SQL                                                                                \
    "SELECT pg_catalog.format_type(c.type, c.mod), t.typtype, t.typcategory,"                      \
    " coalesce(a.attnotnull, false)"                                                               \
    " FROM unnest($1::oid[], $2::int4[], $3::oid[], $4::int2[])"                                   \
    " WITH ORDINALITY AS c (type, mod, rel, num, position)"                                        \
    " LEFT JOIN pg_catalog.pg_type t ON t.oid = c.type"                                            \
    " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.rel AND a.attnum = c.num"              \
    " ORDER BY c.position"

enum form { FORM_PLAIN, FORM_TEXT, FORM_XML, FORM_JSON }; /* how a column is selected */

/* --- names ---------------------------------------------------------------------------------- */

/* schema.table, each part in quotes, as it is written; a part that has quotes already keeps them.
 */
void pg_put_relation(struct sql_text *sql, const char *relation)
{
    for (;;) {
        const char *end = sql_part_end(relation, '"');
        if (*relation == '"') {
            sql_put_bytes(sql, relation, (size_t)(end - relation));
        } else {
            sql_put(sql, "\"");
            sql_put_bytes(sql, relation, (size_t)(end - relation));
            sql_put(sql, "\"");
        }
        if (*end != '.')
            return;
        sql_put(sql, ".");
        relation = end + 1;
    }
}

static void put_from(struct sql_text *sql, const struct source_table *table)
{
    sql_put(sql, " FROM ");
    if (table->query)
        sql_put_subquery(sql, table->query);
    else
        pg_put_relation(sql, table->relation);
}

static const char *field_name(const void *context, unsigned i)
{
    return PQfname(context, (int)i);
}

/* --- types ---------------------------------------------------------------------------------- */

/* Four array literals: of each chosen field its type, modifier, table and number in it. */
static int ask_catalog(struct source *source, const struct source_table *table,
                       const PGresult *fields, PGresult **out, struct source_error *error)
{
    struct sql_text lists[4] = {{0}};
    const char *params[4];
    bool failed = false;
    for (int i = 0; i < PQnfields(fields); i++) {
        char text[4][24];
        snprintf(text[0], sizeof(text[0]), "%c%u", i ? ',' : '{', PQftype(fields, i));
        snprintf(text[1], sizeof(text[1]), "%c%d", i ? ',' : '{', PQfmod(fields, i));
        snprintf(text[2], sizeof(text[2]), "%c%u", i ? ',' : '{', PQftable(fields, i));
        snprintf(text[3], sizeof(text[3]), "%c%d", i ? ',' : '{', PQftablecol(fields, i));
        for (int k = 0; k < 4; k++)
            sql_put(&lists[k], text[k]);
    }
    for (int k = 0; k < 4; k++) {
        sql_put(&lists[k], PQnfields(fields) ? "}" : "{}");
        failed = failed || sql_failed(&lists[k]);
        params[k] = lists[k].text;
    }
    const int status = failed ? source_no_memory(error)
                              : pg_query(source, table, CATALOG_SQL, params, 4, out, error);
    for (int k = 0; k < 4; k++)
        sql_free(&lists[k]);
    return status;
}

/* Fills one column from the catalog's row. */
static enum form set_column(const struct source_table *table, const PGresult *fields,
                            const PGresult *catalog, int field, struct source_column *column,
                            Oid *type)
{
    const char kind = PQgetvalue(catalog, field, 1)[0];
    const char category = PQgetvalue(catalog, field, 2)[0];
    const bool not_null = PQgetvalue(catalog, field, 3)[0] == 't';
    source_copy(column->name, sizeof(column->name), PQfname(fields, field));
    source_copy(column->native_type, sizeof(column->native_type), PQgetvalue(catalog, field, 0));
    /* of a query nothing is known: an outer join makes NULLs */
    column->nullable = !not_null || table->query;
    *type = PQftype(fields, field);
    if (pg_type(*type, &column->type))
        return FORM_PLAIN;
    const bool is_array = category == 'A', is_xml = *type == PG_XML;
    const bool is_text = kind == 'e' || (category == 'S' && *type != PG_CHAR);
    *type = is_array ? (Oid)PG_JSON : (Oid)PG_TEXT;
    column->type = is_array ? SP_TYPE_JSON : SP_TYPE_TEXT;
    column->as_text = !is_array && !is_text;
    if (is_xml)
        return FORM_XML;
    return is_array ? FORM_JSON : FORM_TEXT;
}

/* XML as it is put out, like all other types: its cast keeps a declaration that the output drops.
 */
static void put_column(struct sql_text *sql, const char *name, enum form form, bool first)
{
    static const char *const before[] = {"", "", "pg_catalog.textin(pg_catalog.xml_out(",
                                         "pg_catalog.to_json("};
    static const char *const after[] = {"", "::text", "))", ")::text::json"};
    sql_put(sql, first ? "" : ", ");
    sql_put(sql, before[form]);
    sql_put_name(sql, name, '"');
    sql_put(sql, after[form]);
}

/* --- the SELECT ----------------------------------------------------------------------------- */

static unsigned count_columns(const struct source_table *table, const PGresult *fields)
{
    unsigned count = 0;
    while (table->columns && table->columns[count])
        count++;
    return count ? count : (unsigned)PQnfields(fields);
}

static int select_columns(struct pg_select *select, const struct source_table *table,
                          const PGresult *fields, const PGresult *catalog,
                          struct source_error *error)
{
    const struct source_names names = {(unsigned)PQnfields(fields), field_name, fields};
    const unsigned count = count_columns(table, fields);
    const bool every = !table->columns || !table->columns[0];
    int status = source_description_alloc(&select->description, count, error);
    select->types = calloc(count ? count : 1, sizeof(*select->types));
    if (status != SP_OK || !select->types)
        return source_no_memory(error);
    sql_put(&select->sql, "SELECT ");
    for (unsigned i = 0; i < count; i++) {
        struct source_column *column = &select->description.columns[i];
        const int field = every ? (int)i : source_name_find(&names, table->columns[i]);
        const enum form form = set_column(table, fields, catalog, field, column, &select->types[i]);
        put_column(&select->sql, PQfname(fields, field), form, i == 0);
        if (table->watermark && strcmp(column->name, table->watermark) == 0) {
            select->watermark = column;
            select->watermark_ordered =
                form == FORM_PLAIN && column->type != SP_TYPE_BOOL && column->type != SP_TYPE_JSON;
        }
    }
    return SP_OK;
}

static int select_finish(struct pg_select *select, const struct source_table *table,
                         struct source_error *error)
{
    put_from(&select->sql, table);
    select->has_where = sql_put_where(&select->sql, table);
    return sql_failed(&select->sql) ? source_no_memory(error) : SP_OK;
}

int pg_select_make(struct source *source, const struct source_table *table, struct pg_select *out,
                   struct source_error *error)
{
    struct sql_text sql = {0};
    PGresult *fields = NULL, *catalog = NULL;
    *out = (struct pg_select){0};
    sql_put(&sql, "SELECT *");
    put_from(&sql, table);
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : pg_describe_sql(source, table, sql.text, &fields, error);
    if (status == SP_OK) {
        const struct source_names names = {(unsigned)PQnfields(fields), field_name, fields};
        status = source_check_names(table, &names, error);
    }
    if (status == SP_OK)
        status = ask_catalog(source, table, fields, &catalog, error);
    if (status == SP_OK)
        status = select_columns(out, table, fields, catalog, error);
    if (status == SP_OK)
        status = select_finish(out, table, error);
    PQclear(catalog);
    PQclear(fields);
    sql_free(&sql);
    return status;
}

void pg_select_free(struct pg_select *select)
{
    sql_free(&select->sql);
    free(select->types);
    source_description_free(&select->description);
}

/* --- refusals ------------------------------------------------------------------------------- */

/* What a relation's schema has (of a plain name, what the search path has) that can be read from,
 * and the schema's name. */
#define NEIGHBOURS_SQL                                                                             \
    "WITH r AS (SELECT pg_catalog.parse_ident($1) AS name), s AS (SELECT n.oid, n.nspname"         \
    " FROM pg_catalog.pg_namespace n, r WHERE n.nspname = ANY (CASE WHEN"                          \
    " pg_catalog.array_length(r.name, 1) > 1 THEN ARRAY[r.name[1]::name]"                          \
    " ELSE pg_catalog.current_schemas(false) END))"                                                \
    " SELECT pg_catalog.string_agg(c.relname, ', ' ORDER BY c.relname),"                           \
    " (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(s.nspname), ', ') FROM s)"              \
    " FROM pg_catalog.pg_class c JOIN s ON s.oid = c.relnamespace"                                 \
    " WHERE c.relkind = ANY ('{r,v,m,f,p}')"

static bool was_refused(const struct source *source, const char *sqlstate)
{
    return strcmp(source->sqlstate, sqlstate) == 0;
}

/* A name that is not there, with those that are. */
static int name_missing(const struct source_table *table, const PGresult *names,
                        struct source_error *error)
{
    if (PQgetisnull(names, 0, 0))
        return source_fail(error, SP_ECONFIG, false, "table %s: relation %s does not exist%s%s",
                           table->name, table->relation,
                           PQgetisnull(names, 0, 1) ? ": there is no such schema"
                                                    : "; there is none in ",
                           PQgetvalue(names, 0, 1));
    return source_fail(error, SP_ECONFIG, false,
                       "table %s: relation %s does not exist; there are: %.480s%s", table->name,
                       table->relation, PQgetvalue(names, 0, 0),
                       PQgetlength(names, 0, 0) > 480 ? "..." : "");
}

/* Adds the statement that helps to the server's words. */
static int right_missing(struct source *source, const char *right, const char *on,
                         struct source_error *error)
{
    char words[SOURCE_ERROR_BYTES];
    source_copy(words, sizeof(words), error->text);
    return source_fail(error, SP_ECONFIG, false, "%s: GRANT %s %s TO \"%s\"", words, right, on,
                       PQuser(source->conn));
}

/* What the server says of a name is that it is not there, or not allowed. It is asked for more, and
 * where it does not tell, its own words stand. */
static int explain_name(struct source *source, const struct source_table *table,
                        struct source_error *error)
{
    struct sql_text relation = {0};
    struct source_error ignored;
    PGresult *names = NULL;
    const bool missing = was_refused(source, "42P01"), denied = was_refused(source, "42501");
    if (table->query || !(missing || denied))
        return error->status;
    pg_put_relation(&relation, table->relation);
    const char *params[] = {relation.text};
    if (!sql_failed(&relation) &&
        pg_query(source, table, NEIGHBOURS_SQL, params, 1, &names, &ignored) == SP_OK &&
        pg_demand(source, names, 1, 2, &ignored) == SP_OK) {
        if (missing)
            name_missing(table, names, error);
        else if (!PQgetisnull(names, 0, 1))
            right_missing(source, "USAGE ON SCHEMA", PQgetvalue(names, 0, 1), error);
    }
    PQclear(names);
    sql_free(&relation);
    return error->status;
}

/* The names are right, so what is denied is reading. */
static int explain_denial(struct source *source, const struct source_table *table,
                          struct source_error *error)
{
    struct sql_text relation = {0};
    if (table->query || !was_refused(source, "42501"))
        return error->status;
    pg_put_relation(&relation, table->relation);
    if (!sql_failed(&relation))
        right_missing(source, "SELECT ON", relation.text, error);
    sql_free(&relation);
    return error->status;
}

/* --- estimates ------------------------------------------------------------------------------ */

/* From the first line of EXPLAIN: "... (cost=0.00..35.50 rows=2550 width=4)". */
static void read_estimate(const char *line, struct source_description *description)
{
    double rows, width;
    const char *at = NULL;
    for (const char *next = strstr(line, "(cost="); next; next = strstr(next + 1, "(cost="))
        at = next;
    if (!at || sscanf(at, "(cost=%*f..%*f rows=%lf width=%lf)", &rows, &width) != 2)
        return;
    description->row_estimate = (int64_t)rows;
    description->byte_estimate = (int64_t)(rows * width);
}

static int explain(struct source *source, const struct source_table *table,
                   struct pg_select *select, struct source_error *error)
{
    struct sql_text sql = {0};
    PGresult *plan = NULL;
    sql_put(&sql, "EXPLAIN ");
    sql_put(&sql, select->sql.text);
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : pg_query(source, table, sql.text, NULL, 0, &plan, error);
    if (status == SP_OK && PQntuples(plan) > 0)
        read_estimate(PQgetvalue(plan, 0, 0), &select->description);
    PQclear(plan);
    sql_free(&sql);
    return status;
}

static int describe_once(struct source *source, const struct source_table *table,
                         struct source_description *out, struct source_error *error)
{
    struct pg_select select = {0};
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_select_make(source, table, &select, error);
    if (status == SP_ECONFIG)
        status = explain_name(source, table, error);
    if (status == SP_OK && select.watermark && !select.watermark_ordered)
        status = source_no_watermark(table, select.watermark, error);
    if (status == SP_OK) {
        status = explain(source, table, &select, error);
        if (status == SP_ECONFIG)
            status = explain_denial(source, table, error);
    }
    if (status == SP_OK) {
        *out = select.description;
        select.description = (struct source_description){0};
    }
    pg_select_free(&select);
    return status;
}

/* A column that comes or goes between two of the statements looks like a wrong configuration. */
int pg_describe(struct source *source, const struct source_table *table,
                struct source_description *out, struct source_error *error)
{
    int status = SP_ECONFIG;
    for (unsigned i = 0; status == SP_ECONFIG && i < DESCRIBE_TRIES; i++)
        status = describe_once(source, table, out, error);
    return status;
}
