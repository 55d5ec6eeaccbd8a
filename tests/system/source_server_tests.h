/* SPDX-License-Identifier: Apache-2.0
 *
 * source_server_tests.h - what every source with a server must do, on the server of
 * source_server_fixture.h: tests, and what tests of one database have in common with those of
 * another.
 */
#ifndef SIDEPOND_TESTS_SOURCE_SERVER_TESTS_H
#define SIDEPOND_TESTS_SOURCE_SERVER_TESTS_H

#include "source_server_fixture.h"

/* Reading is ended by cancel, at once; what the server ran for it is gone soon. */
void expect_canceled(struct fixture *f, const char *query);

/* cancel while nothing runs ends the next call. */
void expect_next_canceled(struct fixture *f);

struct watermark_case {
    const char *column;
    struct sp_value since;
};

/* A table "t" of three rows, whose ids are 1, 2 and NULL: only row 2 is not before `since`. The
 * first case is that of the id. */
void expect_watermarks(struct fixture *f, const struct watermark_case *cases, size_t count);

/* The same table: watermarks outside what the column or the type holds. */
void expect_far_watermarks(struct fixture *f, const char *time_column, enum sp_type type);

/* The tests. */
void test_connect_hangs(void **state);
void test_cancel_connecting(void **state);
void test_snapshot(void **state);
void test_server_killed(void **state);
void test_server_hangs(void **state);
void test_sink_stops(void **state);

#endif
