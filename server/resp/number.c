/* SPDX-License-Identifier: Apache-2.0
 *
 * number.c - integers digit by digit, floating point by the C library.
 *
 * Arguments lie unterminated in a connection's buffer, so strtold gets a copy on the stack. It goes
 * by LC_NUMERIC, which a program that uses this leaves as it starts: "C".
 */
#include "server/resp/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROW(tens)                                                                                  \
    tens "0" tens "1" tens "2" tens "3" tens "4" tens "5" tens "6" tens "7" tens "8" tens "9"
const char number_pairs[200] =
    ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7") ROW("8") ROW("9");

bool number_parse(const char *text, size_t size, int64_t *value)
{
    bool negative = size > 0 && *text == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    uint64_t sum = 0;
    if (size == 1 && *text == '0') {
        *value = 0;
        return true;
    }
    if (size <= negative || size > NUMBER_INT_BYTES || text[negative] == '0')
        return false;
    for (size_t i = negative; i < size; i++) {
        uint64_t digit = (uint64_t)(unsigned char)text[i] - '0';
        if (digit > 9 || sum > (limit - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

bool number_parse_long_double(const char *text, size_t size, long double *value)
{
    char copy[NUMBER_FLOAT_BYTES];
    char *end = NULL;
    if (size == 0 || size >= NUMBER_FLOAT_BYTES || isspace((unsigned char)*text))
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    errno = 0;
    long double parsed = strtold(copy, &end);
    bool out_of_range = errno == ERANGE && (isinf(parsed) || parsed == 0);
    if (end != copy + size || out_of_range || isnan(parsed))
        return false;
    *value = parsed;
    return true;
}

static size_t print_infinity(char *out, bool negative)
{
    memcpy(out, "-inf", 4);
    if (!negative)
        memcpy(out, "inf", 3);
    return 3 + (size_t)negative;
}

size_t number_print_long_double(char out[NUMBER_FLOAT_BYTES], long double value)
{
    if (isnan(value))
        return 0;
    if (isinf(value))
        return print_infinity(out, value < 0);
    int printed = snprintf(out, NUMBER_FLOAT_BYTES, "%.17Lf", value);
    if (printed < 0 || printed >= NUMBER_FLOAT_BYTES)
        return 0;
    size_t size = (size_t)printed;
    while (out[size - 1] == '0')
        size--;
    size -= out[size - 1] == '.';
    if (size == 2 && memcmp(out, "-0", 2) == 0)
        out[--size - 1] = '0';
    return size;
}

size_t number_print_double(char out[NUMBER_DOUBLE_BYTES], double value)
{
    if (isinf(value))
        return print_infinity(out, value < 0);
    if (isnan(value)) {
        memcpy(out, "nan", 3);
        return 3;
    }
    int printed = snprintf(out, NUMBER_DOUBLE_BYTES, "%.17g", value);
    return printed > 0 ? (size_t)printed : 0;
}
