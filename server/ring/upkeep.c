/* SPDX-License-Identifier: Apache-2.0
 *
 * upkeep.c - the control thread, which looks twenty times a second whether anybody has waited long
 * enough, peers have left the map, the map is to be written to files, entries of others' slots are
 * to go, and whether there is something to tell.
 *
 * Entries of slots that are others' come from clients that know nothing of the ring and write here
 * all the same; they are passed on. They, and those of slots that have moved away, are taken out
 * when the map and the slot have been left alone for FOREIGN_MS, and no peer is still to get
 * something of that slot. A node that is not in the map keeps what it has: others may need it.
 */
#include <string.h>
#include <sys/stat.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

enum { DROP_STEP = 64, DROP_US = 5000 /* of each tick */, SECOND_MS = 1000 };

struct upkeep {
    struct ring *ring;
    bool drops;
    uint64_t cursor, moved_at_ms;
    struct slots slots; /* that are taken out */
    struct slots kept;  /* where what expires leaves a tombstone */
    int64_t ahead_ms;   /* beyond this a version is of a wrong clock */
    int64_t lead_ms;    /* of others' clocks, as it counts there */
    uint64_t restamped; /* entries with such versions, so far */
};

/* --- files ------------------------------------------------------------------------------------ */

static void save_map(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    bool unsaved = ring->map_unsaved && ring->map;
    struct ring_map *map = unsaved ? ring_map_ref(ring->map) : NULL;
    ring->map_unsaved = false;
    pthread_mutex_unlock(&ring->lock);
    if (!unsaved)
        return;
    const char *path = ring->options.published;
    int status = path ? ring_map_save(map, path) : SP_OK;
    if (status != SP_OK) {
        log_limited(LOG_ERR, "ring", 10,
                    "%s cannot be written, so processes of this host do not learn of the ring: %s",
                    path, sp_status_text(status));
        pthread_mutex_lock(&ring->lock);
        ring->map_unsaved = true; /* at the next tick again */
        pthread_mutex_unlock(&ring->lock);
    } else if (path && ring->options.on_published)
        ring->options.on_published(ring->options.context, path);
    ring_map_unref(map);
}

/* --- peers ------------------------------------------------------------------------------------ */

/* Those whose threads have ended: for the others nobody waits. */
static struct peer *take_ended(struct ring *ring)
{
    struct peer *ended = NULL;
    pthread_mutex_lock(&ring->lock);
    for (struct peer **link = &ring->reap; *link;) {
        struct peer *peer = *link;
        if (peer->running > 0) {
            link = &peer->next;
            continue;
        }
        *link = peer->next;
        peer->next = ended;
        ended = peer;
    }
    pthread_mutex_unlock(&ring->lock);
    return ended;
}

static void reap_peers(struct ring *ring)
{
    struct peer *peer = take_ended(ring);
    while (peer) {
        struct peer *next = peer->next;
        log_info("ring", "the node %s has left", peer->name);
        peer_free(peer);
        peer = next;
    }
}

static void release_waiters(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct waiter *waiters = waiters_take(ring, clock_ms());
    pthread_mutex_unlock(&ring->lock);
    waiters_call(waiters);
}

/* --- what expires while a peer misses writes -------------------------------------------------- */

/* A peer that has missed a write with an expiry would bring back what was there before it. Here it
 * may come late by CACHE_LAPSED_MS. */
static void keep_expired(struct upkeep *upkeep)
{
    struct ring *ring = upkeep->ring;
    struct slots missed = {0};
    pthread_mutex_lock(&ring->lock);
    for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++)
        if (ring->peers[i]) {
            slots_join(&missed, &ring->peers[i]->missed);
            slots_join(&missed, &ring->peers[i]->sending);
        }
    pthread_mutex_unlock(&ring->lock);
    if (memcmp(&missed, &upkeep->kept, sizeof(missed)) == 0)
        return;
    upkeep->kept = missed;
    cache_lock(ring->cache, clock_wall_ms());
    cache_keep_expired(ring->cache, missed.words);
    cache_unlock(ring->cache);
}

/* --- wrong clocks ----------------------------------------------------------------------------- */

/* With the lock: how far the fastest of the others' clocks is before this node's wall clock; false:
 * none has been heard of. */
static bool find_lead(const struct ring *ring, int64_t *lead_ms)
{
    const int64_t offset_ms = clock_wall_ms() - (int64_t)clock_boot_ms();
    *lead_ms = 0;
    bool heard = ring->map && ring->map->node_count == 1;
    for (uint32_t i = 0; ring->map && i < ring->map->node_count; i++) {
        const struct peer *peer = ring->peers[i];
        if (!peer || !peer->heard)
            continue;
        heard = true;
        const int64_t ahead_ms = peer->clock.wall_ms - (int64_t)peer->clock.boot_ms - offset_ms;
        *lead_ms = ahead_ms > *lead_ms ? ahead_ms : *lead_ms;
    }
    return heard && ring->self >= 0;
}

/* This node's clock may be slow: only what is far ahead of the others' clocks as well is of a wrong
 * one, and as long as none has been heard of nothing is. The lead is in whole seconds, and what it
 * falls by one of them does not count: each change has all tombstones looked at. */
static int64_t find_ahead(struct upkeep *upkeep)
{
    struct ring *ring = upkeep->ring;
    const int64_t allowed_ms = ring->clock_ahead_ms;
    int64_t lead_ms;
    pthread_mutex_lock(&ring->lock);
    bool heard = find_lead(ring, &lead_ms);
    pthread_mutex_unlock(&ring->lock);
    if (!heard)
        return CACHE_AHEAD_ANY;
    lead_ms = (lead_ms + SECOND_MS - 1) / SECOND_MS * SECOND_MS;
    if (lead_ms > upkeep->lead_ms || lead_ms < upkeep->lead_ms - SECOND_MS)
        upkeep->lead_ms = lead_ms;
    lead_ms = upkeep->lead_ms > allowed_ms ? upkeep->lead_ms : 0;
    return allowed_ms + CLOCK_MARGIN_MS + lead_ms;
}

static void judge_clocks(struct upkeep *upkeep)
{
    struct ring *ring = upkeep->ring;
    int64_t ahead_ms = find_ahead(upkeep);
    if (ahead_ms != upkeep->ahead_ms) {
        upkeep->ahead_ms = ahead_ms;
        cache_lock(ring->cache, clock_wall_ms());
        cache_set_ahead(ring->cache, ahead_ms);
        cache_unlock(ring->cache);
    }
    uint64_t restamped = cache_restamped(ring->cache);
    if (restamped != upkeep->restamped)
        log_limited(LOG_WARNING, "ring", 10,
                    "%llu entries so far had versions of a clock that was fast: they count as "
                    "older than all others",
                    (unsigned long long)restamped);
    upkeep->restamped = restamped;
}

/* --- slots of others -------------------------------------------------------------------------- */

/* With the lock: slots of which nothing is needed here. */
static struct slots find_foreign(const struct ring *ring)
{
    struct slots foreign = {0};
    if (!ring->map || ring->self < 0)
        return foreign;
    for (unsigned slot = 0; slot < ring->map->parameters.slots; slot++)
        if (!ring_held_has(&ring->mine, slot))
            slots_add(&foreign, slot);
    slots_drop(&foreign, &ring->foreign[0]);
    slots_drop(&foreign, &ring->foreign[1]);
    slots_drop(&foreign, &ring->stray);
    for (uint32_t i = 0; i < ring->map->node_count; i++)
        if (ring->peers[i]) {
            slots_drop(&foreign, &ring->peers[i]->missed);
            slots_drop(&foreign, &ring->peers[i]->sending);
        }
    return foreign;
}

static bool has_entries(const struct ring *ring, const struct slots *slots)
{
    struct cache_slot found;
    for (unsigned slot = 0; slot < ring->options.parameters.slots; slot++) {
        if (!slots_has(slots, slot))
            continue;
        cache_slot(ring->cache, slot, &found);
        if (found.entries > 0 || found.tombstones > 0)
            return true;
    }
    return false;
}

static void begin_dropping(struct upkeep *upkeep)
{
    struct ring *ring = upkeep->ring;
    uint64_t now_ms = clock_ms();
    pthread_mutex_lock(&ring->lock);
    bool due = now_ms >= ring->foreign_since_ms + FOREIGN_MS;
    if (due) {
        ring->foreign[1] = ring->foreign[0];
        memset(&ring->foreign[0], 0, sizeof(ring->foreign[0]));
        ring->foreign_since_ms = now_ms;
    }
    due &= now_ms >= ring->moved_at_ms + FOREIGN_MS;
    if (due)
        upkeep->slots = find_foreign(ring);
    upkeep->moved_at_ms = ring->moved_at_ms;
    pthread_mutex_unlock(&ring->lock);
    upkeep->drops = due && has_entries(ring, &upkeep->slots);
    upkeep->cursor = 0;
    if (upkeep->drops)
        log_info("ring", "entries of slots that other nodes hold are taken out");
}

/* Under the cache's lock nobody writes, so what is looked at here stays so for the step. */
static void drop_step(struct upkeep *upkeep)
{
    struct ring *ring = upkeep->ring;
    cache_lock(ring->cache, clock_wall_ms());
    pthread_mutex_lock(&ring->lock);
    struct slots foreign = find_foreign(ring);
    slots_keep(&upkeep->slots, &foreign);
    upkeep->drops = upkeep->moved_at_ms == ring->moved_at_ms && !slots_none(&upkeep->slots);
    pthread_mutex_unlock(&ring->lock);
    if (upkeep->drops) {
        upkeep->cursor =
            cache_drop_slots(ring->cache, upkeep->cursor, DROP_STEP, upkeep->slots.words);
        upkeep->drops = upkeep->cursor != 0;
    }
    cache_unlock(ring->cache);
}

static void drop_foreign(struct upkeep *upkeep)
{
    uint64_t until_us = clock_us() + DROP_US;
    if (!upkeep->drops)
        begin_dropping(upkeep);
    while (upkeep->drops && clock_us() < until_us)
        drop_step(upkeep);
}

/* --- what is told ----------------------------------------------------------------------------- */

static void tell(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    unsigned held = 0;
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        held += (unsigned)__builtin_popcountll(ring->held.words[i]);
    bool in_map = ring->map && ring->self >= 0;
    bool whole =
        in_map && held > 0 && slots_none(&ring->targeted) && held == slots_count(&ring->by_map);
    bool empty = in_map && slots_none(&ring->by_map) && slots_none(&ring->targeted) &&
                 ring->map->nodes[ring->self].state == RING_NODE_DRAINING;
    bool say_whole = whole && !ring->told_whole;
    if (!whole && ring->told_whole)
        ring->lacking_since_ms = clock_ms();
    bool say_empty = empty && !ring->told_empty;
    ring->told_whole = whole;
    ring->told_empty = empty;
    const uint64_t since_ms = ring->lacking_since_ms > ring->suspect_since_ms
                                  ? ring->lacking_since_ms
                                  : ring->suspect_since_ms;
    const uint64_t took_ms = clock_ms() - since_ms;
    uint64_t epoch = ring->map ? ring->map->epoch : 0;
    pthread_mutex_unlock(&ring->lock);
    if (say_whole)
        log_info("ring",
                 "holds all of its %u slots, by map %llu, %llu.%03llu s after it lacked or doubted "
                 "some",
                 held, (unsigned long long)epoch, (unsigned long long)took_ms / 1000,
                 (unsigned long long)took_ms % 1000);
    if (say_empty)
        log_info("ring", "drained: this node holds nothing any more, and can be stopped");
}

void *ring_control(void *argument)
{
    struct upkeep upkeep = {.ring = argument, .ahead_ms = CACHE_AHEAD_ANY};
    struct ring *ring = argument;
    while (!atomic_load(&ring->stopping)) {
        release_waiters(ring);
        reap_peers(ring);
        ring_start_lacking(ring);
        save_map(ring);
        keep_expired(&upkeep);
        judge_clocks(&upkeep);
        ring_age_tick(ring);
        drop_foreign(&upkeep);
        tell(ring);
        pthread_mutex_lock(&ring->lock);
        ring_wait(ring, &ring->control_wake, clock_ms() + TICK_MS);
        pthread_mutex_unlock(&ring->lock);
    }
    ring_age_tick(ring); /* an orderly end leaves nothing unnoted */
    return NULL;
}
