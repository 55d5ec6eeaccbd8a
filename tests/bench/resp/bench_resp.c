/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_resp.c - GET and SET through sockets, beside Redis, memcached and a server that does
 * nothing but the sockets' work (floor.h).
 *
 * Method. 50 clients in one thread (load.h), entries of a 24-byte key and a 100-byte value, all
 * filled before; keys drawn at random out of 1,000,000, or out of 10,000 that fit the caches;
 * pipelines of 1, 16 and 64 requests; TCP over loopback and a Unix socket. Each server has one
 * thread and the first processor, the load the second. For each row the servers take turns, five
 * rounds, medians; every reply is compared with what it must be.
 *
 * memcached's pipeline is one of single gets, which it answers by a system call each; a get of many
 * keys at once would cost it less. Its ratios are judged without a pipeline only.
 *
 * The processor time that a server takes for a request is told on stderr: it moves less than the
 * throughput does where others use the machine, too.
 *
 * Then redis-benchmark against us and Redis, where it is installed, on the same entries; and two
 * threads each, with both processors shared by servers and load.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "load.h"

#define KEYS       1000000u
#define HOT_KEYS   10000u
#define WARM_S     0.1
#define MEASURED_S 0.4

struct servers {
    struct peer peers[PEER_KINDS];
    bool runs[PEER_KINDS];
};

/* One line of measurements, and what each peer's ratio to ours must be; 0: only told. */
struct cell {
    enum load_mix mix;
    uint32_t keys;
    unsigned depth;
    const char *how; /* the transport, and what else is to be said */
    double reach[PEER_KINDS];
};

static uint32_t keys_all = KEYS, keys_hot = HOT_KEYS;

static unsigned rounds(void)
{
    return bench_quick() ? 1 : BENCH_ROUNDS;
}

static void start_all(struct servers *servers, enum peer_transport transport, unsigned threads)
{
    for (enum peer_kind kind = 0; kind < PEER_KINDS; kind++) {
        const struct peer_options options = {
            .kind = kind,
            .transport = transport,
            .threads = threads,
            .pinned = threads == 1,
            .huge_pages = true}; /* as sidepondd has them unless it is told otherwise */
        struct peer *peer = &servers->peers[kind];
        servers->runs[kind] = (kind != PEER_FLOOR || threads == 1) && peer_start(peer, &options);
        if (kind == PEER_OURS && !servers->runs[kind])
            bench_die("there is nothing to measure");
        if (servers->runs[kind] && kind != PEER_FLOOR)
            peer_fill(peer, &(struct peer_fill){.count = keys_all});
    }
}

static void stop_all(struct servers *servers)
{
    for (enum peer_kind kind = 0; kind < PEER_KINDS; kind++)
        if (servers->runs[kind])
            peer_stop(&servers->peers[kind]);
}

/* --- the own load --------------------------------------------------------------------------- */

static double measure_once(const struct peer *peer, const struct load_tape *tape, unsigned depth,
                           double *cpu_us)
{
    static struct load_result result;
    load_run(peer,
             &(struct load){.tape = tape,
                            .depth = depth,
                            .seconds = bench_quick() ? 0.05 : MEASURED_S,
                            .warm_s = bench_quick() ? 0.01 : WARM_S,
                            .unchecked = peer->options.kind == PEER_FLOOR},
             &result);
    *cpu_us = result.server_cpu_us;
    return result.per_s;
}

static void row(const struct cell *cell, enum peer_kind kind, double ours, double peer)
{
    char what[128];
    snprintf(what, sizeof(what), "%s, %s, pipeline %u, %s keys; %s",
             cell->mix == LOAD_GET ? "GET" : "SET", cell->how, cell->depth,
             cell->keys == keys_all ? "1,000,000" : "10,000", peer_name(kind));
    bench_row(&(struct bench_row){what, ours / 1e3, peer / 1e3, "k/s",
                                  cell->reach[kind] > 0 ? BENCH_AT_LEAST : BENCH_INFORMS,
                                  cell->reach[kind]});
}

static void measure(struct servers *servers, const struct cell *cell)
{
    double per_s[PEER_KINDS][BENCH_ROUNDS], cpu_us[PEER_KINDS][BENCH_ROUNDS], median[PEER_KINDS];
    struct load_tape *tapes[] = {[WIRE_RESP] = load_tape_make(WIRE_RESP, cell->mix, cell->keys, 1),
                                 [WIRE_MEMCACHED] =
                                     load_tape_make(WIRE_MEMCACHED, cell->mix, cell->keys, 1)};
    for (unsigned i = 0; i < rounds(); i++)
        for (enum peer_kind kind = 0; kind < PEER_KINDS; kind++)
            if (servers->runs[kind])
                per_s[kind][i] =
                    measure_once(&servers->peers[kind], tapes[servers->peers[kind].wire],
                                 cell->depth, &cpu_us[kind][i]);
    for (enum peer_kind kind = 0; kind < PEER_KINDS; kind++) {
        if (!servers->runs[kind])
            continue;
        median[kind] = bench_median(per_s[kind], rounds());
        bench_note("%s %s pipeline %u of %u: %s %.0f k/s, %.2f us of its processor",
                   cell->mix == LOAD_GET ? "GET" : "SET", cell->how, cell->depth, cell->keys,
                   peer_name(kind), median[kind] / 1e3, bench_median(cpu_us[kind], rounds()));
        if (kind != PEER_OURS)
            row(cell, kind, median[PEER_OURS], median[kind]);
    }
    load_tape_free(tapes[WIRE_RESP]);
    load_tape_free(tapes[WIRE_MEMCACHED]);
}

static void set_reach(struct cell *cell)
{
    bool all = cell->keys == keys_all;
    if (cell->depth == 1 && all) {
        cell->reach[PEER_REDIS] = 1.2;
        cell->reach[PEER_MEMCACHED] = 1.0;
        cell->reach[PEER_FLOOR] = 0.9;
    } else {
        cell->reach[PEER_REDIS] = !all ? 1.0 : cell->depth == 16 ? 3.0 : 4.0;
    }
}

static void measure_cells(struct servers *servers, const char *how)
{
    static const unsigned depths[] = {1, 16, 64};
    const uint32_t keys[] = {keys_all, keys_hot};
    for (unsigned k = 0; k < 2; k++)
        for (unsigned d = 0; d < 3; d++)
            for (enum load_mix mix = LOAD_GET; mix <= LOAD_SET; mix++) {
                struct cell cell = {.mix = mix, .keys = keys[k], .depth = depths[d], .how = how};
                set_reach(&cell);
                measure(servers, &cell);
            }
}

/* --- redis-benchmark ------------------------------------------------------------------------ */

/* Requests a second by its own count; 0: it is not installed. */
static double redis_benchmark(const struct peer *peer, const char *command)
{
    char line[512];
    char where[192];
    double per_s = 0;
    if (peer->options.transport == PEER_TCP)
        snprintf(where, sizeof(where), "-h 127.0.0.1 -p %u", peer->port);
    else
        snprintf(where, sizeof(where), "-s %s", peer->socket);
    snprintf(line, sizeof(line),
             "redis-benchmark %s -c 50 -n %u -r %u --csv %s 2>/dev/null | tail -n 1", where,
             bench_quick() ? 2000u : 100000u, keys_all, command);
    FILE *pipe = popen(line, "re");
    /* "the command","requests a second",... */
    if (pipe && fgets(line, sizeof(line), pipe)) {
        const char *at = strstr(line, "\",\"");
        per_s = at ? strtod(at + 3, NULL) : 0;
    }
    if (pipe)
        pclose(pipe);
    return per_s;
}

static void measure_by_redis_benchmark(struct servers *servers, const char *how, bool get)
{
    double ours[BENCH_ROUNDS], redis[BENCH_ROUNDS];
    char command[192];
    char value[WIRE_VALUE_BYTES + 1] = "";
    char what[128];
    memset(value, 'v', WIRE_VALUE_BYTES);
    snprintf(command, sizeof(command), "%s " WIRE_KEY_PATTERN " %s", get ? "GET" : "SET",
             get ? "" : value);
    if (!servers->runs[PEER_REDIS])
        return;
    for (unsigned i = 0; i < rounds(); i++) {
        ours[i] = redis_benchmark(&servers->peers[PEER_OURS], command);
        redis[i] = redis_benchmark(&servers->peers[PEER_REDIS], command);
        if (ours[i] <= 0 || redis[i] <= 0) {
            bench_note("redis-benchmark does not run");
            return;
        }
    }
    snprintf(what, sizeof(what), "%s, %s, redis-benchmark; Redis", get ? "GET" : "SET", how);
    bench_row(&(struct bench_row){what, bench_median(ours, rounds()) / 1e3,
                                  bench_median(redis, rounds()) / 1e3, "k/s", BENCH_AT_LEAST, 1.2});
}

/* --- all ------------------------------------------------------------------------------------ */

static void measure_transport(enum peer_transport transport)
{
    struct servers servers;
    const char *how = transport == PEER_TCP ? "TCP" : "Unix";
    peer_pin(1);
    start_all(&servers, transport, 1);
    measure_cells(&servers, how);
    measure_by_redis_benchmark(&servers, how, true);
    measure_by_redis_benchmark(&servers, how, false); /* last: its values are no entries of ours */
    stop_all(&servers);
}

static void measure_two_threads(void)
{
    struct servers servers;
    peer_pin(-1);
    start_all(&servers, PEER_TCP, 2);
    for (enum load_mix mix = LOAD_GET; mix <= LOAD_SET; mix++)
        measure(&servers, &(struct cell){.mix = mix,
                                         .keys = keys_all,
                                         .depth = 1,
                                         .how = "TCP, two threads",
                                         .reach = {[PEER_REDIS] = 1.2, [PEER_MEMCACHED] = 1.2}});
    stop_all(&servers);
}

int main(int argc, char **argv)
{
    bench_start("resp", argc, argv);
    if (bench_quick()) {
        keys_all /= 50;
        keys_hot /= 50;
    }
    measure_transport(PEER_TCP);
    measure_transport(PEER_UNIX);
    measure_two_threads();
    return bench_finish();
}
