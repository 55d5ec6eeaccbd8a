/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_hit_ratio.c - hit ratio of the cache against Redis's and memcached's eviction, simulated,
 * at equal memory.
 *
 * Method. Ours is the cache itself, server/store, with that much memory for entries, index and
 * ghost table. Its peers are simulated, at a pace of so many requests a second: they count in
 * seconds, and would do worse if a day's trace were put to them in a minute. Each trace is put to
 * caches that take as much memory as Redis does for 1, 10 and 30 % of the trace's keys; the others
 * hold more entries in it, by the bytes that each takes for an entry. A row has our hit ratio and
 * that of the best of the peers: Redis's allkeys-lru and allkeys-lfu, and memcached. What the
 * simulation leaves out is said at the policies; entries are of one size.
 *
 *   --trace PATH     a trace from a file, besides those that are made (again for more)
 *   --keys N         keys of the made traces; there are ten times as many requests
 *   --rate N         requests a second, which the clocks of Redis depend on
 *   --bytes O,M,R    memory of an entry: ours with its ghost mark, memcached's, Redis's
 *   --matrix         instead of the rows: every policy, every trace, as lines of tab-separated
 * text: trace, percent, policy, hit ratio, entries looked at for an eviction, density
 *   --equal-entries  of the matrix: all hold as many entries as Redis, not as much memory
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/bench.h"
#include "policy_hand.h"
#include "policy_store.h"
#include "sim.h"

#define SEED        UINT64_C(42)
#define FILES_MAX   16u
#define QUICK_KEYS  20000u
#define KEYS        1000000u
#define KEYS_MOST   100000000u
#define REQUESTS_OF 10u /* for each key */

static const unsigned percents[] = {1, 10, 30};
#define PERCENTS (sizeof(percents) / sizeof(percents[0]))

enum owner { REDIS, MEMCACHED, OURS, OWNERS }; /* whose bytes an entry takes */

static const struct contender {
    const struct policy *policy;
    enum owner owner;
} contenders[] = {
    {&policy_store, OURS},         {&policy_ours, OURS},         {&policy_redis_lru, REDIS},
    {&policy_redis_lru_ms, REDIS}, {&policy_redis_lfu, REDIS},   {&policy_memcached, MEMCACHED},
    {&policy_lru, REDIS},          {&policy_lfu, REDIS},         {&policy_arc, REDIS},
    {&policy_sieve, REDIS},        {&policy_s3fifo, REDIS},      {&policy_clock, OURS},
    {&policy_gclock, OURS},        {&policy_gclock_ghost, OURS}, {&policy_known_2, OURS},
    {&policy_share_20, OURS},      {&policy_by_buckets, OURS},   {&policy_adaptive, OURS},
    {&policy_aged, OURS},
};
#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

static const struct contender peers[] = {
    {&policy_redis_lru, REDIS}, {&policy_redis_lfu, REDIS}, {&policy_memcached, MEMCACHED}};
#define PEERS (sizeof(peers) / sizeof(peers[0]))

static struct {
    uint32_t keys;
    unsigned rate;
    unsigned bytes[OWNERS];
    const char *files[FILES_MAX];
    size_t file_count;
    bool matrix, equal_entries;
} settings = {.rate = 10000, .bytes = {[REDIS] = 246, [MEMCACHED] = 202, [OURS] = 158}};

static struct sim_result run(const struct contender *contender, const struct trace *trace,
                             unsigned percent)
{
    uint64_t entries = (uint64_t)trace->base_keys * percent / 100;
    if (!settings.equal_entries)
        entries = entries * settings.bytes[REDIS] / settings.bytes[contender->owner];
    return sim_run(contender->policy, trace, (uint32_t)entries, settings.rate);
}

static void judge(const struct trace *trace, unsigned percent)
{
    const struct contender ours = {&policy_store, OURS};
    const struct policy *best = peers[0].policy;
    double peer = 0;
    for (size_t i = 0; i < PEERS; i++) {
        double ratio = run(&peers[i], trace, percent).hit_ratio;
        if (ratio > peer) {
            peer = ratio;
            best = peers[i].policy;
        }
    }
    char what[128];
    snprintf(what, sizeof(what), "%s, %u %% of the keys, best peer %s", trace->name, percent,
             best->name);
    bench_row(&(struct bench_row){.what = what,
                                  .ours = 100 * run(&ours, trace, percent).hit_ratio,
                                  .peer = 100 * peer,
                                  .unit = "%",
                                  .rule = peer > 0 ? BENCH_AT_LEAST : BENCH_INFORMS,
                                  .reach = 1});
}

static void print_lines(const struct trace *trace, unsigned percent)
{
    for (size_t i = 0; i < CONTENDERS; i++) {
        struct sim_result result = run(&contenders[i], trace, percent);
        printf("%s\t%u\t%s\t%.2f\t%.1f\t%.2f\n", trace->name, percent, contenders[i].policy->name,
               100 * result.hit_ratio, result.examined, result.densest);
    }
    fflush(stdout);
}

static void take(struct trace trace)
{
    bench_note("%s: %zu requests of %u keys", trace.name, trace.count, trace.key_count);
    for (size_t i = 0; i < PERCENTS; i++) {
        if (settings.matrix)
            print_lines(&trace, percents[i]);
        else
            judge(&trace, percents[i]);
    }
    trace_free(&trace);
}

/* --- options -------------------------------------------------------------------------------- */

static unsigned number(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value < least || value > most)
        bench_die("%s: not a number from %u to %u", text, least, most);
    return (unsigned)value;
}

static void read_bytes(const char *text)
{
    char rest;
    unsigned *bytes = settings.bytes;
    int found = sscanf(text, "%u,%u,%u%c", /* NOLINT(cert-err34-c) */
                       &bytes[OURS], &bytes[MEMCACHED], &bytes[REDIS], &rest);
    if (found != 3 || bytes[OURS] == 0 || bytes[MEMCACHED] == 0 || bytes[REDIS] == 0)
        bench_die("%s: not three numbers of bytes", text);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},
        {"quick", no_argument, NULL, 'q'},
        {"trace", required_argument, NULL, 't'},
        {"keys", required_argument, NULL, 'k'},
        {"rate", required_argument, NULL, 'r'},
        {"bytes", required_argument, NULL, 'b'},
        {"matrix", no_argument, NULL, 'm'},
        {"equal-entries", no_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    settings.keys = bench_quick() ? QUICK_KEYS : KEYS;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == '?')
            bench_die("unknown option");
        settings.matrix |= c == 'm';
        settings.equal_entries |= c == 'e';
        if (c == 'k')
            settings.keys = number(optarg, 1000, KEYS_MOST);
        else if (c == 'r')
            settings.rate = number(optarg, 1, 1000000000);
        else if (c == 'b')
            read_bytes(optarg);
        else if (c == 't' && settings.file_count == FILES_MAX)
            bench_die("more than %u files", FILES_MAX);
        else if (c == 't')
            settings.files[settings.file_count++] = optarg;
    }
}

int main(int argc, char **argv)
{
    bench_start("hit-ratio", argc, argv);
    read_options(argc, argv);
    for (size_t i = 0; i < trace_kinds(); i++)
        take(trace_make(i, settings.keys, (size_t)settings.keys * REQUESTS_OF, SEED));
    for (size_t i = 0; i < settings.file_count; i++)
        take(trace_read(settings.files[i]));
    return settings.matrix ? 0 : bench_finish();
}
