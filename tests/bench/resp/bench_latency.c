/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_latency.c - how long GET and SET by turns take at half of the rate that Redis can reach,
 * beside Redis and memcached.
 *
 * Method. 1,000,000 entries, 50 clients, no pipeline, one thread each, the server on the first
 * processor and the load on the second. First Redis' peak is measured: clients that send as soon
 * as they have their reply. Then each server in turn gets half of that, five rounds, by a clock and
 * not by its replies: a time counts from when a request was due (load.h), so requests that wait
 * behind a stall are all counted with their wait. The figures are medians of the rounds' p50, p99
 * and p99.9.
 */
#include <stdio.h>

#include "common/bench.h"
#include "load.h"

#define KEYS  1000000u
#define KINDS PEER_FLOOR /* the peers before it */

static const double fractions[] = {0.5, 0.99, 0.999};
static const char *const names[] = {"p50", "p99", "p99.9"};
enum { FRACTIONS = 3 };

struct servers {
    struct peer peers[KINDS];
    bool runs[KINDS];
    struct load_tape *tapes[2]; /* by wire */
    double us[KINDS][FRACTIONS][BENCH_ROUNDS];
    double got[KINDS][BENCH_ROUNDS]; /* replies a second */
};

static void start_all(struct servers *servers, enum peer_transport transport, uint32_t keys)
{
    for (enum peer_kind kind = 0; kind < KINDS; kind++) {
        const struct peer_options options = {.kind = kind, .transport = transport, .pinned = true};
        servers->runs[kind] = peer_start(&servers->peers[kind], &options);
        if (servers->runs[kind])
            peer_fill(&servers->peers[kind], &(struct peer_fill){.count = keys});
    }
    if (!servers->runs[PEER_OURS] || !servers->runs[PEER_REDIS])
        bench_die("the rate is that of Redis, which is not there");
}

static void run_once(struct servers *servers, enum peer_kind kind, double rate,
                     struct load_result *out)
{
    const struct peer *peer = &servers->peers[kind];
    load_run(peer,
             &(struct load){.tape = servers->tapes[peer->wire],
                            .depth = 1,
                            .seconds = bench_quick() ? 0.1 : 2,
                            .warm_s = bench_quick() ? 0.02 : 0.3,
                            .rate = rate},
             out);
}

static double redis_peak(struct servers *servers, unsigned rounds)
{
    static struct load_result result;
    double per_s[BENCH_ROUNDS];
    for (unsigned i = 0; i < rounds; i++) {
        run_once(servers, PEER_REDIS, 0, &result);
        per_s[i] = result.per_s;
    }
    return bench_median(per_s, rounds);
}

static void measure_round(struct servers *servers, double rate, unsigned round)
{
    static struct load_result result;
    for (enum peer_kind kind = 0; kind < KINDS; kind++) {
        if (!servers->runs[kind])
            continue;
        run_once(servers, kind, rate, &result);
        for (unsigned f = 0; f < FRACTIONS; f++)
            servers->us[kind][f][round] =
                (double)histogram_percentile_ns(&result.times, fractions[f]) / 1e3;
        servers->got[kind][round] = result.per_s;
    }
}

static void report(struct servers *servers, const char *how, double rate, unsigned rounds)
{
    char what[128];
    for (enum peer_kind kind = PEER_REDIS; kind < KINDS; kind++)
        for (unsigned f = 0; servers->runs[kind] && f < FRACTIONS; f++) {
            bool judged = kind == PEER_REDIS && f > 0;
            snprintf(what, sizeof(what), "%s, %.0f k/s, %s; %s", how, rate / 1e3, names[f],
                     peer_name(kind));
            bench_row(&(struct bench_row){what, bench_median(servers->us[PEER_OURS][f], rounds),
                                          bench_median(servers->us[kind][f], rounds), "us",
                                          judged ? BENCH_AT_MOST : BENCH_INFORMS, 1.0});
        }
    for (enum peer_kind kind = 0; kind < KINDS; kind++)
        if (servers->runs[kind])
            bench_note("%s, %s: answered %.1f k/s of %.1f", how, peer_name(kind),
                       bench_median(servers->got[kind], rounds) / 1e3, rate / 1e3);
}

static void measure(enum peer_transport transport)
{
    static struct servers servers;
    uint32_t keys = bench_quick() ? KEYS / 50 : KEYS;
    unsigned rounds = bench_quick() ? 1 : BENCH_ROUNDS;
    for (enum wire wire = WIRE_RESP; wire <= WIRE_MEMCACHED; wire++)
        servers.tapes[wire] = load_tape_make(wire, LOAD_BOTH, keys, 1);
    start_all(&servers, transport, keys);
    double rate = redis_peak(&servers, rounds) / 2;
    for (unsigned i = 0; i < rounds; i++)
        measure_round(&servers, rate, i);
    report(&servers, transport == PEER_TCP ? "TCP" : "Unix", rate, rounds);
    for (enum peer_kind kind = 0; kind < KINDS; kind++)
        if (servers.runs[kind])
            peer_stop(&servers.peers[kind]);
    for (enum wire wire = WIRE_RESP; wire <= WIRE_MEMCACHED; wire++)
        load_tape_free(servers.tapes[wire]);
}

int main(int argc, char **argv)
{
    bench_start("latency", argc, argv);
    peer_pin(1);
    measure(PEER_TCP);
    measure(PEER_UNIX);
    return bench_finish();
}
