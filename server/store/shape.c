/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.c - one shape of a table: the root block with its schema, and its indexes.
 *
 * A table whose columns, key or indexes change gets a new shape, which is filled beside the old one
 * and takes its place at the commit. When no reader can see the old one any more, it is buried:
 * freed a few segments at a time, so that dropping a table of millions of rows pauses nobody.
 */
#include "server/store/internal.h"

#include <stdlib.h>
#include <string.h>

static void bind_indexes(struct shape *shape)
{
    for (unsigned i = 0; i < shape->index_count; i++) {
        shape->indexes[i].shape = shape;
        shape->indexes[i].dir = &shape->root->dirs[i];
        shape->indexes[i].noted = shape->root->flags & ROOT_CACHE;
    }
}

/* Writes root and schema block into the arena. */
static int write_root(struct shape *shape, const struct schema *schema, uint32_t flags)
{
    struct store *store = shape->store;
    uint64_t schema_unit;
    size_t schema_bytes = schema_encoded_bytes(schema);
    int status = space_alloc(store, root_units(schema->index_count), 1, &shape->root_unit);
    if (status != SP_OK)
        return status;
    status = space_alloc(store, bytes_to_units(schema_bytes), 1, &schema_unit);
    if (status != SP_OK) {
        space_free(store, shape->root_unit, root_units(schema->index_count));
        return status;
    }
    schema_encode(schema, region_at(&store->region, schema_unit));
    struct table_root *root = region_at(&store->region, shape->root_unit);
    memset(root, 0, root_units(schema->index_count) * FORMAT_UNIT_BYTES);
    root->schema_unit = schema_unit;
    root->schema_bytes = (uint32_t)schema_bytes;
    root->index_count = schema->index_count;
    root->flags = flags;
    root->checksum = root_checksum(root, region_at(&store->region, schema_unit));
    atomic_store_explicit(&root->born, VERSION_UNCOMMITTED, memory_order_relaxed);
    shape->root = root;
    shape->index_count = 1 + schema->index_count;
    shape->units += root_units(schema->index_count) + bytes_to_units(schema_bytes);
    bind_indexes(shape);
    return SP_OK;
}

static void free_root(struct shape *shape)
{
    struct store *store = shape->store;
    space_free(store, shape->root->schema_unit, bytes_to_units(shape->root->schema_bytes));
    space_free(store, shape->root_unit, root_units(shape->index_count - 1));
}

void shape_free_struct(struct shape *shape)
{
    if (shape)
        schema_free(shape->schema);
    free(shape);
}

int shape_create(struct store *store, const struct schema *schema, uint32_t root_flags,
                 uint64_t row_hint, struct shape **out)
{
    struct shape *shape = calloc(1, sizeof(*shape));
    if (!shape)
        return SP_ENOMEM;
    shape->store = store;
    int status = write_root(shape, schema, root_flags);
    if (status != SP_OK)
        goto free_struct;
    status = schema_parse(region_at(&store->region, shape->root->schema_unit),
                          shape->root->schema_bytes, &shape->schema);
    unsigned made = 0;
    for (; status == SP_OK && made < shape->index_count; made++)
        status = index_create(&shape->indexes[made], made == 0 ? row_hint : 0);
    if (status == SP_OK) {
        *out = shape;
        return SP_OK;
    }
    for (unsigned i = 0; i + 1 < made; i++) /* the last one made failed and cleaned up */
        index_destroy(&shape->indexes[i]);
    free_root(shape);
free_struct:
    shape_free_struct(shape);
    return status;
}

int shape_open(struct store *store, uint64_t root_unit, struct shape **out)
{
    struct shape *shape = calloc(1, sizeof(*shape));
    if (!shape)
        return SP_ENOMEM;
    shape->store = store;
    shape->root_unit = root_unit;
    shape->root = region_at(&store->region, root_unit);
    shape->index_count = 1 + shape->root->index_count;
    int status = schema_parse(region_at(&store->region, shape->root->schema_unit),
                              shape->root->schema_bytes, &shape->schema);
    if (status != SP_OK || shape->schema->index_count != shape->root->index_count) {
        shape_free_struct(shape);
        return status != SP_OK ? status : SP_ECORRUPT;
    }
    bind_indexes(shape);
    shape->units = root_units(shape->root->index_count) + bytes_to_units(shape->root->schema_bytes);
    *out = shape;
    return SP_OK;
}

bool shape_matches(const struct shape *shape, const struct schema *schema)
{
    size_t bytes = schema_encoded_bytes(schema);
    if (bytes != shape->root->schema_bytes)
        return false;
    void *block = malloc(bytes);
    if (!block)
        return false;
    schema_encode(schema, block);
    bool same =
        memcmp(block, region_at(&shape->store->region, shape->root->schema_unit), bytes) == 0;
    free(block);
    return same;
}

/* Frees the entries that a segment's slots lead to, with their older versions. */
static void bury_entries(struct shape *shape, const struct segment_ref *segment)
{
    struct store *store = shape->store;
    for (unsigned i = 0; i < segment->bucket_count * BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(
            &segment->buckets[i / BUCKET_SLOTS].slots[i % BUCKET_SLOTS], memory_order_relaxed);
        for (uint64_t unit = slot_unit(word); unit;) {
            uint64_t prev = entry_view(store_entry(store, unit)).prev;
            held_erase(store, unit);
            entry_free(store, shape, unit);
            unit = prev;
        }
    }
}

bool shape_bury(struct grave *grave, unsigned budget)
{
    struct shape *shape = grave->shape;
    for (; grave->index < shape->index_count; grave->index++, grave->dir_position = 0) {
        struct segment_ref segment;
        while (index_next_segment(&shape->indexes[grave->index], &grave->dir_position, &segment)) {
            bury_entries(shape, &segment);
            if (--budget == 0)
                return false;
        }
        index_destroy(&shape->indexes[grave->index]);
    }
    free_root(shape);
    shape_free_struct(shape);
    return true;
}
