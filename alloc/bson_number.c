/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_number.c - decimal128 (IEEE 754-2008, binary integer decimal) as text and back, and the
 * canonical form of numbers.
 *
 *   bit 127    126 .. 113    112 .. 0
 *   sign       e + 6176      c            unless bits 126 and 125 are set: then it is infinite
 *                                         (bits 126..122 = 11110), not a number (11111), or has a
 *                                         c beyond 10^34 - 1, which counts as 0
 *
 * Whether a decimal is a double or an integer is decided in integers, so nothing is rounded: of
 * c * 10^e = c * 5^e * 2^e only the odd part matters, which a double has 53 bits for.
 *
 * Costs: tens of nanoseconds. Limits: a text with more than 34 digits that count is no decimal128.
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "alloc/bson_number.h"
#include "alloc/row_internal.h"

#define DIGITS_MAX    34
#define EXPONENT_BIAS 6176
#define EXPONENT_MIN  (-6176)
#define EXPONENT_MAX  6111
#define TEN_17        UINT64_C(100000000000000000)

/* --- decimal128 ---------------------------------------------------------------------------- */

void bson_decimal_load(const uint8_t *data, struct bson_decimal *out)
{
    uint64_t low, high;
    memcpy(&low, data, sizeof(low));
    memcpy(&high, data + sizeof(low), sizeof(high));
    *out = (struct bson_decimal){.kind = BSON_FINITE, .negative = high >> 63};
    if ((high >> 61 & 3) == 3) {
        const unsigned kind = high >> 58 & 31;
        if (kind >= 30)
            out->kind = kind == 30 ? BSON_INFINITE : BSON_NAN;
        out->e = (int)(high >> 47 & 0x3fff) - EXPONENT_BIAS;
        return;
    }
    out->e = (int)(high >> 49 & 0x3fff) - EXPONENT_BIAS;
    out->c = (bson_u128)(high & UINT64_C(0x1ffffffffffff)) << 64 | low;
    if (out->c >= (bson_u128)TEN_17 * TEN_17)
        out->c = 0;
}

static void decimal_store(const struct bson_decimal *decimal, uint8_t *data)
{
    const uint64_t low = (uint64_t)decimal->c;
    const uint64_t high = (uint64_t)decimal->negative << 63 |
                          (uint64_t)(decimal->e + EXPONENT_BIAS) << 49 |
                          (uint64_t)(decimal->c >> 64);
    memcpy(data, &low, sizeof(low));
    memcpy(data + sizeof(low), &high, sizeof(high));
}

/* The digits of c, at least one. */
static size_t digits_of(bson_u128 c, char *out)
{
    uint64_t half[2] = {(uint64_t)(c % TEN_17), (uint64_t)(c / TEN_17)};
    char all[DIGITS_MAX];
    size_t skip = 0;
    for (size_t i = 0; i < DIGITS_MAX; i++) {
        uint64_t *rest = &half[i / (DIGITS_MAX / 2)];
        all[DIGITS_MAX - 1 - i] = (char)('0' + *rest % 10);
        *rest /= 10;
    }
    while (skip + 1 < DIGITS_MAX && all[skip] == '0')
        skip++;
    memcpy(out, all + skip, DIGITS_MAX - skip);
    return DIGITS_MAX - skip;
}

/* Digits with a point after the first one, and an exponent. */
static size_t put_scientific(const char *digits, size_t count, int exponent, char *out)
{
    size_t size = 0;
    out[size++] = digits[0];
    if (count > 1) {
        out[size++] = '.';
        memcpy(out + size, digits + 1, count - 1);
        size += count - 1;
    }
    out[size++] = 'E';
    if (exponent >= 0)
        out[size++] = '+';
    return size + row_format_int(exponent, out + size);
}

/* Digits of which the last `places` come after the point. */
static size_t put_plain(const char *digits, size_t count, size_t places, char *out)
{
    size_t size = 0;
    if (places == 0) {
        memcpy(out, digits, count);
        return count;
    }
    if (places >= count) {
        out[size++] = '0';
        out[size++] = '.';
        memset(out + size, '0', places - count);
        size += places - count;
        memcpy(out + size, digits, count);
        return size + count;
    }
    memcpy(out, digits, count - places);
    size = count - places;
    out[size++] = '.';
    memcpy(out + size, digits + size - 1, places);
    return size + places;
}

/* By the rules of IEEE 754's and General Decimal Arithmetic's to-scientific-string. */
size_t sp_bson_decimal_text(const void *decimal128, char out[SP_BSON_DECIMAL_BYTES])
{
    static const char *const words[] = {[BSON_INFINITE] = "Infinity", [BSON_NAN] = "NaN"};
    struct bson_decimal decimal;
    char digits[DIGITS_MAX];
    size_t size = 0;
    bson_decimal_load(decimal128, &decimal);
    if (decimal.negative && decimal.kind != BSON_NAN)
        out[size++] = '-';
    if (decimal.kind != BSON_FINITE) {
        memcpy(out + size, words[decimal.kind], strlen(words[decimal.kind]));
        size += strlen(words[decimal.kind]);
    } else {
        const size_t count = digits_of(decimal.c, digits);
        const int exponent = decimal.e + (int)count - 1;
        if (decimal.e > 0 || exponent < -6)
            size += put_scientific(digits, count, exponent, out + size);
        else
            size += put_plain(digits, count, (size_t)-decimal.e, out + size);
    }
    out[size] = 0;
    return size;
}

/* --- text to decimal128 -------------------------------------------------------------------- */

/* Appends digits to c; those that do not fit must be zeros, which are counted. */
static bool add_digits(bson_u128 *c, const char *digits, size_t count, int *dropped)
{
    const bson_u128 limit = (bson_u128)TEN_17 * TEN_17;
    for (size_t i = 0; i < count; i++) {
        const bson_u128 more = *c * 10 + (unsigned)(digits[i] - '0');
        if (*dropped == 0 && more < limit) {
            *c = more;
            continue;
        }
        if (digits[i] != '0')
            return false;
        (*dropped)++;
    }
    return true;
}

/* Moves zeros between c and e until the format has the e. */
static bool fit_exponent(bson_u128 *c, int64_t *e)
{
    const bson_u128 limit = (bson_u128)TEN_17 * TEN_17;
    if (*c == 0) {
        *e = *e > EXPONENT_MAX ? EXPONENT_MAX : *e < EXPONENT_MIN ? EXPONENT_MIN : *e;
        return true;
    }
    for (; *e > EXPONENT_MAX && *c * 10 < limit; --*e)
        *c *= 10;
    for (; *e < EXPONENT_MIN && *c % 10 == 0; ++*e)
        *c /= 10;
    return *e >= EXPONENT_MIN && *e <= EXPONENT_MAX;
}

int bson_decimal_parse(const char *text, size_t text_bytes, struct bson_decimal *out)
{
    struct row_decimal parts;
    struct sp_value exponent = sp_int(0);
    double special;
    int dropped = 0;
    *out = (struct bson_decimal){.kind = BSON_FINITE};
    if (row_special_parse(text, text_bytes, &special)) {
        out->kind = isnan(special) ? BSON_NAN : BSON_INFINITE;
        out->negative = special < 0;
        return SP_OK;
    }
    if (!row_decimal_parse(text, text_bytes, &parts))
        return SP_ETYPE;
    out->negative = parts.negative;
    if (parts.exponent_bytes && row_value_parse(SP_TYPE_INT32, parts.exponent, parts.exponent_bytes,
                                                NULL, &exponent) != SP_OK)
        return SP_ETYPE;
    if (!add_digits(&out->c, parts.whole, parts.whole_bytes, &dropped) ||
        !add_digits(&out->c, parts.fraction, parts.fraction_bytes, &dropped))
        return SP_ETYPE;
    int64_t e = exponent.i - (int64_t)parts.fraction_bytes + dropped;
    if (!fit_exponent(&out->c, &e))
        return SP_ETYPE;
    out->e = (int)e;
    return SP_OK;
}

/* --- canonical numbers --------------------------------------------------------------------- */

static void number_set(uint8_t type, const void *data, size_t size, struct bson_number *out)
{
    out->type = type;
    out->size = (uint8_t)size;
    memcpy(out->data, data, size);
}

void bson_number_of_int(int64_t i, struct bson_number *out)
{
    number_set(SP_BSON_INT64, &i, sizeof(i), out);
}

void bson_number_of_double(double f, struct bson_number *out)
{
    const uint64_t nan_bits = UINT64_C(0x7ff8000000000000);
    if (f >= -0x1p63 && f < 0x1p63 && (double)(int64_t)f == f)
        bson_number_of_int((int64_t)f, out);
    else if (isnan(f))
        number_set(SP_BSON_DOUBLE, &nan_bits, sizeof(nan_bits), out);
    else
        number_set(SP_BSON_DOUBLE, &f, sizeof(f), out);
}

/* c * 10^e as a double, if it is one. c is not 0, and does not end with a zero unless e is the
 * highest. The exponents that are left here are far from a double's limits. */
static bool decimal_is_double(bson_u128 c, int e, double *out)
{
    int twos = e;
    if (e > 22 || e < -48) /* 5^23 has more than 53 bits, 5^49 more than any c */
        return false;
    for (; !(c & 1); twos++)
        c >>= 1;
    for (int i = 0; i < e && !(c >> 53); i++)
        c *= 5;
    for (int i = 0; i > e; i--) {
        if (c % 5 != 0)
            return false;
        c /= 5;
    }
    if (c >> 53)
        return false;
    *out = ldexp((double)(uint64_t)c, twos);
    return true;
}

static bool decimal_is_int(const struct bson_decimal *decimal, int64_t *out)
{
    bson_u128 c = decimal->c;
    if (decimal->e < 0 || decimal->e > 18)
        return false;
    for (int i = 0; i < decimal->e && !(c >> 64); i++)
        c *= 10;
    if (c > (bson_u128)INT64_MAX + decimal->negative)
        return false;
    *out = decimal->negative ? (int64_t) - (uint64_t)c : (int64_t)c;
    return true;
}

void bson_number_of_decimal(struct bson_decimal decimal, struct bson_number *out)
{
    uint8_t data[BSON_DECIMAL128_BYTES];
    double f;
    int64_t i;
    if (decimal.kind != BSON_FINITE) {
        f = decimal.kind == BSON_NAN ? NAN : decimal.negative ? -INFINITY : INFINITY;
        bson_number_of_double(f, out);
        return;
    }
    if (decimal.c == 0) {
        bson_number_of_int(0, out);
        return;
    }
    for (; decimal.c % 10 == 0 && decimal.e < EXPONENT_MAX; decimal.e++)
        decimal.c /= 10;
    if (decimal_is_int(&decimal, &i)) {
        bson_number_of_int(i, out);
    } else if (decimal_is_double(decimal.c, decimal.e, &f)) {
        bson_number_of_double(decimal.negative ? -f : f, out);
    } else {
        decimal_store(&decimal, data);
        number_set(SP_BSON_DECIMAL128, data, sizeof(data), out);
    }
}

bool bson_number_of(uint8_t type, const uint8_t *data, struct bson_number *out)
{
    struct bson_decimal decimal;
    switch (type) {
    case SP_BSON_INT32:
        bson_number_of_int((int32_t)bson_load32(data), out);
        return true;
    case SP_BSON_INT64:
        bson_number_of_int(bson_load64(data), out);
        return true;
    case SP_BSON_DOUBLE:
        bson_number_of_double(bson_load_double(data), out);
        return true;
    case SP_BSON_DECIMAL128:
        bson_decimal_load(data, &decimal);
        bson_number_of_decimal(decimal, out);
        return true;
    default:
        return false;
    }
}
