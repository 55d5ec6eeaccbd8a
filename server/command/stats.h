/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.h - what is counted and timed: by each thread for itself, read by any.
 *
 * A call of a command costs one reading of the clock, at its end, which is the beginning of the
 * next one of the batch; so what a call takes includes finding and checking it. Times go into
 * buckets, four to each doubling: a percentile is at most a quarter too high. Counters are atomics
 * that one thread writes, so that counting takes no locked instruction; CONFIG RESETSTAT keeps what
 * there was by then and lets INFO subtract it, and metrics never go back.
 */
#ifndef SIDEPOND_COMMAND_STATS_H
#define SIDEPOND_COMMAND_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/command/tracking.h"
#include "server/net/net.h"
#include "server/store/cache.h"

struct service;

#define LATENCY_UNIT_SHIFT 6u /* buckets begin as multiples of 64 ns */
#define LATENCY_BUCKETS    128u

/* Of one thread and one command. */
struct command_counters {
    _Atomic uint64_t calls, failed, rejected, ns;
    _Atomic uint64_t buckets[LATENCY_BUCKETS];
};

/* Errors by their code, the first word of what a client is told. The codes are the server's own, a
 * dozen; what does not fit is counted in no code. */
#define ERROR_CODES_MAX  32u
#define ERROR_CODE_BYTES 24u

struct error_counter {
    char code[ERROR_CODE_BYTES]; /* with the terminating zero; never changes */
    _Atomic uint64_t count;
};

struct thread_stats {
    _Alignas(64) _Atomic uint64_t commands, hits, misses;
    struct command_counters *by_command; /* by command number */
    _Atomic uint64_t error_replies;
    _Atomic unsigned error_codes; /* how many of `errors` are in use; raised when one is complete */
    struct error_counter errors[ERROR_CODES_MAX];
};

/* Only by the thread that the counter belongs to. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* The bucket of a time, and where a bucket ends: the first time that is beyond it. */
static inline unsigned latency_bucket(uint64_t ns)
{
    uint64_t units = ns >> LATENCY_UNIT_SHIFT;
    if (units < 4)
        return (unsigned)units;
    unsigned top = 63 - (unsigned)__builtin_clzll(units);
    unsigned bucket = (top - 1) * 4 + (unsigned)(units >> (top - 2) & 3);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}
static inline uint64_t latency_bucket_end(unsigned bucket)
{
    uint64_t units = bucket < 4 ? bucket + 1 : (uint64_t)(5 + bucket % 4) << (bucket / 4 - 1);
    return units << LATENCY_UNIT_SHIFT;
}

static inline void stats_call(struct command_counters *counters, uint64_t ns, bool failed)
{
    stats_add(&counters->calls, 1);
    stats_add(&counters->ns, ns);
    stats_add(&counters->buckets[latency_bucket(ns)], 1);
    if (__builtin_expect(failed, 0))
        stats_add(&counters->failed, 1);
}

/* Of an error that was replied: "-ERR what is wrong". Only by the thread. */
void stats_error(struct thread_stats *stats, const char *reply, size_t bytes);

bool stats_init(struct thread_stats *stats); /* false: no memory */
void stats_destroy(struct thread_stats *stats);

/* --- sums over all threads: any thread ------------------------------------------------------- */

struct command_figures {
    uint64_t calls, failed, rejected, ns;
    uint64_t buckets[LATENCY_BUCKETS];
};
/* Whether it was ever called, or rejected. */
bool stats_has_command(const struct service *service, unsigned number);
/* Since the start. */
void stats_of_command(const struct service *service, unsigned number, struct command_figures *out);
/* In nanoseconds, the end of the bucket in which it lies; 0: there was no call. */
uint64_t stats_percentile(const struct command_figures *figures, double percent);

/* In the order of the codes. */
struct error_figures {
    unsigned count;
    struct {
        char code[ERROR_CODE_BYTES];
        uint64_t replies;
    } codes[ERROR_CODES_MAX];
};
void stats_errors(const struct service *service, struct error_figures *out);

struct service_figures {
    struct cache_info cache;
    struct net_stats net;
    struct tracking_totals tracking;
    uint64_t commands, hits, misses, errors;
    uint32_t blocked, leases; /* now: clients that wait, leases that are held */
};
/* Since the start; takes the cache's lock for a moment. Not with it: stats_figures_locked. */
void stats_figures(struct service *service, struct service_figures *out);
void stats_figures_locked(struct service *service, struct service_figures *out);

/* --- per second, and since CONFIG RESETSTAT --------------------------------------------------- */

#define RATE_SAMPLES 16u

/* Of the last second and a half; `at` and the samples are the ticking thread's. */
struct rates {
    unsigned at;
    struct rate_sample {
        uint64_t us, commands, bytes_in, bytes_out;
    } samples[RATE_SAMPLES];
    _Atomic uint64_t commands, bytes_in, bytes_out; /* per second */
};
void stats_tick(struct service *service);

/* What INFO subtracts; with the cache's lock. */
struct stats_base {
    struct service_figures figures;
    struct error_figures errors;
    struct command_figures *by_command; /* NULL: nothing was reset yet */
};
bool stats_reset(struct service *service); /* false: no memory */
void stats_base_free(struct stats_base *base);
/* Since the last reset; with the cache's lock. */
void stats_since_reset(struct service *service, struct service_figures *out);
void stats_of_command_since_reset(const struct service *service, unsigned number,
                                  struct command_figures *out);
void stats_errors_since_reset(const struct service *service, struct error_figures *out);

#endif
