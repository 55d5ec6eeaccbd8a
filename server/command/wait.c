/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.c - sessions that wait: the pause of their connection, the time, and what others see.
 *
 * Who unblocks a client is told at once whether it did. So `unblock` of the client is opened with
 * the wait and changed once, by compare and exchange: by the first who unblocks, or by the end.
 */
#include "server/command/wait.h"

#include "server/command/client.h"
#include "server/command/session.h"

static void on_time(void *argument)
{
    struct session *session = argument;
    session->wait.over(session);
}

bool wait_begin(struct session *session, bool blocks, uint64_t ms,
                void (*over)(struct session *session))
{
    struct wait *wait = &session->wait;
    if (!wait->timer)
        wait->timer = net_timer_new(session->connection, on_time, session);
    if (!wait->timer)
        return false;
    wait->over = over;
    wait->blocks = blocks;
    net_timer_start(wait->timer, ms);
    session->paused = true;
    net_pause(session->connection);
    atomic_fetch_or_explicit(&session->client->flags, CLIENT_BLOCKED, memory_order_relaxed);
    if (blocks) {
        atomic_fetch_add_explicit(&session->service->blocked, 1, memory_order_relaxed);
        atomic_store_explicit(&session->client->unblock, UNBLOCK_OPEN, memory_order_relaxed);
    }
    return true;
}

/* What others see: it waits no longer. */
static enum unblock not_blocked(struct session *session)
{
    atomic_fetch_and_explicit(&session->client->flags, ~(uint32_t)CLIENT_BLOCKED,
                              memory_order_relaxed);
    if (!session->wait.blocks)
        return UNBLOCK_CLOSED;
    atomic_fetch_sub_explicit(&session->service->blocked, 1, memory_order_relaxed);
    return (enum unblock)atomic_exchange_explicit(&session->client->unblock, UNBLOCK_CLOSED,
                                                  memory_order_relaxed);
}

enum unblock wait_end(struct session *session)
{
    net_timer_stop(session->wait.timer);
    session->paused = false;
    net_resume(session->connection);
    return not_blocked(session);
}

void wait_leave(struct session *session)
{
    if (session->paused)
        not_blocked(session);
    net_timer_free(session->wait.timer);
    session->wait.timer = NULL;
}
