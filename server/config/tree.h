/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.h - the YAML document with the place of each node, which libcyaml does not keep.
 */
#ifndef SIDEPOND_CONFIG_TREE_H
#define SIDEPOND_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "server/config/complaints.h"

struct tree {
    yaml_document_t document;
};

/* Parses the one document of `data`. On false the complaint is made and there is nothing to free.
 */
bool config_tree_parse(struct tree *tree, const char *data, size_t size,
                       struct complaints *complaints);
void config_tree_free(struct tree *tree);

/* The root node; never NULL after config_tree_parse. Nodes are the tree's. */
yaml_node_t *config_tree_root(struct tree *tree);

/* The node of an id as found in pairs and items. */
yaml_node_t *config_tree_node(struct tree *tree, int id);

/* The value of a key of a mapping, the n-th item of a sequence; NULL if there is none, or if `node`
 * is NULL or something else. */
yaml_node_t *config_tree_value(struct tree *tree, yaml_node_t *node, const char *key);
yaml_node_t *config_tree_item(struct tree *tree, yaml_node_t *node, unsigned n);

unsigned config_tree_line(const yaml_node_t *node);   /* from 1 */
unsigned config_tree_column(const yaml_node_t *node); /* from 1 */

/* The text of a scalar, NULL for what is none. */
const char *config_tree_text(const yaml_node_t *node);

/* An empty or null scalar, as after "key:" with nothing behind it. */
bool config_tree_is_null(const yaml_node_t *node);

#endif
