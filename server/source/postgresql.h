/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql.h - what the files of the PostgreSQL source share.
 */
#ifndef SIDEPOND_SOURCE_POSTGRESQL_H
#define SIDEPOND_SOURCE_POSTGRESQL_H

#include <libpq-fe.h>

#include "server/source/source_internal.h"

struct pg_feed;

struct source {
    const struct source_options *options;
    PGconn *conn;
    struct waker waker;
    uint64_t deadline_ms; /* of the running call; 0: none */
    char sqlstate[6];     /* of the statement that failed last in this call, or "" */
    char last_words[256]; /* what the server said before it closed the connection, or "" */
    bool broken;          /* a call was left in the middle: the connection cannot be used again */
    struct pg_feed *feed; /* from its first call on; postgresql_feed.h */
};

/* --- postgresql.c: statements, each of which ends early when canceled or out of time --------- */

/* Arms the deadline; fails if the connection is of no more use. Each call from outside begins so.
 */
int pg_call_begin(struct source *source, struct source_error *error);

/* Sends a statement with text parameters and returns its result, which is not an error. With NULL
 * for `params` it may be several statements; the result is the last one's. `table` may be NULL. */
int pg_query(struct source *source, const struct source_table *table, const char *sql,
             const char *const *params, int param_count, PGresult **out,
             struct source_error *error);

/* Whether a result has at least so many rows, and exactly so many columns. A server of another
 * make, or a proxy, need not answer as PostgreSQL does. */
int pg_demand(struct source *source, const PGresult *result, int rows, int columns,
              struct source_error *error);

/* The names and types that a statement would return. */
int pg_describe_sql(struct source *source, const struct source_table *table, const char *sql,
                    PGresult **out, struct source_error *error);

/* Waits until the server has said something, and reads it. */
int pg_wait_input(struct source *source, struct source_error *error);

/* The rest of what a statement returns, up to its end; for after COPY. */
int pg_finish(struct source *source, const struct source_table *table, PGresult **out,
              struct source_error *error);

/* What a lost connection, and what the server's error, is worth. */
int pg_connection_failed(struct source *source, const char *what, struct source_error *error);

/* A connection for the replication protocol, beside source->conn. */
int pg_connect_replication(struct source *source, PGconn **out, struct source_error *error);

/* --- postgresql_feed.c: what the others do for a feed; it may be NULL ------------------------- */

/* Lets the server know that its feed is still wanted, if that is due. Returns the milliseconds to
 * the next time, or -1. To be called whenever something else takes long. */
int pg_feed_upkeep(struct pg_feed *feed);

/* The snapshot has been read. */
void pg_feed_resume(struct pg_feed *feed);

/* --- postgresql_describe.c -------------------------------------------------------------------- */

/* The name of a relation as SQL has it. */
void pg_put_relation(struct sql_text *sql, const char *relation);

/* A SELECT whose binary rows postgresql_value.c decodes. */
struct pg_select {
    struct sql_text sql; /* ends after WHERE (...) if there is a condition */
    bool has_where;
    const struct source_column *watermark; /* in the description, or NULL */
    bool watermark_ordered; /* the order of its values here is the order of its type there */
    struct source_description description;
    Oid *types; /* of each column, as they arrive */
};

int pg_select_make(struct source *source, const struct source_table *table, struct pg_select *out,
                   struct source_error *error);
void pg_select_free(struct pg_select *select);

int pg_describe(struct source *source, const struct source_table *table,
                struct source_description *out, struct source_error *error);

/* --- postgresql_stream.c ---------------------------------------------------------------------- */

int pg_stream(struct source *source, const struct source_table *table,
              const struct source_description *description, const struct sp_value *since,
              const struct source_sink *sink, struct source_error *error);

/* --- postgresql_value.c ----------------------------------------------------------------------- */

/* Types that are known here by their numbers, which are the same everywhere. */
enum pg_oid {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_CHAR = 18,
    PG_NAME = 19,
    PG_INT8 = 20,
    PG_INT2 = 21,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_OID = 26,
    PG_JSON = 114,
    PG_XML = 142,
    PG_CIDR = 650,
    PG_FLOAT4 = 700,
    PG_FLOAT8 = 701,
    PG_INET = 869,
    PG_BPCHAR = 1042,
    PG_VARCHAR = 1043,
    PG_DATE = 1082,
    PG_TIMESTAMP = 1114,
    PG_TIMESTAMPTZ = 1184,
    PG_NUMERIC = 1700,
    PG_UUID = 2950,
    PG_JSONB = 3802,
};

/* The type of a pond's column for one of those; false if it is another. */
bool pg_type(Oid oid, enum sp_type *type);

/* Decodes a field that is not NULL. Returns NULL, or why it cannot be had. */
const char *pg_value(Oid oid, const unsigned char *data, size_t bytes,
                     struct source_scratch *scratch, struct sp_value *out);

/* --- postgresql_copy.c ------------------------------------------------------------------------ */

/* Messages of COPY in binary form, decoded and given to a sink. */
struct pg_copy {
    const struct source_description *description;
    const Oid *types;
    const struct source_sink *sink;
    struct sp_value *values;
    struct source_scratch *scratch; /* one for each column */
    bool header_seen;
};

/* SP_ENOMEM; to be closed also then. A zeroed one may be closed too. */
int pg_copy_open(struct pg_copy *copy, const struct source_description *description,
                 const Oid *types, const struct source_sink *sink);
void pg_copy_close(struct pg_copy *copy);

/* One message. False: it is not of that format. `*status` is the sink's. */
bool pg_copy_message(struct pg_copy *copy, const void *data, size_t bytes, int *status);

#endif
