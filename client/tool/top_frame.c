/* SPDX-License-Identifier: Apache-2.0
 *
 * top_frame.c - what `sidepond top` shows, as text: some lines on the pond and its cache, then
 * tables, commands and readers, as many of each as there is room for.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "top.h"

#define BAR_WIDTH 20

/* --- numbers ---------------------------------------------------------------------------------- */

static const char *text_rate(const struct tool *tool, double rate, char out[TEXT_BYTES])
{
    if (isnan(rate))
        snprintf(out, TEXT_BYTES, "-");
    else if (rate < 10)
        snprintf(out, TEXT_BYTES, rate == 0 ? "0" : "%.1f", rate);
    else
        text_count(tool, (uint64_t)(rate + 0.5), out);
    return out;
}

static const char *text_size_rate(double rate, char out[TEXT_BYTES])
{
    if (isnan(rate))
        snprintf(out, TEXT_BYTES, "-");
    else
        text_size((uint64_t)(rate + 0.5), out);
    return out;
}

static const char *text_percent(double share, char out[TEXT_BYTES])
{
    if (isnan(share))
        snprintf(out, TEXT_BYTES, "-");
    else
        snprintf(out, TEXT_BYTES, "%.1f %%", 100 * share);
    return out;
}

static const char *text_ns(double ns, char out[TEXT_BYTES])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned unit = 0;
    for (; ns >= 1000 && unit < 3; unit++)
        ns /= 1000;
    if (isnan(ns))
        snprintf(out, TEXT_BYTES, "-");
    else
        snprintf(out, TEXT_BYTES, unit > 0 && ns < 100 ? "%.1f %s" : "%.0f %s", ns, units[unit]);
    return out;
}

/* --- the pond --------------------------------------------------------------------------------- */

static void label_print(const struct top_frame *frame, const char *label)
{
    fprintf(frame->out, "%s%-9s%s", text_color_on(frame->tool, TEXT_BOLD), label,
            text_color_off(frame->tool));
}

static void bar_print(const struct top_frame *frame, uint64_t part, uint64_t whole)
{
    char bar[BAR_WIDTH + 3];
    enum text_color color = part > whole / 10 * 9   ? TEXT_RED
                            : part > whole / 10 * 7 ? TEXT_YELLOW
                                                    : TEXT_GREEN;
    fprintf(frame->out, "%s%s%s ", text_color_on(frame->tool, color),
            text_bar(part, whole, BAR_WIDTH, bar), text_color_off(frame->tool));
}

static void title_print(const struct top_frame *frame)
{
    const struct sp_pond_info *pond = &frame->pair.now->pond;
    char time[TEXT_BYTES], age[TEXT_BYTES], count[TEXT_BYTES];
    enum text_color color = pond->writer_alive ? TEXT_GREEN : TEXT_RED;
    bool beats = pond->heartbeat_age_ms != UINT64_MAX;
    char *name = text_escape(pond->name, strlen(pond->name));
    label_print(frame, "pond");
    fprintf(frame->out, "%s, %s, version %s, ", name != NULL ? name : "?",
            sp_pond_state_text(pond->state), text_count(frame->tool, pond->version, count));
    free(name);
    fprintf(frame->out, "daemon %s%s%s", text_color_on(frame->tool, color),
            pond->writer_alive ? "alive" : "not running", text_color_off(frame->tool));
    if (!pond->writer_alive && beats)
        fprintf(frame->out, " for %s", text_age(pond->heartbeat_age_ms, age));
    fprintf(frame->out, ", %s\n", text_time(frame->pair.now->wall_ms, time));
}

static void pond_print(const struct top_frame *frame)
{
    const struct top_pair *pair = &frame->pair;
    const struct sp_pond_info *pond = &pair->now->pond;
    char used[TEXT_BYTES], limit[TEXT_BYTES], free_[TEXT_BYTES], rate[TEXT_BYTES];
    double commits =
        top_same_pond(pair) ? top_rate(pair, pair->before->pond.version, pond->version) : NAN;
    title_print(frame);
    label_print(frame, "memory");
    bar_print(frame, pond->used_bytes, pond->limit_bytes);
    fprintf(frame->out, "%s of %s, %s taken and free\n", text_size(pond->used_bytes, used),
            text_size(pond->limit_bytes, limit), text_size(pond->free_bytes, free_));
    label_print(frame, "commits");
    fprintf(frame->out, "%s/s, ", text_rate(frame->tool, commits, rate));
    if (pair->now->reader_count == 0)
        fprintf(frame->out, "no snapshot held\n");
    else
        fprintf(frame->out, "%zu snapshot%s held\n", pair->now->reader_count,
                pair->now->reader_count == 1 ? "" : "s");
}

/* --- the cache -------------------------------------------------------------------------------- */

/* Rates of the cache's counters; NAN all, where there is nothing to compare with. */
struct cache_rates {
    double hits, misses, shm_hits, shm_misses;
    double written, evicted, expired, refused;
    double accepted, calls, errors, bytes_in, bytes_out;
};

static struct cache_rates cache_rates(const struct top_pair *pair)
{
    const struct top_cache *now = &pair->now->cache;
    const struct top_cache *before = top_same_server(pair) ? &pair->before->cache : now;
    struct top_pair times = {top_same_server(pair) ? pair->before : NULL, pair->now};
    return (struct cache_rates){
        .hits = top_rate(&times, before->hits, now->hits),
        .misses = top_rate(&times, before->misses, now->misses),
        .shm_hits = top_rate(&times, before->shm_hits, now->shm_hits),
        .shm_misses = top_rate(&times, before->shm_misses, now->shm_misses),
        .written = top_rate(&times, before->written, now->written),
        .evicted = top_rate(&times, before->evicted, now->evicted),
        .expired = top_rate(&times, before->expired, now->expired),
        .refused = top_rate(&times, before->refused, now->refused),
        .accepted = top_rate(&times, before->accepted, now->accepted),
        .calls = top_rate(&times, before->calls, now->calls),
        .errors = top_rate(&times, before->errors, now->errors),
        .bytes_in = top_rate(&times, before->bytes_in, now->bytes_in),
        .bytes_out = top_rate(&times, before->bytes_out, now->bytes_out),
    };
}

static void reads_print(const struct top_frame *frame, const char *label, double hits,
                        double misses)
{
    char hits_text[TEXT_BYTES], misses_text[TEXT_BYTES], ratio[TEXT_BYTES];
    label_print(frame, label);
    fprintf(frame->out, "%s hits/s, %s misses/s, %s hits\n",
            text_rate(frame->tool, hits, hits_text), text_rate(frame->tool, misses, misses_text),
            text_percent(top_ratio(hits, misses), ratio));
}

static void memory_print(const struct top_frame *frame)
{
    const struct top_cache *cache = &frame->pair.now->cache;
    char used[TEXT_BYTES], limit[TEXT_BYTES], entries[TEXT_BYTES], expiring[TEXT_BYTES];
    label_print(frame, "cache");
    bar_print(frame, cache->memory_bytes, cache->limit_bytes);
    fprintf(frame->out, "%s of %s, %s entries (%s expire), %s when full\n",
            text_size(cache->memory_bytes, used), text_size(cache->limit_bytes, limit),
            text_count(frame->tool, cache->entries, entries),
            text_count(frame->tool, cache->expiring, expiring),
            cache->evicts ? "evicts" : "refuses");
}

static void clients_print(const struct top_frame *frame, const struct cache_rates *rates)
{
    const struct tool *tool = frame->tool;
    const struct top_cache *cache = &frame->pair.now->cache;
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES], d[TEXT_BYTES];
    label_print(frame, "clients");
    fprintf(frame->out, "%s of %s, %s new/s, %s subscribed, %" PRIu64 " blocked\n",
            text_count(tool, cache->clients, a), text_count(tool, cache->clients_max, b),
            text_rate(tool, rates->accepted, c), text_count(tool, cache->subscribers, d),
            cache->blocked);
    label_print(frame, "network");
    fprintf(frame->out, "%s/s in, %s/s out, %s commands/s, %s errors/s\n",
            text_size_rate(rates->bytes_in, a), text_size_rate(rates->bytes_out, b),
            text_rate(tool, rates->calls, c), text_rate(tool, rates->errors, d));
}

static void cache_print(const struct top_frame *frame)
{
    const struct tool *tool = frame->tool;
    const struct top_cache *cache = &frame->pair.now->cache;
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES], d[TEXT_BYTES];
    if (!cache->seen) {
        label_print(frame, "cache");
        fprintf(frame->out, "%s\n", cache->why);
        return;
    }
    struct cache_rates rates = cache_rates(&frame->pair);
    memory_print(frame);
    reads_print(frame, "socket", rates.hits, rates.misses);
    reads_print(frame, "shared", rates.shm_hits, rates.shm_misses);
    label_print(frame, "writes");
    fprintf(frame->out, "%s sets/s, %s evictions/s, %s expirations/s, %s refused/s\n",
            text_rate(tool, rates.written, a), text_rate(tool, rates.evicted, b),
            text_rate(tool, rates.expired, c), text_rate(tool, rates.refused, d));
    clients_print(frame, &rates);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void table_begin(const struct top_frame *frame, struct text_table *out, size_t columns,
                        const char *const *headers, const char *aligns)
{
    fputc('\n', frame->out);
    text_table_init(out, frame->tool, columns, headers, aligns);
    out->out = frame->out;
}

static void table_end(const struct top_frame *frame, struct text_table *out, size_t *widths,
                      size_t count, size_t shown)
{
    text_table_print(out, widths, true);
    text_table_free(out);
    if (count > shown)
        fprintf(frame->out, "%sand %zu more%s\n", text_color_on(frame->tool, TEXT_DIM),
                count - shown, text_color_off(frame->tool));
}

static void table_row(struct text_table *out, const struct top_table_row *row)
{
    const struct sp_table_info *info = &row->table->info;
    char text[TEXT_BYTES];
    char *name = text_escape(row->table->name, strlen(row->table->name));
    bool well = info->state == SP_TABLE_FRESH && !info->stale;
    text_cell(out, TEXT_CYAN, "%s", name != NULL ? name : "?");
    text_cell(out, well ? TEXT_GREEN : TEXT_RED, "%s", text_table_state(info, text));
    text_cell(out, TEXT_PLAIN, "%s", text_age(info->age_ms, text));
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, info->rows, text));
    text_cell(out, row->changes > 0 ? TEXT_YELLOW : TEXT_DIM, "%s",
              text_rate(out->tool, row->changes, text));
    text_cell(out, TEXT_DIM, "%s", text_rate(out->tool, row->refreshes, text));
    text_cell(out, info->failure_count > 0 ? TEXT_RED : TEXT_DIM, "%" PRIu64, info->failure_count);
    text_cell(out, TEXT_PLAIN, "%s", text_size(info->memory_bytes, text));
    free(name);
}

static void tables_print(const struct top_frame *frame)
{
    static const char *const headers[] = {"TABLE",     "STATE",       "AGE",      "ROWS",
                                          "CHANGES/S", "REFRESHES/S", "FAILURES", "MEMORY"};
    static size_t widths[8];
    struct text_table out;
    size_t count = frame->pair.now->table_count;
    size_t shown = count < frame->tables_max ? count : frame->tables_max;
    struct top_table_row *rows = top_table_rows(&frame->pair, frame->table_order);
    if (rows != NULL && shown > 0) {
        table_begin(frame, &out, 8, headers, "llrrrrrr");
        for (size_t i = 0; i < shown; i++)
            table_row(&out, &rows[i]);
        table_end(frame, &out, widths, count, shown);
    }
    free(rows);
}

static void command_row(struct text_table *out, const struct top_command_row *row)
{
    char text[TEXT_BYTES];
    bool called = !(row->calls <= 0);
    text_cell(out, called ? TEXT_CYAN : TEXT_DIM, "%s", row->command->name);
    text_cell(out, TEXT_PLAIN, "%s", text_rate(out->tool, row->calls, text));
    text_cell(out, TEXT_PLAIN, "%s", text_percent(row->share, text));
    text_cell(out, TEXT_PLAIN, "%s", text_ns(row->mean_ns, text));
    text_cell(out, TEXT_PLAIN, "%s", text_ns(row->p50_ns, text));
    text_cell(out, TEXT_PLAIN, "%s", text_ns(row->p99_ns, text));
    text_cell(out, row->failed > 0 ? TEXT_RED : TEXT_DIM, "%s",
              text_rate(out->tool, row->failed, text));
    text_cell(out, TEXT_DIM, "%s", text_count(out->tool, row->command->calls, text));
}

static void commands_print(const struct top_frame *frame)
{
    static const char *const headers[] = {"COMMAND", "CALLS/S", "TIME",     "MEAN",
                                          "P50",     "P99",     "FAILED/S", "CALLS"};
    static size_t widths[8];
    struct text_table out;
    size_t count = frame->pair.now->cache.command_count;
    size_t shown = count < frame->commands_max ? count : frame->commands_max;
    struct top_command_row *rows = top_command_rows(&frame->pair, frame->command_order);
    if (rows != NULL && shown > 0) {
        table_begin(frame, &out, 8, headers, "lrrrrrrr");
        for (size_t i = 0; i < shown; i++)
            command_row(&out, &rows[i]);
        table_end(frame, &out, widths, count, shown);
    }
    free(rows);
}

static void readers_print(const struct top_frame *frame)
{
    static const char *const headers[] = {"READER", "VERSION", "HELD", "STATE"};
    static size_t widths[4];
    struct text_table out;
    size_t count = frame->pair.now->reader_count;
    size_t shown = count < frame->readers_max ? count : frame->readers_max;
    if (shown == 0)
        return;
    table_begin(frame, &out, 4, headers, "rrrl");
    for (size_t i = 0; i < shown; i++) {
        const struct sp_reader_info *reader = &frame->pair.now->readers[i];
        char age[TEXT_BYTES];
        text_cell(&out, TEXT_CYAN, "%" PRId64, reader->pid);
        text_cell(&out, TEXT_PLAIN, "%" PRIu64, reader->version);
        text_cell(&out, TEXT_PLAIN, "%s", text_age(reader->held_ms, age));
        text_cell(&out, reader->revoked ? TEXT_RED : TEXT_GREEN, "%s",
                  reader->revoked ? "revoked" : "valid");
    }
    table_end(frame, &out, widths, count, shown);
}

/* --- the whole -------------------------------------------------------------------------------- */

void top_frame_print(const struct top_frame *frame)
{
    pond_print(frame);
    cache_print(frame);
    tables_print(frame);
    commands_print(frame);
    readers_print(frame);
}
