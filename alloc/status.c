/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c - names and texts of the status codes, made from the one list in status.h.
 */
#include "sidepond/status.h"

const char *sp_status_text(int status)
{
    switch (status) {
#define SP_STATUS_TEXT(name, value, text)                                                          \
    case value:                                                                                    \
        return text;
        SP_STATUS_LIST(SP_STATUS_TEXT)
#undef SP_STATUS_TEXT
    default:
        return "unknown status";
    }
}

const char *sp_status_name(int status)
{
    switch (status) {
#define SP_STATUS_NAME(name, value, text)                                                          \
    case value:                                                                                    \
        return "SP_" #name;
        SP_STATUS_LIST(SP_STATUS_NAME)
#undef SP_STATUS_NAME
    default:
        return "unknown status";
    }
}
