/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking.c - CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR, and what the commands of a
 * session that tracks do beside their work.
 *
 * A session that tracks, or is redirected to, is a member: others find it by its number. A key that
 * it reads is remembered before it is read; what happens when the key changes is in
 * tracking_tell.c.
 *
 * Limits: keys are remembered up to a number (tracking-table-max-keys), and 512 bytes for each;
 * what is beyond is told to have changed, and forgotten. A client has at most 512 prefixes, all
 * clients together 65,536. That a client is gone, or tracks no longer, is found out when one of its
 * keys changes, as in Redis.
 */
#include "server/command/tracking_internal.h"

#include <stdlib.h>
#include <string.h>

#include "server/command/client.h"
#include "server/command/commands.h"
#include "server/command/multi.h"
#include "server/command/rows.h"
#include "server/resp/number.h"

#define EVICTIONS_MORE 64u  /* by one request, beyond its keys */
#define PREFIXES_MAX   512u /* of one client */

/* --- members ---------------------------------------------------------------------------------- */

struct tracking *tracking_new(void)
{
    struct tracking *tracking = aligned_alloc(64, (sizeof(*tracking) + 63) / 64 * 64);
    if (!tracking)
        return NULL;
    *tracking = (struct tracking){.bucket_count = MEMBER_BUCKETS_FIRST};
    atomic_init(&tracking->keys_max, TRACKING_KEYS_MAX_DEFAULT);
    if (tracked_keys_init(&tracking->keys) != SP_OK)
        goto free_tracking;
    if (tracked_keys_init(&tracking->rows) != SP_OK)
        goto destroy_keys;
    tracking->buckets = calloc(tracking->bucket_count, sizeof(struct tracking_member *));
    tracking->row = sp_row_new();
    if (!tracking->buckets || !tracking->row)
        goto destroy_rows;
    pthread_mutex_init(&tracking->lock, NULL);
    return tracking;
destroy_rows:
    sp_row_free(tracking->row);
    free(tracking->buckets);
    tracked_keys_destroy(&tracking->rows);
destroy_keys:
    tracked_keys_destroy(&tracking->keys);
free_tracking:
    free(tracking);
    return NULL;
}

void tracking_free(struct tracking *tracking)
{
    if (!tracking)
        return;
    tracked_prefixes_free(&tracking->prefixes); /* all sessions have left: there is no member */
    tracked_keys_destroy(&tracking->rows);
    tracked_keys_destroy(&tracking->keys);
    sp_row_free(tracking->row);
    free(tracking->buckets);
    pthread_mutex_destroy(&tracking->lock);
    free(tracking);
}

void tracking_configure(struct tracking *tracking, uint64_t keys_max)
{
    atomic_store_explicit(&tracking->keys_max, keys_max, memory_order_relaxed);
}

/* The link that leads to a member, or to the end of where it would be. */
static struct tracking_member **member_link(const struct tracking *tracking, uint64_t id)
{
    struct tracking_member **link = &tracking->buckets[id & (tracking->bucket_count - 1)];
    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

struct tracking_member *tracking_find(const struct tracking *tracking, uint64_t id)
{
    return *member_link(tracking, id);
}

static void grow_members(struct tracking *tracking)
{
    size_t count = tracking->bucket_count * 2;
    struct tracking_member **buckets = calloc(count, sizeof(struct tracking_member *));
    if (!buckets)
        return; /* chains get longer */
    for (size_t i = 0; i < tracking->bucket_count; i++) {
        struct tracking_member *next;
        for (struct tracking_member *member = tracking->buckets[i]; member; member = next) {
            next = member->next;
            member->next = buckets[member->id & (count - 1)];
            buckets[member->id & (count - 1)] = member;
        }
    }
    free(tracking->buckets);
    tracking->buckets = buckets;
    tracking->bucket_count = count;
}

/* With the lock: a session's member; NULL: no memory. */
static struct tracking_member *member_of(struct tracking *tracking, struct session *session,
                                         uint64_t id, unsigned thread)
{
    struct tracking_member **link = member_link(tracking, id);
    if (*link)
        return *link;
    struct tracking_member *member = calloc(1, sizeof(*member));
    if (!member)
        return NULL;
    member->id = id;
    member->session = session;
    member->thread = thread;
    *link = member;
    if (++tracking->member_count > tracking->bucket_count)
        grow_members(tracking);
    return member;
}

/* With the lock. */
static void drop_member(struct tracking *tracking, uint64_t id)
{
    struct tracking_member **link = member_link(tracking, id), *member = *link;
    if (!member)
        return;
    *link = member->next;
    tracking->member_count--;
    buffer_free(&member->pending);
    free(member);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_remembered(const struct tracking_member *member)
{
    if (!member->on || member->broadcast)
        return false;
    return member->opt_in ? member->caching : !(member->opt_out && member->caching);
}

static void remember(struct session *session, const struct resp_arg *key)
{
    struct tracking *tracking = session->service->tracking;
    struct tracked_keys *keys = key_is_row(session, key) ? &tracking->rows : &tracking->keys;
    int status = SP_ETOOBIG;
    if (key->size <= CACHE_KEY_MAX)
        status =
            tracked_keys_add(keys, session_hash(session, key), key->bytes, key->size, session->id);
    if (status != SP_OK) /* as if it had changed just after */
        tracking_pend(session->tracking, key->bytes, key->size);
}

bool tracking_wants(const struct session *session)
{
    return session->tracking && is_remembered(session->tracking);
}

void tracking_read(struct session *session, const struct resp_arg *key)
{
    remember(session, key);
    tracking_limit(session->service, 1 + EVICTIONS_MORE);
}

void tracking_before(struct session *session, const struct call *call)
{
    struct command_keys keys = command_keys(call->command, call->count);
    if (!(call->command->flags & COMMAND_READONLY) || keys.first == 0 ||
        !is_remembered(session->tracking))
        return;
    unsigned count = 0;
    for (size_t i = keys.first; i <= keys.last; i += keys.step, count++)
        remember(session, &call->args[i]);
    tracking_limit(session->service, count + EVICTIONS_MORE);
}

void tracking_after(struct session *session, const struct call *call)
{
    struct tracking_member *member = session->tracking;
    static const char client[] = "client|";
    if (member->pending.size > 0 || member->pending.failed)
        tracking_tell_pending(session);
    bool keeps = call->command && call->command->full_name &&
                 strncmp(call->command->full_name, client, sizeof(client) - 1) == 0;
    if (!keeps && !multi_is_open(session))
        member->caching = false;
}

/* --- CLIENT TRACKING -------------------------------------------------------------------------- */

struct tracking_options {
    bool broadcast, opt_in, opt_out, no_loop;
    int64_t redirect;
    size_t prefix_count;
};

static bool is_client(struct session *session, uint64_t id)
{
    struct client_registry *registry = &session->service->clients;
    pthread_mutex_lock(&registry->lock);
    const struct client *client = registry->first;
    while (client && client->id != id)
        client = client->next;
    pthread_mutex_unlock(&registry->lock);
    return client != NULL;
}

static bool take_redirect(struct session *session, const struct resp_arg *value,
                          struct tracking_options *options)
{
    if (options->redirect != 0) {
        reply_error(&session->reply, "ERR A client can only redirect to a single other client");
        return false;
    }
    if (!arg_integer(session, value, &options->redirect))
        return false;
    if (is_client(session, (uint64_t)options->redirect))
        return true;
    reply_error(&session->reply, "ERR The client ID you want redirect to does not exist");
    return false;
}

static bool take_options(struct session *session, const struct call *call,
                         struct tracking_options *options)
{
    for (size_t i = 3; i < call->count; i++) {
        const struct resp_arg *word = &call->args[i];
        bool more = i + 1 < call->count;
        if (arg_is(word, "redirect") && more) {
            if (!take_redirect(session, &call->args[++i], options))
                return false;
        } else if (arg_is(word, "bcast")) {
            options->broadcast = true;
        } else if (arg_is(word, "optin")) {
            options->opt_in = true;
        } else if (arg_is(word, "optout")) {
            options->opt_out = true;
        } else if (arg_is(word, "noloop")) {
            options->no_loop = true;
        } else if (arg_is(word, "prefix") && more) {
            options->prefix_count++;
            i++;
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

/* The next argument behind a PREFIX, from `*at` on, which is moved behind it. */
static const struct resp_arg *next_prefix(const struct call *call, size_t *at)
{
    for (size_t i = *at; i + 1 < call->count; i++) {
        bool redirect = arg_is(&call->args[i], "redirect");
        if (!redirect && !arg_is(&call->args[i], "prefix"))
            continue;
        *at = i + 2;
        if (!redirect)
            return &call->args[i + 1];
        i++;
    }
    return NULL;
}

/* Whether options go together, and with what the session is now; else the error is replied. */
static bool options_fit(struct session *session, const struct tracking_options *options)
{
    const struct tracking_member *now = session->tracking;
    bool on = now && now->on;
    const char *wrong = NULL;
    if (!options->broadcast && options->prefix_count > 0)
        wrong = "PREFIX option requires BCAST mode to be enabled";
    else if (on && now->broadcast != options->broadcast)
        wrong = "You can't switch BCAST mode on/off before disabling tracking for this client, and "
                "then re-enabling it with a different mode.";
    else if (options->broadcast && (options->opt_in || options->opt_out))
        wrong = "OPTIN and OPTOUT are not compatible with BCAST";
    else if (options->opt_in && options->opt_out)
        wrong = "You can't specify both OPTIN mode and OPTOUT mode";
    else if (on && ((options->opt_in && now->opt_out) || (options->opt_out && now->opt_in)))
        wrong = "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
                "then re-enabling it with a different mode.";
    if (wrong)
        reply_error(&session->reply, "ERR %s", wrong);
    return !wrong;
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    size_t both = a_bytes < b_bytes ? a_bytes : b_bytes;
    return both == 0 || memcmp(a, b, both) == 0;
}

static bool overlaps_own(struct session *session, const struct resp_arg *prefix)
{
    struct tracking *tracking = session->service->tracking;
    pthread_mutex_lock(&tracking->lock);
    const struct tracked_prefix *own =
        tracked_prefixes_overlap(&tracking->prefixes, prefix->bytes, prefix->size, session->id);
    if (own)
        reply_error(&session->reply,
                    "ERR Prefix '%.*s' overlaps with an existing prefix '%.*s'. Prefixes for a "
                    "single client must not overlap.",
                    (int)prefix->size, prefix->bytes, (int)own->bytes, own->text);
    pthread_mutex_unlock(&tracking->lock);
    return own != NULL;
}

/* Whether there are not too many of them, and none too long; else the error is replied. */
static bool prefixes_are_few(struct session *session, const struct call *call,
                             const struct tracking_options *options)
{
    const struct tracking_member *now = session->tracking;
    size_t at = 3, have = now ? now->prefixes : 0;
    const struct resp_arg *prefix;
    if (have + options->prefix_count > PREFIXES_MAX) {
        reply_error(&session->reply, "ERR a client can have at most %u prefixes", PREFIXES_MAX);
        return false;
    }
    while ((prefix = next_prefix(call, &at))) {
        if (prefix->size <= CACHE_KEY_MAX)
            continue;
        reply_error(&session->reply, "ERR a prefix has at most %u bytes", CACHE_KEY_MAX);
        return false;
    }
    return true;
}

/* Whether no prefix is the beginning of another one, or of one that the session has; else the error
 * is replied. */
static bool prefixes_fit(struct session *session, const struct call *call)
{
    size_t at = 3;
    const struct resp_arg *prefix, *other;
    while ((prefix = next_prefix(call, &at))) {
        if (overlaps_own(session, prefix))
            return false;
        size_t behind = at;
        while ((other = next_prefix(call, &behind))) {
            if (!overlap(prefix->bytes, prefix->size, other->bytes, other->size))
                continue;
            reply_error(&session->reply,
                        "ERR Prefix '%.*s' overlaps with another provided prefix '%.*s'. Prefixes "
                        "for a single client must not overlap.",
                        (int)prefix->size, prefix->bytes, (int)other->size, other->bytes);
            return false;
        }
    }
    return true;
}

/* With the lock. Whom the session redirects to becomes a member; one that has gone since is found
 * missing when something is to be told. False: no memory. */
static bool add_target(struct session *session, uint64_t id)
{
    struct client_registry *registry = &session->service->clients;
    struct tracking_member *member = NULL;
    pthread_mutex_lock(&registry->lock);
    const struct client *client = registry->first;
    while (client && client->id != id)
        client = client->next;
    if (client)
        member = member_of(session->service->tracking, client->session, id, client->thread);
    if (member)
        member->targeted = true;
    pthread_mutex_unlock(&registry->lock);
    return member || !client;
}

/* With the lock. */
static int add_prefixes(struct tracking *tracking, struct tracking_member *member,
                        const struct call *call, const struct tracking_options *options)
{
    size_t at = 3;
    const struct resp_arg *prefix;
    int status = SP_OK;
    if (options->prefix_count == 0)
        status = tracked_prefixes_add(&tracking->prefixes, "", 0, member->id);
    while (status == SP_OK && (prefix = next_prefix(call, &at)))
        status = tracked_prefixes_add(&tracking->prefixes, prefix->bytes, prefix->size, member->id);
    member->prefixes += options->prefix_count;
    atomic_store_explicit(&tracking->prefix_count, tracking->prefixes.count, memory_order_relaxed);
    return status;
}

/* With the lock. What it has done when it fails is undone by tracking_stop. */
static int start(struct session *session, const struct call *call,
                 const struct tracking_options *options)
{
    struct tracking *tracking = session->service->tracking;
    struct tracking_member *member =
        member_of(tracking, session, session->id, session->thread->number);
    if (!member)
        return SP_ENOMEM;
    session->tracking = member;
    if (!member->on)
        atomic_fetch_add_explicit(&session->service->trackers, 1, memory_order_relaxed);
    member->on = true;
    member->broadcast = options->broadcast;
    member->opt_in = options->opt_in;
    member->opt_out = options->opt_out;
    member->no_loop = options->no_loop;
    member->redirect = (uint64_t)options->redirect;
    if (options->redirect != 0 && !add_target(session, (uint64_t)options->redirect))
        return SP_ENOMEM;
    return options->broadcast ? add_prefixes(tracking, member, call, options) : SP_OK;
}

/* What CLIENT LIST says of it. */
static void show_flags(struct session *session)
{
    struct client *client = session->client;
    const struct tracking_member *member = session->tracking;
    bool on = member && member->on;
    uint32_t flags = on ? CLIENT_TRACKING | (member->broadcast ? CLIENT_BROADCAST : 0u) : 0u;
    atomic_fetch_and_explicit(
        &client->flags, ~(uint32_t)(CLIENT_TRACKING | CLIENT_BROADCAST | CLIENT_TRACKING_BROKEN),
        memory_order_relaxed);
    atomic_fetch_or_explicit(&client->flags, flags, memory_order_relaxed);
    atomic_store_explicit(&client->redirect, on ? (int64_t)member->redirect : -1,
                          memory_order_relaxed);
}

void tracking_stop(struct session *session)
{
    struct tracking *tracking = session->service->tracking;
    struct tracking_member *member = session->tracking;
    if (!member)
        return;
    pthread_mutex_lock(&tracking->lock);
    if (member->broadcast) {
        tracked_prefixes_leave(&tracking->prefixes, session->id);
        atomic_store_explicit(&tracking->prefix_count, tracking->prefixes.count,
                              memory_order_relaxed);
    }
    if (member->on)
        atomic_fetch_sub_explicit(&session->service->trackers, 1, memory_order_relaxed);
    member->on = member->broadcast = member->opt_in = member->opt_out = member->no_loop = false;
    member->caching = false;
    member->redirect = 0;
    member->prefixes = 0;
    if (!member->targeted) {
        drop_member(tracking, session->id);
        session->tracking = NULL;
    }
    pthread_mutex_unlock(&tracking->lock);
    show_flags(session);
}

void tracking_leave(struct session *session)
{
    struct tracking *tracking = session->service->tracking;
    pthread_mutex_lock(&tracking->lock);
    drop_member(tracking, session->id);
    pthread_mutex_unlock(&tracking->lock);
    session->tracking = NULL;
}

/* With the cache's lock: whoever writes after this knows that somebody tracks. */
static void switch_on(struct session *session, const struct call *call,
                      const struct tracking_options *options)
{
    struct tracking *tracking = session->service->tracking;
    if (!options_fit(session, options) || !prefixes_are_few(session, call, options) ||
        (options->broadcast && !prefixes_fit(session, call)))
        return;
    pthread_mutex_lock(&tracking->lock);
    int status = start(session, call, options);
    pthread_mutex_unlock(&tracking->lock);
    if (status == SP_OK) {
        show_flags(session);
        reply_ok(&session->reply);
    } else {
        tracking_stop(session);
        reply_error(&session->reply, status == SP_ENOMEM ? "ERR out of memory"
                                                         : "ERR too many prefixes are tracked");
    }
}

void run_client_tracking(struct session *session, const struct call *call)
{
    struct tracking_options options = {0};
    if (!take_options(session, call, &options))
        return;
    if (arg_is(&call->args[2], "on")) {
        switch_on(session, call, &options);
    } else if (arg_is(&call->args[2], "off")) {
        tracking_stop(session);
        reply_ok(&session->reply);
    } else {
        reply_syntax_error(session);
    }
}

/* --- its kin ---------------------------------------------------------------------------------- */

void run_client_caching(struct session *session, const struct call *call)
{
    struct tracking_member *member = session->tracking;
    const struct resp_arg *word = &call->args[2];
    if (!member || !member->on) {
        reply_error(&session->reply, "ERR CLIENT CACHING can be called only when the client is in "
                                     "tracking mode with OPTIN or OPTOUT mode enabled");
    } else if (arg_is(word, "yes") && !member->opt_in) {
        reply_error(&session->reply,
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    } else if (arg_is(word, "no") && !member->opt_out) {
        reply_error(&session->reply,
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    } else if (arg_is(word, "yes") || arg_is(word, "no")) {
        member->caching = true;
        reply_ok(&session->reply);
    } else {
        reply_syntax_error(session);
    }
}

static int64_t redirection(const struct session *session)
{
    const struct tracking_member *member = session->tracking;
    return member && member->on ? (int64_t)member->redirect : -1;
}

void run_client_getredir(struct session *session, const struct call *call)
{
    (void)call;
    reply_integer(&session->reply, redirection(session));
}

static void reply_mode(struct session *session)
{
    static const struct tracking_member off;
    const struct tracking_member *member = session->tracking ? session->tracking : &off;
    bool broken = atomic_load_explicit(&session->client->flags, memory_order_relaxed) &
                  CLIENT_TRACKING_BROKEN;
    const char *words[8];
    size_t count = 0;
    words[count++] = member->on ? "on" : "off";
    if (member->broadcast)
        words[count++] = "bcast";
    if (member->opt_in)
        words[count++] = "optin";
    if (member->opt_in && member->caching)
        words[count++] = "caching-yes";
    if (member->opt_out)
        words[count++] = "optout";
    if (member->opt_out && member->caching)
        words[count++] = "caching-no";
    if (member->no_loop)
        words[count++] = "noloop";
    if (broken)
        words[count++] = "broken_redirect";
    reply_set(&session->reply, count);
    for (size_t i = 0; i < count; i++)
        reply_text(&session->reply, words[i]);
}

static void reply_prefixes(struct session *session)
{
    struct tracking *tracking = session->service->tracking;
    size_t mark = reply_mark(&session->reply), count = 0;
    pthread_mutex_lock(&tracking->lock);
    for (size_t i = 0; i < tracking->prefixes.count; i++) {
        const struct tracked_prefix *prefix = tracking->prefixes.sorted[i];
        if (!tracked_prefix_has(prefix, session->id))
            continue;
        reply_bulk(&session->reply, prefix->text, prefix->bytes);
        count++;
    }
    pthread_mutex_unlock(&tracking->lock);
    reply_array_at(&session->reply, mark, count);
}

void run_client_trackinginfo(struct session *session, const struct call *call)
{
    (void)call;
    reply_map(&session->reply, 3);
    reply_text(&session->reply, "flags");
    reply_mode(session);
    reply_text(&session->reply, "redirect");
    reply_integer(&session->reply, redirection(session));
    reply_text(&session->reply, "prefixes");
    reply_prefixes(session);
}

void tracking_totals(const struct service *service, struct tracking_totals *out)
{
    const struct tracking *tracking = service->tracking;
    const struct tracked_keys *keys = &tracking->keys, *rows = &tracking->rows;
    out->clients = atomic_load_explicit(&service->trackers, memory_order_relaxed);
    out->keys = atomic_load_explicit(&keys->keys, memory_order_relaxed) +
                atomic_load_explicit(&rows->keys, memory_order_relaxed);
    out->items = atomic_load_explicit(&keys->items, memory_order_relaxed) +
                 atomic_load_explicit(&rows->items, memory_order_relaxed);
    out->prefixes = atomic_load_explicit(&tracking->prefix_count, memory_order_relaxed);
}
