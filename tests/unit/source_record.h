/* SPDX-License-Identifier: Apache-2.0
 *
 * source_record.h - what a source delivers, written down as text that a test can compare.
 *
 * A row is a line of its values between |, NULL as <null>; a bad row is "bad COLUMN: WHY: values".
 */
#ifndef SIDEPOND_TESTS_SOURCE_RECORD_H
#define SIDEPOND_TESTS_SOURCE_RECORD_H

#include <pthread.h>

#include "server/source/sources.h"

struct source_record {
    char *text; /* zero-terminated once there is a row */
    size_t size, cap;
    uint64_t row_count, bad_count;
    uint64_t bytes;   /* of variable values */
    bool count_only;  /* write nothing down */
    uint64_t stop_at; /* > 0: the sink returns stop_status at this row */
    int stop_status;
    void (*at_row)(struct source_record *record); /* called for each row, or NULL */
    void *context;
};

struct source_sink source_record_sink(struct source_record *record);
void source_record_free(struct source_record *record);

/* "name type native nullable [text]" of each column, one a line. Static storage. */
const char *source_record_description(const struct source_description *description);

/* describe, begin, stream, end; what was read is added to the record. */
int source_record_read(const struct source_class *class, struct source *source,
                       const struct source_table *table, const struct sp_value *since,
                       struct source_record *record, struct source_error *error);

/* Calls cancel() on another thread after a delay. */
struct source_canceler {
    const struct source_class *class;
    struct source *source;
    unsigned delay_ms;
    pthread_t thread;
};
void source_canceler_start(struct source_canceler *canceler, const struct source_class *class,
                           struct source *source, unsigned delay_ms);
void source_canceler_join(struct source_canceler *canceler);

double source_now_ms(void);
void sleep_ms(long ms);
long source_rss_kib(void); /* of this process; -1 if it cannot be read */

#endif
