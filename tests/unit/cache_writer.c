/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_writer.c - see cache_writer.h. The root is that of a table with a schema of a single key
 * column; a cache's reader does not look at that.
 */
#include "tests/unit/cache_writer.h"

#include <string.h>

static void publish(struct cache_writer *writer)
{
    struct super *super = writer->store->region.super;
    unsigned number = atomic_load(&super->table_count);
    struct table *table = &writer->store->tables[number];
    table->slot = &writer->store->region.slots[number];
    table->current = writer->shape;
    memcpy(table->slot->name, FORMAT_CACHE_NAME, sizeof FORMAT_CACHE_NAME);
    writer->shape->root->flags = ROOT_CACHE;
    writer->shape->root->checksum = root_checksum(
        writer->shape->root, region_at(&writer->store->region, writer->shape->root->schema_unit));
    atomic_store(&writer->shape->root->born, 1);
    atomic_store(&table->slot->flags, SLOT_CACHE);
    atomic_store(&table->slot->head, writer->shape->root_unit);
    route_raise(table->slot);
    atomic_store(&super->table_count, number + 1);
    if (atomic_load(&super->committed) == 0)
        atomic_store(&super->committed, 1);
}

int cache_writer_open(struct cache_writer *writer, struct store *store)
{
    const struct row_column column = {.name = "key", .type = SP_TYPE_BYTES, .key_position = 0};
    struct schema *schema;
    char why[256];
    *writer = (struct cache_writer){.store = store};
    int status = schema_build(&column, 1, NULL, 0, &schema, why, sizeof why);
    if (status != SP_OK)
        return status;
    status = shape_create(store, schema, 0, &writer->shape);
    schema_free(schema);
    if (status == SP_OK)
        publish(writer);
    return status;
}

void cache_writer_close(struct cache_writer *writer)
{
    *writer = (struct cache_writer){.store = NULL};
}

static int make_entry(struct cache_writer *writer, const void *key, size_t key_bytes,
                      const void *value, size_t value_bytes, const uint64_t extra[2],
                      uint64_t *unit)
{
    uint64_t born_word = entry_born_word(1, ENTRY_EXTENDED, key_bytes);
    uint64_t prev_word = entry_prev_word(0, value_bytes);
    int status =
        space_alloc(writer->store, bytes_to_units(entry_bytes(born_word, prev_word)), 1, unit);
    if (status != SP_OK)
        return status;
    struct entry *entry = store_entry(writer->store, *unit);
    memcpy(entry->bytes, extra, ENTRY_EXTENDED_BYTES);
    memcpy(entry->bytes + ENTRY_EXTENDED_BYTES, key, key_bytes);
    memcpy(entry->bytes + ENTRY_EXTENDED_BYTES + key_bytes, value, value_bytes);
    entry->checksum = entry_checksum(born_word, prev_word, entry->bytes);
    atomic_store_explicit(&entry->born_word, born_word, memory_order_relaxed);
    atomic_store_explicit(&entry->prev_word, prev_word, memory_order_relaxed);
    writer->shape->units += entry_units(entry);
    return SP_OK;
}

int cache_writer_put(struct cache_writer *writer, const void *key, size_t key_bytes,
                     const void *value, size_t value_bytes, int64_t expiry_ms, uint64_t version)
{
    struct index *index = &writer->shape->indexes[0];
    uint64_t hash = hash_key(&writer->store->region.hash, key, key_bytes), unit;
    const uint64_t extra[2] = {(uint64_t)expiry_ms, version};
    struct place place;
    int status = make_entry(writer, key, key_bytes, value, value_bytes, extra, &unit);
    if (status != SP_OK)
        return status;
    if (index_find(index, hash, key, key_bytes, &place)) {
        index_replace(&place, unit);
        entry_free(writer->store, writer->shape, slot_unit(place.word));
        return SP_OK;
    }
    status = index_insert(index, hash, unit);
    if (status != SP_OK)
        entry_free(writer->store, writer->shape, unit);
    return status;
}

bool cache_writer_remove(struct cache_writer *writer, const void *key, size_t key_bytes)
{
    struct index *index = &writer->shape->indexes[0];
    uint64_t hash = hash_key(&writer->store->region.hash, key, key_bytes);
    struct place place;
    if (!index_find(index, hash, key, key_bytes, &place))
        return false;
    index_remove(index, &place);
    entry_free(writer->store, writer->shape, slot_unit(place.word));
    return true;
}
