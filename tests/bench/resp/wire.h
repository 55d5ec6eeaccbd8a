/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.h - requests and what a right server answers to them, in RESP and in memcached's text
 * protocol. All keys have 24 bytes; the value of an entry begins with its key.
 */
#ifndef SIDEPOND_BENCH_WIRE_H
#define SIDEPOND_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_KEY_BYTES   24u
#define WIRE_VALUE_BYTES 100u
#define WIRE_HEAD_MAX    192u /* a SET without its value and last line end */
#define WIRE_REPLY_MAX   192u /* a GET's of WIRE_VALUE_BYTES */

enum wire { WIRE_RESP, WIRE_MEMCACHED };

/* What redis-benchmark makes of WIRE_KEY_PATTERN, too. */
#define WIRE_KEY_PATTERN "cache:entry:__rand_int__"
void wire_key(uint32_t number, char out[WIRE_KEY_BYTES]);
/* Its key, and letters; of a value shorter than a key, the key's first bytes. */
void wire_value(uint32_t number, char *out, size_t bytes);

/* A request, into room for WIRE_HEAD_MAX and the value; its bytes, which are the same for each
 * number. */
size_t wire_get(enum wire wire, uint32_t number, char *out);
/* `expires_unix_s` 0: never. */
size_t wire_set(enum wire wire, uint32_t number, size_t value_bytes, uint64_t expires_unix_s,
                char *out);

/* A GET's reply: bytes, and where in it the key lies; the rest is the same for each number, but
 * for memcached's first line, which repeats the key. */
struct wire_reply {
    char text[WIRE_REPLY_MAX];
    size_t bytes;
    size_t keys[2]; /* offsets */
    size_t key_count;
};
void wire_get_reply(enum wire wire, struct wire_reply *out);
void wire_set_reply(enum wire wire, struct wire_reply *out);
/* Whether the bytes are that reply for that key. */
bool wire_reply_is(const struct wire_reply *reply, const char *got, const char *key);

#endif
