/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_help.c - `sidepond help [COMMAND]` and `sidepond version`: printed from the command table.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tool.h"

static void options_print(const struct tool_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char text[64], letter[8] = "    ";
        if (options->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        snprintf(text, sizeof text, "%s--%s%s%s", letter, options->name,
                 options->argument != NULL ? " " : "",
                 options->argument != NULL ? options->argument : "");
        printf("  %-26s %s\n", text, options->help);
    }
}

static void commands_print(void)
{
    puts("usage: sidepond COMMAND [options] [arguments]\n\n"
         "Looks into ponds, database tables that sidepondd keeps in shared memory, and into "
         "rings.\n");
    for (const struct tool_command *command = tool_commands; command->name != NULL; command++)
        printf("  %-26s %s\n", command->name, command->summary);
    puts("\noptions of all commands:");
    options_print(tool_global_options);
    puts("\nexit codes: 0 done, 1 the answer is no (no such key, damage found), 2 wrong usage,\n"
         "3 pond unavailable, 4 failed on the way. More: sidepond help COMMAND, man sidepond");
}

void tool_help_print(const struct tool_command *command)
{
    if (command == NULL) {
        commands_print();
        return;
    }
    printf("usage: sidepond %s [options]%s%s\n\n%s\n", command->name,
           command->arguments[0] != '\0' ? " " : "", command->arguments, command->details);
    if (command->options != NULL) {
        puts("\noptions:");
        options_print(command->options);
    }
    if (tool_shared_options(command) != NULL) {
        puts("\noptions of all ring commands:");
        options_print(tool_shared_options(command));
    }
    puts("\noptions of all commands:");
    options_print(tool_global_options);
}

static json_t *options_json(const struct tool_option *options)
{
    json_t *list = json_array();
    for (; options != NULL && options->name != NULL; options++)
        json_array_append_new(list, json_pack("{s:s, s:s?, s:s}", "name", options->name, "argument",
                                              options->argument, "help", options->help));
    return list;
}

static json_t *command_json(const struct tool_command *command)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", command->name, "arguments",
                     command->arguments, "summary", command->summary, "details", command->details,
                     "options", options_json(command->options));
}

/* Of all commands, or one. */
static int help_json(const struct tool_command *only)
{
    json_t *list = json_array();
    for (const struct tool_command *command = tool_commands; command->name != NULL; command++)
        if (only == NULL || command == only)
            json_array_append_new(list, command_json(command));
    return json_print(json_pack("{s:o, s:o, s:o}", "commands", list, "ring_options",
                                options_json(tool_ring_options), "options",
                                options_json(tool_global_options)));
}

int tool_help(struct tool *tool)
{
    const struct tool_command *command = NULL;
    if (tool->arg_count > 0) {
        command = tool->arg_count == 1 ? tool_command_find(tool->args[0])
                                       : tool_subcommand_find(tool->args[0], tool->args[1]);
        if (command == NULL)
            return tool_unknown_command(tool->args[tool->arg_count - 1]);
    }
    if (tool->json)
        return help_json(command);
    tool_help_print(command);
    return TOOL_OK;
}

int tool_version(struct tool *tool)
{
    if (tool->json)
        return json_print(json_pack("{s:s}", "version", sp_version()));
    printf("sidepond %s\n", sp_version());
    return TOOL_OK;
}
