/* SPDX-License-Identifier: Apache-2.0
 *
 * pull.c - takes the entries of some slots from another node, page by page, where repair.c says so.
 *
 * Each pull is one walk of that node over its cache, which can stop after any page and go on later,
 * also by another connection. It stops when its time is over, and at once when slots are doubted
 * that repair has not yet looked at: those are without an answer here, the rest can wait.
 *
 * Costs: a page in memory; its entries are put in under the cache's lock, APPLY_STEP at a time.
 */
#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

enum {
    PAGE_BYTES = 512 * 1024,
    APPLY_STEP = 32, /* entries under one lock */
};

/* --- a page ----------------------------------------------------------------------------------- */

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

/* --- a walk ----------------------------------------------------------------------------------- */

/* With the lock: whether slots that this node shall hold have been doubted since the last round. */
static bool has_new_doubts(const struct ring *ring)
{
    struct slots doubted = ring->by_map;
    slots_drop(&doubted, &ring->trusted);
    slots_drop(&doubted, &ring->round);
    return !slots_none(&doubted);
}

/* Until then; false: there is something else to do. */
static bool rest_until(struct ring *ring, uint64_t until_ms)
{
    pthread_mutex_lock(&ring->lock);
    while (clock_ms() < until_ms && !has_new_doubts(ring) && !atomic_load(&ring->stopping))
        ring_wait(ring, &ring->repair_wake, until_ms);
    bool goes_on = !has_new_doubts(ring) && !atomic_load(&ring->stopping);
    pthread_mutex_unlock(&ring->lock);
    return goes_on;
}

void pull_begin(struct pull *pull, const struct slots *slots)
{
    *pull = (struct pull){.runs = true, .slots = *slots, .cursor = "0"};
}

static int take_page(struct ring *ring, struct wire *wire, const char *name, struct pull *pull)
{
    redisReply *page;
    uint64_t taken = 0;
    size_t bytes = 0;
    int status = wire_pull(wire, pull->cursor, PAGE_BYTES, &pull->slots,
                           ring->options.parameters.slots, &page);
    if (status != SP_OK)
        return status;
    status = apply_page(ring, page, &taken, &bytes);
    count_pulled(ring, name, taken, bytes);
    (void)ring_spend(ring, bytes);
    snprintf(pull->cursor, sizeof(pull->cursor), "%s", page->element[0]->str);
    freeReplyObject(page);
    pull->runs = strcmp(pull->cursor, "0") != 0;
    return status;
}

int pull_run(struct ring *ring, struct wire *wire, const char *name, struct pull *pull,
             uint64_t until_ms)
{
    int status = SP_OK;
    while (status == SP_OK && pull->runs && clock_ms() < until_ms) {
        uint64_t paid_ms = clock_ms() + ring_spend(ring, 0);
        if (!rest_until(ring, paid_ms < until_ms ? paid_ms : until_ms))
            break;
        if (paid_ms < until_ms)
            status = take_page(ring, wire, name, pull);
    }
    if (status == SP_OK)
        return SP_OK;
    log_limited(LOG_WARNING, "ring", 10, "what %s has cannot be taken: %s", name,
                wire->open ? sp_status_text(status) : sp_error_detail());
    if (wire->open)
        pull->runs = false; /* an entry could not be stored: from the beginning next time */
    return status;
}
