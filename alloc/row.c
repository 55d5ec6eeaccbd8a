/* SPDX-License-Identifier: Apache-2.0
 *
 * row.c - writing and checking the value of a row; reading a column is inlined from row.h.
 *
 * row_encode goes over the columns twice: once to check them and to add their sizes up (only then
 * is it known whether the ends take two bytes or four), once to write. Nothing is allocated.
 *
 * Costs: a few nanoseconds for each column and the copy of the bytes. row_validate: the same
 * without the copy. Limits: row.h.
 */
#include <string.h>

#include "alloc/row_internal.h"

/* --- writing ------------------------------------------------------------------------------- */

/* `room` is what the variable columns may still take. */
static int check_value(const struct row_column *column, const struct sp_value *value, size_t *room)
{
    if (value->is_null)
        return column->nullable ? SP_OK : SP_ENULL;
    if (value->type != column->type || !row_value_fits(value))
        return SP_ETYPE;
    if (column->var_index < 0)
        return SP_OK;
    if (row_value_bytes(value) > *room)
        return SP_ETOOBIG;
    *room -= row_value_bytes(value);
    return SP_OK;
}

static unsigned end_count(const struct schema *schema)
{
    return schema->var_count ? schema->var_count - 1 : 0;
}

/* Checks all values and adds up the bytes of the variable ones. */
static int measure(const struct schema *schema, const struct sp_value *values, size_t *var_bytes,
                   unsigned *bad)
{
    /* a value that comes near the limit has ends of four bytes */
    const size_t limit =
        ROW_VALUE_BYTES_MAX - schema->fixed_bytes - end_count(schema) * sizeof(uint32_t);
    size_t room = limit;
    for (unsigned i = 0; i < schema->column_count; i++) {
        if (schema->columns[i].key_position >= 0)
            continue;
        int status = check_value(&schema->columns[i], &values[i], &room);
        if (status == SP_OK)
            continue;
        if (bad)
            *bad = i;
        return status;
    }
    *var_bytes = limit - room;
    return SP_OK;
}

static void write_fixed(const struct sp_value *value, unsigned char *at)
{
    const int32_t i32 = (int32_t)value->i;
    float f32;
    switch (value->type) {
    case SP_TYPE_INT64:
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        memcpy(at, &value->i, sizeof(value->i));
        break;
    case SP_TYPE_INT32:
    case SP_TYPE_DATE:
        memcpy(at, &i32, sizeof(i32));
        break;
    case SP_TYPE_FLOAT64:
        memcpy(at, &value->f, sizeof(value->f));
        break;
    case SP_TYPE_FLOAT32:
        f32 = (float)value->f;
        memcpy(at, &f32, sizeof(f32));
        break;
    case SP_TYPE_BOOL:
        *at = (unsigned char)value->i;
        break;
    default: /* UUID */
        memcpy(at, value->bytes.data, 16);
    }
}

/* Where the variable columns are written to. */
struct tail {
    unsigned char *ends;
    unsigned char *data;
    uint32_t end;  /* of what has been written */
    unsigned left; /* columns whose end is still to be written */
    bool wide;
};

static void write_variable(struct tail *tail, const struct sp_value *value)
{
    if (!value->is_null && row_value_bytes(value) > value->bytes.size)
        tail->data[tail->end++] = value->bson_type;
    if (!value->is_null && value->bytes.size > 0) {
        memcpy(tail->data + tail->end, value->bytes.data, value->bytes.size);
        tail->end += (uint32_t)value->bytes.size;
    }
    if (tail->left == 0)
        return;
    const uint16_t narrow = (uint16_t)tail->end;
    if (tail->wide)
        memcpy(tail->ends, &tail->end, sizeof(tail->end));
    else
        memcpy(tail->ends, &narrow, sizeof(narrow));
    tail->ends += tail->wide ? sizeof(tail->end) : sizeof(narrow);
    tail->left--;
}

static void write_columns(const struct schema *schema, const struct sp_value *values,
                          unsigned char *out, struct tail *tail)
{
    memset(out, 0, schema->fixed_bytes);
    for (unsigned i = 0; i < schema->column_count; i++) {
        const struct row_column *column = &schema->columns[i];
        if (column->key_position >= 0)
            continue;
        if (values[i].is_null)
            out[column->null_bit >> 3] |= (unsigned char)(1u << (column->null_bit & 7));
        if (column->var_index >= 0)
            write_variable(tail, &values[i]);
        else if (!values[i].is_null)
            write_fixed(&values[i], out + column->fixed_off);
    }
}

int row_encode(const struct schema *schema, const struct sp_value *values, void *out, size_t cap,
               size_t *size, unsigned *bad)
{
    size_t var_bytes;
    int status = measure(schema, values, &var_bytes, bad);
    if (status != SP_OK)
        return status;
    const unsigned ends = end_count(schema);
    size_t total = schema->fixed_bytes + ends * sizeof(uint16_t) + var_bytes;
    const bool wide = total > UINT16_MAX;
    if (wide)
        total += ends * (sizeof(uint32_t) - sizeof(uint16_t));
    *size = total;
    if (total > cap)
        return SP_ERANGE;
    if (total == 0)
        return SP_OK;
    struct tail tail = {.wide = wide, .left = ends};
    tail.ends = (unsigned char *)out + schema->fixed_bytes;
    tail.data = tail.ends + ends * (wide ? sizeof(uint32_t) : sizeof(uint16_t));
    write_columns(schema, values, out, &tail);
    return SP_OK;
}

/* --- checking ------------------------------------------------------------------------------ */

static bool all_zero(const unsigned char *bytes, size_t count)
{
    unsigned char any = 0;
    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

/* The bits of the null bitmap that belong to no column must be 0. */
static int check_null_bitmap(const struct schema *schema, const unsigned char *value)
{
    unsigned null_count = 0;
    for (unsigned i = 0; i < schema->column_count; i++)
        null_count += schema->columns[i].null_bit >= 0;
    if (null_count % 8 == 0)
        return SP_OK;
    return value[null_count / 8] >> (null_count % 8) ? SP_ECORRUPT : SP_OK;
}

/* The bytes that a NULL leaves: zeros in place of a fixed column, none of a variable one. */
static int check_null(const struct schema *schema, const struct row_column *column,
                      const unsigned char *value, size_t value_bytes)
{
    if (column->var_index < 0)
        return all_zero(value + column->fixed_off, column->width) ? SP_OK : SP_ECORRUPT;
    struct sp_value bytes;
    int status = row_variable_get(schema, (unsigned)column->var_index, value, value_bytes, &bytes);
    if (status != SP_OK)
        return status;
    return bytes.bytes.size == 0 ? SP_OK : SP_ECORRUPT;
}

static int check_size(const struct schema *schema, size_t value_bytes)
{
    if (value_bytes < schema->fixed_bytes || value_bytes > ROW_VALUE_BYTES_MAX)
        return SP_ECORRUPT;
    if (schema->var_count == 0)
        return value_bytes == schema->fixed_bytes ? SP_OK : SP_ECORRUPT;
    /* four-byte ends where two-byte ones had been enough */
    size_t saved = (schema->var_count - 1) * (sizeof(uint32_t) - sizeof(uint16_t));
    if (value_bytes > UINT16_MAX && value_bytes <= UINT16_MAX + saved)
        return SP_ECORRUPT;
    return SP_OK;
}

int row_validate(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes)
{
    struct sp_value key_values[ROW_KEY_COLUMNS_MAX];
    int status =
        row_key_decode(schema, schema->key_columns, schema->key_count, key, key_bytes, key_values);
    if (status == SP_OK)
        status = check_size(schema, value_bytes);
    if (status == SP_OK)
        status = check_null_bitmap(schema, value);
    for (unsigned i = 0; status == SP_OK && i < schema->column_count; i++) {
        const struct row_column *column = &schema->columns[i];
        struct sp_value found;
        if (column->key_position >= 0)
            continue;
        status = row_column_get(schema, i, key, key_bytes, value, value_bytes, &found);
        if (status == SP_OK && found.is_null)
            status = check_null(schema, column, value, value_bytes);
        else if (status == SP_OK && !row_value_fits(&found))
            status = SP_ECORRUPT;
    }
    return status;
}
