/* SPDX-License-Identifier: Apache-2.0
 *
 * table.h - text for people: aligned tables, sizes, ages, colours.
 */
#ifndef SIDEPOND_TOOL_TABLE_H
#define SIDEPOND_TOOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tool.h"

#define TABLE_COLUMNS_MAX 1024

enum text_color { TEXT_PLAIN, TEXT_BOLD, TEXT_DIM, TEXT_RED, TEXT_GREEN, TEXT_YELLOW, TEXT_CYAN };

struct text_cell {
    char *text;
    enum text_color color;
};

/* Rows are collected, then printed: aligned under a header on a terminal, else one line a row with
 * tabs between the cells. */
struct text_table {
    const struct tool *tool;
    FILE *out; /* standard output, if nothing else is set after text_table_init */
    size_t column_count;
    const char *const *headers;
    const char *aligns; /* one 'l' or 'r' a column; NULL: all left */
    struct text_cell *cells;
    size_t cell_count;
    size_t cell_room;
    bool failed; /* out of memory */
};

void text_table_init(struct text_table *table, const struct tool *tool, size_t column_count,
                     const char *const *headers, const char *aligns);
/* The next cell of the current row. */
void text_cell(struct text_table *table, enum text_color color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints and forgets the rows; the widths of `widths` (may be NULL; column_count numbers, zero at
 * first) are kept and grown from call to call. */
void text_table_print(struct text_table *table, size_t *widths, bool header);
void text_table_free(struct text_table *table);

/* Escape sequences, "" where colours are off. */
const char *text_color_on(const struct tool *tool, enum text_color color);
const char *text_color_off(const struct tool *tool);

/* 1234567 -> "1,234,567" on a terminal, else "1234567". Each returns `out`. */
#define TEXT_BYTES 40
const char *text_count(const struct tool *tool, uint64_t number, char out[TEXT_BYTES]);
const char *text_size(uint64_t bytes, char out[TEXT_BYTES]);
const char *text_age(uint64_t ms, char out[TEXT_BYTES]);
/* "fresh, stale, following". */
const char *text_table_state(const struct sp_table_info *info, char out[TEXT_BYTES]);
const char *text_time(int64_t unix_ms, char out[TEXT_BYTES]); /* ISO 8601, UTC; "never" for 0 */
/* "[######......]", `part` of `whole` in `width` characters. `out` has room for width + 3. */
const char *text_bar(uint64_t part, uint64_t whole, size_t width, char *out);

/* Text that may hold anything made harmless for a line of a terminal: control characters and what
 * is not UTF-8 as \n, \t, \x1b. NULL if out of memory; to be freed. */
char *text_escape(const char *text, size_t size);
/* A value for people: its text, escaped; bytes as \x…; "NULL". NULL if out of memory. */
char *text_value(const struct sp_value *value, bool escape);
/* The same without escaping and with its size (bytes that are bytes stay as they are). */
char *text_value_raw(const struct sp_value *value, size_t *size);

#endif
