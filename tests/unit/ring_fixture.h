/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_fixture.h - a ring for tests of what a node decides: node "a", without threads but those of
 * its peers, which a map brings and which reach nobody.
 */
#ifndef SIDEPOND_TESTS_RING_FIXTURE_H
#define SIDEPOND_TESTS_RING_FIXTURE_H

#include "server/ring/internal.h"

/* Of two replicas, without a map. */
struct ring *ring_fixture_make(uint16_t slots);
/* With its peers and its map. */
void ring_fixture_free(struct ring *ring);

#endif
