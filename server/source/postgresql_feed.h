/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_feed.h - what the files of PostgreSQL's change feed share.
 *
 *   postgresql_output.c   bytes of the replication stream -> messages         (pure)
 *   postgresql_text.c     a value in PostgreSQL's text form -> struct sp_value (pure)
 *   postgresql_json.c     an array in text form -> the JSON that to_json makes (pure)
 *   postgresql_changes.c  messages -> calls of the sink, for the tables that are followed (pure)
 *   postgresql_follow.c   check: what has to be true of the database, and what the tables are there
 *   postgresql_claim.c    whose name the follower's is
 *   postgresql_slot.c     the slot: making, looking at and dropping it, and the snapshot with it
 *   postgresql_feed.c     the stream: beginning, reading, answering, confirming
 */
#ifndef SIDEPOND_SOURCE_POSTGRESQL_FEED_H
#define SIDEPOND_SOURCE_POSTGRESQL_FEED_H

#include "server/source/postgresql.h"
#include "sidepond/source_feed.h"

#define PG_FIELDS_MAX     1664 /* columns of a row: PostgreSQL's own limit */
#define PG_NAME_BYTES     256  /* of a name with its end, whatever the server is built with */
#define PG_EPOCH_US       (INT64_C(10957) * 86400 * 1000000) /* 2000-01-01 in microseconds since 1970 */
#define PG_STATUS_MS      3000    /* at the latest after this the server hears of us */
#define PG_SENDER_TIMEOUT "60000" /* of the server, in milliseconds */
#define PG_CONFIRM_MS     100     /* at the earliest after this it hears the next confirmation */
#define PG_ASK_MS         1000    /* how often the database is asked how far it is */
#define PG_BUSY_MS        3000 /* so long a name or a slot is waited for that somebody else has */
#define PG_LOOK_MS        20   /* between two looks at it */
#define PG_FORMAT_ERROR   "what the server sends is not PostgreSQL's replication format"

/* --- postgresql_output.c ---------------------------------------------------------------------- */

/* A message of the stream: what COPY carries, with the one of pgoutput in it. */
enum pg_message {
    PG_MESSAGE_OTHER, /* nothing that concerns rows */
    PG_MESSAGE_KEEPALIVE,
    PG_MESSAGE_BEGIN,
    PG_MESSAGE_COMMIT,
    PG_MESSAGE_RELATION,
    PG_MESSAGE_INSERT,
    PG_MESSAGE_UPDATE,
    PG_MESSAGE_DELETE,
    PG_MESSAGE_TRUNCATE
};

enum pg_field_kind { PG_FIELD_NULL, PG_FIELD_UNCHANGED, PG_FIELD_TEXT };

struct pg_field {
    enum pg_field_kind kind;
    uint32_t size;
    const unsigned char *data;
};

struct pg_tuple {
    char kind; /* 'N' new, 'K' old key, 'O' all of the old row, 0: none */
    unsigned count;
    struct pg_field fields[PG_FIELDS_MAX];
};

struct pg_relation_column {
    const char *name;
    bool in_identity; /* of the replica identity */
    Oid type;
    int32_t modifier;
};

struct pg_output {
    enum pg_message kind;
    uint64_t lsn;       /* KEEPALIVE: sent up to here; BEGIN: of the commit's record; COMMIT: its
                           end */
    int64_t time_us;    /* since 1970: of the keepalive, of the commit */
    bool answer;        /* KEEPALIVE: the server wants to hear of us now */
    uint32_t xid;       /* BEGIN */
    uint32_t relation;  /* RELATION, INSERT, UPDATE, DELETE */
    const char *schema; /* RELATION */
    const char *name;   /* RELATION */
    unsigned count;     /* RELATION: of columns; TRUNCATE: of relations */
    struct pg_tuple old, new;
    struct pg_relation_column columns[PG_FIELDS_MAX];
    const unsigned char *relations; /* TRUNCATE: uint32 each, see pg_output_truncated */
};

/* Reads one message; what `out` points to is in it. False: it is not of that format. */
bool pg_output_read(const void *message, size_t bytes, struct pg_output *out);

/* The i-th relation of a TRUNCATE. */
uint32_t pg_output_truncated(const struct pg_output *output, unsigned i);

/* "16/B374D848" and back. */
#define PG_LSN_BYTES 24
void pg_lsn_text(uint64_t lsn, char out[PG_LSN_BYTES]);
bool pg_lsn_read(const char *text, uint64_t *out);

/* A position: "16/B374D848@1" is that place in the log of timeline 1. */
#define PG_POSITION_BYTES 40
void pg_position_text(uint64_t lsn, uint32_t timeline, char out[PG_POSITION_BYTES]);
bool pg_position_read(const char *text, uint64_t *lsn, uint32_t *timeline);

/* Whether a timeline with this history has in it what `timeline` had up to a place. */
bool pg_history_has(const char *history, uint32_t timeline, uint64_t lsn);

/* --- postgresql_text.c, postgresql_json.c ----------------------------------------------------- */

/* How a column's text has to be read. */
struct pg_form {
    Oid type; /* of the column or, of an array, of its elements; never a domain */
    bool is_array;
    char delimiter; /* between elements */
};

/* As pg_value, and with the same outcome, for a value in text form. `type`: what it is to become.
 */
const char *pg_text_value(const struct pg_form *form, enum sp_type type, const unsigned char *data,
                          size_t bytes, struct source_scratch *scratch, struct sp_value *out);

/* The JSON of an array into the scratch. Returns NULL, or why it cannot be had. */
const char *pg_array_json(const struct pg_form *form, const unsigned char *data, size_t bytes,
                          struct source_scratch *scratch, size_t *json_bytes);

/* --- postgresql_changes.c --------------------------------------------------------------------- */

struct pg_followed_column {
    char name[PG_NAME_BYTES];
    enum sp_type type;
    bool nullable;
    Oid declared; /* the type in the catalog, which may be a domain */
    int32_t modifier;
    struct pg_form form;
};

/* What the database says when it is asked about a table. */
struct pg_asked {
    unsigned table;
    uint64_t lsn;                   /* how far its log was */
    int64_t time_us;                /* by its clock, since 1970 */
    char definition[40], files[40]; /* digests */
    bool partitioned;
    uint32_t written_by; /* the transaction that has changed all its partitions last, or 0 */
    bool truncated;      /* the stream had told so when it was asked */
};

/* A table that is followed, as check() found it. */
struct pg_followed {
    char *table;  /* its name in the pond */
    char *schema; /* and where it is */
    char *name;
    char *filter;          /* the publication's row filter, or NULL */
    struct pg_asked asked; /* how it is defined, as far as the stream has been read */
    Oid relation;
    bool every_column; /* a new column concerns us */
    unsigned column_count;
    struct pg_followed_column *columns;
    unsigned key_count;
    unsigned *key; /* positions of the key in `columns` */
    int *fields; /* for each column the field of the stream, from the last RELATION; -1: none yet */
    bool mapped;
    uint32_t truncated_by; /* the transaction, since its definition was looked at; 0: none */
    bool reshaped;         /* was told: nothing more of it is delivered */
    struct sp_value *values, *old_key;
    bool *absent;
    struct source_scratch *scratch; /* one for each column, then one for each key column */
};

struct pg_changes {
    unsigned count;
    struct pg_followed *tables;
    uint32_t xid; /* of the transaction that is told */
};

/* The memory for values, once columns and key are known. SP_ENOMEM. */
int pg_followed_alloc(struct pg_followed *table);
void pg_changes_free(struct pg_changes *changes);

/* Delivers one message about rows or relations. `*any` becomes true if it concerned a table. */
int pg_changes_deliver(struct pg_changes *changes, const struct pg_output *message,
                       const struct source_feed_sink *sink, bool *any, struct source_error *error);

/* --- the feed of a source --------------------------------------------------------------------- */

struct pg_feed {
    char name[64], slot[64],
        publication[64]; /* the slot's name is the follower's, or a random one */
    bool temporary;
    bool claimed; /* the name is ours while source->conn is open */
    bool made;    /* a temporary slot, over `stream` */
    struct pg_changes changes;
    PGconn *stream;    /* replication=database */
    bool streaming;    /* START_REPLICATION was given */
    bool open;         /* between snapshot() and end() */
    bool waiting;      /* for the snapshot's position */
    bool paused;       /* there, until end() */
    bool inside;       /* of a transaction */
    bool any;          /* of it concerned a table */
    bool delivered;    /* something, since next() began to */
    bool answer;       /* the server wants to hear of us */
    uint32_t timeline; /* of the server */
    uint64_t snapshot_lsn;
    uint64_t received_lsn;  /* all up to here was delivered */
    uint64_t confirmed_lsn; /* is safe */
    uint64_t told_lsn;      /* the last confirmed_lsn the server heard of */
    uint64_t told_ms;       /* when */
    uint64_t asked_ms;      /* when the database was asked how far it is */
    uint64_t asked_at_lsn;  /* received_lsn then */
    struct pg_asked asked;  /* what it said; lsn 0: the stream has come to there */
    char *held;             /* a message that comes after the snapshot's position */
    size_t held_bytes;
    struct pg_output message;
};

/* Makes statements go over another connection; returns the one before. */
static inline PGconn *pg_use(struct source *source, PGconn *conn)
{
    PGconn *before = source->conn;
    source->conn = conn;
    return before;
}

/* postgresql_follow.c */
int pg_feed_check(struct source *source, const struct source_feed_options *options,
                  const struct source_table *tables,
                  const struct source_description *const *descriptions, unsigned count,
                  char *stream, struct source_error *error);

/* How table i is defined now. `out` is the answer before if the stream has not come to it. */
int pg_follow_ask(struct source *source, unsigned i, struct pg_asked *out,
                  struct source_error *error);

/* postgresql_claim.c: a follower of this name there is only one of. SP_EBUSY, after a moment, if
 * there is another: then the text says who. */
int pg_claim_look(struct source *source, const char *name, struct source_error *error);
int pg_claim_take(struct source *source, struct source_error *error);

/* SP_EBUSY, with a text that says what has the name: `what` ("the replication slot x"), and `pid`
 * of the server. */
int pg_claim_refused(struct source *source, const char *name, const char *pid,
                     struct source_error *error);

/* postgresql_slot.c */
int pg_feed_snapshot(struct source *source, char *position, struct source_error *error);
int pg_feed_lag(struct source *source, uint64_t *bytes, struct source_error *error);
int pg_feed_drop(struct source *source, const struct source_feed_options *options,
                 struct source_error *error);

/* Of a slot that is gone with its connection: nobody else has this name. */
#define PG_SLOT_BYTES 64
void pg_slot_name(const char *follower, char out[PG_SLOT_BYTES]);

/* Waits a moment until nobody has the slot. SP_EBUSY if somebody keeps it, SP_ECONFIG if it is not
 * one for us. */
int pg_slot_free(struct source *source, struct source_error *error);

/* Whether the slot can deliver what follows the position: SP_ENOTFOUND if not. */
int pg_slot_check(struct source *source, uint64_t lsn, struct source_error *error);

/* Opens the connection for the stream if it is not open. */
int pg_stream_open(struct source *source, struct source_error *error);

/* postgresql_feed.c */
extern const struct source_feed_class pg_feed;
int pg_feed_new(struct source *source, const struct source_feed_options *options,
                struct source_error *error);
void pg_feed_free(struct pg_feed *feed);

#endif
