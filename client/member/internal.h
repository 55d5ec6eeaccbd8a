/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of client/member share.
 *
 *   application --wishes, holds, register--.
 *                                          v
 *   ZooKeeper's threads --events,--> struct mailbox --> the member's thread --> on_map, ...
 *                         answers
 *
 *   member.c   opening, closing, and what any thread may call
 *   work.c     the member's thread: what is due, and when it shall be tried again
 *   session.c  one handle of the ZooKeeper client, and its events
 *   call.c     one request to ZooKeeper, and waiting for its answer
 *   look.c     what lies in ZooKeeper, read and kept
 *   enroll.c   the cluster's parents and parameters, and the node's own entry
 *   change.c   the map: telling of it, and changing it
 *   doubt.c    nodes that vanished together, and whether they answer
 *   wish.c     what operators want of a node
 *   json.c     the texts that lie in ZooKeeper
 *
 * Threads: the member's thread owns everything that is not said to be the mailbox's. The ZooKeeper
 * client's threads put what they have to tell into the mailbox, and wait for nobody. The mailbox is
 * counted, because a handle that is being closed may still call for a while when the member is
 * gone.
 */
#ifndef SIDEPOND_MEMBER_INTERNAL_H
#define SIDEPOND_MEMBER_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <zookeeper/zookeeper.h>

#include "client/member/member.h"

#define MEMBER_PATH_BYTES 1024u /* of a ZooKeeper node */
#define MEMBER_OWN_BYTES  2048u /* of the text of a node's entry */
#define MEMBER_FILE_MS    300   /* a start that ZooKeeper has not answered by then uses the file */

/* --- member.c: the mailbox ------------------------------------------------------------------- */

struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* of the monotonic clock */
    unsigned references;
    bool poked;    /* the member's thread has something to do */
    bool stopping; /* no answer is waited for any more */
};

struct mailbox *mailbox_new(void);
void mailbox_ref(struct mailbox *box);
void mailbox_unref(struct mailbox *box);
void mailbox_poke(struct mailbox *box);
/* Waits for a change until then; false: it is later than that. Mutex held. */
bool mailbox_wait(struct mailbox *box, int64_t until_ms);

int64_t member_now_ms(void); /* monotonic */
/* A number below `limit`, from the member's own sequence. */
uint32_t member_random(struct member *member, uint32_t limit);

/* --- session.c ------------------------------------------------------------------------------- */

struct event {
    struct event *next;
    char path[]; /* of what has changed */
};

enum session_phase { SESSION_OPENING, SESSION_OPEN, SESSION_FAILED, SESSION_LEFT, SESSION_CLOSED };

struct session {
    struct mailbox *box;
    unsigned references; /* of the mailbox, as all below */
    enum session_phase phase;
    zhandle_t *handle; /* SESSION_OPEN: the member's thread's alone */
    int error;         /* SESSION_FAILED: errno */
    bool connected, expired, refused;
    int64_t since_ms;     /* how long it has been connected, or not */
    struct event *events; /* the latest first */
    bool lost_events;     /* no memory: anything may have changed */
    char *servers;
    uint32_t wanted_ms;
};

int session_open(struct member *member, struct session **out);
/* Closes the handle on a thread of its own, and waits for that until then. */
void session_close(struct session *session, int64_t until_ms);
/* The last line that the ZooKeeper client has logged. */
void session_last_log(char out[MEMBER_WHY_BYTES]);

/* --- call.c ---------------------------------------------------------------------------------- */

/* A request and its answer. */
struct call {
    struct mailbox *box;
    unsigned references; /* of the mailbox: who waits, and ZooKeeper's client */
    bool done;
    int rc; /* of ZooKeeper */
    char *data;
    int size;
    struct Stat stat;
    char **names;
    int name_count;
    zoo_op_t ops[2];
    zoo_op_result_t results[2];
    char created[MEMBER_PATH_BYTES];
};

/* What begins a request returns NULL where that cannot be done. Reading leaves a watch. */
struct call *call_get(struct member *member, const char *path);
struct call *call_exists(struct member *member, const char *path);
struct call *call_children(struct member *member, const char *path);
struct call *call_create(struct member *member, const char *path, const void *data, size_t size,
                         bool ephemeral, bool open_to_all);
struct call *call_set(struct member *member, const char *path, const void *data, size_t size,
                      int version);
struct call *call_delete(struct member *member, const char *path, int version);
/* Deletes and makes an ephemeral node as one. */
struct call *call_replace(struct member *member, const char *path, const void *data, size_t size,
                          int version);
struct call *call_authenticate(struct member *member);
/* Waits; ZooKeeper's code. ZOPERATIONTIMEOUT, ZSYSTEMERROR for a NULL. */
int call_wait(struct member *member, struct call *call);
void call_free(struct call *call);                      /* NULL is fine */
int call_end(struct member *member, struct call *call); /* both */
/* SP_ENOTFOUND, SP_EEXISTS, SP_EACCESS, SP_EBUSY (another version), SP_ENODAEMON, SP_ETIMEDOUT. */
int call_status(int rc);

/* --- look.c ---------------------------------------------------------------------------------- */

/* An entry under nodes/. */
struct seen {
    struct ring_node node; /* `name` is valid always, the others if `good` */
    bool fresh;            /* as it lies there, and watched */
    bool good;
    bool leaving;  /* there still, and no member any more */
    int64_t owner; /* the session */
    int version;
};

struct view {
    bool names_fresh, wanted_fresh, map_fresh;
    bool there; /* the ring's folder is */
    struct seen *nodes;
    size_t node_count;
    json_t *wanted;       /* an object, or NULL */
    int wanted_version;   /* -1: there is none */
    struct ring_map *map; /* NULL: there is none, or it is damaged */
    int map_version;      /* -1: there is none */
};

void view_forget(struct view *view); /* all is to be read again */
void view_free(struct view *view);
/* Reads what is not known to be as it was. */
int look(struct member *member);
int look_wanted(struct member *member);
struct seen *view_find(struct view *view, const char *name);

/* --- the member ------------------------------------------------------------------------------ */

enum doubt_verdict { DOUBT_ASKING, DOUBT_ANSWERS, DOUBT_GONE };

/* A node of the map that has vanished with many others. */
struct doubt {
    struct ring_node node;
    enum doubt_verdict verdict; /* the mailbox's, from the thread that asks */
    int64_t again_ms;           /* when it is asked again; thread's */
    bool used;                  /* still vanished */
    struct doubt *next;
};

enum wish_phase { WISH_WAITING, WISH_TAKEN, WISH_DONE };

/* A call of member_want or member_wanted, which waits; the mailbox's but for what is being done. */
struct wish {
    char node[RING_NAME_BYTES];
    struct member_wish value; /* read or written */
    bool write;
    bool left; /* nobody waits any more */
    enum wish_phase phase;
    int status;
    struct wish *next;
};

struct member {
    pid_t pid;
    struct mailbox *box;
    pthread_t thread;

    /* As given, never changed. */
    char *servers, *cluster, *credential, *file, *also;
    char base[MEMBER_PATH_BYTES / 2]; /* chroot and all */
    uint32_t session_ms;
    bool is_node;
    struct ring_node node; /* its start id, weight and zone are the mailbox's */
    struct ring_parameters parameters;
    struct member_options calls; /* the callbacks and their context */

    /* The mailbox's. */
    bool wants_in;
    bool leaving; /* for good: what is registered says so */
    uint64_t start;
    uint64_t holds[RING_SLOT_WORDS]; /* not yet in the map */
    struct wish *wishes;
    unsigned asking; /* threads */
    struct member_status status;
    int64_t away_since_ms;   /* 0: connected */
    struct ring_map *map;    /* as told */
    struct ring_map *learnt; /* from another node, not yet looked at; or NULL */

    /* The thread's. */
    struct session *session;
    enum session_phase session_phase; /* as it was last seen */
    bool connected;                   /* and the session's handle may be used */
    bool authenticated;               /* this session */
    bool tell_lost;                   /* a session has ended, and the next one is to say so */
    bool was_connected;               /* this session */
    int64_t opened_ms;                /* when it was begun */
    int64_t open_ms;                  /* when the next one may be */
    int64_t full_ms;                  /* when everything is read anew */
    int64_t look_ms;                  /* when there is something to do; INT64_MAX: nothing */
    int64_t change_ms; /* when the map is changed, if it still is to be; 0: it is not */
    int64_t file_ms;   /* when the file's map is used; INT64_MAX: it is not */
    struct view view;
    struct ring_map *kept;           /* the last one known, from ZooKeeper or the file */
    bool registered;                 /* with this session, under enrolled_start */
    int64_t enrolled_session;        /* in which it has been registered at some time */
    uint64_t enrolled_start;         /* under which it has been registered at some time; 0: none */
    bool agreed;                     /* the parents are there, and the parameters are ours */
    char turn_why[MEMBER_WHY_BYTES]; /* what went wrong in this turn */
    struct doubt *doubts;
    uint32_t seed;
};

/* --- work.c ---------------------------------------------------------------------------------- */

void *member_work(void *argument);
/* Notes what is wrong, as it will be seen when the turn has ended; returns the status. */
int member_fail(struct member *member, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The path of something of this cluster; `name` may be NULL. */
void member_path(const struct member *member, char out[MEMBER_PATH_BYTES], const char *folder,
                 const char *name);

/* --- enroll.c -------------------------------------------------------------------------------- */

/* The parents and parameters are there, and the node is registered, or is not, as wanted. SP_OK;
 * SP_EACCESS, SP_EREFUSED with `why` set; others: to be tried again. */
int enroll(struct member *member);

/* --- change.c -------------------------------------------------------------------------------- */

/* Tells of the map that has been read. */
void change_publish(struct member *member);
void change_publish_file(struct member *member);
/* And of one that another node has, while ZooKeeper is away. */
void change_publish_learnt(struct member *member);
/* Whether it is a map of the ring that this node is configured for, as far as that can be seen. */
bool change_is_ours(const struct member *member, const struct ring_map *map);
/* Changes the map where it is due; otherwise change_ms says when it is. */
int change(struct member *member);

/* --- doubt.c --------------------------------------------------------------------------------- */

/* Adds the nodes that are not believed to have gone. Returns when it is to be looked at again, 0:
 * not at all. `members` has room for the map's nodes besides. */
int64_t doubt_add(struct member *member, const struct ring_map *map, struct ring_node *members,
                  size_t *count);
void doubt_free(struct member *member);

/* --- wish.c ---------------------------------------------------------------------------------- */

void wish_serve(struct member *member);
void wish_refuse(struct member *member, int status); /* all that wait */
/* What operators want of a node, by the text that has been read. */
struct member_wish wish_of(json_t *wanted, const char *name);

/* --- json.c ---------------------------------------------------------------------------------- */

/* The texts end with a zero. */
int json_write_node(const struct ring_node *node, bool leaving, char out[MEMBER_OWN_BYTES]);
/* SP_EFORMAT with why (RING_WHY_BYTES). */
int json_read_node(const char *name, const void *data, size_t size, struct ring_node *out,
                   bool *leaving, char *why);
void json_write_parameters(const struct ring_parameters *parameters, char out[MEMBER_OWN_BYTES]);
int json_read_parameters(const void *data, size_t size, struct ring_parameters *out, char *why);

#endif
