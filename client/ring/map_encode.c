/* SPDX-License-Identifier: Apache-2.0
 *
 * map_encode.c - the map as bytes (docs/RING.md, "Encoding"). Each map has one encoding, and what
 * is decoded encodes to the same bytes again.
 *
 * A settled map of 16384 slots with two copies takes 82 KB; the largest possible one 450 KB, which
 * a ZooKeeper with its usual limit of 1 MB stores.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/hash.h"
#include "client/ring/map_internal.h"

#define FORMAT         1u
#define HEAD_BYTES     26u
#define CHECKSUM_BYTES 8u

static const char magic[6] = {'S', 'P', 'R', 'I', 'N', 'G'};

/* --- writing --------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    const size_t size = strlen(text);
    *at++ = (uint8_t)size;
    memcpy(at, text, size);
    return at + size;
}

static bool is_settled(const struct ring_slot_copies *slot)
{
    return slot->holder_count == slot->target_count &&
           memcmp(slot->holders, slot->targets, slot->holder_count * sizeof *slot->holders) == 0;
}

static size_t encoded_bytes(const struct ring_map *map)
{
    size_t size = HEAD_BYTES + CHECKSUM_BYTES;
    for (unsigned i = 0; i < map->node_count; i++)
        size += 3 + strlen(map->nodes[i].name) + strlen(map->nodes[i].address) +
                strlen(map->nodes[i].zone) + 2 + 1 + 8;
    for (unsigned i = 0; i < map->parameters.slots; i++) {
        const struct ring_slot_copies *slot = &map->slots[i];
        size += 1 + 2 * (slot->holder_count + (is_settled(slot) ? 0u : slot->target_count));
    }
    return size;
}

static uint8_t *put_head(uint8_t *at, const struct ring_map *map, size_t size)
{
    memcpy(at, magic, sizeof magic);
    at = put(at + sizeof magic, FORMAT, 2);
    at = put(at, map->epoch, 8);
    at = put(at, size, 4);
    at = put(at, map->parameters.slots, 2);
    at = put(at, map->parameters.replicas, 1);
    at = put(at, map->parameters.kind, 1);
    return put(at, map->node_count, 2);
}

static uint8_t *put_node(uint8_t *at, const struct ring_node *node)
{
    at = put_text(at, node->name);
    at = put_text(at, node->address);
    at = put_text(at, node->zone);
    at = put(at, node->weight, 2);
    at = put(at, node->state, 1);
    return put(at, node->start, 8);
}

static uint8_t *put_slot(uint8_t *at, const struct ring_slot_copies *slot)
{
    const unsigned target_count = is_settled(slot) ? 0 : slot->target_count;
    at = put(at, slot->holder_count | target_count << 4, 1);
    for (unsigned i = 0; i < slot->holder_count; i++)
        at = put(at, slot->holders[i], 2);
    for (unsigned i = 0; i < target_count; i++)
        at = put(at, slot->targets[i], 2);
    return at;
}

int ring_map_encode(const struct ring_map *map, uint8_t **out, size_t *size)
{
    *size = encoded_bytes(map);
    *out = malloc(*size);
    if (*out == NULL)
        return SP_ENOMEM;
    uint8_t *at = put_head(*out, map, *size);
    for (unsigned i = 0; i < map->node_count; i++)
        at = put_node(at, &map->nodes[i]);
    for (unsigned i = 0; i < map->parameters.slots; i++)
        at = put_slot(at, &map->slots[i]);
    put(at, hash_bytes(*out, *size - CHECKSUM_BYTES), CHECKSUM_BYTES);
    return SP_OK;
}

/* --- reading --------------------------------------------------------------------------------- */

/* What is left to be read. Once something was missing, everything is. */
struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t take(struct reader *reader, unsigned bytes)
{
    uint64_t value = 0;
    if (reader->bad || (size_t)(reader->end - reader->at) < bytes) {
        reader->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)*reader->at++ << 8 * i;
    return value;
}

static void take_text(struct reader *reader, char *to, size_t room)
{
    const size_t size = take(reader, 1);
    if (reader->bad || size >= room || (size_t)(reader->end - reader->at) < size ||
        memchr(reader->at, 0, size) != NULL) {
        reader->bad = true;
        return;
    }
    memcpy(to, reader->at, size);
    reader->at += size;
}

static void take_node(struct reader *reader, struct ring_node *node)
{
    char why[RING_WHY_BYTES];
    take_text(reader, node->name, sizeof node->name);
    take_text(reader, node->address, sizeof node->address);
    take_text(reader, node->zone, sizeof node->zone);
    node->weight = (uint16_t)take(reader, 2);
    node->state = (uint8_t)take(reader, 1);
    node->start = take(reader, 8);
    if (!reader->bad && ring_node_check(node, why) != SP_OK)
        reader->bad = true;
}

/* Different nodes of the map. */
static void take_list(struct reader *reader, uint16_t *list, unsigned count, uint32_t node_count)
{
    for (unsigned i = 0; i < count; i++) {
        list[i] = (uint16_t)take(reader, 2);
        if (list[i] >= node_count || ring_list_has(list, i, list[i]))
            reader->bad = true;
    }
}

static void take_slot(struct reader *reader, struct ring_slot_copies *slot, uint32_t node_count)
{
    const unsigned counts = (unsigned)take(reader, 1);
    const unsigned holder_count = counts & 15, target_count = counts >> 4;
    if (holder_count < 1 || holder_count > RING_COPIES_MAX || target_count > RING_COPIES_MAX)
        reader->bad = true;
    if (reader->bad)
        return;
    slot->holder_count = (uint8_t)holder_count;
    slot->target_count = (uint8_t)target_count;
    take_list(reader, slot->holders, holder_count, node_count);
    take_list(reader, slot->targets, target_count, node_count);
    if (target_count > 0 && is_settled(slot))
        reader->bad = true;
    if (target_count == 0) {
        memcpy(slot->targets, slot->holders, sizeof slot->targets);
        slot->target_count = slot->holder_count;
    }
}

static bool take_all(struct reader *reader, struct ring_map *map)
{
    for (unsigned i = 0; i < map->node_count && !reader->bad; i++) {
        take_node(reader, &map->nodes[i]);
        if (i > 0 && strcmp(map->nodes[i - 1].name, map->nodes[i].name) >= 0)
            reader->bad = true;
    }
    for (unsigned i = 0; i < map->parameters.slots && !reader->bad; i++)
        take_slot(reader, &map->slots[i], map->node_count);
    return !reader->bad && reader->at == reader->end;
}

/* Of a map's form: the checksum is not looked at yet. */
static int check_frame(const uint8_t *bytes, size_t size)
{
    struct reader reader = {bytes + sizeof magic, bytes + size, false};
    if (size < sizeof magic + 2 || memcmp(bytes, magic, sizeof magic) != 0 ||
        take(&reader, 2) != FORMAT)
        return SP_EFORMAT;
    take(&reader, 8);
    if (size < HEAD_BYTES + CHECKSUM_BYTES || take(&reader, 4) != size)
        return SP_ECORRUPT;
    reader.at = bytes + size - CHECKSUM_BYTES;
    return take(&reader, CHECKSUM_BYTES) == hash_bytes(bytes, size - CHECKSUM_BYTES) ? SP_OK
                                                                                     : SP_ECORRUPT;
}

int ring_map_decode(const void *bytes, size_t size, struct ring_map **out)
{
    char why[RING_WHY_BYTES];
    *out = NULL;
    const int status = check_frame(bytes, size);
    if (status != SP_OK)
        return status;
    struct reader reader = {(const uint8_t *)bytes + sizeof magic + 2,
                            (const uint8_t *)bytes + size - CHECKSUM_BYTES, false};
    const uint64_t epoch = take(&reader, 8);
    take(&reader, 4);
    struct ring_parameters parameters = {.slots = (uint16_t)take(&reader, 2)};
    parameters.replicas = (uint8_t)take(&reader, 1);
    parameters.kind = (uint8_t)take(&reader, 1);
    const uint32_t node_count = (uint32_t)take(&reader, 2);
    if (epoch == 0 || node_count < 1 || node_count > RING_NODES_MAX ||
        !ring_parameters_check(&parameters, why))
        return SP_ECORRUPT;
    struct ring_map *map = ring_map_new(&parameters, epoch, node_count);
    if (map == NULL)
        return SP_ENOMEM;
    if (take_all(&reader, map)) {
        *out = map;
        return SP_OK;
    }
    ring_map_unref(map);
    return SP_ECORRUPT;
}
