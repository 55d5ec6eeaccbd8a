/* SPDX-License-Identifier: Apache-2.0
 *
 * find.c - a lookup with everything that can happen on the way: older roots and versions, entries
 * with flags, overflow buckets; and what becomes of an attempt that R8 or a bound ended.
 *
 * Everything here is bounded, also in a forged pond: chains by CHAIN_MAX, overflow by PROBE_MAX,
 * new attempts by READ_TRIES_MAX and by the rule that one which nothing explains is not repeated.
 */
#include "client/local/find.h"

/* A chain holds one version for each lease at most, and what has not been reclaimed yet. */
#define CHAIN_MAX 65536u

static const void *unit_at(const struct binding *b, uint64_t unit)
{
    return b->arena + (unit << FORMAT_UNIT_SHIFT);
}

/* --- roots and directories -------------------------------------------------------------------- */

enum find find_root(struct find_path *p, unsigned index)
{
    uint64_t units = bytes_to_units(sizeof(struct table_root) + (index + 1) * sizeof(uint64_t));
    uint64_t last = find_limit(p->b) - units;
    p->route = atomic_load_explicit(&p->b->slot->route, memory_order_acquire);
    p->head = atomic_load_explicit(&p->b->slot->head, memory_order_acquire);
    if (p->head == 0)
        return FIND_NO_TABLE;
    if (p->head > last)
        return FIND_ODD_ROOT;
    p->root = unit_at(p->b, p->head);
    p->born = atomic_load_explicit(&p->root->born, memory_order_acquire);
    for (unsigned step = 0; p->born > p->version; step++) {
        p->chained = true;
        uint64_t prev = atomic_load_explicit(&p->root->prev, memory_order_acquire);
        if (prev == 0)
            return FIND_NO_TABLE;
        if (prev > last || step == CHAIN_MAX)
            return FIND_ODD_ROOT;
        p->root = unit_at(p->b, prev);
        p->born = atomic_load_explicit(&p->root->born, memory_order_acquire);
    }
    if ((p->root->flags & ROOT_DROPPED) != 0)
        return FIND_NO_TABLE;
    if (index > p->root->index_count)
        return FIND_NO_INDEX;
    p->dir_at = &p->root->dirs[index];
    p->dir = atomic_load_explicit(p->dir_at, memory_order_acquire);
    return FIND_HIT;
}

/* The second half of R3: the home bucket. */
static enum find find_home(struct find_path *p, uint64_t hash, unsigned *bucket)
{
    uint64_t limit = find_limit(p->b);
    /* In two shifts, as one by 64 is not defined. */
    uint64_t at = hash >> 1 >> (63 - dir_depth(p->dir));
    if (dir_unit(p->dir) + (at >> 1) >= limit)
        return FIND_ODD_DIR;
    p->segment_at = (const _Atomic uint64_t *)unit_at(p->b, dir_unit(p->dir)) + at;
    p->segment = atomic_load_explicit(p->segment_at, memory_order_acquire);
    uint64_t unit = segment_unit(p->segment);
    *bucket = tag_bucket(hash & TAG_MASK, segment_buckets(p->segment));
    if (!segment_possible(p->segment) || unit + *bucket * BUCKET_UNITS > limit - BUCKET_UNITS)
        return FIND_ODD_SEGMENT;
    p->home = (const struct bucket *)unit_at(p->b, unit) + *bucket;
    return FIND_HIT;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* Where the parts of an entry lie, if all of it is within the limit. */
static enum find find_parts(const struct binding *b, uint64_t unit, uint64_t born_word,
                            uint64_t prev_word, struct found *out)
{
    uint64_t limit = find_limit(b);
    out->flags = entry_flags(born_word);
    out->key_bytes = entry_key_bytes(born_word);
    out->value_bytes = entry_value_bytes(prev_word);
    out->expiry_ms = entry_expiry(born_word, prev_word);
    uint64_t end = (unit << FORMAT_UNIT_SHIFT) + entry_bytes(born_word, prev_word);
    if (end > limit << FORMAT_UNIT_SHIFT)
        return FIND_ODD_ENTRY;
    out->key = (const uint8_t *)unit_at(b, unit) + ENTRY_HEAD_BYTES;
    out->value = out->key + out->key_bytes;
    return FIND_HIT;
}

/* The first of a chain, from `unit` on, that the path's version sees. */
enum find find_version(struct find_path *p, uint64_t unit, struct found *out)
{
    for (unsigned step = 0; step < CHAIN_MAX; step++) {
        if (unit >= find_limit(p->b))
            return FIND_ODD_ENTRY;
        const struct entry *entry = unit_at(p->b, unit);
        uint64_t born_word = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
        uint64_t prev_word = atomic_load_explicit(&entry->prev_word, memory_order_acquire);
        if (entry_born(born_word) <= p->version) {
            if ((entry_flags(born_word) & ENTRY_TOMBSTONE) != 0)
                return FIND_MISS;
            return find_parts(p->b, unit, born_word, prev_word, out);
        }
        p->chained = true;
        p->steps++;
        unit = entry_prev(born_word, prev_word);
        if (unit == 0)
            return FIND_MISS;
    }
    return FIND_ODD_ENTRY;
}

/* R5 and R6 for one slot. FIND_OTHER: it has not this key. */
static enum find find_entry(struct find_path *p, uint64_t unit, const void *key, size_t key_bytes,
                            struct found *out)
{
    if (unit >= find_limit(p->b))
        return FIND_ODD_ENTRY;
    const struct entry *entry = unit_at(p->b, unit);
    uint64_t born_word = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t prev_word = atomic_load_explicit(&entry->prev_word, memory_order_acquire);
    if (entry_key_bytes(born_word) != key_bytes)
        return FIND_OTHER;
    enum find result = find_parts(p->b, unit, born_word, prev_word, out);
    if (result != FIND_HIT)
        return result;
    if (!race_equal(out->key, key, key_bytes))
        return FIND_OTHER;
    if (entry_born(born_word) <= p->version && (entry_flags(born_word) & ENTRY_TOMBSTONE) == 0)
        return FIND_HIT;
    result = find_version(p, unit, out);
    return result == FIND_HIT && out->key_bytes != key_bytes ? FIND_ODD_ENTRY : result;
}

static enum find find_in_bucket(struct find_path *p, const struct bucket *bucket, uint64_t tag,
                                const void *key, size_t key_bytes, struct found *out)
{
    for (unsigned match = find_match(bucket, tag) & FIND_MATCH_SLOTS; match != 0;
         match &= match - 1) {
        uint64_t word = find_matched(bucket, match);
        if (slot_tag(word) != tag || slot_unit(word) == 0)
            continue;
        enum find result = find_entry(p, slot_unit(word), key, key_bytes, out);
        if (result != FIND_OTHER)
            return result;
    }
    return FIND_OTHER;
}

static enum find find_overflow(struct find_path *p, unsigned home, uint64_t tag, const void *key,
                               size_t key_bytes, struct found *out)
{
    const struct bucket *buckets = p->home - home;
    unsigned bucket_count = segment_buckets(p->segment);
    unsigned reach = bucket_reach(p->meta);
    if (reach > PROBE_MAX)
        return FIND_ODD_ENTRY;
    for (unsigned distance = 1; distance <= reach; distance++) {
        unsigned at = (home + distance) % bucket_count;
        if (segment_unit(p->segment) + at * BUCKET_UNITS > find_limit(p->b) - BUCKET_UNITS)
            return FIND_ODD_ENTRY;
        enum find result = find_in_bucket(p, &buckets[at], tag, key, key_bytes, out);
        if (result != FIND_OTHER)
            return result;
    }
    return FIND_MISS;
}

enum find find_key(struct find_path *p, unsigned index, const void *key, size_t key_bytes,
                   struct found *out)
{
    uint64_t hash = hash_key(&p->b->hash, key, key_bytes);
    unsigned bucket;
    enum find result = find_root(p, index);
    if (result == FIND_HIT)
        result = find_home(p, hash, &bucket);
    if (result != FIND_HIT)
        return result;
    p->meta = atomic_load_explicit(&p->home->meta, memory_order_acquire);
    result = find_in_bucket(p, p->home, hash & TAG_MASK, key, key_bytes, out);
    if (result != FIND_OTHER)
        return result;
    if (bucket_overflow(p->meta) == 0)
        return FIND_MISS;
    return find_overflow(p, bucket, hash & TAG_MASK, key, key_bytes, out);
}

/* --- what to do next -------------------------------------------------------------------------- */

NEVER_INLINE bool find_unchanged(const struct find_path *p, enum find result)
{
    race_fence();
    const struct super *super = p->b->super;
    uint64_t change = p->head ^ atomic_load_explicit(&p->b->slot->head, memory_order_relaxed);
    if (p->chained)
        change |= p->reclaim ^ atomic_load_explicit(&super->reclaim_seq, memory_order_relaxed);
    if (p->head == 0 || result == FIND_ODD_ROOT)
        return change == 0;
    change |= p->born ^ atomic_load_explicit(&p->root->born, memory_order_relaxed);
    if (result == FIND_NO_TABLE || result == FIND_NO_INDEX)
        return change == 0;
    change |= p->dir ^ atomic_load_explicit(p->dir_at, memory_order_relaxed);
    if (result == FIND_ODD_DIR)
        return change == 0;
    change |= p->segment ^ atomic_load_explicit(p->segment_at, memory_order_relaxed);
    if (result == FIND_ODD_SEGMENT)
        return change == 0;
    change |= p->meta ^ atomic_load_explicit(&p->home->meta, memory_order_relaxed);
    return change == 0;
}

/* Moves the table to the pond that replaced its own. */
static int follow(struct sp_table *table, struct binding **binding)
{
    int status = pond_follow(table->pond);
    *binding = table_binding(table);
    return status == SP_OK ? READ_AGAIN : status;
}

NEVER_INLINE int find_no_version(struct sp_table *table, struct binding **binding,
                                 uint64_t committed)
{
    if ((committed & VERSION_RETIRED) != 0)
        return follow(table, binding);
    return committed == 0 ? SP_ENOTREADY : SP_ECORRUPT;
}

/* No root for the name in this slot. A pond that was taken over may have got the table since, and a
 * slot without a root has not seen its first commit. */
static int settle_no_table(struct sp_table *table, struct binding **binding,
                           const struct find_path *p)
{
    if (p->head != 0)
        return SP_ENOTABLE;
    struct mapping *map = (*binding)->map;
    const struct table_slot *slot = mapping_slot(map, table->name);
    if (slot == NULL)
        return SP_ENOTABLE;
    if (slot == (*binding)->slot)
        return SP_ENOTREADY;
    pthread_mutex_lock(&table->pond->mutex);
    struct binding *fresh = binding_make(table, map);
    if (fresh != NULL)
        *binding = fresh;
    pthread_mutex_unlock(&table->pond->mutex);
    return fresh != NULL ? READ_AGAIN : SP_ENOMEM;
}

NEVER_INLINE int find_settle(struct sp_table *table, struct binding **binding,
                             const struct find_path *p, enum find result, bool pinned,
                             uint32_t *tries)
{
    bool retired = (map_committed((*binding)->map) & VERSION_RETIRED) != 0;
    if (retired && !pinned)
        return follow(table, binding);
    if (++*tries > READ_TRIES_MAX)
        return SP_ECORRUPT;
    if (!find_unchanged(p, result))
        return READ_AGAIN;
    if (result == FIND_MISS)
        return SP_ENOTFOUND;
    if (result == FIND_NO_TABLE)
        return pinned ? SP_ENOTABLE : settle_no_table(table, binding, p);
    if (result == FIND_NO_INDEX)
        return SP_ENOINDEX;
    if (result == FIND_HIT) /* it changed, and changed back to what it was for R8 to see */
        return READ_AGAIN;
    return binding_grow(*binding, p->limit_bytes) ? READ_AGAIN : SP_ECORRUPT;
}

bool find_table_is_old(const struct table_slot *slot)
{
    uint64_t deadline = atomic_load_explicit(&slot->deadline_ms, memory_order_relaxed);
    return clock_monotonic_ms() > deadline;
}
