/* SPDX-License-Identifier: Apache-2.0
 *
 * hash.h - the hash of a key, and the checksums of what lies in the pond.
 *
 * Checksums, and keys of more than 32 bytes, are XXH3 (64 bits). Shorter keys, which nearly all
 * are, are hashed by what follows: the key's ends, masked by secret words, are multiplied to 128
 * bits and folded, twice over. That takes half the instructions of XXH3 for these lengths, and a
 * read is so short that this shows (docs/BENCHMARKS.md). The folded multiplication is that of
 * wyhash (Wang Yi) and XXH3. test_hash checks that every bit of a key changes every bit of the hash
 * half of the time.
 */
#ifndef SIDEPOND_HASH_H
#define SIDEPOND_HASH_H

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "alloc/format.h"

#define HASH_SHORT_MAX 32u /* bytes */

/* Of one pond, and random, so that nobody outside can choose keys that collide. */
struct hash_secret {
    uint64_t seed;
    uint64_t words[4]; /* follow from the seed */
};

/* The words are the first four that SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) gives. */
static inline void hash_secret_init(struct hash_secret *secret, uint64_t seed)
{
    uint64_t state = seed;
    secret->seed = seed;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        secret->words[i] = z ^ (z >> 31);
    }
}

static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_read(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Fewer than 8 bytes as a word: of 4 and more both ends, else the first, middle and last byte. */
static inline uint64_t hash_read_few(const uint8_t *at, size_t bytes)
{
    uint32_t first, last;
    if (bytes >= sizeof first) {
        memcpy(&first, at, sizeof first);
        memcpy(&last, at + bytes - sizeof last, sizeof last);
        return (uint64_t)first << 32 | last;
    }
    return bytes == 0 ? 0 : (uint64_t)at[0] << 16 | (uint64_t)at[bytes / 2] << 8 | at[bytes - 1];
}

/* A function of its own, so that short keys do not pay for its registers. */
static __attribute__((noinline, unused)) uint64_t hash_long(const struct hash_secret *secret,
                                                            const void *key, size_t key_bytes)
{
    return XXH3_64bits_withSeed(key, key_bytes, secret->seed);
}

/* The hash of a key. */
static inline uint64_t hash_key(const struct hash_secret *secret, const void *key, size_t key_bytes)
{
    const uint8_t *first = key;
    const uint64_t *words = secret->words;
    if (key_bytes - 16 <= HASH_SHORT_MAX - 16) {
        const uint8_t *last = first + key_bytes - 16;
        uint64_t x = hash_fold(hash_read(first) ^ words[0], hash_read(first + 8) ^ words[1]);
        uint64_t y = hash_fold(hash_read(last) ^ words[2], hash_read(last + 8) ^ words[3]);
        return hash_fold(x ^ key_bytes, y);
    }
    if (key_bytes > HASH_SHORT_MAX)
        return hash_long(secret, key, key_bytes);
    uint64_t a, b;
    if (key_bytes >= 8)
        a = hash_read(first), b = hash_read(first + key_bytes - 8);
    else
        a = b = hash_read_few(first, key_bytes);
    return hash_fold(hash_fold(a ^ words[0], b ^ words[1]) ^ key_bytes, words[2]);
}

/* The checksum of an entry with these words; `bytes` are its key and value. */
static inline uint32_t entry_checksum(uint64_t born_word, uint64_t prev_word, const void *bytes)
{
    uint64_t seed = born_word >> VERSION_BITS ^ entry_value_bytes(prev_word) << 24;
    size_t size = entry_key_bytes(born_word) + entry_value_bytes(prev_word);
    return (uint32_t)XXH3_64bits_withSeed(bytes, size, seed);
}

/* Of an entry of the cache: with the low bits of its clock. */
static inline uint32_t entry_cache_checksum(uint64_t born_word, uint64_t prev_word, uint16_t clock,
                                            const void *bytes)
{
    uint64_t seed = (born_word ^ prev_word * UINT64_C(0x9e3779b97f4a7c15)) + clock;
    size_t size = entry_key_bytes(born_word) + entry_value_bytes(prev_word);
    return clock | (uint32_t)(XXH3_64bits_withSeed(bytes, size, seed) >> 48) << 16;
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
