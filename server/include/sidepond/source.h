/* SPDX-License-Identifier: Apache-2.0
 *
 * source.h - what a database must be able to do to fill a pond.
 *
 * A source is one connection (or file handle) to one database, used by one refresh group in one
 * thread; only cancel() may be called from another thread. It knows columns and values, but nothing
 * of the pond. Rows stream: a source never holds more than it must to decode one row or one
 * protocol buffer.
 *
 *   open -> describe (each table) -> begin -> stream (each table) -> end -> wait -> begin ... close
 *
 * Every function returns a status (sidepond/status.h) and on failure fills the error: SP_ESOURCE
 * (`transient` says whether trying again can help), SP_ECONFIG (what was asked does not exist
 * there, or may not be read: names table and column), SP_ECANCELED, SP_ENOMEM. After a failure of
 * begin, stream or end, and after any call but wait was canceled, the caller closes the source and
 * opens a new one later. docs/SOURCES.md says what each source can do, and how to write another.
 */
#ifndef SIDEPOND_SOURCE_H
#define SIDEPOND_SOURCE_H

#include "sidepond/status.h"
#include "sidepond/value.h"

#define SOURCE_ERROR_BYTES 512

struct source;            /* private to the files of its kind of database */
struct source_feed_class; /* sidepond/source_feed.h */

struct source_error {
    int status;
    bool transient;                /* worth another try with the same configuration */
    char text[SOURCE_ERROR_BYTES]; /* a sentence; never holds a password or a row's data */
};

/* Where the database is (from the configuration; strings are borrowed for the source's life). */
struct source_options {
    const char *name;     /* the source's name in the configuration, for messages */
    const char *type;     /* "sqlite", "postgresql", "mariadb", "mysql", "mongodb", "module" */
    const char *path;     /* sqlite: the file */
    const char *dsn;      /* postgresql: a libpq connection string or URI without password, or "";
                             mariadb, mysql, mongodb: a URI without password; module: whatever it
                             takes, or "" */
    const char *password; /* resolved from file or environment; NULL if there is none */
    uint32_t connect_timeout_ms;   /* 0: none */
    uint32_t statement_timeout_ms; /* of one call, the receiver's time included; 0: none */

    /* Optional. Told of the source as soon as it can be canceled, before open waits for anything,
     * and told NULL before a failing open frees it. A lock in it, shared with whoever calls
     * cancel(), is all that is needed to end an open from another thread. */
    void (*cancelable)(void *context, struct source *source);
    void *cancelable_context;
};

/* What of it becomes one table of the pond. */
struct source_table {
    const char *name;     /* the pond's table, for messages */
    const char *relation; /* table or view, in its own case; PostgreSQL: also schema.table, MariaDB:
                             database.table, with quotes around a part that has a point; MongoDB: a
                             collection, also as database.collection; NULL if `query` is given, not
                             for MongoDB */
    const char *query;    /* a SELECT; NULL if `relation` is given. MongoDB: a pipeline on it */
    const char *const *columns; /* NULL-terminated; NULL: all of them */
    const char *where;          /* SQL condition, MongoDB: filter in extended JSON; or NULL */
    const char *watermark;      /* column that only grows with changes, or NULL */
    const char *const *key;     /* NULL-terminated names of the key columns */
    const char *const *fields; /* MongoDB: NULL-terminated paths of what becomes a column beside the
                                  key, for indexes; or NULL */
    const char *channel;       /* PostgreSQL: LISTEN channel; NULL: sidepond_NAME */
};

struct source_column {
    char name[256];
    char native_type[128]; /* as the database calls it */
    enum sp_type type;     /* what it arrives as */
    bool nullable;
    bool as_text; /* of a type that Sidepond has no own type for: arrives as text */
};

/* The outcome of describe: columns in the order in which stream delivers their values. */
struct source_description {
    unsigned column_count;
    struct source_column *columns; /* from malloc: the caller frees them */
    int64_t row_estimate;          /* -1 if unknown */
    int64_t byte_estimate;         /* of the values, -1 if unknown */
};

/* Who takes the rows. `row` gets one value for each column described, exactly of the described type
 * or, in a nullable column, NULL; borrowed until it returns. Anything but SP_OK stops the stream,
 * which returns that status. `bad_row` gets what could not be decoded (broken encoding, a value of
 * another type than declared, which SQLite allows; NULL where it is declared not to be): the values
 * are there as far as they could be read, the others are NULL; `column` is the first of these,
 * `why` is a phrase without the row's data. It decides by returning SP_OK (skip) or a status
 * (stop). */
struct source_sink {
    void *context;
    int (*row)(void *context, const struct sp_value *values, unsigned count);
    int (*bad_row)(void *context, const struct sp_value *values, unsigned count, unsigned column,
                   const char *why);
};

enum source_feature {
    SOURCE_CAN_NOTIFY = 1 << 0,    /* wait() wakes on changes */
    SOURCE_CAN_WATERMARK = 1 << 1, /* stream takes a watermark */
};

struct source_class {
    const char *type; /* as in the configuration */
    unsigned features;

    int (*open)(const struct source_options *options, struct source **out,
                struct source_error *error);

    /* Columns of a table. Checks that table, columns, key and watermark exist and can be read. */
    int (*describe)(struct source *source, const struct source_table *table,
                    struct source_description *out, struct source_error *error);

    /* Starts one read-only snapshot transaction of the database, for all tables of a group. */
    int (*begin)(struct source *source, struct source_error *error);

    /* Streams the table's rows (described before), in no order. `since` not NULL, of the watermark
     * column's described type: only rows whose watermark is >= it (the overlap is subtracted by the
     * caller), so none whose watermark is NULL. SP_ECONFIG if the columns are no longer what was
     * described (the caller describes anew). */
    int (*stream)(struct source *source, const struct source_table *table,
                  const struct source_description *description, const struct sp_value *since,
                  const struct source_sink *sink, struct source_error *error);

    int (*end)(struct source *source, struct source_error *error);

    /* listen, wait and check: of sources that can notify only.
     * Asks to be told of changes of these tables (before the first begin, so nothing is missed). */
    int (*listen)(struct source *source, const struct source_table *tables, unsigned count,
                  struct source_error *error);

    /* Waits until something may have changed since the last begin or the last change told, at most
     * timeout_ms; not inside a transaction. `*changed` says whether: a burst is told once. */
    int (*wait)(struct source *source, uint32_t timeout_ms, bool *changed,
                struct source_error *error);

    /* Optional. Inside of a snapshot: whether a table may have changed since the last snapshot over
     * this source in which it was streamed or found unchanged. To be asked of each table in each
     * snapshot, before it is streamed; false is a promise. */
    int (*changed)(struct source *source, const struct source_table *table, bool *changed,
                   struct source_error *error);

    /* Optional. Asks the database whether it is still there, at the cost of a round trip: whoever
     * only waits for notifications does not learn that they cannot come any more. Without it, a
     * wait that ends well is enough. Not inside a transaction. */
    int (*check)(struct source *source, struct source_error *error);

    /* Makes a running or the next call return SP_ECANCELED soon. From any thread, any number of
     * times; not from a signal handler. */
    void (*cancel)(struct source *source);

    void (*close)(struct source *source);

    const struct source_feed_class *feed; /* NULL: cannot tell its changes one by one */
};

/* --- sources that are not built in ------------------------------------------------------------ */

/* A shared object that defines this, under the name SOURCE_MODULE_SYMBOL:
 *
 *     const struct source_module sidepond_source = {SOURCE_INTERFACE, &my_class};
 *
 * is a source, for which the configuration says `type: module` and `module: PATH`. It needs this
 * header and what it includes; functions of the daemon cannot be linked. Its threads, signals and
 * output are the daemon's own affair no more than those of a library. */
#define SOURCE_INTERFACE     1 /* changes when a module would have to be built anew */
#define SOURCE_MODULE_SYMBOL "sidepond_source"

struct source_module {
    unsigned interface;
    const struct source_class *class;
};

#endif
