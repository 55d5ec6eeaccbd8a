/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/source_feed.h - what a database must be able to do to tell of its changes as they
 * happen.
 *
 * A source whose class has a `feed` can deliver the database's committed transactions one after the
 * other: each row that was written or deleted, with a position between two transactions, from which
 * the delivery can be begun again. docs/adr/0010-change-feeds.md says how refresh makes
 * exactly-once of that; here is what it relies on.
 *
 *   open -> describe (each table) -> check
 *     first time:   snapshot -> stream (each table) -> end -> start -> next -> next ...
 *     afterwards:   start -> next -> next ...
 *     comparison:   ... next -> snapshot -> next, until reached(FEED_SNAPSHOT)
 *                   -> stream (each table) -> end -> next ...
 *   ... close
 *
 * The feed is a part of the source: the same thread, the same cancel(), the same rules for errors.
 * It may have a connection of its own; if that is lost, the call fails, and the caller closes the
 * source and opens a new one. The tables are those given to check(), and are named by their index
 * there.
 *
 * Position: a text (printable ASCII, zero-terminated) that only its source understands. What was
 * delivered before it and what comes after it is a matter of whole transactions in the order in
 * which the database committed them.
 */
#ifndef SIDEPOND_SOURCE_FEED_H
#define SIDEPOND_SOURCE_FEED_H

#include "sidepond/source.h"

#define FEED_POSITION_BYTES 2048
#define FEED_STREAM_BYTES   512

struct source_feed_options {
    const char
        *name; /* of this follower, the same after a restart, and no other has it: letters a-z,
                  digits and underscores, at most 63. Names what the database keeps for it */
    const char *publication; /* PostgreSQL: which one; NULL: "sidepond" */
    bool temporary; /* what the database keeps for the follower it keeps as long as the connection
                       lasts only; start() over another one says SP_ENOTFOUND. Where nothing is kept
                       for a follower, it has no meaning */
};

enum feed_mark {
    FEED_TRANSACTION, /* a transaction has been delivered as a whole */
    FEED_IDLE,        /* nothing of these tables, but the position has moved on */
    FEED_SNAPSHOT     /* all that the last snapshot() contains, as said there */
};

/* Who takes the changes. Values are those of stream(): one for each column described, borrowed
 * until the function returns. A status other than SP_OK stops next(), which returns it. */
struct source_feed_sink {
    void *context;

    /* A row is there now. `old_key`: the values of the key columns, in the order of the table's
     * `key`, under which it was there before, if they differ; else NULL. `absent` (NULL: none) says
     * for each column whether the database left out its value because it has not changed. */
    int (*put)(void *context, unsigned table, const struct sp_value *old_key,
               const struct sp_value *values, const bool *absent);

    /* A row is gone. One that is not there is no error. */
    int (*remove)(void *context, unsigned table, const struct sp_value *key);

    int (*truncate)(void *context, unsigned table);

    /* As in struct source_sink: a row is there now that cannot be decoded. What is there under the
     * key in `values` goes, as far as that could be read; for a key that was another before,
     * remove() comes first. */
    int (*bad_row)(void *context, unsigned table, const struct sp_value *values, unsigned column,
                   const char *why);

    /* The table is no longer as it was described; `why` is a phrase. Nothing of it can be delivered
     * any more: the caller closes the source, describes anew and reads all of the table again. */
    int (*reshaped)(void *context, unsigned table, const char *why);

    /* All that the database committed up to `position` has been delivered. `at_us`: wall clock of
     * the database (microseconds since 1970) when that was so: of the commit, or for FEED_IDLE of
     * the moment in which nothing more was there; 0: unknown, and for FEED_IDLE now.
     * False: return from next(). */
    bool (*reached)(void *context, enum feed_mark mark, const char *position, int64_t at_us);
};

enum source_feed_feature {
    FEED_EXACT_SNAPSHOT = 1 << 0, /* see snapshot() */
};

struct source_feed_class {
    unsigned features;

    /* Whether these tables (described before) can be followed, and by which stream: `stream` is a
     * text (FEED_STREAM_BYTES) that changes when positions of before mean nothing any more (another
     * server, database or set of rows). Changes nothing in the database. SP_ECONFIG: not possible
     * as things are; the text says what has to be done for it, if possible as the statement to
     * give. If the error is transient, that passes by itself: it is asked again soon, and what is
     * kept for the follower stays. SP_EBUSY: somebody else follows by this name, or the database
     * does not know yet that he is gone; what is kept belongs to him. */
    int (*check)(struct source *source, const struct source_feed_options *options,
                 const struct source_table *tables,
                 const struct source_description *const *descriptions, unsigned count, char *stream,
                 struct source_error *error);

    /* Begins a snapshot, like begin(), for stream() and end(), and says its position. If the feed
     * does not run, what the database keeps for the follower is from that position on afterwards,
     * whatever it kept before.
     *
     * FEED_EXACT_SNAPSHOT: it contains what was committed before the position and nothing else.
     * While the feed runs, next() goes on with what is still missing up to there, calls
     * reached(FEED_SNAPSHOT) at exactly that place, and delivers nothing more until end().
     *
     * Without: the position is that of the feed if it runs, else of now. What is read afterwards
     * may be newer than the position, by rows that differ. After end() (and start(), if the feed
     * did not run) next() delivers all from the position on, and calls reached(FEED_SNAPSHOT) at
     * the first place after the end of the reading; only there the rows are a state that the
     * database had. What was read already may be delivered again. */
    int (*snapshot)(struct source *source, char *position, struct source_error *error);

    /* Begins to deliver what follows the position. SP_ENOTFOUND: the database no longer has that,
     * or does not know the position, or has been told by confirm() that it need not keep what
     * follows it (the pond came from a file): everything has to be read again, over another
     * connection. */
    int (*start)(struct source *source, const char *position, struct source_error *error);

    /* Waits at most timeout_ms for something to deliver, then delivers without waiting what has
     * arrived, and returns: also in the middle of a transaction, which the next call goes on with.
     * FEED_IDLE comes at least once in ten seconds while the database has nothing to tell, and once
     * soon after start(). SP_ENOTFOUND as for start(). It is not called between snapshot() or
     * reached(FEED_SNAPSHOT) and end(), however long the reading takes: the feed has to outlive
     * that. */
    int (*next)(struct source *source, uint32_t timeout_ms, const struct source_feed_sink *sink,
                struct source_error *error);

    /* What is before the position is safe in the pond: the database need not keep it. Cheap. */
    int (*confirm)(struct source *source, const char *position, struct source_error *error);

    /* How many bytes the database keeps for this follower, or would have to send it; UINT64_MAX:
     * unknown. A round trip; any time after check(), also before start(), but not while a snapshot
     * is open. */
    int (*lag)(struct source *source, uint64_t *bytes, struct source_error *error);

    /* The database need keep nothing more for the follower of this name (check() need not have been
     * called, or has said SP_ECONFIG; the feed does not run over this source). Full passes, or
     * snapshot() as for the first time, may follow. SP_OK also if there was nothing. */
    int (*drop)(struct source *source, const struct source_feed_options *options,
                struct source_error *error);

    /* Optional. Why rows may be newer than the position that was reached, so that readers can see a
     * state that the database never had until all changes have been delivered: a sentence, if
     * possible with the statement that helps, valid until the next call; NULL: they never see one.
     * Any time after start(); cheap. */
    const char *(*inexact)(const struct source *source);
};

#endif
