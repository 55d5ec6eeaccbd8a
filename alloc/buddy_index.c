/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy_index.c - finds free runs, cuts them and merges them.
 *
 * The bitmap (one bit per unit, 1 = free) is the truth; all else is an index over it. The index is
 * a tree of fan-out 64. A node knows, for each length class, below which of its children a run of
 * the class starts (one word per class), which children are wholly free, and the longest run that
 * starts below it. So
 *   - find reads at the root the lowest class that fits, walks down that class's words to the
 * lowest bucket, and finds the run there in the bitmap;
 *   - the ends of a run are found in the bitmap, or, when they are far, over the words of wholly
 *     free children;
 *   - after a cut or a merge, the classes of the at most three runs that came or went are
 *     corrected, going up only while a word becomes zero or stops being zero.
 * When no class surely fits, the longest run decides: a request fails only if no run is long
 * enough, and then at once.
 *
 * Cost. With L levels (4 for 64 GiB of 16-byte units): a fixed number of steps per level for the
 * class words, at most 64 per level for `longest`, and at most 64 buckets looked at; plus one step
 * per 64 units that become used or free. No loop depends on the number of runs.
 */
#include "alloc/buddy.h"
#include "alloc/buddy_layout.h"
#include "alloc/check_macros.h"

/* Runs of this length are of a class without runs shorter than a bucket. */
#define RUN_SHRINK_UNITS (2 * BUDDY_BUCKET_UNITS)

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

uint64_t buddy_run_start(const struct buddy *b, uint64_t unit)
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

void buddy_bits_take(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t mask = buddy_head_mask(first);

    for (; word < last; word++) {
        b->bits[word] &= ~mask;
        mask = UINT64_MAX;
    }
    b->bits[word] &= ~(mask & buddy_tail_mask(first + count));
}

/* Aborts if one of the units is free already. */
static inline void bits_give(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t mask = buddy_head_mask(first);
    uint64_t twice = 0;

    for (; word < last; word++) {
        twice |= b->bits[word] & mask;
        b->bits[word] |= mask;
        mask = UINT64_MAX;
    }
    mask &= buddy_tail_mask(first + count);
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
static void full_change(struct buddy *b, struct buddy_run run, uint64_t first, uint64_t end,
                        bool is_free)
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
        uint64_t mask = buddy_head_mask(lo) & buddy_tail_mask(stop);
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
        return (uint64_t)top + 1;
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

static inline void run_put(struct buddy *b, struct buddy_run run)
{
    class_put(b, run.first >> BUDDY_BUCKET_SHIFT, buddy_class_of(run.count));
}

static inline void run_raise(struct buddy *b, struct buddy_run run)
{
    longest_raise(b, run.first >> BUDDY_BUCKET_SHIFT, run.count);
}

static inline void run_drop(struct buddy *b, struct buddy_run old)
{
    class_refresh(b, old.first >> BUDDY_BUCKET_SHIFT, buddy_class_of(old.count));
}

static inline void run_lower(struct buddy *b, struct buddy_run old)
{
    uint64_t index = old.first >> (BUDDY_BUCKET_SHIFT + BUDDY_FAN_SHIFT);

    if (b->level[0][index].longest == old.count)
        longest_lower(b, 0, index, old.count);
}

/* A run longer than a bucket lost units at its front. If its bucket and class are still the same,
 * the classes stay as they are; and while no other run below a node has the class, the node's
 * longest run is known without looking, as no two such runs start in one bucket. This is what
 * filling an empty arena does. False if bucket or class changed; then nothing was done. */
static __attribute__((noinline)) bool run_shrink(struct buddy *b, struct buddy_run old,
                                                 struct buddy_run rest)
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
static inline void run_replace(struct buddy *b, struct buddy_run run, struct buddy_run left,
                               struct buddy_run right)
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

void buddy_take(struct buddy *b, struct buddy_run run, uint64_t first, uint64_t count)
{
    struct buddy_run left = {run.first, first - run.first};
    struct buddy_run right = {first + count, run.first + run.count - (first + count)};

    if (run.count >= BUDDY_BUCKET_UNITS)
        full_change(b, run, first, first + count, false);
    buddy_bits_take(b, first, count);
    b->last_first = right.first;
    b->last_count = right.count;
    if (right.count < RUN_SHRINK_UNITS || left.count != 0 || !run_shrink(b, run, right))
        run_replace(b, run, left, right);
    buddy_set_free_units(b, b->free_units - count);
}

void buddy_give(struct buddy *b, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    struct buddy_run left = {first, 0};
    struct buddy_run right = {end, 0};

    bits_give(b, first, count);
    b->last_count = 0;
    if (first > 0 && buddy_unit_is_free(b, first - 1)) {
        left.first = buddy_run_start(b, first - 1);
        left.count = first - left.first;
    }
    if (end < b->usable_units && buddy_unit_is_free(b, end))
        right.count = run_end(b, end) - end;

    struct buddy_run merged = {left.first, left.count + count + right.count};
    if (merged.count >= BUDDY_BUCKET_UNITS)
        full_change(b, merged, first, end, true);
    run_put(b, merged);
    if (left.count != 0)
        run_drop(b, left);
    if (right.count != 0)
        run_drop(b, right);
    run_raise(b, merged); /* and so above `left`, which started in the same bucket */
    if (right.count != 0)
        run_lower(b, right);
    buddy_set_free_units(b, b->free_units + count);
}

/* ---- finding ------------------------------------------------------------------------------ */

/* The first run of the class in the bucket that has `count` units. */
static inline bool find_in_bucket(const struct buddy *b, uint64_t bucket, unsigned class,
                                  uint64_t count, struct buddy_run *run)
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
static bool find_by_longest(const struct buddy *b, unsigned class, uint64_t count,
                            struct buddy_run *run)
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
    uint64_t word = node->classes[i] & buddy_head_mask(class);

    while (word == 0) {
        if (++i == BUDDY_CLASS_WORDS)
            return BUDDY_CLASSES;
        word = node->classes[i];
    }
    return i * 64 + (unsigned)__builtin_ctzll(word);
}

/* Three tries: the lowest bucket of the request's own class, whose runs may be too short; the
 * lowest class that surely fits; and the one run that is known to be long enough. */
bool buddy_find_run(const struct buddy *b, uint64_t count, struct buddy_run *run)
{
    if (count > b->free_units)
        return false;
    const struct buddy_node *root = buddy_root(b);
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
