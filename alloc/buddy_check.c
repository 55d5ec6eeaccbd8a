/* SPDX-License-Identifier: Apache-2.0
 *
 * buddy_check.c - the allocator's layout, and everything that only reads its metadata.
 *
 * Nothing here aborts, and nothing reads outside buddy_meta_spans() of the usable units, whatever
 * the bytes are: runs are measured by scanning the bitmap up to the usable units, and no value
 * read from the metadata is ever used as an index. buddy_node_build() computes what a node should
 * be; the rebuild writes that, the checker compares with it. Costs are linear in the bitmap.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc/buddy.h"
#include "alloc/buddy_layout.h"
#include "sidepond/status.h"

/* ---- layout ------------------------------------------------------------------------------- */

struct layout {
    size_t bits_off;
    size_t level_off[BUDDY_MAX_LEVELS];
    size_t total_bytes;
    unsigned level_count;
};

static size_t part_align(size_t off)
{
    return (off + BUDDY_PART_ALIGN - 1) / BUDDY_PART_ALIGN * BUDDY_PART_ALIGN;
}

static bool layout_of(uint64_t max_units, struct layout *l)
{
    if (max_units == 0 || max_units > BUDDY_MAX_UNITS)
        return false;
    l->bits_off = part_align(sizeof(struct buddy_head));
    size_t off = l->bits_off + (buddy_bucket_count(max_units) << (BUDDY_BUCKET_SHIFT - 3));
    l->level_count = 0;
    for (uint64_t count = 0; count != 1; l->level_count++) {
        count = buddy_node_count(max_units, l->level_count);
        l->level_off[l->level_count] = part_align(off);
        off = part_align(off) + count * sizeof(struct buddy_node);
    }
    l->total_bytes = part_align(off);
    return true;
}

size_t buddy_meta_bytes(uint64_t max_units)
{
    struct layout l;

    return layout_of(max_units, &l) ? l.total_bytes : 0;
}

/* Whole 64-byte lines around the bytes [from, to) of a part. */
static struct buddy_span span_of(size_t part_off, size_t from, size_t to)
{
    from = from / 64 * 64;
    to = (to + 63) / 64 * 64;
    return (struct buddy_span){part_off + from, to - from};
}

size_t buddy_meta_spans(uint64_t max_units, uint64_t from, uint64_t to, struct buddy_span *spans,
                        size_t max_spans)
{
    const size_t bucket_bytes = BUDDY_BUCKET_UNITS / 8;
    struct buddy_span all[BUDDY_MAX_SPANS];
    struct layout l;
    size_t count = 0;

    if (from >= to || to > max_units || !layout_of(max_units, &l))
        return 0;
    all[count++] = span_of(0, 0, sizeof(struct buddy_head));
    all[count++] = span_of(l.bits_off, (from >> BUDDY_BUCKET_SHIFT) * bucket_bytes,
                           buddy_bucket_count(to) * bucket_bytes);
    for (unsigned level = 0; level < l.level_count; level++) {
        size_t lo = from >> buddy_child_shift(level + 1);
        size_t hi = buddy_node_count(to, level);
        all[count++] = span_of(l.level_off[level], lo * sizeof(struct buddy_node),
                               hi * sizeof(struct buddy_node));
    }
    if (max_spans > count)
        max_spans = count;
    if (max_spans > 0)
        memcpy(spans, all, max_spans * sizeof *all);
    return count;
}

int buddy_bind(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units)
{
    unsigned char *base = meta;
    struct layout l;

    if (usable_units > max_units || !layout_of(max_units, &l))
        return SP_EINVAL;
    memset(b, 0, sizeof *b);
    b->head = (struct buddy_head *)base;
    b->bits = (uint64_t *)(base + l.bits_off);
    for (unsigned level = 0; level < l.level_count; level++)
        b->level[level] = (struct buddy_node *)(base + l.level_off[level]);
    b->level_count = l.level_count;
    b->max_units = max_units;
    b->usable_units = usable_units;
    return SP_OK;
}

int buddy_attach(struct buddy *b, void *meta, uint64_t max_units, uint64_t usable_units)
{
    int status = buddy_bind(b, meta, max_units, usable_units);

    if (status == SP_OK && usable_units != 0)
        b->free_units = b->head->free_units;
    return status;
}

/* ---- counters and ranges ------------------------------------------------------------------ */

uint64_t buddy_free_units(const struct buddy *b)
{
    return b->free_units;
}

uint64_t buddy_usable_units(const struct buddy *b)
{
    return b->usable_units;
}

uint64_t buddy_largest_run(const struct buddy *b)
{
    return b->usable_units == 0 ? 0 : b->level[b->level_count - 1][0].longest;
}

/* True if all units of the range have the bit `free`. */
static bool range_is(const struct buddy *b, uint64_t first, uint64_t count, bool is_free)
{
    if (count == 0 || first >= b->usable_units || count > b->usable_units - first)
        return false;
    uint64_t flip = is_free ? UINT64_MAX : 0;
    uint64_t word = first / 64;
    uint64_t last = (first + count - 1) / 64;
    uint64_t mask = UINT64_MAX << (first % 64);

    for (; word < last; word++) {
        if (((b->bits[word] ^ flip) & mask) != 0)
            return false;
        mask = UINT64_MAX;
    }
    mask &= UINT64_MAX >> (63 - (first + count - 1) % 64);
    return ((b->bits[word] ^ flip) & mask) == 0;
}

bool buddy_is_used(const struct buddy *b, uint64_t first, uint64_t count)
{
    return range_is(b, first, count, false);
}

bool buddy_is_free(const struct buddy *b, uint64_t first, uint64_t count)
{
    return range_is(b, first, count, true);
}

/* The first unit from `unit` on whose bit is not `flip`'s, or usable_units. */
static uint64_t scan(const struct buddy *b, uint64_t unit, uint64_t flip)
{
    uint64_t last_word = (b->usable_units - 1) / 64;
    uint64_t word = unit / 64;
    uint64_t found = 0;

    if (unit >= b->usable_units)
        return b->usable_units;
    found = (b->bits[word] ^ flip) >> (unit % 64) << (unit % 64);
    while (found == 0 && word < last_word)
        found = b->bits[++word] ^ flip;
    if (found == 0)
        return b->usable_units;
    unit = word * 64 + (uint64_t)__builtin_ctzll(found);
    return unit < b->usable_units ? unit : b->usable_units;
}

uint64_t buddy_scan_used(const struct buddy *b, uint64_t unit)
{
    return scan(b, unit, UINT64_MAX);
}

bool buddy_next_free_run(const struct buddy *b, uint64_t from, uint64_t *first, uint64_t *count)
{
    uint64_t start = scan(b, from, 0);

    if (start >= b->usable_units)
        return false;
    *first = start;
    *count = buddy_scan_used(b, start) - start;
    return true;
}

/* Splits a run into the largest aligned blocks that it holds. */
static void count_blocks(struct buddy_stats *stats, uint64_t first, uint64_t count)
{
    while (count != 0) {
        unsigned order = 63 - (unsigned)__builtin_clzll(count);
        if (first != 0 && (unsigned)__builtin_ctzll(first) < order)
            order = (unsigned)__builtin_ctzll(first);
        stats->free_blocks[order]++;
        first += 1ULL << order;
        count -= 1ULL << order;
    }
}

void buddy_stats(const struct buddy *b, struct buddy_stats *stats)
{
    uint64_t first = 0;
    uint64_t count = 0;

    memset(stats, 0, sizeof *stats);
    stats->usable_units = b->usable_units;
    while (buddy_next_free_run(b, first + count, &first, &count)) {
        stats->free_runs++;
        stats->free_units += count;
        if (count > stats->largest_run)
            stats->largest_run = count;
        count_blocks(stats, first, count);
    }
}

/* ---- what a node should be ---------------------------------------------------------------- */

static void node_add_run(struct buddy_node *node, unsigned child, uint64_t units)
{
    unsigned class = buddy_class_of(units);

    node->has[class] |= 1ULL << child;
    node->classes[class / 64] |= 1ULL << (class % 64);
    if (units > node->longest)
        node->longest = units;
}

static void bucket_build(const struct buddy *b, uint64_t bucket, unsigned child,
                         struct buddy_node *out)
{
    bool full = true;

    for (uint64_t word = bucket * BUDDY_BUCKET_WORDS; word < (bucket + 1) * BUDDY_BUCKET_WORDS;
         word++) {
        full = full && b->bits[word] == UINT64_MAX;
        for (uint64_t s = buddy_word_starts(b->bits, word); s != 0; s &= s - 1) {
            uint64_t first = word * 64 + (uint64_t)__builtin_ctzll(s);
            if (first < b->usable_units)
                node_add_run(out, child, buddy_scan_used(b, first) - first);
        }
    }
    if (full)
        out->full |= 1ULL << child;
}

static void child_build(const struct buddy_node *node, unsigned child, struct buddy_node *out)
{
    for (unsigned class = 0; class < BUDDY_CLASSES; class ++) {
        if (node->has[class] != 0)
            out->has[class] |= 1ULL << child;
    }
    for (unsigned i = 0; i < BUDDY_CLASS_WORDS; i++)
        out->classes[i] |= node->classes[i];
    if (node->longest > out->longest)
        out->longest = node->longest;
    if (node->full == UINT64_MAX)
        out->full |= 1ULL << child;
}

void buddy_node_build(const struct buddy *b, unsigned level, uint64_t index, struct buddy_node *out)
{
    uint64_t end = buddy_ceil_shift(b->usable_units, buddy_child_shift(level));

    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < BUDDY_FAN && index * BUDDY_FAN + i < end; i++) {
        if (level == 0)
            bucket_build(b, index * BUDDY_FAN + i, i, out);
        else
            child_build(&b->level[level - 1][index * BUDDY_FAN + i], i, out);
    }
}

/* ---- checker ------------------------------------------------------------------------------ */

static __attribute__((format(printf, 3, 4))) int complain(char *why, size_t why_bytes,
                                                          const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (why_bytes > 0)
        vsnprintf(why, why_bytes, format, args);
    va_end(args);
    return SP_ECORRUPT;
}

static int check_node(const struct buddy *b, unsigned level, uint64_t index, char *why,
                      size_t why_bytes)
{
    const struct buddy_node *node = &b->level[level][index];
    struct buddy_node right;

    buddy_node_build(b, level, index, &right);
    if (memcmp(node, &right, sizeof right) == 0)
        return SP_OK;
    if (node->full != right.full)
        return complain(
            why, why_bytes,
            "level %u node %llu: marks of wholly free children are %016llx, not %016llx", level,
            (unsigned long long)index, (unsigned long long)node->full,
            (unsigned long long)right.full);
    if (node->longest != right.longest)
        return complain(why, why_bytes,
                        "level %u node %llu: longest run is said to be %llu units, it is %llu",
                        level, (unsigned long long)index, (unsigned long long)node->longest,
                        (unsigned long long)right.longest);
    for (unsigned class = 0; class < BUDDY_CLASSES; class ++) {
        if (node->has[class] != right.has[class])
            return complain(why, why_bytes,
                            "level %u node %llu: runs of class %u are marked %016llx, not %016llx",
                            level, (unsigned long long)index, class,
                            (unsigned long long)node->has[class],
                            (unsigned long long)right.has[class]);
    }
    if (memcmp(node->classes, right.classes, sizeof right.classes) != 0)
        return complain(why, why_bytes,
                        "level %u node %llu: set of classes differs from the class words", level,
                        (unsigned long long)index);
    return complain(why, why_bytes, "level %u node %llu: unused bytes are not zero", level,
                    (unsigned long long)index);
}

/* Counts the free units, and sees that none lies beyond the usable ones. */
static int check_bits(const struct buddy *b, char *why, size_t why_bytes)
{
    uint64_t words = buddy_bucket_count(b->usable_units) * BUDDY_BUCKET_WORDS;
    uint64_t free_units = 0;

    for (uint64_t word = 0; word < words; word++) {
        uint64_t beyond = word * 64 >= b->usable_units       ? UINT64_MAX
                          : b->usable_units - word * 64 < 64 ? UINT64_MAX << b->usable_units % 64
                                                             : 0;
        if ((b->bits[word] & beyond) != 0)
            return complain(why, why_bytes, "bitmap word %llu: a free unit beyond the usable %llu",
                            (unsigned long long)word, (unsigned long long)b->usable_units);
        free_units += (uint64_t)__builtin_popcountll(b->bits[word]);
    }
    for (size_t i = 0; i < sizeof b->head->unused / sizeof b->head->unused[0]; i++) {
        if (b->head->unused[i] != 0)
            return complain(why, why_bytes, "unused bytes of the head are not zero");
    }
    if (b->head->free_units != free_units)
        return complain(why, why_bytes, "%llu units are said to be free, the bitmap has %llu",
                        (unsigned long long)b->head->free_units, (unsigned long long)free_units);
    return SP_OK;
}

int buddy_check(const struct buddy *b, char *why, size_t why_bytes)
{
    if (why_bytes > 0)
        why[0] = '\0';
    if (b->usable_units == 0)
        return SP_OK;
    if (b->cache != NULL && b->cache->resting_units != 0)
        return complain(why, why_bytes, "blocks rest in the cache: settle before checking");
    int status = check_bits(b, why, why_bytes);
    for (unsigned level = 0; status == SP_OK && level < b->level_count; level++) {
        uint64_t count = buddy_node_count(b->usable_units, level);
        for (uint64_t index = 0; status == SP_OK && index < count; index++)
            status = check_node(b, level, index, why, why_bytes);
    }
    return status;
}
