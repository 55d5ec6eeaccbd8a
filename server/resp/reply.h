/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.h - what a client of the Redis protocol is answered: all types, in RESP2 and RESP3.
 *
 * A reply is appended to a buffer, in pieces where it is an aggregate: its head says how many
 * elements follow, and those are the caller's to append. In RESP2 a map is an array of twice as
 * many, a set and a push are arrays, a double is a bulk string, a boolean an integer.
 *
 * A buffer that cannot grow is `failed` (buffer.h); nothing here has to be looked at then.
 */
#ifndef SIDEPOND_RESP_REPLY_H
#define SIDEPOND_RESP_REPLY_H

#include <stdint.h>

#include "server/bytes/buffer.h"
#include "server/resp/number.h"

struct reply {
    struct buffer *out;
    unsigned protocol; /* 2 or 3 */
};

#define REPLY_HEAD_BYTES (NUMBER_INTEGER_BYTES + 3) /* of any type: letter, number, line's end */

/* A letter, a number, and the end of a line. There is room for it. */
static inline void reply_head_unchecked(struct buffer *out, char type, int64_t number)
{
    char *at = out->bytes + out->size;
    *at++ = type;
    at += number_print(at, number);
    memcpy(at, "\r\n", 2);
    out->size = (size_t)(at + 2 - out->bytes);
}

static inline void reply_head(struct reply *reply, char type, int64_t number)
{
    if (buffer_reserve(reply->out, REPLY_HEAD_BYTES))
        reply_head_unchecked(reply->out, type, number);
}

static inline void reply_ok(struct reply *reply)
{
    buffer_append(reply->out, "+OK\r\n", 5);
}

static inline void reply_integer(struct reply *reply, int64_t number)
{
    reply_head(reply, ':', number);
}

static inline void reply_null(struct reply *reply)
{
    if (reply->protocol >= 3)
        buffer_append(reply->out, "_\r\n", 3);
    else
        buffer_append(reply->out, "$-1\r\n", 5);
}

/* Room for a bulk string: its head is written, and where its bytes go is returned; NULL: there is
 * no memory. Until reply_bulk_end the string is not there, and can be begun again. */
static inline char *reply_bulk_begin(struct reply *reply, size_t size, struct buffer *pending)
{
    if (!buffer_reserve(reply->out, REPLY_HEAD_BYTES + size + 2))
        return NULL;
    *pending = *reply->out;
    reply_head_unchecked(pending, '$', (int64_t)size);
    return pending->bytes + pending->size;
}

static inline void reply_bulk_end(struct reply *reply, size_t size, const struct buffer *pending)
{
    memcpy(pending->bytes + pending->size + size, "\r\n", 2);
    reply->out->size = pending->size + size + 2;
}

static inline void reply_bulk(struct reply *reply, const void *bytes, size_t size)
{
    struct buffer pending;
    char *at = reply_bulk_begin(reply, size, &pending);
    if (!at)
        return;
    if (size > 0)
        memcpy(at, bytes, size);
    reply_bulk_end(reply, size, &pending);
}

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

/* What is no reply to a request: a message of a channel. */
static inline void reply_push(struct reply *reply, size_t count)
{
    reply_head(reply, reply->protocol >= 3 ? '>' : '*', (int64_t)count);
}

void reply_null_array(struct reply *reply);
void reply_simple(struct reply *reply, const char *text);
/* "ERR something"; ends of lines in it become blanks. */
void reply_error(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void reply_double(struct reply *reply, double number);
void reply_bool(struct reply *reply, bool value);
/* A text with its format, "txt" or "mkd". */
void reply_verbatim(struct reply *reply, const char *format, const char *text, size_t size);

/* Where a reply begins, and taking back what was appended since. */
struct reply_mark {
    size_t size;
};
static inline struct reply_mark reply_mark(const struct reply *reply)
{
    return (struct reply_mark){reply->out->size};
}
static inline void reply_rewind(struct reply *reply, struct reply_mark mark)
{
    reply->out->size = mark.size;
}

#endif
