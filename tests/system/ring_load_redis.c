/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load_redis.c - a good client of Redis Cluster and of Redis Sentinel, over hiredis, as a peer
 * of the ring's.
 *
 * It learns from CLUSTER SLOTS, or from the sentinels, who is master and who replica of what,
 * follows MOVED, and learns anew whenever a master does not answer as one. Reads go to the master
 * or, where that fails or has failed within the last second, to a replica. An operation is tried
 * again until it has been done or a second is over; a node has 200 ms for each answer. So an
 * operation fails only if neither works for a second, and the time for which nothing works is seen
 * as slow operations, too.
 *
 * `nodes`: some nodes of the cluster, or the sentinels, which watch a master by the name `ring`.
 */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "ring_load.h"

#define SLOTS        16384u
#define NODES_MAX    64u
#define NOBODY       255u
#define ANSWER_MS    200
#define DEADLINE_MS  1000u
#define PAUSE_MS     5
#define DISTRUST_NS  1000000000u
#define ADDRESS_MAX  64u
#define WHY_MAX      256u
#define NS_OF_MS(ms) ((uint64_t)(ms)*1000000u)

struct redis_node {
    char address[ADDRESS_MAX];
    redisContext *context;
    uint64_t failed_ns; /* when it did not answer, last */
};

struct redis_client {
    bool sentinel;
    unsigned seeds; /* the first so many nodes are as given */
    unsigned count;
    struct redis_node nodes[NODES_MAX];
    uint8_t master[SLOTS], replica[SLOTS];
    char why[WHY_MAX];
};

struct redis_request {
    unsigned slot;
    bool reads;
    bool once; /* it must not be done twice, and so is not sent twice */
    int argument_count;
    const char *arguments[6];
    size_t sizes[6];
};

/* --- nodes ---------------------------------------------------------------------------------- */

static unsigned node_of(struct redis_client *client, const char *address)
{
    unsigned i = 0;
    while (i < client->count && strcmp(client->nodes[i].address, address) != 0)
        i++;
    if (i == NODES_MAX)
        return NOBODY;
    if (i == client->count) {
        client->nodes[i] = (struct redis_node){.context = NULL};
        snprintf(client->nodes[i].address, ADDRESS_MAX, "%s", address);
        client->count++;
    }
    return i;
}

static void node_failed(struct redis_client *client, struct redis_node *node)
{
    snprintf(client->why, sizeof(client->why), "%s: %s", node->address,
             node->context ? node->context->errstr : "no connection");
    if (node->context)
        redisFree(node->context);
    node->context = NULL;
    node->failed_ns = ring_load_now_ns();
}

static bool node_connect(const struct redis_client *client, struct redis_node *node)
{
    const struct timeval time = {.tv_usec = ANSWER_MS * 1000L};
    char host[ADDRESS_MAX];
    snprintf(host, sizeof(host), "%s", node->address);
    char *colon = strrchr(host, ':');
    if (!colon)
        return false;
    *colon = '\0';
    node->context = redisConnectWithTimeout(host, (int)strtol(colon + 1, NULL, 10), time);
    if (!node->context || node->context->err || redisSetTimeout(node->context, time) != REDIS_OK)
        return false;
    if (client->sentinel)
        return true;
    redisReply *reply = redisCommand(node->context, "READONLY");
    freeReplyObject(reply);
    return reply != NULL;
}

static redisReply *node_ask(struct redis_client *client, unsigned position,
                            const struct redis_request *request)
{
    struct redis_node *node = &client->nodes[position];
    redisReply *reply = NULL;
    if (node->context || node_connect(client, node))
        reply = redisCommandArgv(node->context, request->argument_count,
                                 (const char **)(uintptr_t)request->arguments, request->sizes);
    if (!reply)
        node_failed(client, node);
    return reply;
}

/* --- who is what ---------------------------------------------------------------------------- */

/* An empty host is that of the node that tells it. */
static unsigned node_of_item(struct redis_client *client, unsigned teller, const redisReply *item)
{
    char address[ADDRESS_MAX];
    const char *host = client->nodes[teller].address;
    if (item->type != REDIS_REPLY_ARRAY || item->elements < 2)
        return NOBODY;
    int host_bytes = (int)(strrchr(host, ':') ? strrchr(host, ':') - host : 0);
    if (item->element[0]->str && item->element[0]->len > 0) {
        host = item->element[0]->str;
        host_bytes = (int)item->element[0]->len;
    }
    if (item->element[1]->type == REDIS_REPLY_INTEGER)
        snprintf(address, sizeof(address), "%.*s:%lld", host_bytes, host,
                 item->element[1]->integer);
    else
        snprintf(address, sizeof(address), "%.*s:%s", host_bytes, host, item->element[1]->str);
    return node_of(client, address);
}

static bool learn_cluster_from(struct redis_client *client, unsigned position)
{
    static const struct redis_request request = {
        .argument_count = 2, .arguments = {"CLUSTER", "SLOTS"}, .sizes = {7, 5}};
    redisReply *reply = node_ask(client, position, &request);
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0;
    for (size_t i = 0; good && i < reply->elements; i++) {
        const redisReply *range = reply->element[i];
        unsigned master = node_of_item(client, position, range->element[2]);
        unsigned replica =
            range->elements > 3 ? node_of_item(client, position, range->element[3]) : NOBODY;
        for (long long slot = range->element[0]->integer;
             slot <= range->element[1]->integer && slot < (long long)SLOTS; slot++) {
            client->master[slot] = (uint8_t)master;
            client->replica[slot] = (uint8_t)replica;
        }
    }
    freeReplyObject(reply);
    return good;
}

/* An array of names and values as of SENTINEL REPLICAS. */
static const char *field_of(const redisReply *item, const char *name)
{
    for (size_t i = 0; i + 1 < item->elements; i += 2)
        if (strcmp(item->element[i]->str, name) == 0)
            return item->element[i + 1]->str;
    return "";
}

static unsigned replica_of(struct redis_client *client, const redisReply *replicas)
{
    char address[ADDRESS_MAX];
    for (size_t i = 0; replicas && i < replicas->elements; i++) {
        const redisReply *item = replicas->element[i];
        const char *flags = field_of(item, "flags");
        snprintf(address, sizeof(address), "%s:%s", field_of(item, "ip"), field_of(item, "port"));
        if (!strstr(flags, "down") && !strstr(flags, "disconnected"))
            return node_of(client, address);
    }
    return NOBODY;
}

static bool learn_sentinel_from(struct redis_client *client, unsigned position)
{
    static const struct redis_request ask_master = {
        .argument_count = 3,
        .arguments = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ring"},
        .sizes = {8, 23, 4}};
    static const struct redis_request ask_replicas = {
        .argument_count = 3, .arguments = {"SENTINEL", "REPLICAS", "ring"}, .sizes = {8, 8, 4}};
    redisReply *master = node_ask(client, position, &ask_master);
    redisReply *replicas = master ? node_ask(client, position, &ask_replicas) : NULL;
    bool good = master && master->type == REDIS_REPLY_ARRAY;
    if (good) {
        memset(client->master, (int)node_of_item(client, position, master), sizeof(client->master));
        memset(client->replica, (int)replica_of(client, replicas), sizeof(client->replica));
    }
    freeReplyObject(master);
    freeReplyObject(replicas);
    return good;
}

/* Of those that answer, whoever has failed least recently first. */
static bool learn(struct redis_client *client)
{
    bool asked[NODES_MAX] = {false};
    unsigned candidates = client->sentinel ? client->seeds : client->count;
    for (unsigned round = 0; round < candidates; round++) {
        unsigned best = NOBODY;
        for (unsigned i = 0; i < candidates; i++)
            if (!asked[i] &&
                (best == NOBODY || client->nodes[i].failed_ns < client->nodes[best].failed_ns))
                best = i;
        asked[best] = true;
        if (client->sentinel ? learn_sentinel_from(client, best) : learn_cluster_from(client, best))
            return true;
    }
    return false;
}

/* --- an operation --------------------------------------------------------------------------- */

static bool begins(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

/* Whether the reply is for the caller, and not of a node that is not, or not yet, the right one. */
static bool is_for_caller(const redisReply *reply)
{
    static const char *const others[] = {"MOVED",   "ASK",      "CLUSTERDOWN", "READONLY",
                                         "LOADING", "TRYAGAIN", "MASTERDOWN"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (begins(reply, others[i]))
            return false;
    return true;
}

/* The reply if it is for the caller. *moved: it said who is asked instead. */
static redisReply *try_node(struct redis_client *client, unsigned position,
                            const struct redis_request *request, bool *moved)
{
    redisReply *reply = position == NOBODY ? NULL : node_ask(client, position, request);
    if (!reply || is_for_caller(reply))
        return reply;
    snprintf(client->why, sizeof(client->why), "%s", reply->str);
    const char *address = strrchr(reply->str, ' ');
    *moved = begins(reply, "MOVED") && address;
    if (*moved)
        client->master[request->slot] = (uint8_t)node_of(client, address + 1);
    freeReplyObject(reply);
    return NULL;
}

static bool has_failed_lately(const struct redis_client *client, unsigned position)
{
    return position == NOBODY ||
           (client->nodes[position].failed_ns > 0 &&
            ring_load_now_ns() - client->nodes[position].failed_ns < DISTRUST_NS);
}

static redisReply *run_once(struct redis_client *client, const struct redis_request *request,
                            bool *moved)
{
    unsigned master = client->master[request->slot];
    unsigned replica = client->replica[request->slot];
    bool other_first =
        request->reads && has_failed_lately(client, master) && !has_failed_lately(client, replica);
    redisReply *reply = try_node(client, other_first ? replica : master, request, moved);
    if (!reply && !*moved && request->reads)
        reply = try_node(client, other_first ? master : replica, request, moved);
    return reply;
}

static redisReply *run(struct redis_client *client, const struct redis_request *request)
{
    const uint64_t until = ring_load_now_ns() + NS_OF_MS(DEADLINE_MS);
    for (;;) {
        bool moved = false;
        redisReply *reply = run_once(client, request, &moved);
        if (reply || (request->once && !moved) || ring_load_now_ns() > until)
            return reply;
        if (moved)
            continue;
        (void)learn(client);
        poll(NULL, 0, PAUSE_MS);
    }
}

static unsigned slot_of(const char *key, size_t bytes)
{
    unsigned crc = 0;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= (unsigned)(uint8_t)key[i] << 8;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0);
        crc &= 0xffff;
    }
    return crc % SLOTS;
}

static redisReply *run_key(struct redis_client *client, const char *command, const char *key,
                           size_t bytes, bool reads)
{
    const struct redis_request request = {.slot = slot_of(key, bytes),
                                          .reads = reads,
                                          .once = strcmp(command, "INCR") == 0,
                                          .argument_count = 2,
                                          .arguments = {command, key},
                                          .sizes = {strlen(command), bytes}};
    return run(client, &request);
}

/* --- struct ring_load_client ---------------------------------------------------------------- */

static int outcome_of_error(struct redis_client *client, redisReply *reply)
{
    if (reply)
        snprintf(client->why, sizeof(client->why), "%s",
                 reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply of another type");
    freeReplyObject(reply);
    return reply ? RING_LOG_FAILED : RING_LOG_UNKNOWN;
}

static int redis_get(void *connection, const char *key, size_t bytes, struct ring_load_value *value)
{
    redisReply *reply = run_key(connection, "GET", key, bytes, true);
    bool absent = reply && reply->type == REDIS_REPLY_NIL;
    if (!reply || (reply->type != REDIS_REPLY_STRING && !absent)) {
        (void)outcome_of_error(connection, reply);
        return RING_LOG_FAILED;
    }
    if (!absent) {
        ring_load_value_room(value, reply->len);
        memcpy(value->data, reply->str, reply->len);
        value->bytes = reply->len;
    }
    freeReplyObject(reply);
    return absent ? RING_LOG_ABSENT : RING_LOG_OK;
}

static int redis_set(void *connection, const char *key, size_t bytes, const void *value,
                     size_t value_bytes, uint32_t ttl_ms, struct ring_load_copies *copies)
{
    char ttl[16];
    int ttl_bytes = snprintf(ttl, sizeof(ttl), "%u", (unsigned)ttl_ms);
    const struct redis_request request = {.slot = slot_of(key, bytes),
                                          .argument_count = ttl_ms ? 5 : 3,
                                          .arguments = {"SET", key, value, "PX", ttl},
                                          .sizes = {3, bytes, value_bytes, 2, (size_t)ttl_bytes}};
    redisReply *reply = run(connection, &request);
    *copies = (struct ring_load_copies){1, 1};
    if (!reply || reply->type != REDIS_REPLY_STATUS)
        return outcome_of_error(connection, reply);
    freeReplyObject(reply);
    return RING_LOG_OK;
}

static int redis_delete(void *connection, const char *key, size_t bytes,
                        struct ring_load_copies *copies)
{
    redisReply *reply = run_key(connection, "DEL", key, bytes, false);
    *copies = (struct ring_load_copies){1, 1};
    if (!reply || reply->type != REDIS_REPLY_INTEGER)
        return outcome_of_error(connection, reply);
    freeReplyObject(reply);
    return RING_LOG_OK;
}

static int redis_incr(void *connection, const char *key, size_t bytes, int64_t *count,
                      struct ring_load_copies *copies)
{
    redisReply *reply = run_key(connection, "INCR", key, bytes, false);
    *copies = (struct ring_load_copies){1, 1};
    if (!reply || reply->type != REDIS_REPLY_INTEGER)
        return outcome_of_error(connection, reply);
    *count = reply->integer;
    freeReplyObject(reply);
    return RING_LOG_OK;
}

static const char *redis_why(void *connection)
{
    return ((struct redis_client *)connection)->why;
}

static void redis_disconnect(void *connection)
{
    struct redis_client *client = connection;
    for (unsigned i = 0; i < client->count; i++)
        if (client->nodes[i].context)
            redisFree(client->nodes[i].context);
    free(client);
}

static void *redis_connect(const struct ring_load_options *options, bool sentinel)
{
    struct redis_client *client = calloc(1, sizeof(*client));
    char *list = strdup(options->nodes ? options->nodes : "");
    char *rest = list;
    client->sentinel = sentinel;
    memset(client->master, NOBODY, sizeof(client->master));
    memset(client->replica, NOBODY, sizeof(client->replica));
    for (char *address; rest && (address = strsep(&rest, ",")) != NULL;)
        (void)node_of(client, address);
    client->seeds = client->count;
    free(list);
    if (learn(client))
        return client;
    fprintf(stderr, "ring_load: nobody tells who is master: %s\n", client->why);
    redis_disconnect(client);
    return NULL;
}

static void *redis_open(const struct ring_load_options *options)
{
    return (void *)(uintptr_t)options;
}

static void redis_close(void *opened)
{
    (void)opened;
}

static void *cluster_connect(void *opened)
{
    return redis_connect(opened, false);
}

static void *sentinel_connect(void *opened)
{
    return redis_connect(opened, true);
}

const struct ring_load_client ring_load_redis_cluster = {
    .name = "cluster",
    .open = redis_open,
    .close = redis_close,
    .connect = cluster_connect,
    .disconnect = redis_disconnect,
    .get = redis_get,
    .set = redis_set,
    .delete = redis_delete,
    .incr = redis_incr,
    .why = redis_why,
};
const struct ring_load_client ring_load_redis_sentinel = {
    .name = "sentinel",
    .open = redis_open,
    .close = redis_close,
    .connect = sentinel_connect,
    .disconnect = redis_disconnect,
    .get = redis_get,
    .set = redis_set,
    .delete = redis_delete,
    .incr = redis_incr,
    .why = redis_why,
};
