/* SPDX-License-Identifier: Apache-2.0
 *
 * bson.h - BSON within Sidepond: elements, canonical keys, extended JSON. Documents are read as
 * sidepond/bson.h says, which is for users.
 *
 *   document   length of all of it (4) | elements | 0
 *   element    type (1) | name | 0 | value, whose size follows from the type or from its own length
 *
 * A document is never decoded: a cursor goes from element to element. Every length is loaded once,
 * pinned, and checked against what is left, so bytes that change meanwhile can do no harm.
 */
#ifndef SIDEPOND_ALLOC_BSON_H
#define SIDEPOND_ALLOC_BSON_H

#include "sidepond/bson.h"

#define BSON_DEPTH_MAX        200u /* levels of documents in documents; MongoDB stores up to 180 */
#define BSON_BYTES_MIN        5u   /* of a document: its length and the zero */
#define BSON_OBJECT_ID_BYTES  12u
#define BSON_DECIMAL128_BYTES 16u

struct bson_element {
    uint8_t type;
    const uint8_t *name; /* zero-terminated */
    size_t name_bytes;
    const uint8_t *data; /* the value */
    size_t size;
};

/* What is left of a document; `end` is its last zero. */
struct bson_cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* Begins a document of exactly `size` bytes. SP_ECORRUPT. */
int bson_open(const uint8_t *document, size_t size, struct bson_cursor *out);
/* The next element; its value lies within the document, and is not looked at. SP_ENOTFOUND at the
 * end; SP_ECORRUPT. */
int bson_next(struct bson_cursor *cursor, struct bson_element *out);
/* Whether bytes are one value of a type (as for sp_bson_raw). SP_ECORRUPT. */
int bson_check(uint8_t type, const uint8_t *data, size_t size);
/* The element at a path, checked. SP_ENOTFOUND, SP_ECORRUPT. */
int bson_find(const uint8_t *document, size_t size, const char *path, size_t path_bytes,
              struct bson_element *out);

/* The type and the bytes of a BSON or BSON_VALUE, not checked; a `name` there is none. False: it is
 * of another type, or has no bytes. */
bool bson_element_of(const struct sp_value *value, struct bson_element *out);
/* An element that has been checked, as a value that points to it: as the plain type if there is
 * one, or as a BSON_VALUE whatever it is. */
void bson_value_plain(const struct bson_element *element, struct sp_value *out);
void bson_value_as_is(const struct bson_element *element, struct sp_value *out);

static inline uint32_t bson_load32(const uint8_t *at)
{
    uint32_t number;
    __builtin_memcpy(&number, at, sizeof(number));
    __asm__("" : "+r"(number)); /* not loaded a second time, after it was checked */
    return number;
}

static inline int64_t bson_load64(const uint8_t *at)
{
    int64_t number;
    __builtin_memcpy(&number, at, sizeof(number));
    return number;
}

static inline double bson_load_double(const uint8_t *at)
{
    double number;
    __builtin_memcpy(&number, at, sizeof(number));
    return number;
}

#endif
