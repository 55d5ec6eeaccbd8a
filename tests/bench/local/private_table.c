/* SPDX-License-Identifier: Apache-2.0
 *
 * private_table.c - see the header. Memory is mapped at once and filled in the order of the rows,
 * in 4 KiB pages unless asked otherwise. Buckets are four fifths full, as those of a pond whose
 * number of rows was known when it was loaded.
 */
#include "private_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client/local/quick.h"

#define GROUP 16u

struct private_table {
    struct bucket *buckets;
    uint64_t bucket_count;
    uint8_t *arena;
    uint64_t next_unit, unit_limit;
    struct hash_secret secret;
    size_t bucket_bytes, arena_bytes;
};

static void *map_pages(size_t bytes, bool huge_pages)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        abort();
    (void)madvise(map, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return map;
}

struct private_table *private_new(uint32_t row_count, uint64_t bytes, bool huge_pages)
{
    struct private_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        abort();
    table->bucket_count = (uint64_t)row_count * 5 / 4 / BUCKET_SLOTS + 1;
    table->bucket_bytes = (size_t)table->bucket_count * sizeof(struct bucket);
    table->buckets = map_pages(table->bucket_bytes, huge_pages);
    table->arena_bytes = (size_t)bytes;
    table->arena = map_pages(table->arena_bytes, huge_pages);
    table->next_unit = 1;
    table->unit_limit = bytes >> FORMAT_UNIT_SHIFT;
    hash_secret_init(&table->secret, UINT64_C(0x5eed));
    return table;
}

void private_free(struct private_table *table)
{
    munmap(table->buckets, table->bucket_bytes);
    munmap(table->arena, table->arena_bytes);
    free(table);
}

static inline uint64_t home_of(const struct private_table *table, uint64_t hash)
{
    return (uint64_t)(((unsigned __int128)hash * table->bucket_count) >> 64);
}

static void put_slot(struct private_table *table, uint64_t hash, uint64_t word)
{
    uint64_t home = home_of(table, hash);
    for (unsigned distance = 0; distance <= PROBE_MAX; distance++) {
        struct bucket *bucket = &table->buckets[(home + distance) % table->bucket_count];
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (bucket->slots[i] != 0)
                continue;
            bucket->slots[i] = word;
            uint64_t meta = table->buckets[home].meta;
            if (distance > bucket_reach(meta))
                meta = (meta & 0xff) | (uint64_t)distance << 8;
            table->buckets[home].meta = meta + (distance > 0);
            return;
        }
    }
    abort();
}

void private_put(struct private_table *table, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes)
{
    uint64_t hash = hash_key(&table->secret, key, key_bytes);
    uint64_t born_word = entry_born_word(1, 0, key_bytes);
    uint64_t prev_word = entry_prev_word(0, value_bytes);
    uint64_t units = bytes_to_units(entry_bytes(born_word, prev_word));
    if (table->next_unit + units > table->unit_limit)
        abort();
    struct entry *entry = (struct entry *)(table->arena + (table->next_unit << FORMAT_UNIT_SHIFT));
    entry->born_word = born_word;
    entry->prev_word = prev_word;
    memcpy(entry->bytes, key, key_bytes);
    memcpy(entry->bytes + key_bytes, value, value_bytes);
    put_slot(table, hash, slot_word(table->next_unit, hash));
    table->next_unit += units;
}

static const struct entry *match_entry(const struct private_table *table,
                                       const struct bucket *bucket, uint64_t hash, const void *key,
                                       size_t key_bytes)
{
    for (unsigned match = find_match(bucket, hash & TAG_MASK) & FIND_MATCH_SLOTS; match != 0;
         match &= match - 1) {
        uint64_t word = find_matched(bucket, match);
        const struct entry *entry =
            (const struct entry *)(table->arena + (slot_unit(word) << FORMAT_UNIT_SHIFT));
        if (word != 0 && entry_key_bytes(entry->born_word) == key_bytes &&
            race_equal(entry->bytes, key, key_bytes))
            return entry;
    }
    return NULL;
}

static NEVER_INLINE const struct entry *overflow_entry(const struct private_table *table,
                                                       const struct bucket *home, uint64_t hash,
                                                       const void *key, size_t key_bytes)
{
    uint64_t at = (uint64_t)(home - table->buckets);
    unsigned reach = bucket_reach(home->meta);
    for (unsigned distance = 1; distance <= reach; distance++) {
        const struct entry *entry = match_entry(
            table, &table->buckets[(at + distance) % table->bucket_count], hash, key, key_bytes);
        if (entry != NULL)
            return entry;
    }
    return NULL;
}

FIND_INLINE int get_at(const struct private_table *table, const struct bucket *home, uint64_t hash,
                       const void *key, size_t key_bytes, void *out, size_t cap, size_t *size)
{
    const struct entry *entry = match_entry(table, home, hash, key, key_bytes);
    if (UNLIKELY(entry == NULL && bucket_overflow(home->meta) != 0))
        entry = overflow_entry(table, home, hash, key, key_bytes);
    if (entry == NULL)
        return SP_ENOTFOUND;
    *size = entry_value_bytes(entry->prev_word);
    if (*size > cap)
        return SP_ERANGE;
    if (*size <= quick_padded(cap))
        race_copy_padded(out, entry->bytes + key_bytes, *size);
    else
        memcpy(out, entry->bytes + key_bytes, *size);
    return SP_OK;
}

__attribute__((flatten)) int private_get(struct private_table *table, const void *key,
                                         size_t key_bytes, void *out, size_t cap, size_t *size)
{
    uint64_t hash = hash_key(&table->secret, key, key_bytes);
    return get_at(table, &table->buckets[home_of(table, hash)], hash, key, key_bytes, out, cap,
                  size);
}

__attribute__((flatten)) int private_mget(struct private_table *table, struct sp_get *gets,
                                          size_t count)
{
    uint64_t hash[GROUP];
    const struct bucket *home[GROUP];
    for (size_t done = 0; done < count; done += GROUP) {
        size_t size = count - done < GROUP ? count - done : GROUP;
        struct sp_get *get = gets + done;
        for (size_t i = 0; i < size; i++) {
            hash[i] = hash_key(&table->secret, get[i].key, get[i].key_bytes);
            home[i] = &table->buckets[home_of(table, hash[i])];
            __builtin_prefetch(home[i]);
        }
        for (size_t i = 0; i < size; i++) {
            unsigned match = find_match(home[i], hash[i] & TAG_MASK);
            if (match == 0)
                continue;
            const uint8_t *entry =
                table->arena + (slot_unit(find_matched(home[i], match)) << FORMAT_UNIT_SHIFT);
            __builtin_prefetch(entry);
            __builtin_prefetch(entry + 64);
            __builtin_prefetch(entry + 128);
        }
        for (size_t i = 0; i < size; i++)
            get[i].status = get_at(table, home[i], hash[i], get[i].key, get[i].key_bytes,
                                   get[i].out, get[i].cap, &get[i].size);
    }
    return SP_OK;
}
