/* SPDX-License-Identifier: Apache-2.0
 *
 * rules.c - what must hold between values: names that are unique, references that lead somewhere,
 * options that need or exclude each other.
 *
 * The tree tells what was given at all, and where. Cost: quadratic in the number of tables, which
 * the table of options limits.
 */
#include "server/config/rules.h"

#include <string.h>

#include "server/config/options.h"
#include "server/config/values.h"

struct rules {
    const struct config *config;
    struct tree *tree;
    struct complaints *complaints;
};

#define AT(node) config_tree_line(node), config_tree_column(node)

/* The value of a key, else the mapping itself: where a complaint about the key belongs. */
static yaml_node_t *value_or_self(struct rules *rules, yaml_node_t *node, const char *key)
{
    yaml_node_t *value = config_tree_value(rules->tree, node, key);
    return value ? value : node;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool contains(const char *const *list, const char *word)
{
    for (; list && *list; list++)
        if (strcmp(*list, word) == 0)
            return true;
    return false;
}

static yaml_node_t *list_node(struct rules *rules, const char *list, unsigned n)
{
    return config_tree_item(rules->tree,
                            config_tree_value(rules->tree, config_tree_root(rules->tree), list), n);
}

/* Whether a type is in a list with commas. */
static bool is_listed(const char *list, const char *type)
{
    const size_t bytes = strlen(type);
    for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 2 : NULL)
        if (strncmp(at, type, bytes) == 0 && (at[bytes] == ',' || !at[bytes]))
            return true;
    return false;
}

static bool is_mariadb(const char *type)
{
    return same(type, "mariadb") || same(type, "mysql");
}

static bool is_mongodb(const struct config_source *source)
{
    return source && same(source->type, "mongodb");
}

/* Whether source n has every option that its type needs and none that it does not have. */
static void check_source_options(struct rules *rules, const struct config_source *source,
                                 yaml_node_t *node)
{
    const struct section *section = config_option_find(&config_options, "sources")->section;
    for (unsigned i = 0; i < section->option_count; i++) {
        const struct option *option = &section->options[i];
        yaml_node_t *value = config_tree_value(rules->tree, node, option->key);
        if (value && option->only && !is_listed(option->only, source->type))
            config_complain(rules->complaints, AT(value), "'%s' is for %s sources; this one is %s",
                            option->key, option->only, source->type);
    }
    const char *needed = same(source->type, "sqlite")   ? "path"
                         : same(source->type, "module") ? "module"
                                                        : "dsn";
    if (!config_tree_value(rules->tree, node, needed))
        config_complain(rules->complaints, AT(node), "a %s source needs '%s'", source->type,
                        needed);
}

static void check_dsn(struct rules *rules, const struct config_source *source, yaml_node_t *node)
{
    yaml_node_t *value = value_or_self(rules, node, "dsn");
    const bool mariadb = is_mariadb(source->type);
    const bool mongodb = is_mongodb(source);
    switch (mariadb   ? config_check_mariadb_uri(source->dsn)
            : mongodb ? config_check_mongodb_uri(source->dsn)
                      : config_check_dsn(source->dsn)) {
    case DSN_GOOD:
        break;
    case DSN_BROKEN:
        config_complain(rules->complaints, AT(value), "dsn is %s",
                        mariadb ? "not a mariadb:// or mysql:// URI"
                        : mongodb
                            ? "neither a mongodb:// nor a mongodb+srv:// URI"
                            : "neither a list of keyword=value pairs nor a postgresql:// URI");
        break;
    case DSN_HAS_PASSWORD:
        config_complain(
            rules->complaints, AT(value),
            "dsn holds a password, which whoever reads this file or the log could see; put it "
            "into a file of mode 0600 and name that with password_file (or use password_env)");
        break;
    }
}

static bool is_used(const struct config *config, const struct config_source *source)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (config->tables[i].source == source)
            return true;
    return false;
}

static void check_source(struct rules *rules, unsigned n)
{
    const struct config_source *sources = rules->config->sources;
    const struct config_source *source = &sources[n];
    yaml_node_t *node = list_node(rules, "sources", n);
    for (unsigned i = 0; i < n; i++) {
        if (same(sources[i].name, source->name)) {
            config_complain(rules->complaints, AT(value_or_self(rules, node, "name")),
                            "source '%s' exists already, on line %u", source->name,
                            sources[i].line);
            break;
        }
    }
    if (source->type)
        check_source_options(rules, source, node);
    if (source->dsn && source->type && !same(source->type, "sqlite") &&
        !same(source->type, "module"))
        check_dsn(rules, source, node);
    if (source->password_file && source->password_env)
        config_complain(rules->complaints, AT(value_or_self(rules, node, "password_env")),
                        "password_file and password_env exclude each other");
    if (source->name && !is_used(rules->config, source))
        config_warn(rules->complaints, AT(node), "no table uses source '%s'", source->name);
}

static void check_reference(struct rules *rules, const struct config_table *table,
                            yaml_node_t *node)
{
    const char *names[257] = {NULL};
    unsigned count = 0;
    if (table->source || !table->source_name)
        return;
    for (unsigned i = 0; i < rules->config->source_count && count < 256; i++)
        if (rules->config->sources[i].name)
            names[count++] = rules->config->sources[i].name;
    const char *near = config_word_near(names, table->source_name);
    config_complain(rules->complaints, AT(value_or_self(rules, node, "source")),
                    "there is no source '%s'%s%s%s", table->source_name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static void check_selection(struct rules *rules, const struct config_table *table,
                            yaml_node_t *node)
{
    yaml_node_t *query = config_tree_value(rules->tree, node, "query");
    if (query && !is_mongodb(table->source) && config_tree_value(rules->tree, node, "relation"))
        config_complain(rules->complaints, AT(query), "relation and query exclude each other");
    if (query && table->where)
        config_complain(rules->complaints, AT(value_or_self(rules, node, "where")),
                        "where is for relations; put the condition into the query");
}

/* Whether a column is kept: itself or, of a document, what it is a part of. */
static bool is_kept(const struct config_table *table, const char *name)
{
    if (contains(table->columns, name))
        return true;
    for (const char *const *c = table->columns; is_mongodb(table->source) && *c; c++)
        if (strncmp(name, *c, strlen(*c)) == 0 && name[strlen(*c)] == '.')
            return true;
    return false;
}

/* Every column of a list must be among the table's columns, where these are given. */
static void check_columns(struct rules *rules, const struct config_table *table,
                          const char *const *list, yaml_node_t *node, const char *what)
{
    char q[QUOTED_BYTES];
    if (!table->columns || !table->columns[0])
        return;
    for (unsigned i = 0; list && list[i]; i++) {
        yaml_node_t *item = config_tree_item(rules->tree, node, i);
        if (!is_kept(table, list[i]))
            config_complain(rules->complaints, AT(item ? item : node),
                            "%s column %s is not in columns", what, config_quote(list[i], q));
    }
}

static void check_indexes(struct rules *rules, const struct config_table *table,
                          yaml_node_t *table_node)
{
    yaml_node_t *list = config_tree_value(rules->tree, table_node, "indexes");
    for (unsigned n = 0; n < table->index_count; n++) {
        const struct config_index *index = &table->indexes[n];
        yaml_node_t *node = config_tree_item(rules->tree, list, n);
        for (unsigned i = 0; i < n; i++) {
            if (same(table->indexes[i].name, index->name)) {
                config_complain(rules->complaints, AT(value_or_self(rules, node, "name")),
                                "index '%s' exists already in this table", index->name);
                break;
            }
        }
        check_columns(rules, table, index->columns, value_or_self(rules, node, "columns"), "index");
    }
}

static void only_with_mode(struct rules *rules, yaml_node_t *refresh, const char *key,
                           const char *modes)
{
    yaml_node_t *value = config_tree_value(rules->tree, refresh, key);
    if (value)
        config_complain(rules->complaints, AT(value), "%s is for refresh mode %s", key, modes);
}

static void check_watermark(struct rules *rules, const struct config_table *table,
                            yaml_node_t *refresh)
{
    char q[QUOTED_BYTES];
    yaml_node_t *watermark = config_tree_value(rules->tree, refresh, "watermark");
    if (!watermark && table->refresh.mode == CONFIG_REFRESH_NOTIFIED)
        return; /* all rows are read then */
    if (!watermark)
        config_complain(
            rules->complaints, AT(refresh),
            "refresh mode incremental needs 'watermark': a column that grows with each change");
    else if (table->refresh.watermark && table->columns && table->columns[0] &&
             !is_kept(table, table->refresh.watermark))
        config_complain(rules->complaints, AT(watermark), "watermark column %s is not in columns",
                        config_quote(table->refresh.watermark, q));
    if (!config_tree_value(rules->tree, refresh, "overlap"))
        config_warn(rules->complaints, AT(refresh),
                    "refresh has no overlap: rows that are committed late with an older "
                    "watermark appear only with the next full pass");
}

static void check_channel(struct rules *rules, const struct config_table *table,
                          yaml_node_t *refresh)
{
    yaml_node_t *given = config_tree_value(rules->tree, refresh, "channel");
    if (!table->source || !table->source->type)
        return;
    if (given && strcmp(table->source->type, "postgresql") != 0)
        config_complain(rules->complaints, AT(given),
                        "channel is for postgresql sources; '%s' is %s", table->source_name,
                        table->source->type);
    else if (!given && table->refresh.channel && strlen(table->refresh.channel) > 63)
        config_complain(
            rules->complaints, AT(refresh),
            "refresh needs 'channel': the default %s is longer than PostgreSQL's 63 bytes",
            table->refresh.channel);
}

/* What is read beside a feed, or without one. */
static bool reads_all(const struct config_table *table)
{
    return table->refresh.mode == CONFIG_REFRESH_FULL || table->refresh.mode == CONFIG_REFRESH_FEED;
}

static void check_refresh(struct rules *rules, const struct config_table *table,
                          yaml_node_t *table_node)
{
    yaml_node_t *node = config_tree_value(rules->tree, table_node, "refresh");
    yaml_node_t *mode = config_tree_value(rules->tree, node, "mode");
    const struct option *option = config_option_find(&config_options, "tables");
    option = config_option_find(config_option_find(option->section, "refresh")->section, "mode");
    /* Nothing follows from a mode that was meant to be another one. */
    if (!node || (mode && !contains(option->choices, config_tree_text(mode))))
        return;
    if (reads_all(table)) {
        only_with_mode(rules, node, "watermark", "incremental or notified");
        only_with_mode(rules, node, "overlap", "incremental or notified");
    } else {
        check_watermark(rules, table, node);
    }
    if (table->refresh.mode == CONFIG_REFRESH_NOTIFIED)
        check_channel(rules, table, node);
    else
        only_with_mode(rules, node, "channel", "notified");
    if (table->refresh.mode == CONFIG_REFRESH_FULL)
        only_with_mode(rules, node, "full_every", "incremental, notified or feed");
    const struct config_source *source = table->source;
    if (table->refresh.mode == CONFIG_REFRESH_NOTIFIED &&
        (is_mongodb(source) || (source && is_mariadb(source->type))))
        config_complain(rules->complaints, AT(mode),
                        "%s sources cannot notify; use refresh mode feed", source->type);
    if (table->refresh.mode == CONFIG_REFRESH_FEED && table->query)
        config_complain(rules->complaints, AT(value_or_self(rules, table_node, "query")),
                        "refresh mode feed follows a relation, not a query");
}

static void check_stale(struct rules *rules, const struct config_table *table, yaml_node_t *node)
{
    yaml_node_t *on_stale = config_tree_value(rules->tree, node, "on_stale");
    yaml_node_t *max_stale = config_tree_value(rules->tree, node, "max_stale");
    const uint32_t idle_ms = 10000;  /* a quiet feed says so that often (source_feed.h) */
    const uint32_t verify_ms = 2000; /* a quiet database is asked about once a second at most */
    uint32_t pause_ms = table->refresh.every_ms;
    if (table->refresh.mode == CONFIG_REFRESH_NOTIFIED)
        pause_ms += verify_ms;
    if (table->refresh.mode == CONFIG_REFRESH_FEED && pause_ms < idle_ms)
        pause_ms = idle_ms;
    if (on_stale && !max_stale && table->on_stale == CONFIG_ON_STALE_FAIL)
        config_complain(rules->complaints, AT(on_stale), "on_stale: fail needs 'max_stale'");
    if (max_stale && table->max_stale_ms && table->max_stale_ms <= pause_ms)
        config_warn(rules->complaints, AT(max_stale),
                    "max_stale is not longer than the pause between refreshes: the table will "
                    "be stale although all is well");
}

static void check_group(struct rules *rules, unsigned n, yaml_node_t *node)
{
    const struct config_table *table = &rules->config->tables[n];
    for (unsigned i = 0; i < n; i++) {
        const struct config_table *first = &rules->config->tables[i];
        if (!same(first->group, table->group) || same(first->name, table->name))
            continue;
        if (first->source && table->source && first->source != table->source)
            config_complain(
                rules->complaints, AT(value_or_self(rules, node, "source")),
                "tables of one group come from one source: '%s' of group '%s' is from '%s'",
                first->name ? first->name : "?", table->group, first->source_name);
        else if (first->refresh.every_ms != table->refresh.every_ms)
            config_complain(
                rules->complaints, AT(value_or_self(rules, node, "refresh")),
                "tables of one group are refreshed together: refresh.every must be the same as "
                "of '%s' of group '%s'",
                first->name ? first->name : "?", table->group);
        else if ((first->refresh.mode == CONFIG_REFRESH_FEED) !=
                 (table->refresh.mode == CONFIG_REFRESH_FEED))
            config_complain(
                rules->complaints, AT(value_or_self(rules, node, "refresh")),
                "tables of one group follow one feed: refresh.mode is feed for all of group '%s' "
                "or for none, as for '%s'",
                table->group, first->name ? first->name : "?");
        return;
    }
}

static void check_table(struct rules *rules, unsigned n)
{
    const struct config_table *tables = rules->config->tables;
    const struct config_table *table = &tables[n];
    yaml_node_t *node = list_node(rules, "tables", n);
    for (unsigned i = 0; i < n; i++) {
        if (same(tables[i].name, table->name)) {
            config_complain(rules->complaints, AT(value_or_self(rules, node, "name")),
                            "table '%s' exists already, on line %u", table->name, tables[i].line);
            break;
        }
    }
    if (table->name && table->name[0] == '_')
        config_complain(rules->complaints, AT(value_or_self(rules, node, "name")),
                        "a table's name cannot begin with '_': such names are Sidepond's own");
    check_reference(rules, table, node);
    check_selection(rules, table, node);
    check_columns(rules, table, table->key, value_or_self(rules, node, "key"), "key");
    check_indexes(rules, table, node);
    check_refresh(rules, table, node);
    check_stale(rules, table, node);
    check_group(rules, n, node);
    if (table->max_row_bytes > rules->config->memory_bytes)
        config_complain(rules->complaints, AT(value_or_self(rules, node, "max_row")),
                        "max_row is more than the pond's memory");
}

void config_rules_check(const struct config *config, struct tree *tree,
                        struct complaints *complaints)
{
    struct rules rules = {.config = config, .tree = tree, .complaints = complaints};
    yaml_node_t *http = config_tree_value(tree, config_tree_root(tree), "http");
    if (config->http_listen && !config_is_loopback(config->http_listen))
        config_warn(complaints, AT(value_or_self(&rules, http, "listen")),
                    "http listens beyond this host, and asks nobody for a password");
    config_cache_rules_check(config, tree, complaints);
    config_ring_rules_check(config, tree, complaints);
    config_agent_rules_check(config, tree, complaints);
    for (unsigned i = 0; i < config->source_count; i++)
        check_source(&rules, i);
    for (unsigned i = 0; i < config->table_count; i++)
        check_table(&rules, i);
}
