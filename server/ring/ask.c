/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c - a peer's asker: what this node may not answer is asked of a holder.
 *
 * Each peer that is asked has a thread and a connection for it, so that nobody who reads waits
 * behind a queue of writes. What is asked meanwhile goes out together the next time. A holder that
 * does not answer is asked last for a while, and the next one at once. Who must not be asked twice
 * is asked again only where nothing had been sent, or the answer was NOTHELD.
 *
 * Costs: a thread for each peer from the first time that it is asked; a reply is copied once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/ring/internal.h"

enum {
    ASK_BATCH = 64,
    ASKER_BACK_MS = 500,
    /* A holder that has been silent for so long knows that it has stood still when it goes on, and
     * refuses what it finds then; so nothing is done late that has been done elsewhere meanwhile.
     */
    ASK_MS = STALL_MS + 100,
};

struct ask {
    struct ask *next;
    unsigned slot, tried;
    char names[RING_COPIES_MAX][RING_NAME_BYTES]; /* of those that have been asked */
    bool once;
    void (*answered)(void *argument, const void *reply, size_t size);
    void *argument;
    size_t size;
    char bytes[];
};

struct asker {
    struct peer *peer;
    struct ring *ring;
    struct wire wire;
    unsigned changes; /* of the address that the connection is to */
    struct ask *asks[ASK_BATCH];
    size_t count;
    redisReply *replies[ASK_BATCH];
    struct sp_buffer request, reply;
};

static void *run_asker(void *argument);

static void end_ask(struct ask *ask, const void *reply, size_t size)
{
    ask->answered(ask->argument, reply, size);
    free(ask);
}

void asks_end(struct ask *asks)
{
    while (asks) {
        struct ask *next = asks->next;
        end_ask(asks, NULL, 0);
        asks = next;
    }
}

/* --- whom to ask ------------------------------------------------------------------------------ */

static bool was_tried(const struct ask *ask, const char *name)
{
    for (unsigned i = 0; i < ask->tried; i++)
        if (strcmp(ask->names[i], name) == 0)
            return true;
    return false;
}

/* With the lock. The first that answers as far as is known, else the first. */
static struct peer *choose(struct ring *ring, const struct ask *ask)
{
    const struct ring_slot_copies *copies = ring->map ? &ring->map->slots[ask->slot] : NULL;
    struct peer *other = NULL;
    uint64_t now_ms = clock_ms();
    for (unsigned i = 0; copies && i < copies->holder_count; i++) {
        struct peer *peer = ring->peers[copies->holders[i]];
        if (!peer || peer->gone || was_tried(ask, peer->name))
            continue;
        if (peer->reachable && peer->asker_back_ms <= now_ms)
            return peer;
        other = other ? other : peer;
    }
    return other;
}

/* With the lock. */
static bool start_asker(struct peer *peer)
{
    if (peer->asker_runs)
        return true;
    struct asker *asker = calloc(1, sizeof(*asker));
    if (!asker)
        return false;
    asker->peer = peer;
    asker->ring = peer->ring;
    peer->asker_runs = thread_start(&peer->asker, run_asker, asker) == SP_OK;
    peer->running += peer->asker_runs; /* it ends with the lock */
    if (!peer->asker_runs)
        free(asker);
    return peer->asker_runs;
}

/* With the lock. */
static bool give(struct peer *peer, struct ask *ask)
{
    if (!start_asker(peer))
        return false;
    memcpy(ask->names[ask->tried++], peer->name, RING_NAME_BYTES);
    ask->next = NULL;
    *peer->asks_end = ask;
    peer->asks_end = &ask->next;
    pthread_cond_signal(&peer->ask_wake);
    return true;
}

/* False: there is nobody left to ask. */
static bool hand_on(struct ring *ring, struct ask *ask)
{
    pthread_mutex_lock(&ring->lock);
    struct peer *peer = ask->tried < RING_COPIES_MAX ? choose(ring, ask) : NULL;
    bool given = peer && !atomic_load(&ring->stopping) && give(peer, ask);
    pthread_mutex_unlock(&ring->lock);
    return given;
}

int ring_ask(struct ring *ring, unsigned slot, bool once, const void *request, size_t size,
             void (*answered)(void *argument, const void *reply, size_t size), void *argument)
{
    struct ask *ask = malloc(sizeof(*ask) + size);
    if (!ask)
        return SP_ENOMEM;
    *ask = (struct ask){
        .slot = slot, .once = once, .answered = answered, .argument = argument, .size = size};
    memcpy(ask->bytes, request, size);
    if (hand_on(ring, ask))
        return SP_OK;
    free(ask);
    return SP_ENOTFOUND;
}

/* --- replies as bytes ------------------------------------------------------------------------- */

static bool add(struct sp_buffer *out, const void *bytes, size_t size)
{
    if (sp_buffer_reserve(out, out->size + size) != SP_OK)
        return false;
    memcpy((char *)out->data + out->size, bytes, size);
    out->size += size;
    return true;
}

static bool add_number(struct sp_buffer *out, char kind, long long number)
{
    char text[NUMBER_BYTES + 4];
    int size = snprintf(text, sizeof(text), "%c%lld\r\n", kind, number);
    return add(out, text, (size_t)size);
}

static bool add_line(struct sp_buffer *out, char kind, const redisReply *reply)
{
    return add(out, &kind, 1) && add(out, reply->str, (size_t)reply->len) && add(out, "\r\n", 2);
}

/* What is not a list. */
static bool add_plain(struct sp_buffer *out, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        return add_number(out, ':', reply->integer);
    case REDIS_REPLY_STATUS:
        return add_line(out, '+', reply);
    case REDIS_REPLY_ERROR:
        return add_line(out, '-', reply);
    case REDIS_REPLY_STRING:
        return add_number(out, '$', (long long)reply->len) &&
               add(out, reply->str, (size_t)reply->len) && add(out, "\r\n", 2);
    default:
        return add_number(out, '$', -1);
    }
}

#define DEPTH_MAX 16 /* of lists in lists; hiredis has fewer */

/* Down into lists and on to the next of their elements, until all have been written. */
static bool add_reply(struct sp_buffer *out, const redisReply *reply)
{
    struct {
        const redisReply *list;
        size_t next;
    } stack[DEPTH_MAX];
    unsigned depth = 0;
    while (reply) {
        if (reply->type == REDIS_REPLY_ARRAY) {
            if (depth == DEPTH_MAX || !add_number(out, '*', (long long)reply->elements))
                return false;
            stack[depth].list = reply;
            stack[depth++].next = 0;
        } else if (!add_plain(out, reply)) {
            return false;
        }
        while (depth > 0 && stack[depth - 1].next == stack[depth - 1].list->elements)
            depth--;
        reply = depth > 0 ? stack[depth - 1].list->element[stack[depth - 1].next++] : NULL;
    }
    return true;
}

/* --- the thread ------------------------------------------------------------------------------- */

static bool open_wire(struct asker *asker)
{
    char address[RING_ADDRESS_BYTES];
    pthread_mutex_lock(&asker->ring->lock);
    bool moved = asker->changes != asker->peer->changes;
    memcpy(address, asker->peer->address, sizeof(address));
    asker->changes = asker->peer->changes;
    pthread_mutex_unlock(&asker->ring->lock);
    if (asker->wire.open && (moved || !connection_usable(&asker->wire.connection)))
        wire_close(&asker->wire);
    if (asker->wire.open)
        return true;
    if (wire_open(&asker->wire, asker->ring, address, asker->ring->ack_timeout_ms) != SP_OK)
        return false;
    asker->wire.connection.timeout_ms = asker->ring->ack_timeout_ms + ASK_MS;
    return true;
}

/* Waits for some; false: the thread is to end. */
static bool take_asks(struct asker *asker)
{
    struct peer *peer = asker->peer;
    pthread_mutex_lock(&asker->ring->lock);
    while (!peer->asks && !peer->gone)
        pthread_cond_wait(&peer->ask_wake, &asker->ring->lock);
    for (asker->count = 0; peer->asks && asker->count < ASK_BATCH; asker->count++) {
        asker->asks[asker->count] = peer->asks;
        peer->asks = peer->asks->next;
    }
    if (!peer->asks)
        peer->asks_end = &peer->asks;
    pthread_mutex_unlock(&asker->ring->lock);
    return asker->count > 0;
}

static void ask_next(struct asker *asker, struct ask *ask)
{
    if (!hand_on(asker->ring, ask))
        end_ask(ask, NULL, 0);
}

static void take_reply(struct asker *asker, struct ask *ask, const redisReply *reply)
{
    static const char no_memory[] = "-ERR out of memory: the node's answer is lost\r\n";
    bool not_held = reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOTHELD", 7) == 0;
    asker->reply.size = 0;
    if (not_held && hand_on(asker->ring, ask))
        return;
    if (add_reply(&asker->reply, reply))
        end_ask(ask, asker->reply.data, asker->reply.size);
    else
        end_ask(ask, no_memory, sizeof(no_memory) - 1);
}

static void note_failure(struct asker *asker)
{
    pthread_mutex_lock(&asker->ring->lock);
    asker->peer->asker_back_ms = clock_ms() + ASKER_BACK_MS;
    pthread_mutex_unlock(&asker->ring->lock);
}

static bool write_requests(struct asker *asker)
{
    asker->request.size = 0;
    for (size_t i = 0; i < asker->count; i++)
        if (!add(&asker->request, asker->asks[i]->bytes, asker->asks[i]->size))
            return false;
    return true;
}

static void run_asks(struct asker *asker)
{
    struct exchange exchange = {.replies = asker->replies, .wanted = asker->count};
    bool open = open_wire(asker) && write_requests(asker);
    int status = SP_ENODAEMON;
    if (open) {
        exchange.bytes = asker->request.data;
        exchange.size = asker->request.size;
        status = connection_exchange(&asker->wire.connection, &exchange);
    }
    if (status != SP_OK) {
        wire_close(&asker->wire);
        note_failure(asker);
    }
    for (size_t i = 0; i < asker->count; i++) {
        struct ask *ask = asker->asks[i];
        if (i < exchange.got) {
            take_reply(asker, ask, asker->replies[i]);
            freeReplyObject(asker->replies[i]);
        } else if (ask->once && exchange.sent > 0) {
            end_ask(ask, NULL, 0);
        } else {
            ask_next(asker, ask);
        }
    }
}

static void *run_asker(void *argument)
{
    struct asker *asker = argument;
    struct peer *peer = asker->peer;
    while (take_asks(asker))
        run_asks(asker);
    wire_close(&asker->wire);
    sp_buffer_free(&asker->request);
    sp_buffer_free(&asker->reply);
    free(asker);
    peer_thread_ends(peer);
    return NULL;
}
