/* SPDX-License-Identifier: Apache-2.0
 *
 * test_top.c - what `sidepond top` makes of two answers to INFO.
 *
 * Goal: rates, shares and percentiles are those of the calls between two samples; a server that was
 * started anew or reset, and a pond that is another one, give no rates; an answer that is cut or
 * forged gives what is right in it.
 * Method: answers written by hand, two samples a second and a half apart.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/tool/top.h"

static struct top_sample before, now;
static const struct top_pair pair = {&before, &now};

static void parse(const char *text, struct top_sample *out)
{
    out->cache.seen = top_info_parse(text, strlen(text), &out->cache);
    assert_true(out->cache.seen);
}

static int setup(void **state)
{
    (void)state;
    memset(&before, 0, sizeof before);
    memset(&now, 0, sizeof now);
    before.at_us = 1000000;
    now.at_us = 2500000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    top_cache_free(&before.cache);
    top_cache_free(&now.cache);
    return 0;
}

static struct top_command_row row_of(const char *name, enum top_command_order order, size_t *at)
{
    struct top_command_row found = {0}, *rows = top_command_rows(&pair, order);
    assert_non_null(rows);
    for (size_t i = 0; i < now.cache.command_count; i++)
        if (strcmp(rows[i].command->name, name) == 0) {
            found = rows[i];
            *at = i;
        }
    free(rows);
    assert_non_null(found.command);
    return found;
}

#define GET_BEFORE                                                                                 \
    "cmdstat_get:calls=1000,usec=1000,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n"      \
    "latency_buckets_ns_get:320=900,640=100\r\n"
#define GET_NOW                                                                                    \
    "cmdstat_get:calls=1300,usec=1600,usec_per_call=1.23,rejected_calls=1,failed_calls=2\r\n"      \
    "cmdstat_set:calls=30,usec=200,usec_per_call=6.66,rejected_calls=0,failed_calls=0\r\n"         \
    "latency_buckets_ns_get:320=900,512=200,640=199,1024=1\r\n"                                    \
    "latency_buckets_ns_set:8192=30\r\n"

static void test_what_happened_between(void **state)
{
    (void)state;
    size_t at;
    parse("total_commands_processed:1000\r\n" GET_BEFORE, &before);
    parse("total_commands_processed:1330\r\n" GET_NOW, &now);
    struct top_command_row get = row_of("get", TOP_BY_CALLS, &at);
    assert_int_equal(at, 0);
    assert_true(get.calls == 200 && get.failed == 2);
    assert_true(get.mean_ns == 2000 && get.share == 0.75);
    assert_true(get.p50_ns == 512 && get.p99_ns == 640); /* the 900 of before are left out */
    struct top_command_row set = row_of("set", TOP_BY_P99, &at);
    assert_int_equal(at, 0);
    assert_true(set.calls == 20 && set.p50_ns == 8192 && set.share == 0.25);
    row_of("get", TOP_BY_COMMAND, &at);
    assert_int_equal(at, 0);
    row_of("get", TOP_BY_TIME, &at);
    assert_int_equal(at, 0);
}

/* All that is known of a single sample is what there has been from the start on. */
static void test_first_sample(void **state)
{
    (void)state;
    size_t at;
    parse(GET_NOW, &now);
    before.cache.seen = false;
    struct top_command_row get = row_of("get", TOP_BY_CALLS, &at);
    assert_true(isnan(get.calls) && get.p50_ns == 320 && get.p99_ns == 640);
    const struct top_pair alone = {NULL, &now};
    assert_true(isnan(top_seconds(&alone)) && isnan(top_rate(&alone, 0, 1)));
    assert_false(top_same_pond(&alone));
}

static void test_another_server(void **state)
{
    (void)state;
    size_t at;
    parse("uptime_in_seconds:50\r\ntotal_commands_processed:9\r\n" GET_NOW, &before);
    parse("uptime_in_seconds:1\r\ntotal_commands_processed:10\r\n" GET_BEFORE, &now);
    assert_false(top_same_server(&pair));
    assert_true(isnan(row_of("get", TOP_BY_CALLS, &at).calls));
    now.cache.uptime_s = 51;
    assert_true(top_same_server(&pair));
    now.cache.calls = 8; /* CONFIG RESETSTAT */
    assert_false(top_same_server(&pair));
}

static void test_numbers(void **state)
{
    (void)state;
    parse("# Stats\r\nkeyspace_hits:12\r\nkeyspace_misses:18446744073709551616\r\n"
          "shm_keyspace_hits:7\nmaxmemory_policy:noeviction\r\nsidepond_version:1.2.3\r\n"
          "db0:keys=5,expires=3,avg_ttl=0\r\nconnected_clients\r\n:\r\nunknown:1\r\n"
          "evicted_keys:4",
          &now);
    assert_int_equal(now.cache.hits, 12);
    assert_int_equal(now.cache.misses, 0); /* too large to be one */
    assert_int_equal(now.cache.shm_hits, 7);
    assert_false(now.cache.evicts);
    assert_string_equal(now.cache.version, "1.2.3");
    assert_int_equal(now.cache.entries, 5);
    assert_int_equal(now.cache.expiring, 3);
    assert_int_equal(now.cache.evicted, 4);
    assert_int_equal(now.cache.command_count, 0);
}

static void test_forged(void **state)
{
    (void)state;
    char text[4096];
    size_t size = 0;
    parse("cmdstat_\x1b[2J:calls=1\r\ncmdstat_:calls=1\r\nlatency_buckets_ns_get:640=1,320=5,0=1,"
          "640=2,700=3,=,\r\n",
          &now);
    assert_int_equal(now.cache.command_count, 1);
    assert_int_equal(now.cache.commands[0].bucket_count, 2);
    assert_int_equal(now.cache.commands[0].buckets[1].end_ns, 700);
    size += (size_t)sprintf(text + size, "latency_buckets_ns_get:");
    for (unsigned i = 1; i < 300; i++)
        size += (size_t)sprintf(text + size, "%u=1,", i);
    parse(text, &now);
    assert_int_equal(now.cache.commands[0].bucket_count, TOP_BUCKETS_MAX);
    for (unsigned i = 0; i < 3000; i++) {
        sprintf(text, "cmdstat_%u:calls=1\n", i);
        parse(text, &now);
    }
    assert_int_equal(now.cache.command_count, 1024);
}

static void test_tables(void **state)
{
    (void)state;
    struct top_table tables[2][2] = {{{"a", {.change_count = 10}}, {"b", {.change_count = 1}}},
                                     {{"b", {.change_count = 4, .age_ms = 5, .rows = 1}},
                                      {"a", {.change_count = 10, .age_ms = UINT64_MAX}}}};
    before.tables = tables[0];
    now.tables = tables[1];
    before.table_count = now.table_count = 2;
    static const char *const first[TOP_TABLE_ORDERS] = {"a", "b", "a", "b"};
    for (int order = 0; order < TOP_TABLE_ORDERS; order++) {
        struct top_table_row *rows = top_table_rows(&pair, (enum top_table_order)order);
        assert_string_equal(rows[0].table->name, first[order]);
        assert_true((rows[0].table->name[0] == 'b' ? rows[0] : rows[1]).changes == 2);
        free(rows);
    }
    now.pond.id[0] = 1;
    struct top_table_row *rows = top_table_rows(&pair, TOP_BY_TABLE);
    assert_true(isnan(rows[0].changes));
    free(rows);
}

static void test_room(void **state)
{
    (void)state;
    struct top_frame frame = {.pair = pair};
    now.table_count = 100;
    now.cache.seen = true;
    now.cache.command_count = 100;
    now.reader_count = 100;
    for (unsigned lines = 1; lines < 200; lines++) {
        top_frame_fit(&frame, lines);
        size_t taken = 9 + 3 * 3 + frame.tables_max + frame.commands_max + frame.readers_max;
        assert_true(lines < 40 || taken == lines);
        assert_true(frame.tables_max >= 1 && frame.commands_max >= 1 && frame.readers_max >= 1);
    }
    now.table_count = now.reader_count = 0;
    top_frame_fit(&frame, 30);
    assert_int_equal(frame.commands_max, 30 - 9 - 3); /* blank, header, "and so many more" */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_happened_between, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_sample, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
