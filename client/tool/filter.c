/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.c - conditions on rows.
 *
 * Integer, float, numeric and boolean columns compare as numbers (long double: exact for 64-bit
 * integers on x86-64, 113 bits on AArch64), everything else by the bytes of its text, which is the
 * order of time for dates and times. The table is walked whole; an index is not used.
 */
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "table.h"

static bool is_number(enum sp_type type)
{
    switch (type) {
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
    case SP_TYPE_FLOAT32:
    case SP_TYPE_FLOAT64:
    case SP_TYPE_NUMERIC:
        return true;
    default:
        return false;
    }
}

/* Where the operator begins and how long it is. */
static const char *operator_find(const char *text, enum filter_operator *operator, size_t * size)
{
    static const struct {
        const char *sign;
        enum filter_operator operator;
    } signs[] = {{"!=", FILTER_NE}, {"<=", FILTER_LE}, {">=", FILTER_GE},
                 {"=", FILTER_EQ},  {"<", FILTER_LT},  {">", FILTER_GT}};
    const char *at = text + strcspn(text, "!<>=");
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        *size = strlen(signs[i].sign);
        *operator= signs[i].operator;
        if (strncmp(at, signs[i].sign, *size) == 0)
            return at;
    }
    return NULL;
}

static int filter_parse(const struct sp_schema *schema, const char *table, const char *text,
                        struct filter *out)
{
    size_t size;
    struct sp_column_info info;
    const char *at = operator_find(text, &out->operator, & size);
    if (at == NULL || at == text) {
        tool_error("--where: \"%s\" is not a condition; write COLUMN=VALUE (or != < <= > >=)",
                   text);
        return TOOL_USAGE;
    }
    char *name = strndup(text, (size_t)(at - text));
    if (name == NULL)
        return tool_failed(SP_ENOMEM, "--where");
    int code = tool_column(schema, table, name, &out->column);
    free(name);
    if (code != TOOL_OK || sp_schema_column(schema, out->column, &info) != SP_OK)
        return TOOL_USAGE;
    char *end;
    out->text = at + size;
    out->numeric = is_number(info.type);
    out->number = strtold(out->text, &end);
    if (out->numeric && (end == out->text || *end != '\0')) {
        tool_error("--where: \"%s\" is not a number, and %s is %s", out->text, info.name,
                   sp_type_name(info.type));
        return TOOL_USAGE;
    }
    return TOOL_OK;
}

int filter_parse_all(const struct tool *tool, const struct sp_schema *schema, const char *table,
                     struct filter filters[FILTERS_MAX], size_t *count)
{
    const char *text;
    int cursor = 0;
    *count = 0;
    while ((text = tool_option_next(tool, "where", &cursor)) != NULL) {
        if (*count == FILTERS_MAX) {
            tool_error("--where: at most %d conditions", FILTERS_MAX);
            return TOOL_USAGE;
        }
        int code = filter_parse(schema, table, text, &filters[(*count)++]);
        if (code != TOOL_OK)
            return code;
    }
    return TOOL_OK;
}

static bool holds(enum filter_operator operator, bool less, bool equal)
{
    switch (operator) {
    case FILTER_EQ:
        return equal;
    case FILTER_NE:
        return !equal;
    case FILTER_LT:
        return less;
    case FILTER_LE:
        return less || equal;
    case FILTER_GT:
        return !less && !equal;
    default:
        return !less;
    }
}

static bool text_holds(const struct filter *filter, const char *text, size_t size)
{
    size_t other = strlen(filter->text);
    int order = memcmp(text, filter->text, size < other ? size : other);
    if (order == 0)
        order = size < other ? -1 : size > other;
    return holds(filter->operator, order<0, order == 0);
}

static int value_holds(const struct filter *filter, const struct sp_value *value, bool *matches)
{
    size_t size;
    char *text = text_value_raw(value, &size);
    if (text == NULL)
        return SP_ENOMEM;
    if (filter->numeric) {
        long double number = strtold(text, NULL);
        *matches = holds(filter->operator, number<filter->number, number == filter->number);
    } else {
        *matches = text_holds(filter, text, size);
    }
    free(text);
    return SP_OK;
}

int filter_match(const struct filter *filters, size_t count, const struct sp_view *view,
                 bool *matches)
{
    *matches = true;
    for (size_t i = 0; i < count && *matches; i++) {
        struct sp_value value;
        int status = sp_view_column(view, filters[i].column, &value);
        if (status != SP_OK)
            return status;
        if (value.is_null)
            *matches = false;
        else
            status = value_holds(&filters[i], &value, matches);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}
