/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_script.h - a database that is a list of changes, for the tests of change feeds.
 *
 * A test writes transactions down (script_put ... script_commit), and the feed delivers them: a
 * position is a number of changes, so what the tables are at each position is known exactly
 * (script_state), and script_check compares the pond with it. A change can be hidden: it happens,
 * but the feed does not tell of it, which is drift.
 *
 * Every table has the columns id (int64), name (text, nullable), stamp (int64), and extra (int64)
 * if `extra` is set. The fields are under script.lock while a refresh runs (script_lock).
 */
#ifndef SIDEPOND_TESTS_FEED_SCRIPT_H
#define SIDEPOND_TESTS_FEED_SCRIPT_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/source/sources.h"
#include "sidepond/sidepond.h"
#include "sidepond/source_feed.h"

enum { SCRIPT_TABLES = 3, SCRIPT_IDS = 256, SCRIPT_CHANGES = 65536, SCRIPT_NAMES = 16 };

enum script_kind {
    SCRIPT_PUT,
    SCRIPT_REMOVE,
    SCRIPT_TRUNCATE,
    SCRIPT_BAD,     /* a row that cannot be decoded takes the place of the one with its id */
    SCRIPT_RESHAPE, /* the feed says so */
    SCRIPT_COMMIT
};

struct script_change {
    enum script_kind kind;
    unsigned table;
    int64_t id, old_id; /* old_id -1: the key stays */
    int64_t name, stamp;
    unsigned name_bytes; /* 0: the name is "n<name>" */
    bool absent_name;    /* the name stays as it is, and is not told */
    bool hidden;
    bool null_stamp; /* NULL where it may not be: a bad row */
    bool unfit;      /* the store cannot take the row */
};

struct script_row {
    bool there;
    int64_t name, stamp;
    unsigned name_bytes;
};
struct script_state {
    struct script_row rows[SCRIPT_TABLES][SCRIPT_IDS];
};

struct script {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct script_change changes[SCRIPT_CHANGES];
    unsigned count;        /* written down */
    _Atomic unsigned *end; /* committed: the database's state */
    _Atomic unsigned own_end;
    unsigned hold;     /* the feed delivers nothing from this change on; 0: all */
    unsigned floor;    /* positions below are lost */
    unsigned burst;    /* changes that one next() delivers; 0: all */
    bool inexact;      /* snapshots are */
    bool extra;        /* the tables have a column more */
    bool silent;       /* the feed says nothing when there is nothing */
    int64_t behind_us; /* how old transactions are when they come */
    bool always_lost;  /* start never succeeds */
    bool refuse_open;
    bool next_fails; /* the next next() loses the connection */
    enum script_breakage {
        SCRIPT_WHOLE,
        SCRIPT_LOSES,    /* the connection is lost, each time */
        SCRIPT_MISREADS, /* trying again does not help */
        SCRIPT_SILENT    /* a status, and no word */
    } breakage;          /* of next(), where there is something to deliver or `at_once` */
    bool at_once;
    bool drop_fails, describe_fails, stream_fails;
    bool idle_untimed; /* FEED_IDLE comes without a time */
    bool unchanged;    /* changed() says so of each table */
    char refuse[128];  /* check() says so */
    bool for_now;      /* and that it may pass */
    bool taken;        /* or that another one follows by this name */
    char stream[32];
    uint64_t lag;
    void (*on_begin)(void); /* called while a snapshot is read, before its second table */

    unsigned opens, open_now, checks, snapshots, starts, confirms, drops, streams;
    unsigned confirmed; /* position */
    char dropped[64];   /* name */
};
extern struct script script;

void script_reset(void);
void script_lock(void);
void script_unlock(void);
const struct source_class *script_find(const char *type);

void script_put(unsigned table, int64_t id, int64_t name, int64_t stamp);
void script_move(unsigned table, int64_t old_id, int64_t id, int64_t name, int64_t stamp);
void script_touch(unsigned table, int64_t id, int64_t stamp); /* the name is absent */
void script_remove(unsigned table, int64_t id);
void script_truncate(unsigned table);
/* The last change, to be made odd; not committed yet. */
struct script_change *script_add(enum script_kind kind, unsigned table, int64_t id);
void script_commit(void);       /* a transaction ends, and the database has it */
void script_write_commit(void); /* the same, but the database has it when `end` is raised */

/* Does one change. */
void script_replay(const struct script_change *change, struct script_state *state);
/* The tables after so many changes. */
void script_state(unsigned position, struct script_state *out);
/* Whether the pond's tables, read in one snapshot with the position, are what they were at it; if
 * not, says so in why. `*position` (may be NULL). SP_ENOTFOUND: there is no position yet. */
int script_check(struct sp_pond *pond, unsigned tables, unsigned *position, char *why, size_t cap);

#endif
