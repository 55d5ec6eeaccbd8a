/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh_fake.h - a database made of a few arrays, for the tests of refresh: it gives what a test
 * puts into it, fails when it is told to, and counts what it is asked.
 *
 * Every table has the columns id (int64, not null), name (text, nullable) and stamp (int64, not
 * null; what watermarks look at), and extra (int64) if `extra` is set. All fields are under
 * fake.lock while a refresh runs: use fake_lock and fake_unlock.
 */
#ifndef SIDEPOND_TESTS_REFRESH_FAKE_H
#define SIDEPOND_TESTS_REFRESH_FAKE_H

#include <pthread.h>

#include "server/source/sources.h"

enum { FAKE_TABLES = 4, FAKE_ROWS = 4096 };

struct fake_row {
    int64_t id;
    int64_t stamp;
    unsigned name_bytes; /* 0: the name is "n<id>" */
    bool null_key, null_name, null_stamp, undecodable;
};

struct fake_table {
    char name[32];
    unsigned row_count;
    struct fake_row rows[FAKE_ROWS];
    bool extra;         /* has a column more */
    bool odd_type;      /* the name's type is unknown: arrives as text */
    bool gone;          /* describe says SP_ECONFIG */
    bool unchanged;     /* the source says so */
    bool stream_stale;  /* the next stream says that the columns have changed */
    bool stream_fails;  /* every stream breaks after the first row */
    bool stream_hangs;  /* streams wait until canceled */
    bool last_was_full; /* the last stream had no `since` */
    int64_t last_since;
    unsigned streams;
};

struct fake {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct fake_table tables[FAKE_TABLES];
    unsigned table_count;
    bool refuse_open;        /* the database is down */
    unsigned begin_failures; /* so many begins fail */
    bool wait_fails;         /* the next wait loses the connection */
    bool changed;            /* the next wait says so */
    bool check_fails;        /* every check */
    unsigned checks;
    unsigned opens, listens, begins, open_now;
    bool listened_late; /* listen came after begin over that connection */
};
extern struct fake fake;

void fake_reset(void);
struct fake_table *fake_add(const char *name, unsigned row_count);
void fake_lock(void);
void fake_unlock(void);
const struct source_class *fake_find(const char *type);

#endif
