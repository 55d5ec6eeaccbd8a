/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_check.c - Goal: the checker of rings objects to each thing that must not happen, with
 * the rule for it and no other, and to nothing that may happen. Method: forged logs, a few
 * operations each, with one fault or none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "ring_check.h"

#define RECORDS_MAX 32u
#define KEY         7u
#define MS          1000000u
#define ANN         1u
#define BOB         2u
#define NOBODY      9u

struct forged {
    struct ring_log_record records[RECORDS_MAX];
    size_t count;
    struct ring_check_options options;
};

/* An operation from `begin` to `end` ms. */
static struct ring_log_record *operation(struct forged *log, uint16_t writer, int op,
                                         uint64_t begin, uint64_t end)
{
    assert_true(log->count < RECORDS_MAX);
    struct ring_log_record *record = &log->records[log->count++];
    *record = (struct ring_log_record){.key = KEY,
                                       .writer = writer,
                                       .op = (uint8_t)op,
                                       .begin_ns = begin * MS,
                                       .end_ns = end * MS,
                                       .have = 2,
                                       .want = 2};
    return record;
}

static struct ring_log_record *set(struct forged *log, uint16_t writer, uint32_t number,
                                   uint64_t begin, uint64_t end)
{
    struct ring_log_record *record = operation(log, writer, RING_LOG_SET, begin, end);
    record->number = number;
    return record;
}

static struct ring_log_record *delete (struct forged *log, uint16_t writer, uint32_t number,
                                       uint64_t begin, uint64_t end)
{
    struct ring_log_record *record = operation(log, writer, RING_LOG_DELETE, begin, end);
    record->number = number;
    return record;
}

/* A read of this write, by a client or, as its last state, from a node; number 0: absent. */
static struct ring_log_record *found(struct forged *log, uint16_t reader, int op, uint16_t writer,
                                     uint32_t number, uint64_t begin)
{
    struct ring_log_record *record = operation(log, reader, op, begin, begin + 1);
    record->value_writer = number ? writer : 0;
    record->number = number;
    record->outcome = number ? RING_LOG_OK : RING_LOG_ABSENT;
    return record;
}

static void finals(struct forged *log, uint16_t writer, uint32_t number)
{
    found(log, 0, RING_LOG_FINAL, writer, number, 1000);
    found(log, 1, RING_LOG_FINAL, writer, number, 1010);
}

/* The verdict is an objection by this rule and no other; RING_RULES: none. */
static void expect(struct forged *log, unsigned rule)
{
    struct ring_verdict verdict;
    assert_true(ring_check(log->records, log->count, &log->options, &verdict));
    for (unsigned i = 0; i < RING_RULES; i++) {
        if ((verdict.counts[i] > 0) != (i == rule))
            print_error("%s: %u\n", ring_rule_name(i), (unsigned)verdict.counts[i]);
        assert_int_equal(verdict.counts[i] > 0, i == rule);
    }
    assert_int_equal(ring_verdict_objects(&verdict), rule != RING_RULES);
}

/* --- what may happen ------------------------------------------------------------------------ */

static void quiet_work_is_right(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 12);
    found(&log, ANN, RING_LOG_GET, ANN, 1, 13);
    delete (&log, ANN, 2, 20, 21);
    found(&log, ANN, RING_LOG_GET, 0, 0, 22);
    set(&log, BOB, 1, 30, 31);
    found(&log, ANN, RING_LOG_GET, BOB, 1, 40);
    finals(&log, BOB, 1);
    expect(&log, RING_RULES);
}

static void writes_that_overlap_may_end_either_way(void **state)
{
    (void)state;
    for (uint16_t winner = ANN; winner <= BOB; winner++) {
        struct forged log = {.count = 0};
        set(&log, ANN, 1, 10, 20);
        set(&log, BOB, 1, 15, 25);
        found(&log, ANN, RING_LOG_GET, winner, 1, 30);
        finals(&log, winner, 1);
        expect(&log, RING_RULES);
    }
}

/* A write of which nothing is known may be done, not done, or done after later ones of others. */
static void an_unknown_write_may_end_either_way(void **state)
{
    (void)state;
    for (uint16_t winner = ANN; winner <= BOB; winner++) {
        struct forged log = {.options = {.no_finals = true}};
        set(&log, ANN, 1, 10, 20)->outcome = RING_LOG_UNKNOWN;
        set(&log, BOB, 1, 25, 26);
        found(&log, BOB, RING_LOG_GET, winner, 1, 30);
        finals(&log, winner, 1);
        expect(&log, RING_RULE_FAILED_WRITE);
    }
}

static void what_others_wrote_may_be_read_late(void **state)
{
    (void)state;
    struct ring_verdict verdict;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11)->flags = RING_LOG_BASE;
    set(&log, ANN, 2, 20, 21);
    found(&log, BOB, RING_LOG_GET, ANN, 1, 30);
    finals(&log, ANN, 2);
    expect(&log, RING_RULES);
    assert_true(ring_check(log.records, log.count, &log.options, &verdict));
    assert_int_equal(verdict.older_than_others, 1);
}

static void a_time_to_live_explains_absence(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11)->ttl_ms = 100;
    found(&log, ANN, RING_LOG_GET, 0, 0, 200);
    finals(&log, 0, 0);
    expect(&log, RING_RULES);
}

static void what_may_be_evicted_may_be_gone(void **state)
{
    (void)state;
    struct forged log = {.options = {.may_evict = true}};
    set(&log, ANN, 1, 10, 11);
    found(&log, ANN, RING_LOG_GET, 0, 0, 200);
    finals(&log, 0, 0);
    expect(&log, RING_RULES);
}

/* --- what must not -------------------------------------------------------------------------- */

static void a_failed_read_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    found(&log, BOB, RING_LOG_GET, 0, 0, 20)->outcome = RING_LOG_FAILED;
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_FAILED_READ);
}

static void a_failed_write_is_seen(void **state)
{
    (void)state;
    for (unsigned unknown = 0; unknown < 2; unknown++) {
        struct forged log = {.count = 0};
        set(&log, ANN, 1, 10, 11);
        set(&log, ANN, 2, 20, 21)->outcome = unknown ? RING_LOG_UNKNOWN : RING_LOG_FAILED;
        finals(&log, ANN, 1);
        expect(&log, RING_RULE_FAILED_WRITE);
    }
}

static void a_lost_write_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    set(&log, BOB, 1, 20, 21);
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_LOST);
}

static void a_key_that_is_gone_at_the_end_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    delete (&log, BOB, 1, 5, 6);
    set(&log, ANN, 1, 10, 11);
    finals(&log, 0, 0);
    expect(&log, RING_RULE_LOST);
}

static void a_log_without_an_end_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    expect(&log, RING_RULE_LOST);
}

static void a_deleted_key_that_returns_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    delete (&log, ANN, 2, 20, 21);
    found(&log, ANN, RING_LOG_GET, ANN, 1, 30);
    finals(&log, 0, 0);
    expect(&log, RING_RULE_RETURNED);
}

static void a_deleted_key_that_is_back_at_the_end_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    delete (&log, BOB, 1, 20, 21);
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_RETURNED);
}

static void a_stale_read_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, BOB, 1, 10, 11);
    set(&log, ANN, 1, 20, 21);
    found(&log, ANN, RING_LOG_GET, BOB, 1, 30);
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_STALE);
}

/* An old write of the same client cannot pass a later one, though nobody knows when it was done. */
static void a_late_write_of_the_same_client_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 25);
    set(&log, ANN, 2, 20, 21);
    found(&log, ANN, RING_LOG_GET, ANN, 1, 30);
    finals(&log, ANN, 2);
    expect(&log, RING_RULE_STALE);
}

static void a_false_miss_is_seen(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags <= RING_LOG_BASE; flags++) {
        struct forged log = {.count = 0};
        set(&log, ANN, 1, 10, 11)->flags = (uint8_t)flags;
        found(&log, flags ? BOB : ANN, RING_LOG_GET, 0, 0, 20);
        finals(&log, ANN, 1);
        expect(&log, RING_RULE_FALSE_MISS);
    }
}

static void a_foreign_value_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    found(&log, BOB, RING_LOG_GET, NOBODY, 3, 20);
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_FOREIGN);
    log.count--;
    log.records[1].outcome = RING_LOG_WRONG;
    expect(&log, RING_RULE_FOREIGN);
}

static void a_value_before_it_was_written_is_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 11);
    found(&log, BOB, RING_LOG_GET, ANN, 1, 5);
    finals(&log, ANN, 1);
    expect(&log, RING_RULE_FOREIGN);
}

static void unequal_copies_are_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    set(&log, ANN, 1, 10, 20);
    set(&log, BOB, 1, 15, 25);
    found(&log, 0, RING_LOG_FINAL, ANN, 1, 1000);
    found(&log, 1, RING_LOG_FINAL, BOB, 1, 1000);
    expect(&log, RING_RULE_UNEQUAL);
}

static void lost_increments_are_seen(void **state)
{
    (void)state;
    struct forged log = {.count = 0};
    for (uint32_t i = 1; i <= 3; i++)
        operation(&log, (uint16_t)i, RING_LOG_INCR, i * 10, i * 10 + 1)->number = i;
    finals(&log, 0, 3);
    for (size_t i = 0; i < log.count; i++)
        log.records[i].key = RING_LOG_COUNTERS;
    expect(&log, RING_RULES);
    for (size_t i = 3; i < log.count; i++)
        log.records[i].number = 2;
    expect(&log, RING_RULE_COUNTER);
    log.options.no_counters = true;
    expect(&log, RING_RULES);
}

/* What one copy alone had acknowledged may be lost with it, and no more than that. */
static void increments_on_one_copy_may_be_lost(void **state)
{
    (void)state;
    for (uint32_t lost = 1; lost <= 2; lost++) {
        struct forged log = {.count = 0};
        for (uint32_t i = 1; i <= 3; i++)
            operation(&log, (uint16_t)i, RING_LOG_INCR, i * 10, i * 10 + 1)->number = i;
        log.records[1].have = 1;
        finals(&log, 0, 3 - lost);
        for (size_t i = 0; i < log.count; i++)
            log.records[i].key = RING_LOG_COUNTERS;
        expect(&log, lost == 1 ? RING_RULES : RING_RULE_COUNTER);
    }
}

/* --- values, and outages -------------------------------------------------------------------- */

static void values_are_known_and_damage_is_seen(void **state)
{
    (void)state;
    uint8_t value[100];
    uint16_t writer = 0;
    uint32_t number = 0;
    ring_value_make(KEY, BOB, 77, value, sizeof(value));
    assert_true(ring_value_read(KEY, value, sizeof(value), &writer, &number));
    assert_int_equal(writer, BOB);
    assert_int_equal(number, 77);
    assert_false(ring_value_read(KEY + 1, value, sizeof(value), &writer, &number));
    assert_false(ring_value_read(KEY, value, sizeof(value) - 1, &writer, &number));
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] ^= 1;
        assert_false(ring_value_read(KEY, value, sizeof(value), &writer, &number));
        value[i] ^= 1;
    }
}

static void an_outage_lasts_from_good_to_good(void **state)
{
    (void)state;
    struct ring_outage outage;
    struct forged log = {.count = 0};
    const struct ring_outage_options options = {.from_ns = 10 * MS, .until_ns = 1000 * MS};
    found(&log, ANN, RING_LOG_GET, ANN, 1, 10);
    found(&log, ANN, RING_LOG_GET, ANN, 1, 20)->outcome = RING_LOG_FAILED;
    found(&log, ANN, RING_LOG_GET, ANN, 1, 99);
    found(&log, ANN, RING_LOG_GET, ANN, 1, 2000);
    assert_true(ring_outage(log.records, log.count, &options, false, &outage));
    assert_int_equal(outage.done, 2);
    assert_int_equal(outage.failed, 1);
    assert_int_equal(outage.longest_ns, 89 * MS);
    assert_int_equal(outage.slowest_ns, MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_work_is_right),
        cmocka_unit_test(writes_that_overlap_may_end_either_way),
        cmocka_unit_test(an_unknown_write_may_end_either_way),
        cmocka_unit_test(what_others_wrote_may_be_read_late),
        cmocka_unit_test(a_time_to_live_explains_absence),
        cmocka_unit_test(what_may_be_evicted_may_be_gone),
        cmocka_unit_test(a_failed_read_is_seen),
        cmocka_unit_test(a_failed_write_is_seen),
        cmocka_unit_test(a_lost_write_is_seen),
        cmocka_unit_test(a_key_that_is_gone_at_the_end_is_seen),
        cmocka_unit_test(a_log_without_an_end_is_seen),
        cmocka_unit_test(a_deleted_key_that_returns_is_seen),
        cmocka_unit_test(a_deleted_key_that_is_back_at_the_end_is_seen),
        cmocka_unit_test(a_stale_read_is_seen),
        cmocka_unit_test(a_late_write_of_the_same_client_is_seen),
        cmocka_unit_test(a_false_miss_is_seen),
        cmocka_unit_test(a_foreign_value_is_seen),
        cmocka_unit_test(a_value_before_it_was_written_is_seen),
        cmocka_unit_test(unequal_copies_are_seen),
        cmocka_unit_test(lost_increments_are_seen),
        cmocka_unit_test(increments_on_one_copy_may_be_lost),
        cmocka_unit_test(values_are_known_and_damage_is_seen),
        cmocka_unit_test(an_outage_lasts_from_good_to_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
