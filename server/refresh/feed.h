/* SPDX-License-Identifier: Apache-2.0
 *
 * feed.h - what the files of the machine of change feeds share (docs/adr/0010-change-feeds.md).
 *
 *   feed.c           the life of a group that follows its database
 *   feed_apply.c     changes become a transaction of the store
 *   feed_position.c  the table _feeds: which follower is where
 *   feed_kept.c      what the database keeps for the group, and its limit
 *   feed_drop.c      databases are told of followers that are no more
 *   feed_status.c    what readers and operators are told
 *
 * Everything but feed_drop.c belongs to the group's thread.
 */
#ifndef SIDEPOND_REFRESH_FEED_H
#define SIDEPOND_REFRESH_FEED_H

#include "server/refresh/internal.h"
#include "sidepond/source_feed.h"

#define FEED_TABLE "_feeds"

enum { FEED_FOLLOWER_BYTES = 64 };

/* A row of _feeds. An empty position: there is nothing to go on from, but the database may keep
 * something for the follower. */
struct feed_row {
    char follower[FEED_FOLLOWER_BYTES];
    char group[64];
    char source[64];
    char stream[FEED_STREAM_BYTES];
    char position[FEED_POSITION_BYTES];
    int64_t at_us;       /* wall clock of the database at the position; 0: unknown */
    int64_t compared_us; /* ours, when all rows were last read */
    uint64_t shape;      /* of the tables' configuration and columns */
};

/* A table of the group in the transaction that is open. */
struct feed_table {
    struct store_table *stored; /* NULL: not touched by it */
    struct intake intake;
    struct batch batch;      /* without bytes until the table is first touched */
    struct sp_value *values; /* room for a row whose absent columns are filled in */
    uint64_t removed;        /* rows that the database's transaction deleted */
    uint64_t skipped;        /* bad rows since the last full pass, before the transaction */
    struct refresh_feed_rows counted;
};

/* Where changes go. */
struct feed_apply {
    struct group *group;
    struct failure *failure;    /* of the call that runs */
    struct store_txn *txn;      /* NULL: none is open */
    bool borrowed;              /* it is a pass's: neither committed nor aborted here */
    bool half;                  /* it holds a part of one of the database's transactions */
    bool pending;               /* something has been reached that is not committed */
    bool snapshot;              /* FEED_SNAPSHOT was reached */
    bool progress;              /* something was reached since start() */
    int status;                 /* why next() was stopped by us */
    enum refresh_reload reload; /* what is wrong, where a reload mends it */
    uint64_t rows, begun_ms, transactions; /* in the transaction */
    unsigned char *old;                    /* room for a row's value */
    size_t old_cap;
    char position[FEED_POSITION_BYTES]; /* last reached */
    int64_t at_us;
    int64_t apart_us; /* our wall clock less that, when it was reached */
    struct {          /* the same of what is committed; `idle`: it was FEED_IDLE */
        int64_t at_us, apart_us;
        bool idle;
    } safe;
    struct feed_table *tables;
};

enum feed_stage {
    FEED_UNASKED,    /* over this connection */
    FEED_IMPOSSIBLE, /* check() said so */
    FEED_POSSIBLE,
    FEED_RUNNING /* start() succeeded */
};

struct feed {
    const struct source_feed_class *class; /* NULL: the source has none */
    enum feed_stage stage;
    struct source_feed_options options;
    struct feed_row row; /* as committed; valid: `known` */
    bool known;
    char stream[FEED_STREAM_BYTES]; /* as check() said */
    uint64_t shape;                 /* as described now */
    bool reload;                    /* the position is of no use */
    bool drop_first;                /* and neither is what the database keeps */
    unsigned barren;                /* loads in a row after which nothing came */
    unsigned fruitless;             /* starts in a row after which nothing came */
    uint64_t commits_before;        /* when it was started */
    uint64_t started_ms;
    bool damaged;                     /* rows may be gone from the pond since the last comparison */
    bool adopted;                     /* the counters of the group before */
    char why[SOURCE_ERROR_BYTES];     /* it is not possible; "" */
    char inexact[SOURCE_ERROR_BYTES]; /* as in the status */
    bool taken;                       /* as another one follows by its name */
    uint64_t taken_ms;                /* since when check() has said so; 0: it does not */
    uint64_t asked_ms, told_ms, confirmed_ms, measured_ms, written_ms;
    uint64_t compare_after_ms; /* the last comparison failed: not before */
    uint64_t lag_bytes;
    unsigned lagging;    /* measures in a row beyond max_lag that did not shrink */
    unsigned unmeasured; /* looks in a row, in a hold, that could not tell how much is kept */
    bool told, locked;   /* readers know of the last commit; _feeds is ours */
    int64_t skew_us;     /* our wall clock less the database's, delivery included */
    bool skew_known;
    struct schema *schema; /* of _feeds */
    struct feed_apply apply;
    struct refresh_feed_status status; /* the group's part; copied with its lock */
};

/* --- feed.c --- */
int feed_new(struct group *group); /* SP_ENOMEM */
void feed_free(struct group *group);
/* The connection goes: what was not committed is given up. */
void feed_disconnect(struct group *group);
/* Whether a feed that was not possible is to be asked about again, which takes a new connection:
 * in some databases a right that was granted, or a setting, holds only for those made since. */
bool feed_asks_again(const struct group *group);
/* What a refresh is for such a group, over an open connection: it follows afterwards, or all tables
 * have been read because it cannot. `*fresh`: the tables are as the database has them now. */
int feed_refresh(struct group *group, bool *fresh, struct failure *failure);
bool feed_runs(const struct group *group);
struct source_feed_options feed_options(const struct config_source *source, const char *follower);
/* Describes the tables and asks whether they can be followed: the stage says. */
int feed_ask(struct group *group, struct failure *failure);
/* The rows are to be read again: at once, unless nothing came after they were the last time. */
void feed_want_reload(struct group *group, enum refresh_reload reason, struct failure *failure);
/* Follows until somebody calls, a comparison is due or something fails. */
int feed_follow(struct group *group, struct failure *failure);
/* That failed: makes it grave if it failed the same way after each of the last starts. */
void feed_note_end(struct group *group, struct failure *failure);
/* Whether it delivers: not only starts and reads all rows, again and again. */
bool feed_bears_fruit(const struct group *group);

/* --- feed_apply.c --- */
int feed_apply_init(struct feed_apply *apply, struct group *group); /* SP_ENOMEM */
void feed_apply_free(struct feed_apply *apply);
struct source_feed_sink feed_apply_sink(struct feed_apply *apply);
/* Takes a pass's transaction and tables, to go on in it; feed_apply_forget ends that. */
void feed_apply_borrow(struct feed_apply *apply, struct store_txn *txn,
                       struct store_table *const *tables);
void feed_apply_forget(struct feed_apply *apply);
/* Stores all rows on their way; SP_EDROP: then more than max_drop of a table is gone. */
int feed_apply_settle(struct feed_apply *apply);
/* Commits what has been reached, if there is something and no half transaction. */
int feed_apply_commit(struct feed_apply *apply, struct failure *failure);
void feed_apply_abort(struct feed_apply *apply); /* whatever is open */

/* --- feed_position.c --- */
int feed_position_schema(struct schema **out);
/* The name by which the database knows a group of this configuration. */
void feed_position_follower(const struct config *config, const char *group,
                            char out[FEED_FOLLOWER_BYTES]);
uint64_t feed_position_shape(const struct group *group);
/* The committed row of a follower; false: there is none. */
bool feed_position_read(struct refresh *refresh, const char *follower, struct feed_row *out);
/* All rows: an array to be freed. */
int feed_position_all(struct refresh *refresh, struct feed_row **out, size_t *count);
/* Writes a row within a transaction. _feeds is the caller's until feed_position_unlock, which comes
 * after the transaction's end. An own transaction: feed_position_put_alone. */
int feed_position_put(struct refresh *refresh, struct store_txn *txn, const struct schema *schema,
                      const struct feed_row *row);
void feed_position_unlock(struct refresh *refresh);
int feed_position_put_alone(struct refresh *refresh, const struct feed_row *row);
int feed_position_delete(struct refresh *refresh, const char *follower);

/* --- feed_kept.c --- */
/* Now and then, while the feed runs: fails if what is kept goes beyond max_lag and stays there. */
int feed_kept_measure(struct group *group, struct failure *failure);
/* Before a feed starts that failed again and again. */
int feed_kept_check(struct group *group, struct failure *failure);
/* All rows have to be read: the position is void from now on, also for a daemon after this one. */
void feed_kept_owe(struct group *group);
/* Makes the position void, and tells the database that it need keep nothing. */
int feed_kept_give_up(struct group *group, struct failure *failure);
/* The tables cannot be described: they may be gone for good, while what is kept for them grows. */
void feed_kept_undescribed(struct group *group);
/* For a group that an operator or max_drop holds, over a new connection. */
void feed_kept_watch(struct group *group);

/* --- feed_drop.c --- */
/* A group has ended: if the configuration no longer has it, its database will be told. */
void feed_drop_group(struct refresh *refresh, struct group *group);
/* Before new groups start: rows of followers that this configuration does not have are void, and
 * their databases are told, in a thread of its own each. False: not all of it could be done, it is
 * to be called again. Main thread, with the refresh's lock. */
bool feed_drop_leavers(struct refresh *refresh);
/* Takes away what has ended; asks those to end whose follower is wanted again, or all if `stop`.
 * True if none of these is left. */
bool feed_drop_reap(struct refresh *refresh, bool stop);

/* --- feed_status.c --- */
/* The tables are as the database had them at the last position reached. */
void feed_tell(struct group *group);
/* Something of the group's state has changed. */
void feed_note(struct group *group);
void feed_note_reload(struct group *group, enum refresh_reload reason);

#endif
