/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c - the writer's side of an index: extendible hashing of segments of buckets (format.h).
 *
 * A segment holds 1 to 256 buckets. When it is LOAD_MAX full, or a key finds no slot within the
 * reach of its home bucket, the segment is rebuilt beside itself with more buckets, or, at 256,
 * split in two by the next bit of the hash; then the directory's words are pointed to the new
 * segments and the old one is freed. A segment has any number of buckets, not only powers of two,
 * so the load stays between LOAD_NEW and LOAD_MAX whatever the number of keys. Only a rebuild moves
 * slots; inside a segment an entry's slot never moves (claim C5 of docs/CONCURRENCY.md).
 *
 * Costs: an insert moves about 6 slots over time; a split reads the keys of its entries to hash
 * them again. A rebuild touches at most 256 buckets, so no operation pauses for longer than that.
 *
 * Extendible hashing: R. Fagin, J. Nievergelt, N. Pippenger, H. R. Strong, ACM TODS 4(3), 1979.
 */
#include "server/store/cache_note.h"
#include "server/store/internal.h"

#include <stdlib.h>
#include <string.h>

/* Percent of the slots: what makes a segment grow, what it has then, what makes it shrink. */
#define LOAD_MAX 86u
#define LOAD_NEW 75u
#define LOAD_MIN 35u

static uint64_t load_word(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static _Atomic uint64_t *dir_words(const struct index *index)
{
    return region_at(&index->shape->store->region, dir_unit(load_word(index->dir)));
}

static struct bucket *segment_at(const struct index *index, uint64_t word)
{
    return region_at(&index->shape->store->region, segment_unit(word));
}

static struct segment_head *head_of(struct bucket *buckets)
{
    return (struct segment_head *)buckets - 1;
}

static struct segment_head *head_at(const struct index *index, uint64_t unit)
{
    return head_of(region_at(&index->shape->store->region, unit));
}

static _Atomic uint64_t *dir_word_of(const struct index *index, uint64_t hash)
{
    return dir_words(index) + hash_dir_index(hash, dir_depth(load_word(index->dir)));
}

/* --- segments ------------------------------------------------------------------------------- */

/* A new segment, all empty. Its sequences start where no earlier segment's did (claim C3). */
static int segment_new(struct index *index, unsigned bucket_count, uint64_t *unit)
{
    struct store *store = index->shape->store;
    uint64_t block;
    uint64_t units = segment_units(bucket_count, index->noted);
    int status = space_alloc(store, units, BUCKET_UNITS, &block);
    if (status != SP_OK)
        return status;
    index->shape->units += units;
    memset(region_at(&store->region, block), 0, units * FORMAT_UNIT_BYTES);
    *unit = block + SEGMENT_HEAD_UNITS;
    struct bucket *buckets = region_at(&store->region, *unit);
    atomic_thread_fence(memory_order_release); /* who sees the sequence sees empty slots */
    uint64_t sequence = (store->segment_serial += UINT64_C(1) << 20) * BUCKET_SEQUENCE_ONE;
    for (unsigned i = 0; i < bucket_count; i++)
        atomic_store_explicit(&buckets[i].meta, sequence, memory_order_relaxed);
    for (unsigned i = 0; index->noted && i < bucket_count; i++)
        segment_notes(buckets, bucket_count)[i] = NOTE_EMPTY;
    return SP_OK;
}

static void segment_free(struct index *index, uint64_t unit, unsigned bucket_count)
{
    uint64_t units = segment_units(bucket_count, index->noted);
    index->shape->units -= units;
    space_free(index->shape->store, unit - SEGMENT_HEAD_UNITS, units);
}

/* What a slot of bucket b is, as a place. */
static struct place place_at(const struct index *index, struct bucket *buckets,
                             unsigned bucket_count, unsigned home, unsigned b, unsigned number)
{
    return (struct place){
        .home = &buckets[home],
        .slot = &buckets[b].slots[number],
        .head = head_of(buckets),
        .word = load_word(&buckets[b].slots[number]),
        .distance = b >= home ? b - home : b + bucket_count - home,
        .number = number,
        .note = index->noted ? segment_notes(buckets, bucket_count) + b : NULL,
    };
}

/* An empty slot for a tag, at its home or within its reach, of a bucket's the first from a number
 * on; false if there is none. */
static bool empty_slot(const struct index *index, struct bucket *buckets, unsigned bucket_count,
                       unsigned home, unsigned from, struct place *out)
{
    unsigned limit = bucket_count - 1 < PROBE_MAX ? bucket_count - 1 : PROBE_MAX;
    for (unsigned d = 0; d <= limit; d++) {
        unsigned b = home + d < bucket_count ? home + d : home + d - bucket_count;
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            unsigned s = from + i < BUCKET_SLOTS ? from + i : from + i - BUCKET_SLOTS;
            if (load_word(&buckets[b].slots[s]) == 0) {
                *out = place_at(index, buckets, bucket_count, home, b, s);
                return true;
            }
        }
    }
    return false;
}

/* The home's meta after an entry at this distance was put in. */
static uint64_t meta_added(uint64_t meta, unsigned distance)
{
    meta += BUCKET_SEQUENCE_ONE;
    if (distance == 0)
        return meta;
    unsigned reach = bucket_reach(meta) > distance ? bucket_reach(meta) : distance;
    return ((meta & ~UINT64_C(0xff00)) + 1) | (uint64_t)reach << 8;
}

static uint64_t meta_removed(uint64_t meta, unsigned distance)
{
    meta += BUCKET_SEQUENCE_ONE;
    if (distance == 0)
        return meta;
    return bucket_overflow(meta) == 1 ? meta & ~UINT64_C(0xffff) : meta - 1;
}

/* Puts a slot word into a segment; false if there is no room for it. Publishing: slot, then meta.
 */
static bool segment_put(const struct index *index, struct bucket *buckets, unsigned bucket_count,
                        uint64_t word, unsigned from, struct place *out)
{
    unsigned home = tag_bucket(slot_tag(word), bucket_count);
    uint64_t meta = load_word(&buckets[home].meta);
    if (!empty_slot(index, buckets, bucket_count, home, from, out) ||
        (out->distance > 0 && bucket_overflow(meta) == 255))
        return false;
    out->word = word;
    atomic_store_explicit(out->slot, word, memory_order_release);
    atomic_store_explicit(&out->home->meta, meta_added(meta, out->distance), memory_order_release);
    out->head->entry_count++;
    return true;
}

/* The slot words of a segment on their way into another one; with the cache's notes of each. */
struct carried {
    unsigned count;
    uint64_t words[SEGMENT_BUCKETS_MAX * BUCKET_SLOTS];
    uint32_t notes[SEGMENT_BUCKETS_MAX * BUCKET_SLOTS];
};

/* Fills a new segment, which nobody sees yet. False if a word finds no place in reach. */
static bool segment_fill(const struct index *index, struct bucket *buckets, unsigned bucket_count,
                         const struct carried *from)
{
    const uint64_t *words = from->words;
    unsigned count = from->count;
    uint32_t *notes = segment_notes(buckets, bucket_count);
    uint8_t used[SEGMENT_BUCKETS_MAX] = {0};
    struct {
        uint8_t overflow, reach;
    } homes[SEGMENT_BUCKETS_MAX] = {{0, 0}};
    for (unsigned i = 0; i < count; i++) {
        unsigned home = tag_bucket(slot_tag(words[i]), bucket_count), b = home, distance = 0;
        for (; used[b] == BUCKET_SLOTS; distance++)
            b = b + 1 < bucket_count ? b + 1 : 0;
        if (distance > PROBE_MAX || homes[home].overflow == UINT8_MAX)
            return false;
        if (index->noted)
            notes[b] = note_with(notes[b], used[b], from->notes[i]);
        atomic_store_explicit(&buckets[b].slots[used[b]++], words[i], memory_order_relaxed);
        homes[home].overflow += distance > 0;
        if (distance > homes[home].reach)
            homes[home].reach = (uint8_t)distance;
    }
    for (unsigned b = 0; b < bucket_count; b++)
        atomic_store_explicit(&buckets[b].meta,
                              load_word(&buckets[b].meta) | homes[b].overflow |
                                  (unsigned)homes[b].reach << 8,
                              memory_order_relaxed);
    head_of(buckets)->entry_count = count;
    return true;
}

/* A segment with these words; more buckets than asked for if they do not find their places.
 * SP_ERANGE if that takes more than a segment can have. */
static int segment_build(struct index *index, const struct carried *from, unsigned *bucket_count,
                         uint64_t *unit)
{
    for (;; *bucket_count += 1 + *bucket_count / 8) {
        if (*bucket_count > SEGMENT_BUCKETS_MAX)
            *bucket_count = SEGMENT_BUCKETS_MAX;
        int status = segment_new(index, *bucket_count, unit);
        if (status != SP_OK)
            return status;
        struct bucket *buckets = region_at(&index->shape->store->region, *unit);
        if (from->count <= *bucket_count * BUCKET_SLOTS &&
            segment_fill(index, buckets, *bucket_count, from))
            return SP_OK;
        segment_free(index, *unit, *bucket_count);
        if (*bucket_count == SEGMENT_BUCKETS_MAX)
            return SP_ERANGE;
    }
}

static unsigned buckets_for(unsigned entries)
{
    unsigned count = (entries * 100 + BUCKET_SLOTS * LOAD_NEW - 1) / (BUCKET_SLOTS * LOAD_NEW);
    return count < 1 ? 1 : count > SEGMENT_BUCKETS_MAX ? SEGMENT_BUCKETS_MAX : count;
}

static void segment_carry(const struct index *index, uint64_t segment, struct carried *out)
{
    struct bucket *buckets = segment_at(index, segment);
    unsigned bucket_count = segment_buckets(segment);
    const uint32_t *notes = segment_notes(buckets, bucket_count);
    out->count = 0;
    for (unsigned b = 0; b < bucket_count; b++) {
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            uint64_t word = load_word(&buckets[b].slots[s]);
            if (!word)
                continue;
            if (index->noted)
                out->notes[out->count] = note_of(notes[b], s);
            out->words[out->count++] = word;
        }
    }
}

/* --- directory ------------------------------------------------------------------------------ */

/* Points all words of a segment's range, [first, first + count), to one segment. */
static void dir_point(struct index *index, uint64_t first, uint64_t count, uint64_t word)
{
    _Atomic uint64_t *words = dir_words(index);
    for (uint64_t i = 0; i < count; i++) {
        atomic_store_explicit(&words[first + i], word, memory_order_release);
        FAILPOINT("dir_point");
    }
}

/* The words that belong to the segment which the word at a position points to. */
static void dir_range(const struct index *index, uint64_t position, uint64_t *first,
                      uint64_t *count)
{
    uint64_t word = load_word(&dir_words(index)[position]);
    *count = UINT64_C(1) << (dir_depth(load_word(index->dir)) - segment_depth(word));
    *first = position & ~(*count - 1);
}

/* Whose directory it is, if readers see it already: that of the newest shape's primary index. */
static struct table *table_of(const struct index *index)
{
    struct table *tables = index->shape->store->tables;
    for (unsigned i = 0; i < FORMAT_TABLES_MAX; i++) {
        if (tables[i].current == index->shape && index == &index->shape->indexes[0])
            return &tables[i];
    }
    return NULL;
}

static int dir_double(struct index *index)
{
    struct store *store = index->shape->store;
    uint64_t old = load_word(index->dir), unit;
    unsigned depth = dir_depth(old);
    if (depth == DIR_DEPTH_MAX)
        return SP_ENOSPC;
    int status = space_alloc(store, dir_units(depth + 1), 1, &unit);
    if (status != SP_OK)
        return status;
    _Atomic uint64_t *from = dir_words(index), *to = region_at(&store->region, unit);
    for (uint64_t i = 0; i < UINT64_C(1) << depth; i++) {
        uint64_t word = load_word(&from[i]);
        atomic_store_explicit(&to[2 * i], word, memory_order_relaxed);
        atomic_store_explicit(&to[2 * i + 1], word, memory_order_relaxed);
    }
    index->shape->units += dir_units(depth + 1) - dir_units(depth);
    atomic_store_explicit(index->dir, dir_word(unit, depth + 1), memory_order_release);
    FAILPOINT("dir_double");
    struct table *table = table_of(index);
    if (table)
        route_raise(table->slot);
    space_free(store, dir_unit(old), dir_units(depth));
    return SP_OK;
}

/* --- growing -------------------------------------------------------------------------------- */

/* Rebuilds the segment at a directory position with so many buckets. */
static int segment_rebuild(struct index *index, uint64_t position, unsigned bucket_count)
{
    struct carried all;
    uint64_t old = load_word(&dir_words(index)[position]), unit, first, range;
    segment_carry(index, old, &all);
    int status = segment_build(index, &all, &bucket_count, &unit);
    if (status != SP_OK)
        return status;
    head_at(index, unit)->due = head_of(segment_at(index, old))->due;
    dir_range(index, position, &first, &range);
    FAILPOINT("segment_rebuild");
    dir_point(index, first, range, segment_word(unit, bucket_count, segment_depth(old)));
    segment_free(index, segment_unit(old), segment_buckets(old));
    return SP_OK;
}

/* Sorts slot words by the bit of their hash that follows the segment's prefix: those with 0 stay in
 * `zeros`, those with 1 go to `ones`. */
static void split_carried(const struct index *index, unsigned depth, struct carried *zeros,
                          struct carried *ones)
{
    struct store *store = index->shape->store;
    unsigned count = zeros->count;
    zeros->count = ones->count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (i + 8 < count)
            __builtin_prefetch(store_entry(store, slot_unit(zeros->words[i + 8])));
        struct entry_view e = entry_view(store_entry(store, slot_unit(zeros->words[i])));
        uint64_t hash = hash_key(&store->region.hash, e.key, e.key_bytes);
        struct carried *to = hash >> (63 - depth) & 1 ? ones : zeros;
        if (index->noted)
            to->notes[to->count] = zeros->notes[i];
        to->words[to->count++] = zeros->words[i];
    }
}

static int segment_split(struct index *index, uint64_t position)
{
    struct carried zeros, ones;
    uint64_t old = load_word(&dir_words(index)[position]), unit[2], first, range;
    unsigned depth = segment_depth(old);
    if (depth == dir_depth(load_word(index->dir))) {
        int status = dir_double(index);
        if (status != SP_OK)
            return status;
        position *= 2;
    }
    segment_carry(index, old, &zeros);
    split_carried(index, depth, &zeros, &ones);
    unsigned buckets[2] = {buckets_for(zeros.count), buckets_for(ones.count)};
    int status = segment_build(index, &zeros, &buckets[0], &unit[0]);
    if (status != SP_OK)
        return status;
    status = segment_build(index, &ones, &buckets[1], &unit[1]);
    if (status != SP_OK) {
        segment_free(index, unit[0], buckets[0]);
        return status;
    }
    for (unsigned i = 0; i < 2; i++)
        head_at(index, unit[i])->due = head_of(segment_at(index, old))->due;
    dir_range(index, position, &first, &range);
    FAILPOINT("segment_split");
    dir_point(index, first, range / 2, segment_word(unit[0], buckets[0], depth + 1));
    dir_point(index, first + range / 2, range / 2, segment_word(unit[1], buckets[1], depth + 1));
    segment_free(index, segment_unit(old), segment_buckets(old));
    return SP_OK;
}

static int segment_grow(struct index *index, uint64_t position)
{
    uint64_t word = load_word(&dir_words(index)[position]);
    unsigned buckets = segment_buckets(word);
    if (buckets == SEGMENT_BUCKETS_MAX)
        return segment_split(index, position);
    unsigned wanted = buckets_for(head_of(segment_at(index, word))->entry_count + 1);
    if (wanted <= buckets)
        wanted = buckets + 1;
    int status = segment_rebuild(index, position, wanted);
    return status == SP_ERANGE ? segment_split(index, position) : status;
}

/* --- what the store calls ------------------------------------------------------------------- */

int index_create(struct index *index, uint64_t row_hint)
{
    struct store *store = index->shape->store;
    uint64_t rows_most = store->region.unit_limit / 4; /* more than that do not fit */
    if (row_hint > rows_most)
        row_hint = rows_most;
    uint64_t buckets = (row_hint * 100 + BUCKET_SLOTS * 80 - 1) / (BUCKET_SLOTS * 80);
    unsigned depth = 0;
    while (buckets >> depth > SEGMENT_BUCKETS_MAX - SEGMENT_BUCKETS_MAX / 16)
        depth++;
    unsigned bucket_count = (unsigned)(buckets >> depth) + 1;
    uint64_t dir, unit;
    int status = space_alloc(store, dir_units(depth), 1, &dir);
    if (status != SP_OK)
        return status;
    index->shape->units += dir_units(depth);
    _Atomic uint64_t *words = region_at(&store->region, dir);
    for (uint64_t i = 0; i < UINT64_C(1) << depth; i++)
        atomic_store_explicit(&words[i], 0, memory_order_relaxed);
    atomic_store_explicit(index->dir, dir_word(dir, depth), memory_order_relaxed);
    for (uint64_t i = 0; i < UINT64_C(1) << depth; i++) {
        status = segment_new(index, bucket_count, &unit);
        if (status != SP_OK) {
            index_destroy(index);
            return status;
        }
        atomic_store_explicit(&words[i], segment_word(unit, bucket_count, depth),
                              memory_order_relaxed);
    }
    return SP_OK;
}

/* Finds the slot for which match says yes: by key, or by unit if key is NULL. */
static bool find_slot(const struct index *index, uint64_t hash, const void *key, size_t key_bytes,
                      uint64_t unit, struct place *out)
{
    struct store *store = index->shape->store;
    uint64_t word = load_word(dir_word_of(index, hash)), tag = hash & TAG_MASK;
    struct bucket *buckets = segment_at(index, word);
    unsigned bucket_count = segment_buckets(word), home = tag_bucket(tag, bucket_count);
    unsigned reach = bucket_reach(load_word(&buckets[home].meta));
    for (unsigned d = 0; d <= reach; d++) {
        unsigned b = home + d < bucket_count ? home + d : home + d - bucket_count;
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            uint64_t slot = load_word(&buckets[b].slots[s]);
            if (slot_tag(slot) != tag || slot == 0)
                continue;
            if (key) {
                struct entry_view e = entry_view(store_entry(store, slot_unit(slot)));
                if (e.key_bytes != key_bytes || memcmp(e.key, key, key_bytes) != 0)
                    continue;
            } else if (slot_unit(slot) != unit) {
                continue;
            }
            *out = place_at(index, buckets, bucket_count, home, b, s);
            return true;
        }
    }
    return false;
}

bool index_find(const struct index *index, uint64_t hash, const void *key, size_t key_bytes,
                struct place *out)
{
    return find_slot(index, hash, key, key_bytes, 0, out);
}

bool index_find_unit(const struct index *index, uint64_t hash, uint64_t unit, struct place *out)
{
    return find_slot(index, hash, NULL, 0, unit, out);
}

int index_insert(struct index *index, uint64_t hash, uint64_t unit, unsigned from,
                 struct place *out)
{
    uint64_t slot = slot_word(unit, hash);
    struct place place;
    for (;;) {
        uint64_t position = hash_dir_index(hash, dir_depth(load_word(index->dir)));
        uint64_t word = load_word(&dir_words(index)[position]);
        struct bucket *buckets = segment_at(index, word);
        unsigned slots = segment_buckets(word) * BUCKET_SLOTS;
        bool full = head_of(buckets)->entry_count * 100 >= slots * LOAD_MAX;
        if (!full && segment_put(index, buckets, segment_buckets(word), slot, from, &place))
            break;
        int status = segment_grow(index, position);
        if (status != SP_OK)
            return status;
    }
    index->entry_count++;
    if (out)
        *out = place;
    return SP_OK;
}

void index_replace(const struct place *place, uint64_t unit)
{
    atomic_store_explicit(place->slot, slot_word(unit, slot_tag(place->word)),
                          memory_order_release);
    FAILPOINT("index_replace");
    if (BREAKS_SEQUENCE)
        return;
    atomic_store_explicit(&place->home->meta, load_word(&place->home->meta) + BUCKET_SEQUENCE_ONE,
                          memory_order_release);
}

struct place index_place(const struct index *index, const struct segment_ref *segment, unsigned b,
                         unsigned number)
{
    uint64_t word = load_word(&segment->buckets[b].slots[number]);
    unsigned home = tag_bucket(slot_tag(word), segment->bucket_count);
    return place_at(index, segment->buckets, segment->bucket_count, home, b, number);
}

void index_remove(struct index *index, const struct place *place)
{
    atomic_store_explicit(place->slot, 0, memory_order_release);
    FAILPOINT("index_remove");
    atomic_store_explicit(&place->home->meta,
                          meta_removed(load_word(&place->home->meta), place->distance),
                          memory_order_release);
    place->head->entry_count--;
    index->entry_count--;
}

static const struct bucket *home_of(const struct index *index, uint64_t hash)
{
    uint64_t word = load_word(dir_word_of(index, hash));
    return segment_at(index, word) + tag_bucket(hash & TAG_MASK, segment_buckets(word));
}

const struct bucket *index_prefetch_bucket(const struct index *index, uint64_t hash)
{
    const struct bucket *home = home_of(index, hash);
    __builtin_prefetch(home, 1);
    return home;
}

void index_prefetch_entry(const struct index *index, uint64_t hash)
{
    const struct bucket *home = home_of(index, hash);
    uint64_t tag = hash & TAG_MASK;
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t slot = load_word(&home->slots[s]);
        if (slot_tag(slot) != tag || slot == 0)
            continue;
        const char *entry = (const char *)store_entry(index->shape->store, slot_unit(slot));
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
        __builtin_prefetch(entry + 128);
        return;
    }
}

bool index_next_segment(const struct index *index, uint64_t *position, struct segment_ref *out)
{
    uint64_t size = UINT64_C(1) << dir_depth(load_word(index->dir)), first, range;
    if (*position >= size)
        return false;
    uint64_t word = load_word(&dir_words(index)[*position]);
    dir_range(index, *position, &first, &range);
    *out = (struct segment_ref){segment_at(index, word), segment_buckets(word), segment_unit(word),
                                segment_units(segment_buckets(word), index->noted)};
    *position = first + range;
    return true;
}

void index_destroy(struct index *index)
{
    uint64_t dir = load_word(index->dir), first, range;
    uint64_t size = UINT64_C(1) << dir_depth(dir);
    for (uint64_t i = 0; i < size; i += range) {
        range = 1;
        uint64_t word = load_word(&dir_words(index)[i]);
        if (word == 0) /* creation stopped here */
            continue;
        dir_range(index, i, &first, &range);
        segment_free(index, segment_unit(word), segment_buckets(word));
    }
    index->shape->units -= dir_units(dir_depth(dir));
    space_free(index->shape->store, dir_unit(dir), dir_units(dir_depth(dir)));
}

void index_tidy_segment(struct index *index, uint64_t position, bool move)
{
    uint64_t word = load_word(&dir_words(index)[position]);
    unsigned entries = head_of(segment_at(index, word))->entry_count;
    unsigned buckets = segment_buckets(word), wanted = buckets_for(entries);
    bool shrink = entries * 100 < buckets * BUCKET_SLOTS * LOAD_MIN && wanted < buckets;
    if (shrink || move)
        segment_rebuild(index, position, shrink ? wanted : buckets);
}
