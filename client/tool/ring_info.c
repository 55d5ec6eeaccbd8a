/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_info.c - a ring's node as something to ask, and single lines of what its INFO says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring_nodes.h"

void ring_peer_init(struct peer *peer, const struct tool *tool, const struct sp_ring_node *node,
                    const struct sp_ring_state *state)
{
    uint32_t ms = 1000;
    (void)tool_option_ms(tool, "timeout", ms, &ms);
    peer_init(peer, tool, node->address, ms);
    peer->attach_epoch = state->redis ? 0 : state->epoch;
}

bool info_text(const char *info, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);
    for (const char *line = info; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) != 0 || line[size] != ':')
            continue;
        snprintf(out, room, "%.*s", (int)strcspn(line + size + 1, "\r\n"), line + size + 1);
        return true;
    }
    return false;
}

bool info_number(const char *info, const char *name, uint64_t *out)
{
    char text[32], *end;
    if (!info_text(info, name, text, sizeof text))
        return false;
    *out = strtoull(text, &end, 10);
    return end != text;
}
