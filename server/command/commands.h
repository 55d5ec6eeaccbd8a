/* SPDX-License-Identifier: Apache-2.0
 *
 * commands.h - what the files with the commands share: keys, events, several keys at once; and the
 * functions that the table (table.c) calls.
 *
 * Every function of a command has the same form (command.h), and is called with the cache's lock
 * held if its line in the table says COMMAND_LOCK.
 */
#ifndef SIDEPOND_COMMAND_COMMANDS_H
#define SIDEPOND_COMMAND_COMMANDS_H

#include "server/command/lease_table.h"
#include "server/command/session.h"

/* --- keys (keys.c); with the lock ----------------------------------------------------------- */

bool key_find(struct session *session, const struct resp_arg *key, struct cache_entry *out);
/* Writes a key, and says so to whom it concerns. */
int key_put(struct session *session, const struct resp_arg *key, uint64_t hash, const void *value,
            size_t value_bytes, int64_t expiry_ms);
bool key_delete(struct session *session, const struct resp_arg *key, uint64_t hash);
/* A key that is not here was to be deleted. */
void key_delete_absent(struct session *session, const struct resp_arg *key, uint64_t hash);
int key_set_expiry(struct session *session, const struct resp_arg *key, uint64_t hash,
                   const struct cache_entry *entry, int64_t expiry_ms);

/* Replies with a key's value, or null, without the lock where that is possible. */
void reply_value(struct session *session, const struct resp_arg *key, struct cache_probe *probe);

/* Replies with a key's value, without the lock, and counts a hit, if it lasts beyond `until_ms` of
 * the wall clock. False, without a reply: it does not, or that cannot be said without the lock. */
bool reply_lasting(struct session *session, const struct resp_arg *key, int64_t until_ms);

/* Between the two, what is written appears as one to all clients. With the lock; may be nested. */
void several_begin(struct session *session);
void several_end(struct session *session);

/* --- who is told (events.c) ----------------------------------------------------------------- */

/* The classes of keyspace events, as notify-keyspace-events names them. */
enum event_class {
    EVENT_KEYSPACE = 1u << 0, /* K */
    EVENT_KEYEVENT = 1u << 1, /* E */
    EVENT_GENERIC = 1u << 2,  /* g */
    EVENT_STRING = 1u << 3,   /* $ */
    EVENT_EXPIRED = 1u << 4,  /* x */
    EVENT_EVICTED = 1u << 5,  /* e */
    EVENT_MISS = 1u << 6,     /* m */
    EVENT_NEW = 1u << 7,      /* n */
    /* Of types that are not here: letters that settings may have. */
    EVENT_LIST = 1u << 8,
    EVENT_SET = 1u << 9,
    EVENT_HASH = 1u << 10,
    EVENT_SORTEDSET = 1u << 11,
    EVENT_STREAM = 1u << 12,
    EVENT_MODULE = 1u << 13
};
void event_publish(struct service *service, enum event_class kind, const char *event,
                   const void *key, size_t key_bytes);
static inline void key_event(struct session *session, enum event_class kind, const char *event,
                             const struct resp_arg *key)
{
    uint32_t wanted = atomic_load_explicit(&session->service->events, memory_order_relaxed);
    if (__builtin_expect(wanted & kind, 0))
        event_publish(session->service, kind, event, key->bytes, key->size);
}

/* A key has a value that it may not have had before: for those who watch it (multi.c), and who
 * compute it or wait for that (lease.c). With the lock. */
static inline void key_written(struct session *session, uint64_t hash)
{
    struct service *service = session->service;
    if (__builtin_expect(atomic_load_explicit(&service->watchers, memory_order_relaxed) != 0, 0))
        service->writes[hash % WATCH_SLOTS]++;
    if (__builtin_expect(atomic_load_explicit(&service->lease_count, memory_order_relaxed), 0))
        lease_table_key_written(service->leases, hash);
}

/* A key has no value, whether or not it had one before: what somebody may be computing for it is
 * not to be stored. With the lock. */
static inline void key_deleted(struct session *session, uint64_t hash)
{
    struct service *service = session->service;
    if (__builtin_expect(atomic_load_explicit(&service->lease_count, memory_order_relaxed), 0))
        lease_table_key_deleted(service->leases, hash);
}

/* A key is another one now, and everybody sees it: for those who track it (tracking.c). With the
 * lock. */
static inline void key_tracked(struct session *session, const struct resp_arg *key)
{
    struct service *service = session->service;
    if (__builtin_expect(atomic_load_explicit(&service->trackers, memory_order_relaxed) != 0, 0))
        tracking_changed(service, session, key->bytes, key->size);
}

/* The same of a change by a command of this node: also for the other copies (ring_write.c). */
static inline void key_changed(struct session *session, const struct resp_arg *key, uint64_t hash)
{
    key_tracked(session, key);
    if (__builtin_expect(session->service->ring != NULL, 0))
        ring_note_written(session, key, hash);
}

/* --- times (expire.c) ----------------------------------------------------------------------- */

/* The wall clock that an expiry means; false, with the error replied. `positive`: 0 and less are
 * errors. */
bool expiry_from(struct session *session, const struct command *command, int64_t value,
                 unsigned unit_ms, bool absolute, bool positive, int64_t *expiry_ms);

/* --- rows of tables (rows.c); without the lock ------------------------------------------------ */

/* Whether the key begins with a table's name and a colon. */
bool key_is_row(struct session *session, const struct resp_arg *key);
/* Null where there is no such row. */
void row_reply_json(struct session *session, const struct resp_arg *key);
/* 1: there is such a row, 0: there is none, -1: the table cannot be read, and the error has been
 * replied. */
int row_exists(struct session *session, const struct resp_arg *key);
/* The errors of a write to a row, and of DUMP. */
void reply_row_refused(struct session *session, const struct resp_arg *key);
void reply_row_not_dumped(struct session *session, const struct resp_arg *key);

/* --- the commands --------------------------------------------------------------------------- */

#define COMMAND_FUNCTION(name) void run_##name(struct session *session, const struct call *call)

/* dump.c */
COMMAND_FUNCTION(dump);
COMMAND_FUNCTION(restore);

/* strings.c */
COMMAND_FUNCTION(get);
COMMAND_FUNCTION(mget);
COMMAND_FUNCTION(strlen);
COMMAND_FUNCTION(getrange);
COMMAND_FUNCTION(set);
COMMAND_FUNCTION(setnx);
COMMAND_FUNCTION(setex);
COMMAND_FUNCTION(psetex);
COMMAND_FUNCTION(getset);
COMMAND_FUNCTION(getdel);
COMMAND_FUNCTION(getex);
COMMAND_FUNCTION(mset);
COMMAND_FUNCTION(msetnx);
COMMAND_FUNCTION(append);
COMMAND_FUNCTION(setrange);

/* counters.c */
COMMAND_FUNCTION(incr);
COMMAND_FUNCTION(decr);
COMMAND_FUNCTION(incrby);
COMMAND_FUNCTION(decrby);
COMMAND_FUNCTION(incrbyfloat);

/* keys.c */
/* Fetches where a probe's use will be noted. Needs no lock. */
void key_fetch_touch(const struct thread *thread, const struct cache_probe *probe);
COMMAND_FUNCTION(del);
COMMAND_FUNCTION(exists);
COMMAND_FUNCTION(touch);
COMMAND_FUNCTION(type);
COMMAND_FUNCTION(rename);
COMMAND_FUNCTION(renamenx);
COMMAND_FUNCTION(copy);
COMMAND_FUNCTION(randomkey);
COMMAND_FUNCTION(dbsize);
COMMAND_FUNCTION(flushall);

/* walk.c */
COMMAND_FUNCTION(keys);
COMMAND_FUNCTION(scan);

/* expire.c */
COMMAND_FUNCTION(expire);
COMMAND_FUNCTION(pexpire);
COMMAND_FUNCTION(expireat);
COMMAND_FUNCTION(pexpireat);
COMMAND_FUNCTION(ttl);
COMMAND_FUNCTION(pttl);
COMMAND_FUNCTION(expiretime);
COMMAND_FUNCTION(pexpiretime);
COMMAND_FUNCTION(persist);

/* multi.c */
COMMAND_FUNCTION(multi);
COMMAND_FUNCTION(exec);
COMMAND_FUNCTION(discard);
COMMAND_FUNCTION(watch);
COMMAND_FUNCTION(unwatch);

/* rows.c */
COMMAND_FUNCTION(hget);
COMMAND_FUNCTION(hmget);
COMMAND_FUNCTION(hgetall);
COMMAND_FUNCTION(hkeys);
COMMAND_FUNCTION(hvals);
COMMAND_FUNCTION(hlen);
COMMAND_FUNCTION(hexists);

/* hello.c, acl_commands.c, acl_log.c */
COMMAND_FUNCTION(hello);
COMMAND_FUNCTION(auth);
COMMAND_FUNCTION(acl_whoami);
COMMAND_FUNCTION(acl_list);
COMMAND_FUNCTION(acl_users);
COMMAND_FUNCTION(acl_getuser);
COMMAND_FUNCTION(acl_setuser);
COMMAND_FUNCTION(acl_deluser);
COMMAND_FUNCTION(acl_cat);
COMMAND_FUNCTION(acl_dryrun);
COMMAND_FUNCTION(acl_genpass);
COMMAND_FUNCTION(acl_load);
COMMAND_FUNCTION(acl_save);
COMMAND_FUNCTION(acl_log);

/* help.c */
COMMAND_FUNCTION(acl_help);
COMMAND_FUNCTION(client_help);
COMMAND_FUNCTION(command_help);
COMMAND_FUNCTION(pubsub_help);

/* client.c */
bool client_name_is_fine(struct session *session, const struct resp_arg *name);
bool client_set_name(struct session *session, const struct resp_arg *name);
COMMAND_FUNCTION(client_id);
COMMAND_FUNCTION(client_info);
COMMAND_FUNCTION(client_list);
COMMAND_FUNCTION(client_kill);
COMMAND_FUNCTION(client_getname);
COMMAND_FUNCTION(client_setname);
COMMAND_FUNCTION(client_setinfo);
COMMAND_FUNCTION(client_reply);
COMMAND_FUNCTION(client_no_evict);
COMMAND_FUNCTION(client_no_touch);

/* tracking.c */
COMMAND_FUNCTION(client_tracking);
COMMAND_FUNCTION(client_caching);
COMMAND_FUNCTION(client_trackinginfo);
COMMAND_FUNCTION(client_getredir);

/* pause.c */
COMMAND_FUNCTION(client_pause);
COMMAND_FUNCTION(client_unpause);

/* wait.c */
COMMAND_FUNCTION(client_unblock);

/* about_commands.c */
COMMAND_FUNCTION(command);
COMMAND_FUNCTION(command_count);
COMMAND_FUNCTION(command_docs);
COMMAND_FUNCTION(command_getkeys);
COMMAND_FUNCTION(command_info);
COMMAND_FUNCTION(command_list);

/* pubsub.c */
COMMAND_FUNCTION(subscribe);
COMMAND_FUNCTION(unsubscribe);
COMMAND_FUNCTION(psubscribe);
COMMAND_FUNCTION(punsubscribe);
COMMAND_FUNCTION(publish);
COMMAND_FUNCTION(pubsub_channels);
COMMAND_FUNCTION(pubsub_numsub);
COMMAND_FUNCTION(pubsub_numpat);

/* config.c */
COMMAND_FUNCTION(config_get);
COMMAND_FUNCTION(config_set);
COMMAND_FUNCTION(config_resetstat);
COMMAND_FUNCTION(config_rewrite);
COMMAND_FUNCTION(config_help);

/* info.c */
COMMAND_FUNCTION(info);

/* latency.c */
COMMAND_FUNCTION(latency_doctor);
COMMAND_FUNCTION(latency_help);
COMMAND_FUNCTION(latency_histogram);
COMMAND_FUNCTION(latency_history);
COMMAND_FUNCTION(latency_latest);
COMMAND_FUNCTION(latency_reset);

/* object.c */
COMMAND_FUNCTION(memory_help);
COMMAND_FUNCTION(memory_stats);
COMMAND_FUNCTION(memory_usage);
COMMAND_FUNCTION(object_encoding);
COMMAND_FUNCTION(object_freq);
COMMAND_FUNCTION(object_help);
COMMAND_FUNCTION(object_idletime);
COMMAND_FUNCTION(object_refcount);

/* slowlog.c */
COMMAND_FUNCTION(slowlog_get);
COMMAND_FUNCTION(slowlog_help);
COMMAND_FUNCTION(slowlog_len);
COMMAND_FUNCTION(slowlog_reset);

/* lease.c */
COMMAND_FUNCTION(sidepond_fill);
COMMAND_FUNCTION(sidepond_lease);
COMMAND_FUNCTION(sidepond_release);

/* ring_commands.c, ring_pull.c, ring_write.c */
COMMAND_FUNCTION(cluster);
COMMAND_FUNCTION(sidepond_attach);
COMMAND_FUNCTION(sidepond_cluster);
COMMAND_FUNCTION(sidepond_digests);
COMMAND_FUNCTION(sidepond_erase);
COMMAND_FUNCTION(sidepond_miss);
COMMAND_FUNCTION(sidepond_missed);
COMMAND_FUNCTION(sidepond_pull);
COMMAND_FUNCTION(sidepond_put);
COMMAND_FUNCTION(sidepond_ring);
COMMAND_FUNCTION(sidepond_since);
COMMAND_FUNCTION(wait);

/* sidepond.c */
COMMAND_FUNCTION(sidepond_check);
COMMAND_FUNCTION(sidepond_confirm);
COMMAND_FUNCTION(sidepond_help);
COMMAND_FUNCTION(sidepond_hold);
COMMAND_FUNCTION(sidepond_refresh);
COMMAND_FUNCTION(sidepond_status);
COMMAND_FUNCTION(sidepond_tables);

/* connection.c */
COMMAND_FUNCTION(ping);
COMMAND_FUNCTION(echo);
COMMAND_FUNCTION(quit);
COMMAND_FUNCTION(reset);
COMMAND_FUNCTION(select);
COMMAND_FUNCTION(time);

#endif
