/* SPDX-License-Identifier: Apache-2.0
 *
 * watermark.h - the highest value seen in a column that grows with each change.
 */
#ifndef SIDEPOND_REFRESH_WATERMARK_H
#define SIDEPOND_REFRESH_WATERMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/value.h"

enum { WATERMARK_TEXT_BYTES = 256 };

struct watermark {
    bool set;
    struct sp_value value; /* a text is in `text` */
    char text[WATERMARK_TEXT_BYTES];
};

/* Whether a column of this type can be one, with an overlap or without. */
bool watermark_type_ok(enum sp_type type);

/* Takes a value that is higher. NULLs, infinities, what lies more than two days in the future
 * (`now_ms`, wall clock) and over-long texts do not count: such rows are read again each time. */
void watermark_raise(struct watermark *mark, const struct sp_value *value, int64_t now_ms);

void watermark_copy(struct watermark *to, const struct watermark *from);

/* The mark less the overlap: a number for integers and floats, microseconds for times (also for a
 * text that is one). Texts that are no times have no overlap: the mark itself. `scratch` keeps a
 * text; the value borrows from it. Saturates. */
void watermark_since(const struct watermark *mark, int64_t overlap,
                     char scratch[WATERMARK_TEXT_BYTES], struct sp_value *out);

#endif
