/* SPDX-License-Identifier: Apache-2.0
 *
 * link.c - the connections of one cache to its server: where that is, the pool, and what happens at
 * a fork.
 *
 * A thread that wants to write takes an idle connection, or opens one if there is none, and gives
 * it back afterwards; so there are as many as threads that write at one time. The idle one used
 * last is taken first. Before it is used, a look at the socket tells whether the server has closed
 * it, so that after a restart of the server no request is sent in vain.
 *
 * A forked child closes its copies of all connections at once, those in use by other threads of its
 * parent too: a lease of the server ends with its connection, which must not live on in a child
 * that knows nothing of it. Limit: a child that is forked while another thread is just connecting
 * may keep that descriptor; so who gives a connection up shuts it down before closing it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cache/link.h"

#define TIMEOUT_MS 1000u

static const char socket_name[] = "socket"; /* in the pond's directory, see docs/CONFIGURATION.md */

/* --- the list; the pond's mutex is held ------------------------------------------------------- */

static void list_add(struct cache_link *link, struct connection *connection)
{
    connection->next = link->all;
    connection->prev = NULL;
    if (link->all != NULL)
        link->all->prev = connection;
    link->all = connection;
}

static void list_remove(struct cache_link *link, struct connection *connection)
{
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        link->all = connection->next;
}

static struct connection *idle_pop(struct cache_link *link)
{
    struct connection *connection = link->idle;
    if (connection != NULL) {
        link->idle = connection->next_idle;
        link->idle_count--;
    }
    return connection;
}

/* --- the link itself -------------------------------------------------------------------------- */

static void free_connection(struct connection *connection)
{
    connection_end(connection);
    if (connection->reader != NULL)
        redisReaderFree(connection->reader);
    free(connection);
}

static void link_forked(struct cache_link *link)
{
    for (struct connection *at = link->all; at != NULL; at = at->next)
        connection_close(at);
}

static void link_free(struct cache_link *link)
{
    while (link->all != NULL) {
        struct connection *connection = link->all;
        list_remove(link, connection);
        free_connection(connection);
    }
    explicit_bzero(&link->settings, sizeof link->settings);
    free(link);
}

static const struct cache_link_rules rules = {.forked = link_forked, .free = link_free};

/* A directory that is too long is found out when an address is needed. */
static void default_settings(const struct sp_cache *cache, struct link_settings *out)
{
    *out = (struct link_settings){.timeout_ms = TIMEOUT_MS};
    snprintf(out->address, sizeof out->address, "unix:%s/%s", cache->table.pond->directory,
             socket_name);
}

/* The cache's link, made if there is none. Mutex held. */
static int link_of(struct sp_cache *cache, struct cache_link **out)
{
    *out = cache->link;
    if (*out != NULL)
        return SP_OK;
    struct cache_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return error_plain(SP_ENOMEM);
    default_settings(cache, &link->settings);
    cache->link = link;
    cache->link_rules = &rules;
    *out = link;
    return SP_OK;
}

/* --- the pool --------------------------------------------------------------------------------- */

/* An idle connection or none, and the settings for a new one. */
static int pool_pop(struct sp_cache *cache, struct connection **idle,
                    struct link_settings *settings)
{
    struct cache_link *link;
    pthread_mutex_lock(&cache->table.pond->mutex);
    int status = link_of(cache, &link);
    if (status == SP_OK) {
        *idle = idle_pop(link);
        if (*idle == NULL)
            *settings = link->settings;
    }
    pthread_mutex_unlock(&cache->table.pond->mutex);
    return status;
}

/* It is in the list before it is connected, so that a child of a fork meanwhile knows of it. */
static int pool_grow(struct sp_cache *cache, const struct link_settings *settings,
                     struct connection **out)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return error_plain(SP_ENOMEM);
    connection->fd = -1;
    pthread_mutex_lock(&cache->table.pond->mutex);
    list_add(cache->link, connection);
    pthread_mutex_unlock(&cache->table.pond->mutex);
    int status = connection_open(connection, settings);
    if (status == SP_OK)
        *out = connection;
    else
        link_drop(cache, connection);
    return status;
}

/* All idle connections, until there are none or one is good. Those that are closed go. */
static int take_idle(struct sp_cache *cache, bool fresh, struct connection **out,
                     struct link_settings *settings)
{
    for (;;) {
        int status = pool_pop(cache, out, settings);
        if (status != SP_OK || *out == NULL || (!fresh && connection_usable(*out)))
            return status;
        link_drop(cache, *out);
    }
}

int link_take(struct sp_cache *cache, bool fresh, struct connection **out)
{
    struct link_settings settings;
    int status = take_idle(cache, fresh, out, &settings);
    if (status == SP_OK && *out == NULL) {
        status = pool_grow(cache, &settings, out);
        explicit_bzero(settings.password, sizeof settings.password);
    }
    return status;
}

void link_drop(struct sp_cache *cache, struct connection *connection)
{
    pthread_mutex_lock(&cache->table.pond->mutex);
    list_remove(cache->link, connection);
    pthread_mutex_unlock(&cache->table.pond->mutex);
    free_connection(connection);
}

void link_give(struct sp_cache *cache, struct connection *connection)
{
    struct cache_link *link = cache->link;
    pthread_mutex_lock(&cache->table.pond->mutex);
    bool keep = connection->fd >= 0 && connection->generation == link->settings.generation &&
                link->idle_count < LINK_IDLE_MAX;
    if (keep) {
        connection->next_idle = link->idle;
        link->idle = connection;
        link->idle_count++;
    }
    pthread_mutex_unlock(&cache->table.pond->mutex);
    if (!keep)
        link_drop(cache, connection);
}

void link_address(struct sp_cache *cache, char out[LINK_ADDRESS_BYTES])
{
    pthread_mutex_lock(&cache->table.pond->mutex);
    memcpy(out, cache->link->settings.address, LINK_ADDRESS_BYTES);
    pthread_mutex_unlock(&cache->table.pond->mutex);
}

/* --- sp_cache_connect ------------------------------------------------------------------------- */

static int copy_text(char *to, size_t room, const char *text, const char *what)
{
    size_t size = text != NULL ? strlen(text) : 0;
    if (size >= room)
        return error_set(SP_EINVAL, "the %s has more than %zu bytes", what, room - 1);
    memcpy(to, text != NULL ? text : "", size + 1);
    return SP_OK;
}

static int settings_of(const struct sp_cache *cache, const struct sp_cache_options *options,
                       struct link_settings *out)
{
    int status = SP_OK;
    if (options->address == NULL) {
        default_settings(cache, out);
    } else {
        *out = (struct link_settings){0};
        status = copy_text(out->address, sizeof out->address, options->address, "address");
    }
    if (status == SP_OK)
        status = connection_check_address(out->address);
    if (status == SP_OK)
        status = copy_text(out->user, sizeof out->user, options->user, "user's name");
    if (status == SP_OK)
        status = copy_text(out->password, sizeof out->password, options->password, "password");
    if (status == SP_OK && options->timeout_ms == 0)
        status = error_set(SP_EINVAL, "timeout_ms is at least 1");
    if (status == SP_OK && out->user[0] != '\0' && out->password[0] == '\0')
        status = error_set(SP_EINVAL, "a user without a password cannot log in");
    out->timeout_ms = options->timeout_ms;
    return status;
}

static int change_settings(struct sp_cache *cache, struct link_settings *settings)
{
    struct cache_link *link;
    pthread_mutex_lock(&cache->table.pond->mutex);
    int status = link_of(cache, &link);
    if (status == SP_OK) {
        settings->generation = link->settings.generation + 1;
        link->settings = *settings;
    }
    pthread_mutex_unlock(&cache->table.pond->mutex);
    return status;
}

int sp_cache_connect(struct sp_cache *cache, const struct sp_cache_options *options)
{
    struct sp_cache_options with = SP_CACHE_OPTIONS_INIT;
    struct link_settings settings;
    struct connection *connection;
    int status = options_over(&with, sizeof with, options, "SP_CACHE_OPTIONS_INIT");
    if (status != SP_OK)
        return status;
    status = settings_of(cache, &with, &settings);
    if (status == SP_OK)
        status = change_settings(cache, &settings);
    explicit_bzero(&settings, sizeof settings);
    if (status != SP_OK)
        return status;
    status = link_take(cache, true, &connection);
    if (status == SP_OK)
        link_give(cache, connection);
    return status;
}
