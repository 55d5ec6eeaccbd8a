/* SPDX-License-Identifier: Apache-2.0
 *
 * put.c - requests as bytes: arrays of bulk strings.
 */
#include <string.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

size_t put_digits(char out[PUT_NUMBER_BYTES], uint64_t number)
{
    char reversed[PUT_NUMBER_BYTES];
    size_t size = 0;
    do {
        reversed[size++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < size; i++)
        out[i] = reversed[size - 1 - i];
    return size;
}

static char *put_head(char *at, char kind, size_t number)
{
    *at++ = kind;
    at += put_digits(at, number);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

int put_arguments(struct sp_buffer *out, const struct argument *arguments, size_t count)
{
    size_t bytes = out->size + PUT_NUMBER_BYTES + 3;
    for (size_t i = 0; i < count; i++)
        bytes += arguments[i].size + PUT_NUMBER_BYTES + 5;
    int status = sp_buffer_reserve(out, bytes);
    if (status != SP_OK)
        return error_plain(status);
    char *at = put_head((char *)out->data + out->size, '*', count);
    for (size_t i = 0; i < count; i++) {
        at = put_head(at, '$', arguments[i].size);
        if (arguments[i].size > 0)
            memcpy(at, arguments[i].data, arguments[i].size);
        at += arguments[i].size;
        *at++ = '\r';
        *at++ = '\n';
    }
    out->size = (size_t)(at - (char *)out->data);
    return SP_OK;
}
