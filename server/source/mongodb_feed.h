/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_feed.h - what the two files of MongoDB's change feed share.
 */
#ifndef SIDEPOND_SOURCE_MONGODB_FEED_H
#define SIDEPOND_SOURCE_MONGODB_FEED_H

#include "server/source/mongodb.h"
#include "sidepond/source_feed.h"

/* One table that is followed. */
struct mongo_followed {
    struct source_table table;
    struct source_description description;
    struct mongo_select select;
    struct mongo_row row;
    bool looks_up; /* documents are asked for with the table's filter and projection */
};

enum mongo_scope { MONGO_COLLECTION, MONGO_DATABASE, MONGO_CLUSTER };

struct mongo_feed {
    struct mongo_followed *tables;
    unsigned count;
    enum mongo_scope scope;

    mongoc_client_session_t *session; /* of the stream; NULL where the server has none */
    uint32_t server_id;
    int64_t cursor; /* 0: the stream is not open */

    bson_t reply; /* the last batch, if has_reply */
    bool has_reply;
    bson_iter_t events; /* the event that comes next, if has_event */
    bool has_event;

    char position[FEED_POSITION_BYTES]; /* up to where all has been told */
    uint64_t told_ms;                   /* when the position was told last */

    bool pending; /* what was delivered has not been told yet: of an open transaction, or its
                     position is too long */
    bool in_transaction;
    uint64_t transaction;                       /* a hash of its session and number */
    char pending_position[FEED_POSITION_BYTES]; /* or "" */
    int64_t pending_at_us;

    bool reading;        /* a snapshot is open */
    bool snapshot_due;   /* FEED_SNAPSHOT is to be told */
    uint64_t read_until; /* the cluster's time when the reading ended: seconds, and a count */
};

/* --- mongodb_event.c -------------------------------------------------------------------------- */

/* Delivers what is there of the batch. `*stop`: the receiver wants no more now. */
int mongo_events_deliver(struct source *source, const struct source_feed_sink *sink, bool *stop,
                         struct source_error *error);

/* The batch was empty: tells of what is complete by that. `token` may be NULL. */
bool mongo_events_pause(struct mongo_feed *feed, const struct source_feed_sink *sink,
                        const bson_t *token);

/* A position of a resume token; false if it does not fit. */
bool mongo_position_of_token(const bson_t *token, char position[FEED_POSITION_BYTES]);

/* Appends what a position means to the $changeStream stage; false if it means nothing. */
bool mongo_position_append(bson_t *stage, const char *position);

#endif
