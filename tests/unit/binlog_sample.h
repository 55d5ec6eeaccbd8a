/* SPDX-License-Identifier: Apache-2.0
 *
 * binlog_sample.h - the table that the files of tests/fuzz/corpus/binlog are about, and reading
 * such a file: a binary log of MariaDB as the server wrote it.
 *
 *   CREATE TABLE shop.sample (id int PRIMARY KEY, a tinyint unsigned, b bigint unsigned, c bool,
 *     d bit(13), e bit(64), f float, g double, h decimal(30,10), i char(9), j varchar(300),
 *     k text CHARACTER SET latin1, l enum('a','it''s'), m set('x','y','z'), n binary(5), o blob,
 *     p date, q datetime(3), r timestamp(5) NULL, s time(1), t json, u uuid, v inet6, w inet4,
 *     x point, y year, z int)
 *
 * The last column is not wanted.
 */
#ifndef SIDEPOND_TESTS_BINLOG_SAMPLE_H
#define SIDEPOND_TESTS_BINLOG_SAMPLE_H

#include "server/source/mariadb_binlog.h"

#define SAMPLE_COLUMNS 26 /* of the description */

/* To be freed by binlog_table_free; false: no memory. */
bool sample_table(struct binlog_table *out);

/* Gives the events of a file to the log, one after the other, each in memory of exactly its size,
 * until one is refused. Its status. `at_point` may be NULL. */
int sample_read(struct binlog *log, const unsigned char *data, size_t size,
                const struct source_feed_sink *sink,
                void (*at_point)(void *context, enum binlog_point point));

#endif
