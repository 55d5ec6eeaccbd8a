/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.c - writes on their way to peers.
 *
 * Each write has a place in the order of all writes of this node, and stands in the queue of each
 * peer that it is for until that peer has answered. So all up to a place is done when no queue
 * begins with it or an earlier one. What a peer does not take, or what finds its queue full, is a
 * bit in its missed slots, and done as well: whoever waits is not kept.
 *
 * How many peers have taken a write is counted for the last RECENT_PLACES places; of an older one
 * it is unknown, and taken for none.
 *
 * Costs: a copy of key and value for each write, a few pointers for each peer.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/ring/internal.h"

unsigned slots_count(const struct slots *slots)
{
    unsigned count = 0;
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        count += (unsigned)__builtin_popcountll(slots->words[i]);
    return count;
}

/* --- a write ---------------------------------------------------------------------------------- */

struct ring_write *write_new(uint64_t hash, unsigned slot, const struct cache_copy *copy)
{
    const struct cache_entry *entry = &copy->entry;
    struct ring_write *write = malloc(sizeof(*write) + entry->key_bytes + entry->value_bytes);
    if (!write)
        return NULL;
    atomic_init(&write->references, 1);
    write->tombstone = copy->tombstone;
    write->given = false;
    write->slot = slot;
    write->hash = hash;
    write->version = entry->version;
    write->expiry_ms = entry->expiry_ms;
    write->key_bytes = entry->key_bytes;
    write->value_bytes = copy->tombstone ? 0 : entry->value_bytes;
    memcpy(write->bytes, entry->key, entry->key_bytes);
    if (write->value_bytes > 0)
        memcpy(write->bytes + entry->key_bytes, entry->value, write->value_bytes);
    return write;
}

struct ring_write *write_ref(struct ring_write *write)
{
    atomic_fetch_add_explicit(&write->references, 1, memory_order_relaxed);
    return write;
}

void write_unref(struct ring_write *write)
{
    if (write && atomic_fetch_sub_explicit(&write->references, 1, memory_order_acq_rel) == 1)
        free(write);
}

/* --- the queue -------------------------------------------------------------------------------- */

static bool grow(struct queue *queue)
{
    size_t capacity = queue->capacity ? queue->capacity * 2 : 64;
    struct queued *items = malloc(capacity * sizeof(*items));
    if (!items)
        return false;
    for (size_t i = 0; i < queue->count; i++)
        items[i] = *queue_at(queue, i);
    free(queue->items);
    queue->items = items;
    queue->first = 0;
    queue->capacity = capacity;
    return true;
}

bool queue_push(struct queue *queue, struct ring_write *write, ring_place place, uint64_t now_ms)
{
    if (queue->count >= QUEUE_MAX || queue->bytes >= QUEUE_BYTES_MAX)
        return false;
    if (queue->count == queue->capacity && !grow(queue))
        return false;
    *queue_at(queue, queue->count++) =
        (struct queued){.write = write_ref(write), .place = place, .since_ms = now_ms};
    queue->bytes += write_bytes(write);
    return true;
}

void queue_push_front(struct queue *queue, const struct queued *item)
{
    queue->first = (queue->first - 1) & (queue->capacity - 1);
    queue->count++;
    *queue_at(queue, 0) = *item;
    queue->bytes += write_bytes(item->write);
}

void queue_pop(struct queue *queue)
{
    struct queued *item = queue_at(queue, 0);
    queue->bytes -= write_bytes(item->write);
    write_unref(item->write);
    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
}

void queue_free(struct queue *queue)
{
    while (queue->count > 0)
        queue_pop(queue);
    free(queue->items);
    *queue = (struct queue){0};
}

/* --- to all peers of a slot ------------------------------------------------------------------- */

static void enqueue_for(struct peer *peer, unsigned slot, struct ring_write *write,
                        ring_place place, uint64_t now_ms)
{
    if (write && peer->reachable && queue_push(&peer->queue, write, place, now_ms)) {
        peer_wake(peer);
        return;
    }
    slots_add(&peer->missed, slot);
    peer->figures.failed++;
    if (peer->reachable)
        peer_wake(peer);
}

ring_place ring_enqueue(struct ring *ring, unsigned slot, struct ring_write *write)
{
    uint16_t nodes[2 * RING_COPIES_MAX];
    unsigned count = ring->map ? ring_map_union(ring->map, slot, nodes) : 0;
    uint64_t now_ms = clock_boot_ms();
    ring_place place = ring->last_place + 1;
    bool any = false;
    for (unsigned i = 0; i < count; i++) {
        struct peer *peer = ring->peers[nodes[i]];
        if (!peer)
            continue;
        any = true;
        enqueue_for(peer, slot, write, place, now_ms);
    }
    if (!any)
        return 0;
    ring->recent[place % RECENT_PLACES] = (struct ring_recent){.place = place};
    return ring->last_place = place;
}

void ring_answered(struct ring *ring, struct peer *peer, bool taken)
{
    struct queued *item = queue_at(&peer->queue, 0);
    struct ring_recent *recent = &ring->recent[item->place % RECENT_PLACES];
    if (taken) {
        peer->figures.sent++;
        if (recent->place == item->place)
            recent->copies++;
    }
    queue_pop(&peer->queue);
}

void ring_abandon(struct ring *ring, struct peer *peer)
{
    (void)ring;
    while (peer->queue.count > 0) {
        slots_add(&peer->missed, queue_at(&peer->queue, 0)->write->slot);
        peer->figures.failed++;
        queue_pop(&peer->queue);
    }
}

/* --- who waits -------------------------------------------------------------------------------- */

/* The latest place up to which all is done. */
static ring_place done_place(const struct ring *ring)
{
    ring_place done = ring->last_place;
    for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++) {
        const struct peer *peer = ring->peers[i];
        if (peer && peer->queue.count > 0 && queue_at(&peer->queue, 0)->place <= done)
            done = queue_at(&peer->queue, 0)->place - 1;
    }
    return done;
}

/* As places and times grow together, the first ones are enough to look at. */
struct waiter *waiters_take(struct ring *ring, uint64_t now_ms)
{
    struct waiter *taken = ring->waiters;
    struct waiter **link = &ring->waiters;
    if (!taken)
        return NULL;
    ring_place done = done_place(ring);
    while (*link && ((*link)->place <= done || (*link)->due_ms <= now_ms))
        link = &(*link)->next;
    if (link == &ring->waiters)
        return NULL;
    ring->waiters = *link;
    *link = NULL;
    if (!ring->waiters)
        ring->waiters_last = NULL;
    return taken;
}

void waiters_call(struct waiter *waiters)
{
    while (waiters) {
        struct waiter *next = waiters->next;
        waiters->function(waiters->argument);
        free(waiters);
        waiters = next;
    }
}

/* Nearly always at the end, for places grow. */
static void add_waiter(struct ring *ring, struct waiter *waiter)
{
    struct waiter **link = &ring->waiters;
    if (ring->waiters_last && ring->waiters_last->place <= waiter->place)
        link = &ring->waiters_last->next;
    while (*link && (*link)->place <= waiter->place)
        link = &(*link)->next;
    waiter->next = *link;
    *link = waiter;
    if (!waiter->next)
        ring->waiters_last = waiter;
}

int ring_copies(struct ring *ring, ring_place place, unsigned *copies)
{
    pthread_mutex_lock(&ring->lock);
    const struct ring_recent *recent = &ring->recent[place % RECENT_PLACES];
    *copies = place && recent->place == place ? recent->copies : 0;
    int status = place <= done_place(ring) ? SP_OK : SP_EBUSY;
    pthread_mutex_unlock(&ring->lock);
    return status;
}

int ring_await(struct ring *ring, ring_place place, void (*function)(void *argument),
               void *argument)
{
    struct waiter *waiter = malloc(sizeof(*waiter));
    if (!waiter)
        return SP_ENOMEM;
    *waiter = (struct waiter){.place = place,
                              .due_ms = clock_ms() + ring->ack_timeout_ms,
                              .function = function,
                              .argument = argument};
    pthread_mutex_lock(&ring->lock);
    bool done = place <= done_place(ring) || atomic_load(&ring->stopping);
    if (!done)
        add_waiter(ring, waiter);
    pthread_mutex_unlock(&ring->lock);
    if (done)
        waiters_call(waiter);
    return SP_OK;
}
