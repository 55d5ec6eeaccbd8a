/* SPDX-License-Identifier: Apache-2.0
 *
 * info.c - INFO: figures as `name:value` lines in sections, with Redis' names where the figure is
 * the same, so that what reads Redis' INFO reads this one.
 *
 * Everything is gathered first, under the cache's lock for some microseconds, and then written.
 * Figures that say nothing here (forks, files, replication) are left out, but for those that tools
 * ask for by name. Counters are those since the start or CONFIG RESETSTAT.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "server/command/client.h"
#include "server/command/commands.h"
#include "server/command/pubsub.h"
#include "server/ring/ring.h"

struct info {
    struct service *service;
    struct buffer text;
    int64_t now_ms;
    struct service_figures figures;
    struct service_settings settings;
    struct service_addresses addresses;
    struct sp_pond_info pond;
    struct command_figures *by_command; /* NULL: no section needs it */
    struct error_figures errors;
    size_t channels, patterns, subscribers;
};

static void line(struct info *info, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct info *info, const char *format, ...)
{
    char out[768];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(out, sizeof(out), format, arguments);
    va_end(arguments);
    size_t shown = size < 0 ? 0 : (size_t)size < sizeof(out) ? (size_t)size : sizeof(out) - 1;
    buffer_append(&info->text, out, shown);
    buffer_append(&info->text, "\r\n", 2);
}

static void number(struct info *info, const char *name, uint64_t value)
{
    line(info, "%s:%llu", name, (unsigned long long)value);
}

/* Bytes twice: as they are, and for people as Redis writes them. */
static void bytes(struct info *info, const char *name, uint64_t value)
{
    static const char units[] = "KMGT";
    double scaled = (double)value / 1024;
    unsigned unit = 0;
    number(info, name, value);
    if (value < 1024) {
        line(info, "%s_human:%lluB", name, (unsigned long long)value);
        return;
    }
    for (; scaled >= 1024 && units[unit + 1]; unit++)
        scaled /= 1024;
    line(info, "%s_human:%.2f%c", name, scaled, units[unit]);
}

/* --- sections --------------------------------------------------------------------------------- */

static void print_server(struct info *info)
{
    struct utsname host;
    uint64_t up_s = (uint64_t)(info->now_ms - info->service->started_at_ms) / 1000;
    line(info, "redis_version:%s", SERVICE_REDIS_VERSION);
    line(info, "redis_mode:standalone");
    line(info, "sidepond_version:%s", sp_version());
    if (uname(&host) == 0)
        line(info, "os:%s %s %s", host.sysname, host.release, host.machine);
    number(info, "arch_bits", sizeof(void *) * 8);
    number(info, "process_id", (uint64_t)getpid());
    line(info, "run_id:%016llx%016llx%08x", (unsigned long long)info->pond.id[0],
         (unsigned long long)info->pond.id[1], (unsigned)info->service->started_at_ms);
    number(info, "tcp_port", info->addresses.port);
    number(info, "tls_port", info->addresses.tls_port);
    number(info, "server_time_usec", (uint64_t)info->now_ms * 1000);
    number(info, "uptime_in_seconds", up_s);
    number(info, "uptime_in_days", up_s / (24 * 60 * 60));
    number(info, "hz", 1000 / NET_TICK_MS);
    number(info, "io_threads", info->service->thread_count);
    number(info, "io_threads_active", info->service->thread_count > 1);
}

static void print_clients(struct info *info)
{
    number(info, "connected_clients", info->figures.net.connections);
    number(info, "cluster_connections", 0);
    number(info, "maxclients", info->settings.limits.clients_max);
    number(info, "blocked_clients", info->figures.blocked);
    number(info, "pubsub_clients", info->subscribers);
    number(info, "tracking_clients", info->figures.tracking.clients);
}

/* Of this process, which has the pond mapped. 0: not known. */
static uint64_t resident_bytes(void)
{
    unsigned long long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void print_memory(struct info *info)
{
    const struct cache_info *cache = &info->figures.cache;
    bytes(info, "used_memory", cache->memory_bytes);
    bytes(info, "used_memory_rss", resident_bytes());
    number(info, "used_memory_dataset", cache->bytes);
    number(info, "used_memory_overhead", cache->memory_bytes - cache->bytes);
    bytes(info, "maxmemory", cache->limit_bytes);
    line(info, "maxmemory_policy:%s", cache->evict ? "allkeys-lru" : "noeviction");
    if (info->pond.used_bytes > 0)
        line(info, "mem_fragmentation_ratio:%.2f",
             (double)info->pond.committed_bytes / (double)info->pond.used_bytes);
    line(info, "mem_allocator:buddy");
}

static void print_persistence(struct info *info)
{
    number(info, "loading", 0);
    number(info, "async_loading", 0);
    number(info, "rdb_changes_since_last_save", 0);
    number(info, "rdb_bgsave_in_progress", 0);
    number(info, "aof_enabled", 0);
}

static uint64_t rate(const _Atomic uint64_t *per_second)
{
    return atomic_load_explicit(per_second, memory_order_relaxed);
}

static void print_stats(struct info *info)
{
    const struct service_figures *figures = &info->figures;
    const struct rates *rates = &info->service->rates;
    number(info, "total_connections_received", figures->net.accepted);
    number(info, "total_commands_processed", figures->commands);
    number(info, "instantaneous_ops_per_sec", rate(&rates->commands));
    number(info, "total_net_input_bytes", figures->net.bytes_in);
    number(info, "total_net_output_bytes", figures->net.bytes_out);
    line(info, "instantaneous_input_kbps:%.2f", (double)rate(&rates->bytes_in) / 1024);
    line(info, "instantaneous_output_kbps:%.2f", (double)rate(&rates->bytes_out) / 1024);
    number(info, "rejected_connections", figures->net.rejected);
    number(info, "expired_keys", figures->cache.expired);
    number(info, "evicted_keys", figures->cache.evicted);
    number(info, "keyspace_hits", figures->hits);
    number(info, "keyspace_misses", figures->misses);
    number(info, "shm_keyspace_hits", figures->cache.shm_hits);
    number(info, "shm_keyspace_misses", figures->cache.shm_misses);
    number(info, "pubsub_channels", info->channels);
    number(info, "pubsub_patterns", info->patterns);
    number(info, "tracking_total_keys", figures->tracking.keys);
    number(info, "tracking_total_items", figures->tracking.items);
    number(info, "tracking_total_prefixes", figures->tracking.prefixes);
    number(info, "total_error_replies", figures->errors);
    number(info, "written_keys", figures->cache.written);
    number(info, "refused_writes", figures->cache.refused);
    for (unsigned d = 0; d < NET_DROP_COUNT; d++)
        line(info, "dropped_connections_%s:%llu", net_drop_name((enum net_drop)d),
             (unsigned long long)figures->net.dropped[d]);
}

static void print_replication(struct info *info)
{
    line(info, "role:master");
    number(info, "connected_slaves", 0);
}

static void print_cpu(struct info *info)
{
    struct rusage self;
    if (getrusage(RUSAGE_SELF, &self) != 0)
        return;
    line(info, "used_cpu_sys:%lld.%06lld", (long long)self.ru_stime.tv_sec,
         (long long)self.ru_stime.tv_usec);
    line(info, "used_cpu_user:%lld.%06lld", (long long)self.ru_utime.tv_sec,
         (long long)self.ru_utime.tv_usec);
}

static void print_of_command(struct info *info, const struct command *command)
{
    const struct command_figures *figures = &info->by_command[command->number];
    unsigned long long us = figures->ns / 1000;
    if (figures->calls > 0 || figures->rejected > 0)
        line(info,
             "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,"
             "failed_calls=%llu",
             command_full_name(command), (unsigned long long)figures->calls, us,
             figures->calls ? (double)figures->ns / 1000 / (double)figures->calls : 0.0,
             (unsigned long long)figures->rejected, (unsigned long long)figures->failed);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        print_of_command(info, &command->subcommands[i]); /* which have none */
}

static void print_commandstats(struct info *info)
{
    for (size_t i = 0; i < command_count; i++)
        print_of_command(info, &commands[i]);
}

static void print_errorstats(struct info *info)
{
    for (unsigned i = 0; i < info->errors.count; i++) {
        if (info->errors.codes[i].replies > 0)
            line(info, "errorstat_%s:count=%llu", info->errors.codes[i].code,
                 (unsigned long long)info->errors.codes[i].replies);
    }
}

static void print_latency(struct info *info, const struct command *command)
{
    const struct command_figures *figures = &info->by_command[command->number];
    if (figures->calls > 0)
        line(info, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f",
             command_full_name(command), (double)stats_percentile(figures, 50) / 1000,
             (double)stats_percentile(figures, 99) / 1000,
             (double)stats_percentile(figures, 99.9) / 1000);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        print_latency(info, &command->subcommands[i]);
}

static void print_latencystats(struct info *info)
{
    for (size_t i = 0; i < command_count; i++)
        print_latency(info, &commands[i]);
}

/* Whole: where a bucket ends, and how many calls are in it. */
static void print_buckets(struct info *info, const struct command *command)
{
    const struct command_figures *figures = &info->by_command[command->number];
    const char *separator = "";
    char out[64];
    if (figures->calls > 0) {
        int size = snprintf(out, sizeof(out), "latency_buckets_ns_%s:", command_full_name(command));
        buffer_append(&info->text, out, (size_t)size);
        for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
            if (figures->buckets[b] == 0)
                continue;
            size = snprintf(out, sizeof(out), "%s%llu=%llu", separator,
                            (unsigned long long)latency_bucket_end(b),
                            (unsigned long long)figures->buckets[b]);
            buffer_append(&info->text, out, (size_t)size);
            separator = ",";
        }
        buffer_append(&info->text, "\r\n", 2);
    }
    for (unsigned i = 0; i < command->subcommand_count; i++)
        print_buckets(info, &command->subcommands[i]);
}

static void print_latencybuckets(struct info *info)
{
    for (size_t i = 0; i < command_count; i++)
        print_buckets(info, &commands[i]);
}

static void print_cluster(struct info *info)
{
    number(info, "cluster_enabled", 0);
}

#define PEERS_MOST 64u /* that are named; a ring may have more */

static void print_peers(struct info *info, struct ring *ring)
{
    struct ring_peer_figures peers[PEERS_MOST];
    size_t count = ring_peer_figures(ring, peers, PEERS_MOST);
    number(info, "ring_peers", count);
    for (size_t p = 0; p < count && p < PEERS_MOST; p++)
        line(info,
             "ring_peer%zu:name=%s,reachable=%d,sent=%llu,failed=%llu,queued=%llu,missed=%u,"
             "repaired_out=%llu,repaired_in=%llu",
             p, peers[p].name, peers[p].reachable, (unsigned long long)peers[p].sent,
             (unsigned long long)peers[p].failed, (unsigned long long)peers[p].queued,
             peers[p].missed, (unsigned long long)peers[p].repaired_out,
             (unsigned long long)peers[p].repaired_in);
}

static const char *link_name(const struct ring_figures *figures)
{
    if (!figures->in_zookeeper)
        return "none"; /* its nodes are a list */
    switch (figures->member.link) {
    case MEMBER_CONNECTED:
        return "connected";
    case MEMBER_REFUSED:
        return "refused";
    default:
        return "connecting";
    }
}

static void print_ring(struct info *info)
{
    struct ring *ring = info->service->ring;
    struct ring_figures figures;
    ring_figures(ring, &figures);
    line(info, "ring_start:%016llx", (unsigned long long)ring_start_id(ring));
    number(info, "ring_epoch", figures.epoch);
    number(info, "ring_in_map", figures.in_map);
    number(info, "ring_stands_in", figures.stands_in);
    number(info, "ring_slots", ring_slots(ring));
    number(info, "ring_owned_slots", figures.owned);
    number(info, "ring_held_slots", figures.held);
    number(info, "ring_pulling_slots", figures.pulling);
    number(info, "ring_suspect_slots", figures.suspect);
    number(info, "ring_under_replicated_slots", figures.under_replicated);
    line(info, "ring_zookeeper:%s", link_name(&figures));
    line(info, "ring_zookeeper_why:%.*s", (int)strcspn(figures.member.why, "\r\n"),
         figures.member.why);
    number(info, "ring_zookeeper_sessions_lost", figures.member.sessions_lost);
    number(info, "ring_map_changes", figures.member.map_changes);
    number(info, "ring_pulled_entries", figures.pulled_entries);
    number(info, "ring_pulled_bytes", figures.pulled_bytes);
    number(info, "ring_compared_slots", figures.compared_slots);
    number(info, "ring_differing_slots", figures.differing_slots);
    print_peers(info, ring);
}

static void print_keyspace(struct info *info)
{
    const struct cache_info *cache = &info->figures.cache;
    if (cache->entries > 0)
        line(info, "db0:keys=%llu,expires=%llu,avg_ttl=0", (unsigned long long)cache->entries,
             (unsigned long long)cache->expiring);
}

static void print_sidepond(struct info *info)
{
    const struct sp_pond_info *pond = &info->pond;
    line(info, "pond:%s", pond->name);
    number(info, "pond_version", pond->version);
    number(info, "tables", pond->table_count);
    bytes(info, "pond_limit", pond->limit_bytes);
    bytes(info, "pond_committed", pond->committed_bytes);
    bytes(info, "pond_used", pond->used_bytes);
    bytes(info, "pond_free", pond->free_bytes);
}

/* --- which of them ---------------------------------------------------------------------------- */

static const struct section {
    const char *name, *title;
    bool by_default, counts_commands;
    void (*print)(struct info *info);
} sections[] = {
    {"server", "Server", true, false, print_server},
    {"clients", "Clients", true, false, print_clients},
    {"memory", "Memory", true, false, print_memory},
    {"persistence", "Persistence", true, false, print_persistence},
    {"stats", "Stats", true, false, print_stats},
    {"replication", "Replication", true, false, print_replication},
    {"cpu", "CPU", true, false, print_cpu},
    {"commandstats", "Commandstats", false, true, print_commandstats},
    {"errorstats", "Errorstats", true, false, print_errorstats},
    {"latencystats", "Latencystats", false, true, print_latencystats},
    {"latencybuckets", "Latencybuckets", false, true, print_latencybuckets},
    {"cluster", "Cluster", true, false, print_cluster},
    {"keyspace", "Keyspace", true, false, print_keyspace},
    {"sidepond", "Sidepond", true, false, print_sidepond},
    {"ring", "Ring", true, false, print_ring},
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

static bool is_wanted(const struct section *section, const struct call *call)
{
    bool wanted = call->count == 1 && section->by_default;
    for (size_t i = 1; i < call->count && !wanted; i++) {
        const struct resp_arg *word = &call->args[i];
        wanted = arg_is(word, section->name) || arg_is(word, "all") || arg_is(word, "everything") ||
                 (arg_is(word, "default") && section->by_default);
    }
    return wanted;
}

static size_t count_subscribers(struct service *service)
{
    struct client_registry *registry = &service->clients;
    size_t count = 0;
    pthread_mutex_lock(&registry->lock);
    for (const struct client *client = registry->first; client; client = client->next)
        count +=
            (atomic_load_explicit(&client->flags, memory_order_relaxed) & CLIENT_SUBSCRIBER) != 0;
    pthread_mutex_unlock(&registry->lock);
    return count;
}

/* Of every command, where a section needs it; then the figures, all under one lock. */
static void gather(struct session *session, bool counts_commands, struct info *info)
{
    struct service *service = session->service;
    *info = (struct info){.service = service,
                          .text = BUFFER_INIT,
                          .now_ms = session_now(session),
                          .pond = SP_POND_INFO_INIT};
    if (counts_commands)
        info->by_command = calloc(command_numbers, sizeof(*info->by_command));
    thread_lock(session->thread);
    stats_since_reset(service, &info->figures);
    stats_errors_since_reset(service, &info->errors);
    for (unsigned c = 0; info->by_command && c < command_numbers; c++)
        if (stats_has_command(service, c)) /* the others stay zero, and their pages untouched */
            stats_of_command_since_reset(service, c, &info->by_command[c]);
    info->settings = service->settings;
    info->addresses = service->addresses;
    thread_unlock(session->thread);
    if (sp_pond_info(service->pond, &info->pond) != SP_OK)
        info->pond = (struct sp_pond_info)SP_POND_INFO_INIT;
    pubsub_totals(service, &info->channels, &info->patterns);
    info->subscribers = count_subscribers(service);
}

void run_info(struct session *session, const struct call *call)
{
    struct info info;
    bool counts_commands = false;
    for (size_t i = 0; i < SECTIONS; i++)
        counts_commands |= sections[i].counts_commands && is_wanted(&sections[i], call);
    gather(session, counts_commands, &info);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (!is_wanted(&sections[i], call) || (sections[i].counts_commands && !info.by_command) ||
            (sections[i].print == print_ring && !session->service->ring))
            continue;
        line(&info, "%s# %s", info.text.size > 0 ? "\r\n" : "", sections[i].title);
        sections[i].print(&info);
    }
    if (info.text.failed)
        reply_error(&session->reply, "ERR out of memory");
    else
        reply_verbatim(&session->reply, info.text.bytes ? info.text.bytes : "", info.text.size);
    free(info.by_command);
    buffer_free(&info.text);
}
