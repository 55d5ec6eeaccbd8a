/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_read.h - lookups in the cache, in steps, for callers that write replies from many of them.
 * Not exported from the library.
 *
 *   struct cache_batch batch;
 *   cache_batch_begin(&batch, cache);
 *   for each key:  cache_probe_begin(&batch, &probe[i], key, key_bytes);   buckets are fetched
 *   for each:      cache_probe_fetch(&batch, &probe[i]);                   entries are fetched
 *                  cache_probe_fetch_rest(&batch, &probe[i]);       where they may be longer
 *   for each:      status = cache_probe_find(&batch, &probe[i]);
 *                  SP_OK: write the head of a reply with probe[i].value_bytes, then
 *                         cache_probe_copy(&batch, &probe[i], out, cap);
 *                         if (!cache_probe_valid(&batch, &probe[i])) take the reply back, and do as
 *                         for READ_AGAIN; else cache_touch, if the read counts as use
 *                  SP_ENOTFOUND: so it is
 *                  READ_AGAIN: cache_read_again, which repeats until it has an answer
 *
 * The steps are those of quick.h, so R1 to R8 of docs/CONCURRENCY.md. Between find and valid
 * nothing of a probe may be believed, but that a copy of value_bytes stays inside the pond.
 *
 * Limits: a batch is of one thread, at most CACHE_BATCH_MAX keys, and short: the longer it takes,
 * the likelier is READ_AGAIN. Any number of batches may run at once.
 */
#ifndef SIDEPOND_LOCAL_CACHE_READ_H
#define SIDEPOND_LOCAL_CACHE_READ_H

#include "alloc/clock.h"
#include "alloc/hints.h"
#include "client/local/cache_clock.h"
#include "client/local/cache_count.h"
#include "client/local/quick.h"
#include "sidepond/cache.h"

#define CACHE_BATCH_MAX 64u

/* The hints file of one pond. Kept until sp_close, since another thread may be setting a bit. */
struct cache_hints {
    _Atomic uint8_t *bytes;
    _Atomic uint64_t limit;            /* hints that can be touched */
    const _Atomic uint64_t *announced; /* what the daemon says that there are */
    const struct mapping *map;
    struct hints file;
    struct cache_hints *older;
};

/* The way to the server that writes (client/cache); the reader only knows how to end it. */
struct cache_link;
struct cache_link_rules {
    void (*forked)(struct cache_link *link); /* in the child of a fork, the pond's mutex held */
    void (*free)(struct cache_link *link);
};

struct sp_cache {
    struct sp_table table;               /* one of the pond's, so that it follows to another pond */
    _Atomic(struct cache_hints *) hints; /* NULL: none were looked for */
    struct cache_count count;            /* of sp_cache_get and sp_cache_mget */
    struct cache_link *link; /* NULL: nothing was written so far. Set once, by the pond's mutex */
    const struct cache_link_rules *link_rules;
};

struct cache_batch {
    const struct binding *binding;
    struct quick_arena arena;
    uint64_t version;
    int64_t now_ms; /* 0: not asked for yet */
};

struct cache_probe {
    const void *key;
    size_t key_bytes;
    uint64_t hash;
    struct quick_home home; /* bucket NULL: not to be found here */
    uint64_t off;           /* of the entry; 0: not in the home bucket */
    unsigned match;
    /* Of the entry found. */
    uint64_t value_off;
    size_t value_bytes;
    int64_t expiry_ms; /* Unix time; 0: none */
};

/* What an entry says beside its key and value. */
struct cache_found {
    size_t value_bytes;
    int64_t expiry_ms;
};

/* The whole lookup, as often as it takes. SP_OK, SP_ERANGE (`entry` is filled in both), or as
 * sp_cache_get. Sets no hint. */
int cache_read_again(struct sp_cache *cache, const void *key, size_t key_bytes, void *out,
                     size_t cap, struct cache_found *entry);

/* As sp_cache_get, and what else the entry says: SP_OK or SP_ERANGE fill `entry`. */
int cache_get_entry(struct sp_cache *cache, const void *key, size_t key_bytes, void *out,
                    size_t cap, struct cache_found *entry);

/* cache_hints.c: opens the hints of the pond that the cache is in now, if that has not been done.
 */
void cache_hints_open(struct sp_cache *cache, const struct mapping *map, bool retry);
void cache_hints_free(struct cache_hints *hints);
/* Looks whether there are more hints by now, and whether `place` is one of them. */
bool cache_hints_more(struct cache_hints *hints, uint64_t place);

/* Whether an expiry is over. */
FIND_INLINE bool cache_is_over(int64_t expiry_ms, int64_t *now_ms)
{
    if (expiry_ms == 0)
        return false;
    if (*now_ms == 0)
        *now_ms = cache_clock_ms();
    return expiry_ms <= *now_ms;
}

/* Where the hint of an entry that was found is, and which bit of it. A match that is the meta has
 * found no entry in its home. */
FIND_INLINE uint64_t cache_hint_place(const struct binding *b, const struct quick_home *home,
                                      uint64_t hash, unsigned match, uint8_t *bit)
{
    unsigned bucket = tag_bucket(hash & TAG_MASK, segment_buckets(home->segment));
    uint64_t position = (uint64_t)(home->segment_at - b->directory);
    unsigned slot = match == 0 ? 7 : (unsigned)__builtin_ctz(match) / 2 - 1;
    *bit = (uint8_t)(1u << (slot & 7));
    return hint_place(position, b->dir_words, home->segment, bucket);
}

/* Sets a bit only where that is news, so the line stays in all processors' caches. */
FIND_INLINE void cache_hint_mark(_Atomic uint8_t *byte, uint8_t bit)
{
    if (UNLIKELY((atomic_load_explicit(byte, memory_order_relaxed) & bit) == 0))
        atomic_fetch_or_explicit(byte, bit, memory_order_relaxed);
}

/* Says that the entry which a probe found is in use. */
FIND_INLINE void cache_hint_set(const struct sp_cache *cache, const struct binding *b,
                                const struct quick_home *home, uint64_t hash, unsigned match)
{
    uint8_t bit;
    struct cache_hints *hints = atomic_load_explicit(&cache->hints, memory_order_acquire);
    if (UNLIKELY(hints == NULL))
        return;
    uint64_t limit = atomic_load_explicit(&hints->limit, memory_order_relaxed);
    if (limit == 0 && atomic_load_explicit(hints->announced, memory_order_relaxed) == 0)
        return; /* nothing was evicted so far, and nobody asks */
    uint64_t place = cache_hint_place(b, home, hash, match, &bit);
    if (UNLIKELY(place >= limit) && !cache_hints_more(hints, place))
        return;
    cache_hint_mark(hints->bytes + place, bit);
}

/* Counts what a read came to, and returns it. */
NEVER_INLINE int cache_counted(struct sp_cache *cache, int status);

FIND_INLINE int cache_count_one(struct sp_cache *cache, _Atomic uint64_t *counter,
                                const _Atomic uint64_t *look, int status)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    if (UNLIKELY(value > atomic_load_explicit(look, memory_order_relaxed)))
        return cache_counted(cache, status);
    atomic_store_explicit(counter, value, memory_order_relaxed);
    return status;
}
FIND_INLINE int cache_count_hit(struct sp_cache *cache)
{
    struct cache_count_line *line = cache_count_line(&cache->count);
    return cache_count_one(cache, &line->hits, &line->hits_look, SP_OK);
}
FIND_INLINE int cache_count_miss(struct sp_cache *cache)
{
    struct cache_count_line *line = cache_count_line(&cache->count);
    return cache_count_one(cache, &line->misses, &line->misses_look, SP_ENOTFOUND);
}

/* --- a batch ---------------------------------------------------------------------------------- */

FIND_INLINE void cache_batch_begin(struct cache_batch *batch, struct sp_cache *cache)
{
    batch->binding = table_binding(&cache->table);
    batch->arena = quick_arena(batch->binding);
    batch->version = quick_version(batch->binding);
    batch->now_ms = 0;
}

/* cache_probe_begin in two halves, for callers that have the hash. */
FIND_INLINE void cache_probe_of(struct cache_probe *probe, const void *key, size_t key_bytes,
                                uint64_t hash)
{
    probe->key = key;
    probe->key_bytes = key_bytes;
    probe->hash = hash;
}
FIND_INLINE void cache_probe_home(const struct cache_batch *batch, struct cache_probe *probe)
{
    struct quick_home home;
    if (UNLIKELY(!quick_home(batch->binding, &batch->arena, probe->hash, &home)))
        home.bucket = NULL;
    __builtin_prefetch(home.bucket);
    home.meta = 0;
    probe->home = home;
}

FIND_INLINE void cache_probe_begin(const struct cache_batch *batch, struct cache_probe *probe,
                                   const void *key, size_t key_bytes)
{
    cache_probe_of(probe, key, key_bytes, hash_key(&batch->binding->hash, key, key_bytes));
    cache_probe_home(batch, probe);
}

FIND_INLINE void cache_probe_fetch(const struct cache_batch *batch, struct cache_probe *probe)
{
    const struct bucket *bucket = probe->home.bucket;
    probe->off = 0;
    if (UNLIKELY(bucket == NULL))
        return;
    probe->home.meta = atomic_load_explicit(&bucket->meta, memory_order_acquire);
    probe->match = find_match(bucket, probe->hash & TAG_MASK);
    if (LIKELY(probe->match != 0))
        probe->off = slot_unit(find_matched(bucket, probe->match)) << FORMAT_UNIT_SHIFT;
    __builtin_prefetch(batch->arena.base + probe->off);
}

/* Optional, for what is longer than a cache line. */
FIND_INLINE void cache_probe_fetch_rest(const struct cache_batch *batch,
                                        const struct cache_probe *probe)
{
    const uint8_t *entry = batch->arena.base + probe->off;
    __builtin_prefetch(entry + 64);
    __builtin_prefetch(entry + 128);
}

/* The expiry of an entry that quick_entry has found. */
FIND_INLINE int64_t cache_expiry_at(const struct quick_arena *arena, uint64_t off)
{
    const struct entry *entry = (const struct entry *)(arena->base + off);
    return entry_expiry(atomic_load_explicit(&entry->born_word, memory_order_relaxed),
                        atomic_load_explicit(&entry->prev_word, memory_order_relaxed));
}

/* The expiry of an entry, and where its value is, if all of it is inside the limit. */
FIND_INLINE bool cache_probe_parts(const struct cache_batch *batch, struct cache_probe *probe)
{
    const struct quick_arena *arena = &batch->arena;
    const int64_t last = quick_last(arena, probe->key_bytes, 0);
    if (!quick_entry(arena, ENTRY_CACHE, batch->version, last, probe->off, probe->key,
                     probe->key_bytes, &probe->value_bytes))
        return false;
    probe->expiry_ms = cache_expiry_at(arena, probe->off);
    probe->value_off = probe->off + ENTRY_HEAD_BYTES + probe->key_bytes;
    return probe->value_off + probe->value_bytes <= arena->limit;
}

FIND_INLINE bool cache_probe_valid(const struct cache_batch *batch, const struct cache_probe *probe)
{
    return quick_valid(batch->binding, &probe->home);
}

/* SP_OK, SP_ENOTFOUND or READ_AGAIN; SP_ENOTFOUND has passed R8. */
FIND_INLINE int cache_probe_find(struct cache_batch *batch, struct cache_probe *probe)
{
    if (UNLIKELY(probe->home.bucket == NULL))
        return READ_AGAIN;
    if (UNLIKELY(probe->off == 0)) {
        enum quick result =
            quick_slot_match(&batch->arena, &probe->home, probe->hash, &probe->off, &probe->match);
        if (result == QUICK_MISS)
            return quick_valid_miss(batch->binding, &batch->arena, &probe->home, batch->version)
                       ? SP_ENOTFOUND
                       : READ_AGAIN;
        if (result == QUICK_RARE)
            return READ_AGAIN;
    }
    if (UNLIKELY(!cache_probe_parts(batch, probe)))
        return READ_AGAIN;
    if (!cache_is_over(probe->expiry_ms, &batch->now_ms))
        return SP_OK;
    return cache_probe_valid(batch, probe) ? SP_ENOTFOUND : READ_AGAIN;
}

/* Copies the value; what is behind it, up to `cap`, may be overwritten. `cap` is at least
 * value_bytes. */
FIND_INLINE void cache_probe_copy(const struct cache_batch *batch, const struct cache_probe *probe,
                                  void *out, size_t cap)
{
    const size_t padded = quick_padded(cap);
    const uint8_t *from = batch->arena.base + probe->value_off;
    if (LIKELY(probe->value_bytes - 1 < padded && probe->value_off + padded <= batch->arena.limit))
        race_copy_padded(out, from, probe->value_bytes);
    else
        race_copy(out, from, probe->value_bytes);
}

FIND_INLINE void cache_touch(const struct cache_batch *batch, const struct sp_cache *cache,
                             const struct cache_probe *probe)
{
    cache_hint_set(cache, batch->binding, &probe->home, probe->hash, probe->match);
}

#endif
