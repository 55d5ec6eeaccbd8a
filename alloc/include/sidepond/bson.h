/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/bson.h - reading BSON: documents (SP_TYPE_BSON) and single values (SP_TYPE_BSON_VALUE).
 *
 * A document is read where it lies: what is not asked for is stepped over by its length. Nothing is
 * allocated or copied; what a function hands out points into the document.
 *
 * A field comes as the plain type that says the same, where there is one:
 *
 *   double, string, bool     FLOAT64, TEXT, BOOL
 *   int32, int64             INT32, INT64
 *   date                     TIMESTAMP (BSON_VALUE if its microseconds do not fit into 64 bits)
 *   binary                   BYTES for subtype 0, UUID for subtype 4
 *   document                 BSON
 *   null                     NULL (is_null is set, SP_OK); a field that is missing is SP_ENOTFOUND
 *   everything else          BSON_VALUE: sp_bson_raw tells its type and bytes
 *
 * A BSON_VALUE has two forms: its bytes begin with BSON's type byte, as those of a column do; or
 * `bson_type` has the type and the bytes are the value's alone, as those of a field are. Every
 * function takes both.
 *
 * Bytes may be damaged, hostile or changing while they are read: then a function answers
 * SP_ECORRUPT or hands out wrong values, but never reads outside of the bytes given, and always
 * ends. Strings are not checked for being UTF-8.
 *
 * Threads: no state; any number of threads.
 */
#ifndef SIDEPOND_BSON_H
#define SIDEPOND_BSON_H

#include "sidepond/status.h"
#include "sidepond/value.h"

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

enum sp_bson_type {
    SP_BSON_DOUBLE = 0x01,
    SP_BSON_STRING = 0x02,
    SP_BSON_DOCUMENT = 0x03,
    SP_BSON_ARRAY = 0x04,
    SP_BSON_BINARY = 0x05,
    SP_BSON_UNDEFINED = 0x06,
    SP_BSON_OBJECT_ID = 0x07,
    SP_BSON_BOOL = 0x08,
    SP_BSON_DATE = 0x09,
    SP_BSON_NULL = 0x0A,
    SP_BSON_REGEX = 0x0B,
    SP_BSON_DB_POINTER = 0x0C,
    SP_BSON_CODE = 0x0D,
    SP_BSON_SYMBOL = 0x0E,
    SP_BSON_CODE_WITH_SCOPE = 0x0F,
    SP_BSON_INT32 = 0x10,
    SP_BSON_TIMESTAMP = 0x11,
    SP_BSON_INT64 = 0x12,
    SP_BSON_DECIMAL128 = 0x13,
    SP_BSON_MAX_KEY = 0x7F,
    SP_BSON_MIN_KEY = 0xFF
};

/* One field of a document, by its path: names with dots between them; in an array, the position
 * counted from 0 ("address.city", "tags.0"). Of fields with the same name the first one counts. A
 * name that has a dot in it cannot be asked for so. `document` is a BSON, or a BSON_VALUE that is a
 * document or an array. SP_ENOTFOUND, also where the path goes on beyond what has no fields;
 * SP_ETYPE: not a document; SP_ECORRUPT.
 * Costs some nanoseconds for each field before it. */
int sp_bson_field(const struct sp_value *document, const char *path, size_t path_bytes,
                  struct sp_value *out);

/* All fields, one after the other. */
struct sp_bson_walk {
    const unsigned char *at;
    const unsigned char *end;
};
struct sp_bson_entry {
    const char *name; /* zero-terminated; of an array the positions, "0", "1" ... */
    size_t name_bytes;
    struct sp_value value;
};
/* SP_ETYPE: not a document or array; SP_ECORRUPT. */
int sp_bson_walk_begin(const struct sp_value *document, struct sp_bson_walk *out);
/* SP_ENOTFOUND at the end; SP_ECORRUPT. */
int sp_bson_walk_next(struct sp_bson_walk *walk, struct sp_bson_entry *out);

/* The plain value that a BSON_VALUE is (see above); any other value is handed on as it is.
 * SP_ECORRUPT. */
int sp_bson_plain(const struct sp_value *value, struct sp_value *out);

/* The type (enum sp_bson_type) of a BSON or BSON_VALUE, and its bytes, which are what BSON's
 * specification says of the type: lengths fit, strings end with a zero. What lies in documents is
 * not looked at. SP_ETYPE, SP_ECORRUPT (all statuses are negative). */
int sp_bson_raw(const struct sp_value *value, const void **data, size_t *size);

/* A decimal128 (16 bytes) as text, digits and exponent as they are: "1.50", "1E+3", "NaN". Returns
 * the size, which is less than SP_BSON_DECIMAL_BYTES; a zero is put behind it. */
#define SP_BSON_DECIMAL_BYTES 48
size_t sp_bson_decimal_text(const void *decimal128, char out[SP_BSON_DECIMAL_BYTES]);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
