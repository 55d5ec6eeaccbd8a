/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.c - the cache for readers: one value, many, whether there is one and for how long.
 *
 * The cache is a table in a slot of its own name, whose entries have an expiry in the place of
 * versions (format.h): so all of it is the table's read, plus a look at the expiry. sp_cache_get
 * makes one attempt of quick.h with everything inlined; what does not succeed at once is left to
 * cache_read_again.
 */
#include <stdlib.h>
#include <string.h>

#include "client/local/cache_read.h"

#define GROUP 16u

static struct hints *hints_file(struct sp_cache *cache)
{
    struct cache_hints *hints = atomic_load_explicit(&cache->hints, memory_order_acquire);
    return hints != NULL ? &hints->file : NULL;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Whether the slot has a root of a cache. */
static int read_root(struct sp_cache *cache)
{
    struct binding *binding = table_binding(&cache->table);
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        if (!find_begin(&path, binding)) {
            status = find_no_version(&cache->table, &binding, path.version);
            continue;
        }
        enum find result = find_root(&path, 0);
        bool ours = result == FIND_HIT && (path.root->flags & ROOT_CACHE) != 0;
        if (result != FIND_HIT)
            status = find_settle(&cache->table, &binding, &path, result, false, &tries);
        else if (!find_unchanged(&path, FIND_NO_TABLE) && ++tries < READ_TRIES_MAX)
            status = READ_AGAIN;
        else
            status = ours ? SP_OK : SP_ENOTABLE;
    } while (status == READ_AGAIN);
    return status;
}

/* Mutex held. */
static int cache_add(struct sp_pond *pond)
{
    struct mapping *map = pond_mapping(pond);
    if (mapping_slot(map, FORMAT_CACHE_NAME) == NULL)
        return SP_ENOTABLE;
    struct sp_cache *cache = aligned_alloc(64, sizeof *cache);
    if (cache == NULL)
        return SP_ENOMEM;
    memset(cache, 0, sizeof *cache);
    memcpy(cache->table.name, FORMAT_CACHE_NAME, sizeof FORMAT_CACHE_NAME);
    cache->table.pond = pond;
    if (binding_make(&cache->table, map) == NULL) {
        free(cache);
        return SP_ENOMEM;
    }
    cache->table.next = pond->tables;
    pond->tables = &cache->table;
    pond->cache = cache;
    return SP_OK;
}

int sp_cache_open(struct sp_pond *pond, struct sp_cache **out)
{
    *out = NULL;
    if ((map_committed(pond_mapping(pond)) & VERSION_RETIRED) != 0) {
        int status = pond_follow(pond);
        if (status != SP_OK)
            return status;
    }
    pthread_mutex_lock(&pond->mutex);
    int status = pond->cache != NULL ? SP_OK : cache_add(pond);
    struct sp_cache *cache = pond->cache;
    pthread_mutex_unlock(&pond->mutex);
    if (status == SP_OK)
        status = read_root(cache);
    if (status == SP_ENOTABLE)
        return error_set(status, "the pond in %s has no cache", pond->directory);
    if (status != SP_OK)
        return error_plain(status);
    cache_hints_open(cache, table_binding(&cache->table)->map, true);
    *out = cache;
    return SP_OK;
}

void cache_free(struct sp_pond *pond)
{
    struct sp_cache *cache = pond->cache;
    if (cache == NULL)
        return;
    struct sp_table **at = &pond->tables;
    while (*at != &cache->table)
        at = &(*at)->next;
    *at = cache->table.next;
    bindings_free(&cache->table);
    cache_count_tell(&cache->count, hints_file(cache));
    cache_hints_free(atomic_load_explicit(&cache->hints, memory_order_relaxed));
    if (cache->link != NULL)
        cache->link_rules->free(cache->link);
    free(cache);
    pond->cache = NULL;
}

void cache_forked(struct sp_pond *pond)
{
    if (pond->cache != NULL)
        cache_count_forked(&pond->cache->count);
    if (pond->cache != NULL && pond->cache->link != NULL)
        pond->cache->link_rules->forked(pond->cache->link);
}

/* --- one -------------------------------------------------------------------------------------- */

NEVER_INLINE int cache_counted(struct sp_cache *cache, int status)
{
    bool is_hit = status == SP_OK || status == SP_ERANGE;
    if (is_hit || status == SP_ENOTFOUND)
        cache_count_add(&cache->count, hints_file(cache), is_hit, !is_hit);
    return status;
}

static NEVER_INLINE int get_again(struct sp_cache *cache, const void *key, size_t key_bytes,
                                  void *out, size_t cap, size_t *size)
{
    struct cache_found entry;
    int status = cache_read_again(cache, key, key_bytes, out, cap, &entry);
    if (status == SP_OK || status == SP_ERANGE)
        *size = entry.value_bytes;
    return status;
}

static NEVER_INLINE int get_counted(struct sp_cache *cache, const void *key, size_t key_bytes,
                                    void *out, size_t cap, size_t *size)
{
    return cache_counted(cache, get_again(cache, key, key_bytes, out, cap, size));
}

__attribute__((flatten)) int sp_cache_get(struct sp_cache *cache, const void *key, size_t key_bytes,
                                          void *out, size_t cap, size_t *size)
{
    const struct binding *b = table_binding(&cache->table);
    uint64_t hash = hash_key(&b->hash, key, key_bytes);
    struct quick_home home;
    uint64_t off = 0;
    size_t value_bytes = 0;
    unsigned match;
    const struct quick_arena arena = quick_arena(b);
    const size_t padded = quick_padded(cap);
    const int64_t last = quick_last(&arena, key_bytes, padded);
    uint64_t version = quick_version(b);
    if (UNLIKELY(!quick_home(b, &arena, hash, &home)))
        return get_counted(cache, key, key_bytes, out, cap, size);
    enum quick result = quick_slot_match(&arena, &home, hash, &off, &match);
    if (LIKELY(result == QUICK_FOUND)) {
        if (quick_entry(&arena, ENTRY_CACHE, version, last, off, key, key_bytes, &value_bytes) &&
            quick_copy(&arena, out, cap, padded, off + ENTRY_HEAD_BYTES + key_bytes, value_bytes)) {
            int64_t expiry_ms = cache_expiry_at(&arena, off), now_ms = 0;
            *size = value_bytes;
            if (quick_valid(b, &home)) {
                if (cache_is_over(expiry_ms, &now_ms))
                    return cache_count_miss(cache);
                cache_hint_set(cache, b, &home, hash, match);
                return cache_count_hit(cache);
            }
        }
    } else if (result == QUICK_MISS && quick_valid_miss(b, &arena, &home, version)) {
        return cache_count_miss(cache);
    }
    return get_counted(cache, key, key_bytes, out, cap, size);
}

static int get_entry(struct sp_cache *cache, const void *key, size_t key_bytes, void *out,
                     size_t cap, struct cache_found *entry)
{
    struct cache_batch batch;
    struct cache_probe probe;
    cache_batch_begin(&batch, cache);
    cache_probe_begin(&batch, &probe, key, key_bytes);
    cache_probe_fetch(&batch, &probe);
    int status = cache_probe_find(&batch, &probe);
    if (status == SP_ENOTFOUND)
        return status;
    if (status == SP_OK && probe.value_bytes <= cap) {
        cache_probe_copy(&batch, &probe, out, cap);
        if (cache_probe_valid(&batch, &probe)) {
            cache_touch(&batch, cache, &probe);
            *entry = (struct cache_found){probe.value_bytes, probe.expiry_ms};
            return SP_OK;
        }
    }
    return cache_read_again(cache, key, key_bytes, out, cap, entry);
}

int cache_get_entry(struct sp_cache *cache, const void *key, size_t key_bytes, void *out,
                    size_t cap, struct cache_found *entry)
{
    return cache_counted(cache, get_entry(cache, key, key_bytes, out, cap, entry));
}

/* The expiry of a key, without its value. */
static int read_expiry(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t *expiry)
{
    struct cache_batch batch;
    struct cache_probe probe;
    struct cache_found entry;
    cache_batch_begin(&batch, cache);
    cache_probe_begin(&batch, &probe, key, key_bytes);
    cache_probe_fetch(&batch, &probe);
    int status = cache_probe_find(&batch, &probe);
    if (status == SP_OK && cache_probe_valid(&batch, &probe)) {
        *expiry = probe.expiry_ms;
        return SP_OK;
    }
    if (status == SP_ENOTFOUND)
        return status;
    status = cache_read_again(cache, key, key_bytes, NULL, 0, &entry);
    if (status != SP_OK && status != SP_ERANGE) /* no room: what exists does not fit */
        return status;
    *expiry = entry.expiry_ms;
    return SP_OK;
}

int sp_cache_exists(struct sp_cache *cache, const void *key, size_t key_bytes)
{
    int64_t expiry;
    return read_expiry(cache, key, key_bytes, &expiry);
}

int sp_cache_ttl(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t *ms)
{
    int64_t expiry;
    int status = read_expiry(cache, key, key_bytes, &expiry);
    if (status != SP_OK)
        return status;
    int64_t now = expiry == 0 ? 0 : cache_clock_ms();
    *ms = expiry == 0 ? -1 : expiry > now ? expiry - now : 0;
    return SP_OK;
}

/* --- many ------------------------------------------------------------------------------------- */

/* One of a group, when what it needs has been fetched. */
FIND_INLINE void mget_one(struct sp_cache *cache, struct cache_batch *batch,
                          struct cache_probe *probe, struct sp_get *get)
{
    get->status = cache_probe_find(batch, probe);
    if (get->status == SP_ENOTFOUND)
        return;
    if (LIKELY(get->status == SP_OK && probe->value_bytes <= get->cap)) {
        cache_probe_copy(batch, probe, get->out, get->cap);
        get->size = probe->value_bytes;
        if (LIKELY(cache_probe_valid(batch, probe))) {
            cache_touch(batch, cache, probe);
            return;
        }
    }
    get->status = get_again(cache, get->key, get->key_bytes, get->out, get->cap, &get->size);
}

/* Of a group that has been read. */
static void mget_count(struct sp_cache *cache, const struct sp_get *gets, size_t count)
{
    uint64_t hits = 0, misses = 0;
    for (size_t i = 0; i < count; i++) {
        hits += gets[i].status == SP_OK || gets[i].status == SP_ERANGE;
        misses += gets[i].status == SP_ENOTFOUND;
    }
    cache_count_add(&cache->count, hints_file(cache), hits, misses);
}

static __attribute__((flatten)) void mget_group(struct sp_cache *cache, struct sp_get *gets,
                                                size_t count)
{
    struct cache_batch batch;
    struct cache_probe probes[GROUP];
    cache_batch_begin(&batch, cache);
    for (size_t i = 0; i < count; i++)
        cache_probe_begin(&batch, &probes[i], gets[i].key, gets[i].key_bytes);
    for (size_t i = 0; i < count; i++) {
        cache_probe_fetch(&batch, &probes[i]);
        cache_probe_fetch_rest(&batch, &probes[i]);
    }
    for (size_t i = 0; i < count; i++)
        mget_one(cache, &batch, &probes[i], &gets[i]);
}

int sp_cache_mget(struct sp_cache *cache, struct sp_get *gets, size_t count)
{
    for (size_t done = 0; done < count; done += GROUP) {
        size_t group = count - done < GROUP ? count - done : GROUP;
        mget_group(cache, gets + done, group);
        mget_count(cache, gets + done, group);
    }
    for (size_t i = 0; i < count; i++) {
        int status = gets[i].status;
        if (status == SP_OK || status == SP_ENOTFOUND || status == SP_ERANGE)
            return SP_OK;
    }
    return count == 0 ? SP_OK : gets[0].status;
}
