/* SPDX-License-Identifier: Apache-2.0
 *
 * secret.c - passwords come from files, so that they stand in no list of processes and in no
 * history of a shell.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define SECRET_MAX 1024

int tool_secret_read(const char *path, const char *what, char **out)
{
    char line[SECRET_MAX + 2];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        tool_error("cannot read the %s file %s: %s", what, path, strerror(errno));
        return TOOL_USAGE;
    }
    bool got = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    line[got ? strcspn(line, "\r\n") : 0] = '\0';
    if (line[0] == '\0' || strlen(line) > SECRET_MAX) {
        tool_error("the %s file %s has no %s in its first line", what, path, what);
        return TOOL_USAGE;
    }
    *out = strdup(line);
    explicit_bzero(line, sizeof line);
    return *out != NULL ? TOOL_OK : tool_failed(SP_ENOMEM, "%s", what);
}

void tool_secret_free(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

int tool_credentials(struct tool *tool)
{
    const char *file = tool_option(tool, "password-file");
    tool->user = tool_option(tool, "user");
    if (tool->user != NULL && file == NULL) {
        tool_error("--user needs --password-file");
        return TOOL_USAGE;
    }
    return file != NULL ? tool_secret_read(file, "password", &tool->password) : TOOL_OK;
}
