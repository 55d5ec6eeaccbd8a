/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_feed.h - what the files of MariaDB's change feed share.
 */
#ifndef SIDEPOND_SOURCE_MARIADB_FEED_H
#define SIDEPOND_SOURCE_MARIADB_FEED_H

#include "server/source/mariadb.h"
#include "server/source/mariadb_binlog.h"

struct maria_feed {
    struct source follower; /* the connection on which the log is sent */
    struct binlog_table *tables;
    unsigned table_count;
    struct binlog_charset *charsets; /* of their columns */
    struct binlog log;
    bool log_open, running;
    struct gtid_state target; /* of the snapshot that is open */
    bool has_target, holds;   /* holds: everything up to there has been delivered */
    bool moved;               /* the position has gone on since it was told */
    uint64_t heard_ms;        /* when the server said something */
    int64_t clock_us;         /* the database's clock less ours */
};

/* --- mariadb_feed_check.c --------------------------------------------------------------------- */

/* Looks up settings, rights and the tables, which it puts into the feed. */
int maria_feed_check(struct source *source, const struct source_feed_options *options,
                     const struct source_table *tables,
                     const struct source_description *const *descriptions, unsigned count,
                     char *stream, struct source_error *error);

/* Whether the tables are still as they were checked. */
int maria_feed_check_columns(struct source *source, struct source_error *error);

/* --- mariadb_feed.c --------------------------------------------------------------------------- */

/* The source's feed, made at the first time. */
struct maria_feed *maria_feed_of(struct source *source);
void maria_feed_forget_tables(struct maria_feed *feed);

#endif
