/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_value.c - fields of PostgreSQL's binary format as values.
 *
 * Numbers are big-endian; times count from the year 2000; a numeric is a row of digits of base
 * 10,000, which is written out as exactly the text that PostgreSQL itself would print, with its
 * scale. Everything else is text, which is checked to be UTF-8: a database of encoding SQL_ASCII
 * may hold anything.
 *
 * Costs: text and bytes are borrowed; a numeric costs about 3 ns a digit. Limits: a timestamp of
 * the last 30 years before PostgreSQL's own limit (294276) does not fit and is bad.
 */
#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "server/source/postgresql.h"

#define EPOCH_2000_DAYS 10957
#define EPOCH_2000_US   (EPOCH_2000_DAYS * INT64_C(86400) * 1000000)

#define NUMERIC_HEAD_BYTES 8
#define NUMERIC_BASE       10000
#define NUMERIC_GROUP      4 /* decimal digits of one digit of that base */

enum {
    NUMERIC_NEGATIVE = 0x4000,
    NUMERIC_NAN = 0xc000,
    NUMERIC_INF = 0xd000,
    NUMERIC_NINF = 0xf000
};

static const char wrong_size[] = "a field whose size is not its type's";

bool pg_type(Oid oid, enum sp_type *type)
{
    static const struct {
        Oid oid;
        enum sp_type type;
    } types[] = {
        {PG_BOOL, SP_TYPE_BOOL},          {PG_BYTEA, SP_TYPE_BYTES},
        {PG_NAME, SP_TYPE_TEXT},          {PG_INT8, SP_TYPE_INT64},
        {PG_INT2, SP_TYPE_INT32},         {PG_INT4, SP_TYPE_INT32},
        {PG_TEXT, SP_TYPE_TEXT},          {PG_OID, SP_TYPE_INT64},
        {PG_JSON, SP_TYPE_JSON},          {PG_FLOAT4, SP_TYPE_FLOAT32},
        {PG_FLOAT8, SP_TYPE_FLOAT64},     {PG_BPCHAR, SP_TYPE_TEXT},
        {PG_VARCHAR, SP_TYPE_TEXT},       {PG_DATE, SP_TYPE_DATE},
        {PG_TIMESTAMP, SP_TYPE_DATETIME}, {PG_TIMESTAMPTZ, SP_TYPE_TIMESTAMP},
        {PG_NUMERIC, SP_TYPE_NUMERIC},    {PG_UUID, SP_TYPE_UUID},
        {PG_JSONB, SP_TYPE_JSON},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i].oid == oid) {
            *type = types[i].type;
            return true;
        }
    return false;
}

/* --- fixed widths --------------------------------------------------------------------------- */

static uint16_t load16(const unsigned char *at)
{
    uint16_t n;
    memcpy(&n, at, sizeof(n));
    return be16toh(n);
}

static uint32_t load32(const unsigned char *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof(n));
    return be32toh(n);
}

static uint64_t load64(const unsigned char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return be64toh(n);
}

static size_t width(Oid oid)
{
    switch (oid) {
    case PG_BOOL:
        return 1;
    case PG_INT2:
        return 2;
    case PG_INT4:
    case PG_OID:
    case PG_FLOAT4:
    case PG_DATE:
        return 4;
    case PG_INT8:
    case PG_FLOAT8:
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
        return 8;
    case PG_UUID:
        return 16;
    default:
        return 0;
    }
}

/* A NaN is one, whatever its sign and bits are: as text, which the change feed has, all are. */
static double float32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return isnan(f) ? (double)NAN : (double)f;
}

static double float64(uint64_t bits)
{
    double f;
    memcpy(&f, &bits, sizeof(f));
    return isnan(f) ? (double)NAN : f;
}

static const char *value_date(const unsigned char *data, struct sp_value *out)
{
    const int32_t days = (int32_t)load32(data);
    out->type = SP_TYPE_DATE;
    out->i = days;
    if (days != INT32_MAX && days != INT32_MIN)
        out->i += EPOCH_2000_DAYS;
    return out->i == (int32_t)out->i ? NULL : "a date that does not fit";
}

static const char *value_timestamp(Oid oid, const unsigned char *data, struct sp_value *out)
{
    const int64_t us = (int64_t)load64(data);
    out->type = oid == PG_TIMESTAMP ? SP_TYPE_DATETIME : SP_TYPE_TIMESTAMP;
    out->i = us;
    if (us == INT64_MAX || us == INT64_MIN)
        return NULL;
    if (__builtin_add_overflow(us, EPOCH_2000_US, &out->i) || out->i == INT64_MAX)
        return "a time that does not fit: after the year 294247";
    return NULL;
}

static const char *value_fixed(Oid oid, const unsigned char *data, struct sp_value *out)
{
    out->is_null = false;
    switch (oid) {
    case PG_BOOL:
        out->type = SP_TYPE_BOOL;
        out->i = *data != 0;
        return NULL;
    case PG_INT2:
        out->type = SP_TYPE_INT32;
        out->i = (int16_t)load16(data);
        return NULL;
    case PG_INT4:
        out->type = SP_TYPE_INT32;
        out->i = (int32_t)load32(data);
        return NULL;
    case PG_OID:
        out->type = SP_TYPE_INT64;
        out->i = load32(data);
        return NULL;
    case PG_INT8:
        out->type = SP_TYPE_INT64;
        out->i = (int64_t)load64(data);
        return NULL;
    case PG_FLOAT4:
        out->type = SP_TYPE_FLOAT32;
        out->f = float32(load32(data));
        return NULL;
    case PG_FLOAT8:
        out->type = SP_TYPE_FLOAT64;
        out->f = float64(load64(data));
        return NULL;
    case PG_DATE:
        return value_date(data, out);
    case PG_UUID:
        *out = sp_bytes(SP_TYPE_UUID, data, 16);
        return NULL;
    default:
        return value_timestamp(oid, data, out);
    }
}

/* --- numeric -------------------------------------------------------------------------------- */

struct numeric {
    const unsigned char *digits; /* uint16 each */
    int digit_count;
    int weight; /* of the first digit, as a power of the base */
    unsigned sign;
    int scale; /* decimal digits after the point */
};

/* The digit that stands for base^power; 0 beyond both ends. */
static unsigned numeric_digit(const struct numeric *n, int power)
{
    const int i = n->weight - power;
    return i >= 0 && i < n->digit_count ? load16(n->digits + 2 * (size_t)i) : 0;
}

static char *put_group(char *at, unsigned digit)
{
    at[0] = (char)('0' + digit / 1000);
    at[1] = (char)('0' + digit / 100 % 10);
    at[2] = (char)('0' + digit / 10 % 10);
    at[3] = (char)('0' + digit % 10);
    return at + NUMERIC_GROUP;
}

static char *put_whole(char *at, const struct numeric *n)
{
    char *start = at;
    for (int power = n->weight; power >= 0; power--)
        at = put_group(at, numeric_digit(n, power));
    size_t zeros = 0;
    const size_t size = (size_t)(at - start);
    while (zeros < size && start[zeros] == '0')
        zeros++;
    memmove(start, start + zeros, size - zeros);
    at -= zeros;
    if (at == start)
        *at++ = '0';
    return at;
}

static char *put_fraction(char *at, const struct numeric *n)
{
    *at++ = '.';
    char *end = at + n->scale;
    for (int power = -1; at < end; power--)
        at = put_group(at, numeric_digit(n, power));
    return end;
}

static bool numeric_read(const unsigned char *data, size_t bytes, struct numeric *out)
{
    if (bytes < NUMERIC_HEAD_BYTES)
        return false;
    out->digits = data + NUMERIC_HEAD_BYTES;
    out->digit_count = load16(data);
    out->weight = (int16_t)load16(data + 2);
    out->sign = load16(data + 4);
    out->scale = load16(data + 6);
    if (bytes != NUMERIC_HEAD_BYTES + 2 * (size_t)out->digit_count)
        return false;
    for (int i = 0; i < out->digit_count; i++)
        if (load16(out->digits + 2 * (size_t)i) >= NUMERIC_BASE)
            return false;
    return true;
}

static const char *value_numeric(const unsigned char *data, size_t bytes,
                                 struct source_scratch *scratch, struct sp_value *out)
{
    struct numeric n;
    const char *word = NULL;
    if (!numeric_read(data, bytes, &n))
        return "a numeric that is none";
    if (n.sign == NUMERIC_NAN)
        word = "NaN";
    else if (n.sign == NUMERIC_INF)
        word = "Infinity";
    else if (n.sign == NUMERIC_NINF)
        word = "-Infinity";
    if (word) {
        *out = sp_bytes(SP_TYPE_NUMERIC, word, strlen(word));
        return NULL;
    }
    const size_t groups = (size_t)(n.weight > 0 ? n.weight + 1 : 1) + 2;
    if (!source_scratch_reserve(scratch, groups * NUMERIC_GROUP + (size_t)n.scale + NUMERIC_GROUP))
        return "no memory for a numeric";
    char *at = scratch->text;
    if (n.sign == NUMERIC_NEGATIVE)
        *at++ = '-';
    at = put_whole(at, &n);
    if (n.scale > 0)
        at = put_fraction(at, &n);
    *out = sp_bytes(SP_TYPE_NUMERIC, scratch->text, (size_t)(at - scratch->text));
    return NULL;
}

/* --- all of them ---------------------------------------------------------------------------- */

static const char *value_text(enum sp_type type, const unsigned char *data, size_t bytes,
                              struct sp_value *out)
{
    *out = sp_bytes(type, data, bytes);
    return row_utf8_valid(data, bytes) ? NULL : "text that is not UTF-8";
}

const char *pg_value(Oid oid, const unsigned char *data, size_t bytes,
                     struct source_scratch *scratch, struct sp_value *out)
{
    switch (oid) {
    case PG_BYTEA:
        *out = sp_bytes(SP_TYPE_BYTES, data, bytes);
        return NULL;
    case PG_NUMERIC:
        return value_numeric(data, bytes, scratch, out);
    case PG_JSON:
        return value_text(SP_TYPE_JSON, data, bytes, out);
    case PG_JSONB: /* a version, then text */
        if (bytes < 1 || data[0] != 1)
            return "jsonb of a version that is not known";
        return value_text(SP_TYPE_JSON, data + 1, bytes - 1, out);
    default:
        if (width(oid) == 0)
            return value_text(SP_TYPE_TEXT, data, bytes, out);
        return bytes == width(oid) ? value_fixed(oid, data, out) : wrong_size;
    }
}
