/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_warm_restart.c - kill -9 with 1,000,000 entries, until a GET is answered right again,
 * beside Redis with its snapshot, and with its log.
 *
 * Method. Each server is filled with entries that expire in a day; Redis then writes its snapshot
 * (SAVE), or has its log complete. The time counts from the kill until a GET of an entry drawn at
 * random, asked again every millisecond, has the right value; the new process is started when the
 * old one is gone. Then 1,000 more entries are read and compared, and all are counted. Files are in
 * memory (/dev/shm) for all of them, so Redis waits for no disk. Five rounds, medians.
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

#define ENTRIES    1000000u
#define DAY_S      86400
#define REACH_S    1.0
#define PATIENCE_S 60.0
#define COMPARED   1000u
#define REPLY_ROOM 512

static uint64_t drawn = 1;
static uint32_t entries = ENTRIES;

/* Whether the entry is there and right. */
static bool get_is_right(int fd, uint32_t number)
{
    char request[WIRE_HEAD_MAX];
    char reply[REPLY_ROOM];
    char key[WIRE_KEY_BYTES];
    struct wire_reply right;
    wire_get_reply(WIRE_RESP, &right);
    wire_key(number, key);
    size_t bytes = wire_get(WIRE_RESP, number, request);
    return peer_ask(fd, request, bytes, reply, sizeof(reply)) == right.bytes &&
           wire_reply_is(&right, reply, key);
}

static uint32_t draw(void)
{
    return (uint32_t)(rows_random(&drawn) % entries);
}

static double wait_for_a_get(const struct peer *peer, double killed_s)
{
    while (bench_now_s() < killed_s + PATIENCE_S) {
        int fd = peer_connect(peer);
        bool right = fd >= 0 && get_is_right(fd, draw());
        if (fd >= 0)
            close(fd);
        if (right)
            return bench_now_s() - killed_s;
        poll(NULL, 0, 1);
    }
    bench_die("%s does not serve again", peer_name(peer->options.kind));
}

static void compare_entries(const struct peer *peer)
{
    char reply[REPLY_ROOM];
    int fd = peer_connect(peer);
    for (uint32_t i = 0; i < COMPARED; i++)
        if (!get_is_right(fd, draw()))
            bench_die("%s has lost an entry", peer_name(peer->options.kind));
    if (peer_ask(fd, "DBSIZE\r\n", 8, reply, sizeof(reply)) == 0 ||
        strtoull(reply + 1, NULL, 10) != entries)
        bench_die("%s has entries: %s", peer_name(peer->options.kind), reply);
    close(fd);
}

static void save(const struct peer *peer)
{
    char reply[REPLY_ROOM];
    int fd = peer_connect(peer);
    if (peer_ask(fd, "SAVE\r\n", 6, reply, sizeof(reply)) == 0 || reply[0] != '+')
        bench_die("Redis does not save: %s", reply);
    close(fd);
}

static bool start(struct peer *peer, enum peer_kind kind, enum peer_keeps keeps)
{
    const struct peer_options options = {.kind = kind, .transport = PEER_UNIX, .keeps = keeps};
    if (!peer_start(peer, &options))
        return false;
    peer_fill(peer, &(struct peer_fill){.count = entries,
                                        .expires_unix_s = (uint64_t)time(NULL) + DAY_S});
    if (keeps == PEER_KEEPS_RDB)
        save(peer);
    return true;
}

static double measure_once(struct peer *peer)
{
    double killed_s = bench_now_s();
    peer_kill(peer);
    peer_restart(peer);
    double took_s = wait_for_a_get(peer, killed_s);
    compare_entries(peer);
    bench_note("%s: %.3f s", peer_name(peer->options.kind), took_s);
    return took_s;
}

/* Of one server that is killed again and again; 0: it is not installed. */
static double measure(enum peer_kind kind, enum peer_keeps keeps)
{
    struct peer peer;
    double took_s[BENCH_ROUNDS];
    const unsigned rounds = bench_quick() ? 1 : BENCH_ROUNDS;
    if (!start(&peer, kind, keeps))
        return 0;
    for (unsigned i = 0; i < rounds; i++)
        took_s[i] = measure_once(&peer);
    peer_stop(&peer);
    return bench_median(took_s, rounds);
}

static void row(const char *what, double ours, double peer, double reach)
{
    bench_row(&(struct bench_row){what, ours, peer, "s", reach > 0 ? BENCH_AT_MOST : BENCH_INFORMS,
                                  reach});
}

int main(int argc, char **argv)
{
    bench_start("warm-restart", argc, argv);
    if (bench_quick())
        entries /= 20;
    double ours = measure(PEER_OURS, PEER_KEEPS_NOTHING);
    double rdb = measure(PEER_REDIS, PEER_KEEPS_RDB);
    double aof = measure(PEER_REDIS, PEER_KEEPS_AOF);
    if (ours <= 0)
        bench_die("there is nothing to measure");
    row("kill -9 to the first right GET", ours, 0, REACH_S);
    if (rdb > 0)
        row("kill -9 to the first right GET; Redis with its snapshot", ours, rdb, 0);
    if (aof > 0)
        row("kill -9 to the first right GET; Redis with its log", ours, aof, 0);
    return bench_finish();
}
