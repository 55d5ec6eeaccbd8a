/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.c - the cache: finding, writing and deleting its entries, and the walk over all.
 *
 * A write allocates and fills an entry that nobody sees, then publishes it by one store in the
 * index (W2 of docs/CONCURRENCY.md). What it replaced is freed at once: readers copy, and find out
 * by R8. So there is nothing to reclaim, nothing waits for leases, and a crash at any point leaves
 * the old entry or the new one.
 *
 * Costs: a write is about three cache misses (bucket, old entry, new entry), which batches overlap.
 */
#include "server/store/cache_internal.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"

#define CACHE_BORN UINT64_C(1) /* of its roots: no commit is before it */

/* --- opening -------------------------------------------------------------------------------- */

/* No reader looks at it; tools that walk over roots find a schema all the same. */
static int make_schema(struct schema **out)
{
    const struct row_column columns[] = {
        {.name = "key", .type = SP_TYPE_BYTES, .key_position = 0},
        {.name = "value", .type = SP_TYPE_BYTES, .key_position = -1}};
    return schema_build(columns, 2, NULL, 0, out, NULL, 0);
}

static int make_table(struct cache *cache)
{
    struct schema *schema;
    int status = make_schema(&schema);
    if (status != SP_OK)
        return status;
    status = table_create(cache->store, FORMAT_CACHE_NAME, schema, ROOT_CACHE, &cache->table);
    schema_free(schema);
    if (status != SP_OK)
        return status;
    atomic_fetch_or_explicit(&cache->table->slot->flags, SLOT_CACHE, memory_order_release);
    route_raise(cache->table->slot);
    return SP_OK;
}

int cache_open(struct store *store, const struct cache_options *options, struct cache **out)
{
    struct cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return SP_ENOMEM;
    cache->store = store;
    cache->options = *options;
    cache->limit_units = options->limit_bytes / FORMAT_UNIT_BYTES;
    cache->tombstone_ms = TOMBSTONE_MS;
    int status = cache_use_open(cache);
    if (status != SP_OK) {
        free(cache);
        return status;
    }
    pthread_mutex_lock(&store->lock);
    cache->table = table_find(store, FORMAT_CACHE_NAME);
    if (!cache->table || !cache->table->current)
        status = make_table(cache);
    pthread_mutex_unlock(&store->lock);
    if (status != SP_OK) {
        cache_close(cache);
        return status;
    }
    cache->renote = store->cache_tombstones > 0; /* what is noted is from another life */
    *out = cache;
    return SP_OK;
}

void cache_close(struct cache *cache)
{
    if (!cache)
        return;
    cache_use_close(cache);
    ghosts_free(&cache->ghosts);
    free(cache->slots);
    free(cache);
}

void cache_lock(struct cache *cache, int64_t now_ms)
{
    struct store *store = cache->store;
    if (pthread_mutex_trylock(&store->lock) != 0) {
        atomic_fetch_add_explicit(&store->waiting, 1, memory_order_relaxed);
        pthread_mutex_lock(&store->lock);
        atomic_fetch_sub_explicit(&store->waiting, 1, memory_order_relaxed);
    }
    cache->now_ms = now_ms;
}

void cache_unlock(struct cache *cache)
{
    pthread_mutex_unlock(&cache->store->lock);
}

void cache_configure(struct cache *cache, uint64_t limit_bytes, bool evict)
{
    cache->limit_units = limit_bytes / FORMAT_UNIT_BYTES;
    cache->options.limit_bytes = limit_bytes;
    cache->options.evict = evict;
}

/* --- reading -------------------------------------------------------------------------------- */

struct cache_entry cache_entry_at(const struct cache *cache, uint64_t unit)
{
    const struct entry *entry = store_entry(cache->store, unit);
    struct entry_view view = entry_view(entry);
    return (struct cache_entry){.key = view.key,
                                .value = view.value,
                                .key_bytes = view.key_bytes,
                                .value_bytes = view.value_bytes,
                                .expiry_ms = cache_expiry_of(entry),
                                .version = cache_version_of(entry),
                                .unit = unit};
}

uint64_t cache_hash(const struct cache *cache, const void *key, size_t key_bytes)
{
    return hash_key(&cache->store->region.hash, key, key_bytes);
}

void cache_prefetch_bucket(const struct cache *cache, uint64_t hash)
{
    const struct bucket *bucket = index_prefetch_bucket(cache_index(cache), hash);
    cache_use_prefetch(cache, cursor_prefix(hash), bucket);
}

void cache_prefetch_entry(const struct cache *cache, uint64_t hash)
{
    index_prefetch_entry(cache_index(cache), hash);
}

bool cache_find_live(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     struct place *place)
{
    if (!index_find(cache_index(cache), hash, key, key_bytes, place))
        return false;
    const struct entry *entry = store_entry(cache->store, slot_unit(place->word));
    if (!cache_expired(cache, entry))
        return true;
    if (!cache_is_tombstone(entry))
        cache_lose(cache, place, CACHE_EXPIRED);
    return false;
}

bool cache_find(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                struct cache_entry *out)
{
    struct place place;
    if (!cache_find_live(cache, hash, key, key_bytes, &place))
        return false;
    *out = cache_entry_at(cache, slot_unit(place.word));
    return true;
}

/* --- writing -------------------------------------------------------------------------------- */

/* Adds an entry to what is counted, or takes it out: `by` is 1, or -1 as an unsigned number. */
static void count_entry(struct cache *cache, uint64_t unit, uint64_t by)
{
    struct shape *shape = cache_shape(cache);
    const struct entry *entry = store_entry(cache->store, unit);
    struct entry_view view = entry_view(entry);
    if (view.flags & ENTRY_TOMBSTONE) {
        cache->store->cache_tombstones += by;
        return;
    }
    shape->rows += by;
    shape->bytes += by * (view.key_bytes + view.value_bytes);
    cache->store->cache_expiring += cache_expiry_of(entry) != CACHE_NO_EXPIRY ? by : 0;
}

/* After an entry has taken the place of another; 0: none. */
static void count_change(struct cache *cache, unsigned slot, uint64_t out, uint64_t in)
{
    if (out)
        count_entry(cache, out, -UINT64_C(1));
    if (in)
        count_entry(cache, in, 1);
    if (cache->slots)
        cache_slots_changed(cache, slot, out, in);
}

/* Unpublishes an entry, whose bytes stay until it is freed. */
static void take_out(struct cache *cache, const struct place *place, unsigned slot)
{
    index_remove(cache_index(cache), place);
    FAILPOINT("cache_removed");
    cache_evict_removed(cache, place);
    count_change(cache, slot, slot_unit(place->word), 0);
}

static unsigned slot_of_entry(const struct cache *cache, uint64_t unit)
{
    struct entry_view view = entry_view(store_entry(cache->store, unit));
    return cache_slots_find(cache, view.key, view.key_bytes);
}

void cache_remove(struct cache *cache, const struct place *place)
{
    take_out(cache, place, slot_of_entry(cache, slot_unit(place->word)));
    entry_free(cache->store, cache_shape(cache), slot_unit(place->word));
}

/* The owner is told when no reader finds the entry any more. */
void cache_lose(struct cache *cache, const struct place *place, enum cache_gone why)
{
    struct cache_entry entry = cache_entry_at(cache, slot_unit(place->word));
    bool keep = false;
    if (why == CACHE_EXPIRED) {
        cache->stats.expired++;
        keep = cache->slots && cache_slots_keep(cache, store_entry(cache->store, entry.unit));
    } else {
        cache->stats.evicted++;
    }
    if (keep) /* the key stays where it is */
        cache_lapse(cache, cache_hash(cache, entry.key, entry.key_bytes), place, entry.version);
    else
        take_out(cache, place, slot_of_entry(cache, entry.unit));
    if (cache->options.on_gone)
        cache->options.on_gone(cache->options.context, why, entry.key, entry.key_bytes);
    if (!keep)
        entry_free(cache->store, cache_shape(cache), slot_unit(place->word));
}

/* How many may go for one write, beyond its size: what is free lies scattered. */
#define EVICTIONS_MOST(units) (64 + 4 * (units))

/* Units for an entry: what is buried first, then what is evicted, makes room. */
static int alloc_units(struct cache *cache, uint64_t units, uint64_t keep, uint64_t *unit)
{
    struct store *store = cache->store;
    bool evict = cache->options.evict;
    if (units > cache->limit_units)
        return SP_ENOSPC;
    while (cache_shape(cache)->units + units > cache->limit_units) {
        if (!evict || !cache_evict_one(cache, keep))
            return SP_ENOSPC;
    }
    for (uint64_t tries = 0;; tries++) {
        int status = space_alloc(store, units, 1, unit);
        if (status != SP_ENOSPC && status != SP_ENOSHM)
            return status;
        if (bury_some(store))
            continue;
        if (!evict || tries > EVICTIONS_MOST(units) || !cache_evict_one(cache, keep))
            return status;
    }
}

static void set_words(struct entry *entry, uint64_t born_word, uint64_t prev_word)
{
    atomic_store_explicit(&entry->born_word, born_word, memory_order_relaxed);
    atomic_store_explicit(&entry->prev_word, prev_word, memory_order_relaxed);
}

int cache_write_begin(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                      size_t value_bytes, const struct cache_entry *needed,
                      struct cache_write *write)
{
    if (key_bytes > CACHE_KEY_MAX || value_bytes > CACHE_VALUE_MAX)
        return SP_ETOOBIG;
    uint64_t units = bytes_to_units(ENTRY_HEAD_BYTES + key_bytes + value_bytes);
    write->hash = hash;
    write->key_bytes = key_bytes;
    write->value_bytes = value_bytes;
    write->slot = cache_slots_find(cache, key, key_bytes);
    int status = alloc_units(cache, units, needed ? needed->unit : 0, &write->unit);
    if (status != SP_OK) {
        cache->stats.refused++;
        return status;
    }
    cache_shape(cache)->units += units;
    struct entry *entry = store_entry(cache->store, write->unit);
    set_words(entry, entry_cache_born_word(CACHE_NO_EXPIRY, key_bytes),
              entry_cache_prev_word(CACHE_NO_EXPIRY, 0, value_bytes)); /* for a cancel */
    memcpy(entry->bytes, key, key_bytes);
    write->value = entry->bytes + key_bytes;
    return SP_OK;
}

uint64_t cache_next_version(struct cache *cache, const struct place *replaced)
{
    uint64_t count = cache->writes++ & ((1u << ENTRY_CLOCK_COUNT_BITS) - 1);
    uint64_t before =
        replaced ? cache_version_of(store_entry(cache->store, slot_unit(replaced->word))) : 0;
    if (cache->slots)
        return cache_slots_stamp(cache, before);
    uint64_t version = ring_clock_of(cache->now_ms) | count;
    return version > before ? version : before + 1;
}

/* What stands before the key of a value. */
static void finish_value(const struct cache_write *write, struct entry *entry, int64_t expiry_ms,
                         uint64_t version)
{
    uint64_t born_word = entry_cache_born_word(expiry_ms, write->key_bytes);
    uint64_t prev_word = entry_cache_prev_word(expiry_ms, version, write->value_bytes);
    set_words(entry, born_word, prev_word);
    entry->checksum = entry_cache_checksum(born_word, prev_word, (uint16_t)version, entry->bytes);
}

/* Makes a tombstone of an entry that nobody can see, whose words say what it was before: what is
 * behind its key is freed. */
static void finish_tombstone(struct cache *cache, uint64_t unit, uint64_t version, bool lapsed)
{
    struct entry *entry = store_entry(cache->store, unit);
    size_t key_bytes = entry_view(entry).key_bytes;
    uint64_t had = entry_units(entry), needs = bytes_to_units(ENTRY_HEAD_BYTES + key_bytes);
    uint64_t born_word = entry_cache_tombstone_word(key_bytes, lapsed);
    uint64_t prev_word = entry_cache_prev_word(ENTRY_TOMBSTONE_EXPIRY, version, 0);
    set_words(entry, born_word, prev_word);
    entry->checksum = entry_cache_checksum(born_word, prev_word, (uint16_t)version, entry->bytes);
    cache_shape(cache)->units -= had - needs;
    space_free(cache->store, unit + needs, had - needs);
}

static void replace_entry(struct cache *cache, const struct cache_write *write,
                          const struct place *place)
{
    const uint64_t old = slot_unit(place->word), unit = write->unit;
    bool was_tombstone = cache_is_tombstone(store_entry(cache->store, old));
    index_replace(place, unit);
    FAILPOINT("cache_replaced");
    count_change(cache, write->slot, old, unit);
    entry_free(cache->store, cache_shape(cache), old);
    cache_note_expiry(place->note, place->head, cache_expiry_of(store_entry(cache->store, unit)),
                      cache->now_ms);
    if (was_tombstone) /* not one that is used because it is written again */
        cache_evict_inserted(cache, place, NOTE_PROBATION);
    else
        cache_use_set(cache, cursor_prefix(write->hash), place);
}

/* Publishes an entry whose key is not there, and which is freed if that cannot be done. */
static int insert_entry(struct cache *cache, const struct cache_write *write, struct place *place)
{
    const uint64_t hash = write->hash, unit = write->unit;
    const struct entry *entry = store_entry(cache->store, unit);
    unsigned from;
    enum note_state state = cache_state_of_new(cache, hash, &from);
    int status = index_insert(cache_index(cache), hash, unit, from, place);
    while (status == SP_ENOSPC || status == SP_ENOSHM) { /* no room for a larger segment */
        if (!cache->options.evict || !cache_evict_one(cache, 0))
            break;
        status = index_insert(cache_index(cache), hash, unit, from, place);
    }
    if (status != SP_OK) {
        cache->stats.refused++;
        entry_free(cache->store, cache_shape(cache), unit);
        return status;
    }
    FAILPOINT("cache_published");
    count_change(cache, write->slot, 0, unit);
    cache_evict_inserted(cache, place, cache_is_tombstone(entry) ? NOTE_MAIN_MOST : state);
    cache_note_expiry(place->note, place->head, cache_due(cache, entry), cache->now_ms);
    (void)cache_use_take(cache, cursor_prefix(hash), place); /* of who had the slot before */
    return SP_OK;
}

int cache_write_stamped(struct cache *cache, struct cache_write *write, int64_t expiry_ms,
                        uint64_t version)
{
    struct entry *entry = store_entry(cache->store, write->unit);
    struct place place;
    bool found =
        index_find(cache_index(cache), write->hash, entry->bytes, write->key_bytes, &place);
    if (version == 0)
        version = cache_next_version(cache, found ? &place : NULL);
    finish_value(write, entry, expiry_ms, version);
    FAILPOINT("cache_publish");
    int status = SP_OK;
    if (found)
        replace_entry(cache, write, &place);
    else
        status = insert_entry(cache, write, &place);
    cache->stats.written += status == SP_OK;
    return status;
}

int cache_write_end(struct cache *cache, struct cache_write *write, int64_t expiry_ms)
{
    if (expiry_ms < CACHE_NO_EXPIRY)
        expiry_ms = 1; /* long ago */
    else if (expiry_ms > CACHE_EXPIRY_MAX)
        expiry_ms = CACHE_EXPIRY_MAX;
    if (cache->slots && expiry_ms != CACHE_NO_EXPIRY && expiry_ms <= cache->now_ms)
        return cache_write_expired(cache, write);
    return cache_write_stamped(cache, write, expiry_ms, 0);
}

void cache_write_cancel(struct cache *cache, struct cache_write *write)
{
    entry_free(cache->store, cache_shape(cache), write->unit);
}

int cache_put(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
              const void *value, size_t value_bytes, int64_t expiry_ms)
{
    struct cache_write write;
    int status = cache_write_begin(cache, hash, key, key_bytes, value_bytes, NULL, &write);
    if (status != SP_OK)
        return status;
    if (value_bytes > 0)
        memcpy(write.value, value, value_bytes);
    return cache_write_end(cache, &write, expiry_ms);
}

int cache_set_expiry(struct cache *cache, uint64_t hash, const struct cache_entry *entry,
                     int64_t expiry_ms)
{
    struct cache_write write;
    int status = cache_write_begin(cache, hash, entry->key, entry->key_bytes, entry->value_bytes,
                                   entry, &write);
    if (status != SP_OK)
        return status;
    memcpy(write.value, entry->value, entry->value_bytes);
    return cache_write_end(cache, &write, expiry_ms);
}

static int bury_write(struct cache *cache, const struct cache_write *write, uint64_t version,
                      bool lapsed)
{
    struct place place;
    finish_tombstone(cache, write->unit, version, lapsed);
    FAILPOINT("cache_bury");
    return insert_entry(cache, write, &place);
}

int cache_bury_write(struct cache *cache, const struct cache_write *write, uint64_t version)
{
    return bury_write(cache, write, version, false);
}

static void bury(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version,
                 bool lapsed)
{
    const uint64_t unit = slot_unit(place->word);
    const struct cache_write write = {
        .hash = hash, .unit = unit, .slot = slot_of_entry(cache, unit)};
    take_out(cache, place, write.slot);
    atomic_thread_fence(memory_order_release);        /* W7: the words change */
    (void)bury_write(cache, &write, version, lapsed); /* the slot it had is free */
}

void cache_bury(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version)
{
    bury(cache, hash, place, version, false);
}

void cache_lapse(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version)
{
    bury(cache, hash, place, version, true);
}

void cache_restamp(struct cache *cache, uint64_t hash, const struct place *place, uint64_t version)
{
    const uint64_t unit = slot_unit(place->word);
    struct entry *entry = store_entry(cache->store, unit);
    struct entry_view view = entry_view(entry);
    const struct cache_write write = {.hash = hash,
                                      .unit = unit,
                                      .key_bytes = view.key_bytes,
                                      .value_bytes = view.value_bytes,
                                      .slot = slot_of_entry(cache, unit)};
    struct place again;
    take_out(cache, place, write.slot);
    atomic_thread_fence(memory_order_release); /* W7: the words change */
    finish_value(&write, entry, cache_expiry_of(entry), version);
    FAILPOINT("cache_restamp");
    (void)insert_entry(cache, &write, &again); /* the slot it had is free */
}

bool cache_delete(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes)
{
    struct place place;
    if (cache->slots)
        return cache_delete_stamped(cache, hash, key, key_bytes);
    if (!cache_find_live(cache, hash, key, key_bytes, &place))
        return false;
    cache_remove(cache, &place);
    cache->stats.deleted++;
    return true;
}

int cache_flush(struct cache *cache)
{
    if (cache_index(cache)->entry_count == 0)
        return SP_OK;
    int status = table_replace(cache->store, cache->table, CACHE_BORN);
    if (status != SP_OK)
        return status;
    cache_evict_reset(cache);
    cache->expire = (struct cache_hand){0};
    cache->store->cache_expiring = 0;
    cache->store->cache_tombstones = 0;
    if (cache->slots)
        cache_slots_reset(cache);
    return SP_OK;
}

/* --- walks ---------------------------------------------------------------------------------- */

struct segment_ref cache_segment_at(const struct cache *cache, uint64_t prefix, uint64_t *next)
{
    const struct index *index = cache_index(cache);
    unsigned depth = dir_depth(atomic_load_explicit(index->dir, memory_order_relaxed));
    struct segment_ref segment = {0};
    uint64_t position = prefix >> (CURSOR_PREFIX_BITS - depth);
    index_next_segment(index, &position, &segment);
    *next = position << (CURSOR_PREFIX_BITS - depth);
    return segment;
}

/* A cursor is the prefix, then the tag, which is the order of home buckets in a segment whatever
 * its size: so it outlives rebuilt segments too. */

/* The word of a slot with a live entry, or 0; one that has expired goes. */
static uint64_t live_word(struct cache *cache, const struct segment_ref *segment, unsigned b,
                          unsigned s)
{
    uint64_t word = atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
    const struct entry *entry = store_entry(cache->store, slot_unit(word));
    if (word == 0 || !cache_expired(cache, entry))
        return word;
    if (cache_is_tombstone(entry))
        return 0;
    struct place place = index_place(cache_index(cache), segment, b, s);
    cache_lose(cache, &place, CACHE_EXPIRED);
    return 0;
}

struct visitor {
    void (*visit)(void *context, const struct cache_entry *entry);
    void *context;
};

/* Visits the live entries whose home is this bucket. */
static unsigned visit_home(struct cache *cache, const struct segment_ref *segment, unsigned home,
                           void *context)
{
    const struct visitor *visitor = context;
    uint64_t meta = atomic_load_explicit(&segment->buckets[home].meta, memory_order_relaxed);
    unsigned visited = 0;
    for (unsigned d = 0; d <= bucket_reach(meta); d++) {
        unsigned b = (home + d) % segment->bucket_count;
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            uint64_t word = live_word(cache, segment, b, s);
            if (word == 0 || tag_bucket(slot_tag(word), segment->bucket_count) != home)
                continue;
            struct cache_entry entry = cache_entry_at(cache, slot_unit(word));
            visitor->visit(visitor->context, &entry);
            visited++;
        }
    }
    return visited;
}

uint64_t cache_walk(struct cache *cache, uint64_t cursor, unsigned count,
                    const struct cache_walk *walk)
{
    const uint64_t end = CURSOR_PREFIX_END;
    uint64_t prefix = cursor >> TAG_BITS, tag = cursor & TAG_MASK, next;
    unsigned visited = 0, empty = 0;
    while (prefix < end) {
        struct segment_ref segment = cache_segment_at(cache, prefix, &next);
        for (unsigned b = tag_bucket(tag, segment.bucket_count); b < segment.bucket_count; b++) {
            unsigned found = walk->look(cache, &segment, b, walk->context);
            empty += found == 0;
            visited += found;
            if (visited < count && empty < 16 + 4 * count)
                continue;
            if (b + 1 == segment.bucket_count)
                break;
            /* The first tag whose home is the next bucket. */
            tag =
                (((uint64_t)(b + 1) << TAG_BITS) + segment.bucket_count - 1) / segment.bucket_count;
            return prefix << TAG_BITS | tag;
        }
        prefix = next;
        tag = 0;
        if (visited >= count)
            break;
    }
    return prefix < end ? prefix << TAG_BITS : 0;
}

uint64_t cache_scan(struct cache *cache, uint64_t cursor, unsigned count,
                    void (*visit)(void *context, const struct cache_entry *entry), void *context)
{
    struct visitor visitor = {visit, context};
    const struct cache_walk walk = {visit_home, &visitor};
    return cache_walk(cache, cursor, count, &walk);
}

bool cache_random(struct cache *cache, uint64_t random, struct cache_entry *out)
{
    struct index *index = cache_index(cache);
    unsigned depth = dir_depth(atomic_load_explicit(index->dir, memory_order_relaxed));
    uint64_t position = hash_dir_index(random, depth), tried = 0;
    struct segment_ref segment;
    for (; cache_entries(cache) > 0 && tried <= UINT64_C(1) << depth; tried++) {
        if (!index_next_segment(index, &position, &segment)) {
            position = 0;
            continue;
        }
        unsigned slots = segment.bucket_count * BUCKET_SLOTS;
        unsigned first = (unsigned)((random & UINT32_MAX) * slots >> 32);
        for (unsigned i = 0; i < slots; i++) {
            unsigned at = (first + i) % slots;
            uint64_t word = live_word(cache, &segment, at / BUCKET_SLOTS, at % BUCKET_SLOTS);
            if (word == 0)
                continue;
            *out = cache_entry_at(cache, slot_unit(word));
            return true;
        }
    }
    return false;
}

/* --- information ---------------------------------------------------------------------------- */

uint64_t cache_entries(const struct cache *cache)
{
    return cache_shape(cache)->rows; /* without tombstones */
}

uint64_t cache_entry_memory(const struct cache_entry *entry)
{
    uint64_t bytes = ENTRY_HEAD_BYTES + entry->key_bytes + entry->value_bytes;
    return bytes_to_units(bytes) * FORMAT_UNIT_BYTES +
           (sizeof(struct bucket) + sizeof(uint32_t)) / (BUCKET_SLOTS - 1);
}

void cache_info_locked(struct cache *cache, struct cache_info *out)
{
    const struct shape *shape = cache_shape(cache);
    cache_use_count(cache);
    *out = (struct cache_info){.entries = cache_entries(cache),
                               .expiring = cache->store->cache_expiring,
                               .bytes = shape->bytes,
                               .memory_bytes = shape->units * FORMAT_UNIT_BYTES,
                               .limit_bytes = cache->options.limit_bytes,
                               .written = cache->stats.written,
                               .deleted = cache->stats.deleted,
                               .expired = cache->stats.expired,
                               .evicted = cache->stats.evicted,
                               .refused = cache->stats.refused,
                               .shm_hits = cache->readers.hits,
                               .shm_misses = cache->readers.misses,
                               .evict = cache->options.evict};
}

void cache_info(struct cache *cache, struct cache_info *out)
{
    pthread_mutex_lock(&cache->store->lock);
    cache_info_locked(cache, out);
    pthread_mutex_unlock(&cache->store->lock);
}
