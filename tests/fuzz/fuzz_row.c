/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_row.c - fuzz target of schemas, keys and rows (alloc/row.h).
 *
 * Goal: whatever lies in a pond as a schema, a key or a row, and whatever text a user gives, is
 * read without leaving its bytes; and what is accepted is what the writer would have written.
 * Method: an input is u16 schema size, u16 key size, schema block, key, value (the rest). The
 * block's size and checksum are made right, so that fuzzing gets behind them; a block that is
 * refused is replaced by one of its own, so that rows are tried with every input. All parts lie in
 * memory of exactly their size. Afterwards the key and the value are read as text of every type.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "alloc/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: what is claimed does not hold. */
static void claim(bool holds)
{
    if (!holds)
        __builtin_trap();
}

struct part {
    uint8_t *bytes;
    size_t size;
};

/* The next part of the input, in memory of its own. */
static struct part take(const uint8_t **data, size_t *left, size_t size)
{
    struct part part = {.size = size < *left ? size : *left};
    part.bytes = malloc(part.size ? part.size : 1);
    memcpy(part.bytes, *data, part.size);
    *data += part.size;
    *left -= part.size;
    return part;
}

static struct schema *default_schema(void)
{
    static struct row_column columns[14];
    struct schema *schema = NULL;
    for (unsigned i = 0; i < 14; i++) {
        columns[i].type = i ? (enum sp_type)i : SP_TYPE_TEXT;
        columns[i].name = i ? sp_type_name(columns[i].type) : "id";
        columns[i].nullable = i % 2;
        columns[i].key_position = i == 0 ? 1 : i == 3 ? 0 : -1;
    }
    claim(schema_build(columns, 14, NULL, 0, &schema, NULL, 0) == SP_OK);
    return schema;
}

/* A schema that was taken encodes to the bytes that it came from. */
static struct schema *parse_schema(struct part *block)
{
    struct schema *schema;
    struct schema_head head;
    if (block->size >= sizeof(head)) {
        memcpy(&head, block->bytes, sizeof(head));
        head.block_bytes = (uint32_t)block->size;
        memcpy(block->bytes, &head, sizeof(head));
        head.checksum = XXH3_64bits(block->bytes + 8, block->size - 8);
        memcpy(block->bytes, &head, sizeof(head));
    }
    if (schema_parse(block->bytes, block->size, &schema) != SP_OK)
        return default_schema();
    claim(schema_encoded_bytes(schema) == block->size);
    uint8_t *again = malloc(block->size + 1);
    schema_encode(schema, again);
    claim(memcmp(again, block->bytes, block->size) == 0);
    free(again);
    return schema;
}

/* What a size says must be what is written, and JSON must be JSON. */
static void write_value(const struct sp_value *value)
{
    const size_t text_bytes = row_value_text(value, NULL, 0);
    char *text = malloc(text_bytes + 1);
    claim(row_value_text(value, text, text_bytes + 1) == text_bytes && text[text_bytes] == 0);
    free(text);
    const size_t json_bytes = row_value_json(value, NULL, 0);
    char *json = malloc(json_bytes + 1);
    claim(row_value_json(value, json, json_bytes + 1) == json_bytes && json[json_bytes] == 0);
    claim(row_json_valid(json, json_bytes));
    free(json);
}

static void write_row(const struct schema *schema, const struct part *key, const struct part *value)
{
    const size_t bytes =
        row_json(schema, key->bytes, key->size, value->bytes, value->size, NULL, 0);
    char *json = malloc(bytes + 1);
    claim(row_json(schema, key->bytes, key->size, value->bytes, value->size, json, bytes + 1) ==
          bytes);
    claim(row_json_valid(json, bytes));
    free(json);
}

/* The one thing that does not survive a double: a signalling float32. */
static bool is_nan(const struct sp_value *value)
{
    return !value->is_null && isnan(value->f) &&
           (value->type == SP_TYPE_FLOAT32 || value->type == SP_TYPE_FLOAT64);
}

static void encode_again(const struct schema *schema, const struct sp_value *values,
                         const struct part *value)
{
    size_t bytes;
    uint8_t *again = malloc(value->size ? value->size : 1);
    claim(row_encode(schema, values, again, value->size, &bytes, NULL) == SP_OK);
    claim(bytes == value->size && memcmp(again, value->bytes, bytes) == 0);
    free(again);
}

static void read_row(const struct schema *schema, const struct part *key, const struct part *value)
{
    const bool valid =
        row_validate(schema, key->bytes, key->size, value->bytes, value->size) == SP_OK;
    struct sp_value *values = malloc(schema->column_count * sizeof(*values));
    bool exact = valid;
    for (unsigned i = 0; i < schema->column_count; i++) {
        const int status =
            row_column_get(schema, i, key->bytes, key->size, value->bytes, value->size, &values[i]);
        claim(status == SP_OK || (status == SP_ECORRUPT && !valid));
        if (status == SP_OK)
            write_value(&values[i]);
        exact = exact && !is_nan(&values[i]);
    }
    if (exact)
        encode_again(schema, values, value);
    free(values);
    write_row(schema, key, value);
}

/* A key that was decoded is encoded to itself, save for the floats that are made canonical; those
 * of BSON are fuzz_bson.c's. */
static void read_key(const struct schema *schema, const uint16_t *columns, unsigned count,
                     const struct part *key)
{
    struct sp_value values[ROW_KEY_COLUMNS_MAX];
    size_t bytes;
    bool exact = true;
    if (row_key_decode(schema, columns, count, key->bytes, key->size, values) != SP_OK)
        return;
    for (unsigned i = 0; i < count; i++)
        if (values[i].type == SP_TYPE_BSON_VALUE || values[i].type == SP_TYPE_BSON)
            return;
    uint8_t *again = malloc(key->size ? key->size : 1);
    claim(row_key_encode(schema, columns, count, values, count, again, key->size, &bytes) == SP_OK);
    claim(bytes == key->size);
    for (unsigned i = 0; i < count; i++)
        if (values[i].type == SP_TYPE_FLOAT32 || values[i].type == SP_TYPE_FLOAT64)
            exact = exact && !isnan(values[i].f) && values[i].f != 0;
    claim(!exact || memcmp(again, key->bytes, bytes) == 0);
    free(again);
}

/* Text that is a value has a text that is the same value. */
static void read_text(const struct part *part)
{
    for (unsigned type = 0; type < 17; type++) {
        unsigned char scratch[16];
        unsigned char scratch_back[16];
        struct sp_value value, back;
        char text[128];
        if (row_value_parse((enum sp_type)type, (const char *)part->bytes, part->size, scratch,
                            &value) != SP_OK)
            continue;
        write_value(&value);
        const size_t bytes = row_value_text(&value, text, sizeof(text));
        if (sp_type_width(value.type) == 0 || bytes >= sizeof(text))
            continue;
        claim(row_value_parse((enum sp_type)type, text, bytes, scratch_back, &back) == SP_OK);
        if (value.type == SP_TYPE_UUID)
            claim(memcmp(scratch, scratch_back, sizeof(scratch)) == 0);
        else
            claim(value.i == back.i || (isnan(value.f) && isnan(back.f)));
    }
}

static size_t take_size(const uint8_t **data, size_t *left)
{
    uint16_t size;
    if (*left < sizeof(size))
        return 0;
    memcpy(&size, *data, sizeof(size));
    *data += sizeof(size);
    *left -= sizeof(size);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t block_bytes = take_size(&data, &size);
    const size_t key_bytes = take_size(&data, &size);
    struct part block = take(&data, &size, block_bytes);
    struct part key = take(&data, &size, key_bytes);
    struct part value = take(&data, &size, size);
    struct schema *schema = parse_schema(&block);
    read_row(schema, &key, &value);
    read_key(schema, schema->key_columns, schema->key_count, &key);
    for (unsigned i = 0; i < schema->index_count; i++)
        read_key(schema, schema->indexes[i].columns, schema->indexes[i].column_count, &key);
    read_text(&key);
    read_text(&value);
    schema_free(schema);
    free(value.bytes);
    free(key.bytes);
    free(block.bytes);
    return 0;
}
