/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_plan.c - `sidepond plan CONFIG`: what a configuration will need, before it is used.
 *
 * The database drivers are in the daemon, so the daemon does it: this runs `sidepondd plan CONFIG`,
 * the one beside this program or else the one of $PATH.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static void exec_beside(const char *relative, char **argv)
{
    char path[TOOL_PATH_BYTES];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 64);
    if (size <= 0)
        return;
    path[size] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return;
    snprintf(slash, 64, "/%s", relative);
    execv(path, argv);
}

int tool_plan(struct tool *tool)
{
    char daemon[] = "sidepondd", plan[] = "plan", json[] = "--json", end[] = "--";
    char *argv[6] = {daemon, plan};
    int count = 2;
    if (tool->json)
        argv[count++] = json;
    if (tool->args[0][0] == '-')
        argv[count++] = end;
    argv[count++] = tool->args[0];
    argv[count] = NULL;
    exec_beside("sidepondd", argv);
    exec_beside("../sbin/sidepondd", argv);
    execvp("sidepondd", argv);
    tool_error("cannot run sidepondd: %s; it is part of the package that has the daemon",
               strerror(errno));
    return TOOL_UNAVAILABLE;
}
