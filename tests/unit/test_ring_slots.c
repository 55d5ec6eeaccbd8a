/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_slots.c - Goal: what a node trusts of its slots is what no change of the map can have
 * made old; without memory a peer is started later, and has missed everything until then, and who
 * asks gets an answer. Method: a ring without threads but those of its peers, which reach nobody,
 * and maps made by hand. Each allocation fails in turn.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/clock.h"
#include "ring_fixture.h"

enum { SLOTS = 16, TARGETED = 3, HELD = 4 };

/* --- memory (the linker's --wrap) ------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static _Atomic int until_failure; /* 0: none */

static bool fails(void)
{
    int left = atomic_load(&until_failure);
    while (left > 0)
        if (atomic_compare_exchange_weak(&until_failure, &left, left - 1))
            return left == 1;
    return false;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

/* --- a ring ----------------------------------------------------------------------------------- */

static int setup(void **state)
{
    struct ring *ring = ring_fixture_make(SLOTS);
    ring->in_zookeeper = true;
    ring->start = 7;
    *state = ring;
    return 0;
}

static int teardown(void **state)
{
    ring_fixture_free(*state);
    return 0;
}

/* Of nodes a and b, of which a is a holder of HELD, and a target of TARGETED. */
static void take_map(struct ring *ring, uint64_t epoch)
{
    const struct ring_node nodes[2] = {
        {.name = "a", .address = "127.0.0.1:1", .weight = 1, .start = 7},
        {.name = "b", .address = "127.0.0.1:1", .weight = 1, .start = 8}};
    struct ring_map *map;
    char why[RING_WHY_BYTES];
    assert_int_equal(ring_map_next(NULL, &ring->options.parameters, nodes, 2, &map, why), SP_OK);
    map->epoch = epoch;
    map->slots[TARGETED] = (struct ring_slot_copies){
        .holders = {1}, .holder_count = 1, .targets = {0, 1}, .target_count = 2};
    ring_take_map(ring, map);
    ring_map_unref(map);
}

/* --- the map ---------------------------------------------------------------------------------- */

static void trust_all(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    memset(&ring->trusted, 0xff, sizeof(ring->trusted));
    memset(&ring->round, 0xff, sizeof(ring->round));
    ring_update_held(ring);
    pthread_mutex_unlock(&ring->lock);
}

/* A target's slot is as good as it was, by the next map. */
static void test_next_map(void **state)
{
    struct ring *ring = *state;
    take_map(ring, 5);
    assert_false(slots_has(&ring->trusted, TARGETED));
    trust_all(ring);
    take_map(ring, 6);
    assert_true(slots_has(&ring->trusted, TARGETED) && slots_has(&ring->round, TARGETED));
    assert_true(ring_held_has(ring_held(ring), HELD));
    assert_false(ring_held_has(ring_held(ring), TARGETED));
}

/* It may have been another's by the one that was not seen. */
static void test_skipped_map(void **state)
{
    struct ring *ring = *state;
    take_map(ring, 5);
    trust_all(ring);
    take_map(ring, 7);
    assert_false(slots_has(&ring->trusted, TARGETED));
    assert_false(slots_has(&ring->round, TARGETED));
    assert_true(ring_held_has(ring_held(ring), HELD));
    trust_all(ring);
    take_map(ring, 6);
    assert_false(slots_has(&ring->trusted, TARGETED));
}

/* --- the end ---------------------------------------------------------------------------------- */

static unsigned count_threads(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task = readdir(tasks); task; task = readdir(tasks))
        count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* Threads of peers end when the ring does, and do not turn round until they are told to. */
static void test_stopping(void **state)
{
    struct ring *ring = *state;
    uint64_t until_ms = clock_ms() + 10000;
    unsigned before = count_threads();
    take_map(ring, 5);
    assert_int_equal(count_threads(), before + 1);
    atomic_store(&ring->stopping, true);
    while (count_threads() > before)
        assert_true(clock_ms() < until_ms);
}

/* A process that serves on without beats has not stood still. */
static void test_end_of_beats(void **state)
{
    struct ring *ring = *state;
    ring_beat(ring);
    assert_int_equal(ring->suspect_since_ms, 0);
    ring_end_beats(ring);
    ring_look(ring);
    assert_int_equal(atomic_load(&ring->beat_ms), 0);
    atomic_store(&ring->beat_ms, clock_ms() - 2 * STALL_MS);
    ring_look(ring);
    assert_int_not_equal(ring->suspect_since_ms, 0);
    take_map(ring, 5); /* which teardown takes away */
}

/* --- without memory --------------------------------------------------------------------------- */

static void test_peer_without_memory(void **state)
{
    struct ring *ring = *state;
    take_map(ring, 5);
    for (int n = 1; n <= 2; n++) {
        pthread_mutex_lock(&ring->lock);
        struct peer *peer = ring->peers[1];
        peer_end(peer);
        ring->peers[1] = NULL;
        ring->lacks_peers = true;
        pthread_mutex_unlock(&ring->lock);
        peer_free(peer);
        atomic_store(&until_failure, n);
        ring_start_lacking(ring);
        assert_int_equal(atomic_load(&until_failure), 0);
        assert_null(ring->peers[1]);
        ring_start_lacking(ring);
        assert_non_null(ring->peers[1]);
        pthread_mutex_lock(&ring->lock); /* its writer has begun */
        unsigned missed = slots_count(&ring->peers[1]->missed);
        pthread_mutex_unlock(&ring->lock);
        assert_int_equal(missed, SLOTS);
        ring_start_lacking(ring);
    }
}

static void note_answer(void *argument, const void *reply, size_t size)
{
    (void)reply;
    assert_int_equal(size, 0); /* there is nobody */
    atomic_fetch_add((_Atomic int *)argument, 1);
}

static void test_asking_without_memory(void **state)
{
    struct ring *ring = *state;
    int asked = 0;
    take_map(ring, 5);
    for (int n = 0; n < 12; n++) {
        _Atomic int answers = 0;
        uint64_t until_ms = clock_ms() + 10000;
        atomic_store(&until_failure, n);
        int status = ring_ask(ring, TARGETED, false, "x", 1, note_answer, (void *)&answers);
        assert_true(status == SP_OK || status == SP_ENOMEM || status == SP_ENOTFOUND);
        asked += status == SP_OK;
        while (status == SP_OK && atomic_load(&answers) == 0)
            assert_true(clock_ms() < until_ms);
        assert_int_equal(atomic_load(&answers), status == SP_OK);
        atomic_store(&until_failure, 0);
    }
    assert_in_range(asked, 8, 11);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_next_map),     TEST(test_skipped_map),         TEST(test_stopping),
        TEST(test_end_of_beats), TEST(test_peer_without_memory), TEST(test_asking_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
