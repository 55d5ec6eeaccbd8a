/* SPDX-License-Identifier: Apache-2.0
 *
 * pubsub.c - SUBSCRIBE, PUBLISH and their kin.
 *
 * Channels are in a hash table with chains that doubles as it fills; patterns are in a list, each
 * matched with each message. A channel without subscribers is not there.
 */
#include "server/command/pubsub.h"
#include "alloc/fnv.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/command/acl.h"
#include "server/command/acl_log.h"
#include "server/command/client.h"
#include "server/command/commands.h"
#include "server/resp/glob.h"

/* --- the registry ----------------------------------------------------------------------------- */

struct channel {
    struct channel *next; /* in its bucket, or of the patterns */
    struct session **subscribers;
    size_t count, cap;
    size_t name_bytes;
    char name[];
};

struct pubsub {
    pthread_mutex_t lock;
    struct channel **buckets;
    size_t bucket_count, channel_count;
    struct channel *patterns;
    size_t pattern_count;
};

#define BUCKETS_FIRST 256u

struct pubsub *pubsub_new(void)
{
    struct pubsub *pubsub = calloc(1, sizeof(*pubsub));
    if (!pubsub)
        return NULL;
    pubsub->bucket_count = BUCKETS_FIRST;
    pubsub->buckets = calloc(pubsub->bucket_count, sizeof(struct channel *));
    if (!pubsub->buckets) {
        free(pubsub);
        return NULL;
    }
    pthread_mutex_init(&pubsub->lock, NULL);
    return pubsub;
}

void pubsub_free(struct pubsub *pubsub)
{
    if (!pubsub)
        return;
    pthread_mutex_destroy(&pubsub->lock); /* all sessions have left: there is no channel */
    free(pubsub->buckets);
    free(pubsub);
}

void pubsub_totals(struct service *service, size_t *channels, size_t *patterns)
{
    struct pubsub *pubsub = service->pubsub;
    pthread_mutex_lock(&pubsub->lock);
    *channels = pubsub->channel_count;
    *patterns = pubsub->pattern_count;
    pthread_mutex_unlock(&pubsub->lock);
}

static size_t bucket_of(const struct pubsub *pubsub, const char *name, size_t bytes)
{
    const uint64_t hash = fnv_bytes(FNV_START, name, bytes);
    return (size_t)(hash ^ hash >> 32) & (pubsub->bucket_count - 1);
}

/* The link that leads to a channel, or to the end of where it would be. */
static struct channel **link_of(struct pubsub *pubsub, bool pattern, const char *name, size_t bytes)
{
    struct channel **link =
        pattern ? &pubsub->patterns : &pubsub->buckets[bucket_of(pubsub, name, bytes)];
    while (*link && ((*link)->name_bytes != bytes || memcmp((*link)->name, name, bytes) != 0))
        link = &(*link)->next;
    return link;
}

static void grow_buckets(struct pubsub *pubsub)
{
    size_t old_count = pubsub->bucket_count;
    struct channel **old = pubsub->buckets,
                   **buckets = calloc(old_count * 2, sizeof(struct channel *));
    if (!buckets)
        return; /* chains get longer */
    pubsub->buckets = buckets;
    pubsub->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        struct channel *next;
        for (struct channel *channel = old[i]; channel; channel = next) {
            size_t at = bucket_of(pubsub, channel->name, channel->name_bytes);
            next = channel->next;
            channel->next = buckets[at];
            buckets[at] = channel;
        }
    }
    free(old);
}

static struct channel *channel_for(struct pubsub *pubsub, bool pattern, const char *name,
                                   size_t bytes)
{
    struct channel **link = link_of(pubsub, pattern, name, bytes);
    if (*link)
        return *link;
    struct channel *channel = calloc(1, sizeof(*channel) + bytes);
    if (!channel)
        return NULL;
    channel->name_bytes = bytes;
    memcpy(channel->name, name, bytes);
    *link = channel;
    if (pattern)
        pubsub->pattern_count++;
    else if (++pubsub->channel_count > pubsub->bucket_count)
        grow_buckets(pubsub);
    return channel;
}

static bool add_subscriber(struct channel *channel, struct session *session)
{
    for (size_t i = 0; i < channel->count; i++) {
        if (channel->subscribers[i] == session)
            return false;
    }
    if (channel->count == channel->cap) {
        size_t cap = channel->cap ? channel->cap * 2 : 4;
        struct session **more = realloc(channel->subscribers, cap * sizeof(*more));
        if (!more)
            return false;
        channel->subscribers = more;
        channel->cap = cap;
    }
    channel->subscribers[channel->count++] = session;
    return true;
}

/* Takes a session out, and the channel if it was the last one. */
static bool remove_subscriber(struct pubsub *pubsub, bool pattern, struct channel **link,
                              const struct session *session)
{
    struct channel *channel = *link;
    size_t i = 0;
    while (i < channel->count && channel->subscribers[i] != session)
        i++;
    if (i == channel->count)
        return false;
    channel->subscribers[i] = channel->subscribers[--channel->count];
    if (channel->count == 0) {
        *link = channel->next;
        pubsub->channel_count -= !pattern;
        pubsub->pattern_count -= pattern;
        free(channel->subscribers);
        free(channel);
    }
    return true;
}

/* --- messages --------------------------------------------------------------------------------- */

struct message {
    struct service *service;
    unsigned thread;
    size_t channel_bytes, payload_bytes;
    char bytes[]; /* channel, then payload */
};

static void append_message(struct session *session, const struct channel *pattern,
                           const struct message *message)
{
    struct reply *reply = &session->reply;
    net_output(session->connection); /* to be sent after this callback */
    reply_push(reply, pattern ? 4 : 3);
    reply_bulk(reply, pattern ? "pmessage" : "message", pattern ? 8 : 7);
    if (pattern)
        reply_bulk(reply, pattern->name, pattern->name_bytes);
    reply_bulk(reply, message->bytes, message->channel_bytes);
    reply_bulk(reply, message->bytes + message->channel_bytes, message->payload_bytes);
}

static void give_to(const struct channel *channel, const struct channel *pattern,
                    const struct message *message)
{
    for (size_t i = 0; i < channel->count; i++) {
        if (channel->subscribers[i]->thread->number == message->thread)
            append_message(channel->subscribers[i], pattern, message);
    }
}

/* On the thread of the subscribers. */
static void deliver(void *argument)
{
    struct message *message = argument;
    struct pubsub *pubsub = message->service->pubsub;
    pthread_mutex_lock(&pubsub->lock);
    const struct channel *channel = *link_of(pubsub, false, message->bytes, message->channel_bytes);
    if (channel)
        give_to(channel, NULL, message);
    for (const struct channel *p = pubsub->patterns; p; p = p->next) {
        if (glob_match(p->name, p->name_bytes, message->bytes, message->channel_bytes, false))
            give_to(p, p, message);
    }
    pthread_mutex_unlock(&pubsub->lock);
    free(message);
}

static size_t note_threads(const struct channel *channel, uint64_t *threads)
{
    for (size_t i = 0; i < channel->count; i++)
        *threads |= UINT64_C(1) << channel->subscribers[i]->thread->number;
    return channel->count;
}

static void post_message(struct service *service, unsigned thread, const void *channel,
                         size_t channel_bytes, const void *payload, size_t payload_bytes)
{
    struct message *message = malloc(sizeof(*message) + channel_bytes + payload_bytes);
    if (!message)
        return;
    *message = (struct message){service, thread, channel_bytes, payload_bytes};
    memcpy(message->bytes, channel, channel_bytes);
    if (payload_bytes > 0)
        memcpy(message->bytes + channel_bytes, payload, payload_bytes);
    if (net_post(service->net, thread, deliver, message) != SP_OK)
        free(message);
}

size_t pubsub_publish(struct service *service, const void *channel, size_t channel_bytes,
                      const void *payload, size_t payload_bytes)
{
    struct pubsub *pubsub = service->pubsub;
    uint64_t threads = 0;
    size_t receivers = 0;
    static_assert(NET_THREADS_MAX <= 64, "a bit for each");
    pthread_mutex_lock(&pubsub->lock);
    const struct channel *found = *link_of(pubsub, false, channel, channel_bytes);
    if (found)
        receivers += note_threads(found, &threads);
    for (const struct channel *p = pubsub->patterns; p; p = p->next) {
        if (glob_match(p->name, p->name_bytes, channel, channel_bytes, false))
            receivers += note_threads(p, &threads);
    }
    /* Posted under the lock, so that all threads get messages in the same order. */
    for (unsigned t = 0; t < service->thread_count; t++) {
        if (threads >> t & 1)
            post_message(service, t, channel, channel_bytes, payload, payload_bytes);
    }
    pthread_mutex_unlock(&pubsub->lock);
    return receivers;
}

/* --- subscribing ------------------------------------------------------------------------------ */

size_t pubsub_count(const struct session *session)
{
    return atomic_load_explicit(&session->client->channels, memory_order_relaxed) +
           atomic_load_explicit(&session->client->patterns, memory_order_relaxed);
}

static const struct net_output_limits subscriber_limits = {
    .bytes_max = 32 << 20, .soft_bytes = 8 << 20, .soft_ms = 60000};

/* The session hears one more, or one less. */
static void count_change(struct session *session, bool pattern, int by)
{
    struct client *client = session->client;
    _Atomic uint32_t *counter = pattern ? &client->patterns : &client->channels;
    size_t before = pubsub_count(session);
    atomic_fetch_add_explicit(counter, (uint32_t)by, memory_order_relaxed);
    size_t now = pubsub_count(session);
    if (before == 0 && now > 0) {
        atomic_fetch_or_explicit(&client->flags, CLIENT_SUBSCRIBER, memory_order_relaxed);
        net_never_idle(session->connection, true);
        net_limit_output(session->connection, &subscriber_limits);
    } else if (now == 0) {
        atomic_fetch_and_explicit(&client->flags, ~(uint32_t)CLIENT_SUBSCRIBER,
                                  memory_order_relaxed);
        net_never_idle(session->connection, false);
        net_limit_output(session->connection, NULL);
    }
}

static void reply_change(struct session *session, const char *what, const char *name, size_t bytes)
{
    reply_push(&session->reply, 3);
    reply_bulk(&session->reply, what, strlen(what));
    if (name)
        reply_bulk(&session->reply, name, bytes);
    else
        reply_null(&session->reply);
    reply_integer(&session->reply, (int64_t)pubsub_count(session));
}

static bool may_hear(struct session *session, const struct call *call, bool pattern)
{
    for (size_t i = 1; i < call->count; i++) {
        if (acl_allows_channel(session->user, call->args[i].bytes, call->args[i].size, pattern))
            continue;
        acl_log_add(session, ACL_DENIED_CHANNEL, &call->args[i], call);
        reply_error(&session->reply, "NOPERM this user has no permissions to access one of the "
                                     "channels used as arguments");
        return false;
    }
    return true;
}

static void subscribe(struct session *session, const struct call *call, bool pattern)
{
    struct pubsub *pubsub = session->service->pubsub;
    if (!may_hear(session, call, pattern))
        return;
    for (size_t i = 1; i < call->count; i++) {
        const struct resp_arg *name = &call->args[i];
        pthread_mutex_lock(&pubsub->lock);
        struct channel *channel = channel_for(pubsub, pattern, name->bytes, name->size);
        bool added = channel && add_subscriber(channel, session);
        pthread_mutex_unlock(&pubsub->lock);
        if (added)
            count_change(session, pattern, 1);
        reply_change(session, pattern ? "psubscribe" : "subscribe", name->bytes, name->size);
    }
}

/* The first channel or pattern that a session hears. */
static struct channel **heard_by(struct pubsub *pubsub, const struct session *session, bool pattern)
{
    size_t lists = pattern ? 1 : pubsub->bucket_count;
    for (size_t i = 0; i < lists; i++) {
        struct channel **link = pattern ? &pubsub->patterns : &pubsub->buckets[i];
        for (; *link; link = &(*link)->next) {
            for (size_t s = 0; s < (*link)->count; s++)
                if ((*link)->subscribers[s] == session)
                    return link;
        }
    }
    return NULL;
}

static void unsubscribe_all(struct session *session, bool pattern, bool tell)
{
    struct pubsub *pubsub = session->service->pubsub;
    _Atomic uint32_t *counter = pattern ? &session->client->patterns : &session->client->channels;
    bool any = false;
    while (atomic_load_explicit(counter, memory_order_relaxed) > 0) {
        struct buffer name = BUFFER_INIT;
        pthread_mutex_lock(&pubsub->lock);
        struct channel **link = heard_by(pubsub, session, pattern);
        if (link) {
            buffer_append(&name, (*link)->name, (*link)->name_bytes);
            remove_subscriber(pubsub, pattern, link, session);
        }
        pthread_mutex_unlock(&pubsub->lock);
        count_change(session, pattern, -1);
        if (tell)
            reply_change(session, pattern ? "punsubscribe" : "unsubscribe",
                         name.bytes ? name.bytes : "", name.size);
        buffer_free(&name);
        any = true;
    }
    if (tell && !any)
        reply_change(session, pattern ? "punsubscribe" : "unsubscribe", NULL, 0);
}

static void unsubscribe(struct session *session, const struct call *call, bool pattern)
{
    struct pubsub *pubsub = session->service->pubsub;
    if (call->count == 1) {
        unsubscribe_all(session, pattern, true);
        return;
    }
    for (size_t i = 1; i < call->count; i++) {
        const struct resp_arg *name = &call->args[i];
        pthread_mutex_lock(&pubsub->lock);
        struct channel **link = link_of(pubsub, pattern, name->bytes, name->size);
        bool removed = *link && remove_subscriber(pubsub, pattern, link, session);
        pthread_mutex_unlock(&pubsub->lock);
        if (removed)
            count_change(session, pattern, -1);
        reply_change(session, pattern ? "punsubscribe" : "unsubscribe", name->bytes, name->size);
    }
}

void pubsub_leave(struct session *session)
{
    unsubscribe_all(session, false, false);
    unsubscribe_all(session, true, false);
}

void run_subscribe(struct session *session, const struct call *call)
{
    subscribe(session, call, false);
}

void run_psubscribe(struct session *session, const struct call *call)
{
    subscribe(session, call, true);
}

void run_unsubscribe(struct session *session, const struct call *call)
{
    unsubscribe(session, call, false);
}

void run_punsubscribe(struct session *session, const struct call *call)
{
    unsubscribe(session, call, true);
}

/* --- publishing and asking -------------------------------------------------------------------- */

void run_publish(struct session *session, const struct call *call)
{
    const struct resp_arg *channel = &call->args[1], *payload = &call->args[2];
    if (!acl_allows_channel(session->user, channel->bytes, channel->size, false)) {
        acl_log_add(session, ACL_DENIED_CHANNEL, channel, call);
        reply_error(&session->reply, "NOPERM this user has no permissions to access one of the "
                                     "channels used as arguments");
        return;
    }
    size_t receivers = pubsub_publish(session->service, channel->bytes, channel->size,
                                      payload->bytes, payload->size);
    reply_integer(&session->reply, (int64_t)receivers);
}

void run_pubsub_channels(struct session *session, const struct call *call)
{
    struct pubsub *pubsub = session->service->pubsub;
    const struct resp_arg *pattern = call->count > 2 ? &call->args[2] : NULL;
    struct buffer *all = session->reply.out, found = BUFFER_INIT;
    size_t count = 0;
    session->reply.out = &found;
    pthread_mutex_lock(&pubsub->lock);
    for (size_t i = 0; i < pubsub->bucket_count; i++) {
        for (const struct channel *channel = pubsub->buckets[i]; channel; channel = channel->next) {
            if (pattern && !glob_match(pattern->bytes, pattern->size, channel->name,
                                       channel->name_bytes, false))
                continue;
            reply_bulk(&session->reply, channel->name, channel->name_bytes);
            count++;
        }
    }
    pthread_mutex_unlock(&pubsub->lock);
    session->reply.out = all;
    reply_array(&session->reply, count);
    buffer_append(all, found.bytes, found.size);
    buffer_free(&found);
}

void run_pubsub_numsub(struct session *session, const struct call *call)
{
    struct pubsub *pubsub = session->service->pubsub;
    reply_map(&session->reply, call->count - 2);
    pthread_mutex_lock(&pubsub->lock);
    for (size_t i = 2; i < call->count; i++) {
        const struct channel *channel =
            *link_of(pubsub, false, call->args[i].bytes, call->args[i].size);
        reply_bulk(&session->reply, call->args[i].bytes, call->args[i].size);
        reply_integer(&session->reply, channel ? (int64_t)channel->count : 0);
    }
    pthread_mutex_unlock(&pubsub->lock);
}

void run_pubsub_numpat(struct session *session, const struct call *call)
{
    struct pubsub *pubsub = session->service->pubsub;
    (void)call;
    pthread_mutex_lock(&pubsub->lock);
    size_t count = pubsub->pattern_count;
    pthread_mutex_unlock(&pubsub->lock);
    reply_integer(&session->reply, (int64_t)count);
}
