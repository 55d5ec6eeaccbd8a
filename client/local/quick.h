/* SPDX-License-Identifier: Apache-2.0
 *
 * quick.h - the common way of a read, to be inlined: the newest version of a key, without flags, in
 * a table whose newest root counts. Whatever is rarer is "no answer" here, and done again by
 * find.h.
 *
 * Of docs/CONCURRENCY.md these are R1, half of R3 and R4 to R8. R0's reclaim_seq is not needed,
 * since no prev link is followed and no chain's end believed. R2 and d of R3 come from the binding,
 * which remembers a root and a directory that some earlier read found; R8 compares them with what
 * stands in the pond, and a root (by its place and born) or a directory of a root (by its depth)
 * that was replaced never comes back (C3). born <= v holds as it held then, since v only grows.
 *
 * What matters beyond the cache misses is the number of instructions, as it limits how many gets
 * the processor overlaps, and the chain of loads from key to value: directory word, bucket, slot,
 * value. So no function that is not inlined may get a pointer to struct quick_home: it lives in
 * registers.
 */
#ifndef SIDEPOND_LOCAL_QUICK_H
#define SIDEPOND_LOCAL_QUICK_H

#include "client/local/find.h"

/* Where a key would be. */
struct quick_home {
    const _Atomic uint64_t *segment_at;
    const struct bucket *bucket;
    uint64_t segment, meta;
    unsigned number; /* of the bucket in its segment */
};

/* Loaded once: after each atomic load the compiler would load what lies in the binding again. */
struct quick_arena {
    const uint8_t *base;
    uint64_t limit;
};

FIND_INLINE struct quick_arena quick_arena(const struct binding *b)
{
    return (struct quick_arena){
        .base = b->arena,
        .limit = atomic_load_explicit(&b->limit_bytes, memory_order_relaxed),
    };
}

/* R1. What is no version (nothing committed, retired) is found out on the way. */
FIND_INLINE uint64_t quick_version(const struct binding *b)
{
    return atomic_load_explicit(&b->super->committed, memory_order_acquire);
}

/* The second half of R3. The directory lies inside the limit as a whole: binding_learn has seen to
 * it. A binding that knows none has one of a single word 0. */
FIND_INLINE bool quick_home(const struct binding *b, const struct quick_arena *arena, uint64_t hash,
                            struct quick_home *h)
{
    /* The hash's top bits, without a shift by 64 for a single word. */
    h->segment_at = b->directory + ((hash >> 32) * b->dir_words >> 32);
    h->segment = atomic_load_explicit(h->segment_at, memory_order_acquire);
    h->number = tag_bucket(hash & TAG_MASK, segment_buckets(h->segment));
    uint64_t off = (segment_unit(h->segment) + h->number * 4) << FORMAT_UNIT_SHIFT;
    h->bucket = (const struct bucket *)(arena->base + off);
    return LIKELY(off <= arena->limit - sizeof(struct bucket));
}

/* Whether the entry is a plain one of this key that the version sees. */
FIND_INLINE bool quick_entry(const struct quick_arena *arena, uint64_t version, uint64_t off,
                             const void *key, size_t key_bytes, size_t *value_bytes)
{
    const struct entry *entry = (const struct entry *)(arena->base + off);
    if (UNLIKELY(off >= arena->limit))
        return false;
    uint64_t born_word = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t prev_word = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    *value_bytes = entry_value_bytes(prev_word);
    /* With the key's size taken off, a word without flags is the version, and any other is larger.
     * A version that is retired is negative. */
    uint64_t born = born_word - ((uint64_t)key_bytes << 48);
    if (UNLIKELY((int64_t)version < 0 || born > version ||
                 off + ENTRY_HEAD_BYTES + key_bytes + *value_bytes > arena->limit))
        return false;
    return LIKELY(race_equal(entry->bytes, key, key_bytes));
}

/* What a lookup comes to, before R8. QUICK_RARE: not to be said here. */
enum quick { QUICK_FOUND, QUICK_MISS, QUICK_RARE };

/* Looks for the key's tag in the overflow buckets of its home. In get.c. */
enum quick quick_overflow(const struct quick_home *h, uint64_t limit, uint64_t tag, uint64_t *off);

/* R4 to R6. A second slot of the same tag, which one key in 2^28 has, is rare. That the slot's tag
 * may have changed since find_match does not matter: the key is compared. */
FIND_INLINE enum quick quick_find(const struct quick_arena *arena, struct quick_home *h,
                                  uint64_t version, uint64_t hash, const void *key,
                                  size_t key_bytes, uint64_t *off, size_t *value_bytes)
{
    h->meta = atomic_load_explicit(&h->bucket->meta, memory_order_acquire);
    unsigned match = find_match(h->bucket, hash & TAG_MASK);
    if (LIKELY(match != 0)) {
        uint64_t word =
            atomic_load_explicit(&h->bucket->slots[__builtin_ctz(match)], memory_order_acquire);
        *off = slot_unit(word) << FORMAT_UNIT_SHIFT;
    } else {
        if (LIKELY(bucket_overflow(h->meta) == 0))
            return QUICK_MISS;
        struct quick_home home = *h; /* only copies have an address: see above */
        uint64_t found_off;
        enum quick result = quick_overflow(&home, arena->limit, hash & TAG_MASK, &found_off);
        if (UNLIKELY(result != QUICK_FOUND))
            return result;
        *off = found_off;
    }
    return LIKELY(quick_entry(arena, version, *off, key, key_bytes, value_bytes)) ? QUICK_FOUND
                                                                                  : QUICK_RARE;
}

FIND_INLINE const uint8_t *quick_value(const struct quick_arena *arena, uint64_t off,
                                       size_t key_bytes)
{
    return arena->base + off + ENTRY_HEAD_BYTES + key_bytes;
}

/* The root remembered; only once head is known to be of this pond (not NO_HEAD). */
FIND_INLINE const struct table_root *quick_root(const struct binding *b,
                                                const struct quick_arena *arena)
{
    return (const struct table_root *)(arena->base + (b->head << FORMAT_UNIT_SHIFT));
}

/* R8 for a hit. The root's born is left out: what it is for is a root that is not committed, in the
 * place of the one remembered; but the entry found is committed, and so is its root. */
FIND_INLINE bool quick_valid(const struct binding *b, const struct quick_arena *arena,
                             const struct quick_home *h)
{
    race_fence();
    if (UNLIKELY(b->head != atomic_load_explicit(&b->slot->head, memory_order_acquire)))
        return false;
    const struct table_root *root = quick_root(b, arena);
    return LIKELY(b->dir == atomic_load_explicit(&root->dirs[0], memory_order_acquire) &&
                  h->segment == atomic_load_explicit(h->segment_at, memory_order_acquire) &&
                  h->meta == atomic_load_explicit(&h->bucket->meta, memory_order_relaxed));
}

/* R8 for a miss. */
FIND_INLINE bool quick_valid_miss(const struct binding *b, const struct quick_arena *arena,
                                  const struct quick_home *h, uint64_t version)
{
    return quick_valid(b, arena, h) && version - 1 < VERSION_UNCOMMITTED - 1 &&
           b->born == atomic_load_explicit(&quick_root(b, arena)->born, memory_order_relaxed);
}

#endif
