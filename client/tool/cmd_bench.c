/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_bench.c - `sidepond bench [TABLE]`: what a read of this pond takes on this machine.
 *
 * Existing keys are read in random order, each value copied out: one by one, in batches of 16, and
 * from a private hash table of the same rows. The three take turns in short slices, so that what
 * else the machine does hits all alike; the medians of the slices are printed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/clock.h"
#include "bench_keys.h"
#include "json.h"
#include "table.h"

#define BATCH      16
#define SLICES     11
#define KEYS_SLICE 1024 /* keys between two looks at the clock */

struct bench {
    struct tool *tool;
    struct sp_table *table;
    struct bench_keys keys;
    unsigned char *out; /* BATCH values */
    size_t out_bytes;
    size_t at, asked_at; /* next row, and where its key is in keys.asked */
    uint64_t misses;     /* rows that have gone or grown meanwhile */
};

/* A key of some row. */
static const unsigned char *key_next(struct bench *bench, size_t *size)
{
    const struct bench_keys *keys = &bench->keys;
    const unsigned char *key = keys->asked + bench->asked_at;
    *size = keys->rows[bench->at].key_bytes;
    bool last = ++bench->at == keys->count;
    bench->at = last ? 0 : bench->at;
    bench->asked_at = last ? 0 : bench->asked_at + *size;
    return key;
}

static void read_single(struct bench *bench)
{
    for (int i = 0; i < KEYS_SLICE; i++) {
        size_t key_bytes, size;
        const unsigned char *key = key_next(bench, &key_bytes);
        bench->misses +=
            sp_get(bench->table, key, key_bytes, bench->out, bench->out_bytes, &size) != SP_OK;
    }
}

static void read_batches(struct bench *bench)
{
    for (int i = 0; i < KEYS_SLICE; i += BATCH) {
        struct sp_get gets[BATCH];
        for (size_t k = 0; k < BATCH; k++) {
            gets[k].key = key_next(bench, &gets[k].key_bytes);
            gets[k].out = bench->out + k * bench->out_bytes;
            gets[k].cap = bench->out_bytes;
        }
        bench->misses += sp_mget(bench->table, gets, BATCH) != SP_OK;
    }
}

static void read_private(struct bench *bench)
{
    for (int i = 0; i < KEYS_SLICE; i++) {
        size_t key_bytes;
        const unsigned char *key = key_next(bench, &key_bytes);
        bench->misses += bench_private_get(&bench->keys, key, key_bytes, bench->out) == SIZE_MAX;
    }
}

static double slice_run(struct bench *bench, void (*read)(struct bench *), uint64_t slice_ns)
{
    uint64_t begun = clock_ns(), now = begun, count = 0;
    while (now - begun < slice_ns) {
        read(bench);
        count += KEYS_SLICE;
        now = clock_ns();
    }
    return (double)(now - begun) / (double)count;
}

static int number_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct bench *bench, uint32_t time_ms, double ns[3])
{
    static void (*const reads[])(struct bench *) = {read_single, read_batches, read_private};
    double slices[3][SLICES];
    uint64_t slice_ns = (uint64_t)time_ms * 1000000u / SLICES;
    for (int what = 0; what < 3; what++)
        slice_run(bench, reads[what], slice_ns / 2);
    for (int i = 0; i < SLICES; i++)
        for (int what = 0; what < 3; what++)
            slices[what][i] = slice_run(bench, reads[what], slice_ns);
    for (int what = 0; what < 3; what++) {
        qsort(slices[what], SLICES, sizeof(double), number_compare);
        ns[what] = slices[what][SLICES / 2];
    }
}

static int result_print(const struct bench *bench, const double ns[3])
{
    static const char *const headers[] = {"READ", "NS PER GET", "GETS PER SECOND", "TO PRIVATE"};
    static const char *const names[] = {"get", "get in batches of 16", "private hash table"};
    struct text_table out;
    char count[TEXT_BYTES], size[TEXT_BYTES];
    printf("table %s: %s rows read at random, %s\n\n", sp_table_name(bench->table),
           text_count(bench->tool, bench->keys.count, count),
           text_size(bench->keys.bytes_used, size));
    text_table_init(&out, bench->tool, 4, headers, "lrrr");
    for (int i = 0; i < 3; i++) {
        text_cell(&out, TEXT_CYAN, "%s", names[i]);
        text_cell(&out, TEXT_BOLD, "%.1f", ns[i]);
        text_cell(&out, TEXT_PLAIN, "%s", text_count(bench->tool, (uint64_t)(1e9 / ns[i]), count));
        text_cell(&out, TEXT_PLAIN, "%.2f", ns[i] / ns[2]);
    }
    text_table_print(&out, NULL, true);
    text_table_free(&out);
    return TOOL_OK;
}

static int result_json(const struct bench *bench, const double ns[3])
{
    return json_print(json_pack(
        "{s:s, s:I, s:I, s:f, s:f, s:f, s:I}", "table", sp_table_name(bench->table), "rows",
        (json_int_t)bench->keys.count, "bytes", (json_int_t)bench->keys.bytes_used, "get_ns", ns[0],
        "batch_get_ns", ns[1], "private_get_ns", ns[2], "misses", (json_int_t)bench->misses));
}

/* The table asked for, or the one with the most rows. */
static int table_choose(struct bench *bench)
{
    struct tool *tool = bench->tool;
    const char **names;
    size_t count = 0;
    uint64_t most = 0;
    if (tool->arg_count == 1)
        return tool_table(tool, tool->args[0], &bench->table);
    int code = tool_table_names(tool, &names, &count);
    if (code != TOOL_OK)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info = SP_TABLE_INFO_INIT;
        struct sp_table *table;
        if (sp_table_open(tool->pond, names[i], &table) == SP_OK &&
            sp_table_info(table, &info) == SP_OK && info.rows > most) {
            most = info.rows;
            bench->table = table;
        }
    }
    free(names);
    if (bench->table != NULL)
        return TOOL_OK;
    tool_error("the pond has no table with rows");
    return TOOL_NO;
}

static int bench_run(struct bench *bench, uint32_t time_ms, uint64_t keys_max)
{
    double ns[3];
    int code = bench_keys_read(&bench->keys, bench->tool, bench->table, keys_max);
    if (code != TOOL_OK)
        return code;
    if (bench->keys.count == 0) {
        tool_error("table \"%s\" has no rows", sp_table_name(bench->table));
        return TOOL_NO;
    }
    bench_keys_shuffle(&bench->keys, clock_ns());
    code = bench_keys_ask(&bench->keys);
    if (code == TOOL_OK)
        code = bench_keys_index(&bench->keys);
    if (code != TOOL_OK)
        return code;
    bench->out_bytes = bench->keys.value_bytes_max + 64;
    bench->out = calloc(BATCH, bench->out_bytes);
    if (bench->out == NULL)
        return tool_failed(SP_ENOMEM, "values");
    measure(bench, time_ms, ns);
    return bench->tool->json ? result_json(bench, ns) : result_print(bench, ns);
}

int tool_bench(struct tool *tool)
{
    struct bench bench = {.tool = tool};
    uint32_t time_ms;
    uint64_t keys_max;
    int code = tool_option_ms(tool, "time", 1000, &time_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "keys", 1, 1000000, &keys_max);
    if (code == TOOL_OK && keys_max > UINT32_MAX - 1) {
        tool_error("--keys: at most %" PRIu32, UINT32_MAX - 1);
        code = TOOL_USAGE;
    }
    if (code == TOOL_OK)
        code = tool_open(tool);
    if (code == TOOL_OK)
        code = table_choose(&bench);
    if (code == TOOL_OK)
        code = bench_run(&bench, time_ms, keys_max);
    bench_keys_free(&bench.keys);
    free(bench.out);
    return code;
}
