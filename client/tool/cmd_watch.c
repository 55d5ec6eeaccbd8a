/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_watch.c - `sidepond watch`: the age of the tables, and what changes, live.
 *
 * It sleeps in sp_wait, so a commit shows at once and an idle pond costs a wake-up an interval. On
 * a terminal the picture is drawn anew each time; elsewhere every commit that changes a table is a
 * line. Commits that follow each other faster than they are read are one line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"

struct seen {
    const char *name;
    uint64_t version;
    uint64_t rows;
};

struct watch {
    struct tool *tool;
    uint32_t interval_ms;
    uint64_t count; /* end after so many commits */
    uint64_t commits;
    uint64_t version;
    struct seen *seen;
    size_t seen_count;
};

static struct seen *seen_find(struct watch *watch, const char *name)
{
    for (size_t i = 0; i < watch->seen_count; i++)
        if (watch->seen[i].name != NULL && strcmp(watch->seen[i].name, name) == 0)
            return &watch->seen[i];
    if (watch->seen_count == SP_TABLES_MAX)
        return NULL;
    watch->seen[watch->seen_count].name = name;
    return &watch->seen[watch->seen_count++];
}

static void change_json(const char *name, uint64_t pond_version, const struct sp_table_info *info,
                        int64_t rows_delta)
{
    json_t *json = json_table(name, info);
    json_object_set_new(json, "table", json_string(name));
    json_object_del(json, "name");
    json_object_set_new(json, "pond_version", json_integer((json_int_t)pond_version));
    json_object_set_new(json, "rows_delta", json_integer(rows_delta));
    json_print(json);
}

static void change_text(const char *name, uint64_t pond_version, const struct sp_table_info *info,
                        int64_t rows_delta)
{
    char time[TEXT_BYTES], state[TEXT_BYTES];
    printf("%s\tversion %" PRIu64 "\t%s\t%" PRIu64 " rows (%+" PRId64 ")\t%s\n",
           text_time(info->changed_at_ms, time), pond_version, name, info->rows, rows_delta,
           text_table_state(info, state));
}

/* One line for each table that changed since it was looked at last. */
static void changes_print(struct watch *watch, bool first)
{
    const char **names;
    size_t count = 0;
    if (tool_table_names(watch->tool, &names, &count) != TOOL_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info = SP_TABLE_INFO_INIT;
        struct sp_table *table;
        struct seen *seen = seen_find(watch, names[i]);
        if (seen == NULL || sp_table_open(watch->tool->pond, names[i], &table) != SP_OK ||
            sp_table_info(table, &info) != SP_OK)
            continue;
        if (first || info.version != seen->version) {
            int64_t delta = first ? 0 : (int64_t)(info.rows - seen->rows);
            (watch->tool->json ? change_json : change_text)(names[i], watch->version, &info, delta);
        }
        seen->version = info.version;
        seen->rows = info.rows;
    }
    fflush(stdout);
    free(names);
}

static void age_row(struct text_table *out, struct watch *watch, const char *name,
                    const struct sp_table_info *info)
{
    char text[TEXT_BYTES];
    struct seen *seen = seen_find(watch, name);
    bool known = seen != NULL && seen->version != 0;
    bool changed = known && seen->version != info->version;
    int64_t delta = changed ? (int64_t)(info->rows - seen->rows) : 0;
    text_cell(out, changed ? TEXT_BOLD : TEXT_CYAN, "%s", name);
    text_cell(out, info->stale ? TEXT_RED : TEXT_GREEN, "%s", text_age(info->age_ms, text));
    text_cell(out, TEXT_PLAIN, "%s", text_table_state(info, text));
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, info->rows, text));
    text_cell(out, changed ? TEXT_YELLOW : TEXT_DIM, changed ? "%+" PRId64 : "", delta);
    text_cell(out, TEXT_PLAIN, "%" PRIu64, info->version);
    text_cell(out, TEXT_DIM, "%s", text_time(info->changed_at_ms, text));
    if (seen != NULL) {
        seen->version = info->version;
        seen->rows = info->rows;
    }
}

static void picture_draw(struct watch *watch)
{
    static const char *const headers[] = {"TABLE", "AGE",     "STATE",  "ROWS",
                                          "DELTA", "VERSION", "CHANGED"};
    struct sp_pond_info info = SP_POND_INFO_INIT;
    struct text_table out;
    const char **names;
    size_t count = 0;
    if (sp_pond_info(watch->tool->pond, &info) != SP_OK ||
        tool_table_names(watch->tool, &names, &count) != TOOL_OK)
        return;
    fputs("\033[H\033[2J", stdout);
    printf("pond %s%s%s, %s, version %" PRIu64 ", daemon %s (ctrl-C ends)\n\n",
           text_color_on(watch->tool, TEXT_BOLD), info.name, text_color_off(watch->tool),
           sp_pond_state_text(info.state), info.version,
           info.writer_alive ? "alive" : "not running");
    text_table_init(&out, watch->tool, 7, headers, "lrlrrrl");
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info about = SP_TABLE_INFO_INIT;
        struct sp_table *table;
        if (sp_table_open(watch->tool->pond, names[i], &table) == SP_OK &&
            sp_table_info(table, &about) == SP_OK)
            age_row(&out, watch, names[i], &about);
    }
    text_table_print(&out, NULL, true);
    text_table_free(&out);
    fflush(stdout);
    free(names);
}

static int watch_loop(struct watch *watch)
{
    bool live = watch->tool->terminal && !watch->tool->json;
    watch->version = sp_pond_version(watch->tool->pond);
    if (live)
        picture_draw(watch);
    else
        changes_print(watch, true);
    while (watch->commits < watch->count && !ferror(stdout)) {
        uint64_t now = watch->version;
        int status = sp_wait(watch->tool->pond, watch->version, watch->interval_ms, &now);
        if (status != SP_OK && status != SP_ETIMEDOUT)
            return tool_failed(status, "wait");
        if (status == SP_OK)
            watch->commits++;
        watch->version = now;
        if (live)
            picture_draw(watch);
        else if (status == SP_OK)
            changes_print(watch, false);
    }
    return TOOL_OK;
}

int tool_watch(struct tool *tool)
{
    struct watch watch = {.tool = tool};
    int code = tool_option_ms(tool, "interval", 1000, &watch.interval_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "count", 1, UINT64_MAX, &watch.count);
    if (code == TOOL_OK)
        code = tool_open(tool);
    if (code != TOOL_OK)
        return code;
    watch.seen = calloc(SP_TABLES_MAX, sizeof *watch.seen);
    if (watch.seen == NULL)
        return tool_failed(SP_ENOMEM, "watch");
    code = watch_loop(&watch);
    free(watch.seen);
    return code;
}
