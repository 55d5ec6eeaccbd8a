/* SPDX-License-Identifier: Apache-2.0
 *
 * watermark_bson.h - a field of BSON documents as a watermark.
 */
#ifndef SIDEPOND_REFRESH_WATERMARK_BSON_H
#define SIDEPOND_REFRESH_WATERMARK_BSON_H

#include "server/refresh/watermark.h"

/* Whether a value can be a mark: a number that is finite, a string, an ObjectId, a date or a
 * timestamp, of the length that its type has. */
bool watermark_bson_counts(const struct sp_value *value);

/* The order of two that can: numbers < strings < ObjectIds < dates < timestamps, as MongoDB has
 * it; strings by their bytes. */
int watermark_bson_compare(const struct sp_value *a, const struct sp_value *b);

/* The time that it says, in milliseconds since 1970; INT64_MIN if it says none. */
int64_t watermark_bson_ms(const struct sp_value *value);

/* A value less the overlap: a number for numbers, else microseconds. As watermark_since. */
void watermark_bson_since(const struct sp_value *value, int64_t overlap,
                          char scratch[WATERMARK_TEXT_BYTES], struct sp_value *out);

#endif
