/* SPDX-License-Identifier: Apache-2.0
 *
 * nodes.h - what the files of client/nodes share: the client of a ring (docs/RING.md, "The
 * client").
 *
 *   sp_ring --view--> view: a map, and the node of each of its positions; counted references
 *      | nodes           |
 *      v                 v
 *     node: addresses, idle connections, breaker, missed slots, figures; outlives maps
 *      | all, idle
 *      v
 *   channel: one socket, with what goes out and hiredis' reader of what comes
 *
 *   read.c, call.c -> batch.c    each item to one node, then to the next -+
 *   write.c        -> spread.c   each item to all of its nodes at once    +-> lane.c -> channel.c
 *   keeper.c                     probes, missed writes, a new map        -+
 *
 * A lane is the part of one node in one call: a channel that is the call's alone, its requests, and
 * what is to be done with each reply. All lanes of a call are waited for by one poll, or, where
 * only answers are to come, by a recv that blocks for less than the hedging delay.
 *
 * Locks: the ring's mutex guards the view, the list of nodes, the pools, and what nodes missed. It
 * is never held while anything is sent or waited for; so a fork, which takes it, finds all of it
 * whole.
 */
#ifndef SIDEPOND_NODES_NODES_H
#define SIDEPOND_NODES_NODES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <hiredis/hiredis.h>

#include "client/member/member.h"
#include "client/nodes/command.h"
#include "client/ring/clock.h"
#include "client/ring/map.h"
#include "sidepond/ring.h"

#define CANDIDATES_MAX   (2 * RING_COPIES_MAX)
#define NODE_ADDRESSES   4u
#define NODE_LATENCIES   256u
#define NODE_TEXT_BYTES  160u /* of a reason */
#define TIMEOUTS_TO_OPEN 2u

/* --- address.c ------------------------------------------------------------------------------- */

struct node_addresses {
    unsigned count;
    struct sockaddr_storage at[NODE_ADDRESSES];
    socklen_t sizes[NODE_ADDRESSES];
};

/* May wait for the system's resolver. SP_EINVAL; SP_ENODAEMON: the name is not known. */
int node_resolve(const char *address, struct node_addresses *out);
bool node_has_name(const char *address); /* that the resolver is asked for */

/* --- list.c ---------------------------------------------------------------------------------- */

/* "NAME=ADDRESS[@ZONE][*WEIGHT],..." as nodes, an array to be freed. SP_EINVAL with a sentence in
 * `why` (RING_WHY_BYTES); SP_ENOMEM. */
int node_list_parse(const char *text, struct ring_node **out, size_t *count, char *why);

/* --- reply.c --------------------------------------------------------------------------------- */

#define ANSWER_TEXT_BYTES 240u
#define ANSWER_NUMBERS    4u

/* Where the reader puts a reply. Flat: a value goes straight into a buffer, texts and the numbers
 * of an array into this; nothing is allocated. As a tree: struct sp_reply. */
struct answer {
    bool tree;
    struct sp_buffer *value; /* flat: where a bulk string goes; NULL: its beginning into text */
    enum sp_reply_type type; /* of the whole */
    bool status_text;        /* a status, not a value */
    int64_t numbers[ANSWER_NUMBERS];
    struct sp_reply *reply;
    char text[ANSWER_TEXT_BYTES];
};
redisReader *answer_reader_new(void);

/* --- channel.c ------------------------------------------------------------------------------- */

struct node;

struct channel {
    int fd; /* -1: closed */
    bool connecting;
    bool reused;         /* has answered a call before */
    uint8_t greetings;   /* replies to come that are of the greeting */
    uint8_t address;     /* which of the node's it connects to */
    unsigned generation; /* the node's, when it was opened */
    uint64_t connect_by_us;
    struct sp_buffer out; /* the greeting, and then requests */
    size_t base, sent;    /* of out: the greeting's bytes, and what has gone */
    redisReader *reader;
    struct answer answer;
    struct channel *next, *prev; /* all of the node's */
    struct channel *next_idle;
};

struct channel_settings {
    const char *user, *password; /* NULL: none */
    uint32_t connect_ms, timeout_ms, receive_ms;
    bool attach; /* as a client of a ring of sidepondd */
    uint64_t epoch;
};

/* Opens the socket, and puts the greeting into `out`. An error is an errno. */
int channel_open(struct channel *channel, const struct node_addresses *addresses,
                 const struct channel_settings *settings);
/* After the socket became writable: 0, or an errno. */
int channel_connected(struct channel *channel);
/* The next address, where one could not be reached. 0, or an errno: there is none left. */
int channel_next_address(struct channel *channel, const struct node_addresses *addresses,
                         const struct channel_settings *settings);
/* Sends what the socket takes. 0, or an errno. */
int channel_send(struct channel *channel);
/* Receives what is there, or with `wait` blocks for it, about receive_ms at most. 0 (also if
 * nothing came), or an errno; ECONNRESET: the other side has closed. */
int channel_receive(struct channel *channel, bool wait, bool *some);
bool channel_begins(const struct channel *channel); /* no reply is half read */
/* The next reply. 1: it is in `answer`; 0: it is not there yet; or a negative status. */
int channel_reply(struct channel *channel);
void channel_rest(struct channel *channel); /* it has answered everything, and becomes idle */
/* Nothing has come that nobody asked for. */
bool channel_quiet(const struct channel *channel);
bool channel_usable(const struct channel *channel); /* nobody has closed it meanwhile */
void channel_close(struct channel *channel);        /* this process' descriptor */
void channel_free(struct channel *channel);         /* ends it for everybody */

/* --- node.c ---------------------------------------------------------------------------------- */

struct telling;
struct missed_keys;

struct node {
    _Atomic uint32_t references; /* one is the ring's */
    bool gone;                   /* no longer the ring's */
    char name[RING_NAME_BYTES], address[RING_ADDRESS_BYTES];
    struct node *next;

    /* With the ring's mutex. */
    struct node_addresses addresses;
    struct channel *all, *idle;
    unsigned idle_count;
    unsigned generation;      /* raised when it is known that all idle ones are closed */
    struct telling *tellings; /* who is to be told what it missed */
    struct missed_keys *keys; /* of Redis: what it missed */
    uint64_t missed_count;    /* raised with each */

    /* The keeper's. */
    bool lookup;        /* its name is to be looked up */
    uint64_t lookup_us; /* not before */

    _Atomic uint64_t start;    /* of the latest map */
    _Atomic bool open;         /* the breaker: kept back */
    _Atomic bool down;         /* the same, and it has refused, or not answered a PING either */
    _Atomic bool restarted;    /* maybe, and the map does not say so: it may be empty */
    _Atomic bool suspect;      /* it is slow: whether it answers a PING is to be found out */
    _Atomic uint64_t probe_us; /* when it is to be PINGed next */
    _Atomic unsigned timeouts; /* in a row */
    _Atomic bool distrusted;   /* some bit of missed is set */
    _Atomic uint64_t missed[RING_SLOT_WORDS];

    _Atomic uint64_t calls, failures, hedged;
    _Atomic uint32_t latency_at, latencies_us[NODE_LATENCIES];
};

struct node *node_new(const struct ring_node *of);
void node_ref(struct node *node);
void node_unref(struct node *node);

void node_answered(struct node *node, uint64_t us, size_t replies);
/* Refused or reset, or (`slow`) without an answer in time. Returns whether the breaker opened by
 * that. */
bool node_failed(struct node *node, bool slow);
/* The hedging delay has passed without its answer. Returns whether that is news. */
bool node_suspect(struct node *node);
void node_close_breaker(struct node *node);
/* It has not answered a PING. */
void node_open_breaker(struct node *node);
/* Median and 99th percentile of the last calls, 0 if there were none. */
void node_latencies(const struct node *node, uint32_t *median_us, uint32_t *p99_us);

static inline bool node_kept_back(const struct node *node)
{
    return atomic_load_explicit(&node->open, memory_order_relaxed);
}
static inline bool node_down(const struct node *node)
{
    return atomic_load_explicit(&node->down, memory_order_relaxed);
}
static inline bool node_distrusted(const struct node *node, unsigned slot)
{
    return atomic_load_explicit(&node->distrusted, memory_order_relaxed) &&
           (atomic_load_explicit(&node->missed[slot / 64], memory_order_relaxed) >> (slot % 64) &
            1) != 0;
}

/* --- view.c ---------------------------------------------------------------------------------- */

struct view {
    _Atomic uint32_t references;
    struct ring_map *map;
    struct node *nodes[]; /* of the map's positions */
};

/* Positions of a slot's nodes in the order in which they are to be asked: holders, then targets,
 * but those that are kept back, and then those that missed writes of this handle, of these again
 * those last that are kept back, behind the others. All of them, always. For what is not to be done
 * twice (`once`), only a node that is down is kept back: two nodes that both count, because one was
 * slow, would lose what one of them counted. */
unsigned view_candidates(const struct view *view, unsigned slot, bool once,
                         uint16_t out[CANDIDATES_MAX]);

/* Whether the node is a holder of the slot, and not only a target. */
bool view_holds(const struct view *view, unsigned slot, const struct node *node);

/* Whether it is a holder that has had each write of the slot, as far as can be known: then what it
 * does not have is not there. */
bool view_believes(const struct view *view, unsigned slot, const struct node *node);

struct sp_ring;
struct view *view_take(struct sp_ring *ring); /* NULL: there is none yet */
void view_give(struct view *view);
/* Makes a view of the map, finds the addresses of nodes that are new, and puts it in the place of
 * the one before. Waits for the resolver only if that is the first one. */
int view_install(struct sp_ring *ring, const struct ring_map *map);

/* --- ring.c ---------------------------------------------------------------------------------- */

enum ring_source { SOURCE_LIST, SOURCE_ZOOKEEPER, SOURCE_POND };

struct ring_settings {
    enum ring_source source;
    char *texts; /* all that the following point to */
    size_t texts_bytes;
    const char *nodes, *zookeeper, *credential, *cluster, *file, *user, *password;
    char published[4096]; /* the pond's file */
    bool redis;
    uint8_t replicas;
    uint16_t slots;
    uint32_t connect_ms, timeout_ms, hedge_ms, probe_ms, idle_max;
    uint32_t receive_ms; /* see receive_ms_of */
};

/* How long a socket may block so that the hedging delay is not exceeded by more than half a tick,
 * where the kernel's ticks are that long; 0: not at all. */
uint32_t receive_ms_of(uint32_t hedge_ms, uint32_t tick_us);

struct watch {
    struct member *member; /* of `process` */
    pid_t process;
    struct ring_map *news;       /* from the member, not yet in a view; with the mutex */
    struct member_status status; /* as last told; with the mutex */
    int64_t file_seconds, file_nanoseconds;
    uint64_t file_inode;
    bool file_seen;
};

struct lookup {
    bool running; /* the thread, in this process; the keeper's */
    pthread_t thread;
    struct node *node; /* NULL: none is being looked up */
    int status;        /* the thread's until it is done */
    struct node_addresses found;
    _Atomic bool done;
};

struct sp_ring {
    struct ring_settings settings;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* there is another view */
    pthread_cond_t woken;   /* there is work for the keeper */
    struct view *view;
    struct node *nodes;
    struct ring_clock clock;
    _Atomic(struct commands *) commands; /* what COMMAND said; made once */
    _Atomic uint64_t later_epoch;        /* of a map that a node has spoken of */
    struct watch watch;
    struct lookup lookup;

    /* The keeper. */
    pthread_t keeper;
    _Atomic bool keeping;        /* it runs in this process */
    bool stopping, work;         /* with the mutex */
    struct sp_ring *next, *prev; /* all rings of the process, for fork */
};

/* The keeper runs in this process too: called with each use of a handle. */
int ring_alive_slowly(struct sp_ring *ring);
static inline int ring_alive(struct sp_ring *ring)
{
    return atomic_load_explicit(&ring->keeping, memory_order_acquire) ? SP_OK
                                                                      : ring_alive_slowly(ring);
}
/* A view, for which the call waits if there is none yet. SP_ENOTREADY with a detail. */
int ring_view(struct sp_ring *ring, struct view **out);
int ring_check_key(const void *key, size_t key_bytes);
void ring_wake(struct sp_ring *ring); /* the keeper has work */
/* Takes note of a node's version, unless its clock is ahead by more than nodes accept. */
void ring_see_version(struct sp_ring *ring, uint64_t version);
/* A node has spoken of a later map: the keeper fetches it. */
void ring_later_epoch(struct sp_ring *ring, uint64_t epoch);
/* Waits until the epoch is at least this, or not this one if `other`. SP_ETIMEDOUT. */
int ring_await_epoch(struct sp_ring *ring, uint64_t epoch, bool other, uint32_t ms);

/* --- pool.c ---------------------------------------------------------------------------------- */

/* A channel of the caller's own, idle or (`fresh`: in any case) just being opened. SP_ENODAEMON
 * with *error an errno, SP_ENOMEM. */
int pool_take(struct sp_ring *ring, struct node *node, bool attach, uint64_t epoch, bool fresh,
              struct channel **out, int *error);
void pool_give(struct sp_ring *ring, struct node *node, struct channel *channel);
void pool_drop(struct sp_ring *ring, struct node *node, struct channel *channel);
/* Connecting has failed: the same at the node's next address. 0, or the errno as given. */
int pool_next_address(struct sp_ring *ring, const struct node *node, struct channel *channel,
                      int error);
/* One that was idle turned out to be closed: so are the others. */
void pool_outdate(struct sp_ring *ring, struct node *node, const struct channel *channel);
/* The node is elsewhere: none of its connections is to be used again. */
void pool_renew(struct sp_ring *ring, struct node *node);
/* For node_unref. */
void pool_free_all(struct node *node);

/* --- lane.c ---------------------------------------------------------------------------------- */

enum lane_state { LANE_ACTIVE, LANE_DONE, LANE_LOST };

struct lane;
#define LOOK_US 20000u /* how often, while a node is late, it is looked at whether it is down */

struct lane_rules {
    /* Where the next reply shall go; may be called several times for one. */
    void (*prepare)(struct lane *lane, struct answer *answer);
    /* It is there. */
    void (*answered)(struct lane *lane, struct answer *answer);
};

struct lane {
    struct node *node;
    struct channel *channel; /* NULL: given back */
    const struct lane_rules *rules;
    void *context;
    enum lane_state state;
    bool once;        /* may not be sent a second time */
    bool sent;        /* LOST: some of the request has gone, so it may have been done */
    bool retried;     /* on a fresh connection */
    bool sent_before; /* on the one before that */
    bool late;        /* the hedging delay has passed */
    bool given_up;    /* and the node does not answer a PING either */
    int status;       /* of LOST */
    size_t wanted, got;
    uint64_t began_us;
    uint32_t *items; /* the engine's: what it was asked for, in order */
    size_t item_count, item_cap, item_at;
    unsigned part;             /* of the item's replies */
    bool settled;              /* the engine has gone on without it */
    char why[NODE_TEXT_BYTES]; /* of LOST */
};

struct lanes {
    struct sp_ring *ring;
    const struct view *view;
    struct lane *at;
    size_t count, cap;
    struct lane few[CANDIDATES_MAX];
};

void lanes_begin(struct lanes *lanes, struct sp_ring *ring, const struct view *view);
/* Another lane, with a channel whose `out` the requests are put into; or one that is LOST already.
 * NULL: no memory. Lanes move when one is added. `once`: see struct lane. */
struct lane *lanes_add(struct lanes *lanes, struct node *node, bool once, bool fresh,
                       const struct lane_rules *rules, void *context);
int lane_add_item(struct lane *lane, uint32_t item);
/* Sends; `wanted` replies are to come. */
void lane_start(struct lanes *lanes, struct lane *lane, size_t wanted);
/* Waits until something has happened to a lane or until then; the number of those still active. */
size_t lanes_wait(struct lanes *lanes, uint64_t until_us);
/* Gives all channels back; those that still owe a reply are closed. */
void lanes_end(struct lanes *lanes);

/* --- ask.c ----------------------------------------------------------------------------------- */

struct argument;

/* One request to one node, waited for at most so long. The caller sets answer->tree and
 * answer->value. SP_OK: there is an answer, maybe an error of the server. */
int node_ask(struct sp_ring *ring, const struct view *view, struct node *node,
             const struct argument *arguments, size_t count, uint32_t ms, struct answer *answer);
/* PING on a fresh connection of each, at the same time; answered[i] says which answered PONG. */
void nodes_ping(struct sp_ring *ring, const struct view *view, struct node *const *nodes,
                size_t count, uint32_t ms, bool *answered);

/* --- request bytes: put.c -------------------------------------------------------------------- */

int put_arguments(struct sp_buffer *out, const struct argument *arguments, size_t count);
/* The digits of a number; returns how many. */
#define PUT_NUMBER_BYTES 24u
size_t put_digits(char out[PUT_NUMBER_BYTES], uint64_t number);

/* --- batch.c --------------------------------------------------------------------------------- */

enum verdict {
    VERDICT_DONE,    /* the item has its answer */
    VERDICT_ABSENT,  /* it is not there; another copy that answers at once may have it */
    VERDICT_REFUSED, /* not done there: the next copy is to be asked */
    VERDICT_UNSURE,  /* the same, and if all say so, it is worth asking once more */
};

/* What is asked of one node. To be zero at the beginning but for what the caller sets. */
struct item {
    unsigned slot; /* of the view's map: the rules' plan */
    bool keyless;  /* any node will do: plan */
    bool once;     /* it is not to be done twice: plan */
    bool done, pending, absent, unsure;
    bool half;      /* its reply is there, and what is still to come does not change it */
    bool believed;  /* absent, by a holder that missed nothing */
    uint8_t live;   /* lanes that it is in */
    uint8_t prompt; /* of these, that are not late */
    uint8_t hoped;  /* and that are not given up */
    uint8_t candidate_count, tried;
    uint8_t trusted;      /* of the candidates, the first */
    uint8_t parts;        /* replies, as put */
    uint8_t verdict;      /* the rules' */
    uint16_t answered_by; /* position of the node */
    uint16_t candidates[CANDIDATES_MAX];
    int status;
};

struct batch;
struct batch_rules {
    /* Of all items that are not done, by the batch's view: in the beginning, and with each other
     * view, as another map may have another number of slots. */
    int (*plan)(struct batch *batch);
    int (*put)(struct batch *batch, uint32_t item, struct sp_buffer *out);
    void (*prepare)(struct batch *batch, uint32_t item, unsigned part, struct answer *answer);
    enum verdict (*answered)(struct batch *batch, uint32_t item, unsigned part,
                             struct answer *answer, const struct node *node);
    /* May be NULL. After each round, with its view: what was answered in it is done by that. */
    void (*round_over)(struct batch *batch);
};

struct batch {
    struct sp_ring *ring;
    struct view *view;
    const struct batch_rules *rules;
    void *context;
    struct item *items;
    size_t count, left; /* items; not yet done */
    struct lanes lanes;
    size_t waiting; /* pending items */
    uint64_t deadline_us, half_us;
    bool half_over;                /* of the time */
    bool once;                     /* some item is */
    char why[NODE_TEXT_BYTES * 2]; /* what last went wrong */
};

/* Asks until all items are done or the ring's time-out is over; each has its status. The caller
 * sets ring, rules, context, items, count. What is returned is about the batch as a whole. */
int batch_run(struct batch *batch);
/* What it means that a node lacks a key. VERDICT_DONE: it is not there. VERDICT_ABSENT: another
 * copy may have it, as the node is of Redis, or missed writes of the slot. VERDICT_REFUSED:
 * nothing, as the node is only a target, of Redis, and may not have been given it yet. */
enum verdict batch_absence(const struct batch *batch, const struct item *item,
                           const struct node *node);
/* What an error of a node means for an item; sets its status, and why. */
enum verdict verdict_of_error(struct batch *batch, struct item *item, const char *text,
                              const struct node *node);

/* --- spread.c -------------------------------------------------------------------------------- */

struct spread_item {
    const void *key, *value; /* the caller; value NULL: deletion */
    size_t key_bytes, value_bytes;
    int64_t ttl_ms; /* 0: never */
    /* the engine */
    unsigned slot, holders; /* of the nodes, the first are holders */
    uint64_t version;
    int64_t expiry_ms; /* Unix ms: the same on all nodes; 0: never */
    uint8_t node_count;
    bool again;
    uint8_t results[CANDIDATES_MAX]; /* enum result, of the nodes */
    uint16_t nodes[CANDIDATES_MAX];
    int refused; /* what a node's error stands for */
    int status;
    struct sp_ring_copies copies;
};

/* Writes all of them to all of their nodes; fills in status and copies. What is returned is about
 * all of them. `why`: of the last that went wrong. */
int spread_run(struct sp_ring *ring, struct spread_item *items, size_t count,
               enum sp_ring_need need, char why[NODE_TEXT_BYTES]);

/* --- trust.c --------------------------------------------------------------------------------- */

/* A node has missed a write of a slot, by this view, that these have. */
void trust_missed(struct sp_ring *ring, const struct view *view, struct node *node, unsigned slot,
                  struct node *const *witnesses, size_t witness_count);
/* What nodes missed, in the slots of another map; the mutex is held. Nothing of it gets lost: where
 * one slot becomes several, it is all of them. */
void trust_renumber(struct node *nodes, unsigned before, unsigned now);
/* One of so many slots as those that its keys are in where there are `now` of them: sets bits. */
void trust_mark(uint64_t slots[RING_SLOT_WORDS], unsigned slot, unsigned before, unsigned now);
/* The witness has a write of this handle that it may not have passed on to the node. */
void trust_behind(struct sp_ring *ring, const struct view *view, struct node *node, unsigned slot,
                  struct node *witness);
/* The keeper's work: telling witnesses, and asking them whether the node has caught up. */
void trust_keep(struct sp_ring *ring, const struct view *view);
/* The node has caught up with all of the first `missed` writes that it missed; nothing is done if
 * there are more by now. */
void trust_clear(struct sp_ring *ring, struct node *node, uint64_t missed);
void trust_forget(struct node *node); /* when the node goes */

/* --- copy.c ---------------------------------------------------------------------------------- */

/* A Redis node has missed a write of a key: it is copied when the node answers again. `may_remove`:
 * where no copy has the key, the node's is old. To be called before trust_missed. */
void copy_missed(struct sp_ring *ring, struct node *node, const void *key, size_t key_bytes,
                 bool may_remove);
/* The node has taken a write that takes the place of all before. */
void copy_taken(struct sp_ring *ring, struct node *node, const void *key, size_t key_bytes);
/* Whether a holder that is distrusted in the slot has a value of a key that is none of those that
 * it missed: where the others have none, one of them may have been started anew. */
bool copy_find(struct sp_ring *ring, const struct view *view, unsigned slot, const void *key,
               size_t key_bytes, uint32_t ms, struct sp_buffer *value);
bool copy_keep(struct sp_ring *ring, const struct view *view);
void copy_forget(struct node *node);

/* --- lookup.c: on the keeper's thread -------------------------------------------------------- */

void lookup_want(struct node *node);
/* Looks up those of the view that have no address; waits a short while for them. */
void lookup_await(struct sp_ring *ring, const struct view *view);
void lookup_keep(struct sp_ring *ring, const struct view *view);
void lookup_end(struct sp_ring *ring); /* when there is no keeper any more */

/* --- keeper.c, watch.c ----------------------------------------------------------------------- */

void *keeper_main(void *ring);
/* SP_OK; SP_ENOPOND where the pond says nothing of a ring; SP_EINVAL, SP_ENOMEM with a detail. */
int watch_begin(struct sp_ring *ring);
void watch_step(struct sp_ring *ring); /* on the keeper's thread */
void watch_end(struct sp_ring *ring);
/* In the child of a fork, when it first uses the handle. */
int watch_forked(struct sp_ring *ring);

#endif
