/* SPDX-License-Identifier: Apache-2.0
 *
 * schema.c - the columns of a table, as this process knows them.
 *
 * The schema block of a root is copied out of the pond, validated, checked and parsed once. The
 * result lives until sp_close, since rows and views point to it. Which one belongs to a root is
 * remembered by the root's place and version; a binding remembers the one it used last, so that
 * a lookup compares two words. Roots with equal schemas share what was parsed, so that a table that
 * is dropped and loaded again and again costs 48 bytes each time.
 */
#include <stdlib.h>
#include <string.h>

#include "client/local/find.h"

#define SCHEMA_BYTES_MAX (1u << 20) /* beyond what the limits of row.h make possible */

/* The root's description and its schema block, out of the pond. */
static int copy_block(const struct find_path *p, struct table_root *root, void **block)
{
    race_copy(root, p->root, sizeof *root);
    uint64_t units = bytes_to_units(root->schema_bytes);
    uint64_t limit = find_limit(p->b);
    *block = NULL;
    if (root->schema_bytes == 0 || root->schema_bytes > SCHEMA_BYTES_MAX ||
        root->schema_unit >= limit || units > limit - root->schema_unit)
        return SP_ECORRUPT;
    *block = malloc(root->schema_bytes);
    if (*block == NULL)
        return SP_ENOMEM;
    race_copy(*block, p->b->arena + (root->schema_unit << FORMAT_UNIT_SHIFT), root->schema_bytes);
    return SP_OK;
}

static int parse_root(const struct table_root *root, const void *block, struct schema **out)
{
    if (root_checksum(root, block) != root->checksum)
        return SP_ECORRUPT;
    int status = schema_parse(block, root->schema_bytes, out);
    if (status == SP_OK && (*out)->index_count != root->index_count) {
        schema_free(*out);
        return SP_ECORRUPT;
    }
    return status;
}

static int read_schema(const struct find_path *p, struct schema **out)
{
    struct table_root root;
    void *block;
    int status = copy_block(p, &root, &block);
    if (status != SP_ENOMEM && !find_unchanged(p, FIND_NO_TABLE))
        status = READ_AGAIN;
    if (status == SP_OK)
        status = parse_root(&root, block, out);
    free(block);
    return status;
}

static bool is_equal(const struct schema *a, const struct schema *b)
{
    size_t bytes = schema_encoded_bytes(a);
    if (schema_encoded_bytes(b) != bytes)
        return false;
    uint8_t *blocks = malloc(2 * bytes);
    if (blocks == NULL)
        return false; /* each has its own then */
    schema_encode(a, blocks);
    schema_encode(b, blocks + bytes);
    bool equal = memcmp(blocks, blocks + bytes, bytes) == 0;
    free(blocks);
    return equal;
}

static void share_parsed(const struct sp_schema *list, struct sp_schema *fresh)
{
    while (list != NULL && (list->is_shared || !is_equal(list->parsed, fresh->parsed)))
        list = list->next;
    if (list == NULL)
        return;
    schema_free(fresh->parsed);
    fresh->parsed = list->parsed;
    fresh->is_shared = true;
}

static uint64_t root_unit_of(const struct find_path *p)
{
    return (uint64_t)((const uint8_t *)p->root - p->b->arena) >> FORMAT_UNIT_SHIFT;
}

static NEVER_INLINE int schema_search(struct binding *binding, const struct find_path *p,
                                      const struct sp_schema **out)
{
    struct mapping *map = binding->map;
    uint64_t unit = root_unit_of(p);
    struct sp_schema *schema = map->schemas;
    while (schema != NULL && (schema->root_unit != unit || schema->root_born != p->born))
        schema = schema->next;
    if (schema == NULL) {
        schema = calloc(1, sizeof *schema);
        if (schema == NULL)
            return SP_ENOMEM;
        int status = read_schema(p, &schema->parsed);
        if (status == SP_ECORRUPT &&
            binding_grow(binding, p->limit_bytes)) /* it lay beyond what we knew */
            status = READ_AGAIN;
        if (status != SP_OK) {
            free(schema);
            return status;
        }
        share_parsed(map->schemas, schema);
        schema->root_unit = unit;
        schema->root_born = p->born;
        schema->next = map->schemas;
        map->schemas = schema;
    }
    atomic_store_explicit(&binding->schema, schema, memory_order_release);
    *out = schema;
    return SP_OK;
}

int schema_of(struct sp_table *table, struct binding *binding, const struct find_path *p,
              const struct sp_schema **out)
{
    const struct sp_schema *last = atomic_load_explicit(&binding->schema, memory_order_acquire);
    if (LIKELY(last != NULL && last->root_born == p->born && last->root_unit == root_unit_of(p))) {
        *out = last;
        return SP_OK;
    }
    pthread_mutex_lock(&table->pond->mutex);
    int status = schema_search(binding, p, out);
    pthread_mutex_unlock(&table->pond->mutex);
    return status;
}

void schemas_free(struct sp_schema *list)
{
    while (list != NULL) {
        struct sp_schema *next = list->next;
        if (!list->is_shared)
            schema_free(list->parsed);
        free(list);
        list = next;
    }
}

/* --- what a schema says ----------------------------------------------------------------------- */

size_t sp_schema_column_count(const struct sp_schema *schema)
{
    return schema->parsed->column_count;
}

size_t sp_schema_key_count(const struct sp_schema *schema)
{
    return schema->parsed->key_count;
}

size_t sp_schema_index_count(const struct sp_schema *schema)
{
    return schema->parsed->index_count;
}

int sp_schema_column(const struct sp_schema *schema, size_t column, struct sp_column_info *out)
{
    if (column >= schema->parsed->column_count)
        return SP_ENOCOLUMN;
    const struct row_column *from = &schema->parsed->columns[column];
    *out = (struct sp_column_info){.name = from->name,
                                   .type = from->type,
                                   .nullable = from->nullable,
                                   .key_position = from->key_position};
    return SP_OK;
}

int sp_schema_index(const struct sp_schema *schema, size_t index, struct sp_index_info *out)
{
    if (index >= schema->parsed->index_count)
        return SP_ENOINDEX;
    const struct row_index *from = &schema->parsed->indexes[index];
    *out = (struct sp_index_info){
        .name = from->name, .unique = from->unique, .column_count = from->column_count};
    return SP_OK;
}

/* The columns of an index; -1 is the primary key. */
static int index_columns(const struct schema *schema, int index, const uint16_t **columns,
                         unsigned *count)
{
    if (index == -1) {
        *columns = schema->key_columns;
        *count = schema->key_count;
        return SP_OK;
    }
    if (index < 0 || (unsigned)index >= schema->index_count)
        return SP_ENOINDEX;
    *columns = schema->indexes[index].columns;
    *count = schema->indexes[index].column_count;
    return SP_OK;
}

int sp_schema_index_column(const struct sp_schema *schema, int index, size_t i, size_t *column)
{
    const uint16_t *columns;
    unsigned count;
    int status = index_columns(schema->parsed, index, &columns, &count);
    if (status != SP_OK)
        return status;
    if (i >= count)
        return SP_ENOCOLUMN;
    *column = columns[i];
    return SP_OK;
}

int sp_schema_find_column(const struct sp_schema *schema, const char *name)
{
    return schema_column(schema->parsed, name);
}

int sp_schema_find_index(const struct sp_schema *schema, const char *name)
{
    return schema_index(schema->parsed, name);
}

int sp_key_encode(const struct sp_schema *schema, int index, const struct sp_value *values,
                  size_t count, void *out, size_t cap, size_t *size)
{
    const uint16_t *columns;
    unsigned column_count;
    int status = index_columns(schema->parsed, index, &columns, &column_count);
    if (status != SP_OK)
        return status;
    if (count != column_count)
        return SP_EINVAL;
    return row_key_encode(schema->parsed, columns, column_count, values, (unsigned)count, out, cap,
                          size);
}

int sp_key_parse(const struct sp_schema *schema, int index, size_t i, const char *text,
                 size_t text_bytes, void *scratch, struct sp_value *out)
{
    const uint16_t *columns;
    unsigned column_count;
    int status = index_columns(schema->parsed, index, &columns, &column_count);
    if (status != SP_OK)
        return status;
    if (i >= column_count)
        return SP_EINVAL;
    return row_key_parse(schema->parsed->columns[columns[i]].type, text, text_bytes, scratch, out);
}

int sp_key_decode(const struct sp_schema *schema, int index, const void *key, size_t key_bytes,
                  struct sp_value *out)
{
    const uint16_t *columns;
    unsigned count;
    int status = index_columns(schema->parsed, index, &columns, &count);
    if (status != SP_OK)
        return status;
    return row_key_decode(schema->parsed, columns, count, key, key_bytes, out);
}
