/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_check.c - `sidepond check`: walks through a whole pond and verifies it.
 *
 * The region is mapped as it is, without the library's ideas about readiness, so a pond whose
 * daemon is dead, or which was never committed to, can be checked too. While a daemon writes, what
 * it changes is looked at again, and the allocator's data are left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/check.h"
#include "json.h"
#include "table.h"

#define COMPLAINTS_MAX 100

struct check {
    struct tool *tool;
    bool quiet;
    json_t *complaints; /* with --json */
};

static void complain(void *context, const char *text)
{
    struct check *check = context;
    if (check->quiet)
        return;
    char *line = text_escape(text, strlen(text));
    if (check->complaints != NULL)
        json_array_append_new(check->complaints, json_string(line != NULL ? line : "?"));
    else
        printf("%swrong%s   %s\n", text_color_on(check->tool, TEXT_RED),
               text_color_off(check->tool), line != NULL ? line : "?");
    free(line);
}

static int report_json(const struct check *check, const char *directory, bool live,
                       const struct check_report *report)
{
    return json_print(json_pack(
        "{s:s, s:b, s:b, s:I, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I}",
        "directory", directory, "ok", report->complaints == 0, "live", live, "complaint_count",
        (json_int_t)report->complaints, "complaints", check->complaints, "tables",
        (json_int_t)report->tables, "indexes", (json_int_t)report->indexes, "segments",
        (json_int_t)report->segments, "buckets", (json_int_t)report->buckets, "entries",
        (json_int_t)report->entries, "old_versions", (json_int_t)report->old_versions,
        "uncommitted", (json_int_t)report->uncommitted, "tombstones",
        (json_int_t)report->tombstones, "allocator_checked", report->allocator_checked,
        "reachable_units", (json_int_t)report->reachable_units, "used_units",
        (json_int_t)report->used_units, "leaked_units", (json_int_t)report->leaked_units));
}

static void report_print(const struct check *check, const char *directory, bool live,
                         const struct check_report *report)
{
    char entries[TEXT_BYTES], buckets[TEXT_BYTES], units[TEXT_BYTES];
    const struct tool *tool = check->tool;
    if (report->complaints > COMPLAINTS_MAX)
        printf("wrong   ... and %" PRIu64 " more\n", report->complaints - COMPLAINTS_MAX);
    printf("pond    %s, daemon %s\n", directory, live ? "alive" : "not running");
    printf("walked  %" PRIu64 " tables, %" PRIu64 " indexes, %s buckets, %s entries\n",
           report->tables, report->indexes, text_count(tool, report->buckets, buckets),
           text_count(tool, report->entries, entries));
    printf("        %" PRIu64 " old versions, %" PRIu64 " uncommitted, %" PRIu64 " deleted\n",
           report->old_versions, report->uncommitted, report->tombstones);
    if (report->allocator_checked)
        printf("        %s units in use, %" PRIu64 " of them reachable, %" PRIu64 " %s\n",
               text_count(tool, report->used_units, units), report->reachable_units,
               report->leaked_units,
               report->complaints == 0 && report->leaked_units > 0 ? "free at the next start"
                                                                   : "leaked");
    else
        printf("        the allocator was not compared: %s\n",
               live ? "the daemon is using it" : "the daemon was killed while it used it");
    if (report->complaints == 0)
        printf("%ssound%s\n", text_color_on(tool, TEXT_GREEN), text_color_off(tool));
    else
        printf("%sdamaged%s: %" PRIu64 " complaints; a restart of sidepondd drops what is damaged "
               "and loads it again\n",
               text_color_on(tool, TEXT_RED), text_color_off(tool), report->complaints);
}

static int attach_failed(int status, const char *directory, const char *why)
{
    tool_error("%s: %s", directory, why[0] != '\0' ? why : sp_status_text(status));
    return status == SP_EFORMAT || status == SP_ECORRUPT ? TOOL_NO : TOOL_UNAVAILABLE;
}

int tool_check(struct tool *tool)
{
    struct check check = {.tool = tool, .quiet = tool_option(tool, "quiet") != NULL};
    struct check_report report = {0};
    struct check_options options = {
        .complain = complain, .context = &check, .complaints_max = COMPLAINTS_MAX};
    char directory[TOOL_PATH_BYTES], why[REGION_WHY_BYTES] = "";
    struct region region;
    int code = TOOL_OK;
    tool_directory(tool, directory);
    int status = region_attach(directory, &region, why);
    if (status == SP_ENOPOND)
        return tool_open(tool); /* says what ponds there are */
    if (status != SP_OK)
        return attach_failed(status, directory, why);
    options.live = region_writer_alive(&region);
    options.killed = !options.live && atomic_load(&region.super->writer_pid) != 0;
    check.complaints = tool->json ? json_array() : NULL;
    status = check_pond(&region, &options, &report);
    region_detach(&region);
    if (status != SP_OK && status != SP_ECORRUPT)
        code = tool_failed(status, "check");
    else if (check.quiet)
        code = status == SP_OK ? TOOL_OK : TOOL_NO;
    else if (tool->json)
        code = report_json(&check, directory, options.live, &report);
    else
        report_print(&check, directory, options.live, &report);
    json_decref(check.complaints);
    return code == TOOL_OK && status == SP_ECORRUPT ? TOOL_NO : code;
}
