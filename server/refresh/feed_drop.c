/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_drop.c - databases are told of followers that are no more, so that they keep nothing.
 *
 * A follower has left when _feeds has a row for it and no group of the configuration bears its
 * name: a group was taken away, has another source or another mode, or the daemon runs on another
 * host. Its position is void from then on. A thread of its own connects to the source, as the
 * configuration of before has it if this daemon knew that, else the one of now, and tries until the
 * database has answered. Then the row goes. A daemon that ends before finds the row at its next
 * start. If no source of that name is configured any more, the log says what is left there.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum { PAUSE_FIRST_MS = 500, PAUSE_LAST_MS = 60000 };

struct feed_leaver {
    struct feed_leaver *next;
    struct refresh *refresh;
    struct shared_config *config; /* a user of it */
    const struct config_source *from;
    char follower[FEED_FOLLOWER_BYTES];
    struct connection connection;
    bool started; /* main thread */
    pthread_t thread;
    atomic_bool finished;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t wake;
    bool stop;
    struct source *source; /* to be canceled */
};

/* --- the thread ------------------------------------------------------------------------------- */

static void note_source(void *context, struct source *source)
{
    struct feed_leaver *leaver = context;
    pthread_mutex_lock(&leaver->lock);
    leaver->source = source;
    if (source && leaver->stop)
        leaver->connection.class->cancel(source);
    pthread_mutex_unlock(&leaver->lock);
}

static int drop_once(struct feed_leaver *leaver, struct source_error *error)
{
    struct connection *connection = &leaver->connection;
    const struct source_feed_options options = feed_options(leaver->from, leaver->follower);
    int status = refresh_connection_open(connection, leaver->from, leaver->refresh->find_source,
                                         note_source, leaver, error);
    if (status != SP_OK)
        return status;
    note_source(leaver, connection->source);
    const struct source_feed_class *class = connection->class->feed;
    status = class ? class->drop(connection->source, &options, error) : SP_OK;
    note_source(leaver, NULL);
    refresh_connection_close(connection);
    return status;
}

/* False: it has to end. */
static bool pause_for(struct feed_leaver *leaver, uint64_t ms)
{
    uint64_t until_ms = clock_ms() + ms;
    pthread_mutex_lock(&leaver->lock);
    while (!leaver->stop && clock_ms() < until_ms)
        thread_wait(&leaver->wake, &leaver->lock, until_ms);
    bool go_on = !leaver->stop;
    pthread_mutex_unlock(&leaver->lock);
    return go_on;
}

static void *leave(void *argument)
{
    struct feed_leaver *leaver = argument;
    uint64_t pause = PAUSE_FIRST_MS;
    struct source_error error = {0};
    int status = drop_once(leaver, &error);
    while (status != SP_OK && pause_for(leaver, pause)) {
        log_limited(LOG_WARNING, "refresh", 600,
                    "follower %s has left; what source %s keeps for it is not dropped yet: %s",
                    leaver->follower, leaver->from->name, error.text);
        pause = pause * 2 < PAUSE_LAST_MS ? pause * 2 : PAUSE_LAST_MS;
        error = (struct source_error){0};
        status = drop_once(leaver, &error);
    }
    if (status == SP_OK) {
        log_event(LOG_INFO, "refresh", "follower has left: its database keeps nothing for it",
                  LOG_STR("follower", leaver->follower), LOG_STR("source", leaver->from->name));
        feed_position_delete(leaver->refresh, leaver->follower);
    }
    atomic_store(&leaver->finished, true);
    return NULL;
}

/* --- the main thread -------------------------------------------------------------------------- */

static bool is_wanted(const struct config *config, const char *follower)
{
    char name[FEED_FOLLOWER_BYTES];
    for (unsigned i = 0; config && i < config->table_count; i++) {
        if (config->tables[i].refresh.mode != CONFIG_REFRESH_FEED)
            continue;
        feed_position_follower(config, config->tables[i].group, name);
        if (strcmp(name, follower) == 0)
            return true;
    }
    return false;
}

static struct feed_leaver *find_leaver(struct refresh *refresh, const char *follower)
{
    for (struct feed_leaver *leaver = refresh->leavers; leaver; leaver = leaver->next)
        if (strcmp(leaver->follower, follower) == 0)
            return leaver;
    return NULL;
}

static bool add_leaver(struct refresh *refresh, struct shared_config *config,
                       const struct config_source *from, const char *follower)
{
    struct feed_leaver *leaver = calloc(1, sizeof(*leaver));
    if (!leaver)
        return false; /* the row stays, and with it the wish */
    leaver->refresh = refresh;
    leaver->config = config;
    leaver->from = from;
    snprintf(leaver->follower, sizeof(leaver->follower), "%s", follower);
    pthread_mutex_init(&leaver->lock, NULL);
    thread_cond_init(&leaver->wake);
    config->users++;
    leaver->next = refresh->leavers;
    refresh->leavers = leaver;
    return true;
}

void feed_drop_group(struct refresh *refresh, struct group *group)
{
    if (!group->feed || !refresh->config)
        return;
    const char *follower = group->feed->row.follower;
    if (!is_wanted(refresh->config->config, follower) && !find_leaver(refresh, follower))
        add_leaver(refresh, group->config, group->source_config, follower);
}

static const struct config_source *find_source(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->source_count; i++)
        if (strcmp(config->sources[i].name, name) == 0)
            return &config->sources[i];
    return NULL;
}

/* A row that belongs to no group of this configuration. False: try again. */
static bool drop_row(struct refresh *refresh, struct feed_row *row)
{
    const struct config_source *from = find_source(refresh->config->config, row->source);
    if (row->position[0] != '\0') {
        row->position[0] = '\0';
        if (feed_position_put_alone(refresh, row) != SP_OK)
            return false;
    }
    if (find_leaver(refresh, row->follower))
        return true;
    if (from)
        return add_leaver(refresh, refresh->config, from, row->follower);
    log_warning("refresh",
                "follower %s has left, and its source %s is configured no more: what that database "
                "keeps for it has to be dropped there",
                row->follower, row->source);
    return feed_position_delete(refresh, row->follower) == SP_OK;
}

static bool start_leavers(struct refresh *refresh)
{
    bool all = true;
    for (struct feed_leaver *leaver = refresh->leavers; leaver; leaver = leaver->next) {
        if (!leaver->started)
            leaver->started = thread_start(&leaver->thread, leave, leaver) == SP_OK;
        all &= leaver->started;
    }
    return all;
}

bool feed_drop_leavers(struct refresh *refresh)
{
    struct feed_row *rows = NULL;
    size_t count = 0;
    bool all = feed_position_all(refresh, &rows, &count) == SP_OK;
    for (size_t i = 0; all && i < count; i++)
        if (!is_wanted(refresh->config->config, rows[i].follower))
            all = drop_row(refresh, &rows[i]);
    free(rows);
    all = all && start_leavers(refresh); /* no database is told while a position counts */
    if (!all)
        log_limited(LOG_WARNING, "refresh", 60,
                    "not all databases could be told yet of followers that have left");
    return all;
}

static void stop_leaver(struct feed_leaver *leaver)
{
    pthread_mutex_lock(&leaver->lock);
    leaver->stop = true;
    if (leaver->source)
        leaver->connection.class->cancel(leaver->source);
    pthread_cond_signal(&leaver->wake);
    pthread_mutex_unlock(&leaver->lock);
}

static void free_leaver(struct feed_leaver *leaver)
{
    refresh_release_config(leaver->config);
    pthread_cond_destroy(&leaver->wake);
    pthread_mutex_destroy(&leaver->lock);
    free(leaver);
}

bool feed_drop_reap(struct refresh *refresh, bool stop)
{
    bool all = true;
    struct feed_leaver **link = &refresh->leavers;
    const struct config *config = refresh->config ? refresh->config->config : NULL;
    while (*link) {
        struct feed_leaver *leaver = *link;
        bool unwanted = stop || is_wanted(config, leaver->follower);
        if (leaver->started ? atomic_load(&leaver->finished) : unwanted) {
            if (leaver->started)
                pthread_join(leaver->thread, NULL);
            *link = leaver->next;
            free_leaver(leaver);
            continue;
        }
        if (unwanted) {
            stop_leaver(leaver);
            all = false;
        }
        link = &leaver->next;
    }
    return all;
}
