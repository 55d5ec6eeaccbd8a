/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_evict.c - who goes when the cache is full.
 *
 * Goal: the states of all slots add up whatever happens; what is used outlives any scan, what comes
 * back after it was evicted is kept, and readers that touch everything stop nobody's write. Method:
 * a small cache whose slots are looked at one by one; uses are bits that are set as readers set
 * them.
 */
#include "tests/unit/store_fixture.h"

#include <pthread.h>

#include "server/store/cache_internal.h"

#define NOW_MS      INT64_C(1800000000000)
#define LIMIT       (UINT64_C(1) << 20)
#define VALUE_BYTES 100u
#define FITS        6000u /* about so many entries are in the cache when it is full */

struct test {
    struct fixture *f;
    struct cache *cache;
    uint64_t evicted;
};

static void count_evicted(void *context, enum cache_gone why, const void *key, size_t key_bytes)
{
    assert_non_null(key);
    assert_true(key_bytes > 0);
    ((struct test *)context)->evicted += why == CACHE_EVICTED;
}

static void open_cache(struct test *t)
{
    struct cache_options options = {
        .limit_bytes = LIMIT, .evict = true, .on_gone = count_evicted, .context = t};
    assert_ok(cache_open(t->f->store, &options, &t->cache));
    cache_lock(t->cache, NOW_MS);
}

static void close_cache(struct test *t)
{
    cache_unlock(t->cache);
    cache_close(t->cache);
}

struct key {
    char text[24];
    size_t bytes;
    uint64_t hash;
};

static struct key key_of(const struct test *t, uint64_t number)
{
    struct key key;
    key.bytes =
        (size_t)snprintf(key.text, sizeof(key.text), "entry:%016llu", (unsigned long long)number);
    key.hash = cache_hash(t->cache, key.text, key.bytes);
    return key;
}

static void put(struct test *t, uint64_t number)
{
    static const char value[VALUE_BYTES];
    struct key key = key_of(t, number);
    assert_ok(
        cache_put(t->cache, key.hash, key.text, key.bytes, value, sizeof(value), CACHE_NO_EXPIRY));
}

static bool find(struct test *t, uint64_t number, struct place *place)
{
    struct key key = key_of(t, number);
    return index_find(cache_index(t->cache), key.hash, key.text, key.bytes, place);
}

static void use(struct test *t, uint64_t number)
{
    struct place place;
    assert_true(find(t, number, &place));
    cache_use_set(t->cache, cursor_prefix(key_of(t, number).hash), &place);
}

static unsigned state_of(struct test *t, uint64_t number)
{
    struct place place;
    assert_true(find(t, number, &place));
    return note_state(*place.note, place.number);
}

/* Every slot has a state that fits it, and those on probation are as many as counted. */
static void check_states(const struct test *t)
{
    uint64_t prefix = 0, probation = 0, entries = 0;
    while (prefix < CURSOR_PREFIX_END) {
        struct segment_ref segment = cache_segment_at(t->cache, prefix, &prefix);
        const uint32_t *notes = segment_notes(segment.buckets, segment.bucket_count);
        for (unsigned b = 0; b < segment.bucket_count; b++) {
            for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
                bool there = atomic_load(&segment.buckets[b].slots[s]) != 0;
                assert_true(there || note_state(notes[b], s) == NOTE_NO_ENTRY);
                probation += there && note_state(notes[b], s) == NOTE_PROBATION;
                entries += there;
            }
        }
    }
    assert_int_equal(probation, t->cache->probation);
    assert_int_equal(entries, cache_entries(t->cache));
}

/* --- tests ------------------------------------------------------------------------------------ */

static void states_add_up(void **state)
{
    struct test t = {.f = *state};
    struct kit_random random = {kit_seed("test_cache_evict")};
    struct place place;
    open_cache(&t);
    for (unsigned step = 1; step <= 60000; step++) {
        uint64_t number = kit_below(&random, kit_below(&random, 2) ? 2000 : 20000);
        unsigned what = (unsigned)kit_below(&random, 10);
        struct key key = key_of(&t, number);
        if (what < 6)
            put(&t, number);
        else if (what < 9 && find(&t, number, &place))
            use(&t, number);
        else
            cache_delete(t.cache, key.hash, key.text, key.bytes);
        if (step % 5000 == 0)
            check_states(&t);
    }
    assert_true(t.evicted > 5000);
    /* one in ten, and those that came since the last one went */
    assert_true(t.cache->probation <= cache_entries(t.cache) / 10 + 100);
    close_cache(&t);
    fixture_close(t.f);
    fixture_open(t.f);
    open_cache(&t);
    assert_int_equal(t.cache->probation, 0);
    check_states(&t);
    assert_ok(cache_flush(t.cache));
    check_states(&t);
    close_cache(&t);
}

static void what_is_used_outlives_a_scan(void **state)
{
    struct test t = {.f = *state};
    const uint64_t used = FITS / 2;
    struct place place;
    open_cache(&t);
    for (uint64_t round = 0; round < 4; round++) {
        for (uint64_t i = 0; i < used; i++) {
            if (!find(&t, i, &place))
                put(&t, i);
            use(&t, i);
        }
        for (uint64_t i = 0; i < FITS; i++)
            put(&t, 1000000 + round * FITS + i);
    }
    for (uint64_t i = 0; i < 20 * FITS; i++) /* twenty times what fits, each once */
        put(&t, 2000000 + i);
    uint64_t left = 0;
    for (uint64_t i = 0; i < used; i++)
        left += find(&t, i, &place);
    assert_true(left >= used * 99 / 100);
    close_cache(&t);
}

static void what_comes_back_is_kept(void **state)
{
    struct test t = {.f = *state};
    struct place place;
    uint64_t back = 0;
    open_cache(&t);
    for (uint64_t i = 0; i < 2 * FITS; i++)
        put(&t, i);
    while (find(&t, back, &place)) /* the first that has been evicted */
        back++;
    put(&t, back);
    assert_int_equal(state_of(&t, back), NOTE_MAIN);
    put(&t, 3 * FITS);
    assert_int_equal(state_of(&t, 3 * FITS), NOTE_PROBATION);
    close_cache(&t);
}

/* Entries that come later than the table of those that went is large are not known to it. */
static void ghosts_are_few(void **state)
{
    struct ghosts ghosts = {0};
    (void)state;
    assert_false(ghosts_take(&ghosts, 1));
    ghosts_fit(&ghosts, 1000);
    for (uint64_t i = 0; i < 100000; i++)
        ghosts_add(&ghosts, kit_mix(i));
    uint64_t known = 0, early = 0;
    for (uint64_t i = 0; i < 100000; i++)
        *(i < 90000 ? &early : &known) += ghosts_take(&ghosts, kit_mix(i));
    assert_true(early < 500);                  /* marks that look the same */
    assert_true(known > 700 && known <= 1008); /* of about a thousand that there is room for */
    const uint16_t *before = ghosts.marks;
    ghosts_fit(&ghosts, 1900);
    assert_ptr_equal(ghosts.marks, before);
    ghosts_fit(&ghosts, 4000);
    assert_true(ghosts.lines >= 500);
    ghosts_free(&ghosts);
}

struct toucher {
    _Atomic uint8_t *touched;
    uint64_t places;
    atomic_bool stop;
};

static void *touch_all(void *argument)
{
    struct toucher *toucher = argument;
    while (!atomic_load_explicit(&toucher->stop, memory_order_relaxed)) {
        for (uint64_t b = 0; b < toucher->places; b++)
            atomic_store_explicit(&toucher->touched[b], UINT8_MAX, memory_order_relaxed);
    }
    return NULL;
}

/* A thread touches all slots, over and over, and the hands' visits come to nothing. */
static void touching_everything_stops_nobody(void **state)
{
    struct test t = {.f = *state};
    struct toucher toucher = {.stop = false};
    pthread_t thread;
    open_cache(&t);
    for (uint64_t i = 0; i < 2 * FITS; i++)
        put(&t, i);
    toucher.touched = cache_touched(t.cache, &toucher.places);
    uint64_t evicted = t.evicted;
    assert_int_equal(pthread_create(&thread, NULL, touch_all, &toucher), 0);
    for (uint64_t i = 0; i < 2000; i++)
        put(&t, 3 * FITS + i);
    atomic_store(&toucher.stop, true);
    pthread_join(thread, NULL);
    assert_true(t.evicted - evicted >= 1900);
    check_states(&t);
    close_cache(&t);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(states_add_up),
        TEST(what_is_used_outlives_a_scan),
        TEST(what_comes_back_is_kept),
        cmocka_unit_test(ghosts_are_few),
        TEST(touching_everything_stops_nobody),
    };
    return cmocka_run_group_tests_name("cache_evict", tests, NULL, NULL);
}
