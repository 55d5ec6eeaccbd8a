/* SPDX-License-Identifier: Apache-2.0
 *
 * timer.c - timers of connections: a callback after some time, on the connection's thread.
 *
 * Each is one of libuv's, which are in a heap: starting and stopping take O(log n) steps.
 */
#include "server/net/internal.h"

#include <stdlib.h>

struct net_timer {
    uv_timer_t handle;
    struct net_thread *thread;
    void (*function)(void *argument);
    void *argument;
};

static void on_timer(uv_timer_t *handle)
{
    struct net_timer *timer = handle->data;
    struct net_thread *thread = timer->thread;
    timer->function(timer->argument); /* may free the timer */
    thread_settle(thread);
}

struct net_timer *net_timer_new(struct net_connection *connection, void (*function)(void *argument),
                                void *argument)
{
    struct net_timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return NULL;
    timer->thread = connection->thread;
    timer->function = function;
    timer->argument = argument;
    timer->handle.data = timer;
    uv_timer_init(&timer->thread->loop, &timer->handle);
    return timer;
}

void net_timer_start(struct net_timer *timer, uint64_t ms)
{
    uv_update_time(&timer->thread->loop); /* else it counts from when this callback began */
    uv_timer_start(&timer->handle, on_timer, ms > 0 ? ms + 1 : 0, 0); /* it has whole ones only */
}

void net_timer_stop(struct net_timer *timer)
{
    uv_timer_stop(&timer->handle);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void net_timer_free(struct net_timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->handle, on_closed);
}
