/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_expiry.c - 1,000,000 entries whose time is up in the same second: how long another client's
 * GET can then stall, and when the entries and their memory are gone, beside Redis.
 *
 * Method. 10,000 entries that stay and 1,000,000 that expire at one moment are set. One connection
 * reads those that stay, one after the other, and asks DBSIZE by turns of 20 ms, from a second
 * before that moment until the entries and their memory are gone, or 15 s have passed. Every reply
 * is compared. The longest of these times is the stall; what others on the machine do shows in it,
 * too: the longest in the second before is told beside it, and the most processor time that the
 * server took within a GET, which is what it owes to itself. Memory is gone where nine tenths of
 * what the entries took have been given back to the system. Five rounds, each with a new server,
 * pinned to the first processor; the reader has the second.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/bench.h"
#include "common/rows.h"
#include "peers.h"

#define EXPIRING     1000000u
#define STAYING      10000u
#define LOOK_S       0.02
#define REACH_MS     2.0
#define REPLY_ROOM   512
#define MOMENT_EARLY 1.0 /* from here on the reader reads */

static double watched_s(void)
{
    return bench_quick() ? 2.0 : 15.0;
}

struct watch {
    const struct peer *peer;
    int fd;
    struct wire_reply reply;
    uint64_t random;
    uint64_t empty_bytes, full_bytes;
    double moment_s;          /* by bench_now_s */
    double before_s, after_s; /* the longest GET */
    double cpu_s;             /* the most processor time of the server within a GET, after */
    double gone_s, given_s;   /* after the moment; watched_s: not within it */
};

static double unix_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void get_one(struct watch *watch)
{
    char request[WIRE_HEAD_MAX];
    char key[WIRE_KEY_BYTES];
    char reply[REPLY_ROOM];
    uint32_t number = (uint32_t)(rows_random(&watch->random) % STAYING);
    size_t bytes = wire_get(watch->peer->wire, number, request);
    wire_key(number, key);
    size_t got = 0;
    if (send(watch->fd, request, bytes, MSG_NOSIGNAL) == (ssize_t)bytes)
        got = (size_t)recv(watch->fd, reply, watch->reply.bytes, MSG_WAITALL);
    if (got != watch->reply.bytes || !wire_reply_is(&watch->reply, reply, key))
        bench_die("a GET is answered wrong");
}

/* Entries, as the server counts them; those that are expired and still there are among them. */
static uint64_t count_entries(const struct watch *watch)
{
    char reply[REPLY_ROOM];
    if (peer_ask(watch->fd, "DBSIZE\r\n", 8, reply, sizeof(reply)) == 0 || reply[0] != ':')
        bench_die("DBSIZE is answered wrong");
    return strtoull(reply + 1, NULL, 10);
}

static void look(struct watch *watch)
{
    double since = bench_now_s() - watch->moment_s;
    if (since < 0)
        return;
    if (watch->gone_s >= watched_s() && count_entries(watch) <= STAYING)
        watch->gone_s = since;
    uint64_t limit = watch->empty_bytes + (watch->full_bytes - watch->empty_bytes) / 10;
    if (watch->given_s >= watched_s() && peer_memory_bytes(watch->peer) <= limit)
        watch->given_s = since;
}

static void count_time(struct watch *watch, double began, double began_cpu)
{
    double now = bench_now_s();
    double cpu = peer_cpu_s(watch->peer) - began_cpu;
    double *longest = now < watch->moment_s ? &watch->before_s : &watch->after_s;
    if (now - began > *longest)
        *longest = now - began;
    if (now >= watch->moment_s && cpu > watch->cpu_s)
        watch->cpu_s = cpu;
}

static void read_all_the_while(struct watch *watch)
{
    double looked = 0;
    watch->gone_s = watch->given_s = watched_s();
    while (bench_now_s() < watch->moment_s - MOMENT_EARLY)
        poll(NULL, 0, 10);
    while (bench_now_s() < watch->moment_s + watched_s()) {
        double cpu = peer_cpu_s(watch->peer);
        double began = bench_now_s();
        get_one(watch);
        count_time(watch, began, cpu);
        if (began - looked < LOOK_S)
            continue;
        looked = began;
        cpu = peer_cpu_s(watch->peer);
        began = bench_now_s();
        count_entries(watch);
        count_time(watch, began, cpu);
        look(watch);
        /* A second more: what is done after the last entry may stall as well. */
        if (watch->given_s < watched_s() && watch->gone_s < watched_s() &&
            looked > watch->moment_s + watch->given_s + 1)
            break;
    }
}

/* How long the expiring ones will take, from how long the others did, and some room. */
static uint64_t fill(struct watch *watch, uint32_t count)
{
    double began = bench_now_s();
    peer_fill(watch->peer, &(struct peer_fill){.count = STAYING});
    double lead = (bench_now_s() - began) * 3 * count / STAYING + 4;
    watch->empty_bytes = peer_memory_bytes(watch->peer);
    uint64_t moment = (uint64_t)(unix_now_s() + lead);
    peer_fill(watch->peer,
              &(struct peer_fill){.first = STAYING, .count = count, .expires_unix_s = moment});
    watch->full_bytes = peer_memory_bytes(watch->peer);
    return moment;
}

static void measure(enum peer_kind kind, struct watch *watch)
{
    struct peer peer;
    const struct peer_options options = {.kind = kind, .transport = PEER_TCP, .pinned = true};
    const uint32_t count = bench_quick() ? EXPIRING / 50 : EXPIRING;
    *watch = (struct watch){.peer = &peer, .random = 1};
    if (!peer_start(&peer, &options))
        bench_die("there is nothing to measure");
    wire_get_reply(peer.wire, &watch->reply);
    uint64_t moment = fill(watch, count);
    double left = (double)moment - unix_now_s();
    if (left < MOMENT_EARLY)
        bench_die("filling took longer than was thought: another run may do");
    watch->moment_s = bench_now_s() + left;
    watch->fd = peer_connect(&peer);
    read_all_the_while(watch);
    close(watch->fd);
    peer_stop(&peer);
    bench_note("%s: longest GET %.2f ms, before %.2f ms, most processor time within one %.2f ms; "
               "gone after %.2f s, given back %.2f s",
               peer_name(kind), watch->after_s * 1e3, watch->before_s * 1e3, watch->cpu_s * 1e3,
               watch->gone_s, watch->given_s);
}

struct figures {
    double after_ms[BENCH_ROUNDS], before_ms[BENCH_ROUNDS], cpu_ms[BENCH_ROUNDS],
        gone_s[BENCH_ROUNDS], given_s[BENCH_ROUNDS];
};

static void note_figures(struct figures *figures, unsigned round, const struct watch *watch)
{
    figures->after_ms[round] = watch->after_s * 1e3;
    figures->before_ms[round] = watch->before_s * 1e3;
    figures->cpu_ms[round] = watch->cpu_s * 1e3;
    figures->gone_s[round] = watch->gone_s;
    figures->given_s[round] = watch->given_s;
}

static void report(const struct figures *ours, const struct figures *redis, unsigned rounds)
{
    double longest = bench_median(ours->after_ms, rounds);
    bench_row(&(struct bench_row){"longest stall of a GET, median of the rounds", longest, 0, "ms",
                                  BENCH_AT_MOST, REACH_MS});
    bench_row(&(struct bench_row){"longest stall of a GET; Redis", longest,
                                  bench_median(redis->after_ms, rounds), "ms", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"longest stall of all rounds; Redis",
                                  bench_max(ours->after_ms, rounds),
                                  bench_max(redis->after_ms, rounds), "ms", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"longest GET in the second before; Redis",
                                  bench_median(ours->before_ms, rounds),
                                  bench_median(redis->before_ms, rounds), "ms", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"most processor time of the server within a GET; Redis",
                                  bench_median(ours->cpu_ms, rounds),
                                  bench_median(redis->cpu_ms, rounds), "ms", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"until no entry is left; Redis",
                                  bench_median(ours->gone_s, rounds),
                                  bench_median(redis->gone_s, rounds), "s", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"until the memory is given back (15: not within it); Redis",
                                  bench_median(ours->given_s, rounds),
                                  bench_median(redis->given_s, rounds), "s", BENCH_INFORMS, 0});
}

int main(int argc, char **argv)
{
    static struct figures ours, redis;
    struct watch watch;
    bench_start("expiry", argc, argv);
    const unsigned rounds = bench_quick() ? 1 : BENCH_ROUNDS;
    peer_pin(1);
    for (unsigned i = 0; i < rounds; i++) {
        measure(PEER_OURS, &watch);
        note_figures(&ours, i, &watch);
        measure(PEER_REDIS, &watch);
        note_figures(&redis, i, &watch);
    }
    report(&ours, &redis, rounds);
    return bench_finish();
}
