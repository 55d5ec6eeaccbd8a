/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.c - connections to other nodes, by the same code as every client's, and what repair asks on
 * them (docs/RING.md, "What is said on the wire").
 *
 * What a peer answers is not believed before it has been looked at: an answer of another form than
 * was expected is an error, and ends the connection.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/ring/internal.h"

/* --- connecting ------------------------------------------------------------------------------- */

void wire_close(struct wire *wire)
{
    if (!wire->open)
        return;
    connection_end(&wire->connection);
    if (wire->connection.reader)
        redisReaderFree(wire->connection.reader);
    wire->connection.reader = NULL;
    wire->open = false;
}

int wire_run(struct wire *wire, const struct request *request, redisReply **replies)
{
    int status = request_run_on(&wire->connection, request, replies);
    if (status != SP_OK)
        wire_close(wire);
    return status;
}

static bool is_not_held(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOTHELD ", 8) == 0;
}

/* One command. The reply is the caller's if the status is SP_OK; it is of this type then.
 * SP_ENOTREADY: the node does not yet know what it has of a slot that was asked for. */
static int ask(struct wire *wire, const struct command *command, int type, redisReply **reply)
{
    const struct request request = {.commands = command, .count = 1};
    int status = wire_run(wire, &request, reply);
    if (status != SP_OK)
        return status;
    status = reply_status(*reply, 1u << type, wire->connection.address);
    if (is_not_held(*reply))
        status = SP_ENOTREADY;
    if (status != SP_OK) {
        freeReplyObject(*reply);
        *reply = NULL;
    }
    return status;
}

static int strange(struct wire *wire, redisReply *reply)
{
    error_set(SP_EREFUSED, "%s: a reply of another form than was expected",
              wire->connection.address);
    freeReplyObject(reply);
    wire_close(wire);
    return SP_EREFUSED;
}

static bool is_integer(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER;
}

static bool parse_hex(const redisReply *reply, uint64_t *out)
{
    char *end;
    if ((reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS) || reply->len < 1)
        return false;
    *out = strtoull(reply->str, &end, 16);
    return *end == '\0';
}

bool wire_hear_clock(struct wire *wire, uint64_t clock)
{
    if (clock >> ENTRY_CLOCK_BITS != 0)
        return false;
    wire->clock = (struct heard_clock){ring_clock_wall_ms(clock), clock_boot_ms()};
    return true;
}

int wire_attach(struct wire *wire, struct ring *ring)
{
    struct command command = {.count = 0};
    char epoch[NUMBER_BYTES];
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, "ATTACH");
    command_number(&command, (int64_t)ring_epoch(ring), epoch);
    int status = ask(wire, &command, REDIS_REPLY_ARRAY, &reply);
    if (status != SP_OK)
        return status;
    if (reply->elements != 3 || !parse_hex(reply->element[0], &wire->start) ||
        !is_integer(reply->element[1]) || !is_integer(reply->element[2]))
        return strange(wire, reply);
    wire->epoch = (uint64_t)reply->element[1]->integer;
    uint64_t clock = (uint64_t)reply->element[2]->integer;
    if (!wire_hear_clock(wire, clock))
        return strange(wire, reply);
    ring_see(ring, clock);
    freeReplyObject(reply);
    return SP_OK;
}

static int open_at(struct wire *wire, struct ring *ring, const char *address, uint32_t timeout_ms)
{
    struct link_settings settings = {.timeout_ms = timeout_ms};
    const struct ring_options *options = &ring->options;
    snprintf(settings.address, sizeof(settings.address), "%s", address);
    snprintf(settings.user, sizeof(settings.user), "%s", options->user ? options->user : "");
    snprintf(settings.password, sizeof(settings.password), "%s",
             options->password ? options->password : "");
    wire->connection = (struct connection){.fd = -1};
    wire->open = true;
    int status = connection_open(&wire->connection, &settings);
    explicit_bzero(&settings, sizeof(settings));
    if (status == SP_OK)
        status = wire_attach(wire, ring);
    if (status != SP_OK)
        wire_close(wire);
    return status;
}

int wire_open(struct wire *wire, struct ring *ring, const char *address, uint32_t timeout_ms)
{
    struct host_addresses found;
    int status = lookup_address(ring, address, timeout_ms, &found);
    if (status != SP_OK)
        return status;
    for (size_t i = 0; i < found.count; i++) {
        status = open_at(wire, ring, found.addresses[i], timeout_ms);
        if (status == SP_OK)
            return SP_OK;
    }
    return status;
}

bool wire_is_of(struct wire *wire, const char *cluster)
{
    struct command command = {.count = 0};
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, "CLUSTER");
    if (ask(wire, &command, REDIS_REPLY_STRING, &reply) != SP_OK)
        return wire->open;
    bool same = strcmp(reply->str, cluster) == 0;
    freeReplyObject(reply);
    return same;
}

/* SP_OK and NULL: it has none. */
static int ask_map(struct wire *wire, struct ring_map **out)
{
    struct command command = {.count = 0};
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, "RING");
    int status = ask(wire, &command, REDIS_REPLY_STRING, &reply);
    if (status != SP_OK)
        return status;
    status = ring_map_decode((const uint8_t *)reply->str, (size_t)reply->len, out);
    freeReplyObject(reply);
    return status;
}

bool wire_learn(struct wire *wire, struct ring *ring)
{
    struct ring_map *map = NULL;
    if (!ring->in_zookeeper || wire->epoch <= ring_epoch(ring) ||
        atomic_load(&ring->member_link) == MEMBER_CONNECTED)
        return false;
    if (ask_map(wire, &map) != SP_OK)
        return true;
    pthread_mutex_lock(&ring->member_lock);
    if (ring->member)
        member_learn(ring->member, map);
    pthread_mutex_unlock(&ring->member_lock);
    ring_map_unref(map);
    return true;
}

/* --- what repair asks ------------------------------------------------------------------------- */

static void write_bitmap(const struct slots *slots, unsigned slot_count, uint8_t *out)
{
    for (unsigned i = 0; i < slot_count / 8; i++)
        out[i] = (uint8_t)(slots->words[i / 8] >> (i % 8 * 8));
}

static uint64_t read_digest(const char *bytes)
{
    uint64_t digest = 0;
    for (unsigned i = 0; i < 8; i++)
        digest |= (uint64_t)(uint8_t)bytes[i] << 8 * i;
    return digest;
}

int wire_digests(struct wire *wire, const struct slots *slots, unsigned slot_count,
                 uint64_t digests[RING_SLOTS_MAX])
{
    struct command command = {.count = 0};
    uint8_t bitmap[RING_SLOTS_MAX / 8];
    redisReply *reply;
    size_t count = slots_count(slots);
    write_bitmap(slots, slot_count, bitmap);
    command_word(&command, "SIDEPOND");
    command_word(&command, "DIGESTS");
    command_add(&command, bitmap, slot_count / 8);
    int status = ask(wire, &command, REDIS_REPLY_STRING, &reply);
    if (status != SP_OK)
        return status;
    if ((size_t)reply->len != 8 * count)
        return strange(wire, reply);
    for (size_t i = 0; i < count; i++)
        digests[i] = read_digest(reply->str + 8 * i);
    freeReplyObject(reply);
    return SP_OK;
}

int wire_missed(struct wire *wire, const char *node, uint64_t *slots)
{
    struct command command = {.count = 0};
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, "MISSED");
    command_word(&command, node);
    int status = ask(wire, &command, REDIS_REPLY_INTEGER, &reply);
    if (status != SP_OK)
        return status;
    *slots = (uint64_t)reply->integer;
    freeReplyObject(reply);
    return SP_OK;
}

int wire_since(struct wire *wire, int64_t *since_ms)
{
    struct command command = {.count = 0};
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, "SINCE");
    int status = ask(wire, &command, REDIS_REPLY_INTEGER, &reply);
    if (status != SP_OK)
        return status;
    *since_ms = reply->integer;
    freeReplyObject(reply);
    return SP_OK;
}

static bool is_entry(const redisReply *entry)
{
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 4 &&
           entry->element[0]->type == REDIS_REPLY_STRING && is_integer(entry->element[1]) &&
           is_integer(entry->element[2]) &&
           (entry->element[3]->type == REDIS_REPLY_STRING ||
            entry->element[3]->type == REDIS_REPLY_NIL);
}

static bool is_page(const redisReply *reply)
{
    bool good = reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
                reply->element[0]->len > 0 && reply->element[0]->len < (int)NUMBER_BYTES &&
                reply->element[1]->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; good && i < reply->element[1]->elements; i++)
        good = is_entry(reply->element[1]->element[i]);
    return good;
}

int wire_pull(struct wire *wire, const char *cursor, size_t bytes, const struct slots *slots,
              unsigned slot_count, redisReply **reply)
{
    struct command command = {.count = 0};
    char number[NUMBER_BYTES];
    uint8_t bitmap[RING_SLOTS_MAX / 8];
    write_bitmap(slots, slot_count, bitmap);
    command_word(&command, "SIDEPOND");
    command_word(&command, "PULL");
    command_word(&command, cursor);
    command_number(&command, (int64_t)bytes, number);
    command_add(&command, bitmap, slot_count / 8);
    int status = ask(wire, &command, REDIS_REPLY_ARRAY, reply);
    if (status != SP_OK)
        return status;
    return is_page(*reply) ? SP_OK : strange(wire, *reply);
}
