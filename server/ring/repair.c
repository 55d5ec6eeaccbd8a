/* SPDX-License-Identifier: Apache-2.0
 *
 * repair.c - becoming current, and staying so (docs/RING.md, "Nodes").
 *
 * A slot that this node shall hold, but does not trust, is looked at with each other holder that
 * can be reached: where the digests differ, that holder's entries are pulled, and what this node
 * has that is newer is sent there. When all of them agree, have nothing left that this node missed,
 * and writes go both ways from now on, the slot is trusted: held, or, of a target, told to the
 * member, so that it becomes a holder. With no other holder in reach for ALONE_MS a holder believes
 * itself; what is aged only in a static list.
 *
 * Why a slot that has been pulled is current, whatever its digest is by then: the map that this
 * node has is known to the holder before anything is pulled (start ids and epochs come with
 * ATTACH), so what the holder gets later is sent here too, by its client or by itself; and what it
 * had got before is in what was pulled. A doubt that comes up meanwhile, or another map, takes the
 * slot out of the round, and it is looked at again.
 *
 * One look is enough, then: what was the same there once, or has been pulled, is `got` from that
 * node until it is doubted again. Pulling takes as long as the throttle says, so it is done in
 * slices of SLICE_MS, slots that this node holds before those that it is a target of, and in parts
 * of a few slots, each of which is trusted as soon as it is there. Between the slices everything
 * else has its turn; a new doubt ends a slice at once. A pull whose slots have been doubted goes
 * on, and what is not the same at its end is pulled again. Meanwhile what is asked of doubted slots
 * goes to the other holder (NOTHELD, ring_ask).
 *
 * Comparing is the same for slots that are trusted, but for two looks, as writes on their way and
 * entries that have just expired make digests differ for a moment. While this node evicts, what
 * each node has thrown out makes them differ for good, so it only counts.
 *
 * Costs: a thread, 16 KB for each other node; of each look some 30 bytes a slot and node. A part is
 * one walk of the holder over its cache, so a holder's slots are pulled in PARTS walks at most.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

enum {
    PARTS = 8, /* of all slots, that are pulled one after the other */
    SLICE_MS = 1000,
    PULL_AGAIN_MS = 1000, /* after an entry that could not be stored */
    ROUND_MS = 50,        /* between two looks while something is missing */
    BEHIND_MS = 2000,     /* so long for what another one has for this node, and to connect */
    HALVINGS = 16,        /* of slots that a node refuses to tell of together, in a round */
    HALVE_AGAIN_MS = 1000,
    AFTER_MAP_MS = 500,
};

/* What is pulled first: slots that are without an answer here until then. */
enum urgency { URGENT, LATER, URGENCIES };

/* Another node, and the slots that it is to be looked at for. */
struct other {
    char name[RING_NAME_BYTES], address[RING_ADDRESS_BYTES];
    struct slots want;
    uint64_t start;      /* of the process that these are from; 0: of none yet */
    struct slots got;    /* the same as here, or pulled, since they were last doubted */
    struct slots differ; /* to be pulled */
    struct pull pulls[URGENCIES];
    uint64_t behind_since_ms; /* when it first said that this node has missed writes; 0: none */
    uint64_t again_ms;        /* not to be pulled from before */
    uint64_t halve_ms;        /* nothing but refusals was had of it: not to be halved before */
    bool reached, agrees;     /* in this round */
};

struct others {
    struct other *items; /* NULL: out of memory */
    size_t count;
};

struct repair {
    struct ring *ring;
    struct ring_map *map; /* of this round */
    int self;
    struct others others; /* of slots that are missing, from round to round */
    struct slots by_map, aged;
    uint64_t suspect_since_ms, compare_ms, evicted;
    struct slots
        alone; /* that nobody else could be asked about, in each round since alone_since_ms */
    uint64_t alone_since_ms;
    bool lacks_all; /* it has begun with nothing, and ZooKeeper cannot say that others have gone */
};

/* --- rounds ----------------------------------------------------------------------------------- */

static struct other *find_other(const struct others *others, const char *name)
{
    for (size_t i = 0; i < others->count; i++)
        if (strcmp(others->items[i].name, name) == 0)
            return &others->items[i];
    return NULL;
}

static struct other *other_of(struct others *others, const struct ring_node *node)
{
    struct other *other = find_other(others, node->name);
    if (other)
        return other;
    other = &others->items[others->count++];
    memset(other, 0, sizeof(*other));
    memcpy(other->name, node->name, sizeof(other->name));
    memcpy(other->address, node->address, sizeof(other->address));
    return other;
}

/* The other holders of these slots. */
static struct others find_others(const struct repair *repair, const struct slots *slots)
{
    const struct ring_map *map = repair->map;
    struct others others = {.items = malloc(map->node_count * sizeof(*others.items))};
    for (unsigned slot = 0; others.items && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        for (unsigned i = 0; slots_has(slots, slot) && i < copies->holder_count; i++)
            if (copies->holders[i] != repair->self)
                slots_add(&other_of(&others, &map->nodes[copies->holders[i]])->want, slot);
    }
    return others;
}

static bool share_some(const struct slots *a, const struct slots *b)
{
    struct slots both = *a;
    slots_keep(&both, b);
    return !slots_none(&both);
}

/* What was known of another one in the round before, but of what has been doubted since. */
static void carry_on(struct other *other, const struct other *before, const struct slots *doubted)
{
    const struct slots want = other->want;
    const struct other now = *other;
    *other = *before;
    memcpy(other->address, now.address, sizeof(other->address));
    other->want = want;
    slots_keep(&other->got, &want);
    slots_drop(&other->got, doubted);
    slots_keep(&other->differ, &want);
    slots_drop(&other->differ, doubted);
    for (unsigned u = 0; u < URGENCIES; u++) {
        slots_keep(&other->pulls[u].slots, &want);
        if (share_some(&other->pulls[u].slots, doubted))
            other->pulls[u].stale = true;
    }
}

/* False: no memory. */
static bool update_others(struct repair *repair, const struct slots *missing,
                          const struct slots *doubted)
{
    struct others others = find_others(repair, missing);
    if (!others.items)
        return false;
    for (size_t i = 0; i < others.count; i++) {
        const struct other *before = find_other(&repair->others, others.items[i].name);
        if (before)
            carry_on(&others.items[i], before, doubted);
    }
    free(repair->others.items);
    repair->others = others;
    return true;
}

static void forget_others(struct repair *repair)
{
    free(repair->others.items);
    repair->others = (struct others){0};
}

static void end_round(struct repair *repair)
{
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

/* Which of these slots are not the same there. */
static int find_different(struct ring *ring, struct wire *wire, const struct slots *among,
                          struct slots *differ)
{
    uint64_t digests[RING_SLOTS_MAX];
    unsigned slots = ring->options.parameters.slots;
    size_t at = 0;
    memset(differ, 0, sizeof(*differ));
    if (slots_none(among))
        return SP_OK;
    int status = wire_digests(wire, among, slots, digests);
    for (unsigned slot = 0; status == SP_OK && slot < slots; slot++) {
        struct cache_slot own;
        if (!slots_has(among, slot))
            continue;
        cache_slot(ring->cache, slot, &own);
        if (own.digest != digests[at++])
            slots_add(differ, slot);
    }
    return status;
}

/* A node refuses to tell of all slots together where it does not know yet what it has of one of
 * them, as its only other holder cannot be reached. */
struct look {
    struct ring *ring;
    struct wire *wire;
    unsigned left; /* how often halves may still be asked for */
    struct slots same, differ;
};

static int look_for(struct look *look, const struct slots *among)
{
    struct slots differ;
    int status = find_different(look->ring, look->wire, among, &differ);
    if (status != SP_OK)
        return status;
    struct slots same = *among;
    slots_drop(&same, &differ);
    slots_join(&look->same, &same);
    slots_join(&look->differ, &differ);
    return SP_OK;
}

static void halve(const struct slots *whole, struct slots halves[2])
{
    unsigned left = slots_count(whole) / 2;
    memset(halves, 0, 2 * sizeof(*halves));
    for (unsigned slot = 0; slot < RING_SLOTS_MAX; slot++)
        if (slots_has(whole, slot)) {
            slots_add(&halves[left == 0], slot);
            left -= left > 0;
        }
}

/* What is refused is halved, both halves before one of them is again: most is known soon. */
static int look_in_halves(struct look *look, const struct slots *refused)
{
    struct slots halves[2];
    int statuses[2];
    int status = SP_OK;
    if (slots_count(refused) < 2 || look->left == 0)
        return SP_OK;
    look->left--;
    halve(refused, halves);
    for (unsigned i = 0; i < 2; i++)
        statuses[i] = look_for(look, &halves[i]);
    for (unsigned i = 0; i < 2 && status == SP_OK; i++)
        status = statuses[i] == SP_ENOTREADY ? look_in_halves(look, &halves[i]) : statuses[i];
    return status;
}

static int look_at_most(struct look *look, const struct slots *among)
{
    int status = look_for(look, among);
    return status == SP_ENOTREADY ? look_in_halves(look, among) : status;
}

/* --- looking ---------------------------------------------------------------------------------- */

struct verdicts {
    struct slots agreed, refused; /* by one of the other holders at least */
};

/* It is another process than before: what that had may not be there. */
static void meet(struct other *other, uint64_t start)
{
    if (other->start == start)
        return;
    other->start = start;
    memset(&other->got, 0, sizeof(other->got));
    memset(&other->differ, 0, sizeof(other->differ));
    memset(other->pulls, 0, sizeof(other->pulls));
    other->behind_since_ms = 0;
}

/* Which of the slots are the same there, and which are to be pulled. */
static int look_at(struct repair *repair, struct wire *wire, struct other *other)
{
    struct slots unseen = other->want;
    struct look look = {.ring = repair->ring, .wire = wire};
    slots_drop(&unseen, &other->got);
    slots_drop(&unseen, &other->differ);
    /* A node with an older map does not yet pass writes on to this target. */
    if (wire->epoch < repair->map->epoch)
        slots_keep(&unseen, &repair->by_map);
    bool halves = clock_ms() >= other->halve_ms;
    look.left = halves ? HALVINGS : 0;
    int status = look_at_most(&look, &unseen);
    slots_join(&other->differ, &look.differ);
    slots_join(&other->got, &look.same);
    slots_drop(&unseen, &look.differ);
    slots_drop(&unseen, &look.same);
    if (status != SP_OK || slots_none(&unseen))
        return status;
    log_limited(LOG_INFO, "ring", 10, "%s does not know yet what it has of %u slots", other->name,
                slots_count(&unseen));
    if (slots_none(&look.same) && slots_none(&look.differ) && halves)
        other->halve_ms = clock_ms() + HALVE_AGAIN_MS;
    return SP_OK;
}

/* Whether what is written here goes to that node, and is not only noted as missed. */
static bool sends_to(struct ring *ring, const char *name)
{
    pthread_mutex_lock(&ring->lock);
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    bool sends = at < 0 || !ring->peers[at] || ring->peers[at]->reachable;
    pthread_mutex_unlock(&ring->lock);
    return sends;
}

/* Whether the node has, as far as it is waited for, nothing left that this one missed, and both are
 * connected to pass on what they write. */
static int is_up_to_date(struct repair *repair, struct wire *wire, struct other *other, bool *out)
{
    uint64_t missed;
    uint64_t now_ms = clock_ms();
    int status = wire_missed(wire, repair->ring->options.node.name, &missed);
    if (status != SP_OK)
        return status;
    bool behind = missed > 0 || !sends_to(repair->ring, other->name);
    if (!behind)
        other->behind_since_ms = 0;
    else if (other->behind_since_ms == 0)
        other->behind_since_ms = now_ms;
    *out = !behind || now_ms >= other->behind_since_ms + BEHIND_MS;
    return SP_OK;
}

/* Since when it has lived, once there is nothing left to be got from it. */
static void hear_age(struct ring *ring, struct wire *wire, const struct other *other)
{
    int64_t since_ms;
    struct slots left = other->want;
    slots_drop(&left, &other->got);
    if (other->agrees && slots_none(&left) && wire_since(wire, &since_ms) == SP_OK)
        ring_age_hear(ring, since_ms);
}

/* It answers: its writer need not wait until it tries again. */
static void note_answer(struct ring *ring, const char *name, const struct wire *wire)
{
    pthread_mutex_lock(&ring->lock);
    int at = ring->map ? ring_map_find(ring->map, name) : -1;
    struct peer *peer = at >= 0 ? ring->peers[at] : NULL;
    if (peer) {
        peer->heard = true;
        peer->clock = wire->clock;
    }
    if (peer && !peer->reachable) {
        peer->hurry = true;
        peer_wake(peer);
    }
    pthread_mutex_unlock(&ring->lock);
}

static void ask_other(struct repair *repair, struct other *other)
{
    struct ring *ring = repair->ring;
    struct wire wire = {0};
    other->reached = wire_open(&wire, ring, other->address, ring->ack_timeout_ms) == SP_OK;
    other->agrees = false;
    if (!other->reached)
        return;
    note_answer(ring, other->name, &wire);
    slots_drop(&other->want, &repair->aged); /* what is not judged yet is not compared */
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    meet(other, wire.start);
    int status = wire_learn(&wire, ring) ? SP_EBUSY : look_at(repair, &wire, other);
    if (status == SP_OK)
        status = is_up_to_date(repair, &wire, other, &other->agrees);
    if (status == SP_OK)
        hear_age(ring, &wire, other);
    else if (status != SP_EBUSY)
        log_limited(LOG_INFO, "ring", 10, "comparing with %s: %s", other->name,
                    wire.open ? sp_status_text(status) : sp_error_detail());
    wire_close(&wire);
}

static void add_verdict(const struct other *other, struct verdicts *verdicts)
{
    struct slots good = other->got;
    struct slots bad = other->want;
    if (!other->reached)
        return;
    if (!other->agrees)
        memset(&good, 0, sizeof(good));
    slots_drop(&bad, &good);
    slots_join(&verdicts->agreed, &good);
    slots_join(&verdicts->refused, &bad);
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
    if (repair->ring->in_zookeeper) /* which takes a node that is gone out of the map */
        slots_drop(&alone, &repair->aged);
    slots_keep(&repair->alone, &alone);
    if (repair->lacks_all)
        return none;
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

static void trust(struct ring *ring, const struct slots *done)
{
    struct slots good = *done;
    pthread_mutex_lock(&ring->member_lock);
    pthread_mutex_lock(&ring->lock);
    slots_keep(&good, &ring->round);
    slots_join(&ring->trusted, &good);
    ring_update_held(ring);
    struct slots complete = ring->trusted;
    slots_keep(&complete, &ring->targeted);
    if (ring->member && !slots_none(&complete))
        member_hold(ring->member, complete.words);
    pthread_mutex_unlock(&ring->lock);
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
    repair->aged = ring->aged;
    repair->suspect_since_ms = ring->suspect_since_ms;
    repair->lacks_all = ring->stands_in && ring->began_empty;
}

/* Takes what is missing at this moment; false: nothing. */
static bool take_missing(struct repair *repair, struct slots *missing, struct slots *doubted)
{
    struct ring *ring = repair->ring;
    if (!ring_confirm(ring))
        return false;
    pthread_mutex_lock(&ring->lock);
    *missing = find_missing(ring);
    *doubted = *missing;
    slots_drop(doubted, &ring->round);
    ring->round = *missing;
    bool any = ring->map && !slots_none(missing);
    if (any)
        begin_round(repair);
    pthread_mutex_unlock(&ring->lock);
    return any;
}

/* What all that hold it, and can be reached, have agreed to, those from `next` on not yet asked. */
static void trust_agreed(struct repair *repair, const struct verdicts *verdicts, size_t first,
                         size_t next)
{
    const struct others *others = &repair->others;
    struct slots done = verdicts->agreed;
    slots_drop(&done, &verdicts->refused);
    for (; next < others->count; next++)
        slots_drop(&done, &others->items[(first + next) % others->count].want);
    if (!slots_none(&done))
        trust(repair->ring, &done);
}

/* Asks all others once; what they agree to is trusted, without waiting for those that do not hold
 * it. Each node begins with the one after it by name, so that not all of a ring that doubt
 * themselves at once ask the same one. */
static void hold_round(struct repair *repair, const struct slots *missing)
{
    struct verdicts verdicts = {0};
    struct others *others = &repair->others;
    const char *self = repair->ring->options.node.name;
    size_t first = 0;
    for (size_t i = 0; i < others->count; i++)
        if (strcmp(others->items[i].name, self) > 0 &&
            (strcmp(others->items[first].name, self) < 0 ||
             strcmp(others->items[i].name, others->items[first].name) < 0))
            first = i;
    for (size_t i = 0; i < others->count && !atomic_load(&repair->ring->stopping); i++) {
        struct other *other = &others->items[(first + i) % others->count];
        ask_other(repair, other);
        add_verdict(other, &verdicts);
        trust_agreed(repair, &verdicts, first, i + 1);
    }
    struct slots done = believe(repair, missing, &verdicts);
    trust(repair->ring, &done);
}

/* --- pulling ---------------------------------------------------------------------------------- */

/* What here is newer is sent there, where it still differs. */
static int send_newer(struct ring *ring, struct wire *wire, const struct other *other,
                      const struct slots *slots)
{
    struct slots still;
    int status = find_different(ring, wire, slots, &still);
    if (status == SP_OK && !slots_none(&still))
        ring_miss(ring, other->name, still.words);
    return status;
}

/* The first of those that are to be pulled from it. */
static struct slots next_part(const struct repair *repair, const struct other *other,
                              enum urgency urgency)
{
    struct slots part = {0};
    const struct slots *by_map = &repair->by_map;
    unsigned slots = repair->map->parameters.slots;
    unsigned left = slots / PARTS;
    for (unsigned slot = 0; slot < slots && left > 0; slot++)
        if (slots_has(&other->differ, slot) && slots_has(by_map, slot) == (urgency == URGENT)) {
            slots_add(&part, slot);
            left--;
        }
    return part;
}

/* Of a pull that is stale, what is not the same there by now is to be pulled once more, and what a
 * node with an older map has of this target's slots, as in look_at. */
static void end_part(struct repair *repair, struct wire *wire, struct other *other,
                     const struct pull *pull)
{
    struct slots got = pull->slots;
    struct slots still;
    int status = find_different(repair->ring, wire, &got, &still);
    if (status == SP_OK)
        ring_miss(repair->ring, other->name, still.words);
    if (pull->stale && status != SP_OK)
        return;
    if (pull->stale)
        slots_drop(&got, &still);
    if (pull->stale && wire->epoch < repair->map->epoch)
        slots_keep(&got, &repair->by_map);
    slots_drop(&other->differ, &got);
    slots_join(&other->got, &got);
}

static void pull_from(struct repair *repair, struct other *other, struct pull *pull)
{
    struct ring *ring = repair->ring;
    struct wire wire = {0};
    if (wire_open(&wire, ring, other->address, ring->ack_timeout_ms) != SP_OK)
        return;
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    int status = SP_ECANCELED;
    if (wire.start == other->start)
        status = pull_run(ring, &wire, other->name, pull, clock_ms() + SLICE_MS);
    if (status == SP_OK && !pull->runs)
        end_part(repair, &wire, other, pull);
    else if (status != SP_OK)
        other->again_ms = clock_ms() + PULL_AGAIN_MS;
    wire_close(&wire);
}

/* A slice of what is to be pulled; false: there is nothing, or nobody to be had. */
static bool pull_slice(struct repair *repair)
{
    for (unsigned u = 0; u < URGENCIES; u++)
        for (size_t i = 0; i < repair->others.count; i++) {
            struct other *other = &repair->others.items[i];
            struct pull *pull = &other->pulls[u];
            if (!other->reached || clock_ms() < other->again_ms)
                continue;
            struct slots part = next_part(repair, other, u);
            pull->runs &= share_some(&pull->slots, &other->differ);
            if (!pull->runs && slots_none(&part))
                continue;
            if (!pull->runs)
                pull_begin(pull, &part);
            pull_from(repair, other, pull);
            return true;
        }
    return false;
}

/* --- becoming current ------------------------------------------------------------------------- */

/* False: there is nothing to do. *at_once: nor is there anything to wait for. */
static bool become_current(struct repair *repair, bool *at_once)
{
    struct slots missing;
    struct slots doubted;
    *at_once = false;
    if (!take_missing(repair, &missing, &doubted)) {
        memset(&repair->alone, 0, sizeof(repair->alone));
        forget_others(repair);
        return false;
    }
    if (update_others(repair, &missing, &doubted)) {
        hold_round(repair, &missing);
        *at_once = pull_slice(repair);
    } else {
        forget_others(repair); /* with what has been doubted */
    }
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
    struct look look = {.ring = ring, .wire = wire, .left = HALVINGS};
    int status = look_at_most(&look, want);
    atomic_fetch_add_explicit(&ring->compared_slots, slots_count(want), memory_order_relaxed);
    memset(differ, 0, sizeof(*differ));
    if (status != SP_OK || slots_none(&look.differ))
        return status;
    pause_for(ring, SECOND_LOOK_MS);
    return find_different(ring, wire, &look.differ, differ);
}

/* Takes what is newer there; what is newer here is sent. */
static int make_equal(struct ring *ring, struct wire *wire, const struct other *other,
                      const struct slots *slots)
{
    struct pull pull;
    pull_begin(&pull, slots);
    int status = pull_run(ring, wire, other->name, &pull, UINT64_MAX);
    if (status == SP_OK && pull.runs)
        return SP_EBUSY;
    return status == SP_OK ? send_newer(ring, wire, other, slots) : status;
}

/* False: it was not made equal, as something else had to be done first. */
static bool compare_with(struct ring *ring, const struct other *other, bool evicting)
{
    struct wire wire = {0};
    struct slots differ;
    if (wire_open(&wire, ring, other->address, ring->ack_timeout_ms) != SP_OK)
        return true;
    note_answer(ring, other->name, &wire);
    wire.connection.timeout_ms = REPAIR_TIMEOUT_MS;
    int status =
        wire_learn(&wire, ring) ? SP_EBUSY : look_twice(ring, &wire, &other->want, &differ);
    unsigned count = status == SP_OK ? slots_count(&differ) : 0;
    atomic_fetch_add_explicit(&ring->differing_slots, count, memory_order_relaxed);
    if (count > 0 && !evicting) {
        status = make_equal(ring, &wire, other, &differ);
        log_info("ring", "%u slots differed from those of %s%s", count, other->name,
                 status == SP_OK ? ", and have been made equal" : "");
    }
    wire_close(&wire);
    return status != SP_EBUSY;
}

static void compare_others(struct repair *repair, const struct slots *held)
{
    struct ring *ring = repair->ring;
    bool evicting = is_evicting(repair);
    struct others others = find_others(repair, held);
    bool done = true;
    for (size_t i = 0; i < others.count && done && !atomic_load(&ring->stopping); i++)
        done = compare_with(ring, &others.items[i], evicting);
    free(others.items);
    if (done)
        return;
    pthread_mutex_lock(&ring->lock);
    ring->compare_wanted = true;
    pthread_mutex_unlock(&ring->lock);
}

static void compare_all(struct repair *repair)
{
    struct ring *ring = repair->ring;
    pthread_mutex_lock(&ring->lock);
    struct slots held = ring->by_map;
    slots_keep(&held, &ring->trusted);
    slots_drop(&held, &ring->aged);
    bool any = ring->map && !slots_none(&held);
    if (any)
        begin_round(repair);
    pthread_mutex_unlock(&ring->lock);
    if (!any)
        return;
    compare_others(repair, &held);
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

/* With the lock. */
static void rest(struct ring *ring, bool busy)
{
    struct slots missing = find_missing(ring);
    if (ring->map && busy && slots_none(&missing))
        return; /* all that was missing is there now */
    ring_wait(ring, &ring->repair_wake, clock_ms() + (busy ? ROUND_MS : 4 * ROUND_MS));
}

/* NULL: the ring ends before there is memory for it. */
static struct repair *new_repair(struct ring *ring)
{
    struct repair *repair;
    while ((repair = calloc(1, sizeof(*repair))) == NULL && !atomic_load(&ring->stopping)) {
        log_limited(LOG_ERR, "ring", 10, "out of memory: nothing is compared with other nodes");
        pause_for(ring, SLICE_MS);
    }
    return repair;
}

void *ring_repair(void *argument)
{
    struct ring *ring = argument;
    struct repair *repair = new_repair(ring);
    if (!repair)
        return NULL;
    repair->ring = ring;
    repair->compare_ms = clock_ms() + ring->compare_ms;
    while (!atomic_load(&ring->stopping)) {
        bool at_once;
        ring_age_judge(ring);
        bool busy = become_current(repair, &at_once);
        if (is_time_to_compare(repair))
            compare_all(repair);
        pthread_mutex_lock(&ring->lock);
        if (!at_once)
            rest(ring, busy);
        pthread_mutex_unlock(&ring->lock);
    }
    forget_others(repair);
    free(repair);
    return NULL;
}
