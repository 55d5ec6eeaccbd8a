/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_commands.c - what ring clients and other nodes say to a node of a ring (docs/RING.md, "What
 * is said on the wire"): SIDEPOND ATTACH, PUT, ERASE, DIGESTS, SINCE, CLUSTER, MISSED, MISS, RING;
 * and Redis' CLUSTER.
 *
 * PUT and ERASE are the SET and DEL of ring clients, and cost as much: their numbers are parsed,
 * and one call writes. Numbers are as number_parse has them: digits, without a sign or leading
 * zeros.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/command/commands.h"
#include "server/resp/number.h"
#include "server/ring/ring.h"
#include "server/store/cache_ring.h"

#define VERSION_MAX ((INT64_C(1) << 48) - 1)
#define HEX_BYTES   17 /* of 64 bits, terminated */

/* --- arguments and answers -------------------------------------------------------------------- */

/* NULL, with the error replied: this is no node of a ring. */
static struct ring *ring_of(struct session *session)
{
    if (!session->service->ring)
        reply_error(&session->reply, "ERR this server is not a node of a ring");
    return session->service->ring;
}

/* The same for who shall change something: only a ring client, or another node. */
static struct ring *ring_of_attached(struct session *session)
{
    struct ring *ring = ring_of(session);
    if (!ring || session->ring.attached)
        return ring;
    reply_error(&session->reply, "ERR SIDEPOND ATTACH is to come first on this connection");
    return NULL;
}

static bool take_number(struct session *session, const struct resp_arg *arg, const char *what,
                        int64_t least, int64_t most, int64_t *out)
{
    if (number_parse(arg->bytes, arg->size, out) && *out >= least && *out <= most)
        return true;
    reply_error(&session->reply, "ERR the %s must be a whole number from %lld to %lld", what,
                (long long)least, (long long)most);
    return false;
}

static bool take_epoch(struct session *session, const struct resp_arg *arg, uint64_t *epoch)
{
    int64_t number;
    if (!take_number(session, arg, "epoch", 0, INT64_MAX, &number))
        return false;
    *epoch = (uint64_t)number;
    return true;
}

static void reply_hex(struct reply *reply, uint64_t value)
{
    char text[HEX_BYTES];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    reply_text(reply, text);
}

/* The wall clock, or the latest version seen or given, if that is later. */
static int64_t clock_of(struct session *session, struct ring *ring)
{
    uint64_t wall = ring_clock_of(session_now(session));
    uint64_t last = atomic_load_explicit(&ring_clock(ring)->last, memory_order_relaxed);
    return (int64_t)(wall > last ? wall : last);
}

/* --- ATTACH ----------------------------------------------------------------------------------- */

void run_sidepond_attach(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of(session);
    uint64_t epoch;
    if (!ring || !take_epoch(session, &call->args[2], &epoch))
        return;
    session->ring.attached = true;
    reply_array(&session->reply, 3);
    reply_hex(&session->reply, ring_process_id(ring));
    reply_integer(&session->reply, (int64_t)ring_epoch(ring));
    reply_integer(&session->reply, clock_of(session, ring));
}

/* --- PUT and ERASE ---------------------------------------------------------------------------- */

static bool take_stamp(struct session *session, const struct call *call, struct ring_put *put)
{
    int64_t version;
    if (!take_epoch(session, &call->args[2], &put->epoch) ||
        !take_number(session, &call->args[3], "version", 1, VERSION_MAX, &version))
        return false;
    put->version = (uint64_t)version;
    return true;
}

static void reply_stored(struct session *session, struct ring *ring, uint64_t client_epoch)
{
    uint64_t epoch = ring_epoch(ring);
    if (__builtin_expect(client_epoch < epoch, 0))
        reply_array(&session->reply, 2);
    reply_integer(&session->reply, clock_of(session, ring));
    if (__builtin_expect(client_epoch < epoch, 0))
        reply_integer(&session->reply, (int64_t)epoch);
}

static void reply_refused(struct session *session, struct ring *ring, int status, uint64_t current)
{
    if (status == SP_EEXISTS)
        reply_error(&session->reply, "NEWER %llu", (unsigned long long)current);
    else if (status == SP_ERANGE)
        reply_error(&session->reply, "CLOCK %lld", (long long)clock_of(session, ring));
    else if (status == SP_ENOTFOUND)
        reply_error(&session->reply, "MOVED %llu", (unsigned long long)ring_epoch(ring));
    else
        reply_store_error(session, status);
}

/* False, with the error replied. */
static bool apply(struct session *session, struct ring *ring, const struct ring_put *put,
                  const struct resp_arg *key)
{
    uint64_t current = 0;
    ring_place place = 0;
    int status = ring_apply(ring, put, &current, &place);
    if (status != SP_OK) {
        reply_refused(session, ring, status, current);
        return false;
    }
    key_tracked(session, key);
    ring_note_place(session, place);
    reply_stored(session, ring, put->epoch);
    return true;
}

void run_sidepond_put(struct session *session, const struct call *call)
{
    const struct resp_arg *key = &call->args[5], *value = &call->args[6];
    struct ring_put put = {.hash = call->hash,
                           .key = key->bytes,
                           .key_bytes = key->size,
                           .value = value->bytes,
                           .value_bytes = value->size};
    struct ring *ring = ring_of_attached(session);
    if (!ring || !take_stamp(session, call, &put) ||
        !take_number(session, &call->args[4], "expiry", 0, INT64_MAX, &put.expiry_ms))
        return;
    key_written(session, put.hash);
    if (!apply(session, ring, &put, key))
        return;
    key_event(session, EVENT_STRING, "set", key);
    if (put.expiry_ms != CACHE_NO_EXPIRY)
        key_event(session, EVENT_GENERIC, "expire", key);
}

/* For the event, which only somebody who wants it pays for. */
static bool is_there(struct session *session, const struct ring_put *put)
{
    struct cache_entry entry;
    uint32_t wanted = atomic_load_explicit(&session->service->events, memory_order_relaxed);
    return (wanted & EVENT_GENERIC) &&
           cache_find(session_cache(session), put->hash, put->key, put->key_bytes, &entry);
}

void run_sidepond_erase(struct session *session, const struct call *call)
{
    const struct resp_arg *key = &call->args[4];
    struct ring_put put = {.hash = call->hash, .key = key->bytes, .key_bytes = key->size};
    struct ring *ring = ring_of_attached(session);
    if (!ring || !take_stamp(session, call, &put))
        return;
    bool there = is_there(session, &put);
    key_deleted(session, put.hash);
    if (apply(session, ring, &put, key) && there)
        key_event(session, EVENT_GENERIC, "del", key);
}

/* --- comparing and missed slots --------------------------------------------------------------- */

bool ring_take_slots(const struct resp_arg *arg, unsigned slots, uint64_t out[RING_SLOT_WORDS])
{
    if (arg->size != slots / 8)
        return false;
    memset(out, 0, RING_SLOT_WORDS * sizeof(*out));
    for (size_t i = 0; i < arg->size; i++)
        out[i / 8] |= (uint64_t)(uint8_t)arg->bytes[i] << (i % 8 * 8);
    return true;
}

/* Of the slots of a bitmap, their digests as they are: 8 bytes each. */
static void reply_digests(struct session *session, struct ring *ring, const struct resp_arg *arg)
{
    uint64_t wanted[RING_SLOT_WORDS];
    uint8_t digests[RING_SLOTS_MAX][8];
    size_t count = 0;
    if (!ring_take_slots(arg, ring_slots(ring), wanted)) {
        reply_error(&session->reply, RING_SLOTS_ERROR, ring_slots(ring) / 8);
        return;
    }
    if (!ring_gives(ring, wanted)) {
        ring_reply_aged(session, ring);
        return;
    }
    for (unsigned s = 0; s < ring_slots(ring); s++) {
        struct cache_slot slot;
        if (!(wanted[s / 64] >> (s % 64) & 1))
            continue;
        cache_slot(session_cache(session), s, &slot);
        for (unsigned i = 0; i < 8; i++)
            digests[count][i] = (uint8_t)(slot.digest >> 8 * i);
        count++;
    }
    reply_bulk(&session->reply, digests, 8 * count);
}

/* Of `count` slots, as an operator reads them. */
static void reply_slots(struct session *session, struct ring *ring, unsigned first, unsigned count)
{
    uint64_t wanted[RING_SLOT_WORDS] = {0};
    for (unsigned s = first; s < first + count; s++)
        wanted[s / 64] |= UINT64_C(1) << (s % 64);
    if (!ring_gives(ring, wanted)) {
        ring_reply_aged(session, ring);
        return;
    }
    reply_array(&session->reply, count);
    for (unsigned s = first; s < first + count; s++) {
        struct cache_slot slot;
        cache_slot(session_cache(session), s, &slot);
        reply_array(&session->reply, 2);
        reply_hex(&session->reply, slot.digest);
        reply_integer(&session->reply, slot.entries);
    }
}

void run_sidepond_digests(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of(session);
    int64_t first, count;
    if (!ring)
        return;
    if (call->count == 3) {
        reply_digests(session, ring, &call->args[2]);
        return;
    }
    if (call->count != 4) {
        reply_error(&session->reply, "ERR syntax error");
        return;
    }
    int64_t slots = ring_slots(ring);
    if (take_number(session, &call->args[2], "first slot", 0, slots - 1, &first) &&
        take_number(session, &call->args[3], "number of slots", 1, slots - first, &count))
        reply_slots(session, ring, (unsigned)first, (unsigned)count);
}

void ring_reply_aged(struct session *session, const struct ring *ring)
{
    reply_error(&session->reply, "NOTHELD %llu", (unsigned long long)ring_epoch(ring));
}

void run_sidepond_since(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of(session);
    (void)call;
    if (ring)
        reply_integer(&session->reply, ring_since(ring));
}

/* Of a ring by a static list: an empty name. */
void run_sidepond_cluster(struct session *session, const struct call *call)
{
    const struct ring *ring = ring_of(session);
    (void)call;
    if (ring)
        reply_text(&session->reply, ring_cluster(ring));
}

/* A node's name, terminated; false, with the error replied: there can be none of this name. */
static bool take_node(struct session *session, const struct resp_arg *arg,
                      char name[RING_NAME_BYTES])
{
    if (arg->size >= RING_NAME_BYTES || memchr(arg->bytes, '\0', arg->size)) {
        reply_error(&session->reply, "ERR there is no such node in the ring");
        return false;
    }
    memcpy(name, arg->bytes, arg->size);
    name[arg->size] = '\0';
    return true;
}

static void reply_no_node(struct session *session, int status)
{
    if (status == SP_ENOTFOUND)
        reply_error(&session->reply, "ERR there is no such node in the ring");
    else
        reply_store_error(session, status);
}

void run_sidepond_missed(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of(session);
    char name[RING_NAME_BYTES];
    unsigned missed = 0;
    if (!ring || !take_node(session, &call->args[2], name))
        return;
    int status = ring_missed(ring, name, &missed);
    if (status == SP_OK)
        reply_integer(&session->reply, missed);
    else
        reply_no_node(session, status);
}

void run_sidepond_miss(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of_attached(session);
    char name[RING_NAME_BYTES];
    uint64_t slots[RING_SLOT_WORDS];
    if (!ring || !take_node(session, &call->args[2], name))
        return;
    if (!ring_take_slots(&call->args[3], ring_slots(ring), slots)) {
        reply_error(&session->reply, RING_SLOTS_ERROR, ring_slots(ring) / 8);
        return;
    }
    int status = ring_miss(ring, name, slots);
    if (status == SP_OK)
        reply_ok(&session->reply);
    else
        reply_no_node(session, status);
}

/* --- the map ---------------------------------------------------------------------------------- */

void run_sidepond_ring(struct session *session, const struct call *call)
{
    struct ring *ring = ring_of(session);
    uint8_t *bytes;
    size_t size;
    (void)call;
    if (!ring)
        return;
    struct ring_map *map = ring_map(ring);
    if (!map) {
        reply_null(&session->reply);
        return;
    }
    int status = ring_map_encode(map, &bytes, &size);
    ring_map_unref(map);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    reply_bulk(&session->reply, bytes, size);
    free(bytes);
}

/* Redis Cluster's, of which a ring has the slots, and nothing else. */
void run_cluster(struct session *session, const struct call *call)
{
    const struct ring *ring = session->service->ring;
    if (ring && call->count == 3 && arg_is(&call->args[1], "keyslot"))
        reply_integer(&session->reply,
                      ring_slot(call->args[2].bytes, call->args[2].size, ring_slots(ring)));
    else
        reply_error(&session->reply, "ERR This instance has cluster support disabled");
}
