/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache.c - the cache's writer side.
 *
 * Goal: what was written is found until it is deleted, replaced, expired, evicted or flushed, also
 * after the store was closed and recovered; limits hold; a walk misses nothing that stays.
 * Method: the clock is a number of the test. Keys and values follow from numbers, so that each
 * value proves itself. After each test the fixture recovers the pond and checks every unit of it.
 */
#include "tests/unit/store_fixture.h"

#include "alloc/clock.h"
#include "server/store/cache.h"

#define NOW_MS INT64_C(1800000000000)

struct test {
    struct fixture *f;
    struct cache *cache;
    int64_t now_ms;
    uint64_t gone[2];
};

static void count_gone(void *context, enum cache_gone why, const void *key, size_t key_bytes)
{
    struct test *t = context;
    assert_non_null(key);
    assert_true(key_bytes > 0);
    t->gone[why]++;
}

static void open_cache(struct test *t, uint64_t limit_bytes, bool evict)
{
    struct cache_options options = {
        .limit_bytes = limit_bytes, .evict = evict, .on_gone = count_gone, .context = t};
    assert_ok(cache_open(t->f->store, &options, &t->cache));
}

static struct test begin(void **state)
{
    return (struct test){.f = *state, .now_ms = NOW_MS};
}

static void reopen(struct test *t, uint64_t limit_bytes)
{
    cache_close(t->cache);
    fixture_close(t->f);
    fixture_open(t->f);
    assert_int_equal(t->f->opened.origin, STORE_RECOVERED);
    assert_int_equal(t->f->opened.dropped_corrupt, 0);
    open_cache(t, limit_bytes, true);
}

/* --- keys and values of numbers --------------------------------------------------------------- */

#define KEY_MAX   64
#define VALUE_MAX 3000

static size_t make_key(uint64_t number, char *out)
{
    return (size_t)snprintf(out, KEY_MAX, "key:%llu%s", (unsigned long long)number,
                            number % 5 == 0 ? ":which is longer than the short ones are" : "");
}

static uint64_t number_of(const struct cache_entry *entry)
{
    char text[24] = "";
    size_t bytes = entry->key_bytes - 4 < sizeof(text) ? entry->key_bytes - 4 : sizeof(text) - 1;
    memcpy(text, entry->key + 4, bytes);
    return strtoull(text, NULL, 10);
}

static size_t value_size(uint64_t number, uint64_t state)
{
    return kit_mix(number * 31 + state) % (number % 7 ? 200 : VALUE_MAX);
}

static void make_value(uint64_t number, uint64_t state, uint8_t *out)
{
    for (size_t i = 0; i < value_size(number, state); i++)
        out[i] = (uint8_t)(number * 7 + state * 13 + i);
}

static int put(struct test *t, uint64_t number, uint64_t state, int64_t expiry_ms)
{
    char key[KEY_MAX];
    uint8_t value[VALUE_MAX];
    size_t key_bytes = make_key(number, key);
    make_value(number, state, value);
    cache_lock(t->cache, t->now_ms);
    int status = cache_put(t->cache, cache_hash(t->cache, key, key_bytes), key, key_bytes, value,
                           value_size(number, state), expiry_ms);
    cache_unlock(t->cache);
    return status;
}

static bool erase(struct test *t, uint64_t number)
{
    char key[KEY_MAX];
    size_t key_bytes = make_key(number, key);
    cache_lock(t->cache, t->now_ms);
    bool there = cache_delete(t->cache, cache_hash(t->cache, key, key_bytes), key, key_bytes);
    cache_unlock(t->cache);
    return there;
}

/* Whether the key is there; if so, it has this state and expiry. */
static bool has(struct test *t, uint64_t number, uint64_t state, int64_t expiry_ms)
{
    char key[KEY_MAX];
    uint8_t value[VALUE_MAX];
    struct cache_entry entry;
    size_t key_bytes = make_key(number, key);
    make_value(number, state, value);
    cache_lock(t->cache, t->now_ms);
    bool there = cache_find(t->cache, cache_hash(t->cache, key, key_bytes), key, key_bytes, &entry);
    if (there) {
        assert_int_equal(entry.value_bytes, value_size(number, state));
        assert_memory_equal(entry.value, value, entry.value_bytes);
        assert_int_equal(entry.expiry_ms, expiry_ms);
        assert_int_equal(entry.key_bytes, key_bytes);
    }
    cache_unlock(t->cache);
    return there;
}

static struct cache_info info(struct test *t)
{
    struct cache_info out;
    cache_info(t->cache, &out);
    return out;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void writes_and_finds(void **state)
{
    struct test t = begin(state);
    open_cache(&t, 8 << 20, true);
    assert_false(has(&t, 1, 1, 0));
    assert_ok(put(&t, 1, 1, CACHE_NO_EXPIRY));
    assert_true(has(&t, 1, 1, CACHE_NO_EXPIRY));
    assert_ok(put(&t, 1, 2, NOW_MS + 5000));
    assert_true(has(&t, 1, 2, NOW_MS + 5000));
    assert_int_equal(cache_entries(t.cache), 1);
    assert_int_equal(info(&t).expiring, 1);
    reopen(&t, 8 << 20);
    assert_int_equal(info(&t).expiring, 1);
    assert_true(has(&t, 1, 2, NOW_MS + 5000));
    assert_true(erase(&t, 1));
    assert_false(erase(&t, 1));
    assert_false(has(&t, 1, 2, 0));
    assert_int_equal(cache_entries(t.cache), 0);
    assert_int_equal(info(&t).expiring, 0);
    assert_int_equal(info(&t).bytes, 0);
    cache_close(t.cache);
}

static void versions_grow(void **state)
{
    struct test t = begin(state);
    struct cache_entry entry;
    uint64_t last = 0;
    char key[KEY_MAX];
    size_t key_bytes = make_key(1, key);
    open_cache(&t, 8 << 20, true);
    for (unsigned i = 0; i < 20; i++) {
        t.now_ms += i < 10 ? 1 : -1000; /* also when the clock goes back, or the daemon restarts */
        if (i == 15)
            reopen(&t, 8 << 20);
        assert_ok(put(&t, 1, i, CACHE_NO_EXPIRY));
        cache_lock(t.cache, t.now_ms);
        assert_true(
            cache_find(t.cache, cache_hash(t.cache, key, key_bytes), key, key_bytes, &entry));
        assert_true(entry.version > last);
        last = entry.version;
        cache_unlock(t.cache);
    }
    cache_close(t.cache);
}

static void refuses_what_is_too_large(void **state)
{
    struct test t = begin(state);
    struct cache_write write;
    open_cache(&t, 8 << 20, true);
    cache_lock(t.cache, t.now_ms);
    char *key = calloc(1, CACHE_KEY_MAX + 1);
    assert_status(cache_write_begin(t.cache, 1, key, CACHE_KEY_MAX + 1, 1, NULL, &write),
                  SP_ETOOBIG);
    assert_status(cache_write_begin(t.cache, 1, key, 10, (size_t)CACHE_VALUE_MAX + 1, NULL, &write),
                  SP_ETOOBIG);
    assert_status(cache_write_begin(t.cache, 1, key, 10, 9 << 20, NULL, &write), SP_ENOSPC);
    assert_ok(cache_put(t.cache, cache_hash(t.cache, key, CACHE_KEY_MAX), key, CACHE_KEY_MAX, "v",
                        1, CACHE_NO_EXPIRY));
    assert_ok(cache_put(t.cache, cache_hash(t.cache, "", 0), "", 0, "", 0, CACHE_NO_EXPIRY));
    struct cache_entry entry;
    assert_true(cache_find(t.cache, cache_hash(t.cache, "", 0), "", 0, &entry));
    assert_int_equal(entry.value_bytes, 0);
    free(key);
    cache_unlock(t.cache);
    cache_close(t.cache);
}

/* Random operations beside an array. */
#define NUMBERS 4000u

struct model {
    uint64_t state; /* 0: absent */
    int64_t expiry_ms;
};

static bool model_has(const struct test *t, const struct model *m)
{
    return m->state != 0 && (m->expiry_ms == 0 || m->expiry_ms > t->now_ms);
}

static void check_all(struct test *t, const struct model *model)
{
    for (uint64_t i = 0; i < NUMBERS; i++)
        assert_int_equal(has(t, i, model[i].state, model[i].expiry_ms), model_has(t, &model[i]));
}

static int64_t random_expiry(struct kit_random *random, int64_t now_ms)
{
    switch (kit_below(random, 4)) {
    case 0:
        return CACHE_NO_EXPIRY;
    case 1:
        return now_ms + 1 + (int64_t)kit_below(random, 5000);
    case 2:
        return now_ms + (int64_t)kit_below(random, 100000000); /* more than a day */
    default:
        return now_ms + 1 + (int64_t)kit_below(random, 60000);
    }
}

static void agrees_with_an_array(void **state)
{
    struct test t = begin(state);
    struct kit_random random = {kit_seed("test_cache")};
    static struct model model[NUMBERS];
    memset(model, 0, sizeof(model));
    open_cache(&t, 24 << 20, true);
    for (uint64_t step = 1; step <= 60000; step++) {
        uint64_t number = kit_below(&random, NUMBERS);
        struct model *m = &model[number];
        uint64_t what = kit_below(&random, 100);
        if (what < 60) {
            *m = (struct model){step, random_expiry(&random, t.now_ms)};
            assert_ok(put(&t, number, step, m->expiry_ms));
        } else if (what < 80) {
            assert_int_equal(erase(&t, number), model_has(&t, m));
            m->state = 0;
        } else {
            assert_int_equal(has(&t, number, m->state, m->expiry_ms), model_has(&t, m));
        }
        if (step % 100 == 0) {
            t.now_ms += (int64_t)kit_below(&random, 2000);
            cache_tick(t.cache, t.now_ms);
        }
        if (step % 20000 == 0) {
            check_all(&t, model);
            t.now_ms += 7200000;
            reopen(&t, 24 << 20);
            check_all(&t, model);
        }
    }
    assert_int_equal(t.gone[CACHE_EVICTED], 0);
    cache_close(t.cache);
}

/* What is due goes within a quarter of a second, and nothing else does. */
static void expires_in_time(void **state)
{
    struct test t = begin(state);
    const uint64_t count = 30000;
    uint64_t live = count;
    open_cache(&t, 40 << 20, true);
    for (uint64_t i = 0; i < count; i++)
        assert_ok(put(&t, i * 7 + 1, 1, NOW_MS + 1 + (int64_t)(i % 3000) * (i % 2 ? 10 : 10000)));
    cache_tick(t.cache, t.now_ms);
    assert_int_equal(cache_entries(t.cache), count);
    while (live > 0) {
        uint64_t due = 0;
        t.now_ms += live > count / 2 ? 400 : 1000000;
        for (uint64_t i = 0; i < count; i++)
            due += NOW_MS + 1 + (int64_t)(i % 3000) * (i % 2 ? 10 : 10000) <= t.now_ms - 250;
        cache_tick(t.cache, t.now_ms);
        live = cache_entries(t.cache);
        assert_int_equal(info(&t).expiring, live); /* every one has an expiry */
        assert_true(live <= count - due);
        for (uint64_t i = 0; i < count; i += 997)
            assert_int_equal(
                has(&t, i * 7 + 1, 1, NOW_MS + 1 + (int64_t)(i % 3000) * (i % 2 ? 10 : 10000)),
                NOW_MS + 1 + (int64_t)(i % 3000) * (i % 2 ? 10 : 10000) > t.now_ms);
    }
    assert_int_equal(t.gone[CACHE_EXPIRED], count);
    assert_int_equal(info(&t).bytes, 0);
    cache_close(t.cache);
}

static void evicts_within_its_share(void **state)
{
    struct test t = begin(state);
    const uint64_t limit = 2 << 20;
    open_cache(&t, limit, true);
    for (uint64_t i = 0; i < 30000; i++) {
        assert_ok(put(&t, i, 1, CACHE_NO_EXPIRY));
        assert_true(has(&t, i, 1, CACHE_NO_EXPIRY));
        if (i % 1000 == 0)
            assert_true(info(&t).memory_bytes <= limit + 65536);
    }
    struct cache_info after = info(&t);
    assert_true(after.evicted > 10000);
    assert_int_equal(after.evicted, t.gone[CACHE_EVICTED]);
    assert_int_equal(after.entries + after.evicted, 30000);
    assert_true(after.memory_bytes > limit * 9 / 10);
    cache_close(t.cache);
}

/* A pond of another size takes the cache along, as far as it may. */
static void outlives_another_size(void **state)
{
    struct test t = begin(state);
    const int64_t later = clock_wall_ms() + NOW_MS; /* for this clock and the test's */
    const uint64_t limits[] = {UINT64_C(64) << 20, 1 << 20, 0};
    open_cache(&t, 16 << 20, true);
    for (uint64_t i = 0; i < 5000; i++)
        assert_ok(put(&t, i, 1, i % 10 == 0 ? 1 : i % 3 == 0 ? later : CACHE_NO_EXPIRY));
    for (unsigned n = 0; n < 3; n++) {
        uint64_t found = 0;
        cache_close(t.cache);
        fixture_close(t.f);
        t.f->options.limit_bytes = (uint64_t)(32 + 8 * n) << 20;
        t.f->options.cache_bytes = limits[n];
        fixture_open(t.f);
        assert_int_equal(t.f->opened.origin, STORE_REPLACED);
        open_cache(&t, 16 << 20, true);
        for (uint64_t i = 0; i < 5000; i++)
            found += has(&t, i, 1, i % 3 == 0 ? later : CACHE_NO_EXPIRY);
        assert_int_equal(found, info(&t).entries);
        if (n == 0)
            assert_int_equal(found, 4500); /* all that have not expired */
        else if (n == 1)
            assert_in_range(info(&t).memory_bytes, 900000, 1 << 20);
        else
            assert_int_equal(found, 0);
    }
    cache_close(t.cache);
}

static void refuses_when_it_may_not_evict(void **state)
{
    struct test t = begin(state);
    uint64_t number = 0;
    int status = SP_OK;
    open_cache(&t, 1 << 20, false);
    while (status == SP_OK && number < 100000)
        status = put(&t, number++, 1, CACHE_NO_EXPIRY);
    assert_status(status, SP_ENOSPC);
    for (uint64_t i = 0; i + 1 < number; i++)
        assert_true(has(&t, i, 1, CACHE_NO_EXPIRY));
    assert_true(erase(&t, 0));
    assert_true(erase(&t, 7));
    assert_ok(put(&t, 1, 1, CACHE_NO_EXPIRY));
    assert_true(info(&t).refused > 0);
    cache_close(t.cache);
}

/* A write that needs an old entry does not evict it, however full the cache is. */
static void keeps_what_a_write_needs(void **state)
{
    struct test t = begin(state);
    char key[KEY_MAX];
    size_t key_bytes = make_key(3, key);
    open_cache(&t, 1 << 20, true);
    for (uint64_t i = 0; i < 20000; i++)
        assert_ok(put(&t, i, 1, CACHE_NO_EXPIRY));
    assert_ok(put(&t, 3, 9, CACHE_NO_EXPIRY));
    cache_lock(t.cache, t.now_ms);
    struct cache_entry entry;
    struct cache_write write;
    uint64_t hash = cache_hash(t.cache, key, key_bytes);
    assert_true(cache_find(t.cache, hash, key, key_bytes, &entry));
    size_t half = (1 << 20) * 9 / 10;
    assert_ok(cache_write_begin(t.cache, hash, key, key_bytes, half, &entry, &write));
    memset(write.value, 'x', half);
    memcpy(write.value, entry.value, entry.value_bytes);
    assert_ok(cache_write_end(t.cache, &write, CACHE_NO_EXPIRY));
    assert_true(cache_find(t.cache, hash, key, key_bytes, &entry));
    uint8_t value[VALUE_MAX];
    make_value(3, 9, value);
    assert_memory_equal(entry.value, value, value_size(3, 9));
    cache_unlock(t.cache);
    cache_close(t.cache);
}

/* --- walks ------------------------------------------------------------------------------------ */

struct walk {
    uint8_t *seen;
    uint64_t count, visited;
};

static void visit(void *context, const struct cache_entry *entry)
{
    struct walk *walk = context;
    uint64_t number = number_of(entry);
    walk->visited++;
    if (number < walk->count)
        walk->seen[number] = 1;
}

/* All that is there from the start to the end is visited, though the index grows many times over
 * meanwhile; and a walk over what does not change visits each once. */
static void scan_misses_nothing(void **state)
{
    struct test t = begin(state);
    struct walk walk = {calloc(1, 20000), 20000, 0};
    uint64_t cursor = 0, more = 20000;
    open_cache(&t, 44 << 20, true);
    for (uint64_t i = 0; i < walk.count; i++)
        assert_ok(put(&t, i, 1, CACHE_NO_EXPIRY));
    do {
        cache_lock(t.cache, t.now_ms);
        cursor = cache_scan(t.cache, cursor, 10, visit, &walk);
        cache_unlock(t.cache);
        for (unsigned i = 0; i < 20 && more < 60000; i++, more++)
            assert_ok(put(&t, more, 1, CACHE_NO_EXPIRY));
    } while (cursor != 0);
    for (uint64_t i = 0; i < walk.count; i++)
        assert_int_equal(walk.seen[i], 1);
    walk.visited = 0;
    do {
        cache_lock(t.cache, t.now_ms);
        cursor = cache_scan(t.cache, cursor, 1000, visit, &walk);
        cache_unlock(t.cache);
    } while (cursor != 0);
    assert_int_equal(walk.visited, cache_entries(t.cache));
    free(walk.seen);
    cache_close(t.cache);
}

static void random_entries_are_spread(void **state)
{
    struct test t = begin(state);
    struct kit_random random = {kit_seed("test_cache")};
    struct cache_entry entry;
    unsigned found[100] = {0};
    open_cache(&t, 8 << 20, true);
    cache_lock(t.cache, t.now_ms);
    assert_false(cache_random(t.cache, 1, &entry));
    cache_unlock(t.cache);
    for (uint64_t i = 0; i < 100; i++)
        assert_ok(put(&t, i, 1, CACHE_NO_EXPIRY));
    for (unsigned i = 0; i < 20000; i++) {
        cache_lock(t.cache, t.now_ms);
        assert_true(cache_random(t.cache, kit_random(&random), &entry));
        found[number_of(&entry)]++;
        cache_unlock(t.cache);
    }
    for (unsigned i = 0; i < 100; i++)
        assert_true(found[i] > 0);
    cache_close(t.cache);
}

static void flush_takes_all_out(void **state)
{
    struct test t = begin(state);
    open_cache(&t, 16 << 20, true);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 5000; i++)
            assert_ok(put(&t, i, round, NOW_MS + 100000));
        cache_lock(t.cache, t.now_ms);
        assert_ok(cache_flush(t.cache));
        cache_unlock(t.cache);
        assert_int_equal(cache_entries(t.cache), 0);
        for (uint64_t i = 0; i < 5000; i += 50)
            assert_false(has(&t, i, round, 0));
    }
    cache_close(t.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_and_finds, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(versions_grow, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_too_large, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(agrees_with_an_array, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(expires_in_time, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(evicts_within_its_share, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(outlives_another_size, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(refuses_when_it_may_not_evict, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(keeps_what_a_write_needs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(scan_misses_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(random_entries_are_spread, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(flush_takes_all_out, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
