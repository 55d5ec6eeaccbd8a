/* SPDX-License-Identifier: Apache-2.0
 *
 * list.c - a list of nodes as text: "NAME=ADDRESS[@ZONE][*WEIGHT],...".
 *
 * Who shares the ring must give the same list; the order does not matter. All have the start id 1:
 * nobody tells of a restart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/nodes/nodes.h"

#define WEIGHT_USUAL 100u

/* Up to `end`, or false: it is empty or does not fit. */
static bool take_text(char *to, size_t room, const char *from, const char *end)
{
    size_t size = (size_t)(end - from);
    if (size == 0 || size >= room)
        return false;
    memcpy(to, from, size);
    to[size] = '\0';
    return true;
}

static bool take_weight(const char *from, const char *end, uint16_t *out)
{
    uint32_t weight = 0;
    for (; from < end && *from >= '0' && *from <= '9' && weight <= RING_WEIGHT_MAX; from++)
        weight = weight * 10 + (uint32_t)(*from - '0');
    *out = (uint16_t)weight;
    return from == end && weight >= 1 && weight <= RING_WEIGHT_MAX;
}

/* The last one of these before `end`, or `end`. */
static const char *last_of(const char *from, const char *end, char what)
{
    const char *at = memrchr(from, what, (size_t)(end - from));
    return at != NULL ? at : end;
}

static bool parse_node(const char *from, const char *end, struct ring_node *out)
{
    const char *equals = memchr(from, '=', (size_t)(end - from));
    *out = (struct ring_node){.weight = WEIGHT_USUAL, .state = RING_NODE_READY, .start = 1};
    if (equals == NULL || !take_text(out->name, sizeof out->name, from, equals))
        return false;
    const char *star = last_of(equals, end, '*');
    const char *at = last_of(equals, star, '@');
    return take_text(out->address, sizeof out->address, equals + 1, at) &&
           (at == star || take_text(out->zone, sizeof out->zone, at + 1, star)) &&
           (star == end || take_weight(star + 1, end, &out->weight));
}

static size_t count_of(const char *text, char what)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == what;
    return count;
}

int node_list_parse(const char *text, struct ring_node **out, size_t *count, char *why)
{
    size_t most = count_of(text, ',') + 1;
    *count = 0;
    *out = calloc(most, sizeof **out);
    if (*out == NULL)
        return SP_ENOMEM;
    for (const char *from = text; *count < most; (*count)++) {
        const char *end = strchrnul(from, ',');
        struct ring_node *node = &(*out)[*count];
        if (!parse_node(from, end, node)) {
            snprintf(why, RING_WHY_BYTES,
                     "a node is NAME=ADDRESS[@ZONE][*WEIGHT], with a weight of 1 to %u, not "
                     "\"%.*s\"",
                     RING_WEIGHT_MAX, (int)(end - from), from);
            free(*out);
            *out = NULL;
            return SP_EINVAL;
        }
        from = *end == ',' ? end + 1 : end;
    }
    return SP_OK;
}
