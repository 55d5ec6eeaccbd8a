/* SPDX-License-Identifier: Apache-2.0
 *
 * explain.c - the configuration in sentences: what the daemon will do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/config/config.h"
#include "server/config/values.h"

static void print_list(FILE *out, const char *const *list)
{
    for (unsigned i = 0; list[i]; i++)
        fprintf(out, "%s%s", i ? ", " : "", list[i]);
}

/* A text of one line, whatever the file made of it. */
static void print_line(FILE *out, const char *text)
{
    bool space = false;
    for (; *text; text++) {
        bool blank = (unsigned char)*text <= ' ' || *text == 0x7f;
        if (!blank && space)
            fputc(' ', out);
        if (!blank)
            fputc(*text, out);
        space = blank;
    }
}

static void explain_pond(const struct config *config, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    fprintf(out, "Pond '%s' lies in %s and takes at most %s of memory%s.\n", config->pond,
            config->directory, config_print_size(config->memory_bytes, text),
            config->huge_pages ? ", in huge pages where the system grants them" : "");
    if (config->group_name)
        fprintf(out, "Members of the group '%s' may read it.\n", config->group_name);
    else
        fprintf(out, "The daemon's own user and group may read it.\n");
    fprintf(out, "A reader's snapshot keeps old rows for at most %s.\n",
            config_print_duration(config->lease_limit_ms, text));
    if (config->snapshot_file)
        fprintf(out,
                "It is saved to %s after a commit, at most every %s, and loaded from there when "
                "the database is down at a start.\n",
                config->snapshot_file, config_print_duration(config->snapshot_every_ms, text));
    else
        fprintf(out, "It is not saved to disk.\n");
    if (config->http_listen)
        fprintf(out, "Metrics and health: http://%s/metrics, /healthz and /readyz.\n",
                config->http_listen);
}

static void explain_cache_addresses(const struct config_cache *cache, FILE *out)
{
    fprintf(out, "  Clients connect to unix:%s", cache->socket);
    for (unsigned i = 0; cache->listen && cache->listen[i]; i++)
        fprintf(out, ", %s", cache->listen[i]);
    for (unsigned i = 0; cache->tls.listen && cache->tls.listen[i]; i++)
        fprintf(out, ", %s (TLS)", cache->tls.listen[i]);
    fprintf(out, ".\n  The Unix sockets have mode %04o.\n", cache->socket_mode);
    if (cache->tls.cert)
        fprintf(out, "  The certificate is %s; clients %s.\n", cache->tls.cert,
                cache->tls.clients == CONFIG_TLS_REQUIRED   ? "must show one too"
                : cache->tls.clients == CONFIG_TLS_OPTIONAL ? "may show one too"
                                                            : "are not asked for one");
}

static void explain_cache_users(const struct config_cache *cache, FILE *out)
{
    if (cache->users_file)
        fprintf(out, "  Users and what they may do are in %s.\n", cache->users_file);
    if (cache->password_file)
        fprintf(out, "  The password of the user 'default' is read from %s.\n",
                cache->password_file);
    if (!cache->users_file && !cache->password_file)
        fprintf(out, "  Nobody is asked for a password.\n");
}

static void explain_cache(const struct config_cache *cache, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    if (!cache->enabled)
        return;
    fprintf(out, "\nThe cache takes at most %s of that memory; when it is full, %s.\n",
            config_print_size(cache->memory_bytes, text),
            cache->when_full == CONFIG_WHEN_FULL_EVICT ? "entries that are little used go"
                                                       : "writes are refused");
    explain_cache_addresses(cache, out);
    explain_cache_users(cache, out);
    fprintf(out, "  It serves at most %u clients with %u thread%s", cache->max_clients,
            cache->threads, cache->threads == 1 ? "" : "s");
    if (cache->idle_timeout_ms)
        fprintf(out, ", and disconnects those that are silent for %s",
                config_print_duration(cache->idle_timeout_ms, text));
    fprintf(out, ".\n  A request may have %s, ", config_print_size(cache->max_request_bytes, text));
    fprintf(out, "and %s may wait to be sent to one client.\n",
            config_print_size(cache->output_limit_bytes, text));
    if (cache->tracked_keys)
        fprintf(out, "  For clients that keep copies at most %u keys are remembered.\n",
                cache->tracked_keys);
}

static bool is_followed(const struct config *config, const struct config_source *source)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (config->tables[i].source == source &&
            config->tables[i].refresh.mode == CONFIG_REFRESH_FEED)
            return true;
    return false;
}

static void explain_lag(const struct config_source *source, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    if (source->follower == CONFIG_FOLLOWER_TEMPORARY)
        fprintf(out, "  It keeps nothing for a feed that is not connected.\n");
    if (source->max_lag_bytes)
        fprintf(out, "  What it keeps for a feed that does not keep up is dropped beyond %s.\n",
                config_print_size(source->max_lag_bytes, text));
    else
        fprintf(out, "  It keeps as much as it likes for a feed that does not keep up.\n");
}

static void explain_source(const struct config *config, const struct config_source *source,
                           FILE *out)
{
    char connect[VALUE_PRINT_BYTES];
    char statement[VALUE_PRINT_BYTES];
    fprintf(out, "\nSource '%s' is %s: %s\n", source->name, source->type,
            source->path     ? source->path
            : source->module ? source->module
                             : source->dsn);
    if (source->password_file)
        fprintf(out, "  The password is read from %s.\n", source->password_file);
    else if (source->password_env)
        fprintf(out, "  The password is taken from the environment variable %s.\n",
                source->password_env);
    fprintf(out, "  Connecting may take %s, ",
            config_print_duration(source->connect_timeout_ms, connect));
    if (source->statement_timeout_ms)
        fprintf(out, "a query %s.\n",
                config_print_duration(source->statement_timeout_ms, statement));
    else
        fprintf(out, "a query as long as it likes.\n");
    if (is_followed(config, source))
        explain_lag(source, out);
}

static void explain_rows(const struct config_table *table, FILE *out)
{
    fprintf(out, "\nTable '%s' holds ", table->name);
    if (table->columns)
        print_list(out, table->columns);
    else
        fprintf(out, "all columns");
    if (table->query) {
        fprintf(out, " of a query of source '%s': ", table->source->name);
        print_line(out, table->query);
    } else {
        fprintf(out, " of %s of source '%s'", table->relation, table->source->name);
    }
    if (table->where) {
        fprintf(out, ", where ");
        print_line(out, table->where);
    }
    fprintf(out, "\n  Its key is ");
    print_list(out, table->key);
    fprintf(out, ".\n");
    for (unsigned i = 0; i < table->index_count; i++) {
        fprintf(out, "  Its %sindex '%s' finds rows by ", table->indexes[i].unique ? "unique " : "",
                table->indexes[i].name);
        print_list(out, table->indexes[i].columns);
        fprintf(out, ".\n");
    }
}

static void print_overlap(const struct config_refresh *refresh, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    uint64_t overlap = (uint64_t)refresh->overlap;
    if (overlap == 0)
        fprintf(out, "the highest one seen");
    else if (overlap % 1000 == 0)
        fprintf(out, "the highest one seen less %s (an integer: less %" PRIu64 ")",
                config_print_duration(overlap / 1000, text), overlap);
    else
        fprintf(out, "the highest one seen less %" PRIu64, overlap);
}

static void print_notified(const struct config_refresh *refresh, FILE *out)
{
    if (refresh->watermark) {
        fprintf(out, "  The rows whose %s is at least ", refresh->watermark);
        print_overlap(refresh, out);
        fprintf(out, " are read\n  when the database says that something changed");
    } else {
        fprintf(out, "  All rows are read when the database says that something changed");
    }
    if (refresh->channel)
        fprintf(out, " (NOTIFY \"%s\")", refresh->channel);
}

static void explain_refresh(const struct config_table *table, FILE *out)
{
    const struct config_refresh *refresh = &table->refresh;
    char every[VALUE_PRINT_BYTES];
    char full[VALUE_PRINT_BYTES];
    config_print_duration(refresh->every_ms, every);
    config_print_duration(refresh->full_every_ms, full);
    switch (refresh->mode) {
    case CONFIG_REFRESH_FULL:
        fprintf(out,
                "  All rows are read %s after the last refresh ended, and what differs is "
                "written.\n",
                every);
        break;
    case CONFIG_REFRESH_INCREMENTAL:
        fprintf(out, "  The rows whose %s is at least ", refresh->watermark);
        print_overlap(refresh, out);
        fprintf(out,
                " are read %s after the last refresh ended;\n  all of them at least every %s, "
                "which finds deleted rows.\n",
                every, full);
        break;
    case CONFIG_REFRESH_NOTIFIED:
        print_notified(refresh, out);
        fprintf(out, ", with a pause of at least %s,\n  and %sat least every %s.\n", every,
                refresh->watermark ? "all of them " : "", full);
        break;
    case CONFIG_REFRESH_FEED:
        fprintf(out,
                "  Each change is taken as the database tells it; all rows are compared every %s,\n"
                "  and while the database cannot tell, all are read every %s.\n",
                full, every);
        break;
    }
}

static void explain_faults(const struct config_table *table, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    fprintf(out, "  If a refresh fails, the rows stay as they are and it is tried again.\n");
    if (table->max_stale_ms)
        fprintf(out, "  Not confirmed for %s, the table is stale: %s.\n",
                config_print_duration(table->max_stale_ms, text),
                table->on_stale == CONFIG_ON_STALE_FAIL
                    ? "readers get an error"
                    : "its rows are served all the same, and said to be stale");
    if (table->max_drop < 1)
        fprintf(out, "  A refresh that would remove more than %g%% of the rows is held back.\n",
                table->max_drop * 100);
    fprintf(out, "  A bad row (NULL or repeated key, over %s, broken encoding) %s.\n",
            config_print_size(table->max_row_bytes, text),
            table->on_bad_row == CONFIG_ON_BAD_ROW_FAIL ? "makes the refresh fail"
                                                        : "is skipped and counted");
}

static void explain_group(const struct config *config, const struct config_table *table, FILE *out)
{
    bool first = true;
    if (config_group_size(config, table->group) < 2)
        return;
    fprintf(out, "  It is read in one database snapshot with ");
    for (unsigned i = 0; i < config->table_count; i++) {
        const struct config_table *other = &config->tables[i];
        if (other == table || strcmp(other->group, table->group) != 0)
            continue;
        fprintf(out, "%s'%s'", first ? "" : ", ", other->name);
        first = false;
    }
    fprintf(out, " (group '%s'), and committed together with it.\n", table->group);
}

static void explain_agent(const struct config_agent *agent, FILE *out)
{
    fprintf(out,
            "The agent (--agent) keeps %u Redis server%s in the ring '%s' of ZooKeeper at %s:\n",
            agent->node_count, agent->node_count == 1 ? "" : "s", agent->cluster, agent->zookeeper);
    for (unsigned i = 0; i < agent->node_count; i++)
        fprintf(out, "  '%s' at %s, with weight %u%s%s.\n", agent->nodes[i].name,
                agent->nodes[i].address, agent->nodes[i].weight,
                agent->nodes[i].zone ? ", in zone " : "",
                agent->nodes[i].zone ? agent->nodes[i].zone : "");
    fprintf(
        out,
        "  Each is asked every %u ms, and is out of the ring when it has not answered within %u "
        "ms.\n",
        agent->check_ms, agent->deadline_ms);
}

static void explain_ring(const struct config_ring *ring, FILE *out)
{
    char text[VALUE_PRINT_BYTES];
    if (!ring->enabled)
        return;
    fprintf(out, "\nIt is the node '%s' of a ring, reached at %s%s%s, with weight %u.\n",
            ring->node, ring->address, ring->zone ? ", in the zone " : "",
            ring->zone ? ring->zone : "", ring->weight);
    if (ring->zookeeper)
        fprintf(out, "  The other nodes are found in ZooKeeper at %s, as the cluster '%s'.\n",
                ring->zookeeper, ring->cluster);
    else
        fprintf(out, "  The file lists all of its %u nodes.\n", ring->node_count);
    fprintf(out, "  Each key has %u %s, in one of %u slots.\n", ring->replicas,
            ring->replicas == 1 ? "copy" : "copies", ring->slots);
    fprintf(out, "  A node that does not answer for %s is not waited for; ",
            config_print_duration(ring->ack_timeout_ms, text));
    fprintf(out, "copies are compared every %s", config_print_duration(ring->compare_ms, text));
    fprintf(out, ", and repaired with at most %s a second.\n",
            config_print_size(ring->throttle_bytes, text));
}

void config_explain(const struct config *config, FILE *out)
{
    if (config->agent.enabled)
        explain_agent(&config->agent, out);
    if (!config->cache.enabled && config->table_count == 0)
        return;
    explain_pond(config, out);
    explain_cache(&config->cache, out);
    explain_ring(&config->ring, out);
    for (unsigned i = 0; i < config->source_count; i++)
        explain_source(config, &config->sources[i], out);
    for (unsigned i = 0; i < config->table_count; i++) {
        const struct config_table *table = &config->tables[i];
        explain_rows(table, out);
        explain_refresh(table, out);
        explain_group(config, table, out);
        explain_faults(table, out);
    }
}
