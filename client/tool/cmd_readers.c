/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_readers.c - `sidepond readers`: who holds a snapshot now. Readers that only copy hold none
 * and are not seen here, because they leave no trace anywhere.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"

/* The command of a process, "?" if it is not in our PID namespace or has ended. */
static void command_name(int64_t pid, char out[64])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/comm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(out, 64, file) == NULL)
        snprintf(out, 64, "?");
    out[strcspn(out, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
}

static int readers_json(const struct sp_reader_info *readers, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        char command[64];
        command_name(readers[i].pid, command);
        json_array_append_new(
            list, json_pack("{s:I, s:s%, s:I, s:o, s:b}", "pid", (json_int_t)readers[i].pid,
                            "command", command, strlen(command), "version",
                            (json_int_t)readers[i].version, "held_seconds",
                            json_seconds(readers[i].held_ms), "revoked", readers[i].revoked));
    }
    return json_print(list);
}

static int readers_print(struct tool *tool, const struct sp_reader_info *readers, size_t count)
{
    static const char *const headers[] = {"PID", "COMMAND", "VERSION", "HELD", "STATE"};
    struct text_table out;
    if (count == 0 && tool->terminal) {
        puts("nobody holds a snapshot");
        return TOOL_OK;
    }
    text_table_init(&out, tool, 5, headers, "rlrrl");
    for (size_t i = 0; i < count; i++) {
        char command[64], age[TEXT_BYTES];
        command_name(readers[i].pid, command);
        char *name = text_escape(command, strlen(command));
        text_cell(&out, TEXT_CYAN, "%" PRId64, readers[i].pid);
        text_cell(&out, TEXT_PLAIN, "%s", name != NULL ? name : "?");
        text_cell(&out, TEXT_PLAIN, "%" PRIu64, readers[i].version);
        text_cell(&out, TEXT_PLAIN, "%s", text_age(readers[i].held_ms, age));
        text_cell(&out, readers[i].revoked ? TEXT_RED : TEXT_GREEN, "%s",
                  readers[i].revoked ? "revoked" : "valid");
        free(name);
    }
    text_table_print(&out, NULL, true);
    text_table_free(&out);
    return TOOL_OK;
}

int tool_readers(struct tool *tool)
{
    int code = tool_open(tool);
    if (code != TOOL_OK)
        return code;
    struct sp_reader_info *readers = calloc(SP_LEASES_MAX, sizeof *readers);
    if (readers == NULL)
        return tool_failed(SP_ENOMEM, "readers");
    size_t count = sp_readers(tool->pond, readers, SP_LEASES_MAX);
    if (count > SP_LEASES_MAX)
        count = SP_LEASES_MAX;
    code = tool->json ? readers_json(readers, count) : readers_print(tool, readers, count);
    free(readers);
    return code;
}
