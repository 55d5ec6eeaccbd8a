/* SPDX-License-Identifier: Apache-2.0
 *
 * buffer.c - growing by half, so that appending costs a constant time for each byte.
 */
#include "server/bytes/buffer.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST_BYTES 1024u

bool buffer_grow(struct buffer *buffer, size_t more)
{
    size_t cap = buffer->cap ? buffer->cap + buffer->cap / 2 : FIRST_BYTES;
    if (buffer->failed || more > SIZE_MAX / 2 - buffer->size) {
        buffer->failed = true;
        return false;
    }
    if (cap < buffer->size + more)
        cap = buffer->size + more;
    char *bytes = realloc(buffer->bytes, cap);
    if (!bytes) {
        buffer->failed = true;
        return false;
    }
    buffer->bytes = bytes;
    buffer->cap = cap;
    return true;
}

void buffer_consume(struct buffer *buffer, size_t first_bytes)
{
    buffer->size -= first_bytes;
    if (buffer->size > 0)
        memmove(buffer->bytes, buffer->bytes + first_bytes, buffer->size);
}

void buffer_shrink(struct buffer *buffer, size_t keep_cap)
{
    size_t cap = buffer->size > keep_cap ? buffer->size : keep_cap;
    if (cap == 0) {
        buffer_free(buffer);
    } else if (buffer->cap > cap) {
        char *bytes = realloc(buffer->bytes, cap);
        buffer->bytes = bytes ? bytes : buffer->bytes;
        buffer->cap = bytes ? cap : buffer->cap;
    }
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer)BUFFER_INIT;
}
