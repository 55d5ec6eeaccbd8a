/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_wire.c - what the ring's client says to nodes that are sidepondd, and makes of what
 * they say.
 *
 * Goal: writes are stamped, later than what a node knows, and have one version and expiry on all
 * nodes; what a node missed is told to the others, and it is not read from until they are content;
 * refused reads go to the next copy; a later map is fetched; what must not be done twice is not.
 * Method: two false nodes (ring_fake.c) that refuse at will and count what they are asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "client/ring/clock.h"
#include "client/ring/slot.h"
#include "tests/system/ring_fake.h"
#include "tests/system/ring_servers.h"

#define K(text)   (text), (sizeof(text) - 1)
#define WITHIN_MS 5000u
#define FEW_SLOTS 16u

struct two {
    struct fake_node nodes[2];
    char list[128];
    struct sp_ring *ring;
};

static int begin_with(void **state, uint16_t slots, uint32_t timeout_ms, bool redis)
{
    static struct two two;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    *state = &two;
    for (unsigned i = 0; i < 2; i++)
        fake_node_start(&two.nodes[i]);
    snprintf(two.list, sizeof two.list, "a=127.0.0.1:%d,b=127.0.0.1:%d", two.nodes[0].port,
             two.nodes[1].port);
    options.nodes = two.list;
    options.slots = slots;
    options.redis = redis;
    options.timeout_ms = timeout_ms;
    options.probe_ms = 10;
    options.hedge_ms = 20;
    assert_ok(sp_ring_open(&options, &two.ring));
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, 16384, 800, false);
}

static int begin_few_slots(void **state)
{
    return begin_with(state, FEW_SLOTS, WITHIN_MS, false);
}

static int begin_redis(void **state)
{
    return begin_with(state, 16384, 800, true);
}

static int end(void **state)
{
    struct two *two = *state;
    sp_ring_close(two->ring);
    for (unsigned i = 0; i < 2; i++)
        fake_node_end(&two->nodes[i]);
    return 0;
}

static struct fake_node *copy_of(struct two *two, const char *key, unsigned copy)
{
    struct sp_ring_where where;
    assert_ok(sp_ring_where(two->ring, key, strlen(key), &where));
    assert_int_equal(where.count, 2);
    return &two->nodes[where.names[copy][0] - 'a'];
}

static void assert_value(struct sp_ring *ring, const char *key, const char *expected)
{
    struct sp_buffer value = {0};
    assert_ok(sp_ring_get(ring, key, strlen(key), &value));
    assert_int_equal(value.size, strlen(expected));
    assert_memory_equal(value.data, expected, value.size);
    sp_buffer_free(&value);
}

static void await(bool (*what)(struct two *), struct two *two)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t until = clock_ms() + WITHIN_MS;
    while (!what(two)) {
        assert_true(clock_ms() < until);
        nanosleep(&pause, NULL);
    }
}

static bool all_trusted(struct two *two)
{
    struct sp_ring_node *nodes;
    size_t count;
    assert_ok(sp_ring_nodes(two->ring, &nodes, &count, NULL));
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all &= !nodes[i].kept_back && !nodes[i].distrusted;
    free(nodes);
    return all;
}

/* --- writes ----------------------------------------------------------------------------------- */

static void test_stamps(void **state)
{
    struct two *two = *state;
    struct fake_entry entries[2];
    struct sp_ring_copies copies;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v1"), 60000, SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_true(fake_node_find(&two->nodes[i], "k", &entries[i]));
    assert_int_equal(entries[0].version, entries[1].version);
    assert_int_equal(entries[0].expiry, entries[1].expiry);
    assert_in_range(entries[0].expiry, (uint64_t)clock_wall_ms() + 50000,
                    (uint64_t)clock_wall_ms() + 60000);
    atomic_store(&two->nodes[1].clock, 1000000); /* an answer moves the client's clock on */
    assert_ok(sp_ring_set(two->ring, K("k"), K("v2"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_set(two->ring, K("k"), K("v3"), 0, SP_RING_ALL, NULL));
    assert_true(fake_node_find(&two->nodes[0], "k", &entries[0]));
    assert_true(entries[0].version > entries[1].version + 1000000);
    assert_ok(sp_ring_delete(two->ring, K("k"), SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 2);
    assert_false(fake_node_find(&two->nodes[0], "k", &entries[1]));
    assert_true(entries[1].version > entries[0].version);
}

static void test_newer(void **state)
{
    struct two *two = *state;
    struct fake_entry entries[2];
    uint64_t newer = ring_clock_of(clock_wall_ms()) + 5000000;
    atomic_store(&two->nodes[1].newer, newer);
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    for (unsigned i = 0; i < 2; i++) {
        assert_true(fake_node_find(&two->nodes[i], "k", &entries[i]));
        assert_true(entries[i].version > newer);
    }
    assert_int_equal(entries[0].version, entries[1].version);
}

static bool told(struct two *two)
{
    return atomic_load(&two->nodes[0].misses) + atomic_load(&two->nodes[1].misses) > 0;
}

/* The node that did not take it is not read from, until the other says that it has caught up. */
static void test_missed(void **state)
{
    struct two *two = *state;
    struct sp_ring_copies copies;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    struct sp_ring_where where;
    assert_ok(sp_ring_set(two->ring, K("k"), K("old"), 0, SP_RING_ALL, NULL));
    atomic_store(&next->missed, 1);
    atomic_store(&owner->full, 1);
    assert_ok(sp_ring_set(two->ring, K("k"), K("new"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    for (unsigned i = 0; i < 50; i++)
        assert_value(two->ring, "k", "new");
    await(told, two);
    assert_int_equal(atomic_load(&owner->misses), 0);
    assert_ok(sp_ring_where(two->ring, K("k"), &where));
    pthread_mutex_lock(&next->mutex);
    assert_string_equal(next->missed_node, where.names[0]);
    assert_true((next->missed_slots[where.slot / 64] >> (where.slot % 64) & 1) != 0);
    pthread_mutex_unlock(&next->mutex);
    assert_false(all_trusted(two));
    unsigned gets = atomic_load(&owner->gets);
    assert_value(two->ring, "k", "new");
    assert_int_equal(atomic_load(&owner->gets), gets);
    atomic_store(&next->missed, 0);
    await(all_trusted, two);
    assert_value(two->ring, "k", "old"); /* as nobody has repaired it here */
    atomic_store(&owner->full, 1);
    assert_status(SP_EPARTIAL, sp_ring_set(two->ring, K("k"), K("new"), 0, SP_RING_ALL, &copies));
    atomic_store(&owner->full, 1);
    atomic_store(&next->full, 1);
    assert_status(SP_ENOSPC, sp_ring_set(two->ring, K("k"), K("new"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 0);
}

/* This node misses a write of the slot of {t}, and does not catch up so soon. */
static void miss(struct two *two, struct fake_node *node)
{
    struct fake_node *other = node == &two->nodes[0] ? &two->nodes[1] : &two->nodes[0];
    struct sp_ring_copies copies;
    atomic_store(&other->missed, 1);
    atomic_store(&node->full, 1);
    assert_ok(sp_ring_set(two->ring, K("{t}missed"), K("v"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
}

/* Who is the only one to have missed nothing is waited for, though the other has it. */
static void test_late_but_needed(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "{t}k", 0), *next = copy_of(two, "{t}k", 1);
    struct sp_ring_copies copies = {0};
    for (unsigned i = 0; i < 5 && copies.have < 2; i++) {
        atomic_store(&next->put_late_ms, 0); /* the machine may be busier than a PING waits */
        atomic_store(&next->missed, 0);
        await(all_trusted, two);
        miss(two, owner);
        atomic_store(&next->put_late_ms, 60);
        assert_ok(sp_ring_set(two->ring, K("{t}k"), K("w"), 0, SP_RING_ONE, &copies));
    }
    assert_int_equal(copies.have, 2);
}

/* Where both have missed something already, it changes nothing to wait for who is late. */
static void test_late_and_not_needed(void **state)
{
    struct two *two = *state;
    struct fake_node *next = copy_of(two, "{t}k", 1);
    struct sp_ring_copies copies;
    for (unsigned i = 0; i < 2; i++)
        miss(two, &two->nodes[i]);
    atomic_store(&next->put_late_ms, 900);
    assert_ok(sp_ring_set(two->ring, K("{t}k"), K("w"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
}

/* --- reads ------------------------------------------------------------------------------------ */

static void test_not_held(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    int64_t sum;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    atomic_store(&owner->not_held, 1);
    assert_value(two->ring, "k", "v");
    assert_int_equal(atomic_load(&next->gets), 1);
    atomic_store(&owner->not_held, 3); /* both know better in a moment */
    atomic_store(&next->not_held, 3);
    assert_value(two->ring, "k", "v");
    atomic_store(&owner->not_held, 1);
    assert_ok(sp_ring_incr(two->ring, K("n"), 2, &sum, NULL));
    assert_int_equal(sum, 2);
    atomic_store(&owner->not_held, 1000000);
    atomic_store(&next->not_held, 1000000);
    struct sp_buffer value = {0};
    uint64_t began = clock_ms();
    int status = sp_ring_get(two->ring, K("k"), &value);
    assert_true(status == SP_ENONODE || status == SP_ETIMEDOUT); /* in the middle of an attempt */
    assert_in_range(clock_ms() - began, 600, 1500);
}

/* Where it was sent and the answer does not come, it is not done again anywhere. */
static void test_once(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "n", 0), *next = copy_of(two, "n", 1);
    struct sp_ring_copies copies;
    int64_t sum;
    assert_ok(sp_ring_incr(two->ring, K("n"), 5, &sum, &copies));
    assert_int_equal(copies.have, 2);
    atomic_store(&owner->silent, true);
    assert_status(SP_EUNKNOWN, sp_ring_incr(two->ring, K("n"), 1, &sum, NULL));
    atomic_store(&owner->silent, false);
    atomic_store(&owner->hangs_up, true);
    assert_status(SP_EUNKNOWN, sp_ring_incr(two->ring, K("n"), 1, &sum, NULL));
    assert_int_equal(atomic_load(&next->incrs), 0);
    /* The breaker is open now, and the next copy is the one to be asked. */
    assert_ok(sp_ring_incr(two->ring, K("n"), 1, &sum, NULL));
    assert_int_equal(atomic_load(&next->incrs), 1);
}

/* What the owner could not pass on the other copy does not have: it is not to be read until it has,
 * which the owner says. The owner knows, and is not told. */
static void test_behind(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "n", 0), *next = copy_of(two, "n", 1);
    struct sp_ring_copies copies;
    int64_t sum;
    assert_ok(sp_ring_incr(two->ring, K("n"), 1, &sum, &copies));
    assert_true(all_trusted(two));
    atomic_store(&owner->alone, true);
    atomic_store(&owner->missed, 1);
    assert_ok(sp_ring_incr(two->ring, K("n"), 1, &sum, &copies));
    assert_int_equal(copies.have, 1);
    assert_false(all_trusted(two));
    atomic_store(&owner->not_held, 1);
    assert_value(two->ring, "n", "2");
    assert_int_equal(atomic_load(&next->gets), 0);
    atomic_store(&owner->missed, 0);
    await(all_trusted, two);
    assert_int_equal(atomic_load(&owner->misses), 0);
}

/* Where each copy missed something of the slot, a key is absent if both say so. */
static void test_absent_of_both(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "{t}x", 0), *next = copy_of(two, "{t}x", 1);
    const char *const arguments[] = {"GET", "{t}x"};
    struct sp_ring_call call = {.argument_count = 2, .arguments = arguments};
    struct sp_buffer value = {0};
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&two->nodes[i].missed, 1);
    atomic_store(&owner->full, 1);
    assert_ok(sp_ring_set(two->ring, K("{t}x"), K("v"), 0, SP_RING_ONE, NULL));
    atomic_store(&next->full, 1);
    assert_ok(sp_ring_set(two->ring, K("{t}y"), K("w"), 0, SP_RING_ONE, NULL));
    assert_value(two->ring, "{t}x", "v");
    assert_value(two->ring, "{t}y", "w");
    assert_ok(sp_ring_call(two->ring, &call, 1));
    assert_string_equal(call.reply->text, "v");
    sp_reply_free(call.reply);
    assert_status(SP_ENOTFOUND, sp_ring_get(two->ring, K("{t}z"), &value));
    atomic_store(&next->not_held, 1);
    assert_value(two->ring, "{t}x", "v"); /* it knows better in a moment */
    atomic_store(&next->hangs_up, true);
    assert_status(SP_ENOTFOUND, sp_ring_get(two->ring, K("{t}x"), &value));
    sp_buffer_free(&value);
}

static bool some_kept_back(struct two *two)
{
    struct sp_ring_node *nodes;
    size_t count;
    assert_ok(sp_ring_nodes(two->ring, &nodes, &count, NULL));
    bool some = false;
    for (size_t i = 0; i < count; i++)
        some |= nodes[i].kept_back;
    free(nodes);
    return some;
}

/* Where each copy missed something of the slot, and the first one hangs, the other one's answer is
 * not waited for until half of the time is over, nor an absence until all of it is. */
static void test_one_of_both_hangs(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "{t}k", 0), *next = copy_of(two, "{t}k", 1);
    struct sp_buffer value = {0};
    for (unsigned i = 0; i < 2; i++)
        miss(two, &two->nodes[i]);
    fake_node_put(next, "{t}k", "v");
    atomic_store(&owner->hangs, true);
    assert_ok(sp_ring_set(two->ring, K("other"), K("v"), 0, SP_RING_ONE, NULL));
    await(some_kept_back, two);
    uint64_t began = clock_ms();
    assert_value(two->ring, "{t}k", "v");
    assert_in_range(clock_ms() - began, 0, WITHIN_MS / 2 - 100);
    began = clock_ms();
    assert_status(SP_ENOTFOUND, sp_ring_get(two->ring, K("{t}z"), &value));
    assert_in_range(clock_ms() - began, 0, WITHIN_MS / 2 - 100);
    sp_buffer_free(&value);
}

/* A silent owner: the next copy answers after the delay, and at once when the breaker is open. */
static void test_hedge(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0);
    struct sp_ring_node *nodes;
    size_t count;
    uint64_t hedged = 0;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    atomic_store(&owner->silent, true);
    uint64_t began = clock_us();
    assert_value(two->ring, "k", "v");
    assert_in_range(clock_us() - began, 18000, 390000);
    assert_ok(sp_ring_nodes(two->ring, &nodes, &count, NULL));
    for (size_t i = 0; i < count; i++)
        hedged += nodes[i].hedged;
    free(nodes);
    assert_int_equal(hedged, 1);
    atomic_store(&owner->silent, false);
    assert_value(two->ring, "k", "v");
}

/* What missed a write is not read from because the other is silent, before half of the time is
 * over; but then it is. */
static void test_old_is_worse_than_late(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    assert_ok(sp_ring_set(two->ring, K("k"), K("old"), 0, SP_RING_ALL, NULL));
    atomic_store(&next->missed, 1);
    atomic_store(&owner->full, 1);
    assert_ok(sp_ring_set(two->ring, K("k"), K("new"), 0, SP_RING_ONE, NULL));
    assert_value(two->ring, "k", "new");
    atomic_store(&next->silent, true);
    uint64_t began = clock_ms();
    assert_value(two->ring, "k", "old");
    assert_in_range(clock_ms() - began, 395, 795);
    atomic_store(&next->silent, false);
    atomic_store(&next->hangs_up, true);
    began = clock_ms();
    assert_value(two->ring, "k", "old"); /* at once: the other one is certainly away */
    assert_in_range(clock_ms() - began, 0, 390);
}

/* On Redis nodes: an absence at the owner counts if the other copy is silent, but not where the
 * owner may have been started anew, and so be empty. */
static void test_absent_of_redis(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    struct sp_buffer value = {0};
    atomic_store(&next->silent, true);
    uint64_t began = clock_ms();
    assert_status(SP_ENOTFOUND, sp_ring_get(two->ring, K("k"), &value));
    assert_in_range(clock_ms() - began, 18, 390);
    atomic_store(&next->silent, false);
    fake_node_put(next, "k", "v");
    assert_value(two->ring, "k", "v");
    atomic_store(&owner->hangs_up, true);
    assert_value(two->ring, "k", "v");
    atomic_store(&owner->hangs_up, false);
    await(all_trusted, two);
    atomic_store(&next->silent, true);
    began = clock_ms();
    assert_status(SP_ENOTFOUND, sp_ring_get(two->ring, K("k"), &value));
    assert_in_range(clock_ms() - began, 700, 2000);
    atomic_store(&next->silent, false);
    sp_buffer_free(&value);
}

/* On Redis nodes: what came back empty is asked of the copy that missed another key of the slot,
 * also where no call hedges. */
static void test_found_without_hedge(void **state)
{
    struct two *two = *state;
    struct fake_node *next = copy_of(two, "{t}x", 1);
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    options.nodes = two->list;
    options.redis = true;
    options.timeout_ms = 400;
    options.hedge_ms = 0;
    options.probe_ms = 10000;
    assert_ok(sp_ring_open(&options, &ring));
    atomic_store(&next->full, 1000000); /* nor is it copied to */
    assert_ok(sp_ring_set(ring, K("{t}y"), K("w"), 0, SP_RING_ONE, NULL));
    fake_node_put(next, "{t}x", "v");
    assert_value(ring, "{t}x", "v");
    sp_ring_close(ring);
}

/* A write goes to nodes that are kept back where no other takes it. */
static void test_kept_back_writes(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    struct sp_ring_copies copies;
    struct fake_entry entry;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    atomic_store(&owner->hangs_up, true);
    assert_ok(sp_ring_set(two->ring, K("k"), K("w"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    atomic_store(&owner->hangs_up, false); /* its breaker is still open, or was so a moment ago */
    atomic_store(&next->silent, true);
    assert_ok(sp_ring_set(two->ring, K("k"), K("x"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    assert_true(fake_node_find(owner, "k", &entry));
    assert_string_equal(entry.value, "x");
}

/* --- the map ---------------------------------------------------------------------------------- */

static void give_map_with(struct two *two, uint64_t epoch, bool only_b,
                          const struct ring_parameters *parameters)
{
    struct ring_node nodes[2] = {{.name = "a", .weight = 100, .start = 1},
                                 {.name = "b", .weight = 100, .start = 1}};
    char why[RING_WHY_BYTES];
    for (unsigned i = 0; i < 2; i++)
        snprintf(nodes[i].address, sizeof nodes[i].address, "127.0.0.1:%d", two->nodes[i].port);
    for (unsigned i = 0; i < 2; i++) {
        struct ring_map *map;
        assert_ok(
            ring_map_next(NULL, parameters, only_b ? nodes + 1 : nodes, only_b ? 1 : 2, &map, why));
        map->epoch = epoch;
        pthread_mutex_lock(&two->nodes[i].mutex);
        two->nodes[i].map = map;
        pthread_mutex_unlock(&two->nodes[i].mutex);
    }
}

static void give_map(struct two *two, uint64_t epoch, bool only_b)
{
    const struct ring_parameters parameters = RING_PARAMETERS_INIT;
    give_map_with(two, epoch, only_b, &parameters);
}

static void test_moved(void **state)
{
    struct two *two = *state;
    struct sp_ring_where where;
    struct sp_ring_copies copies;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    give_map(two, 7, true);
    atomic_store(&two->nodes[0].moved, 7);
    assert_ok(sp_ring_set(two->ring, K("k"), K("w"), 0, SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 1);
    assert_ok(sp_ring_where(two->ring, K("k"), &where));
    assert_int_equal(where.count, 1);
    assert_string_equal(where.names[0], "b");
    assert_value(two->ring, "k", "w");
}

static void test_later_epoch(void **state)
{
    struct two *two = *state;
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    give_map(two, 9, false);
    atomic_store(&two->nodes[0].epoch, 9);
    atomic_store(&two->nodes[1].epoch, 9);
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_wait(two->ring, 1, WITHIN_MS));
    struct sp_ring_node *nodes;
    size_t count;
    struct sp_ring_state ring;
    assert_ok(sp_ring_nodes(two->ring, &nodes, &count, &ring));
    assert_int_equal(ring.epoch, 9);
    free(nodes);
}

/* A key that another node has by the map of more slots and one copy than the one that would have
 * it, if the slot were that of the map before. */
static void key_of_another(const struct fake_node *node, char key[16])
{
    const struct ring_map *map = node->map;
    for (unsigned i = 0;; i++) {
        size_t size = (size_t)snprintf(key, 16, "k%u", i);
        unsigned slot = ring_slot(key, size, map->parameters.slots);
        unsigned before = ring_slot(key, size, FEW_SLOTS);
        if (map->slots[slot].holders[0] != map->slots[before].holders[0])
            return;
    }
}

struct asking {
    struct sp_ring *ring;
    const char *key;
    struct sp_buffer value;
    struct sp_ring_call call;
    int statuses[2];
};

static void *ask(void *context)
{
    struct asking *asking = context;
    const char *const arguments[] = {"GET", asking->key};
    asking->call = (struct sp_ring_call){.argument_count = 2, .arguments = arguments};
    asking->statuses[1] = sp_ring_call(asking->ring, &asking->call, 1);
    return NULL;
}

static void *get(void *context)
{
    struct asking *asking = context;
    asking->statuses[0] =
        sp_ring_get(asking->ring, asking->key, strlen(asking->key), &asking->value);
    return NULL;
}

/* Calls that no node answers until there is a map with more slots go by those. */
static void test_other_slots(void **state)
{
    static const struct ring_parameters parameters = {.slots = 16384, .replicas = 1};
    struct two *two = *state;
    struct asking asking = {.ring = two->ring};
    pthread_t threads[2];
    char key[16];
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&two->nodes[i].not_held, 1000000);
    give_map_with(two, 7, false, &parameters);
    key_of_another(&two->nodes[0], key);
    asking.key = key;
    const struct ring_map *map = two->nodes[0].map;
    struct fake_node *owner =
        &two->nodes[map->slots[ring_slot(key, strlen(key), 16384)].holders[0]];
    fake_node_put(owner, key, "v");
    assert_int_equal(pthread_create(&threads[0], NULL, get, &asking), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, ask, &asking), 0);
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&two->nodes[i].epoch, 7); /* NOTHELD tells of it */
    assert_ok(sp_ring_wait(two->ring, 1, WITHIN_MS));
    atomic_store(&owner->not_held, 0); /* the other one knows that it does not hold it */
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(asking.statuses[0], SP_OK);
    assert_int_equal(asking.value.size, 1);
    assert_int_equal(asking.statuses[1], SP_OK);
    assert_string_equal(asking.call.reply->text, "v");
    sp_reply_free(asking.call.reply);
    sp_buffer_free(&asking.value);
}

/* A node that missed a write by the slots before is not trusted by the new ones either. */
static void test_missed_before(void **state)
{
    static const struct ring_parameters parameters = {.slots = 16384, .replicas = 2};
    struct two *two = *state;
    struct fake_node *owner = NULL;
    char key[16];
    give_map_with(two, 7, false, &parameters);
    for (unsigned i = 0; owner == NULL; i++) {
        size_t size = (size_t)snprintf(key, sizeof key, "k%u", i);
        unsigned slot = ring_slot(key, size, 16384);
        struct fake_node *now = &two->nodes[two->nodes[0].map->slots[slot].holders[0]];
        if (slot >= FEW_SLOTS && now == copy_of(two, key, 0))
            owner = now;
    }
    struct fake_node *next = owner == &two->nodes[0] ? &two->nodes[1] : &two->nodes[0];
    assert_ok(sp_ring_set(two->ring, key, strlen(key), K("old"), 0, SP_RING_ALL, NULL));
    atomic_store(&next->missed, 1);
    atomic_store(&owner->full, 1);
    assert_ok(sp_ring_set(two->ring, key, strlen(key), K("new"), 0, SP_RING_ONE, NULL));
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&two->nodes[i].epoch, 7);
    assert_ok(sp_ring_set(two->ring, K("another"), K("v"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_wait(two->ring, 1, WITHIN_MS));
    assert_value(two->ring, key, "new");
    atomic_store(&next->missed, 0);
    await(all_trusted, two);
    assert_value(two->ring, key, "old"); /* as nobody has repaired it here */
}

/* Asks two keys to be counted, of which `b` has the first, and refuses the second. */
struct counting {
    struct sp_ring *ring;
    char keys[2][16];
    struct sp_ring_call calls[2];
    int status;
};

static void *count(void *context)
{
    struct counting *counting = context;
    const char *const first[] = {"INCRBY", counting->keys[0], "1"};
    const char *const second[] = {"INCRBY", counting->keys[1], "1"};
    counting->calls[0] = (struct sp_ring_call){.argument_count = 3, .arguments = first};
    counting->calls[1] = (struct sp_ring_call){.argument_count = 3, .arguments = second};
    counting->status = sp_ring_call(counting->ring, counting->calls, 2);
    return NULL;
}

static bool b_has_counted(struct two *two)
{
    return atomic_load(&two->nodes[1].waited_for) > 0;
}

static bool b_was_asked_twice(struct two *two)
{
    return atomic_load(&two->nodes[1].incrs) >= 2;
}

/* What a node could not pass on by one map is not noted by the places of another, in which the
 * other copy is not any more. */
static void test_behind_before(void **state)
{
    static const struct ring_parameters parameters = {.slots = FEW_SLOTS, .replicas = 2};
    struct two *two = *state;
    struct counting counting = {.ring = two->ring};
    pthread_t thread;
    for (unsigned i = 0, owner = 1; i < 2; i++, owner = 0)
        for (unsigned k = 0; counting.keys[i][0] == '\0'; k++) {
            char key[16];
            snprintf(key, sizeof key, "n%u", k);
            if (copy_of(two, key, 0) == &two->nodes[owner])
                memcpy(counting.keys[i], key, sizeof key);
        }
    for (unsigned i = 0; i < 2; i++) {
        memcpy(two->nodes[i].not_held_key, counting.keys[1], sizeof counting.keys[1]);
        atomic_store(&two->nodes[i].not_held, 1000000);
    }
    atomic_store(&two->nodes[1].alone, true);
    give_map_with(two, 7, true, &parameters);
    assert_int_equal(pthread_create(&thread, NULL, count, &counting), 0);
    await(b_has_counted, two);
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&two->nodes[i].epoch, 7);
    assert_ok(sp_ring_wait(two->ring, 1, WITHIN_MS));
    atomic_store(&two->nodes[1].incrs, 0);
    await(b_was_asked_twice, two); /* the second time by the map of now */
    atomic_store(&two->nodes[1].missed, 1);
    atomic_store(&two->nodes[1].not_held, 0);
    pthread_join(thread, NULL);
    assert_int_equal(counting.status, SP_OK);
    assert_int_equal(counting.calls[0].copies.have, 1);
    assert_true(all_trusted(two));
    for (unsigned i = 0; i < 2; i++)
        sp_reply_free(counting.calls[i].reply);
}

/* A map in which slots move to another node, and a key of one of them. */
static struct ring_map *map_that_moves(const struct ring_parameters *parameters,
                                       struct ring_node *nodes, unsigned count, char key[16])
{
    struct ring_map *before, *map;
    char why[RING_WHY_BYTES];
    uint16_t copies[2 * RING_COPIES_MAX];
    unsigned slot;
    assert_ok(ring_map_next(NULL, parameters, nodes, count - 1, &before, why));
    assert_ok(ring_map_next(before, parameters, nodes, count, &map, why));
    ring_map_unref(before);
    unsigned i = 0;
    do {
        size_t size = (size_t)snprintf(key, 16, "k%u", i++);
        slot = ring_slot(key, size, parameters->slots);
    } while (ring_map_union(map, slot, copies) != parameters->replicas + 1u);
    return map;
}

static void name_nodes(struct ring_node *nodes, const int *ports, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        nodes[i] = (struct ring_node){.name = {(char)('a' + i)}, .weight = 100, .start = 1};
        snprintf(nodes[i].address, sizeof nodes[i].address, "127.0.0.1:%d", ports[i]);
    }
}

/* Where two of three copies have it, the others are not taken for having it: one does not. */
static void test_behind_of_three(void **state)
{
    static const struct ring_parameters parameters = {.slots = FEW_SLOTS, .replicas = 2};
    struct two *two = *state;
    struct fake_node third;
    struct ring_node nodes[3];
    struct sp_ring_copies copies;
    char key[16];
    fake_node_start(&third);
    name_nodes(nodes, (int[]){two->nodes[0].port, two->nodes[1].port, third.port}, 3);
    struct ring_map *map = map_that_moves(&parameters, nodes, 3, key);
    map->epoch = 7;
    for (unsigned i = 0; i < 2; i++) {
        pthread_mutex_lock(&two->nodes[i].mutex);
        two->nodes[i].map = ring_map_ref(map);
        pthread_mutex_unlock(&two->nodes[i].mutex);
        atomic_store(&two->nodes[i].epoch, 7);
        atomic_store(&two->nodes[i].missed, 1);
    }
    atomic_store(&third.missed, 1);
    assert_ok(sp_ring_set(two->ring, K("another"), K("v"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_wait(two->ring, 1, WITHIN_MS));
    assert_ok(sp_ring_incr(two->ring, key, strlen(key), 1, NULL, &copies));
    assert_int_equal(copies.have, 2);
    assert_int_equal(copies.want, 3);
    const struct fake_node *at =
        &two->nodes[map->slots[ring_slot(key, strlen(key), FEW_SLOTS)].holders[0]];
    assert_int_equal(atomic_load(&at->waited_for), 2);
    assert_false(all_trusted(two));
    ring_map_unref(map);
    sp_ring_close(two->ring); /* before its node ends */
    two->ring = NULL;
    fake_node_end(&third);
}

/* On Redis nodes: what a target lacks it may not have been given yet, so that is no answer. */
static void test_target_of_redis(void **state)
{
    static const struct ring_parameters parameters = {
        .slots = FEW_SLOTS, .replicas = 1, .kind = RING_REDIS};
    char directory[] = "/tmp/sidepond-ring.XXXXXX", path[64], key[16];
    const char *const arguments[] = {"GET", key};
    struct sp_ring_call call = {.argument_count = 2, .arguments = arguments};
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct two *two = *state;
    struct ring_node nodes[2];
    struct sp_buffer value = {0};
    struct sp_ring *ring;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/ring", directory);
    name_nodes(nodes, (int[]){two->nodes[0].port, two->nodes[1].port}, 2);
    struct ring_map *map = map_that_moves(&parameters, nodes, 2, key);
    assert_ok(ring_map_save(map, path));
    ring_map_unref(map);
    options.pond = directory;
    assert_ok(sp_ring_open(&options, &ring));
    assert_ok(sp_ring_call(ring, &call, 1));
    assert_int_equal(call.reply->type, SP_REPLY_NULL); /* the holder says so */
    sp_reply_free(call.reply);
    atomic_store(&two->nodes[0].hangs_up, true);
    assert_status(SP_ENONODE, sp_ring_get(ring, key, strlen(key), &value));
    assert_status(SP_ENONODE, sp_ring_call(ring, &call, 1));
    sp_ring_close(ring);
    sp_buffer_free(&value);
    unlink(path);
    rmdir(directory);
}

/* On Redis nodes: a key that another client deletes while it is copied does not come back. */
static void test_deleted_while_copied(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    struct sp_ring_copies copies;
    struct fake_entry entry;
    atomic_store(&owner->deleted_by_dump, true);
    atomic_store(&next->loses, 1);
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    await(all_trusted, two);
    assert_false(fake_node_find(owner, "k", &entry));
    assert_false(fake_node_find(next, "k", &entry));
}

/* On Redis nodes: a copy that was overtaken by other clients' writes each time is none. */
static void test_changed_while_copied(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0), *next = copy_of(two, "k", 1);
    struct fake_entry there, copied;
    atomic_store(&owner->changes, 12);
    atomic_store(&next->loses, 1);
    assert_ok(sp_ring_set(two->ring, K("k"), K("v"), 0, SP_RING_ONE, NULL));
    await(all_trusted, two);
    assert_true(fake_node_find(owner, "k", &there) && fake_node_find(next, "k", &copied));
    assert_string_equal(there.value, copied.value);
}

/* Who answers more than was asked is not believed the next time. */
static void test_too_many_answers(void **state)
{
    struct two *two = *state;
    struct fake_node *owner = copy_of(two, "k", 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_node_put(&two->nodes[i], "k", "v");
        fake_node_put(&two->nodes[i], "{k}other", "w");
    }
    atomic_store(&owner->says_twice, 1);
    assert_value(two->ring, "k", "v");
    assert_value(two->ring, "{k}other", "w");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stamps),
        TEST(test_newer),
        TEST(test_missed),
        TEST(test_not_held),
        TEST(test_once),
        TEST(test_behind),
        TEST(test_hedge),
        TEST(test_old_is_worse_than_late),
        TEST(test_kept_back_writes),
        TEST(test_moved),
        TEST(test_later_epoch),
        TEST(test_too_many_answers),
        TEST(test_late_but_needed),
        cmocka_unit_test_setup_teardown(test_late_and_not_needed, begin_few_slots, end),
        cmocka_unit_test_setup_teardown(test_found_without_hedge, begin_redis, end),
        TEST(test_absent_of_both),
        cmocka_unit_test_setup_teardown(test_one_of_both_hangs, begin_few_slots, end),
        cmocka_unit_test_setup_teardown(test_behind_before, begin_few_slots, end),
        cmocka_unit_test_setup_teardown(test_behind_of_three, begin_few_slots, end),
        cmocka_unit_test_setup_teardown(test_target_of_redis, begin_redis, end),
        cmocka_unit_test_setup_teardown(test_deleted_while_copied, begin_redis, end),
        cmocka_unit_test_setup_teardown(test_changed_while_copied, begin_redis, end),
        cmocka_unit_test_setup_teardown(test_absent_of_redis, begin_redis, end),
        cmocka_unit_test_setup_teardown(test_missed_before, begin_few_slots, end),
        cmocka_unit_test_setup_teardown(test_other_slots, begin_few_slots, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
