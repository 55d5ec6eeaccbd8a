/* SPDX-License-Identifier: Apache-2.0
 *
 * buffer.h - bytes that grow: what comes in from a connection and what goes out to it.
 *
 * A buffer that could not grow is `failed`: it stays as it was, and takes nothing more until it is
 * freed. So who appends need not look at each call; who sends does.
 *
 * Not for several threads at once.
 */
#ifndef SIDEPOND_BYTES_BUFFER_H
#define SIDEPOND_BYTES_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buffer {
    char *bytes;
    size_t size, cap;
    bool failed;
};
#define BUFFER_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0, false                                                                          \
    }

bool buffer_grow(struct buffer *buffer, size_t more); /* buffer_reserve's slow part */

/* Room for so many more bytes at bytes + size. */
static inline bool buffer_reserve(struct buffer *buffer, size_t more)
{
    return __builtin_expect(buffer->cap - buffer->size >= more, 1) || buffer_grow(buffer, more);
}

static inline void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0 && buffer_reserve(buffer, size)) {
        memcpy(buffer->bytes + buffer->size, bytes, size);
        buffer->size += size;
    }
}

/* Takes away the first bytes. Costs a move of the rest. */
void buffer_consume(struct buffer *buffer, size_t first_bytes);

/* Gives memory back: to `keep_cap` bytes or what is in it, if it has more. */
void buffer_shrink(struct buffer *buffer, size_t keep_cap);

/* Empties it, gives all memory back, and it can be used again. */
void buffer_free(struct buffer *buffer);

#endif
