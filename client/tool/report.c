/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - errors of the tool: one line on standard error, and the exit code that goes with it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

void tool_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("sidepond: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static int exit_code(int status)
{
    switch (status) {
    case SP_OK:
        return TOOL_OK;
    case SP_ENOTFOUND:
    case SP_ETIMEDOUT:
        return TOOL_NO;
    case SP_ENOTABLE:
    case SP_ENOCOLUMN:
    case SP_ENOINDEX:
    case SP_EINVAL:
    case SP_ETYPE:
    case SP_ENULL:
        return TOOL_USAGE;
    case SP_ENOPOND:
    case SP_ENOTREADY:
    case SP_EACCESS:
    case SP_EFORMAT:
    case SP_EOLD:
    case SP_ENOLEASE:
    case SP_ENODAEMON:
    case SP_ENONODE:
        return TOOL_UNAVAILABLE;
    default:
        return TOOL_FAILED;
    }
}

int tool_failed(int status, const char *what, ...)
{
    const char *detail = sp_error_detail();
    char subject[512];
    va_list args;
    va_start(args, what);
    vsnprintf(subject, sizeof(subject), what, args);
    va_end(args);
    bool says_more = detail[0] != '\0' && strcmp(detail, subject) != 0;
    fflush(stdout);
    fprintf(stderr, "sidepond: %s: %s\n", subject, says_more ? detail : sp_status_text(status));
    return exit_code(status);
}
