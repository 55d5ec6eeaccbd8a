/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb.h - what the files of the MariaDB source share.
 */
#ifndef SIDEPOND_SOURCE_MARIADB_H
#define SIDEPOND_SOURCE_MARIADB_H

#include <mysql.h>

#include "server/source/source_internal.h"
#include "sidepond/source_feed.h"

/* --- mariadb_uri.c: where the server is ------------------------------------------------------- */

struct maria_uri {
    char *text;       /* owns all strings below */
    const char *user; /* NULL where not given, as all of them */
    const char *host;
    const char *database;
    const char *socket;
    const char *ssl_ca, *ssl_capath, *ssl_cert, *ssl_key, *ssl_cipher, *ssl_crl;
    unsigned port;      /* 0: not given */
    bool tls;           /* nothing is sent without TLS */
    bool verify_server; /* the certificate must be for this host, too */
};

/* Takes a URI apart. SP_ECONFIG with a text that quotes nothing of it; to be freed also then. */
int maria_uri_parse(const char *name, const char *dsn, struct maria_uri *out,
                    struct source_error *error);
void maria_uri_free(struct maria_uri *uri);

/* --- mariadb_connect.c ------------------------------------------------------------------------ */

enum maria_cut { CUT_NOT, CUT_CANCELED, CUT_OUT_OF_TIME };

struct source {
    const struct source_options *options;
    struct maria_uri uri;
    MYSQL *conn;
    struct waker waker;
    struct waker *wake; /* its own, or that of the source which a second connection belongs to */
    struct maria_feed *feed; /* mariadb_feed.c; NULL until it is asked for */
    atomic_int feed_fd;      /* cancel() shuts it down; -1: the log is not being read */
    uint64_t deadline_ms;    /* of the running call; 0: none */
    enum maria_cut cut;      /* why the library is told that it waits in vain */
    bool connected;
    bool running; /* the server may be at work for us */
    bool broken;  /* a call was left in the middle: the connection cannot be used again */
};

/* Connects within connect_timeout and prepares the session. */
int maria_connect(struct source *source, struct source_error *error);

/* Nothing is sent or read any more: what is still to do with the connection does not wait. */
void maria_abandon(struct source *source);

/* Ends the connection, and the statement that may still run at the server. */
void maria_disconnect(struct source *source);

/* --- mariadb_query.c: statements, each of which ends early when canceled or out of time ------- */

/* Arms the deadline; fails if the connection is of no more use. Each call from outside begins so.
 */
int maria_call_begin(struct source *source, struct source_error *error);

/* Waits for what a suspended call of libmariadb waits for (MYSQL_WAIT_...); returns with what it
 * goes on: MYSQL_WAIT_TIMEOUT makes it give up. */
int maria_wait(struct source *source, int wanted);

/* Sends a statement and waits for the head of its answer. `table` may be NULL. */
int maria_send(struct source *source, const struct source_table *table, const char *sql,
               struct source_error *error);

/* The same, and fetches all of its rows (NULL: there are none, or they are not wanted). */
int maria_query(struct source *source, const struct source_table *table, const char *sql,
                MYSQL_RES **out, struct source_error *error);

/* The account that the server takes us for, as GRANT has it: 'sidepond'@'%'. */
void maria_account(struct source *source, char *out, size_t cap);

/* What a failed call, a lost connection, and the server's error, is worth. */
int maria_failed(struct source *source, const struct source_table *table,
                 struct source_error *error);

/* --- mariadb_value.c -------------------------------------------------------------------------- */

/* How the text of a field is read. */
enum maria_form {
    FORM_INT,
    FORM_BOOL, /* text */
    FORM_BIT,  /* the bits as bytes, the first one highest */
    FORM_NUMERIC,
    FORM_FLOAT,
    FORM_TEXT,
    FORM_BYTES,
    FORM_JSON,
    FORM_UUID,
    FORM_TIME, /* of a date, datetime or timestamp */
};

/* Type and form of a field of a result. */
enum maria_form maria_type(const MYSQL_FIELD *field, enum sp_type *type, bool *as_text);

/* What the server calls the type of a field, as far as a result tells it. */
const char *maria_type_name(const MYSQL_FIELD *field);

/* Memory of one column for values that are not written as they arrive. */
struct maria_scratch {
    char bytes[24];
};

/* Decodes a field that is not NULL; may give NULL (a date that is all zeros). Returns NULL, or why
 * it cannot be had. */
const char *maria_value(enum maria_form form, enum sp_type type, const char *data, size_t bytes,
                        struct maria_scratch *scratch, struct sp_value *out);

/* --- mariadb_describe.c ----------------------------------------------------------------------- */

/* A SELECT whose rows mariadb_value.c decodes. */
struct maria_select {
    struct sql_text sql; /* ends after WHERE (...) if there is a condition */
    bool has_where;
    const struct source_column *watermark; /* in the description, or NULL */
    bool watermark_ordered; /* the order of its values here is the order of its type there */
    struct source_description description;
    enum maria_form *forms; /* of each column */
};

int maria_select_make(struct source *source, const struct source_table *table,
                      struct maria_select *out, struct source_error *error);
void maria_select_free(struct maria_select *select);

int maria_describe(struct source *source, const struct source_table *table,
                   struct source_description *out, struct source_error *error);

/* database.table or table, without its quotes; the database is empty where it is not given. */
void maria_split_relation(const char *relation, struct sql_text *database, struct sql_text *table);

/* A string in quotes, as this session reads it. */
void maria_put_string(struct source *source, struct sql_text *sql, const char *text, size_t bytes);

/* --- mariadb_stream.c ------------------------------------------------------------------------- */

int maria_stream(struct source *source, const struct source_table *table,
                 const struct source_description *description, const struct sp_value *since,
                 const struct source_sink *sink, struct source_error *error);

/* --- mariadb_feed.c --------------------------------------------------------------------------- */

extern const struct source_feed_class maria_feed_class;

/* The snapshot is over: what the feed holds back goes on. */
void maria_feed_release(struct source *source);
void maria_feed_close(struct source *source);

#endif
