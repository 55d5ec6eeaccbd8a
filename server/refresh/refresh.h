/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh.h - keeps the pond's tables as the databases have them.
 *
 * One thread for each refresh group (tables with the same `group`): one connection, one snapshot of
 * the database, one transaction of the store, so the group's tables change together. A group that
 * fails keeps the old data, says so, tries again later, and disturbs no other group.
 * docs/REFRESH.md tells the rules.
 *
 * Threads: all functions but refresh_check and refresh_estimate belong to one thread (the daemon's
 * main loop), except those marked "any thread". Nothing here waits for a database, but where said.
 */
#ifndef SIDEPOND_REFRESH_H
#define SIDEPOND_REFRESH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "server/config/config.h"
#include "server/store/store.h"
#include "sidepond/source.h"

struct refresh;

struct refresh_options {
    struct store *store;
    const char *directory; /* of the pond, to read what it holds */
    const struct source_class *(*find_source)(const char *type); /* NULL: source_find */
    /* Told after each refresh and failure, in the group's thread; NULL: nobody. */
    void (*on_change)(void *context);
    void *context;
    bool damaged;           /* rows of the pond are gone: feeds compare all rows first */
    uint32_t feed_taken_ms; /* how long a name that is taken is waited for; 0: 75 s */
    /* How often feeds ask what the database keeps for them; 0: every 5 s while they follow, every
     * 60 s while they do not. */
    uint32_t feed_look_ms;
};

int refresh_new(const struct refresh_options *options, struct refresh **out);

/* From now on the tables are those of this configuration, which it owns from here on, also on
 * failure (SP_ENOMEM: then nothing has changed). Groups that are configured as before go on
 * undisturbed; others are asked to end, and refresh_tick starts the new ones when they have. */
int refresh_apply(struct refresh *refresh, struct config *config);

/* The configuration in use, NULL before the first; until the next apply. */
const struct config *refresh_config(const struct refresh *refresh);

/* Carries on what apply and stop began: call it a few times a second. True when all of it is done.
 */
bool refresh_tick(struct refresh *refresh);

/* Asks all groups to end; refresh_tick says when they have. */
void refresh_stop(struct refresh *refresh);

/* After refresh_tick said that the stop is done. */
void refresh_free(struct refresh *refresh); /* NULL is fine */

/* Begins a full refresh of a table's group now, or of all (NULL) that no operator holds. `ticket`
 * (may be NULL, is not set for all) is for refresh_ended. SP_ENOTABLE. Any thread. */
int refresh_now(struct refresh *refresh, const char *table, uint64_t *ticket);

/* Lets the table's next refresh drop as many rows as it likes if it is held back for that, and
 * begins it. SP_ENOTABLE; SP_EINVAL: no refresh of this table is held, by max_drop or an operator.
 * Any thread. */
int refresh_confirm(struct refresh *refresh, const char *table, uint64_t *ticket);

/* Lets the table's group as it is, until one of its tables is refreshed or confirmed by name or the
 * daemon ends: tables of a group change together, so they are held together. A refresh that runs
 * is given up unless it is being committed. SP_ENOTABLE. Any thread. */
int refresh_hold(struct refresh *refresh, const char *table);

/* The pond as its readers see it, for whoever reports on it; NULL while nothing has been committed.
 * Belongs to the refresh. Any thread. */
struct sp_pond *refresh_pond(struct refresh *refresh);

/* Whether a table of that pond (NULL: none) has ever been committed, by any daemon. A pass that has
 * only begun has the table's name in the pond, but nothing to read. Any thread. */
bool refresh_table_loaded(struct sp_pond *pond, const char *name, struct sp_table **out);

/* --- status -------------------------------------------------------------------------------- */

/* Why a row was skipped; names are the values of the metric's label. */
#define REFRESH_SKIP_LIST(X)                                                                       \
    X(NULL_KEY, "null_key")                                                                        \
    X(DUPLICATE_KEY, "duplicate_key")                                                              \
    X(TOO_LARGE, "too_large")                                                                      \
    X(UNDECODABLE, "undecodable")                                                                  \
    X(NULL_VALUE, "null_value")
enum refresh_skip {
#define REFRESH_SKIP_ENUM(name, text) REFRESH_SKIP_##name,
    REFRESH_SKIP_LIST(REFRESH_SKIP_ENUM)
#undef REFRESH_SKIP_ENUM
        REFRESH_SKIP_COUNT
};
extern const char *const refresh_skip_names[REFRESH_SKIP_COUNT];

/* Why a refresh failed. */
#define REFRESH_FAILURE_LIST(X)                                                                    \
    X(SOURCE, "source") /* the database: down, slow, refuses */                                    \
    X(CONFIG, "config") /* what is configured is not there */                                      \
    X(DATA, "data")     /* a bad row, and on_bad_row: fail */                                      \
    X(SPACE, "space")   /* does not fit */                                                         \
    X(DROP, "drop")     /* would drop more than max_drop */                                        \
    X(INTERNAL, "internal")
enum refresh_failure {
#define REFRESH_FAILURE_ENUM(name, text) REFRESH_FAILURE_##name,
    REFRESH_FAILURE_LIST(REFRESH_FAILURE_ENUM)
#undef REFRESH_FAILURE_ENUM
        REFRESH_FAILURE_COUNT
};
extern const char *const refresh_failure_names[REFRESH_FAILURE_COUNT];

/* Upper bounds of the histogram of durations, in milliseconds; the last bucket has none. */
#define REFRESH_BUCKETS 12
extern const uint32_t refresh_bucket_ms[REFRESH_BUCKETS];

enum refresh_phase {
    REFRESH_WAITING, /* nothing to do */
    REFRESH_RUNNING, /* reads from the database */
    REFRESH_BACKING_OFF
};
extern const char *const refresh_phase_names[3];

/* Why a group of mode feed read all of its rows again. */
#define REFRESH_RELOAD_LIST(X)                                                                     \
    X(NONE, "none")                                                                                \
    X(FIRST, "first")       /* there was no position */                                            \
    X(CHANGED, "changed")   /* of another database, or of tables configured otherwise */           \
    X(LOST, "lost")         /* the database no longer had the position */                          \
    X(RESHAPED, "reshaped") /* the columns of a table changed */                                   \
    X(MISSING, "missing")   /* a change did not fit to the rows that are there */                  \
    X(LAG, "lag")           /* the database kept more than max_lag */                              \
    X(DATA, "data")         /* a bad row, and on_bad_row: fail */                                  \
    X(DROP, "drop")         /* more than max_drop of the rows would have gone */
enum refresh_reload {
#define REFRESH_RELOAD_ENUM(name, text) REFRESH_RELOAD_##name,
    REFRESH_RELOAD_LIST(REFRESH_RELOAD_ENUM)
#undef REFRESH_RELOAD_ENUM
        REFRESH_RELOAD_COUNT
};
extern const char *const refresh_reload_names[REFRESH_RELOAD_COUNT];

/* As readers of the pond are told. */
enum refresh_feed_state {
    REFRESH_FEED_NONE = SP_FEED_NONE, /* another mode */
    REFRESH_FEED_STARTING = SP_FEED_STARTING,
    REFRESH_FEED_FOLLOWING = SP_FEED_FOLLOWING,
    REFRESH_FEED_FALLEN_BACK = SP_FEED_FALLEN_BACK /* all rows are read every `every` */
};

/* Of a table. Drift: what a comparison found to differ, and mended. */
struct refresh_feed_rows {
    uint64_t put_total, removed_total;
    uint64_t drift_inserted_total, drift_updated_total, drift_deleted_total;
};

/* What is told of a feed; all but `rows` is the group's. */
struct refresh_feed_status {
    enum refresh_feed_state state;
    char why[SOURCE_ERROR_BYTES];     /* it is not possible; "" */
    char inexact[SOURCE_ERROR_BYTES]; /* why states may be seen that never were; "": none are */
    char position[128];               /* of the last commit, cut where it is longer */
    int64_t at_ms;      /* wall clock of the database at the last position; 0: unknown */
    uint32_t delay_ms;  /* from there to here, when that was reached */
    uint64_t lag_bytes; /* the database keeps for it; UINT64_MAX: unknown */
    uint64_t transactions_total, commits_total;
    uint64_t reloads_total[REFRESH_RELOAD_COUNT];
    uint64_t comparisons_total;
    int64_t compared_at_ms; /* wall clock, when all rows were last read; 0: unknown */
    struct refresh_feed_rows rows;
};

struct refresh_status {
    char table[SP_NAME_BYTES_MAX + 1];
    char group[64];
    char source[64];
    enum sp_table_state state; /* SP_TABLE_HELD: by max_drop or by an operator */
    enum refresh_phase phase;
    bool held_by_operator;
    bool ever_committed;   /* by this daemon */
    uint64_t rows;         /* as of the last commit */
    int64_t started_at_ms; /* wall clock of the last attempt; 0: none */
    int64_t success_at_ms; /* wall clock of the last success; 0: none by this daemon */
    uint32_t duration_ms;  /* of the last success */
    bool last_full;        /* the last success was a full pass */
    uint64_t full_total, incremental_total; /* successes */
    uint64_t failures_total[REFRESH_FAILURE_COUNT];
    uint64_t failures_in_a_row;
    uint64_t read_total; /* rows */
    uint64_t inserted_total, updated_total, deleted_total, unchanged_total;
    struct refresh_change {
        uint64_t inserted, updated, deleted, unchanged;
    } last; /* what the last success has changed */
    uint64_t skipped_total[REFRESH_SKIP_COUNT];
    uint64_t unique_violations; /* in the last pass */
    uint64_t written_bytes_total;
    uint64_t duration_buckets[REFRESH_BUCKETS + 1];
    double duration_sum_s;
    struct refresh_feed_status feed;
    uint64_t missing_rows; /* held by max_drop: how many of `rows` the database no longer has */
    char error[SOURCE_ERROR_BYTES]; /* why it fails; "" if it does not */
};

/* Of one of the arrays by reason. */
uint64_t refresh_sum(const uint64_t *counts, unsigned count);

/* SP_OK: the refresh of that ticket has ended, and *out says how. SP_EBUSY: not yet; SP_ENOTABLE:
 * it never will, since the table is configured otherwise now. Any thread. */
int refresh_ended(struct refresh *refresh, const char *table, uint64_t ticket,
                  struct refresh_status *out);

/* All tables' status, in the order of the configuration: an array to be freed. Any thread. */
int refresh_status(struct refresh *refresh, struct refresh_status **out, size_t *count);

/* Whether every table of the configuration can be read: has been committed, by this daemon or an
 * earlier one, and is not refused for its age. If not, a sentence in why. Any thread. */
bool refresh_ready(struct refresh *refresh, char *why, size_t why_bytes);

/* --- looking before serving ---------------------------------------------------------------- */

struct refresh_check {
    unsigned wrong;       /* tables that the configuration asks for and the database refuses */
    unsigned unreachable; /* sources that did not answer */
    bool canceled;        /* the rest says nothing then */
};

/* Ends a look from another thread. Fields are private. */
struct refresh_cancel {
    pthread_mutex_t lock;
    bool asked;
    struct source_check *checks; /* of the look that runs, or NULL */
    unsigned count;
};
#define REFRESH_CANCEL_INIT                                                                        \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER                                                          \
    }

/* Ends the look that uses it soon, or the next one at once, if none does. Any thread. */
void refresh_check_cancel(struct refresh_cancel *cancel);

/* Connects to every source, all at the same time, and describes every table. What is wrong is
 * written to `complaints` as "FILE:LINE: table T: ...", what does not answer as "FILE:LINE:
 * warning: source S: ...". Waits for the databases, until `cancel` (may be NULL) says no. Any
 * thread. */
int refresh_check(const struct config *config,
                  const struct source_class *(*find_source)(const char *type), FILE *complaints,
                  struct refresh_cancel *cancel, struct refresh_check *out);

/* What a table will take. */
struct refresh_estimate {
    const char *table; /* of the configuration */
    uint64_t rows;     /* counted if all were read, else the database's own estimate */
    bool exact;        /* all rows were read */
    uint64_t sampled;
    double row_bytes; /* key and value, average */
    uint64_t data_bytes, entry_bytes, index_bytes, total_bytes;
    uint64_t skipped; /* bad rows among those sampled */
};

/* Reads up to `sample` rows of each table and reckons. `out` has room for table_count. Waits for
 * the databases. On failure a sentence in why (SOURCE_ERROR_BYTES). */
int refresh_estimate(const struct config *config,
                     const struct source_class *(*find_source)(const char *type), uint64_t sample,
                     struct refresh_estimate *out, char *why);

#endif
