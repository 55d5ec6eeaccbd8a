/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_tell.c - from a change to the clients that are to hear of it.
 *
 * Who changes a key takes it out of the table of keys, looks up its clients, and posts one message
 * for each thread that has any of them; there it is appended to their outputs. A thread runs what
 * is posted between its callbacks, so a client has its reply before it hears that the reply is old.
 * What a session changes itself waits for the end of its request instead, and of EXEC.
 *
 * Changes under prefixes are gathered, and told at the end of the batch of requests that made them.
 *
 * Costs: with clients that track, a write costs a mutex; a key that somebody has read a second one,
 * an allocation and a post for each thread. The clients of a prefix get one message for a batch.
 *
 * Limits: a message that there is no memory for is made good by one that tells everybody to forget
 * everything, within a tick. What a client does not read counts as its output and ends it there.
 */
#include "server/command/tracking_internal.h"

#include <stdlib.h>
#include <string.h>

#include "server/command/client.h"
#include "server/command/pubsub.h"

#define BROADCAST_CHANGES_MAX 4096u  /* that wait; more are told at once */
#define TRACKED_KEY_BYTES     512u   /* of memory, that a key may take on the average */
#define TICK_EVICTIONS        20000u /* about 20 ms */

/* --- on the client's thread ------------------------------------------------------------------- */

/* Null, in the session's protocol, if there are no keys. */
static void append_keys(struct session *session, bool redirected, const char *keys, size_t bytes)
{
    struct reply *reply = &session->reply;
    if (reply->protocol < 3 && (!redirected || pubsub_count(session) == 0))
        return;                      /* it could not tell this from a reply */
    net_output(session->connection); /* to be sent after this callback */
    if (reply->protocol >= 3) {
        reply_push(reply, 2);
        reply_text(reply, "invalidate");
    } else {
        reply_array(reply, 3);
        reply_text(reply, "message");
        reply_text(reply, "__redis__:invalidate");
    }
    if (bytes > 0)
        buffer_append(reply->out, keys, bytes);
    else
        reply_null(reply);
}

static void append_broken(struct session *session, uint64_t redirect)
{
    struct reply *reply = &session->reply;
    atomic_fetch_or_explicit(&session->client->flags, CLIENT_TRACKING_BROKEN, memory_order_relaxed);
    if (reply->protocol < 3)
        return;
    net_output(session->connection);
    reply_push(reply, 2);
    reply_text(reply, "tracking-redir-broken");
    reply_integer(reply, (int64_t)redirect);
}

struct notice {
    struct service *service;
    uint64_t broken; /* the redirection that leads nowhere; 0: this is about keys */
    size_t count, key_bytes;
    struct receiver receivers[]; /* then the keys */
};

static struct session *session_of(struct tracking *tracking, uint64_t id)
{
    pthread_mutex_lock(&tracking->lock);
    struct tracking_member *member = tracking_find(tracking, id);
    struct session *session = member ? member->session : NULL;
    pthread_mutex_unlock(&tracking->lock);
    return session; /* sessions of this thread end on this thread */
}

static void deliver(void *argument)
{
    struct notice *notice = argument;
    const char *keys = (const char *)(notice->receivers + notice->count);
    for (size_t i = 0; i < notice->count; i++) {
        const struct receiver *receiver = &notice->receivers[i];
        struct session *session = session_of(notice->service->tracking, receiver->id);
        if (session && notice->broken != 0)
            append_broken(session, notice->broken);
        else if (session)
            append_keys(session, receiver->redirected, keys, notice->key_bytes);
    }
    free(notice);
}

/* --- posting ---------------------------------------------------------------------------------- */

static struct notice *new_notice(struct service *service, size_t count, const struct buffer *keys)
{
    size_t bytes = keys ? keys->size : 0;
    struct notice *notice = malloc(sizeof(*notice) + count * sizeof(struct receiver) + bytes);
    if (!notice)
        return NULL;
    *notice = (struct notice){.service = service, .count = count, .key_bytes = bytes};
    if (bytes > 0)
        memcpy(notice->receivers + count, keys->bytes, bytes);
    return notice;
}

static void post(struct service *service, unsigned thread, struct notice *notice)
{
    int status = notice ? net_post(service->net, thread, deliver, notice) : SP_ENOMEM;
    if (status == SP_OK)
        return;
    free(notice);
    if (status == SP_ENOMEM)
        atomic_store_explicit(&service->tracking->lost, true, memory_order_relaxed);
}

static void tell_thread(struct service *service, const struct receivers *receivers, unsigned thread,
                        const struct buffer *keys)
{
    size_t count = 0, at = 0;
    for (size_t i = 0; i < receivers->count; i++)
        count += receivers->items[i].thread == thread;
    if (count == 0)
        return;
    struct notice *notice = new_notice(service, count, keys);
    for (size_t i = 0; notice && i < receivers->count; i++) {
        if (receivers->items[i].thread == thread)
            notice->receivers[at++] = receivers->items[i];
    }
    post(service, thread, notice);
}

void receivers_tell(struct service *service, struct receivers *receivers, const struct buffer *keys)
{
    if (receivers->failed || (keys && keys->failed))
        atomic_store_explicit(&service->tracking->lost, true, memory_order_relaxed);
    for (unsigned t = 0; receivers->count > 0 && t < service->thread_count; t++)
        tell_thread(service, receivers, t, keys);
    free(receivers->items);
    *receivers = (struct receivers)RECEIVERS_INIT;
}

/* --- who hears -------------------------------------------------------------------------------- */

static void add_receiver(struct receivers *receivers, struct receiver receiver)
{
    if (receivers->count == receivers->cap) {
        size_t cap = receivers->cap ? receivers->cap * 2 : 8;
        struct receiver *items = realloc(receivers->items, cap * sizeof(*items));
        if (!items) {
            receivers->failed = true;
            return;
        }
        receivers->items = items;
        receivers->cap = cap;
    }
    receivers->items[receivers->count++] = receiver;
}

void receivers_add(struct service *service, struct receivers *receivers,
                   const struct tracking_member *member)
{
    if (member->redirect == 0) {
        add_receiver(receivers, (struct receiver){member->id, member->thread, false});
        return;
    }
    const struct tracking_member *target = tracking_find(service->tracking, member->redirect);
    if (target) {
        add_receiver(receivers, (struct receiver){target->id, target->thread, true});
        return;
    }
    struct notice *notice = new_notice(service, 1, NULL);
    if (notice) {
        notice->broken = member->redirect;
        notice->receivers[0] = (struct receiver){member->id, member->thread, false};
    }
    post(service, member->thread, notice);
}

static void print_key(const void *key, size_t key_bytes, struct buffer *out)
{
    struct reply reply = {out, 2};
    reply_array(&reply, 1);
    reply_bulk(&reply, key, key_bytes);
}

/* With the lock. */
static void gather(struct service *service, struct session *writer, const struct tracked *tracked,
                   struct receivers *receivers)
{
    for (uint32_t i = 0; i < tracked->count; i++) {
        uint64_t id = tracked_ids(tracked)[i];
        struct tracking_member *member = tracking_find(service->tracking, id);
        bool own = writer && writer->id == id;
        if (!member || !member->on || member->broadcast || (own && member->no_loop))
            continue;
        if (own)
            tracking_pend(member, tracked->key, tracked->key_bytes);
        else
            receivers_add(service, receivers, member);
    }
}

void tracking_tell(struct service *service, struct session *writer, struct tracked *tracked)
{
    struct tracking *tracking = service->tracking;
    struct receivers receivers = RECEIVERS_INIT;
    struct buffer keys = BUFFER_INIT;
    pthread_mutex_lock(&tracking->lock);
    gather(service, writer, tracked, &receivers);
    pthread_mutex_unlock(&tracking->lock);
    if (receivers.count > 0)
        print_key(tracked->key, tracked->key_bytes, &keys);
    receivers_tell(service, &receivers, &keys);
    buffer_free(&keys);
    tracked_free(tracked);
}

void tracking_tell_all(struct service *service, struct session *writer)
{
    struct tracking *tracking = service->tracking;
    struct receivers receivers = RECEIVERS_INIT;
    pthread_mutex_lock(&tracking->lock);
    for (size_t i = 0; i < tracking->bucket_count; i++) {
        for (struct tracking_member *member = tracking->buckets[i]; member; member = member->next) {
            if (member->on && writer && member->session == writer)
                tracking_pend_null(member);
            else if (member->on)
                receivers_add(service, &receivers, member);
        }
    }
    pthread_mutex_unlock(&tracking->lock);
    receivers_tell(service, &receivers, NULL);
}

/* --- what a session changes itself ------------------------------------------------------------ */

#define PENDING_NULL UINT32_MAX /* in the place of a key's size */

void tracking_pend(struct tracking_member *member, const void *key, size_t key_bytes)
{
    uint32_t bytes = (uint32_t)key_bytes;
    if (!buffer_reserve(&member->pending, sizeof(bytes) + key_bytes))
        return; /* and failed: everything is forgotten */
    buffer_append(&member->pending, &bytes, sizeof(bytes));
    buffer_append(&member->pending, key, key_bytes);
}

void tracking_pend_null(struct tracking_member *member)
{
    const uint32_t bytes = PENDING_NULL;
    buffer_append(&member->pending, &bytes, sizeof(bytes));
}

static void tell_own(struct session *session, const struct buffer *keys)
{
    const struct tracking_member *member = session->tracking;
    struct receivers receivers = RECEIVERS_INIT;
    if (member->redirect == 0) {
        append_keys(session, false, keys->bytes, keys->size);
        return;
    }
    pthread_mutex_lock(&session->service->tracking->lock);
    receivers_add(session->service, &receivers, member);
    pthread_mutex_unlock(&session->service->tracking->lock);
    receivers_tell(session->service, &receivers, keys->size > 0 ? keys : NULL);
}

void tracking_tell_pending(struct session *session)
{
    struct buffer *pending = &session->tracking->pending;
    struct buffer keys = BUFFER_INIT;
    size_t at = 0;
    while (at < pending->size) {
        uint32_t bytes;
        memcpy(&bytes, pending->bytes + at, sizeof(bytes));
        at += sizeof(bytes);
        keys.size = 0;
        if (bytes != PENDING_NULL) {
            print_key(pending->bytes + at, bytes, &keys);
            at += bytes;
        }
        tell_own(session, &keys);
    }
    if (pending->failed || keys.failed)
        atomic_store_explicit(&session->service->tracking->lost, true, memory_order_relaxed);
    pending->size = 0;
    buffer_shrink(pending, 4096);
    if (pending->failed)
        buffer_free(pending);
    buffer_free(&keys);
}

/* --- prefixes --------------------------------------------------------------------------------- */

/* With the lock. Those who have changed something of it and do not want to hear of that get each a
 * message of their own, all others the same. */
static void broadcast_prefix(struct service *service, struct tracked_prefix *prefix)
{
    struct receivers usual = RECEIVERS_INIT;
    struct buffer keys = BUFFER_INIT;
    for (size_t i = 0; i < prefix->id_count; i++) {
        const struct tracking_member *member = tracking_find(service->tracking, prefix->ids[i]);
        if (!member || !member->on)
            continue;
        if (!member->no_loop || !tracked_prefix_changed_by(prefix, member->id)) {
            receivers_add(service, &usual, member);
            continue;
        }
        struct receivers alone = RECEIVERS_INIT;
        if (tracked_prefix_print(prefix, member->id, &keys) > 0)
            receivers_add(service, &alone, member);
        receivers_tell(service, &alone, &keys);
        buffer_free(&keys);
    }
    if (usual.count > 0)
        tracked_prefix_print(prefix, 0, &keys);
    receivers_tell(service, &usual, &keys);
    buffer_free(&keys);
}

/* With the lock. */
static void broadcast(struct service *service)
{
    struct tracked_prefixes *prefixes = &service->tracking->prefixes;
    atomic_store_explicit(&service->broadcasts, false, memory_order_relaxed);
    for (size_t i = 0; prefixes->changes > 0 && i < prefixes->count; i++) {
        struct tracked_prefix *prefix = prefixes->sorted[i];
        if (prefix->change_count == 0 && !prefix->changed.failed)
            continue;
        broadcast_prefix(service, prefix);
        tracked_prefix_told(prefixes, prefix);
    }
}

void tracking_broadcast(struct service *service)
{
    pthread_mutex_lock(&service->tracking->lock);
    broadcast(service);
    pthread_mutex_unlock(&service->tracking->lock);
}

static void note_broadcast(struct service *service, const struct session *writer, const void *key,
                           size_t key_bytes)
{
    struct tracking *tracking = service->tracking;
    pthread_mutex_lock(&tracking->lock);
    if (!tracked_prefixes_note(&tracking->prefixes, key, key_bytes, writer ? writer->id : 0))
        atomic_store_explicit(&tracking->lost, true, memory_order_relaxed);
    if (tracking->prefixes.changes > BROADCAST_CHANGES_MAX)
        broadcast(service);
    else if (tracking->prefixes.changes > 0)
        atomic_store_explicit(&service->broadcasts, true, memory_order_relaxed);
    pthread_mutex_unlock(&tracking->lock);
}

/* --- changes ---------------------------------------------------------------------------------- */

void tracking_changed(struct service *service, struct session *writer, const void *key,
                      size_t key_bytes)
{
    struct tracking *tracking = service->tracking;
    uint64_t hash = cache_hash(service->cache, key, key_bytes);
    struct tracked *tracked = tracked_keys_take(&tracking->keys, hash, key, key_bytes);
    if (tracked)
        tracking_tell(service, writer, tracked);
    if (atomic_load_explicit(&tracking->prefix_count, memory_order_relaxed) > 0)
        note_broadcast(service, writer, key, key_bytes);
}

void tracking_flushed(struct service *service, struct session *writer)
{
    struct tracking *tracking = service->tracking;
    tracked_keys_clear(&tracking->keys);
    tracked_keys_clear(&tracking->rows);
    tracking_tell_all(service, writer);
}

static uint64_t load(const _Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static bool is_over(const struct tracking *tracking)
{
    uint64_t most = load(&tracking->keys_max);
    return most != 0 &&
           (load(&tracking->keys.keys) + load(&tracking->rows.keys) > most ||
            (load(&tracking->keys.bytes) + load(&tracking->rows.bytes)) / TRACKED_KEY_BYTES > most);
}

/* The larger table loses first. */
void tracking_limit(struct service *service, unsigned most)
{
    struct tracking *tracking = service->tracking;
    while (most-- > 0 && is_over(tracking)) {
        bool rows = load(&tracking->rows.bytes) > load(&tracking->keys.bytes);
        struct tracked *tracked = tracked_keys_take_any(rows ? &tracking->rows : &tracking->keys);
        if (!tracked)
            return;
        tracking_tell(service, NULL, tracked);
    }
}

/* --- ten times a second ----------------------------------------------------------------------- */

void tracking_tick(struct service *service)
{
    struct tracking *tracking = service->tracking;
    if (atomic_load_explicit(&service->broadcasts, memory_order_relaxed))
        tracking_broadcast(service);
    if (atomic_exchange_explicit(&tracking->lost, false, memory_order_relaxed))
        tracking_flushed(service, NULL);
    tracking_limit(service, TICK_EVICTIONS);
    tracking_rows_tick(service);
    tracked_keys_bury(&tracking->keys);
    tracked_keys_bury(&tracking->rows);
}
