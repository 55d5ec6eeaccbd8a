/* SPDX-License-Identifier: Apache-2.0
 *
 * agent_rules.c - what must hold between the values of `agent`.
 */
#include <string.h>

#include "server/config/rules.h"

#define AT(node) config_tree_line(node), config_tree_column(node)

static yaml_node_t *place(struct tree *tree, yaml_node_t *node, const char *key)
{
    yaml_node_t *value = config_tree_value(tree, node, key);
    return value ? value : node;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static void check_node(const struct config_agent *agent, unsigned n, struct tree *tree,
                       yaml_node_t *node, struct complaints *complaints)
{
    const struct config_agent_node *nodes = agent->nodes;
    for (unsigned i = 0; i < n; i++) {
        if (same(nodes[i].name, nodes[n].name))
            config_complain(complaints, AT(place(tree, node, "name")),
                            "two nodes of the agent are called '%s'", nodes[n].name);
        if (same(nodes[i].address, nodes[n].address))
            config_complain(complaints, AT(place(tree, node, "address")),
                            "two nodes of the agent have the address %s", nodes[n].address);
    }
    if (nodes[n].user && !nodes[n].password_file)
        config_complain(complaints, AT(place(tree, node, "user")), "a user needs a password_file");
}

void config_agent_rules_check(const struct config *config, struct tree *tree,
                              struct complaints *complaints)
{
    const struct config_agent *agent = &config->agent;
    yaml_node_t *section = config_tree_value(tree, config_tree_root(tree), "agent");
    if (!section)
        return;
    if ((agent->slots & (agent->slots - 1)) != 0)
        config_complain(complaints, AT(place(tree, section, "slots")),
                        "agent.slots must be a power of two, not %u", agent->slots);
    if (!agent->zookeeper_user != !agent->zookeeper_password_file)
        config_complain(complaints, AT(section),
                        "zookeeper_user and zookeeper_password_file need each other");
    yaml_node_t *list = config_tree_value(tree, section, "nodes");
    for (unsigned i = 0; list && i < agent->node_count; i++)
        check_node(agent, i, tree, config_tree_item(tree, list, i), complaints);
}
