/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_expire.c - entries whose time is over.
 *
 * Nobody needs to be told when an entry expires: who finds it compares its expiry with the clock.
 * Tombstones (cache_ring.h) have their time, too, and go in the same way.
 * What is left is to free the memory, without a walk over all keys and without a list of them. Each
 * bucket's note has the tick of its first expiry, and each segment the first tick of its notes. So
 * a sweep looks at one word for about 1,400 entries, and only where that is due at 256 notes, and
 * only where such a note is due at the seven entries of a bucket.
 *
 * Costs: a tick over 1,000,000 entries of which none is due looks at 700 words. An entry that is
 * due costs the look at its bucket's entries and its own removal, about 0.2 us; what is farther
 * away than two hours is looked at every two hours. The lock is held for SWEEP_WORK at a time.
 *
 * The timing wheel (G. Varghese, T. Lauck, SOSP 1987) does the same with two links for each entry,
 * which is 8 to 16 bytes more than the half byte of this.
 */
#include "server/store/cache_internal.h"

#include <time.h>

#define SWEEP_WORK   1024u /* under one lock; what it costs to look at a note is 1 */
#define WORK_SEGMENT 4u
#define WORK_BUCKET  16u
#define WORK_REMOVAL 16u

static uint64_t tick_of(int64_t ms)
{
    return ms < 0 ? 0 : (uint64_t)ms / NOTE_TICK_MS;
}

/* The tick as a note has it. */
static uint16_t short_tick(uint64_t tick)
{
    return (uint16_t)tick == 0 ? UINT16_MAX : (uint16_t)tick;
}

void cache_note_expiry(uint32_t *note, struct segment_head *head, int64_t expiry_ms, int64_t now_ms)
{
    if (expiry_ms == CACHE_NO_EXPIRY)
        return;
    uint64_t tick = tick_of(expiry_ms), far = tick_of(now_ms) + NOTE_FAR;
    if (tick > far)
        tick = far;
    if (tick + NOTE_FAR < far) /* long ago: due in any case, and near enough for 16 bits */
        tick = far - NOTE_FAR;
    *note = note_set_tick(*note, tick_first(note_tick(*note), short_tick(tick)));
    if (head->due == 0 || tick < head->due)
        head->due = tick;
}

/* Looks at a bucket whose note is due: removes what has expired, and notes what is left. */
static unsigned sweep_bucket(struct cache *cache, const struct segment_ref *segment, unsigned b)
{
    struct segment_head *head = (struct segment_head *)segment->buckets - 1;
    uint32_t *note = segment_notes(segment->buckets, segment->bucket_count) + b;
    unsigned removed = 0;
    *note = note_set_tick(*note, 0);
    for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
        uint64_t word = atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
        if (word == 0)
            continue;
        const struct entry *entry = store_entry(cache->store, slot_unit(word));
        int64_t due_ms = cache_due(cache, entry);
        if (due_ms == CACHE_NO_EXPIRY || due_ms > cache->now_ms) {
            cache_note_expiry(note, head, due_ms, cache->now_ms);
            continue;
        }
        struct place place = index_place(cache_index(cache), segment, b, s);
        if (cache_is_tombstone(entry))
            cache_remove(cache, &place);
        else
            cache_lose(cache, &place, CACHE_EXPIRED);
        removed++;
    }
    return removed;
}

static void prefetch_entries(struct cache *cache, const struct bucket *bucket)
{
    for (unsigned s = 0; s < BUCKET_SLOTS; s++)
        __builtin_prefetch(
            store_entry(cache->store,
                        slot_unit(atomic_load_explicit(&bucket->slots[s], memory_order_relaxed))));
}

/* The first bucket from b on whose note is due. */
static unsigned due_bucket(const struct segment_ref *segment, unsigned b, uint16_t now)
{
    const uint32_t *notes = segment_notes(segment->buckets, segment->bucket_count);
    while (b < segment->bucket_count &&
           (note_tick(notes[b]) == 0 || !tick_before(note_tick(notes[b]), now)))
        b++;
    return b;
}

/* After a sweep over all of its buckets: when the next one is due. */
static uint64_t first_due(const struct segment_ref *segment, uint64_t now)
{
    const uint32_t *notes = segment_notes(segment->buckets, segment->bucket_count);
    uint16_t first = 0;
    for (unsigned b = 0; b < segment->bucket_count; b++)
        first = tick_first(first, note_tick(notes[b]));
    return first == 0 ? 0 : now + (uint64_t)(int64_t)(int16_t)(uint16_t)(first - short_tick(now));
}

/* Goes on in a segment from bucket `b`; returns where it stopped. */
static unsigned sweep_segment(struct cache *cache, const struct segment_ref *segment, unsigned b,
                              unsigned *work, uint64_t *removed)
{
    uint16_t now = short_tick(tick_of(cache->now_ms));
    b = due_bucket(segment, b, now);
    while (b < segment->bucket_count && *work < SWEEP_WORK) {
        unsigned next = due_bucket(segment, b + 1, now);
        if (next < segment->bucket_count)
            prefetch_entries(cache, &segment->buckets[next]);
        unsigned gone = sweep_bucket(cache, segment, b);
        *work += WORK_BUCKET + gone * WORK_REMOVAL + (next - b);
        *removed += gone;
        b = next;
    }
    return b;
}

/* Tombstones go at other times than is noted: all that goes by itself is due to be looked at. */
static void renote(const struct segment_ref *segment, uint64_t now)
{
    struct segment_head *head = (struct segment_head *)segment->buckets - 1;
    uint32_t *notes = segment_notes(segment->buckets, segment->bucket_count);
    for (unsigned b = 0; b < segment->bucket_count; b++) {
        if (note_tick(notes[b]) != 0)
            notes[b] = note_set_tick(notes[b], short_tick(now - 1));
    }
    if (head->due != 0)
        head->due = now - 1;
}

/* Sweeps on from the hand, for SWEEP_WORK; false at the end of the index. */
static bool sweep(struct cache *cache, uint64_t *removed)
{
    struct index *index = cache_index(cache);
    struct cache_hand *hand = &cache->expire;
    uint64_t now = tick_of(cache->now_ms);
    for (unsigned work = 0; work < SWEEP_WORK; work += WORK_SEGMENT) {
        struct segment_ref segment;
        uint64_t next = hand->position;
        if (!index_next_segment(index, &next, &segment)) {
            *hand = (struct cache_hand){0};
            cache->renote = false;
            return false;
        }
        if (cache->renote && hand->segment != segment.unit)
            renote(&segment, now);
        struct segment_head *head = (struct segment_head *)segment.buckets - 1;
        if (head->due != 0 && head->due < now) {
            unsigned from = hand->segment == segment.unit ? hand->bucket : 0;
            hand->bucket = sweep_segment(cache, &segment, from, &work, removed);
            hand->segment = segment.unit;
            if (hand->bucket < segment.bucket_count)
                return true;
            head->due = first_due(&segment, now);
        }
        hand->position = next;
        hand->segment = 0;
        hand->bucket = 0;
    }
    return true;
}

/* After each piece of work that removed something the processor is left to those who serve: on a
 * single one they would wait for the scheduler's turn otherwise. */
#define REST_NS 20000

uint64_t cache_tick(struct cache *cache, int64_t now_ms)
{
    const struct timespec rest = {.tv_nsec = REST_NS};
    uint64_t removed = 0;
    bool more = true;
    while (more) {
        uint64_t before = removed;
        cache_lock(cache, now_ms);
        more = sweep(cache, &removed);
        store_note_used(cache->store);
        cache_unlock(cache);
        if (more && removed > before)
            nanosleep(&rest, NULL);
    }
    return removed;
}
