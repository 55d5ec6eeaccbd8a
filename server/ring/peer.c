/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.c - a peer's writer: the thread that passes writes on to one other node.
 *
 * It sends what is queued in pipelines, and takes the next ones when all of a pipeline has been
 * answered; so one that is alone goes at once, and the more come the more go together. In the same
 * pipeline go, a few at a time, the newest versions of all entries in the slots that the peer has
 * missed, as fast as the throttle lets them. Their bits are cleared when the walk over the cache
 * has come to its end and all was taken; bits that are set meanwhile stay for the next walk. A step
 * of the walk brings keys; of their values no more are copied than PUSH_BYTES, or one, and the
 * others are looked up when those have been taken.
 *
 * A peer that refuses, resets, or gives no answer for ack_timeout is unreachable: what is queued
 * becomes missed slots, whoever waits is released, and writes only set bits until it has been
 * connected to again.
 *
 * NEWER is an answer as good as any if the peer's version is of somebody who wrote later. But it
 * may be that this node's clock was behind, and then a write would be lost that its client takes
 * for done. So within ack_timeout, while that client waits, the write is stamped again, above the
 * peer's version, unless another one has taken its place here. Not later: by then it would undo
 * what others have written since. Nor what another has stamped, and this node only passes on: it
 * may be as old as it says.
 *
 * After an absence that was too long (age.c) nothing of before it is sent: what is queued becomes
 * missed slots, which wait until they have been judged.
 *
 * What the peer says of its epoch is listened to: while ZooKeeper is away a later map is learnt
 * from there.
 *
 * Costs: a thread for each peer, an ATTACH twice a second while there is nothing to send.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/log/log.h"
#include "server/ring/internal.h"

/* Of missed slots: entries visited or passed over at a time, and room for them in a batch, with a
 * bucket's overflow. */
enum {
    PUSH_STEP = 32,
    PUSH_MAX = 64,
    QUEUED_MAX = BATCH_MAX - PUSH_MAX,
    PUSH_BYTES = 1024 * 1024, /* of keys and values in flight */
};

struct batch {
    struct ring_write *writes[BATCH_MAX];
    size_t count, queued; /* the first ones are of the queue, the others of missed slots */
    size_t bytes, pushed_bytes;
    struct command commands[BATCH_MAX];
    char numbers[BATCH_MAX][3][NUMBER_BYTES];
    redisReply *replies[BATCH_MAX];
};

/* Where the walk over the missed slots is. */
struct push {
    bool runs, failed;
    uint64_t cursor;
    uint64_t again_ms; /* not before */
    /* Of the last step: keys whose values are still to be looked up. */
    struct ring_write *late[PUSH_MAX];
    size_t late_count;
};

struct writer {
    struct peer *peer;
    struct ring *ring;
    struct wire wire;
    struct push push;
    uint64_t try_ms, wait_ms; /* when to connect, and how long to wait after that */
    uint64_t asked_ms;        /* when, at the earliest, because somebody asks for it */
    unsigned changes;         /* of the address that the connection is to */
    unsigned absences;        /* of this node, that are known here */
    unsigned seed;
    struct batch batch;
};

/* --- connecting ------------------------------------------------------------------------------- */

/* The next time: twice as late, and by chance. */
static void back_off(struct writer *writer)
{
    uint64_t half = writer->wait_ms / 2;
    writer->try_ms = clock_ms() + half + (uint64_t)rand_r(&writer->seed) % (half + 1);
    writer->asked_ms = clock_ms() + RECONNECT_MS;
    writer->wait_ms *= 2;
    if (writer->wait_ms > RECONNECT_MAX_MS)
        writer->wait_ms = RECONNECT_MAX_MS;
}

static void drop_late(struct push *push)
{
    while (push->late_count > 0)
        write_unref(push->late[--push->late_count]);
}

/* With the lock. What was being sent is missed again. */
static void end_push(struct writer *writer, bool done)
{
    struct peer *peer = writer->peer;
    drop_late(&writer->push);
    if (!done)
        slots_join(&peer->missed, &peer->sending);
    memset(&peer->sending, 0, sizeof(peer->sending));
    writer->push = (struct push){.again_ms = writer->push.failed ? clock_ms() + PUSH_AGAIN_MS : 0};
}

static void lose(struct writer *writer, const char *why)
{
    struct peer *peer = writer->peer;
    struct ring *ring = writer->ring;
    wire_close(&writer->wire);
    pthread_mutex_lock(&ring->lock);
    bool was = peer->reachable;
    peer->reachable = false;
    peer->tried = true;
    ring_abandon(ring, peer);
    end_push(writer, false);
    bool say = !peer->said_lost && !peer->gone;
    peer->said_lost = true;
    if (ring->unconfirmed)
        pthread_cond_signal(&ring->repair_wake);
    struct waiter *waiters = waiters_take(ring, clock_ms());
    pthread_mutex_unlock(&ring->lock);
    waiters_call(waiters);
    if (was)
        writer->wait_ms = RECONNECT_MS;
    back_off(writer);
    if (say)
        log_warning("ring", "the node %s cannot be reached: %s", peer->name, why);
}

/* Whether this node has been away for too long since the last time. */
static bool was_away(struct writer *writer)
{
    const unsigned before = writer->absences;
    writer->absences = ring_absences(writer->ring);
    return writer->absences != before;
}

/* Nothing of before is sent. */
static void drop_queued(struct writer *writer)
{
    struct ring *ring = writer->ring;
    pthread_mutex_lock(&ring->lock);
    ring_abandon(ring, writer->peer);
    end_push(writer, false);
    struct waiter *waiters = waiters_take(ring, clock_ms());
    pthread_mutex_unlock(&ring->lock);
    waiters_call(waiters);
}

/* Also after a node has been away for long the first write goes by the queue. */
static void found(struct writer *writer)
{
    struct peer *peer = writer->peer;
    pthread_mutex_lock(&writer->ring->lock);
    peer->reachable = peer->heard = peer->tried = true;
    peer->clock = writer->wire.clock;
    peer->epoch = writer->wire.epoch;
    bool say = peer->said_lost;
    peer->said_lost = false;
    unsigned missed = slots_count(&peer->missed);
    pthread_cond_signal(&writer->ring->repair_wake);
    pthread_mutex_unlock(&writer->ring->lock);
    writer->wait_ms = RECONNECT_MS;
    if (say)
        log_info("ring", "the node %s is back; it gets what it has missed in %u slots", peer->name,
                 missed);
}

static void reconnect(struct writer *writer)
{
    char address[RING_ADDRESS_BYTES];
    pthread_mutex_lock(&writer->ring->lock);
    memcpy(address, writer->peer->address, sizeof(address));
    writer->changes = writer->peer->changes;
    pthread_mutex_unlock(&writer->ring->lock);
    if (wire_open(&writer->wire, writer->ring, address, writer->ring->ack_timeout_ms) == SP_OK)
        found(writer);
    else
        lose(writer, sp_error_detail());
}

/* --- what goes out ---------------------------------------------------------------------------- */

static void write_command(struct batch *batch, size_t at, uint64_t epoch)
{
    const struct ring_write *write = batch->writes[at];
    struct command *command = &batch->commands[at];
    command->count = 0;
    command_word(command, "SIDEPOND");
    command_word(command, write->tombstone ? "ERASE" : "PUT");
    command_number(command, (int64_t)epoch, batch->numbers[at][0]);
    command_number(command, (int64_t)write->version, batch->numbers[at][1]);
    if (!write->tombstone)
        command_number(command, write->expiry_ms, batch->numbers[at][2]);
    command_add(command, write->bytes, write->key_bytes);
    if (!write->tombstone)
        command_add(command, write->bytes + write->key_bytes, write->value_bytes);
}

/* With the lock. */
static void take_queued(struct writer *writer)
{
    struct batch *batch = &writer->batch;
    struct queue *queue = &writer->peer->queue;
    while (batch->count < queue->count && batch->count < QUEUED_MAX &&
           batch->bytes < BATCH_BYTES_MAX) {
        struct ring_write *write = queue_at(queue, batch->count)->write;
        batch->writes[batch->count++] = write_ref(write);
        batch->bytes += write_bytes(write);
    }
    batch->queued = batch->count;
}

static bool has_room(const struct batch *batch, size_t bytes)
{
    return batch->count < BATCH_MAX &&
           (batch->pushed_bytes == 0 || batch->pushed_bytes + bytes <= PUSH_BYTES);
}

static void add_pushed(struct batch *batch, struct ring_write *write)
{
    batch->writes[batch->count++] = write;
    batch->bytes += write_bytes(write);
    batch->pushed_bytes += write_bytes(write);
}

/* With the cache's lock. */
static void visit(void *context, const struct cache_copy *copy)
{
    struct writer *writer = context;
    struct batch *batch = &writer->batch;
    struct push *push = &writer->push;
    const struct cache_entry *entry = &copy->entry;
    struct cache_copy key = *copy;
    unsigned slot = ring_slot_of(writer->ring, entry->key, entry->key_bytes);
    uint64_t hash = cache_hash(writer->ring->cache, entry->key, entry->key_bytes);
    bool now = has_room(batch, entry->key_bytes + entry->value_bytes);
    key.tombstone = true; /* without its value */
    struct ring_write *write = NULL;
    if (now || push->late_count < PUSH_MAX)
        write = write_new(hash, slot, now ? copy : &key);
    if (!write)
        push->failed = true; /* and is sent by the next walk */
    else if (now)
        add_pushed(batch, write);
    else
        push->late[push->late_count++] = write;
}

/* Of those that found no room in the last batch, as many as have it now. */
static void take_late(struct writer *writer)
{
    struct push *push = &writer->push;
    struct ring *ring = writer->ring;
    struct cache_copy copy;
    bool room = true;
    cache_lock(ring->cache, clock_wall_ms());
    while (push->late_count > 0 && room) {
        struct ring_write *late = push->late[push->late_count - 1];
        bool there = cache_find_copy(ring->cache, late->hash, late->bytes, late->key_bytes, &copy);
        room = !there || has_room(&writer->batch, copy.entry.key_bytes + copy.entry.value_bytes);
        if (!room)
            break;
        struct ring_write *write = there ? write_new(late->hash, late->slot, &copy) : NULL;
        if (write)
            add_pushed(&writer->batch, write);
        push->failed |= there && !write;
        write_unref(late);
        push->late_count--;
    }
    cache_unlock(ring->cache);
}

/* With the lock: what of missed slots is sent by the next walk; not what is aged. */
static struct slots next_push(const struct writer *writer)
{
    struct slots next = writer->peer->missed;
    slots_drop(&next, &writer->ring->aged);
    return next;
}

/* With the lock: whether there is anything of missed slots to be sent. */
static bool begin_push(struct writer *writer)
{
    struct peer *peer = writer->peer;
    struct slots sent = peer->sending;
    if (clock_ms() < writer->push.again_ms)
        return false;
    slots_keep(&sent, &writer->ring->aged);
    if (writer->push.runs && !slots_none(&sent))
        end_push(writer, false);
    if (!writer->push.runs && !slots_none(&peer->missed)) {
        const struct slots next = next_push(writer);
        const bool any = !slots_none(&next);
        writer->push = (struct push){.runs = any, .again_ms = any ? 0 : clock_ms() + PUSH_AGAIN_MS};
        peer->sending = next;
        slots_drop(&peer->missed, &next);
    }
    return writer->push.runs;
}

/* A step of the walk, or more if it brings nothing. */
static void take_missed(struct writer *writer, const struct slots *sending)
{
    struct ring *ring = writer->ring;
    struct batch *batch = &writer->batch;
    uint64_t until_us = clock_us() + 2000;
    size_t before = batch->count;
    do {
        cache_lock(ring->cache, clock_wall_ms());
        writer->push.cursor = cache_scan_slots(ring->cache, writer->push.cursor, PUSH_STEP,
                                               sending->words, visit, writer);
        cache_unlock(ring->cache);
    } while (writer->push.cursor != 0 && batch->count == before && clock_us() < until_us);
}

static void fill_batch(struct writer *writer)
{
    struct ring *ring = writer->ring;
    struct batch *batch = &writer->batch;
    struct slots sending;
    batch->count = batch->bytes = batch->pushed_bytes = 0;
    pthread_mutex_lock(&ring->lock);
    take_queued(writer);
    bool push = begin_push(writer);
    sending = writer->peer->sending;
    pthread_mutex_unlock(&ring->lock);
    if (push && writer->push.late_count > 0)
        take_late(writer);
    else if (push)
        take_missed(writer, &sending);
    uint64_t epoch = ring_epoch(ring);
    for (size_t i = 0; i < batch->count; i++)
        write_command(batch, i, epoch);
    if (batch->pushed_bytes > 0)
        writer->push.again_ms = clock_ms() + ring_spend(ring, batch->pushed_bytes);
    /* Where it has come to its end, that counts when all has been answered. */
    if (push && writer->push.cursor == 0 && writer->push.late_count == 0)
        writer->push.runs = false;
}

/* --- what comes back -------------------------------------------------------------------------- */

enum verdict {
    TAKEN,
    NEWER,   /* the peer has a newer one */
    MOVED,   /* the slot is not its own, by a later map */
    REFUSED, /* it is to be sent again */
};

static void hear_epoch(struct wire *wire, uint64_t epoch)
{
    if (epoch > wire->epoch)
        wire->epoch = epoch;
}

/* *current: of NEWER the version that the peer has, of MOVED the epoch of its map. */
static enum verdict verdict_of(struct writer *writer, const redisReply *reply, uint64_t *current)
{
    struct ring *ring = writer->ring;
    const redisReply *clock = reply;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        clock = reply->element[0];
        if (reply->element[1]->type == REDIS_REPLY_INTEGER)
            hear_epoch(&writer->wire, (uint64_t)reply->element[1]->integer);
    }
    if (clock->type == REDIS_REPLY_INTEGER) {
        (void)wire_hear_clock(&writer->wire, (uint64_t)clock->integer);
        ring_see(ring, (uint64_t)clock->integer);
        return TAKEN;
    }
    if (reply->type != REDIS_REPLY_ERROR)
        return REFUSED;
    if (strncmp(reply->str, "NEWER ", 6) == 0) {
        *current = strtoull(reply->str + 6, NULL, 10);
        return NEWER;
    }
    if (strncmp(reply->str, "MOVED ", 6) != 0)
        return REFUSED;
    *current = strtoull(reply->str + 6, NULL, 10);
    hear_epoch(&writer->wire, *current);
    return MOVED;
}

/* With the lock: whether the map says that the slot's writes go to this peer. */
static bool is_of(const struct ring *ring, const struct peer *peer, unsigned slot)
{
    uint16_t nodes[2 * RING_COPIES_MAX];
    unsigned count = ring->map ? ring_map_union(ring->map, slot, nodes) : 0;
    bool any = false;
    for (unsigned i = 0; i < count; i++)
        any |= ring->peers[nodes[i]] == peer;
    return any;
}

/* A peer that says MOVED by a map which has the slot as its own has been started anew, and is not
 * registered yet: it is sent again later, as long as the map says so. */
static enum verdict judge(struct writer *writer, const redisReply *reply, unsigned slot,
                          uint64_t *current)
{
    struct ring *ring = writer->ring;
    enum verdict verdict = verdict_of(writer, reply, current);
    if (verdict != MOVED)
        return verdict;
    pthread_mutex_lock(&ring->lock);
    bool unregistered = ring_epoch(ring) >= *current && is_of(ring, writer->peer, slot);
    pthread_mutex_unlock(&ring->lock);
    return unregistered ? REFUSED : MOVED;
}

/* The same write with a later version, if no other one has taken its place here. With the cache's
 * lock. */
static struct ring_write *stamp_again(struct ring *ring, const struct ring_write *old,
                                      uint64_t newer)
{
    struct cache_copy copy;
    uint64_t current;
    const void *key = old->bytes;
    bool there = cache_find_copy(ring->cache, old->hash, key, old->key_bytes, &copy);
    if (there ? copy.entry.version != old->version : !old->tombstone)
        return NULL;
    const uint64_t version = ring_clock_stamp(&ring->clock, clock_wall_ms());
    if (version <= newer) /* the peer's clock is too far ahead to be followed */
        return NULL;
    if (!there) { /* there was no memory for the tombstone */
        copy = (struct cache_copy){
            .entry = {.key = key, .key_bytes = old->key_bytes, .version = version},
            .tombstone = true};
        return write_new(old->hash, old->slot, &copy);
    }
    const struct cache_stamped stamped = {.hash = old->hash,
                                          .version = version,
                                          .key = key,
                                          .key_bytes = old->key_bytes,
                                          .value =
                                              old->tombstone ? NULL : old->bytes + old->key_bytes,
                                          .value_bytes = old->value_bytes,
                                          .expiry_ms = old->expiry_ms};
    if (cache_apply(ring->cache, &stamped, NULL, &current) != SP_OK ||
        !cache_find_copy(ring->cache, old->hash, key, old->key_bytes, &copy))
        return NULL;
    ring_written(ring, old->hash, key, old->key_bytes);
    return write_new(old->hash, old->slot, &copy);
}

/* Whether the write was late, and goes out again in its place. */
static bool restamp(struct writer *writer, uint64_t current)
{
    struct ring *ring = writer->ring;
    pthread_mutex_lock(&ring->lock);
    bool there = writer->peer->queue.count > 0;
    struct queued item = there ? *queue_at(&writer->peer->queue, 0) : (struct queued){0};
    if (there)
        write_ref(item.write);
    pthread_mutex_unlock(&ring->lock);
    if (!there)
        return false; /* the peer has gone, and its queue with it */
    struct ring_write *again = NULL;
    ring_see(ring, current);
    if (!item.write->given && clock_boot_ms() < item.since_ms + ring->ack_timeout_ms) {
        cache_lock(ring->cache, clock_wall_ms());
        again = stamp_again(ring, item.write, current);
        cache_unlock(ring->cache);
    }
    write_unref(item.write);
    if (!again)
        return false;
    pthread_mutex_lock(&ring->lock);
    item.write = again;
    if (writer->peer->queue.count > 0) {
        queue_pop(&writer->peer->queue);
        queue_push_front(&writer->peer->queue, &item);
    } else {
        write_unref(again);
    }
    pthread_mutex_unlock(&ring->lock);
    return true;
}

static void say_refused(const struct writer *writer, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        log_limited(LOG_WARNING, "ring", 10, "the node %s refuses a write: %s", writer->peer->name,
                    reply->str);
}

/* The oldest of the queue has been answered; false: it stays there, and so do those after it. */
static bool settle_queued(struct writer *writer, const redisReply *reply, unsigned slot)
{
    struct ring *ring = writer->ring;
    struct peer *peer = writer->peer;
    uint64_t current = 0;
    enum verdict verdict = judge(writer, reply, slot, &current);
    if (verdict == NEWER && restamp(writer, current))
        return false;
    if (verdict == REFUSED)
        say_refused(writer, reply);
    pthread_mutex_lock(&ring->lock);
    bool there = peer->queue.count > 0; /* not if the peer has gone meanwhile */
    if (there && verdict == REFUSED) {
        slots_add(&peer->missed, queue_at(&peer->queue, 0)->write->slot);
        peer->figures.failed++;
        writer->push.again_ms = clock_ms() + PUSH_AGAIN_MS;
    }
    if (there && verdict == MOVED) {
        slots_add(&ring->stray, queue_at(&peer->queue, 0)->write->slot);
        if (ring_epoch(ring) >= current)
            ring_send_stray(ring);
    }
    if (there)
        ring_answered(ring, peer, verdict == TAKEN);
    pthread_mutex_unlock(&ring->lock);
    return there;
}

/* Whether those that have the slot now are to get it instead. */
static bool settle_pushed(struct writer *writer, const redisReply *reply, unsigned slot)
{
    uint64_t current = 0;
    enum verdict verdict = judge(writer, reply, slot, &current);
    if (verdict == REFUSED) {
        writer->push.failed = true;
        say_refused(writer, reply);
    } else if (verdict == NEWER) {
        ring_see(writer->ring, current);
    }
    pthread_mutex_lock(&writer->ring->lock);
    writer->peer->figures.repaired_out += verdict == TAKEN;
    if (verdict == MOVED)
        slots_add(&writer->ring->stray, slot);
    pthread_mutex_unlock(&writer->ring->lock);
    return verdict == MOVED;
}

/* With the lock: after the last step of a walk. */
static void end_walk(struct writer *writer)
{
    if (writer->push.runs || slots_none(&writer->peer->sending))
        return;
    uint64_t again_ms = writer->push.again_ms;
    end_push(writer, !writer->push.failed);
    if (writer->push.again_ms == 0)
        writer->push.again_ms = again_ms;
}

static void settle_batch(struct writer *writer)
{
    struct batch *batch = &writer->batch;
    bool in_order = true, moved = false;
    for (size_t i = 0; i < batch->queued && in_order; i++)
        in_order = settle_queued(writer, batch->replies[i], batch->writes[i]->slot);
    for (size_t i = batch->queued; i < batch->count; i++)
        moved |= settle_pushed(writer, batch->replies[i], batch->writes[i]->slot);
    pthread_mutex_lock(&writer->ring->lock);
    writer->peer->clock = writer->wire.clock;
    if (moved && ring_epoch(writer->ring) >= writer->wire.epoch)
        ring_send_stray(writer->ring);
    end_walk(writer);
    struct waiter *waiters = waiters_take(writer->ring, 0);
    if (writer->peer->queue.count == 0)
        pthread_cond_signal(&writer->ring->quiet);
    pthread_mutex_unlock(&writer->ring->lock);
    waiters_call(waiters);
}

static void send_batch(struct writer *writer)
{
    struct batch *batch = &writer->batch;
    const struct request request = {.commands = batch->commands, .count = batch->count};
    const bool away = was_away(writer);
    int status = away ? SP_ECANCELED : SP_OK;
    if (away)
        drop_queued(writer);
    else if (batch->count > 0)
        status = wire_run(&writer->wire, &request, batch->replies);
    if (status == SP_OK)
        settle_batch(writer);
    for (size_t i = 0; i < batch->count; i++) {
        write_unref(batch->writes[i]);
        if (status == SP_OK)
            freeReplyObject(batch->replies[i]);
    }
    if (status != SP_OK && !away)
        lose(writer, sp_error_detail());
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Takes a later map from the peer where ZooKeeper is away. */
static void hear(struct writer *writer)
{
    if (wire_learn(&writer->wire, writer->ring) && !writer->wire.open)
        lose(writer, sp_error_detail());
}

/* With the lock: when there is something to send of what was missed; UINT64_MAX: nothing. */
static uint64_t push_at(const struct writer *writer)
{
    bool any = writer->push.runs || !slots_none(&writer->peer->missed);
    return any ? writer->push.again_ms : UINT64_MAX;
}

/* Waits for something to do; false: nothing has come for PING_MS. */
static bool wait_for_work(struct writer *writer)
{
    struct peer *peer = writer->peer;
    struct ring *ring = writer->ring;
    uint64_t ping_ms = clock_ms() + PING_MS;
    bool work = false;
    pthread_mutex_lock(&ring->lock);
    for (;;) {
        uint64_t now_ms = clock_ms();
        uint64_t at_ms = push_at(writer);
        work = peer->gone || peer->queue.count > 0 || at_ms <= now_ms ||
               peer->changes != writer->changes;
        if (work || now_ms >= ping_ms || atomic_load(&ring->stopping))
            break;
        peer->idle = true;
        ring_wait(ring, &peer->wake, at_ms < ping_ms ? at_ms : ping_ms);
        peer->idle = false;
    }
    pthread_mutex_unlock(&ring->lock);
    return work;
}

static void attach_again(struct writer *writer)
{
    if (wire_attach(&writer->wire, writer->ring) != SP_OK) {
        lose(writer, sp_error_detail());
        return;
    }
    pthread_mutex_lock(&writer->ring->lock);
    writer->peer->clock = writer->wire.clock;
    pthread_mutex_unlock(&writer->ring->lock);
}

static void work(struct writer *writer)
{
    bool busy = wait_for_work(writer);
    pthread_mutex_lock(&writer->ring->lock);
    bool moved = writer->peer->changes != writer->changes;
    bool ends = writer->peer->gone || atomic_load(&writer->ring->stopping);
    pthread_mutex_unlock(&writer->ring->lock);
    if (ends)
        return;
    if (moved) {
        lose(writer, "it has another address now");
        writer->try_ms = 0;
    } else if (!busy) {
        attach_again(writer);
    } else {
        fill_batch(writer);
        send_batch(writer);
    }
}

/* With the lock. Clients may ask for it all the time: it is not tried more often for that than a
 * node that has just been lost. */
static uint64_t connect_at(const struct writer *writer)
{
    if (writer->peer->hurry)
        return 0;
    bool asked = writer->peer->asked_for && writer->asked_ms < writer->try_ms;
    return asked ? writer->asked_ms : writer->try_ms;
}

/* Until it is time to connect; false: the thread is to end. */
static bool goes_on(struct writer *writer)
{
    struct peer *peer = writer->peer;
    pthread_mutex_lock(&writer->ring->lock);
    while (!writer->wire.open && !peer->gone && clock_ms() < connect_at(writer) &&
           !atomic_load(&writer->ring->stopping) && peer->changes == writer->changes) {
        peer->idle = true;
        ring_wait(writer->ring, &peer->wake, connect_at(writer));
        peer->idle = false;
    }
    peer->hurry = peer->asked_for = false;
    bool ends = peer->gone || atomic_load(&writer->ring->stopping);
    pthread_mutex_unlock(&writer->ring->lock);
    return !ends;
}

static void *run_writer(void *argument)
{
    struct writer *writer = argument;
    struct peer *peer = writer->peer;
    while (goes_on(writer)) {
        if (writer->wire.open)
            work(writer);
        else
            reconnect(writer);
        if (writer->wire.open)
            hear(writer);
    }
    wire_close(&writer->wire);
    drop_late(&writer->push);
    free(writer);
    peer_thread_ends(peer);
    return NULL;
}

/* --- beginning and ending --------------------------------------------------------------------- */

static bool start_writer(struct peer *peer)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return false;
    writer->peer = peer;
    writer->ring = peer->ring;
    writer->wait_ms = RECONNECT_MS;
    writer->seed = (unsigned)clock_ns();
    writer->absences = atomic_load(&writer->ring->absences);
    peer->running++;
    if (thread_start(&peer->writer, run_writer, writer) == SP_OK)
        return true;
    peer->running--;
    free(writer);
    return false;
}

struct peer *peer_start(struct ring *ring, const struct ring_node *node)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->ring = ring;
    memcpy(peer->name, node->name, sizeof(peer->name));
    memcpy(peer->address, node->address, sizeof(peer->address));
    peer->asks_end = &peer->asks;
    thread_cond_init(&peer->wake);
    thread_cond_init(&peer->ask_wake);
    if (start_writer(peer))
        return peer;
    pthread_cond_destroy(&peer->wake);
    pthread_cond_destroy(&peer->ask_wake);
    free(peer);
    return NULL;
}

void peer_thread_ends(struct peer *peer)
{
    pthread_mutex_lock(&peer->ring->lock);
    peer->running--;
    pthread_cond_signal(&peer->ring->control_wake);
    pthread_mutex_unlock(&peer->ring->lock);
}

void peer_end(struct peer *peer)
{
    peer->gone = true;
    peer->reachable = false;
    pthread_cond_signal(&peer->wake);
    pthread_cond_signal(&peer->ask_wake);
}

void peer_free(struct peer *peer)
{
    pthread_join(peer->writer, NULL);
    if (peer->asker_runs)
        pthread_join(peer->asker, NULL);
    asks_end(peer->asks);
    queue_free(&peer->queue);
    pthread_cond_destroy(&peer->wake);
    pthread_cond_destroy(&peer->ask_wake);
    free(peer);
}
