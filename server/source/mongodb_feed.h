/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_feed.h - what the files of MongoDB's change feed share.
 */
#ifndef SIDEPOND_SOURCE_MONGODB_FEED_H
#define SIDEPOND_SOURCE_MONGODB_FEED_H

#include "server/source/mongodb.h"
#include "sidepond/source_feed.h"

#define MONGO_ANSWER_MS 10000 /* what a server may take for an answer */

/* One table that is followed. */
struct mongo_followed {
    struct source_table table;
    struct source_description description;
    struct mongo_select select;
    struct mongo_row row;
    uint64_t uuid;   /* a hash of the collection's; 0: the server does not tell it */
    bool has_images; /* the collection keeps its documents as of each change */
    bool looks_up;   /* documents are asked for with the table's filter and projection */
    bson_t *kept;    /* what the projection keeps of the document of a change, or NULL */
};

enum mongo_scope { MONGO_COLLECTION, MONGO_DATABASE, MONGO_CLUSTER };

struct mongo_feed {
    struct mongo_followed *tables;
    unsigned count;
    enum mongo_scope scope;

    mongoc_client_session_t *session; /* of the stream; NULL where the server has none */
    uint32_t server_id; /* of the stream, and of all that is read: another one may be behind */
    int64_t cursor;     /* 0: the stream is not open */
    bool reopen;        /* it is to be opened anew, from the position on */

    bool images;         /* the stream brings documents as of their updates */
    bool refuses_images; /* the server lists them, but does not know them */
    bool image_missed;   /* one was not there, and it has not been asked why */
    char inexact[SOURCE_ERROR_BYTES];

    bson_t reply; /* the last batch, if has_reply */
    bool has_reply;
    bson_iter_t events; /* the event that comes next, if has_event */
    bool has_event;

    char position[FEED_POSITION_BYTES]; /* up to where all has been told */
    uint64_t told_ms;                   /* when the position was told last */
    int64_t idle_at_us; /* the server's clock before the running getMore; 0: not asked */

    bool pending; /* what was delivered has not been told yet: of an open transaction, or its
                     position is too long */
    bool in_transaction;
    uint64_t transaction;                       /* a hash of its session and number */
    char pending_position[FEED_POSITION_BYTES]; /* or "" */
    int64_t pending_at_us;

    uint64_t read_from;  /* the time of the position, if it is that of a first snapshot; else 0 */
    bool reading;        /* a snapshot is open */
    bool snapshot_due;   /* FEED_SNAPSHOT is to be told */
    uint64_t read_until; /* the cluster's time when the reading ended: seconds, and a count */
};

/* --- mongodb_feed.c --------------------------------------------------------------------------- */

/* Appends server and session of the stream to a command's options. */
bool mongo_feed_options(struct source *source, bson_t *options, bson_error_t *why);

/* --- mongodb_feed_check.c --------------------------------------------------------------------- */

/* Makes source->feed of these tables, or says why they cannot be followed; it is to be freed also
 * then. */
int mongo_feed_follow(struct source *source, const struct source_table *tables,
                      const struct source_description *const *descriptions, unsigned count,
                      struct source_error *error);

/* Asks whether what is followed is a collection that can be, and what it keeps. */
int mongo_collection_look(struct source *source, struct mongo_followed *followed,
                          struct source_error *error);

/* The name of the stream, of FEED_STREAM_BYTES. */
void mongo_feed_name(const struct source *source, char *stream);

/* --- mongodb_images.c ------------------------------------------------------------------------- */

/* Whether a stream is to bring images, by what the collections keep. */
bool mongo_images_wanted(const struct mongo_feed *feed);

/* Asks all collections whether they keep images. */
int mongo_images_ask(struct source *source, struct source_error *error);

/* A stream was opened: says for mongo_inexact() of which moment its documents are. */
void mongo_images_note(struct mongo_feed *feed);

/* An update of the table came without its document, although images are kept. */
void mongo_image_missing(struct mongo_feed *feed, const struct mongo_followed *followed);

const char *mongo_inexact(const struct source *source);

/* --- mongodb_project.c ------------------------------------------------------------------------ */

/* Whether mongo_project understands these paths as the server does; NULL: none. */
bool mongo_can_project(const char *const *paths);

/* Appends what the paths keep of a document; false: it does not fit into memory, or is not valid.
 */
bool mongo_project(const bson_t *document, const char *const *paths, bson_t *out);

/* --- mongodb_event.c -------------------------------------------------------------------------- */

/* Delivers what is there of the batch. `*stop`: the receiver wants no more now. */
int mongo_events_deliver(struct source *source, const struct source_feed_sink *sink, bool *stop,
                         struct source_error *error);

/* The batch was empty: tells of what is complete by that. `token` may be NULL. */
bool mongo_events_pause(struct mongo_feed *feed, const struct source_feed_sink *sink,
                        const bson_t *token);

/* Whether at that time (clock_ms) the position is to be told even if nothing has happened. */
bool mongo_idle_due(const struct mongo_feed *feed, uint64_t at_ms);

/* A position of a resume token; false if it does not fit. */
bool mongo_position_of_token(const bson_t *token, char position[FEED_POSITION_BYTES]);

/* Appends what a position means to the $changeStream stage; false if it means nothing. */
bool mongo_position_append(bson_t *stage, const char *position);

#endif
