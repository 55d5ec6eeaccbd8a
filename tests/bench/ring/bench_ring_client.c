/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_ring_client.c - what the ring's client costs beside plain hiredis.
 *
 * Method. Three redis-servers on the loopback, 10,000 keys of 24 bytes with values of 100, one
 * thread that waits for each answer. In each of 101 rounds everything is measured once, in turn,
 * for 384 calls; medians. Rounds are that short so that what else the machine does meanwhile falls
 * on all alike. The peer of a GET is redisCommandArgv to one of these servers, of which a ring of
 * that server alone tells what the client costs; and to all three in turn, which is slower for any
 * client. That of many keys at once is the same client asking for one after the other, and that of
 * a write to two nodes is the same client with rings of one copy.
 *
 * With one machine for all, a write to two nodes costs the client and the servers twice the work on
 * the same processors: with two of these the ratio is between 1.2 and 1.9, depending on what else
 * they do. How much of that is the client's, the plain client says, which sends to two servers
 * before it waits for either. On machines of their own the second copy costs only the client, which
 * sends once more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "common/bench.h"
#include "resp/peers.h"
#include "sidepond/ring.h"

#define SERVERS     3u
#define KEYS        10000u
#define KEY_BYTES   24u
#define VALUE_BYTES 100u
#define CALLS       384u /* in one round */
#define ROUNDS      101u
#define MANY        64u
#define PIPELINE    16u

struct setting {
    struct peer servers[SERVERS];
    struct sp_ring *ring, *single; /* of two copies, and of one */
    struct sp_ring *alone;         /* of the first server alone */
    redisContext *plain[SERVERS];
    char keys[KEYS][KEY_BYTES + 1];
    char value[VALUE_BYTES];
    unsigned calls;
    uint64_t random;
};

static const char *next_key(struct setting *setting)
{
    setting->random = setting->random * 6364136223846793005u + 1442695040888963407u;
    return setting->keys[(setting->random >> 33) % KEYS];
}

/* --- beginning -------------------------------------------------------------------------------- */

static struct sp_ring *open_ring(const char *nodes, uint8_t replicas)
{
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    options.nodes = nodes;
    options.redis = true;
    options.replicas = replicas;
    bench_must(sp_ring_open(&options, &ring), "opening the ring");
    return ring;
}

/* On a machine that is too busy a copy may be late; that costs what a write costs all the same. */
static void put(const struct setting *setting, struct sp_ring *ring, const char *key)
{
    int status =
        sp_ring_set(ring, key, KEY_BYTES, setting->value, VALUE_BYTES, 0, SP_RING_ALL, NULL);
    if (status != SP_EPARTIAL)
        bench_must(status, "SET");
}

static void fill(struct setting *setting)
{
    memset(setting->value, 'v', sizeof setting->value);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(setting->keys[i], sizeof setting->keys[i], "key:%0*u", (int)KEY_BYTES - 4, i);
        put(setting, setting->ring, setting->keys[i]);
        put(setting, setting->single, setting->keys[i]);
        put(setting, setting->alone, setting->keys[i]);
        for (unsigned server = 0; server < SERVERS; server++) {
            redisReply *reply = redisCommand(setting->plain[server], "SET %s %b", setting->keys[i],
                                             setting->value, (size_t)VALUE_BYTES);
            if (reply == NULL)
                bench_die("the plain client does not work");
            freeReplyObject(reply);
        }
    }
}

static void start(struct setting *setting)
{
    char nodes[256];
    size_t size = 0;
    for (unsigned i = 0; i < SERVERS; i++) {
        const struct peer_options options = {.kind = PEER_REDIS, .transport = PEER_TCP};
        if (!peer_start(&setting->servers[i], &options))
            bench_die("redis-server is not installed");
        size += (size_t)snprintf(nodes + size, sizeof nodes - size, "%s%c=127.0.0.1:%u",
                                 i > 0 ? "," : "", 'a' + (int)i, setting->servers[i].port);
    }
    setting->ring = open_ring(nodes, 2);
    setting->single = open_ring(nodes, 1);
    *strchr(nodes, ',') = '\0';
    setting->alone = open_ring(nodes, 1);
    for (unsigned i = 0; i < SERVERS; i++) {
        setting->plain[i] = redisConnect("127.0.0.1", (int)setting->servers[i].port);
        if (setting->plain[i] == NULL || setting->plain[i]->err != 0)
            bench_die("the plain client does not connect");
    }
    setting->calls = bench_quick() ? 128 : CALLS;
    fill(setting);
}

/* --- what is measured: calls of each, microseconds for one ------------------------------------ */

static double plain_with(struct setting *setting, unsigned servers)
{
    double began = bench_now_s();
    for (unsigned i = 0; i < setting->calls; i++) {
        redisContext *plain = setting->plain[(setting->random >> 40) % servers];
        const char *words[] = {"GET", next_key(setting)};
        const size_t sizes[] = {3, KEY_BYTES};
        redisReply *reply = redisCommandArgv(plain, 2, words, sizes);
        if (reply == NULL || reply->len != VALUE_BYTES)
            bench_die("a wrong reply");
        freeReplyObject(reply);
    }
    return (bench_now_s() - began) * 1e6 / setting->calls;
}

static double plain_get(struct setting *setting)
{
    return plain_with(setting, 1);
}

static double plain_three(struct setting *setting)
{
    return plain_with(setting, SERVERS);
}

static double get_with(struct setting *setting, struct sp_ring *ring)
{
    struct sp_buffer value = {0};
    double began = bench_now_s();
    for (unsigned i = 0; i < setting->calls; i++) {
        bench_must(sp_ring_get(ring, next_key(setting), KEY_BYTES, &value), "GET");
        if (value.size != VALUE_BYTES)
            bench_die("a wrong value");
    }
    double took = bench_now_s() - began;
    sp_buffer_free(&value);
    return took * 1e6 / setting->calls;
}

static double ring_get(struct setting *setting)
{
    return get_with(setting, setting->ring);
}

static double alone_get(struct setting *setting)
{
    return get_with(setting, setting->alone);
}

static double plain_pipeline(struct setting *setting)
{
    double began = bench_now_s();
    unsigned times = setting->calls / PIPELINE;
    for (unsigned i = 0; i < times; i++) {
        for (unsigned k = 0; k < PIPELINE; k++) {
            const char *words[] = {"GET", next_key(setting)};
            const size_t sizes[] = {3, KEY_BYTES};
            redisAppendCommandArgv(setting->plain[0], 2, words, sizes);
        }
        for (unsigned k = 0; k < PIPELINE; k++) {
            redisReply *reply = NULL;
            if (redisGetReply(setting->plain[0], (void **)&reply) != REDIS_OK ||
                reply->len != VALUE_BYTES)
                bench_die("a wrong reply");
            freeReplyObject(reply);
        }
    }
    return (bench_now_s() - began) * 1e6 / (times * PIPELINE);
}

static double mget_with(struct setting *setting, struct sp_ring *ring, unsigned many)
{
    static struct sp_ring_get gets[MANY];
    unsigned times = setting->calls / many;
    double began = bench_now_s();
    for (unsigned i = 0; i < times; i++) {
        for (unsigned k = 0; k < many; k++) {
            gets[k].key = next_key(setting);
            gets[k].key_bytes = KEY_BYTES;
        }
        bench_must(sp_ring_mget(ring, gets, many), "GET of many");
        for (unsigned k = 0; k < many; k++)
            if (gets[k].value.size != VALUE_BYTES)
                bench_die("a wrong value");
    }
    return (bench_now_s() - began) * 1e6 / (times * many);
}

static double ring_pipeline(struct setting *setting)
{
    return mget_with(setting, setting->ring, PIPELINE);
}

static double alone_pipeline(struct setting *setting)
{
    return mget_with(setting, setting->alone, PIPELINE);
}

static double ring_many(struct setting *setting)
{
    return mget_with(setting, setting->ring, MANY);
}

static double set_with(struct setting *setting, struct sp_ring *ring)
{
    double began = bench_now_s();
    for (unsigned i = 0; i < setting->calls; i++)
        put(setting, ring, next_key(setting));
    return (bench_now_s() - began) * 1e6 / setting->calls;
}

static double set_two(struct setting *setting)
{
    return set_with(setting, setting->ring);
}

static double set_one(struct setting *setting)
{
    return set_with(setting, setting->single);
}

/* The same with hiredis: all requests are sent before an answer is waited for. */
static double plain_set_with(struct setting *setting, unsigned copies)
{
    double began = bench_now_s();
    for (unsigned i = 0; i < setting->calls; i++) {
        const char *words[] = {"SET", next_key(setting), setting->value};
        const size_t sizes[] = {3, KEY_BYTES, VALUE_BYTES};
        unsigned first = (setting->random >> 40) % SERVERS;
        for (unsigned copy = 0; copy < copies; copy++) {
            redisContext *plain = setting->plain[(first + copy) % SERVERS];
            int done = 0;
            redisAppendCommandArgv(plain, 3, words, sizes);
            while (done == 0)
                if (redisBufferWrite(plain, &done) != REDIS_OK)
                    bench_die("the plain client does not send");
        }
        for (unsigned copy = copies; copy-- > 0;) {
            redisReply *reply = NULL;
            if (redisGetReply(setting->plain[(first + copy) % SERVERS], (void **)&reply) !=
                    REDIS_OK ||
                reply->type != REDIS_REPLY_STATUS)
                bench_die("a wrong reply");
            freeReplyObject(reply);
        }
    }
    return (bench_now_s() - began) * 1e6 / setting->calls;
}

static double plain_set_two(struct setting *setting)
{
    return plain_set_with(setting, 2);
}

static double plain_set_one(struct setting *setting)
{
    return plain_set_with(setting, 1);
}

static double (*const measures[])(struct setting *) = {
    plain_get,     alone_get, plain_pipeline, alone_pipeline, plain_three,   ring_get,
    ring_pipeline, ring_many, set_one,        set_two,        plain_set_one, plain_set_two};
enum {
    PLAIN_GET,
    ALONE_GET,
    PLAIN_PIPELINE,
    ALONE_PIPELINE,
    PLAIN_THREE,
    RING_GET,
    RING_PIPELINE,
    RING_MANY,
    SET_ONE,
    SET_TWO,
    PLAIN_SET_ONE,
    PLAIN_SET_TWO,
    MEASURES
};

static void rows(const double us[MEASURES])
{
    const struct bench_row all[] = {
        {"GET, one after the other; hiredis to the same Redis", 1e3 / us[ALONE_GET],
         1e3 / us[PLAIN_GET], "k/s", BENCH_AT_LEAST, 0.95},
        {"GET, 16 at once; hiredis, pipeline of 16 to the same Redis", 1e3 / us[ALONE_PIPELINE],
         1e3 / us[PLAIN_PIPELINE], "k/s", BENCH_AT_LEAST, 0.95},
        {"GET, one after the other over 3 nodes; hiredis to 3 Redis in turn", 1e3 / us[RING_GET],
         1e3 / us[PLAIN_THREE], "k/s", BENCH_AT_LEAST, 0.95},
        {"GET, 16 at once over 3 nodes; hiredis, pipeline of 16 to one Redis",
         1e3 / us[RING_PIPELINE], 1e3 / us[PLAIN_PIPELINE], "k/s", BENCH_INFORMS, 0},
        {"GET, 64 at once over 3 nodes; one after the other", 1e3 / us[RING_MANY],
         1e3 / us[RING_GET], "k/s", BENCH_AT_LEAST, 2.0},
        {"SET on two nodes; on one", us[SET_TWO], us[SET_ONE], "us", BENCH_AT_MOST, 1.3},
        {"SET on two nodes; hiredis, to two Redis at once", us[SET_TWO], us[PLAIN_SET_TWO], "us",
         BENCH_AT_MOST, 1.05},
        {"for comparison, hiredis alone: SET to two Redis at once; to one", us[PLAIN_SET_TWO],
         us[PLAIN_SET_ONE], "us", BENCH_INFORMS, 0}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        bench_row(&all[i]);
}

int main(int argc, char **argv)
{
    static struct setting setting = {.random = 1};
    double us[MEASURES][ROUNDS], medians[MEASURES];
    unsigned rounds = 0;
    bench_start("ring-client", argc, argv);
    start(&setting);
    for (unsigned most = bench_quick() ? 3 : ROUNDS; rounds < most; rounds++)
        for (unsigned i = 0; i < MEASURES; i++)
            us[i][rounds] = measures[i](&setting);
    for (unsigned i = 0; i < MEASURES; i++)
        medians[i] = bench_median(us[i], rounds);
    rows(medians);
    sp_ring_close(setting.ring);
    sp_ring_close(setting.single);
    sp_ring_close(setting.alone);
    for (unsigned i = 0; i < SERVERS; i++) {
        redisFree(setting.plain[i]);
        peer_stop(&setting.servers[i]);
    }
    return bench_finish();
}
