/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_stream.c - the documents of a collection, by find or by aggregate.
 *
 * The server sends batches of so many documents or 16 MiB; libmongoc keeps one and hands out its
 * documents where they are. Costs: near that of reading them alone; memory: one batch.
 */
#include <stdlib.h>
#include <string.h>

#include "server/source/mongodb_feed.h"

#define BATCH_DOCUMENTS 10000

struct reading {
    struct source *source;
    const struct source_table *table;
    const struct source_sink *sink;
    struct mongo_select select;
    struct mongo_row row;
    bson_t *since; /* {watermark: {$gte: value}}, or NULL */
};

/* --- what is asked for ------------------------------------------------------------------------ */

static int make_since(struct reading *r, const struct sp_value *since, struct source_error *error)
{
    bson_t least = BSON_INITIALIZER;
    if (!r->table->watermark || since->is_null)
        return source_fail(error, SP_EINVAL, false, "table %s: no watermark to read from",
                           r->table->name);
    const bool done = mongo_append(&least, "$gte", since);
    if (done) {
        r->since = bson_new();
        BSON_APPEND_DOCUMENT(r->since, r->table->watermark, &least);
    }
    bson_destroy(&least);
    return done ? SP_OK : source_no_memory(error);
}

/* The filter of find: both conditions where there are two. */
static bson_t *make_filter(const struct reading *r)
{
    if (!r->since)
        return r->select.filter ? bson_copy(r->select.filter) : bson_new();
    if (!r->select.filter)
        return bson_copy(r->since);
    return BCON_NEW("$and", "[", BCON_DOCUMENT(r->select.filter), BCON_DOCUMENT(r->since), "]");
}

static void append_stage(bson_t *stages, uint32_t *count, const char *name, const bson_t *content)
{
    char buffer[16];
    const char *key;
    bson_t stage = BSON_INITIALIZER;
    bson_uint32_to_string((*count)++, &key, buffer, sizeof(buffer));
    BSON_APPEND_DOCUMENT(&stage, name, content);
    BSON_APPEND_DOCUMENT(stages, key, &stage);
    bson_destroy(&stage);
}

/* The pipeline, and behind it what find would have been told: {pipeline: [...]}. */
static bson_t *make_pipeline(const struct reading *r)
{
    bson_t *whole = bson_new();
    bson_t *stages = bson_copy(r->select.pipeline);
    uint32_t count = bson_count_keys(stages);
    if (r->since)
        append_stage(stages, &count, "$match", r->since);
    if (r->select.projection)
        append_stage(stages, &count, "$project", r->select.projection);
    BSON_APPEND_ARRAY(whole, "pipeline", stages);
    bson_destroy(stages);
    return whole;
}

void mongo_append_majority(bson_t *options)
{
    mongoc_read_concern_t *concern = mongoc_read_concern_new();
    mongoc_read_concern_set_level(concern, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    mongoc_read_concern_append(concern, options);
    mongoc_read_concern_destroy(concern);
}

static int make_options(const struct reading *r, bson_t *options, struct source_error *error)
{
    struct source *source = r->source;
    bson_error_t why = {0};
    const uint32_t limit = source->options->statement_timeout_ms;
    BSON_APPEND_INT32(options, "batchSize", BATCH_DOCUMENTS);
    if (limit)
        BSON_APPEND_INT64(options, "maxTimeMS", limit);
    if (!r->select.pipeline && r->select.projection)
        BSON_APPEND_DOCUMENT(options, "projection", r->select.projection);
    if (source->feed)
        bson_append_int32(options, "serverId", -1, (int32_t)source->feed->server_id);
    if (source->session)
        return mongoc_client_session_append(source->session, options, &why)
                   ? SP_OK
                   : mongo_failed(source, r->table, &why, error);
    if (source->is_cluster && !mongo_read_concern(source))
        mongo_append_majority(options);
    return SP_OK;
}

static mongoc_cursor_t *open_cursor(const struct reading *r, const bson_t *options)
{
    mongoc_collection_t *collection =
        mongoc_client_get_collection(r->source->client, r->select.database, r->select.collection);
    mongoc_cursor_t *cursor;
    if (r->select.pipeline) {
        bson_t *pipeline = make_pipeline(r);
        cursor =
            mongoc_collection_aggregate(collection, MONGOC_QUERY_NONE, pipeline, options, NULL);
        bson_destroy(pipeline);
    } else {
        bson_t *filter = make_filter(r);
        cursor = mongoc_collection_find_with_opts(collection, filter, options, NULL);
        bson_destroy(filter);
    }
    mongoc_collection_destroy(collection);
    return cursor;
}

/* --- rows ----------------------------------------------------------------------------------- */

static int give_row(struct reading *r, const bson_t *document)
{
    const unsigned count = r->row.description->column_count;
    const char *why = NULL;
    unsigned column = 0;
    const int status = mongo_row_fill(&r->row, document, &column, &why);
    if (status != SP_OK)
        return status;
    if (why)
        return r->sink->bad_row(r->sink->context, r->row.values, count, column, why);
    return r->sink->row(r->sink->context, r->row.values, count);
}

static int read_rows(struct reading *r, mongoc_cursor_t *cursor, struct source_error *error)
{
    const bson_t *document;
    bson_error_t why = {0};
    while (mongoc_cursor_next(cursor, &document)) {
        const int status = give_row(r, document);
        if (status != SP_OK)
            return source_fail(error, status, true,
                               "table %s: the receiver of its rows stopped: %s", r->table->name,
                               sp_status_text(status));
        if (waker_asked(&r->source->waker) && waker_take(&r->source->waker)) {
            r->source->broken = true;
            return source_fail(error, SP_ECANCELED, true, "canceled");
        }
    }
    return mongoc_cursor_error(cursor, &why) ? mongo_failed(r->source, r->table, &why, error)
                                             : SP_OK;
}

static int read_all(struct reading *r, struct source_error *error)
{
    bson_t options = BSON_INITIALIZER;
    int status = make_options(r, &options, error);
    if (status == SP_OK) {
        mongoc_cursor_t *cursor = open_cursor(r, &options);
        status = read_rows(r, cursor, error);
        mongoc_cursor_destroy(cursor);
    }
    bson_destroy(&options);
    return status;
}

int mongo_stream(struct source *source, const struct source_table *table,
                 const struct source_description *description, const struct sp_value *since,
                 const struct source_sink *sink, struct source_error *error)
{
    struct reading r = {.source = source, .table = table, .sink = sink};
    int status = mongo_call_begin(source, error);
    if (status == SP_OK)
        status = mongo_select_make(source, table, &r.select, error);
    if (status == SP_OK && since)
        status = make_since(&r, since, error);
    if (status == SP_OK && mongo_row_open(&r.row, table, description) != SP_OK)
        status = source_no_memory(error);
    if (status == SP_OK)
        status = read_all(&r, error);
    bson_destroy(r.since);
    if (r.row.description)
        mongo_row_close(&r.row);
    mongo_select_free(&r.select);
    return status;
}
