/* SPDX-License-Identifier: Apache-2.0
 *
 * age.c - coming back after an absence that was longer than it is remembered what was deleted
 * (docs/RING.md, "Nodes").
 *
 * The pond has the time when this node was last a whole copy, and since when the ring has lived.
 * Where the former is longer ago than tombstone_ms, what lies here is aged: the others may have
 * deleted some of it and forgotten that. It is given to nobody, and no slot of it becomes current,
 * until each slot's other holders that can be reached have said since when they have lived. Have
 * they lived for longer than tombstone_ms, what is from before the absence is dropped, and all of
 * the slot is pulled anew. Else nothing can have been forgotten since, and it is kept; so a ring
 * that was off as a whole loses nothing. A slot that only this node holds is kept as well. Of slots
 * that are no longer this node's the holders are asked alike, before what others have missed there
 * is sent to them.
 *
 * A node that was there all the time, but has not become whole for so long, as a repair takes its
 * time, has old entries as well in the slots that it has not come to; it looks at those alike, once
 * until it is whole. It keeps since when the ring has lived, but does not say so until then.
 *
 * What is from before an absence is what can have come up to then: until the process started, or,
 * if it has been there all the time, until it was last whole or in touch with others.
 *
 * All of this goes by the wall clock, which alone goes on while nobody runs. It looks before
 * anything is given away, so it does not matter which thread runs first after the process has been
 * stopped.
 *
 * Costs: two words of the pond are written twenty times a second.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

enum { DROP_STEP = 64 /* entries under one lock */ };

/* --- absences --------------------------------------------------------------------------------- */

/* With the lock. */
static struct slots own_slots(const struct ring *ring)
{
    struct slots own = ring->by_map;
    slots_join(&own, &ring->targeted);
    return own;
}

void ring_age_update(struct ring *ring, const struct slots *alone)
{
    slots_drop(&ring->aged, alone);
    atomic_store(&ring->aging, !slots_none(&ring->aged));
}

enum absence { ABSENT_NOT, ABSENT, ABSENT_IN_PART };

static int64_t later_of(int64_t a_ms, int64_t b_ms)
{
    return a_ms > b_ms ? a_ms : b_ms;
}

/* With the lock. These are aged from now on, as far as they are from before that time. */
static void age(struct ring *ring, const struct slots *slots, int64_t until_ms, int64_t now_ms)
{
    const struct slots none = {0};
    until_ms += ring->clock_ahead_ms;
    uint64_t version = ring_clock_of(until_ms < now_ms ? until_ms : now_ms);
    slots_join(&ring->aged, slots);
    if (version > ring->aged_version)
        ring->aged_version = version;
    ring_age_update(ring, &none);
}

/* With the lock: ABSENT_NOT, too, if it is known already. A node that has been there all the time,
 * and only has not become whole, has what is not trusted from before. *gone_ms: when the absence
 * began. */
static enum absence note_absence(struct ring *ring, int64_t whole_ms, int64_t *gone_ms)
{
    const int64_t now_ms = clock_wall_ms();
    const int64_t tombstone_ms = (int64_t)ring->tombstone_ms;
    const int64_t last_ms = later_of(whole_ms, ring->touch_ms);
    struct slots slots;
    bool absent = now_ms > last_ms + tombstone_ms;
    if (whole_ms == 0 || now_ms <= whole_ms + tombstone_ms ||
        (!absent && ring->aged_ms == whole_ms))
        return ABSENT_NOT;
    memset(&slots, 0xff, sizeof(slots));
    if (!absent)
        slots_drop(&slots, &ring->trusted);
    age(ring, &slots, later_of(absent ? last_ms : whole_ms, ring->begun_ms), now_ms);
    *gone_ms = absent ? last_ms : whole_ms;
    ring->aged_ms = whole_ms;
    ring->aged_in_part = !absent;
    if (!absent)
        return ABSENT_IN_PART;
    atomic_store(&ring->heard_ms, 0);
    atomic_store(&ring->since_ms, 0);
    ring->touch_ms = now_ms; /* the next one begins here */
    atomic_fetch_add(&ring->absences, 1);
    return ABSENT;
}

static void put_seconds(char out[24], int64_t ms)
{
    snprintf(out, 24, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
}

/* Whether this node has just been found to have been away for too long. */
static bool was_absent(struct ring *ring)
{
    struct cache_life life;
    char away[24], most[24], why[160];
    cache_life(ring->cache, &life);
    if (life.whole_ms == 0 || clock_wall_coarse_ms() <= life.whole_ms + (int64_t)ring->tombstone_ms)
        return false;
    int64_t gone_ms = 0;
    pthread_mutex_lock(&ring->lock);
    enum absence noted = note_absence(ring, life.whole_ms, &gone_ms);
    pthread_mutex_unlock(&ring->lock);
    if (noted == ABSENT_NOT)
        return false;
    put_seconds(away, clock_wall_ms() - gone_ms);
    put_seconds(most, (int64_t)ring->tombstone_ms);
    snprintf(why, sizeof(why),
             "this node was %s for %s s, and deletions are remembered for %s s (tombstones)",
             noted == ABSENT ? "away" : "not whole", away, most);
    if (noted == ABSENT)
        ring_suspect(ring, why);
    else
        log_warning("ring", "%s", why);
    return true;
}

void ring_age_begin(struct ring *ring)
{
    struct cache_life life;
    cache_life(ring->cache, &life);
    atomic_store(&ring->since_ms, life.since_ms);
    ring->begun_ms = clock_wall_ms();
    if (life.whole_ms == 0) { /* what comes from now on is of no time before this */
        life.whole_ms = ring->begun_ms;
        cache_set_life(ring->cache, &life);
    }
    was_absent(ring);
}

bool ring_gives(struct ring *ring, const uint64_t slots[RING_SLOT_WORDS])
{
    was_absent(ring);
    if (!atomic_load(&ring->aging))
        return true;
    pthread_mutex_lock(&ring->lock);
    uint64_t any = 0;
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        any |= ring->aged.words[i] & slots[i];
    pthread_mutex_unlock(&ring->lock);
    return any == 0;
}

unsigned ring_absences(struct ring *ring)
{
    was_absent(ring);
    return atomic_load(&ring->absences);
}

/* With the lock: whether something of what this node shall hold may be old, or not be there. */
static bool is_lacking(const struct ring *ring)
{
    struct slots lacking = ring->by_map;
    struct slots aged = own_slots(ring);
    slots_drop(&lacking, &ring->trusted);
    slots_keep(&aged, &ring->aged);
    return !slots_none(&lacking) || !slots_none(&aged);
}

int64_t ring_since(struct ring *ring)
{
    was_absent(ring);
    pthread_mutex_lock(&ring->lock);
    bool lacks = ring->aged_in_part && is_lacking(ring);
    pthread_mutex_unlock(&ring->lock);
    return lacks ? 0 : atomic_load(&ring->since_ms);
}

/* --- being there ------------------------------------------------------------------------------ */

/* With the lock: whether what others delete would come here. */
static bool in_touch(struct ring *ring)
{
    if (!ring->map || ring->self < 0 || atomic_load(&ring->left))
        return false;
    bool any = !ring->in_zookeeper || ring->map->node_count == 1 ||
               atomic_load(&ring->member_link) == MEMBER_CONNECTED;
    for (uint32_t i = 0; !any && i < ring->map->node_count; i++)
        any = ring->peers[i] && ring->peers[i]->reachable;
    return any;
}

static bool is_whole(struct ring *ring, int64_t now_ms)
{
    pthread_mutex_lock(&ring->lock);
    bool touch = in_touch(ring);
    if (touch)
        ring->touch_ms = now_ms;
    bool whole = touch && !slots_none(&ring->by_map) && !is_lacking(ring);
    if (whole)
        ring->aged_in_part = false;
    pthread_mutex_unlock(&ring->lock);
    return whole;
}

/* What others have said counts when this node is whole: who asks it may drop what lies there for
 * what lies here. */
static int64_t take_since(struct ring *ring, int64_t now_ms)
{
    int64_t since_ms = atomic_load(&ring->since_ms);
    int64_t heard_ms = atomic_load(&ring->heard_ms);
    if (heard_ms != 0 && (since_ms == 0 || heard_ms < since_ms))
        since_ms = heard_ms;
    if (since_ms == 0)
        since_ms = now_ms;
    atomic_store(&ring->since_ms, since_ms);
    return since_ms;
}

void ring_age_tick(struct ring *ring)
{
    struct cache_life life;
    const int64_t now_ms = clock_wall_ms();
    if (was_absent(ring) || !is_whole(ring, now_ms))
        return;
    cache_life(ring->cache, &life);
    if (life.whole_ms < now_ms || life.whole_ms > now_ms + ring->clock_ahead_ms)
        life.whole_ms = now_ms;
    life.since_ms = take_since(ring, now_ms);
    cache_set_life(ring->cache, &life);
}

void ring_age_hear(struct ring *ring, int64_t since_ms)
{
    int64_t before = atomic_load(&ring->heard_ms);
    while (since_ms > 0 && (before == 0 || since_ms < before) &&
           !atomic_compare_exchange_weak(&ring->heard_ms, &before, since_ms))
        ;
}

/* --- judging ---------------------------------------------------------------------------------- */

struct judgement {
    struct slots drop, keep;
    int64_t since_ms; /* of the ring of what is dropped */
};

/* Which of these slots a node holds. */
static struct slots held_by(const struct ring_map *map, unsigned node, const struct slots *among)
{
    struct slots held = {0};
    for (unsigned slot = 0; slot < map->parameters.slots; slot++)
        for (unsigned i = 0; slots_has(among, slot) && i < map->slots[slot].holder_count; i++)
            if (map->slots[slot].holders[i] == node)
                slots_add(&held, slot);
    return held;
}

/* A node that knows no such request has answered, too: then nothing is known against it. */
static void ask_node(struct ring *ring, const struct ring_node *node, const struct slots *held,
                     struct judgement *judgement)
{
    struct wire wire = {0};
    int64_t since_ms = 0;
    if (wire_open(&wire, ring, node->address, ring->ack_timeout_ms) != SP_OK)
        return;
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    bool answered = wire_since(&wire, &since_ms) == SP_OK || wire.open;
    wire_close(&wire);
    bool old = since_ms > 0 && clock_wall_ms() > since_ms + (int64_t)ring->tombstone_ms;
    if (answered)
        slots_join(old ? &judgement->drop : &judgement->keep, held);
    if (old && (judgement->since_ms == 0 || since_ms < judgement->since_ms))
        judgement->since_ms = since_ms;
}

static void ask_all(struct ring *ring, const struct ring_map *map, int self,
                    const struct slots *aged, struct judgement *judgement)
{
    for (unsigned i = 0; i < map->node_count && !atomic_load(&ring->stopping); i++) {
        if ((int)i == self)
            continue;
        struct slots held = held_by(map, i, aged);
        if (!slots_none(&held))
            ask_node(ring, &map->nodes[i], &held, judgement);
    }
    slots_drop(&judgement->keep, &judgement->drop);
}

/* With both locks: not held from now on, and pulled from the beginning. */
static void distrust(struct ring *ring, const struct slots *slots)
{
    struct slots lost = own_slots(ring);
    slots_keep(&lost, slots);
    if (slots_none(&lost))
        return;
    slots_drop(&ring->trusted, slots);
    slots_drop(&ring->round, slots);
    ring_unhold(ring);
    ring->suspect_since_ms = clock_ms();
    ring->told_whole = false;
    ring_update_held(ring);
}

/* Of what is to be dropped, what is still aged: by another map this node may have become the only
 * holder. */
static bool keep_aged(struct ring *ring, struct slots *drop)
{
    pthread_mutex_lock(&ring->lock);
    slots_keep(drop, &ring->aged);
    pthread_mutex_unlock(&ring->lock);
    return !slots_none(drop);
}

static void drop_aged(struct ring *ring, struct judgement *judgement, uint64_t version)
{
    uint64_t cursor = 0, dropped = 0;
    pthread_mutex_lock(&ring->member_lock);
    pthread_mutex_lock(&ring->lock);
    slots_keep(&judgement->drop, &ring->aged);
    const unsigned slots = slots_count(&judgement->drop);
    if (slots > 0)
        distrust(ring, &judgement->drop);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_unlock(&ring->member_lock);
    if (slots == 0)
        return;
    do {
        cache_lock(ring->cache, clock_wall_ms());
        if (keep_aged(ring, &judgement->drop))
            cursor = cache_drop_older(ring->cache, cursor, DROP_STEP, judgement->drop.words,
                                      version, &dropped);
        else
            cursor = 0;
        cache_unlock(ring->cache);
    } while (cursor != 0);
    char away[24], lived[24];
    put_seconds(away, clock_wall_ms() - ring_clock_wall_ms(version));
    put_seconds(lived, clock_wall_ms() - judgement->since_ms);
    log_warning("ring",
                "%" PRIu64 " entries from before %s s ago are dropped in %u slots, and pulled from "
                "the others, who have lived for %s s and may have deleted some",
                dropped, away, slots, lived);
}

/* With the lock. After another absence meanwhile, all is judged again. */
static void end_judging(struct ring *ring, const struct judgement *judgement, uint64_t version)
{
    const struct slots none = {0};
    if (ring->aged_version != version)
        return;
    slots_drop(&ring->aged, &judgement->drop);
    slots_drop(&ring->aged, &judgement->keep);
    ring_age_update(ring, &none);
}

/* With the lock: where nothing lies of a slot that is others', nothing is aged. */
static void forget_empty(struct ring *ring)
{
    const struct slots none = {0};
    const struct slots own = own_slots(ring);
    struct slots there = own;
    struct cache_slot found;
    for (unsigned slot = 0; slot < ring->options.parameters.slots; slot++) {
        if (slots_has(&own, slot) || !slots_has(&ring->aged, slot))
            continue;
        cache_slot(ring->cache, slot, &found);
        if (found.entries > 0 || found.tombstones > 0)
            slots_add(&there, slot);
    }
    slots_keep(&ring->aged, &there);
    ring_age_update(ring, &none);
}

void ring_age_judge(struct ring *ring)
{
    struct judgement judgement = {0};
    was_absent(ring);
    if (!atomic_load(&ring->aging))
        return;
    pthread_mutex_lock(&ring->lock);
    if (ring->map && ring->self >= 0)
        forget_empty(ring);
    struct slots aged = ring->aged;
    const uint64_t version = ring->aged_version;
    const int self = ring->self;
    struct ring_map *map = ring->map && self >= 0 ? ring_map_ref(ring->map) : NULL;
    pthread_mutex_unlock(&ring->lock);
    if (!map)
        return;
    ask_all(ring, map, self, &aged, &judgement);
    ring_map_unref(map);
    if (!slots_none(&judgement.drop))
        drop_aged(ring, &judgement, version);
    if (!slots_none(&judgement.keep))
        log_info("ring", "what lies here of %u slots is kept: the others have not lived for longer",
                 slots_count(&judgement.keep));
    pthread_mutex_lock(&ring->lock);
    end_judging(ring, &judgement, version);
    pthread_mutex_unlock(&ring->lock);
    ring_age_hear(ring, judgement.since_ms);
}
