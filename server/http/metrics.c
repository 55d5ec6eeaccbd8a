/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.c - every metric, declared once: name, type, labels, meaning and where its value is from.
 * GET /metrics, the table in docs/OPERATIONS.md and the test that compares the two follow from it.
 *
 * Adding a metric is adding a line to `metrics` (and its function), and to the page.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/command/command.h"
#include "server/http/metrics_agent.h"
#include "server/http/metrics_feed.h"
#include "server/http/metrics_ring.h"
#include "server/http/observe.h"
#include "server/log/log.h"

enum metric_type { COUNTER, GAUGE, HISTOGRAM };
static const char *const type_names[] = {"counter", "gauge", "histogram"};

struct metric {
    const char *name;
    enum metric_type type;
    const char *labels; /* for people; "" if it has none */
    const char *help;
    double (*value)(
        const struct observation *seen); /* the daemon, its pond, its cache; NAN: none */
    double (*table_value)(const struct seen_table *seen); /* one for each table; NAN: none */
    void (*emit)(const struct metric *metric, const struct observation *seen, struct text *out);
};

static void emit_labelled(const struct metric *metric, struct text *out, const char *label,
                          const char *label_value, double value)
{
    text_add(out, "%s{%s=\"%s\"} %.17g\n", metric->name, label, label_value, value);
}

static void emit_of_table(const struct metric *metric, struct text *out,
                          const struct seen_table *table, const char *label,
                          const char *label_value, double value)
{
    text_add(out, "%s{table=\"%s\",%s=\"%s\"} %.17g\n", metric->name, table->refresh.table, label,
             label_value, value);
}

/* --- the daemon and its pond ----------------------------------------------------------------- */

static double seconds(int64_t ms)
{
    return (double)ms / 1000;
}

static void emit_build(const struct metric *metric, const struct observation *seen,
                       struct text *out)
{
    (void)seen;
    emit_labelled(metric, out, "version", sp_version(), 1);
}

static double started(const struct observation *seen)
{
    return seconds(seen->counters->started_at_ms);
}

static double config_loaded(const struct observation *seen)
{
    return seconds(atomic_load(&seen->counters->loaded_at_ms));
}

static double config_good(const struct observation *seen)
{
    return !atomic_load(&seen->counters->reload_failed);
}

static void emit_reloads(const struct metric *metric, const struct observation *seen,
                         struct text *out)
{
    emit_labelled(metric, out, "result", "success",
                  (double)atomic_load(&seen->counters->reloads_good));
    emit_labelled(metric, out, "result", "failure",
                  (double)atomic_load(&seen->counters->reloads_bad));
}

static void emit_saves(const struct metric *metric, const struct observation *seen,
                       struct text *out)
{
    emit_labelled(metric, out, "result", "success",
                  (double)atomic_load(&seen->counters->saves_good));
    emit_labelled(metric, out, "result", "failure",
                  (double)atomic_load(&seen->counters->saves_bad));
}

static double saved(const struct observation *seen)
{
    return seconds(atomic_load(&seen->counters->saved_at_ms));
}

static double lines_lost(const struct observation *seen)
{
    (void)seen;
    return (double)log_lost_count();
}

static double version(const struct observation *seen)
{
    return (double)seen->store.version;
}

static double limit(const struct observation *seen)
{
    return (double)seen->store.limit_bytes;
}

static void emit_bytes(const struct metric *metric, const struct observation *seen,
                       struct text *out)
{
    emit_labelled(metric, out, "kind", "committed", (double)seen->store.committed_bytes);
    emit_labelled(metric, out, "kind", "used", (double)seen->store.used_bytes);
    emit_labelled(metric, out, "kind", "free", (double)seen->store.free_bytes);
    emit_labelled(metric, out, "kind", "largest_free", (double)seen->store.largest_free_bytes);
}

static void emit_blocks(const struct metric *metric, const struct observation *seen,
                        struct text *out)
{
    char order[16];
    for (unsigned i = 0; i < sizeof(seen->store.free_blocks) / sizeof(uint64_t); i++) {
        if (seen->store.free_blocks[i] == 0)
            continue;
        snprintf(order, sizeof(order), "%u", i);
        emit_labelled(metric, out, "order", order, (double)seen->store.free_blocks[i]);
    }
}

static double commits(const struct observation *seen)
{
    return (double)seen->store.commits;
}

static double aborts(const struct observation *seen)
{
    return (double)seen->store.aborts;
}

static double reclaimed(const struct observation *seen)
{
    return (double)seen->store.entries_reclaimed;
}

static double moved(const struct observation *seen)
{
    return (double)seen->store.entries_moved;
}

static double revoked(const struct observation *seen)
{
    return (double)seen->store.leases_revoked;
}

static double held_versions(const struct observation *seen)
{
    return (double)seen->store.versions_held;
}

static double leases(const struct observation *seen)
{
    return (double)seen->store.leases;
}

/* --- tables ---------------------------------------------------------------------------------- */

static double rows(const struct seen_table *table)
{
    return table->in_pond ? (double)table->pond.rows : NAN;
}

static double bytes(const struct seen_table *table)
{
    return table->in_pond ? (double)table->pond.bytes : NAN;
}

static double memory(const struct seen_table *table)
{
    return table->in_pond ? (double)table->pond.memory_bytes : NAN;
}

static double age(const struct seen_table *table)
{
    bool known = table->in_pond && table->pond.age_ms != UINT64_MAX;
    return known ? (double)table->pond.age_ms / 1000 : NAN;
}

static double stale(const struct seen_table *table)
{
    return table->in_pond ? table->pond.stale : NAN;
}

static double succeeded(const struct seen_table *table)
{
    return table->in_pond ? seconds(table->pond.loaded_at_ms) : NAN;
}

static double changed(const struct seen_table *table)
{
    return table->in_pond ? seconds(table->pond.changed_at_ms) : NAN;
}

static double attempted(const struct seen_table *table)
{
    return seconds(table->refresh.started_at_ms);
}

static void emit_state(const struct metric *metric, const struct observation *seen,
                       struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++)
        for (unsigned state = SP_TABLE_LOADING; state <= SP_TABLE_HELD; state++)
            emit_of_table(metric, out, &seen->tables[i], "state",
                          sp_table_state_text((enum sp_table_state)state),
                          (unsigned)seen->tables[i].refresh.state == state);
}

/* --- refreshes ------------------------------------------------------------------------------- */

static void emit_refreshes(const struct metric *metric, const struct observation *seen,
                           struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++) {
        const struct seen_table *table = &seen->tables[i];
        emit_of_table(metric, out, table, "kind", "full", (double)table->refresh.full_total);
        emit_of_table(metric, out, table, "kind", "incremental",
                      (double)table->refresh.incremental_total);
    }
}

static void emit_failures(const struct metric *metric, const struct observation *seen,
                          struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++)
        for (unsigned kind = 0; kind < REFRESH_FAILURE_COUNT; kind++)
            emit_of_table(metric, out, &seen->tables[i], "reason", refresh_failure_names[kind],
                          (double)seen->tables[i].refresh.failures_total[kind]);
}

static void emit_skipped(const struct metric *metric, const struct observation *seen,
                         struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++)
        for (unsigned skip = 0; skip < REFRESH_SKIP_COUNT; skip++)
            emit_of_table(metric, out, &seen->tables[i], "reason", refresh_skip_names[skip],
                          (double)seen->tables[i].refresh.skipped_total[skip]);
}

static void emit_written(const struct metric *metric, const struct observation *seen,
                         struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++) {
        const struct seen_table *table = &seen->tables[i];
        emit_of_table(metric, out, table, "change", "inserted",
                      (double)table->refresh.inserted_total);
        emit_of_table(metric, out, table, "change", "updated",
                      (double)table->refresh.updated_total);
        emit_of_table(metric, out, table, "change", "deleted",
                      (double)table->refresh.deleted_total);
    }
}

static void emit_duration(const struct metric *metric, const struct observation *seen,
                          struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++) {
        const struct refresh_status *refresh = &seen->tables[i].refresh;
        uint64_t count = 0;
        for (unsigned b = 0; b < REFRESH_BUCKETS; b++) {
            count += refresh->duration_buckets[b];
            text_add(out, "%s_bucket{table=\"%s\",le=\"%g\"} %" PRIu64 "\n", metric->name,
                     refresh->table, refresh_bucket_ms[b] / 1000.0, count);
        }
        count += refresh->duration_buckets[REFRESH_BUCKETS];
        text_add(out, "%s_bucket{table=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", metric->name,
                 refresh->table, count);
        text_add(out, "%s_sum{table=\"%s\"} %.17g\n", metric->name, refresh->table,
                 refresh->duration_sum_s);
        text_add(out, "%s_count{table=\"%s\"} %" PRIu64 "\n", metric->name, refresh->table, count);
    }
}

static double failing(const struct seen_table *table)
{
    return (double)table->refresh.failures_in_a_row;
}

static double rows_read(const struct seen_table *table)
{
    return (double)table->refresh.read_total;
}

static double unchanged(const struct seen_table *table)
{
    return (double)table->refresh.unchanged_total;
}

static double written_bytes(const struct seen_table *table)
{
    return (double)table->refresh.written_bytes_total;
}

static double missing(const struct seen_table *table)
{
    return (double)table->refresh.missing_rows;
}

static double violations(const struct seen_table *table)
{
    return (double)table->refresh.unique_violations;
}

/* --- the cache -------------------------------------------------------------------------------- */

static double seen_cache_entries(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.entries : NAN;
}

static double seen_cache_bytes(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.bytes : NAN;
}

static double seen_cache_memory_bytes(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.memory_bytes : NAN;
}

static double seen_cache_limit_bytes(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.limit_bytes : NAN;
}

static double seen_cache_hits_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.hits : NAN;
}

static double seen_cache_misses_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.misses : NAN;
}

static double seen_cache_shm_hits_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.shm_hits : NAN;
}

static double seen_cache_shm_misses_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.shm_misses : NAN;
}

static double seen_cache_writes_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.written : NAN;
}

static double seen_cache_refused_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.refused : NAN;
}

static double seen_cache_evictions_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.evicted : NAN;
}

static double seen_cache_expirations_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.cache.expired : NAN;
}

static double seen_cache_connections(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.net.connections : NAN;
}

static double seen_cache_blocked_clients(const struct observation *seen)
{
    return seen->cache.blocked;
}

static double seen_cache_leases(const struct observation *seen)
{
    return seen->cache.leases;
}

static double seen_cache_connections_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.net.accepted : NAN;
}

static double seen_cache_rejected_connections_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.net.rejected : NAN;
}

static double seen_cache_received_bytes_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.net.bytes_in : NAN;
}

static double seen_cache_sent_bytes_total(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.net.bytes_out : NAN;
}

static double seen_cache_tracking_clients(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.tracking.clients : NAN;
}

static double seen_cache_tracked_keys(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.tracking.keys : NAN;
}

static double seen_cache_tracked_prefixes(const struct observation *seen)
{
    return seen->service ? (double)seen->cache.tracking.prefixes : NAN;
}

/* Ends of the buckets that are told, in units of 256 ns; each is the end of one of stats.h too, so
 * that what is told is exact. */
static const unsigned command_bucket_ends[] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048, 8192, 32768, 131072, 524288, 2097152};
#define COMMAND_BUCKETS (sizeof(command_bucket_ends) / sizeof(command_bucket_ends[0]))

static void emit_histogram(const struct metric *metric, struct text *out, const char *command,
                           const struct command_figures *figures)
{
    uint64_t count = 0;
    unsigned fine = 0;
    for (size_t b = 0; b < COMMAND_BUCKETS; b++) {
        uint64_t end_ns = UINT64_C(256) * command_bucket_ends[b];
        while (fine < LATENCY_BUCKETS && latency_bucket_end(fine) <= end_ns)
            count += figures->buckets[fine++];
        text_add(out, "%s_bucket{command=\"%s\",le=\"%.10g\"} %" PRIu64 "\n", metric->name, command,
                 (double)end_ns / 1e9, count);
    }
    while (fine < LATENCY_BUCKETS)
        count += figures->buckets[fine++];
    text_add(out, "%s_bucket{command=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", metric->name, command,
             count);
    text_add(out, "%s_sum{command=\"%s\"} %.17g\n", metric->name, command,
             (double)figures->ns / 1e9);
    text_add(out, "%s_count{command=\"%s\"} %" PRIu64 "\n", metric->name, command, count);
}

static void emit_count(const struct metric *metric, struct text *out, const char *command,
                       const struct command_figures *figures)
{
    emit_labelled(metric, out, "command", command, (double)figures->calls);
}

/* The command and its subcommands, as far as they were called. */
static void emit_called(const struct metric *metric, const struct observation *seen,
                        struct text *out, const struct command *command,
                        void (*emit)(const struct metric *metric, struct text *out,
                                     const char *name, const struct command_figures *figures))
{
    struct command_figures figures;
    stats_of_command(seen->service, command->number, &figures);
    if (figures.calls > 0)
        emit(metric, out, command_full_name(command), &figures);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        emit_called(metric, seen, out, &command->subcommands[i], emit); /* which have none */
}

static void emit_latency(const struct metric *metric, const struct observation *seen,
                         struct text *out)
{
    for (size_t i = 0; seen->service && i < command_count; i++)
        emit_called(metric, seen, out, &commands[i], emit_histogram);
}

static void emit_commands(const struct metric *metric, const struct observation *seen,
                          struct text *out)
{
    for (size_t i = 0; seen->service && i < command_count; i++)
        emit_called(metric, seen, out, &commands[i], emit_count);
}

static void emit_dropped(const struct metric *metric, const struct observation *seen,
                         struct text *out)
{
    for (unsigned d = 0; seen->service && d < NET_DROP_COUNT; d++)
        emit_labelled(metric, out, "reason", net_drop_name((enum net_drop)d),
                      (double)seen->cache.net.dropped[d]);
}

/* --- the table ------------------------------------------------------------------------------- */

static const struct metric metrics[] = {
    {"sidepond_build_info", GAUGE, "version", "Always 1; the label says which build this is.",
     .emit = emit_build},
    {"sidepond_start_time_seconds", GAUGE, "", "When the daemon started (Unix time).",
     .value = started},
    {"sidepond_config_reloads_total", COUNTER, "result",
     "Reloads of the configuration; result is success or failure.", .emit = emit_reloads},
    {"sidepond_config_last_reload_successful", GAUGE, "",
     "1 if the last reload was taken over, 0 if the older configuration stays in use.",
     .value = config_good},
    {"sidepond_config_last_success_timestamp_seconds", GAUGE, "",
     "When the configuration in use was loaded (Unix time).", .value = config_loaded},
    {"sidepond_log_lines_lost_total", COUNTER, "",
     "Log lines that standard error did not take in time.", .value = lines_lost},
    {"sidepond_snapshot_file_saves_total", COUNTER, "result",
     "Saves of the snapshot file; result is success or failure.", .emit = emit_saves},
    {"sidepond_snapshot_file_last_success_timestamp_seconds", GAUGE, "",
     "When the snapshot file was last saved by this daemon (Unix time); 0: never.", .value = saved},
    {"sidepond_pond_version", GAUGE, "", "Number of the last commit.", .value = version},
    {"sidepond_pond_limit_bytes", GAUGE, "", "The most memory that the pond may take.",
     .value = limit},
    {"sidepond_pond_bytes", GAUGE, "kind",
     "Memory of the pond: committed (taken from the system), used (by rows and indexes), free "
     "(taken, not used), largest_free (the largest block in one piece).",
     .emit = emit_bytes},
    {"sidepond_pond_free_blocks", GAUGE, "order",
     "Free blocks of 2^order units of 16 bytes; orders without one are left out.",
     .emit = emit_blocks},
    {"sidepond_pond_commits_total", COUNTER, "", "Transactions that became visible.",
     .value = commits},
    {"sidepond_pond_aborts_total", COUNTER, "", "Transactions that were given up.",
     .value = aborts},
    {"sidepond_pond_entries_reclaimed_total", COUNTER, "",
     "Old versions of rows whose memory was taken back.", .value = reclaimed},
    {"sidepond_pond_entries_moved_total", COUNTER, "", "Rows moved by compaction.", .value = moved},
    {"sidepond_pond_leases", GAUGE, "", "Snapshots that readers hold now.", .value = leases},
    {"sidepond_pond_leases_revoked_total", COUNTER, "",
     "Snapshots that were held for longer than lease_limit and ended by the daemon.",
     .value = revoked},
    {"sidepond_pond_versions_held", GAUGE, "",
     "Old versions of rows kept because a snapshot needs them.", .value = held_versions},
    {"sidepond_table_rows", GAUGE, "table", "Rows in the table.", .table_value = rows},
    {"sidepond_table_bytes", GAUGE, "table", "Keys and values in the table.", .table_value = bytes},
    {"sidepond_table_memory_bytes", GAUGE, "table",
     "Memory of the table, rows and indexes, everything counted.", .table_value = memory},
    {"sidepond_table_state", GAUGE, "table, state",
     "1 for the state the table is in: loading, fresh, failing or held; 0 for the others.",
     .emit = emit_state},
    {"sidepond_table_age_seconds", GAUGE, "table", "Time since the last successful refresh.",
     .table_value = age},
    {"sidepond_table_stale", GAUGE, "table", "1 if the age is beyond max_stale, else 0.",
     .table_value = stale},
    {"sidepond_table_last_success_timestamp_seconds", GAUGE, "table",
     "When the last successful refresh ended (Unix time).", .table_value = succeeded},
    {"sidepond_table_changed_timestamp_seconds", GAUGE, "table",
     "When a refresh last changed the table (Unix time).", .table_value = changed},
    {"sidepond_refresh_last_attempt_timestamp_seconds", GAUGE, "table",
     "When the last refresh began (Unix time); 0: never.", .table_value = attempted},
    {"sidepond_refreshes_total", COUNTER, "table, kind",
     "Successful refreshes; kind is full or incremental.", .emit = emit_refreshes},
    {"sidepond_refresh_failures_total", COUNTER, "table, reason",
     "Failed refreshes: source (the database), config (a table or column is not there), data (a "
     "bad row, and on_bad_row: fail), space (does not fit), drop (held back by max_drop), "
     "internal.",
     .emit = emit_failures},
    {"sidepond_refresh_failures_in_a_row", GAUGE, "table",
     "Failed refreshes since the last successful one.", .table_value = failing},
    {"sidepond_refresh_duration_seconds", HISTOGRAM, "table, le",
     "How long successful refreshes took.", .emit = emit_duration},
    {"sidepond_refresh_rows_read_total", COUNTER, "table", "Rows read from the database.",
     .table_value = rows_read},
    {"sidepond_refresh_rows_written_total", COUNTER, "table, change",
     "Rows changed in the pond; change is inserted, updated or deleted.", .emit = emit_written},
    {"sidepond_refresh_rows_unchanged_total", COUNTER, "table",
     "Rows read that were in the pond already and cost no write.", .table_value = unchanged},
    {"sidepond_refresh_rows_skipped_total", COUNTER, "table, reason",
     "Bad rows left out: null_key, duplicate_key, too_large, undecodable, null_value (NULL in a "
     "column that must not be NULL).",
     .emit = emit_skipped},
    {"sidepond_refresh_written_bytes_total", COUNTER, "table", "Keys and values written.",
     .table_value = written_bytes},
    {"sidepond_refresh_held_rows", GAUGE, "table",
     "Rows that a refresh held back by max_drop would delete; 0: none is held back.",
     .table_value = missing},
    {"sidepond_refresh_unique_violations", GAUGE, "table",
     "Rows of the last refresh that share a key of a unique index.", .table_value = violations},
    {"sidepond_cache_entries", GAUGE, "", "Entries in the cache.", .value = seen_cache_entries},
    {"sidepond_cache_bytes", GAUGE, "", "Keys and values in the cache.", .value = seen_cache_bytes},
    {"sidepond_cache_memory_bytes", GAUGE, "",
     "Memory of the cache, entries and index, everything counted.",
     .value = seen_cache_memory_bytes},
    {"sidepond_cache_limit_bytes", GAUGE, "", "The most memory that the cache may take.",
     .value = seen_cache_limit_bytes},
    {"sidepond_cache_hits_total", COUNTER, "", "Keys that clients asked for and that were there.",
     .value = seen_cache_hits_total},
    {"sidepond_cache_misses_total", COUNTER, "",
     "Keys that clients asked for and that were not there.", .value = seen_cache_misses_total},
    {"sidepond_cache_shm_hits_total", COUNTER, "",
     "Keys that readers of the shared memory asked for and that were there.",
     .value = seen_cache_shm_hits_total},
    {"sidepond_cache_shm_misses_total", COUNTER, "",
     "Keys that readers of the shared memory asked for and that were not there.",
     .value = seen_cache_shm_misses_total},
    {"sidepond_cache_writes_total", COUNTER, "", "Entries written.",
     .value = seen_cache_writes_total},
    {"sidepond_cache_refused_total", COUNTER, "", "Writes refused because the cache was full.",
     .value = seen_cache_refused_total},
    {"sidepond_cache_evictions_total", COUNTER, "", "Entries taken out to make room for others.",
     .value = seen_cache_evictions_total},
    {"sidepond_cache_expirations_total", COUNTER, "", "Entries whose time was over.",
     .value = seen_cache_expirations_total},
    {"sidepond_cache_connections", GAUGE, "", "Clients that are connected now.",
     .value = seen_cache_connections},
    {"sidepond_cache_blocked_clients", GAUGE, "",
     "Clients that wait: for a lease or its value, or for the end of a pause.",
     .value = seen_cache_blocked_clients},
    {"sidepond_cache_leases", GAUGE, "", "Leases that clients hold to compute a value.",
     .value = seen_cache_leases},
    {"sidepond_cache_connections_total", COUNTER, "", "Connections accepted.",
     .value = seen_cache_connections_total},
    {"sidepond_cache_rejected_connections_total", COUNTER, "",
     "Connections refused because there were max_clients.",
     .value = seen_cache_rejected_connections_total},
    {"sidepond_cache_received_bytes_total", COUNTER, "",
     "Bytes received from clients, without TLS around them.",
     .value = seen_cache_received_bytes_total},
    {"sidepond_cache_sent_bytes_total", COUNTER, "",
     "Bytes sent to clients, without TLS around them.", .value = seen_cache_sent_bytes_total},
    {"sidepond_cache_tracking_clients", GAUGE, "",
     "Clients that are told of changes (CLIENT TRACKING).", .value = seen_cache_tracking_clients},
    {"sidepond_cache_tracked_keys", GAUGE, "", "Keys of which some client is to be told.",
     .value = seen_cache_tracked_keys},
    {"sidepond_cache_tracked_prefixes", GAUGE, "", "Prefixes of which some client is to be told.",
     .value = seen_cache_tracked_prefixes},
    {"sidepond_cache_commands_total", COUNTER, "command",
     "Calls of commands; those that were never called are left out.", .emit = emit_commands},
    {"sidepond_cache_command_seconds", HISTOGRAM, "command, le",
     "How long calls of commands took, without the network; those that were never called are left "
     "out.",
     .emit = emit_latency},
    {"sidepond_cache_dropped_connections_total", COUNTER, "reason",
     "Connections that the server closed by rule: query, output_hard, output_soft, idle, "
     "handshake, memory.",
     .emit = emit_dropped},
};

static void emit_tables(const struct metric *metric, const struct observation *seen,
                        struct text *out)
{
    for (size_t i = 0; i < seen->table_count; i++) {
        double value = metric->table_value(&seen->tables[i]);
        if (!isnan(value))
            emit_labelled(metric, out, "table", seen->tables[i].refresh.table, value);
    }
}

static void emit_metric(const struct metric *metric, const struct observation *seen,
                        struct text *out)
{
    text_add(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
             type_names[metric->type]);
    if (metric->emit)
        metric->emit(metric, seen, out);
    else if (metric->table_value)
        emit_tables(metric, seen, out);
    else if (!isnan(metric->value(seen)))
        text_add(out, "%s %.17g\n", metric->name, metric->value(seen));
}

char *http_metrics_text(const struct http_options *options)
{
    struct observation seen;
    struct text out = {0};
    if (observe(options, &seen) != SP_OK)
        return NULL;
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        emit_metric(&metrics[i], &seen, &out);
    feed_metrics_text(&seen, &out);
    ring_metrics_text(&seen, &out);
    observation_free(&seen);
    return text_take(&out);
}

void http_metrics_reference(FILE *out)
{
    fprintf(out, "| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        fprintf(out, "| `%s` | %s | %s | %s |\n", metrics[i].name, type_names[metrics[i].type],
                metrics[i].labels, metrics[i].help);
    feed_metrics_reference(out);
    ring_metrics_reference(out);
    agent_metrics_reference(out);
}
