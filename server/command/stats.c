/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - sums of what the threads have counted.
 *
 * Cost: a command's figures are read from each thread's counters, a kilobyte for each; INFO with
 * all its sections and /metrics read all of them. No thread is held up by that.
 */
#include "server/command/stats.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/session.h"

bool stats_init(struct thread_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    stats->by_command = calloc(command_numbers, sizeof(*stats->by_command));
    return stats->by_command != NULL;
}

void stats_destroy(struct thread_stats *stats)
{
    free(stats->by_command);
    stats->by_command = NULL;
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- sums ------------------------------------------------------------------------------------- */

void stats_of_command(const struct service *service, unsigned number, struct command_figures *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned t = 0; t < service->thread_count; t++) {
        const struct command_counters *counters = &service->threads[t].stats->by_command[number];
        uint64_t calls = load(&counters->calls);
        out->calls += calls;
        out->failed += load(&counters->failed);
        out->rejected += load(&counters->rejected);
        out->ns += load(&counters->ns);
        for (unsigned b = 0; calls > 0 && b < LATENCY_BUCKETS; b++)
            out->buckets[b] += load(&counters->buckets[b]);
    }
}

uint64_t stats_percentile(const struct command_figures *figures, double percent)
{
    uint64_t total = 0, seen = 0;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
        total += figures->buckets[b];
    double wanted = (double)total * percent / 100;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        seen += figures->buckets[b];
        if (seen > 0 && (double)seen >= wanted)
            return latency_bucket_end(b);
    }
    return 0;
}

static void sum_threads(const struct service *service, struct service_figures *out)
{
    out->commands = out->hits = out->misses = out->errors = 0;
    for (unsigned t = 0; t < service->thread_count; t++) {
        const struct thread_stats *stats = service->threads[t].stats;
        out->commands += load(&stats->commands);
        out->hits += load(&stats->hits);
        out->misses += load(&stats->misses);
        for (unsigned c = 0; c < command_numbers; c++)
            out->errors +=
                load(&stats->by_command[c].failed) + load(&stats->by_command[c].rejected);
    }
    net_stats(service->net, &out->net);
    out->blocked = atomic_load_explicit(&service->blocked, memory_order_relaxed);
    out->leases = atomic_load_explicit(&service->lease_count, memory_order_relaxed);
}

void stats_figures(struct service *service, struct service_figures *out)
{
    cache_info(service->cache, &out->cache);
    sum_threads(service, out);
}

void stats_figures_locked(struct service *service, struct service_figures *out)
{
    cache_info_locked(service->cache, &out->cache);
    sum_threads(service, out);
}

/* --- per second ------------------------------------------------------------------------------- */

static uint64_t per_second(uint64_t from, uint64_t to, uint64_t us)
{
    return us == 0 ? 0 : (uint64_t)((double)(to - from) * 1e6 / (double)us + 0.5);
}

void stats_tick(struct service *service)
{
    struct rates *rates = &service->rates;
    struct rate_sample now = {.us = clock_us()};
    struct net_stats net;
    net_stats(service->net, &net);
    now.bytes_in = net.bytes_in;
    now.bytes_out = net.bytes_out;
    for (unsigned t = 0; t < service->thread_count; t++)
        now.commands += load(&service->threads[t].stats->commands);
    struct rate_sample *oldest = &rates->samples[rates->at++ % RATE_SAMPLES];
    struct rate_sample then = oldest->us ? *oldest : rates->samples[0];
    *oldest = now;
    if (then.us == 0)
        return;
    uint64_t us = now.us - then.us;
    atomic_store_explicit(&rates->commands, per_second(then.commands, now.commands, us),
                          memory_order_relaxed);
    atomic_store_explicit(&rates->bytes_in, per_second(then.bytes_in, now.bytes_in, us),
                          memory_order_relaxed);
    atomic_store_explicit(&rates->bytes_out, per_second(then.bytes_out, now.bytes_out, us),
                          memory_order_relaxed);
}

/* --- since CONFIG RESETSTAT --------------------------------------------------------------------
 */

bool stats_reset(struct service *service)
{
    struct stats_base *base = &service->base;
    if (!base->by_command)
        base->by_command = calloc(command_numbers, sizeof(*base->by_command));
    if (!base->by_command)
        return false;
    stats_figures_locked(service, &base->figures);
    for (unsigned c = 0; c < command_numbers; c++)
        stats_of_command(service, c, &base->by_command[c]);
    return true;
}

void stats_base_free(struct stats_base *base)
{
    free(base->by_command);
    base->by_command = NULL;
}

void stats_of_command_since_reset(const struct service *service, unsigned number,
                                  struct command_figures *out)
{
    stats_of_command(service, number, out);
    if (!service->base.by_command)
        return;
    const struct command_figures *base = &service->base.by_command[number];
    out->calls -= base->calls;
    out->failed -= base->failed;
    out->rejected -= base->rejected;
    out->ns -= base->ns;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
        out->buckets[b] -= base->buckets[b];
}

void stats_since_reset(struct service *service, struct service_figures *out)
{
    const struct service_figures *base = &service->base.figures;
    stats_figures_locked(service, out);
    out->commands -= base->commands;
    out->hits -= base->hits;
    out->misses -= base->misses;
    out->errors -= base->errors;
    out->cache.expired -= base->cache.expired;
    out->cache.evicted -= base->cache.evicted;
    out->cache.refused -= base->cache.refused;
    out->cache.written -= base->cache.written;
    out->cache.deleted -= base->cache.deleted;
    out->net.accepted -= base->net.accepted;
    out->net.rejected -= base->net.rejected;
    out->net.bytes_in -= base->net.bytes_in;
    out->net.bytes_out -= base->net.bytes_out;
    for (unsigned d = 0; d < NET_DROP_COUNT; d++)
        out->net.dropped[d] -= base->net.dropped[d];
}
