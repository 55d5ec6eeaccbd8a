/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_describe.c - what is read of a collection, and the columns that it becomes.
 *
 * A collection has no columns, so the configuration says which fields become some: those of the
 * key, of the indexes and the watermark, each under its path; the last column is the document.
 * `where` is a filter and `query` an aggregation pipeline, both in extended JSON; `columns` are
 * the paths that the document keeps.
 *
 * Whether all of that is understood and may be read, the server says when it opens a cursor whose
 * first batch is to have no documents: it then reads none.
 *
 * Costs: three commands and the end of a cursor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/mongodb.h"

/* --- what is read --------------------------------------------------------------------------- */

/* With a database in the URI a relation is a collection of it, points and all. */
static int split_relation(struct source *source, const struct source_table *table,
                          struct mongo_select *out, struct source_error *error)
{
    const char *database = mongoc_uri_get_database(source->uri);
    const char *collection = table->relation ? table->relation : table->name;
    const char *point = strchr(collection, '.');
    if (!database && (!point || point == collection || !point[1]))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: relation %s names no database; write DATABASE.COLLECTION, or "
                           "the database into the dsn: mongodb://HOST/DATABASE",
                           table->name, collection);
    const size_t bytes = database ? strlen(database) : (size_t)(point - collection);
    if (!database) {
        database = collection;
        collection = point + 1;
    }
    if (bytes >= sizeof(out->database) || strlen(collection) >= sizeof(out->collection))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: the name of its collection is longer "
                           "than MongoDB has them",
                           table->name);
    memcpy(out->database, database, bytes);
    out->database[bytes] = 0;
    source_copy(out->collection, sizeof(out->collection), collection);
    return SP_OK;
}

static int read_json(const struct source_table *table, const char *what, const char *json,
                     char first, bson_t **out, struct source_error *error)
{
    bson_error_t why = {0};
    const size_t blank = strspn(json, " \t\r\n");
    if (json[blank] == first)
        *out = bson_new_from_json((const uint8_t *)json, -1, &why);
    if (*out)
        return SP_OK;
    return source_fail(error, SP_ECONFIG, false, "table %s: %s is not %s in extended JSON%s%s",
                       table->name, what,
                       first == '[' ? "a pipeline [{...}, ...]" : "a filter {...}",
                       why.message[0] ? ": " : "", why.message);
}

static bson_t *make_projection(const struct source_table *table)
{
    bool with_id = false;
    if (!table->columns || !table->columns[0])
        return NULL;
    bson_t *projection = bson_new();
    for (const char *const *column = table->columns; *column; column++) {
        BSON_APPEND_INT32(projection, *column, 1);
        with_id = with_id || strcmp(*column, "_id") == 0;
    }
    if (!with_id)
        BSON_APPEND_INT32(projection, "_id", 0);
    return projection;
}

/* No stage of a pipeline may write, and each has to end. Such stages stand at the top only. */
static int check_stages(const struct source_table *table, const bson_t *pipeline,
                        struct source_error *error)
{
    static const char *const refused[] = {"$out", "$merge", "$changeStream"};
    bson_iter_t stages, stage;
    if (!bson_iter_init(&stages, pipeline))
        return SP_OK;
    while (bson_iter_next(&stages)) {
        for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
            if (BSON_ITER_HOLDS_DOCUMENT(&stages) && bson_iter_recurse(&stages, &stage) &&
                bson_iter_find(&stage, refused[i]))
                return source_fail(error, SP_ECONFIG, false,
                                   "table %s: query has a stage %s; it may only read what is there",
                                   table->name, refused[i]);
    }
    return SP_OK;
}

int mongo_select_make(struct source *source, const struct source_table *table,
                      struct mongo_select *out, struct source_error *error)
{
    *out = (struct mongo_select){0};
    int status = split_relation(source, table, out, error);
    if (status == SP_OK && table->where)
        status = read_json(table, "where", table->where, '{', &out->filter, error);
    if (status == SP_OK && table->query)
        status = read_json(table, "query", table->query, '[', &out->pipeline, error);
    if (status == SP_OK && out->pipeline)
        status = check_stages(table, out->pipeline, error);
    if (status == SP_OK)
        out->projection = make_projection(table);
    return status;
}

void mongo_select_free(struct mongo_select *select)
{
    bson_destroy(select->filter);
    bson_destroy(select->pipeline);
    bson_destroy(select->projection);
    *select = (struct mongo_select){0};
}

/* --- columns -------------------------------------------------------------------------------- */

static bool has_column(const struct source_description *description, const char *name)
{
    for (unsigned i = 0; i < description->column_count; i++)
        if (strcmp(description->columns[i].name, name) == 0)
            return true;
    return false;
}

static int add_column(const struct source_table *table, const char *name, bool nullable,
                      struct source_description *out, struct source_error *error)
{
    if (has_column(out, name))
        return SP_OK;
    struct source_column *column = &out->columns[out->column_count];
    if (strcmp(name, MONGO_DOCUMENT) == 0)
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: a field called %s cannot be a column of its own, since the "
                           "whole document is called so",
                           table->name, name);
    if (strlen(name) >= sizeof(column->name))
        return source_fail(error, SP_ECONFIG, false, "table %s: the path %.40s... is too long",
                           table->name, name);
    out->column_count++;
    source_copy(column->name, sizeof(column->name), name);
    source_copy(column->native_type, sizeof(column->native_type), "value");
    column->type = SP_TYPE_BSON_VALUE;
    column->nullable = nullable;
    return SP_OK;
}

unsigned mongo_count_names(const char *const *names)
{
    unsigned count = 0;
    while (names && names[count])
        count++;
    return count;
}

static int make_columns(const struct source_table *table, struct source_description *out,
                        struct source_error *error)
{
    const unsigned most = mongo_count_names(table->key) + mongo_count_names(table->fields) + 2;
    int status = source_description_alloc(out, most, error);
    out->column_count = 0;
    for (const char *const *k = table->key; k && *k && status == SP_OK; k++)
        status = add_column(table, *k, false, out, error);
    for (const char *const *f = table->fields; f && *f && status == SP_OK; f++)
        status = add_column(table, *f, true, out, error);
    if (table->watermark && status == SP_OK)
        status = add_column(table, table->watermark, true, out, error);
    if (status != SP_OK)
        return status;
    struct source_column *last = &out->columns[out->column_count++];
    source_copy(last->name, sizeof(last->name), MONGO_DOCUMENT);
    source_copy(last->native_type, sizeof(last->native_type), "document");
    last->type = SP_TYPE_BSON;
    return SP_OK;
}

/* --- what the server says ------------------------------------------------------------------- */

struct names {
    char **list;
};

static const char *name_at(const void *context, unsigned i)
{
    return ((const struct names *)context)->list[i];
}

/* Who may read a collection but not list any is not told of a wrong name. */
static int check_exists(struct source *source, const struct source_table *table,
                        const struct mongo_select *select, struct source_error *error)
{
    bson_error_t why = {0};
    bson_t options = BSON_INITIALIZER;
    struct names names = {NULL};
    int status = SP_OK;
    mongoc_database_t *database = mongoc_client_get_database(source->client, select->database);
    BSON_APPEND_BOOL(&options, "nameOnly", true);
    BSON_APPEND_BOOL(&options, "authorizedCollections", true);
    names.list = mongoc_database_get_collection_names_with_opts(database, &options, &why);
    mongoc_database_destroy(database);
    bson_destroy(&options);
    if (!names.list) {
        struct source_error failed;
        status = mongo_failed(source, table, &why, &failed);
        if (status == SP_ECONFIG)
            return SP_OK;
        *error = failed;
        return status;
    }
    const struct source_names all = {mongo_count_names((const char *const *)names.list), name_at,
                                     &names};
    if (source_name_find(&all, select->collection) < 0) {
        char list[SOURCE_ERROR_BYTES / 2];
        source_names_list(&all, list, sizeof(list));
        status = source_fail(error, SP_ECONFIG, false,
                             "table %s: collection %s does not exist in database %s; there are: %s",
                             table->name, select->collection, select->database, list);
    }
    bson_strfreev(names.list);
    return status;
}

/* A cursor of which nothing is read. */
static bson_t *probe_command(const struct mongo_select *select)
{
    bson_t *command = bson_new();
    bson_t cursor = BSON_INITIALIZER;
    BSON_APPEND_INT32(&cursor, "batchSize", 0);
    if (select->pipeline) {
        BSON_APPEND_UTF8(command, "aggregate", select->collection);
        BSON_APPEND_ARRAY(command, "pipeline", select->pipeline);
        BSON_APPEND_DOCUMENT(command, "cursor", &cursor);
    } else {
        BSON_APPEND_UTF8(command, "find", select->collection);
        if (select->filter)
            BSON_APPEND_DOCUMENT(command, "filter", select->filter);
        if (select->projection)
            BSON_APPEND_DOCUMENT(command, "projection", select->projection);
        BSON_APPEND_INT32(command, "limit", 1);
        BSON_APPEND_INT32(command, "batchSize", 0);
    }
    bson_destroy(&cursor);
    return command;
}

static int64_t cursor_id(const bson_t *reply)
{
    bson_iter_t start, at;
    return bson_iter_init(&start, reply) && bson_iter_find_descendant(&start, "cursor.id", &at)
               ? bson_iter_as_int64(&at)
               : 0;
}

/* A cursor that stays open costs the server something for ten minutes, nothing else. */
static void end_cursor(struct source *source, const struct mongo_select *select, int64_t id,
                       const bson_t *options)
{
    bson_t reply;
    bson_t *command =
        BCON_NEW("killCursors", BCON_UTF8(select->collection), "cursors", "[", BCON_INT64(id), "]");
    mongoc_client_command_with_opts(source->client, select->database, command,
                                    mongoc_client_get_read_prefs(source->client), options, &reply,
                                    NULL);
    bson_destroy(&reply);
    bson_destroy(command);
}

static int probe(struct source *source, const struct source_table *table,
                 const struct mongo_select *select, struct source_error *error)
{
    bson_error_t why = {0};
    bson_t reply;
    bson_t options = BSON_INITIALIZER;
    mongoc_server_description_t *server = mongoc_client_select_server(
        source->client, false, mongoc_client_get_read_prefs(source->client), &why);
    if (!server)
        return mongo_failed(source, table, &why, error);
    bson_append_int32(&options, "serverId", -1, (int32_t)mongoc_server_description_id(server));
    mongoc_server_description_destroy(server);
    bson_t *command = probe_command(select);
    source->probing = true;
    const bool done = mongoc_client_read_command_with_opts(source->client, select->database,
                                                           command, NULL, &options, &reply, &why);
    if (done && cursor_id(&reply) != 0)
        end_cursor(source, select, cursor_id(&reply), &options);
    bson_destroy(&reply);
    bson_destroy(command);
    bson_destroy(&options);
    const int status = done ? SP_OK : mongo_failed(source, table, &why, error);
    source->probing = false;
    return status;
}

static int64_t number_of(const bson_t *reply, const char *name)
{
    bson_iter_t at;
    return bson_iter_init_find(&at, reply, name) && BSON_ITER_HOLDS_NUMBER(&at)
               ? bson_iter_as_int64(&at)
               : -1;
}

/* Of a view, and where it is not allowed, nothing is known. */
static void estimate(struct source *source, const struct mongo_select *select,
                     struct source_description *out)
{
    bson_t reply;
    if (select->filter || select->pipeline)
        return;
    bson_t *command = BCON_NEW("collStats", BCON_UTF8(select->collection));
    if (mongoc_client_command_with_opts(source->client, select->database, command,
                                        mongoc_client_get_read_prefs(source->client), NULL, &reply,
                                        NULL)) {
        out->row_estimate = number_of(&reply, "count");
        out->byte_estimate = select->projection ? -1 : number_of(&reply, "size");
    }
    bson_destroy(&reply);
    bson_destroy(command);
}

int mongo_describe(struct source *source, const struct source_table *table,
                   struct source_description *out, struct source_error *error)
{
    struct source_description made = {0};
    struct mongo_select select = {0};
    int status = mongo_call_begin(source, error);
    if (status == SP_OK)
        status = mongo_select_make(source, table, &select, error);
    if (status == SP_OK)
        status = make_columns(table, &made, error);
    if (status == SP_OK)
        status = check_exists(source, table, &select, error);
    if (status == SP_OK)
        status = probe(source, table, &select, error);
    if (status == SP_OK) {
        estimate(source, &select, &made);
        *out = made;
    } else {
        source_description_free(&made);
    }
    mongo_select_free(&select);
    return status;
}
