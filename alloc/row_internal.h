/* SPDX-License-Identifier: Apache-2.0
 *
 * row_internal.h - what the row*.c files share and nobody else needs.
 */
#ifndef SIDEPOND_ROW_INTERNAL_H
#define SIDEPOND_ROW_INTERNAL_H

#include "alloc/row.h"

/* Whether a value, not NULL, is one that a column of its type can hold. */
static inline bool row_value_fits(const struct sp_value *value)
{
    switch (value->type) {
    case SP_TYPE_INT32:
    case SP_TYPE_DATE:
        return value->i == (int32_t)value->i;
    case SP_TYPE_BOOL:
        return value->i == 0 || value->i == 1;
    case SP_TYPE_UUID:
        return value->bytes.size == 16;
    default:
        return true;
    }
}

/* --- output like snprintf's ----------------------------------------------------------------- */

/* Takes what fits and counts everything; one byte of `cap` is kept for the final zero. */
struct row_text {
    char *out;
    size_t cap;
    size_t size;
};

void row_text_put(struct row_text *text, const void *data, size_t bytes);
void row_text_puts(struct row_text *text, const char *string);

/* Writes the zero; returns the size. */
size_t row_text_end(struct row_text *text);

/* --- values in digits ------------------------------------------------------------------------ */

/* Room for any of the row_format_ functions. They return the number of characters, no zero. */
#define ROW_FORMAT_BYTES 48

size_t row_format_int(int64_t i, char *out);
size_t row_format_float64(double f, char *out);
size_t row_format_float32(float f, char *out);
size_t row_format_uuid(const unsigned char *uuid, char *out);

/* TIMESTAMP, DATETIME or DATE. */
size_t row_format_time(enum sp_type type, int64_t i, char *out);
int row_parse_time(enum sp_type type, const char *text, size_t text_bytes, int64_t *out);

/* --- text and JSON --------------------------------------------------------------------------- */

/* Whether bytes start with one UTF-8 character. `*used` gets its size, or how many bytes of a
 * broken one to replace by U+FFFD; at least 1 (left must not be 0). */
bool row_utf8_next(const unsigned char *at, size_t left, size_t *used);

/* The parts of a decimal number: [sign] digits [. digits] [e exponent]. */
struct row_decimal {
    bool negative;
    const char *whole, *fraction, *exponent; /* digits; the exponent with its sign, without the e */
    size_t whole_bytes, fraction_bytes, exponent_bytes;
};
bool row_decimal_parse(const char *text, size_t text_bytes, struct row_decimal *out);

#endif
