/* SPDX-License-Identifier: Apache-2.0
 *
 * member.h - a ring's membership in ZooKeeper: registering a node, following the map, and changing
 * it where docs/RING.md says so.
 *
 * One member is one ZooKeeper session. All of its work is done on a thread of its own; what it
 * finds out is told from there. Nothing here waits for ZooKeeper but member_wait.
 *
 * While ZooKeeper is away the last map stays in use, or a later one that another node has. With a
 * file, the map is saved there whenever it changes, and is what a member begins with that starts
 * while ZooKeeper is away.
 *
 * fork: the child cannot use the member; closing it there does nothing, and the session stays the
 * parent's.
 */
#ifndef SIDEPOND_MEMBER_H
#define SIDEPOND_MEMBER_H

#include "client/ring/map.h"

#define MEMBER_WHY_BYTES 512u

enum member_link {
    MEMBER_CONNECTING, /* not connected now; the session may live on */
    MEMBER_CONNECTED,
    MEMBER_REFUSED, /* `why` says for what: other parameters, wrong password; tried again */
};

struct member_status {
    enum member_link link;
    bool registered;            /* the node is in ZooKeeper, put there by this session */
    uint64_t session_ms;        /* as granted by the server; 0: never connected */
    uint64_t sessions_lost;     /* expired ones, so far */
    uint64_t map_changes;       /* that this member has written */
    uint64_t away_ms;           /* how long not connected; 0: connected */
    char why[MEMBER_WHY_BYTES]; /* the last that went wrong; "": nothing */
};

struct member_options {
    const char *servers;    /* "host:port,host:port/chroot" */
    const char *cluster;    /* a name as of nodes */
    const char *credential; /* "user:password" of the digest ACL; NULL: none */
    uint32_t session_ms;
    /* To register under; the start id is the caller's. NULL: the member only looks, changes no map,
     * and makes no parameters. */
    const struct ring_node *node;
    bool registers_at_once;            /* false: only after member_register(true) */
    struct ring_parameters parameters; /* of a new ring, and expected of another; for a node */
    const char *file;                  /* the last map; NULL: none is kept */
    const char *also; /* another one; what is begun with is the later map; or NULL */
    /* Called on the member's thread. A map is lent for the call: ring_map_ref keeps it. */
    void (*on_map)(void *context, const struct ring_map *map);
    /* ZooKeeper is away and has not registered the node since the member was opened, and this map
     * is the last one known: of the file, of another node, or read before the connection was lost.
     * Before on_map, for a node. `start`: the map has the node, at its address, under this start
     * id, which is the node's from now on; 0: it has not. A NULL map: none is known. The callback
     * may be NULL: then the node stays what it is. */
    void (*on_old_map)(void *context, const struct ring_map *map, uint64_t start);
    /* The session was lost and there is a new one: others may have taken the node for gone. */
    void (*on_session_lost)(void *context);
    void (*on_status)(void *context, const struct member_status *status); /* may be NULL */
    /* Whether a node that has vanished from ZooKeeper answers all the same; asked when many vanish
     * at once; may wait up to a second. NULL: they are believed to have gone. */
    bool (*answers)(void *context, const struct ring_node *node);
    void *context;
};

struct member;

/* Begins; what options points to is copied. An unreachable ZooKeeper is no error. SP_EINVAL and
 * SP_ENOMEM, SP_ESYS with `why` (MEMBER_WHY_BYTES). */
int member_open(const struct member_options *options, struct member **out, char *why);
/* Begins with what member_close does, which then waits for what is left of it. NULL is fine. */
void member_tell_to_end(struct member *member);
/* Takes the node out of ZooKeeper and ends the session, for which it waits at most two seconds.
 * NULL is fine. */
void member_close(struct member *member);
/* Takes the node in or out, under a start id. Any thread. */
void member_register(struct member *member, bool wanted, uint64_t start);
/* The node leaves for good: its entry says so until the member is closed, and the map is made
 * without it, also where it still answers. */
void member_leave(struct member *member);
/* The node's weight (1 to 1000) and zone are others from now on; its name and address stay. */
void member_change(struct member *member, uint16_t weight, const char *zone);

/* The node is complete for these slots: it becomes their holder, as soon as that can be written. */
void member_hold(struct member *member, const uint64_t slots[RING_SLOT_WORDS]);
/* What it was complete for, and is not yet a holder of, may be old. */
void member_unhold(struct member *member);
/* Another node has this map. If ZooKeeper is away, and it is later than the last one known, it is
 * used until ZooKeeper is back. Any thread. */
void member_learn(struct member *member, const struct ring_map *map);

void member_status(struct member *member, struct member_status *out);
/* A reference, or NULL: there is none yet. */
struct ring_map *member_map(struct member *member);
/* Waits until there is a map with at least this epoch. SP_ETIMEDOUT. */
int member_wait(struct member *member, uint64_t epoch, uint32_t ms);

/* What operators want of a node; waits at most `ms`. `weight` 0: as the node says; a node need not
 * be registered. SP_ENODAEMON: ZooKeeper is away; SP_EACCESS; SP_ETIMEDOUT. */
struct member_wish {
    bool drain;
    uint16_t weight;
};
int member_want(struct member *member, const char *node, const struct member_wish *wish,
                uint32_t ms);
int member_wanted(struct member *member, const char *node, struct member_wish *out, uint32_t ms);

#endif
