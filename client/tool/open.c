/* SPDX-License-Identifier: Apache-2.0
 *
 * open.c - finds ponds, tables, columns and keys for the subcommands, and says what there is
 * instead when a name is wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "alloc/region.h"
#include "tool.h"

static const char *pond_root(void)
{
    const char *root = getenv("SIDEPOND_ROOT");
    return root != NULL && root[0] != '\0' ? root : "/dev/shm/sidepond";
}

static const char *pond_name(const struct tool *tool)
{
    const char *name = tool->pond_name != NULL ? tool->pond_name : getenv("SIDEPOND");
    return name != NULL && name[0] != '\0' ? name : "main";
}

void tool_directory(const struct tool *tool, char out[TOOL_PATH_BYTES])
{
    if (region_directory(pond_name(tool), out, TOOL_PATH_BYTES) != SP_OK)
        out[0] = '\0';
}

/* The ponds under the root directory, "a, b"; "none" if there is none. */
static void ponds_list(char *out, size_t cap)
{
    size_t used = 0;
    DIR *directory = opendir(pond_root());
    snprintf(out, cap, "none");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[TOOL_PATH_BYTES];
        struct stat about;
        int size = snprintf(path, sizeof path, "%s/%s/pond", pond_root(), entry->d_name);
        if (entry->d_name[0] == '.' || size >= (int)sizeof path || stat(path, &about) != 0)
            continue;
        size = snprintf(out + used, cap - used, "%s%s", used > 0 ? ", " : "", entry->d_name);
        if (size < 0 || (size_t)size >= cap - used)
            break;
        used += (size_t)size;
    }
    if (directory != NULL)
        closedir(directory);
}

static int no_pond(const struct tool *tool)
{
    const char *name = pond_name(tool);
    char ponds[1024];
    ponds_list(ponds, sizeof ponds);
    if (strchr(name, '/') != NULL)
        tool_error("no pond in the directory %s; is sidepondd running?", name);
    else
        tool_error("no pond \"%s\" in %s; is sidepondd running? ponds here: %s", name, pond_root(),
                   ponds);
    return TOOL_UNAVAILABLE;
}

int tool_find(const struct tool *tool)
{
    char directory[TOOL_PATH_BYTES], path[TOOL_PATH_BYTES + 8];
    struct stat about;
    tool_directory(tool, directory);
    snprintf(path, sizeof path, "%s/pond", directory);
    return stat(path, &about) != 0 && errno == ENOENT ? no_pond(tool) : TOOL_OK;
}

static int no_access(const struct tool *tool)
{
    char directory[TOOL_PATH_BYTES], path[TOOL_PATH_BYTES + 8];
    struct stat about;
    struct group *group = NULL;
    tool_directory(tool, directory);
    snprintf(path, sizeof path, "%s/pond", directory);
    if (stat(path, &about) == 0 || stat(directory, &about) == 0)
        group = getgrgid(about.st_gid);
    if (group == NULL)
        tool_error("may not read %s: %s", path, sp_error_detail());
    else
        tool_error("may not read %s; its readers are the members of the group %s", path,
                   group->gr_name);
    return TOOL_UNAVAILABLE;
}

int tool_open(struct tool *tool)
{
    int status = sp_open(pond_name(tool), NULL, &tool->pond);
    switch (status) {
    case SP_OK:
        return TOOL_OK;
    case SP_ENOPOND:
        return no_pond(tool);
    case SP_EACCESS:
        return no_access(tool);
    case SP_ENOTREADY:
        tool_error("pond \"%s\" is loading: nothing has been committed yet; the log of sidepondd "
                   "says what it waits for",
                   pond_name(tool));
        return TOOL_UNAVAILABLE;
    default:
        return tool_failed(status, "cannot open pond \"%s\"", pond_name(tool));
    }
}

int tool_table_names(struct tool *tool, const char ***names, size_t *count)
{
    *names = calloc(SP_TABLES_MAX, sizeof **names);
    if (*names == NULL)
        return tool_failed(SP_ENOMEM, "tables");
    *count = sp_table_names(tool->pond, *names, SP_TABLES_MAX);
    if (*count > SP_TABLES_MAX)
        *count = SP_TABLES_MAX;
    return TOOL_OK;
}

static void no_table(struct tool *tool, const char *name)
{
    const char **names;
    size_t count = 0;
    if (tool_table_names(tool, &names, &count) != TOOL_OK)
        return;
    tool_error("no table \"%s\"; tables here:", name);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  %s\n", names[i]);
    free(names);
}

int tool_table(struct tool *tool, const char *name, struct sp_table **out)
{
    const struct sp_schema *schema;
    int status = sp_table_open(tool->pond, name, out);
    if (status == SP_OK && sp_table_schema(*out, &schema) == SP_ENOTREADY) {
        tool_error("table \"%s\" is loading: nothing of it has been committed yet; the log of "
                   "sidepondd says what it waits for",
                   name);
        return TOOL_UNAVAILABLE;
    }
    if (status == SP_OK)
        return TOOL_OK;
    if (status != SP_ENOTABLE)
        return tool_failed(status, "table \"%s\"", name);
    no_table(tool, name);
    return TOOL_USAGE;
}

bool tool_table_info(struct tool *tool, const char *name, struct sp_table_info *out)
{
    struct sp_table *table;
    *out = (struct sp_table_info)SP_TABLE_INFO_INIT;
    return sp_table_open(tool->pond, name, &table) == SP_OK && sp_table_info(table, out) == SP_OK;
}

int tool_column(const struct sp_schema *schema, const char *table, const char *name, size_t *column)
{
    int found = sp_schema_find_column(schema, name);
    if (found >= 0) {
        *column = (size_t)found;
        return TOOL_OK;
    }
    tool_error("no column \"%s\" in table \"%s\"; its columns:", name, table);
    for (size_t i = 0; i < sp_schema_column_count(schema); i++) {
        struct sp_column_info info;
        if (sp_schema_column(schema, i, &info) == SP_OK)
            fprintf(stderr, "  %s %s\n", info.name, sp_type_name(info.type));
    }
    return TOOL_USAGE;
}

int tool_index(const struct sp_schema *schema, const char *table, const char *name, int *index)
{
    *index = sp_schema_find_index(schema, name);
    if (*index >= 0)
        return TOOL_OK;
    size_t count = sp_schema_index_count(schema);
    tool_error("no index \"%s\" in table \"%s\"; %s", name, table,
               count > 0 ? "its indexes:" : "it has none (they are declared in the configuration)");
    for (size_t i = 0; i < count; i++) {
        struct sp_index_info info;
        if (sp_schema_index(schema, i, &info) == SP_OK)
            fprintf(stderr, "  %s\n", info.name);
    }
    return TOOL_USAGE;
}

static int bool_parse(const char *word, struct sp_value *out)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "f", "t"};
    for (int i = 0; i < 8; i++)
        if (strcasecmp(word, words[i]) == 0) {
            *out = sp_bool(i % 2);
            return SP_OK;
        }
    return SP_ETYPE;
}

/* The library reads text for every type, of booleans fewer words. */
static int word_parse(const struct sp_schema *schema, int index, size_t i, enum sp_type type,
                      const char *word, struct sp_value *out)
{
    static unsigned char scratch[TOOL_KEY_VALUES_MAX][16]; /* the one key of this command */
    if (type == SP_TYPE_BOOL)
        return bool_parse(word, out);
    return sp_key_parse(schema, index, i, word, strlen(word), scratch[i], out);
}

static size_t key_value_count(const struct sp_schema *schema, int index)
{
    struct sp_index_info info = {0};
    if (index < 0)
        return sp_schema_key_count(schema);
    return sp_schema_index(schema, (size_t)index, &info) == SP_OK ? info.column_count : 0;
}

static void key_columns_print(const struct sp_schema *schema, int index)
{
    size_t count = key_value_count(schema, index);
    for (size_t i = 0; i < count; i++) {
        size_t column;
        struct sp_column_info info;
        if (sp_schema_index_column(schema, index, i, &column) == SP_OK &&
            sp_schema_column(schema, column, &info) == SP_OK)
            fprintf(stderr, "  %s %s\n", info.name, sp_type_name(info.type));
    }
}

int tool_key_misfit(const struct sp_schema *schema, const char *table, int index, char **words,
                    size_t count)
{
    if (count == 1)
        tool_error("\"%s\" does not fit the key of \"%s\":", words[0], table);
    else
        tool_error("these %zu values do not fit the key of \"%s\":", count, table);
    key_columns_print(schema, index);
    return TOOL_USAGE;
}

int tool_key_values(const struct sp_schema *schema, const char *table, int index, char **words,
                    int count, struct sp_value values[TOOL_KEY_VALUES_MAX])
{
    size_t expected = key_value_count(schema, index);
    if ((size_t)count != expected || expected > TOOL_KEY_VALUES_MAX) {
        tool_error("a key of \"%s\" has %zu value%s:", table, expected, expected == 1 ? "" : "s");
        key_columns_print(schema, index);
        return TOOL_USAGE;
    }
    for (int i = 0; i < count; i++) {
        size_t column;
        struct sp_column_info info;
        int status = sp_schema_index_column(schema, index, (size_t)i, &column);
        if (status == SP_OK)
            status = sp_schema_column(schema, column, &info);
        if (status != SP_OK)
            return tool_failed(status, "key of \"%s\"", table);
        if (word_parse(schema, index, (size_t)i, info.type, words[i], &values[i]) != SP_OK) {
            tool_error("\"%s\" is not a value of the key column %s (%s)", words[i], info.name,
                       sp_type_name(info.type));
            return TOOL_USAGE;
        }
    }
    return TOOL_OK;
}
