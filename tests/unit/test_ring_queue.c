/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_queue.c - Goal: a place is done when all peers that it was for have answered or are
 * known to have missed it, and not before; nobody waits for ever; what was not taken is a missed
 * slot. Method: a ring of queues without threads or sockets, with a map of three nodes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/clock.h"
#include "server/ring/internal.h"

enum { SLOTS = 16 };

struct fixture {
    struct ring *ring;
    struct peer peers[2];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct ring_node nodes[3] = {{.name = "a", .address = "h:1", .weight = 1, .start = 1},
                                 {.name = "b", .address = "h:2", .weight = 1, .start = 1},
                                 {.name = "c", .address = "h:3", .weight = 1, .start = 1}};
    const struct ring_parameters parameters = {.slots = SLOTS, .replicas = 3};
    char why[RING_WHY_BYTES];
    f->ring = calloc(1, sizeof(*f->ring));
    f->ring->options.parameters = parameters;
    atomic_store(&f->ring->ack_timeout_ms, 20);
    pthread_mutex_init(&f->ring->lock, NULL);
    assert_int_equal(ring_map_next(NULL, &parameters, nodes, 3, &f->ring->map, why), SP_OK);
    for (unsigned i = 0; i < 2; i++) {
        pthread_cond_init(&f->peers[i].wake, NULL);
        f->peers[i].reachable = true;
        f->ring->peers[i + 1] = &f->peers[i];
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        queue_free(&f->peers[i].queue);
        pthread_cond_destroy(&f->peers[i].wake);
    }
    ring_map_unref(f->ring->map);
    pthread_mutex_destroy(&f->ring->lock);
    free(f->ring);
    free(f);
    return 0;
}

static ring_place put(struct fixture *f, unsigned slot)
{
    const struct cache_copy copy = {.entry = {.key = (const uint8_t *)"key",
                                              .key_bytes = 3,
                                              .value = (const uint8_t *)"value",
                                              .value_bytes = 5,
                                              .version = 7}};
    struct ring_write *write = write_new(1, slot, &copy);
    assert_non_null(write);
    ring_place place = ring_enqueue(f->ring, slot, write);
    write_unref(write);
    return place;
}

static void check_copies(struct fixture *f, ring_place place, int status, unsigned expected)
{
    unsigned copies = 99;
    assert_int_equal(ring_copies(f->ring, place, &copies), status);
    assert_int_equal(copies, expected);
}

static void call_all(struct fixture *f, uint64_t now_ms)
{
    waiters_call(waiters_take(f->ring, now_ms));
}

static void count(void *argument)
{
    (*(int *)argument)++;
}

static void test_both_answer(void **state)
{
    struct fixture *f = *state;
    int called = 0;
    ring_place first = put(f, 3);
    ring_place second = put(f, 4);
    assert_true(second > first);
    assert_int_equal(ring_await(f->ring, second, count, &called), SP_OK);
    check_copies(f, first, SP_EBUSY, 0);
    ring_answered(f->ring, &f->peers[0], true);
    ring_answered(f->ring, &f->peers[0], true);
    call_all(f, 0);
    check_copies(f, second, SP_EBUSY, 1);
    assert_int_equal(called, 0);
    ring_answered(f->ring, &f->peers[1], true);
    check_copies(f, first, SP_OK, 2);
    check_copies(f, second, SP_EBUSY, 1);
    ring_answered(f->ring, &f->peers[1], false);
    call_all(f, 0);
    check_copies(f, second, SP_OK, 1);
    assert_int_equal(called, 1);
    assert_int_equal(ring_await(f->ring, second, count, &called), SP_OK);
    assert_int_equal(called, 2);
}

static void test_unreachable(void **state)
{
    struct fixture *f = *state;
    int called = 0;
    ring_place first = put(f, 3);
    assert_int_equal(ring_await(f->ring, first, count, &called), SP_OK);
    ring_answered(f->ring, &f->peers[0], true);
    f->peers[1].reachable = false;
    ring_abandon(f->ring, &f->peers[1]);
    call_all(f, 0);
    assert_int_equal(called, 1);
    check_copies(f, first, SP_OK, 1);
    put(f, 5);
    assert_int_equal(f->peers[0].queue.count, 1);
    assert_int_equal(f->peers[1].queue.count, 0);
    assert_true(slots_has(&f->peers[1].missed, 3) && slots_has(&f->peers[1].missed, 5));
    assert_int_equal(slots_count(&f->peers[1].missed), 2);
    assert_true(slots_none(&f->peers[0].missed));
}

static void test_nobody_waits_for_ever(void **state)
{
    struct fixture *f = *state;
    int called = 0;
    ring_place place = put(f, 3);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ring_await(f->ring, place, count, &called), SP_OK);
    call_all(f, clock_ms() - 1);
    assert_int_equal(called, 0);
    call_all(f, clock_ms() + 1000);
    assert_int_equal(called, 10);
    check_copies(f, place, SP_EBUSY, 0);
    assert_null(f->ring->waiters);
}

static void test_full_queue(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < QUEUE_MAX; i++)
        put(f, 1);
    assert_true(slots_none(&f->peers[0].missed));
    put(f, 2);
    assert_int_equal(f->peers[0].queue.count, QUEUE_MAX);
    assert_true(slots_has(&f->peers[0].missed, 2));
    assert_int_equal(slots_count(&f->peers[0].missed), 1);
}

/* A write that is stamped again keeps its place: it is not done, and those after it are not. */
static void test_front(void **state)
{
    struct fixture *f = *state;
    ring_place first = put(f, 3);
    put(f, 4);
    struct queue *queue = &f->peers[0].queue;
    struct queued item = *queue_at(queue, 0);
    write_ref(item.write);
    size_t bytes = queue->bytes;
    queue_pop(queue);
    queue_push_front(queue, &item);
    assert_int_equal(queue->count, 2);
    assert_int_equal(queue->bytes, bytes);
    assert_int_equal(queue_at(queue, 0)->place, first);
    check_copies(f, first, SP_EBUSY, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreachable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_waits_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_front, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
