/* SPDX-License-Identifier: Apache-2.0
 *
 * source_feed_fixture.h - a change feed on a real server, which fills a feed_model, for tests with
 * cmocka. How a database is made to be followed, and to be waited for, is in feed_pg_fixture.h and
 * in test_source_mariadb_feed.c.
 */
#ifndef SIDEPOND_TESTS_SOURCE_FEED_FIXTURE_H
#define SIDEPOND_TESTS_SOURCE_FEED_FIXTURE_H

#include "feed_model.h"
#include "source_server_fixture.h"

struct feed_fixture {
    struct fixture *f;
    const struct source_feed_class *class;
    struct source_feed_options options;
    struct source_table tables[FEED_MODEL_TABLES];
    struct source_description descriptions[FEED_MODEL_TABLES];
    unsigned count;
    struct feed_model model;
    struct source_feed_sink sink;
    char stream[FEED_STREAM_BYTES];
    char position[FEED_POSITION_BYTES]; /* of the last snapshot */
    long marker;
};

extern const char *const feed_key_id[]; /* {"id", NULL} */

/* Over an f without a source; ends with the tables forgotten, and the source closed. */
void feed_init(struct feed_fixture *x, struct fixture *f, const char *name);
void feed_end(struct feed_fixture *x);

int feed_check(struct feed_fixture *x); /* opens, describes, checks */

/* The feed must refuse with exactly this text. */
void feed_expect_refusal(struct feed_fixture *x, const char *text);

void feed_snapshot(struct feed_fixture *x); /* snapshot, stream all into an empty model, end */
void feed_start(struct feed_fixture *x);
void feed_begin(struct feed_fixture *x);  /* check, snapshot, start */
void feed_reopen(struct feed_fixture *x); /* as after a restart: at the last position reached */
int feed_next(struct feed_fixture *x, uint32_t timeout_ms);

/* A comparison: up to the place of a new snapshot, where the model must be what that holds. */
void feed_compare(struct feed_fixture *x);

/* Model and database must be the same now, row by row, and the feed have done nothing odd. */
void feed_expect_same(struct feed_fixture *x);

#endif
