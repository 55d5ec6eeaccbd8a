/* SPDX-License-Identifier: Apache-2.0
 *
 * top_sample.c - everything that `sidepond top` shows, read at one time: the pond's part out of the
 * shared memory, the cache's part from its server. What the pond says is there also where no server
 * answers.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "top.h"

static int take_tables(struct tool *tool, struct top_sample *sample)
{
    const char **names = calloc(SP_TABLES_MAX, sizeof *names);
    sample->tables = calloc(SP_TABLES_MAX, sizeof *sample->tables);
    if (names == NULL || sample->tables == NULL) {
        free(names);
        return SP_ENOMEM;
    }
    size_t count = sp_table_names(tool->pond, names, SP_TABLES_MAX);
    for (size_t i = 0; i < count && i < SP_TABLES_MAX; i++) {
        struct top_table *out = &sample->tables[sample->table_count];
        if (!tool_table_info(tool, names[i], &out->info))
            continue;
        snprintf(out->name, sizeof out->name, "%s", names[i]);
        sample->table_count++;
    }
    free(names);
    return SP_OK;
}

static int take_readers(struct tool *tool, struct top_sample *sample)
{
    sample->readers = calloc(SP_LEASES_MAX, sizeof *sample->readers);
    if (sample->readers == NULL)
        return SP_ENOMEM;
    size_t count = sp_readers(tool->pond, sample->readers, SP_LEASES_MAX);
    sample->reader_count = count < SP_LEASES_MAX ? count : SP_LEASES_MAX;
    return SP_OK;
}

void top_sample_free(struct top_sample *sample)
{
    free(sample->tables);
    free(sample->readers);
    top_cache_free(&sample->cache);
    memset(sample, 0, sizeof *sample);
}

int top_sample_take(struct tool *tool, struct peer *server, struct top_sample *sample)
{
    top_sample_free(sample);
    sample->pond = (struct sp_pond_info)SP_POND_INFO_INIT;
    int status = sp_pond_info(tool->pond, &sample->pond);
    if (status == SP_OK)
        status = take_tables(tool, sample);
    if (status == SP_OK)
        status = take_readers(tool, sample);
    if (status != SP_OK)
        return status;
    top_server_ask(server, &sample->cache);
    sample->at_us = clock_us();
    sample->wall_ms = clock_wall_ms();
    return SP_OK;
}
