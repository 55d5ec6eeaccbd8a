/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c - options that a caller gives as a struct, which may be an older or newer one than
 * ours.
 */
#include <string.h>

#include "client/local/internal.h"

int options_over(void *defaults, size_t bytes, const void *given, const char *init)
{
    size_t given_bytes;
    if (given == NULL)
        return SP_OK;
    memcpy(&given_bytes, given, sizeof given_bytes);
    if (given_bytes < sizeof given_bytes)
        return error_set(SP_EINVAL, "struct_bytes is not set: use %s", init);
    memcpy(defaults, given, given_bytes < bytes ? given_bytes : bytes);
    return SP_OK;
}
