/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.c - the replies that are not sent a million times a second.
 *
 * An error's text may hold bytes of a client's request. A line end among them would let it forge
 * replies, so none goes out.
 */
#include "server/resp/reply.h"

#include <stdio.h>

static void head_at(struct reply *reply, size_t mark, char type, int64_t number)
{
    struct buffer *out = reply->out;
    char head[REPLY_HEAD_BYTES];
    size_t size = reply_print_head(head, type, number);
    if (!buffer_reserve(out, size))
        return;
    memmove(out->bytes + mark + size, out->bytes + mark, out->size - mark);
    memcpy(out->bytes + mark, head, size);
    out->size += size;
}

void reply_array_at(struct reply *reply, size_t mark, size_t count)
{
    head_at(reply, mark, '*', (int64_t)count);
}

void reply_map_at(struct reply *reply, size_t mark, size_t pairs)
{
    bool is_map = reply->protocol >= 3;
    head_at(reply, mark, is_map ? '%' : '*', (int64_t)(is_map ? pairs : pairs * 2));
}

void reply_simple(struct reply *reply, const char *text)
{
    size_t size = strlen(text);
    if (buffer_reserve(reply->out, size + 3)) {
        buffer_append(reply->out, "+", 1);
        buffer_append(reply->out, text, size);
        buffer_append(reply->out, "\r\n", 2);
    }
}

/* --- errors ---------------------------------------------------------------------------------- */

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

/* Makes one line of a text; answers its size. */
static size_t flatten(char *text, size_t size)
{
    size_t first = 0;
    while (size > 0 && is_line_end(text[size - 1]))
        size--;
    while (first < size && is_line_end(text[first]))
        first++;
    memmove(text, text + first, size - first);
    for (size_t i = 0; i < size - first; i++) {
        if (is_line_end(text[i]))
            text[i] = ' ';
    }
    return size - first;
}

void reply_error_list(struct reply *reply, const char *format, va_list arguments)
{
    struct buffer *out = reply->out;
    va_list again;
    va_copy(again, arguments);
    int printed = vsnprintf(NULL, 0, format, arguments);
    size_t size = printed > 0 ? (size_t)printed : 0;
    if (buffer_reserve(out, size + 4)) { /* with the terminator that vsnprintf writes */
        char *line = out->bytes + out->size;
        vsnprintf(line + 1, size + 1, format, again);
        line[0] = '-';
        size = flatten(line + 1, size);
        memcpy(line + 1 + size, "\r\n", 2);
        out->size += size + 3;
    }
    va_end(again);
}

void reply_error(struct reply *reply, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    reply_error_list(reply, format, arguments);
    va_end(arguments);
}

/* --- values ---------------------------------------------------------------------------------- */

void reply_double(struct reply *reply, double value)
{
    char line[NUMBER_DOUBLE_BYTES + 3];
    size_t size = number_print_double(line + 1, value);
    if (reply->protocol < 3) {
        reply_bulk(reply, line + 1, size);
        return;
    }
    line[0] = ',';
    memcpy(line + 1 + size, "\r\n", 2);
    buffer_append(reply->out, line, size + 3);
}

void reply_boolean(struct reply *reply, bool value)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, value ? "#t\r\n" : "#f\r\n", 4);
    else
        reply_integer(reply, value);
}

void reply_verbatim(struct reply *reply, const char *text, size_t size)
{
    struct buffer *out = reply->out;
    if (reply->protocol < 3) {
        reply_bulk(reply, text, size);
        return;
    }
    if (size > SIZE_MAX / 4 || !buffer_reserve(out, REPLY_HEAD_BYTES + 4 + size + 2)) {
        out->failed = true;
        return;
    }
    reply_head(reply, '=', (int64_t)size + 4);
    buffer_append(out, "txt:", 4);
    buffer_append(out, text, size);
    buffer_append(out, "\r\n", 2);
}
