/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.c - the replies that are not sent millions of times a second.
 */
#include "server/resp/reply.h"

#include <stdarg.h>
#include <stdio.h>

#define ERROR_BYTES 1024 /* a longer text is cut */

void reply_null_array(struct reply *reply)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, "_\r\n", 3);
    else
        buffer_append(reply->out, "*-1\r\n", 5);
}

static void line(struct reply *reply, char type, const char *text, size_t size)
{
    if (!buffer_reserve(reply->out, size + 3))
        return;
    char *at = reply->out->bytes + reply->out->size;
    *at++ = type;
    for (size_t i = 0; i < size; i++)
        *at++ = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    memcpy(at, "\r\n", 2);
    reply->out->size += size + 3;
}

void reply_simple(struct reply *reply, const char *text)
{
    line(reply, '+', text, strlen(text));
}

void reply_error(struct reply *reply, const char *format, ...)
{
    char text[ERROR_BYTES];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (size < 0)
        size = 0;
    line(reply, '-', text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1);
}

void reply_double(struct reply *reply, double number)
{
    char text[NUMBER_FLOAT_BYTES];
    size_t size = number_print_double(text, number);
    if (reply->protocol >= 3)
        line(reply, ',', text, size);
    else
        reply_bulk(reply, text, size);
}

void reply_bool(struct reply *reply, bool value)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, value ? "#t\r\n" : "#f\r\n", 4);
    else
        reply_integer(reply, value);
}

void reply_verbatim(struct reply *reply, const char *format, const char *text, size_t size)
{
    if (reply->protocol < 3) {
        reply_bulk(reply, text, size);
        return;
    }
    reply_head(reply, '=', (int64_t)size + 4);
    buffer_append(reply->out, format, 3);
    buffer_append(reply->out, ":", 1);
    buffer_append(reply->out, text, size);
    buffer_append(reply->out, "\r\n", 2);
}
