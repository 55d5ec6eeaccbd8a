/* SPDX-License-Identifier: Apache-2.0
 *
 * load.h - a load generator: many connections from one thread, requests that were written before
 * the clock starts, replies that are all compared with what they must be.
 */
#ifndef SIDEPOND_BENCH_LOAD_H
#define SIDEPOND_BENCH_LOAD_H

#include "histogram.h"
#include "peers.h"

#define LOAD_CLIENTS   50u
#define LOAD_DEPTH_MAX 64u

enum load_mix { LOAD_GET, LOAD_SET, LOAD_BOTH }; /* both: by turns */

/* Requests, one after the other, of keys drawn at random. */
struct load_tape;
struct load_tape *load_tape_make(enum wire wire, enum load_mix mix, uint32_t keys, uint64_t seed);
void load_tape_free(struct load_tape *tape);

struct load {
    const struct load_tape *tape;
    unsigned depth;         /* requests that a client sends at once, 1 to LOAD_DEPTH_MAX */
    double seconds, warm_s; /* measured, and before that */
    double rate;            /* a second, depth 1; 0: as fast as replies come */
    bool unchecked;         /* replies are constants: only their length is looked at */
};

struct load_result {
    double per_s;
    double server_cpu_us; /* of the server's processor time, for a request */
    uint64_t replies;
    struct histogram times; /* with a rate: from when a request was due until its reply */
};

/* Dies at a reply that is wrong. Every request that was sent has been answered. */
void load_run(const struct peer *peer, const struct load *load, struct load_result *out);

#endif
