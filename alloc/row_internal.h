/* SPDX-License-Identifier: Apache-2.0
 *
 * row_internal.h - what the row*.c files share and nobody else needs.
 */
#ifndef SIDEPOND_ROW_INTERNAL_H
#define SIDEPOND_ROW_INTERNAL_H

#include "alloc/bson.h"
#include "alloc/row.h"

/* Whether a value, not NULL, is one that a column of its type can hold. */
static inline bool row_value_fits(const struct sp_value *value)
{
    struct bson_element element;
    switch (value->type) {
    case SP_TYPE_INT32:
    case SP_TYPE_DATE:
        return value->i == (int32_t)value->i;
    case SP_TYPE_BOOL:
        return value->i == 0 || value->i == 1;
    case SP_TYPE_UUID:
        return value->bytes.size == 16;
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        return bson_element_of(value, &element) &&
               bson_check(element.type, element.data, element.size) == SP_OK;
    default:
        return true;
    }
}

/* Bytes that a variable value takes in a row. */
static inline size_t row_value_bytes(const struct sp_value *value)
{
    return value->bytes.size + (value->type == SP_TYPE_BSON_VALUE && value->bson_type != 0);
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

/* "nan", "infinity", "inf" with a sign, in any case. */
bool row_special_parse(const char *text, size_t text_bytes, double *out);

/* JSON strings, with their quotes: text, whose broken UTF-8 becomes U+FFFD, and bytes in base64. */
void row_json_string(struct row_text *json, const void *data, size_t count);
void row_json_base64(struct row_text *json, const unsigned char *bytes, size_t count);

/* --- keys ------------------------------------------------------------------------------------ */

/* Takes what fits into cap and counts the rest. */
struct key_writer {
    unsigned char *out;
    size_t cap;
    size_t size;
};

static inline void key_put(struct key_writer *writer, const void *data, size_t bytes)
{
    if (bytes > 0 && writer->size <= writer->cap && bytes <= writer->cap - writer->size)
        memcpy(writer->out + writer->size, data, bytes);
    writer->size += bytes;
}

/* Bytes that were put at `at` before, with what is known now. */
static inline void key_patch(struct key_writer *writer, size_t at, const void *data, size_t bytes)
{
    if (at <= writer->cap && bytes <= writer->cap - at)
        memcpy(writer->out + at, data, bytes);
}

/* A u32 that says how many bytes have been put since `at`, where it lies. */
static inline void key_patch_size(struct key_writer *writer, size_t at, size_t less)
{
    const uint32_t bytes = (uint32_t)(writer->size - at - less);
    key_patch(writer, at, &bytes, sizeof(bytes));
}

#endif
