/* SPDX-License-Identifier: Apache-2.0
 *
 * mget.c - many values, copied, with their cache misses taken together.
 *
 * Keys go in groups. For each group: hash all and fetch the buckets; find the slots and fetch the
 * entries; compare, copy and validate. Each key has its own R8; R0 to R2 are done once for a group,
 * so a change of the table's root makes the group go key by key. What is not a plain hit or miss in
 * its home bucket is left to sp_get.
 *
 * Cost: about a third of sp_get where the data is larger than the caches.
 */
#include "client/local/find.h"

#define GROUP 16u

struct group {
    struct find_path path[GROUP];
    uint64_t hash[GROUP];
    unsigned bucket[GROUP];
    enum find result[GROUP];
};

/* Hashes and home buckets. */
static inline void fetch_buckets(struct group *group, const struct find_path *root,
                                 const struct sp_get *gets, size_t count)
{
    uint64_t seed = root->b->hash_seed;
    for (size_t i = 0; i < count; i++) {
        struct find_path *p = &group->path[i];
        uint64_t hash = hash_key(seed, gets[i].key, gets[i].key_bytes);
        *p = *root;
        group->hash[i] = hash;
        group->result[i] = find_home(p, hash, &group->bucket[i]);
        if (LIKELY(group->result[i] == FIND_HIT))
            __builtin_prefetch(p->home);
    }
}

/* The entries that the home buckets name: a guess, looked at again by find_slots. */
static inline void fetch_entries(const struct group *group, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (UNLIKELY(group->result[i] != FIND_HIT))
            continue;
        const struct find_path *p = &group->path[i];
        unsigned match = find_match(p->home, group->hash[i] & TAG_MASK);
        if (match == 0)
            continue;
        uint64_t word =
            atomic_load_explicit(&p->home->slots[__builtin_ctz(match)], memory_order_relaxed);
        const uint8_t *entry = p->b->arena + (slot_unit(word) << FORMAT_UNIT_SHIFT);
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
        __builtin_prefetch(entry + 128);
    }
}

static inline void copy_one(struct sp_table *table, struct group *group, size_t i,
                            struct sp_get *get)
{
    struct find_path *p = &group->path[i];
    struct found found;
    enum find result = group->result[i];
    if (LIKELY(result == FIND_HIT))
        result = find_slots(p, group->bucket[i], group->hash[i], get->key, get->key_bytes, &found);
    if (LIKELY(result == FIND_HIT)) {
        bool fits = found.value_bytes <= get->cap;
        if (LIKELY(fits))
            race_copy(get->out, found.value, found.value_bytes);
        if (LIKELY(find_valid(p))) {
            get->size = found.value_bytes;
            get->status = fits ? SP_OK : SP_ERANGE;
            return;
        }
    } else if (result == FIND_MISS && find_valid(p)) {
        get->status = SP_ENOTFOUND;
        return;
    }
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

int sp_mget(struct sp_table *table, struct sp_get *gets, size_t count)
{
    struct group group;
    if (find_is_old(table_binding(table))) {
        get_singly(table, gets, count);
        return SP_EOLD;
    }
    for (size_t done = 0; done < count;) {
        size_t size = count - done < GROUP ? count - done : GROUP;
        struct find_path root;
        if (LIKELY(find_begin(&root, table_binding(table)) && find_root(&root, 0) == FIND_HIT)) {
            fetch_buckets(&group, &root, gets + done, size);
            fetch_entries(&group, size);
            for (size_t i = 0; i < size; i++)
                copy_one(table, &group, i, &gets[done + i]);
        } else {
            get_singly(table, gets + done, size);
        }
        done += size;
    }
    return table_status(gets, count);
}
