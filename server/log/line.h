/* SPDX-License-Identifier: Apache-2.0
 *
 * line.h - a message as one line, or as the fields of a journal entry. Pure functions.
 */
#ifndef SIDEPOND_LOG_LINE_H
#define SIDEPOND_LOG_LINE_H

#include <stddef.h>
#include <sys/uio.h>
#include <time.h>

#include "server/log/log.h"

struct log_record {
    struct timespec time; /* UTC */
    int level;
    const char *component;
    const char *message;
    const struct log_field *fields; /* ends with one without key; NULL: none */
    unsigned suppressed;            /* messages left out before this one */
};

enum log_line_flags {
    LOG_LINE_JSON = 1 << 0,
    LOG_LINE_COLOUR = 1 << 1,  /* text only */
    LOG_LINE_JOURNAL = 1 << 2, /* "<N>" first; no time and level in text */
};

/* Writes the line with its newline, in valid UTF-8, control characters escaped, cut where it must
 * be so that a JSON object stays one. Gives its bytes. */
size_t log_line_format(char out[LOG_LINE_BYTES], unsigned flags, const struct log_record *record);

/* "debug" to "error". */
const char *log_level_name(int level);

/* The entry's fields "NAME=value" for sd_journal_sendv. */
enum { LOG_JOURNAL_FIELDS_MAX = 24, LOG_JOURNAL_BYTES = 2 * LOG_LINE_BYTES };
struct log_journal_entry {
    struct iovec fields[LOG_JOURNAL_FIELDS_MAX];
    int count;
    size_t used;
    char bytes[LOG_JOURNAL_BYTES];
};
void log_journal_format(struct log_journal_entry *out, const struct log_record *record);

#endif
