/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h - JSON output of the tool. Rows come as JSON text from the library; everything else is
 * built with jansson.
 */
#ifndef SIDEPOND_TOOL_JSON_H
#define SIDEPOND_TOOL_JSON_H

#include <jansson.h>

#include "tool.h"

/* Prints a value on one line and releases it. NULL: out of memory. Gives the exit code. */
int json_print(json_t *value);

/* Unix milliseconds as an ISO 8601 string; null for 0. */
json_t *json_time(int64_t unix_ms);
/* Milliseconds as seconds; null for UINT64_MAX. */
json_t *json_seconds(uint64_t ms);

/* What `status`, `tables` and `watch` say of a table. */
json_t *json_table(const char *name, const struct sp_table_info *info);

/* {"name": value} on one line. */
int json_value_print(const char *name, const struct sp_value *value);
/* A row's chosen columns as a JSON object on one line. */
int json_columns_print(const struct sp_view *view, const size_t *columns, size_t count);
/* The whole row. */
int json_view_print(const struct sp_view *view);

#endif
