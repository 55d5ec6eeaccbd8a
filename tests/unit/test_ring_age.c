/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_age.c - Goal: a node sees each absence that was longer than deletions are remembered,
 * knows what is from before it, and gives nothing of that, but all the rest. Method: a ring without
 * threads but those of its peer, which reach nobody, with a cache in a pond of its own, and a wall
 * clock that only the test moves.
 */
#include "alloc/clock.h"
#include "ring_fixture.h"
#include "tests/unit/store_fixture.h"

enum { SLOTS = 16, SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

/* --- the wall clock (the linker's --wrap) ----------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static _Atomic int64_t wall_ms;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return __real_clock_gettime(clock, now);
    const int64_t ms = atomic_load(&wall_ms);
    *now = (struct timespec){.tv_sec = ms / SECOND, .tv_nsec = ms % SECOND * 1000000};
    return 0;
}

static const int64_t ten_ms = INT64_C(1790000000000); /* ten o'clock, on all days here */

/* --- a ring ----------------------------------------------------------------------------------- */

struct test {
    struct fixture *f;
    struct cache *cache;
    struct ring *ring;
    struct ring_clock clock;
};

static struct ring *new_ring(struct cache *cache)
{
    struct ring *ring = ring_fixture_make(SLOTS);
    ring->cache = cache;
    ring->self = -1;
    atomic_store(&ring->clock_ahead_ms, MINUTE);
    atomic_store(&ring->tombstone_ms, HOUR);
    return ring;
}

/* A list of so many nodes; of two each has all slots. */
static void take_map(struct ring *ring, size_t count)
{
    const struct ring_node nodes[3] = {
        {.name = "a", .address = "127.0.0.1:1", .weight = 1, .start = 1},
        {.name = "b", .address = "127.0.0.1:1", .weight = 1, .start = 1},
        {.name = "c", .address = "127.0.0.1:1", .weight = 1, .start = 1}};
    struct ring_map *map;
    char why[RING_WHY_BYTES];
    assert_ok(ring_map_next(NULL, &ring->options.parameters, nodes, count, &map, why));
    ring_take_map(ring, map);
    ring_map_unref(map);
}

/* At this time. */
static void begin_of(struct test *test, int64_t now_ms, size_t nodes)
{
    const struct cache_slots_options options = {
        .slots = SLOTS, .tombstone_ms = HOUR, .clock = &test->clock, .latest_ms = now_ms + MINUTE};
    atomic_store(&wall_ms, now_ms);
    assert_ok(cache_keep_slots(test->cache, &options));
    test->ring = new_ring(test->cache);
    ring_age_begin(test->ring);
    take_map(test->ring, nodes);
}

static void begin(struct test *test, int64_t now_ms)
{
    begin_of(test, now_ms, 2);
}

static void end(struct test *test)
{
    ring_fixture_free(test->ring);
}

static int setup(void **state)
{
    const struct cache_options options = {.limit_bytes = 1 << 20};
    struct test *test = calloc(1, sizeof(*test));
    void *fixture;
    fixture_setup(&fixture);
    test->f = fixture;
    assert_ok(cache_open(test->f->store, &options, &test->cache));
    *state = test;
    return 0;
}

static int teardown(void **state)
{
    struct test *test = *state;
    end(test);
    cache_close(test->cache);
    void *fixture = test->f;
    free(test);
    return fixture_teardown(&fixture);
}

/* All slots are current, or but the first `lacking` of them. */
static void trust(struct ring *ring, unsigned lacking)
{
    pthread_mutex_lock(&ring->lock);
    memset(&ring->trusted, 0xff, sizeof(ring->trusted));
    for (unsigned slot = 0; slot < lacking; slot++)
        slots_remove(&ring->trusted, slot);
    pthread_mutex_unlock(&ring->lock);
}

/* As if others had said that they have lived on, and what was here had been dropped. */
static void judge(struct ring *ring)
{
    const struct slots none = {0};
    pthread_mutex_lock(&ring->lock);
    memset(&ring->aged, 0, sizeof(ring->aged));
    ring_age_update(ring, &none);
    pthread_mutex_unlock(&ring->lock);
}

static void tick_at(struct ring *ring, int64_t now_ms)
{
    atomic_store(&wall_ms, now_ms);
    ring_age_tick(ring);
}

static bool gives(struct ring *ring, unsigned slot)
{
    struct slots slots = {0};
    slots_add(&slots, slot);
    return ring_gives(ring, slots.words);
}

static bool is_aged(const struct ring *ring, int64_t version_ms)
{
    return ring_clock_of(version_ms) <= ring->aged_version;
}

/* It begins, and is whole at ten o'clock. */
static struct ring *begin_whole(struct test *test)
{
    begin(test, ten_ms - MINUTE);
    trust(test->ring, 0);
    tick_at(test->ring, ten_ms);
    return test->ring;
}

/* --- when it was away ------------------------------------------------------------------------- */

/* Its first start counts as a time when it was whole, for it had nothing. */
static void test_never_whole(void **state)
{
    struct test *test = *state;
    begin(test, ten_ms);
    assert_true(gives(test->ring, 0));
    end(test);
    begin(test, ten_ms + HOUR + SECOND);
    assert_false(gives(test->ring, 0));
}

/* Whole until ten, it took writes until it was killed at an unknown time. */
static void test_before_the_start(void **state)
{
    struct test *test = *state;
    begin_whole(test);
    end(test);
    begin(test, ten_ms + 100 * MINUTE);
    assert_false(gives(test->ring, 0));
    assert_true(is_aged(test->ring, ten_ms + 20 * MINUTE));
    assert_true(is_aged(test->ring, ten_ms + 100 * MINUTE));
    assert_false(is_aged(test->ring, ten_ms + 101 * MINUTE));
}

/* What came while it was there is from before, what came afterwards is not. */
static void test_suspended(void **state)
{
    struct test *test = *state;
    struct ring *ring = begin_whole(test);
    trust(ring, 1);
    tick_at(ring, ten_ms + 20 * MINUTE);
    tick_at(ring, ten_ms + 100 * MINUTE);
    assert_false(gives(ring, 0) || gives(ring, SLOTS - 1));
    assert_true(is_aged(ring, ten_ms + 20 * MINUTE));
    assert_false(is_aged(ring, ten_ms + 22 * MINUTE));
}

/* Before it was whole again. */
static void test_suspended_twice(void **state)
{
    struct test *test = *state;
    struct ring *ring = begin_whole(test);
    tick_at(ring, ten_ms + 2 * HOUR);
    assert_false(gives(ring, 0));
    judge(ring);
    trust(ring, 1);
    for (int64_t at_ms = 2 * HOUR; at_ms < 3 * HOUR + MINUTE; at_ms += MINUTE) {
        tick_at(ring, ten_ms + at_ms);
        assert_true(gives(ring, 0));
    }
    tick_at(ring, ten_ms + 5 * HOUR);
    assert_false(gives(ring, 0) || gives(ring, SLOTS - 1));
    assert_true(is_aged(ring, ten_ms + 3 * HOUR));
    assert_false(is_aged(ring, ten_ms + 4 * HOUR));
}

/* It may go on serving, but what others delete does not come any more. */
static void test_left(void **state)
{
    struct test *test = *state;
    struct cache_life life;
    begin_whole(test);
    atomic_store(&test->ring->left, true);
    tick_at(test->ring, ten_ms + MINUTE);
    cache_life(test->cache, &life);
    assert_int_equal(life.whole_ms, ten_ms);
}

/* --- slots of others -------------------------------------------------------------------------- */

/* A key of a slot that is not this node's, with an entry of that time; returns the slot. */
static unsigned put_foreign(struct test *test, int64_t at_ms)
{
    struct ring *ring = test->ring;
    uint64_t current;
    char key[16];
    unsigned slot = 0;
    for (unsigned i = 0; i == 0 || ring_held_has(&ring->mine, slot); i++) {
        snprintf(key, sizeof(key), "key%u", i);
        slot = ring_slot_of(ring, key, strlen(key));
    }
    const struct cache_stamped stamped = {.hash = cache_hash(test->cache, key, strlen(key)),
                                          .version = ring_clock_of(at_ms),
                                          .key = key,
                                          .value = "old",
                                          .key_bytes = strlen(key),
                                          .value_bytes = 3};
    cache_lock(test->cache, at_ms);
    assert_ok(cache_apply(test->cache, &stamped, NULL, &current));
    cache_unlock(test->cache);
    return slot;
}

/* What was deleted at the others would come back if it were sent there. */
static void test_slots_of_others(void **state)
{
    struct test *test = *state;
    begin_of(test, ten_ms, 3);
    struct ring *ring = test->ring;
    const unsigned slot = put_foreign(test, ten_ms);
    tick_at(ring, ten_ms + 2 * HOUR);
    assert_false(gives(ring, slot));
    ring_age_judge(ring); /* nobody answers */
    pthread_mutex_lock(&ring->lock);
    for (unsigned other = 0; other < RING_SLOTS_MAX; other++) {
        const bool mine = other < SLOTS && ring_held_has(&ring->mine, other);
        assert_int_equal(slots_has(&ring->aged, other), mine || other == slot);
        if (mine)
            slots_remove(&ring->aged, other);
    }
    const struct slots none = {0};
    ring_age_update(ring, &none);
    pthread_mutex_unlock(&ring->lock);
    assert_false(gives(ring, slot));
    assert_true(atomic_load(&ring->aging));
}

/* --- not whole -------------------------------------------------------------------------------- */

static void test_not_whole(void **state)
{
    struct test *test = *state;
    struct ring *ring = begin_whole(test);
    const int64_t since_ms = ring_since(ring);
    assert_int_not_equal(since_ms, 0);
    trust(ring, 2);
    for (int64_t at_ms = 0; at_ms <= HOUR; at_ms += MINUTE)
        tick_at(ring, ten_ms + at_ms);
    assert_true(gives(ring, 0));
    tick_at(ring, ten_ms + HOUR + MINUTE);
    assert_false(gives(ring, 0) || gives(ring, 1));
    assert_true(gives(ring, 2)); /* which is current */
    assert_int_equal(ring_since(ring), 0);
    assert_true(is_aged(ring, ten_ms));
    assert_false(is_aged(ring, ten_ms + 2 * MINUTE));
    judge(ring);
    tick_at(ring, ten_ms + HOUR + 2 * MINUTE);
    assert_true(gives(ring, 0));
    assert_int_equal(ring_since(ring), 0);
    trust(ring, 0);
    tick_at(ring, ten_ms + HOUR + 3 * MINUTE);
    assert_int_equal(ring_since(ring), since_ms); /* the ring has not begun anew by that */
    tick_at(ring, ten_ms + 3 * HOUR);             /* and away */
    assert_false(gives(ring, 0) || gives(ring, 2));
    assert_int_equal(ring_since(ring), 0);
    assert_true(is_aged(ring, ten_ms + HOUR + 2 * MINUTE));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_never_whole), TEST(test_before_the_start),
        TEST(test_suspended),   TEST(test_suspended_twice),
        TEST(test_left),        TEST(test_slots_of_others),
        TEST(test_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
