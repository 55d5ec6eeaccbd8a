/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_read.c - reading the cache out of the shared memory.
 *
 * Goal: each way of reading gives the value that was put last, none that was removed or is over,
 * also while a writer replaces, removes and frees entries and the index grows; and hints are set
 * where the format says, or nowhere.
 * Method: the cache of the store (server/store/cache.h), beside readers. Values say
 * which key they are of and are the same number over and over, so that a torn one shows.
 */
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/local/cache_read.h"
#include "server/store/internal.h"
#include "tests/unit/cache_fixture.h"

#define KEYS      3000u
#define READERS   3u
#define VALUE_MAX 600u

static struct cache_fixture f;

static int setup(void **state)
{
    return cache_fixture_open(&f, state);
}

static int teardown(void **state)
{
    return cache_fixture_close(&f, state);
}

static size_t make_key(uint32_t i, char *out)
{
    return (size_t)sprintf(out, "cache-key-%u", i);
}

/* Words of the key's number and the round; sizes differ, so blocks change their owners' sizes. */
static size_t make_value(uint32_t i, uint32_t round, uint64_t *out)
{
    size_t words = 1 + (i * 7 + round * 13) % (VALUE_MAX / 8);
    for (size_t w = 0; w < words; w++)
        out[w] = (uint64_t)i << 32 | round;
    return words * 8;
}

static bool value_is_whole(uint32_t i, const uint64_t *value, size_t bytes)
{
    uint64_t expected[VALUE_MAX / 8 + 1];
    return bytes >= 8 && bytes == make_value(i, (uint32_t)value[0], expected) &&
           memcmp(value, expected, bytes) == 0;
}

static void put(uint32_t i, uint32_t round, int64_t expiry_ms)
{
    char key[32];
    uint64_t value[VALUE_MAX / 8 + 1];
    size_t bytes = make_value(i, round, value);
    assert_ok(cache_writer_put(&f.writer, key, make_key(i, key), value, bytes, expiry_ms));
}

static int get(uint32_t i, uint32_t *round)
{
    char key[32];
    uint64_t value[VALUE_MAX / 8 + 2];
    size_t size;
    int status = sp_cache_get(f.cache, key, make_key(i, key), value, sizeof value, &size);
    if (status == SP_OK) {
        assert_true(value_is_whole(i, value, size));
        *round = (uint32_t)value[0];
    }
    return status;
}

static void test_put_replace_remove(void **state)
{
    (void)state;
    char key[32];
    uint32_t round;
    for (uint32_t i = 0; i < KEYS; i++)
        put(i, 1, 0);
    for (uint32_t i = 0; i < KEYS; i += 2)
        put(i, 2, 0);
    for (uint32_t i = 0; i < KEYS; i += 5)
        assert_true(cache_writer_remove(&f.writer, key, make_key(i, key)));
    for (uint32_t i = 0; i < KEYS; i++) {
        int status = get(i, &round);
        assert_status(status, i % 5 == 0 ? SP_ENOTFOUND : SP_OK);
        assert_status(sp_cache_exists(f.cache, key, make_key(i, key)), status);
        if (status == SP_OK)
            assert_int_equal(round, i % 2 == 0 ? 2 : 1);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static uint8_t value[70000], out[70000];
    size_t size;
    for (size_t bytes = 0; bytes < sizeof value; bytes = bytes * 2 + 1) {
        memset(value, (int)bytes, bytes);
        assert_ok(cache_writer_put(&f.writer, "\0k", 2, value, bytes, 0));
        assert_ok(sp_cache_get(f.cache, "\0k", 2, out, bytes, &size));
        assert_int_equal(size, bytes);
        assert_memory_equal(out, value, bytes);
        if (bytes == 0)
            continue;
        assert_status(sp_cache_get(f.cache, "\0k", 2, out, bytes - 1, &size), SP_ERANGE);
        assert_int_equal(size, bytes);
    }
    assert_ok(cache_writer_put(&f.writer, "", 0, "empty key", 9, 0));
    assert_ok(sp_cache_get(f.cache, "", 0, out, sizeof out, &size));
    assert_int_equal(size, 9);
}

static void test_expiry(void **state)
{
    (void)state;
    int64_t now = clock_wall_ms(), ms;
    uint32_t round;
    char key[32];
    put(1, 1, now + 100000);
    put(2, 1, now - 100);
    put(3, 1, 0);
    put(4, 1, 1);
    put(6, 1, CACHE_EXPIRY_MAX);
    assert_ok(get(1, &round));
    assert_status(get(2, &round), SP_ENOTFOUND);
    assert_ok(get(3, &round));
    assert_status(get(4, &round), SP_ENOTFOUND);
    assert_ok(get(6, &round));
    assert_ok(sp_cache_ttl(f.cache, key, make_key(6, key), &ms));
    assert_true(ms > CACHE_EXPIRY_MAX - now - 20000 && ms <= CACHE_EXPIRY_MAX - now + 20);
    assert_ok(sp_cache_ttl(f.cache, key, make_key(1, key), &ms));
    assert_in_range(ms, 90000, 100020);
    assert_status(sp_cache_ttl(f.cache, key, make_key(2, key), &ms), SP_ENOTFOUND);
    assert_ok(sp_cache_ttl(f.cache, key, make_key(3, key), &ms));
    assert_int_equal(ms, -1);
    assert_status(sp_cache_exists(f.cache, key, make_key(2, key)), SP_ENOTFOUND);
    struct timespec pause = {.tv_nsec = 80000000};
    put(5, 1, clock_wall_ms() + 30);
    nanosleep(&pause, NULL);
    assert_status(get(5, &round), SP_ENOTFOUND);
}

static void test_mget(void **state)
{
    (void)state;
    static char keys[70][32];
    static uint64_t out[70][VALUE_MAX / 8 + 2];
    struct sp_get gets[70];
    for (uint32_t i = 0; i < 70; i++) {
        put(i, 3, i % 7 == 1 ? 1 : 0);
        gets[i] = (struct sp_get){.key = keys[i],
                                  .key_bytes = make_key(i, keys[i]),
                                  .out = out[i],
                                  .cap = i % 7 == 2 ? 4 : sizeof out[i]};
    }
    assert_ok(sp_cache_mget(f.cache, gets, 70));
    for (uint32_t i = 0; i < 70; i++) {
        assert_status(gets[i].status, i % 7 == 1 ? SP_ENOTFOUND : i % 7 == 2 ? SP_ERANGE : SP_OK);
        if (gets[i].status == SP_OK)
            assert_true(value_is_whole(i, out[i], gets[i].size));
    }
}

/* The cache is no table for those who look at tables. */
static void test_no_table(void **state)
{
    (void)state;
    const char *names[4];
    struct sp_table *table;
    struct sp_cache *again;
    assert_status(sp_table_open(f.pond->pond, "$cache", &table), SP_ENOTABLE);
    assert_int_equal(sp_table_names(f.pond->pond, names, 4), 1);
    assert_string_equal(names[0], "people");
    assert_ok(sp_cache_open(f.pond->pond, &again));
    assert_ptr_equal(again, f.cache);
}

static void test_no_cache(void **state)
{
    struct sp_cache *cache;
    people_setup(state);
    struct pond_fixture *pond = *state;
    people_put(pond, 0, 10, 1);
    people_open(pond);
    assert_status(sp_cache_open(pond->pond, &cache), SP_ENOTABLE);
    assert_null(cache);
    people_teardown(state);
    *state = f.pond;
}

/* --- hints ------------------------------------------------------------------------------------ */

static unsigned bits_set(struct hints *hints, uint64_t bytes)
{
    static uint8_t seen[1 << 20];
    unsigned count = 0;
    hints_take(hints, 0, seen, bytes);
    for (uint64_t i = 0; i < bytes; i++)
        count += (unsigned)__builtin_popcount(seen[i]);
    return count;
}

static void test_hints(void **state)
{
    (void)state;
    const uint64_t *id = f.pond->store->region.super->id;
    struct hints hints;
    uint32_t round;
    char why[REGION_WHY_BYTES];
    for (uint32_t i = 0; i < KEYS; i++)
        put(i, 1, 0);
    assert_ok(hints_create(f.pond->directory, id, 1 << 20, -1, why));
    assert_ok(hints_create(f.pond->directory, id, 1 << 20, -1, why));
    assert_ok(hints_attach(f.pond->directory, id, &hints));
    assert_int_equal(hints_backed(&hints), 0);
    assert_ok(sp_cache_open(f.pond->pond, &f.cache)); /* finds them now */
    assert_ok(get(1, &round));
    assert_int_equal(bits_set(&hints, 1 << 20), 0);
    assert_ok(hints_grow(&hints, id, 1 << 20));
    assert_int_equal(hints_backed(&hints), 1 << 20);
    assert_ok(get(1, &round));
    assert_ok(get(1, &round));
    assert_int_equal(bits_set(&hints, 1 << 20), 1);
    assert_int_equal(bits_set(&hints, 1 << 20), 0);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_ok(get(i, &round));
    /* Each has a bit of its own, but those in overflow buckets. */
    assert_in_range(bits_set(&hints, 1 << 20), KEYS * 3 / 4, KEYS);
    hints_detach(&hints);
    const uint64_t other[2] = {1, 2};
    assert_status(hints_attach(f.pond->directory, other, &hints), SP_ENOTREADY);
}

/* --- while somebody writes -------------------------------------------------------------------- */

static _Atomic bool stop, bad;
static _Atomic uint64_t hits;

static bool batch_is_right(uint32_t from)
{
    struct cache_batch batch;
    struct cache_probe probes[CACHE_BATCH_MAX];
    static _Thread_local char keys[CACHE_BATCH_MAX][32];
    uint64_t out[VALUE_MAX / 8 + 2];
    cache_batch_begin(&batch, f.cache);
    for (uint32_t i = 0; i < CACHE_BATCH_MAX; i++)
        cache_probe_begin(&batch, &probes[i], keys[i], make_key(from + i, keys[i]));
    for (uint32_t i = 0; i < CACHE_BATCH_MAX; i++)
        cache_probe_fetch(&batch, &probes[i]);
    for (uint32_t i = 0; i < CACHE_BATCH_MAX; i++) {
        struct cache_found entry;
        int status = cache_probe_find(&batch, &probes[i]);
        size_t size = probes[i].value_bytes;
        if (status == SP_OK && size <= sizeof out) {
            cache_probe_copy(&batch, &probes[i], out, sizeof out);
            status = cache_probe_valid(&batch, &probes[i]) ? SP_OK : READ_AGAIN;
        } else if (status == SP_OK) {
            status = READ_AGAIN;
        }
        if (status == READ_AGAIN) {
            status = cache_read_again(f.cache, probes[i].key, probes[i].key_bytes, out, sizeof out,
                                      &entry);
            size = entry.value_bytes;
        }
        if (status == SP_OK ? !value_is_whole(from + i, out, size) : status != SP_ENOTFOUND)
            return false;
        if (status == SP_OK)
            cache_touch(&batch, f.cache, &probes[i]);
    }
    return true;
}

static void *reader(void *argument)
{
    uint32_t i = *(uint32_t *)argument;
    char key[32];
    uint64_t value[VALUE_MAX / 8 + 2];
    size_t size;
    while (!atomic_load(&stop)) {
        i = (i * 1103515245 + 12345) & 0x7fffffff;
        uint32_t n = i % (KEYS - CACHE_BATCH_MAX);
        int status = sp_cache_get(f.cache, key, make_key(n, key), value, sizeof value, &size);
        if (status == SP_OK ? !value_is_whole(n, value, size) : status != SP_ENOTFOUND)
            atomic_store(&bad, true);
        if (status == SP_OK)
            atomic_fetch_add(&hits, 1);
        if (i % 16 == 0 && !batch_is_right(n))
            atomic_store(&bad, true);
    }
    return NULL;
}

/* Keys below 100 are always there: they are replaced and never removed. */
static void *watcher(void *argument)
{
    (void)argument;
    uint32_t before[100] = {0}, round;
    while (!atomic_load(&stop))
        for (uint32_t i = 0; i < 100; i++) {
            char key[32];
            uint64_t value[VALUE_MAX / 8 + 2];
            size_t size;
            int status = sp_cache_get(f.cache, key, make_key(i, key), value, sizeof value, &size);
            round = status == SP_OK ? (uint32_t)value[0] : 0;
            if (status != SP_OK || !value_is_whole(i, value, size) || round < before[i])
                atomic_store(&bad, true);
            before[i] = round;
        }
    return NULL;
}

static void write_for(unsigned ms)
{
    uint64_t began = clock_ms();
    char key[32];
    uint32_t random = 1;
    for (uint32_t round = 2; clock_ms() - began < ms; round++)
        for (uint32_t n = 0; n < 500; n++) {
            random = (random * 1103515245 + 12345) & 0x7fffffff;
            uint32_t i = (random >> 8) % KEYS;
            if (i >= 100 && random % 3 == 0)
                (void)cache_writer_remove(&f.writer, key, make_key(i, key));
            else
                put(i, round, random % 5 == 0 && i >= 100 ? clock_wall_ms() - 1 : 0);
        }
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[READERS + 1];
    uint32_t seeds[READERS];
    for (uint32_t i = 0; i < 100; i++)
        put(i, 1, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        seeds[i] = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &seeds[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, watcher, NULL), 0);
    write_for(2000);
    atomic_store(&stop, true);
    for (uint32_t i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&bad));
    assert_true(atomic_load(&hits) > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_replace_remove),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_mget),
        cmocka_unit_test(test_no_table),
        cmocka_unit_test(test_no_cache),
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
