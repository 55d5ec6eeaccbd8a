/* SPDX-License-Identifier: Apache-2.0
 *
 * test_buddy.c - the allocator of units.
 *
 * Goal: each promise of alloc/buddy.h holds in a case small enough to follow by hand, misuse
 * aborts, and the checker objects to every kind of damage. Method: metadata is mapped without
 * access, and only what buddy_meta_spans() names is opened before a grow, so that a stray read or
 * write is a signal. Every bit of a small arena's metadata is flipped in turn. Garbage comes from a
 * printed seed (SIDEPOND_SEED=N repeats). Misuse happens in a child process.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/buddy.h"
#include "alloc/buddy_layout.h"
#include "random_numbers.h"
#include "sidepond/status.h"

#define MAX_UNITS (1ULL << 24)

static struct buddy buddy;
static struct buddy_cache cache;
static unsigned char *meta;

/* ---- helpers ------------------------------------------------------------------------------ */

static int setup(void **state)
{
    (void)state;
    meta = mmap(NULL, buddy_meta_bytes(MAX_UNITS), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return meta == MAP_FAILED || buddy_format(&buddy, meta, MAX_UNITS) != SP_OK ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(meta, buddy_meta_bytes(MAX_UNITS));
}

static void open_spans(uint64_t from, uint64_t to)
{
    struct buddy_span spans[BUDDY_MAX_SPANS];
    size_t count = buddy_meta_spans(MAX_UNITS, from, to, spans, BUDDY_MAX_SPANS);

    assert_in_range(count, 1, BUDDY_MAX_SPANS);
    for (size_t i = 0; i < count; i++) {
        size_t off = spans[i].off / 4096 * 4096;
        size_t end = (spans[i].off + spans[i].len + 4095) / 4096 * 4096;
        assert_true(end <= buddy_meta_bytes(MAX_UNITS));
        assert_int_equal(mprotect(meta + off, end - off, PROT_READ | PROT_WRITE), 0);
    }
}

static void grow_to(uint64_t units)
{
    open_spans(buddy_usable_units(&buddy), units);
    buddy_grow(&buddy, units);
}

static void assert_sound(void)
{
    char why[256];

    buddy_settle(&buddy);
    if (buddy_check(&buddy, why, sizeof why) != SP_OK)
        fail_msg("%s", why);
    assert_string_equal(why, "");
}

/* ---- size and layout ---------------------------------------------------------------------- */

static void test_limits(void **state)
{
    struct buddy b;
    struct buddy_span spans[2];

    (void)state;
    assert_int_equal(buddy_meta_bytes(0), 0);
    assert_int_equal(buddy_meta_bytes(BUDDY_MAX_UNITS + 1), 0);
    assert_true(buddy_meta_bytes(BUDDY_MAX_UNITS) > BUDDY_MAX_UNITS / 8);
    assert_int_equal(buddy_format(&b, meta, 0), SP_EINVAL);
    assert_int_equal(buddy_format(&b, meta, BUDDY_MAX_UNITS + 1), SP_EINVAL);
    assert_int_equal(buddy_attach(&b, meta, 100, 101), SP_EINVAL);
    assert_int_equal(buddy_meta_spans(100, 50, 50, spans, 2), 0);
    assert_int_equal(buddy_meta_spans(100, 50, 101, spans, 2), 0);
    spans[1].len = 7;
    assert_true(buddy_meta_spans(100, 0, 100, spans, 1) > 1);
    assert_int_equal(spans[1].len, 7);
}

static void test_metadata_share(void **state)
{
    struct buddy_span spans[BUDDY_MAX_SPANS];
    uint64_t units = 1ULL << 26; /* 1 GiB of 16-byte units */
    size_t count = buddy_meta_spans(1ULL << 32, 0, units, spans, BUDDY_MAX_SPANS);
    size_t bytes = 0;

    (void)state;
    for (size_t i = 0; i < count; i++)
        bytes += spans[i].len;
    assert_true((double)bytes < 0.0165 * 16 * (double)units);
}

static void test_empty_arena_touches_nothing(void **state)
{
    struct buddy_stats stats;
    uint64_t first, count;
    struct buddy b;

    (void)state;
    assert_true(buddy_alloc(&buddy, 1) == BUDDY_NONE);
    assert_true(buddy_alloc_aligned(&buddy, 1, 8) == BUDDY_NONE);
    assert_int_equal(buddy_largest_run(&buddy), 0);
    assert_int_equal(buddy_attach(&b, meta, MAX_UNITS, 0), SP_OK);
    assert_int_equal(buddy_free_units(&b), 0);
    assert_int_equal(buddy_check(&b, NULL, 0), SP_OK);
    assert_false(buddy_next_free_run(&b, 0, &first, &count));
    assert_false(buddy_is_free(&b, 0, 1));
    assert_false(buddy_is_used(&b, 0, 1));
    buddy_stats(&b, &stats);
    assert_int_equal(stats.free_runs, 0);
    buddy_rebuild_begin(&b, meta, MAX_UNITS, 0);
    assert_int_equal(buddy_rebuild_mark(&b, 0, 1), SP_ECORRUPT);
    buddy_rebuild_end(&b);
}

static void test_grow_and_shrink(void **state)
{
    (void)state;
    grow_to(1);
    assert_int_equal(buddy_alloc(&buddy, 1), 0);
    grow_to(70000);
    assert_int_equal(buddy_largest_run(&buddy), 69999);
    assert_sound();
    grow_to(3000000); /* merges with the free end of what was there */
    assert_int_equal(buddy_largest_run(&buddy), 2999999);
    buddy_shrink(&buddy, 1000);
    assert_int_equal(buddy_usable_units(&buddy), 1000);
    assert_int_equal(buddy_free_units(&buddy), 999);
    assert_sound();
    memset(buddy.bits + 16, 0xaa, 4096 - 128); /* what lies beyond does not matter */
    grow_to(50000);
    assert_int_equal(buddy_free_units(&buddy), 49999);
    assert_sound();
    buddy_free(&buddy, 0, 1);
    buddy_shrink(&buddy, 0);
    assert_int_equal(buddy_free_units(&buddy), 0);
    assert_true(buddy_alloc(&buddy, 1) == BUDDY_NONE);
}

/* The arena ends where a node, a bucket and a page of nodes end: a run that reaches the end must
 * not be followed beyond it. */
static void test_arena_ends_with_a_page(void **state)
{
    const uint64_t units = 1ULL << 20;

    (void)state;
    assert_int_equal((units >> buddy_child_shift(1)) * sizeof(struct buddy_node) % 4096, 0);
    grow_to(units);
    assert_int_equal(buddy_alloc(&buddy, units), 0);
    buddy_free(&buddy, units - 10, 10);
    assert_int_equal(buddy_alloc(&buddy, 3), units - 10);
    buddy_free(&buddy, 0, units - 7);
    assert_int_equal(buddy_largest_run(&buddy), units);
    assert_int_equal(buddy_alloc(&buddy, 300), 0);
    assert_sound();
}

/* ---- placing ------------------------------------------------------------------------------ */

/* A plain buddy places only one request of 9 units into 16; here only the very end is lost. */
static void test_requests_span_buddies(void **state)
{
    (void)state;
    grow_to(160000);
    for (uint64_t i = 0; i < 160000 / 9; i++)
        assert_int_equal(buddy_alloc(&buddy, 9), i * 9);
    assert_true(buddy_alloc(&buddy, 9) == BUDDY_NONE);
    assert_int_equal(buddy_free_units(&buddy), 160000 % 9);
    buddy_free(&buddy, 9 * 777, 9); /* a hole of 9 whose largest aligned block is 4 or 8 */
    assert_int_equal(buddy_alloc(&buddy, 9), 9 * 777);
    assert_sound();
}

static void test_any_run_can_be_freed(void **state)
{
    (void)state;
    grow_to(10000);
    assert_int_equal(buddy_alloc(&buddy, 5000), 0);
    buddy_free(&buddy, 1234, 2345);
    assert_true(buddy_is_free(&buddy, 1234, 2345));
    assert_true(buddy_is_used(&buddy, 0, 1234));
    assert_true(buddy_is_used(&buddy, 3579, 5000 - 3579));
    assert_false(buddy_is_used(&buddy, 1233, 2));
    assert_false(buddy_is_free(&buddy, 1233, 2));
    assert_false(buddy_is_free(&buddy, 9999, 2));
    assert_false(buddy_is_free(&buddy, 1234, 0));
    buddy_free(&buddy, 0, 1234);
    buddy_free(&buddy, 3579, 5000 - 3579);
    buddy_free(&buddy, 77, 0);
    assert_int_equal(buddy_largest_run(&buddy), 10000);
    assert_sound();
}

static void test_shortest_run_lowest_address(void **state)
{
    static const uint64_t holes[][2] = {{1000, 30}, {2000, 12}, {3000, 10}, {4000, 10}, {5000, 11}};

    (void)state;
    grow_to(9000);
    assert_int_equal(buddy_alloc(&buddy, 9000), 0);
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++)
        buddy_free(&buddy, holes[i][0], holes[i][1]);
    assert_int_equal(buddy_alloc(&buddy, 10), 3000);
    assert_int_equal(buddy_alloc(&buddy, 10), 4000);
    assert_int_equal(buddy_alloc(&buddy, 10), 5000);
    assert_int_equal(buddy_alloc(&buddy, 10), 2000);
    assert_int_equal(buddy_alloc(&buddy, 10), 1000);
    assert_int_equal(buddy_alloc(&buddy, 10), 1010);
    assert_true(buddy_alloc(&buddy, 11) == BUDDY_NONE);
    assert_int_equal(buddy_alloc(&buddy, 10), 1020);
    assert_sound();
}

/* Runs of one class differ in length: no class surely fits, and the longest run has to decide. */
static void test_fit_inside_a_class(void **state)
{
    (void)state;
    grow_to(2000000);
    assert_int_equal(buddy_alloc(&buddy, 2000000), 0);
    buddy_free(&buddy, 100, 1000);
    buddy_free(&buddy, 50000, 1001);
    buddy_free(&buddy, 700000, 1002);
    buddy_free(&buddy, 1900000, 1001);
    assert_int_equal(buddy_class_of(1000), buddy_class_of(1002));
    assert_true(buddy_alloc(&buddy, 1003) == BUDDY_NONE);
    assert_int_equal(buddy_alloc(&buddy, 1002), 700000);
    assert_int_equal(buddy_alloc(&buddy, 1001), 50000);
    assert_int_equal(buddy_alloc(&buddy, 1001), 1900000);
    assert_true(buddy_alloc(&buddy, 1001) == BUDDY_NONE);
    assert_int_equal(buddy_alloc(&buddy, 1000), 100);
    assert_sound();
}

/* The front of the longest run goes, and then another one of its class is the longest. */
static void test_longest_of_a_class_changes(void **state)
{
    (void)state;
    grow_to(100000);
    assert_int_equal(buddy_alloc(&buddy, 100000), 0);
    buddy_free(&buddy, 2560, 1010);
    buddy_free(&buddy, 50000, 1000);
    assert_int_equal(buddy_class_of(999), buddy_class_of(1010));
    assert_int_equal(buddy_alloc(&buddy, 11), 2560);
    assert_int_equal(buddy_largest_run(&buddy), 1000);
    assert_sound();
}

static void test_classes_rise(void **state)
{
    unsigned before = 0;

    (void)state;
    assert_int_equal(buddy_class_of(1), 0);
    for (uint64_t units = 2; units < 5000000; units += units < 5000 ? 1 : 37) {
        unsigned class = buddy_class_of(units);
        assert_in_range(class, before, before + 1);
        assert_true(class < BUDDY_EXACT_CLASSES ? class == units - 1 : units > class);
        assert_true(buddy_class_fitting(units) == class || buddy_class_fitting(units) == class + 1);
        before = class;
    }
    assert_int_equal(buddy_class_of(BUDDY_MAX_UNITS), BUDDY_CLASSES - 1);
}

static void test_aligned(void **state)
{
    (void)state;
    grow_to(5000);
    assert_int_equal(buddy_alloc(&buddy, 3), 0);
    assert_int_equal(buddy_alloc_aligned(&buddy, 5, 64), 64);
    assert_int_equal(buddy_free_units(&buddy), 5000 - 8);
    assert_int_equal(buddy_alloc(&buddy, 61), 3); /* the slack came back */
    assert_int_equal(buddy_alloc(&buddy, 5000 - 69), 69);
    assert_true(buddy_alloc_aligned(&buddy, 1, 1) == BUDDY_NONE);
    buddy_free(&buddy, 1024, 64); /* too short for count + align - 1, but well placed */
    buddy_free(&buddy, 2040, 70);
    assert_true(buddy_alloc_aligned(&buddy, 63, 64) == 1024);
    assert_true(buddy_alloc_aligned(&buddy, 63, 64) == BUDDY_NONE);
    assert_true(buddy_alloc_aligned(&buddy, 62, 64) == 2048);
    assert_sound();
}

static void test_next_free_run_and_stats(void **state)
{
    struct buddy_stats stats;
    uint64_t first, count;

    (void)state;
    grow_to(1000);
    assert_int_equal(buddy_alloc(&buddy, 1000), 0);
    buddy_free(&buddy, 3, 10);  /* 3, 4-7, 8-11, 12 */
    buddy_free(&buddy, 64, 64); /* one block of order 6 */
    assert_true(buddy_next_free_run(&buddy, 0, &first, &count) && first == 3 && count == 10);
    assert_true(buddy_next_free_run(&buddy, 5, &first, &count) && first == 5 && count == 8);
    assert_true(buddy_next_free_run(&buddy, 13, &first, &count) && first == 64 && count == 64);
    assert_false(buddy_next_free_run(&buddy, 128, &first, &count));
    buddy_stats(&buddy, &stats);
    assert_int_equal(stats.usable_units, 1000);
    assert_int_equal(stats.free_units, 74);
    assert_int_equal(stats.largest_run, 64);
    assert_int_equal(stats.free_runs, 2);
    assert_int_equal(stats.free_blocks[0], 2);
    assert_int_equal(stats.free_blocks[2], 2);
    assert_int_equal(stats.free_blocks[6], 1);
}

/* ---- rebuild ------------------------------------------------------------------------------ */

static void test_rebuild(void **state)
{
    (void)state;
    grow_to(100000);
    memset(buddy.head, 0x5a, sizeof *buddy.head);
    memset(buddy.bits, 0x5a, 100000 / 8);
    memset(buddy.level[0], 0x5a, sizeof(struct buddy_node));
    buddy_rebuild_begin(&buddy, meta, MAX_UNITS, 100000);
    assert_int_equal(buddy_rebuild_mark(&buddy, 500, 100), SP_OK);
    assert_int_equal(buddy_rebuild_mark(&buddy, 599, 2), SP_ECORRUPT);
    assert_int_equal(buddy_rebuild_mark(&buddy, 400, 101), SP_ECORRUPT);
    assert_int_equal(buddy_rebuild_mark(&buddy, 99999, 2), SP_ECORRUPT);
    assert_int_equal(buddy_rebuild_mark(&buddy, 99999, UINT64_MAX), SP_ECORRUPT);
    assert_int_equal(buddy_rebuild_mark(&buddy, UINT64_MAX, 1), SP_ECORRUPT);
    assert_int_equal(buddy_rebuild_mark(&buddy, 70000, 30000), SP_OK);
    buddy_rebuild_end(&buddy);
    assert_int_equal(buddy_free_units(&buddy), 100000 - 30100);
    assert_true(buddy_is_free(&buddy, 600, 69400));
    assert_true(buddy_is_free(&buddy, 0, 500));
    assert_int_equal(buddy_alloc(&buddy, 501), 600);
    assert_int_equal(buddy_alloc(&buddy, 500), 0);
    assert_sound();
}

/* ---- the cache ---------------------------------------------------------------------------- */

/* Frees one unit of each of some places, so that what was freed before has waited long enough. */
static void free_others(uint64_t first)
{
    for (uint64_t i = 0; i < BUDDY_CACHE_WAIT; i++)
        buddy_free(&buddy, first + 2 * i, 1);
}

static void test_cache_hands_out_again(void **state)
{
    char why[100];

    (void)state;
    grow_to(100000);
    buddy_use_cache(&buddy, &cache);
    uint64_t a = buddy_alloc(&buddy, 7);
    uint64_t c = buddy_alloc(&buddy, 7);
    uint64_t others = buddy_alloc(&buddy, 100);
    buddy_free(&buddy, a, 7);
    assert_int_equal(cache.resting_units, 7);
    assert_int_equal(buddy_free_units(&buddy), 100000 - 107);
    assert_true(buddy_is_used(&buddy, a, 7));
    assert_int_equal(buddy_check(&buddy, why, sizeof why), SP_ECORRUPT);
    free_others(others + 1);
    assert_int_equal(buddy_alloc(&buddy, 7), a);
    buddy_free(&buddy, a, 7);
    buddy_settle(&buddy);
    assert_int_equal(cache.resting_units, 0);
    assert_true(buddy_is_free(&buddy, a, 7));
    buddy_free(&buddy, c, 7); /* beside a free run: merges as soon as it is looked at */
    free_others(others + 21);
    assert_int_equal(cache.resting_units, BUDDY_CACHE_WAIT);
    assert_true(buddy_is_free(&buddy, a, 14));
    assert_int_equal(buddy_free_units(&buddy), 100000 - 100 + 2 * BUDDY_CACHE_WAIT);
    buddy_use_cache(&buddy, NULL);
    assert_sound();
}

static void test_cache_is_merged_when_needed(void **state)
{
    (void)state;
    grow_to(64000);
    buddy_use_cache(&buddy, &cache);
    for (unsigned i = 0; i < 640; i++)
        assert_int_equal(buddy_alloc(&buddy, 100), i * 100);
    for (unsigned i = 0; i < 5; i++)
        buddy_free(&buddy, i * 100, 100);
    assert_int_equal(cache.resting_units, 500);
    assert_int_equal(buddy_largest_run(&buddy), 0);
    assert_true(buddy_alloc(&buddy, 501) == BUDDY_NONE);
    assert_int_equal(buddy_alloc(&buddy, 500), 0);
    buddy_free(&buddy, 800, 100);
    buddy_free(&buddy, 900, 100);
    assert_int_equal(cache.resting_units, 200);
    assert_int_equal(buddy_alloc_aligned(&buddy, 128, 64), 832);
    assert_sound();
}

static void test_cache_keeps_to_its_limit(void **state)
{
    (void)state;
    grow_to(64000);
    buddy_use_cache(&buddy, &cache);
    for (unsigned i = 0; i < 640; i++)
        buddy_alloc(&buddy, 100);
    for (unsigned i = 0; i < 640; i += 2) {
        for (unsigned part = 0; part < 98; part += 2) /* pieces of 1, none beside another */
            buddy_free(&buddy, i * 100 + part, 1);
        assert_true(cache.resting_units <= 1000 + 98 * BUDDY_CACHE_WAIT);
    }
    for (unsigned i = 1; i < 640; i += 2) {
        buddy_free(&buddy, i * 100 + 1, 98);
        assert_true(cache.resting_units <= 1000 + 98 * BUDDY_CACHE_WAIT);
    }
    assert_int_equal(buddy_free_units(&buddy), 320 * 49 + 320 * 98);
    assert_sound();
}

/* ---- misuse ------------------------------------------------------------------------------- */

static void free_twice(void)
{
    buddy_free(&buddy, 10, 5);
    buddy_free(&buddy, 14, 2);
}

static void free_resting(void)
{
    buddy_use_cache(&buddy, &cache);
    buddy_free(&buddy, 10, 5);
    buddy_free(&buddy, 10, 5);
}

static void free_resting_later(void)
{
    buddy_use_cache(&buddy, &cache);
    buddy_free(&buddy, 10, 5);
    free_others(101);
    buddy_free(&buddy, 10, 5);
    free_others(201);
}

static void free_free_later(void)
{
    buddy_free(&buddy, 10, 5);
    buddy_use_cache(&buddy, &cache);
    buddy_free(&buddy, 12, 7);
    buddy_settle(&buddy);
}

static void free_outside(void)
{
    buddy_free(&buddy, 999, 2);
}

static void free_wrapping(void)
{
    buddy_free(&buddy, 500, UINT64_MAX - 100);
}

static void alloc_nothing(void)
{
    buddy_alloc(&buddy, 0);
}

static void align_to_three(void)
{
    buddy_free(&buddy, 10, 50);
    buddy_alloc_aligned(&buddy, 1, 3);
}

static void shrink_over_used(void)
{
    buddy_free(&buddy, 10, 980);
    buddy_shrink(&buddy, 500);
}

static void grow_backwards(void)
{
    buddy_grow(&buddy, 999);
}

static void test_misuse_aborts(void **state)
{
    static void (*const misuses[])(void) = {
        free_twice,    free_resting,  free_resting_later, free_free_later,  free_outside,
        free_wrapping, alloc_nothing, align_to_three,     shrink_over_used, grow_backwards};

    (void)state;
    grow_to(1000);
    assert_int_equal(buddy_alloc(&buddy, 1000), 0);
    for (size_t i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
        int status = 0;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(2);
            misuses[i]();
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("misuse %zu did not abort: status %d", i, status);
    }
}

/* ---- the checker -------------------------------------------------------------------------- */

static void make_mixed_arena(uint64_t units)
{
    grow_to(units);
    for (uint64_t first = 0; first < units; first += 400)
        buddy_alloc(&buddy, 200);
    for (uint64_t first = 0; first + 2000 < units; first += 2000)
        buddy_free(&buddy, first / 2 + 3, 11);
    assert_sound();
}

static void expect_complaint(const char *part)
{
    char why[256];

    assert_int_equal(buddy_check(&buddy, why, sizeof why), SP_ECORRUPT);
    if (!strstr(why, part))
        fail_msg("\"%s\" does not say \"%s\"", why, part);
}

static void spoil(uint64_t *word, uint64_t bits, const char *part)
{
    *word ^= bits;
    expect_complaint(part);
    *word ^= bits;
    assert_sound();
}

static void test_checker_names_the_damage(void **state)
{
    (void)state;
    make_mixed_arena(40000);
    spoil(&buddy.bits[626], 1ULL << 63, "beyond the usable 40000");
    spoil(&buddy.bits[3], 1ULL << 9, "the bitmap has");
    spoil(&buddy.head->free_units, 4, "are said to be free");
    spoil(&buddy.head->unused[3], 4, "unused bytes of the head");
    for (unsigned level = 0; level < buddy.level_count; level++) {
        struct buddy_node *node = &buddy.level[level][0];
        spoil(&node->full, 1, "wholly free children");
        spoil(&node->longest, 1, "longest run is said");
        spoil(&node->has[5], 1ULL << 33, "runs of class 5 are marked");
        spoil(&node->classes[2], 1ULL << 7, "set of classes differs");
        spoil(&node->unused[1], 1, "unused bytes are not zero");
    }
}

static void flip_each_bit(void *part, size_t bytes)
{
    unsigned char *p = part;

    for (size_t i = 0; i < bytes * 8; i += 3) {
        p[i / 8] ^= (unsigned char)(1U << (i % 8));
        if (buddy_check(&buddy, NULL, 0) != SP_ECORRUPT)
            fail_msg("bit %zu of the part at %td is not checked", i, p - meta);
        p[i / 8] ^= (unsigned char)(1U << (i % 8));
    }
}

static void test_checker_sees_each_bit(void **state)
{
    (void)state;
    make_mixed_arena(2300);
    flip_each_bit(buddy.head, sizeof *buddy.head);
    flip_each_bit(buddy.bits, buddy_bucket_count(2300) * BUDDY_BUCKET_UNITS / 8);
    for (unsigned level = 0; level < buddy.level_count; level++)
        flip_each_bit(buddy.level[level], sizeof(struct buddy_node));
    assert_sound();
}

/* Reading functions on garbage: any answer, but no signal. Pages outside the spans are closed. */
static void test_garbage_is_survived(void **state)
{
    struct buddy_stats stats;
    uint64_t first = 0, count = 0;
    char why[64];

    (void)state;
    random_start();
    for (unsigned round = 0; round < 40; round++) {
        uint64_t usable = 1 + random_next() % 60000;
        uint64_t mask = round % 3 == 0 ? UINT64_MAX : random_next();
        struct buddy_span spans[BUDDY_MAX_SPANS];
        struct buddy b;
        size_t span_count = buddy_meta_spans(MAX_UNITS, 0, usable, spans, BUDDY_MAX_SPANS);
        open_spans(0, usable);
        for (size_t i = 0; i < span_count; i++) {
            for (size_t off = 0; off < spans[i].len; off += 8)
                *(uint64_t *)(meta + spans[i].off + off) =
                    round % 5 == 0 ? UINT64_MAX : random_next() & mask;
        }
        assert_int_equal(buddy_attach(&b, meta, MAX_UNITS, usable), SP_OK);
        assert_int_equal(buddy_check(&b, why, sizeof why), SP_ECORRUPT);
        buddy_stats(&b, &stats);
        assert_true(stats.largest_run <= usable);
        for (first = count = 0; buddy_next_free_run(&b, first + count, &first, &count);)
            assert_true(first < usable && count <= usable - first);
        buddy_is_free(&b, usable / 2, usable - usable / 2);
        buddy_is_used(&b, usable / 2, usable - usable / 2);
        buddy_largest_run(&b);
        assert_int_equal(mprotect(meta, buddy_meta_bytes(MAX_UNITS), PROT_NONE), 0);
    }
}

/* Goal: what moves blocks down gets the first run that is long enough, however long; its own cursor
 * goes on from there, and a run that has grown downwards behind the cursor is passed over. */
static void test_lowest_run_from_a_cursor(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    grow_to(5000);
    assert_true(buddy_alloc(&buddy, 1000) == 0);
    buddy_free(&buddy, 100, 5);
    buddy_free(&buddy, 200, 50);
    buddy_free(&buddy, 300, 9);
    assert_true(buddy_alloc_low(&buddy, 9, &cursor, 1000) == 200); /* not the best fit, at 300 */
    assert_true(cursor == 209);
    buddy_free(&buddy, 200, 9); /* now the cursor stands inside a run */
    assert_true(buddy_alloc_low(&buddy, 9, &cursor, 300) == BUDDY_NONE);
    assert_true(buddy_alloc_low(&buddy, 9, &cursor, 1000) == 300);
    cursor = 0;
    assert_true(buddy_alloc_low(&buddy, 5, &cursor, 1000) == 100);
    assert_true(buddy_alloc_low(&buddy, 51, &cursor, 1000) == BUDDY_NONE);
    assert_int_equal(buddy_check(&buddy, NULL, 0), SP_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_limits),
        CASE(test_metadata_share),
        CASE(test_empty_arena_touches_nothing),
        CASE(test_grow_and_shrink),
        CASE(test_arena_ends_with_a_page),
        CASE(test_requests_span_buddies),
        CASE(test_any_run_can_be_freed),
        CASE(test_shortest_run_lowest_address),
        CASE(test_fit_inside_a_class),
        CASE(test_longest_of_a_class_changes),
        CASE(test_classes_rise),
        CASE(test_aligned),
        CASE(test_lowest_run_from_a_cursor),
        CASE(test_next_free_run_and_stats),
        CASE(test_rebuild),
        CASE(test_cache_hands_out_again),
        CASE(test_cache_is_merged_when_needed),
        CASE(test_cache_keeps_to_its_limit),
        CASE(test_misuse_aborts),
        CASE(test_checker_names_the_damage),
        CASE(test_checker_sees_each_bit),
        CASE(test_garbage_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
