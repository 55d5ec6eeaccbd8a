/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.c - one YAML document by libyaml.
 *
 * Aliases make the document a graph: an alias may be used many times ("a billion laughs") or inside
 * itself. Both are refused here, by counting nodes as if each alias were written out, before anyone
 * walks the tree. Cost: linear in the file. Limits: TREE_NODES_MAX nodes with aliases written out,
 * of these TREE_ALIASED_MAX by aliases, TREE_DEPTH_MAX levels. libcyaml keeps what an anchor stands
 * for, and copies it as it grows: with many aliases of aliases that is a square of what they stand
 * for.
 */
#include "server/config/tree.h"

#include <stdlib.h>
#include <string.h>

enum { TREE_NODES_MAX = 100000, TREE_ALIASED_MAX = 10000, TREE_DEPTH_MAX = 32 };

static void complain_parser(struct complaints *complaints, const yaml_parser_t *parser,
                            const char *data)
{
    const char *problem = parser->problem ? parser->problem : "unknown fault";
    if (parser->error == YAML_MEMORY_ERROR) {
        config_complain(complaints, 0, 0, "out of memory");
        return;
    }
    if (parser->error == YAML_READER_ERROR) {
        unsigned line = 1;
        size_t start = 0;
        for (size_t i = 0; i < parser->problem_offset; i++) {
            if (data[i] == '\n') {
                line++;
                start = i + 1;
            }
        }
        config_complain(complaints, line, (unsigned)(parser->problem_offset - start) + 1,
                        "this is not YAML: %s", problem);
        return;
    }
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    unsigned column = (unsigned)parser->problem_mark.column + 1;
    if (strcmp(problem, "found character that cannot start any token") == 0)
        config_complain(
            complaints, line, column,
            "this is not YAML: a value cannot begin like this; indent with spaces, not tabs, "
            "and put quotes around values that begin with @, ` or %%");
    else if (parser->context)
        config_complain(complaints, line, column, "this is not YAML: %s (%s, from line %zu)",
                        problem, parser->context, parser->context_mark.line + 1);
    else
        config_complain(complaints, line, column, "this is not YAML: %s", problem);
}

struct expansion {
    struct tree *tree;
    struct complaints *complaints;
    unsigned *sizes; /* by node id; 0: not yet known */
};

static unsigned expand(struct expansion *expansion, int id, unsigned depth);

static unsigned expand_children(struct expansion *expansion, const yaml_node_t *node,
                                unsigned depth)
{
    unsigned total = 1;
    if (node->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *item = node->data.sequence.items.start;
             total < TREE_NODES_MAX && item < node->data.sequence.items.top; item++)
            total += expand(expansion, *item, depth + 1);
    } else if (node->type == YAML_MAPPING_NODE) {
        for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             total < TREE_NODES_MAX && pair < node->data.mapping.pairs.top; pair++)
            total +=
                expand(expansion, pair->key, depth + 1) + expand(expansion, pair->value, depth + 1);
    }
    return total;
}

/* The nodes below and with this one, with aliases written out; TREE_NODES_MAX if too many or too
 * deep, as a node inside itself is. */
static unsigned expand(struct expansion *expansion, int id, unsigned depth)
{
    if (depth > TREE_DEPTH_MAX)
        return TREE_NODES_MAX;
    unsigned *size = &expansion->sizes[id];
    if (*size == 0) {
        unsigned total = expand_children(expansion, config_tree_node(expansion->tree, id), depth);
        *size = total < TREE_NODES_MAX ? total : TREE_NODES_MAX;
    }
    return *size;
}

static bool check_expansion(struct tree *tree, struct complaints *complaints)
{
    size_t count = (size_t)(tree->document.nodes.top - tree->document.nodes.start);
    struct expansion expansion = {.tree = tree, .complaints = complaints};
    expansion.sizes = calloc(count + 1, sizeof(expansion.sizes[0]));
    if (!expansion.sizes) {
        config_complain(complaints, 0, 0, "out of memory");
        return false;
    }
    unsigned size = expand(&expansion, 1, 1);
    bool good = size < TREE_NODES_MAX && size <= count + TREE_ALIASED_MAX;
    if (!good)
        config_complain(complaints, 1, 1,
                        "too large: more than %d values or %d levels, or %d values by aliases",
                        TREE_NODES_MAX, TREE_DEPTH_MAX, TREE_ALIASED_MAX);
    free(expansion.sizes);
    return good;
}

static bool check_end(yaml_parser_t *parser, struct complaints *complaints, const char *data)
{
    yaml_document_t next;
    if (!yaml_parser_load(parser, &next)) {
        complain_parser(complaints, parser, data);
        return false;
    }
    yaml_node_t *root = yaml_document_get_root_node(&next);
    if (root)
        config_complain(complaints, config_tree_line(root), config_tree_column(root),
                        "a second document begins here; a configuration is one document");
    yaml_document_delete(&next);
    return !root;
}

static bool parse_document(struct tree *tree, yaml_parser_t *parser, const char *data,
                           struct complaints *complaints)
{
    if (!yaml_parser_load(parser, &tree->document)) {
        complain_parser(complaints, parser, data);
        return false;
    }
    if (!config_tree_root(tree)) {
        config_complain(complaints, 0, 0, "the file is empty; it needs sources and tables");
        goto drop;
    }
    if (check_end(parser, complaints, data) && check_expansion(tree, complaints))
        return true;
drop:
    yaml_document_delete(&tree->document);
    return false;
}

bool config_tree_parse(struct tree *tree, const char *data, size_t size,
                       struct complaints *complaints)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        config_complain(complaints, 0, 0, "out of memory");
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)data, size);
    bool good = parse_document(tree, &parser, data, complaints);
    yaml_parser_delete(&parser);
    return good;
}

void config_tree_free(struct tree *tree)
{
    yaml_document_delete(&tree->document);
}

yaml_node_t *config_tree_root(struct tree *tree)
{
    return yaml_document_get_root_node(&tree->document);
}

yaml_node_t *config_tree_node(struct tree *tree, int id)
{
    return yaml_document_get_node(&tree->document, id);
}

yaml_node_t *config_tree_value(struct tree *tree, yaml_node_t *node, const char *key)
{
    if (!node || node->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const char *text = config_tree_text(config_tree_node(tree, pair->key));
        if (text && strcmp(text, key) == 0)
            return config_tree_node(tree, pair->value);
    }
    return NULL;
}

yaml_node_t *config_tree_item(struct tree *tree, yaml_node_t *node, unsigned n)
{
    if (!node || node->type != YAML_SEQUENCE_NODE)
        return NULL;
    yaml_node_item_t *item = node->data.sequence.items.start + n;
    return item < node->data.sequence.items.top ? config_tree_node(tree, *item) : NULL;
}

unsigned config_tree_line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

unsigned config_tree_column(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.column + 1;
}

const char *config_tree_text(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

bool config_tree_is_null(const yaml_node_t *node)
{
    const char *text = config_tree_text(node);
    return text && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}
