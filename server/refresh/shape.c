/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.c - what is configured and what the database has become a schema.
 */
#include <stdlib.h>
#include <string.h>

#include "server/log/log.h"
#include "server/refresh/internal.h"

void shape_source_table(const struct config_table *config, struct source_table *out)
{
    const struct config_refresh *refresh = &config->refresh;
    *out = (struct source_table){
        .name = config->name,
        .relation = config->relation,
        .query = config->query,
        .columns = config->columns,
        .where = config->where,
        .watermark = refresh->watermark,
        .key = config->key,
        .fields = config->fields,
        .channel = refresh->mode == CONFIG_REFRESH_NOTIFIED ? refresh->channel : NULL,
    };
}

static int position(const char *const *list, const char *name)
{
    for (int i = 0; list[i]; i++)
        if (strcmp(list[i], name) == 0)
            return i;
    return -1;
}

static int column_find(const struct source_description *description, const char *name)
{
    for (unsigned i = 0; i < description->column_count; i++)
        if (strcmp(description->columns[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int missing(const char *what, const char *column, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "%s column %s is not among the columns read", what, column);
    return SP_ECONFIG;
}

static int build_indexes(const struct config_table *config,
                         const struct source_description *description, struct row_index *out,
                         char *why, size_t why_bytes)
{
    for (unsigned n = 0; n < config->index_count; n++) {
        const struct config_index *index = &config->indexes[n];
        out[n] = (struct row_index){.name = index->name, .unique = index->unique};
        for (unsigned i = 0; index->columns[i]; i++) {
            int column = column_find(description, index->columns[i]);
            if (column < 0)
                return missing("index", index->columns[i], why, why_bytes);
            if (i == ROW_KEY_COLUMNS_MAX) {
                snprintf(why, why_bytes, "index %s has more than %u columns", index->name,
                         ROW_KEY_COLUMNS_MAX);
                return SP_ECONFIG;
            }
            out[n].columns[out[n].column_count++] = (uint16_t)column;
        }
    }
    return SP_OK;
}

static int check_names(const struct config_table *config,
                       const struct source_description *description, char *why, size_t why_bytes)
{
    for (unsigned i = 0; config->key[i]; i++)
        if (column_find(description, config->key[i]) < 0)
            return missing("key", config->key[i], why, why_bytes);
    const char *watermark = config->refresh.watermark;
    if (!watermark)
        return SP_OK;
    int column = column_find(description, watermark);
    if (column < 0)
        return missing("watermark", watermark, why, why_bytes);
    if (watermark_type_ok(description->columns[column].type))
        return SP_OK;
    snprintf(why, why_bytes,
             "watermark column %s is %s; it must be an integer, a float, a time, a date or text",
             watermark, description->columns[column].native_type);
    return SP_ECONFIG;
}

int shape_build(const struct config_table *config, const struct source_description *description,
                struct schema **out, char *why, size_t why_bytes)
{
    unsigned count = description->column_count;
    struct row_index indexes[ROW_INDEXES_MAX + 1];
    if (config->index_count > ROW_INDEXES_MAX) {
        snprintf(why, why_bytes, "more than %u indexes", ROW_INDEXES_MAX);
        return SP_ECONFIG;
    }
    int status = check_names(config, description, why, why_bytes);
    if (status == SP_OK)
        status = build_indexes(config, description, indexes, why, why_bytes);
    if (status != SP_OK)
        return status;
    struct row_column *columns = calloc(count ? count : 1, sizeof(*columns));
    if (!columns)
        return SP_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        const struct source_column *column = &description->columns[i];
        columns[i].name = column->name;
        columns[i].type = column->type;
        columns[i].nullable = column->nullable;
        columns[i].key_position = position(config->key, column->name);
    }
    status = schema_build(columns, count, indexes, config->index_count, out, why, why_bytes);
    free(columns);
    return status == SP_EINVAL ? SP_ECONFIG : status;
}

bool shape_same(const struct source_description *a, const struct source_description *b)
{
    if (a->column_count != b->column_count)
        return false;
    for (unsigned i = 0; i < a->column_count; i++)
        if (strcmp(a->columns[i].name, b->columns[i].name) != 0 ||
            strcmp(a->columns[i].native_type, b->columns[i].native_type) != 0 ||
            a->columns[i].type != b->columns[i].type ||
            a->columns[i].nullable != b->columns[i].nullable)
            return false;
    return true;
}

void shape_log_text_columns(const struct config_table *config,
                            const struct source_description *description)
{
    for (unsigned i = 0; i < description->column_count; i++)
        if (description->columns[i].as_text)
            log_event(LOG_INFO, "refresh", "column of an unknown type is kept as text",
                      LOG_STR("table", config->name),
                      LOG_STR("column", description->columns[i].name),
                      LOG_STR("type", description->columns[i].native_type));
}
