/* SPDX-License-Identifier: Apache-2.0
 *
 * complaints.h - what is wrong in a file, gathered, sorted by place, printed once.
 */
#ifndef SIDEPOND_CONFIG_COMPLAINTS_H
#define SIDEPOND_CONFIG_COMPLAINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { COMPLAINTS_MAX = 200 }; /* more are counted, not kept */

struct complaint {
    unsigned line, column; /* from 1; line 0: the file as a whole */
    unsigned order;
    char *text;
};

struct complaints {
    struct complaint items[COMPLAINTS_MAX];
    unsigned count;
    unsigned error_count; /* without warnings, with those not kept */
    unsigned dropped_count;
};

void config_complain(struct complaints *complaints, unsigned line, unsigned column,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Like config_complain, but does not make the file wrong. */
void config_warn(struct complaints *complaints, unsigned line, unsigned column, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Writes them as "FILE:LINE:COLUMN: text", in the order of the file. `out` may be NULL. */
void config_complaints_print(struct complaints *complaints, const char *file, FILE *out);
void config_complaints_free(struct complaints *complaints);

/* Makes a text from the file fit to print: 'short and without control characters'. Gives `out`. */
enum { QUOTED_BYTES = 72 };
const char *config_quote(const char *text, char out[QUOTED_BYTES]);

#endif
