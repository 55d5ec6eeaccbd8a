/* SPDX-License-Identifier: Apache-2.0
 *
 * thread.c - an I/O thread: its event loop, its inbox, and its tick.
 */
#include "server/net/internal.h"

#include <signal.h>
#include <stdlib.h>

#define WALK_MOST 2048u /* connections that one tick looks at */

/* --- the inbox -------------------------------------------------------------------------------- */

bool thread_give(struct net_thread *thread, struct item *item)
{
    pthread_mutex_lock(&thread->lock);
    bool takes = !thread->has_ended;
    if (takes) {
        STAILQ_INSERT_TAIL(&thread->inbox, item, next);
        uv_async_send(&thread->wake); /* under the lock: the thread cannot close it meanwhile */
    }
    pthread_mutex_unlock(&thread->lock);
    return takes;
}

static bool run_inbox(struct net_thread *thread)
{
    struct item_list items = STAILQ_HEAD_INITIALIZER(items);
    pthread_mutex_lock(&thread->lock);
    STAILQ_CONCAT(&items, &thread->inbox);
    pthread_mutex_unlock(&thread->lock);
    bool any = !STAILQ_EMPTY(&items);
    while (!STAILQ_EMPTY(&items)) {
        struct item *item = STAILQ_FIRST(&items);
        STAILQ_REMOVE_HEAD(&items, next);
        item->run(thread, item);
    }
    thread_settle(thread);
    return any;
}

static void on_check(uv_check_t *check)
{
    thread_settle(check->data);
}

static void on_wake(uv_async_t *wake)
{
    run_inbox(wake->data);
}

/* --- connections ------------------------------------------------------------------------------ */

void thread_settle(struct net_thread *thread)
{
    connections_show(thread);
    while (thread->dirty) {
        struct net_connection *connection = thread->dirty;
        thread->dirty = connection->next_dirty;
        connection_settle(connection);
    }
    if (thread->is_stopping && thread->connections_count == 0)
        uv_stop(&thread->loop);
}

bool thread_keep(struct net_thread *thread, struct net_connection *connection)
{
    if (thread->connections_count == thread->connections_cap) {
        size_t cap = thread->connections_cap ? thread->connections_cap * 2 : 64;
        struct net_connection **more = realloc(thread->connections, cap * sizeof(*more));
        if (!more)
            return false;
        thread->connections = more;
        thread->connections_cap = cap;
    }
    connection->slot = thread->connections_count;
    thread->connections[thread->connections_count++] = connection;
    return true;
}

/* The last one takes its slot. */
void thread_forget(struct net_thread *thread, struct net_connection *connection)
{
    struct net_connection *last = thread->connections[--thread->connections_count];
    thread->connections[connection->slot] = last;
    last->slot = connection->slot;
    atomic_fetch_sub_explicit(&thread->load, 1, memory_order_relaxed);
}

/* --- coming back ------------------------------------------------------------------------------ */

static void on_idle(uv_idle_t *idle)
{
    struct net_thread *thread = idle->data;
    struct net_connection *last = TAILQ_LAST(&thread->again, again_list), *connection;
    do {
        connection = TAILQ_FIRST(&thread->again);
        if (!connection)
            break;
        TAILQ_REMOVE(&thread->again, connection, again);
        connection->is_on_again = false;
        connection_again(connection);
    } while (connection != last);
    if (TAILQ_EMPTY(&thread->again))
        uv_idle_stop(idle);
    thread_settle(thread);
}

void thread_come_back(struct net_thread *thread)
{
    uv_idle_start(&thread->idle, on_idle);
}

/* --- the tick --------------------------------------------------------------------------------- */

static void walk(struct net_thread *thread)
{
    uint64_t now_ms = uv_now(&thread->loop);
    size_t most = thread->connections_count < WALK_MOST ? thread->connections_count : WALK_MOST;
    for (size_t i = 0; i < most; i++) {
        if (thread->walk_slot >= thread->connections_count)
            thread->walk_slot = 0;
        connection_walk(thread->connections[thread->walk_slot++], now_ms);
    }
}

static void on_tick(uv_timer_t *tick)
{
    struct net_thread *thread = tick->data;
    struct net *net = thread->net;
    if (thread->is_stopping && uv_now(&thread->loop) >= thread->stop_by_ms) {
        uv_stop(&thread->loop);
        return;
    }
    walk(thread);
    if (thread->index == 0 && !thread->is_stopping)
        listeners_wake(net);
    if (net->handler.thread_tick)
        net->handler.thread_tick(net->handler.context, thread->index);
    thread_settle(thread);
}

/* --- beginning and end ------------------------------------------------------------------------ */

void thread_stop(struct net_thread *thread, uint64_t stop_by_ms)
{
    thread->is_stopping = true;
    thread->stop_by_ms = stop_by_ms;
    for (size_t i = 0; i < thread->connections_count; i++) {
        struct net_connection *connection = thread->connections[i];
        if (connection->is_handshaking)
            net_close(connection);
        else
            net_close_after_flush(connection);
    }
}

/* Whatever is left at the end of the time is closed as it is. */
static void close_all(struct net_thread *thread)
{
    for (size_t i = 0; i < thread->connections_count; i++)
        net_close(thread->connections[i]);
    thread_settle(thread);
    uv_close((uv_handle_t *)&thread->tick, NULL);
    uv_close((uv_handle_t *)&thread->idle, NULL);
    uv_close((uv_handle_t *)&thread->check, NULL);
    uv_close((uv_handle_t *)&thread->wake, NULL);
    /* uv_stop may have been called since the loop ended: then the first run ends at once. */
    while (uv_run(&thread->loop, UV_RUN_DEFAULT) != 0)
        continue;
    uv_loop_close(&thread->loop);
}

static void end(struct net_thread *thread)
{
    while (run_inbox(thread))
        continue;
    pthread_mutex_lock(&thread->lock);
    thread->has_ended = STAILQ_EMPTY(&thread->inbox);
    bool ended = thread->has_ended;
    pthread_mutex_unlock(&thread->lock);
    if (!ended)
        end(thread);
}

void *thread_main(void *argument)
{
    struct net_thread *thread = argument;
    const struct net_handler *handler = &thread->net->handler;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* signals are the main thread's */
    if (handler->thread_started)
        handler->thread_started(handler->context, thread->index);
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    end(thread);
    close_all(thread);
    if (handler->thread_stopped)
        handler->thread_stopped(handler->context, thread->index);
    return NULL;
}

int thread_init(struct net_thread *thread, struct net *net, unsigned index)
{
    thread->net = net;
    thread->index = index;
    TAILQ_INIT(&thread->again);
    STAILQ_INIT(&thread->inbox);
    pthread_mutex_init(&thread->lock, NULL);
    thread->shared = malloc(NET_SHARED_BYTES);
    if (!thread->shared || uv_loop_init(&thread->loop) != 0)
        return SP_ENOMEM;
    thread->has_loop = true;
    uv_async_init(&thread->loop, &thread->wake, on_wake);
    uv_timer_init(&thread->loop, &thread->tick);
    uv_idle_init(&thread->loop, &thread->idle);
    uv_check_init(&thread->loop, &thread->check);
    thread->wake.data = thread->tick.data = thread->idle.data = thread->check.data = thread;
    uv_check_start(&thread->check, on_check);
    uv_timer_start(&thread->tick, on_tick, NET_TICK_MS, NET_TICK_MS);
    return SP_OK;
}

void thread_destroy(struct net_thread *thread)
{
    if (thread->has_loop && !thread->has_started) {
        thread->is_stopping = true; /* what the others have given it is closed */
        end(thread);
        close_all(thread);
    }
    free(thread->connections);
    free(thread->shared);
    pthread_mutex_destroy(&thread->lock);
}
