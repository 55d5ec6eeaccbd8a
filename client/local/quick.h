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

#define QUICK_MISS 0u         /* no entry: unit 0 is none */
#define QUICK_RARE UINT64_MAX /* not to be said here */

/* R1. False: neither 0 nor retired. */
FIND_INLINE bool quick_version(const struct binding *b, uint64_t *version)
{
    *version = atomic_load_explicit(&b->super->committed, memory_order_acquire);
    return LIKELY(*version - 1 < VERSION_UNCOMMITTED - 1);
}

/* The second half of R3. The directory lies inside the limit as a whole: binding_learn has seen to
 * it. A binding that knows none has one of a single word 0. */
FIND_INLINE bool quick_home(const struct binding *b, uint64_t hash, struct quick_home *h)
{
    h->segment_at = b->directory + (hash >> 1 >> b->dir_shift);
    h->segment = atomic_load_explicit(h->segment_at, memory_order_acquire);
    uint64_t unit = segment_unit(h->segment);
    h->number = tag_bucket(hash & TAG_MASK, segment_buckets(h->segment));
    uint64_t bucket_unit = unit + h->number * 4;
    h->bucket = (const struct bucket *)(b->arena + (bucket_unit << FORMAT_UNIT_SHIFT));
    return LIKELY(unit != 0 && bucket_unit <= find_limit(b) - 4);
}

/* Whether the entry is a plain one of this key that the version sees. Bounds as in find_entry. */
FIND_INLINE bool quick_entry(const uint8_t *arena, uint64_t limit, uint64_t version, uint64_t unit,
                             const void *key, size_t key_bytes, size_t *value_bytes)
{
    const struct entry *entry = (const struct entry *)(arena + (unit << FORMAT_UNIT_SHIFT));
    if (UNLIKELY(unit >= limit))
        return false;
    uint64_t born_word = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t prev_word = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    *value_bytes = entry_value_bytes(prev_word);
    uint64_t end = (unit << FORMAT_UNIT_SHIFT) + ENTRY_HEAD_BYTES + key_bytes + *value_bytes;
    if (UNLIKELY(born_word >> VERSION_BITS != (uint64_t)key_bytes << 8 ||
                 entry_born(born_word) > version || end > limit << FORMAT_UNIT_SHIFT))
        return false;
    return LIKELY(race_equal(entry->bytes, key, key_bytes));
}

/* The unit of the key's slot among the overflow buckets, QUICK_MISS or QUICK_RARE. In get.c. */
uint64_t quick_overflow(const struct bucket *home, unsigned number, uint64_t segment, uint64_t meta,
                        uint64_t limit, uint64_t tag);

/* R4 to R6: the entry's unit, or QUICK_MISS, or QUICK_RARE. A second slot of the same tag, which
 * one key in 2^28 has, is rare. */
FIND_INLINE uint64_t quick_find(const struct binding *b, struct quick_home *h, uint64_t version,
                                uint64_t hash, const void *key, size_t key_bytes,
                                size_t *value_bytes)
{
    uint64_t tag = hash & TAG_MASK;
    uint64_t limit = find_limit(b);
    uint64_t unit;
    h->meta = atomic_load_explicit(&h->bucket->meta, memory_order_acquire);
    unsigned match = find_match(h->bucket, tag);
    if (LIKELY(match != 0)) {
        uint64_t word =
            atomic_load_explicit(&h->bucket->slots[__builtin_ctz(match)], memory_order_acquire);
        unit = slot_unit(word);
        if (UNLIKELY(slot_tag(word) != tag))
            return QUICK_RARE;
    } else {
        if (LIKELY(bucket_overflow(h->meta) == 0))
            return QUICK_MISS;
        unit = quick_overflow(h->bucket, h->number, h->segment, h->meta, limit, tag);
        if (unit == QUICK_MISS)
            return QUICK_MISS;
    }
    bool found = quick_entry(b->arena, limit, version, unit, key, key_bytes, value_bytes);
    return LIKELY(found) ? unit : QUICK_RARE;
}

FIND_INLINE const uint8_t *quick_value(const struct binding *b, uint64_t unit, size_t key_bytes)
{
    return b->arena + (unit << FORMAT_UNIT_SHIFT) + ENTRY_HEAD_BYTES + key_bytes;
}

/* R8. */
FIND_INLINE bool quick_valid(const struct binding *b, const struct quick_home *h)
{
    race_fence();
    uint64_t change = b->head ^ atomic_load_explicit(&b->slot->head, memory_order_relaxed);
    change |= b->born ^ atomic_load_explicit(&b->root->born, memory_order_relaxed);
    change |= b->dir ^ atomic_load_explicit(&b->root->dirs[0], memory_order_relaxed);
    change |= h->segment ^ atomic_load_explicit(h->segment_at, memory_order_relaxed);
    change |= h->meta ^ atomic_load_explicit(&h->bucket->meta, memory_order_relaxed);
    return LIKELY(change == 0);
}

#endif
