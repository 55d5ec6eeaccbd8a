/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - looks at every source and table before anything is served.
 *
 * One thread for each source, so that one that does not answer costs its own time-out only. What a
 * database says is wrong (no such table, column, permission) is a complaint about the
 * configuration; that it does not answer is not.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/thread.h"
#include "server/refresh/feed.h"

struct source_check {
    const struct config *config;
    const struct config_source *source;
    source_finder *find;
    pthread_mutex_t *lock; /* of complaints */
    FILE *complaints;
    struct refresh_cancel *cancel;
    struct connection connection;
    struct source *source_open; /* to be canceled; under the cancel's lock */
    bool started;
    bool unreachable;
    unsigned wrong;
    pthread_t thread;
};

static void complain(struct source_check *check, unsigned line, const char *table, const char *text)
{
    check->wrong++;
    if (!check->complaints)
        return;
    pthread_mutex_lock(check->lock);
    fprintf(check->complaints, "%s:%u: ", check->config->file, line);
    if (table && !refresh_text_names(text, table))
        fprintf(check->complaints, "table %s: ", table);
    fprintf(check->complaints, "%s\n", text);
    pthread_mutex_unlock(check->lock);
}

/* That a database does not answer is no fault of the configuration, and is tried again. */
static void note_unreachable(struct source_check *check, unsigned line, const char *text)
{
    check->unreachable = true;
    pthread_mutex_lock(check->lock);
    if (check->complaints)
        fprintf(check->complaints, "%s:%u: warning: %s\n", check->config->file, line, text);
    pthread_mutex_unlock(check->lock);
}

static void check_table(struct source_check *check, struct connection *connection,
                        const struct config_table *config)
{
    struct source_table table;
    struct source_description description = {0};
    struct source_error error = {0};
    struct schema *schema = NULL;
    char why[SOURCE_ERROR_BYTES] = "";
    shape_source_table(config, &table);
    int status = refresh_describe(connection, config, &table, &description, &error);
    if (status != SP_OK) {
        if (status == SP_ECONFIG)
            complain(check, config->line, config->name, error.text);
        else if (status != SP_ECANCELED)
            note_unreachable(check, config->line, error.text);
        return;
    }
    status = shape_build(config, &description, &schema, why, sizeof(why));
    if (status == SP_ECONFIG)
        complain(check, config->line, config->name, why);
    else if (config->refresh.mode == CONFIG_REFRESH_FEED && !connection->class->feed)
        complain(check, config->line, config->name,
                 "a source of this type cannot tell its changes one by one: refresh mode feed is "
                 "not for it");
    schema_free(schema);
    source_description_free(&description);
}

/* --- feeds ------------------------------------------------------------------------------------ */

/* The tables of one group, as its source knows them. */
struct followed {
    const char *group;
    unsigned count;
    struct source_table *tables;
    struct source_description *descriptions;
    const struct source_description **pointers;
};

static void followed_free(struct followed *all)
{
    for (unsigned i = 0; all->descriptions && i < all->count; i++)
        source_description_free(&all->descriptions[i]);
    free(all->tables);
    free(all->descriptions);
    free(all->pointers);
}

/* False: there is no memory, or the tables themselves are the matter. */
static bool describe_followed(const struct source_check *check, struct connection *connection,
                              struct followed *all)
{
    const struct config *config = check->config;
    struct source_error error = {0};
    all->tables = calloc(config->table_count, sizeof(*all->tables));
    all->descriptions = calloc(config->table_count, sizeof(*all->descriptions));
    all->pointers = calloc(config->table_count, sizeof(*all->pointers));
    if (!all->tables || !all->descriptions || !all->pointers)
        return false;
    for (unsigned i = 0; i < config->table_count; i++) {
        if (strcmp(config->tables[i].group, all->group) != 0)
            continue;
        struct source_description *description = &all->descriptions[all->count];
        shape_source_table(&config->tables[i], &all->tables[all->count]);
        if (connection->class->describe(connection->source, &all->tables[all->count], description,
                                        &error) != SP_OK)
            return false;
        all->pointers[all->count++] = description;
    }
    return true;
}

/* Says what a group would need to follow its database. That is no fault: it is refreshed then. */
static void check_feed(struct source_check *check, struct connection *connection,
                       const struct config_table *first)
{
    char follower[FEED_FOLLOWER_BYTES];
    char stream[FEED_STREAM_BYTES];
    struct source_error error = {0};
    struct followed all = {.group = first->group};
    const struct source_feed_class *class = connection->class->feed;
    feed_position_follower(check->config, first->group, follower);
    const struct source_feed_options options = feed_options(check->source, follower);
    if (describe_followed(check, connection, &all) &&
        class->check(connection->source, &options, all.tables, all.pointers, all.count, stream,
                     &error) == SP_ECONFIG && /* SP_EBUSY is the group itself, which follows */
        !error.transient &&
        check->complaints) {
        pthread_mutex_lock(check->lock);
        fprintf(check->complaints,
                "%s:%u: warning: group %s cannot follow its database, and reads all rows instead: "
                "%s\n",
                check->config->file, first->line, first->group, error.text);
        pthread_mutex_unlock(check->lock);
    }
    followed_free(&all);
}

static void check_feeds(struct source_check *check, struct connection *connection)
{
    const struct config *config = check->config;
    for (unsigned i = 0; i < config->table_count; i++) {
        const struct config_table *table = &config->tables[i];
        if (table->source == check->source && table->refresh.mode == CONFIG_REFRESH_FEED &&
            config_first_of_group(config, table->group) == table)
            check_feed(check, connection, table);
    }
}

/* --- being canceled ------------------------------------------------------------------------- */

/* From the moment at which a source can be canceled until it is closed. */
static void note_source(void *context, struct source *source)
{
    struct source_check *check = context;
    pthread_mutex_lock(&check->cancel->lock);
    check->source_open = source;
    if (source && check->cancel->asked)
        check->connection.class->cancel(source);
    pthread_mutex_unlock(&check->cancel->lock);
}

void refresh_check_cancel(struct refresh_cancel *cancel)
{
    pthread_mutex_lock(&cancel->lock);
    cancel->asked = true;
    for (unsigned i = 0; i < cancel->count; i++)
        if (cancel->checks[i].source_open)
            cancel->checks[i].connection.class->cancel(cancel->checks[i].source_open);
    pthread_mutex_unlock(&cancel->lock);
}

/* Says whose look it is; NULL: it is over, and the wish to end it with it. True if it was to end.
 */
static bool cancel_covers(struct refresh_cancel *cancel, struct source_check *checks,
                          unsigned count)
{
    pthread_mutex_lock(&cancel->lock);
    bool asked = cancel->asked;
    cancel->checks = checks;
    cancel->count = count;
    if (!checks)
        cancel->asked = false;
    pthread_mutex_unlock(&cancel->lock);
    return asked;
}

static bool is_canceled(struct source_check *check)
{
    pthread_mutex_lock(&check->cancel->lock);
    bool asked = check->cancel->asked;
    pthread_mutex_unlock(&check->cancel->lock);
    return asked;
}

/* --- looking -------------------------------------------------------------------------------- */

static void *check_source(void *argument)
{
    struct source_check *check = argument;
    struct source_error error = {0};
    int status = refresh_connection_open(&check->connection, check->source, check->find,
                                         note_source, check, &error);
    if (status != SP_OK) {
        check->unreachable = status == SP_ECANCELED;
        if (status == SP_ECONFIG)
            complain(check, check->source->line, NULL, error.text);
        else if (status != SP_ECANCELED)
            note_unreachable(check, check->source->line, error.text);
        return NULL;
    }
    note_source(check, check->connection.source);
    for (unsigned i = 0; i < check->config->table_count && !check->unreachable; i++)
        if (check->config->tables[i].source == check->source && !is_canceled(check))
            check_table(check, &check->connection, &check->config->tables[i]);
    if (check->connection.class->feed && !check->unreachable && !is_canceled(check))
        check_feeds(check, &check->connection);
    note_source(check, NULL);
    refresh_connection_close(&check->connection);
    return NULL;
}

static bool source_used(const struct config *config, const struct config_source *source)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (config->tables[i].source == source)
            return true;
    return false;
}

static void start_checks(struct source_check *checks, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        checks[i].started = source_used(checks[i].config, checks[i].source) &&
                            thread_start(&checks[i].thread, check_source, &checks[i]) == SP_OK;
}

int refresh_check(const struct config *config, source_finder *find, FILE *complaints,
                  struct refresh_cancel *cancel, struct refresh_check *out)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct refresh_cancel nobody = REFRESH_CANCEL_INIT;
    *out = (struct refresh_check){0};
    struct source_check *checks =
        calloc(config->source_count ? config->source_count : 1, sizeof(*checks));
    if (!checks)
        return SP_ENOMEM;
    for (unsigned i = 0; i < config->source_count; i++)
        checks[i] = (struct source_check){.config = config,
                                          .source = &config->sources[i],
                                          .find = find ? find : source_find,
                                          .lock = &lock,
                                          .complaints = complaints,
                                          .cancel = cancel ? cancel : &nobody};
    cancel_covers(cancel ? cancel : &nobody, checks, config->source_count);
    start_checks(checks, config->source_count);
    for (unsigned i = 0; i < config->source_count; i++) {
        if (!checks[i].started)
            continue;
        pthread_join(checks[i].thread, NULL);
        out->wrong += checks[i].wrong;
        out->unreachable += checks[i].unreachable;
    }
    out->canceled = cancel_covers(cancel ? cancel : &nobody, NULL, 0);
    free(checks);
    pthread_mutex_destroy(&nobody.lock);
    pthread_mutex_destroy(&lock);
    return SP_OK;
}
