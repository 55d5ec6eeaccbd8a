/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_scan.c - `sidepond scan TABLE`: all rows of a table at one version, in no order.
 *
 * Rows are printed as they are read. Only a table on a terminal is held back: the first rows decide
 * about the widths of the columns. The snapshot lasts as long as the reader of the output takes; if
 * the daemon's lease_limit passes meanwhile, the scan ends with an error and exit code 4.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "json.h"
#include "table.h"

#define ROWS_FOR_WIDTHS 200

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_TSV };

struct scan {
    struct tool *tool;
    const char *name;
    struct sp_table *table;
    const struct sp_schema *schema;
    enum format format;
    bool all_columns;
    size_t column_count;
    size_t *columns;
    const char **headers;
    size_t *widths;
    struct filter filters[FILTERS_MAX];
    size_t filter_count;
    uint64_t limit;
    uint64_t printed;
    struct text_table text;
};

static enum format format_chosen(const struct tool *tool)
{
    const char *format = tool_option(tool, "format");
    if (tool->json)
        return FORMAT_JSON;
    if (format == NULL)
        return tool->terminal ? FORMAT_TABLE : FORMAT_TSV;
    return strcmp(format, "json") == 0  ? FORMAT_JSON
           : strcmp(format, "csv") == 0 ? FORMAT_CSV
           : strcmp(format, "tsv") == 0 ? FORMAT_TSV
                                        : FORMAT_TABLE;
}

static int columns_take(struct scan *scan, const char *list)
{
    scan->column_count = 0;
    while (*list != '\0') {
        size_t size = strcspn(list, ",");
        char *name = strndup(list, size);
        if (name == NULL || scan->column_count == TABLE_COLUMNS_MAX) {
            free(name);
            tool_error("--columns: too many columns");
            return TOOL_USAGE;
        }
        int code = tool_column(scan->schema, scan->name, name, &scan->columns[scan->column_count]);
        free(name);
        if (code != TOOL_OK)
            return code;
        scan->column_count++;
        list += size + (list[size] == ',');
    }
    if (scan->column_count > 0)
        return TOOL_OK;
    tool_error("--columns: no column; write them with commas between");
    return TOOL_USAGE;
}

static int columns_choose(struct scan *scan)
{
    const char *list = tool_option(scan->tool, "columns");
    scan->columns = calloc(TABLE_COLUMNS_MAX, sizeof *scan->columns);
    scan->headers = calloc(TABLE_COLUMNS_MAX, sizeof *scan->headers);
    scan->widths = calloc(TABLE_COLUMNS_MAX, sizeof *scan->widths);
    if (scan->columns == NULL || scan->headers == NULL || scan->widths == NULL)
        return tool_failed(SP_ENOMEM, "columns");
    scan->all_columns = list == NULL;
    scan->column_count = sp_schema_column_count(scan->schema);
    if (scan->column_count > TABLE_COLUMNS_MAX)
        scan->column_count = TABLE_COLUMNS_MAX;
    for (size_t i = 0; i < scan->column_count; i++)
        scan->columns[i] = i;
    int code = list != NULL ? columns_take(scan, list) : TOOL_OK;
    for (size_t i = 0; code == TOOL_OK && i < scan->column_count; i++) {
        struct sp_column_info info;
        int status = sp_schema_column(scan->schema, scan->columns[i], &info);
        if (status != SP_OK)
            return tool_failed(status, "column %zu", scan->columns[i]);
        scan->headers[i] = info.name;
    }
    return code;
}

/* RFC 4180: quotes where needed; NULL is empty, the empty text is "". */
static void csv_print(const char *text, size_t size)
{
    bool plain = size > 0;
    for (size_t i = 0; i < size && plain; i++)
        plain = memchr(",\"\r\n", text[i], 4) == NULL && text[i] != '\0';
    if (plain) {
        fwrite(text, 1, size, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            putchar('"');
        putchar(text[i]);
    }
    putchar('"');
}

/* Tab, line end, carriage return and backslash as \t \n \r \\; NULL is \N. */
static void tsv_print(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char *special = "\t\n\r\\";
        const char *at = text[i] != '\0' ? strchr(special, text[i]) : NULL;
        if (at != NULL) {
            putchar('\\');
            putchar("tnr\\"[at - special]);
        } else {
            putchar(text[i]);
        }
    }
}

static void line_header(const struct scan *scan)
{
    for (size_t i = 0; i < scan->column_count; i++) {
        const char *name = scan->headers[i];
        if (i > 0)
            putchar(scan->format == FORMAT_CSV ? ',' : '\t');
        if (scan->format == FORMAT_CSV)
            csv_print(name, strlen(name));
        else
            tsv_print(name, strlen(name));
    }
    fputs(scan->format == FORMAT_CSV ? "\r\n" : "\n", stdout);
}

static int cell_print(struct scan *scan, const struct sp_value *value)
{
    size_t size;
    if (scan->format == FORMAT_TABLE) {
        char *text = text_value(value, true);
        if (text == NULL)
            return SP_ENOMEM;
        text_cell(&scan->text, value->is_null ? TEXT_DIM : TEXT_PLAIN, "%s", text);
        free(text);
        return SP_OK;
    }
    if (value->is_null) {
        if (scan->format == FORMAT_TSV)
            fputs("\\N", stdout);
        return SP_OK;
    }
    char *text =
        value->type == SP_TYPE_BYTES ? text_value(value, false) : text_value_raw(value, &size);
    if (text == NULL)
        return SP_ENOMEM;
    if (value->type == SP_TYPE_BYTES)
        size = strlen(text);
    if (scan->format == FORMAT_CSV)
        csv_print(text, size);
    else
        tsv_print(text, size);
    free(text);
    return SP_OK;
}

static int row_print(struct scan *scan, const struct sp_view *view)
{
    if (scan->format == FORMAT_JSON)
        return scan->all_columns ? json_view_print(view)
                                 : json_columns_print(view, scan->columns, scan->column_count);
    for (size_t i = 0; i < scan->column_count; i++) {
        struct sp_value value;
        int status = sp_view_column(view, scan->columns[i], &value);
        if (status == SP_OK && i > 0 && scan->format != FORMAT_TABLE)
            putchar(scan->format == FORMAT_CSV ? ',' : '\t');
        if (status == SP_OK)
            status = cell_print(scan, &value);
        if (status != SP_OK)
            return tool_failed(status, "column \"%s\"", scan->headers[i]);
    }
    if (scan->format != FORMAT_TABLE)
        fputs(scan->format == FORMAT_CSV ? "\r\n" : "\n", stdout);
    else if (scan->printed + 1 >= ROWS_FOR_WIDTHS)
        text_table_print(&scan->text, scan->widths, scan->printed + 1 == ROWS_FOR_WIDTHS);
    return TOOL_OK;
}

static int rows_print(struct scan *scan, struct sp_snapshot *snapshot, struct sp_scan *rows)
{
    struct sp_view view;
    int status = SP_ENOTFOUND, code = TOOL_OK;
    while (scan->printed < scan->limit && (status = sp_scan_next(rows, &view)) == SP_OK) {
        bool matches;
        status = filter_match(scan->filters, scan->filter_count, &view, &matches);
        if (status != SP_OK)
            break;
        if (!matches)
            continue;
        code = row_print(scan, &view);
        if (code != TOOL_OK)
            return code;
        scan->printed++;
        if (ferror(stdout))
            return TOOL_FAILED;
    }
    if (scan->format == FORMAT_TABLE && scan->printed < ROWS_FOR_WIDTHS)
        text_table_print(&scan->text, scan->widths, true);
    if (status == SP_OK || status == SP_ENOTFOUND)
        status = sp_snapshot_check(snapshot);
    return status == SP_OK ? TOOL_OK : tool_failed(status, "table \"%s\"", scan->name);
}

static int scan_run(struct scan *scan)
{
    struct sp_snapshot *snapshot = NULL;
    struct sp_scan *rows = NULL;
    int code;
    int status = sp_snapshot_begin(scan->tool->pond, &snapshot);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, scan->table, &rows);
    text_table_init(&scan->text, scan->tool, scan->column_count, scan->headers, NULL);
    if (status != SP_OK) {
        code = tool_failed(status, "table \"%s\"", scan->name);
    } else {
        if (scan->format == FORMAT_CSV || scan->format == FORMAT_TSV)
            line_header(scan);
        code = rows_print(scan, snapshot, rows);
    }
    text_table_free(&scan->text);
    sp_scan_end(rows);
    sp_snapshot_end(snapshot);
    return code;
}

int tool_scan(struct tool *tool)
{
    struct scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL)
        return tool_failed(SP_ENOMEM, "scan");
    scan->tool = tool;
    scan->name = tool->args[0];
    scan->format = format_chosen(tool);
    int code = tool_option_count(tool, "limit", 1, UINT64_MAX, &scan->limit);
    if (code == TOOL_OK)
        code = tool_open(tool);
    if (code == TOOL_OK)
        code = tool_table(tool, scan->name, &scan->table);
    if (code == TOOL_OK) {
        int status = sp_table_schema(scan->table, &scan->schema);
        code = status == SP_OK ? TOOL_OK : tool_failed(status, "table \"%s\"", scan->name);
    }
    if (code == TOOL_OK)
        code = columns_choose(scan);
    if (code == TOOL_OK)
        code = filter_parse_all(tool, scan->schema, scan->name, scan->filters, &scan->filter_count);
    if (code == TOOL_OK)
        code = scan_run(scan);
    free(scan->columns);
    free(scan->headers);
    free(scan->widths);
    free(scan);
    return code;
}
