/* SPDX-License-Identifier: Apache-2.0
 *
 * compare.c - whether a group is configured in one file as in another. Lines do not count.
 */
#include <string.h>

#include "server/refresh/internal.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const char *const *a, const char *const *b)
{
    if (!a || !b)
        return a == b;
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return *a == *b;
}

static bool same_source(const struct config_source *a, const struct config_source *b)
{
    return same_text(a->name, b->name) && same_text(a->type, b->type) &&
           same_text(a->path, b->path) && same_text(a->module, b->module) &&
           same_text(a->dsn, b->dsn) && same_text(a->password_file, b->password_file) &&
           same_text(a->password_env, b->password_env) &&
           a->connect_timeout_ms == b->connect_timeout_ms &&
           a->statement_timeout_ms == b->statement_timeout_ms &&
           same_text(a->publication, b->publication) && a->max_lag_bytes == b->max_lag_bytes;
}

static bool same_indexes(const struct config_table *a, const struct config_table *b)
{
    if (a->index_count != b->index_count)
        return false;
    for (unsigned i = 0; i < a->index_count; i++)
        if (!same_text(a->indexes[i].name, b->indexes[i].name) ||
            !same_list(a->indexes[i].columns, b->indexes[i].columns) ||
            a->indexes[i].unique != b->indexes[i].unique)
            return false;
    return true;
}

static bool same_refresh(const struct config_refresh *a, const struct config_refresh *b)
{
    return a->mode == b->mode && a->every_ms == b->every_ms &&
           a->full_every_ms == b->full_every_ms && same_text(a->watermark, b->watermark) &&
           a->overlap == b->overlap && same_text(a->channel, b->channel);
}

static bool same_table(const struct config_table *a, const struct config_table *b)
{
    return same_text(a->name, b->name) && same_source(a->source, b->source) &&
           same_text(a->relation, b->relation) && same_text(a->query, b->query) &&
           same_list(a->columns, b->columns) && same_text(a->where, b->where) &&
           same_list(a->key, b->key) && same_indexes(a, b) &&
           same_refresh(&a->refresh, &b->refresh) && a->max_drop == b->max_drop &&
           a->max_stale_ms == b->max_stale_ms && a->on_stale == b->on_stale &&
           a->on_bad_row == b->on_bad_row && a->max_row_bytes == b->max_row_bytes;
}

/* The next table of a group from position *at on, or NULL. */
static const struct config_table *next_of(const struct config *config, const char *group,
                                          unsigned *at)
{
    while (*at < config->table_count) {
        const struct config_table *table = &config->tables[(*at)++];
        if (strcmp(table->group, group) == 0)
            return table;
    }
    return NULL;
}

bool refresh_same_group(const struct config *a, const struct config *b, const char *group)
{
    unsigned at_a = 0;
    unsigned at_b = 0;
    for (;;) {
        const struct config_table *table_a = next_of(a, group, &at_a);
        const struct config_table *table_b = next_of(b, group, &at_b);
        if (!table_a || !table_b)
            return table_a == table_b;
        if (!same_table(table_a, table_b))
            return false;
    }
}
