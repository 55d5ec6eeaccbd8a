/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_tables.c - `sidepond tables [NAME]`: which tables there are, and how one is made.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"

/* The column names of the key (index -1) or of an index, "a, b". */
static char *columns_text(const struct sp_schema *schema, int index, size_t count)
{
    char *out = NULL;
    size_t size;
    FILE *stream = open_memstream(&out, &size);
    for (size_t i = 0; stream != NULL && i < count; i++) {
        size_t column;
        struct sp_column_info info;
        if (sp_schema_index_column(schema, index, i, &column) == SP_OK &&
            sp_schema_column(schema, column, &info) == SP_OK)
            fprintf(stream, "%s%s", i > 0 ? ", " : "", info.name);
    }
    if (stream != NULL)
        fclose(stream);
    return out;
}

static json_t *columns_json(const struct sp_schema *schema, int index, size_t count)
{
    json_t *out = json_array();
    for (size_t i = 0; i < count; i++) {
        size_t column;
        struct sp_column_info info;
        if (sp_schema_index_column(schema, index, i, &column) == SP_OK &&
            sp_schema_column(schema, column, &info) == SP_OK)
            json_array_append_new(out, json_string(info.name));
    }
    return out;
}

static json_t *schema_json(const struct sp_schema *schema)
{
    json_t *columns = json_array(), *indexes = json_array();
    for (size_t i = 0; i < sp_schema_column_count(schema); i++) {
        struct sp_column_info info;
        if (sp_schema_column(schema, i, &info) == SP_OK)
            json_array_append_new(columns,
                                  json_pack("{s:s, s:s, s:b}", "name", info.name, "type",
                                            sp_type_name(info.type), "nullable", info.nullable));
    }
    for (size_t i = 0; i < sp_schema_index_count(schema); i++) {
        struct sp_index_info info;
        if (sp_schema_index(schema, i, &info) == SP_OK)
            json_array_append_new(
                indexes, json_pack("{s:s, s:b, s:o}", "name", info.name, "unique", info.unique,
                                   "columns", columns_json(schema, (int)i, info.column_count)));
    }
    return json_pack("{s:o, s:o, s:o}", "key",
                     columns_json(schema, -1, sp_schema_key_count(schema)), "columns", columns,
                     "indexes", indexes);
}

static int table_read(struct tool *tool, const char *name, struct sp_table_info *info,
                      const struct sp_schema **schema)
{
    struct sp_table *table;
    int code = tool_table(tool, name, &table);
    if (code != TOOL_OK)
        return code;
    int status = sp_table_schema(table, schema);
    if (status == SP_OK)
        status = sp_table_info(table, info);
    return status == SP_OK ? TOOL_OK : tool_failed(status, "table \"%s\"", name);
}

static void column_row(struct text_table *out, const struct sp_schema *schema, size_t i)
{
    struct sp_column_info info;
    if (sp_schema_column(schema, i, &info) != SP_OK)
        return;
    text_cell(out, TEXT_CYAN, "%s", info.name);
    text_cell(out, TEXT_PLAIN, "%s", sp_type_name(info.type));
    text_cell(out, TEXT_DIM, "%s", info.nullable ? "null" : "not null");
    if (info.key_position < 0)
        text_cell(out, TEXT_PLAIN, "-");
    else
        text_cell(out, TEXT_PLAIN, "%d", info.key_position + 1);
}

static void indexes_print(const struct tool *tool, const struct sp_schema *schema)
{
    for (size_t i = 0; i < sp_schema_index_count(schema); i++) {
        struct sp_index_info info;
        if (sp_schema_index(schema, i, &info) != SP_OK)
            continue;
        char *columns = columns_text(schema, (int)i, info.column_count);
        printf("index   %s%s%s on (%s)%s\n", text_color_on(tool, TEXT_CYAN), info.name,
               text_color_off(tool), columns != NULL ? columns : "?",
               info.unique ? ", unique" : "");
        free(columns);
    }
}

static int one_print(struct tool *tool, const char *name)
{
    static const char *const headers[] = {"COLUMN", "TYPE", "NULL", "KEY"};
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    const struct sp_schema *schema;
    struct text_table out;
    char rows[TEXT_BYTES], age[TEXT_BYTES], size[TEXT_BYTES], state[TEXT_BYTES];
    int code = table_read(tool, name, &info, &schema);
    if (code != TOOL_OK)
        return code;
    if (tool->json) {
        json_t *json = json_table(name, &info);
        json_t *shape = schema_json(schema);
        json_object_update(json, shape);
        json_decref(shape);
        return json_print(json);
    }
    printf("table   %s%s%s: %s rows, %s, %s, age %s\n", text_color_on(tool, TEXT_BOLD), name,
           text_color_off(tool), text_count(tool, info.rows, rows),
           text_size(info.memory_bytes, size), text_table_state(&info, state),
           text_age(info.age_ms, age));
    indexes_print(tool, schema);
    putchar('\n');
    text_table_init(&out, tool, 4, headers, NULL);
    for (size_t i = 0; i < sp_schema_column_count(schema); i++)
        column_row(&out, schema, i);
    text_table_print(&out, NULL, true);
    text_table_free(&out);
    return TOOL_OK;
}

static void list_row(struct text_table *out, const char *name, const struct sp_table_info *info,
                     const struct sp_schema *schema)
{
    char text[TEXT_BYTES];
    char *key = columns_text(schema, -1, sp_schema_key_count(schema));
    text_cell(out, TEXT_CYAN, "%s", name);
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, info->rows, text));
    text_cell(out, TEXT_PLAIN, "%s", key != NULL ? key : "?");
    text_cell(out, TEXT_PLAIN, "%zu", sp_schema_column_count(schema));
    text_cell(out, TEXT_PLAIN, "%zu", sp_schema_index_count(schema));
    text_cell(out, TEXT_PLAIN, "%s", text_size(info->memory_bytes, text));
    free(key);
}

static int list_print(struct tool *tool, const char **names, size_t count)
{
    static const char *const headers[] = {"TABLE", "ROWS", "KEY", "COLUMNS", "INDEXES", "MEMORY"};
    struct text_table out;
    json_t *list = json_array();
    int code = TOOL_OK;
    text_table_init(&out, tool, 6, headers, "lrlrrr");
    for (size_t i = 0; i < count && code == TOOL_OK; i++) {
        struct sp_table_info info = SP_TABLE_INFO_INIT;
        const struct sp_schema *schema;
        code = table_read(tool, names[i], &info, &schema);
        if (code == TOOL_OK && tool->json) {
            json_t *json = json_table(names[i], &info);
            json_t *shape = schema_json(schema);
            json_object_update(json, shape);
            json_decref(shape);
            json_array_append_new(list, json);
        } else if (code == TOOL_OK) {
            list_row(&out, names[i], &info, schema);
        }
    }
    if (code == TOOL_OK && tool->json)
        code = json_print(json_incref(list));
    else if (code == TOOL_OK)
        text_table_print(&out, NULL, true);
    json_decref(list);
    text_table_free(&out);
    return code;
}

int tool_tables(struct tool *tool)
{
    const char **names;
    size_t count = 0;
    int code = tool_open(tool);
    if (code != TOOL_OK)
        return code;
    if (tool->arg_count == 1)
        return one_print(tool, tool->args[0]);
    code = tool_table_names(tool, &names, &count);
    if (code != TOOL_OK)
        return code;
    if (tool_option(tool, "names") != NULL)
        for (size_t i = 0; i < count; i++)
            puts(names[i]);
    else
        code = list_print(tool, names, count);
    free(names);
    return code;
}
