/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_pond.c - makes a pond with one table of documents: bson_pond DIRECTORY TABLE [FIELD...] <
 * DOCUMENTS. The documents come one behind the other, as BSON. The table is what a source makes of
 * a collection: the key `_id`, each FIELD with an index by_FIELD, and the document.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/bson.h"
#include "server/store/store.h"

#define FIELDS_MAX     8
#define DOCUMENT_BYTES (1u << 20)

struct shape {
    struct schema *schema;
    struct row_column columns[2 * FIELDS_MAX + 1];
    struct row_index indexes[FIELDS_MAX];
    char names[FIELDS_MAX][80];
    unsigned keys, fields;
};

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "bson_pond: %s\n", what);
    exit(1);
}

static void shape_make(struct shape *shape, char *keys, char **fields, unsigned count)
{
    for (char *key = strtok(keys, ","); key; key = strtok(NULL, ",")) {
        must(shape->keys < FIELDS_MAX, "too many key columns");
        shape->columns[shape->keys] = (struct row_column){
            .name = key, .type = SP_TYPE_BSON_VALUE, .key_position = (int)shape->keys};
        shape->keys++;
    }
    must(count <= FIELDS_MAX, "too many fields");
    shape->fields = count;
    for (unsigned i = 0; i < count; i++) {
        const unsigned column = shape->keys + i;
        snprintf(shape->names[i], sizeof(shape->names[i]), "by_%s", fields[i]);
        shape->columns[column] = (struct row_column){
            .name = fields[i], .type = SP_TYPE_BSON_VALUE, .key_position = -1, .nullable = true};
        shape->indexes[i] = (struct row_index){
            .name = shape->names[i], .column_count = 1, .columns = {(uint16_t)column}};
    }
    shape->columns[shape->keys + count] =
        (struct row_column){.name = "document", .type = SP_TYPE_BSON, .key_position = -1};
    must(schema_build(shape->columns, shape->keys + count + 1, shape->indexes, count,
                      &shape->schema, NULL, 0) == SP_OK,
         "schema");
}

static struct sp_value field_of(const uint8_t *document, size_t size, const char *path)
{
    struct bson_element element;
    struct sp_value value = sp_null(SP_TYPE_BSON_VALUE);
    if (bson_find(document, size, path, strlen(path), &element) == SP_OK)
        bson_value_as_is(&element, &value);
    return value;
}

static void put(struct store_table *table, const struct shape *shape, const uint8_t *document,
                size_t size)
{
    static uint8_t key[ROW_KEY_BYTES_MAX];
    static uint8_t row[2 * DOCUMENT_BYTES];
    struct sp_value values[2 * FIELDS_MAX + 1];
    struct store_row stored = {.key = key, .value = row};
    const unsigned last = shape->keys + shape->fields;
    size_t done;
    for (unsigned i = 0; i < last; i++)
        values[i] = field_of(document, size, shape->columns[i].name);
    values[last] = sp_bytes(SP_TYPE_BSON, document, size);
    must(row_key_encode(shape->schema, shape->schema->key_columns, shape->keys, values, shape->keys,
                        key, sizeof(key), &stored.key_bytes) == SP_OK,
         "key");
    must(row_encode(shape->schema, values, row, sizeof(row), &stored.value_bytes, NULL) == SP_OK,
         "row");
    must(store_put(table, &stored, 1, &done) == SP_OK, "store_put");
}

static bool read_document(uint8_t *out, size_t *size)
{
    uint32_t told;
    if (fread(&told, sizeof(told), 1, stdin) != 1)
        return false;
    must(told >= BSON_BYTES_MIN && told <= DOCUMENT_BYTES, "a document of that size");
    memcpy(out, &told, sizeof(told));
    must(fread(out + sizeof(told), told - sizeof(told), 1, stdin) == 1, "half a document");
    *size = told;
    return true;
}

int main(int argc, char **argv)
{
    static struct shape shape;
    static uint8_t document[DOCUMENT_BYTES];
    struct store *store;
    struct store_opened opened;
    struct store_txn *txn;
    struct store_table *table;
    char why[STORE_WHY_BYTES] = "usage: bson_pond DIRECTORY TABLE KEY[,KEY...] [FIELD...]";
    size_t size;
    must(argc >= 4, why);
    shape_make(&shape, argv[3], argv + 4, (unsigned)argc - 4);
    const struct store_options options = {.directory = argv[1],
                                          .name = "documents",
                                          .limit_bytes = UINT64_C(256) << 20,
                                          .lease_limit_ms = 60000,
                                          .gid = -1};
    must(store_open(&options, &store, &opened, why) == SP_OK, why);
    must(store_begin(store, &txn) == SP_OK, "store_begin");
    must(store_table(txn, argv[2], shape.schema, 0, &table, NULL) == SP_OK, "store_table");
    while (read_document(document, &size))
        put(table, &shape, document, size);
    must(store_commit(txn, NULL) == SP_OK, "store_commit");
    store_close(store);
    schema_free(shape.schema);
    return 0;
}
