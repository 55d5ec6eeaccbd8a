/* SPDX-License-Identifier: Apache-2.0
 *
 * repair.c - becoming current, and staying so (docs/RING.md, "Nodes").
 *
 * A slot that this node shall hold, but does not trust, is looked at with each other holder that
 * can be reached: where the digests differ, that holder's entries are pulled, and what this node
 * has that is newer is sent there. When all of them agree, have nothing left that this node missed,
 * and writes go both ways from now on, the slot is trusted: held, or, of a target, told to the
 * member, so that it becomes a holder. With no other holder in reach for ALONE_MS a holder believes
 * itself.
 *
 * Why a slot that has been pulled is current, whatever its digest is by then: the map that this
 * node has is known to the holder before anything is pulled (start ids and epochs come with
 * ATTACH), so what the holder gets later is sent here too, by its client or by itself; and what it
 * had got before is in what was pulled. A doubt that comes up meanwhile, or another map, takes the
 * slot out of the round, and it is looked at again.
 *
 * Comparing is the same for slots that are trusted, but for two looks, as writes on their way and
 * entries that have just expired make digests differ for a moment. While this node evicts, what
 * each node has thrown out makes them differ for good, so it only counts.
 *
 * Costs: a thread; of each compare some 30 bytes a slot and peer. Pulling takes as much time as
 * the throttle says, and one walk of the holder over its cache.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

enum {
    DIGESTS_MAX = 1024, /* of one request */
    PAGE_BYTES = 512 * 1024,
    APPLY_STEP = 32,  /* entries under one lock */
    ROUND_MS = 50,    /* between two looks while something is missing */
    MISSED_MS = 2000, /* so long for what others say that this node has missed, and to connect */
    AFTER_MAP_MS = 500,
};

/* Another node, and the slots that it is to be looked at for. */
struct other {
    char name[RING_NAME_BYTES], address[RING_ADDRESS_BYTES];
    struct slots want;
};

/* A walk over another's entries that can go on after an interruption. */
struct pull {
    bool runs;
    char name[RING_NAME_BYTES];
    uint64_t start, since_ms;
    struct slots slots;
    char cursor[NUMBER_BYTES];
};

struct repair {
    struct ring *ring;
    struct pull pull;
    struct ring_map *map; /* of this round */
    int self;
    struct other *others;
    size_t other_count;
    struct slots by_map;
    uint64_t suspect_since_ms, compare_ms, evicted, began_ms;
    struct slots
        alone; /* that nobody else could be asked about, in each round since alone_since_ms */
    uint64_t alone_since_ms;
};

/* --- rounds ----------------------------------------------------------------------------------- */

static struct other *other_of(struct repair *repair, const struct ring_node *node)
{
    for (size_t i = 0; i < repair->other_count; i++)
        if (strcmp(repair->others[i].name, node->name) == 0)
            return &repair->others[i];
    struct other *other = &repair->others[repair->other_count++];
    memset(other, 0, sizeof(*other));
    memcpy(other->name, node->name, sizeof(other->name));
    memcpy(other->address, node->address, sizeof(other->address));
    return other;
}

/* The other holders of these slots. */
static bool find_others(struct repair *repair, const struct slots *slots)
{
    const struct ring_map *map = repair->map;
    repair->other_count = 0;
    repair->others = malloc(map->node_count * sizeof(*repair->others));
    for (unsigned slot = 0; repair->others && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        for (unsigned i = 0; slots_has(slots, slot) && i < copies->holder_count; i++)
            if (copies->holders[i] != repair->self)
                slots_add(&other_of(repair, &map->nodes[copies->holders[i]])->want, slot);
    }
    return repair->others != NULL;
}

static void end_round(struct repair *repair)
{
    free(repair->others);
    repair->others = NULL;
    ring_map_unref(repair->map);
    repair->map = NULL;
}

static void pause_for(struct ring *ring, uint64_t ms)
{
    uint64_t until_ms = clock_ms() + ms;
    pthread_mutex_lock(&ring->lock);
    while (clock_ms() < until_ms && !atomic_load(&ring->stopping))
        ring_wait(ring, &ring->repair_wake, until_ms);
    pthread_mutex_unlock(&ring->lock);
}

/* --- digests ---------------------------------------------------------------------------------- */

static void compare_block(struct ring *ring, const struct slots *among, unsigned first,
                          unsigned count, const uint64_t *digests, struct slots *differ)
{
    for (unsigned i = 0; i < count; i++) {
        struct cache_slot own;
        if (!slots_has(among, first + i))
            continue;
        cache_slot(ring->cache, first + i, &own);
        if (own.digest != digests[i])
            slots_add(differ, first + i);
    }
}

/* Which of these slots are not the same there. */
static int find_different(struct ring *ring, struct wire *wire, const struct slots *among,
                          struct slots *differ)
{
    uint64_t digests[DIGESTS_MAX];
    unsigned slots = ring->options.parameters.slots;
    unsigned size = slots < DIGESTS_MAX ? slots : DIGESTS_MAX;
    int status = SP_OK;
    memset(differ, 0, sizeof(*differ));
    for (unsigned first = 0; first < slots && status == SP_OK; first += size) {
        struct slots block = {0};
        for (unsigned slot = first; slot < first + size; slot++)
            if (slots_has(among, slot))
                slots_add(&block, slot);
        if (slots_none(&block))
            continue;
        status = wire_digests(wire, first, size, digests);
        if (status == SP_OK)
            compare_block(ring, &block, first, size, digests, differ);
    }
    return status;
}

/* --- pulling ---------------------------------------------------------------------------------- */

/* With the cache's lock. */
static int apply_entry(struct ring *ring, const redisReply *entry, bool *changed)
{
    const redisReply *key = entry->element[0], *value = entry->element[3];
    uint64_t current;
    const struct cache_stamped stamped = {
        .hash = cache_hash(ring->cache, key->str, (size_t)key->len),
        .version = (uint64_t)entry->element[1]->integer,
        .key = key->str,
        .key_bytes = (size_t)key->len,
        .value = value->type == REDIS_REPLY_NIL ? NULL : value->str,
        .value_bytes = (size_t)value->len,
        .expiry_ms = entry->element[2]->integer};
    if (stamped.version > ring_clock_of(clock_wall_coarse_ms() + ring->clock_ahead_ms)) {
        log_limited(LOG_WARNING, "ring", 10,
                    "a peer has an entry whose version is too far ahead: it is left there");
        return SP_OK; /* nobody would take it, and the rest of its slot can be had */
    }
    int status = cache_apply(ring->cache, &stamped, changed, &current);
    return status == SP_EEXISTS ? SP_OK : status;
}

static int apply_page(struct ring *ring, const redisReply *page, uint64_t *taken, size_t *bytes)
{
    const redisReply *entries = page->element[1];
    int worst = SP_OK;
    for (size_t i = 0; i < entries->elements;) {
        cache_lock(ring->cache, clock_wall_ms());
        for (size_t end = i + APPLY_STEP; i < end && i < entries->elements; i++) {
            const redisReply *entry = entries->element[i];
            bool changed = false;
            int status = apply_entry(ring, entry, &changed);
            worst = status == SP_OK ? worst : status;
            *taken += changed;
            *bytes += (size_t)entry->element[0]->len + (size_t)entry->element[3]->len;
        }
        cache_unlock(ring->cache);
    }
    return worst;
}

static void count_pulled(struct ring *ring, const char *name, uint64_t taken, size_t bytes)
{
    atomic_fetch_add_explicit(&ring->pulled_entries, taken, memory_order_relaxed);
    atomic_fetch_add_explicit(&ring->pulled_bytes, bytes, memory_order_relaxed);
    pthread_mutex_lock(&ring->lock);
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    if (at >= 0 && ring->peers[at])
        ring->peers[at]->figures.repaired_in += taken;
    pthread_mutex_unlock(&ring->lock);
}

/* Goes on with a walk over that node's entries if it was for all of these slots, and nothing has
 * been doubted since; else begins one. */
static void begin_pull(struct repair *repair, const struct wire *wire, const struct other *other,
                       const struct slots *slots)
{
    struct pull *pull = &repair->pull;
    struct slots more = *slots;
    slots_drop(&more, &pull->slots);
    if (pull->runs && strcmp(pull->name, other->name) == 0 && pull->start == wire->start &&
        pull->since_ms == repair->suspect_since_ms && slots_none(&more))
        return;
    *pull = (struct pull){.runs = true,
                          .start = wire->start,
                          .since_ms = repair->suspect_since_ms,
                          .slots = *slots,
                          .cursor = "0"};
    memcpy(pull->name, other->name, sizeof(pull->name));
}

/* All of that node's entries of these slots. */
static int pull_slots(struct repair *repair, struct wire *wire, const struct other *other,
                      const struct slots *slots)
{
    struct ring *ring = repair->ring;
    struct pull *pull = &repair->pull;
    int status = SP_OK;
    begin_pull(repair, wire, other, slots);
    while (status == SP_OK && pull->runs && !atomic_load(&ring->stopping)) {
        redisReply *page;
        uint64_t taken = 0;
        size_t bytes = 0;
        status = wire_pull(wire, pull->cursor, PAGE_BYTES, &pull->slots,
                           ring->options.parameters.slots, &page);
        if (status != SP_OK)
            break;
        status = apply_page(ring, page, &taken, &bytes);
        count_pulled(ring, other->name, taken, bytes);
        snprintf(pull->cursor, sizeof(pull->cursor), "%s", page->element[0]->str);
        freeReplyObject(page);
        pull->runs = strcmp(pull->cursor, "0") != 0;
        uint64_t wait_ms = ring_spend(ring, bytes);
        if (wait_ms > 0)
            pause_for(ring, wait_ms);
    }
    if (status != SP_OK)
        log_limited(LOG_WARNING, "ring", 10, "what %s has cannot be taken: %s", other->name,
                    wire->open ? sp_status_text(status) : sp_error_detail());
    if (status != SP_OK && wire->open)
        pull->runs = false; /* an entry could not be stored: from the beginning next time */
    return atomic_load(&ring->stopping) ? SP_ECANCELED : status;
}

/* Takes what is newer there; what is newer here is sent. */
static int make_equal(struct repair *repair, struct wire *wire, const struct other *other,
                      const struct slots *slots)
{
    struct slots still;
    int status = pull_slots(repair, wire, other, slots);
    if (status == SP_OK)
        status = find_different(repair->ring, wire, slots, &still);
    if (status == SP_OK && !slots_none(&still))
        ring_miss(repair->ring, other->name, still.words);
    return status;
}

/* --- becoming current ------------------------------------------------------------------------- */

struct verdicts {
    struct slots agreed, refused; /* by one of the other holders at least */
};

/* Whether what is written here goes to that node, and is not only noted as missed. */
static bool sends_to(struct ring *ring, const char *name)
{
    pthread_mutex_lock(&ring->lock);
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    bool sends = at < 0 || !ring->peers[at] || ring->peers[at]->reachable;
    pthread_mutex_unlock(&ring->lock);
    return sends;
}

/* Those of the slots that are the same as there by now, or have been pulled. */
static int look_at(struct repair *repair, struct wire *wire, struct other *other,
                   struct slots *good)
{
    struct ring *ring = repair->ring;
    struct slots differ;
    uint64_t missed = 0;
    /* A node with an older map does not yet pass writes on to this target. */
    if (wire->epoch < repair->map->epoch)
        slots_keep(&other->want, &repair->by_map);
    int status = find_different(ring, wire, &other->want, &differ);
    if (status == SP_OK && !slots_none(&differ))
        status = make_equal(repair, wire, other, &differ);
    if (status == SP_OK)
        status = wire_missed(wire, ring->options.node.name, &missed);
    if (status == SP_OK && (missed > 0 || !sends_to(ring, other->name)) &&
        clock_ms() < repair->began_ms + MISSED_MS)
        return SP_EBUSY;
    if (status == SP_OK)
        *good = other->want;
    return status;
}

/* It answers: its writer need not wait until it tries again. */
static void hurry_writer(struct ring *ring, const char *name)
{
    pthread_mutex_lock(&ring->lock);
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    struct peer *peer = at >= 0 ? ring->peers[at] : NULL;
    if (peer && !peer->reachable) {
        peer->hurry = true;
        peer_wake(peer);
    }
    pthread_mutex_unlock(&ring->lock);
}

static void ask_other(struct repair *repair, struct other *other, struct verdicts *verdicts)
{
    struct ring *ring = repair->ring;
    struct wire wire = {0};
    struct slots good = {0};
    struct slots want = other->want;
    if (wire_open(&wire, ring, other->address, ring->ack_timeout_ms) != SP_OK)
        return;
    hurry_writer(ring, other->name);
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    int status = look_at(repair, &wire, other, &good);
    if (status != SP_OK && status != SP_EBUSY)
        log_limited(LOG_INFO, "ring", 10, "comparing with %s: %s", other->name,
                    wire.open ? sp_status_text(status) : sp_error_detail());
    wire_close(&wire);
    slots_join(&verdicts->agreed, &good);
    slots_drop(&want, &good);
    slots_join(&verdicts->refused, &want);
}

/* The slots that nobody else could be asked about, if that has been so for long enough. */
static struct slots believe(struct repair *repair, const struct slots *missing,
                            const struct verdicts *verdicts)
{
    const struct slots none = {0};
    struct slots alone = *missing;
    slots_keep(&alone, &repair->by_map);
    slots_drop(&alone, &verdicts->agreed);
    slots_drop(&alone, &verdicts->refused);
    slots_keep(&repair->alone, &alone);
    if (slots_none(&repair->alone) || repair->alone_since_ms < repair->suspect_since_ms) {
        repair->alone = alone;
        repair->alone_since_ms = clock_ms();
        return none;
    }
    if (clock_ms() < repair->alone_since_ms + ALONE_MS)
        return none;
    alone = repair->alone;
    repair->alone = none;
    log_warning("ring",
                "no other holder of %u slots can be reached: this node believes what it has",
                slots_count(&alone));
    return alone;
}

static void trust(struct repair *repair, const struct slots *done)
{
    struct ring *ring = repair->ring;
    struct slots complete;
    pthread_mutex_lock(&ring->lock);
    struct slots good = *done;
    slots_keep(&good, &ring->round);
    slots_join(&ring->trusted, &good);
    ring_update_held(ring);
    complete = ring->trusted;
    slots_keep(&complete, &ring->targeted);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_lock(&ring->member_lock);
    if (ring->member && !slots_none(&complete))
        member_hold(ring->member, complete.words);
    pthread_mutex_unlock(&ring->member_lock);
}

/* With the lock: what this node shall hold, and does not trust. */
static struct slots find_missing(const struct ring *ring)
{
    struct slots missing = ring->by_map;
    slots_join(&missing, &ring->targeted);
    slots_drop(&missing, &ring->trusted);
    return missing;
}

/* With the lock. */
static void begin_round(struct repair *repair)
{
    const struct ring *ring = repair->ring;
    repair->map = ring_map_ref(ring->map);
    repair->self = ring->self;
    repair->by_map = ring->by_map;
    repair->suspect_since_ms = ring->suspect_since_ms;
}

/* False: there is nothing to do. */
static bool become_current(struct repair *repair)
{
    struct ring *ring = repair->ring;
    struct verdicts verdicts = {0};
    pthread_mutex_lock(&ring->lock);
    struct slots missing = find_missing(ring);
    bool any = ring->map && !slots_none(&missing);
    ring->round = missing;
    if (any)
        begin_round(repair);
    pthread_mutex_unlock(&ring->lock);
    if (!any) {
        repair->began_ms = 0;
        memset(&repair->alone, 0, sizeof(repair->alone));
        return false;
    }
    if (repair->began_ms == 0 || repair->began_ms < repair->suspect_since_ms)
        repair->began_ms = clock_ms();
    if (!find_others(repair, &missing)) {
        end_round(repair);
        return true;
    }
    for (size_t i = 0; i < repair->other_count && !atomic_load(&ring->stopping); i++)
        ask_other(repair, &repair->others[i], &verdicts);
    struct slots done = believe(repair, &missing, &verdicts);
    slots_drop(&verdicts.agreed, &verdicts.refused);
    slots_join(&done, &verdicts.agreed);
    trust(repair, &done);
    end_round(repair);
    return true;
}

/* --- comparing -------------------------------------------------------------------------------- */

static bool is_evicting(struct repair *repair)
{
    struct cache_info info;
    cache_info(repair->ring->cache, &info);
    bool evicting = info.evicted != repair->evicted;
    repair->evicted = info.evicted;
    return evicting;
}

/* Those that differ in both of two looks. */
static int look_twice(struct ring *ring, struct wire *wire, const struct slots *want,
                      struct slots *differ)
{
    struct slots first;
    int status = find_different(ring, wire, want, &first);
    atomic_fetch_add_explicit(&ring->compared_slots, slots_count(want), memory_order_relaxed);
    memset(differ, 0, sizeof(*differ));
    if (status != SP_OK || slots_none(&first))
        return status;
    pause_for(ring, SECOND_LOOK_MS);
    return find_different(ring, wire, &first, differ);
}

static void compare_with(struct repair *repair, struct other *other, bool evicting)
{
    struct ring *ring = repair->ring;
    struct wire wire = {0};
    struct slots differ;
    if (wire_open(&wire, ring, other->address, ring->ack_timeout_ms) != SP_OK)
        return;
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    int status = look_twice(ring, &wire, &other->want, &differ);
    unsigned count = status == SP_OK ? slots_count(&differ) : 0;
    atomic_fetch_add_explicit(&ring->differing_slots, count, memory_order_relaxed);
    if (count > 0 && !evicting) {
        status = make_equal(repair, &wire, other, &differ);
        log_info("ring", "%u slots differed from those of %s%s", count, other->name,
                 status == SP_OK ? ", and have been made equal" : "");
    }
    wire_close(&wire);
}

static void compare_all(struct repair *repair)
{
    struct ring *ring = repair->ring;
    bool evicting = is_evicting(repair);
    pthread_mutex_lock(&ring->lock);
    struct slots held = ring->by_map;
    slots_keep(&held, &ring->trusted);
    bool any = ring->map && !slots_none(&held);
    if (any)
        begin_round(repair);
    pthread_mutex_unlock(&ring->lock);
    if (!any)
        return;
    if (find_others(repair, &held))
        for (size_t i = 0; i < repair->other_count && !atomic_load(&ring->stopping); i++)
            compare_with(repair, &repair->others[i], evicting);
    end_round(repair);
}

/* Some time after a change of the map, and every compare_ms with a tenth of chance. */
static bool is_time_to_compare(struct repair *repair)
{
    struct ring *ring = repair->ring;
    uint64_t now_ms = clock_ms();
    pthread_mutex_lock(&ring->lock);
    bool moved = ring->compare_wanted && now_ms >= ring->moved_at_ms + AFTER_MAP_MS;
    if (moved)
        ring->compare_wanted = false;
    pthread_mutex_unlock(&ring->lock);
    if (!moved && now_ms < repair->compare_ms)
        return false;
    uint64_t tenth = ring->compare_ms / 10 + 1;
    repair->compare_ms = now_ms + ring->compare_ms - tenth / 2 + clock_ns() % tenth;
    return true;
}

/* --- the thread ------------------------------------------------------------------------------- */

void *ring_repair(void *argument)
{
    struct ring *ring = argument;
    struct repair *repair = calloc(1, sizeof(*repair));
    if (!repair) {
        log_error("ring", "out of memory: nothing is compared with other nodes");
        return NULL;
    }
    repair->ring = ring;
    repair->compare_ms = clock_ms() + ring->compare_ms;
    while (!atomic_load(&ring->stopping)) {
        bool busy = become_current(repair);
        if (!busy && is_time_to_compare(repair))
            compare_all(repair);
        pthread_mutex_lock(&ring->lock);
        struct slots missing = find_missing(ring);
        if (!ring->map || !busy || !slots_none(&missing))
            ring_wait(ring, &ring->repair_wake, clock_ms() + (busy ? ROUND_MS : 4 * ROUND_MS));
        pthread_mutex_unlock(&ring->lock);
    }
    free(repair);
    return NULL;
}
