/* SPDX-License-Identifier: Apache-2.0
 *
 * quick.h - the common way of a read, to be inlined: the newest version of a key, without flags, in
 * a table whose newest root counts. Whatever is rarer is "no answer" here, and done again by
 * find.h.
 *
 * Of docs/CONCURRENCY.md these are R1, half of R3 and R4 to R8. R0's reclaim_seq is not needed,
 * since no prev link is followed and no chain's end believed. R2 and d of R3 come from the binding,
 * which remembers a root and a directory that some earlier read found, and the route that stood for
 * them; R8 compares that with slot.route, which is raised after any change of them and never comes
 * back (C3). born <= v holds as it held then, since v only grows.
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
    unsigned number = tag_bucket(hash & TAG_MASK, segment_buckets(h->segment));
    uint64_t off = (segment_unit(h->segment) + number * BUCKET_UNITS) << FORMAT_UNIT_SHIFT;
    h->bucket = (const struct bucket *)(arena->base + off);
    return LIKELY(off < arena->limit); /* both are multiples of a bucket's size */
}

/* The most that is copied by race_copy_padded into so much room. */
FIND_INLINE size_t quick_padded(size_t cap)
{
    size_t padded = cap / RACE_PAD * RACE_PAD;
    return padded < RACE_SHORT_MAX ? padded : RACE_SHORT_MAX;
}

/* The last offset at which an entry of this key may begin, with a value of up to `padded` bytes.
 * Known before the entry is, so that one comparison is enough for it. Negative: nowhere. */
FIND_INLINE int64_t quick_last(const struct quick_arena *arena, size_t key_bytes, size_t padded)
{
    return (int64_t)(arena->limit - (ENTRY_HEAD_BYTES + key_bytes + padded));
}

/* The rest of R5, and R6: whether the entry is one of this key, with just these flags, that the
 * version sees. The flags are those of all entries of the table, and constant: 0, or ENTRY_CACHE,
 * whose entries every version sees. */
FIND_INLINE bool quick_entry(const struct quick_arena *arena, unsigned flags, uint64_t version,
                             int64_t last, uint64_t off, const void *key, size_t key_bytes,
                             size_t *value_bytes)
{
    const struct entry *entry = (const struct entry *)(arena->base + off);
    if (UNLIKELY((int64_t)off > last || (int64_t)version < 0)) /* negative: retired */
        return false;
    uint64_t born_word = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    *value_bytes = entry_value_bytes(atomic_load_explicit(&entry->prev_word, memory_order_relaxed));
    /* With the key's size and the flags taken off, the right word is the version (of the cache:
     * any), and any other is larger. */
    uint64_t extra = ((uint64_t)key_bytes << 48) + ((uint64_t)flags << VERSION_BITS);
    return LIKELY(born_word - extra <= (flags & ENTRY_CACHE ? VERSION_MASK : version) &&
                  race_equal(entry->bytes, key, key_bytes));
}

/* What a lookup comes to, before R8. QUICK_RARE: not to be said here. */
enum quick { QUICK_FOUND, QUICK_MISS, QUICK_RARE };

/* The offset of the first entry with this tag in the overflow buckets of a home; 0: there is none;
 * QUICK_OFF_RARE. In get.c. All by value, as a pointer would keep what it points to in memory. */
#define QUICK_OFF_RARE UINT64_MAX
uint64_t quick_overflow(struct quick_arena arena, const struct bucket *home, uint64_t segment,
                        uint64_t meta, uint64_t tag);

/* R4, and R5 as far as the slot: where the entry is if there is one. A second slot of the same tag,
 * which one key in 2^28 has, is rare. That the slot's tag may have changed since find_match, or
 * that a match is the meta, does not matter: the key is compared. `match` is that of find_match in
 * the home bucket; 0: the entry is elsewhere. */
FIND_INLINE enum quick quick_slot_match(const struct quick_arena *arena, struct quick_home *h,
                                        uint64_t hash, uint64_t *off, unsigned *match)
{
    h->meta = atomic_load_explicit(&h->bucket->meta, memory_order_acquire);
    *match = find_match(h->bucket, hash & TAG_MASK);
    if (LIKELY(*match != 0)) {
        *off = slot_unit(find_matched(h->bucket, *match)) << FORMAT_UNIT_SHIFT;
        return QUICK_FOUND;
    }
    if (LIKELY(bucket_overflow(h->meta) == 0))
        return QUICK_MISS;
    *off = quick_overflow(*arena, h->bucket, h->segment, h->meta, hash & TAG_MASK);
    if (LIKELY(*off - 1 < QUICK_OFF_RARE - 1))
        return QUICK_FOUND;
    return *off == 0 ? QUICK_MISS : QUICK_RARE;
}

FIND_INLINE enum quick quick_slot(const struct quick_arena *arena, struct quick_home *h,
                                  uint64_t hash, uint64_t *off)
{
    unsigned match;
    return quick_slot_match(arena, h, hash, off, &match);
}

/* R7: copies so many bytes from an offset, if there is room for them. `padded` stands for both the
 * room and the limit, that is, it comes from the same call of quick_padded as quick_last's. */
FIND_INLINE bool quick_copy(const struct quick_arena *arena, void *out, size_t cap, size_t padded,
                            uint64_t off, size_t bytes)
{
    if (LIKELY(bytes - 1 < padded)) { /* no bytes: maybe no room either */
        race_copy_padded(out, arena->base + off, bytes);
        return true;
    }
    if (UNLIKELY(bytes > cap || off + bytes > arena->limit))
        return false;
    race_copy(out, arena->base + off, bytes);
    return true;
}

/* The root remembered; only once R8 has found the route to be the one remembered. */
FIND_INLINE const struct table_root *quick_root(const struct binding *b,
                                                const struct quick_arena *arena)
{
    return (const struct table_root *)(arena->base + (b->head << FORMAT_UNIT_SHIFT));
}

/* Whether the table may not be read because it is too old: find_is_old, as far as the binding
 * knows. If its flags have changed since, so has its route. */
FIND_INLINE bool quick_is_old(const struct binding *b)
{
    return UNLIKELY(b->flags != 0) && find_is_old(b);
}

/* R8 for a hit. The root's born is left out: what it is for is a root that is not committed, in the
 * place of the one remembered; but the entry found is committed, and so is its root. */
FIND_INLINE bool quick_valid(const struct binding *b, const struct quick_home *h)
{
    race_fence();
    return LIKELY(b->route == atomic_load_explicit(&b->slot->route, memory_order_acquire) &&
                  h->segment == atomic_load_explicit(h->segment_at, memory_order_acquire) &&
                  h->meta == atomic_load_explicit(&h->bucket->meta, memory_order_relaxed));
}

/* R8 for a miss. */
FIND_INLINE bool quick_valid_miss(const struct binding *b, const struct quick_arena *arena,
                                  const struct quick_home *h, uint64_t version)
{
    return quick_valid(b, h) && version - 1 < VERSION_UNCOMMITTED - 1 &&
           b->born == atomic_load_explicit(&quick_root(b, arena)->born, memory_order_relaxed);
}

#endif
