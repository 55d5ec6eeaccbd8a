/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_ring.c - the cache as a copy of a ring's data: see cache_ring.h.
 *
 * A slot's digest is the XOR, over its entries and tombstones, of
 *
 *   XXH3(XXH3(key), the entry's two words, its checksum)      64 bits, without a seed
 *
 * The words and the checksum (format.h) are the same wherever the entry lies, and say everything:
 * version, expiry, flag, sizes, and 16 bits of a hash of key and value. So nothing of a value is
 * read to take an entry out of the digest, however large it is. Two values differ unseen only if
 * two clients have given them the same version, expiry and size, and these 16 bits agree.
 *
 * Costs: 16 bytes of private memory for each slot; a write takes the key's slot and hash, and a
 * hash of 32 bytes for each entry that comes or goes: an eighth of a put. With 16384 slots their
 * sums are 256 KiB, which other data drive out of the caches, so they are fetched as soon as the
 * key is known, and are there when the entry is published. A cache that keeps no slots looks at a
 * pointer.
 */
#include "server/store/cache_internal.h"

#include <stdlib.h>
#include <string.h>

#define VERSION_LAST   ((UINT64_C(1) << ENTRY_CLOCK_BITS) - 1)
#define SEGMENTS_ADDED 8u   /* under one lock */
#define AHEAD_MS       1000 /* of the wall clock */
#define WRONG_SHIFT    16   /* a version of a wrong clock counts as one of the first hours of all */

/* --- digests -------------------------------------------------------------------------------- */

static uint64_t digest_of(const struct entry *entry, uint64_t key_hash)
{
    const uint64_t parts[] = {
        key_hash, atomic_load_explicit(&entry->born_word, memory_order_relaxed),
        atomic_load_explicit(&entry->prev_word, memory_order_relaxed), entry->checksum};
    return hash_bytes(parts, sizeof(parts));
}

/* A tombstone that has lapsed counts as one of a deletion, which a copy may have got for it. */
static uint64_t digest_of_lapsed(const struct entry *entry, uint64_t key_hash)
{
    size_t key_bytes = entry_view(entry).key_bytes;
    uint64_t born_word = entry_cache_tombstone_word(key_bytes, false);
    uint64_t prev_word = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    uint16_t low_version = (uint16_t)cache_version_of(entry);
    const uint64_t parts[] = {
        key_hash, born_word, prev_word,
        entry_cache_checksum(born_word, prev_word, low_version, entry->bytes)};
    return hash_bytes(parts, sizeof(parts));
}

/* Only the holder of the lock writes. */
static void add32(_Atomic uint32_t *counter, uint32_t by)
{
    uint32_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* `by` is 1, or -1 as an unsigned number. */
static void change(struct slot_sum *sum, const struct entry *entry, uint64_t key_hash, uint32_t by)
{
    uint64_t digest = atomic_load_explicit(&sum->digest, memory_order_relaxed);
    bool tombstone = cache_is_tombstone(entry);
    bool lapsed = tombstone && cache_expiry_of(entry) == ENTRY_LAPSED_EXPIRY;
    digest ^= lapsed ? digest_of_lapsed(entry, key_hash) : digest_of(entry, key_hash);
    atomic_store_explicit(&sum->digest, digest, memory_order_relaxed);
    add32(tombstone ? &sum->tombstones : &sum->entries, by);
}

unsigned cache_slots_find(const struct cache *cache, const void *key, size_t key_bytes)
{
    const struct cache_slots *slots = cache->slots;
    unsigned slot = slots ? ring_slot(key, key_bytes, slots->count) : 0;
    if (slots)
        __builtin_prefetch(&slots->sums[slot], 1);
    return slot;
}

void cache_slots_changed(struct cache *cache, unsigned slot, uint64_t out, uint64_t in)
{
    struct slot_sum *sum = &cache->slots->sums[slot];
    struct entry_view view = entry_view(store_entry(cache->store, in ? in : out));
    uint64_t key_hash = hash_bytes(view.key, view.key_bytes);
    if (out)
        change(sum, store_entry(cache->store, out), key_hash, UINT32_MAX);
    if (in)
        change(sum, store_entry(cache->store, in), key_hash, 1);
}

void cache_slots_reset(struct cache *cache)
{
    for (unsigned i = 0; i < cache->slots->count; i++) {
        struct slot_sum *sum = &cache->slots->sums[i];
        atomic_store_explicit(&sum->digest, 0, memory_order_relaxed);
        atomic_store_explicit(&sum->entries, 0, memory_order_relaxed);
        atomic_store_explicit(&sum->tombstones, 0, memory_order_relaxed);
    }
}

void cache_slot(const struct cache *cache, unsigned slot, struct cache_slot *out)
{
    const struct slot_sum *sum = &cache->slots->sums[slot];
    *out = (struct cache_slot){.digest = atomic_load_explicit(&sum->digest, memory_order_relaxed),
                               .entries = atomic_load_explicit(&sum->entries, memory_order_relaxed),
                               .tombstones =
                                   atomic_load_explicit(&sum->tombstones, memory_order_relaxed)};
}

void cache_keep_expired(struct cache *cache, const uint64_t slots[RING_SLOT_WORDS])
{
    uint64_t any = 0;
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        any |= slots[i];
    memcpy(cache->slots->keep_expired, slots, sizeof(cache->slots->keep_expired));
    cache->slots->keeps_expired = any != 0;
}

static bool is_missed(const struct cache_slots *slots, const struct entry *entry)
{
    if (!slots || !slots->keeps_expired)
        return false;
    struct entry_view view = entry_view(entry);
    unsigned slot = ring_slot(view.key, view.key_bytes, slots->count);
    return slots->keep_expired[slot / 64] >> (slot % 64) & 1;
}

/* Where it is missed, that may be over before the time of tombstones is: to be looked at again. */
int64_t cache_lapsed_due(const struct cache *cache, const struct entry *entry)
{
    uint64_t version = cache_version_of(entry);
    int64_t last_ms = cache_tombstone_due(cache, version);
    int64_t due_ms = ring_clock_wall_ms(version) + CACHE_LAPSED_MS;
    if (due_ms <= cache->now_ms && is_missed(cache->slots, entry))
        due_ms = cache->now_ms + CACHE_LAPSED_MS;
    return due_ms < last_ms ? due_ms : last_ms;
}

bool cache_slots_keep(const struct cache *cache, const struct entry *entry)
{
    return cache_lapsed_due(cache, entry) > cache->now_ms;
}

uint64_t cache_tombstones(const struct cache *cache)
{
    return cache->store->cache_tombstones;
}

/* --- beginning ------------------------------------------------------------------------------ */

static void prefetch_entries(const struct cache *cache, const struct bucket *bucket)
{
    for (unsigned s = 0; s < BUCKET_SLOTS; s++)
        __builtin_prefetch(
            store_entry(cache->store,
                        slot_unit(atomic_load_explicit(&bucket->slots[s], memory_order_relaxed))));
}

static void add_segment(struct cache *cache, const struct segment_ref *segment, int64_t latest_ms)
{
    for (unsigned b = 0; b < segment->bucket_count; b++) {
        if (b + 1 < segment->bucket_count)
            prefetch_entries(cache, &segment->buckets[b + 1]);
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            uint64_t word =
                atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
            if (word == 0)
                continue;
            struct entry_view view = entry_view(store_entry(cache->store, slot_unit(word)));
            cache_slots_changed(cache, ring_slot(view.key, view.key_bytes, cache->slots->count), 0,
                                slot_unit(word));
            uint64_t version = cache_version_of(store_entry(cache->store, slot_unit(word)));
            ring_clock_see_until(cache->slots->clock, version, latest_ms);
            cache->slots->ahead += version > ring_clock_of(latest_ms);
        }
    }
}

int cache_keep_slots(struct cache *cache, const struct cache_slots_options *options)
{
    struct cache_slots *slots = calloc(1, sizeof(*slots) + options->slots * sizeof(slots->sums[0]));
    if (!slots)
        return SP_ENOMEM;
    slots->count = options->slots;
    slots->clock = options->clock;
    slots->ahead_ms = CACHE_AHEAD_ANY;
    pthread_mutex_lock(&cache->store->lock);
    free(cache->slots);
    cache->slots = slots;
    cache->tombstone_ms = TOMBSTONE_MS_MAX;
    cache_set_tombstone_ms(cache, options->tombstone_ms);
    for (uint64_t prefix = 0, done = 1; prefix < CURSOR_PREFIX_END; done++) {
        struct segment_ref segment = cache_segment_at(cache, prefix, &prefix);
        add_segment(cache, &segment, options->latest_ms);
        if (done % SEGMENTS_ADDED == 0)
            store_breathe(cache->store);
    }
    pthread_mutex_unlock(&cache->store->lock);
    return SP_OK;
}

/* Some tombstones go earlier than has been noted. */
static void renote(struct cache *cache)
{
    cache->renote = true;
    cache->expire = (struct cache_hand){0};
}

void cache_set_tombstone_ms(struct cache *cache, uint64_t tombstone_ms)
{
    if (tombstone_ms > TOMBSTONE_MS_MAX)
        tombstone_ms = TOMBSTONE_MS_MAX;
    if (tombstone_ms < cache->tombstone_ms)
        renote(cache);
    cache->tombstone_ms = tombstone_ms;
}

/* --- clocks --------------------------------------------------------------------------------- */

uint64_t cache_slots_ahead(const struct cache *cache)
{
    return cache->slots->ahead;
}

void cache_set_ahead(struct cache *cache, int64_t ahead_ms)
{
    if (ahead_ms < cache->slots->ahead_ms && cache_tombstones(cache) > 0)
        renote(cache);
    cache->slots->ahead_ms = ahead_ms;
}

uint64_t cache_restamped(const struct cache *cache)
{
    return atomic_load_explicit(&cache->slots->restamped, memory_order_relaxed);
}

/* The shift keeps what was later later, to a quarter of a second. */
uint64_t cache_counts_as(const struct cache *cache, uint64_t version)
{
    const struct cache_slots *slots = cache->slots;
    bool wrong = slots && slots->ahead_ms != CACHE_AHEAD_ANY &&
                 version > ring_clock_of(cache->now_ms + slots->ahead_ms);
    return wrong ? version >> WRONG_SHIFT : version;
}

static void count_restamped(struct cache *cache)
{
    atomic_store_explicit(&cache->slots->restamped, cache_restamped(cache) + 1,
                          memory_order_relaxed);
}

/* Whether an entry was of a wrong clock, and has another version now and maybe another place. A
 * tombstone, which nobody could date, goes. */
static bool set_right(struct cache *cache, uint64_t hash, const struct place *place)
{
    const struct entry *entry = store_entry(cache->store, slot_unit(place->word));
    uint64_t version = cache_version_of(entry), counts = cache_counts_as(cache, version);
    if (counts == version)
        return false;
    count_restamped(cache);
    if (cache_is_tombstone(entry))
        cache_remove(cache, place);
    else
        cache_restamp(cache, hash, place, counts);
    return true;
}

/* Versions tell writes of one key apart, and its entry says which was the last. So a clock that is
 * ahead, be it because it gave more versions than a millisecond has, goes no farther for each
 * write: else peers would refuse them in the end. */
uint64_t cache_slots_stamp(struct cache *cache, uint64_t before)
{
    struct ring_clock *clock = cache->slots->clock;
    uint64_t last = atomic_load_explicit(&clock->last, memory_order_relaxed);
    uint64_t counts = cache_counts_as(cache, before);
    if (counts != before)
        count_restamped(cache);
    before = counts;
    if (cache_counts_as(cache, last) != last) { /* it was the wall clock that was wrong */
        last = ring_clock_of(cache->now_ms);
        atomic_store_explicit(&clock->last, last, memory_order_relaxed);
    }
    uint64_t version = last;
    if (last <= ring_clock_of(cache->now_ms + AHEAD_MS))
        version = ring_clock_stamp(clock, cache->now_ms);
    if (version > before)
        return version;
    ring_clock_see(clock, before + 1);
    return before + 1;
}

/* --- writing -------------------------------------------------------------------------------- */

int cache_put_tombstone(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                        uint64_t version)
{
    struct cache_write write;
    int status = cache_write_begin(cache, hash, key, key_bytes, 0, NULL, &write);
    return status == SP_OK ? cache_bury_write(cache, &write, version) : status;
}

bool cache_delete_stamped(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes)
{
    struct place place;
    bool live = cache_find_live(cache, hash, key, key_bytes, &place);
    bool found = live || index_find(cache_index(cache), hash, key, key_bytes, &place);
    uint64_t version = cache_next_version(cache, found ? &place : NULL);
    if (found)
        cache_bury(cache, hash, &place, version);
    else /* without memory for it, what a peer has of the key comes back */
        (void)cache_put_tombstone(cache, hash, key, key_bytes, version);
    cache->stats.deleted += live;
    return live;
}

int cache_write_expired(struct cache *cache, struct cache_write *write)
{
    const struct entry *entry = store_entry(cache->store, write->unit);
    struct place place;
    if (!index_find(cache_index(cache), write->hash, entry->bytes, write->key_bytes, &place))
        return cache_bury_write(cache, write, cache_next_version(cache, NULL));
    cache_bury(cache, write->hash, &place, cache_next_version(cache, &place));
    cache_write_cancel(cache, write);
    return SP_OK;
}

/* --- what others have stamped --------------------------------------------------------------- */

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Whether an entry counts more (1) than what was stamped, less (-1), or is the same (0). */
static int order(const struct entry *entry, const struct cache_stamped *stamped)
{
    struct entry_view view = entry_view(entry);
    bool tombstone = view.flags & ENTRY_TOMBSTONE;
    int result = compare(cache_version_of(entry), stamped->version);
    if (result != 0 || (tombstone && !stamped->value))
        return result;
    if (tombstone || !stamped->value)
        return tombstone ? 1 : -1;
    /* As unsigned numbers with one taken away, so that "never" is the latest. */
    result = compare((uint64_t)cache_expiry_of(entry) - 1, (uint64_t)stamped->expiry_ms - 1);
    if (result == 0)
        result = compare(view.value_bytes, stamped->value_bytes);
    if (result == 0 && view.value_bytes > 0)
        result = memcmp(view.value, stamped->value, view.value_bytes);
    return result;
}

static int put_stamped(struct cache *cache, const struct cache_stamped *stamped,
                       const struct place *old)
{
    struct cache_entry needed = {.unit = old ? slot_unit(old->word) : 0};
    struct cache_write write;
    int status = cache_write_begin(cache, stamped->hash, stamped->key, stamped->key_bytes,
                                   stamped->value_bytes, &needed, &write);
    if (status != SP_OK)
        return status;
    memcpy(write.value, stamped->value, stamped->value_bytes);
    return cache_write_stamped(cache, &write, stamped->expiry_ms, stamped->version);
}

/* A deletion so old that its tombstone would go at once leaves none. */
static int delete_stamped(struct cache *cache, const struct cache_stamped *stamped,
                          const struct place *old, bool *changed)
{
    bool due = cache_tombstone_due(cache, stamped->version) <= cache->now_ms;
    *changed = old || !due;
    if (!old && due)
        return SP_OK;
    if (!old)
        return cache_put_tombstone(cache, stamped->hash, stamped->key, stamped->key_bytes,
                                   stamped->version);
    cache->stats.deleted += !cache_expired(cache, store_entry(cache->store, slot_unit(old->word)));
    if (due)
        cache_remove(cache, old);
    else
        cache_bury(cache, stamped->hash, old, stamped->version);
    return SP_OK;
}

/* Whether there is an entry of the same version that has expired: it counts as a deletion, and as
 * one that came later would, it leaves a tombstone. */
static bool is_expired_there(struct cache *cache, const struct cache_stamped *stamped,
                             const struct place *place)
{
    const struct entry *entry = store_entry(cache->store, slot_unit(place->word));
    struct cache_stamped deletion = *stamped;
    bool changed;
    if (!stamped->value || cache_version_of(entry) != stamped->version ||
        cache_is_tombstone(entry) || !cache_expired(cache, entry))
        return false;
    deletion.value = NULL;
    (void)delete_stamped(cache, &deletion, place, &changed); /* in the entry's own memory */
    return true;
}

/* As it counts at this moment, or SP_EINVAL. */
static int settle(const struct cache *cache, struct cache_stamped *stamped)
{
    if (stamped->version == 0 || stamped->version > VERSION_LAST)
        return SP_EINVAL;
    if (stamped->expiry_ms > CACHE_EXPIRY_MAX)
        stamped->expiry_ms = CACHE_EXPIRY_MAX;
    if (stamped->expiry_ms != CACHE_NO_EXPIRY && stamped->expiry_ms <= cache->now_ms)
        stamped->value = NULL;
    if (stamped->key_bytes > CACHE_KEY_MAX ||
        (stamped->value && stamped->value_bytes > CACHE_VALUE_MAX))
        return SP_ETOOBIG;
    return SP_OK;
}

int cache_apply(struct cache *cache, const struct cache_stamped *stamped, bool *changed,
                uint64_t *current)
{
    struct cache_stamped now = *stamped;
    struct place place;
    bool unused, *differs = changed ? changed : &unused;
    *differs = false;
    int status = settle(cache, &now);
    if (status != SP_OK)
        return status;
    if (BREAKS_APPLY && now.hash % 64 == 0)
        return SP_OK;
    if (cache->slots)
        ring_clock_see(cache->slots->clock, now.version);
    bool found = index_find(cache_index(cache), now.hash, now.key, now.key_bytes, &place);
    if (found && set_right(cache, now.hash, &place))
        found = index_find(cache_index(cache), now.hash, now.key, now.key_bytes, &place);
    if (found && is_expired_there(cache, &now, &place)) {
        if (current)
            *current = now.version;
        return SP_EEXISTS;
    }
    if (found) {
        const struct entry *entry = store_entry(cache->store, slot_unit(place.word));
        int result = order(entry, &now);
        if (result > 0 && current)
            *current = cache_version_of(entry);
        if (result >= 0)
            return result > 0 ? SP_EEXISTS : SP_OK;
    }
    if (!now.value)
        return delete_stamped(cache, &now, found ? &place : NULL, differs);
    status = put_stamped(cache, &now, found ? &place : NULL);
    *differs = status == SP_OK;
    return status;
}

/* --- looking -------------------------------------------------------------------------------- */

static struct cache_copy copy_at(const struct cache *cache, uint64_t unit)
{
    struct cache_copy copy = {.entry = cache_entry_at(cache, unit),
                              .tombstone = cache_is_tombstone(store_entry(cache->store, unit))};
    if (copy.tombstone)
        copy.entry.expiry_ms = CACHE_NO_EXPIRY;
    return copy;
}

bool cache_find_copy(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     struct cache_copy *out)
{
    struct place place;
    if (!index_find(cache_index(cache), hash, key, key_bytes, &place))
        return false;
    *out = copy_at(cache, slot_unit(place.word));
    return true;
}

struct slot_walk {
    const uint64_t *slots;                                       /* a bitmap */
    void (*visit)(void *context, const struct cache_copy *copy); /* NULL: they are taken out */
    void *context;
    uint64_t last, *dropped; /* of what is taken out: the last version, and how many */
};

static bool wanted(const struct cache *cache, const struct slot_walk *walk,
                   const struct entry *entry)
{
    struct entry_view view = entry_view(entry);
    unsigned slot = ring_slot(view.key, view.key_bytes, cache->slots->count);
    return walk->slots[slot / 64] >> (slot % 64) & 1;
}

static void visit_entry(struct cache *cache, const struct slot_walk *walk,
                        const struct place *place)
{
    const uint64_t unit = slot_unit(place->word);
    const struct entry *entry = store_entry(cache->store, unit);
    struct entry_view view = entry_view(entry);
    bool tombstone = cache_is_tombstone(entry), expired = cache_expired(cache, entry);
    uint64_t version = cache_version_of(entry);
    if (cache_counts_as(cache, version) != version) {
        set_right(cache, cache_hash(cache, view.key, view.key_bytes), place);
        if (tombstone || expired)
            return;
    }
    if (expired && !tombstone) {
        bool keeps = cache_slots_keep(cache, entry);
        cache_lose(cache, place, CACHE_EXPIRED);
        if (!keeps)
            return; /* else the tombstone is in its memory, and maybe where the walk has been */
    }
    struct cache_copy copy = copy_at(cache, unit);
    walk->visit(walk->context, &copy);
}

/* What the walk does with a slot in use. */
static void look_at(struct cache *cache, const struct slot_walk *walk, const struct place *place)
{
    const struct entry *entry = store_entry(cache->store, slot_unit(place->word));
    if (!wanted(cache, walk, entry))
        return;
    if (walk->visit) {
        visit_entry(cache, walk, place);
    } else if (cache_counts_as(cache, cache_version_of(entry)) <= walk->last) {
        cache_remove(cache, place);
        ++*walk->dropped;
    }
}

/* The entries whose home is this bucket. */
static unsigned look_at_home(struct cache *cache, const struct segment_ref *segment, unsigned home,
                             void *context)
{
    uint64_t meta = atomic_load_explicit(&segment->buckets[home].meta, memory_order_relaxed);
    unsigned seen = 0;
    for (unsigned d = 0; d <= bucket_reach(meta); d++) {
        unsigned b = (home + d) % segment->bucket_count;
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            struct place place = index_place(cache_index(cache), segment, b, s);
            if (place.word == 0 || tag_bucket(slot_tag(place.word), segment->bucket_count) != home)
                continue;
            look_at(cache, context, &place);
            seen++;
        }
    }
    return seen;
}

static uint64_t walk_slots(struct cache *cache, uint64_t cursor, unsigned count,
                           struct slot_walk *slots)
{
    const struct cache_walk walk = {look_at_home, slots};
    return cache_walk(cache, cursor, count, &walk);
}

uint64_t cache_scan_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS],
                          void (*visit)(void *context, const struct cache_copy *copy),
                          void *context)
{
    struct slot_walk walk = {.slots = slots, .visit = visit, .context = context};
    return walk_slots(cache, cursor, count, &walk);
}

uint64_t cache_drop_older(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS], uint64_t version,
                          uint64_t *dropped)
{
    struct slot_walk walk = {.slots = slots, .last = version, .dropped = dropped};
    return walk_slots(cache, cursor, count, &walk);
}

uint64_t cache_drop_slots(struct cache *cache, uint64_t cursor, unsigned count,
                          const uint64_t slots[RING_SLOT_WORDS])
{
    uint64_t dropped = 0;
    return cache_drop_older(cache, cursor, count, slots, VERSION_LAST, &dropped);
}

void cache_life(const struct cache *cache, struct cache_life *out)
{
    const struct table_slot *slot = cache->table->slot;
    *out = (struct cache_life){
        .whole_ms = atomic_load_explicit(&slot->whole_ms, memory_order_relaxed),
        .since_ms = atomic_load_explicit(&slot->since_ms, memory_order_relaxed)};
}

void cache_set_life(struct cache *cache, const struct cache_life *life)
{
    struct table_slot *slot = cache->table->slot;
    atomic_store_explicit(&slot->since_ms, life->since_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->whole_ms, life->whole_ms, memory_order_relaxed);
}
