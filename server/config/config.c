/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c - from a file to struct config.
 *
 *   bytes -> tree (libyaml: places) -> check (shape and values, all complaints)
 *         -> schema (libcyaml: loads what has the right shape)
 *         -> build (struct config) -> rules (between values)
 *
 * A file with any complaint but warnings gives no struct config. Limits: FILE_BYTES_MAX.
 */
#include "server/config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/config/build.h"
#include "server/config/check.h"
#include "server/config/complaints.h"
#include "server/config/rules.h"
#include "server/config/schema.h"
#include "server/config/tree.h"

enum { FILE_BYTES_MAX = 1 << 20 };

/* What config_load hands out: the struct and what owns its memory. */
struct loaded {
    struct config config; /* first: config_free finds the rest by it */
    struct schema *schema;
    struct arena arena;
};

static int load_tree(const char *path, const char *data, size_t size, struct tree *tree,
                     struct complaints *complaints, struct loaded *loaded)
{
    const struct slot *slots;
    if (!config_check(tree, complaints))
        return SP_ECONFIG;
    int status = config_schema_load(data, size, complaints, &loaded->schema, &slots);
    if (status == SP_OK)
        status = config_build(&loaded->arena, path, slots, tree, &loaded->config);
    if (status == SP_OK)
        config_rules_check(&loaded->config, tree, complaints);
    return status;
}

static int load_document(const char *path, const char *data, size_t size,
                         struct complaints *complaints, struct config **out)
{
    struct tree tree;
    struct loaded *loaded = calloc(1, sizeof(*loaded));
    if (!loaded)
        return SP_ENOMEM;
    int status = SP_ECONFIG;
    if (!config_tree_parse(&tree, data, size, complaints))
        goto drop;
    status = load_tree(path, data, size, &tree, complaints, loaded);
    config_tree_free(&tree);
    if (status == SP_OK && complaints->error_count > 0)
        status = SP_ECONFIG;
    if (status != SP_OK)
        goto drop;
    *out = &loaded->config;
    return SP_OK;
drop:
    config_free(&loaded->config);
    return status;
}

int config_load_buffer(const char *path, const char *data, size_t size, FILE *complaints,
                       struct config **out)
{
    *out = NULL;
    struct complaints *list = calloc(1, sizeof(*list));
    if (!list)
        return SP_ENOMEM;
    int status = SP_ECONFIG;
    if (size > FILE_BYTES_MAX)
        config_complain(list, 0, 0, "too large: more than %d bytes", FILE_BYTES_MAX);
    else
        status = load_document(path, data, size, list, out);
    if (status == SP_ENOMEM)
        config_complain(list, 0, 0, "out of memory");
    config_complaints_print(list, path, complaints);
    config_complaints_free(list);
    free(list);
    return status;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    struct loaded *loaded = (struct loaded *)config;
    config_arena_free(&loaded->arena);
    config_schema_free(loaded->schema);
    free(loaded);
}

const struct config_table *config_first_of_group(const struct config *config, const char *group)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (strcmp(config->tables[i].group, group) == 0)
            return &config->tables[i];
    return NULL;
}

unsigned config_group_size(const struct config *config, const char *group)
{
    unsigned size = 0;
    for (unsigned i = 0; i < config->table_count; i++)
        size += strcmp(config->tables[i].group, group) == 0;
    return size;
}

/* Reads up to one byte more than is allowed, so that too much is seen. */
static int read_file(const char *path, char **data, size_t *size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return SP_ESYS;
    int status = SP_OK;
    *data = malloc(FILE_BYTES_MAX + 1);
    *size = *data ? fread(*data, 1, FILE_BYTES_MAX + 1, file) : 0;
    if (!*data)
        status = SP_ENOMEM;
    else if (ferror(file))
        status = SP_ESYS;
    int saved = errno;
    fclose(file);
    errno = saved;
    return status;
}

int config_load(const char *path, FILE *complaints, struct config **out)
{
    char *data = NULL;
    size_t size = 0;
    *out = NULL;
    int status = read_file(path, &data, &size);
    if (status == SP_OK)
        status = config_load_buffer(path, data, size, complaints, out);
    else if (complaints)
        fprintf(complaints, "%s: cannot be read: %s\n", path, strerror(errno));
    free(data);
    return status;
}
