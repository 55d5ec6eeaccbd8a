/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load.h - readers and a writer that go on without a pause, and count what fails: the clients
 * of a rehearsal.
 */
#ifndef SIDEPOND_TOOL_RING_LOAD_H
#define SIDEPOND_TOOL_RING_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sidepond/ring.h"

#define LOAD_KEYS 256

struct load_figures {
    _Atomic uint64_t calls, failures, slowest_us;
    _Atomic uint64_t slow;     /* took longer than LOAD_SLOW_US */
    _Atomic int first_failure; /* status */
};
#define LOAD_SLOW_US 50000

struct ring_load {
    struct sp_ring *ring;
    uint64_t seed; /* the keys are of this run only */
    struct load_figures reads, writes;
    _Atomic uint64_t stale;                   /* reads older than a write that was acknowledged */
    _Atomic uint64_t acknowledged[LOAD_KEYS]; /* the number written last */
    _Atomic bool ends;
    pthread_t threads[2];
    unsigned thread_count;
};

/* Writes all keys once, and begins. An SP_ status. */
int ring_load_start(struct ring_load *load, struct sp_ring *ring);
/* Ends, and returns how many acknowledged writes are lost. The keys are deleted. */
uint64_t ring_load_stop(struct ring_load *load);

#endif
