/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.c - requests and replies of a fixed size, so that a load can be prepared in one piece and
 * its replies be compared without parsing: each is a template in which only the key differs.
 */
#include "wire.h"

#include <stdio.h>
#include <string.h>

#include "common/bench.h"

void wire_key(uint32_t number, char out[WIRE_KEY_BYTES])
{
    static const char head[] = {'c', 'a', 'c', 'h', 'e', ':', 'e', 'n', 't', 'r', 'y', ':'};
    memcpy(out, head, sizeof(head));
    for (size_t i = WIRE_KEY_BYTES; i > sizeof(head); i--) {
        out[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
}

void wire_value(uint32_t number, char *out, size_t bytes)
{
    char key[WIRE_KEY_BYTES];
    wire_key(number, key);
    for (size_t i = 0; i < bytes; i++)
        out[i] = i < WIRE_KEY_BYTES ? key[i] : (char)('a' + i % 26);
}

size_t wire_get(enum wire wire, uint32_t number, char *out)
{
    size_t bytes = 0;
    const char *head = wire == WIRE_RESP ? "*2\r\n$3\r\nGET\r\n$24\r\n" : "get ";
    bytes += strlen(head);
    memcpy(out, head, bytes);
    wire_key(number, out + bytes);
    bytes += WIRE_KEY_BYTES;
    memcpy(out + bytes, "\r\n", 2);
    return bytes + 2;
}

static size_t set_head(uint64_t expires, size_t value_bytes, const char *key, char *out)
{
    return (size_t)snprintf(out, WIRE_HEAD_MAX, "*%d\r\n$3\r\nSET\r\n$24\r\n%.24s\r\n$%zu\r\n",
                            expires ? 5 : 3, key, value_bytes);
}

size_t wire_set(enum wire wire, uint32_t number, size_t value_bytes, uint64_t expires_unix_s,
                char *out)
{
    char key[WIRE_KEY_BYTES];
    size_t bytes;
    wire_key(number, key);
    if (wire == WIRE_RESP)
        bytes = set_head(expires_unix_s, value_bytes, key, out);
    else
        bytes = (size_t)snprintf(out, WIRE_HEAD_MAX, "set %.24s 0 %llu %zu\r\n", key,
                                 (unsigned long long)expires_unix_s, value_bytes);
    wire_value(number, out + bytes, value_bytes);
    bytes += value_bytes;
    memcpy(out + bytes, "\r\n", 2);
    bytes += 2;
    if (wire == WIRE_RESP && expires_unix_s)
        bytes +=
            (size_t)snprintf(out + bytes, WIRE_HEAD_MAX / 2, "$4\r\nEXAT\r\n$10\r\n%010llu\r\n",
                             (unsigned long long)expires_unix_s);
    return bytes;
}

static void append(struct wire_reply *reply, const char *text)
{
    memcpy(reply->text + reply->bytes, text, strlen(text));
    reply->bytes += strlen(text);
}

void wire_get_reply(enum wire wire, struct wire_reply *out)
{
    char value[WIRE_VALUE_BYTES + 1] = "";
    *out = (struct wire_reply){0};
    wire_value(0, value, WIRE_VALUE_BYTES);
    if (wire == WIRE_MEMCACHED) {
        append(out, "VALUE ");
        out->keys[out->key_count++] = out->bytes;
        append(out, "cache:entry:000000000000 0 100\r\n");
    } else {
        append(out, "$100\r\n");
    }
    out->keys[out->key_count++] = out->bytes;
    append(out, value);
    append(out, wire == WIRE_MEMCACHED ? "\r\nEND\r\n" : "\r\n");
}

void wire_set_reply(enum wire wire, struct wire_reply *out)
{
    *out = (struct wire_reply){0};
    append(out, wire == WIRE_MEMCACHED ? "STORED\r\n" : "+OK\r\n");
}

bool wire_reply_is(const struct wire_reply *reply, const char *got, const char *key)
{
    size_t at = 0;
    bool same = true;
    for (size_t i = 0; i < reply->key_count; i++) {
        same &= memcmp(got + at, reply->text + at, reply->keys[i] - at) == 0;
        same &= memcmp(got + reply->keys[i], key, WIRE_KEY_BYTES) == 0;
        at = reply->keys[i] + WIRE_KEY_BYTES;
    }
    return same && memcmp(got + at, reply->text + at, reply->bytes - at) == 0;
}
