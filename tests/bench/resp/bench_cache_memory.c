/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_cache_memory.c - memory that an entry of the cache takes, everything counted, beside Redis
 * and memcached with the same entries.
 *
 * Method. 1,000,000 entries of a 24-byte key, a 100-byte value and an expiry a day ahead are set
 * through the socket; then 300,000 with lognormal values (median 200 bytes, sigma 1.2, at most
 * 64 KiB). Counted is what each has after that minus what it had when empty: of Redis and memcached
 * the resident private memory of the process, of ours the same and the blocks of the pond's files.
 * A second of peace lies between the last SET and the count.
 */
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "common/bench.h"
#include "common/rows.h"
#include "peers.h"

#define ENTRIES           1000000u
#define LOGNORMAL_ENTRIES 300000u
#define DAY_S             86400
#define PEACE_MS          1000

struct work {
    const char *name;
    struct peer_fill fill;
    double reach_redis, reach_memcached; /* 0: only told */
};

/* Bytes that it has grown by for each entry; 0: it is not installed. */
static double measure_one(const struct work *work, enum peer_kind kind, bool huge_pages)
{
    struct peer peer;
    const struct peer_options options = {
        .kind = kind, .transport = PEER_UNIX, .huge_pages = huge_pages};
    if (!peer_start(&peer, &options))
        return 0;
    uint64_t before = peer_memory_bytes(&peer);
    uint64_t data = peer_fill(&peer, &work->fill);
    poll(NULL, 0, PEACE_MS);
    double bytes = (double)(peer_memory_bytes(&peer) - before);
    bench_note("%s: %s%s: %.1f MiB, %.1f bytes an entry, %.3f of key and value bytes", work->name,
               peer_name(kind), huge_pages ? " in huge pages" : "", bytes / 0x1p20,
               bytes / work->fill.count, bytes / (double)data);
    peer_stop(&peer);
    return bytes / work->fill.count;
}

static void row(const struct work *work, const char *peer, double ours, double theirs, double reach)
{
    char what[128];
    if (theirs <= 0)
        return;
    snprintf(what, sizeof(what), "%s; %s", work->name, peer);
    bench_row(&(struct bench_row){what, ours, theirs, "B",
                                  reach > 0 ? BENCH_AT_MOST : BENCH_INFORMS, reach});
}

static void measure(const struct work *work)
{
    double ours = measure_one(work, PEER_OURS, false);
    double huge = measure_one(work, PEER_OURS, true);
    row(work, "Redis", ours, measure_one(work, PEER_REDIS, false), work->reach_redis);
    row(work, "memcached", ours, measure_one(work, PEER_MEMCACHED, false), work->reach_memcached);
    row(work, "ours in huge pages", ours, huge, 0);
}

int main(int argc, char **argv)
{
    bench_start("cache-memory", argc, argv);
    const uint32_t divisor = bench_quick() ? 20 : 1;
    const uint64_t expires = (uint64_t)time(NULL) + DAY_S;
    measure(&(struct work){"an entry, 24 + 100 bytes, with expiry",
                           {.count = ENTRIES / divisor, .expires_unix_s = expires},
                           0.7,
                           0.85});
    measure(&(struct work){
        "an entry, lognormal values, with expiry",
        {.count = LOGNORMAL_ENTRIES / divisor, .expires_unix_s = expires, .lognormal = true},
        0,
        0});
    return bench_finish();
}
