/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_fake.h - nodes of a ring that say what a test wants: what sidepondd says on the wire
 * (docs/RING.md), over an array of entries, and what no good node would say at will.
 */
#ifndef SIDEPOND_TESTS_RING_FAKE_H
#define SIDEPOND_TESTS_RING_FAKE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ring/map.h"

#define FAKE_ENTRIES 64u

struct fake_entry {
    char key[64], value[64];
    uint64_t version;
    int64_t expiry;
    bool there;
};

struct fake_node {
    int listener, port;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t ended; /* a connection */
    unsigned talking;     /* connections */
    struct fake_entry entries[FAKE_ENTRIES];
    char missed_node[RING_NAME_BYTES];      /* of the last MISS */
    uint64_t missed_slots[RING_SLOT_WORDS]; /* of all of them */
    struct ring_map *map;                   /* for RING, with the mutex */

    /* What it is to say. */
    _Atomic unsigned not_held;    /* so many reads are refused */
    char not_held_key[64];        /* "": of any key; to be set before anybody asks */
    _Atomic uint64_t newer;       /* PUTs below this version are refused, once */
    _Atomic uint64_t moved;       /* PUTs of an earlier epoch than this are refused */
    _Atomic bool silent;          /* nothing is answered but PING and ATTACH */
    _Atomic bool hangs;           /* nothing at all is answered */
    _Atomic bool hangs_up;        /* closes instead of answering */
    _Atomic int64_t clock;        /* ahead of the wall clock's, in versions */
    _Atomic unsigned missed;      /* what MISSED says */
    _Atomic bool alone;           /* WAIT says that no other node has it */
    _Atomic unsigned says_twice;  /* so many GETs are answered twice */
    _Atomic unsigned full;        /* PUTs are refused for lack of memory, so many; of Redis, SETs */
    _Atomic unsigned put_late_ms; /* PUTs are done and answered so late */
    _Atomic unsigned loses;       /* so many SETs are neither done nor answered */
    _Atomic bool deleted_by_dump; /* a key is deleted as soon as it has been dumped */
    _Atomic unsigned changes;     /* so many DUMPs are of a value that is another one afterwards */
    _Atomic uint64_t epoch;       /* what ATTACH and PUT say */

    /* What was said. */
    _Atomic unsigned gets, puts, incrs, misses, connections;
    _Atomic unsigned waited_for; /* copies, by the last WAIT */
};

void fake_node_start(struct fake_node *node);
void fake_node_end(struct fake_node *node);
bool fake_node_find(struct fake_node *node, const char *key, struct fake_entry *out);
void fake_node_put(struct fake_node *node, const char *key, const char *value);

#endif
