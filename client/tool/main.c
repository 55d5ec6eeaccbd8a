/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - the `sidepond` tool: looks into ponds.
 *
 * main takes the command line apart by the tables of commands.c and calls one function. Results go
 * to standard output, everything else to standard error. Of ponds the tool only reads; `plan` hands
 * over to sidepondd.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static bool color_wanted(const struct tool *tool)
{
    const char *when = tool_option(tool, "color");
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    if (when != NULL && strcmp(when, "auto") != 0)
        return strcmp(when, "always") == 0;
    if (no_color != NULL && no_color[0] != '\0')
        return false;
    return tool->terminal && !(terminal != NULL && strcmp(terminal, "dumb") == 0);
}

/* A full disk or a closed pipe must not look like success. */
static int output_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        tool_error("cannot write the output: %s", strerror(errno));
    return code == TOOL_OK ? TOOL_FAILED : code;
}

int main(int argc, char **argv)
{
    struct tool tool = {.terminal = isatty(STDOUT_FILENO) == 1};
    int code = tool_parse(&tool, argc, argv);
    if (code != TOOL_OK)
        return code;
    tool.json = tool_option(&tool, "json") != NULL;
    tool.pond_name = tool_option(&tool, "pond");
    tool.color = color_wanted(&tool);
    if (tool.command == NULL || tool_option(&tool, "help") != NULL) {
        tool_help_print(tool.command);
        return output_finish(TOOL_OK);
    }
    code = tool.command->run(&tool);
    sp_close(tool.pond);
    sp_ring_close(tool.ring);
    tool_secret_free(tool.password);
    return output_finish(code);
}
