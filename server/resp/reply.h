/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.h - what a server of the Redis protocol answers, in RESP2 and RESP3.
 *
 * Each function appends one reply, or the head of one that the next replies are the parts of. In
 * RESP2 what it has no type for goes out as Redis does it: a map or a set as an array, a double as
 * a bulk string, a boolean as 0 or 1. A buffer that could not grow takes nothing more (see
 * buffer.h), so nothing here fails by itself.
 *
 * A value that may have to be fetched again, or an answer that turns out to be an error half-way:
 *
 *   size_t mark = reply_mark(reply);
 *   char *place = reply_bulk_begin(reply, size);
 *   if (place && !fetch(place, size))
 *       reply_rewind(reply, mark);
 */
#ifndef SIDEPOND_RESP_REPLY_H
#define SIDEPOND_RESP_REPLY_H

#include <stdarg.h>

#include "server/bytes/buffer.h"
#include "server/resp/number.h"

struct reply {
    struct buffer *out;
    unsigned protocol; /* 2 or 3 */
};

#define REPLY_HEAD_BYTES (NUMBER_INT_BYTES + 3) /* a type's byte, a number, the line's end */

static inline size_t reply_mark(const struct reply *reply)
{
    return reply->out->size;
}

/* Takes back what came after the mark. */
static inline void reply_rewind(struct reply *reply, size_t mark)
{
    reply->out->size = mark;
}

/* Writes a head of at most REPLY_HEAD_BYTES; answers its size. */
static inline size_t reply_print_head(char *out, char type, int64_t number)
{
    size_t size = 1;
    out[0] = type;
    if (number >= 0 && number < 10)
        out[size++] = (char)('0' + number);
    else
        size += number_print(out + 1, number);
    memcpy(out + size, "\r\n", 2);
    return size + 2;
}

static inline void reply_head(struct reply *reply, char type, int64_t number)
{
    struct buffer *out = reply->out;
    if (buffer_reserve(out, REPLY_HEAD_BYTES))
        out->size += reply_print_head(out->bytes + out->size, type, number);
}

static inline void reply_ok(struct reply *reply)
{
    buffer_append(reply->out, "+OK\r\n", 5);
}

static inline void reply_integer(struct reply *reply, int64_t value)
{
    reply_head(reply, ':', value);
}

static inline void reply_null(struct reply *reply)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, "_\r\n", 3);
    else
        buffer_append(reply->out, "$-1\r\n", 5);
}

static inline void reply_null_array(struct reply *reply)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, "_\r\n", 3);
    else
        buffer_append(reply->out, "*-1\r\n", 5);
}

/* A bulk string but for its bytes: where the caller writes them, all of them. NULL if the buffer
 * could not grow. Good until the next reply. */
static inline char *reply_bulk_begin(struct reply *reply, size_t size)
{
    struct buffer *out = reply->out;
    if (size > SIZE_MAX / 4 || !buffer_reserve(out, REPLY_HEAD_BYTES + size + 2)) {
        out->failed = true;
        return NULL;
    }
    char *head = out->bytes + out->size;
    char *place = head + reply_print_head(head, '$', (int64_t)size);
    memcpy(place + size, "\r\n", 2);
    out->size += (size_t)(place - head) + size + 2;
    return place;
}

static inline void reply_bulk(struct reply *reply, const void *bytes, size_t size)
{
    char *place = reply_bulk_begin(reply, size);
    if (place && size > 0)
        memcpy(place, bytes, size);
}

static inline void reply_text(struct reply *reply, const char *text)
{
    reply_bulk(reply, text, strlen(text));
}

/* Heads: of `count` replies, for a map of twice as many. */
static inline void reply_array(struct reply *reply, size_t count)
{
    reply_head(reply, '*', (int64_t)count);
}

static inline void reply_map(struct reply *reply, size_t pairs)
{
    if (reply->protocol >= 3)
        reply_head(reply, '%', (int64_t)pairs);
    else
        reply_head(reply, '*', (int64_t)pairs * 2);
}

static inline void reply_set(struct reply *reply, size_t count)
{
    reply_head(reply, reply->protocol >= 3 ? '~' : '*', (int64_t)count);
}

static inline void reply_push(struct reply *reply, size_t count)
{
    reply_head(reply, reply->protocol >= 3 ? '>' : '*', (int64_t)count);
}

/* The same for parts that were appended after the mark, before they were counted. Costs a move of
 * them. */
void reply_array_at(struct reply *reply, size_t mark, size_t count);
void reply_map_at(struct reply *reply, size_t mark, size_t pairs);

/* A status line; the text has no line ends. */
void reply_simple(struct reply *reply, const char *text);

/* "ERR what is wrong": the code belongs to the text. Line ends around it are left out, those in
 * it become spaces. */
void reply_error(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void reply_error_list(struct reply *reply, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

void reply_double(struct reply *reply, double value);
void reply_boolean(struct reply *reply, bool value);

/* Text for people. */
void reply_verbatim(struct reply *reply, const char *text, size_t size);

#endif
