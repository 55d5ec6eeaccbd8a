/* SPDX-License-Identifier: Apache-2.0
 *
 * row_key.c - keys: values to their encoding and back.
 *
 * A key is compared byte by byte, so equal values must have equal bytes: a value is first made one
 * of the column's own type (key_convert), and floats are made canonical. The usual keys, one text,
 * bytes or int64 of the right type, do not come here: row.h encodes them inline.
 *
 * Costs: some nanoseconds for each column; text that is converted, what row_value_parse costs.
 * Nothing is allocated. Limits: row.h.
 */
#include <math.h>
#include <string.h>

#include "alloc/bson_internal.h"
#include "alloc/row_internal.h"

/* --- conversions without loss -------------------------------------------------------------- */

static bool is_integer(enum sp_type type)
{
    return type == SP_TYPE_INT64 || type == SP_TYPE_INT32 || type == SP_TYPE_BOOL;
}

static bool is_float(enum sp_type type)
{
    return type == SP_TYPE_FLOAT64 || type == SP_TYPE_FLOAT32;
}

/* 2^63 is the first double that no int64 reaches. */
static bool int_is_exact(int64_t i, double f)
{
    return f < 0x1p63 && (int64_t)f == i;
}

static int to_float(enum sp_type type, const struct sp_value *value, struct sp_value *out)
{
    double f;
    if (is_integer(value->type)) {
        f = (double)value->i;
        if (!int_is_exact(value->i, f))
            return SP_ETYPE;
    } else if (is_float(value->type)) {
        f = value->f;
    } else {
        return SP_ETYPE;
    }
    if (type == SP_TYPE_FLOAT32 && !isnan(f) && (double)(float)f != f)
        return SP_ETYPE;
    *out = sp_float(f);
    out->type = type;
    return SP_OK;
}

/* Makes a value one of the column's type. `scratch` (16 bytes) takes a UUID. */
static int key_convert(enum sp_type type, const struct sp_value *value, void *scratch,
                       struct sp_value *out)
{
    if (value->is_null)
        return SP_ENULL;
    if (value->type == type) {
        *out = *value;
        return row_value_fits(out) ? SP_OK : SP_ETYPE;
    }
    if (value->type == SP_TYPE_TEXT || value->type == SP_TYPE_NUMERIC)
        return row_value_parse(type, value->bytes.data, value->bytes.size, scratch, out);
    if (is_float(type))
        return to_float(type, value, out);
    bool same_kind = (is_integer(type) && is_integer(value->type)) ||
                     (type == SP_TYPE_UUID && value->type == SP_TYPE_BYTES);
    if (!same_kind)
        return SP_ETYPE;
    *out = *value;
    out->type = type;
    return row_value_fits(out) ? SP_OK : SP_ETYPE;
}

/* --- encoding ------------------------------------------------------------------------------ */

static void key_put_float64(struct key_writer *writer, double f)
{
    uint64_t bits;
    if (f == 0)
        f = 0; /* -0.0, too */
    memcpy(&bits, &f, sizeof(bits));
    if (isnan(f))
        bits = UINT64_C(0x7ff8000000000000);
    key_put(writer, &bits, sizeof(bits));
}

static void key_put_float32(struct key_writer *writer, float f)
{
    uint32_t bits;
    if (f == 0)
        f = 0;
    memcpy(&bits, &f, sizeof(bits));
    if (isnan(f))
        bits = UINT32_C(0x7fc00000);
    key_put(writer, &bits, sizeof(bits));
}

/* A converted value; a variable one after its size if the key has other columns. */
static void key_put_value(struct key_writer *writer, const struct sp_value *value, bool sized)
{
    const size_t width = sp_type_width(value->type);
    const uint32_t bytes = (uint32_t)value->bytes.size;
    if (value->type == SP_TYPE_FLOAT64) {
        key_put_float64(writer, value->f);
    } else if (value->type == SP_TYPE_FLOAT32) {
        key_put_float32(writer, (float)value->f);
    } else if (width == 16) {
        key_put(writer, value->bytes.data, width);
    } else if (width > 0) {
        key_put(writer, &value->i, width); /* little-endian: the low bytes come first */
    } else {
        if (sized)
            key_put(writer, &bytes, sizeof(bytes));
        key_put(writer, value->bytes.data, value->bytes.size);
    }
}

static int key_put_converted(struct key_writer *writer, enum sp_type type,
                             const struct sp_value *from, bool sized)
{
    unsigned char scratch[16];
    struct sp_value value;
    int status = key_convert(type, from, scratch, &value);
    if (status != SP_OK)
        return status;
    if (sp_type_width(value.type) == 0 && value.bytes.size > ROW_KEY_BYTES_MAX)
        return SP_ETOOBIG;
    key_put_value(writer, &value, sized);
    return SP_OK;
}

static int key_put_bson(struct key_writer *writer, const struct sp_value *value, bool sized)
{
    const size_t size_at = writer->size;
    if (sized)
        key_put(writer, "\0\0\0", sizeof(uint32_t));
    int status = bson_key_put(writer, value);
    if (sized)
        key_patch_size(writer, size_at, sizeof(uint32_t));
    return status;
}

int row_key_encode_any(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                       const struct sp_value *values, unsigned count, void *out, size_t cap,
                       size_t *size)
{
    struct key_writer writer = {.out = out, .cap = cap};
    if (count != column_count)
        return SP_EINVAL;
    for (unsigned i = 0; i < count; i++) {
        const enum sp_type type = schema->columns[columns[i]].type;
        int status = type == SP_TYPE_BSON_VALUE
                         ? key_put_bson(&writer, &values[i], count > 1)
                         : key_put_converted(&writer, type, &values[i], count > 1);
        if (status != SP_OK)
            return status;
    }
    *size = writer.size;
    if (writer.size > ROW_KEY_BYTES_MAX)
        return SP_ETOOBIG;
    return writer.size <= cap ? SP_OK : SP_ERANGE;
}

/* --- decoding ------------------------------------------------------------------------------ */

struct key_reader {
    const unsigned char *at;
    size_t left;
};

static const unsigned char *key_take(struct key_reader *reader, size_t bytes)
{
    const unsigned char *at = reader->at;
    if (bytes > reader->left)
        return NULL;
    if (bytes > 0)
        reader->at += bytes;
    reader->left -= bytes;
    return at;
}

/* The next column of a key. `sized`: its size lies before it; else it is all that is left. */
static int key_take_value(struct key_reader *reader, enum sp_type type, bool sized,
                          struct sp_value *out)
{
    const size_t width = sp_type_width(type);
    const unsigned char *at;
    size_t bytes = reader->left;
    if (width > 0) {
        at = key_take(reader, width);
        return at ? row_fixed_load(type, at, out) : SP_ECORRUPT;
    }
    if (sized) {
        uint32_t told;
        at = key_take(reader, sizeof(told));
        if (!at)
            return SP_ECORRUPT;
        memcpy(&told, at, sizeof(told));
        bytes = row_pin(told);
    }
    at = key_take(reader, bytes);
    if (!at && bytes > 0)
        return SP_ECORRUPT;
    *out = sp_bytes(type, at, bytes);
    return SP_OK;
}

int row_key_decode(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                   const void *key, size_t key_bytes, struct sp_value *out)
{
    struct key_reader reader = {.at = key, .left = key_bytes};
    if (key_bytes > ROW_KEY_BYTES_MAX)
        return SP_ECORRUPT;
    for (unsigned i = 0; i < column_count; i++) {
        int status =
            key_take_value(&reader, schema->columns[columns[i]].type, column_count > 1, &out[i]);
        if (status != SP_OK)
            return status;
    }
    return reader.left == 0 ? SP_OK : SP_ECORRUPT;
}

int row_key_column_get(const struct schema *schema, unsigned column, const void *key,
                       size_t key_bytes, struct sp_value *out)
{
    const unsigned last = (unsigned)schema->columns[column].key_position;
    struct key_reader reader = {.at = key, .left = key_bytes};
    for (unsigned i = 0; i <= last; i++) {
        int status = key_take_value(&reader, schema->columns[schema->key_columns[i]].type,
                                    schema->key_count > 1, out);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}
