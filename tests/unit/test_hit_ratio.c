/* SPDX-License-Identifier: Apache-2.0
 *
 * test_hit_ratio.c - the simulator that the hit ratios come from.
 *
 * Goal: each policy does what its name says in a case small enough to follow by hand, none holds
 * more than its capacity, and a trace depends on its seed alone. Method: short traces with the
 * expected answer of each request; a cyclic trace, on which LRU must never hit; and long random
 * ones, where policies that are the same by definition are compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/bench.h"
#include "ghost.h"
#include "policy_hand.h"
#include "policy_store.h"
#include "sim.h"

static const struct policy *const all[] = {
    &policy_lru,       &policy_lfu,     &policy_sieve,     &policy_s3fifo,
    &policy_memcached, &policy_arc,     &policy_redis_lru, &policy_redis_lru_ms,
    &policy_redis_lfu, &policy_clock,   &policy_gclock,    &policy_gclock_ghost,
    &policy_ours,      &policy_known_2, &policy_share_20,  &policy_by_buckets,
    &policy_adaptive,  &policy_aged,
};
#define ALL (sizeof(all) / sizeof(all[0]))

/* Requests of one letter each; a string of h(it) and m(iss) is expected. */
static void expect(const struct policy *policy, uint32_t capacity, const char *requests,
                   const char *answers)
{
    struct policy_options options = {.capacity = capacity, .key_count = 256, .seed = 1};
    void *cache = policy_create(policy, options);
    assert_int_equal(strlen(requests), strlen(answers));
    for (size_t i = 0; requests[i]; i++) {
        bool hit = policy->request(cache, (uint32_t)(unsigned char)requests[i], 0);
        if (hit != (answers[i] == 'h'))
            fail_msg("%s: request %zu of %s should be %c", policy->name, i, requests, answers[i]);
    }
    policy->destroy(cache);
}

static void test_lru(void **state)
{
    (void)state;
    expect(&policy_lru, 3, "abcadab", "mmmhmhm");
}

static void test_lfu(void **state)
{
    (void)state;
    /* c, used once, goes for d; d for e; a and b stay */
    expect(&policy_lfu, 3, "aabbcdeab", "mhmhmmmhh");
}

/* The hand spares a, takes b for d, then c for e. Survivors keep their places, so it takes d, the
 * newest that it has not passed, for f, where CLOCK would take a. */
static void test_sieve(void **state)
{
    (void)state;
    expect(&policy_sieve, 3, "abcadefad", "mmmhmmmhm");
}

static void test_s3fifo(void **state)
{
    (void)state;
    /* a goes to main, for its two hits; b goes, and comes back from the ghosts into main */
    expect(&policy_s3fifo, 3, "aaabcdbab", "mhhmmmmhh");
}

static void test_arc(void **state)
{
    (void)state;
    /* c, d, e pass through the recent list; a and b, asked for twice, stay */
    expect(&policy_arc, 3, "aabbcdeab", "mhmhmmmhh");
}

static void test_memcached(void **state)
{
    (void)state;
    /* b was asked for twice more and is warm: c to f pass it by */
    expect(&policy_memcached, 3, "bbbcdefb", "mhhmmmmh");
}

/* A sweep finds a and b touched, and evicts c whatever the order of their hashes. */
static void test_clock(void **state)
{
    (void)state;
    expect(&policy_clock, 3, "abcabdc", "mmmhhmm");
}

/* a and b were asked for again while on probation: c, d and e pass them by. */
static void test_ours(void **state)
{
    (void)state;
    expect(&policy_ours, 3, "aabbcdeab", "mhmhmmmhh");
}

static void test_small_enough_never_evicts(void **state)
{
    (void)state;
    struct trace trace = trace_make(0, 1000, 20000, 7);
    double expected = sim_run(&policy_lru, &trace, 1000, 1000).hit_ratio;
    for (size_t i = 0; i < ALL; i++)
        assert_true(sim_run(all[i], &trace, 1000, 1000).hit_ratio == expected);
    trace_free(&trace);
}

/* On requests all of different keys nobody hits; on a loop, LRU does not, and nobody does better
 * than a cache that keeps all it can. */
static void test_loop(void **state)
{
    (void)state;
    enum { KEYS = 1000, ROUNDS = 50, CAPACITY = 800 };
    struct trace trace = {.count = (size_t)KEYS * ROUNDS, .key_count = KEYS, .base_keys = KEYS};
    trace.keys = malloc(trace.count * sizeof(uint32_t));
    assert_non_null(trace.keys);
    for (size_t i = 0; i < trace.count; i++)
        trace.keys[i] = (uint32_t)(i % KEYS);
    assert_true(sim_run(&policy_lru, &trace, CAPACITY, 1000).hit_ratio == 0);
    for (size_t i = 0; i < ALL; i++) {
        double ratio = sim_run(all[i], &trace, CAPACITY, 1000).hit_ratio;
        assert_true(ratio <= (double)CAPACITY / KEYS);
    }
    trace_free(&trace);
}

static void test_repeatable(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < trace_kinds(); kind++) {
        struct trace a = trace_make(kind, 2000, 10000, 5), b = trace_make(kind, 2000, 10000, 5);
        assert_memory_equal(a.keys, b.keys, a.count * sizeof(uint32_t));
        for (size_t i = 0; i < a.count; i++)
            assert_true(a.keys[i] < a.key_count);
        for (size_t i = 0; i < ALL; i++)
            assert_true(sim_run(all[i], &a, 100, 1000).hit_ratio ==
                        sim_run(all[i], &b, 100, 1000).hit_ratio);
        trace_free(&a);
        trace_free(&b);
    }
}

static void test_ghost(void **state)
{
    (void)state;
    struct ghost ghost = ghost_new(GHOST_LINE);
    bool bit;
    for (uint64_t i = 1; i <= GHOST_LINE; i++)
        ghost_add(&ghost, i, i % 2 == 1);
    assert_true(ghost_take(&ghost, 1, &bit));
    assert_true(bit);
    assert_false(ghost_take(&ghost, 1, &bit));
    ghost_add(&ghost, 100, false);
    ghost_add(&ghost, 101, false); /* pushes out 2, the oldest */
    assert_false(ghost_take(&ghost, 2, &bit));
    assert_true(ghost_take(&ghost, 3, &bit));
    ghost_free(&ghost);
}

/* The cache itself does what the simulation of it says. */
static void test_store(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < trace_kinds(); kind++) {
        struct trace trace = trace_make(kind, 20000, 200000, 7);
        double simulated = sim_run(&policy_ours, &trace, 3000, 10000).hit_ratio;
        double real = sim_run(&policy_store, &trace, 3000, 10000).hit_ratio;
        bool loops = strcmp(trace.name, "loop") == 0; /* where each entry more is a hit more */
        print_message("%s: %.4f, simulated %.4f\n", trace.name, real, simulated);
        assert_true(real > simulated - (loops ? 0.1 : 0.02) && real < simulated + 0.02);
        trace_free(&trace);
    }
}

static void expect_file(const char *end, const char *text, const char *numbers)
{
    char path[] = "/tmp/trace.XXXXXX.suffix";
    snprintf(path + strlen("/tmp/trace.XXXXXX"), sizeof(".suffix"), "%s", end);
    int file = mkstemps(path, (int)strlen(end));
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    struct trace trace = trace_read(path);
    unlink(path);
    assert_int_equal(trace.count, strlen(numbers));
    for (size_t i = 0; i < trace.count; i++)
        assert_int_equal(trace.keys[i], numbers[i] - '0');
    trace_free(&trace);
}

static void test_files(void **state)
{
    (void)state;
    expect_file(".txt", "7\n9\n7\n", "010");
    expect_file(".lis", "10 3 0 0\n11 1 0 1\n", "0121");
    expect_file(".csv", "# time, object, size\n0, 18446744073709551615, 5\n1, 4, 5\n", "01");
}

int main(int argc, char **argv)
{
    bench_start("test_hit_ratio", argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lru),
        cmocka_unit_test(test_lfu),
        cmocka_unit_test(test_sieve),
        cmocka_unit_test(test_s3fifo),
        cmocka_unit_test(test_arc),
        cmocka_unit_test(test_memcached),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_small_enough_never_evicts),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_ghost),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
