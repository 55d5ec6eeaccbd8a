/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - walks the document along the table of options and complains of all that does not fit.
 *
 * libcyaml stops at the first thing it dislikes and tells places only in a backtrace; this walk
 * sees the same table, finds everything at once and knows line and column. What it lets through,
 * libcyaml loads. Cost: linear in the file, with aliases written out.
 */
#include "server/config/check.h"

#include <string.h>

#include "server/config/options.h"
#include "server/config/values.h"

enum { PATH_BYTES = 160 };

struct check {
    struct tree *tree;
    struct complaints *complaints;
    bool loadable;
};

/* Keys that people try and that are near to none of ours. */
static const struct {
    const char *key, *hint;
} hints[] = {
    {"password", "; a password does not belong into this file: use password_file or password_env"},
    {"<<", "; merge keys are not supported: alias the values one by one"},
    {"interval", "; did you mean 'every'?"},
    {"database", "; did you mean 'source'?"},
    {"file", "; did you mean 'path'?"},
    {"primary_key", "; did you mean 'key'?"},
    {"mode", "; did you mean 'refresh: {mode: ...}'?"},
    {"every", "; did you mean 'refresh: {every: ...}'?"},
};

static void check_section(struct check *check, const struct section *section, yaml_node_t *node,
                          const char *path);

/* "in PATH", or nothing at the top. */
static const char *inside(const char *path, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s%s", *path ? " in " : "", path);
    return out;
}

static void complain_unknown(struct check *check, const struct section *section,
                             const yaml_node_t *node, const char *key, const char *path)
{
    char q[QUOTED_BYTES];
    char where[PATH_BYTES];
    char hint[128] = "";
    const char *near = config_option_near(section, key);
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (strcmp(hints[i].key, key) == 0)
            snprintf(hint, sizeof(hint), "%s", hints[i].hint);
    if (!*hint && near)
        snprintf(hint, sizeof(hint), "; did you mean '%s'?", near);
    config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                    "unknown key %s%s%s", config_quote(key, q), inside(path, where), hint);
}

static void wrong_shape(struct check *check, const yaml_node_t *node, const char *path,
                        const char *expected)
{
    check->loadable = false;
    config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                    "%s%smust be %s", path, *path ? " " : "the file ", expected);
}

static bool check_scalar(struct check *check, const struct option *option, const yaml_node_t *node,
                         const char *path)
{
    struct value value;
    char why[VALUE_WHY_BYTES];
    const char *text = config_tree_text(node);
    if (!text) {
        wrong_shape(check, node, path, "a single value");
        return false;
    }
    if (config_tree_is_null(node)) {
        config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                        "%s has no value; leave the key out for the default", path);
        return false;
    }
    if (strlen(text) != node->data.scalar.length) {
        config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                        "%s holds a zero byte", path);
        return false;
    }
    if (config_value_parse(option, text, &value, why))
        return true;
    config_complain(check->complaints, config_tree_line(node), config_tree_column(node), "%s %s",
                    path, why);
    return false;
}

static void check_repeated_items(struct check *check, yaml_node_t *node, unsigned n,
                                 const char *path)
{
    char q[QUOTED_BYTES];
    yaml_node_t *item = config_tree_item(check->tree, node, n);
    for (unsigned i = 0; i < n; i++) {
        const char *earlier = config_tree_text(config_tree_item(check->tree, node, i));
        if (earlier && strcmp(earlier, config_tree_text(item)) == 0) {
            config_complain(check->complaints, config_tree_line(item), config_tree_column(item),
                            "%s names %s twice", path, config_quote(earlier, q));
            return;
        }
    }
}

static bool check_count(struct check *check, const struct option *option, const yaml_node_t *node,
                        const char *path)
{
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count < option->min) {
        config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                        "%s must have at least one entry", path);
    } else if (count > option->max) {
        check->loadable = false;
        config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                        "%s must have at most %u entries, not %zu", path, (unsigned)option->max,
                        count);
        return false;
    }
    return true;
}

static void check_list(struct check *check, const struct option *option, yaml_node_t *node,
                       const char *path)
{
    char item_path[PATH_BYTES];
    if (node->type != YAML_SEQUENCE_NODE) {
        const char *text = config_tree_text(node);
        char expected[QUOTED_BYTES + 32] = "a list";
        if (text && *text && strlen(text) < QUOTED_BYTES)
            snprintf(expected, sizeof(expected), "a list: [%s]", text);
        wrong_shape(check, node, path, option->section ? "a list of mappings" : expected);
        return;
    }
    if (!check_count(check, option, node, path))
        return;
    yaml_node_t *item;
    for (unsigned i = 0; (item = config_tree_item(check->tree, node, i)); i++) {
        snprintf(item_path, sizeof(item_path), "%.140s[%u]", path, i);
        if (option->section)
            check_section(check, option->section, item, item_path);
        else if (check_scalar(check, option, item, item_path))
            check_repeated_items(check, node, i, path);
    }
}

static void check_option(struct check *check, const struct option *option, yaml_node_t *node,
                         const char *path)
{
    switch (option->kind) {
    case OPTION_LIST:
    case OPTION_LISTENS:
    case OPTION_SECTIONS:
        check_list(check, option, node, path);
        break;
    case OPTION_SECTION:
        check_section(check, option->section, node, path);
        break;
    default:
        check_scalar(check, option, node, path);
        break;
    }
}

static void check_pair(struct check *check, const struct section *section, yaml_node_t *key,
                       yaml_node_t *value, uint32_t *seen, const char *path)
{
    char below[PATH_BYTES];
    char where[PATH_BYTES];
    const char *text = config_tree_text(key);
    if (!text || strlen(text) != key->data.scalar.length) {
        wrong_shape(check, key, path, "a mapping with plain keys");
        return;
    }
    const struct option *option = config_option_find(section, text);
    if (!option) {
        complain_unknown(check, section, key, text, path);
        return;
    }
    uint32_t bit = UINT32_C(1) << (option - section->options);
    if (*seen & bit) {
        check->loadable = false;
        config_complain(check->complaints, config_tree_line(key), config_tree_column(key),
                        "'%s' is given twice%s", text, inside(path, where));
        return;
    }
    *seen |= bit;
    snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", text);
    check_option(check, option, value, below);
}

static void check_section(struct check *check, const struct section *section, yaml_node_t *node,
                          const char *path)
{
    uint32_t seen = 0;
    if (node->type != YAML_MAPPING_NODE) {
        char expected[64];
        snprintf(expected, sizeof(expected), "a mapping, such as {%s: ...}",
                 section->options[0].key);
        wrong_shape(check, node, path, expected);
        return;
    }
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++)
        check_pair(check, section, config_tree_node(check->tree, pair->key),
                   config_tree_node(check->tree, pair->value), &seen, path);
    for (unsigned i = 0; i < section->option_count; i++)
        if (section->options[i].required && !(seen & UINT32_C(1) << i))
            config_complain(check->complaints, config_tree_line(node), config_tree_column(node),
                            "%s%sneeds '%s'", path, *path ? " " : "the file ",
                            section->options[i].key);
}

bool config_check(struct tree *tree, struct complaints *complaints)
{
    struct check check = {.tree = tree, .complaints = complaints, .loadable = true};
    check_section(&check, &config_options, config_tree_root(tree), "");
    return check.loadable;
}
