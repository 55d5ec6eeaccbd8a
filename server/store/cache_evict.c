/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_evict.c - who goes when the cache is full (docs/adr/0008-eviction.md has the reasons).
 *
 * New entries are on probation, which has a tenth of the cache. Each part, the probation and the
 * main part, has a hand that sweeps over its entries in the order of the index, that is, of hashes.
 * The probation's hand evicts what nobody has touched since it came, and lets the rest into the
 * main part. The main hand evicts what nobody has touched in 1 to 3 of its visits; the state of an
 * entry (cache_note.h) counts them. A key that was evicted lately and comes back goes straight into
 * the main part (cache_ghost.c).
 *
 * A round takes slot 6 of all buckets, then slot 5 of all and so on; a new entry gets the free slot
 * that the hand comes to last. So it has long before it is judged, and all parts of the hashes stay
 * about equally full; bucket by bucket, those before the hand would be twice as full as the mean.
 *
 * Tombstones (cache_ring.h) are in the main part, and the hand leaves them there. A cache that has
 * little else evicts no more, so that no write has to go over all of them.
 *
 * Costs: an eviction looks at about 13 notes of 4 bytes, in order of memory, for each entry on
 * probation that it visits, and at the entry that goes.
 *
 * S3-FIFO: J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023; the hands
 * in the place of its queues are CLOCK's: F. J. Corbato, "A paging experiment with the Multics
 * system", 1969; with counters: A. J. Smith, ACM TODS 3(3), 1978.
 */
#include "server/store/cache_internal.h"

#define PROBATION_SHARE 10u  /* one part in so many */
#define ROUNDS_MOST     4u   /* against readers that touch faster than the hands go */
#define TOMBSTONES_MOST 256u /* to an entry; with more the cache is full of them */

/* --- entries come and go ---------------------------------------------------------------------- */

enum note_state cache_state_of_new(struct cache *cache, uint64_t hash, unsigned *from)
{
    bool known = ghosts_take(&cache->ghosts, hash);
    *from = cache->hands[known ? EVICT_MAIN : EVICT_PROBATION].number + 1;
    if (*from == BUCKET_SLOTS)
        *from = 0;
    return known ? NOTE_MAIN : NOTE_PROBATION;
}

void cache_evict_inserted(struct cache *cache, const struct place *place, enum note_state state)
{
    *place->note = note_set_state(*place->note, place->number, state);
    cache->probation += state == NOTE_PROBATION;
}

void cache_evict_removed(struct cache *cache, const struct place *place)
{
    cache->probation -= note_state(*place->note, place->number) == NOTE_PROBATION;
    *place->note = note_set_state(*place->note, place->number, NOTE_NO_ENTRY);
}

void cache_evict_reset(struct cache *cache)
{
    cache->hands[EVICT_PROBATION] = cache->hands[EVICT_MAIN] = (struct evict_hand){0};
    cache->probation = 0;
}

/* --- the hands -------------------------------------------------------------------------------- */

/* The hand's next entry of its part in the segment; it comes to stand behind it. */
static bool next_in_segment(struct cache *cache, enum evict_part part, uint64_t keep,
                            const struct segment_ref *segment, struct place *out)
{
    struct evict_hand *hand = &cache->hands[part];
    const uint32_t *notes = segment_notes(segment->buckets, segment->bucket_count);
    for (unsigned b = hand->bucket; b < segment->bucket_count; b++) {
        bool probation = note_state(notes[b], hand->number) == NOTE_PROBATION;
        if (probation != (part == EVICT_PROBATION))
            continue;
        uint64_t word =
            atomic_load_explicit(&segment->buckets[b].slots[hand->number], memory_order_relaxed);
        if (word == 0 || slot_unit(word) == keep)
            continue;
        hand->bucket = b + 1;
        *out = index_place(cache_index(cache), segment, b, hand->number);
        return true;
    }
    return false;
}

/* The hand's next entry of its part; false: it has come to the end of the index. */
static bool next_entry(struct cache *cache, enum evict_part part, uint64_t keep, struct place *out)
{
    struct evict_hand *hand = &cache->hands[part];
    while (hand->prefix < CURSOR_PREFIX_END) {
        uint64_t next;
        struct segment_ref segment = cache_segment_at(cache, hand->prefix, &next);
        if (hand->segment != segment.unit) {
            hand->segment = segment.unit;
            cache_use_collect(cache, hand->prefix, &segment);
        }
        if (next_in_segment(cache, part, keep, &segment, out))
            return true;
        hand->bucket = 0;
        hand->segment = 0;
        hand->prefix = next;
    }
    hand->prefix = 0;
    hand->number = hand->number > 0 ? hand->number - 1 : BUCKET_SLOTS - 1;
    return false;
}

/* Whether an entry that a hand has come to is to go; if not, it gets another state. */
static bool goes(struct cache *cache, enum evict_part part, const struct place *place)
{
    unsigned state = note_state(*place->note, place->number);
    bool touched = cache_use_take(cache, cache->hands[part].prefix, place);
    if (part == EVICT_PROBATION) {
        if (!touched)
            return true;
        cache->probation--;
        state = NOTE_MAIN;
    } else if (touched) {
        state += state < NOTE_MAIN_MOST;
    } else {
        if (state == NOTE_MAIN)
            return true;
        state--;
    }
    *place->note = note_set_state(*place->note, place->number, state);
    return false;
}

/* False: it is a tombstone, which stays, as otherwise what was deleted could come back. */
static bool evict(struct cache *cache, const struct place *place)
{
    if (cache_is_tombstone(store_entry(cache->store, slot_unit(place->word)))) {
        *place->note = note_set_state(*place->note, place->number, NOTE_MAIN_MOST);
        return false;
    }
    struct cache_entry entry = cache_entry_at(cache, slot_unit(place->word));
    ghosts_fit(&cache->ghosts, cache_index(cache)->entry_count);
    ghosts_add(&cache->ghosts, cache_hash(cache, entry.key, entry.key_bytes));
    cache_lose(cache, place, CACHE_EVICTED);
    return true;
}

static enum evict_part whose_turn(const struct cache *cache)
{
    uint64_t live = cache_entries(cache);
    return cache->probation * PROBATION_SHARE >= live || cache->probation == live ? EVICT_PROBATION
                                                                                  : EVICT_MAIN;
}

/* The next entry of any state. */
static bool evict_any(struct cache *cache, uint64_t keep)
{
    struct place place;
    for (unsigned passes = 0; passes <= BUCKET_SLOTS; passes++) {
        if (next_entry(cache, EVICT_PROBATION, keep, &place) && evict(cache, &place))
            return true;
        while (next_entry(cache, EVICT_MAIN, keep, &place)) {
            if (evict(cache, &place))
                return true;
        }
    }
    return false;
}

bool cache_evict_one(struct cache *cache, uint64_t keep)
{
    if (cache_entries(cache) <= cache_tombstones(cache) / TOMBSTONES_MOST)
        return false;
    for (unsigned passes = 0; passes < ROUNDS_MOST * BUCKET_SLOTS;) {
        enum evict_part part = whose_turn(cache);
        struct place place;
        if (!next_entry(cache, part, keep, &place)) {
            passes++;
        } else if (goes(cache, part, &place) && evict(cache, &place)) {
            return true;
        }
    }
    return evict_any(cache, keep);
}
