/* SPDX-License-Identifier: Apache-2.0
 *
 * number.c - see number.h.
 */
#include "server/resp/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool number_integer(const char *text, size_t size, int64_t *out)
{
    bool negative = size > 0 && text[0] == '-';
    const char *at = text + negative, *end = text + size;
    uint64_t value = 0;
    if (size == 1 && text[0] == '0') {
        *out = 0;
        return true;
    }
    if (at == end || end - at > 19 || *at < '1' || *at > '9')
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool number_long_double(const char *text, size_t size, long double *out)
{
    char copy[256];
    char *end;
    if (size == 0 || size >= sizeof(copy) || text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    errno = 0;
    *out = strtold(copy, &end);
    bool range = errno == ERANGE && (isinf(*out) || fpclassify(*out) == FP_ZERO);
    return end == copy + size && !range && !isnan(*out);
}

size_t number_print_long(char *out, int64_t number)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    char digits[20];
    char *at = digits + sizeof(digits);
    uint64_t value = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    for (; value >= 100; value /= 100) {
        at -= 2;
        memcpy(at, pairs + value % 100 * 2, 2);
    }
    if (value >= 10) {
        at -= 2;
        memcpy(at, pairs + value * 2, 2);
    } else {
        *--at = (char)('0' + value);
    }
    size_t size = (size_t)(digits + sizeof(digits) - at), sign = number < 0;
    if (sign)
        *out = '-';
    memcpy(out + sign, at, size);
    return size + sign;
}

size_t number_print_long_double(char *out, long double number)
{
    if (isinf(number)) {
        const char *text = number > 0 ? "inf" : "-inf";
        memcpy(out, text, strlen(text));
        return strlen(text);
    }
    int size = snprintf(out, NUMBER_FLOAT_BYTES, "%.17Lf", number);
    while (size > 0 && out[size - 1] == '0')
        size--;
    if (size > 0 && out[size - 1] == '.')
        size--;
    if (size == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        size = 1;
    }
    return (size_t)size;
}

size_t number_print_double(char *out, double number)
{
    if (isnan(number) || isinf(number)) {
        const char *text = isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
        memcpy(out, text, strlen(text));
        return strlen(text);
    }
    int size = 0;
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(out, NUMBER_FLOAT_BYTES, "%.*g", digits, number);
        if (strtod(out, NULL) == number)
            break;
    }
    return (size_t)size;
}
