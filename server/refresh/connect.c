/* SPDX-License-Identifier: Apache-2.0
 *
 * connect.c - opens a source as the configuration says, with its password read anew.
 */
#include "server/log/log.h"
#include "server/refresh/internal.h"

int refresh_connect(const struct config_source *config, source_finder *find,
                    const struct source_class **class, struct source **out,
                    struct source_error *error)
{
    char why[SOURCE_ERROR_BYTES] = "";
    char *password = NULL;
    *class = find(config->type);
    if (!*class)
        return source_fail(error, SP_ECONFIG, false, "source %s: there is no type %s", config->name,
                           config->type);
    int status = config_password(config, &password, why, sizeof(why));
    if (status != SP_OK)
        return source_fail(error, SP_ESOURCE, true, "source %s: %s", config->name, why);
    if (why[0])
        log_limited(LOG_WARNING, "refresh", 3600, "source %s: %s", config->name, why);
    struct source_options options = {.name = config->name,
                                     .type = config->type,
                                     .path = config->path,
                                     .dsn = config->dsn ? config->dsn : "",
                                     .password = password,
                                     .connect_timeout_ms = config->connect_timeout_ms,
                                     .statement_timeout_ms = config->statement_timeout_ms};
    status = (*class)->open(&options, out, error);
    config_password_free(password);
    return status;
}
