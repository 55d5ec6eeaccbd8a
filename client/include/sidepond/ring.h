/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/ring.h - keys and values on a ring of nodes, each on several of them.
 *
 * Nodes are sidepondd or Redis. Each key has an owner and one or two more copies (docs/RING.md). A
 * write goes to all copies at the same time; a read goes to the owner, and at once to the next copy
 * if the owner does not answer, has lost its data, or takes long.
 *
 *   struct sp_ring *ring;
 *   struct sp_ring_options options = SP_RING_OPTIONS_INIT;
 *   struct sp_buffer value = {0};
 *   options.zookeeper = "127.0.0.1:2181";
 *   if (sp_ring_open(&options, &ring) == SP_OK &&
 *       sp_ring_set(ring, "user:7", 6, "Ada", 3, 0, SP_RING_ALL, NULL) == SP_OK &&
 *       sp_ring_get(ring, "user:7", 6, &value) == SP_OK)
 *       fwrite(value.data, 1, value.size, stdout);
 *
 * Where the ring is learnt of, the first that is given: `nodes`, a fixed list; `zookeeper`; a
 * daemon of this host, by its pond, so that a host has one session of ZooKeeper for all of its
 * processes.
 *
 * Threads: any number may use the handle at the same time; each call has connections of its own,
 * which are kept for the next ones. One thread of the library probes nodes and follows the map;
 * where nodes have names, another one looks them up again now and then.
 *
 * fork: the handle works in both processes; the child opens connections, and a session of ZooKeeper
 * of its own.
 *
 * Errors, with sp_error_detail naming node and reason: SP_ENONODE: no copy could be reached, so
 * nothing was done. SP_EUNKNOWN: a write was sent and the answer did not come, so it may or may not
 * have been done; sp_ring_set and sp_ring_delete may simply be called again. SP_ETIMEDOUT: a read
 * had no answer within `timeout_ms`. SP_ENOTREADY: there is no map of the ring yet. SP_EACCESS,
 * SP_ENOSPC, SP_ETOOBIG, SP_ETYPE, SP_ERANGE, SP_EREFUSED, SP_EINVAL, SP_ENOMEM, SP_ESYS as in
 * sidepond/cache.h.
 */
#ifndef SIDEPOND_RING_H
#define SIDEPOND_RING_H

#include "sidepond/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sp_ring;

struct sp_ring_options {
    size_t struct_bytes;   /* sizeof(struct sp_ring_options), set by the INIT value */
    const char *nodes;     /* "NAME=ADDRESS[@ZONE][*WEIGHT],...": a ring without ZooKeeper */
    const char *zookeeper; /* "HOST:PORT,HOST:PORT/CHROOT" */
    const char
        *credential;      /* "USER:PASSWORD" of ZooKeeper, to change what operators can; or NULL */
    const char *cluster;  /* in ZooKeeper */
    const char *pond;     /* of the daemon that tells of the ring: a name, or with a slash a
                             directory; NULL: "main" */
    const char *file;     /* with `zookeeper`: the last map is kept here, for starts without it */
    bool redis;           /* with `nodes`: they are Redis, not sidepondd */
    uint8_t replicas;     /* with `nodes`: copies of each key, 1 to 3 */
    uint16_t slots;       /* with `nodes`: a power of two, 16 to 16384 */
    const char *user;     /* of the nodes; NULL: the default user */
    const char *password; /* NULL: none is sent */
    uint32_t connect_ms;  /* how long connecting may take */
    uint32_t timeout_ms;  /* how long a call may take */
    uint32_t hedge_ms;    /* a read without an answer for so long is asked of the next copy too; 0:
                             never */
    uint32_t probe_ms;    /* a node that failed is tried again so often, more or less */
    uint32_t idle_max;    /* connections of each node that are kept though nobody uses them */
};
#define SP_RING_OPTIONS_INIT                                                                       \
    {                                                                                              \
        .struct_bytes = sizeof(struct sp_ring_options), .cluster = "main", .replicas = 2,          \
        .slots = 16384, .connect_ms = 200, .timeout_ms = 1000, .hedge_ms = 10, .probe_ms = 100,    \
        .idle_max = 32,                                                                            \
    }

/* Opens a ring and waits, at most timeout_ms, until it is known. SP_ENOTREADY: it is not known by
 * then; SP_ENOPOND: no daemon of that pond tells of a ring; SP_EINVAL. */
SP_API int sp_ring_open(const struct sp_ring_options *options, struct sp_ring **out);
SP_API void sp_ring_close(struct sp_ring *ring); /* NULL is fine */

/* --- reading --------------------------------------------------------------------------------- */

/* The value of a key, in the place of what is in the buffer. SP_ENOTFOUND. */
SP_API int sp_ring_get(struct sp_ring *ring, const void *key, size_t key_bytes,
                       struct sp_buffer *value);

struct sp_ring_get {
    const void *key;
    size_t key_bytes;
    struct sp_buffer value; /* filled in; to be freed by the caller */
    int status;             /* filled in */
};
/* Many at once: each node is asked for all of its keys in one piece, and all nodes at the same
 * time. Returned is SP_OK, or the first status that is neither SP_OK nor SP_ENOTFOUND. */
SP_API int sp_ring_mget(struct sp_ring *ring, struct sp_ring_get *gets, size_t count);

/* --- writing --------------------------------------------------------------------------------- */

/* What a write needs to be good: one copy that has it, or all. Less is SP_ENONODE where none has
 * it, and SP_EPARTIAL where some have. */
enum sp_ring_need { SP_RING_ONE, SP_RING_ALL };

/* How many copies there are of what was written, of how many that there shall be. */
struct sp_ring_copies {
    unsigned have, want;
};

/* As sp_cache_set: `ttl_ms` 0 means for ever. `copies` may be NULL. */
SP_API int sp_ring_set(struct sp_ring *ring, const void *key, size_t key_bytes, const void *value,
                       size_t value_bytes, int64_t ttl_ms, enum sp_ring_need need,
                       struct sp_ring_copies *copies);
/* Succeeds whether or not the key was there. */
SP_API int sp_ring_delete(struct sp_ring *ring, const void *key, size_t key_bytes,
                          enum sp_ring_need need, struct sp_ring_copies *copies);

struct sp_ring_put {
    const void *key;
    size_t key_bytes;
    const void *value; /* NULL: the key is deleted */
    size_t value_bytes;
    int64_t ttl_ms;
    struct sp_ring_copies copies; /* filled in */
    int status;                   /* filled in */
};
/* Many at once, as sp_ring_mget; returned is SP_OK or the first other status. */
SP_API int sp_ring_mput(struct sp_ring *ring, struct sp_ring_put *puts, size_t count,
                        enum sp_ring_need need);

/* --- any command ----------------------------------------------------------------------------- */

enum sp_reply_type {
    SP_REPLY_NULL,
    SP_REPLY_INTEGER,
    SP_REPLY_TEXT,  /* a status or a value */
    SP_REPLY_ERROR, /* its text */
    SP_REPLY_ARRAY
};
struct sp_reply {
    enum sp_reply_type type;
    int64_t integer;
    const char *text; /* terminated by a zero that does not count */
    size_t size;      /* of text */
    struct sp_reply **items;
    size_t item_count;
};

struct sp_ring_call {
    size_t argument_count;
    const char *const *arguments;
    const size_t *sizes;          /* NULL: they are terminated by zeros */
    struct sp_reply *reply;       /* filled in; NULL unless the status is SP_OK; sp_reply_free */
    struct sp_ring_copies copies; /* filled in, of what writes */
    int status;                   /* filled in */
};

/* Any commands of Redis whose keys all belong to one slot each, and those without keys, which go to
 * any node. Reads are asked of the next copy as sp_ring_get is. Others run at the owner, which
 * passes on what they have done, and are never sent twice. Calls of one slot keep their order.
 * An error of the server is a reply, and SP_OK. SP_EINVAL: keys of several slots, or a command that
 * this library does not know. Returned is SP_OK or the first other status. */
SP_API int sp_ring_call(struct sp_ring *ring, struct sp_ring_call *calls, size_t count);
SP_API void sp_reply_free(struct sp_reply *reply); /* NULL is fine */

/* Adds to a number, as sp_cache_incr. */
SP_API int sp_ring_incr(struct sp_ring *ring, const void *key, size_t key_bytes, int64_t by,
                        int64_t *out, struct sp_ring_copies *copies);

/* --- the ring itself ------------------------------------------------------------------------- */

enum sp_ring_node_state {
    SP_RING_JOINING, /* it does not yet hold all that it shall */
    SP_RING_READY,
    SP_RING_DRAINING, /* its data is moving away */
    SP_RING_DRAINED,  /* it holds nothing any more */
};
#define SP_RING_NODE_BYTES 128
struct sp_ring_node {
    char name[SP_RING_NODE_BYTES], address[SP_RING_NODE_BYTES], zone[SP_RING_NODE_BYTES];
    uint32_t weight;
    enum sp_ring_node_state state;
    uint32_t owned_slots, held_slots, wanted_slots; /* as first holder, as holder, as target */
    /* As this handle sees it. */
    bool kept_back;             /* its breaker is open */
    bool distrusted;            /* it missed writes of this handle */
    uint64_t calls, failures;   /* that it answered, and that it did not */
    uint64_t hedged;            /* reads that were asked of another one too */
    uint32_t median_us, p99_us; /* of late */
};
struct sp_ring_state {
    uint64_t epoch;
    uint32_t slots, replicas;
    bool redis;
    uint32_t under_replicated_slots; /* with fewer holders than there shall be copies */
    uint32_t unsettled_slots;        /* whose holders are not what they shall be */
    bool zookeeper_away;             /* this process asks it, and it does not answer */
};
/* The nodes in the order of their names, an array to be freed by free(). `state` may be NULL. */
SP_API int sp_ring_nodes(struct sp_ring *ring, struct sp_ring_node **out, size_t *count,
                         struct sp_ring_state *state);

/* Where a key lies: its slot, and the names of its holders and then its other targets. */
struct sp_ring_where {
    uint32_t slot;
    unsigned holder_count, count;
    char names[6][SP_RING_NODE_BYTES];
};
SP_API int sp_ring_where(struct sp_ring *ring, const void *key, size_t key_bytes,
                         struct sp_ring_where *out);
/* The same of a slot. SP_EINVAL: the ring has no such slot. */
SP_API int sp_ring_where_slot(struct sp_ring *ring, uint32_t slot, struct sp_ring_where *out);

/* Waits until the epoch (sp_ring_state) is another one than `epoch`, for at most ms. SP_ETIMEDOUT.
 */
SP_API int sp_ring_wait(struct sp_ring *ring, uint64_t epoch, uint32_t ms);

/* What operators want of a node; needs `zookeeper`. Draining moves its data away. A weight of 0 is
 * the one that the node has been configured with. */
SP_API int sp_ring_drain(struct sp_ring *ring, const char *node, bool drain);
SP_API int sp_ring_weight(struct sp_ring *ring, const char *node, uint32_t weight);

#ifdef __cplusplus
}
#endif
#endif
