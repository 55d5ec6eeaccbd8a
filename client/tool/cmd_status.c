/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_status.c - `sidepond status`: the pond, its daemon, its memory, its tables and their
 * feeds at a glance.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "feeds.h"
#include "json.h"
#include "table.h"

static json_t *status_json(const struct tool *tool, const struct sp_pond_info *info)
{
    char directory[TOOL_PATH_BYTES];
    tool_directory(tool, directory);
    return json_pack("{s:s, s:s, s:s, s:I, s:{s:I, s:b, s:o}, s:{s:I, s:I, s:I, s:I}}", "pond",
                     info->name, "directory", directory, "state", sp_pond_state_text(info->state),
                     "version", (json_int_t)info->version, "daemon", "pid",
                     (json_int_t)info->writer_pid, "alive", info->writer_alive,
                     "heartbeat_age_seconds", json_seconds(info->heartbeat_age_ms), "memory",
                     "limit_bytes", (json_int_t)info->limit_bytes, "committed_bytes",
                     (json_int_t)info->committed_bytes, "used_bytes", (json_int_t)info->used_bytes,
                     "free_bytes", (json_int_t)info->free_bytes);
}

static json_t *tables_json(struct tool *tool, const char **names, size_t count)
{
    json_t *tables = json_array();
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info;
        if (tool_table_info(tool, names[i], &info))
            json_array_append_new(tables, json_table(names[i], &info));
    }
    return tables;
}

static void daemon_print(const struct tool *tool, const struct sp_pond_info *info)
{
    char age[TEXT_BYTES];
    bool beats = info->heartbeat_age_ms != UINT64_MAX;
    text_age(info->heartbeat_age_ms, age);
    if (info->writer_alive)
        printf("daemon  %salive%s, pid %" PRId64 "%s%s%s\n", text_color_on(tool, TEXT_GREEN),
               text_color_off(tool), info->writer_pid, beats ? ", heartbeat " : "",
               beats ? age : "", beats ? " ago" : "");
    else
        printf("daemon  %snot running%s%s%s%s: the data stays readable, but is not refreshed\n",
               text_color_on(tool, TEXT_RED), text_color_off(tool), beats ? ", last seen " : "",
               beats ? age : "", beats ? " ago" : "");
}

static void memory_print(const struct tool *tool, const struct sp_pond_info *info)
{
    char committed[TEXT_BYTES], limit[TEXT_BYTES], used[TEXT_BYTES], spare[TEXT_BYTES], bar[32];
    double part = info->limit_bytes > 0
                      ? 100.0 * (double)info->committed_bytes / (double)info->limit_bytes
                      : 0;
    if (tool->terminal)
        printf("memory  %s%s%s ",
               text_color_on(tool, part > 90   ? TEXT_RED
                                   : part > 75 ? TEXT_YELLOW
                                               : TEXT_GREEN),
               text_bar(info->committed_bytes, info->limit_bytes, 24, bar), text_color_off(tool));
    else
        printf("memory  ");
    printf("%s of %s (%.0f %%); in use %s, free for reuse %s\n",
           text_size(info->committed_bytes, committed), text_size(info->limit_bytes, limit), part,
           text_size(info->used_bytes, used), text_size(info->free_bytes, spare));
}

static enum text_color state_color(const struct sp_table_info *info)
{
    if (info->stale || info->state == SP_TABLE_HELD)
        return TEXT_RED;
    return info->state == SP_TABLE_FRESH ? TEXT_GREEN : TEXT_YELLOW;
}

static void table_row(struct text_table *out, const char *name, const struct sp_table_info *info)
{
    char text[TEXT_BYTES];
    text_cell(out, TEXT_CYAN, "%s", name);
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, info->rows, text));
    text_cell(out, state_color(info), "%s", text_table_state(info, text));
    text_cell(out, TEXT_PLAIN, "%s", text_age(info->age_ms, text));
    text_cell(out, TEXT_PLAIN, "%s", text_time(info->changed_at_ms, text));
    text_cell(out, TEXT_PLAIN, "%" PRIu64, info->version);
    text_cell(out, TEXT_PLAIN, "%s", text_size(info->memory_bytes, text));
}

static void tables_print(struct tool *tool, const char **names, size_t count)
{
    static const char *const headers[] = {"TABLE",   "ROWS",    "STATE", "AGE",
                                          "CHANGED", "VERSION", "MEMORY"};
    struct text_table out;
    text_table_init(&out, tool, 7, headers, "lrlrrrr");
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info;
        if (tool_table_info(tool, names[i], &info))
            table_row(&out, names[i], &info);
    }
    putchar('\n');
    text_table_print(&out, NULL, true);
    text_table_free(&out);
}

static int status_print(struct tool *tool, const struct sp_pond_info *info, const char **names,
                        size_t count, const struct feeds *feeds)
{
    char directory[TOOL_PATH_BYTES];
    tool_directory(tool, directory);
    printf("pond    %s%s%s in %s\n", text_color_on(tool, TEXT_BOLD), info->name,
           text_color_off(tool), directory);
    printf("state   %s, version %" PRIu64 "\n", sp_pond_state_text(info->state), info->version);
    daemon_print(tool, info);
    memory_print(tool, info);
    tables_print(tool, names, count);
    feeds_print(tool, feeds);
    return TOOL_OK;
}

int tool_status(struct tool *tool)
{
    struct sp_pond_info info = SP_POND_INFO_INIT;
    struct feeds feeds;
    const char **names;
    size_t count = 0;
    int code = tool_credentials(tool);
    if (code == TOOL_OK)
        code = tool_open(tool);
    if (code != TOOL_OK)
        return code;
    int status = sp_pond_info(tool->pond, &info);
    if (status != SP_OK)
        return tool_failed(status, "pond");
    code = tool_table_names(tool, &names, &count);
    if (code != TOOL_OK)
        return code;
    code = feeds_read(tool, &info, &feeds);
    if (code == TOOL_OK && tool->json) {
        json_t *json = status_json(tool, &info);
        json_object_set_new(json, "tables", tables_json(tool, names, count));
        json_object_set_new(json, "feeds", feeds_json(&feeds));
        json_object_set_new(json, "feeds_error",
                            feeds.why[0] != '\0' ? json_string(feeds.why) : json_null());
        code = json_print(json);
    } else if (code == TOOL_OK) {
        code = status_print(tool, &info, names, count, &feeds);
    }
    feeds_free(&feeds);
    free(names);
    return code;
}
