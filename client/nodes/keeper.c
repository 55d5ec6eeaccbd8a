/* SPDX-License-Identifier: Apache-2.0
 *
 * keeper.c - the thread of a handle: it follows the map, PINGs nodes that are kept back, has names
 * looked up anew, tells witnesses what a node missed, and brings Redis nodes what they missed.
 *
 * It turns once every probe_ms, give or take a quarter so that many processes do not probe in step,
 * and at once when a call has something for it. Each turn waits for silent nodes no longer than
 * PING_MS, for all of them at the same time.
 */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define PING_MS   200u
#define PING_MANY 64u /* nodes that are probed in one turn */
#define FETCH_MS  500u
#define SOON_MS   5u

/* --- probing ---------------------------------------------------------------------------------- */

/* Those that are kept back or suspected, and have not been PINGed of late. */
static size_t to_probe(const struct sp_ring *ring, const struct view *view,
                       struct node *nodes[PING_MANY], uint32_t jitter_ms)
{
    uint64_t now = clock_us();
    uint32_t probe_ms = ring->settings.probe_ms;
    uint64_t next = now + (probe_ms - probe_ms / 4 + jitter_ms) * UINT64_C(1000);
    size_t count = 0;
    for (uint32_t i = 0; i < view->map->node_count && count < PING_MANY; i++) {
        struct node *node = view->nodes[i];
        bool suspect = atomic_load_explicit(&node->suspect, memory_order_relaxed);
        if ((!node_kept_back(node) && !suspect) ||
            atomic_load_explicit(&node->probe_us, memory_order_relaxed) > now)
            continue;
        atomic_store_explicit(&node->probe_us, next, memory_order_relaxed);
        nodes[count++] = node;
    }
    return count;
}

static void probe(struct sp_ring *ring, const struct view *view, uint32_t jitter_ms)
{
    struct node *nodes[PING_MANY];
    bool answered[PING_MANY];
    size_t count = to_probe(ring, view, nodes, jitter_ms);
    if (count == 0)
        return;
    nodes_ping(ring, view, nodes, count, PING_MS, answered);
    for (size_t i = 0; i < count; i++)
        if (answered[i]) {
            node_close_breaker(nodes[i]);
        } else {
            node_open_breaker(nodes[i]);
            lookup_want(nodes[i]);
        }
}

/* --- a later map, of a node ------------------------------------------------------------------- */

static struct ring_map *fetch_from(struct sp_ring *ring, const struct view *view, struct node *node)
{
    static const struct argument arguments[] = {{"SIDEPOND", 8}, {"RING", 4}};
    struct sp_buffer bytes = {0};
    struct answer answer = {.value = &bytes};
    struct ring_map *map = NULL;
    int status = node_ask(ring, view, node, arguments, 2, FETCH_MS, &answer);
    if (status == SP_OK && answer.type == SP_REPLY_TEXT &&
        ring_map_decode(bytes.data, bytes.size, &map) != SP_OK)
        map = NULL;
    sp_buffer_free(&bytes);
    return map;
}

/* Of the nodes that answer, until one has a map as late as was spoken of. */
static void fetch_map(struct sp_ring *ring, const struct view *view)
{
    uint64_t wanted = atomic_load_explicit(&ring->later_epoch, memory_order_acquire);
    uint64_t latest = view->map->epoch;
    if (view->map->parameters.kind != RING_SIDEPOND || wanted <= latest)
        return;
    for (uint32_t i = 0; i < view->map->node_count && latest < wanted; i++) {
        if (node_kept_back(view->nodes[i]))
            continue;
        struct ring_map *map = fetch_from(ring, view, view->nodes[i]);
        if (map != NULL && map->epoch > latest && view_install(ring, map) == SP_OK)
            latest = map->epoch;
        ring_map_unref(map);
    }
    if (latest < wanted) /* nobody has it: who speaks of it once more will be believed again */
        atomic_compare_exchange_strong(&ring->later_epoch, &wanted, latest);
}

/* --- turns ------------------------------------------------------------------------------------ */

static bool turn(struct sp_ring *ring, uint32_t jitter_ms)
{
    watch_step(ring);
    struct view *view = view_take(ring);
    if (view == NULL)
        return false;
    fetch_map(ring, view);
    view_give(view);
    view = view_take(ring); /* the one that is in use from now on */
    probe(ring, view, jitter_ms);
    lookup_keep(ring, view);
    trust_keep(ring, view);
    bool more = copy_keep(ring, view);
    view_give(view);
    return more;
}

static void rest(struct sp_ring *ring, uint32_t ms)
{
    uint64_t until_ms = clock_ms() + ms;
    bool in_time = true;
    while (!ring->stopping && !ring->work && in_time)
        in_time = thread_wait(&ring->woken, &ring->mutex, until_ms);
    ring->work = false;
}

void *keeper_main(void *context)
{
    struct sp_ring *ring = context;
    uint64_t seed = clock_ns();
    pthread_mutex_lock(&ring->mutex);
    while (!ring->stopping) {
        pthread_mutex_unlock(&ring->mutex);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t probe_ms = ring->settings.probe_ms;
        uint32_t jitter = (uint32_t)(seed >> 33) % (probe_ms / 2 + 1);
        bool more = turn(ring, jitter);
        pthread_mutex_lock(&ring->mutex);
        if (!ring->stopping)
            rest(ring, more ? SOON_MS : probe_ms - probe_ms / 4 + jitter);
    }
    pthread_mutex_unlock(&ring->mutex);
    return NULL;
}
