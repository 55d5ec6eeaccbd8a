/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_stat.c - `sidepond stat`: where the memory is.
 *
 * Maps the region read-only and walks the allocator's bitmap (about 1 ms per 100 MB of pond). The
 * daemon may be changing it meanwhile; then the picture is off by what it did in that millisecond.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/buddy.h"
#include "alloc/region.h"
#include "json.h"
#include "table.h"

#define BAR_WIDTH 40

struct memory {
    struct sp_pond_info pond;
    struct buddy_stats buddy;
    uint64_t punched_bytes;
};

static int memory_read(struct tool *tool, struct memory *out)
{
    char directory[TOOL_PATH_BYTES], why[REGION_WHY_BYTES] = "";
    struct region region;
    struct buddy buddy;
    tool_directory(tool, directory);
    int status = sp_pond_info(tool->pond, &out->pond);
    if (status != SP_OK)
        return tool_failed(status, "pond");
    status = region_attach(directory, &region, why);
    if (status != SP_OK) {
        tool_error("%s: %s", directory, why[0] != '\0' ? why : sp_status_text(status));
        return TOOL_UNAVAILABLE;
    }
    uint64_t usable = atomic_load(&region.super->usable_units);
    out->punched_bytes = atomic_load(&region.super->punched_bytes);
    status = usable <= region.unit_limit
                 ? buddy_attach(&buddy, region.meta, region.unit_limit, usable)
                 : SP_ECORRUPT;
    if (status == SP_OK)
        buddy_stats(&buddy, &out->buddy);
    region_detach(&region);
    if (status == SP_OK)
        return TOOL_OK;
    tool_error("%s: the allocator's data are damaged; sidepond check says more", directory);
    return TOOL_FAILED;
}

static unsigned order_last(const struct buddy_stats *stats)
{
    unsigned last = 0;
    for (unsigned i = 0; i <= BUDDY_MAX_ORDER; i++)
        if (stats->free_blocks[i] > 0)
            last = i;
    return last;
}

static json_t *free_json(const struct buddy_stats *stats)
{
    json_t *orders = json_array();
    for (unsigned i = 0; i <= order_last(stats); i++) {
        uint64_t block_bytes = (UINT64_C(1) << i) * FORMAT_UNIT_BYTES;
        json_array_append_new(orders, json_pack("{s:i, s:I, s:I}", "order", (int)i, "block_bytes",
                                                (json_int_t)block_bytes, "blocks",
                                                (json_int_t)stats->free_blocks[i]));
    }
    return orders;
}

static json_t *tables_json(struct tool *tool, const char **names, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info;
        if (tool_table_info(tool, names[i], &info))
            json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:I, s:I}", "name", names[i], "rows",
                                            (json_int_t)info.rows, "bytes", (json_int_t)info.bytes,
                                            "memory_bytes", (json_int_t)info.memory_bytes));
    }
    return list;
}

static int stat_json(struct tool *tool, const struct memory *memory, const char **names,
                     size_t count)
{
    const struct buddy_stats *stats = &memory->buddy;
    uint64_t largest_bytes = stats->largest_run * FORMAT_UNIT_BYTES;
    return json_print(json_pack(
        "{s:I, s:I, s:I, s:I, s:{s:i, s:I, s:I, s:I, s:I, s:I, s:o}, s:o}", "limit_bytes",
        (json_int_t)memory->pond.limit_bytes, "committed_bytes",
        (json_int_t)memory->pond.committed_bytes, "used_bytes", (json_int_t)memory->pond.used_bytes,
        "free_bytes", (json_int_t)memory->pond.free_bytes, "arena", "unit_bytes",
        (int)FORMAT_UNIT_BYTES, "usable_units", (json_int_t)stats->usable_units, "free_units",
        (json_int_t)stats->free_units, "free_runs", (json_int_t)stats->free_runs,
        "largest_free_bytes", (json_int_t)largest_bytes, "punched_bytes",
        (json_int_t)memory->punched_bytes, "free_blocks", free_json(stats), "tables",
        tables_json(tool, names, count)));
}

static void arena_print(const struct tool *tool, const struct memory *memory)
{
    const struct buddy_stats *stats = &memory->buddy;
    uint64_t used = (stats->usable_units - stats->free_units) * FORMAT_UNIT_BYTES;
    uint64_t all = stats->usable_units * FORMAT_UNIT_BYTES;
    char a[TEXT_BYTES], b[TEXT_BYTES], bar[BAR_WIDTH + 3];
    printf("pond    %s of %s taken from the system\n", text_size(memory->pond.committed_bytes, a),
           text_size(memory->pond.limit_bytes, b));
    printf("arena   %s%s%s %s of %s in use\n", text_color_on(tool, TEXT_GREEN),
           text_bar(used, all, BAR_WIDTH, bar), text_color_off(tool), text_size(used, a),
           text_size(all, b));
    printf("free    %s in %" PRIu64 " runs, the largest %s\n",
           text_size(stats->free_units * FORMAT_UNIT_BYTES, a), stats->free_runs,
           text_size(stats->largest_run * FORMAT_UNIT_BYTES, b));
}

/* Bars are by bytes, so what matters for the next allocation is what is long. */
static void orders_print(const struct tool *tool, const struct buddy_stats *stats)
{
    static const char *const headers[] = {"ORDER", "BLOCK", "FREE BLOCKS", "BYTES",
                                          "SHARE OF FREE"};
    struct text_table out;
    text_table_init(&out, tool, 5, headers, "rrrrl");
    for (unsigned i = 0; i <= order_last(stats); i++) {
        char text[TEXT_BYTES], bar[BAR_WIDTH + 3];
        uint64_t units = stats->free_blocks[i] << i;
        text_cell(&out, TEXT_PLAIN, "%u", i);
        text_cell(&out, TEXT_PLAIN, "%s", text_size((UINT64_C(1) << i) * FORMAT_UNIT_BYTES, text));
        text_cell(&out, TEXT_PLAIN, "%s", text_count(tool, stats->free_blocks[i], text));
        text_cell(&out, TEXT_PLAIN, "%s", text_size(units * FORMAT_UNIT_BYTES, text));
        text_cell(&out, TEXT_CYAN, "%s", text_bar(units, stats->free_units, BAR_WIDTH, bar));
    }
    putchar('\n');
    text_table_print(&out, NULL, true);
    text_table_free(&out);
}

static void table_row(struct text_table *out, const char *name, const struct sp_table_info *info,
                      uint64_t used_bytes)
{
    char text[TEXT_BYTES], bar[BAR_WIDTH + 3];
    text_cell(out, TEXT_CYAN, "%s", name);
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, info->rows, text));
    text_cell(out, TEXT_PLAIN, "%s", text_size(info->bytes, text));
    text_cell(out, TEXT_PLAIN, "%s", text_size(info->memory_bytes, text));
    text_cell(out, TEXT_PLAIN, "%.2f",
              info->bytes > 0 ? (double)info->memory_bytes / (double)info->bytes : 0);
    text_cell(out, TEXT_CYAN, "%s", text_bar(info->memory_bytes, used_bytes, BAR_WIDTH, bar));
}

static void tables_print(struct tool *tool, const char **names, size_t count, uint64_t used_bytes)
{
    static const char *const headers[] = {"TABLE",  "ROWS",  "KEYS AND VALUES",
                                          "MEMORY", "RATIO", "SHARE OF USED"};
    struct text_table out;
    text_table_init(&out, tool, 6, headers, "lrrrrl");
    for (size_t i = 0; i < count; i++) {
        struct sp_table_info info;
        if (tool_table_info(tool, names[i], &info))
            table_row(&out, names[i], &info, used_bytes);
    }
    putchar('\n');
    text_table_print(&out, NULL, true);
    text_table_free(&out);
}

int tool_stat(struct tool *tool)
{
    struct memory memory = {.pond = SP_POND_INFO_INIT};
    const char **names;
    size_t count = 0;
    int code = tool_open(tool);
    if (code == TOOL_OK)
        code = memory_read(tool, &memory);
    if (code == TOOL_OK)
        code = tool_table_names(tool, &names, &count);
    if (code != TOOL_OK)
        return code;
    if (tool->json) {
        code = stat_json(tool, &memory, names, count);
    } else {
        arena_print(tool, &memory);
        orders_print(tool, &memory.buddy);
        tables_print(tool, names, count, memory.pond.used_bytes);
    }
    free(names);
    return code;
}
