/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_carry.c - taking the cache along from a pond into the one that replaces it.
 *
 * The old pond's index is walked as recovery does it, with every block's bounds and checksum looked
 * at, since its daemon may have died in the middle of anything. What is damaged, or has expired, is
 * left behind; where the new pond has less room, entries are evicted as they come. They keep their
 * versions. Tombstones come first, in a walk of their own, as evicting does not always make room of
 * the size of one; so one is lost only where the new pond has no room for all of them.
 */
#include "server/store/cache_internal.h"

#include <string.h>

#include "alloc/clock.h"

static const struct table_root *old_root(const struct region *old, struct cache_life *life)
{
    unsigned count = atomic_load_explicit(&old->super->table_count, memory_order_relaxed);
    for (unsigned i = 0; i < count && i < FORMAT_TABLES_MAX; i++) {
        const struct table_slot *slot = &old->slots[i];
        uint64_t head = atomic_load_explicit(&slot->head, memory_order_relaxed);
        if (strncmp(slot->name, FORMAT_CACHE_NAME, sizeof(slot->name)) != 0 ||
            !root_is_sound(old, head))
            continue;
        *life = (struct cache_life){
            .whole_ms = atomic_load_explicit(&slot->whole_ms, memory_order_relaxed),
            .since_ms = atomic_load_explicit(&slot->since_ms, memory_order_relaxed)};
        const struct table_root *root = region_at(old, head);
        return root->flags & ROOT_CACHE ? root : NULL;
    }
    return NULL;
}

static void carry_entry(struct cache *cache, const struct region *old, uint64_t unit,
                        bool tombstones)
{
    if (!entry_is_sound(old, unit))
        return;
    const struct entry *entry = region_at(old, unit);
    struct entry_view e = entry_view(entry);
    bool tombstone = e.flags & ENTRY_TOMBSTONE;
    struct cache_stamped stamped = {.hash = cache_hash(cache, e.key, e.key_bytes),
                                    .version = cache_version_of(entry),
                                    .key = e.key,
                                    .key_bytes = e.key_bytes,
                                    .value = tombstone ? NULL : e.value,
                                    .value_bytes = e.value_bytes,
                                    .expiry_ms = cache_expiry_of(entry)};
    if (!(e.flags & ENTRY_CACHE) || tombstone != tombstones ||
        (!tombstone && cache_expired(cache, entry)))
        return;
    /* One that finds no room is lost, as by eviction. */
    (void)cache_apply(cache, &stamped, NULL, NULL);
}

static void carry_segment(struct cache *cache, const struct region *old, uint64_t word,
                          bool tombstones)
{
    const struct bucket *buckets = region_at(old, segment_unit(word));
    unsigned slots = segment_buckets(word) * BUCKET_SLOTS;
    cache_lock(cache, clock_wall_ms());
    for (unsigned i = 0; i < slots; i++) {
        uint64_t slot = atomic_load_explicit(&buckets[i / BUCKET_SLOTS].slots[i % BUCKET_SLOTS],
                                             memory_order_relaxed);
        if (slot)
            carry_entry(cache, old, slot_unit(slot), tombstones);
    }
    cache_unlock(cache);
}

/* All tombstones, or all others. */
static void carry_all(struct cache *cache, const struct region *old, uint64_t dir, bool tombstones)
{
    const _Atomic uint64_t *words = region_at(old, dir_unit(dir));
    uint64_t last = 0;
    for (uint64_t i = 0; i < UINT64_C(1) << dir_depth(dir); i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (word != last && segment_word_is_sound(old, word, dir_depth(dir)))
            carry_segment(cache, old, word, tombstones);
        last = word;
    }
}

int cache_carry(struct store *store, const struct region *old)
{
    const struct cache_options options = {.limit_bytes = store->options.cache_bytes, .evict = true};
    struct cache_life life;
    const struct table_root *root = old_root(old, &life);
    struct cache *cache;
    if (options.limit_bytes == 0 || !root)
        return SP_OK;
    uint64_t dir = atomic_load_explicit(&root->dirs[0], memory_order_relaxed);
    if (!dir_word_is_sound(old, dir))
        return SP_OK;
    int status = cache_open(store, &options, &cache);
    if (status != SP_OK)
        return status;
    cache_set_life(cache, &life);
    cache->tombstone_ms = TOMBSTONE_MS_MAX; /* how long they stay is not known yet */
    carry_all(cache, old, dir, true);
    carry_all(cache, old, dir, false);
    cache_close(cache);
    return SP_OK;
}
