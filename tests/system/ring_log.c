/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_log.c - names of keys, and values that say which write they are of.
 *
 * A value is a magic number, the key, the number, the writer, its own size and a checksum over the
 * whole, followed by bytes that a generator seeded with all of these makes. A value cut short,
 * mixed of two, or of another key is no value.
 */
#include "ring_log.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAGIC 0x676e6972u

struct value_head {
    uint32_t magic, key, number, bytes;
    uint16_t writer, unused[3];
    uint64_t sum;
};
static_assert(sizeof(struct value_head) == RING_VALUE_BYTES_MIN, "the smallest value is a head");

void ring_key_name(uint32_t key, char name[RING_KEY_BYTES])
{
    snprintf(name, RING_KEY_BYTES, "ring:%010u", (unsigned)key);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t sum_of(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * 0x100000001b3u;
    return mix(sum);
}

void ring_value_make(uint32_t key, uint16_t writer, uint32_t number, void *value, size_t bytes)
{
    uint8_t *at = value;
    struct value_head head = {.magic = VALUE_MAGIC,
                              .key = key,
                              .number = number,
                              .writer = writer,
                              .bytes = (uint32_t)bytes};
    uint64_t state = ((uint64_t)key << 32 | number) + writer;
    memcpy(at, &head, sizeof(head));
    for (size_t i = sizeof(head); i < bytes; i++)
        at[i] = (uint8_t)(mix(state + i) & 0xff);
    head.sum = sum_of(value, bytes);
    memcpy(at, &head, sizeof(head));
}

bool ring_value_read(uint32_t key, const void *value, size_t bytes, uint16_t *writer,
                     uint32_t *number)
{
    uint8_t whole[RING_VALUE_BYTES_MAX];
    struct value_head head;
    if (bytes < sizeof(head) || bytes > sizeof(whole))
        return false;
    memcpy(&head, value, sizeof(head));
    if (head.magic != VALUE_MAGIC || head.key != key || head.bytes != bytes)
        return false;
    ring_value_make(key, head.writer, head.number, whole, bytes);
    *writer = head.writer;
    *number = head.number;
    return memcmp(whole, value, bytes) == 0;
}
