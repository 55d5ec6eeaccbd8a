/* SPDX-License-Identifier: Apache-2.0
 *
 * recover.c - attaching to a pond whose writer has ended, in whatever way.
 *
 * Walks everything that can be reached from the table slots, while readers go on reading. What a
 * transaction had published but not committed is taken out, and the version it had replaced is put
 * back; an entry whose checksum, key or place is wrong is dropped; half-done changes of a directory
 * are rolled back (claim C9). What was reached is marked in the allocator's metadata, which is
 * built anew: so nothing leaks. A table whose structure itself is damaged is dropped as a whole,
 * and everything is walked again without it.
 *
 * Costs about a cache miss and a checksum for each entry.
 */
#include "alloc/clock.h"
#include "server/store/cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recovery {
    struct store *store;
    struct store_opened *opened;
    uint64_t committed;
    int64_t now_ms; /* wall clock */
};

static bool mark(struct recovery *r, uint64_t unit, uint64_t count)
{
    return region_holds(&r->store->region, unit, count) &&
           buddy_rebuild_mark(&r->store->buddy, unit, count) == SP_OK;
}

/* --- entries -------------------------------------------------------------------------------- */

/* The newest committed version of a slot's chain; 0 if there is none. */
static uint64_t committed_version(struct recovery *r, uint64_t unit)
{
    while (unit) {
        if (!entry_is_sound(&r->store->region, unit)) {
            r->opened->dropped_corrupt++;
            return 0;
        }
        struct entry_view view = entry_view(store_entry(r->store, unit));
        if (view.born <= r->committed)
            return unit;
        r->opened->dropped_uncommitted++;
        unit = view.prev;
    }
    return 0;
}

/* Marks the versions before a sound entry, and cuts the chain where one is not what it should be.
 */
static void recover_chain(struct recovery *r, struct shape *shape, uint64_t unit)
{
    struct store *store = r->store;
    for (;;) {
        struct entry *newer = store_entry(store, unit);
        struct entry_view n = entry_view(newer);
        if (!n.prev)
            return;
        bool good = entry_is_sound(&r->store->region, n.prev);
        if (good) {
            struct entry_view e = entry_view(store_entry(store, n.prev));
            good = e.born < n.born && e.key_bytes == n.key_bytes &&
                   memcmp(e.key, n.key, e.key_bytes) == 0 &&
                   mark(r, n.prev, entry_units(store_entry(store, n.prev)));
        }
        if (!good) {
            r->opened->dropped_corrupt++;
            atomic_store_explicit(&newer->prev_word, entry_prev_word(0, n.value_bytes),
                                  memory_order_release);
            return;
        }
        unit = n.prev;
        shape->units += entry_units(store_entry(store, unit));
    }
}

/* --- segments ------------------------------------------------------------------------------- */

struct segment_walk {
    struct index *index;
    struct segment_ref segment;
    uint64_t dir_position;
    unsigned depth;
    uint8_t overflow[SEGMENT_BUCKETS_MAX], reach[SEGMENT_BUCKETS_MAX]; /* by home bucket */
};

/* Whether an entry is where its hash wants it. */
static bool is_in_place(const struct segment_walk *walk, uint64_t hash, uint64_t tag,
                        unsigned bucket)
{
    const struct index *index = walk->index;
    unsigned dir_bits = dir_depth(atomic_load_explicit(index->dir, memory_order_relaxed));
    unsigned shift = dir_bits - walk->depth, count = walk->segment.bucket_count;
    unsigned distance = (bucket + count - tag_bucket(tag, count)) % count;
    return (hash & TAG_MASK) == tag && distance <= PROBE_MAX &&
           hash_dir_index(hash, dir_bits) >> shift == walk->dir_position >> shift;
}

/* The cache's notes are made anew: all entries are in the main part. */
static void reset_notes(struct segment_walk *walk)
{
    uint32_t *notes = segment_notes(walk->segment.buckets, walk->segment.bucket_count);
    for (unsigned b = 0; b < walk->segment.bucket_count; b++)
        notes[b] = NOTE_EMPTY;
    ((struct segment_head *)walk->segment.buckets - 1)->due = 0;
}

static void recover_note(struct recovery *r, struct segment_walk *walk, unsigned b, unsigned s)
{
    const struct bucket *bucket = &walk->segment.buckets[b];
    struct segment_head *head = (struct segment_head *)walk->segment.buckets - 1;
    uint64_t word = atomic_load_explicit(&bucket->slots[s], memory_order_relaxed);
    uint32_t *note = segment_notes(walk->segment.buckets, walk->segment.bucket_count) + b;
    if (word == 0)
        return;
    *note = note_set_state(*note, s, NOTE_MAIN);
    const struct entry *entry = store_entry(r->store, slot_unit(word));
    /* How long a tombstone stays is not known yet: the first sweep looks at it. */
    cache_note_expiry(note, head, cache_expiry_of(entry), r->now_ms);
    if (cache_is_tombstone(entry))
        r->store->cache_tombstones++;
    else
        r->store->cache_expiring += cache_expiry_of(entry) != CACHE_NO_EXPIRY;
}

static void count_entry(struct segment_walk *walk, const struct entry_view *view)
{
    struct shape *shape = walk->index->shape;
    walk->index->entry_count++;
    shape->units += entry_units((const struct entry *)(view->key - ENTRY_HEAD_BYTES));
    if (walk->index != &shape->indexes[0] || (view->flags & ENTRY_TOMBSTONE))
        return;
    shape->rows++;
    shape->bytes += view->key_bytes + view->value_bytes;
}

/* The word that a slot should have. */
static uint64_t recover_slot(struct recovery *r, struct segment_walk *walk, uint64_t word,
                             unsigned bucket)
{
    struct store *store = r->store;
    uint64_t unit = committed_version(r, slot_unit(word));
    if (!unit)
        return 0;
    struct entry_view view = entry_view(store_entry(store, unit));
    uint64_t hash = hash_key(&store->region.hash, view.key, view.key_bytes);
    bool of_cache = view.flags & ENTRY_CACHE;
    if (of_cache != walk->index->noted || !is_in_place(walk, hash, slot_tag(word), bucket) ||
        !mark(r, unit, entry_units(store_entry(store, unit)))) {
        r->opened->dropped_corrupt++;
        return 0;
    }
    count_entry(walk, &view);
    recover_chain(r, walk->index->shape, unit);
    view = entry_view(store_entry(store, unit));
    bool waits = !of_cache || BREAKS_TOMBSTONE; /* until no lease needs it; else for its time */
    if (view.prev || (waits && (view.flags & ENTRY_TOMBSTONE)))
        reclaim_hold(store, unit, walk->index);
    return slot_word(unit, hash);
}

static void prefetch_bucket_entries(struct recovery *r, const struct bucket *bucket)
{
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t unit = slot_unit(atomic_load_explicit(&bucket->slots[s], memory_order_relaxed));
        if (!unit || unit >= r->store->region.unit_limit)
            continue;
        const char *entry = (const char *)store_entry(r->store, unit);
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
        __builtin_prefetch(entry + 128);
    }
}

static void recover_bucket(struct recovery *r, struct segment_walk *walk, unsigned b)
{
    struct bucket *bucket = &walk->segment.buckets[b];
    unsigned count = walk->segment.bucket_count;
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t word = atomic_load_explicit(&bucket->slots[s], memory_order_relaxed);
        if (!word)
            continue;
        unsigned home = tag_bucket(slot_tag(word), count), distance = (b + count - home) % count;
        uint64_t right = recover_slot(r, walk, word, b);
        if (right != word)
            atomic_store_explicit(&bucket->slots[s], right, memory_order_release);
        FAILPOINT("recover_slot");
        if (walk->index->noted)
            recover_note(r, walk, b, s);
        if (!right || distance == 0)
            continue;
        walk->overflow[home]++;
        if (distance > walk->reach[home])
            walk->reach[home] = (uint8_t)distance;
    }
}

/* Sets the home buckets' counts to what was found, and raises every sequence: the writer may have
 * died after it changed a slot and before it raised the sequence, and what that made unreachable is
 * free from now on. */
static void recover_meta(struct segment_walk *walk)
{
    for (unsigned b = 0; b < walk->segment.bucket_count; b++) {
        _Atomic uint64_t *meta = &walk->segment.buckets[b].meta;
        uint64_t old = atomic_load_explicit(meta, memory_order_relaxed);
        uint64_t counts = (uint64_t)walk->reach[b] << 8 | walk->overflow[b];
        atomic_store_explicit(meta, ((old & ~UINT64_C(0xffff)) + BUCKET_SEQUENCE_ONE) | counts,
                              memory_order_release);
    }
}

static void recover_segment(struct recovery *r, struct segment_walk *walk)
{
    uint64_t before = walk->index->entry_count;
    memset(walk->overflow, 0, sizeof(walk->overflow));
    memset(walk->reach, 0, sizeof(walk->reach));
    if (walk->index->noted)
        reset_notes(walk);
    prefetch_bucket_entries(r, &walk->segment.buckets[0]);
    for (unsigned b = 0; b < walk->segment.bucket_count; b++) {
        if (b + 1 < walk->segment.bucket_count)
            prefetch_bucket_entries(r, &walk->segment.buckets[b + 1]);
        recover_bucket(r, walk, b);
    }
    recover_meta(walk);
    struct segment_head *head = (struct segment_head *)walk->segment.buckets - 1;
    head->entry_count = (uint32_t)(walk->index->entry_count - before);
}

/* --- indexes -------------------------------------------------------------------------------- */

/* A change of the directory may have stopped half-way: of the segments that claim a range, the one
 * of the smallest depth, or else the first, has everything, and nobody has written since. */
static bool recover_directory(struct recovery *r, _Atomic uint64_t *words, unsigned dir_bits)
{
    uint64_t size = UINT64_C(1) << dir_bits, last = 0;
    for (uint64_t i = 0; i < size; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (!segment_word_is_sound(&r->store->region, word, dir_bits))
            return false;
        if (word == last)
            continue;
        last = word;
        uint64_t range = UINT64_C(1) << (dir_bits - segment_depth(word)), first = i & ~(range - 1);
        for (uint64_t j = first; j < first + range; j++) {
            uint64_t other = atomic_load_explicit(&words[j], memory_order_relaxed);
            if (other != word && (segment_depth(other) > segment_depth(word) ||
                                  (segment_depth(other) == segment_depth(word) && j > i)))
                atomic_store_explicit(&words[j], word, memory_order_release);
        }
    }
    return true;
}

static bool recover_index(struct recovery *r, struct index *index)
{
    struct region *region = &r->store->region;
    uint64_t dir = atomic_load_explicit(index->dir, memory_order_relaxed);
    unsigned depth = dir_depth(dir);
    if (!dir_word_is_sound(region, dir) || !mark(r, dir_unit(dir), dir_units(depth)))
        return false;
    _Atomic uint64_t *words = region_at(region, dir_unit(dir));
    if (!recover_directory(r, words, depth))
        return false;
    index->shape->units += dir_units(depth);
    struct segment_walk walk = {.index = index};
    for (uint64_t position = 0;;) {
        walk.dir_position = position;
        if (!index_next_segment(index, &position, &walk.segment))
            return true;
        uint64_t word = atomic_load_explicit(&words[walk.dir_position], memory_order_relaxed);
        walk.depth = segment_depth(word);
        if (!mark(r, walk.segment.unit - SEGMENT_HEAD_UNITS, walk.segment.units))
            return false;
        index->shape->units += walk.segment.units;
        recover_segment(r, &walk);
    }
}

/* --- tables --------------------------------------------------------------------------------- */

static struct shape *recover_shape(struct recovery *r, uint64_t unit)
{
    struct shape *shape;
    if (!root_is_sound(&r->store->region, unit) || shape_open(r->store, unit, &shape) != SP_OK)
        return NULL;
    bool sound = mark(r, unit, root_units(shape->root->index_count)) &&
                 mark(r, shape->root->schema_unit, bytes_to_units(shape->root->schema_bytes));
    for (unsigned i = 0; i < shape->index_count && sound; i++)
        sound = recover_index(r, &shape->indexes[i]);
    if (sound)
        return shape;
    shape_free_struct(shape);
    return NULL;
}

/* The older roots of a table, which leases may still see. */
static bool recover_old_roots(struct recovery *r, struct table *table)
{
    struct shape *newer = table->current;
    for (;;) {
        uint64_t prev = atomic_load_explicit(&newer->root->prev, memory_order_relaxed);
        if (!prev)
            return true;
        struct shape *shape = recover_shape(r, prev);
        struct held_root *held = shape ? vector_push(&r->store->held_roots, sizeof(*held)) : NULL;
        if (!held) {
            shape_free_struct(shape);
            atomic_store_explicit(&newer->root->prev, 0, memory_order_release);
            return false;
        }
        *held = (struct held_root){table, shape};
        newer = shape;
    }
}

static void publish_sizes(struct table *table)
{
    const struct shape *shape = table->current;
    atomic_store_explicit(&table->slot->rows, shape->rows, memory_order_relaxed);
    atomic_store_explicit(&table->slot->bytes, shape->bytes, memory_order_relaxed);
    atomic_store_explicit(&table->slot->memory_units, shape->units, memory_order_relaxed);
}

/* False if the table is damaged; it has been cut off then. */
static bool recover_table(struct recovery *r, unsigned number)
{
    struct table *table = &r->store->tables[number];
    table->slot = &r->store->region.slots[number];
    uint64_t head = atomic_load_explicit(&table->slot->head, memory_order_relaxed);
    while (head && root_is_sound(&r->store->region, head)) {
        const struct table_root *root = region_at(&r->store->region, head);
        if (atomic_load_explicit(&root->born, memory_order_relaxed) <= r->committed)
            break;
        head = atomic_load_explicit(&root->prev, memory_order_relaxed);
        atomic_store_explicit(&table->slot->head, head, memory_order_release);
    }
    if (!head)
        return true;
    table->current = recover_shape(r, head);
    if (!table->current) {
        r->opened->dropped_corrupt++;
        atomic_store_explicit(&table->slot->head, 0, memory_order_release);
        return false;
    }
    publish_sizes(table);
    return recover_old_roots(r, table);
}

static void forget(struct store *store)
{
    for (unsigned i = 0; i < FORMAT_TABLES_MAX; i++) {
        shape_free_struct(store->tables[i].current);
        store->tables[i].current = NULL;
    }
    struct held_root *roots = store->held_roots.items;
    for (size_t i = 0; i < store->held_roots.count; i++)
        shape_free_struct(roots[i].shape);
    store->held_roots.count = 0;
    if (store->held.cap)
        memset(store->held.slots, 0, store->held.cap * sizeof(*store->held.slots));
    store->held.count = 0;
    store->cache_expiring = 0;
    store->cache_tombstones = 0;
}

static bool recover_tables(struct recovery *r)
{
    struct store *store = r->store;
    unsigned count = atomic_load_explicit(&store->region.super->table_count, memory_order_relaxed);
    buddy_rebuild_begin(&store->buddy, store->region.meta, store->region.unit_limit,
                        store->usable_units);
    buddy_rebuild_mark(&store->buddy, 0, 1);
    for (unsigned i = 0; i < count; i++) {
        if (!recover_table(r, i)) {
            forget(store);
            return false;
        }
    }
    buddy_rebuild_end(&store->buddy);
    return true;
}

int recover(struct store *store, struct store_opened *opened, char *why)
{
    struct recovery r = {store, opened, store_committed(store), clock_wall_ms()};
    store->usable_units =
        atomic_load_explicit(&store->region.super->usable_units, memory_order_relaxed);
    if (store->usable_units == 0 || store->usable_units > store->region.unit_limit) {
        snprintf(why, STORE_WHY_BYTES, "%s: the superblock's usable size is damaged",
                 store->directory);
        return SP_ECORRUPT;
    }
    while (!recover_tables(&r))
        continue; /* each time with one damaged table or root less */
    space_let_rest(store);
    /* The writer may have died after it unlinked versions, and before it said so once more. */
    reclaim_seq_raise(store);
    for (unsigned i = 0; i < FORMAT_TABLES_MAX; i++)
        route_raise(&store->region.slots[i]); /* likewise */
    /* A writer that died may have had originals of moved entries that wait for leases. They are
     * free from now on. */
    if (atomic_load_explicit(&store->region.super->moves_pending, memory_order_relaxed) != 0 &&
        !leases_revoke(store)) {
        snprintf(why, STORE_WHY_BYTES, "%s: the leases file was cut off and cannot be mended",
                 store->directory);
        return SP_ESYS;
    }
    moves_pending_set(store, false);
    for (unsigned i = 0; i < FORMAT_TABLES_MAX; i++)
        opened->rows += store->tables[i].current ? store->tables[i].current->rows : 0;
    return space_find_holes(store);
}
