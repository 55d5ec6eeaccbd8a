/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_number.h - BSON's four kinds of numbers as one: exact, and in one form for each value.
 */
#ifndef SIDEPOND_ALLOC_BSON_NUMBER_H
#define SIDEPOND_ALLOC_BSON_NUMBER_H

#include "alloc/bson.h"

/* A decimal128 is c * 10^e, c < 10^34; the format has room for 113 bits. */
__extension__ typedef unsigned __int128 bson_u128;

struct bson_decimal {
    enum { BSON_FINITE, BSON_INFINITE, BSON_NAN } kind;
    bool negative;
    bson_u128 c;
    int e;
};

void bson_decimal_load(const uint8_t *data, struct bson_decimal *out);
/* Text of a decimal number, also NaN and Infinity. SP_ETYPE: it is none, or not one exactly. */
int bson_decimal_parse(const char *text, size_t text_bytes, struct bson_decimal *out);

/* The canonical form of a number: its type and bytes, the same for all that are equal. What is an
 * integer of 64 bits is an INT64; else what a double is exactly is a DOUBLE; else it is a
 * DECIMAL128 with as few digits as it has. */
struct bson_number {
    uint8_t type;
    uint8_t size;
    uint8_t data[BSON_DECIMAL128_BYTES];
};
void bson_number_of_int(int64_t i, struct bson_number *out);
void bson_number_of_double(double f, struct bson_number *out);
void bson_number_of_decimal(struct bson_decimal decimal, struct bson_number *out);
/* False: the type is none of a number. */
bool bson_number_of(uint8_t type, const uint8_t *data, struct bson_number *out);

#endif
