/* SPDX-License-Identifier: Apache-2.0
 *
 * mget.c - many values, copied, with their cache misses taken together.
 *
 * Keys go in groups. For each group: hash all and fetch the buckets; find the slots and fetch the
 * entries; compare, copy and validate. A group is read at one version; each key has its own R8.
 * What quick.h has no answer for is left to sp_get.
 *
 * Cost: about a third of sp_get where the data is larger than the caches.
 */
#include "client/local/quick.h"

#define GROUP 16u

struct group {
    uint64_t hash[GROUP];
    uint64_t off[GROUP];           /* of the entry; 0: not in its home bucket */
    struct quick_home home[GROUP]; /* bucket NULL: the key is not for here */
};

/* Hashes and home buckets. */
FIND_INLINE void fetch_buckets(const struct binding *b, const struct quick_arena *arena,
                               struct group *group, const struct sp_get *gets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = hash_key(&b->hash, gets[i].key, gets[i].key_bytes);
        struct quick_home home;
        group->hash[i] = hash;
        if (UNLIKELY(!quick_home(b, arena, hash, &home)))
            home.bucket = NULL;
        __builtin_prefetch(home.bucket);
        group->home[i] = home;
    }
}

/* R4, the slots in the home buckets, and the entries that they name. */
FIND_INLINE void fetch_entries(const struct quick_arena *arena, struct group *group, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct bucket *bucket = group->home[i].bucket;
        if (UNLIKELY(bucket == NULL))
            continue;
        group->home[i].meta = atomic_load_explicit(&bucket->meta, memory_order_acquire);
        unsigned match = find_match(bucket, group->hash[i] & TAG_MASK);
        uint64_t off =
            LIKELY(match != 0) ? slot_unit(find_matched(bucket, match)) << FORMAT_UNIT_SHIFT : 0;
        group->off[i] = off;
        __builtin_prefetch(arena->base + off);
        __builtin_prefetch(arena->base + off + 64);
        __builtin_prefetch(arena->base + off + 128);
    }
}

/* False: leave it to sp_get. */
FIND_INLINE bool copy_one(const struct binding *b, const struct quick_arena *arena,
                          uint64_t version, struct group *group, size_t i, struct sp_get *get)
{
    struct quick_home home = group->home[i];
    uint64_t off = group->off[i];
    size_t value_bytes = 0;
    if (UNLIKELY(home.bucket == NULL))
        return false;
    if (UNLIKELY(off == 0)) {
        enum quick result = quick_slot(arena, &home, group->hash[i], &off);
        get->status = SP_ENOTFOUND;
        if (result == QUICK_MISS)
            return quick_valid_miss(b, arena, &home, version);
        if (result == QUICK_RARE)
            return false;
    }
    const size_t padded = quick_padded(get->cap);
    const int64_t last = quick_last(arena, get->key_bytes, padded);
    if (UNLIKELY(
            !quick_entry(arena, 0, version, last, off, get->key, get->key_bytes, &value_bytes) ||
            !quick_copy(arena, get->out, get->cap, padded, off + ENTRY_HEAD_BYTES + get->key_bytes,
                        value_bytes)))
        return false;
    get->size = value_bytes;
    get->status = SP_OK;
    return quick_valid(b, &home);
}

static inline void get_one(struct sp_table *table, struct sp_get *get)
{
    get->status = sp_get(table, get->key, get->key_bytes, get->out, get->cap, &get->size);
}

static NEVER_INLINE void get_singly(struct sp_table *table, struct sp_get *gets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gets[i].status =
            sp_get(table, gets[i].key, gets[i].key_bytes, gets[i].out, gets[i].cap, &gets[i].size);
}

/* Whether the table as a whole can be read: what all keys would answer. */
static int table_status(const struct sp_get *gets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = gets[i].status;
        if (status == SP_OK || status == SP_ENOTFOUND || status == SP_ERANGE)
            return SP_OK;
    }
    return count == 0 ? SP_OK : gets[0].status;
}

FIND_INLINE void get_group(struct sp_table *table, struct sp_get *gets, size_t count)
{
    const struct binding *binding = table_binding(table);
    struct group group;
    const struct quick_arena arena = quick_arena(binding);
    uint64_t version = quick_version(binding);
    fetch_buckets(binding, &arena, &group, gets, count);
    fetch_entries(&arena, &group, count);
    for (size_t i = 0; i < count; i++)
        if (UNLIKELY(!copy_one(binding, &arena, version, &group, i, &gets[i])))
            get_one(table, &gets[i]);
}

__attribute__((flatten)) int sp_mget(struct sp_table *table, struct sp_get *gets, size_t count)
{
    if (find_is_old(table_binding(table))) {
        get_singly(table, gets, count);
        return SP_EOLD;
    }
    for (size_t done = 0; done < count;) {
        size_t size = count - done < GROUP ? count - done : GROUP;
        get_group(table, gets + done, size);
        done += size;
    }
    return table_status(gets, count);
}
