/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_feed.c - a change stream as a feed: opening it, its batches, and its snapshots.
 *
 * One stream follows all tables of a group: of a collection if that is all, else of its database,
 * or of the whole cluster where the tables are of several. It is driven by aggregate and getMore
 * themselves, not by libmongoc's change streams: those would go on by themselves after a lost
 * connection, and do not say what has arrived already and what has yet to be waited for. A getMore
 * waits at the server for the first event and brings all that are there.
 *
 * A snapshot's position is just after the last write that a majority of the members has, asked for
 * before it is begun, since rows are read as a majority has them; where the server does not tell
 * that time it is what it has applied, or its clock, of a replica set less some seconds. All are
 * early rather than late, and what was read already is delivered again. All is read from the
 * stream's own server, since another one may be behind. FEED_SNAPSHOT is reached by the first event
 * that is later than the end of the reading, or when the server has nothing to send.
 *
 * Costs: a connection, and at the server a cursor that looks at every entry of the oplog; while
 * nothing happens a getMore and a question for the time each second. Limits: the key is
 * `_id`, since a deletion names nothing else. An event above 16 MiB ends a stream: all is read
 * again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/source/mongodb_feed.h"

#define SCAN_MS       60000 /* what a getMore may take beyond its wait: it may have much to pass over */
#define EARLY_S       10
#define AWAIT_MOST_MS 1000
#define AT_ONCE_MS    1  /* for the end of a transaction, which has arrived already */
#define PAUSE_MS      10 /* between questions to a server that does not wait */

/* Codes that say: what follows this position cannot be had any more. */
static bool is_lost(const bson_error_t *why)
{
    static const uint32_t codes[] = {136 /* CappedPositionLost */,
                                     260 /* InvalidResumeToken */,
                                     280 /* ChangeStreamFatalError */,
                                     286 /* ChangeStreamHistoryLost */,
                                     10334 /* BSONObjectTooLarge: an event that cannot be sent */,
                                     40576 /* resume not possible */,
                                     40585 /* resume token not found */,
                                     40615 /* likewise */};
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (why->domain == MONGOC_ERROR_SERVER && why->code == codes[i])
            return true;
    return false;
}

/* --- commands of the stream ------------------------------------------------------------------- */

/* Where the stream lives. */
static const char *database_of(const struct mongo_feed *feed)
{
    return feed->scope == MONGO_CLUSTER ? "admin" : feed->tables[0].select.database;
}

bool mongo_feed_options(struct source *source, bson_t *options, bson_error_t *why)
{
    const struct mongo_feed *feed = source->feed;
    bson_append_int32(options, "serverId", -1, (int32_t)feed->server_id);
    return !feed->session || mongoc_client_session_append(feed->session, options, why);
}

/* Never tried a second time by libmongoc: a getMore that was lost may have taken a batch along. */
static bool command(struct source *source, const bson_t *what, bson_t *reply, bson_error_t *why)
{
    bson_t options = BSON_INITIALIZER;
    bool done = mongo_feed_options(source, &options, why);
    if (done)
        done = mongoc_client_command_with_opts(source->client, database_of(source->feed), what,
                                               mongoc_client_get_read_prefs(source->client),
                                               &options, reply, why);
    else
        bson_init(reply);
    bson_destroy(&options);
    return done;
}

/* All commands of a cursor go to one server and have one session. */
static int choose_server(struct source *source, struct source_error *error)
{
    bson_error_t why = {0};
    struct mongo_feed *feed = source->feed;
    mongoc_server_description_t *server = mongoc_client_select_server(
        source->client, false, mongoc_client_get_read_prefs(source->client), &why);
    if (!server)
        return mongo_failed(source, NULL, &why, error);
    feed->server_id = mongoc_server_description_id(server);
    mongoc_server_description_destroy(server);
    if (source->has_sessions && !feed->session)
        feed->session = mongoc_client_start_session(source->client, NULL, &why);
    return feed->session || !source->has_sessions ? SP_OK : mongo_failed(source, NULL, &why, error);
}

static void append_name(bson_t *array, uint32_t i, const char *name)
{
    char buffer[16];
    const char *key;
    bson_uint32_to_string(i, &key, buffer, sizeof(buffer));
    BSON_APPEND_UTF8(array, key, name);
}

/* {$match: ...} for the tables' collections, and what ends a stream or moves a collection. */
static bson_t *make_match(const struct mongo_feed *feed)
{
    bson_t names = BSON_INITIALIZER;
    for (unsigned i = 0; i < feed->count; i++)
        append_name(&names, i, feed->tables[i].select.collection);
    bson_t *match =
        BCON_NEW("$match", "{", "$or", "[", "{", "ns.coll", "{", "$in", BCON_ARRAY(&names), "}",
                 "}", "{", "operationType", "{", "$in", "[", BCON_UTF8("rename"),
                 BCON_UTF8("dropDatabase"), BCON_UTF8("invalidate"), "]", "}", "}", "]", "}");
    bson_destroy(&names);
    return match;
}

/* NULL: the position means nothing. What was updated is not sent beside the document: it would be
 * the same bytes twice, and an event has no more than 16 MiB. */
static bson_t *make_aggregate(const struct mongo_feed *feed, const char *position)
{
    bson_t stage = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&stage, "fullDocument", feed->images ? "whenAvailable" : "updateLookup");
    if (feed->scope == MONGO_CLUSTER)
        BSON_APPEND_BOOL(&stage, "allChangesForCluster", true);
    if (position && !mongo_position_append(&stage, position)) {
        bson_destroy(&stage);
        return NULL;
    }
    bson_t pipeline = BSON_INITIALIZER, cursor = BSON_INITIALIZER;
    bson_t *first = BCON_NEW("$changeStream", BCON_DOCUMENT(&stage));
    bson_t *match = feed->scope == MONGO_COLLECTION ? NULL : make_match(feed);
    bson_t *less = BCON_NEW("$project", "{", "updateDescription", BCON_INT32(0), "}");
    bson_t *made = bson_new();
    BSON_APPEND_DOCUMENT(&pipeline, "0", first);
    if (match) {
        BSON_APPEND_DOCUMENT(&pipeline, "1", match);
        BSON_APPEND_INT32(made, "aggregate", 1);
    } else {
        BSON_APPEND_UTF8(made, "aggregate", feed->tables[0].select.collection);
    }
    BSON_APPEND_DOCUMENT(&pipeline, match ? "2" : "1", less);
    BSON_APPEND_ARRAY(made, "pipeline", &pipeline);
    BSON_APPEND_DOCUMENT(made, "cursor", &cursor);
    bson_destroy(less);
    bson_destroy(match);
    bson_destroy(first);
    bson_destroy(&cursor);
    bson_destroy(&pipeline);
    bson_destroy(&stage);
    return made;
}

static void drop_batch(struct mongo_feed *feed)
{
    if (feed->has_reply)
        bson_destroy(&feed->reply);
    feed->has_reply = feed->has_event = false;
}

/* Keeps the reply and stands before its first event. False: it is no batch. */
static bool take_batch(struct mongo_feed *feed)
{
    bson_iter_t at, cursor;
    feed->has_reply = true;
    feed->cursor = 0;
    if (!bson_iter_init_find(&at, &feed->reply, "cursor") || !BSON_ITER_HOLDS_DOCUMENT(&at) ||
        !bson_iter_recurse(&at, &cursor))
        return false;
    bool is_batch = false;
    while (bson_iter_next(&cursor)) {
        const char *name = bson_iter_key(&cursor);
        if (strcmp(name, "id") == 0)
            feed->cursor = bson_iter_as_int64(&cursor);
        else if ((strcmp(name, "firstBatch") == 0 || strcmp(name, "nextBatch") == 0) &&
                 BSON_ITER_HOLDS_ARRAY(&cursor))
            is_batch = bson_iter_recurse(&cursor, &feed->events);
    }
    feed->has_event = is_batch && bson_iter_next(&feed->events);
    return is_batch;
}

static bool is_database_stream(const bson_t *reply)
{
    bson_iter_t start, at;
    static const char end[] = ".$cmd.aggregate";
    if (!bson_iter_init(&start, reply) || !bson_iter_find_descendant(&start, "cursor.ns", &at) ||
        !BSON_ITER_HOLDS_UTF8(&at))
        return false;
    const char *name = bson_iter_utf8(&at, NULL);
    return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

static int stream_failed(struct source *source, const bson_error_t *why, bool resumes,
                         struct source_error *error)
{
    if (is_lost(why) || (resumes && mongo_is_nonsense(why)))
        return source_fail(error, SP_ENOTFOUND, true,
                           "source %s: the server has no changes from there on any more: %s",
                           source->options->name, why->message);
    return mongo_failed(source, &source->feed->tables[0].table, why, error);
}

/* Sends a command, which is freed, and keeps the batch that it gives. `resumes`: of what it says,
 * the server may fail to understand only the position, which is another server's then. */
static int ask_stream(struct source *source, bson_t *what, bool resumes, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    bson_error_t why = {0};
    drop_batch(feed);
    const bool done = command(source, what, &feed->reply, &why);
    bson_destroy(what);
    if (!done) {
        bson_destroy(&feed->reply);
        return stream_failed(source, &why, resumes, error);
    }
    if (take_batch(feed))
        return SP_OK;
    return source_fail(error, SP_ESOURCE, true, "source %s: the server sends no change stream",
                       source->options->name);
}

/* Opens the stream and keeps its first batch. */
static int open_stream(struct source *source, const char *position, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    feed->images = mongo_images_wanted(feed);
    bson_t *what = make_aggregate(feed, position);
    if (!what)
        return source_fail(error, SP_ENOTFOUND, true, "source %s: this is no position of MongoDB",
                           source->options->name);
    const int status = ask_stream(source, what, position && !feed->images, error);
    if (status == SP_OK)
        mongo_images_note(feed);
    if (status != SP_ECONFIG || !feed->images)
        return status;
    feed->refuses_images = true;
    return open_stream(source, position, error);
}

static void close_stream(struct source *source)
{
    struct mongo_feed *feed = source->feed;
    bson_error_t why;
    bson_t reply;
    const char *name =
        feed->scope == MONGO_COLLECTION ? feed->tables[0].select.collection : "$cmd.aggregate";
    if (feed->cursor && !source->broken) {
        bson_t *what =
            BCON_NEW("killCursors", BCON_UTF8(name), "cursors", "[", BCON_INT64(feed->cursor), "]");
        command(source, what, &reply, &why);
        bson_destroy(&reply);
        bson_destroy(what);
    }
    feed->cursor = 0;
    drop_batch(feed);
}

/* --- what is followed ------------------------------------------------------------------------- */

void mongo_feed_free(struct source *source)
{
    struct mongo_feed *feed = source->feed;
    if (!feed)
        return;
    if (feed->tables)
        close_stream(source);
    for (unsigned i = 0; feed->tables && i < feed->count; i++) {
        if (feed->tables[i].row.description)
            mongo_row_close(&feed->tables[i].row);
        source_description_free(&feed->tables[i].description);
        bson_destroy(feed->tables[i].kept);
        mongo_select_free(&feed->tables[i].select);
    }
    if (feed->session)
        mongoc_client_session_destroy(feed->session);
    free(feed->tables);
    free(feed);
    source->feed = NULL;
}

/* Opens a stream and ends it at once: the only way to know. */
static int try_stream(struct source *source, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    int status = choose_server(source, error);
    source->probing = true;
    if (status == SP_OK)
        status = open_stream(source, NULL, error);
    source->probing = false;
    if (status == SP_OK && feed->scope != MONGO_COLLECTION && !is_database_stream(&feed->reply))
        status = source_fail(error, SP_ECONFIG, false,
                             "source %s: the server has change streams of single collections only; "
                             "give each table a group of its own",
                             source->options->name);
    close_stream(source);
    return status;
}

static int feed_check(struct source *source, const struct source_feed_options *options,
                      const struct source_table *tables,
                      const struct source_description *const *descriptions, unsigned count,
                      char *stream, struct source_error *error)
{
    (void)options;
    int status = mongo_call_begin(source, error);
    if (status != SP_OK)
        return status;
    mongo_feed_free(source);
    status = mongo_feed_follow(source, tables, descriptions, count, error);
    if (status == SP_OK)
        status = try_stream(source, error);
    if (status == SP_OK)
        mongo_feed_name(source, stream);
    else
        mongo_feed_free(source);
    return status;
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* What a hello says of the time. */
struct moment {
    uint64_t committed; /* what a majority has: what a snapshot holds at least; 0: not told */
    uint64_t applied;   /* what the server has, which may be rolled back; 0: not told */
    int64_t clock_ms;   /* the server's clock; 0: not told */
};

static uint64_t timestamp_at(const bson_t *reply, const char *path)
{
    bson_iter_t start, at;
    uint32_t seconds, count;
    if (!bson_iter_init(&start, reply) || !bson_iter_find_descendant(&start, path, &at) ||
        !BSON_ITER_HOLDS_TIMESTAMP(&at))
        return 0;
    bson_iter_timestamp(&at, &seconds, &count);
    return (uint64_t)seconds << 32 | count;
}

/* A member that is the primary no longer goes on sending a stream, of which it may be cut off: then
 * that nothing happens says nothing. */
static bool is_deposed(const struct source *source, const bson_t *hello)
{
    bson_iter_t at;
    return source->set_name[0] && bson_iter_init_find(&at, hello, "ismaster") &&
           !bson_iter_as_bool(&at);
}

static int ask_time(struct source *source, struct moment *out, struct source_error *error)
{
    bson_error_t why = {0};
    bson_t reply;
    bson_iter_t at;
    bson_t *hello = BCON_NEW("isMaster", BCON_INT32(1));
    source->deadline_ms = clock_ms() + MONGO_ANSWER_MS;
    const bool done = command(source, hello, &reply, &why);
    *out = (struct moment){.committed = timestamp_at(&reply, "lastWrite.majorityOpTime.ts"),
                           .applied = timestamp_at(&reply, "operationTime")};
    if (bson_iter_init_find(&at, &reply, "localTime") && BSON_ITER_HOLDS_DATE_TIME(&at))
        out->clock_ms = bson_iter_date_time(&at);
    const bool deposed = is_deposed(source, &reply);
    bson_destroy(&reply);
    bson_destroy(hello);
    if (!done)
        return mongo_failed(source, NULL, &why, error);
    if (deposed)
        return source_fail(error, SP_ESOURCE, true,
                           "source %s: the server is not the primary of its set any more",
                           source->options->name);
    if (out->applied || out->clock_ms)
        return SP_OK;
    return source_fail(error, SP_ESOURCE, true, "source %s: the server does not say its time",
                       source->options->name);
}

/* What a snapshot begun now holds at least. */
static uint64_t holds_at_least(const struct moment *now)
{
    if (now->committed)
        return now->committed;
    return now->applied ? now->applied : (uint64_t)(now->clock_ms / 1000) << 32;
}

/* Where to follow such a snapshot from. What a set has applied, a majority may not have yet. */
static uint64_t early(const struct source *source, const struct moment *now)
{
    const uint64_t time = holds_at_least(now);
    if (now->committed)
        return time + 1; /* a stream begins with the event of its time */
    if (!source->is_cluster)
        return time;
    return time >> 32 > EARLY_S ? ((time >> 32) - EARLY_S) << 32 : 0;
}

/* A time that no read before was later than. By the server's clock alone, what came in the rest of
 * the second was read or is told again. */
static uint64_t late(const struct moment *now)
{
    return now->applied ? now->applied : (uint64_t)(now->clock_ms / 1000) << 32 | UINT32_MAX;
}

static int feed_snapshot(struct source *source, char *position, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    struct moment now;
    int status = mongo_call_begin(source, error);
    if (status == SP_OK && !feed->cursor && !feed->reopen) {
        status = ask_time(source, &now, error);
        feed->read_from = holds_at_least(&now);
        const uint64_t from = early(source, &now);
        snprintf(feed->position, sizeof(feed->position), "t:%u:%u", (unsigned)(from >> 32),
                 (unsigned)from);
    }
    if (status == SP_OK)
        status = mongo_begin(source, error);
    if (status != SP_OK)
        return status;
    feed->reading = true;
    memcpy(position, feed->position, FEED_POSITION_BYTES);
    return SP_OK;
}

/* A cursor of which nothing was asked for the time of a snapshot may be gone, so the stream is
 * opened anew: what it has sent for a transaction that goes on, comes again. */
int mongo_feed_read(struct source *source, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    if (!feed->reading)
        return SP_OK;
    feed->reading = false;
    feed->snapshot_due = true;
    if (feed->cursor) {
        close_stream(source);
        feed->reopen = true;
    }
    struct moment now;
    const int status = ask_time(source, &now, error);
    feed->read_until = late(&now);
    return status;
}

/* --- following -------------------------------------------------------------------------------- */

/* From the position that was reached. To find it, the server may have to read all of its oplog,
 * for which there is no limit: cancel ends it, and the connection's end. */
static int open_from_position(struct source *source, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    const int status = mongo_images_ask(source, error);
    if (status != SP_OK)
        return status;
    source->deadline_ms = 0;
    feed->reopen = feed->pending = feed->in_transaction = false;
    return open_stream(source, feed->position, error);
}

/* An image was not there: if the collections keep none any more, the stream is opened anew. Not
 * within a transaction, of which the position knows nothing. */
static int mend_images(struct source *source, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    if (!feed->image_missed || feed->pending || !feed->cursor)
        return SP_OK;
    const int status = mongo_images_ask(source, error);
    if (status == SP_OK && !mongo_images_wanted(feed)) {
        close_stream(source);
        feed->reopen = true;
    }
    return status;
}

static int feed_start(struct source *source, const char *position, struct source_error *error)
{
    int status = mongo_call_begin(source, error);
    if (status == SP_OK)
        status = choose_server(source, error);
    if (status != SP_OK)
        return status;
    source_copy(source->feed->position, FEED_POSITION_BYTES, position);
    return open_from_position(source, error);
}

static int get_more(struct source *source, int await_ms, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    const char *name =
        feed->scope == MONGO_COLLECTION ? feed->tables[0].select.collection : "$cmd.aggregate";
    if (!feed->cursor)
        return source_fail(error, SP_ESOURCE, true, "source %s: the change stream has ended",
                           source->options->name);
    bson_t *what = BCON_NEW("getMore", BCON_INT64(feed->cursor), "collection", BCON_UTF8(name),
                            "maxTimeMS", BCON_INT64(await_ms));
    source->deadline_ms = clock_ms() + (uint64_t)await_ms + SCAN_MS;
    return ask_stream(source, what, false, error);
}

/* The token of an empty batch, which says that there is nothing before it. */
static bool empty_token(const struct mongo_feed *feed, bson_t *token)
{
    bson_iter_t start, at;
    const uint8_t *data;
    uint32_t bytes;
    if (!bson_iter_init(&start, &feed->reply) ||
        !bson_iter_find_descendant(&start, "cursor.postBatchResumeToken", &at) ||
        !BSON_ITER_HOLDS_DOCUMENT(&at))
        return false;
    bson_iter_document(&at, &bytes, &data);
    return bson_init_static(token, data, bytes);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* If the place where nothing happens may have to be told: of which moment that is. */
static int note_idle(struct source *source, int await_ms, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    struct moment now = {0};
    int status = SP_OK;
    if (!feed->in_transaction && mongo_idle_due(feed, clock_ms() + (uint64_t)await_ms))
        status = ask_time(source, &now, error);
    feed->idle_at_us = now.clock_ms * 1000;
    return status;
}

/* Waits for a batch that has something, until then at most; tells what empty ones say. */
static int await_batch(struct source *source, uint64_t until_ms,
                       const struct source_feed_sink *sink, bool *stop, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    *stop = false;
    while (!feed->has_event && !*stop) {
        const uint64_t begun = clock_ms();
        const int left = waker_left_ms(until_ms);
        const int await =
            feed->in_transaction ? AT_ONCE_MS : least(left ? left : AT_ONCE_MS, AWAIT_MOST_MS);
        int status = note_idle(source, await, error);
        if (status == SP_OK)
            status = get_more(source, await, error);
        bson_t token;
        if (status != SP_OK || feed->has_event)
            return status;
        const bool was_in_transaction = feed->in_transaction;
        *stop = !mongo_events_pause(feed, sink, empty_token(feed, &token) ? &token : NULL) ||
                waker_left_ms(until_ms) == 0;
        if (*stop || was_in_transaction || clock_ms() - begun >= (uint64_t)least(await, PAUSE_MS))
            continue;
        waker_poll(&source->waker, -1, 0, least(PAUSE_MS, waker_left_ms(until_ms)));
    }
    return SP_OK;
}

static int feed_next(struct source *source, uint32_t timeout_ms,
                     const struct source_feed_sink *sink, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    const uint64_t until_ms = clock_ms() + timeout_ms;
    bool stop = false;
    int status = mongo_call_begin(source, error);
    if (status == SP_OK)
        status = mend_images(source, error);
    if (status == SP_OK && feed->reopen)
        status = open_from_position(source, error);
    if (status == SP_OK && !feed->has_event)
        status = await_batch(source, until_ms, sink, &stop, error);
    if (status == SP_OK && !stop)
        status = mongo_events_deliver(source, sink, &stop, error);
    return status;
}

/* --- what MongoDB does by itself -------------------------------------------------------------- */

static int feed_confirm(struct source *source, const char *position, struct source_error *error)
{
    (void)source;
    (void)position;
    (void)error;
    return SP_OK;
}

/* The oplog is kept as long as it is, for whoever follows. */
static int feed_lag(struct source *source, uint64_t *bytes, struct source_error *error)
{
    (void)source;
    (void)error;
    *bytes = UINT64_MAX;
    return SP_OK;
}

static int feed_drop(struct source *source, const struct source_feed_options *options,
                     struct source_error *error)
{
    (void)source;
    (void)options;
    (void)error;
    return SP_OK;
}

const struct source_feed_class mongo_feed_class = {
    .check = feed_check,
    .snapshot = feed_snapshot,
    .start = feed_start,
    .next = feed_next,
    .confirm = feed_confirm,
    .lag = feed_lag,
    .drop = feed_drop,
    .inexact = mongo_inexact,
};
