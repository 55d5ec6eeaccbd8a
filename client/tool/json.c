/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c - JSON output: one object or array a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"

int json_print(json_t *value)
{
    int failed =
        value == NULL || json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) != 0;
    json_decref(value);
    if (failed)
        return tool_failed(SP_ENOMEM, "JSON");
    putchar('\n');
    return TOOL_OK;
}

json_t *json_time(int64_t unix_ms)
{
    char text[TEXT_BYTES];
    return unix_ms == 0 ? json_null() : json_string(text_time(unix_ms, text));
}

json_t *json_seconds(uint64_t ms)
{
    return ms == UINT64_MAX ? json_null() : json_real((double)ms / 1000);
}

json_t *json_table(const char *name, const struct sp_table_info *info)
{
    json_t *feed =
        info->feed != SP_FEED_NONE ? json_string(sp_table_feed_text(info->feed)) : json_null();
    return json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:o, s:b, s:I, s:I, s:I}", "name",
        name, "state", sp_table_state_text(info->state), "feed", feed, "version",
        (json_int_t)info->version, "rows", (json_int_t)info->rows, "bytes", (json_int_t)info->bytes,
        "memory_bytes", (json_int_t)info->memory_bytes, "age_seconds", json_seconds(info->age_ms),
        "loaded_at", json_time(info->loaded_at_ms), "changed_at", json_time(info->changed_at_ms),
        "stale", info->stale, "max_stale_seconds",
        json_seconds(info->max_stale_ms > 0 ? info->max_stale_ms : UINT64_MAX), "fails_when_stale",
        info->fails_when_stale, "refreshes", (json_int_t)info->refresh_count, "failures",
        (json_int_t)info->failure_count, "changes", (json_int_t)info->change_count);
}

static int value_print(const struct sp_value *value)
{
    char small[512];
    size_t size = sp_value_json(value, small, sizeof small);
    if (size < sizeof small) {
        fwrite(small, 1, size, stdout);
        return TOOL_OK;
    }
    char *text = malloc(size + 1);
    if (text == NULL)
        return tool_failed(SP_ENOMEM, "JSON");
    size_t again = sp_value_json(value, text, size + 1);
    fwrite(text, 1, again < size ? again : size, stdout);
    free(text);
    return TOOL_OK;
}

int json_value_print(const char *name, const struct sp_value *value)
{
    struct sp_value text = sp_text(name, strlen(name));
    putchar('{');
    int code = value_print(&text);
    fputs(": ", stdout);
    if (code == TOOL_OK)
        code = value_print(value);
    puts("}");
    return code;
}

int json_columns_print(const struct sp_view *view, const size_t *columns, size_t count)
{
    int code = TOOL_OK;
    for (size_t i = 0; i < count && code == TOOL_OK; i++) {
        struct sp_column_info info;
        struct sp_value value;
        int status = sp_schema_column(view->schema, columns[i], &info);
        if (status == SP_OK)
            status = sp_view_column(view, columns[i], &value);
        if (status != SP_OK)
            return tool_failed(status, "column %zu", columns[i]);
        struct sp_value name = sp_text(info.name, strlen(info.name));
        fputs(i == 0 ? "{" : ", ", stdout);
        code = value_print(&name);
        fputs(": ", stdout);
        if (code == TOOL_OK)
            code = value_print(&value);
    }
    puts(count == 0 ? "{}" : "}");
    return code;
}

int json_view_print(const struct sp_view *view)
{
    char small[2048];
    size_t size = sp_view_json(view, small, sizeof small);
    if (size < sizeof small) {
        puts(small);
        return TOOL_OK;
    }
    char *text = malloc(size + 1);
    if (text == NULL)
        return tool_failed(SP_ENOMEM, "JSON");
    sp_view_json(view, text, size + 1);
    puts(text);
    free(text);
    return TOOL_OK;
}
