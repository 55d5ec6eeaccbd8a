/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/value.h - the types a column can have, and one value of such a type.
 *
 * A value is a small struct that is passed by pointer or copied. Text and bytes in it are borrowed:
 * they point into memory that somebody else owns, and the function that hands a value out says how
 * long that memory lives. Text is UTF-8 and not zero-terminated.
 */
#ifndef SIDEPOND_VALUE_H
#define SIDEPOND_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* X(NAME, number, name, width): width is the bytes a fixed column takes in a row; 0 is variable.
 * The numbers are part of the pond's format and never change. */
#define SP_TYPE_LIST(X)                                                                            \
    X(BOOL, 1, "bool", 1)              /* i: 0 or 1 */                                             \
    X(INT32, 2, "int32", 4)            /* i */                                                     \
    X(INT64, 3, "int64", 8)            /* i */                                                     \
    X(FLOAT64, 4, "float64", 8)        /* f */                                                     \
    X(NUMERIC, 5, "numeric", 0)        /* bytes: exact decimal as text, e.g. "-12.50", "NaN" */    \
    X(TEXT, 6, "text", 0)              /* bytes: UTF-8 */                                          \
    X(BYTES, 7, "bytes", 0)            /* bytes: anything */                                       \
    X(TIMESTAMP, 8, "timestamp", 8)    /* i: microseconds since 1970-01-01 00:00 UTC */            \
    X(DATETIME, 9, "datetime", 8)      /* i: microseconds since 1970-01-01 00:00, zone unknown */  \
    X(DATE, 10, "date", 4)             /* i: days since 1970-01-01 */                              \
    X(UUID, 11, "uuid", 16)            /* bytes: the 16 bytes, in the order they are written */    \
    X(JSON, 12, "json", 0)             /* bytes: a JSON text (arrays come as JSON too) */          \
    X(FLOAT32, 13, "float32", 4)       /* f */                                                     \
    X(BSON, 14, "bson", 0)             /* bytes: one whole BSON document, its length first */      \
    X(BSON_VALUE, 15, "bson_value", 0) /* bytes: a BSON element's type byte, then its value */

/* TIMESTAMP and DATETIME: INT64_MAX is "infinity", INT64_MIN "-infinity"; DATE: INT32_MAX and
 * INT32_MIN. */

enum sp_type {
#define SP_TYPE_ENUM(NAME, number, name, width) SP_TYPE_##NAME = (number),
    SP_TYPE_LIST(SP_TYPE_ENUM)
#undef SP_TYPE_ENUM
};

struct sp_value {
    enum sp_type type;
    bool is_null;
    uint8_t bson_type; /* BSON_VALUE: the type, where the bytes do not begin with it; else 0 */
    union {
        int64_t i;
        double f;
        struct {
            const void *data; /* may be NULL only where size is 0 */
            size_t size;
        } bytes;
    };
};

/* The name of a type ("int64"), in static storage; "unknown" for what is not one. */
const char *sp_type_name(enum sp_type type);

/* Bytes a column of this type takes in a row: 1, 4, 8 or 16; 0 for variable types, and for what is
 * not a type. */
size_t sp_type_width(enum sp_type type);

/* Constructors, for keys above all. */
static inline struct sp_value sp_null(enum sp_type type)
{
    struct sp_value v = {.type = type, .is_null = true};
    return v;
}
static inline struct sp_value sp_int(int64_t i)
{
    struct sp_value v = {.type = SP_TYPE_INT64, .i = i};
    return v;
}
static inline struct sp_value sp_float(double f)
{
    struct sp_value v = {.type = SP_TYPE_FLOAT64, .f = f};
    return v;
}
static inline struct sp_value sp_bool(bool b)
{
    struct sp_value v = {.type = SP_TYPE_BOOL, .i = b};
    return v;
}
static inline struct sp_value sp_bytes(enum sp_type type, const void *data, size_t size)
{
    struct sp_value v = {.type = type};
    v.bytes.data = data;
    v.bytes.size = size;
    return v;
}
static inline struct sp_value sp_text(const char *data, size_t size)
{
    return sp_bytes(SP_TYPE_TEXT, data, size);
}

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
