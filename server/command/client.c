/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - the registry of clients, and CLIENT with its subcommands.
 */
#include "server/command/client.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/acl.h"
#include "server/command/commands.h"
#include "server/resp/number.h"

/* --- the registry ----------------------------------------------------------------------------- */

void client_registry_init(struct client_registry *registry)
{
    *registry = (struct client_registry){0};
    pthread_mutex_init(&registry->lock, NULL);
}

void client_registry_destroy(struct client_registry *registry)
{
    pthread_mutex_destroy(&registry->lock);
}

struct client *client_new(struct session *session)
{
    struct client_registry *registry = &session->service->clients;
    struct net_about about;
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    net_describe(session->connection, &about);
    client->session = session;
    client->id = about.id;
    client->thread = about.thread;
    client->fd = about.fd;
    client->is_unix = about.is_unix;
    client->opened_at_ms = about.opened_at_ms;
    snprintf(client->address, sizeof(client->address), "%s%s", about.peer,
             about.is_unix ? ":0" : "");
    snprintf(client->local_address, sizeof(client->local_address), "%s%s", about.local,
             about.is_unix ? ":0" : "");
    atomic_init(&client->active_at_ms, about.opened_at_ms);
    atomic_init(&client->protocol, 2);
    atomic_init(&client->redirect, -1);
    pthread_mutex_lock(&registry->lock);
    client->next = registry->first;
    if (client->next)
        client->next->prev = client;
    registry->first = client;
    registry->count++;
    pthread_mutex_unlock(&registry->lock);
    return client;
}

void client_free(struct client *client)
{
    struct client_registry *registry = &client->session->service->clients;
    pthread_mutex_lock(&registry->lock);
    if (client->next)
        client->next->prev = client->prev;
    if (client->prev)
        client->prev->next = client->next;
    else
        registry->first = client->next;
    registry->count--;
    pthread_mutex_unlock(&registry->lock);
    free(client);
}

struct client *client_find(struct client_registry *registry, uint64_t id)
{
    struct client *client = registry->first;
    while (client && client->id != id)
        client = client->next;
    return client;
}

/* It stays when the lock is let go: sessions of this thread end on this thread. */
struct session *client_session(struct client_registry *registry, uint64_t id)
{
    pthread_mutex_lock(&registry->lock);
    struct client *client = client_find(registry, id);
    struct session *session = client ? client->session : NULL;
    pthread_mutex_unlock(&registry->lock);
    return session;
}

/* --- describing ------------------------------------------------------------------------------- */

static void print_flags(const struct client *client, char out[16])
{
    static const struct {
        uint32_t flag;
        char letter;
    } letters[] = {{CLIENT_SUBSCRIBER, 'P'},      {CLIENT_MULTI, 'x'},     {CLIENT_TRACKING, 't'},
                   {CLIENT_TRACKING_BROKEN, 'R'}, {CLIENT_BROADCAST, 'B'}, {CLIENT_BLOCKED, 'b'},
                   {CLIENT_CLOSING, 'A'},         {CLIENT_NO_EVICT, 'e'},  {CLIENT_NO_TOUCH, 'T'}};
    uint32_t flags = atomic_load_explicit(&client->flags, memory_order_relaxed);
    size_t used = 0;
    if (atomic_load_explicit(&client->queued, memory_order_relaxed) > 0)
        flags |= CLIENT_MULTI;
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        if (flags & letters[i].flag)
            out[used++] = letters[i].letter;
    }
    if (client->is_unix)
        out[used++] = 'U';
    if (used == 0)
        out[used++] = 'N';
    out[used] = '\0';
}

/* With the registry's lock. */
static size_t print_client(const struct client *client, int64_t now_ms, char *out, size_t cap)
{
    char flags[16];
    const struct command *command = atomic_load_explicit(&client->command, memory_order_relaxed);
    print_flags(client, flags);
    int size = snprintf(
        out, cap,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=%s db=0 sub=%u psub=%u "
        "ssub=0 multi=%d cmd=%s user=%s redir=%lld resp=%u "
        "lib-name=%s lib-ver=%s io-thread=%u",
        (unsigned long long)client->id, client->address, client->local_address, client->fd,
        client->name, (long long)(now_ms - client->opened_at_ms) / 1000,
        (long long)(now_ms - atomic_load_explicit(&client->active_at_ms, memory_order_relaxed)) /
            1000,
        flags, atomic_load_explicit(&client->channels, memory_order_relaxed),
        atomic_load_explicit(&client->patterns, memory_order_relaxed),
        (int)atomic_load_explicit(&client->queued, memory_order_relaxed) - 1,
        command ? command_full_name(command) : "NULL", client->user,
        (long long)atomic_load_explicit(&client->redirect, memory_order_relaxed),
        atomic_load_explicit(&client->protocol, memory_order_relaxed), client->library,
        client->library_version, client->thread);
    return size < 0 ? 0 : (size_t)size < cap ? (size_t)size : cap - 1;
}

void client_describe(struct session *session, char *out, size_t cap)
{
    struct client_registry *registry = &session->service->clients;
    pthread_mutex_lock(&registry->lock);
    print_client(session->client, session_now(session), out, cap);
    pthread_mutex_unlock(&registry->lock);
}

/* --- about itself ----------------------------------------------------------------------------- */

void run_client_id(struct session *session, const struct call *call)
{
    (void)call;
    reply_integer(&session->reply, (int64_t)session->id);
}

void run_client_info(struct session *session, const struct call *call)
{
    (void)call;
    char text[CLIENT_INFO_BYTES];
    client_describe(session, text, sizeof(text) - 1);
    size_t size = strlen(text);
    text[size++] = '\n';
    reply_verbatim(&session->reply, text, size);
}

void run_client_getname(struct session *session, const struct call *call)
{
    (void)call;
    if (session->client->name[0])
        reply_bulk(&session->reply, session->client->name, strlen(session->client->name));
    else
        reply_null(&session->reply);
}

static bool is_plain(const struct resp_arg *text)
{
    for (size_t i = 0; i < text->size; i++) {
        if (text->bytes[i] < '!' || text->bytes[i] > '~')
            return false;
    }
    return true;
}

/* Whether one of the client's texts can be this; false, with the error replied. */
static bool text_is_fine(struct session *session, size_t cap, const struct resp_arg *text,
                         const char *what)
{
    if (!is_plain(text))
        reply_error(&session->reply,
                    "ERR %s cannot contain spaces, newlines or special characters.", what);
    else if (text->size >= cap)
        reply_error(&session->reply, "ERR %s cannot be longer than %zu bytes", what, cap - 1);
    else
        return true;
    return false;
}

/* Sets one of them; false, with the error replied. */
static bool set_text(struct session *session, char *to, size_t cap, const struct resp_arg *text,
                     const char *what)
{
    if (!text_is_fine(session, cap, text, what))
        return false;
    pthread_mutex_lock(&session->service->clients.lock);
    memcpy(to, text->bytes, text->size);
    to[text->size] = '\0';
    pthread_mutex_unlock(&session->service->clients.lock);
    return true;
}

bool client_name_is_fine(struct session *session, const struct resp_arg *name)
{
    return text_is_fine(session, sizeof(session->client->name), name, "Client names");
}

bool client_set_name(struct session *session, const struct resp_arg *name)
{
    return set_text(session, session->client->name, sizeof(session->client->name), name,
                    "Client names");
}

void run_client_setname(struct session *session, const struct call *call)
{
    if (client_set_name(session, &call->args[2]))
        reply_ok(&session->reply);
}

void run_client_setinfo(struct session *session, const struct call *call)
{
    struct client *client = session->client;
    bool set;
    if (arg_is(&call->args[2], "lib-name"))
        set =
            set_text(session, client->library, sizeof(client->library), &call->args[3], "lib-name");
    else if (arg_is(&call->args[2], "lib-ver"))
        set = set_text(session, client->library_version, sizeof(client->library_version),
                       &call->args[3], "lib-ver");
    else {
        reply_error(&session->reply, "ERR Unrecognized option '%.*s'", arg_print(&call->args[2]),
                    call->args[2].bytes);
        return;
    }
    if (set)
        reply_ok(&session->reply);
}

/* The replies themselves are left out by session_request. */
void run_client_reply(struct session *session, const struct call *call)
{
    const struct resp_arg *mode = &call->args[2];
    if (arg_is(mode, "on")) {
        session->mute = MUTE_NONE;
        reply_ok(&session->reply);
    } else if (arg_is(mode, "off")) {
        session->mute = MUTE_ALL;
    } else if (arg_is(mode, "skip")) {
        if (session->mute != MUTE_ALL)
            session->mute = MUTE_NEXT;
    } else {
        reply_syntax_error(session);
    }
}

static void set_flag(struct session *session, const struct call *call, uint32_t flag)
{
    if (arg_is(&call->args[2], "on"))
        atomic_fetch_or_explicit(&session->client->flags, flag, memory_order_relaxed);
    else if (arg_is(&call->args[2], "off"))
        atomic_fetch_and_explicit(&session->client->flags, ~flag, memory_order_relaxed);
    else {
        reply_syntax_error(session);
        return;
    }
    reply_ok(&session->reply);
}

void run_client_no_evict(struct session *session, const struct call *call)
{
    set_flag(session, call, CLIENT_NO_EVICT);
}

void run_client_no_touch(struct session *session, const struct call *call)
{
    set_flag(session, call, CLIENT_NO_TOUCH);
}

/* --- about others ----------------------------------------------------------------------------- */

struct client_filter {
    bool by_id, by_address, by_local, by_user, by_type, skip_me;
    const struct resp_arg *ids;
    size_t id_count;
    struct resp_arg address, local, user;
    bool wants_subscribers;
    uint64_t me;
};

static bool text_is(const struct resp_arg *arg, const char *text)
{
    return strlen(text) == arg->size && memcmp(arg->bytes, text, arg->size) == 0;
}

static bool id_is_wanted(const struct client_filter *filter, uint64_t id)
{
    int64_t wanted;
    for (size_t i = 0; i < filter->id_count; i++) {
        if (number_parse(filter->ids[i].bytes, filter->ids[i].size, &wanted) &&
            (uint64_t)wanted == id)
            return true;
    }
    return false;
}

static bool is_wanted(const struct client_filter *filter, const struct client *client)
{
    bool subscriber =
        atomic_load_explicit(&client->flags, memory_order_relaxed) & CLIENT_SUBSCRIBER;
    return !(filter->skip_me && client->id == filter->me) &&
           (!filter->by_id || id_is_wanted(filter, client->id)) &&
           (!filter->by_address || text_is(&filter->address, client->address)) &&
           (!filter->by_local || text_is(&filter->local, client->local_address)) &&
           (!filter->by_user || text_is(&filter->user, client->user)) &&
           (!filter->by_type || subscriber == filter->wants_subscribers);
}

/* TYPE: there are normal clients and subscribers here; of the others there are none. */
static bool take_type(struct session *session, struct client_filter *filter,
                      const struct resp_arg *type)
{
    filter->by_type = true;
    if (arg_is(type, "normal"))
        return true;
    filter->wants_subscribers = arg_is(type, "pubsub");
    if (filter->wants_subscribers)
        return true;
    if (arg_is(type, "master") || arg_is(type, "replica") || arg_is(type, "slave")) {
        filter->by_id = true; /* and no id is wanted */
        return true;
    }
    reply_error(&session->reply, "ERR Unknown client type '%.*s'", arg_print(type), type->bytes);
    return false;
}

static void reply_list(struct session *session, const struct client_filter *filter)
{
    struct client_registry *registry = &session->service->clients;
    struct buffer text = BUFFER_INIT;
    char line[CLIENT_INFO_BYTES];
    pthread_mutex_lock(&registry->lock);
    for (const struct client *client = registry->first; client; client = client->next) {
        if (!is_wanted(filter, client))
            continue;
        buffer_append(&text, line, print_client(client, session_now(session), line, sizeof(line)));
        buffer_append(&text, "\n", 1);
    }
    pthread_mutex_unlock(&registry->lock);
    reply_verbatim(&session->reply, text.bytes ? text.bytes : "", text.size);
    buffer_free(&text);
}

static bool all_integers(struct session *session, const struct resp_arg *args, size_t count)
{
    int64_t id;
    for (size_t i = 0; i < count; i++) {
        if (!number_parse(args[i].bytes, args[i].size, &id) || id <= 0) {
            reply_error(&session->reply, "ERR Invalid client ID");
            return false;
        }
    }
    return true;
}

void run_client_list(struct session *session, const struct call *call)
{
    struct client_filter filter = {.me = session->id};
    if (call->count == 4 && arg_is(&call->args[2], "type")) {
        if (!take_type(session, &filter, &call->args[3]))
            return;
    } else if (call->count > 3 && arg_is(&call->args[2], "id")) {
        filter.by_id = true;
        filter.ids = call->args + 3;
        filter.id_count = call->count - 3;
        if (!all_integers(session, filter.ids, filter.id_count))
            return;
    } else if (call->count != 2) {
        reply_syntax_error(session);
        return;
    }
    reply_list(session, &filter);
}

/* On the client's thread: it may be gone by now. */
struct kill_order {
    struct service *service;
    uint64_t id;
};

static void kill_on_thread(void *argument)
{
    struct kill_order *order = argument;
    struct session *session = client_session(&order->service->clients, order->id);
    if (session)
        net_close(session->connection);
    free(order);
}

static bool order_kill(struct session *session, const struct client *client)
{
    struct kill_order *order = malloc(sizeof(*order));
    if (!order)
        return false;
    *order = (struct kill_order){session->service, client->id};
    if (net_post(session->service->net, client->thread, kill_on_thread, order) == SP_OK)
        return true;
    free(order);
    return false;
}

static int64_t kill_wanted(struct session *session, const struct client_filter *filter)
{
    struct client_registry *registry = &session->service->clients;
    int64_t killed = 0;
    pthread_mutex_lock(&registry->lock);
    for (const struct client *client = registry->first; client; client = client->next) {
        if (!is_wanted(filter, client))
            continue;
        if (client->id == session->id)
            session->closing = true; /* after the reply */
        else if (!order_kill(session, client))
            continue;
        killed++;
    }
    pthread_mutex_unlock(&registry->lock);
    return killed;
}

static bool take_kill_filter(struct session *session, const struct call *call,
                             struct client_filter *filter)
{
    for (size_t i = 2; i + 1 < call->count; i += 2) {
        const struct resp_arg *word = &call->args[i], *value = &call->args[i + 1];
        if (arg_is(word, "id")) {
            filter->by_id = true;
            filter->ids = value;
            filter->id_count = 1;
            if (!number_parse(value->bytes, value->size, &(int64_t){0})) {
                reply_error(&session->reply, "ERR client-id should be greater than 0");
                return false;
            }
        } else if (arg_is(word, "addr")) {
            filter->by_address = true;
            filter->address = *value;
        } else if (arg_is(word, "laddr")) {
            filter->by_local = true;
            filter->local = *value;
        } else if (arg_is(word, "user")) {
            filter->by_user = true;
            filter->user = *value;
        } else if (arg_is(word, "type")) {
            if (!take_type(session, filter, value))
                return false;
        } else if (arg_is(word, "skipme") && (arg_is(value, "yes") || arg_is(value, "no"))) {
            filter->skip_me = arg_is(value, "yes");
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    if (call->count % 2 == 0)
        return true;
    reply_syntax_error(session);
    return false;
}

void run_client_kill(struct session *session, const struct call *call)
{
    struct client_filter filter = {.me = session->id, .skip_me = call->count > 3};
    if (call->count == 3) { /* the old form: an address, and an error if there is none */
        filter.by_address = true;
        filter.address = call->args[2];
        if (kill_wanted(session, &filter) > 0)
            reply_ok(&session->reply);
        else
            reply_error(&session->reply, "ERR No such client");
    } else if (take_kill_filter(session, call, &filter)) {
        reply_integer(&session->reply, kill_wanted(session, &filter));
    }
}
