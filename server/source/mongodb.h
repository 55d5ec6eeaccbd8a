/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb.h - what the files of the MongoDB source share.
 */
#ifndef SIDEPOND_SOURCE_MONGODB_H
#define SIDEPOND_SOURCE_MONGODB_H

#include <mongoc/mongoc.h>

#include "server/source/source_internal.h"

#define MONGO_DOCUMENT "document" /* the name of the last column */

#define MONGO_REACHED_MAX 64 /* a replica set has 50 members */

struct source {
    const struct source_options *options;
    mongoc_uri_t *uri;
    mongoc_client_t *client;
    mongoc_client_session_t *session; /* of the running snapshot, or NULL */
    struct mongo_feed *feed;          /* what is followed, or NULL */
    struct waker waker;
    uint64_t deadline_ms; /* of the running call; 0: none */
    bool canceled;        /* a wait was ended by cancel: all that follow fail too */
    bool late;            /* a wait was ended by the deadline */
    bool broken;          /* a call failed in the middle: of no more use */
    bool probing;         /* no document is looked at: what fails is what was asked for */
    bool has_sessions;
    bool is_cluster;    /* a replica set or a sharded cluster: knows majority */
    bool is_sharded;    /* the latter */
    bool joins_inserts; /* several inserts of one command are one entry of its log */
    bool tells_capped;  /* that documents fall out of capped collections */
    bool has_snapshots; /* and can read several collections as of one moment */
    char set_name[128]; /* of the replica set, or "" */

    /* Hosts, each a hash, to which there was a connection. */
    uint64_t reached[MONGO_REACHED_MAX];
    unsigned reached_count;
};

/* --- mongodb.c -------------------------------------------------------------------------------- */

/* Arms the deadline; fails if the connection is of no more use. Each call from outside begins so.
 */
int mongo_call_begin(struct source *source, struct source_error *error);

/* What an error of libmongoc or of the server is worth. `table` may be NULL. */
int mongo_failed(struct source *source, const struct source_table *table, const bson_error_t *why,
                 struct source_error *error);

/* Whether the server says that it does not understand what it was sent. */
bool mongo_is_nonsense(const bson_error_t *why);

/* begin() and end(). */
int mongo_begin(struct source *source, struct source_error *error);
int mongo_end(struct source *source, struct source_error *error);

/* The read concern that the URI asks for, or NULL. */
const char *mongo_read_concern(const struct source *source);

/* The password that the client's own key (tlsCertificateKeyFile) is kept under: where no user has
 * one; or "". */
const char *mongo_key_password(const struct source *source);

/* A command that reads and its reply, to be destroyed also after a failure. */
int mongo_command(struct source *source, const struct source_table *table, const char *database,
                  const bson_t *command, bson_t *reply, struct source_error *error);

/* --- mongodb_wire.c: connections of ours under libmongoc -------------------------------------- */

/* Connects; every wait of what it returns watches the waker and the deadline of the source. */
mongoc_stream_t *mongo_wire_open(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                 void *source, bson_error_t *error);

/* --- mongodb_describe.c ----------------------------------------------------------------------- */

/* What is read of a collection. */
struct mongo_select {
    char database[64];
    char collection[256];
    bson_t *filter;     /* of the table's `where`, or NULL */
    bson_t *pipeline;   /* of the table's `query`, an array, or NULL */
    bson_t *projection; /* of the table's `columns`, or NULL */
};

int mongo_select_make(struct source *source, const struct source_table *table,
                      struct mongo_select *out, struct source_error *error);
void mongo_select_free(struct mongo_select *select);

/* Of a list that ends with NULL; NULL is an empty one. */
unsigned mongo_count_names(const char *const *names);

int mongo_describe(struct source *source, const struct source_table *table,
                   struct source_description *out, struct source_error *error);

/* --- mongodb_value.c: documents as rows ------------------------------------------------------- */

/* Memory of one column: the type byte and the bytes of its value. */
struct mongo_scratch {
    unsigned char *bytes;
    size_t cap;
};

/* One document as a row: its fields and, last, itself. Borrowed until the next. */
struct mongo_row {
    const struct source_description *description;
    unsigned key_count; /* the first columns are the key's */
    struct sp_value *values;
    struct mongo_scratch *scratch;
};

/* SP_ENOMEM; to be closed also then. A zeroed one may be closed too. */
int mongo_row_open(struct mongo_row *row, const struct source_table *table,
                   const struct source_description *description);
void mongo_row_close(struct mongo_row *row);

/* Fills the values. SP_OK, also for a document that cannot be a row: `*why` then says why, and
 * `*column` which one is to blame. SP_ENOMEM. */
int mongo_row_fill(struct mongo_row *row, const bson_t *document, unsigned *column,
                   const char **why);

/* Whether a document is well formed, its names UTF-8, and no deeper than Sidepond reads. libbson's
 * own check goes as deep as a document does, until the stack is full. */
bool mongo_is_valid(const bson_t *document);

/* Appends a value as a column holds it, or fails. */
bool mongo_append(bson_t *to, const char *key, const struct sp_value *value);

/* --- mongodb_stream.c ------------------------------------------------------------------------- */

/* Appends the read concern majority to the options of a find or aggregate. */
void mongo_append_majority(bson_t *options);

int mongo_stream(struct source *source, const struct source_table *table,
                 const struct source_description *description, const struct sp_value *since,
                 const struct source_sink *sink, struct source_error *error);

/* --- mongodb_feed.c --------------------------------------------------------------------------- */

extern const struct source_feed_class mongo_feed_class;

/* The reading of a snapshot has ended. */
int mongo_feed_read(struct source *source, struct source_error *error);

void mongo_feed_free(struct source *source);

#endif
