/* SPDX-License-Identifier: Apache-2.0
 *
 * buffer.c - bytes that grow, as callers own them. Growing doubles, so a buffer that is used again
 * and again soon asks for no more memory.
 */
#include <stdlib.h>
#include <string.h>

#include "sidepond/cache.h"

int sp_buffer_reserve(struct sp_buffer *buffer, size_t cap)
{
    if (cap <= buffer->cap)
        return SP_OK;
    size_t to = buffer->cap < SIZE_MAX / 2 ? buffer->cap * 2 : SIZE_MAX;
    if (to < cap)
        to = cap;
    void *data = realloc(buffer->data, to);
    if (data == NULL)
        return SP_ENOMEM;
    buffer->data = data;
    buffer->cap = to;
    return SP_OK;
}

int sp_buffer_set(struct sp_buffer *buffer, const void *data, size_t size)
{
    int status = sp_buffer_reserve(buffer, size);
    if (status != SP_OK)
        return status;
    if (size > 0)
        memcpy(buffer->data, data, size);
    buffer->size = size;
    return SP_OK;
}

void sp_buffer_free(struct sp_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct sp_buffer){0};
}
