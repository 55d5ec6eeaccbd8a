/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_feed_check.c - whether collections can be followed by a change stream, and by which name.
 *
 * A stream is followed at the primary: another member may be behind what was read elsewhere, and
 * what it has may be rolled back. A view, or a collection of time series, has no events of its own:
 * a stream of it the server refuses, one of its database says nothing of it, so listCollections is
 * asked. Who may not list collections is not warned.
 *
 * The stream's name has the replica set's, and a hash of what says which rows there are: the
 * tables, and the collections with their UUIDs, so that another set or another collection of the
 * same name is another stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fnv.h"
#include "server/source/mongodb_feed.h"

/* --- the source ------------------------------------------------------------------------------- */

static int check_source(const struct source *source, struct source_error *error)
{
    const char *name = source->options->name;
    const mongoc_read_prefs_t *prefs = mongoc_client_get_read_prefs(source->client);
    const char *level = mongo_read_concern(source);
    if (source->is_sharded)
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: the server is a router of a sharded cluster, whose change "
                           "streams are not supported",
                           name);
    if (mongoc_read_prefs_get_mode(prefs) != MONGOC_READ_PRIMARY)
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: a change stream is followed at the primary; take "
                           "readPreference out of the dsn",
                           name);
    if (level && (strcmp(level, "local") == 0 || strcmp(level, "available") == 0))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: with readConcernLevel=%s rows are read that may be rolled "
                           "back, of which no change stream tells; take it out of the dsn",
                           name, level);
    return SP_OK;
}

/* --- the collections -------------------------------------------------------------------------- */

/* The collection's own entry in the reply of listCollections. */
static bool find_entry(const bson_t *reply, const char *collection, bson_iter_t *entry)
{
    bson_iter_t start, batch, at;
    if (!bson_iter_init(&start, reply) ||
        !bson_iter_find_descendant(&start, "cursor.firstBatch", &batch) ||
        !BSON_ITER_HOLDS_ARRAY(&batch) || !bson_iter_recurse(&batch, &at))
        return false;
    while (bson_iter_next(&at)) {
        bson_iter_t name;
        if (BSON_ITER_HOLDS_DOCUMENT(&at) && bson_iter_recurse(&at, entry) &&
            bson_iter_find_descendant(entry, "name", &name) && BSON_ITER_HOLDS_UTF8(&name) &&
            strcmp(bson_iter_utf8(&name, NULL), collection) == 0)
            return bson_iter_recurse(&at, entry);
    }
    return false;
}

static bool find_in(bson_iter_t entry, const char *path, bson_iter_t *at)
{
    return bson_iter_find_descendant(&entry, path, at);
}

/* Takes along what it keeps, and its UUID; fails unless it is a collection, as far as the server
 * tells. */
static int judge_entry(const struct source *source, const bson_t *reply,
                       struct mongo_followed *followed, struct source_error *error)
{
    bson_iter_t entry, at;
    bson_subtype_t kind;
    uint32_t bytes;
    const uint8_t *data;
    followed->has_images = false;
    if (!find_entry(reply, followed->select.collection, &entry))
        return SP_OK;
    if (find_in(entry, "info.uuid", &at) && BSON_ITER_HOLDS_BINARY(&at)) {
        bson_iter_binary(&at, &kind, &bytes, &data);
        followed->uuid = fnv_bytes(FNV_START, data, bytes);
    }
    followed->has_images = find_in(entry, "options.changeStreamPreAndPostImages.enabled", &at) &&
                           bson_iter_as_bool(&at);
    if (!source->tells_capped && find_in(entry, "options.capped", &at) && bson_iter_as_bool(&at))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: %s is a capped collection, and a server before MongoDB 5.0 "
                           "does not tell of the documents that fall out of one",
                           followed->table.name, followed->select.collection);
    if (!find_in(entry, "type", &at) || !BSON_ITER_HOLDS_UTF8(&at) ||
        strcmp(bson_iter_utf8(&at, NULL), "collection") == 0)
        return SP_OK;
    return source_fail(
        error, SP_ECONFIG, false,
        "table %s: %s is no ordinary collection but a %s, which has no change stream",
        followed->table.name, followed->select.collection, bson_iter_utf8(&at, NULL));
}

/* Who may read a collection but not list any, may still ask for names. */
static int check_collection(struct source *source, struct mongo_followed *followed, bool names_only,
                            struct source_error *error)
{
    bson_t reply;
    const struct mongo_select *select = &followed->select;
    bson_t *what = BCON_NEW("listCollections", BCON_INT32(1), "filter", "{", "name",
                            BCON_UTF8(select->collection), "}");
    if (names_only) {
        BSON_APPEND_BOOL(what, "nameOnly", true);
        BSON_APPEND_BOOL(what, "authorizedCollections", true);
    }
    struct source_error failed;
    int status = mongo_command(source, &followed->table, select->database, what, &reply, &failed);
    if (status == SP_OK)
        status = judge_entry(source, &reply, followed, error);
    else if (status != SP_ECONFIG)
        *error = failed;
    else
        status = names_only ? SP_OK : check_collection(source, followed, true, error);
    bson_destroy(&reply);
    bson_destroy(what);
    return status;
}

int mongo_collection_look(struct source *source, struct mongo_followed *followed,
                          struct source_error *error)
{
    return check_collection(source, followed, false, error);
}

static int follow(struct source *source, const struct source_table *table,
                  const struct source_description *description, struct mongo_followed *out,
                  struct source_error *error)
{
    out->table = *table;
    if (table->query)
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: a change stream follows a collection, not a query",
                           table->name);
    if (!table->key || !table->key[0] || table->key[1] || strcmp(table->key[0], "_id") != 0)
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: a change stream names what was deleted by its _id alone, so "
                           "the key has to be _id",
                           table->name);
    int status = mongo_select_make(source, table, &out->select, error);
    if (status == SP_OK)
        status = source_description_alloc(&out->description, description->column_count, error);
    if (status != SP_OK)
        return status;
    memcpy(out->description.columns, description->columns,
           description->column_count * sizeof(*description->columns));
    out->looks_up = out->select.filter || !mongo_can_project(table->columns);
    out->kept = out->select.projection && !out->looks_up ? bson_new() : NULL;
    if (mongo_row_open(&out->row, table, &out->description) != SP_OK)
        return source_no_memory(error);
    return mongo_collection_look(source, out, error);
}

static enum mongo_scope scope_of(const struct mongo_feed *feed)
{
    enum mongo_scope scope = MONGO_COLLECTION;
    const struct mongo_select *first = &feed->tables[0].select;
    for (unsigned i = 1; i < feed->count; i++) {
        const struct mongo_select *other = &feed->tables[i].select;
        if (strcmp(first->database, other->database) != 0)
            return MONGO_CLUSTER;
        if (strcmp(first->collection, other->collection) != 0)
            scope = MONGO_DATABASE;
    }
    return scope;
}

int mongo_feed_follow(struct source *source, const struct source_table *tables,
                      const struct source_description *const *descriptions, unsigned count,
                      struct source_error *error)
{
    int status = check_source(source, error);
    if (status != SP_OK)
        return status;
    struct mongo_feed *feed = source->feed = calloc(1, sizeof(*source->feed));
    if (!feed)
        return source_no_memory(error);
    feed->tables = calloc(count ? count : 1, sizeof(*feed->tables));
    if (!feed->tables)
        return source_no_memory(error);
    feed->count = count;
    for (unsigned i = 0; i < count && status == SP_OK; i++)
        status = follow(source, &tables[i], descriptions[i], &feed->tables[i], error);
    feed->scope = scope_of(feed);
    return status;
}

void mongo_feed_name(const struct source *source, char *stream)
{
    const struct mongo_feed *feed = source->feed;
    uint64_t hash = FNV_START;
    for (unsigned i = 0; i < feed->count; i++) {
        const struct mongo_followed *f = &feed->tables[i];
        hash = fnv_text(fnv_text(hash, f->table.name), f->select.database);
        hash = fnv_text(fnv_text(hash, f->select.collection), f->table.where);
        hash = fnv_list(fnv_list(hash, f->table.columns), f->table.fields);
        hash = fnv_bytes(hash, &f->uuid, sizeof(f->uuid));
    }
    snprintf(stream, FEED_STREAM_BYTES, "mongodb %.200s %.63s %016llx",
             source->set_name[0] ? source->set_name : "-", feed->tables[0].select.database,
             (unsigned long long)hash);
}
