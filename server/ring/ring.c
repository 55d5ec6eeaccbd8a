/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c - this node's part in a ring: its start and end, the map, which slots it may answer for,
 * and the writes of clients and peers.
 *
 * A slot is held if the map has this node as its holder, under its present start id, and what lies
 * here is trusted. Nothing is trusted at the start; repair.c makes it so. What is doubted later
 * (ring_suspect) is taken out of `held` before this returns. A slot whose only holder this node is
 * need not be doubted: nobody could know better.
 *
 * A node that starts while ZooKeeper is away stands in for the process before it, by the last map
 * that is known: under its start id, as if it were that process and had stood still. But what it
 * has may be nothing, and the others may have gone on to a map without it. So nothing is trusted
 * before every other node has been tried, and none that answers has a later map (ring_confirm); if
 * one has, that is taken (wire_learn). Where none answers at all, it waits for ALONE_MS, and for
 * ever if it has begun with nothing; and so it does for each slot that it could not compare.
 *
 * The order of a change of the map: first which slots are this node's, then the epoch. A write that
 * was looked at by the old epoch is in the cache before a peer that attaches afterwards sees the
 * new one, as both take the cache's lock; so a peer that pulls after it has seen the new epoch
 * pulls that write, too.
 *
 * Start ids of a static list are all 1 in the map: the nodes know nothing of each other's.
 *
 * Limits: RING_NODES_MAX nodes, each with one or two threads here.
 */
#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

/* --- which slots are this node's -------------------------------------------------------------- */

void ring_update_held(struct ring *ring)
{
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        bits_set(&ring->held, i, ring->by_map.words[i] & ring->trusted.words[i]);
}

struct own_slots {
    struct slots held, targeted, alone;
};

static void add_own(struct own_slots *own, const struct ring_slot_copies *copies, unsigned slot,
                    int self)
{
    bool holder = false;
    bool target = false;
    for (unsigned i = 0; i < copies->holder_count; i++)
        holder |= copies->holders[i] == self;
    for (unsigned i = 0; i < copies->target_count; i++)
        target |= copies->targets[i] == self;
    if (holder)
        slots_add(&own->held, slot);
    else if (target)
        slots_add(&own->targeted, slot);
    if (holder && copies->holder_count == 1)
        slots_add(&own->alone, slot);
}

static void find_own(const struct ring_map *map, int self, struct own_slots *own)
{
    memset(own, 0, sizeof(*own));
    for (unsigned slot = 0; self >= 0 && slot < map->parameters.slots; slot++)
        add_own(own, &map->slots[slot], slot, self);
}

/* Under another start id, this node is in the map, but has nothing there. */
static int find_self(const struct ring *ring, const struct ring_map *map)
{
    int self = ring_map_find(map, ring->options.node.name);
    bool ours =
        self >= 0 && (!ring->in_zookeeper || map->nodes[self].start == atomic_load(&ring->start));
    return ours ? self : -1;
}

void ring_unhold(struct ring *ring)
{
    if (ring->member)
        member_unhold(ring->member);
}

/* Between two maps of which this node has not seen all it may have lost a slot and got it again:
 * what others wrote meanwhile did not come here. */
static void doubt_targets(struct ring *ring, const struct slots *targeted)
{
    slots_drop(&ring->trusted, targeted);
    slots_drop(&ring->round, targeted);
    ring_unhold(ring);
}

static void apply_own(struct ring *ring, const struct own_slots *own)
{
    struct slots mine = own->held;
    struct slots added = own->targeted; /* once more, where it was a holder in between */
    slots_join(&mine, &own->targeted);
    slots_drop(&added, &ring->targeted);
    ring->by_map = own->held;
    ring->targeted = own->targeted;
    slots_keep(&ring->trusted, &mine);
    slots_keep(&ring->round, &mine);
    slots_drop(&ring->trusted, &added);
    if (!slots_none(&added))
        ring_unhold(ring);
    if (!ring->unconfirmed)
        slots_join(&ring->trusted, &own->alone);
    ring_age_update(ring, &own->alone);
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        bits_set(&ring->mine, i, mine.words[i]);
    ring_update_held(ring);
}

/* --- peers ------------------------------------------------------------------------------------ */

static struct peer *take_peer(struct peer **old, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (old[i] && strcmp(old[i]->name, name) == 0) {
            struct peer *peer = old[i];
            old[i] = NULL;
            return peer;
        }
    return NULL;
}

/* The name stays, which its threads read without the lock. */
static void note_address(struct peer *peer, const struct ring_node *node)
{
    if (strcmp(peer->address, node->address) == 0)
        return;
    memcpy(peer->address, node->address, sizeof(peer->address));
    peer->changes++;
    peer_wake(peer);
}

static void drop_peers(struct ring *ring, struct peer **old, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!old[i])
            continue;
        ring_abandon(ring, old[i]);
        slots_join(&ring->stray, &old[i]->missed);
        slots_join(&ring->stray, &old[i]->sending);
        peer_end(old[i]);
        old[i]->next = ring->reap;
        ring->reap = old[i];
    }
}

/* With the lock. */
static struct peer *start_peer(struct ring *ring, const struct ring_node *node)
{
    struct peer *peer = peer_start(ring, node);
    if (peer)
        return peer;
    ring->lacks_peers = true;
    log_limited(LOG_ERR, "ring", 10,
                "no memory or no thread for the node %s: it gets no writes of this one until there "
                "is",
                node->name);
    return NULL;
}

/* A peer for each other node, by its position; those that are gone are reaped by upkeep. */
static void match_peers(struct ring *ring, size_t old_count)
{
    static const size_t bytes = sizeof(ring->peers);
    const struct ring_map *map = ring->map;
    struct peer *old[RING_NODES_MAX];
    memcpy(old, ring->peers, bytes);
    memset(ring->peers, 0, bytes);
    for (uint32_t i = 0; i < map->node_count; i++) {
        const struct ring_node *node = &map->nodes[i];
        if (strcmp(node->name, ring->options.node.name) == 0)
            continue;
        ring->peers[i] = take_peer(old, old_count, node->name);
        if (ring->peers[i])
            note_address(ring->peers[i], node);
        else
            ring->peers[i] = start_peer(ring, node);
    }
    drop_peers(ring, old, old_count);
}

/* The slots whose writes go to that node of the map. */
static struct slots slots_of(const struct ring_map *map, uint32_t at)
{
    struct slots own = {0};
    for (unsigned slot = 0; slot < map->parameters.slots; slot++) {
        uint16_t nodes[2 * RING_COPIES_MAX];
        unsigned count = ring_map_union(map, slot, nodes);
        for (unsigned i = 0; i < count; i++)
            if (nodes[i] == at)
                slots_add(&own, slot);
    }
    return own;
}

/* What was written meanwhile has not been noted as missed. */
void ring_start_lacking(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    bool any = ring->lacks_peers && !atomic_load(&ring->stopping);
    ring->lacks_peers = false;
    for (uint32_t i = 0; any && i < ring->map->node_count; i++) {
        const struct ring_node *node = &ring->map->nodes[i];
        if (ring->peers[i] || strcmp(node->name, ring->options.node.name) == 0)
            continue;
        ring->peers[i] = start_peer(ring, node);
        if (ring->peers[i])
            ring->peers[i]->missed = slots_of(ring->map, i);
    }
    pthread_mutex_unlock(&ring->lock);
}

/* What a peer missed in slots that are no longer its own is for those that have them now. */
static void forget_missed(struct ring *ring)
{
    for (uint32_t at = 0; at < ring->map->node_count; at++) {
        struct peer *peer = ring->peers[at];
        if (!peer || (slots_none(&peer->missed) && slots_none(&peer->sending)))
            continue;
        const struct slots own = slots_of(ring->map, at);
        struct slots lost = peer->missed;
        slots_join(&lost, &peer->sending);
        slots_drop(&lost, &own);
        slots_join(&ring->stray, &lost);
        slots_keep(&peer->missed, &own);
        slots_keep(&peer->sending, &own);
    }
}

void ring_send_stray(struct ring *ring)
{
    for (unsigned slot = 0; ring->map && slot < ring->map->parameters.slots; slot++) {
        uint16_t nodes[2 * RING_COPIES_MAX];
        if (!slots_has(&ring->stray, slot))
            continue;
        unsigned count = ring_map_union(ring->map, slot, nodes);
        for (unsigned i = 0; i < count; i++)
            if (ring->peers[nodes[i]]) {
                slots_add(&ring->peers[nodes[i]]->missed, slot);
                peer_wake(ring->peers[nodes[i]]);
            }
    }
    memset(&ring->stray, 0, sizeof(ring->stray));
}

void ring_take_map(struct ring *ring, const struct ring_map *map)
{
    struct own_slots own;
    int self = find_self(ring, map);
    if (map->parameters.slots != ring->options.parameters.slots)
        return; /* of another ring: member has said so */
    find_own(map, self, &own);
    pthread_mutex_lock(&ring->member_lock);
    pthread_mutex_lock(&ring->lock);
    const struct ring_map *old = ring->map;
    bool next = old && map->epoch == old->epoch + 1;
    size_t old_count = old ? old->node_count : 0;
    ring->map = ring_map_ref(map);
    ring->self = self;
    match_peers(ring, old_count);
    forget_missed(ring);
    ring_send_stray(ring);
    if (!next)
        doubt_targets(ring, &own.targeted);
    apply_own(ring, &own);
    atomic_store_explicit(&ring->epoch, map->epoch, memory_order_release);
    ring->moved_at_ms = clock_ms();
    ring->map_unsaved = ring->compare_wanted = true;
    struct waiter *waiters = waiters_take(ring, 0);
    pthread_cond_signal(&ring->control_wake);
    pthread_cond_signal(&ring->repair_wake);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_unlock(&ring->member_lock);
    ring_map_unref(old);
    waiters_call(waiters);
    log_info("ring", "map %llu: %u nodes, %u slots held, %u to be pulled",
             (unsigned long long)map->epoch, map->node_count, slots_count(&own.held),
             slots_count(&own.targeted));
}

/* --- standing in ------------------------------------------------------------------------------ */

void ring_stand_in(struct ring *ring, uint64_t start)
{
    pthread_mutex_lock(&ring->member_lock);
    pthread_mutex_lock(&ring->lock);
    ring_unhold(ring);
    atomic_store(&ring->start, start);
    memset(&ring->trusted, 0, sizeof(ring->trusted));
    memset(&ring->round, 0, sizeof(ring->round));
    ring->stands_in = ring->unconfirmed = true;
    ring->suspect_since_ms = clock_ms();
    ring_update_held(ring);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_unlock(&ring->member_lock);
}

/* With the lock: from now on as a node that has doubted itself. */
static void end_unconfirmed(struct ring *ring)
{
    struct own_slots own = {0};
    ring->unconfirmed = false;
    if (ring->map)
        find_own(ring->map, ring->self, &own);
    slots_join(&ring->trusted, &own.alone);
    ring_update_held(ring);
    pthread_cond_signal(&ring->repair_wake);
}

void ring_stand_up(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    ring->stands_in = false;
    if (ring->unconfirmed)
        end_unconfirmed(ring);
    pthread_mutex_unlock(&ring->lock);
}

/* With the lock. */
static bool is_confirmed(const struct ring *ring)
{
    bool any = ring->map->node_count == 1;
    for (uint32_t i = 0; i < ring->map->node_count; i++) {
        const struct peer *peer = ring->peers[i];
        if (!peer)
            continue;
        if (!peer->tried || peer->epoch > ring->map->epoch)
            return false;
        any |= peer->reachable;
    }
    return any || (!ring->began_empty && clock_ms() >= ring->suspect_since_ms + ALONE_MS);
}

bool ring_confirm(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    if (ring->unconfirmed && ring->map && is_confirmed(ring))
        end_unconfirmed(ring);
    bool confirmed = !ring->unconfirmed;
    pthread_mutex_unlock(&ring->lock);
    return confirmed;
}

/* --- doubts ----------------------------------------------------------------------------------- */

void ring_suspect(struct ring *ring, const char *why)
{
    struct own_slots own = {0};
    pthread_mutex_lock(&ring->member_lock);
    pthread_mutex_lock(&ring->lock);
    ring_unhold(ring);
    if (ring->map)
        find_own(ring->map, ring->self, &own);
    slots_keep(&ring->trusted, &own.alone);
    memset(&ring->round, 0, sizeof(ring->round));
    ring->suspect_since_ms = clock_ms();
    ring->told_whole = false;
    ring_age_update(ring, &own.alone);
    ring_update_held(ring);
    pthread_cond_signal(&ring->repair_wake);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_unlock(&ring->member_lock);
    log_warning("ring",
                "%s: this node answers no reads of the ring until the others say that it "
                "has missed nothing",
                why);
}

void ring_stalled(struct ring *ring, uint64_t ms)
{
    char why[80];
    snprintf(why, sizeof(why), "the process has stood still for %llu ms", (unsigned long long)ms);
    ring_suspect(ring, why);
}

void ring_beat(struct ring *ring)
{
    ring_look(ring);
    atomic_store_explicit(&ring->beat_ms, clock_boot_ms(), memory_order_release);
}

void ring_look(struct ring *ring)
{
    uint64_t beat_ms = atomic_load_explicit(&ring->beat_ms, memory_order_acquire);
    uint64_t now_ms = clock_boot_ms();
    if (beat_ms == 0 || now_ms < beat_ms + STALL_MS)
        return;
    /* One of the threads that see it says so, and the others wait until that is done. */
    pthread_mutex_lock(&ring->beat_lock);
    beat_ms = atomic_load_explicit(&ring->beat_ms, memory_order_acquire);
    if (beat_ms != 0 && now_ms >= beat_ms + STALL_MS) {
        ring_stalled(ring, now_ms - beat_ms);
        atomic_store_explicit(&ring->beat_ms, now_ms, memory_order_release);
    }
    pthread_mutex_unlock(&ring->beat_lock);
}

void ring_end_beats(struct ring *ring)
{
    pthread_mutex_lock(&ring->beat_lock);
    atomic_store_explicit(&ring->beat_ms, 0, memory_order_release);
    pthread_mutex_unlock(&ring->beat_lock);
}

/* --- writes ----------------------------------------------------------------------------------- */

void ring_see(struct ring *ring, uint64_t version)
{
    int64_t latest_ms = clock_wall_ms() + ring->clock_ahead_ms;
    if (version <= ring_clock_of(latest_ms))
        ring_clock_see(&ring->clock, version);
}

/* What there is of a key here goes to the others, or else that it is deleted. `given`: by a version
 * that somebody else has given; 0: by one of this node. */
static ring_place pass_on(struct ring *ring, uint64_t hash, const void *key, size_t key_bytes,
                          uint64_t given)
{
    struct cache_copy copy;
    if (!cache_find_copy(ring->cache, hash, key, key_bytes, &copy)) {
        uint64_t version = given ? given : ring_clock_stamp(&ring->clock, clock_wall_ms());
        copy = (struct cache_copy){
            .entry = {.key = key, .key_bytes = key_bytes, .version = version}, .tombstone = true};
    }
    unsigned slot = ring_slot_of(ring, key, key_bytes);
    struct ring_write *write = write_new(hash, slot, &copy);
    if (write)
        write->given = given != 0;
    pthread_mutex_lock(&ring->lock);
    if (!ring_held_has(&ring->mine, slot))
        slots_add(&ring->foreign[0], slot);
    ring_place place = ring_enqueue(ring, slot, write);
    pthread_mutex_unlock(&ring->lock);
    write_unref(write);
    return place;
}

/* Where there is nothing, there was no memory for the tombstone. */
ring_place ring_written(struct ring *ring, uint64_t hash, const void *key, size_t key_bytes)
{
    return pass_on(ring, hash, key, key_bytes, 0);
}

int ring_apply(struct ring *ring, const struct ring_put *put, uint64_t *current, ring_place *place)
{
    uint64_t epoch = ring_epoch(ring);
    int64_t latest_ms = clock_wall_coarse_ms() + ring->clock_ahead_ms;
    *place = 0;
    if (put->version > ring_clock_of(latest_ms))
        return SP_ERANGE;
    unsigned slot = ring_slot_of(ring, put->key, put->key_bytes);
    bool mine = ring_held_has(&ring->mine, slot);
    if (put->epoch <= epoch && !mine)
        return SP_ENOTFOUND;
    const struct cache_stamped stamped = {.hash = put->hash,
                                          .version = put->version,
                                          .key = put->key,
                                          .value = put->value,
                                          .key_bytes = put->key_bytes,
                                          .value_bytes = put->value_bytes,
                                          .expiry_ms = put->expiry_ms};
    int status = cache_apply(ring->cache, &stamped, NULL, current);
    /* What leaves nothing here was a deletion whose tombstone's time is over, or has expired. */
    if (status == SP_OK && put->epoch < epoch)
        *place = pass_on(ring, put->hash, put->key, put->key_bytes, put->version);
    if (status == SP_OK && !mine) { /* by a later map than is known here: it is not to go yet */
        pthread_mutex_lock(&ring->lock);
        slots_add(&ring->foreign[0], slot);
        pthread_mutex_unlock(&ring->lock);
    }
    return status;
}

/* --- what others ask -------------------------------------------------------------------------- */

const struct ring_held *ring_held(const struct ring *ring)
{
    return &ring->held;
}

unsigned ring_slots(const struct ring *ring)
{
    return ring->options.parameters.slots;
}

struct ring_map *ring_map(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct ring_map *map = ring->map ? ring_map_ref(ring->map) : NULL;
    pthread_mutex_unlock(&ring->lock);
    return map;
}

const char *ring_cluster(const struct ring *ring)
{
    return ring->in_zookeeper ? ring->options.cluster : "";
}

uint64_t ring_epoch(const struct ring *ring)
{
    return atomic_load_explicit(&ring->epoch, memory_order_acquire);
}

uint64_t ring_start_id(const struct ring *ring)
{
    return atomic_load(&ring->start);
}

uint64_t ring_process_id(const struct ring *ring)
{
    return ring->process;
}

struct ring_clock *ring_clock(struct ring *ring)
{
    return &ring->clock;
}

/* With the lock. */
static struct peer *find_peer(const struct ring *ring, const char *name)
{
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    return at >= 0 ? ring->peers[at] : NULL;
}

int ring_miss(struct ring *ring, const char *node, const uint64_t slots[RING_SLOT_WORDS])
{
    pthread_mutex_lock(&ring->lock);
    struct peer *peer = find_peer(ring, node);
    for (unsigned slot = 0; peer && slot < ring->options.parameters.slots; slot++)
        if (slots[slot / 64] >> (slot % 64) & 1)
            slots_add(&peer->missed, slot);
    if (peer)
        peer_wake(peer);
    pthread_mutex_unlock(&ring->lock);
    return peer ? SP_OK : SP_ENOTFOUND;
}

/* With the lock: whoever has waited for a write that is on its way is soon told that it is not
 * there.
 */
static bool is_slow(const struct ring *ring, const struct peer *peer)
{
    const struct queue *queue = &peer->queue;
    return queue->count > 0 &&
           clock_boot_ms() >= queue_at(queue, 0)->since_ms + ring->ack_timeout_ms / 2;
}

int ring_missed(struct ring *ring, const char *node, unsigned *slots)
{
    pthread_mutex_lock(&ring->lock);
    struct peer *peer = find_peer(ring, node);
    if (peer) {
        struct slots all = peer->missed;
        slots_join(&all, &peer->sending);
        *slots = slots_count(&all);
        if (is_slow(ring, peer))
            *slots += *slots == 0;
        /* What is written from now on would be missed, and the one that asks is there. */
        if (!peer->reachable) {
            *slots += *slots == 0;
            peer->asked_for = true;
            peer_wake(peer);
        }
    }
    pthread_mutex_unlock(&ring->lock);
    return peer ? SP_OK : SP_ENOTFOUND;
}

/* --- sharing time ----------------------------------------------------------------------------- */

void ring_wait(struct ring *ring, pthread_cond_t *wake, uint64_t until_ms)
{
    if (!atomic_load(&ring->stopping))
        thread_wait(wake, &ring->lock, until_ms);
}

uint64_t ring_spend(struct ring *ring, size_t bytes)
{
    static const uint64_t burst_us = 50 * 1000;
    uint64_t now_us = clock_us();
    uint64_t throttle = ring->throttle_bytes;
    if (throttle == 0)
        return 0;
    uint64_t cost_us = (uint64_t)bytes * 1000000 / throttle;
    uint64_t spent = atomic_load(&ring->spent_until_us);
    uint64_t until;
    do
        until = (spent > now_us ? spent : now_us) + cost_us;
    while (!atomic_compare_exchange_weak(&ring->spent_until_us, &spent, until));
    return until > now_us + burst_us ? (until - now_us - burst_us) / 1000 + 1 : 0;
}
