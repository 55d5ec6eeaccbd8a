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
