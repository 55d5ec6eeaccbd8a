/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.c - sessions that wait: the pause of their connection, the time, what others see, and CLIENT
 * UNBLOCK.
 *
 * Who unblocks a client is told at once whether it did. So `unblock` of the client is opened with
 * the wait and changed once, by compare and exchange: by the first who unblocks, or by the end.
 */
#include "server/command/wait.h"

#include <stdlib.h>

#include "server/command/client.h"
#include "server/command/commands.h"

static void on_time(void *argument)
{
    struct session *session = argument;
    session->wait.over(session);
}

bool wait_begin(struct session *session, bool open, uint64_t ms,
                void (*over)(struct session *session))
{
    struct wait *wait = &session->wait;
    if (!wait->timer)
        wait->timer = net_timer_new(session->connection, on_time, session);
    if (!wait->timer)
        return false;
    wait->over = over;
    wait->waits = true;
    net_timer_start(wait->timer, ms);
    LIST_INSERT_HEAD(&session->thread->waiting, session, wait.link);
    session->paused = true;
    net_pause(session->connection);
    atomic_fetch_add_explicit(&session->service->blocked, 1, memory_order_relaxed);
    atomic_fetch_or_explicit(&session->client->flags, CLIENT_BLOCKED, memory_order_relaxed);
    atomic_store_explicit(&session->client->unblock, open ? UNBLOCK_OPEN : UNBLOCK_CLOSED,
                          memory_order_relaxed);
    return true;
}

void wait_longer(struct session *session, uint64_t ms)
{
    net_timer_start(session->wait.timer, ms);
}

/* What others see: it waits no longer. */
static enum unblock not_blocked(struct session *session)
{
    struct client *client = session->client;
    session->wait.waits = false;
    LIST_REMOVE(session, wait.link);
    atomic_fetch_sub_explicit(&session->service->blocked, 1, memory_order_relaxed);
    atomic_fetch_and_explicit(&client->flags, ~(uint32_t)CLIENT_BLOCKED, memory_order_relaxed);
    return (enum unblock)atomic_exchange_explicit(&client->unblock, UNBLOCK_CLOSED,
                                                  memory_order_relaxed);
}

enum unblock wait_end(struct session *session)
{
    net_timer_stop(session->wait.timer);
    session->paused = false;
    net_resume(session->connection);
    return not_blocked(session);
}

bool wait_is_unblocked(const struct session *session)
{
    return atomic_load_explicit(&session->client->unblock, memory_order_relaxed) >= UNBLOCK_TIMEOUT;
}

void wait_leave(struct session *session)
{
    if (session->wait.waits)
        not_blocked(session);
    net_timer_free(session->wait.timer);
    session->wait.timer = NULL;
}

/* --- CLIENT UNBLOCK --------------------------------------------------------------------------- */

/* On the client's thread: it may be gone by now, or its wait over. */
struct order {
    struct service *service;
    uint64_t id;
};

static void unblock_on_thread(void *argument)
{
    struct order *order = argument;
    struct session *session = client_session(&order->service->clients, order->id);
    if (session && session->wait.waits && wait_is_unblocked(session))
        session->wait.over(session);
    free(order);
}

/* With the registry's lock. */
static bool unblock(struct session *session, struct client *client, uint32_t how)
{
    struct service *service = session->service;
    struct order *order = malloc(sizeof(*order));
    uint32_t open = UNBLOCK_OPEN;
    if (!order)
        return false;
    *order = (struct order){service, client->id};
    if (atomic_compare_exchange_strong(&client->unblock, &open, how)) {
        if (net_post(service->net, client->thread, unblock_on_thread, order) == SP_OK)
            return true;
        atomic_compare_exchange_strong(&client->unblock, &how, UNBLOCK_OPEN);
    }
    free(order);
    return false;
}

static bool take_how(struct session *session, const struct call *call, uint32_t *how)
{
    *how = UNBLOCK_TIMEOUT;
    if (call->count == 3 || arg_is(&call->args[3], "timeout"))
        return true;
    *how = UNBLOCK_ERROR;
    if (arg_is(&call->args[3], "error"))
        return true;
    reply_error(&session->reply, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    return false;
}

void run_client_unblock(struct session *session, const struct call *call)
{
    struct client_registry *registry = &session->service->clients;
    int64_t id;
    uint32_t how;
    if (call->count > 4) {
        reply_subcommand_error(session, call);
        return;
    }
    if (!take_how(session, call, &how) || !arg_integer(session, &call->args[2], &id))
        return;
    pthread_mutex_lock(&registry->lock);
    struct client *client = client_find(registry, (uint64_t)id);
    bool done = client && unblock(session, client, how);
    pthread_mutex_unlock(&registry->lock);
    reply_integer(&session->reply, done);
}
