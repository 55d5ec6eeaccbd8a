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

void stats_error(struct thread_stats *stats, const char *reply, size_t bytes)
{
    unsigned used = atomic_load_explicit(&stats->error_codes, memory_order_relaxed);
    const char *code = reply + 1;
    size_t size = 0;
    unsigned at = 0;
    while (size + 1 < bytes && size + 1 < ERROR_CODE_BYTES && code[size] > ' ')
        size++;
    stats_add(&stats->error_replies, 1);
    while (at < used && (strncmp(stats->errors[at].code, code, size) != 0 ||
                         stats->errors[at].code[size] != '\0'))
        at++;
    if (at == ERROR_CODES_MAX)
        return;
    if (at == used) {
        memcpy(stats->errors[at].code, code, size);
        atomic_store_explicit(&stats->error_codes, used + 1, memory_order_release);
    }
    stats_add(&stats->errors[at].count, 1);
}

/* --- sums ------------------------------------------------------------------------------------- */

bool stats_has_command(const struct service *service, unsigned number)
{
    for (unsigned t = 0; t < service->thread_count; t++) {
        const struct command_counters *counters = &service->threads[t].stats->by_command[number];
        if (load(&counters->calls) + load(&counters->rejected) > 0)
            return true;
    }
    return false;
}

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
        out->errors += load(&stats->error_replies);
    }
    net_stats(service->net, &out->net);
    tracking_totals(service, &out->tracking);
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

/* Where a code is, or would be, in the order of the codes. */
static unsigned place_of(const struct error_figures *figures, const char *code)
{
    unsigned at = 0;
    while (at < figures->count && strcmp(figures->codes[at].code, code) < 0)
        at++;
    return at;
}

static bool has_code(const struct error_figures *figures, unsigned at, const char *code)
{
    return at < figures->count && strcmp(figures->codes[at].code, code) == 0;
}

static void add_errors(struct error_figures *out, const char *code, uint64_t replies)
{
    unsigned at = place_of(out, code);
    if (!has_code(out, at, code)) {
        if (out->count == ERROR_CODES_MAX)
            return;
        memmove(&out->codes[at + 1], &out->codes[at], (out->count - at) * sizeof(out->codes[0]));
        memcpy(out->codes[at].code, code, ERROR_CODE_BYTES);
        out->codes[at].replies = 0;
        out->count++;
    }
    out->codes[at].replies += replies;
}

void stats_errors(const struct service *service, struct error_figures *out)
{
    out->count = 0;
    for (unsigned t = 0; t < service->thread_count; t++) {
        const struct thread_stats *stats = service->threads[t].stats;
        unsigned codes = atomic_load_explicit(&stats->error_codes, memory_order_acquire);
        for (unsigned i = 0; i < codes; i++)
            add_errors(out, stats->errors[i].code, load(&stats->errors[i].count));
    }
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

/* --- since CONFIG RESETSTAT ------------------------------------------------------------------- */

bool stats_reset(struct service *service)
{
    struct stats_base *base = &service->base;
    if (!base->by_command)
        base->by_command = calloc(command_numbers, sizeof(*base->by_command));
    if (!base->by_command)
        return false;
    stats_figures_locked(service, &base->figures);
    stats_errors(service, &base->errors);
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

void stats_errors_since_reset(const struct service *service, struct error_figures *out)
{
    const struct error_figures *base = &service->base.errors;
    stats_errors(service, out);
    for (unsigned i = 0; i < out->count; i++) {
        unsigned at = place_of(base, out->codes[i].code);
        if (has_code(base, at, out->codes[i].code))
            out->codes[i].replies -= base->codes[at].replies;
    }
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
    out->cache.shm_hits -= base->cache.shm_hits;
    out->cache.shm_misses -= base->cache.shm_misses;
    out->net.accepted -= base->net.accepted;
    out->net.rejected -= base->net.rejected;
    out->net.bytes_in -= base->net.bytes_in;
    out->net.bytes_out -= base->net.bytes_out;
    for (unsigned d = 0; d < NET_DROP_COUNT; d++)
        out->net.dropped[d] -= base->net.dropped[d];
}
