/* SPDX-License-Identifier: Apache-2.0
 *
 * map_check.c - what can be in a map: nodes and parameters.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/ring/map_internal.h"

__attribute__((format(printf, 2, 3))) static bool no(char *why, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, RING_WHY_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

static bool is_ended(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

static bool is_name(const char *text)
{
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
              (*text >= '0' && *text <= '9') || strchr("_.-:", *text)))
            return false;
    return true;
}

static bool is_graphic(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static bool is_port(const char *text)
{
    unsigned port = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 5; digits++)
        port = port * 10 + (unsigned)(text[digits] - '0');
    return text[digits] == 0 && port >= 1 && port <= 65535;
}

/* HOST:PORT, [ADDRESS]:PORT or unix:/PATH. */
static bool is_address(const char *text)
{
    if (!is_graphic(text))
        return false;
    if (strncmp(text, "unix:", 5) == 0)
        return text[5] == '/' && text[6] != 0;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || !is_port(colon + 1))
        return false;
    if (text[0] == '[')
        return colon[-1] == ']' && colon - text > 2;
    return memchr(text, ':', (size_t)(colon - text)) == NULL;
}

static bool node_texts_check(const struct ring_node *node, char *why)
{
    if (!is_ended(node->name, sizeof node->name) || !node->name[0] || !is_name(node->name))
        return no(why,
                  "\"%.63s\" is no name of a node: 1 to 63 letters, digits and _.-:", node->name);
    if (!is_ended(node->address, sizeof node->address) || !is_address(node->address))
        return no(why, "%s: the address \"%.127s\" is not HOST:PORT, [ADDRESS]:PORT or unix:/PATH",
                  node->name, node->address);
    if (!is_ended(node->zone, sizeof node->zone) || !is_name(node->zone))
        return no(why, "%s: \"%.31s\" is no zone: at most 31 letters, digits and _.-:", node->name,
                  node->zone);
    return true;
}

int ring_node_check(const struct ring_node *node, char *why)
{
    bool right = node_texts_check(node, why);
    if (right && (node->weight < 1 || node->weight > RING_WEIGHT_MAX))
        right = no(why, "%s: the weight %u is not from 1 to %u", node->name, node->weight,
                   RING_WEIGHT_MAX);
    if (right && node->state > RING_NODE_DRAINING)
        right = no(why, "%s: there is no state %u", node->name, node->state);
    if (right && node->start == 0)
        right = no(why, "%s: there is no start id", node->name);
    return right ? SP_OK : SP_EINVAL;
}

bool ring_parameters_check(const struct ring_parameters *parameters, char *why)
{
    const unsigned slots = parameters->slots;
    if (slots < RING_SLOTS_LEAST || slots > RING_SLOTS_MAX || (slots & (slots - 1)))
        return no(why, "%u slots: that is not a power of two from %u to %u", slots,
                  RING_SLOTS_LEAST, RING_SLOTS_MAX);
    if (parameters->replicas < 1 || parameters->replicas > RING_COPIES_MAX)
        return no(why, "%u copies: that is not from 1 to %u", parameters->replicas,
                  RING_COPIES_MAX);
    if (parameters->kind > RING_REDIS)
        return no(why, "there is no kind %u of nodes", parameters->kind);
    return true;
}
