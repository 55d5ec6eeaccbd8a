/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_config.c - any bytes as a configuration file.
 *
 * Goal: no file, however broken, does more than be refused with a complaint.
 * Method: load it; a refusal must have said why, and what loads must hold what the struct promises
 * and be explainable.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/config/config.h"

static void need(bool holds)
{
    if (!holds)
        abort();
}

static void check_table(const struct config *config, const struct config_table *table)
{
    need(table->name && *table->name && strlen(table->name) <= 63);
    need(table->source >= config->sources &&
         table->source < config->sources + config->source_count);
    need((table->relation == NULL) != (table->query == NULL));
    need(table->key && table->key[0]);
    need(table->group && *table->group);
    need(table->refresh.every_ms >= 10 && table->refresh.full_every_ms >= 1000);
    need(table->refresh.mode != CONFIG_REFRESH_INCREMENTAL || table->refresh.watermark);
    need(table->refresh.overlap >= 0);
    need(table->max_drop >= 0 && table->max_drop <= 1);
    need(table->max_row_bytes >= 1024 && table->max_row_bytes <= config->memory_bytes);
    for (unsigned i = 0; i < table->index_count; i++)
        need(table->indexes[i].name && table->indexes[i].columns && table->indexes[i].columns[0]);
}

static void check_cache(const struct config *config)
{
    const struct config_cache *cache = &config->cache;
    need(cache->memory_bytes >= 1 << 20 && cache->memory_bytes < config->memory_bytes);
    need(cache->socket && cache->notify && (cache->socket_mode & ~0777u) == 0);
    need(cache->threads >= 1 && cache->threads <= 64 && cache->max_clients >= 1);
    need(!cache->tls.listen || (cache->tls.cert && cache->tls.key));
    need(cache->tls.clients == CONFIG_TLS_NONE || cache->tls.ca);
    need(!cache->users_file || !cache->password_file);
}

static void check_config(const struct config *config)
{
    need(config->file && config->pond && config->directory);
    need(config->memory_bytes >= 1 << 20);
    if (config->cache.enabled)
        check_cache(config);
    else
        need(config->source_count > 0 && config->table_count > 0);
    for (unsigned i = 0; i < config->source_count; i++)
        need(config->sources[i].name && config->sources[i].type &&
             (config->sources[i].path || config->sources[i].dsn));
    for (unsigned i = 0; i < config->table_count; i++)
        check_table(config, &config->tables[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char refused[] = "/etc/f.yaml: cannot be loaded";
    char *said = NULL;
    size_t bytes = 0;
    struct config *config;
    FILE *out = open_memstream(&said, &bytes);
    if (!out)
        return 0;
    int status = config_load_buffer("/etc/f.yaml", (const char *)data, size, out, &config);
    fflush(out);
    need(status == SP_OK || (status == SP_ECONFIG && bytes > 0 && !config));
    /* check.c must have seen all that libcyaml refuses: its complaint has no line and comes first.
     */
    need(strncmp(said, refused, strlen(refused)) != 0);
    if (status == SP_OK) {
        check_config(config);
        config_explain(config, out);
    }
    config_free(config);
    fclose(out);
    free(said);
    return 0;
}
