/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_get.c - `sidepond get TABLE KEY...`: one row by its key, or the rows that match an index.
 *
 * By key the row is copied; by an index the rows are read through a snapshot, because there may be
 * several of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"

struct get {
    struct tool *tool;
    const char *name;
    struct sp_table *table;
    const struct sp_schema *schema;
    int index; /* -1: the primary key */
    const char *column;
    bool raw;
    size_t printed;
};

static int value_print(const struct get *get, const struct sp_value *value)
{
    size_t size = 0;
    char *text;
    if (get->raw && value->is_null)
        return TOOL_OK;
    if (get->raw)
        text = text_value_raw(value, &size);
    else
        text = text_value(value, get->tool->terminal);
    if (text == NULL)
        return tool_failed(SP_ENOMEM, "value");
    if (get->raw) {
        fwrite(text, 1, size, stdout);
    } else {
        puts(text);
    }
    free(text);
    return TOOL_OK;
}

/* A field of the row's document, by its path. */
static int field_print(const struct get *get, const struct sp_view *view)
{
    struct sp_value value;
    int status = sp_view_field(view, get->column, &value);
    if (status == SP_ENOTFOUND) {
        tool_error("the row has no column and no field \"%s\"", get->column);
        return TOOL_NO;
    }
    if (status != SP_OK)
        return tool_failed(status, "field \"%s\"", get->column);
    return get->tool->json ? json_value_print(get->column, &value) : value_print(get, &value);
}

static bool has_document(const struct sp_schema *schema)
{
    struct sp_column_info info;
    for (size_t i = 0; i < sp_schema_column_count(schema); i++)
        if (sp_schema_column(schema, i, &info) == SP_OK && info.type == SP_TYPE_BSON)
            return true;
    return false;
}

static int column_print(const struct get *get, const struct sp_view *view)
{
    size_t column;
    struct sp_value value;
    if (sp_schema_find_column(view->schema, get->column) < 0 && has_document(view->schema))
        return field_print(get, view);
    int code = tool_column(view->schema, get->name, get->column, &column);
    if (code != TOOL_OK)
        return code;
    if (get->tool->json)
        return json_columns_print(view, &column, 1);
    int status = sp_view_column(view, column, &value);
    if (status != SP_OK)
        return tool_failed(status, "column \"%s\"", get->column);
    return value_print(get, &value);
}

static int row_print(const struct get *get, const struct sp_view *view)
{
    static const char *const headers[] = {"COLUMN", "VALUE"};
    struct text_table out;
    if (get->printed > 0)
        putchar('\n');
    text_table_init(&out, get->tool, 2, headers, NULL);
    for (size_t i = 0; i < sp_schema_column_count(view->schema); i++) {
        struct sp_column_info info;
        struct sp_value value;
        int status = sp_schema_column(view->schema, i, &info);
        if (status == SP_OK)
            status = sp_view_column(view, i, &value);
        if (status != SP_OK) {
            text_table_free(&out);
            return tool_failed(status, "column %zu of \"%s\"", i, get->name);
        }
        char *text = text_value(&value, true);
        text_cell(&out, TEXT_CYAN, "%s", info.name);
        text_cell(&out, value.is_null ? TEXT_DIM : TEXT_PLAIN, "%s", text != NULL ? text : "?");
        free(text);
    }
    text_table_print(&out, NULL, false);
    text_table_free(&out);
    return TOOL_OK;
}

static int view_print(struct get *get, const struct sp_view *view)
{
    int code = TOOL_OK;
    if (get->column != NULL)
        code = column_print(get, view);
    else if (get->raw)
        fwrite(view->value, 1, view->value_bytes, stdout);
    else if (get->tool->json)
        code = json_view_print(view);
    else
        code = row_print(get, view);
    get->printed++;
    return code;
}

static int get_by_key(struct get *get, const struct sp_value *values, size_t count)
{
    struct sp_row *row = sp_row_new();
    struct sp_view view;
    if (row == NULL)
        return tool_failed(SP_ENOMEM, "row");
    int status = sp_get_row(get->table, values, count, row);
    int code;
    if (status == SP_OK) {
        sp_row_bytes(row, &view.key, &view.key_bytes, &view.value, &view.value_bytes);
        view.schema = sp_row_schema(row);
        code = view_print(get, &view);
    } else if (status == SP_ENOTFOUND) {
        tool_error("no such key in table \"%s\"", get->name);
        code = TOOL_NO;
    } else if (status == SP_ETYPE) {
        code = tool_key_misfit(get->schema, get->name, -1, get->tool->args + 1, count);
    } else {
        code = tool_failed(status, "table \"%s\"", get->name);
    }
    sp_row_free(row);
    return code;
}

static int scan_print(struct get *get, struct sp_snapshot *snapshot, struct sp_scan *scan)
{
    struct sp_view view;
    int status, code = TOOL_OK;
    while (code == TOOL_OK && (status = sp_scan_next(scan, &view)) == SP_OK)
        code = view_print(get, &view);
    if (code != TOOL_OK)
        return code;
    if (status == SP_ENOTFOUND)
        status = sp_snapshot_check(snapshot);
    if (status != SP_OK)
        return tool_failed(status, "table \"%s\"", get->name);
    if (get->printed > 0)
        return TOOL_OK;
    tool_error("no row of table \"%s\" matches", get->name);
    return TOOL_NO;
}

static int get_by_index(struct get *get, const struct sp_value *values, size_t count)
{
    static unsigned char key[SP_KEY_BYTES_MAX];
    size_t key_bytes = 0;
    struct sp_snapshot *snapshot = NULL;
    struct sp_scan *scan = NULL;
    int code, status;
    status = sp_key_encode(get->schema, get->index, values, count, key, sizeof key, &key_bytes);
    if (status == SP_ETYPE)
        return tool_key_misfit(get->schema, get->name, get->index, get->tool->args + 1, count);
    if (status != SP_OK)
        return tool_failed(status, "key");
    status = sp_snapshot_begin(get->tool->pond, &snapshot);
    if (status == SP_OK)
        status = sp_find_begin(snapshot, get->table, (size_t)get->index, key, key_bytes, &scan);
    if (status == SP_OK)
        code = scan_print(get, snapshot, scan);
    else
        code = tool_failed(status, "table \"%s\"", get->name);
    sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    return code;
}

int tool_get(struct tool *tool)
{
    struct get get = {.tool = tool, .name = tool->args[0], .index = -1};
    struct sp_value values[TOOL_KEY_VALUES_MAX];
    const char *index = tool_option(tool, "index");
    int count = tool->arg_count - 1;
    get.column = tool_option(tool, "column");
    get.raw = tool_option(tool, "raw") != NULL;
    int code = tool_open(tool);
    if (code == TOOL_OK)
        code = tool_table(tool, get.name, &get.table);
    if (code != TOOL_OK)
        return code;
    int status = sp_table_schema(get.table, &get.schema);
    if (status != SP_OK)
        return tool_failed(status, "table \"%s\"", get.name);
    if (index != NULL)
        code = tool_index(get.schema, get.name, index, &get.index);
    if (code == TOOL_OK)
        code = tool_key_values(get.schema, get.name, get.index, tool->args + 1, count, values);
    if (code != TOOL_OK)
        return code;
    if (get.index < 0)
        return get_by_key(&get, values, (size_t)count);
    return get_by_index(&get, values, (size_t)count);
}
