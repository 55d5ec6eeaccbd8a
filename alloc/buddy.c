/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy.c - requests, resting blocks, the arena's size, and the rebuild after a crash.
 *
 * What it is. A binary buddy allocator whose requests are not bound to one block: free buddies
 * that lie side by side form a run, whatever their alignment, and a request is cut from a run
 * (docs/ALLOCATOR.md has the long version).
 *
 * How it works. buddy_index.c finds, cuts and merges runs. In front of it stands an optional cache
 * of blocks that were freed lately, one ring per length: most requests of a churn are for a length
 * that was freed a moment ago, and are served without touching the index. A block beside a free run
 * never rests, so that runs grow together; the oldest of a full ring is merged; at most 1/64 of the
 * arena rests; and a request that finds no run has all of it merged before it fails.
 *
 * Cost. As in buddy_index.c, with at most five merges per free, which may pass over four times 256
 * empty rings. Two requests cost more: one that fails first merges what rests (at most 256 x 28
 * blocks), and an aligned request that finds no run of count + align - 1 units walks the bitmap.
 *
 * Limits. BUDDY_MAX_UNITS units; one writer; 1.6 % of the arena for metadata at 16-byte units; the
 * cache takes blocks below unit 2^32 only.
 */
#include "alloc/buddy.h"

#include <string.h>

#include "alloc/buddy_layout.h"
#include "alloc/check_macros.h"
#include "sidepond/status.h"

/* ---- the cache of resting blocks ----------------------------------------------------------- */

static inline uint64_t cache_get(struct buddy *b, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];

    if (ring->count == 0)
        return BUDDY_NONE;
    ring->top = (ring->top == 0 ? BUDDY_CACHE_DEPTH : ring->top) - 1;
    ring->count--;
    b->cache->resting_units -= count;
    b->free_units -= count;
    uint64_t first = ring->first[ring->top];
    ring->first[ring->top] = UINT32_MAX;
    return first;
}

/* Merges a block that counts as resting and free. */
static void cache_merge(struct buddy *b, uint64_t first, uint64_t count)
{
    b->cache->resting_units -= count;
    b->free_units -= count;
    buddy_give(b, first, count);
}

/* Merges the oldest block of a ring. */
static void cache_evict(struct buddy *b, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];
    uint64_t oldest = (ring->top + BUDDY_CACHE_DEPTH - ring->count) % BUDDY_CACHE_DEPTH;
    uint64_t first = ring->first[oldest];

    ring->count--;
    ring->first[oldest] = UINT32_MAX;
    cache_merge(b, first, count);
}

/* More rests than may: a few evictions from the rings in turn. False if that was not enough. */
static __attribute__((noinline)) bool cache_make_room(struct buddy *b)
{
    struct buddy_cache *cache = b->cache;
    uint64_t limit = b->usable_units / 64;

    for (unsigned tries = 0; tries < 4 && cache->resting_units > limit; tries++) {
        for (unsigned i = 0; i < BUDDY_CACHE_UNITS; i++) {
            cache->hand = cache->hand % BUDDY_CACHE_UNITS + 1;
            if (cache->ring[cache->hand].count != 0) {
                cache_evict(b, cache->hand);
                break;
            }
        }
    }
    return cache->resting_units <= limit;
}

/* The words of the first and the last unit say that their units are used. The words between are
 * looked at when the block is merged. */
static inline bool ends_are_used(const struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t tail = buddy_tail_mask(first + count);
    uint64_t head = buddy_head_mask(first);
    uint64_t both = word == last ? head & tail : UINT64_MAX;

    return ((b->bits[word] & head & both) | (b->bits[last] & tail & both)) == 0;
}

/* A block beside a free run merges at once: else churn through the cache would keep the pieces
 * between blocks from ever growing together. */
static inline bool has_free_neighbour(const struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;

    return (first > 0 && buddy_unit_is_free(b, first - 1)) ||
           (end < b->usable_units && buddy_unit_is_free(b, end));
}

static inline bool rests(const struct buddy_ring *ring, uint64_t first)
{
    uint32_t same = 0;

    for (unsigned i = 0; i < BUDDY_CACHE_DEPTH; i++)
        same |= (uint32_t) - (ring->first[i] == (uint32_t)first);
    return same != 0;
}

/* Puts a block into its ring, or merges it. It counts as resting already. */
static inline void cache_admit(struct buddy *b, uint64_t first, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];

    SP_CHECK(ends_are_used(b, first, count) && !rests(ring, first));
    if (has_free_neighbour(b, first, count) ||
        (b->cache->resting_units > b->usable_units / 64 && !cache_make_room(b))) {
        cache_merge(b, first, count);
        return;
    }
    if (ring->count == BUDDY_CACHE_DEPTH)
        cache_evict(b, count);
    ring->first[ring->top] = (uint32_t)first;
    ring->top = (ring->top + 1) % BUDDY_CACHE_DEPTH;
    ring->count++;
}

/* The block that has waited longest moves on and makes place for another (or for none). */
static inline void cache_wait(struct buddy *b, uint32_t first, uint32_t count)
{
    struct buddy_cache *cache = b->cache;
    uint32_t turn = cache->turn++ % BUDDY_CACHE_WAIT;
    uint32_t old_first = cache->waiting[turn];
    uint32_t old_count = cache->waiting_count[turn];

    cache->waiting[turn] = first;
    cache->waiting_count[turn] = count;
    if (old_first != UINT32_MAX)
        cache_admit(b, old_first, old_count);
}

/* The bitmap around a freed block has to be looked at, and is seldom near: it is fetched here, and
 * looked at some frees later. */
static inline void cache_put(struct buddy *b, uint64_t first, uint64_t count)
{
    struct buddy_cache *cache = b->cache;
    uint32_t same = 0;

    __builtin_prefetch(&b->bits[first / 64]);
    __builtin_prefetch(&b->bits[(first + count - 1) / 64]);
    for (unsigned i = 0; i < BUDDY_CACHE_WAIT; i++)
        same |= (uint32_t) - (cache->waiting[i] == (uint32_t)first);
    SP_CHECK(same == 0);
    cache->resting_units += count;
    b->free_units += count;
    cache_wait(b, (uint32_t)first, (uint32_t)count);
}

void buddy_settle(struct buddy *b)
{
    if (b->cache == NULL)
        return;
    for (unsigned i = 0; i < BUDDY_CACHE_WAIT; i++)
        cache_wait(b, UINT32_MAX, 0);
    for (uint64_t count = 1; count <= BUDDY_CACHE_UNITS; count++) {
        while (b->cache->ring[count].count != 0)
            cache_evict(b, count);
    }
}

void buddy_use_cache(struct buddy *b, struct buddy_cache *cache)
{
    buddy_settle(b);
    b->cache = cache;
    if (cache == NULL)
        return;
    memset(cache, 0, sizeof *cache);
    memset(cache->waiting, 0xff, sizeof cache->waiting);
    for (unsigned count = 0; count <= BUDDY_CACHE_UNITS; count++)
        memset(cache->ring[count].first, 0xff, sizeof cache->ring[count].first);
}

/* After a request failed: could it succeed if nothing rested? */
static inline bool may_fit_settled(const struct buddy *b, uint64_t count)
{
    return b->cache != NULL && b->cache->resting_units != 0 && count <= b->free_units;
}

/* ---- requests ----------------------------------------------------------------------------- */

static uint64_t cut(struct buddy *b, uint64_t count)
{
    struct buddy_run run;

    if (!buddy_find_run(b, count, &run))
        return BUDDY_NONE;
    buddy_take(b, run, run.first, count);
    return run.first;
}

uint64_t buddy_alloc(struct buddy *b, uint64_t count)
{
    SP_CHECK(count > 0);
    if (b->cache != NULL && count <= BUDDY_CACHE_UNITS) {
        uint64_t first = cache_get(b, count);
        if (first != BUDDY_NONE)
            return first;
    }
    uint64_t first = cut(b, count);
    if (__builtin_expect(first == BUDDY_NONE, 0) && may_fit_settled(b, count)) {
        buddy_settle(b);
        first = cut(b, count);
    }
    return first;
}

static inline uint64_t align_up(uint64_t unit, uint64_t align_units)
{
    return (unit + align_units - 1) & ~(align_units - 1);
}

/* The shortest run that holds an aligned place, by walking all of them. */
static bool walk_for_aligned(const struct buddy *b, uint64_t count, uint64_t align_units,
                             struct buddy_run *run)
{
    struct buddy_run at = {0, 0};
    bool found = false;

    if (buddy_root(b)->longest < count)
        return false;
    while (buddy_next_free_run(b, at.first + at.count, &at.first, &at.count)) {
        uint64_t skip = align_up(at.first, align_units) - at.first;
        if (skip < at.count && at.count - skip >= count && (!found || at.count < run->count)) {
            *run = at;
            found = true;
        }
    }
    return found;
}

uint64_t buddy_alloc_aligned(struct buddy *b, uint64_t count, uint64_t align_units)
{
    struct buddy_run run;

    SP_CHECK(count > 0);
    SP_CHECK(align_units > 0 && (align_units & (align_units - 1)) == 0);
    SP_CHECK(align_units <= BUDDY_MAX_UNITS);
    if (count > b->free_units)
        return BUDDY_NONE;
    if (!buddy_find_run(b, count + align_units - 1, &run) &&
        !walk_for_aligned(b, count, align_units, &run)) {
        if (!may_fit_settled(b, count))
            return BUDDY_NONE;
        buddy_settle(b);
        return buddy_alloc_aligned(b, count, align_units);
    }
    uint64_t first = align_up(run.first, align_units);
    buddy_take(b, run, first, count);
    return first;
}

uint64_t buddy_alloc_low(struct buddy *b, uint64_t count, uint64_t *cursor, uint64_t below)
{
    struct buddy_run run;

    SP_CHECK(count > 0);
    while (buddy_next_free_run(b, *cursor, &run.first, &run.count) && run.first < below) {
        /* A run that has grown downwards since the cursor passed its start is left for next time.
         */
        bool whole = run.first == 0 || !buddy_is_free(b, run.first - 1, 1);
        *cursor = run.first + (whole && run.count >= count ? count : run.count);
        if (whole && run.count >= count) {
            buddy_take(b, run, run.first, count);
            return run.first;
        }
    }
    return BUDDY_NONE;
}

void buddy_free(struct buddy *b, uint64_t first, uint64_t count)
{
    if (count == 0)
        return;
    SP_CHECK(first < b->usable_units && count <= b->usable_units - first);
    if (b->cache != NULL && count <= BUDDY_CACHE_UNITS && first < UINT32_MAX)
        cache_put(b, first, count);
    else
        buddy_give(b, first, count);
}

/* ---- the arena's size --------------------------------------------------------------------- */

int buddy_format(struct buddy *b, void *meta, uint64_t max_units)
{
    return buddy_bind(b, meta, max_units, 0);
}

/* Zeroes the bitmap and the nodes that an arena grown to `to` units has more than one of `from`. */
static void clear_new(struct buddy *b, uint64_t from, uint64_t to)
{
    uint64_t lo = buddy_bucket_count(from) * BUDDY_BUCKET_WORDS;
    uint64_t hi = buddy_bucket_count(to) * BUDDY_BUCKET_WORDS;

    if (lo < hi)
        memset(b->bits + lo, 0, (hi - lo) * sizeof *b->bits);
    for (unsigned level = 0; level < b->level_count; level++) {
        lo = buddy_node_count(from, level);
        hi = buddy_node_count(to, level);
        if (lo < hi)
            memset(b->level[level] + lo, 0, (hi - lo) * sizeof *b->level[level]);
    }
}

void buddy_grow(struct buddy *b, uint64_t usable_units_new)
{
    uint64_t old = b->usable_units;

    SP_CHECK(usable_units_new >= old && usable_units_new <= b->max_units);
    if (usable_units_new == old)
        return;
    if (old == 0)
        memset(b->head, 0, sizeof *b->head);
    clear_new(b, old, usable_units_new);
    b->usable_units = usable_units_new;
    buddy_give(b, old, usable_units_new - old);
}

void buddy_shrink(struct buddy *b, uint64_t usable_units_new)
{
    uint64_t gone = b->usable_units - usable_units_new;

    SP_CHECK(usable_units_new <= b->usable_units);
    if (gone == 0)
        return;
    buddy_settle(b);
    SP_CHECK(buddy_is_free(b, usable_units_new, gone));
    struct buddy_run last = {buddy_run_start(b, usable_units_new), 0};
    last.count = b->usable_units - last.first;
    buddy_take(b, last, usable_units_new, gone);
    b->usable_units = usable_units_new;
}

/* ---- rebuild ------------------------------------------------------------------------------ */

void buddy_rebuild_begin(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units)
{
    int status = buddy_bind(b, meta, max_units, usable_units);
    uint64_t words = usable_units / 64;

    SP_CHECK(status == SP_OK);
    b->free_units = usable_units;
    if (usable_units == 0)
        return;
    memset(b->head, 0, sizeof *b->head);
    clear_new(b, 0, usable_units);
    memset(b->bits, 0xff, words * sizeof *b->bits);
    if (usable_units % 64 != 0)
        b->bits[words] = buddy_tail_mask(usable_units);
}

int buddy_rebuild_mark(struct buddy *b, uint64_t first, uint64_t count)
{
    if (count == 0 || !buddy_is_free(b, first, count))
        return count == 0 && first <= b->usable_units ? SP_OK : SP_ECORRUPT;
    buddy_bits_take(b, first, count);
    b->free_units -= count;
    return SP_OK;
}

void buddy_rebuild_end(struct buddy *b)
{
    for (unsigned level = 0; level < b->level_count; level++) {
        uint64_t count = buddy_node_count(b->usable_units, level);
        for (uint64_t index = 0; index < count; index++)
            buddy_node_build(b, level, index, &b->level[level][index]);
    }
    if (b->usable_units != 0)
        buddy_set_free_units(b, b->free_units);
}
