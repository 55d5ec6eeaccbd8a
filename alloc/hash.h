/* SPDX-License-Identifier: Apache-2.0
 *
 * hash.h - the hash of a key and the checksum of an entry: XXH3, 64 bits, inlined.
 */
#ifndef SIDEPOND_HASH_H
#define SIDEPOND_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "alloc/format.h"

/* The hash of a key. The seed is the pond's own and random, so that nobody outside can choose keys
 * that collide. */
static inline uint64_t hash_key(uint64_t seed, const void *key, size_t key_bytes)
{
    return XXH3_64bits_withSeed(key, key_bytes, seed);
}

/* The checksum of an entry with these words; `bytes` is what follows the fixed head (16 bytes of
 * the extended head if there is one, key, value). */
static inline uint32_t entry_checksum(uint64_t born_word, uint64_t prev_word, const void *bytes)
{
    uint64_t seed = born_word >> VERSION_BITS ^ entry_value_bytes(prev_word) << 24;
    size_t size = (size_t)entry_bytes(born_word, prev_word) - ENTRY_HEAD_BYTES;
    return (uint32_t)XXH3_64bits_withSeed(bytes, size, seed);
}

/* The checksum of a table root and its schema block. */
static inline uint32_t root_checksum(const struct table_root *root, const void *schema_block)
{
    size_t off = offsetof(struct table_root, schema_unit);
    uint64_t seed =
        XXH3_64bits((const char *)root + off, offsetof(struct table_root, checksum) - off);
    return (uint32_t)XXH3_64bits_withSeed(schema_block, root->schema_bytes, seed);
}

static inline uint64_t hash_bytes(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

#endif
