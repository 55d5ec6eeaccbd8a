/* SPDX-License-Identifier: Apache-2.0
 *
 * error_detail.c - the sentence that belongs to a thread's last failed call, and the library's
 * version. One static buffer for each thread; nothing is allocated.
 */
#include <stdarg.h>
#include <stdio.h>

#include "client/local/internal.h"

static _Thread_local char detail[REGION_WHY_BYTES];

const char *sp_version(void)
{
    return SIDEPOND_VERSION;
}

const char *sp_error_detail(void)
{
    return detail;
}

char *error_buffer(void)
{
    detail[0] = '\0';
    return detail;
}

int error_set(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return status;
}

int error_plain(int status)
{
    detail[0] = '\0';
    return status;
}
