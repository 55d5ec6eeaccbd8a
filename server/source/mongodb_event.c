/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_event.c - the events of a change stream as changes of rows.
 *
 * An insert or replacement carries the document. An update carries it as it was then, if images are
 * kept (mongodb_images.c); else what the server finds when it sends the event: that document, or a
 * newer state of it, whose own events follow; or none, and then its deletion follows. Where the
 * table has a filter, the document is asked for with that, and one that the filter does not let
 * through is removed.
 *
 * Events of one transaction have its session and number; inserts that one command has brought in at
 * once (MongoDB 8.0) have their time in common. They are complete with the first event of another,
 * or when the server has nothing more to send. A position is a resume token as text. One
 * that is too long (it holds the key) is passed over: what follows it has a shorter one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/fnv.h"
#include "server/source/mongodb_feed.h"

#define TOLD_EVERY_MS 1000

enum { TOKEN_TEXT = 'd', TOKEN_BYTES = 'b', TOKEN_TIME = 't' }; /* how a position begins */

struct event {
    const char *operation;
    bson_t token, key, document;
    bson_t ns, to; /* db and coll; to: of a rename */
    bool has_token, has_key, has_document, has_ns, has_to, has_transaction;
    uint64_t time, transaction;
    int64_t at_us;
};

/* --- positions -------------------------------------------------------------------------------- */

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

bool mongo_position_of_token(const bson_t *token, char position[FEED_POSITION_BYTES])
{
    bson_iter_t at;
    const uint8_t *bytes = bson_get_data(token);
    if (bson_count_keys(token) == 1 && bson_iter_init_find(&at, token, "_data") &&
        BSON_ITER_HOLDS_UTF8(&at) && is_printable(bson_iter_utf8(&at, NULL)))
        return snprintf(position, FEED_POSITION_BYTES, "%c:%s", TOKEN_TEXT,
                        bson_iter_utf8(&at, NULL)) < FEED_POSITION_BYTES;
    if (2 + 2 * (size_t)token->len >= FEED_POSITION_BYTES)
        return false;
    snprintf(position, FEED_POSITION_BYTES, "%c:", TOKEN_BYTES);
    for (uint32_t i = 0; i < token->len; i++)
        snprintf(position + 2 + 2 * (size_t)i, 3, "%02x", bytes[i]);
    return true;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool append_bytes(bson_t *stage, const char *hex)
{
    uint8_t bytes[FEED_POSITION_BYTES / 2];
    size_t count = 0;
    bson_t token;
    for (; hex[0]; hex += 2) {
        if (hex_digit(hex[0]) < 0 || hex_digit(hex[1]) < 0 || count == sizeof(bytes))
            return false;
        bytes[count++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
    }
    return bson_init_static(&token, bytes, count) &&
           bson_validate(&token, BSON_VALIDATE_NONE, NULL) &&
           BSON_APPEND_DOCUMENT(stage, "resumeAfter", &token);
}

static bool append_time(bson_t *stage, const char *text)
{
    unsigned seconds, count;
    return sscanf(text, "%u:%u", &seconds, &count) == 2 &&
           BSON_APPEND_TIMESTAMP(stage, "startAtOperationTime", seconds, count);
}

bool mongo_position_append(bson_t *stage, const char *position)
{
    bson_t token;
    if (!position[0] || position[1] != ':')
        return false;
    switch (position[0]) {
    case TOKEN_TIME:
        return append_time(stage, position + 2);
    case TOKEN_BYTES:
        return append_bytes(stage, position + 2);
    case TOKEN_TEXT:
        return BSON_APPEND_DOCUMENT_BEGIN(stage, "resumeAfter", &token) &&
               BSON_APPEND_UTF8(&token, "_data", position + 2) &&
               bson_append_document_end(stage, &token);
    default:
        return false;
    }
}

/* --- reading an event ------------------------------------------------------------------------- */

static bool take_document(const bson_iter_t *at, bson_t *out)
{
    const uint8_t *data;
    uint32_t bytes;
    if (!BSON_ITER_HOLDS_DOCUMENT(at))
        return false;
    bson_iter_document(at, &bytes, &data);
    return bson_init_static(out, data, bytes);
}

static void take_transaction(const bson_iter_t *at, struct event *event)
{
    bson_t session;
    const int64_t number = bson_iter_as_int64(at);
    if (strcmp(bson_iter_key(at), "txnNumber") == 0)
        event->transaction = fnv_bytes(event->transaction, &number, sizeof(number));
    else if (take_document(at, &session))
        event->transaction = fnv_bytes(event->transaction, bson_get_data(&session), session.len);
    event->has_transaction = true;
}

static void take_time(const bson_iter_t *at, struct event *event)
{
    uint32_t seconds = 0, count = 0;
    if (BSON_ITER_HOLDS_TIMESTAMP(at)) {
        bson_iter_timestamp(at, &seconds, &count);
        event->time = (uint64_t)seconds << 32 | count;
        if (event->at_us == 0)
            event->at_us = (int64_t)seconds * 1000000;
    } else if (BSON_ITER_HOLDS_DATE_TIME(at)) {
        event->at_us = bson_iter_date_time(at) * 1000;
    }
}

static void take_field(const bson_iter_t *at, struct event *event)
{
    const char *name = bson_iter_key(at);
    if (strcmp(name, "operationType") == 0 && BSON_ITER_HOLDS_UTF8(at))
        event->operation = bson_iter_utf8(at, NULL);
    else if (strcmp(name, "_id") == 0)
        event->has_token = take_document(at, &event->token);
    else if (strcmp(name, "documentKey") == 0)
        event->has_key = take_document(at, &event->key);
    else if (strcmp(name, "fullDocument") == 0)
        event->has_document = take_document(at, &event->document);
    else if (strcmp(name, "ns") == 0)
        event->has_ns = take_document(at, &event->ns);
    else if (strcmp(name, "to") == 0)
        event->has_to = take_document(at, &event->to);
    else if (strcmp(name, "clusterTime") == 0 || strcmp(name, "wallTime") == 0)
        take_time(at, event);
    else if (strcmp(name, "lsid") == 0 || strcmp(name, "txnNumber") == 0)
        take_transaction(at, event);
}

static bool read_event(const bson_iter_t *events, struct event *event)
{
    bson_iter_t at;
    *event = (struct event){.operation = "", .transaction = FNV_START};
    if (!BSON_ITER_HOLDS_DOCUMENT(events) || !bson_iter_recurse(events, &at))
        return false;
    while (bson_iter_next(&at))
        take_field(&at, event);
    return event->has_token;
}

/* Inserts of one time are one commit of the database, though no transaction of a session. */
static void join_inserts(const struct source *source, struct event *event)
{
    if (!source->joins_inserts || event->has_transaction || strcmp(event->operation, "insert") != 0)
        return;
    event->transaction = fnv_bytes(FNV_START, &event->time, sizeof(event->time));
    event->has_transaction = true;
}

/* --- rows ----------------------------------------------------------------------------------- */

static bool holds(const bson_t *document, const char *name, const char *text)
{
    bson_iter_t at;
    return bson_iter_init_find(&at, document, name) && BSON_ITER_HOLDS_UTF8(&at) &&
           strcmp(bson_iter_utf8(&at, NULL), text) == 0;
}

static bool is_collection(const struct mongo_select *select, const bson_t *ns)
{
    return holds(ns, "db", select->database) && holds(ns, "coll", select->collection);
}

/* Whether an event is of a table. Of a stream of one collection all are. */
static bool is_of(const struct mongo_feed *feed, unsigned i, const struct event *event)
{
    const struct mongo_select *select = &feed->tables[i].select;
    if (feed->scope == MONGO_COLLECTION || strcmp(event->operation, "invalidate") == 0)
        return true;
    if (event->has_to && is_collection(select, &event->to))
        return true; /* renamed to its name: other documents are there now */
    if (strcmp(event->operation, "dropDatabase") == 0)
        return event->has_ns && holds(&event->ns, "db", select->database);
    return event->has_ns && is_collection(select, &event->ns);
}

static int put_document(struct mongo_feed *feed, unsigned i, const bson_t *document,
                        const struct source_feed_sink *sink, struct source_error *error)
{
    struct mongo_row *row = &feed->tables[i].row;
    const char *why = NULL;
    unsigned column = 0;
    if (mongo_row_fill(row, document, &column, &why) != SP_OK)
        return source_no_memory(error);
    return why ? sink->bad_row(sink->context, i, row->values, column, why)
               : sink->put(sink->context, i, NULL, row->values, NULL);
}

static int remove_key(struct mongo_feed *feed, unsigned i, const bson_t *key,
                      const struct source_feed_sink *sink, struct source_error *error)
{
    struct mongo_row *row = &feed->tables[i].row;
    const char *why = NULL;
    unsigned column = 0;
    if (mongo_row_fill(row, key, &column, &why) != SP_OK)
        return source_no_memory(error);
    if (row->values[0].is_null)
        return SP_OK;
    return sink->remove(sink->context, i, &row->values[0]);
}

static bson_t *key_and_filter(const bson_t *key, const bson_t *filter)
{
    return filter ? BCON_NEW("$and", "[", BCON_DOCUMENT(key), BCON_DOCUMENT(filter), "]")
                  : bson_copy(key);
}

/* Of the stream's own server and session, so never an older state than that of the event. */
static bool look_up_options(struct source *source, const struct mongo_followed *followed,
                            bson_t *options, bson_error_t *why)
{
    BSON_APPEND_INT64(options, "limit", 1);
    if (followed->select.projection)
        BSON_APPEND_DOCUMENT(options, "projection", followed->select.projection);
    if (source->is_cluster)
        mongo_append_majority(options);
    return mongo_feed_options(source, options, why);
}

static int take_found(struct source *source, unsigned i, const bson_t *key, mongoc_cursor_t *cursor,
                      const struct source_feed_sink *sink, struct source_error *error)
{
    bson_error_t why = {0};
    const bson_t *document;
    if (mongoc_cursor_next(cursor, &document))
        return put_document(source->feed, i, document, sink, error);
    if (mongoc_cursor_error(cursor, &why))
        return mongo_failed(source, &source->feed->tables[i].table, &why, error);
    return remove_key(source->feed, i, key, sink, error);
}

/* The document as the table has it, now. */
static int look_up(struct source *source, unsigned i, const bson_t *key,
                   const struct source_feed_sink *sink, struct source_error *error)
{
    const struct mongo_followed *followed = &source->feed->tables[i];
    const struct mongo_select *select = &followed->select;
    bson_error_t why = {0};
    bson_t options = BSON_INITIALIZER;
    source->deadline_ms = clock_ms() + MONGO_ANSWER_MS;
    int status = SP_OK;
    if (!look_up_options(source, followed, &options, &why)) {
        status = mongo_failed(source, &followed->table, &why, error);
    } else {
        bson_t *filter = key_and_filter(key, select->filter);
        mongoc_collection_t *collection =
            mongoc_client_get_collection(source->client, select->database, select->collection);
        mongoc_cursor_t *cursor =
            mongoc_collection_find_with_opts(collection, filter, &options, NULL);
        status = take_found(source, i, key, cursor, sink, error);
        mongoc_cursor_destroy(cursor);
        mongoc_collection_destroy(collection);
        bson_destroy(filter);
    }
    bson_destroy(&options);
    return status;
}

/* The document of a change, less what the table does not keep. */
static int put_changed(struct mongo_feed *feed, unsigned i, const bson_t *document,
                       const struct source_feed_sink *sink, struct source_error *error)
{
    const struct mongo_followed *followed = &feed->tables[i];
    if (!followed->kept || !mongo_is_valid(document))
        return put_document(feed, i, document, sink, error);
    bson_reinit(followed->kept);
    if (!mongo_project(document, followed->table.columns, followed->kept))
        return source_no_memory(error);
    return put_document(feed, i, followed->kept, sink, error);
}

/* {_id: value} of what has it. */
static bool take_key(const bson_t *from, bson_t *key)
{
    bson_iter_t at;
    return bson_iter_init_find(&at, from, "_id") && bson_append_iter(key, NULL, 0, &at);
}

static int deliver_change(struct source *source, unsigned i, const struct event *event,
                          const struct source_feed_sink *sink, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    bson_t key = BSON_INITIALIZER;
    int status = SP_OK;
    const bool is_delete = strcmp(event->operation, "delete") == 0;
    const bool misses_image = !is_delete && !event->has_document && feed->images;
    const bool has_key = (event->has_key && take_key(&event->key, &key)) ||
                         (event->has_document && take_key(&event->document, &key));
    if (is_delete && has_key)
        status = remove_key(feed, i, &key, sink, error);
    else if ((feed->tables[i].looks_up || misses_image) && has_key)
        status = look_up(source, i, &key, sink, error);
    else if (!is_delete && event->has_document && has_key)
        status = put_changed(feed, i, &event->document, sink, error);
    if (misses_image && !feed->tables[i].looks_up)
        mongo_image_missing(feed, &feed->tables[i]);
    bson_destroy(&key);
    return status;
}

static bool is_change(const char *operation)
{
    return strcmp(operation, "insert") == 0 || strcmp(operation, "update") == 0 ||
           strcmp(operation, "replace") == 0 || strcmp(operation, "delete") == 0;
}

/* What takes a whole collection away, or NULL. */
static const char *what_ends(const char *operation)
{
    if (strcmp(operation, "drop") == 0 || strcmp(operation, "dropDatabase") == 0)
        return "its collection was dropped";
    if (strcmp(operation, "rename") == 0)
        return "its collection was renamed";
    return strcmp(operation, "invalidate") == 0 ? "its change stream has ended" : NULL;
}

static int deliver_event(struct source *source, const struct event *event,
                         const struct source_feed_sink *sink, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    const char *end = what_ends(event->operation);
    int status = SP_OK;
    if (end && event->time && event->time <= feed->read_from)
        return SP_OK; /* before what was read, which is of the collection that came after it */
    for (unsigned i = 0; i < feed->count && status == SP_OK; i++) {
        if (!is_of(feed, i, event))
            continue;
        if (end)
            status = sink->reshaped(sink->context, i, end);
        else if (is_change(event->operation))
            status = deliver_change(source, i, event, sink, error);
    }
    return status;
}

/* --- places between transactions -------------------------------------------------------------- */

static bool tell(struct mongo_feed *feed, const struct source_feed_sink *sink, enum feed_mark mark,
                 int64_t at_us)
{
    feed->told_ms = clock_ms();
    return sink->reached(sink->context, mark, feed->position, at_us);
}

/* Tells of what was delivered, which is complete. */
static bool finish_pending(struct mongo_feed *feed, const struct source_feed_sink *sink)
{
    feed->in_transaction = false;
    if (!feed->pending || !feed->pending_position[0])
        return true;
    feed->pending = false;
    memcpy(feed->position, feed->pending_position, sizeof(feed->position));
    return tell(feed, sink, FEED_TRANSACTION, feed->pending_at_us);
}

static bool finish_snapshot(struct mongo_feed *feed, const struct source_feed_sink *sink)
{
    feed->snapshot_due = false;
    return tell(feed, sink, FEED_SNAPSHOT, 0);
}

/* What has to be told before the event. */
static bool before_event(struct mongo_feed *feed, const struct event *event,
                         const struct source_feed_sink *sink)
{
    const bool goes_on =
        feed->in_transaction && event->has_transaction && event->transaction == feed->transaction;
    if (goes_on)
        return true;
    if (!finish_pending(feed, sink))
        return false;
    return !feed->snapshot_due || feed->pending || event->time <= feed->read_until ||
           finish_snapshot(feed, sink);
}

static bool after_event(struct mongo_feed *feed, const struct event *event,
                        const struct source_feed_sink *sink)
{
    feed->pending = true;
    feed->pending_at_us = event->at_us;
    if (!mongo_position_of_token(&event->token, feed->pending_position))
        feed->pending_position[0] = 0;
    feed->in_transaction = event->has_transaction;
    feed->transaction = event->transaction;
    return feed->in_transaction || finish_pending(feed, sink);
}

int mongo_events_deliver(struct source *source, const struct source_feed_sink *sink, bool *stop,
                         struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    *stop = false;
    while (feed->has_event) {
        struct event event;
        if (!read_event(&feed->events, &event))
            return source_fail(error, SP_ESOURCE, false,
                               "source %s: what the server sends is not a change stream",
                               source->options->name);
        join_inserts(source, &event);
        *stop = !before_event(feed, &event, sink);
        if (*stop)
            return SP_OK;
        const int status = deliver_event(source, &event, sink, error);
        if (status != SP_OK)
            return status;
        feed->has_event = bson_iter_next(&feed->events);
        *stop = !after_event(feed, &event, sink);
        if (*stop)
            return SP_OK;
    }
    return SP_OK;
}

bool mongo_idle_due(const struct mongo_feed *feed, uint64_t at_ms)
{
    return at_ms >= feed->told_ms + TOLD_EVERY_MS;
}

bool mongo_events_pause(struct mongo_feed *feed, const struct source_feed_sink *sink,
                        const bson_t *token)
{
    char here[FEED_POSITION_BYTES];
    if (token && mongo_position_of_token(token, here))
        memcpy(feed->pending ? feed->pending_position : feed->position, here, sizeof(here));
    if (feed->pending && !finish_pending(feed, sink))
        return false;
    if (feed->snapshot_due && !feed->pending && !finish_snapshot(feed, sink))
        return false;
    if (feed->pending || !mongo_idle_due(feed, clock_ms()))
        return true;
    return tell(feed, sink, FEED_IDLE, feed->idle_at_us);
}
