/* SPDX-License-Identifier: Apache-2.0
 *
 * connect.c - opens a source as the configuration says, with its password read anew, and asks it
 * only for what it can do.
 *
 * A source borrows its options for as long as it is open, so they live beside it.
 */
#include "server/log/log.h"
#include "server/refresh/internal.h"

static int read_password(struct connection *connection, const struct config_source *config,
                         struct source_error *error)
{
    char why[SOURCE_ERROR_BYTES] = "";
    int status = config_password(config, &connection->password, why, sizeof(why));
    if (status != SP_OK)
        return source_fail(error, SP_ESOURCE, true, "source %s: %s", config->name, why);
    if (why[0])
        log_limited(LOG_WARNING, "refresh", 3600, "source %s: %s", config->name, why);
    return SP_OK;
}

static int find_class(struct connection *connection, const struct config_source *config,
                      source_finder *find, struct source_error *error)
{
    char why[SOURCE_ERROR_BYTES] = "";
    if (config->module &&
        source_load(config->module, &connection->class, why, sizeof(why)) != SP_OK)
        return source_fail(error, SP_ECONFIG, false, "source %s: %s", config->name, why);
    if (!config->module)
        connection->class = find(config->type);
    if (connection->class)
        return SP_OK;
    return source_fail(error, SP_ECONFIG, false, "source %s: there is no type %s", config->name,
                       config->type);
}

int refresh_connection_open(struct connection *connection, const struct config_source *config,
                            source_finder *find,
                            void (*cancelable)(void *context, struct source *source), void *context,
                            struct source_error *error)
{
    *connection = (struct connection){0};
    int status = find_class(connection, config, find, error);
    if (status == SP_OK)
        status = read_password(connection, config, error);
    if (status != SP_OK)
        return status;
    connection->options = (struct source_options){
        .name = config->name,
        .type = config->type,
        .path = config->path,
        .dsn = config->dsn ? config->dsn : "",
        .password = connection->password,
        .connect_timeout_ms = config->connect_timeout_ms,
        .statement_timeout_ms = config->statement_timeout_ms,
        .cancelable = cancelable,
        .cancelable_context = context,
    };
    status = connection->class->open(&connection->options, &connection->source, error);
    if (status == SP_OK)
        return SP_OK;
    connection->source = NULL;
    refresh_connection_close(connection);
    return status;
}

void refresh_connection_close(struct connection *connection)
{
    if (connection->source)
        connection->class->close(connection->source);
    connection->source = NULL;
    config_password_free(connection->password);
    connection->password = NULL;
}

int refresh_describe(const struct connection *connection, const struct config_table *config,
                     const struct source_table *table, struct source_description *out,
                     struct source_error *error)
{
    const unsigned features = connection->class->features;
    if (config->refresh.mode == CONFIG_REFRESH_NOTIFIED && !(features & SOURCE_CAN_NOTIFY))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: source %s cannot notify (mode: notified)", config->name,
                           connection->options.name);
    if (config->refresh.watermark && !(features & SOURCE_CAN_WATERMARK))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: source %s cannot read from a watermark on", config->name,
                           connection->options.name);
    return connection->class->describe(connection->source, table, out, error);
}
