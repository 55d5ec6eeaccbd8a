/* SPDX-License-Identifier: Apache-2.0
 *
 * lookup.c - names of nodes, looked up when a node comes with another map, and anew: when it does
 * not answer a PING, as another machine may have its name by now, and whenever the map changes.
 * A name that is not known yet is looked up until it is.
 *
 * The system's resolver may take many seconds. So it is asked by a thread that does nothing else,
 * for one node at a time, of which the keeper takes the result in one of its next turns. Calls know
 * nothing of it. Where an address is none of the node's any more, idle connections to it are
 * closed. Another map is put to use when its new nodes have been found, or after FIRST_MS: then
 * those that have not cannot be reached for the time being.
 *
 * Limits: the name of a node is looked up once a second at most. Closing the ring waits for a
 * lookup under way.
 */
#include <signal.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define EVERY_US 1000000u /* for one node */
#define FIRST_MS 200u     /* for all that are new in a map */

static void *look_up(void *context)
{
    struct sp_ring *ring = context;
    struct lookup *lookup = &ring->lookup;
    lookup->status = node_resolve(lookup->node->address, &lookup->found);
    atomic_store_explicit(&lookup->done, true, memory_order_release);
    ring_wake(ring);
    return NULL;
}

static void end(struct sp_ring *ring)
{
    struct lookup *lookup = &ring->lookup;
    if (lookup->running)
        pthread_join(lookup->thread, NULL);
    lookup->running = false;
    node_unref(lookup->node);
    lookup->node = NULL;
}

/* Without a thread it is tried again in the next turn. */
static void begin(struct sp_ring *ring, struct node *node)
{
    struct lookup *lookup = &ring->lookup;
    sigset_t all, before;
    node_ref(node);
    lookup->node = node;
    atomic_store_explicit(&lookup->done, false, memory_order_relaxed);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lookup->running = pthread_create(&lookup->thread, NULL, look_up, ring) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!lookup->running) {
        end(ring);
        return;
    }
    node->lookup = false;
    node->lookup_us = clock_us() + EVERY_US;
}

static bool all_among(const struct node_addresses *some, const struct node_addresses *others)
{
    for (unsigned i = 0; i < some->count; i++) {
        bool there = false;
        for (unsigned j = 0; j < others->count && !there; j++)
            there = some->sizes[i] == others->sizes[j] &&
                    memcmp(&some->at[i], &others->at[j], some->sizes[i]) == 0;
        if (!there)
            return false;
    }
    return true;
}

static void take_result(struct sp_ring *ring)
{
    struct lookup *lookup = &ring->lookup;
    struct node *node = lookup->node;
    if (lookup->status != SP_OK || lookup->found.count == 0) {
        if (node->addresses.count == 0) /* no PING tells of it, as long as no call fails */
            lookup_want(node);
        return;
    }
    pthread_mutex_lock(&ring->mutex);
    bool moved = !all_among(&node->addresses, &lookup->found);
    bool news = moved || !all_among(&lookup->found, &node->addresses);
    node->addresses = lookup->found;
    pthread_mutex_unlock(&ring->mutex);
    if (moved)
        pool_renew(ring, node);
    if (news)
        atomic_store_explicit(&node->probe_us, 0, memory_order_relaxed);
}

/* Whether a is to be looked up before b: it has no address, or has waited longer. */
static bool comes_first(const struct node *a, const struct node *b)
{
    bool none = a->addresses.count == 0;
    return none != (b->addresses.count == 0) ? none : a->lookup_us < b->lookup_us;
}

static struct node *next_of(const struct view *view)
{
    uint64_t now = clock_us();
    struct node *next = NULL;
    for (uint32_t i = 0; i < view->map->node_count; i++) {
        struct node *node = view->nodes[i];
        if (node->lookup && node->lookup_us <= now && (next == NULL || comes_first(node, next)))
            next = node;
    }
    return next;
}

void lookup_want(struct node *node)
{
    node->lookup = node_has_name(node->address);
}

void lookup_keep(struct sp_ring *ring, const struct view *view)
{
    struct lookup *lookup = &ring->lookup;
    if (lookup->running && atomic_load_explicit(&lookup->done, memory_order_acquire)) {
        take_result(ring);
        end(ring);
    }
    if (lookup->running)
        return;
    if (lookup->node != NULL) /* of a thread that a fork has left behind */
        end(ring);
    struct node *node = next_of(view);
    if (node != NULL)
        begin(ring, node);
}

/* Whether a node that has no address is being looked up, or will be now. */
static bool some_new(const struct lookup *lookup, const struct view *view)
{
    uint64_t now = clock_us();
    for (uint32_t i = 0; i < view->map->node_count; i++) {
        const struct node *node = view->nodes[i];
        if (node->addresses.count == 0 &&
            (lookup->node == node || (node->lookup && node->lookup_us <= now)))
            return true;
    }
    return false;
}

/* Until a lookup is done; false: the time is over, or the ring is to end. */
static bool await_done(struct sp_ring *ring, uint64_t until_ms)
{
    bool in_time = true;
    pthread_mutex_lock(&ring->mutex);
    while (!ring->stopping && in_time &&
           !atomic_load_explicit(&ring->lookup.done, memory_order_acquire))
        in_time = thread_wait(&ring->woken, &ring->mutex, until_ms);
    bool stopping = ring->stopping;
    pthread_mutex_unlock(&ring->mutex);
    return in_time && !stopping;
}

void lookup_await(struct sp_ring *ring, const struct view *view)
{
    uint64_t until_ms = clock_ms() + FIRST_MS;
    do
        lookup_keep(ring, view);
    while (ring->lookup.running && some_new(&ring->lookup, view) && await_done(ring, until_ms));
}

void lookup_end(struct sp_ring *ring)
{
    if (ring->lookup.node != NULL)
        end(ring);
}
