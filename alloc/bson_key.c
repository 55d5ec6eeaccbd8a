/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_key.c - BSON values as keys: values that MongoDB takes for equal have equal bytes.
 *
 * The canonical form of a value is a BSON value again, its type byte first:
 *
 *   numbers       INT64, DOUBLE or DECIMAL128, whichever of them comes first and is the same number
 *                 exactly (bson_number.c); so 5, 5.0 and decimal 5.00 are one key, and so are 0.0
 *                 and -0.0, and all that is not a number
 *   symbol        the string
 *   document,     the same field by field, in their order, and those of a code's scope
 *   array
 *   others        as they are: strings, binary with its subtype, dates, ... are compared by bytes
 *
 * Costs: the copy, and tens of nanoseconds for each number. Limits: BSON_DEPTH_MAX levels,
 * ROW_KEY_BYTES_MAX bytes. A collation that a MongoDB index has is not known here.
 */
#include <string.h>

#include "alloc/bson_internal.h"

static int put_fields(struct key_writer *writer, const uint8_t *document, size_t size,
                      unsigned depth);

/* --- parts --------------------------------------------------------------------------------- */

void bson_key_put_number(struct key_writer *writer, size_t type_at,
                         const struct bson_number *number)
{
    key_patch(writer, type_at, &number->type, 1);
    key_put(writer, number->data, number->size);
}

void bson_key_put_string(struct key_writer *writer, const void *text, size_t bytes)
{
    const uint32_t told = (uint32_t)bytes + 1;
    key_put(writer, &told, sizeof(told));
    key_put(writer, text, bytes);
    key_put(writer, "", 1);
}

/* A code as it is, the fields of its scope canonical. */
static int put_scope(struct key_writer *writer, const struct bson_element *element, unsigned depth)
{
    const size_t start = writer->size;
    const uint8_t *code = element->data + sizeof(uint32_t);
    const size_t code_bytes = sizeof(uint32_t) + bson_load32(code);
    const size_t before = sizeof(uint32_t) + code_bytes;
    if (before > element->size)
        return SP_ETYPE;
    key_put(writer, element->data, before);
    int status = put_fields(writer, code + code_bytes, element->size - before, depth);
    key_patch_size(writer, start, 0);
    return status;
}

/* The type byte at type_at is that of the element already. */
static int put_value(struct key_writer *writer, size_t type_at, const struct bson_element *element,
                     unsigned depth)
{
    struct bson_number number;
    if (bson_check(element->type, element->data, element->size) != SP_OK)
        return SP_ETYPE;
    if (bson_number_of(element->type, element->data, &number)) {
        bson_key_put_number(writer, type_at, &number);
        return SP_OK;
    }
    switch (element->type) {
    case SP_BSON_DOCUMENT:
    case SP_BSON_ARRAY:
        return put_fields(writer, element->data, element->size, depth);
    case SP_BSON_CODE_WITH_SCOPE:
        return put_scope(writer, element, depth);
    case SP_BSON_SYMBOL:
        key_patch(writer, type_at, "\x02", 1);
        break;
    default:
        break;
    }
    key_put(writer, element->data, element->size);
    return SP_OK;
}

/* A document, with its length and its zero. */
static int put_fields(struct key_writer *writer, const uint8_t *document, size_t size,
                      unsigned depth)
{
    const size_t start = writer->size;
    struct bson_cursor cursor;
    struct bson_element element;
    int status = depth < BSON_DEPTH_MAX ? bson_open(document, size, &cursor) : SP_ETYPE;
    key_put(writer, "\0\0\0", sizeof(uint32_t));
    while (status == SP_OK && (status = bson_next(&cursor, &element)) == SP_OK) {
        const size_t type_at = writer->size;
        if (writer->size > ROW_KEY_BYTES_MAX)
            return SP_ETOOBIG;
        key_put(writer, &element.type, 1);
        key_put(writer, element.name, element.name_bytes + 1);
        status = put_value(writer, type_at, &element, depth + 1);
    }
    key_put(writer, "", 1);
    key_patch_size(writer, start, 0);
    return status == SP_ENOTFOUND ? SP_OK : status == SP_ECORRUPT ? SP_ETYPE : status;
}

/* --- values -------------------------------------------------------------------------------- */

static int put_bson(struct key_writer *writer, const struct sp_value *value)
{
    struct bson_element element;
    const size_t type_at = writer->size;
    if (!bson_element_of(value, &element))
        return SP_ETYPE;
    key_put(writer, &element.type, 1);
    return put_value(writer, type_at, &element, 0);
}

static int put_decimal(struct key_writer *writer, const struct sp_value *value)
{
    struct bson_decimal decimal;
    struct bson_number number;
    const size_t type_at = writer->size;
    int status = bson_decimal_parse(value->bytes.data, value->bytes.size, &decimal);
    if (status != SP_OK)
        return status;
    bson_number_of_decimal(decimal, &number);
    key_put(writer, &number.type, 1);
    bson_key_put_number(writer, type_at, &number);
    return SP_OK;
}

static void put_number(struct key_writer *writer, const struct sp_value *value)
{
    struct bson_number number;
    const size_t type_at = writer->size;
    if (value->type == SP_TYPE_FLOAT64 || value->type == SP_TYPE_FLOAT32)
        bson_number_of_double(value->f, &number);
    else
        bson_number_of_int(value->i, &number);
    key_put(writer, &number.type, 1);
    bson_key_put_number(writer, type_at, &number);
}

static int put_binary(struct key_writer *writer, const struct sp_value *value)
{
    const uint32_t bytes = (uint32_t)value->bytes.size;
    const uint8_t subtype = value->type == SP_TYPE_UUID ? 4 : 0;
    if (value->type == SP_TYPE_UUID && value->bytes.size != 16)
        return SP_ETYPE;
    if (value->bytes.size > ROW_KEY_BYTES_MAX)
        return SP_ETOOBIG;
    key_put(writer, "\x05", 1);
    key_put(writer, &bytes, sizeof(bytes));
    key_put(writer, &subtype, 1);
    key_put(writer, value->bytes.data, bytes);
    return SP_OK;
}

/* A BSON date has milliseconds. */
static int put_date(struct key_writer *writer, const struct sp_value *value)
{
    const int64_t ms = value->i / 1000;
    if (value->i % 1000 != 0)
        return SP_ETYPE;
    key_put(writer, "\x09", 1);
    key_put(writer, &ms, sizeof(ms));
    return SP_OK;
}

static int put_text(struct key_writer *writer, const struct sp_value *value)
{
    if (value->bytes.size > ROW_KEY_BYTES_MAX)
        return SP_ETOOBIG;
    key_put(writer, "\x02", 1);
    bson_key_put_string(writer, value->bytes.data, value->bytes.size);
    return SP_OK;
}

int bson_key_put(struct key_writer *writer, const struct sp_value *value)
{
    const uint8_t truth[] = {SP_BSON_BOOL, value->i != 0};
    if (value->is_null)
        return SP_ENULL;
    switch (value->type) {
    case SP_TYPE_BSON:
    case SP_TYPE_BSON_VALUE:
        return put_bson(writer, value);
    case SP_TYPE_TEXT:
        return put_text(writer, value);
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
        put_number(writer, value);
        return SP_OK;
    case SP_TYPE_NUMERIC:
        return put_decimal(writer, value);
    case SP_TYPE_BOOL:
        key_put(writer, truth, sizeof(truth));
        return SP_OK;
    case SP_TYPE_BYTES:
    case SP_TYPE_UUID:
        return put_binary(writer, value);
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        return put_date(writer, value);
    case SP_TYPE_JSON:
        return bson_key_put_json(writer, value->bytes.data, value->bytes.size);
    default:
        return SP_ETYPE;
    }
}
