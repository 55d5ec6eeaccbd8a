/* SPDX-License-Identifier: Apache-2.0
 *
 * ghost.h - a table of the hashes of entries evicted lately, 16 bits each, and for each one bit of
 * the caller's.
 *
 * Lines of 8 marks; a hash belongs to one line, where the newest mark comes first and pushes the
 * oldest out. So a mark stays until 8 more are added to its line, on average until as many as the
 * table holds are added to the table. A mark that is found is taken out. A hash that was never
 * added is found with a chance of 8 in 32767 in a full line.
 */
#ifndef SIDEPOND_GHOST_H
#define SIDEPOND_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GHOST_LINE 8u

struct ghost {
    uint16_t *marks;
    size_t lines;
};

struct ghost ghost_new(size_t marks);
void ghost_free(struct ghost *ghost);
void ghost_add(struct ghost *ghost, uint64_t hash, bool bit);
/* Whether the hash was there. */
bool ghost_take(struct ghost *ghost, uint64_t hash, bool *bit);

#endif
