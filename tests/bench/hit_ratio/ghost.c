/* SPDX-License-Identifier: Apache-2.0
 *
 * ghost.c - the table of evicted hashes. The line comes from the hash's upper half, the mark from
 * its lower bits; a mark of 0 is an empty place.
 */
#include "ghost.h"

#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define MARK_BIT  0x8000u
#define MARK_MASK 0x7fffu

struct ghost ghost_new(size_t marks)
{
    size_t lines = (marks + GHOST_LINE - 1) / GHOST_LINE;
    if (lines == 0)
        lines = 1;
    return (struct ghost){policy_alloc(lines, GHOST_LINE * sizeof(uint16_t)), lines};
}

void ghost_free(struct ghost *ghost)
{
    free(ghost->marks);
}

static uint16_t *line_of(const struct ghost *ghost, uint64_t hash)
{
    size_t line = (size_t)((hash >> 32) * ghost->lines >> 32);
    return &ghost->marks[line * GHOST_LINE];
}

static uint16_t mark_of(uint64_t hash)
{
    return (uint16_t)(1 + (uint32_t)hash % MARK_MASK);
}

void ghost_add(struct ghost *ghost, uint64_t hash, bool bit)
{
    uint16_t *line = line_of(ghost, hash);
    memmove(line + 1, line, (GHOST_LINE - 1) * sizeof(uint16_t));
    line[0] = (uint16_t)(mark_of(hash) | (bit ? MARK_BIT : 0));
}

bool ghost_take(struct ghost *ghost, uint64_t hash, bool *bit)
{
    uint16_t *line = line_of(ghost, hash);
    for (unsigned i = 0; i < GHOST_LINE; i++) {
        if ((line[i] & MARK_MASK) != mark_of(hash))
            continue;
        *bit = (line[i] & MARK_BIT) != 0;
        memmove(line + i, line + i + 1, (GHOST_LINE - 1 - i) * sizeof(uint16_t));
        line[GHOST_LINE - 1] = 0;
        return true;
    }
    return false;
}
