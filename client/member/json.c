/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c - the texts that lie in ZooKeeper (docs/RING.md, "In ZooKeeper").
 *
 * Written is what is specified; read is anything, and unknown members are passed over. Start ids
 * are hexadecimal text, because JSON's numbers have 53 bits.
 */
#include "client/member/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETERS_FORMAT 1

static const char *const kinds[] = {"sidepondd", "redis"};
static const char *const states[] = {"ready", "draining", "leaving"};

/* --- nodes ------------------------------------------------------------------------------------ */

int json_write_node(const struct ring_node *node, bool leaving, char out[MEMBER_OWN_BYTES])
{
    const char *state = states[leaving ? 2 : node->state == RING_NODE_DRAINING];
    char start[17];
    snprintf(start, sizeof start, "%016" PRIx64, node->start);
    json_t *object =
        json_pack("{s:s, s:s, s:i, s:s, s:s}", "address", node->address, "zone", node->zone,
                  "weight", (int)node->weight, "state", state, "start", start);
    if (object == NULL)
        return SP_EINVAL; /* not UTF-8, or no memory */
    size_t size = json_dumpb(object, out, MEMBER_OWN_BYTES - 1, JSON_COMPACT);
    json_decref(object);
    if (size >= MEMBER_OWN_BYTES)
        return SP_ETOOBIG;
    out[size] = '\0';
    return SP_OK;
}

static bool take_text(char *out, size_t room, const char *text)
{
    size_t size = strlen(text);
    if (size >= room)
        return false;
    memcpy(out, text, size + 1);
    return true;
}

static bool take_start(const char *text, uint64_t *out)
{
    char *end;
    if (strspn(text, "0123456789abcdefABCDEF") != strlen(text) || strlen(text) > 16)
        return false;
    *out = strtoull(text, &end, 16);
    return end != text && *end == '\0';
}

static bool take_node(json_t *object, struct ring_node *out, bool *leaving)
{
    const char *address, *zone = "", *state = states[0], *start;
    int weight = 100;
    if (json_unpack(object, "{s:s, s?s, s?i, s?s, s:s}", "address", &address, "zone", &zone,
                    "weight", &weight, "state", &state, "start", &start) != 0)
        return false;
    out->weight = (uint16_t)(weight >= 0 && weight <= UINT16_MAX ? weight : 0);
    out->state = strcmp(state, states[1]) == 0 ? RING_NODE_DRAINING : RING_NODE_READY;
    *leaving = strcmp(state, states[2]) == 0;
    return take_text(out->address, sizeof out->address, address) &&
           take_text(out->zone, sizeof out->zone, zone) && take_start(start, &out->start);
}

int json_read_node(const char *name, const void *data, size_t size, struct ring_node *out,
                   bool *leaving, char *why)
{
    *leaving = false;
    *out = (struct ring_node){0};
    if (!take_text(out->name, sizeof out->name, name)) {
        snprintf(why, RING_WHY_BYTES, "the name is too long");
        return SP_EFORMAT;
    }
    json_t *object = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
    bool good = object != NULL && take_node(object, out, leaving);
    json_decref(object);
    if (!good) {
        snprintf(why, RING_WHY_BYTES, "it is not what a node says of itself");
        return SP_EFORMAT;
    }
    return ring_node_check(out, why) == SP_OK ? SP_OK : SP_EFORMAT;
}

/* --- parameters ------------------------------------------------------------------------------- */

void json_write_parameters(const struct ring_parameters *parameters, char out[MEMBER_OWN_BYTES])
{
    snprintf(out, MEMBER_OWN_BYTES, "{\"format\":%d,\"kind\":\"%s\",\"slots\":%u,\"replicas\":%u}",
             PARAMETERS_FORMAT, kinds[parameters->kind == RING_REDIS], parameters->slots,
             parameters->replicas);
}

static bool take_parameters(json_t *object, struct ring_parameters *out, char *why)
{
    int format = 0, slots = 0, replicas = 0;
    const char *kind = "";
    if (json_unpack(object, "{s:i}", "format", &format) == 0 && format != PARAMETERS_FORMAT) {
        snprintf(why, RING_WHY_BYTES, "they are of format %d, and this program knows %d", format,
                 PARAMETERS_FORMAT);
        return false;
    }
    snprintf(why, RING_WHY_BYTES, "they are not the parameters of a ring");
    if (json_unpack(object, "{s:i, s:s, s:i, s:i}", "format", &format, "kind", &kind, "slots",
                    &slots, "replicas", &replicas) != 0)
        return false;
    bool redis = strcmp(kind, kinds[RING_REDIS]) == 0;
    if ((!redis && strcmp(kind, kinds[RING_SIDEPOND]) != 0) || replicas < 1 ||
        replicas > (int)RING_COPIES_MAX || slots < (int)RING_SLOTS_LEAST ||
        slots > (int)RING_SLOTS_MAX || (slots & (slots - 1)) != 0)
        return false;
    *out = (struct ring_parameters){.slots = (uint16_t)slots,
                                    .replicas = (uint8_t)replicas,
                                    .kind = redis ? RING_REDIS : RING_SIDEPOND};
    return true;
}

int json_read_parameters(const void *data, size_t size, struct ring_parameters *out, char *why)
{
    json_t *object = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
    bool good = false;
    snprintf(why, RING_WHY_BYTES, "they are no JSON");
    if (object != NULL)
        good = take_parameters(object, out, why);
    json_decref(object);
    return good ? SP_OK : SP_EFORMAT;
}
