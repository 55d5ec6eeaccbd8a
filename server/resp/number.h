/* SPDX-License-Identifier: Apache-2.0
 *
 * number.h - numbers as texts, as strictly as Redis reads them and in the form that it writes.
 */
#ifndef SIDEPOND_RESP_NUMBER_H
#define SIDEPOND_RESP_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NUMBER_INTEGER_BYTES 24 /* room for any, without a terminating zero */
#define NUMBER_FLOAT_BYTES                                                                         \
    5200 /* the same: a long double has up to 4,933 digits before the point */

/* A whole number in its shortest form: digits, a minus for those below zero, no zero in front, and
 * nothing else. */
bool number_integer(const char *text, size_t size, int64_t *out);

/* Numbers with a fraction, exponent or the word inf; the whole text, without blanks; no NaN. */
bool number_long_double(const char *text, size_t size, long double *out);

/* Writes digits, at most NUMBER_INTEGER_BYTES; returns how many bytes. */
size_t number_print_long(char *out, int64_t number);
static inline size_t number_print(char *out, int64_t number)
{
    if ((uint64_t)number < 10) {
        *out = (char)('0' + number);
        return 1;
    }
    return number_print_long(out, number);
}

/* With 17 digits after the point, less the zeros at the end: never an exponent. */
size_t number_print_long_double(char *out, long double number);
/* The shortest of up to 17 digits that is read back as the same number. */
size_t number_print_double(char *out, double number);

#endif
