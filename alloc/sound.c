/* SPDX-License-Identifier: Apache-2.0
 *
 * sound.c - bounds and checksums of the blocks in the arena.
 */
#include "alloc/sound.h"

#include "alloc/hash.h"
#include "alloc/row.h"

bool entry_is_sound(const struct region *region, uint64_t unit)
{
    if (!region_holds(region, unit, bytes_to_units(ENTRY_HEAD_BYTES)))
        return false;
    const struct entry *entry = region_at(region, unit);
    uint64_t b = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t p = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    if (!region_holds(region, unit, bytes_to_units(entry_bytes(b, p))))
        return false;
    uint32_t checksum = entry_flags(b) & ENTRY_CACHE
                            ? entry_cache_checksum(b, p, (uint16_t)entry->checksum, entry->bytes)
                            : entry_checksum(b, p, entry->bytes);
    return entry->checksum == checksum;
}

uint64_t root_units(unsigned secondary_count)
{
    return bytes_to_units(sizeof(struct table_root) + (1 + secondary_count) * sizeof(uint64_t));
}

bool root_is_sound(const struct region *region, uint64_t unit)
{
    if (!region_holds(region, unit, root_units(0)))
        return false;
    const struct table_root *root = region_at(region, unit);
    return root->index_count <= ROW_INDEXES_MAX &&
           region_holds(region, unit, root_units(root->index_count)) &&
           region_holds(region, root->schema_unit, bytes_to_units(root->schema_bytes)) &&
           root->checksum == root_checksum(root, region_at(region, root->schema_unit));
}

bool dir_word_is_sound(const struct region *region, uint64_t word)
{
    return dir_depth(word) <= DIR_DEPTH_MAX && word >> 42 == 0 &&
           region_holds(region, dir_unit(word), dir_units(dir_depth(word)));
}

bool segment_word_is_sound(const struct region *region, uint64_t word, unsigned dir_bits)
{
    uint64_t unit = segment_unit(word);
    return unit > SEGMENT_HEAD_UNITS && segment_possible(word) && segment_depth(word) <= dir_bits &&
           (word >> 22 & 255) == 0 &&
           region_holds(region, unit, segment_buckets(word) * BUCKET_UNITS);
}
