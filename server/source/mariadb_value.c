/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_value.c - types of MariaDB and MySQL, and fields of the text protocol as values.
 *
 * The text protocol is taken for reading whole tables: text, bytes and DECIMAL, most of what tables
 * hold, are then borrowed as they are, and libmariadb copies nothing. Only FLOAT loses digits in
 * it; it is asked for as DOUBLE (mariadb_describe.c).
 *
 * Habits of these databases: BOOL is TINYINT(1); a date that is all zeros stands for "none", and IS
 * NULL is true of it in their own SQL, so it arrives as NULL; BIT is a number; JSON in MariaDB is
 * text with a check, which newer servers say of a field.
 *
 * Costs: some 10 ns a number, 60 ns a time.
 */
#include <string.h>

#include "alloc/row.h"
#include "server/source/mariadb.h"

#define CHARSET_BINARY 63
#define BITS_SIGNED    63 /* so many fit into an int64 */

/* --- types ---------------------------------------------------------------------------------- */

static bool attribute_is(const MYSQL_FIELD *field, enum mariadb_field_attr_t kind, const char *text)
{
    MARIADB_CONST_STRING attribute;
    return mariadb_field_attr(&attribute, field, kind) == 0 && attribute.str &&
           attribute.length == strlen(text) && memcmp(attribute.str, text, attribute.length) == 0;
}

static enum maria_form integer(enum sp_type *type, enum sp_type what)
{
    *type = what;
    return what == SP_TYPE_NUMERIC ? FORM_NUMERIC : FORM_INT;
}

static enum maria_form bits(const MYSQL_FIELD *field, enum sp_type *type)
{
    *type = SP_TYPE_INT64;
    if (field->length == 1)
        *type = SP_TYPE_BOOL;
    else if (field->length > BITS_SIGNED)
        *type = SP_TYPE_NUMERIC;
    return FORM_BIT;
}

static enum maria_form moment(enum sp_type *type, enum sp_type what)
{
    *type = what;
    return FORM_TIME;
}

static enum maria_form string(const MYSQL_FIELD *field, enum sp_type *type, bool *as_text)
{
    if (field->type == MYSQL_TYPE_JSON ||
        attribute_is(field, MARIADB_FIELD_ATTR_FORMAT_NAME, "json")) {
        *type = SP_TYPE_JSON;
        return FORM_JSON;
    }
    if (attribute_is(field, MARIADB_FIELD_ATTR_DATA_TYPE_NAME, "uuid")) {
        *type = SP_TYPE_UUID;
        return FORM_UUID;
    }
    *as_text = attribute_is(field, MARIADB_FIELD_ATTR_DATA_TYPE_NAME, "inet6") ||
               attribute_is(field, MARIADB_FIELD_ATTR_DATA_TYPE_NAME, "inet4");
    const bool binary = field->charsetnr == CHARSET_BINARY && !*as_text;
    *type = binary ? SP_TYPE_BYTES : SP_TYPE_TEXT;
    return binary ? FORM_BYTES : FORM_TEXT;
}

enum maria_form maria_type(const MYSQL_FIELD *field, enum sp_type *type, bool *as_text)
{
    const bool is_unsigned = field->flags & UNSIGNED_FLAG;
    *as_text = false;
    switch (field->type) {
    case MYSQL_TYPE_TINY:
        *type = SP_TYPE_BOOL;
        if (field->length == 1 && !is_unsigned)
            return FORM_BOOL;
        return integer(type, SP_TYPE_INT32);
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_YEAR:
        return integer(type, SP_TYPE_INT32);
    case MYSQL_TYPE_LONG:
        return integer(type, is_unsigned ? SP_TYPE_INT64 : SP_TYPE_INT32);
    case MYSQL_TYPE_LONGLONG:
        return integer(type, is_unsigned ? SP_TYPE_NUMERIC : SP_TYPE_INT64);
    case MYSQL_TYPE_DECIMAL:
    case MYSQL_TYPE_NEWDECIMAL:
        return integer(type, SP_TYPE_NUMERIC);
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
        *type = field->type == MYSQL_TYPE_FLOAT ? SP_TYPE_FLOAT32 : SP_TYPE_FLOAT64;
        return FORM_FLOAT;
    case MYSQL_TYPE_BIT:
        return bits(field, type);
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE:
        return moment(type, SP_TYPE_DATE);
    case MYSQL_TYPE_DATETIME:
        return moment(type, SP_TYPE_DATETIME);
    case MYSQL_TYPE_TIMESTAMP:
        return moment(type, SP_TYPE_TIMESTAMP);
    case MYSQL_TYPE_TIME:
        *type = SP_TYPE_TEXT;
        *as_text = true;
        return FORM_TEXT;
    case MYSQL_TYPE_GEOMETRY:
        *type = SP_TYPE_BYTES;
        return FORM_BYTES;
    default:
        return string(field, type, as_text);
    }
}

static const char *string_name(const MYSQL_FIELD *field)
{
    const bool binary = field->charsetnr == CHARSET_BINARY;
    if (field->flags & ENUM_FLAG)
        return "enum";
    if (field->flags & SET_FLAG)
        return "set";
    if (field->type == MYSQL_TYPE_STRING)
        return binary ? "binary" : "char";
    if (field->type == MYSQL_TYPE_VAR_STRING || field->type == MYSQL_TYPE_VARCHAR)
        return binary ? "varbinary" : "varchar";
    return binary ? "blob" : "text";
}

const char *maria_type_name(const MYSQL_FIELD *field)
{
    static const struct {
        enum enum_field_types type;
        const char *name, *unsigned_name;
    } names[] = {
        {MYSQL_TYPE_TINY, "tinyint", "tinyint unsigned"},
        {MYSQL_TYPE_SHORT, "smallint", "smallint unsigned"},
        {MYSQL_TYPE_INT24, "mediumint", "mediumint unsigned"},
        {MYSQL_TYPE_LONG, "int", "int unsigned"},
        {MYSQL_TYPE_LONGLONG, "bigint", "bigint unsigned"},
        {MYSQL_TYPE_NEWDECIMAL, "decimal", "decimal unsigned"},
        {MYSQL_TYPE_DECIMAL, "decimal", "decimal unsigned"},
        {MYSQL_TYPE_FLOAT, "float", "float unsigned"},
        {MYSQL_TYPE_DOUBLE, "double", "double unsigned"},
        {MYSQL_TYPE_YEAR, "year", "year"},
        {MYSQL_TYPE_BIT, "bit", "bit"},
        {MYSQL_TYPE_DATE, "date", "date"},
        {MYSQL_TYPE_NEWDATE, "date", "date"},
        {MYSQL_TYPE_DATETIME, "datetime", "datetime"},
        {MYSQL_TYPE_TIMESTAMP, "timestamp", "timestamp"},
        {MYSQL_TYPE_TIME, "time", "time"},
        {MYSQL_TYPE_GEOMETRY, "geometry", "geometry"},
        {MYSQL_TYPE_NULL, "null", "null"},
    };
    static const char *const attributes[] = {"json", "uuid", "inet6", "inet4"};
    if (field->type == MYSQL_TYPE_TINY && field->length == 1 && !(field->flags & UNSIGNED_FLAG))
        return "tinyint(1)";
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (names[i].type == field->type)
            return field->flags & UNSIGNED_FLAG ? names[i].unsigned_name : names[i].name;
    for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
        if (attribute_is(field, MARIADB_FIELD_ATTR_FORMAT_NAME, attributes[i]) ||
            attribute_is(field, MARIADB_FIELD_ATTR_DATA_TYPE_NAME, attributes[i]))
            return attributes[i];
    return field->type == MYSQL_TYPE_JSON ? "json" : string_name(field);
}

/* --- values --------------------------------------------------------------------------------- */

static const char *value_int(enum sp_type type, const char *data, size_t bytes,
                             struct sp_value *out)
{
    static const char wrong[] = "an integer that is none of its type";
    const bool negative = bytes > 0 && *data == '-';
    int64_t number = 0;
    size_t i = negative;
    if (i == bytes)
        return wrong;
    for (; i < bytes; i++) {
        const int digit = data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number)) /* negative: reaches one further */
            return wrong;
    }
    if (!negative && __builtin_sub_overflow(0, number, &number))
        return wrong;
    *out = sp_int(number);
    out->type = type;
    return type == SP_TYPE_INT32 && number != (int32_t)number ? wrong : NULL;
}

static const char *value_bool(const char *data, size_t bytes, struct sp_value *out)
{
    const bool is_bool = bytes == 1 && (*data == '0' || *data == '1');
    *out = sp_bool(is_bool && *data == '1');
    return is_bool ? NULL : "not 0 or 1 in a column of booleans";
}

/* The decimal digits of a number, written to the end of the scratch. */
static void put_unsigned(uint64_t number, struct maria_scratch *scratch, struct sp_value *out)
{
    char *end = scratch->bytes + sizeof(scratch->bytes);
    char *at = end;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    *out = sp_bytes(SP_TYPE_NUMERIC, at, (size_t)(end - at));
}

static const char *value_bits(enum sp_type type, const char *data, size_t bytes,
                              struct maria_scratch *scratch, struct sp_value *out)
{
    uint64_t number = 0;
    if (bytes > sizeof(number))
        return "more bits than its type has";
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | (unsigned char)data[i];
    if (type == SP_TYPE_NUMERIC) {
        put_unsigned(number, scratch, out);
        return NULL;
    }
    *out = sp_int((int64_t)number);
    out->type = type;
    if (type == SP_TYPE_BOOL)
        return number <= 1 ? NULL : "more bits than its type has";
    return out->i >= 0 ? NULL : "more bits than its type has";
}

/* As it is, but for the zeros in front that ZEROFILL makes. */
static const char *value_numeric(const char *data, size_t bytes, struct sp_value *out)
{
    while (bytes > 1 && data[0] == '0' && data[1] != '.') {
        data++;
        bytes--;
    }
    return row_value_parse(SP_TYPE_NUMERIC, data, bytes, NULL, out) == SP_OK
               ? NULL
               : "a number that is none";
}

static const char *value_time(enum sp_type type, const char *data, size_t bytes,
                              struct sp_value *out)
{
    static const char none[] = "0000-00-00";
    if (row_value_parse(type, data, bytes, NULL, out) == SP_OK)
        return NULL;
    *out = sp_null(type);
    if (bytes >= sizeof(none) - 1 && memcmp(data, none, sizeof(none) - 1) == 0)
        return NULL;
    return "a date that is not in the calendar";
}

static const char *value_text(enum sp_type type, const char *data, size_t bytes,
                              struct sp_value *out)
{
    *out = sp_bytes(type, data, bytes);
    return row_utf8_valid(data, bytes) ? NULL : "text that is not UTF-8";
}

static const char *value_form(enum maria_form form, enum sp_type type, const char *data,
                              size_t bytes, struct maria_scratch *scratch, struct sp_value *out)
{
    switch (form) {
    case FORM_INT:
        return value_int(type, data, bytes, out);
    case FORM_BOOL:
        return value_bool(data, bytes, out);
    case FORM_BIT:
        return value_bits(type, data, bytes, scratch, out);
    case FORM_NUMERIC:
        return value_numeric(data, bytes, out);
    case FORM_FLOAT:
        return row_value_parse(type, data, bytes, NULL, out) == SP_OK ? NULL
                                                                      : "a number that is none";
    case FORM_BYTES:
        *out = sp_bytes(type, data, bytes);
        return NULL;
    case FORM_UUID:
        return row_value_parse(type, data, bytes, scratch->bytes, out) == SP_OK
                   ? NULL
                   : "a UUID that is none";
    case FORM_TIME:
        return value_time(type, data, bytes, out);
    default:
        return value_text(type, data, bytes, out);
    }
}

const char *maria_value(enum maria_form form, enum sp_type type, const char *data, size_t bytes,
                        struct maria_scratch *scratch, struct sp_value *out)
{
    const char *why = value_form(form, type, data, bytes, scratch, out);
    if (why)
        *out = sp_null(type);
    return why;
}
