/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_rules.c - what must hold between the values of the cache and those around it: its share of
 * the memory, addresses that are each used once, and that nobody from another host gets in without
 * having said who he is.
 *
 * Cost: quadratic in the number of addresses, which the table of options limits.
 */
#include <string.h>

#include "server/config/rules.h"
#include "server/config/values.h"

enum { ADDRESSES_MAX = 34 }; /* two lists of 16, that of http, and the socket */

/* An address that is taken, and whose it is. */
struct taken {
    const char *address;
    const char *owner;
};

struct cache_rules {
    const struct config *config;
    struct tree *tree;
    struct complaints *complaints;
    yaml_node_t *cache, *tls; /* the sections; NULL if not given */
    struct taken taken[ADDRESSES_MAX];
    unsigned taken_count;
};

#define AT(node) config_tree_line(node), config_tree_column(node)

/* The value of a key, else the section itself: where a complaint about the key belongs. */
static yaml_node_t *place(struct cache_rules *rules, yaml_node_t *section, const char *key)
{
    yaml_node_t *value = config_tree_value(rules->tree, section, key);
    return value ? value : section;
}

static void check_memory(struct cache_rules *rules)
{
    char cache[VALUE_PRINT_BYTES];
    char pond[VALUE_PRINT_BYTES];
    uint64_t memory = rules->config->memory_bytes;
    const uint64_t least = UINT64_C(1) << 20;
    if (rules->config->cache.memory_bytes >= memory)
        config_complain(rules->complaints, AT(place(rules, rules->cache, "memory")),
                        "cache.memory must be less than the pond's memory: %s of %s",
                        config_print_size(rules->config->cache.memory_bytes, cache),
                        config_print_size(memory, pond));
    else if (rules->config->cache.memory_bytes < least)
        config_complain(rules->complaints, AT(rules->cache),
                        "cache needs at least 1MiB, and half of the pond's memory is %s; set "
                        "cache.memory, or more memory",
                        config_print_size(rules->config->cache.memory_bytes, cache));
}

static void take(struct cache_rules *rules, const char *address, const char *owner)
{
    if (address && rules->taken_count < ADDRESSES_MAX)
        rules->taken[rules->taken_count++] = (struct taken){address, owner};
}

/* Whether two texts name one place. Names of one place that differ are found when it is bound. */
static bool same_place(const char *a, const char *b)
{
    const char *a_path = config_socket_path(a);
    const char *b_path = config_socket_path(b);
    return strcmp(a_path ? a_path : a, b_path ? b_path : b) == 0;
}

static void check_taken(struct cache_rules *rules, const char *address, yaml_node_t *node,
                        const char *owner)
{
    char q[QUOTED_BYTES];
    for (unsigned i = 0; i < rules->taken_count; i++) {
        /* Twice in one list has been said already. */
        if (rules->taken[i].owner == owner || !same_place(rules->taken[i].address, address))
            continue;
        config_complain(rules->complaints, AT(node), "%s names %s, which %s has already", owner,
                        config_quote(address, q), rules->taken[i].owner);
        return;
    }
}

static bool beyond_host(const char *address)
{
    return !config_socket_path(address) && !config_is_loopback(address);
}

/* Whether it is an address at all; if not, that has been said. */
static bool is_address(const char *address)
{
    static const struct option option = {.kind = OPTION_LISTENS};
    struct value value;
    char why[VALUE_WHY_BYTES];
    return config_value_parse(&option, address, &value, why);
}

static void check_open(struct cache_rules *rules, const char *address, yaml_node_t *node,
                       const char *owner, bool has_tls)
{
    const struct config_cache *cache = &rules->config->cache;
    if (!beyond_host(address) || cache->users_file || cache->password_file)
        return;
    config_complain(rules->complaints, AT(node),
                    "%s: other hosts can reach %s, and nobody would be asked for a password; set "
                    "cache.password_file or cache.users_file%s, or listen on 127.0.0.1",
                    owner, address, has_tls ? ", or tls.clients: required" : "");
}

static void check_listens(struct cache_rules *rules, const char *const *list, yaml_node_t *section,
                          const char *owner, bool has_tls)
{
    yaml_node_t *node = config_tree_value(rules->tree, section, "listen");
    bool certified = has_tls && rules->config->cache.tls.clients == CONFIG_TLS_REQUIRED;
    for (unsigned i = 0; list && list[i]; i++) {
        yaml_node_t *item = config_tree_item(rules->tree, node, i);
        if (!item || !is_address(list[i]))
            continue;
        check_taken(rules, list[i], item, owner);
        take(rules, list[i], owner);
        if (!certified)
            check_open(rules, list[i], item, owner, has_tls);
    }
}

static void check_tls(struct cache_rules *rules)
{
    const struct config_tls *tls = &rules->config->cache.tls;
    if (tls->listen && !(tls->cert && tls->key))
        config_complain(rules->complaints, AT(place(rules, rules->tls, "listen")),
                        "cache.tls.listen needs '%s'",
                        tls->cert  ? "key"
                        : tls->key ? "cert"
                                   : "cert' and 'key");
    else if (!tls->cert != !tls->key)
        config_complain(rules->complaints, AT(place(rules, rules->tls, tls->cert ? "cert" : "key")),
                        "cache.tls.cert and cache.tls.key need each other");
    else if (!tls->listen)
        config_warn(rules->complaints, AT(rules->tls),
                    "cache.tls has no 'listen': nobody can connect with it");
    if (tls->clients != CONFIG_TLS_NONE && !tls->ca)
        config_complain(rules->complaints, AT(place(rules, rules->tls, "clients")),
                        "cache.tls.clients needs 'ca': who may sign their certificates");
}

static void check_users(struct cache_rules *rules)
{
    const struct config_cache *cache = &rules->config->cache;
    if (cache->users_file && cache->password_file)
        config_complain(rules->complaints, AT(place(rules, rules->cache, "password_file")),
                        "cache.password_file and cache.users_file exclude each other; give the "
                        "user 'default' his password in the users file");
}

static void check_socket(struct cache_rules *rules)
{
    const char *path = rules->config->cache.socket;
    if (strlen(path) > VALUE_SOCKET_PATH_MAX)
        config_complain(rules->complaints,
                        AT(place(rules, config_tree_root(rules->tree), "directory")),
                        "directory is too long for the cache: its socket %s has a path of %zu "
                        "bytes, and a Unix socket's has at most %d",
                        path, strlen(path), VALUE_SOCKET_PATH_MAX);
}

static void check_needed(const struct config *config, struct tree *tree,
                         struct complaints *complaints)
{
    static const char *const lists[] = {"sources", "tables"};
    yaml_node_t *root = config_tree_root(tree);
    for (unsigned i = 0; i < 2; i++)
        if (!config->cache.enabled && !config->agent.enabled &&
            !config_tree_value(tree, root, lists[i]))
            config_complain(complaints, AT(root),
                            "the file needs '%s', or a 'cache' for a pond without tables",
                            lists[i]);
}

void config_cache_rules_check(const struct config *config, struct tree *tree,
                              struct complaints *complaints)
{
    struct cache_rules rules = {.config = config, .tree = tree, .complaints = complaints};
    const struct config_cache *cache = &config->cache;
    check_needed(config, tree, complaints);
    rules.cache = config_tree_value(tree, config_tree_root(tree), "cache");
    rules.tls = config_tree_value(tree, rules.cache, "tls");
    if (!cache->enabled)
        return;
    check_memory(&rules);
    check_socket(&rules);
    check_users(&rules);
    take(&rules, config->http_listen, "http");
    take(&rules, cache->socket, "the pond's own socket");
    check_listens(&rules, cache->listen, rules.cache, "cache.listen", false);
    check_listens(&rules, cache->tls.listen, rules.tls, "cache.tls.listen", true);
    if (rules.tls)
        check_tls(&rules);
}
