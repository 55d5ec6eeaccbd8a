/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_rules.c - what must hold between the values of `ring`: that there is a cache to be reached,
 * one way to learn of the other nodes, and that this node is as the list of all says.
 */
#include <stdio.h>
#include <string.h>

#include "client/ring/map.h"
#include "server/config/rules.h"
#include "server/config/values.h"

#define AT(node) config_tree_line(node), config_tree_column(node)

struct ring_rules {
    const struct config *config;
    const struct config_ring *ring;
    struct tree *tree;
    struct complaints *complaints;
    yaml_node_t *section;
};

static yaml_node_t *place(const struct ring_rules *rules, yaml_node_t *node, const char *key)
{
    yaml_node_t *value = config_tree_value(rules->tree, node, key);
    return value ? value : node;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Whether it can be in a map. */
static void check_as_node(const struct ring_rules *rules, const struct config_ring_node *from,
                          yaml_node_t *at)
{
    char why[RING_WHY_BYTES] = "";
    struct ring_node node = {.weight = (uint16_t)from->weight, .start = 1};
    snprintf(node.name, sizeof(node.name), "%s", from->name);
    snprintf(node.address, sizeof(node.address), "%s", from->address);
    snprintf(node.zone, sizeof(node.zone), "%s", from->zone ? from->zone : "");
    if (ring_node_check(&node, why) != SP_OK)
        config_complain(rules->complaints, AT(at), "ring: %s", why);
}

static void check_source(const struct ring_rules *rules)
{
    const struct config_ring *ring = rules->ring;
    if (ring->zookeeper && ring->node_count > 0)
        config_complain(rules->complaints, AT(place(rules, rules->section, "nodes")),
                        "ring.nodes and ring.zookeeper exclude each other: the nodes are listed "
                        "here, or found there");
    else if (!ring->zookeeper && ring->node_count == 0)
        config_complain(rules->complaints, AT(rules->section),
                        "ring needs 'zookeeper', or 'nodes', a list of all nodes");
    if (!ring->zookeeper_user != !ring->zookeeper_password_file)
        config_complain(rules->complaints, AT(rules->section),
                        "ring.zookeeper_user and ring.zookeeper_password_file need each other");
    if ((ring->slots & (ring->slots - 1)) != 0)
        config_complain(rules->complaints, AT(place(rules, rules->section, "slots")),
                        "ring.slots must be a power of two, not %u", ring->slots);
    if (ring->user && !ring->password_file)
        config_complain(rules->complaints, AT(place(rules, rules->section, "user")),
                        "ring.user needs ring.password_file");
}

static void check_list(const struct ring_rules *rules)
{
    const struct config_ring_node *nodes = rules->ring->nodes;
    yaml_node_t *list = config_tree_value(rules->tree, rules->section, "nodes");
    const struct config_ring_node *self = NULL;
    for (unsigned n = 0; list && n < rules->ring->node_count; n++) {
        yaml_node_t *item = config_tree_item(rules->tree, list, n);
        for (unsigned i = 0; i < n; i++) {
            if (same(nodes[i].name, nodes[n].name))
                config_complain(rules->complaints, AT(place(rules, item, "name")),
                                "two nodes of the ring are called '%s'", nodes[n].name);
            if (same(nodes[i].address, nodes[n].address))
                config_complain(rules->complaints, AT(place(rules, item, "address")),
                                "two nodes of the ring have the address %s", nodes[n].address);
        }
        if (nodes[n].name && nodes[n].address)
            check_as_node(rules, &nodes[n], item);
        self = same(nodes[n].name, rules->ring->node) ? &nodes[n] : self;
    }
    if (!list)
        return;
    if (!self)
        config_complain(rules->complaints, AT(rules->section),
                        "ring.nodes does not have this node: set ring.node to its name in the "
                        "list, or ring.address to its address there");
    else if (rules->ring->address && !same(self->address, rules->ring->address))
        config_complain(rules->complaints, AT(place(rules, rules->section, "address")),
                        "ring.address is %s, but ring.nodes has %s for '%s'", rules->ring->address,
                        self->address, self->name);
}

static const char *port_of(const char *address)
{
    const char *colon = config_socket_path(address) ? NULL : strrchr(address, ':');
    return colon ? colon : address;
}

/* The address may be one that leads here from elsewhere; but then its port is listened on, as a
 * rule. */
static void check_listens(const struct ring_rules *rules)
{
    const char *address = rules->ring->address;
    const struct config_cache *cache = &rules->config->cache;
    bool found = same(config_socket_path(address), cache->socket);
    for (unsigned i = 0; cache->listen && cache->listen[i]; i++)
        found |= same(port_of(cache->listen[i]), port_of(address));
    if (!found && (!cache->listen || !cache->listen[0]))
        config_complain(rules->complaints, AT(place(rules, rules->section, "address")),
                        "nobody reaches ring.address %s: set cache.listen to an address without "
                        "TLS",
                        address);
    else if (!found)
        config_warn(rules->complaints, AT(place(rules, rules->section, "address")),
                    "cache.listen has no address with the port of ring.address %s; is it "
                    "forwarded?",
                    address);
}

void config_ring_rules_check(const struct config *config, struct tree *tree,
                             struct complaints *complaints)
{
    struct ring_rules rules = {
        .config = config, .ring = &config->ring, .tree = tree, .complaints = complaints};
    rules.section = config_tree_value(tree, config_tree_root(tree), "ring");
    if (!rules.section)
        return;
    if (!config->cache.enabled)
        config_complain(complaints, AT(rules.section), "ring needs a 'cache'");
    check_source(&rules);
    check_list(&rules);
    if (!config->ring.address) {
        if (config->ring.node_count == 0)
            config_complain(complaints, AT(rules.section),
                            "ring needs 'address': where nodes and clients reach this one");
        return;
    }
    const struct config_ring_node self = {.name = config->ring.node,
                                          .address = config->ring.address,
                                          .zone = config->ring.zone,
                                          .weight = config->ring.weight};
    if (config->ring.node_count == 0)
        check_as_node(&rules, &self, rules.section);
    if (config->cache.enabled)
        check_listens(&rules);
}
