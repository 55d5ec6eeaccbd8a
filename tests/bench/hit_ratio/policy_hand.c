/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_hand.c - policies for entries that lie in the order of their hashes, as the cache's do.
 *
 * An entry has a state of two bits, which only the hands see, and a touched bit, which a read sets.
 * One hand goes round over all entries: a touched one gets a higher state, another a lower one, and
 * is evicted at state 0 (CLOCK and GCLOCK). A round takes one slot of every bucket, then the next
 * slot of every bucket, and so on; a new entry gets the free slot of its bucket that the hand comes
 * to last. So an entry has long before it is judged, and all parts of the hashes stay about equally
 * full. Bucket by bucket, the part before the hand would be up to twice as full as the mean; that
 * sweep has more buckets here, where the cache would split segments.
 *
 * Or there are two hands. New entries are on probation, in the states below main_from. While more
 * of them are there than their share, the probation's hand passes over all others, evicts those
 * that nobody touched, and lets those that somebody did into the main part. Otherwise the main
 * part's hand evicts, in the same way as the only hand does. A ghost table of what was evicted lets
 * a key that comes back straight into the main part. If the share may move, a key that the
 * probation had evicted makes it larger, one from the main part smaller.
 *
 * "ours" is what docs/adr/0008-eviction.md decides, "ours-..." differ from it in one rule.
 */
#include <stdlib.h>
#include <string.h>

#include "ghost.h"
#include "policy_hand.h"

#define BUCKET_SLOTS  7u
#define LOAD_PERCENT  84u
#define DENSE_PERCENT 40u /* of the sweep by buckets, which would split segments */
#define REGIONS       64u

struct hands {
    struct hand_rules rules;
    struct ghost ghost;
    uint32_t *slots; /* keys; KEY_NONE: empty */
    uint8_t *states;
    uint8_t *touched;
    uint32_t *at; /* of each key, its slot or KEY_NONE */
    uint32_t buckets, slot_count, capacity;
    uint32_t count, probation; /* entries there, and those on probation */
    uint32_t probation_hand, main_hand;
    uint32_t share, least, most; /* of the probation: now, and its limits */
    uint32_t regions[REGIONS];   /* entries in each part of the hashes */
    struct policy_counts counts;
};

static uint32_t part_of(uint32_t capacity, unsigned percent)
{
    uint32_t part = (uint32_t)((uint64_t)capacity * percent / 100);
    return part > 0 ? part : 1;
}

static void *hands_create(const struct policy_options *options)
{
    struct hands *hands = policy_alloc(1, sizeof(*hands));
    hands->rules = *(const struct hand_rules *)options->rules;
    hands->capacity = options->capacity;
    unsigned load = hands->rules.by_buckets ? DENSE_PERCENT : LOAD_PERCENT;
    uint64_t slots = (uint64_t)options->capacity * 100 / load;
    hands->buckets = (uint32_t)(slots / BUCKET_SLOTS) + 1;
    hands->slot_count = hands->buckets * BUCKET_SLOTS;
    hands->slots = policy_alloc(hands->slot_count, sizeof(uint32_t));
    memset(hands->slots, 0xff, hands->slot_count * sizeof(uint32_t));
    hands->states = policy_alloc(hands->slot_count, 1);
    hands->touched = policy_alloc(hands->slot_count, 1);
    hands->at = policy_alloc(options->key_count, sizeof(uint32_t));
    memset(hands->at, 0xff, options->key_count * sizeof(uint32_t));
    hands->ghost = ghost_new((size_t)part_of(options->capacity, hands->rules.ghost_percent));
    hands->share = part_of(options->capacity, hands->rules.share_percent);
    hands->least = part_of(options->capacity, hands->rules.least_percent);
    hands->most = part_of(options->capacity, hands->rules.most_percent);
    return hands;
}

static void hands_destroy(void *cache)
{
    struct hands *hands = cache;
    ghost_free(&hands->ghost);
    free(hands->slots);
    free(hands->states);
    free(hands->touched);
    free(hands->at);
    free(hands);
}

static void hands_counts(const void *cache, struct policy_counts *counts)
{
    *counts = ((const struct hands *)cache)->counts;
}

/* --- the hands ------------------------------------------------------------------------------ */

static uint32_t next(const struct hands *hands, uint32_t slot)
{
    return slot + 1 == hands->slot_count ? 0 : slot + 1;
}

/* The slots of all buckets are numbered in the order of the sweep. */
static uint32_t slot_at(const struct hands *hands, uint32_t bucket, uint32_t number)
{
    return hands->rules.by_buckets ? bucket * BUCKET_SLOTS + number
                                   : number * hands->buckets + bucket;
}

/* How far a hand has to go to come to the slot. */
static uint32_t way(const struct hands *hands, uint32_t hand, uint32_t slot)
{
    return slot >= hand ? slot - hand : slot + hands->slot_count - hand;
}

/* A free slot in or after the key's bucket, of those there the one that the hand comes to last. */
static uint32_t free_slot(const struct hands *hands, uint32_t key, uint32_t hand)
{
    uint32_t bucket = (uint32_t)((policy_hash(key) >> 32) * hands->buckets >> 32);
    for (;; bucket = bucket + 1 == hands->buckets ? 0 : bucket + 1) {
        uint32_t best = KEY_NONE;
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            uint32_t slot = slot_at(hands, bucket, i);
            if (hands->slots[slot] == KEY_NONE &&
                (best == KEY_NONE || way(hands, hand, slot) > way(hands, hand, best)))
                best = slot;
        }
        if (best != KEY_NONE)
            return best;
    }
}

static unsigned region_of(uint32_t key)
{
    return (unsigned)(policy_hash(key) >> 32) / (UINT32_MAX / REGIONS + 1);
}

static void evict(struct hands *hands, uint32_t slot, bool from_main)
{
    uint32_t key = hands->slots[slot];
    if (hands->rules.ghost_percent > 0)
        ghost_add(&hands->ghost, policy_hash(key), from_main);
    hands->slots[slot] = KEY_NONE;
    hands->at[key] = KEY_NONE;
    hands->regions[region_of(key)]--;
    hands->count--;
    hands->probation -= !from_main;
    hands->counts.evictions++;
}

/* Whether the slot's entry is to go; else its state has changed. */
static bool judge_probation(struct hands *hands, uint32_t slot)
{
    uint8_t *state = &hands->states[slot];
    if (hands->touched[slot]) {
        hands->touched[slot] = 0;
        *state = hands->rules.main_from;
        hands->probation--;
        return false;
    }
    if (*state + 1u == hands->rules.main_from)
        return true;
    ++*state;
    return false;
}

static bool judge_main(struct hands *hands, uint32_t slot)
{
    uint8_t *state = &hands->states[slot];
    if (hands->touched[slot]) {
        hands->touched[slot] = 0;
        *state += *state < hands->rules.state_max;
        return false;
    }
    if (*state == hands->rules.main_from)
        return true;
    --*state;
    return false;
}

static void evict_from_probation(struct hands *hands)
{
    while (hands->probation > 0) {
        uint32_t slot = hands->probation_hand;
        hands->probation_hand = next(hands, slot);
        if (hands->slots[slot] == KEY_NONE)
            continue;
        hands->counts.examined++;
        if (hands->states[slot] >= hands->rules.main_from)
            continue;
        if (judge_probation(hands, slot)) {
            evict(hands, slot, false);
            return;
        }
        if (hands->probation < hands->share && hands->probation < hands->count)
            return; /* it is the main part's turn */
    }
}

static void evict_from_main(struct hands *hands)
{
    while (hands->probation < hands->count) {
        uint32_t slot = hands->main_hand;
        hands->main_hand = next(hands, slot);
        if (hands->slots[slot] == KEY_NONE)
            continue;
        hands->counts.examined++;
        if (hands->states[slot] < hands->rules.main_from)
            continue;
        if (judge_main(hands, slot)) {
            evict(hands, slot, true);
            return;
        }
    }
}

static void make_room(struct hands *hands)
{
    while (hands->count == hands->capacity) {
        if (hands->probation >= hands->share || hands->probation == hands->count)
            evict_from_probation(hands);
        else
            evict_from_main(hands);
    }
}

/* --- requests ------------------------------------------------------------------------------- */

static void move_share(struct hands *hands, bool to_main)
{
    if (to_main && hands->share > hands->least)
        hands->share--;
    else if (!to_main && hands->share < hands->most)
        hands->share++;
}

static uint8_t state_of_new(struct hands *hands, uint32_t key)
{
    bool from_main;
    if (hands->rules.ghost_percent == 0 || !ghost_take(&hands->ghost, policy_hash(key), &from_main))
        return 0;
    if (hands->rules.most_percent > 0)
        move_share(hands, from_main);
    return hands->rules.known;
}

/* Of a full cache. */
static void note_density(struct hands *hands, uint32_t in_region)
{
    double mean = (double)hands->capacity / REGIONS;
    if (hands->counts.evictions > 0 && in_region > hands->counts.densest * mean)
        hands->counts.densest = in_region / mean;
}

static bool hands_request(void *cache, uint32_t key, uint32_t now_ms)
{
    (void)now_ms;
    struct hands *hands = cache;
    if (hands->at[key] != KEY_NONE) {
        hands->touched[hands->at[key]] = 1;
        return true;
    }
    uint8_t state = state_of_new(hands, key);
    make_room(hands);
    bool to_main = state >= hands->rules.main_from;
    uint32_t slot = free_slot(hands, key, to_main ? hands->main_hand : hands->probation_hand);
    hands->slots[slot] = key;
    hands->states[slot] = state;
    hands->touched[slot] = 0;
    hands->at[key] = slot;
    note_density(hands, ++hands->regions[region_of(key)]);
    hands->count++;
    hands->probation += !to_main;
    return false;
}

#define HAND(symbol, label, ...)                                                                   \
    const struct policy policy_##symbol = {.name = (label),                                        \
                                           .create = hands_create,                                 \
                                           .destroy = hands_destroy,                               \
                                           .request = hands_request,                               \
                                           .counts = hands_counts,                                 \
                                           .rules = &(const struct hand_rules){__VA_ARGS__}}

HAND(clock, "clock", .state_max = 0);
HAND(gclock, "gclock", .state_max = 3);
HAND(gclock_ghost, "gclock-ghost", .state_max = 3, .known = 2, .ghost_percent = 100);

#define TWO_HANDS .main_from = 1, .state_max = 3, .ghost_percent = 100
HAND(ours, "ours", TWO_HANDS, .known = 1, .share_percent = 10);
HAND(known_2, "ours-known-2", TWO_HANDS, .known = 2, .share_percent = 10);
HAND(by_buckets, "ours-by-buckets", TWO_HANDS, .known = 1, .share_percent = 10, .by_buckets = true);
HAND(share_20, "ours-share-20", TWO_HANDS, .known = 1, .share_percent = 20);
HAND(adaptive, "ours-adaptive", TWO_HANDS, .known = 1, .share_percent = 10, .least_percent = 5,
     .most_percent = 50);
HAND(aged, "ours-aged", .main_from = 2, .state_max = 3, .ghost_percent = 100, .known = 2,
     .share_percent = 10);
