/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c - aligned tables on a terminal, tab-separated lines elsewhere.
 *
 * Cells are kept as text until the table is printed. Width is counted in code points, which is
 * right for all but wide and combining characters.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

static const char *const color_codes[] = {"",         "\033[1m",  "\033[2m", "\033[31m",
                                          "\033[32m", "\033[33m", "\033[36m"};

const char *text_color_on(const struct tool *tool, enum text_color color)
{
    return tool->color ? color_codes[color] : "";
}

const char *text_color_off(const struct tool *tool)
{
    return tool->color ? "\033[0m" : "";
}

void text_table_init(struct text_table *table, const struct tool *tool, size_t column_count,
                     const char *const *headers, const char *aligns)
{
    memset(table, 0, sizeof *table);
    table->tool = tool;
    table->out = stdout;
    table->column_count = column_count > 0 ? column_count : 1;
    table->headers = headers;
    table->aligns = aligns;
}

static bool room_for_cell(struct text_table *table)
{
    if (table->cell_count < table->cell_room)
        return true;
    size_t room = table->cell_room > 0 ? 2 * table->cell_room : 64;
    struct text_cell *cells = realloc(table->cells, room * sizeof *cells);
    if (cells == NULL) {
        table->failed = true;
        return false;
    }
    table->cells = cells;
    table->cell_room = room;
    return true;
}

void text_cell(struct text_table *table, enum text_color color, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    if (!room_for_cell(table))
        return;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        table->failed = true;
        text = NULL;
    }
    va_end(args);
    table->cells[table->cell_count].text = text;
    table->cells[table->cell_count++].color = color;
}

static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void widths_grow(const struct text_table *table, size_t *widths, bool header)
{
    for (size_t i = 0; header && i < table->column_count; i++)
        if (text_width(table->headers[i]) > widths[i])
            widths[i] = text_width(table->headers[i]);
    for (size_t i = 0; i < table->cell_count; i++) {
        const char *text = table->cells[i].text;
        size_t width = text != NULL ? text_width(text) : 0;
        if (width > widths[i % table->column_count])
            widths[i % table->column_count] = width;
    }
}

static void cell_print(const struct text_table *table, size_t column, const char *text,
                       enum text_color color, const size_t *widths)
{
    const struct tool *tool = table->tool;
    bool right = table->aligns != NULL && table->aligns[column] == 'r';
    bool last = column + 1 == table->column_count;
    size_t width = text_width(text);
    int pad = widths[column] > width ? (int)(widths[column] - width) : 0;
    const char *end = last ? "\n" : "  ";
    if (!tool->terminal) {
        fprintf(table->out, "%s%s%s%s", text_color_on(tool, color), text,
                color != TEXT_PLAIN ? text_color_off(tool) : "", last ? "\n" : "\t");
        return;
    }
    fprintf(table->out, "%*s%s%s%s", right ? pad : 0, "", text_color_on(tool, color), text,
            color != TEXT_PLAIN ? text_color_off(tool) : "");
    fprintf(table->out, "%*s%s", right || last ? 0 : pad, "", end);
}

void text_table_print(struct text_table *table, size_t *widths, bool header)
{
    static size_t own[TABLE_COLUMNS_MAX];
    if (table->column_count == 0)
        return;
    if (widths == NULL) {
        widths = own;
        memset(own, 0, sizeof own);
    }
    widths_grow(table, widths, header);
    for (size_t i = 0; header && i < table->column_count; i++)
        cell_print(table, i, table->headers[i], TEXT_BOLD, widths);
    for (size_t i = 0; i < table->cell_count; i++) {
        const struct text_cell *cell = &table->cells[i];
        cell_print(table, i % table->column_count, cell->text != NULL ? cell->text : "",
                   cell->color, widths);
        free(cell->text);
    }
    table->cell_count = 0;
    if (table->failed)
        tool_error("out of memory: the table above is not complete");
}

void text_table_free(struct text_table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i].text);
    free(table->cells);
    memset(table, 0, sizeof *table);
}
