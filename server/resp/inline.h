/* SPDX-License-Identifier: Apache-2.0
 *
 * inline.h - the words of an inline command, and how request.c and inline.c append arguments.
 */
#ifndef SIDEPOND_RESP_INLINE_H
#define SIDEPOND_RESP_INLINE_H

#include "server/resp/request.h"

bool resp_args_grow(struct resp_args *args); /* resp_args_append's slow part */

static inline bool resp_args_append(struct resp_args *args, const char *bytes, size_t size)
{
    if (__builtin_expect(args->count == args->cap, 0) && !resp_args_grow(args))
        return false;
    args->items[args->count++] = (struct resp_arg){bytes, size};
    return true;
}

/* Splits a line (without its end, and without a zero byte) into words and appends them. Quoted
 * words are unquoted in place. Answers a fault, or RESP_FAULT_NONE. */
enum resp_fault resp_inline_split(uint8_t *line, size_t size, uint32_t words_max,
                                  struct resp_args *args);

#endif
