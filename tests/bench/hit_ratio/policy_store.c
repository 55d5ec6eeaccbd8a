/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_store.c - the cache itself as a policy: a pond with a cache of so many bytes, which is
 * read as the server reads it and written as it writes. Keys have 24 bytes and values 100.
 */
#include "policy_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/local/cache_read.h"
#include "common/bench.h"
#include "common/rows.h"
#include "server/store/cache.h"

#define ENTRY_BYTES 156u /* of the cache, with the index; the ghost table is beside it */
#define KEY_BYTES   24u
#define VALUE_BYTES 100u
#define NOW_MS      INT64_C(1800000000000)

struct store_cache {
    char directory[4096];
    struct store *store;
    struct cache *cache;
    struct sp_pond *pond;
    struct sp_cache *reader;
    _Atomic uint8_t *touched;
    uint64_t places, evictions;
    char key[KEY_BYTES + 1];
};

static void count_gone(void *context, enum cache_gone why, const void *key, size_t key_bytes)
{
    (void)key;
    (void)key_bytes;
    ((struct store_cache *)context)->evictions += why == CACHE_EVICTED;
}

static void *store_create(const struct policy_options *options)
{
    struct store_cache *c = policy_alloc(1, sizeof(*c));
    struct store_opened opened;
    uint64_t limit = (uint64_t)options->capacity * ENTRY_BYTES;
    struct cache_options cache = {
        .limit_bytes = limit, .evict = true, .on_gone = count_gone, .context = c};
    snprintf(c->directory, sizeof(c->directory), "%s/hit-ratio", bench_directory());
    c->store = rows_open(c->directory, limit * 2 + (UINT64_C(64) << 20), &opened);
    bench_must(cache_open(c->store, &cache, &c->cache), "cache_open");
    bench_must(sp_open(c->directory, NULL, &c->pond), "sp_open");
    bench_must(sp_cache_open(c->pond, &c->reader), "sp_cache_open");
    c->touched = cache_touched(c->cache, &c->places);
    return c;
}

static void store_destroy(void *cache)
{
    struct store_cache *c = cache;
    sp_close(c->pond);
    cache_close(c->cache);
    store_close(c->store);
    bench_remove(c->directory);
    free(c);
}

static bool store_find(struct store_cache *c)
{
    struct cache_batch batch;
    struct cache_probe probe;
    uint8_t bit;
    cache_batch_begin(&batch, c->reader);
    cache_probe_begin(&batch, &probe, c->key, KEY_BYTES);
    cache_probe_fetch(&batch, &probe);
    int status = cache_probe_find(&batch, &probe);
    if (status == READ_AGAIN) { /* the index has grown meanwhile; once in thousands */
        char value[VALUE_BYTES];
        struct cache_found found;
        return cache_read_again(c->reader, c->key, KEY_BYTES, value, sizeof(value), &found) ==
               SP_OK;
    }
    if (status == SP_ENOTFOUND)
        return false;
    bench_must(status, "cache_probe_find");
    uint64_t place = cache_hint_place(batch.binding, &probe.home, probe.hash, probe.match, &bit);
    if (place < c->places)
        cache_hint_mark(&c->touched[place], bit);
    return true;
}

static bool store_request(void *cache, uint32_t key, uint32_t now_ms)
{
    struct store_cache *c = cache;
    static const char value[VALUE_BYTES];
    snprintf(c->key, sizeof(c->key), "cache:entry:%012u", key);
    if (store_find(c))
        return true;
    cache_lock(c->cache, NOW_MS + now_ms);
    bench_must(cache_put(c->cache, cache_hash(c->cache, c->key, KEY_BYTES), c->key, KEY_BYTES,
                         value, sizeof(value), CACHE_NO_EXPIRY),
               "cache_put");
    cache_unlock(c->cache);
    return false;
}

static void store_counts(const void *cache, struct policy_counts *counts)
{
    counts->evictions = ((const struct store_cache *)cache)->evictions;
}

const struct policy policy_store = {.name = "store",
                                    .create = store_create,
                                    .destroy = store_destroy,
                                    .request = store_request,
                                    .counts = store_counts};
