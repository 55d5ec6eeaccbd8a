/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_binlog_value.c - fields of the row images in MariaDB's binary log as values.
 *
 * An image has the bytes of each column one after the other; how many, the type and its metadata in
 * the TABLE_MAP event say. Integers are little-endian; times with fractions, decimals and bits
 * big-endian. Text is in the column's own character set; ENUM and SET are numbers, whose labels
 * come from the catalog. What comes out is what mariadb_value.c makes of the same value as text.
 *
 * Nothing is read beyond a field, whatever the log holds (tests/fuzz/fuzz_binlog.c). Costs: some 10
 * ns a field; text of other character sets as
 * mariadb_charset.c has it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mysql.h>

#include "alloc/row.h"
#include "server/source/mariadb_binlog.h"

#define US_PER_SECOND  INT64_C(1000000)
#define US_PER_DAY     (86400 * US_PER_SECOND)
#define DECIMAL_GROUP  9 /* digits in four bytes */
#define DECIMAL_DIGITS 65
#define ADDRESS_BYTES  48 /* of the longest INET6, and its zero */

static const char no_memory[] = "no memory for a value";
static const char no_date[] = "a date that is not in the calendar";

/* --- where a field ends --------------------------------------------------------------------- */

int binlog_meta_bytes(uint8_t type)
{
    switch (type) {
    case MYSQL_TYPE_VARCHAR:
    case MYSQL_TYPE_VAR_STRING:
    case MYSQL_TYPE_STRING:
    case MYSQL_TYPE_BIT:
    case MYSQL_TYPE_NEWDECIMAL:
        return 2;
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
    case MYSQL_TYPE_BLOB:
    case MYSQL_TYPE_GEOMETRY:
    case MYSQL_TYPE_TIME2:
    case MYSQL_TYPE_DATETIME2:
    case MYSQL_TYPE_TIMESTAMP2:
        return 1;
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR:
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE:
    case MYSQL_TYPE_TIME:
    case MYSQL_TYPE_DATETIME:
    case MYSQL_TYPE_TIMESTAMP:
        return 0;
    default:
        return -1;
    }
}

uint16_t binlog_meta(uint8_t type, const unsigned char *at)
{
    switch (binlog_meta_bytes(type)) {
    case 1:
        return at[0];
    case 2: /* two numbers of a byte, or one of two */
        if (type == MYSQL_TYPE_STRING || type == MYSQL_TYPE_NEWDECIMAL)
            return (uint16_t)(at[0] << 8 | at[1]);
        return (uint16_t)(at[1] << 8 | at[0]);
    default:
        return 0;
    }
}

static uint64_t load_little(const unsigned char *at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = bytes; i > 0; i--)
        number = number << 8 | at[i - 1];
    return number;
}

static uint64_t load_big(const unsigned char *at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    return number;
}

/* Bytes that so many decimal digits short of a group take. */
static size_t digit_bytes(unsigned digits)
{
    return digits == 0 ? 0 : (digits + 1) / 2 - (digits == DECIMAL_GROUP);
}

static size_t decimal_bytes(uint16_t meta)
{
    const unsigned precision = meta >> 8, scale = meta & 0xff;
    const unsigned whole = precision > scale ? precision - scale : 0;
    return whole / DECIMAL_GROUP * 4 + digit_bytes(whole % DECIMAL_GROUP) +
           scale / DECIMAL_GROUP * 4 + digit_bytes(scale % DECIMAL_GROUP);
}

/* What is stored as a STRING has its type and length packed into the metadata. */
static void unpack_string(uint16_t meta, uint8_t *type, uint16_t *length)
{
    const unsigned high = meta >> 8;
    *type = (uint8_t)(high | 0x30);
    *length = (uint16_t)((meta & 0xff) | ((high & 0x30) ^ 0x30) << 4);
}

static size_t fixed_bytes(uint8_t type, uint16_t meta)
{
    switch (type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_YEAR:
        return 1;
    case MYSQL_TYPE_SHORT:
        return 2;
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE:
    case MYSQL_TYPE_TIME:
        return 3;
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_TIMESTAMP:
        return 4;
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_DOUBLE:
    case MYSQL_TYPE_DATETIME:
        return 8;
    case MYSQL_TYPE_TIME2:
        return 3 + ((size_t)meta + 1) / 2;
    case MYSQL_TYPE_DATETIME2:
        return 5 + ((size_t)meta + 1) / 2;
    case MYSQL_TYPE_TIMESTAMP2:
        return 4 + ((size_t)meta + 1) / 2;
    case MYSQL_TYPE_NEWDECIMAL:
        return decimal_bytes(meta);
    case MYSQL_TYPE_BIT:
        return (size_t)(meta >> 8) + ((meta & 0xff) > 0);
    default: /* ENUM, SET */
        return meta;
    }
}

/* Bytes of the length that stands before a field; 0: its length is fixed. */
static size_t prefix_bytes(uint8_t type, uint16_t meta)
{
    switch (type) {
    case MYSQL_TYPE_VARCHAR:
    case MYSQL_TYPE_VAR_STRING:
    case MYSQL_TYPE_STRING:
        return meta < 256 ? 1 : 2;
    case MYSQL_TYPE_BLOB:
    case MYSQL_TYPE_GEOMETRY:
        return meta >= 1 && meta <= 4 ? meta : SIZE_MAX;
    default:
        return 0;
    }
}

bool binlog_take_field(uint8_t type, uint16_t meta, struct binlog_bytes *from,
                       struct binlog_field *out)
{
    if (type == MYSQL_TYPE_STRING)
        unpack_string(meta, &type, &meta);
    const size_t prefix = prefix_bytes(type, meta);
    if (prefix > from->left)
        return false;
    const size_t bytes = prefix ? load_little(from->at, prefix) : fixed_bytes(type, meta);
    if (bytes > from->left - prefix)
        return false;
    *out = (struct binlog_field){type, meta, from->at + prefix, bytes};
    from->at += prefix + bytes;
    from->left -= prefix + bytes;
    return true;
}

/* --- numbers -------------------------------------------------------------------------------- */

static int64_t sign_extend(uint64_t number, size_t bytes)
{
    const unsigned shift = 64 - 8 * (unsigned)bytes;
    return (int64_t)(number << shift) >> shift;
}

static const char *put_unsigned(uint64_t number, struct source_scratch *scratch,
                                struct sp_value *out)
{
    if (!source_scratch_reserve(scratch, 24))
        return no_memory;
    const int size = snprintf(scratch->text, 24, "%llu", (unsigned long long)number);
    *out = sp_bytes(SP_TYPE_NUMERIC, scratch->text, (size_t)size);
    return NULL;
}

static const char *value_number(const struct binlog_column *column, uint64_t number, int64_t as,
                                struct source_scratch *scratch, struct sp_value *out)
{
    if (column->type == SP_TYPE_NUMERIC)
        return put_unsigned(number, scratch, out);
    *out = sp_int(as);
    out->type = column->type;
    return column->is_boolean && (as < 0 || as > 1) ? "not 0 or 1 in a column of booleans" : NULL;
}

static const char *value_int(const struct binlog_column *column, const struct binlog_field *field,
                             struct source_scratch *scratch, struct sp_value *out)
{
    const uint64_t number = load_little(field->data, field->bytes);
    if (field->type == MYSQL_TYPE_YEAR)
        return value_number(column, number, number ? (int64_t)number + 1900 : 0, scratch, out);
    return value_number(column, number,
                        column->is_unsigned ? (int64_t)number : sign_extend(number, field->bytes),
                        scratch, out);
}

static const char *value_bits(const struct binlog_column *column, const struct binlog_field *field,
                              struct source_scratch *scratch, struct sp_value *out)
{
    const uint64_t number = load_big(field->data, field->bytes > 8 ? 8 : field->bytes);
    return value_number(column, number, (int64_t)number, scratch, out);
}

static const char *value_float(const struct binlog_field *field, struct sp_value *out)
{
    if (field->bytes == sizeof(float)) {
        float number;
        memcpy(&number, field->data, sizeof(number));
        *out = sp_float((double)number);
        out->type = SP_TYPE_FLOAT32;
        return NULL;
    }
    double number;
    memcpy(&number, field->data, sizeof(number));
    *out = sp_float(number);
    return NULL;
}

/* --- decimals ------------------------------------------------------------------------------- */

/* Writes the digits of one group; `flip` is 0xff for negative numbers. */
static char *put_group(char *out, const unsigned char *at, unsigned digits, unsigned char flip)
{
    uint32_t number = 0;
    const size_t bytes = digits == DECIMAL_GROUP ? 4 : digit_bytes(digits);
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | (unsigned char)(at[i] ^ flip);
    for (unsigned i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    return out + digits;
}

/* So many digits: the short group first (before the point) or last (behind it). */
static char *put_digits(char *out, const unsigned char **at, unsigned digits, bool short_first,
                        unsigned char flip)
{
    unsigned odd = digits % DECIMAL_GROUP;
    if (short_first && odd) {
        out = put_group(out, *at, odd, flip);
        *at += digit_bytes(odd);
    }
    for (unsigned i = 0; i < digits / DECIMAL_GROUP; i++, *at += 4)
        out = put_group(out, *at, DECIMAL_GROUP, flip);
    return short_first || !odd ? out : put_group(out, *at, odd, flip);
}

static const char *value_decimal(const struct binlog_field *field, struct source_scratch *scratch,
                                 struct sp_value *out)
{
    const unsigned precision = field->meta >> 8, scale = field->meta & 0xff;
    unsigned char copy[64];
    if (precision == 0 || precision > DECIMAL_DIGITS || scale > precision ||
        field->bytes > sizeof(copy) || field->bytes == 0)
        return "a decimal that is none";
    if (!source_scratch_reserve(scratch, DECIMAL_DIGITS + 8))
        return no_memory;
    memcpy(copy, field->data, field->bytes);
    const bool negative = !(copy[0] & 0x80);
    copy[0] ^= 0x80;
    const unsigned char flip = negative ? 0xff : 0;
    const unsigned char *at = copy;
    char *text = scratch->text + 1; /* room for a sign */
    char *end = put_digits(text, &at, precision - scale, true, flip);
    while (text < end && *text == '0')
        text++;
    if (text == end) {
        text = scratch->text + 1;
        *text = '0';
        end = text + 1;
    }
    if (scale > 0) {
        *end++ = '.';
        end = put_digits(end, &at, scale, false, flip);
    }
    if (negative)
        *--text = '-';
    return row_value_parse(SP_TYPE_NUMERIC, text, (size_t)(end - text), NULL, out) == SP_OK
               ? NULL
               : "a decimal that is none";
}

/* --- times ---------------------------------------------------------------------------------- */

static int64_t fraction_us(const unsigned char *at, size_t bytes)
{
    static const int64_t scales[] = {0, 10000, 100, 1};
    return bytes > 3 ? 0 : (int64_t)load_big(at, bytes) * scales[bytes];
}

static const char *value_date(const struct binlog_field *field, struct sp_value *out)
{
    const unsigned packed = (unsigned)load_little(field->data, 3);
    int64_t days;
    *out = sp_null(SP_TYPE_DATE);
    if (packed == 0)
        return NULL;
    if (!row_days_since_1970(packed >> 9, packed >> 5 & 15, packed & 31, &days))
        return no_date;
    *out = sp_int(days);
    out->type = SP_TYPE_DATE;
    return NULL;
}

static const char *value_datetime(const struct binlog_field *field, struct sp_value *out)
{
    const uint64_t packed = load_big(field->data, 5) - UINT64_C(0x8000000000);
    const unsigned day = packed >> 17 & 31;
    const unsigned year_month = (unsigned)(packed >> 22 & 0x1ffff);
    const int64_t seconds =
        (int64_t)((packed >> 12 & 31) * 3600 + (packed >> 6 & 63) * 60 + (packed & 63));
    int64_t days;
    *out = sp_null(SP_TYPE_DATETIME);
    if (year_month == 0 && day == 0)
        return NULL;
    if (!row_days_since_1970(year_month / 13, year_month % 13, day, &days))
        return no_date;
    *out = sp_int(days * US_PER_DAY + seconds * US_PER_SECOND +
                  fraction_us(field->data + 5, field->bytes - 5));
    out->type = SP_TYPE_DATETIME;
    return NULL;
}

static const char *value_timestamp(const struct binlog_field *field, struct sp_value *out)
{
    const bool old = field->type == MYSQL_TYPE_TIMESTAMP;
    const int64_t seconds = (int64_t)(old ? load_little(field->data, 4) : load_big(field->data, 4));
    const int64_t us = old ? 0 : fraction_us(field->data + 4, field->bytes - 4);
    *out = sp_int(seconds * US_PER_SECOND + us);
    out->type = SP_TYPE_TIMESTAMP;
    out->is_null = seconds == 0 && us == 0;
    return NULL;
}

/* As the server prints it: so many digits behind the point as the column has. */
static const char *value_time(const struct binlog_field *field, struct source_scratch *scratch,
                              struct sp_value *out)
{
    const size_t extra = field->bytes - 3;
    const int64_t zero = INT64_C(0x800000) << 8 * extra;
    int64_t packed = (int64_t)load_big(field->data, field->bytes) - zero;
    const char *sign = packed < 0 ? "-" : "";
    packed = packed < 0 ? -packed : packed;
    const unsigned whole = (unsigned)(packed >> 8 * extra);
    unsigned char low[4] = {0};
    for (size_t i = 0; i < extra; i++)
        low[i] = (unsigned char)(packed >> 8 * (extra - 1 - i));
    if (!source_scratch_reserve(scratch, 40) || extra > 3)
        return no_memory;
    int size = snprintf(scratch->text, 40, "%s%02u:%02u:%02u.%06u", sign, whole >> 12 & 0x3ff,
                        whole >> 6 & 63, whole & 63, (unsigned)fraction_us(low, extra) % 1000000);
    size -= field->meta ? 6 - (field->meta > 6 ? 6 : field->meta) : 7;
    *out = sp_bytes(SP_TYPE_TEXT, scratch->text, (size_t)size);
    return NULL;
}

/* --- text ----------------------------------------------------------------------------------- */

static const char *value_text(const struct binlog_column *column, const struct binlog_field *field,
                              struct source_scratch *scratch, struct sp_value *out)
{
    if (column->charset) {
        size_t size = 0;
        const char *why =
            binlog_charset_text(column->charset, field->data, field->bytes, scratch, &size);
        *out = sp_bytes(column->type, scratch->text, size);
        return why;
    }
    *out = sp_bytes(column->type, field->data, field->bytes);
    return row_utf8_valid(field->data, field->bytes) ? NULL : "text that is not UTF-8";
}

static const char *value_bytes(const struct binlog_column *column, const struct binlog_field *field,
                               struct source_scratch *scratch, struct sp_value *out)
{
    *out = sp_bytes(SP_TYPE_BYTES, field->data, field->bytes);
    if (!column->is_binary || field->bytes >= field->meta)
        return NULL;
    if (!source_scratch_reserve(scratch, field->meta))
        return no_memory;
    memcpy(scratch->text, field->data, field->bytes);
    memset(scratch->text + field->bytes, 0, field->meta - field->bytes);
    *out = sp_bytes(SP_TYPE_BYTES, scratch->text, field->meta);
    return NULL;
}

static const char *value_enum(const struct binlog_column *column, const struct binlog_field *field,
                              struct sp_value *out)
{
    const uint64_t number = load_little(field->data, field->bytes > 8 ? 8 : field->bytes);
    if (number > column->label_count)
        return "a number that is no label of its ENUM";
    const char *label = number ? column->labels[number - 1] : ""; /* 0: what was refused */
    *out = sp_text(label, strlen(label));
    return NULL;
}

static const char *value_set(const struct binlog_column *column, const struct binlog_field *field,
                             struct source_scratch *scratch, struct sp_value *out)
{
    const uint64_t bits = load_little(field->data, field->bytes > 8 ? 8 : field->bytes);
    size_t room = 1, used = 0;
    if (column->label_count < 64 && bits >> column->label_count)
        return "a number that is no labels of its SET";
    for (unsigned i = 0; i < column->label_count && i < 64; i++)
        room += strlen(column->labels[i]) + 1;
    if (!source_scratch_reserve(scratch, room))
        return no_memory;
    for (unsigned i = 0; i < column->label_count && i < 64; i++) {
        if (!(bits >> i & 1))
            continue;
        const size_t size = strlen(column->labels[i]);
        if (used)
            scratch->text[used++] = ',';
        memcpy(scratch->text + used, column->labels[i], size);
        used += size;
    }
    *out = sp_text(scratch->text, used);
    return NULL;
}

/* --- UUID and addresses: bytes of fixed length, without zeros at the end --------------------- */

/* As the server prints it: the first of the longest runs of zero words is left out, even if it is
 * of one word, which inet_ntop() prints. */
static size_t print_inet6(const unsigned char *bytes, char *out)
{
    unsigned words[8], gap = 8, gap_words = 0;
    for (unsigned i = 0; i < 8; i++)
        words[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    for (unsigned i = 0, run = 0; i < 8; i++) {
        run = words[i] == 0 ? run + 1 : 0;
        if (run > gap_words) {
            gap_words = run;
            gap = i + 1 - run;
        }
    }
    const bool has_inet4 = gap == 0 && (gap_words == 6 || (gap_words == 5 && words[5] == 0xffff));
    char *at = out;
    const char *end = out + ADDRESS_BYTES;
    for (unsigned i = 0; i < (has_inet4 ? 6 : 8);) {
        if (i == gap) {
            at += snprintf(at, (size_t)(end - at), i == 0 ? "::" : ":");
            i += gap_words;
        } else {
            at += snprintf(at, (size_t)(end - at), i < 7 ? "%x:" : "%x", words[i]);
            i++;
        }
    }
    if (has_inet4)
        at += snprintf(at, (size_t)(end - at), "%u.%u.%u.%u", bytes[12], bytes[13], bytes[14],
                       bytes[15]);
    return (size_t)(at - out);
}

static const char *value_address(const struct binlog_column *column,
                                 const struct binlog_field *field, struct source_scratch *scratch,
                                 struct sp_value *out)
{
    unsigned char bytes[16] = {0};
    if (field->bytes > sizeof(bytes))
        return "more bytes than its type has";
    memcpy(bytes, field->data, field->bytes);
    if (!source_scratch_reserve(scratch, ADDRESS_BYTES))
        return no_memory;
    if (column->form == BINLOG_UUID) {
        memcpy(scratch->text, bytes, sizeof(bytes));
        *out = sp_bytes(SP_TYPE_UUID, scratch->text, 16);
        return NULL;
    }
    const size_t size = column->form == BINLOG_INET6
                            ? print_inet6(bytes, scratch->text)
                            : (size_t)snprintf(scratch->text, ADDRESS_BYTES, "%u.%u.%u.%u",
                                               bytes[0], bytes[1], bytes[2], bytes[3]);
    *out = sp_text(scratch->text, size);
    return NULL;
}

/* --- all of them ---------------------------------------------------------------------------- */

/* What a type in the log can be had as. */
static bool is_integer(uint8_t type)
{
    return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
           type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG || type == MYSQL_TYPE_YEAR;
}

static bool fits_number(enum sp_type wanted, uint8_t type, bool is_unsigned)
{
    switch (wanted) {
    case SP_TYPE_BOOL:
        return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_BIT;
    case SP_TYPE_INT32:
        return is_integer(type) && type != MYSQL_TYPE_LONGLONG &&
               !(type == MYSQL_TYPE_LONG && is_unsigned);
    case SP_TYPE_INT64:
        return type == MYSQL_TYPE_BIT || (type == MYSQL_TYPE_LONG && is_unsigned) ||
               (type == MYSQL_TYPE_LONGLONG && !is_unsigned);
    default:
        return type == MYSQL_TYPE_NEWDECIMAL || type == MYSQL_TYPE_BIT ||
               (type == MYSQL_TYPE_LONGLONG && is_unsigned);
    }
}

static bool is_string(uint8_t type)
{
    return type == MYSQL_TYPE_STRING || type == MYSQL_TYPE_VARCHAR ||
           type == MYSQL_TYPE_VAR_STRING || type == MYSQL_TYPE_BLOB;
}

bool binlog_type_fits(const struct binlog_column *column, uint8_t type, uint16_t meta)
{
    uint16_t length = meta;
    if (type == MYSQL_TYPE_STRING)
        unpack_string(meta, &type, &length);
    if (column->form == BINLOG_ENUM || column->form == BINLOG_SET)
        return type == (column->form == BINLOG_ENUM ? MYSQL_TYPE_ENUM : MYSQL_TYPE_SET);
    switch (column->type) {
    case SP_TYPE_FLOAT32:
        return type == MYSQL_TYPE_FLOAT;
    case SP_TYPE_FLOAT64:
        return type == MYSQL_TYPE_DOUBLE;
    case SP_TYPE_DATE:
        return type == MYSQL_TYPE_DATE || type == MYSQL_TYPE_NEWDATE;
    case SP_TYPE_DATETIME:
        return type == MYSQL_TYPE_DATETIME2 && meta <= 6;
    case SP_TYPE_TIMESTAMP:
        return type == MYSQL_TYPE_TIMESTAMP || (type == MYSQL_TYPE_TIMESTAMP2 && meta <= 6);
    case SP_TYPE_TEXT:
        return is_string(type) || (type == MYSQL_TYPE_TIME2 && meta <= 6);
    case SP_TYPE_JSON:
    case SP_TYPE_UUID:
        return is_string(type);
    case SP_TYPE_BYTES:
        return is_string(type) || type == MYSQL_TYPE_GEOMETRY;
    default:
        return fits_number(column->type, type, column->is_unsigned);
    }
}

static const char *value_string(const struct binlog_column *column,
                                const struct binlog_field *field, struct source_scratch *scratch,
                                struct sp_value *out)
{
    if (column->form == BINLOG_UUID || column->form == BINLOG_INET4 || column->form == BINLOG_INET6)
        return value_address(column, field, scratch, out);
    return column->type == SP_TYPE_BYTES ? value_bytes(column, field, scratch, out)
                                         : value_text(column, field, scratch, out);
}

static const char *value_of_type(const struct binlog_column *column,
                                 const struct binlog_field *field, struct source_scratch *scratch,
                                 struct sp_value *out)
{
    switch (field->type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR:
        return value_int(column, field, scratch, out);
    case MYSQL_TYPE_BIT:
        return value_bits(column, field, scratch, out);
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
        return value_float(field, out);
    case MYSQL_TYPE_NEWDECIMAL:
        return value_decimal(field, scratch, out);
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE:
        return value_date(field, out);
    case MYSQL_TYPE_DATETIME2:
        return value_datetime(field, out);
    case MYSQL_TYPE_TIMESTAMP:
    case MYSQL_TYPE_TIMESTAMP2:
        return value_timestamp(field, out);
    case MYSQL_TYPE_TIME2:
        return value_time(field, scratch, out);
    case MYSQL_TYPE_ENUM:
        return value_enum(column, field, out);
    case MYSQL_TYPE_SET:
        return value_set(column, field, scratch, out);
    default:
        return value_string(column, field, scratch, out);
    }
}

const char *binlog_value(const struct binlog_column *column, const struct binlog_field *field,
                         struct source_scratch *scratch, struct sp_value *out)
{
    const char *why = value_of_type(column, field, scratch, out);
    if (why)
        *out = sp_null(column->type);
    return why;
}
