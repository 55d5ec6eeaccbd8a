/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c - a text that grows. What fails is remembered, and looked at once, in the end.
 */
#include "server/http/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool text_room(struct text *text, size_t more)
{
    size_t cap = text->cap ? text->cap : 4096;
    while (cap < text->size + more)
        cap *= 2;
    if (cap == text->cap)
        return true;
    char *bytes = realloc(text->bytes, cap);
    if (!bytes)
        return false;
    text->bytes = bytes;
    text->cap = cap;
    return true;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (text->failed || size < 0 || !text_room(text, (size_t)size + 1)) {
        text->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(text->bytes + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}

char *text_take(struct text *text)
{
    if (!text->failed)
        return text->bytes;
    free(text->bytes);
    return NULL;
}
