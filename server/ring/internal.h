/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of a node's part in the ring share.
 *
 *   start.c    starting and ending
 *   ring.c     the map, which slots are held, PUT and ERASE
 *   queue.c    writes on their way to peers, what peers missed, and who waits for them
 *   peer.c     a peer's writer: its connection, what is queued, then what it missed
 *   ask.c      a peer's asker: reads that this node may not answer
 *   lookup.c   names of hosts
 *   wire.c     connections between nodes, and the requests of repair
 *   repair.c   becoming current, and comparing
 *   pull.c     taking another node's entries
 *   age.c      coming back after an absence that was too long
 *   upkeep.c   the control thread: time-outs, peers that are gone, files, slots of others
 *   figures.c  what operators see
 *
 * One lock guards all that is not atomic. It is held for microseconds, never while anything is sent
 * or waited for; the cache's lock may be held when it is taken, not the other way round.
 */
#ifndef SIDEPOND_SERVER_RING_INTERNAL_H
#define SIDEPOND_SERVER_RING_INTERNAL_H

#include <pthread.h>

#include "client/cache/link.h"
#include "server/ring/ring.h"
#include "server/store/cache_ring.h"

enum {
    QUEUE_MAX = 16384,                  /* writes */
    QUEUE_BYTES_MAX = 32 * 1024 * 1024, /* of keys and values */
    BATCH_MAX = 192,                    /* requests that go out together */
    BATCH_BYTES_MAX = 256 * 1024,       /* of keys and values there, but for the last one */
    RECENT_PLACES = 16384,              /* whose copies are counted */
    RECONNECT_MS = 50,                  /* the first time, then twice as long each time, up to */
    RECONNECT_MAX_MS = 500,             /* this; half of it is chance */
    PING_MS = 500,                      /* a connection that has nothing to do */
    PUSH_AGAIN_MS = 1000,               /* after an entry that a peer refused */
    TICK_MS = 50,                       /* of the control thread */
    REPAIR_TIMEOUT_MS = 1000,
    ALONE_MS = 2000, /* with no other holder in reach for so long, a node believes itself */
    SECOND_LOOK_MS = 300,
    FOREIGN_MS = 10 * 1000, /* how long entries of others' slots stay */
    STALL_MS = 500,
    CLOCK_MARGIN_MS = 1000, /* beyond clock_ahead, before a clock is taken for wrong */
};

/* --- bitmaps of slots ------------------------------------------------------------------------- */

struct slots {
    uint64_t words[RING_SLOT_WORDS];
};
static inline bool slots_has(const struct slots *slots, unsigned slot)
{
    return slots->words[slot / 64] >> (slot % 64) & 1;
}
static inline void slots_add(struct slots *slots, unsigned slot)
{
    slots->words[slot / 64] |= UINT64_C(1) << (slot % 64);
}
static inline void slots_remove(struct slots *slots, unsigned slot)
{
    slots->words[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}
unsigned slots_count(const struct slots *slots);
static inline bool slots_none(const struct slots *slots)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        any |= slots->words[i];
    return any == 0;
}
static inline void slots_join(struct slots *slots, const struct slots *more)
{
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        slots->words[i] |= more->words[i];
}
static inline void slots_keep(struct slots *slots, const struct slots *kept)
{
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        slots->words[i] &= kept->words[i];
}
static inline void slots_drop(struct slots *slots, const struct slots *dropped)
{
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        slots->words[i] &= ~dropped->words[i];
}

/* --- queue.c: writes on their way ------------------------------------------------------------- */

/* An entry as it was when it was written; shared by the peers that it goes to. */
struct ring_write {
    _Atomic uint32_t references;
    bool tombstone;
    bool given; /* its version is not of this node, and stays what it is */
    uint32_t slot;
    uint64_t hash, version;
    int64_t expiry_ms;
    size_t key_bytes, value_bytes;
    uint8_t bytes[]; /* the key, then the value */
};
struct ring_write *write_new(uint64_t hash, unsigned slot, const struct cache_copy *copy);
struct ring_write *write_ref(struct ring_write *write);
void write_unref(struct ring_write *write);
static inline size_t write_bytes(const struct ring_write *write)
{
    return write->key_bytes + write->value_bytes;
}

struct queued {
    struct ring_write *write;
    ring_place place;
    uint64_t since_ms; /* of clock_boot_ms: what was written before a suspension is old */
};

/* First in, first out; a ring buffer that grows. */
struct queue {
    struct queued *items;
    size_t first, count, capacity; /* a power of two */
    size_t bytes;
};
/* `at` counts from the oldest. */
static inline struct queued *queue_at(const struct queue *queue, size_t at)
{
    return &queue->items[(queue->first + at) & (queue->capacity - 1)];
}
/* false: it is full, or there is no memory. */
bool queue_push(struct queue *queue, struct ring_write *write, ring_place place, uint64_t now_ms);
/* In front of all others, in the place of one that has just been popped. */
void queue_push_front(struct queue *queue, const struct queued *item);
void queue_pop(struct queue *queue);
void queue_free(struct queue *queue);

/* Somebody who waits for a place. */
struct waiter {
    ring_place place;
    uint64_t due_ms;
    void (*function)(void *argument);
    void *argument;
    struct waiter *next;
};

/* --- peers ------------------------------------------------------------------------------------ */

/* What another node's clock was, and when it was heard. */
struct heard_clock {
    int64_t wall_ms;  /* Unix ms */
    uint64_t boot_ms; /* of clock_boot_ms here */
};

/* A connection to another node, logged in and attached. */
struct wire {
    struct connection connection;
    bool open;
    uint64_t start, epoch; /* of that node, when it was attached */
    struct heard_clock clock;
};

struct ask;

struct peer {
    struct ring *ring;
    struct peer *next;          /* of those that are to be reaped */
    char name[RING_NAME_BYTES]; /* never changes */
    char address[RING_ADDRESS_BYTES];
    pthread_t writer, asker;
    pthread_cond_t wake, ask_wake;
    bool asker_runs;
    unsigned running; /* threads that have not ended */
    bool gone;        /* no longer in the map: its threads end */
    bool idle;        /* the writer waits to be woken */
    bool reachable;   /* the writer is connected */
    bool said_lost;   /* in the log */
    bool hurry;       /* it answers others here: it is to be connected to at once */
    bool asked_for;   /* somebody asks what it has missed: soon */
    bool heard;       /* its clock is known: */
    struct heard_clock clock;
    bool tried;       /* the writer has tried to connect */
    uint64_t epoch;   /* of its map, as last heard */
    unsigned changes; /* of the address */
    struct queue queue;
    struct slots missed;  /* what it did not take */
    struct slots sending; /* of those, what the writer is sending now */
    struct ask *asks, **asks_end;
    uint64_t asker_back_ms; /* until then asks go elsewhere if they can; 0: it answers */
    struct {
        uint64_t sent, failed, repaired_out, repaired_in;
    } figures;
};

/* --- lookup.c --------------------------------------------------------------------------------- */

/* Where an address is: itself, or of a name the addresses in numbers. */
#define HOST_ADDRESSES_MAX 4u
struct host_addresses {
    size_t count;
    char addresses[HOST_ADDRESSES_MAX][RING_ADDRESS_BYTES];
};
struct lookup;
struct ring_lookups {
    pthread_mutex_t lock;
    struct lookup *first; /* those that have begun, or were over lately */
};
/* Waits so long at most, and no longer than the ring. What is not SP_OK has a sentence in
 * sp_error_detail(): SP_ETIMEDOUT, SP_ENODAEMON, SP_ENOMEM. */
int lookup_address(struct ring *ring, const char *address, uint32_t timeout_ms,
                   struct host_addresses *out);
void lookups_free(struct ring_lookups *lookups);

/* --- ring ------------------------------------------------------------------------------------- */

struct ring_recent {
    ring_place place;
    uint32_t copies;
};

struct ring {
    struct ring_options options; /* with copies of all that it points to */
    struct cache *cache;
    struct ring_clock clock;
    struct ring_held held; /* by_map and trusted */
    struct ring_held mine; /* slots that this node is holder or target of */
    _Atomic uint64_t epoch;
    _Atomic uint64_t beat_ms; /* of the last ring_beat, clock_boot_ms; 0: none yet */
    _Atomic uint32_t ack_timeout_ms, compare_ms, clock_ahead_ms; /* as last configured */
    _Atomic uint64_t throttle_bytes;
    _Atomic uint64_t tombstone_ms; /* as last configured */
    _Atomic bool aging;            /* there are aged slots */
    _Atomic unsigned absences;     /* that were too long, so far */
    _Atomic int64_t since_ms;      /* see ring_since */
    _Atomic int64_t heard_ms;      /* the same, as others have said; 0: nobody has */
    uint64_t process;              /* the start id that was drawn */
    _Atomic uint64_t start;        /* that in the map: another one only where this node stands in */
    struct member *member;         /* NULL: a static list, or it has left */
    pthread_mutex_t member_lock;   /* of the pointer; taken before the other lock */
    bool in_zookeeper;
    _Atomic int member_link; /* as last told */
    _Atomic bool left;       /* ZooKeeper: others write without this node */
    pthread_mutex_t beat_lock;
    struct ring_lookups lookups;

    pthread_mutex_t lock;
    pthread_cond_t control_wake, repair_wake, quiet;
    pthread_t control, repair;
    bool control_runs, repair_runs;
    _Atomic bool stopping;
    struct ring_map *map;
    int self;                           /* position in the map under this start id, or -1 */
    struct peer *peers[RING_NODES_MAX]; /* by position in the map; NULL: this node */
    struct peer *reap;
    struct slots by_map, targeted; /* a holder by the map; a target that is no holder */
    struct slots trusted;          /* whose data here is known to be current */
    struct slots round;            /* what repair has begun with, less what was doubted since */
    /* Whose last writes here no node of the map is known to have: for those of the next map. */
    struct slots stray;
    /* Where entries may lie from before an absence that was too long. */
    struct slots aged;
    uint64_t aged_version; /* entries up to this are from before it */
    int64_t aged_ms;       /* when this node had been whole before it, Unix ms; 0: there was none */
    bool aged_in_part;     /* it was there all the time, and has not been whole since */
    int64_t touch_ms;      /* Unix ms of the last moment when deletions would have come here */
    int64_t begun_ms;      /* Unix ms of the start */
    struct slots foreign[2]; /* slots of others, written to lately: now, and before that */
    uint64_t foreign_since_ms, moved_at_ms, suspect_since_ms;
    uint64_t lacking_since_ms; /* by a map that has given this node more */
    bool map_unsaved, compare_wanted, told_whole, told_empty;
    bool lacks_peers; /* of some node of the map */
    bool began_empty; /* there was nothing in the cache when this node started */
    /* ZooKeeper has not answered yet, and this node goes on as the process before it; and it is not
     * yet known whether others have a later map. */
    bool stands_in, unconfirmed;

    ring_place last_place;
    struct ring_recent recent[RECENT_PLACES];
    struct waiter *waiters, *waiters_last; /* by place */

    _Atomic uint64_t spent_until_us; /* when what was sent for repair is paid for */
    _Atomic uint64_t pulled_entries, pulled_bytes, compared_slots, differing_slots;
};

static inline unsigned ring_slot_of(const struct ring *ring, const void *key, size_t key_bytes)
{
    return ring_slot(key, key_bytes, ring->options.parameters.slots);
}
static inline void bits_set(struct ring_held *bits, unsigned word, uint64_t value)
{
    atomic_store_explicit(&bits->words[word], value, memory_order_release);
}

/* --- queue.c: with the lock ------------------------------------------------------------------- */

/* To all others that the slot's writes go to; `write` NULL: they miss it. */
ring_place ring_enqueue(struct ring *ring, unsigned slot, struct ring_write *write);
/* The peer's oldest writes have been answered; `taken` is by how many that it has now. */
void ring_answered(struct ring *ring, struct peer *peer, bool taken);
/* What is queued for it becomes missed slots. */
void ring_abandon(struct ring *ring, struct peer *peer);
/* Those who need not wait any longer, now that so much is done, or it is so late; to be called by
 * waiters_call without the lock. */
struct waiter *waiters_take(struct ring *ring, uint64_t now_ms);
void waiters_call(struct waiter *waiters);

/* --- ring.c ----------------------------------------------------------------------------------- */

void ring_take_map(struct ring *ring, const struct ring_map *map);
/* Starts those of its peers for which there was no memory or no thread. */
void ring_start_lacking(struct ring *ring);
/* This node goes on under the start id of the process before it, until ZooKeeper answers. */
void ring_stand_in(struct ring *ring, uint64_t start);
/* ZooKeeper answers. */
void ring_stand_up(struct ring *ring);
/* Whether it is known that nobody has a later map, as far as that can be known. */
bool ring_confirm(struct ring *ring);
/* Everything that others may know better is doubted. */
void ring_suspect(struct ring *ring, const char *why);
/* With the lock: what is astray has been missed by all nodes of its slots. */
void ring_send_stray(struct ring *ring);
/* With both locks: what was told to be complete, and is not yet in the map, is no longer. Trust
 * tells anew. */
void ring_unhold(struct ring *ring);
/* With the lock: held is by_map and trusted. */
void ring_update_held(struct ring *ring);
/* Takes note of another node's clock, unless that is too far ahead. */
void ring_see(struct ring *ring, uint64_t version);
/* Accounts for bytes of repair; returns how many milliseconds they are to be waited for. */
uint64_t ring_spend(struct ring *ring, size_t bytes);
/* With the lock. Waits until a time or to be woken. */
void ring_wait(struct ring *ring, pthread_cond_t *wake, uint64_t until_ms);

/* --- peer.c, ask.c ---------------------------------------------------------------------------- */

/* With the lock. NULL: no memory or no thread. */
struct peer *peer_start(struct ring *ring, const struct ring_node *node);
/* With the lock: its threads are to end. */
void peer_end(struct peer *peer);
/* Without: the last that one of them does, but for its end. */
void peer_thread_ends(struct peer *peer);
/* Without: waits for them. */
void peer_free(struct peer *peer);
/* With the lock: wakes the writer if it waits. */
static inline void peer_wake(struct peer *peer)
{
    if (peer->idle) {
        peer->idle = false;
        pthread_cond_signal(&peer->wake);
    }
}
/* Nobody answers these any more. */
void asks_end(struct ask *asks);

/* --- wire.c ----------------------------------------------------------------------------------- */

/* Connects, logs in and attaches. A failure leaves nothing open, and a sentence in
 * sp_error_detail(). */
int wire_open(struct wire *wire, struct ring *ring, const char *address, uint32_t timeout_ms);
void wire_close(struct wire *wire);
/* A failure closes it. */
int wire_run(struct wire *wire, const struct request *request, redisReply **replies);
/* The requests of repair. */
/* Those of these slots, in their order. */
int wire_digests(struct wire *wire, const struct slots *slots, unsigned slot_count,
                 uint64_t digests[RING_SLOTS_MAX]);
int wire_missed(struct wire *wire, const char *node, uint64_t *slots);
/* One piece of the entries of these slots; *reply holds them until it is freed. */
int wire_pull(struct wire *wire, const char *cursor, size_t bytes, const struct slots *slots,
              unsigned slot_count, redisReply **reply);
/* Whether it answers, and does not say that it is of another cluster; a node of an earlier version
 * cannot say. */
bool wire_is_of(struct wire *wire, const char *cluster);
/* Tells that node of this one's epoch, and learns its own. */
int wire_attach(struct wire *wire, struct ring *ring);
/* That node says what its clock is; false: this can be none. */
bool wire_hear_clock(struct wire *wire, uint64_t clock);
/* Whether that node has a later map and ZooKeeper cannot tell of it; then it is taken from there.
 */
bool wire_learn(struct wire *wire, struct ring *ring);

/* SP_EREFUSED of a node that knows no such request. */
int wire_since(struct wire *wire, int64_t *since_ms);

/* --- age.c ------------------------------------------------------------------------------------ */

/* At the start, before there are threads. */
void ring_age_begin(struct ring *ring);
/* With the lock, after a change of the map or of aged: what only this node holds is not doubted. */
void ring_age_update(struct ring *ring, const struct slots *alone);
/* Sees whether this node has been away for too long, else notes that it is there. */
void ring_age_tick(struct ring *ring);
/* Asks others about what is aged, and drops it if they have lived on for too long. For repair. */
void ring_age_judge(struct ring *ring);
/* How often this node has been away for too long, this moment included. */
unsigned ring_absences(struct ring *ring);
/* What another holder has said, from which this node has got everything. */
void ring_age_hear(struct ring *ring, int64_t since_ms);

/* --- pull.c ----------------------------------------------------------------------------------- */

/* A walk over another node's entries of some slots, which can go on after an interruption. */
struct pull {
    bool runs;  /* it has not come to its end */
    bool stale; /* something of it has been doubted since it began */
    struct slots slots;
    char cursor[NUMBER_BYTES];
};
void pull_begin(struct pull *pull, const struct slots *slots);
/* Goes on to the end, until then, or until slots are doubted that are not of the round. A failure
 * is logged; if it is of this side, the walk has ended and is to be begun again. */
int pull_run(struct ring *ring, struct wire *wire, const char *name, struct pull *pull,
             uint64_t until_ms);

/* --- repair.c, upkeep.c ----------------------------------------------------------------------- */

void *ring_repair(void *argument);
void *ring_control(void *argument);

#endif
