/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of refresh share, and nobody else includes.
 *
 *   refresh.c    all groups: start, change, stop, status
 *   group.c      the life of one group's thread
 *   pass.c       one pass: a database snapshot becomes a transaction of the store
 *   batch.c      rows encoded into a bounded buffer, stored batch by batch; bad rows
 *   shape.c      a table of the configuration and the database's columns become a schema
 *   watermark.c  the highest value seen, and where the next reading starts
 *   feed*.c      groups that follow their database's changes (feed.h)
 *   compare.c    whether two groups are configured alike
 *   connect.c    opening a source: class, password, options
 *   check.c      looks at all sources and tables before anything is served
 *   estimate.c   what tables will take
 *   text.c       numbers and sizes for people, names of enums
 */
#ifndef SIDEPOND_REFRESH_INTERNAL_H
#define SIDEPOND_REFRESH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/refresh/batch.h"
#include "server/refresh/refresh.h"
#include "server/refresh/watermark.h"
#include "server/source/sources.h"

typedef const struct source_class *source_finder(const char *type);

/* An open source and what it borrows. Stays where it is while it is open. */
struct connection {
    const struct source_class *class;
    struct source *source; /* NULL: closed */
    struct source_options options;
    char *password;
};

/* A configuration that lives as long as a group needs it. */
struct shared_config {
    struct config *config;
    unsigned users; /* touched by the main thread only */
};

/* Why a pass, or a session with a database, ended. */
struct failure {
    int status;
    enum refresh_failure kind;
    bool close_source; /* the connection is of no use any more */
    bool grave;        /* more than a lost connection */
    bool reload_now;   /* reading all rows over a new connection mends it */
    bool lasting;      /* the database says that trying again does not help */
    bool retry_now;    /* may be over with a new connection: nothing has been read over this one */
    const char *table; /* of the configuration; NULL: all of the group */
    uint64_t missing_rows;
    char text[SOURCE_ERROR_BYTES];
};

/* A table at run time. Its group's thread's own, but for what is marked. */
struct group_table {
    const struct config_table *config;
    struct source_table source;
    struct source_description description;
    struct schema *schema; /* NULL: not described yet */
    struct watermark mark; /* as of the last commit */
    uint64_t full_at_ms;   /* CLOCK_MONOTONIC of the last full pass; 0: none */
    bool current;          /* what was last read of it has been committed */
    uint64_t skips;        /* bad rows of the last pass */
    uint64_t named_at_ms;  /* when bad rows were last named in the log; 0: name them next time */
    bool confirmed;        /* group's lock */
    struct refresh_status status; /* group's lock */
};

enum group_state {
    GROUP_PENDING, /* its thread has not been started */
    GROUP_STARTED,
    GROUP_STOPPING
};

struct group {
    struct group *next; /* in refresh->groups */
    struct refresh *refresh;
    struct shared_config *config;
    const struct config_source *source_config;
    const char *name;
    struct group_table *tables;
    unsigned table_count;
    bool notified;          /* some table is */
    enum group_state state; /* main thread */
    pthread_t thread;
    atomic_bool finished;

    pthread_mutex_t lock; /* what follows, and what is marked in group_table */
    pthread_cond_t wake;  /* stop or now has been set; CLOCK_MONOTONIC */
    bool stop, now;
    bool held;             /* by an operator */
    uint64_t calls;        /* how often `now` was set */
    uint64_t answered;     /* calls up to this one have had their refresh */
    struct source *source; /* to be canceled; set and cleared by the thread */

    /* The thread's own. */
    uint64_t taken; /* of the calls, by the refresh that runs */
    struct connection connection;
    bool connection_used; /* a pass has succeeded over it */
    bool force_full;
    bool ever_committed;
    unsigned attempts; /* failures in a row */
    uint64_t failing_since_ms, logged_ms;
    uint64_t logged_print;
    uint64_t random;
    struct batch batch;
    struct feed *feed; /* NULL: another mode */
};

struct feed_leaver;

struct refresh {
    struct refresh_options options;
    source_finder *find_source;
    pthread_mutex_t lock; /* the list of groups, against those who come from other threads */
    struct group *groups;
    struct shared_config *config; /* the current one */
    bool drop_pending;
    bool stopping;
    pthread_mutex_t pond_lock;
    struct sp_pond *pond;
    pthread_mutex_t feeds_lock;  /* the table _feeds belongs to one transaction at a time */
    struct feed_leaver *leavers; /* with the lock of groups */
};

/* --- refresh.c --- */
void refresh_release_config(struct shared_config *shared); /* main thread */

/* --- group.c --- */
/* SP_ENOMEM. The group is pending. */
int group_new(struct refresh *refresh, struct shared_config *config, const char *name,
              struct group **out);
int group_start(struct group *group); /* SP_ESYS */
/* Asks it to end; as often as one likes, until `finished`. */
void group_stop(struct group *group);
uint64_t group_wake(struct group *group); /* how many calls that makes */
/* From now on nothing changes; until released, which also wakes it. */
void group_hold(struct group *group);
uint64_t group_release(struct group *group);
void group_free(struct group *group); /* not started, or finished and joined */
bool group_stopping(struct group *group);
bool group_held(struct group *group);
bool group_called(struct group *group); /* somebody wants something of it */
/* The tables are fresh. */
void group_succeeded(struct group *group);
void group_tell_change(struct group *group);
/* A call of the source failed: fills the failure, returns the call's status, which the source may
 * have from a sink and then need not have a word for. */
int group_source_failure(struct failure *failure, int status, const struct source_error *error);

/* --- pass.c --- */
/* How a pass differs from an ordinary one. */
struct pass_plan {
    void *context;
    /* Instead of the source's own. */
    int (*begin)(void *context, struct source_error *error);
    /* When all has been read and settled, before the commit: the transaction and the tables in it,
     * in the group's order. */
    int (*settled)(void *context, struct store_txn *txn, struct store_table *const *tables,
                   struct failure *failure);
};
/* One pass over all tables of a group. On failure nothing has changed. `plan` may be NULL. */
int pass_run(struct group *group, const struct pass_plan *plan, struct failure *failure);
/* Fills a failure of the store. */
int pass_fail_store(struct failure *failure, const char *table, int status, const char *doing);
uint64_t pass_rows_in_pond(struct refresh *refresh, const char *table);
/* Whether an operator lets it drop what it likes. */
bool pass_confirmed(struct group *group, const struct group_table *table);
/* Describes each table, and forgets what a changed shape makes void. */
int pass_describe(struct group *group, struct failure *failure);

/* --- shape.c --- */
/* What a source gets to see of a table of the configuration; borrows from it. */
void shape_source_table(const struct config_table *config, struct source_table *out);
/* SP_ECONFIG with a sentence in why. */
int shape_build(const struct config_table *config, const struct source_description *description,
                struct schema **out, char *why, size_t why_bytes);
bool shape_same(const struct source_description *a, const struct source_description *b);
void shape_log_text_columns(const struct config_table *config,
                            const struct source_description *description);

/* --- compare.c --- */
/* Whether a group's tables and source are the same in both configurations. */
bool refresh_same_group(const struct config *a, const struct config *b, const char *group);

/* --- connect.c --- */
/* `cancelable` may be NULL: see struct source_options. */
int refresh_connection_open(struct connection *connection, const struct config_source *config,
                            source_finder *find,
                            void (*cancelable)(void *context, struct source *source), void *context,
                            struct source_error *error);
void refresh_connection_close(struct connection *connection); /* also one that is closed */
/* The source's describe, if the source can do what the table's mode needs of it. */
int refresh_describe(const struct connection *connection, const struct config_table *config,
                     const struct source_table *table, struct source_description *out,
                     struct source_error *error);

/* --- text.c --- */
#define TEXT_BYTES 32
/* "3.1 GiB" and "1,234,567"; return out. */
const char *refresh_text_size(uint64_t bytes, char out[TEXT_BYTES]);
const char *refresh_text_count(uint64_t count, char out[TEXT_BYTES]);
/* Whether a source's text begins with the table's name already. */
bool refresh_text_names(const char *text, const char *table);
/* What an operator can do about a refresh of a table that max_drop holds back. */
#define ADVICE_BYTES (2 * SP_NAME_BYTES_MAX + 128)
const char *refresh_text_confirm(const char *table, char out[ADVICE_BYTES]);

#endif
