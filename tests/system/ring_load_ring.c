/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load_ring.c - the ring's own client, for ring_load. All threads share one handle, as threads
 * of an application do; each is a client in the checker's sense, for what is promised to a handle
 * is promised to each of them.
 *
 * `nodes`: "NAME=ADDRESS,...", or none, and `zookeeper` is asked, or else the pond. At the end the
 * copies of each key are read from the nodes themselves, over connections of their own: from a
 * sidepondd attached ones, so that a node says what it has, and asks nobody else.
 */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "ring_load.h"
#include "sidepond/ring.h"
#include "sidepond/sidepond.h"

#define NODES_MAX   64u
#define COPY_MS     2000
#define PATIENCE_MS 10000 /* a node that has just caught up may not say so at once */
#define WHY_MAX     512u

struct ring_node_connection {
    char name[SP_RING_NODE_BYTES];
    redisContext *context;
};

struct ring_opened {
    struct sp_ring *ring;
    const struct ring_load_options *options;
};

struct ring_connection {
    struct ring_opened *opened;
    struct sp_buffer buffer;
    struct ring_node_connection nodes[NODES_MAX];
    size_t node_count;
    struct sp_ring_where where;
    char why[WHY_MAX];
};

static void *ring_open(const struct ring_load_options *from)
{
    static struct ring_opened opened;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    options.nodes = from->nodes;
    options.zookeeper = from->zookeeper;
    options.pond = from->pond;
    options.redis = from->redis;
    if (from->slots)
        options.slots = from->slots;
    if (from->cluster)
        options.cluster = from->cluster;
    if (from->timeout_ms)
        options.timeout_ms = from->timeout_ms;
    if (from->hedge_ms)
        options.hedge_ms = from->hedge_ms;
    opened.options = from;
    int status = sp_ring_open(&options, &opened.ring);
    if (status == SP_OK)
        return &opened;
    fprintf(stderr, "ring_load: %s: %s\n", sp_status_name(status), sp_error_detail());
    return NULL;
}

/* Whether nodes that answer are still to be told, or to be given, what they missed. */
static bool owes_copies(struct sp_ring *ring)
{
    struct sp_ring_node *nodes;
    size_t count = 0;
    bool owes = false;
    if (sp_ring_nodes(ring, &nodes, &count, NULL) != SP_OK)
        return false;
    for (size_t i = 0; i < count; i++)
        owes |= nodes[i].distrusted && !nodes[i].kept_back;
    free(nodes);
    return owes;
}

/* A client that ends takes what it knows of Redis nodes with it. */
static void ring_close(void *argument)
{
    struct ring_opened *opened = argument;
    const uint64_t until = ring_load_now_ns() + PATIENCE_MS * (uint64_t)1000000;
    while (opened->options->redis && owes_copies(opened->ring) && ring_load_now_ns() < until)
        poll(NULL, 0, 10);
    sp_ring_close(opened->ring);
}

static void *ring_connect(void *opened)
{
    struct ring_connection *connection = calloc(1, sizeof(*connection));
    if (connection)
        connection->opened = opened;
    return connection;
}

static void ring_disconnect(void *argument)
{
    struct ring_connection *connection = argument;
    for (size_t i = 0; i < connection->node_count; i++)
        if (connection->nodes[i].context)
            redisFree(connection->nodes[i].context);
    sp_buffer_free(&connection->buffer);
    free(connection);
}

static void remember(struct ring_connection *connection, int status)
{
    if (status != SP_OK && status != SP_ENOTFOUND)
        snprintf(connection->why, sizeof(connection->why), "%s: %s", sp_status_name(status),
                 sp_error_detail());
}

static int outcome_of_write(struct ring_connection *connection, int status,
                            const struct sp_ring_copies *from, struct ring_load_copies *copies)
{
    remember(connection, status);
    copies->have = (uint8_t)from->have;
    copies->want = (uint8_t)from->want;
    if (status == SP_OK)
        return RING_LOG_OK;
    return status == SP_ENONODE ? RING_LOG_FAILED : RING_LOG_UNKNOWN;
}

static enum sp_ring_need need_of(const struct ring_connection *connection)
{
    return connection->opened->options->need_all ? SP_RING_ALL : SP_RING_ONE;
}

static int ring_get(void *argument, const char *key, size_t bytes, struct ring_load_value *value)
{
    struct ring_connection *connection = argument;
    int status = sp_ring_get(connection->opened->ring, key, bytes, &connection->buffer);
    remember(connection, status);
    if (status == SP_ENOTFOUND)
        return RING_LOG_ABSENT;
    if (status != SP_OK)
        return RING_LOG_FAILED;
    ring_load_value_room(value, connection->buffer.size);
    memcpy(value->data, connection->buffer.data, connection->buffer.size);
    value->bytes = connection->buffer.size;
    return RING_LOG_OK;
}

static int ring_set(void *argument, const char *key, size_t bytes, const void *value,
                    size_t value_bytes, uint32_t ttl_ms, struct ring_load_copies *copies)
{
    struct ring_connection *connection = argument;
    struct sp_ring_copies told = {0};
    int status = sp_ring_set(connection->opened->ring, key, bytes, value, value_bytes, ttl_ms,
                             need_of(connection), &told);
    return outcome_of_write(connection, status, &told, copies);
}

/* To all copies: what is there before the run shall be whole. */
static void ring_set_many(void *argument, const struct ring_load_many *many, uint8_t *outcomes)
{
    struct ring_connection *connection = argument;
    struct sp_ring_put puts[RING_LOAD_MANY];
    static _Thread_local char names[RING_LOAD_MANY][RING_KEY_BYTES];
    uint8_t *values = malloc(many->count * many->value_bytes);
    for (uint32_t i = 0; i < many->count; i++) {
        uint8_t *value = values ? values + i * many->value_bytes : NULL;
        outcomes[i] = RING_LOG_FAILED;
        if (!value)
            continue;
        ring_key_name(many->first + i, names[i]);
        ring_value_make(many->first + i, many->writer, many->number + i, value, many->value_bytes);
        puts[i] = (struct sp_ring_put){.key = names[i],
                                       .key_bytes = RING_KEY_BYTES - 1,
                                       .value = value,
                                       .value_bytes = many->value_bytes};
    }
    if (values)
        remember(connection,
                 sp_ring_mput(connection->opened->ring, puts, many->count, SP_RING_ALL));
    for (uint32_t i = 0; values && i < many->count; i++)
        outcomes[i] = puts[i].status == SP_OK ? RING_LOG_OK : RING_LOG_UNKNOWN;
    free(values);
}

static int ring_delete(void *argument, const char *key, size_t bytes,
                       struct ring_load_copies *copies)
{
    struct ring_connection *connection = argument;
    struct sp_ring_copies told = {0};
    int status = sp_ring_delete(connection->opened->ring, key, bytes, need_of(connection), &told);
    return outcome_of_write(connection, status, &told, copies);
}

static int ring_incr(void *argument, const char *key, size_t bytes, int64_t *count,
                     struct ring_load_copies *copies)
{
    struct ring_connection *connection = argument;
    struct sp_ring_copies told = {0};
    int status = sp_ring_incr(connection->opened->ring, key, bytes, 1, count, &told);
    return outcome_of_write(connection, status, &told, copies);
}

static bool ring_look(void *argument, char line[RING_LOAD_LINE])
{
    static char last[RING_LOAD_LINE];
    const struct ring_opened *opened = argument;
    struct sp_ring_node *nodes;
    struct sp_ring_state state;
    size_t count = 0, size;
    if (sp_ring_nodes(opened->ring, &nodes, &count, &state) != SP_OK)
        return false;
    size = (size_t)snprintf(line, RING_LOAD_LINE, "%llu", (unsigned long long)state.epoch);
    for (size_t i = 0; i < count && size < RING_LOAD_LINE; i++)
        if (nodes[i].kept_back)
            size += (size_t)snprintf(line + size, RING_LOAD_LINE - size, " %s", nodes[i].name);
    free(nodes);
    if (strcmp(line, last) == 0)
        return false;
    memcpy(last, line, RING_LOAD_LINE);
    return true;
}

static const char *ring_why(void *argument)
{
    return ((struct ring_connection *)argument)->why;
}

/* --- what each node has --------------------------------------------------------------------- */

static redisContext *reach(struct ring_connection *connection, const char *address)
{
    const struct timeval time = {.tv_sec = COPY_MS / 1000};
    char host[SP_RING_NODE_BYTES];
    snprintf(host, sizeof(host), "%s", address);
    char *colon = strrchr(host, ':');
    if (!colon)
        return NULL;
    *colon = '\0';
    redisContext *context = redisConnectWithTimeout(host, (int)strtol(colon + 1, NULL, 10), time);
    if (!context || context->err || redisSetTimeout(context, time) != REDIS_OK)
        return context;
    if (!connection->opened->options->redis) {
        redisReply *reply = redisCommand(context, "SIDEPOND ATTACH 0");
        freeReplyObject(reply);
    }
    return context;
}

static void reach_all(struct ring_connection *connection)
{
    struct sp_ring_node *nodes = NULL;
    size_t count = 0;
    int status = sp_ring_nodes(connection->opened->ring, &nodes, &count, NULL);
    remember(connection, status);
    for (size_t i = 0; status == SP_OK && i < count && i < NODES_MAX; i++) {
        struct ring_node_connection *node = &connection->nodes[connection->node_count++];
        memcpy(node->name, nodes[i].name, sizeof(node->name));
        node->context = reach(connection, nodes[i].address);
    }
    free(nodes);
}

static redisContext *node_named(struct ring_connection *connection, const char *name)
{
    for (size_t i = 0; i < connection->node_count; i++)
        if (strcmp(connection->nodes[i].name, name) == 0)
            return connection->nodes[i].context;
    return NULL;
}

/* Asks again where the node says that it does not yet know whether what it has is current. */
static redisReply *ask_node(redisContext *context, const char *key, size_t bytes)
{
    const uint64_t until = ring_load_now_ns() + PATIENCE_MS * (uint64_t)1000000;
    for (;;) {
        redisReply *reply = redisCommand(context, "GET %b", key, bytes);
        bool later = reply && reply->type == REDIS_REPLY_ERROR &&
                     strncmp(reply->str, "NOTHELD", 7) == 0 && ring_load_now_ns() < until;
        if (!later)
            return reply;
        freeReplyObject(reply);
        poll(NULL, 0, 20);
    }
}

static int ring_get_copy(void *argument, const char *key, size_t bytes, unsigned copy,
                         struct ring_load_value *value)
{
    struct ring_connection *connection = argument;
    struct sp_ring_where where;
    if (connection->node_count == 0)
        reach_all(connection);
    int status = sp_ring_where(connection->opened->ring, key, bytes, &where);
    remember(connection, status);
    if (status != SP_OK)
        return copy == 0 ? RING_LOG_FAILED : RING_LOAD_NO_COPY;
    if (copy >= where.holder_count)
        return RING_LOAD_NO_COPY;
    redisContext *context = node_named(connection, where.names[copy]);
    redisReply *reply = context && !context->err ? ask_node(context, key, bytes) : NULL;
    int outcome = reply && reply->type == REDIS_REPLY_NIL      ? RING_LOG_ABSENT
                  : reply && reply->type == REDIS_REPLY_STRING ? RING_LOG_OK
                                                               : RING_LOG_FAILED;
    if (outcome == RING_LOG_FAILED)
        snprintf(connection->why, sizeof(connection->why), "%s: %s", where.names[copy],
                 reply ? reply->str : "does not answer");
    if (outcome == RING_LOG_OK) {
        ring_load_value_room(value, reply->len);
        memcpy(value->data, reply->str, reply->len);
        value->bytes = reply->len;
    }
    freeReplyObject(reply);
    return outcome;
}

static const char *ring_owner(void *argument, const char *key, size_t bytes)
{
    struct ring_connection *connection = argument;
    int status = sp_ring_where(connection->opened->ring, key, bytes, &connection->where);
    return status == SP_OK && connection->where.count > 0 ? connection->where.names[0] : "";
}

const struct ring_load_client ring_load_ring = {
    .name = "ring",
    .open = ring_open,
    .close = ring_close,
    .connect = ring_connect,
    .disconnect = ring_disconnect,
    .get = ring_get,
    .set = ring_set,
    .set_many = ring_set_many,
    .delete = ring_delete,
    .incr = ring_incr,
    .get_copy = ring_get_copy,
    .owner = ring_owner,
    .look = ring_look,
    .why = ring_why,
};
