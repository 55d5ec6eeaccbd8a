/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_bson.c - fuzz target of BSON: walking, fields, extended JSON, keys (alloc/bson*.c).
 *
 * Goal: no document, no value and no text of a key leads out of its bytes, or into a loop; what is
 * written is JSON; a key that was made is its own key.
 * Method: an input is u8 path size, path, bytes (the rest), all in memory of exactly their size.
 * The bytes are read as a document, as a value, as extended JSON, and as a key that a person wrote.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "sidepond/bson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: what is claimed does not hold. */
static void claim(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static struct schema *schema; /* one key column */

/* What a size says must be what is written, and JSON must be JSON. */
static void write_value(const struct sp_value *value)
{
    const size_t text_bytes = row_value_text(value, NULL, 0);
    char *text = malloc(text_bytes + 1);
    claim(row_value_text(value, text, text_bytes + 1) == text_bytes);
    free(text);
    const size_t json_bytes = row_value_json(value, NULL, 0);
    char *json = malloc(json_bytes + 1);
    claim(row_value_json(value, json, json_bytes + 1) == json_bytes);
    claim(row_json_valid(json, json_bytes));
    free(json);
}

static size_t encode(const struct sp_value *value, uint8_t *out, size_t cap, int *status)
{
    size_t size = 0;
    *status = row_key_encode(schema, schema->key_columns, 1, value, 1, out, cap, &size);
    return size;
}

/* A key in memory of its size, and the key of what it is decoded to. */
static void make_key(const struct sp_value *value)
{
    int status;
    struct sp_value decoded;
    const size_t size = encode(value, NULL, 0, &status);
    if (status != SP_ERANGE)
        return;
    uint8_t *key = malloc(size);
    uint8_t *again = malloc(size);
    claim(encode(value, key, size, &status) == size && status == SP_OK);
    claim(row_key_decode(schema, schema->key_columns, 1, key, size, &decoded) == SP_OK);
    claim(encode(&decoded, again, size, &status) == size && status == SP_OK);
    claim(memcmp(key, again, size) == 0);
    write_value(&decoded);
    free(again);
    free(key);
}

static void read_value(const struct sp_value *value, const char *path, size_t path_bytes)
{
    struct sp_value found;
    struct sp_bson_walk walk;
    struct sp_bson_entry entry;
    const void *raw;
    size_t raw_bytes;
    write_value(value);
    make_key(value);
    (void)sp_bson_raw(value, &raw, &raw_bytes);
    if (sp_bson_plain(value, &found) == SP_OK)
        write_value(&found);
    if (sp_bson_field(value, path, path_bytes, &found) == SP_OK) {
        write_value(&found);
        make_key(&found);
    }
    int status = sp_bson_walk_begin(value, &walk);
    while (status == SP_OK && (status = sp_bson_walk_next(&walk, &entry)) == SP_OK) {
        claim(strlen(entry.name) == entry.name_bytes);
        write_value(&entry.value);
    }
}

static void read_text(const char *text, size_t bytes)
{
    uint8_t scratch[16];
    struct sp_value value = sp_bytes(SP_TYPE_JSON, text, bytes);
    make_key(&value);
    if (row_key_parse(SP_TYPE_BSON_VALUE, text, bytes, scratch, &value) == SP_OK)
        make_key(&value);
    value = sp_bytes(SP_TYPE_NUMERIC, text, bytes);
    make_key(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct row_column id = {.name = "_id", .type = SP_TYPE_BSON_VALUE};
    if (!schema)
        claim(schema_build(&id, 1, NULL, 0, &schema, NULL, 0) == SP_OK);
    if (size == 0)
        return 0;
    const size_t path_bytes = *data < size - 1 ? *data : size - 1;
    const size_t bytes = size - 1 - path_bytes;
    char *path = malloc(path_bytes ? path_bytes : 1);
    uint8_t *exact = malloc(bytes ? bytes : 1);
    memcpy(path, data + 1, path_bytes);
    memcpy(exact, data + 1 + path_bytes, bytes);
    struct sp_value value = sp_bytes(SP_TYPE_BSON, exact, bytes);
    read_value(&value, path, path_bytes);
    value.type = SP_TYPE_BSON_VALUE;
    read_value(&value, path, path_bytes);
    read_text((const char *)exact, bytes);
    free(exact);
    free(path);
    return 0;
}
