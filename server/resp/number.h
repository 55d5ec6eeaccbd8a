/* SPDX-License-Identifier: Apache-2.0
 *
 * number.h - numbers as Redis reads and writes them in values and arguments.
 *
 * Reading is strict: the whole text is the number, with no space around it. The writing functions
 * need the room that their constants say, and terminate nothing.
 */
#ifndef SIDEPOND_RESP_NUMBER_H
#define SIDEPOND_RESP_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NUMBER_INT_BYTES    20 /* "-9223372036854775808" */
#define NUMBER_FLOAT_BYTES  5120
#define NUMBER_DOUBLE_BYTES 32

/* An integer as Redis itself would write it: no plus, no leading zeros, no "-0". */
bool number_parse(const char *text, size_t size, int64_t *value);

/* What strtold takes, of less than NUMBER_FLOAT_BYTES: also "1e3", "0x1p4" and "inf",
 * but no NaN, and nothing that is too large, or too near to 0, for the type. */
bool number_parse_long_double(const char *text, size_t size, long double *value);

/* As INCRBYFLOAT writes: 17 decimals without trailing zeros; "inf", "-inf". The text's size; 0 if
 * it is a NaN or does not fit. */
size_t number_print_long_double(char out[NUMBER_FLOAT_BYTES], long double value);

/* 17 significant digits; "inf", "-inf", "nan". The text's size. */
size_t number_print_double(char out[NUMBER_DOUBLE_BYTES], double value);

extern const char number_pairs[200]; /* "00" to "99" */

static inline unsigned number_digits(uint64_t value)
{
    unsigned digits = 1;
    while (value >= 10000) {
        value /= 10000;
        digits += 4;
    }
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

static inline size_t number_print_unsigned(char *out, uint64_t value)
{
    unsigned size = number_digits(value);
    char *end = out + size;
    while (value >= 100) {
        end -= 2;
        memcpy(end, number_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(out, number_pairs + value * 2, 2);
    else
        *out = (char)('0' + value);
    return size;
}

static inline size_t number_print(char out[NUMBER_INT_BYTES], int64_t value)
{
    if (value >= 0)
        return number_print_unsigned(out, (uint64_t)value);
    *out = '-';
    return 1 + number_print_unsigned(out + 1, 0 - (uint64_t)value);
}

#endif
