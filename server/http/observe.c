/* SPDX-License-Identifier: Apache-2.0
 *
 * observe.c - gathers what is reported: from the refresh, the store, and the pond as readers see
 * it. Cost: a few microseconds and a copy of each table's status.
 */
#include "server/http/observe.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void see_pond(struct sp_pond *pond, struct seen_table *seen)
{
    struct sp_table *table;
    seen->pond.struct_bytes = sizeof(seen->pond);
    if (refresh_table_loaded(pond, seen->refresh.table, &table))
        seen->in_pond = sp_table_info(table, &seen->pond) == SP_OK;
    if (!seen->in_pond)
        memset(&seen->pond, 0, sizeof(seen->pond));
}

int observe(const struct http_options *options, struct observation *out)
{
    struct refresh_status *statuses = NULL;
    *out = (struct observation){.counters = options->counters};
    int status = refresh_status(options->refresh, &statuses, &out->table_count);
    if (status != SP_OK)
        return status;
    out->tables = calloc(out->table_count ? out->table_count : 1, sizeof(*out->tables));
    if (!out->tables) {
        free(statuses);
        return SP_ENOMEM;
    }
    struct sp_pond *pond = refresh_pond(options->refresh);
    for (size_t i = 0; i < out->table_count; i++) {
        out->tables[i].refresh = statuses[i];
        see_pond(pond, &out->tables[i]);
    }
    free(statuses);
    store_info(options->store, &out->store);
    out->service = options->service;
    if (options->service)
        stats_figures(options->service, &out->cache);
    return SP_OK;
}

void observation_free(struct observation *seen)
{
    free(seen->tables);
    seen->tables = NULL;
}

static bool text_room(struct text *text, size_t more)
{
    size_t cap = text->cap ? text->cap : 4096;
    while (cap < text->size + more)
        cap *= 2;
    if (cap == text->cap)
        return true;
    char *bytes = realloc(text->bytes, cap);
    if (!bytes)
        return false;
    text->bytes = bytes;
    text->cap = cap;
    return true;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (text->failed || size < 0 || !text_room(text, (size_t)size + 1)) {
        text->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(text->bytes + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}
