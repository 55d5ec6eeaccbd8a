/* SPDX-License-Identifier: Apache-2.0
 *
 * copy.c - what a server lacks of the slots whose target it is, copied from their holders; then it
 * becomes a holder.
 *
 * From each holder in turn, for all the slots that it is asked for: first the keys that the target
 * has and the holder does not are removed (they were deleted while the target was away), then the
 * holder's keys are gone through with SCAN and brought over (copy_key.c). Work that is interrupted
 * begins anew; what is there already is only compared then. Slots are held only where the map still
 * has the server as a target, and the one that was copied from as a holder.
 *
 * Costs: a SCAN of both servers for each holder, at most `throttle` bytes a second.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/agent/internal.h"
#include "server/log/log.h"

#define SCAN_KEYS     100
#define AGAIN_MS      500
#define LEARN_MS      1000
#define COPY_LEAST_MS 5000 /* large values take longer than a PING */

/* --- the work --------------------------------------------------------------------------------- */

static bool has(const uint16_t *list, unsigned count, int node)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == node)
            return true;
    return false;
}

/* What has been done by one map, in one session: it takes a while until that is in the next one. */
struct progress {
    uint64_t epoch, start, since_ms;
    unsigned losses;
    uint64_t slots[RING_SLOT_WORDS]; /* that were copied */
};

static void follow_map(struct progress *progress, const struct ring_map *map, uint64_t start,
                       unsigned losses)
{
    if (progress->epoch == map->epoch && progress->start == start && progress->losses == losses)
        return;
    *progress = (struct progress){
        .epoch = map->epoch, .start = start, .losses = losses, .since_ms = clock_ms()};
}

/* How long until clients know the map. */
static uint32_t learning_ms(const struct progress *progress)
{
    uint64_t past_ms = clock_ms() - progress->since_ms;
    return past_ms < LEARN_MS ? (uint32_t)(LEARN_MS - past_ms) : 0;
}

static bool is_done(const struct progress *progress, unsigned slot)
{
    return progress->slots[slot / 64] >> (slot % 64) & 1;
}

/* The first holder that slots can be copied from, with those; false: there is nothing to do. */
static bool find_work(const struct ring_map *map, const char *name, const struct progress *progress,
                      struct ring_node *holder, uint64_t slots[RING_SLOT_WORDS])
{
    uint64_t start = progress->start;
    int self = ring_map_find(map, name), from = -1;
    memset(slots, 0, RING_SLOT_WORDS * sizeof *slots);
    if (self < 0 || start == 0 || map->nodes[self].start != start)
        return false;
    for (unsigned slot = 0; slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        if (!has(copies->targets, copies->target_count, self) ||
            has(copies->holders, copies->holder_count, self) || is_done(progress, slot))
            continue;
        if (from < 0 && copies->holder_count > 0)
            from = copies->holders[0];
        if (from >= 0 && has(copies->holders, copies->holder_count, from))
            slots[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    if (from >= 0)
        *holder = map->nodes[from];
    return from >= 0;
}

/* The map as of now, a reference, the start id, and how many sessions have been lost. */
static struct ring_map *current(struct watched *server, uint64_t *start, unsigned *losses)
{
    pthread_mutex_lock(&server->mutex);
    struct ring_map *map = server->map != NULL ? ring_map_ref(server->map) : NULL;
    *start = server->start;
    *losses = server->losses;
    pthread_mutex_unlock(&server->mutex);
    return map;
}

/* Keeps those of the slots for which the copy is still what it was made for. */
static void keep_valid(struct copy *copy, const struct ring_node *holder,
                       const struct progress *begun)
{
    uint64_t start;
    unsigned losses;
    struct ring_map *map = current(copy->server, &start, &losses);
    int self = map != NULL ? ring_map_find(map, copy->server->node.name) : -1;
    int from = map != NULL ? ring_map_find(map, holder->name) : -1;
    bool valid = self >= 0 && from >= 0 && start == begun->start && losses == begun->losses &&
                 map->nodes[from].start == holder->start;
    for (unsigned slot = 0; slot < copy->slot_count; slot++) {
        const struct ring_slot_copies *copies = valid ? &map->slots[slot] : NULL;
        if (!valid || !has(copies->targets, copies->target_count, self) ||
            !has(copies->holders, copies->holder_count, from))
            copy->slots[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    }
    ring_map_unref(map);
}

/* --- going through a server's keys ------------------------------------------------------------ */

/* So long that the bytes so far come to `throttle` a second; false: the agent ends. */
static bool pace(struct copy *copy)
{
    uint64_t due_ms = copy->bytes * 1000 / copy->server->throttle_bytes;
    int64_t early_ms = copy->begun_ms + (int64_t)due_ms - (int64_t)clock_ms();
    if (early_ms <= 0)
        return !server_stopping(copy->server);
    return server_pause(copy->server, (uint32_t)early_ms);
}

static bool go_through(struct copy *copy, struct redis *redis,
                       bool (*step)(struct copy *copy, const redisReply *keys))
{
    char cursor[32] = "0";
    bool good = true;
    do {
        redisReply *reply = redis_ask(redis, "SCAN %s COUNT %d", cursor, SCAN_KEYS);
        good = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
        if (good) {
            snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
            good = step(copy, reply->element[1]);
        }
        freeReplyObject(reply);
        good = good && pace(copy);
    } while (good && strcmp(cursor, "0") != 0);
    return good;
}

static bool copy_all(struct copy *copy, const struct ring_node *holder)
{
    struct watched *server = copy->server;
    uint32_t deadline_ms = server->deadline_ms;
    deadline_ms = deadline_ms > COPY_LEAST_MS ? deadline_ms : COPY_LEAST_MS;
    return redis_open(&copy->from, server, holder->address, deadline_ms) &&
           redis_open(&copy->to, server, server->node.address, deadline_ms) &&
           go_through(copy, &copy->to, copy_remove_strangers) &&
           go_through(copy, &copy->from, copy_keys);
}

static void count(const struct copy *copy)
{
    struct watched *server = copy->server;
    pthread_mutex_lock(&server->mutex);
    server->figures.copied_keys += copy->keys;
    server->figures.copied_bytes += copy->bytes;
    server->figures.removed_keys += copy->removed;
    pthread_mutex_unlock(&server->mutex);
}

static void report(const struct copy *copy, const struct ring_node *holder, bool good)
{
    const char *name = copy->server->node.name;
    if (good)
        log_info("agent",
                 "%s has %" PRIu64 " keys (%" PRIu64 " bytes) from %s, and %" PRIu64
                 " less that were deleted there",
                 name, copy->keys, copy->bytes, holder->name, copy->removed);
    else if (!server_stopping(copy->server))
        log_limited(LOG_WARNING, "agent", 10, "copying from %s to %s is interrupted: %s%s",
                    holder->name, name, copy->from.why, copy->to.why);
}

/* False: nothing was to be done, or it failed. */
static bool copy_once(struct watched *server, struct progress *progress)
{
    struct ring_node holder;
    uint64_t start;
    unsigned losses;
    struct copy copy = {.server = server, .begun_ms = (int64_t)clock_ms()};
    struct ring_map *map = current(server, &start, &losses);
    if (map != NULL)
        follow_map(progress, map, start, losses);
    bool work = map != NULL && learning_ms(progress) == 0 &&
                find_work(map, server->node.name, progress, &holder, copy.slots);
    copy.slot_count = map != NULL ? map->parameters.slots : 0;
    ring_map_unref(map);
    if (!work)
        return false;
    bool good = copy_all(&copy, &holder);
    redis_close(&copy.from);
    redis_close(&copy.to);
    count(&copy);
    report(&copy, &holder, good);
    if (!good)
        return false;
    keep_valid(&copy, &holder, progress);
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        progress->slots[i] |= copy.slots[i];
    member_hold(server->member, copy.slots);
    return true;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Until the map or the start id changes, or clients know it; a failure is tried again. */
static void wait_for_change(struct watched *server, const struct progress *progress)
{
    uint32_t left_ms = learning_ms(progress);
    uint64_t until_ms = clock_ms() + (left_ms > 0 && left_ms < AGAIN_MS ? left_ms : AGAIN_MS);
    pthread_mutex_lock(&server->mutex);
    if (!server->stopping && !server->map_changed)
        thread_wait(&server->changed, &server->mutex, until_ms);
    server->map_changed = false;
    pthread_mutex_unlock(&server->mutex);
}

void *copy_to_server(void *argument)
{
    struct watched *server = argument;
    struct progress progress = {0};
    while (!server_stopping(server))
        if (!copy_once(server, &progress))
            wait_for_change(server, &progress);
    return NULL;
}
