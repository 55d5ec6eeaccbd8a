/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_internal.h - what the files of tracking share.
 *
 * Lock order: the cache's lock, then `lock` here. The stripes of the tables of keys are leaves.
 */
#ifndef SIDEPOND_COMMAND_TRACKING_INTERNAL_H
#define SIDEPOND_COMMAND_TRACKING_INTERNAL_H

#include "server/command/session.h"
#include "server/command/tracking.h"
#include "server/command/tracking_keys.h"
#include "server/command/tracking_prefixes.h"

/* A session that tracks, or that another one redirects to. */
struct tracking_member {
    struct tracking_member *next; /* in its bucket */
    uint64_t id;
    struct session *session; /* to be touched on its thread only */
    unsigned thread;
    /* Changed by the session's thread, with the lock: that thread may read them without. */
    bool on, broadcast, opt_in, opt_out, no_loop;
    size_t prefixes;   /* how many it has */
    bool targeted;     /* some session has named it in REDIRECT */
    uint64_t redirect; /* 0: to itself */
    /* Of the session's thread alone. */
    bool caching;          /* CLIENT CACHING was called, for the next request */
    struct buffer pending; /* struct pending_key's: told after the reply */
};

#define MEMBER_BUCKETS_FIRST 64u

struct tracking {
    struct tracked_keys keys; /* of the cache */
    struct tracked_keys rows; /* of tables */
    _Atomic uint64_t keys_max;
    _Atomic bool lost; /* there was no memory to tell somebody of something */
    pthread_mutex_t lock;
    /* With the lock. */
    struct tracking_member **buckets; /* by id */
    size_t bucket_count, member_count;
    struct tracked_prefixes prefixes;
    _Atomic uint64_t prefix_count; /* of prefixes; raised with the cache's lock */
    /* Of who calls tracking_tick. */
    uint64_t rows_version; /* of the pond, up to which changes of tables are told */
    uint64_t tables;       /* a hash of their names */
    unsigned flush_in;     /* ticks until everything is to be forgotten again; 0: it is not */
    struct sp_row *row;
};

struct tracking_member *tracking_find(const struct tracking *tracking, uint64_t id);

/* Who is to hear of something, gathered with the lock and told without. */
struct receiver {
    uint64_t id;
    unsigned thread;
    bool redirected; /* the id is that of another session's REDIRECT */
};
struct receivers {
    struct receiver *items;
    size_t count, cap;
    bool failed;
};
#define RECEIVERS_INIT                                                                             \
    {                                                                                              \
        NULL, 0, 0, false                                                                          \
    }

/* With the lock: adds whoever hears what a member is to be told. */
void receivers_add(struct service *service, struct receivers *receivers,
                   const struct tracking_member *member);
/* Posts to their threads that these keys have changed, an array as in a reply; NULL: all have. Then
 * there is no receiver any more. */
void receivers_tell(struct service *service, struct receivers *receivers,
                    const struct buffer *keys);

/* A key and who has read it, out of a table: tells them, but for NO LOOP, and frees it. */
void tracking_tell(struct service *service, struct session *writer, struct tracked *tracked);

/* Tells all who track that everything has changed. */
void tracking_tell_all(struct service *service, struct session *writer);

/* Tells a session what it has itself changed, after its reply. */
void tracking_pend(struct tracking_member *member, const void *key, size_t key_bytes);
void tracking_pend_null(struct tracking_member *member);
void tracking_tell_pending(struct session *session);

/* Forgets keys, at most so many, while there are more than keys_max, or larger ones. */
void tracking_limit(struct service *service, unsigned most);

/* tracking_rows.c */
void tracking_rows_tick(struct service *service);

#endif
