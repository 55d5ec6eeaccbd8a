/* SPDX-License-Identifier: Apache-2.0
 *
 * top_rates.c - what happened between two samples: per second, as shares and as percentiles.
 *
 * Percentiles are those of the calls between: the buckets of the earlier sample are taken off those
 * of the later one. Each is the end of a bucket, so at most a quarter too high.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

const char *const top_command_orders[TOP_COMMAND_ORDERS] = {"calls", "time", "p99", "name"};
const char *const top_table_orders[TOP_TABLE_ORDERS] = {"name", "changes", "age", "rows"};

/* --- two numbers ------------------------------------------------------------------------------ */

double top_seconds(const struct top_pair *pair)
{
    if (pair->before == NULL || pair->now->at_us <= pair->before->at_us)
        return NAN;
    return (double)(pair->now->at_us - pair->before->at_us) / 1e6;
}

double top_rate(const struct top_pair *pair, uint64_t before, uint64_t now)
{
    return now < before ? NAN : (double)(now - before) / top_seconds(pair);
}

double top_ratio(double hits, double misses)
{
    return hits + misses > 0 ? hits / (hits + misses) : NAN;
}

bool top_same_pond(const struct top_pair *pair)
{
    return pair->before != NULL &&
           memcmp(pair->before->pond.id, pair->now->pond.id, sizeof pair->now->pond.id) == 0;
}

bool top_same_server(const struct top_pair *pair)
{
    return pair->before != NULL && pair->before->cache.seen && pair->now->cache.seen &&
           pair->now->cache.uptime_s >= pair->before->cache.uptime_s &&
           pair->now->cache.calls >= pair->before->cache.calls;
}

/* A number sorts as one that is not there: last. */
static int compare_down(double a, double b)
{
    a = isnan(a) ? -1 : a;
    b = isnan(b) ? -1 : b;
    return a < b ? 1 : a > b ? -1 : 0;
}

/* --- tables ----------------------------------------------------------------------------------- */

static const struct top_table *table_before(const struct top_pair *pair, const char *name)
{
    if (!top_same_pond(pair))
        return NULL;
    for (size_t i = 0; i < pair->before->table_count; i++)
        if (strcmp(pair->before->tables[i].name, name) == 0)
            return &pair->before->tables[i];
    return NULL;
}

static int tables_by_name(const void *a, const void *b)
{
    const struct top_table_row *x = a, *y = b;
    return strcmp(x->table->name, y->table->name);
}

static int tables_by_changes(const void *a, const void *b)
{
    const struct top_table_row *x = a, *y = b;
    int order = compare_down(x->changes, y->changes);
    return order != 0 ? order : tables_by_name(a, b);
}

static int tables_by_age(const void *a, const void *b)
{
    const struct top_table_row *x = a, *y = b;
    int order = compare_down((double)x->table->info.age_ms, (double)y->table->info.age_ms);
    return order != 0 ? order : tables_by_name(a, b);
}

static int tables_by_rows(const void *a, const void *b)
{
    const struct top_table_row *x = a, *y = b;
    int order = compare_down((double)x->table->info.rows, (double)y->table->info.rows);
    return order != 0 ? order : tables_by_name(a, b);
}

struct top_table_row *top_table_rows(const struct top_pair *pair, enum top_table_order order)
{
    static int (*const compare[])(const void *, const void *) = {tables_by_name, tables_by_changes,
                                                                 tables_by_age, tables_by_rows};
    size_t count = pair->now->table_count;
    struct top_table_row *rows = calloc(count + 1, sizeof *rows);
    if (rows == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const struct top_table *now = &pair->now->tables[i];
        const struct top_table *before = table_before(pair, now->name);
        rows[i] = (struct top_table_row){.table = now, .changes = NAN, .refreshes = NAN};
        if (before == NULL)
            continue;
        rows[i].changes = top_rate(pair, before->info.change_count, now->info.change_count);
        rows[i].refreshes = top_rate(pair, before->info.refresh_count, now->info.refresh_count);
    }
    qsort(rows, count, sizeof *rows, compare[order]);
    return rows;
}

/* --- commands --------------------------------------------------------------------------------- */

static const struct top_command *command_before(const struct top_pair *pair, size_t at,
                                                const char *name)
{
    static const struct top_command none;
    if (!top_same_server(pair))
        return &none;
    const struct top_cache *cache = &pair->before->cache;
    for (size_t i = 0; i < cache->command_count; i++) {
        const struct top_command *command = &cache->commands[(at + i) % cache->command_count];
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return &none;
}

/* What is in a bucket, less what was in it. */
static uint64_t bucket_calls(const struct top_command *before, const struct top_bucket *bucket)
{
    for (size_t i = 0; i < before->bucket_count && before->buckets[i].end_ns <= bucket->end_ns; i++)
        if (before->buckets[i].end_ns == bucket->end_ns)
            return bucket->calls > before->buckets[i].calls
                       ? bucket->calls - before->buckets[i].calls
                       : 0;
    return bucket->calls;
}

static double percentile(const struct top_command *before, const struct top_command *now,
                         double percent)
{
    uint64_t total = 0, seen = 0;
    for (size_t b = 0; b < now->bucket_count; b++)
        total += bucket_calls(before, &now->buckets[b]);
    for (size_t b = 0; b < now->bucket_count; b++) {
        seen += bucket_calls(before, &now->buckets[b]);
        if (seen > 0 && (double)seen >= (double)total * percent / 100)
            return (double)now->buckets[b].end_ns;
    }
    return NAN;
}

static struct top_command_row command_row(const struct top_pair *pair, size_t at)
{
    const struct top_command *now = &pair->now->cache.commands[at];
    const struct top_command *before = command_before(pair, at, now->name);
    uint64_t calls = now->calls >= before->calls ? now->calls - before->calls : 0;
    uint64_t us = now->us >= before->us ? now->us - before->us : 0;
    struct top_command_row row = {.command = now, .calls = NAN, .failed = NAN, .mean_ns = NAN};
    if (top_same_server(pair)) {
        row.calls = top_rate(pair, before->calls, now->calls);
        row.failed = top_rate(pair, before->failed + before->rejected, now->failed + now->rejected);
    }
    row.share = (double)us;
    if (calls > 0)
        row.mean_ns = (double)us * 1000 / (double)calls;
    row.p50_ns = percentile(before, now, 50);
    row.p99_ns = percentile(before, now, 99);
    return row;
}

static int commands_by_name(const void *a, const void *b)
{
    const struct top_command_row *x = a, *y = b;
    return strcmp(x->command->name, y->command->name);
}

static int commands_by_calls(const void *a, const void *b)
{
    const struct top_command_row *x = a, *y = b;
    int order = compare_down(x->calls, y->calls);
    if (order == 0)
        order = compare_down((double)x->command->calls, (double)y->command->calls);
    return order != 0 ? order : commands_by_name(a, b);
}

static int commands_by_time(const void *a, const void *b)
{
    const struct top_command_row *x = a, *y = b;
    int order = compare_down(x->share, y->share);
    return order != 0 ? order : commands_by_calls(a, b);
}

static int commands_by_p99(const void *a, const void *b)
{
    const struct top_command_row *x = a, *y = b;
    int order = compare_down(x->p99_ns, y->p99_ns);
    return order != 0 ? order : commands_by_calls(a, b);
}

struct top_command_row *top_command_rows(const struct top_pair *pair, enum top_command_order order)
{
    static int (*const compare[])(const void *, const void *) = {
        commands_by_calls, commands_by_time, commands_by_p99, commands_by_name};
    size_t count = pair->now->cache.command_count;
    struct top_command_row *rows = calloc(count + 1, sizeof *rows);
    double total = 0;
    if (rows == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        rows[i] = command_row(pair, i);
        total += rows[i].share;
    }
    for (size_t i = 0; i < count; i++)
        rows[i].share = total > 0 ? rows[i].share / total : 0;
    qsort(rows, count, sizeof *rows, compare[order]);
    return rows;
}
