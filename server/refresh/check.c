/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - looks at every source and table before anything is served.
 *
 * One thread for each source, so that one that does not answer costs its own time-out only. What a
 * database says is wrong (no such table, column, permission) is a complaint about the
 * configuration; that it does not answer is not.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "server/log/log.h"
#include "server/refresh/internal.h"

struct source_check {
    const struct config *config;
    const struct config_source *source;
    source_finder *find;
    pthread_mutex_t *lock; /* of complaints */
    FILE *complaints;
    bool started;
    bool unreachable;
    unsigned wrong;
    pthread_t thread;
};

/* Whether a source's text begins with the table's name already. */
static bool names_table(const char *text, const char *table)
{
    size_t size = strlen(table);
    return strncmp(text, "table ", 6) == 0 && strncmp(text + 6, table, size) == 0 &&
           text[6 + size] == ':';
}

static void complain(struct source_check *check, unsigned line, const char *table, const char *text)
{
    check->wrong++;
    if (!check->complaints)
        return;
    pthread_mutex_lock(check->lock);
    fprintf(check->complaints, "%s:%u: ", check->config->file, line);
    if (table && !names_table(text, table))
        fprintf(check->complaints, "table %s: ", table);
    fprintf(check->complaints, "%s\n", text);
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
    int status = connection->class->describe(connection->source, &table, &description, &error);
    if (status != SP_OK) {
        check->unreachable |= status != SP_ECONFIG;
        if (status == SP_ECONFIG)
            complain(check, config->line, config->name, error.text);
        return;
    }
    status = shape_build(config, &description, &schema, why, sizeof(why));
    if (status == SP_ECONFIG)
        complain(check, config->line, config->name, why);
    schema_free(schema);
    source_description_free(&description);
}

static void *check_source(void *argument)
{
    struct source_check *check = argument;
    struct connection connection;
    struct source_error error = {0};
    int status = connection_open(&connection, check->source, check->find, NULL, NULL, &error);
    if (status != SP_OK) {
        check->unreachable = status != SP_ECONFIG;
        if (status == SP_ECONFIG)
            complain(check, check->source->line, NULL, error.text);
        else
            log_warning("refresh", "%s", error.text);
        return NULL;
    }
    for (unsigned i = 0; i < check->config->table_count && !check->unreachable; i++)
        if (check->config->tables[i].source == check->source)
            check_table(check, &connection, &check->config->tables[i]);
    connection_close(&connection);
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
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < count; i++)
        checks[i].started = source_used(checks[i].config, checks[i].source) &&
                            pthread_create(&checks[i].thread, NULL, check_source, &checks[i]) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int refresh_check(const struct config *config, source_finder *find, FILE *complaints,
                  struct refresh_check *out)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
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
                                          .complaints = complaints};
    start_checks(checks, config->source_count);
    for (unsigned i = 0; i < config->source_count; i++) {
        if (!checks[i].started)
            continue;
        pthread_join(checks[i].thread, NULL);
        out->wrong += checks[i].wrong;
        out->unreachable += checks[i].unreachable;
    }
    free(checks);
    pthread_mutex_destroy(&lock);
    return SP_OK;
}
