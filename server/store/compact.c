/* SPDX-License-Identifier: Apache-2.0
 *
 * compact.c - keeps a long-running pond from fragmenting (W6).
 *
 * When more than a tenth of the arena is free, a sweep over all indexes moves entries and segments
 * that lie beyond the target, which is the memory in use and a little more, to lower addresses: the
 * copy is published in the entry's place, and the original is freed when every lease that was held
 * at that moment has ended. A few segments a tick; a sweep that finds nothing to move costs a look
 * at the slots. Nothing leads to an original that waits, so recovery takes it for free: a writer
 * that ends meanwhile takes all leases back, and if it died, recovery does (moves_pending).
 */
#include "server/store/internal.h"

#include <string.h>

#define SEGMENTS_PER_TICK 16u
#define MOVES_PER_TICK    2048u

static uint64_t used_units(const struct store *store)
{
    return store->usable_units - buddy_free_units(&store->buddy);
}

/* Blocks from this unit on should move. */
static uint64_t target_unit(const struct store *store)
{
    uint64_t used = used_units(store);
    return used + used / 32 + CHUNK_UNITS;
}

static bool is_needed(const struct store *store)
{
    uint64_t free_units = buddy_free_units(&store->buddy) - store->punched_units;
    return free_units > used_units(store) / 10 + 2 * CHUNK_UNITS;
}

/* In the superblock, so that recovery knows whether snapshots may see what it takes for free. */
void moves_pending_set(struct store *store, bool pending)
{
    atomic_store_explicit(&store->region.super->moves_pending, pending, memory_order_release);
}

/* Frees originals whose last possible reader has gone; false if there are some left. */
static bool free_moved(struct store *store)
{
    if (store->moved.units.count == 0)
        return true;
    if (!leases_ended(store, store->moved.leases))
        return false;
    const uint64_t *moved = store->moved.units.items;
    for (size_t i = 0; i < store->moved.units.count; i++)
        space_free(store, moved[i], entry_units(store_entry(store, moved[i])));
    store->moved.units.count = 0;
    moves_pending_set(store, false);
    return true;
}

static void move_entry(struct store *store, struct index *index, uint64_t word)
{
    uint64_t from = slot_unit(word), to;
    struct entry *entry = store_entry(store, from);
    struct entry_view view = entry_view(entry);
    uint64_t units = entry_units(entry);
    if (view.prev || (view.flags & (ENTRY_TOMBSTONE | ENTRY_CACHE)) == ENTRY_TOMBSTONE ||
        space_alloc_low(store, units, &store->compact.cursor, from, &to) != SP_OK)
        return;
    struct place place;
    uint64_t hash = hash_key(&store->region.hash, view.key, view.key_bytes);
    uint64_t *moved = vector_push(&store->moved.units, sizeof(*moved));
    if (!moved || !index_find_unit(index, hash, from, &place)) {
        store->moved.units.count -= moved != NULL;
        space_free(store, to, units);
        return;
    }
    memcpy(store_entry(store, to), entry, units * FORMAT_UNIT_BYTES);
    moves_pending_set(store, true);
    FAILPOINT("move");
    index_replace(&place, to);
    *moved = from; /* the shape's count goes on with the copy: the shape may be freed before this */
    FAILPOINT("moved");
    store->stats.moved++;
}

static void move_segment_entries(struct store *store, struct index *index,
                                 const struct segment_ref *segment, uint64_t target)
{
    for (unsigned i = 0; i < segment->bucket_count * BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(
            &segment->buckets[i / BUCKET_SLOTS].slots[i % BUCKET_SLOTS], memory_order_relaxed);
        if (slot_unit(word) >= target)
            move_entry(store, index, word);
    }
}

/* The next index to sweep; NULL when the sweep is through. Tables in a transaction are passed over:
 * it may hold places in their indexes. */
static struct index *next_index(struct store *store)
{
    unsigned count = atomic_load_explicit(&store->region.super->table_count, memory_order_relaxed);
    for (; store->compact.table < count; store->compact.table++, store->compact.index = 0) {
        struct table *table = &store->tables[store->compact.table];
        if (table->current && !table->owner && store->compact.index < table->current->index_count)
            return &table->current->indexes[store->compact.index];
    }
    store->compact.table = store->compact.index = 0;
    store->compact.position = 0;
    return NULL;
}

void compact_tick(struct store *store)
{
    if (!free_moved(store))
        return;
    uint64_t target = is_needed(store) ? target_unit(store) : UINT64_MAX;
    store->compact.cursor = 0;
    for (unsigned i = 0; i < SEGMENTS_PER_TICK && store->moved.units.count < MOVES_PER_TICK; i++) {
        struct index *index = next_index(store);
        if (!index)
            break;
        struct segment_ref segment;
        uint64_t position = store->compact.position;
        if (!index_next_segment(index, &store->compact.position, &segment)) {
            store->compact.index++;
            store->compact.position = 0;
            continue;
        }
        if (target != UINT64_MAX)
            move_segment_entries(store, index, &segment, target);
        index_tidy_segment(index, position, segment.unit >= target);
    }
    leases_note(store, store->moved.leases);
    free_moved(store);
}
