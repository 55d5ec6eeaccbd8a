/* SPDX-License-Identifier: Apache-2.0
 *
 * watermark_bson.c - marks of a field whose type each document chooses.
 *
 * A value is the byte of its BSON type and its bytes. MongoDB compares a field with a mark only
 * where both are of one class (all numbers are one), so a collection whose field is of several
 * classes is read by the highest of them, and the rest by full passes.
 *
 * ObjectIds begin with the second in which they were made, by the clock of whoever made them.
 */
#include "server/refresh/watermark_bson.h"

#include <limits.h>
#include <string.h>

#include "alloc/row.h"

enum bson_type {
    BSON_DOUBLE = 0x01,
    BSON_STRING = 0x02,
    BSON_OBJECT_ID = 0x07,
    BSON_DATE = 0x09,
    BSON_INT32 = 0x10,
    BSON_TIMESTAMP = 0x11,
    BSON_INT64 = 0x12,
};

enum { OBJECT_ID_BYTES = 12, SECOND_BYTES = 4, STRING_HEAD = 5 }; /* type and length */

static const unsigned char *data_of(const struct sp_value *value)
{
    return (const unsigned char *)value->bytes.data + 1;
}

static unsigned char type_of(const struct sp_value *value)
{
    return value->bytes.size ? *(const unsigned char *)value->bytes.data : 0;
}

static uint64_t read_little(const unsigned char *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static void write_little(char *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (char)(value >> (8 * i));
}

static int64_t second_of(const unsigned char *object_id)
{
    return (int64_t)object_id[0] << 24 | object_id[1] << 16 | object_id[2] << 8 | object_id[3];
}

static double double_of(const struct sp_value *value)
{
    const uint64_t bits = read_little(data_of(value), 8);
    double number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

static int64_t int_of(const struct sp_value *value)
{
    if (type_of(value) == BSON_INT32)
        return (int32_t)read_little(data_of(value), 4);
    return (int64_t)read_little(data_of(value), 8);
}

/* A string without its length and the zero at its end. */
static struct sp_value text_of(const struct sp_value *value)
{
    return sp_text((const char *)value->bytes.data + STRING_HEAD,
                   value->bytes.size - STRING_HEAD - 1);
}

/* --- order ---------------------------------------------------------------------------------- */

/* 0: cannot be a mark. */
static int class_of(const struct sp_value *value)
{
    switch (type_of(value)) {
    case BSON_INT32:
        return value->bytes.size == 1 + 4 ? 1 : 0;
    case BSON_INT64:
    case BSON_DOUBLE:
        return value->bytes.size == 1 + 8 ? 1 : 0;
    case BSON_STRING:
        return value->bytes.size > STRING_HEAD ? 2 : 0;
    case BSON_OBJECT_ID:
        return value->bytes.size == 1 + OBJECT_ID_BYTES ? 3 : 0;
    case BSON_DATE:
        return value->bytes.size == 1 + 8 ? 4 : 0;
    case BSON_TIMESTAMP:
        return value->bytes.size == 1 + 8 ? 5 : 0;
    default:
        return 0;
    }
}

bool watermark_bson_counts(const struct sp_value *value)
{
    if (value->is_null || class_of(value) == 0)
        return false;
    const double infinity = __builtin_inf();
    return type_of(value) != BSON_DOUBLE ||
           (double_of(value) > -infinity && double_of(value) < infinity);
}

/* Holds every int64 and every double exactly. */
static long double number_of(const struct sp_value *value)
{
    return type_of(value) == BSON_DOUBLE ? (long double)double_of(value)
                                         : (long double)int_of(value);
}

static int compare_bytes(const struct sp_value *a, const struct sp_value *b)
{
    const size_t common = a->bytes.size < b->bytes.size ? a->bytes.size : b->bytes.size;
    const int order = common ? memcmp(a->bytes.data, b->bytes.data, common) : 0;
    return order ? order : (a->bytes.size > b->bytes.size) - (a->bytes.size < b->bytes.size);
}

int watermark_bson_compare(const struct sp_value *a, const struct sp_value *b)
{
    const int class = class_of(a);
    if (class != class_of(b))
        return class - class_of(b);
    if (class == 1)
        return (number_of(a) > number_of(b)) - (number_of(a) < number_of(b));
    if (class == 2) {
        const struct sp_value left = text_of(a), right = text_of(b);
        return compare_bytes(&left, &right);
    }
    if (class == 3)
        return memcmp(data_of(a), data_of(b), OBJECT_ID_BYTES);
    if (class == 4)
        return (int_of(a) > int_of(b)) - (int_of(a) < int_of(b));
    return ((uint64_t)int_of(a) > (uint64_t)int_of(b)) -
           ((uint64_t)int_of(a) < (uint64_t)int_of(b));
}

int64_t watermark_bson_ms(const struct sp_value *value)
{
    switch (class_of(value)) {
    case 3:
        return second_of(data_of(value)) * 1000;
    case 4:
        return int_of(value);
    case 5:
        return (int64_t)((uint64_t)int_of(value) >> 32) * 1000;
    default:
        return INT64_MIN;
    }
}

/* --- less the overlap ------------------------------------------------------------------------- */

static int64_t minus(int64_t a, int64_t b)
{
    int64_t result;
    return __builtin_sub_overflow(a, b, &result) ? INT64_MIN : result;
}

/* Microseconds as units of so many, rounded up. */
static int64_t units(int64_t overlap_us, int64_t unit_us)
{
    return overlap_us / unit_us + (overlap_us % unit_us != 0);
}

/* Seconds of an unsigned 32-bit clock. */
static uint32_t seconds_before(int64_t second, int64_t overlap_us)
{
    const int64_t at = minus(second, units(overlap_us, 1000000));
    return at < 0 ? 0 : (uint32_t)at;
}

static void subtract_number(const struct sp_value *value, int64_t overlap, char *scratch,
                            struct sp_value *out)
{
    if (type_of(value) == BSON_DOUBLE) {
        const double number = double_of(value) - (double)overlap;
        uint64_t bits;
        memcpy(&bits, &number, sizeof(bits));
        write_little(scratch + 1, bits, 8);
    } else {
        scratch[0] = BSON_INT64;
        write_little(scratch + 1, (uint64_t)minus(int_of(value), overlap), 8);
    }
    *out = sp_bytes(SP_TYPE_BSON_VALUE, scratch, 1 + 8);
}

/* As a text column's mark, with what makes a BSON string of it. */
static void subtract_text(const struct sp_value *value, int64_t overlap, char *scratch,
                          struct sp_value *out)
{
    char text[WATERMARK_TEXT_BYTES];
    struct watermark mark = {.set = true, .value = text_of(value)};
    struct sp_value less;
    memcpy(mark.text, mark.value.bytes.data, mark.value.bytes.size);
    mark.value.bytes.data = mark.text;
    watermark_since(&mark, overlap, text, &less);
    if (less.bytes.size + STRING_HEAD + 1 > WATERMARK_TEXT_BYTES)
        return;
    write_little(scratch + 1, less.bytes.size + 1, 4);
    memcpy(scratch + STRING_HEAD, less.bytes.data, less.bytes.size);
    scratch[STRING_HEAD + less.bytes.size] = 0;
    *out = sp_bytes(SP_TYPE_BSON_VALUE, scratch, STRING_HEAD + less.bytes.size + 1);
}

void watermark_bson_since(const struct sp_value *value, int64_t overlap,
                          char scratch[WATERMARK_TEXT_BYTES], struct sp_value *out)
{
    memcpy(scratch, value->bytes.data, value->bytes.size);
    *out = sp_bytes(SP_TYPE_BSON_VALUE, scratch, value->bytes.size);
    if (overlap == 0)
        return;
    switch (class_of(value)) {
    case 1:
        subtract_number(value, overlap, scratch, out);
        break;
    case 2:
        subtract_text(value, overlap, scratch, out);
        break;
    case 3: {
        const uint32_t second = seconds_before(second_of(data_of(value)), overlap);
        memset(scratch + 1, 0, OBJECT_ID_BYTES);
        for (unsigned i = 0; i < SECOND_BYTES; i++)
            scratch[1 + i] = (char)(second >> (8 * (SECOND_BYTES - 1 - i)));
        break;
    }
    case 4:
        write_little(scratch + 1, (uint64_t)minus(int_of(value), units(overlap, 1000)), 8);
        break;
    default: {
        const int64_t second = (int64_t)((uint64_t)int_of(value) >> 32);
        write_little(scratch + 1, (uint64_t)seconds_before(second, overlap) << 32, 8);
    }
    }
}
