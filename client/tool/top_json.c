/* SPDX-License-Identifier: Apache-2.0
 *
 * top_json.c - `sidepond top --json`: one object for each interval. Counters are there as they are
 * and per second; what cannot be told is null.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"
#include "top.h"

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *whole(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

/* --- the pond --------------------------------------------------------------------------------- */

static json_t *pond_json(const struct top_pair *pair)
{
    const struct sp_pond_info *pond = &pair->now->pond;
    double commits =
        top_same_pond(pair) ? top_rate(pair, pair->before->pond.version, pond->version) : NAN;
    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "name", pond->name, "state",
                     sp_pond_state_text(pond->state), "daemon_alive", pond->writer_alive, "version",
                     whole(pond->version), "commits_per_second", number(commits), "limit_bytes",
                     whole(pond->limit_bytes), "used_bytes", whole(pond->used_bytes), "free_bytes",
                     whole(pond->free_bytes), "committed_bytes", whole(pond->committed_bytes));
}

static json_t *tables_json(const struct top_pair *pair)
{
    json_t *list = json_array();
    struct top_table_row *rows = top_table_rows(pair, TOP_BY_TABLE);
    for (size_t i = 0; rows != NULL && i < pair->now->table_count; i++) {
        json_t *table = json_table(rows[i].table->name, &rows[i].table->info);
        set(table, "changes_per_second", number(rows[i].changes));
        set(table, "refreshes_per_second", number(rows[i].refreshes));
        json_array_append_new(list, table);
    }
    free(rows);
    return list;
}

static json_t *readers_json(const struct top_sample *now)
{
    json_t *list = json_array();
    for (size_t i = 0; i < now->reader_count; i++) {
        const struct sp_reader_info *reader = &now->readers[i];
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:o, s:b}", "pid", (json_int_t)reader->pid,
                                        "version", (json_int_t)reader->version, "held_seconds",
                                        json_seconds(reader->held_ms), "revoked", reader->revoked));
    }
    return list;
}

/* --- the cache -------------------------------------------------------------------------------- */

static const struct counter {
    const char *name, *rate_name; /* rate_name NULL: it does not count up */
    size_t offset;
} counters[] = {
    {"entries", NULL, offsetof(struct top_cache, entries)},
    {"expiring", NULL, offsetof(struct top_cache, expiring)},
    {"bytes", NULL, offsetof(struct top_cache, bytes)},
    {"memory_bytes", NULL, offsetof(struct top_cache, memory_bytes)},
    {"limit_bytes", NULL, offsetof(struct top_cache, limit_bytes)},
    {"clients", NULL, offsetof(struct top_cache, clients)},
    {"clients_max", NULL, offsetof(struct top_cache, clients_max)},
    {"blocked_clients", NULL, offsetof(struct top_cache, blocked)},
    {"subscribers", NULL, offsetof(struct top_cache, subscribers)},
    {"hits", "hits_per_second", offsetof(struct top_cache, hits)},
    {"misses", "misses_per_second", offsetof(struct top_cache, misses)},
    {"shm_hits", "shm_hits_per_second", offsetof(struct top_cache, shm_hits)},
    {"shm_misses", "shm_misses_per_second", offsetof(struct top_cache, shm_misses)},
    {"sets", "sets_per_second", offsetof(struct top_cache, written)},
    {"evictions", "evictions_per_second", offsetof(struct top_cache, evicted)},
    {"expirations", "expirations_per_second", offsetof(struct top_cache, expired)},
    {"refused", "refused_per_second", offsetof(struct top_cache, refused)},
    {"connections", "connections_per_second", offsetof(struct top_cache, accepted)},
    {"rejected_connections", NULL, offsetof(struct top_cache, rejected)},
    {"commands", "commands_per_second", offsetof(struct top_cache, calls)},
    {"errors", "errors_per_second", offsetof(struct top_cache, errors)},
    {"received_bytes", "received_bytes_per_second", offsetof(struct top_cache, bytes_in)},
    {"sent_bytes", "sent_bytes_per_second", offsetof(struct top_cache, bytes_out)},
    {"uptime_seconds", NULL, offsetof(struct top_cache, uptime_s)},
};

static uint64_t counter_of(const struct top_cache *cache, const struct counter *counter)
{
    uint64_t value;
    memcpy(&value, (const char *)cache + counter->offset, sizeof value);
    return value;
}

static double ratio_of(uint64_t hits_before, uint64_t hits, uint64_t misses_before, uint64_t misses)
{
    return top_ratio((double)(hits - hits_before), (double)(misses - misses_before));
}

static json_t *cache_json(const struct top_pair *pair)
{
    const struct top_cache *now = &pair->now->cache;
    const struct top_cache *before = top_same_server(pair) ? &pair->before->cache : now;
    struct top_pair times = {top_same_server(pair) ? pair->before : NULL, pair->now};
    if (!now->seen)
        return json_null();
    json_t *out = json_pack("{s:b}", "evicts", now->evicts);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        uint64_t value = counter_of(now, &counters[i]);
        double rate = top_rate(&times, counter_of(before, &counters[i]), value);
        set(out, counters[i].name, whole(value));
        if (counters[i].rate_name != NULL)
            set(out, counters[i].rate_name, number(rate));
    }
    set(out, "hit_ratio", number(ratio_of(before->hits, now->hits, before->misses, now->misses)));
    set(out, "shm_hit_ratio",
        number(ratio_of(before->shm_hits, now->shm_hits, before->shm_misses, now->shm_misses)));
    return out;
}

static json_t *seconds_of(double ns)
{
    return number(ns / 1e9);
}

static json_t *commands_json(const struct top_pair *pair, enum top_command_order order)
{
    json_t *list = json_array();
    struct top_command_row *rows = top_command_rows(pair, order);
    for (size_t i = 0; rows != NULL && i < pair->now->cache.command_count; i++) {
        const struct top_command_row *row = &rows[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "command", row->command->name,
                      "calls", whole(row->command->calls), "calls_per_second", number(row->calls),
                      "failed_per_second", number(row->failed), "time_share", number(row->share),
                      "mean_seconds", seconds_of(row->mean_ns), "p50_seconds",
                      seconds_of(row->p50_ns), "p99_seconds", seconds_of(row->p99_ns)));
    }
    free(rows);
    return list;
}

int top_json_print(const struct top_pair *pair, enum top_command_order order)
{
    const struct top_cache *cache = &pair->now->cache;
    json_t *why = cache->seen ? json_null() : json_string(cache->why);
    json_t *out =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time", json_time(pair->now->wall_ms),
                  "interval_seconds", number(top_seconds(pair)), "pond", pond_json(pair), "tables",
                  tables_json(pair), "cache", cache_json(pair), "cache_error", why, "commands",
                  commands_json(pair, order), "readers", readers_json(pair->now));
    return json_print(out);
}
