/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.h - conditions on rows from the command line: "state=paid", "total>=100", "name!=x".
 */
#ifndef SIDEPOND_TOOL_FILTER_H
#define SIDEPOND_TOOL_FILTER_H

#include "tool.h"

enum filter_operator { FILTER_EQ, FILTER_NE, FILTER_LT, FILTER_LE, FILTER_GT, FILTER_GE };

struct filter {
    size_t column;
    enum filter_operator operator;
    bool numeric;       /* compare as numbers */
    long double number; /* the constant, if numeric */
    const char *text;   /* the constant */
};

#define FILTERS_MAX 32

/* Reads all --where options. */
int filter_parse_all(const struct tool *tool, const struct sp_schema *schema, const char *table,
                     struct filter filters[FILTERS_MAX], size_t *count);

/* Whether a row meets all conditions. A NULL meets none. SP_OK or why it cannot be told. */
int filter_match(const struct filter *filters, size_t count, const struct sp_view *view,
                 bool *matches);

#endif
