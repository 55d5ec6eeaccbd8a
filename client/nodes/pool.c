/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c - the connections of a node: who calls takes an idle one, or opens one, and gives it back
 * if all that it was asked has been answered. The one used last is taken first.
 *
 * One on which more has come than was asked for is closed: the rest would be taken for the answer
 * to the next question.
 *
 * An idle connection may have been closed by the node meanwhile. Then all idle ones have been, most
 * likely: pool_outdate raises the node's generation, and those of an older one are closed instead
 * of used. A request that may not be sent twice looks at the socket first (lane.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

/* --- the list; the ring's mutex is held ------------------------------------------------------- */

static void list_add(struct node *node, struct channel *channel)
{
    channel->next = node->all;
    channel->prev = NULL;
    if (node->all != NULL)
        node->all->prev = channel;
    node->all = channel;
}

static void list_remove(struct node *node, struct channel *channel)
{
    if (channel->next != NULL)
        channel->next->prev = channel->prev;
    if (channel->prev != NULL)
        channel->prev->next = channel->next;
    else
        node->all = channel->next;
}

static struct channel *idle_pop(struct node *node)
{
    struct channel *channel = node->idle;
    if (channel != NULL) {
        node->idle = channel->next_idle;
        node->idle_count--;
    }
    return channel;
}

/* Takes out an idle one that may not be used any more. */
static struct channel *idle_pop_outdated(struct node *node)
{
    for (struct channel **at = &node->idle; *at != NULL; at = &(*at)->next_idle) {
        struct channel *channel = *at;
        if (channel->generation == node->generation)
            continue;
        *at = channel->next_idle;
        node->idle_count--;
        list_remove(node, channel);
        return channel;
    }
    return NULL;
}

/* --- taking and giving ------------------------------------------------------------------------ */

static struct channel_settings settings_of(const struct sp_ring *ring, bool attach, uint64_t epoch)
{
    const struct ring_settings *with = &ring->settings;
    return (struct channel_settings){.user = with->user,
                                     .password = with->password,
                                     .connect_ms = with->connect_ms,
                                     .timeout_ms = with->timeout_ms,
                                     .receive_ms = with->receive_ms,
                                     .attach = attach,
                                     .epoch = epoch};
}

static int pool_grow(struct sp_ring *ring, struct node *node, bool attach, uint64_t epoch,
                     struct channel **out, int *error)
{
    const struct channel_settings settings = settings_of(ring, attach, epoch);
    struct node_addresses addresses;
    struct channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        *error = ENOMEM;
        return error_plain(SP_ENOMEM);
    }
    channel->fd = -1;
    /* It is in the list before it is connected, so that a child of a fork knows of it. */
    pthread_mutex_lock(&ring->mutex);
    list_add(node, channel);
    channel->generation = node->generation;
    addresses = node->addresses;
    pthread_mutex_unlock(&ring->mutex);
    *error = channel_open(channel, &addresses, &settings);
    if (*error == 0) {
        *out = channel;
        return SP_OK;
    }
    pool_drop(ring, node, channel);
    return *error == ENOMEM ? error_plain(SP_ENOMEM) : SP_ENODAEMON;
}

int pool_next_address(struct sp_ring *ring, const struct node *node, struct channel *channel,
                      int error)
{
    const struct channel_settings settings = settings_of(ring, false, 0);
    pthread_mutex_lock(&ring->mutex);
    struct node_addresses addresses = node->addresses;
    pthread_mutex_unlock(&ring->mutex);
    if (channel->address + 1u >= addresses.count)
        return error;
    return channel_next_address(channel, &addresses, &settings);
}

int pool_take(struct sp_ring *ring, struct node *node, bool attach, uint64_t epoch, bool fresh,
              struct channel **out, int *error)
{
    *out = NULL;
    *error = 0;
    if (!fresh) {
        pthread_mutex_lock(&ring->mutex);
        *out = idle_pop(node);
        pthread_mutex_unlock(&ring->mutex);
    }
    return *out != NULL ? SP_OK : pool_grow(ring, node, attach, epoch, out, error);
}

void pool_give(struct sp_ring *ring, struct node *node, struct channel *channel)
{
    channel_rest(channel);
    pthread_mutex_lock(&ring->mutex);
    bool keep = channel->fd >= 0 && channel_quiet(channel) &&
                channel->generation == node->generation && !node->gone &&
                node->idle_count < ring->settings.idle_max;
    if (keep) {
        channel->next_idle = node->idle;
        node->idle = channel;
        node->idle_count++;
    }
    pthread_mutex_unlock(&ring->mutex);
    if (!keep)
        pool_drop(ring, node, channel);
}

void pool_drop(struct sp_ring *ring, struct node *node, struct channel *channel)
{
    pthread_mutex_lock(&ring->mutex);
    list_remove(node, channel);
    pthread_mutex_unlock(&ring->mutex);
    channel_free(channel);
}

static void free_outdated(struct sp_ring *ring, struct node *node)
{
    struct channel *outdated;
    do {
        pthread_mutex_lock(&ring->mutex);
        outdated = idle_pop_outdated(node);
        pthread_mutex_unlock(&ring->mutex);
        if (outdated != NULL)
            channel_free(outdated);
    } while (outdated != NULL);
}

void pool_outdate(struct sp_ring *ring, struct node *node, const struct channel *channel)
{
    pthread_mutex_lock(&ring->mutex);
    if (channel->generation == node->generation) {
        node->generation++;
        atomic_store_explicit(&node->restarted, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&ring->mutex);
    free_outdated(ring, node);
}

void pool_renew(struct sp_ring *ring, struct node *node)
{
    pthread_mutex_lock(&ring->mutex);
    node->generation++;
    pthread_mutex_unlock(&ring->mutex);
    free_outdated(ring, node);
}

void pool_free_all(struct node *node)
{
    while (node->all != NULL) {
        struct channel *channel = node->all;
        list_remove(node, channel);
        channel_free(channel);
    }
}
