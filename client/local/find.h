/* SPDX-License-Identifier: Apache-2.0
 *
 * find.h - from a key to its entry: steps R0 to R6 and R8 of docs/CONCURRENCY.md.
 *
 * This is the whole of it, with older versions, flags and overflow; quick.h has the common way for
 * the calls that must be fast. No offset is used before
 * it has been compared with the binding's limit, which is what the writer has backed with memory;
 * whatever the pond's bytes are, all loads stay inside. What they mean is settled by find_valid().
 *
 * Cost: three dependent cache lines beyond the table's own (directory word, bucket, entry), and
 * five loads from lines just read for find_valid().
 */
#ifndef SIDEPOND_LOCAL_FIND_H
#define SIDEPOND_LOCAL_FIND_H

#include "alloc/hash.h"
#include "client/local/internal.h"
#include "client/local/race.h"

#if defined(__SSE2__) && !RACE_BYTEWISE
#include <emmintrin.h>
#define FIND_SSE2 1
#else
#define FIND_SSE2 0
#endif

#define FIND_INLINE    static inline __attribute__((always_inline))
#define LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define UNLIKELY(cond) __builtin_expect(!!(cond), 0)

enum find {
    FIND_HIT,
    FIND_MISS,
    FIND_OTHER,    /* inside: not this entry, look at the next one */
    FIND_NO_TABLE, /* no root for this version, or it says that the table was dropped */
    FIND_NO_INDEX, /* the root has fewer indexes */
    /* Something is out of bounds: the unit of a root, of a directory's word, of a bucket, or an
     * entry. What comes before it in the path has been loaded. */
    FIND_ODD_ROOT,
    FIND_ODD_DIR,
    FIND_ODD_SEGMENT,
    FIND_ODD_ENTRY,
};

/* The words that R8 compares, and where they are. */
struct find_path {
    const struct binding *b;
    uint64_t reclaim, version;
    uint64_t route, head, born, dir, segment, meta;
    const struct table_root *root;
    const _Atomic uint64_t *dir_at, *segment_at;
    const struct bucket *home;
    uint64_t limit_bytes; /* of the binding, at most as it was for the first look at it */
    bool chained;         /* a prev link was followed, or its absence believed */
    uint32_t steps;       /* prev links followed */
};

/* Where a version of a row lies. */
struct found {
    const uint8_t *key;
    const uint8_t *value;
    size_t key_bytes;
    size_t value_bytes;
    int64_t expiry_ms; /* of the cache's */
    unsigned flags;
};

/* R2, and the first half of R3: the root for the path's version and its directory of an index (0 is
 * the primary one). FIND_HIT, FIND_NO_TABLE, FIND_NO_INDEX, FIND_ODD_ROOT. */
enum find find_root(struct find_path *p, unsigned index);

/* The first of a chain, from `unit` on, that the path's version sees (R6). */
enum find find_version(struct find_path *p, uint64_t unit, struct found *out);

/* R2 to R6. R8 comes next, after what the caller does with a hit. */
enum find find_key(struct find_path *p, unsigned index, const void *key, size_t key_bytes,
                   struct found *out);

/* What an attempt comes to that is not a valid hit: a status, or READ_AGAIN. R8 is done here.
 * `tries` counts, from 0. A pinned path is not moved to another pond. */
int find_settle(struct sp_table *table, struct binding **binding, const struct find_path *p,
                enum find result, bool pinned, uint32_t *tries);
/* The same where find_begin said no. */
int find_no_version(struct sp_table *table, struct binding **binding, uint64_t committed);
/* R8 for a path that ended early. */
bool find_unchanged(const struct find_path *p, enum find result);

bool find_table_is_old(const struct table_slot *slot);

/* In units. */
FIND_INLINE uint64_t find_limit(const struct binding *b)
{
    return atomic_load_explicit(&b->limit_bytes, memory_order_relaxed) >> FORMAT_UNIT_SHIFT;
}

/* R0 and R1. False where there is no version to read: nothing committed, or retired. */
FIND_INLINE bool find_begin(struct find_path *p, const struct binding *b)
{
    p->b = b;
    p->limit_bytes = atomic_load_explicit(&b->limit_bytes, memory_order_relaxed);
    p->chained = false;
    p->steps = 0;
    p->reclaim = atomic_load_explicit(&b->super->reclaim_seq, memory_order_acquire);
    p->version = atomic_load_explicit(&b->super->committed, memory_order_acquire);
    return LIKELY(p->version - 1 < VERSION_UNCOMMITTED - 1);
}

/* The same for a version that is pinned. */
FIND_INLINE void find_begin_at(struct find_path *p, const struct binding *b, uint64_t version)
{
    p->b = b;
    p->limit_bytes = atomic_load_explicit(&b->limit_bytes, memory_order_relaxed);
    p->chained = false;
    p->steps = 0;
    p->reclaim = atomic_load_explicit(&b->super->reclaim_seq, memory_order_acquire);
    p->version = version;
}

/* Bits 2 i and 2 i + 1 are set where the bucket's word i, its meta being word 0, has the tag in it.
 * The meta's bits say nothing; an empty slot may match, and a slot that changes just now. */
#define FIND_MATCH_SLOTS 0x5554u /* one bit for each slot */
FIND_INLINE unsigned find_match(const struct bucket *bucket, uint64_t tag)
{
#if FIND_SSE2
    /* The tag is in the lower half of each word, below 4 bits of the unit. x86 loads each aligned
     * 8 bytes of a vector as a whole. */
    const __m128i *words = (const __m128i *)bucket;
    __m128i wanted = _mm_set1_epi32((int)(tag << 4));
    __m128 low = _mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(&words[0])),
                                _mm_castsi128_ps(_mm_load_si128(&words[1])), 0x88);
    __m128 high = _mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(&words[2])),
                                 _mm_castsi128_ps(_mm_load_si128(&words[3])), 0x88);
    __m128i low_equal = _mm_cmpeq_epi32(_mm_slli_epi32(_mm_castps_si128(low), 4), wanted);
    __m128i high_equal = _mm_cmpeq_epi32(_mm_slli_epi32(_mm_castps_si128(high), 4), wanted);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi32(low_equal, high_equal));
#else
    unsigned bits = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_acquire);
        bits |= (slot_tag(word) == tag ? 3u : 0u) << (2 * i + 2);
    }
    return bits;
#endif
}

/* The word of the first match, of which there is one. */
FIND_INLINE uint64_t find_matched(const struct bucket *bucket, unsigned match)
{
    /* Bits go by two and words by eight bytes; the lowest bit has an even number. */
    const char *word = (const char *)bucket + (uint64_t)(unsigned)__builtin_ctz(match) * 4;
    return atomic_load_explicit((const _Atomic uint64_t *)(const void *)word, memory_order_acquire);
}

/* R8: true if nothing that was used has changed. For FIND_HIT and FIND_MISS. */
FIND_INLINE bool find_valid(const struct find_path *p)
{
    race_fence();
    uint64_t change = p->head ^ atomic_load_explicit(&p->b->slot->head, memory_order_acquire);
    change |= p->born ^ atomic_load_explicit(&p->root->born, memory_order_relaxed);
    change |= p->dir ^ atomic_load_explicit(p->dir_at, memory_order_acquire);
    change |= p->segment ^ atomic_load_explicit(p->segment_at, memory_order_acquire);
    change |= p->meta ^ atomic_load_explicit(&p->home->meta, memory_order_relaxed);
    if (UNLIKELY(p->chained))
        change |=
            p->reclaim ^ atomic_load_explicit(&p->b->super->reclaim_seq, memory_order_relaxed);
    return LIKELY(change == 0);
}

/* Whether the table may not be read because it is too old (SLOT_FAIL_WHEN_STALE). */
FIND_INLINE bool find_is_old(const struct binding *b)
{
    uint32_t flags = atomic_load_explicit(&b->slot->flags, memory_order_relaxed);
    return UNLIKELY((flags & SLOT_FAIL_WHEN_STALE) != 0) && find_table_is_old(b->slot);
}

#endif
