/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_cache_read.c - the time of sp_cache_get and sp_cache_mget, beside the same read of a table.
 *
 * Method. As bench_local_read.c: data A is 1,000,000 entries of 24-byte keys and 100-byte values, B
 * 10,000, once as rows of a table and once in the cache of the same pond, which lies in huge pages.
 * Keys are drawn before the clock starts; what is compared takes turns, and the median of the
 * rounds counts. Then the same where each use is noted for the daemon, which has to choose whom to
 * evict, and where the entries expire in a day, so that each read needs the clock.
 *
 * Options: --json, --quick (small data, no judgement).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/hints.h"
#include "alloc/region.h"
#include "bench_data.h"
#include "common/bench.h"
#include "server/store/cache.h"
#include "sidepond/cache.h"

#define ROUNDS_MAX  25
#define VALUE_BYTES 100u
#define DAY_MS      INT64_C(86400000)

enum kind { PLAIN, NOTED, EXPIRING };

struct side {
    struct data data;
    enum kind kind;
    char directory[128];
    struct sp_pond *pond;
    struct sp_table *table;
    struct sp_cache *cache;
};

/* --- filling ---------------------------------------------------------------------------------- */

static void fill_table(const struct side *side, struct store *store)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "payload", .type = SP_TYPE_BYTES, .key_position = -1},
    };
    struct schema *schema;
    struct store_txn *txn;
    struct store_table *table;
    char why[256] = "", key[BENCH_KEY_BYTES];
    uint8_t value[VALUE_BYTES];
    size_t done;
    bench_must(schema_build(columns, 2, NULL, 0, &schema, why, sizeof(why)), why);
    bench_must(store_begin(store, &txn), "begin");
    bench_must(store_table(txn, "rows", schema, side->data.row_count, &table, NULL), "table");
    for (uint32_t i = 0; i < side->data.row_count; i++) {
        data_key(i, key);
        data_value(&side->data, i, 0, value);
        struct store_row row = {
            .key = key, .key_bytes = sizeof(key), .value = value, .value_bytes = sizeof(value)};
        bench_must(store_put(table, &row, 1, &done), "put");
    }
    bench_must(store_commit(txn, NULL), "commit");
    schema_free(schema);
}

static void fill_cache(const struct side *side, struct store *store)
{
    struct cache *cache;
    const struct cache_options options = {
        .limit_bytes = (uint64_t)side->data.row_count * 400 + (1 << 20), .evict = true};
    const int64_t now_ms = clock_wall_ms();
    char key[BENCH_KEY_BYTES];
    uint8_t value[VALUE_BYTES];
    bench_must(cache_open(store, &options, &cache), "cache_open");
    for (uint32_t i = 0; i < side->data.row_count; i++) {
        data_key(i, key);
        data_value(&side->data, i, 0, value);
        cache_lock(cache, now_ms);
        bench_must(cache_put(cache, cache_hash(cache, key, sizeof(key)), key, sizeof(key), value,
                             sizeof(value),
                             side->kind == EXPIRING ? now_ms + DAY_MS : CACHE_NO_EXPIRY),
                   "cache_put");
        cache_unlock(cache);
    }
    cache_close(cache);
}

/* As much as the index can ever need. */
static void make_room_for_hints(const char *directory)
{
    struct region region;
    struct hints hints;
    char why[REGION_WHY_BYTES];
    bench_must(region_attach(directory, &region, why), why);
    bench_must(hints_attach(directory, region.super->id, &hints), "hints");
    bench_must(hints_grow(&hints, region.super->id, hints.capacity), "hints");
    hints_detach(&hints);
    region_detach(&region);
}

static void side_open(struct side *side, const char *name, uint32_t row_count, enum kind kind)
{
    *side = (struct side){
        .data = {.name = name, .row_count = row_count, .value_bytes = VALUE_BYTES}, .kind = kind};
    snprintf(side->directory, sizeof(side->directory), "%s/%s", bench_directory(), name);
    struct store_options options = {.directory = side->directory,
                                    .name = name,
                                    .limit_bytes = (uint64_t)row_count * 800 + (UINT64_C(64) << 20),
                                    .lease_limit_ms = 60000,
                                    .gid = -1};
    struct store *store;
    struct store_opened opened;
    char why[STORE_WHY_BYTES] = "";
    bench_must(store_open(&options, &store, &opened, why), why);
    fill_table(side, store);
    fill_cache(side, store);
    store_close(store);
    bench_use_huge_pages(side->directory);
    if (kind == NOTED)
        make_room_for_hints(side->directory);
    bench_must(sp_open(side->directory, NULL, &side->pond), "sp_open");
    bench_must(sp_table_open(side->pond, "rows", &side->table), "sp_table_open");
    bench_must(sp_cache_open(side->pond, &side->cache), "sp_cache_open");
}

/* --- loops ------------------------------------------------------------------------------------ */

typedef int get_function(void *from, const void *key, size_t key_bytes, void *out, size_t cap,
                         size_t *size);

/* One run over `count` keys; returns a sum that proves the values were read. `chained`: the next
 * key's place comes by way of the value just read. */
__attribute__((always_inline)) static inline uint64_t
loop(void *from, get_function *get, bool chained, const char *keys, uint32_t count)
{
    uint8_t out[1024];
    uint64_t sum = 0, word;
    size_t size;
    for (uint32_t i = 0; i < count; i++, keys += BENCH_KEY_BYTES) {
        bench_must(get(from, keys, BENCH_KEY_BYTES, out, sizeof(out), &size), "get");
        sum += out[0];
        if (!chained)
            continue;
        memcpy(&word, out, sizeof(word));
        keys += word >> 63;
    }
    return sum;
}

static int get_table(void *from, const void *key, size_t key_bytes, void *out, size_t cap,
                     size_t *size)
{
    return sp_get(from, key, key_bytes, out, cap, size);
}

static int get_cache(void *from, const void *key, size_t key_bytes, void *out, size_t cap,
                     size_t *size)
{
    return sp_cache_get(from, key, key_bytes, out, cap, size);
}

static int mget_table(void *from, struct sp_get *gets, size_t count)
{
    return sp_mget(from, gets, count);
}

static int mget_cache(void *from, struct sp_get *gets, size_t count)
{
    return sp_cache_mget(from, gets, count);
}

enum way { LOOP, ISOLATED, BATCHES };

static uint64_t run(const struct side *side, bool cache, enum way way, const char *keys,
                    uint32_t count)
{
    if (way == BATCHES)
        return cache ? data_batches(side->cache, mget_cache, keys, count)
                     : data_batches(side->table, mget_table, keys, count);
    if (cache)
        return loop(side->cache, get_cache, way == ISOLATED, keys, count);
    return loop(side->table, get_table, way == ISOLATED, keys, count);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void measure(const struct side *side, const char *what, enum way way, double zipf)
{
    double ns[2][ROUNDS_MAX];
    unsigned rounds = bench_quick() ? 3 : ROUNDS_MAX;
    uint32_t count = bench_quick() ? 20000 : 400000;
    char *keys = data_draw(&side->data, zipf, count, 11), row[128];
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t sum[2];
        for (unsigned cache = 0; cache < 2; cache++) {
            double began = bench_thread_ns();
            sum[cache] = run(side, cache, way, keys, count);
            ns[cache][i] = (bench_thread_ns() - began) / count;
        }
        if (sum[0] != sum[1])
            bench_die("the values differ");
    }
    free(keys);
    snprintf(row, sizeof(row), "%s; the table", what);
    bench_row(&(struct bench_row){row, bench_median(ns[1], rounds), bench_median(ns[0], rounds),
                                  "ns", BENCH_AT_MOST, 1.1});
}

int main(int argc, char **argv)
{
    struct side side;
    uint32_t a_rows = 1000000;
    bench_start("cache-read", argc, argv);
    if (bench_quick())
        a_rows = 50000;
    side_open(&side, "A", a_rows, PLAIN);
    measure(&side, "A uniform, loop", LOOP, 0);
    measure(&side, "A Zipf 0.99, loop", LOOP, 0.99);
    measure(&side, "A uniform, isolated", ISOLATED, 0);
    measure(&side, "A uniform, batches of 16", BATCHES, 0);
    sp_close(side.pond);
    side_open(&side, "A-noted", a_rows, NOTED);
    measure(&side, "A uniform, loop, uses noted", LOOP, 0);
    sp_close(side.pond);
    side_open(&side, "A-expiring", a_rows, EXPIRING);
    measure(&side, "A uniform, loop, expiring", LOOP, 0);
    sp_close(side.pond);
    side_open(&side, "B", 10000, PLAIN);
    measure(&side, "B uniform, loop", LOOP, 0);
    measure(&side, "B uniform, isolated", ISOLATED, 0);
    measure(&side, "B uniform, batches of 16", BATCHES, 0);
    sp_close(side.pond);
    side_open(&side, "B-noted", 10000, NOTED);
    measure(&side, "B uniform, loop, uses noted", LOOP, 0);
    sp_close(side.pond);
    side_open(&side, "B-expiring", 10000, EXPIRING);
    measure(&side, "B uniform, loop, expiring", LOOP, 0);
    sp_close(side.pond);
    return bench_finish();
}
