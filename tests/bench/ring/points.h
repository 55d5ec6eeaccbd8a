/* SPDX-License-Identifier: Apache-2.0
 *
 * points.h - the usual way of placing, to compare with: a circle of virtual points.
 *
 * Each node has points on a circle of 2^64, more if it has more weight. A slot is somewhere on it,
 * and its copies are with the nodes of the next points, as far as these are different. The circle
 * follows from the list of nodes alone, and is made anew when that changes.
 */
#ifndef SIDEPOND_BENCH_POINTS_H
#define SIDEPOND_BENCH_POINTS_H

#include <stddef.h>
#include <stdint.h>

#include "client/ring/map.h"

/* For each slot and copy the position of a node: targets[slot * copies + copy]. `points` is what a
 * node of weight 100 has. Dies if there is no memory, or fewer nodes than copies. */
void points_place(const struct ring_node *nodes, unsigned node_count, unsigned points,
                  unsigned slots, unsigned copies, uint16_t *targets);

#endif
