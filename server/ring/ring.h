/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h - this node's part in a ring (docs/RING.md, "Nodes"): what it may answer, passing writes
 * on to the other copies, and making copies equal.
 *
 *   command --ring_written--> queue of each peer --peer's thread--> PUT and ERASE to the peer
 *      |                                              `--> missed slots, where that fails
 *      `--ring_may_answer-- held: a bit a slot <-- control thread: map, suspicion, comparing,
 * pulling
 *
 * Threads: ring_written and ring_apply_* are called with the cache's lock; all others by any
 * thread, without it. Lock order: the cache's lock, then the ring's.
 */
#ifndef SIDEPOND_SERVER_RING_H
#define SIDEPOND_SERVER_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/member/member.h"
#include "client/ring/clock.h"
#include "client/ring/map.h"
#include "server/store/cache.h"

struct ring;

struct ring_options {
    struct cache *cache;
    struct ring_node node; /* this one; the start id is drawn by ring_start */
    struct ring_parameters parameters;
    const char *cluster;
    const char *zookeeper;  /* NULL: the nodes are `list` */
    const char *credential; /* of ZooKeeper; NULL: none */
    uint32_t session_ms;
    const struct ring_node *list; /* all nodes of a ring without ZooKeeper, this one among them */
    size_t list_count;
    const char *file, *also; /* the last map of this cluster, in one file or two; or NULL */
    const char *published;   /* the file by which processes of this host learn of the map */
    /* Told of each time that it has been written, on a thread of the ring's; may be NULL. */
    void (*on_published)(void *context, const char *path);
    void *context;
    const char *user, *password; /* of the peers' cache servers; NULL: none */
    uint32_t ack_timeout_ms, compare_ms, clock_ahead_ms;
    uint64_t tombstone_ms;
    uint64_t throttle_bytes; /* a second, of pulling and repair; 0: no limit */
};

/* SP_EINVAL, SP_ENOMEM, SP_ESYS with a sentence in `why` (MEMBER_WHY_BYTES). What options points to
 * is copied; the cache ends after the ring. */
int ring_start(const struct ring_options *options, struct ring **out, char *why);
/* Goes over to other time-outs, intervals and limits; the rest of the options stays as it was. */
void ring_configure(struct ring *ring, const struct ring_options *options);
/* Takes this node out of ZooKeeper, and goes on serving. */
void ring_leave(struct ring *ring);
/* Leaves, if that is still to be done. Callbacks that are still due are called before it returns.
 */
void ring_stop(struct ring *ring); /* NULL is fine */

/* --- what the commands need ----------------------------------------------------------------- */

/* The slots that this node may answer for; a bit each. */
struct ring_held {
    _Atomic uint64_t words[RING_SLOT_WORDS];
};
const struct ring_held *ring_held(const struct ring *ring);
unsigned ring_slots(const struct ring *ring);
static inline bool ring_held_has(const struct ring_held *held, unsigned slot)
{
    return atomic_load_explicit(&held->words[slot / 64], memory_order_acquire) >> (slot % 64) & 1;
}

/* The map as of now, a reference, or NULL; and this node's own. The start id is that of the map;
 * the process has drawn one as well, which is another where it stands in for an earlier one. */
struct ring_map *ring_map(struct ring *ring);
uint64_t ring_epoch(const struct ring *ring); /* 0: no map yet */
/* By which it is registered in ZooKeeper; "": it is not to be. */
const char *ring_cluster(const struct ring *ring);
uint64_t ring_start_id(const struct ring *ring);
uint64_t ring_process_id(const struct ring *ring);
struct ring_clock *ring_clock(struct ring *ring); /* by which this node stamps */

/* How far the other copies have got, for who waits for them: a place in the order of writes. */
typedef uint64_t ring_place;

/* A key has been written or deleted here, with a version of this node: what there is of it now goes
 * to the other copies; where there is nothing, not even a tombstone, that it is deleted. With the
 * cache's lock. Returns the place to wait for; 0: there is nobody to wait for. */
ring_place ring_written(struct ring *ring, uint64_t hash, const void *key, size_t key_bytes);

/* How many other nodes have everything up to that place that was for them; SP_OK: all that it was
 * for have it or are known to have missed it. SP_EBUSY: some are still at it. */
int ring_copies(struct ring *ring, ring_place place, unsigned *copies);
/* Calls the function once, on any thread, when ring_copies would answer SP_OK, at the latest after
 * ack_timeout. SP_ENOMEM. */
int ring_await(struct ring *ring, ring_place place, void (*function)(void *argument),
               void *argument);

/* PUT and ERASE of a client or peer, `value` NULL for ERASE: with the cache's lock. SP_OK;
 * SP_EEXISTS: there is a newer one, *current; SP_ERANGE: the clock is too far ahead;
 * SP_ENOTFOUND: this node has nothing to do with the slot, by a map later than `epoch`; or as
 * cache_apply. *place as by ring_written: not 0 where the client's map is old, so that this node
 * passes it on. */
struct ring_put {
    uint64_t epoch, hash, version;
    const void *key, *value;
    size_t key_bytes, value_bytes;
    int64_t expiry_ms;
};
int ring_apply(struct ring *ring, const struct ring_put *put, uint64_t *current, ring_place *place);

/* What this node may not answer is asked of a holder, by an attached connection of RESP2: a request
 * as bytes. The callback is called once, on any thread, with the reply as bytes, lent for the call;
 * `size` 0: nobody answered. `once`: a request that must not be sent twice: the next holder is
 * asked only if the one before cannot be reached or answers NOTHELD. SP_ENOMEM; SP_ENOTFOUND: there
 * is nobody to ask. */
int ring_ask(struct ring *ring, unsigned slot, bool once, const void *request, size_t size,
             void (*answered)(void *argument, const void *reply, size_t size), void *argument);

/* MISS and MISSED. SP_ENOTFOUND: there is no such node. */
int ring_miss(struct ring *ring, const char *node, const uint64_t slots[RING_SLOT_WORDS]);
int ring_missed(struct ring *ring, const char *node, unsigned *slots);

/* Whether others may take what lies here of these slots: not as long as some of it may be from
 * before an absence that was longer than it is remembered what was deleted. */
bool ring_gives(struct ring *ring, const uint64_t slots[RING_SLOT_WORDS]);
/* Since when the ring has lived, as far as this node knows: Unix ms; 0: it was away
 * for too long, and is not a whole copy again. */
int64_t ring_since(struct ring *ring);

/* This node's process has stood still so long: what it holds may be old. */
void ring_stalled(struct ring *ring, uint64_t ms);
/* To be called ten times a second, by one thread, from which it is seen whether the process has
 * stood still. */
void ring_beat(struct ring *ring);
/* There are no more of them, though the process goes on for a while. */
void ring_end_beats(struct ring *ring);
/* Before reads are answered, once for all that have come together: if the process has stood still,
 * nothing is held from now on until it is known to be current. Some 30 ns. A host that was
 * suspended counts, a virtual machine whose clocks were stopped with it does not. */
void ring_look(struct ring *ring);

/* --- what operators see --------------------------------------------------------------------- */

struct ring_peer_figures {
    char name[RING_NAME_BYTES];
    bool reachable;
    uint64_t sent, failed; /* writes passed on */
    uint64_t queued;
    unsigned missed;                    /* slots */
    uint64_t repaired_out, repaired_in; /* entries sent and taken by comparing and pulling */
};
struct ring_figures {
    uint64_t epoch;
    unsigned owned, held, pulling, suspect; /* slots */
    unsigned under_replicated; /* slots of the map with fewer holders than there shall be copies */
    bool in_map;               /* this node is in it; else it answers for no slot */
    bool stands_in;            /* ZooKeeper has not answered since the start */
    bool in_zookeeper;         /* else it is of a static list, and `member` says nothing */
    struct member_status member;
    uint64_t pulled_entries, pulled_bytes, compared_slots, differing_slots;
};
void ring_figures(struct ring *ring, struct ring_figures *out);
/* At most `most`; returns how many there are. */
size_t ring_peer_figures(struct ring *ring, struct ring_peer_figures *out, size_t most);

#endif
