/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c - a ring's start and end: what the options point to is copied, the slots' digests are
 * made, threads begin, and the map comes from the static list or by the member.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

#define FLUSH_MS 200u /* for writes that are still queued at the end */

/* --- options ---------------------------------------------------------------------------------- */

static bool copy_text(const char **text)
{
    if (!*text)
        return true;
    *text = strdup(*text);
    return *text != NULL;
}

static bool copy_options(struct ring *ring, const struct ring_options *from)
{
    struct ring_options *options = &ring->options;
    *options = *from;
    const char **texts[] = {&options->cluster, &options->zookeeper, &options->credential,
                            &options->file,    &options->also,      &options->published,
                            &options->user,    &options->password};
    bool good = true;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        good &= copy_text(texts[i]);
    struct ring_node *list = calloc(from->list_count + 1, sizeof(*list));
    options->list = list;
    if (!list)
        return false;
    for (size_t i = 0; i < from->list_count; i++) {
        list[i] = from->list[i];
        list[i].start = 1;
    }
    return good;
}

static void wipe(const char *secret)
{
    if (secret)
        explicit_bzero((char *)(uintptr_t)secret, strlen(secret));
}

static void free_options(struct ring_options *options)
{
    const char *texts[] = {options->cluster, options->zookeeper, options->credential,
                           options->file,    options->also,      options->published,
                           options->user,    options->password};
    wipe(options->credential);
    wipe(options->password);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free((char *)(uintptr_t)texts[i]);
    free((struct ring_node *)(uintptr_t)options->list);
}

static uint64_t draw_start(void)
{
    uint64_t start = 0;
    while (start == 0)
        if (getrandom(&start, sizeof(start), 0) != sizeof(start))
            start = clock_ns();
    return start;
}

/* --- where the map comes from ----------------------------------------------------------------- */

static int take_list(struct ring *ring, char *why)
{
    const struct ring_options *options = &ring->options;
    struct ring_map *map = NULL;
    char wrong[RING_WHY_BYTES] = "out of memory";
    int status =
        ring_map_next(NULL, &options->parameters, options->list, options->list_count, &map, wrong);
    if (status == SP_OK && (!map || ring_map_find(map, options->node.name) < 0)) {
        snprintf(wrong, sizeof(wrong), "the list of nodes has no %s, which is this node's name",
                 options->node.name);
        status = SP_EINVAL;
    }
    if (status == SP_OK)
        ring_take_map(ring, map);
    else
        snprintf(why, MEMBER_WHY_BYTES, "%s", wrong);
    ring_map_unref(map);
    return status;
}

static void on_map(void *context, const struct ring_map *map)
{
    ring_take_map(context, map);
}

static void on_old_map(void *context, const struct ring_map *map, uint64_t start)
{
    struct ring *ring = context;
    const struct ring_node *node = &ring->options.node;
    unsigned long long epoch = map ? map->epoch : 0;
    if (!map) {
        log_warning("ring", "ZooKeeper has not answered yet, and no last map is known: this node "
                            "answers for no slot until it does");
        return;
    }
    if (start != 0) {
        log_warning("ring",
                    "ZooKeeper has not answered yet: this node goes on by map %llu, the last one "
                    "known, and asks the others for a later one and for what it has missed",
                    epoch);
        ring_stand_in(ring, start);
        return;
    }
    log_error(
        "ring",
        "ZooKeeper has not answered yet, and map %llu, the last one known, has no %s at %s: this "
        "node answers for no slot until ZooKeeper does",
        epoch, node->name, node->address);
}

static void on_session_lost(void *context)
{
    ring_suspect(context, "the session of ZooKeeper was lost");
}

static void on_status(void *context, const struct member_status *status)
{
    struct ring *ring = context;
    static const char *const links[] = {"is away", "is connected", "refuses this node"};
    if (status->link == MEMBER_CONNECTED && status->registered) /* and so the map has been read */
        ring_stand_up(ring);
    if (atomic_exchange(&ring->member_link, (int)status->link) == (int)status->link)
        return;
    int level = status->link == MEMBER_CONNECTED ? LOG_INFO : LOG_WARNING;
    log_at(level, "ring", "ZooKeeper %s%s%s", links[(unsigned)status->link % 3],
           status->why[0] ? ": " : "", status->why);
}

/* Whether a node that many others have lost with it answers all the same, and as one of this
 * cluster: it may have gone over to another one, where it is as well as ever. */
static bool answers(void *context, const struct ring_node *node)
{
    struct wire wire = {0};
    bool good = wire_open(&wire, context, node->address, REPAIR_TIMEOUT_MS / 2) == SP_OK &&
                wire_is_of(&wire, ring_cluster(context));
    wire_close(&wire);
    return good;
}

static int open_member(struct ring *ring, char *why)
{
    const struct ring_options *options = &ring->options;
    const struct member_options member = {.servers = options->zookeeper,
                                          .cluster = options->cluster,
                                          .credential = options->credential,
                                          .session_ms = options->session_ms,
                                          .node = &options->node,
                                          .registers_at_once = true,
                                          .parameters = options->parameters,
                                          .file = options->file,
                                          .also = options->also,
                                          .on_map = on_map,
                                          .on_old_map = on_old_map,
                                          .on_session_lost = on_session_lost,
                                          .on_status = on_status,
                                          .answers = answers,
                                          .context = ring};
    struct member *opened = NULL;
    atomic_store(&ring->member_link, MEMBER_CONNECTING);
    /* No map is taken before it is known here, to which what this node is complete for is told. */
    pthread_mutex_lock(&ring->member_lock);
    int status = member_open(&member, &opened, why);
    ring->member = opened;
    pthread_mutex_unlock(&ring->member_lock);
    return status;
}

/* --- starting --------------------------------------------------------------------------------- */

static void init_locks(struct ring *ring)
{
    thread_cond_init(&ring->control_wake);
    thread_cond_init(&ring->repair_wake);
    thread_cond_init(&ring->quiet);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->beat_lock, NULL);
    pthread_mutex_init(&ring->lookups.lock, NULL);
    pthread_mutex_init(&ring->member_lock, NULL);
}

static void set_limits(struct ring *ring, const struct ring_options *options)
{
    atomic_store(&ring->ack_timeout_ms, options->ack_timeout_ms);
    atomic_store(&ring->compare_ms, options->compare_ms);
    atomic_store(&ring->clock_ahead_ms, options->clock_ahead_ms);
    atomic_store(&ring->throttle_bytes, options->throttle_bytes);
    atomic_store(&ring->tombstone_ms, options->tombstone_ms);
}

static struct ring *new_ring(const struct ring_options *options)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return NULL;
    init_locks(ring);
    if (!copy_options(ring, options)) {
        ring_stop(ring);
        return NULL;
    }
    ring->cache = options->cache;
    set_limits(ring, options);
    ring->process = ring->options.node.start = draw_start();
    atomic_store(&ring->start, ring->process);
    ring->began_empty = cache_entries(options->cache) == 0;
    ring->self = -1;
    ring->in_zookeeper = options->zookeeper != NULL;
    ring->suspect_since_ms = clock_ms();
    return ring;
}

void ring_configure(struct ring *ring, const struct ring_options *options)
{
    set_limits(ring, options);
    cache_lock(ring->cache, clock_wall_ms());
    cache_set_tombstone_ms(ring->cache, options->tombstone_ms);
    cache_unlock(ring->cache);
}

static int keep_slots(struct ring *ring)
{
    const struct cache_slots_options options = {.slots = ring->options.parameters.slots,
                                                .tombstone_ms = ring->options.tombstone_ms,
                                                .clock = &ring->clock,
                                                .latest_ms =
                                                    clock_wall_ms() + ring->clock_ahead_ms};
    int status = cache_keep_slots(ring->cache, &options);
    uint64_t ahead = status == SP_OK ? cache_slots_ahead(ring->cache) : 0;
    if (ahead > 0)
        log_warning("ring",
                    "%llu entries have versions later than this node's clock by more than "
                    "clock_ahead: either it is slow, or a clock was fast when they were written",
                    (unsigned long long)ahead);
    return status;
}

static int start_threads(struct ring *ring)
{
    ring->control_runs = thread_start(&ring->control, ring_control, ring) == SP_OK;
    ring->repair_runs =
        ring->control_runs && thread_start(&ring->repair, ring_repair, ring) == SP_OK;
    return ring->repair_runs ? SP_OK : SP_ESYS;
}

int ring_start(const struct ring_options *options, struct ring **out, char *why)
{
    snprintf(why, MEMBER_WHY_BYTES, "out of memory");
    int status = ring_node_check(&options->node, why);
    if (status != SP_OK)
        return status;
    struct ring *ring = new_ring(options);
    if (!ring)
        return SP_ENOMEM;
    status = keep_slots(ring);
    if (status == SP_OK) {
        ring_age_begin(ring);
        snprintf(why, MEMBER_WHY_BYTES, "cannot start a thread");
        status = start_threads(ring);
    }
    if (status == SP_OK)
        status = options->zookeeper ? open_member(ring, why) : take_list(ring, why);
    if (status != SP_OK) {
        ring_stop(ring);
        return status;
    }
    *out = ring;
    return SP_OK;
}

/* --- ending ----------------------------------------------------------------------------------- */

void ring_leave(struct ring *ring)
{
    pthread_mutex_lock(&ring->member_lock);
    struct member *member = ring->member;
    ring->member = NULL;
    pthread_mutex_unlock(&ring->member_lock);
    if (member)
        atomic_store(&ring->left, true);
    member_close(member);
}

/* Writes that clients know to be done here are sent while there is time. */
static void flush(struct ring *ring)
{
    uint64_t until_ms = clock_ms() + FLUSH_MS;
    pthread_mutex_lock(&ring->lock);
    for (bool busy = true; busy && clock_ms() < until_ms;) {
        busy = false;
        for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++)
            busy |= ring->peers[i] && ring->peers[i]->queue.count > 0;
        if (busy)
            ring_wait(ring, &ring->quiet, clock_ms() + 10);
    }
    pthread_mutex_unlock(&ring->lock);
}

static void end_peers(struct ring *ring)
{
    struct peer *peers = NULL;
    pthread_mutex_lock(&ring->lock);
    for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++) {
        struct peer *peer = ring->peers[i];
        if (!peer)
            continue;
        ring->peers[i] = NULL;
        ring_abandon(ring, peer);
        peer_end(peer);
        peer->next = ring->reap;
        ring->reap = peer;
    }
    peers = ring->reap;
    ring->reap = NULL;
    pthread_mutex_unlock(&ring->lock);
    while (peers) {
        struct peer *next = peers->next;
        peer_free(peers);
        peers = next;
    }
}

static void end_threads(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    atomic_store(&ring->stopping, true);
    pthread_cond_broadcast(&ring->control_wake);
    pthread_cond_broadcast(&ring->repair_wake);
    pthread_mutex_unlock(&ring->lock);
    if (ring->control_runs)
        pthread_join(ring->control, NULL);
    if (ring->repair_runs)
        pthread_join(ring->repair, NULL);
}

void ring_stop(struct ring *ring)
{
    if (!ring)
        return;
    ring_leave(ring);
    flush(ring);
    end_threads(ring);
    end_peers(ring);
    struct waiter *waiters = ring->waiters;
    ring->waiters = NULL;
    waiters_call(waiters);
    ring_map_unref(ring->map);
    free_options(&ring->options);
    pthread_cond_destroy(&ring->control_wake);
    pthread_cond_destroy(&ring->repair_wake);
    pthread_cond_destroy(&ring->quiet);
    pthread_mutex_destroy(&ring->beat_lock);
    lookups_free(&ring->lookups);
    pthread_mutex_destroy(&ring->member_lock);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
}
