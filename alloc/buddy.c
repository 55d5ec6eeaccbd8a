/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy.c - allocates and frees runs of units (docs/ALLOCATOR.md has the long version).
 *
 * What it is. A binary buddy allocator whose requests are not bound to one block: free buddies
 * that lie side by side form a run, whatever their alignment, and a request is cut from a run.
 *
 * How it works. The bitmap (one bit per unit, 1 = free) is the truth; all else is an index over
 * it. The index is a tree of fan-out 64. A node knows, for each length class, below which of its
 * children a run of the class starts (one word per class), which children are wholly free, and
 * the longest run that starts below it. So
 *   - alloc reads at the root the lowest class that fits, walks down that class's words to the
 *     lowest bucket, finds the run there in the bitmap, and cuts from its front;
 *   - free finds the neighbouring runs' ends in the bitmap, or, when they are long, over the words
 *     of wholly free children, and merges;
 *   - both then correct the classes of the at most three runs that came or went, going up only
 *     while a word becomes zero or stops being zero.
 * When no class surely fits, the longest run decides: a request fails only if no run is long
 * enough, and then at once.
 *
 * Cost. With L levels (4 for 64 GiB of 16-byte units): a fixed number of steps per level for the
 * class words, at most 64 per level for `longest`, and at most 64 buckets looked at; plus one step
 * per 64 units of the request itself. No loop depends on the number of runs, but for one:
 * an aligned request that finds no run of count + align - 1 units walks the bitmap.
 *
 * Limits. BUDDY_MAX_UNITS units; one writer; 1.8 % of the arena for metadata at 16-byte units.
 */
#include "alloc/buddy.h"

#include <string.h>

#include "alloc/buddy_layout.h"
#include "alloc/check_macros.h"
#include "sidepond/status.h"

/* Runs of this length are of a class without runs shorter than a bucket. */
#define RUN_SHRINK_UNITS (2 * BUDDY_BUCKET_UNITS)

struct run {
    uint64_t first;
    uint64_t count;
};

static inline const struct buddy_node *root_of(const struct buddy *b)
{
    return &b->level[b->level_count - 1][0];
}

static inline bool unit_is_free(const struct buddy *b, uint64_t unit)
{
    return (b->bits[unit / 64] >> (unit % 64) & 1) != 0;
}

static inline void set_free_units(struct buddy *b, uint64_t units)
{
    b->free_units = units;
    b->head->free_units = units;
}

/* ---- ends of runs ------------------------------------------------------------------------- */

/* The first used unit from `bucket`'s first on, over the words of wholly free children. */
static __attribute__((noinline)) uint64_t run_end_far(const struct buddy *b, uint64_t bucket)
{
    unsigned level = 0;
    uint64_t child = bucket;
    uint64_t gaps;

    if ((bucket << BUDDY_BUCKET_SHIFT) - b->last_first < b->last_count)
        return b->last_first + b->last_count;
    for (;; level++) {
        if (level == b->level_count || child << buddy_child_shift(level) >= b->usable_units)
            return b->usable_units;
        gaps = ~b->level[level][child >> BUDDY_FAN_SHIFT].full >> (child % BUDDY_FAN);
        if (gaps != 0)
            break;
        child = (child >> BUDDY_FAN_SHIFT) + 1;
    }
    child += (uint64_t)__builtin_ctzll(gaps);
    while (level > 0) {
        if (child << buddy_child_shift(level) >= b->usable_units)
            return b->usable_units;
        level--;
        gaps = ~b->level[level][child].full;
        SP_CHECK(gaps != 0);
        child = child * BUDDY_FAN + (uint64_t)__builtin_ctzll(gaps);
    }
    if (child << BUDDY_BUCKET_SHIFT >= b->usable_units)
        return b->usable_units;
    for (uint64_t word = child * BUDDY_BUCKET_WORDS; word < (child + 1) * BUDDY_BUCKET_WORDS;
         word++) {
        if (~b->bits[word] != 0)
            return word * 64 + (uint64_t)__builtin_ctzll(~b->bits[word]);
    }
    SP_CHECK(!"bucket with a gap is full");
    return b->usable_units;
}

/* The first used unit after `unit`, which is free. */
static inline uint64_t run_end(const struct buddy *b, uint64_t unit)
{
    uint64_t word = unit / 64;
    uint64_t used = ~b->bits[word] >> (unit % 64);

    if (used != 0)
        return unit + (uint64_t)__builtin_ctzll(used);
    for (word++; word % BUDDY_BUCKET_WORDS != 0; word++) {
        used = ~b->bits[word];
        if (used != 0)
            return word * 64 + (uint64_t)__builtin_ctzll(used);
    }
    return run_end_far(b, word / BUDDY_BUCKET_WORDS);
}

/* The first unit of the run that reaches to the end of the bucket before `bucket`, if one does;
 * else `bucket`'s own first unit. */
static __attribute__((noinline)) uint64_t run_start_far(const struct buddy *b, uint64_t bucket)
{
    unsigned level = 0;
    uint64_t child = bucket;
    uint64_t gaps;

    for (;; level++) {
        if (child == 0)
            return 0;
        child--;
        gaps = ~b->level[level][child >> BUDDY_FAN_SHIFT].full << (63 - child % BUDDY_FAN);
        if (gaps != 0)
            break;
        child >>= BUDDY_FAN_SHIFT;
    }
    child -= (uint64_t)__builtin_clzll(gaps);
    while (level > 0) {
        level--;
        gaps = ~b->level[level][child].full;
        SP_CHECK(gaps != 0);
        child = child * BUDDY_FAN + 63 - (uint64_t)__builtin_clzll(gaps);
    }
    for (uint64_t word = (child + 1) * BUDDY_BUCKET_WORDS; word-- > child * BUDDY_BUCKET_WORDS;) {
        if (~b->bits[word] != 0)
            return word * 64 + 64 - (uint64_t)__builtin_clzll(~b->bits[word]);
    }
    SP_CHECK(!"bucket with a gap is full");
    return 0;
}

/* The first unit of the run that `unit`, which is free, belongs to. */
static inline uint64_t run_start(const struct buddy *b, uint64_t unit)
{
    uint64_t word = unit / 64;
    uint64_t used = ~b->bits[word] << (63 - unit % 64);

    if (used != 0)
        return unit + 1 - (uint64_t)__builtin_clzll(used);
    while (word % BUDDY_BUCKET_WORDS != 0) {
        word--;
        used = ~b->bits[word];
        if (used != 0)
            return word * 64 + 64 - (uint64_t)__builtin_clzll(used);
    }
    return run_start_far(b, word / BUDDY_BUCKET_WORDS);
}

/* ---- bits --------------------------------------------------------------------------------- */

static inline uint64_t head_mask(uint64_t first)
{
    return UINT64_MAX << (first % 64);
}

static inline uint64_t tail_mask(uint64_t end)
{
    return UINT64_MAX >> (63 - (end - 1) % 64);
}

static inline void bits_take(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t mask = head_mask(first);

    for (; word < last; word++) {
        b->bits[word] &= ~mask;
        mask = UINT64_MAX;
    }
    b->bits[word] &= ~(mask & tail_mask(first + count));
}

/* Aborts if one of the units is free already. */
static inline void bits_give(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t mask = head_mask(first);
    uint64_t twice = 0;

    for (; word < last; word++) {
        twice |= b->bits[word] & mask;
        b->bits[word] |= mask;
        mask = UINT64_MAX;
    }
    mask &= tail_mask(first + count);
    twice |= b->bits[word] & mask;
    b->bits[word] |= mask;
    SP_CHECK(twice == 0);
}

/* ---- wholly free children ----------------------------------------------------------------- */

static void full_mark(struct buddy *b, uint64_t node_index, uint64_t mask)
{
    for (unsigned level = 0; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][node_index];
        node->full |= mask;
        if (node->full != UINT64_MAX)
            return;
        mask = 1ULL << (node_index % BUDDY_FAN);
        node_index >>= BUDDY_FAN_SHIFT;
    }
}

static void full_unmark(struct buddy *b, uint64_t node_index, uint64_t mask)
{
    for (unsigned level = 0; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][node_index];
        uint64_t before = node->full;
        node->full = before & ~mask;
        if (before != UINT64_MAX)
            return;
        mask = 1ULL << (node_index % BUDDY_FAN);
        node_index >>= BUDDY_FAN_SHIFT;
    }
}

/* Units [first, end) of `run`, which is free as a whole after a free and before an alloc, become
 * free or used: corrects the marks of the buckets that they touch. */
static void full_change(struct buddy *b, struct run run, uint64_t first, uint64_t end, bool is_free)
{
    uint64_t lo = buddy_bucket_count(run.first);
    uint64_t hi = (run.first + run.count) >> BUDDY_BUCKET_SHIFT;

    if (first >> BUDDY_BUCKET_SHIFT > lo)
        lo = first >> BUDDY_BUCKET_SHIFT;
    if (buddy_bucket_count(end) < hi)
        hi = buddy_bucket_count(end);
    while (lo < hi) {
        uint64_t node = lo >> BUDDY_FAN_SHIFT;
        uint64_t stop = (node + 1) << BUDDY_FAN_SHIFT;
        if (stop > hi)
            stop = hi;
        uint64_t mask = head_mask(lo) & tail_mask(stop);
        if (is_free)
            full_mark(b, node, mask);
        else
            full_unmark(b, node, mask);
        lo = stop;
    }
}

/* ---- classes ------------------------------------------------------------------------------ */

static inline void class_put(struct buddy *b, uint64_t bucket, unsigned class)
{
    uint64_t child = bucket;

    for (unsigned level = 0; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][child >> BUDDY_FAN_SHIFT];
        uint64_t before = node->has[class];
        node->has[class] = before | 1ULL << (child % BUDDY_FAN);
        if (before != 0)
            return;
        node->classes[class / 64] |= 1ULL << (class % 64);
        child >>= BUDDY_FAN_SHIFT;
    }
}

static inline void class_drop(struct buddy *b, uint64_t bucket, unsigned class)
{
    uint64_t child = bucket;

    for (unsigned level = 0; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][child >> BUDDY_FAN_SHIFT];
        node->has[class] &= ~(1ULL << (child % BUDDY_FAN));
        if (node->has[class] != 0)
            return;
        node->classes[class / 64] &= ~(1ULL << (class % 64));
        child >>= BUDDY_FAN_SHIFT;
    }
}

/* Drops the class from the bucket unless a run of it still starts there. */
static inline void class_refresh(struct buddy *b, uint64_t bucket, unsigned class)
{
    for (unsigned i = 0; i < BUDDY_BUCKET_WORDS; i++) {
        uint64_t word = bucket * BUDDY_BUCKET_WORDS + i;
        for (uint64_t s = buddy_word_starts(b->bits, word); s != 0; s &= s - 1) {
            uint64_t first = word * 64 + (uint64_t)__builtin_ctzll(s);
            if (buddy_class_of(run_end(b, first) - first) == class)
                return;
        }
    }
    class_drop(b, bucket, class);
}

/* ---- the longest run ---------------------------------------------------------------------- */

static inline void longest_raise(struct buddy *b, uint64_t bucket, uint64_t units)
{
    uint64_t index = bucket >> BUDDY_FAN_SHIFT;

    for (unsigned level = 0; level < b->level_count; level++) {
        if (b->level[level][index].longest >= units)
            return;
        b->level[level][index].longest = units;
        index >>= BUDDY_FAN_SHIFT;
    }
}

static uint64_t longest_in_bucket(const struct buddy *b, uint64_t bucket)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < BUDDY_BUCKET_WORDS; i++) {
        uint64_t word = bucket * BUDDY_BUCKET_WORDS + i;
        for (uint64_t s = buddy_word_starts(b->bits, word); s != 0; s &= s - 1) {
            uint64_t first = word * 64 + (uint64_t)__builtin_ctzll(s);
            uint64_t units = run_end(b, first) - first;
            if (units > longest)
                longest = units;
        }
    }
    return longest;
}

/* From the children that hold the node's top class; usually there is one. */
static uint64_t longest_below(const struct buddy *b, unsigned level, uint64_t index)
{
    const struct buddy_node *node = &b->level[level][index];
    int top = buddy_top_class(node);
    uint64_t longest = 0;

    if (top < BUDDY_EXACT_CLASSES)
        return (uint64_t)(top + 1);
    for (uint64_t m = node->has[top]; m != 0; m &= m - 1) {
        uint64_t child = index * BUDDY_FAN + (uint64_t)__builtin_ctzll(m);
        uint64_t units =
            level == 0 ? longest_in_bucket(b, child) : b->level[level - 1][child].longest;
        if (units > longest)
            longest = units;
    }
    return longest;
}

/* A run of `units` that started below the node is gone or shorter. The classes are right already.
 */
static __attribute__((noinline)) void longest_lower(struct buddy *b, unsigned level, uint64_t index,
                                                    uint64_t units)
{
    for (; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][index];
        if (node->longest != units)
            return;
        node->longest = longest_below(b, level, index);
        if (node->longest == units)
            return;
        index >>= BUDDY_FAN_SHIFT;
    }
}

/* ---- runs come and go --------------------------------------------------------------------- */

static inline void run_put(struct buddy *b, struct run run)
{
    class_put(b, run.first >> BUDDY_BUCKET_SHIFT, buddy_class_of(run.count));
}

static inline void run_raise(struct buddy *b, struct run run)
{
    longest_raise(b, run.first >> BUDDY_BUCKET_SHIFT, run.count);
}

static inline void run_drop(struct buddy *b, struct run old)
{
    class_refresh(b, old.first >> BUDDY_BUCKET_SHIFT, buddy_class_of(old.count));
}

static inline void run_lower(struct buddy *b, struct run old)
{
    uint64_t index = old.first >> (BUDDY_BUCKET_SHIFT + BUDDY_FAN_SHIFT);

    if (b->level[0][index].longest == old.count)
        longest_lower(b, 0, index, old.count);
}

/* A run longer than a bucket lost units at its front. If its bucket and class are still the same,
 * the classes stay as they are; and while no other run below a node has the class, the node's
 * longest run is known without looking, as no two such runs start in one bucket. This is what
 * filling an empty arena does. False if bucket or class changed; then nothing was done. */
static __attribute__((noinline)) bool run_shrink(struct buddy *b, struct run old, struct run rest)
{
    uint64_t bucket = old.first >> BUDDY_BUCKET_SHIFT;
    uint64_t index = bucket >> BUDDY_FAN_SHIFT;
    unsigned class = buddy_class_of(rest.count);

    if (rest.first >> BUDDY_BUCKET_SHIFT != bucket || buddy_class_of(old.count) != class)
        return false;
    for (unsigned level = 0; level < b->level_count; level++) {
        struct buddy_node *node = &b->level[level][index];
        if (node->longest != old.count)
            break;
        if ((node->has[class] & (node->has[class] - 1)) != 0) {
            longest_lower(b, level, index, old.count);
            break;
        }
        node->longest = rest.count;
        index >>= BUDDY_FAN_SHIFT;
    }
    return true;
}

/* The run that was cut is replaced by what is left of it at both sides. */
static inline void run_replace(struct buddy *b, struct run run, struct run left, struct run right)
{
    if (left.count != 0)
        run_put(b, left);
    if (right.count != 0)
        run_put(b, right);
    run_drop(b, run);
    if (left.count != 0)
        run_raise(b, left);
    if (right.count != 0)
        run_raise(b, right);
    run_lower(b, run);
}

/* Cuts units [first, first + count) out of the run that holds them. */
static inline void take(struct buddy *b, struct run run, uint64_t first, uint64_t count)
{
    struct run left = {run.first, first - run.first};
    struct run right = {first + count, run.first + run.count - (first + count)};

    if (run.count >= BUDDY_BUCKET_UNITS)
        full_change(b, run, first, first + count, false);
    bits_take(b, first, count);
    b->last_first = right.first;
    b->last_count = right.count;
    if (right.count < RUN_SHRINK_UNITS || left.count != 0 || !run_shrink(b, run, right))
        run_replace(b, run, left, right);
    set_free_units(b, b->free_units - count);
}

/* Makes used units free and merges them with the runs at both sides. */
static inline void give(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    struct run left = {first, 0};
    struct run right = {end, 0};

    bits_give(b, first, count);
    b->last_count = 0;
    if (first > 0 && unit_is_free(b, first - 1)) {
        left.first = run_start(b, first - 1);
        left.count = first - left.first;
    }
    if (end < b->usable_units && unit_is_free(b, end))
        right.count = run_end(b, end) - end;

    struct run merged = {left.first, left.count + count + right.count};
    if (merged.count >= BUDDY_BUCKET_UNITS)
        full_change(b, merged, first, end, true);
    run_put(b, merged);
    if (left.count != 0)
        run_drop(b, left);
    if (right.count != 0)
        run_drop(b, right);
    run_raise(b, merged);
    if (left.count != 0)
        run_lower(b, left);
    if (right.count != 0)
        run_lower(b, right);
    set_free_units(b, b->free_units + count);
}

/* ---- finding ------------------------------------------------------------------------------ */

/* The first run of the class in the bucket that has `count` units. */
static inline bool find_in_bucket(const struct buddy *b, uint64_t bucket, unsigned class,
                                  uint64_t count, struct run *run)
{
    for (unsigned i = 0; i < BUDDY_BUCKET_WORDS; i++) {
        uint64_t word = bucket * BUDDY_BUCKET_WORDS + i;
        for (uint64_t s = buddy_word_starts(b->bits, word); s != 0; s &= s - 1) {
            run->first = word * 64 + (uint64_t)__builtin_ctzll(s);
            run->count = run_end(b, run->first) - run->first;
            if (run->count >= count && buddy_class_of(run->count) == class)
                return true;
        }
    }
    return false;
}

/* The lowest bucket where a run of the class starts; one does. */
static inline uint64_t find_bucket(const struct buddy *b, unsigned class)
{
    uint64_t child = 0;

    for (unsigned level = b->level_count; level-- > 0;) {
        uint64_t word = b->level[level][child].has[class];
        SP_CHECK(word != 0);
        child = child * BUDDY_FAN + (uint64_t)__builtin_ctzll(word);
    }
    return child;
}

/* The lowest run of `count` units or more, where all runs that have them are of one class. */
static bool find_by_longest(const struct buddy *b, unsigned class, uint64_t count, struct run *run)
{
    uint64_t index = 0;
    uint64_t children;

    for (unsigned level = b->level_count - 1; level > 0; level--) {
        children = b->level[level][index].has[class];
        while (children != 0) {
            uint64_t child = index * BUDDY_FAN + (uint64_t)__builtin_ctzll(children);
            if (b->level[level - 1][child].longest >= count) {
                index = child;
                break;
            }
            children &= children - 1;
        }
        SP_CHECK(children != 0);
    }
    for (children = b->level[0][index].has[class]; children != 0; children &= children - 1) {
        uint64_t bucket = index * BUDDY_FAN + (uint64_t)__builtin_ctzll(children);
        if (find_in_bucket(b, bucket, class, count, run))
            return true;
    }
    return false;
}

/* The lowest class from `class` on that the node has; BUDDY_CLASSES if none. */
static inline unsigned class_from(const struct buddy_node *node, unsigned class)
{
    if (class >= BUDDY_CLASSES)
        return BUDDY_CLASSES;
    unsigned i = class / 64;
    uint64_t word = node->classes[i] & head_mask(class);

    while (word == 0) {
        if (++i == BUDDY_CLASS_WORDS)
            return BUDDY_CLASSES;
        word = node->classes[i];
    }
    return i * 64 + (unsigned)__builtin_ctzll(word);
}

/* Three tries: the lowest bucket of the request's own class, whose runs may be too short; the
 * lowest class that surely fits; and the one run that is known to be long enough. */
static inline bool find_run(const struct buddy *b, uint64_t count, struct run *run)
{
    if (count > b->free_units)
        return false;
    const struct buddy_node *root = root_of(b);
    unsigned own = buddy_class_of(count);
    unsigned fitting = buddy_class_fitting(count);

    if (own != fitting && root->has[own] != 0 &&
        find_in_bucket(b, find_bucket(b, own), own, count, run))
        return true;
    unsigned class = class_from(root, fitting);
    bool found = false;
    if (class < BUDDY_CLASSES)
        found = find_in_bucket(b, find_bucket(b, class), class, count, run);
    else if (root->longest >= count)
        found = find_by_longest(b, own, count, run);
    else
        return false;
    SP_CHECK(found);
    return true;
}

/* ---- the cache of resting blocks ----------------------------------------------------------- */

static inline uint64_t cache_get(struct buddy *b, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];

    if (ring->count == 0)
        return BUDDY_NONE;
    ring->top = (ring->top == 0 ? BUDDY_CACHE_DEPTH : ring->top) - 1;
    ring->count--;
    b->cache->resting_units -= count;
    set_free_units(b, b->free_units - count);
    uint64_t first = ring->first[ring->top];
    ring->first[ring->top] = UINT32_MAX;
    return first;
}

/* Merges the oldest block of a ring. */
static void cache_evict(struct buddy *b, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];
    uint64_t oldest = (ring->top + BUDDY_CACHE_DEPTH - ring->count) % BUDDY_CACHE_DEPTH;

    ring->count--;
    b->cache->resting_units -= count;
    b->free_units -= count;
    uint64_t first = ring->first[oldest];
    ring->first[oldest] = UINT32_MAX;
    give(b, first, count);
}

/* Makes room for `count` resting units by at most a few evictions from the rings in turn. */
static __attribute__((noinline)) bool cache_make_room(struct buddy *b, uint64_t count)
{
    struct buddy_cache *cache = b->cache;
    uint64_t limit = b->usable_units / 64;

    for (unsigned tries = 0; tries < 4; tries++) {
        if (cache->resting_units + count <= limit)
            return true;
        for (unsigned i = 0; i < BUDDY_CACHE_UNITS; i++) {
            cache->hand = cache->hand % BUDDY_CACHE_UNITS + 1;
            if (cache->ring[cache->hand].count != 0) {
                cache_evict(b, cache->hand);
                break;
            }
        }
    }
    return cache->resting_units + count <= limit;
}

/* The words of the first and the last unit say that their units are used. The words between are
 * looked at when the block is merged. */
static inline bool ends_are_used(const struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t tail = tail_mask(first + count);
    uint64_t head = head_mask(first);
    uint64_t both = word == last ? head & tail : UINT64_MAX;

    return ((b->bits[word] & head & both) | (b->bits[last] & tail & both)) == 0;
}

/* A block beside a free run merges at once: else churn through the cache would keep the pieces
 * between blocks from ever growing together. */
static inline bool has_free_neighbour(const struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;

    return (first > 0 && unit_is_free(b, first - 1)) ||
           (end < b->usable_units && unit_is_free(b, end));
}

static inline bool rests(const struct buddy_ring *ring, uint64_t first)
{
    uint32_t same = 0;

    for (unsigned i = 0; i < BUDDY_CACHE_DEPTH; i++)
        same |= (uint32_t) - (ring->first[i] == (uint32_t)first);
    return same != 0;
}

static inline bool cache_put(struct buddy *b, uint64_t first, uint64_t count)
{
    struct buddy_ring *ring = &b->cache->ring[count];

    if (first >= UINT32_MAX || has_free_neighbour(b, first, count))
        return false;
    if (b->cache->resting_units + count > b->usable_units / 64 && !cache_make_room(b, count))
        return false;
    SP_CHECK(ends_are_used(b, first, count) && !rests(ring, first));
    if (ring->count == BUDDY_CACHE_DEPTH)
        cache_evict(b, count);
    ring->first[ring->top] = (uint32_t)first;
    ring->top = (ring->top + 1) % BUDDY_CACHE_DEPTH;
    ring->count++;
    b->cache->resting_units += count;
    set_free_units(b, b->free_units + count);
    return true;
}

void buddy_settle(struct buddy *b)
{
    if (b->cache == NULL)
        return;
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
    struct run run;

    if (!find_run(b, count, &run))
        return BUDDY_NONE;
    take(b, run, run.first, count);
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
                             struct run *run)
{
    struct run at = {0, 0};
    bool found = false;

    if (root_of(b)->longest < count)
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
    struct run run;

    SP_CHECK(count > 0);
    SP_CHECK(align_units > 0 && (align_units & (align_units - 1)) == 0);
    SP_CHECK(align_units <= BUDDY_MAX_UNITS);
    if (count > b->free_units)
        return BUDDY_NONE;
    if (!find_run(b, count + align_units - 1, &run) &&
        !walk_for_aligned(b, count, align_units, &run)) {
        if (!may_fit_settled(b, count))
            return BUDDY_NONE;
        buddy_settle(b);
        return buddy_alloc_aligned(b, count, align_units);
    }
    uint64_t first = align_up(run.first, align_units);
    take(b, run, first, count);
    return first;
}

void buddy_free(struct buddy *b, uint64_t first, uint64_t count)
{
    if (count == 0)
        return;
    SP_CHECK(first < b->usable_units && count <= b->usable_units - first);
    if (b->cache == NULL || count > BUDDY_CACHE_UNITS || !cache_put(b, first, count))
        give(b, first, count);
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
    give(b, old, usable_units_new - old);
}

void buddy_shrink(struct buddy *b, uint64_t usable_units_new)
{
    uint64_t gone = b->usable_units - usable_units_new;

    SP_CHECK(usable_units_new <= b->usable_units);
    if (gone == 0)
        return;
    buddy_settle(b);
    SP_CHECK(buddy_is_free(b, usable_units_new, gone));
    struct run last = {run_start(b, usable_units_new), 0};
    last.count = b->usable_units - last.first;
    take(b, last, usable_units_new, gone);
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
        b->bits[words] = tail_mask(usable_units);
}

int buddy_rebuild_mark(struct buddy *b, uint64_t first, uint64_t count)
{
    if (count == 0 || !buddy_is_free(b, first, count))
        return count == 0 && first <= b->usable_units ? SP_OK : SP_ECORRUPT;
    bits_take(b, first, count);
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
        set_free_units(b, b->free_units);
}
