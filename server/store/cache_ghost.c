/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_ghost.c - hashes of entries that were evicted lately: a key that comes back soon after it
 * was thrown out has shown that it is asked for again.
 *
 * Lines of eight marks of 16 bits, newest first, two bytes for each entry of the cache: one cache
 * line per question. A mark that two keys share, one in 8,000 questions, lets in a key that has not
 * been here. Private memory: after a restart nothing is known.
 */
#include "server/store/cache_internal.h"

#include <stdlib.h>
#include <string.h>

#define GHOST_LINE 8u
#define NO_MARK    0u

static uint64_t lines_for(uint64_t entries)
{
    return entries / GHOST_LINE + 1;
}

void ghosts_fit(struct ghosts *ghosts, uint64_t entries)
{
    uint64_t wanted = lines_for(entries);
    if (ghosts->marks && wanted <= 2 * ghosts->lines && wanted >= ghosts->lines / 2)
        return;
    free(ghosts->marks);
    ghosts->marks = calloc(wanted, GHOST_LINE * sizeof(uint16_t));
    ghosts->lines = wanted;
}

void ghosts_free(struct ghosts *ghosts)
{
    free(ghosts->marks);
    *ghosts = (struct ghosts){0};
}

static uint16_t *line_of(const struct ghosts *ghosts, uint64_t hash)
{
    return ghosts->marks + ((hash >> 32) * ghosts->lines >> 32) * GHOST_LINE;
}

static uint16_t mark_of(uint64_t hash)
{
    return (uint16_t)(1 + (uint32_t)hash % UINT16_MAX);
}

void ghosts_add(struct ghosts *ghosts, uint64_t hash)
{
    if (!ghosts->marks)
        return;
    uint16_t *line = line_of(ghosts, hash);
    memmove(line + 1, line, (GHOST_LINE - 1) * sizeof(*line));
    line[0] = mark_of(hash);
}

bool ghosts_take(struct ghosts *ghosts, uint64_t hash)
{
    if (!ghosts->marks)
        return false;
    uint16_t *line = line_of(ghosts, hash), mark = mark_of(hash);
    for (unsigned i = 0; i < GHOST_LINE; i++) {
        if (line[i] != mark)
            continue;
        memmove(line + i, line + i + 1, (GHOST_LINE - 1 - i) * sizeof(*line));
        line[GHOST_LINE - 1] = NO_MARK;
        return true;
    }
    return false;
}
