/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_keys.c - rows of a table copied into private memory for `sidepond bench`.
 *
 * The private table is what a worker would have if it kept the rows itself: open addressing at a
 * load of at most one half, the hash of XXH3, key and value beside each other.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bench_keys.h"

static int row_add(struct bench_keys *keys, const struct sp_view *view)
{
    size_t size = view->key_bytes + view->value_bytes;
    if (keys->count == keys->room) {
        size_t room = keys->room > 0 ? 2 * keys->room : 1024;
        struct bench_row *rows = realloc(keys->rows, room * sizeof *rows);
        if (rows == NULL)
            return SP_ENOMEM;
        keys->rows = rows;
        keys->room = room;
    }
    if (keys->bytes_used + size > keys->bytes_room) {
        size_t room = 2 * (keys->bytes_used + size) + 4096;
        unsigned char *bytes = realloc(keys->bytes, room);
        if (bytes == NULL)
            return SP_ENOMEM;
        keys->bytes = bytes;
        keys->bytes_room = room;
    }
    memcpy(keys->bytes + keys->bytes_used, view->key, view->key_bytes);
    if (view->value_bytes > 0)
        memcpy(keys->bytes + keys->bytes_used + view->key_bytes, view->value, view->value_bytes);
    keys->rows[keys->count++] = (struct bench_row){keys->bytes_used, (uint32_t)view->key_bytes,
                                                   (uint32_t)view->value_bytes};
    keys->bytes_used += size;
    if (view->value_bytes > keys->value_bytes_max)
        keys->value_bytes_max = view->value_bytes;
    return SP_OK;
}

int bench_keys_read(struct bench_keys *keys, struct tool *tool, struct sp_table *table, size_t max)
{
    struct sp_snapshot *snapshot = NULL;
    struct sp_scan *scan = NULL;
    struct sp_view view;
    int status = sp_snapshot_begin(tool->pond, &snapshot);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, table, &scan);
    while (status == SP_OK && keys->count < max && (status = sp_scan_next(scan, &view)) == SP_OK)
        status = row_add(keys, &view);
    if (status == SP_OK || status == SP_ENOTFOUND)
        status = sp_snapshot_check(snapshot);
    if (scan != NULL)
        sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    return status == SP_OK ? TOOL_OK : tool_failed(status, "table \"%s\"", sp_table_name(table));
}

/* xorshift64*: quick, and good enough to defeat the prefetcher. */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

void bench_keys_shuffle(struct bench_keys *keys, uint64_t seed)
{
    uint64_t state = seed | 1;
    for (size_t i = keys->count; i > 1; i--) {
        size_t other = (size_t)(random_next(&state) % i);
        struct bench_row row = keys->rows[i - 1];
        keys->rows[i - 1] = keys->rows[other];
        keys->rows[other] = row;
    }
}

int bench_keys_ask(struct bench_keys *keys)
{
    size_t at = 0;
    keys->asked = malloc(keys->bytes_used + 1);
    if (keys->asked == NULL)
        return tool_failed(SP_ENOMEM, "keys");
    for (size_t i = 0; i < keys->count; i++) {
        const struct bench_row *row = &keys->rows[i];
        memcpy(keys->asked + at, bench_key(keys, row), row->key_bytes);
        at += row->key_bytes;
    }
    return TOOL_OK;
}

int bench_keys_index(struct bench_keys *keys)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)keys->count)
        size *= 2;
    keys->mask = size - 1;
    keys->buckets = calloc(size, sizeof *keys->buckets);
    if (keys->buckets == NULL)
        return tool_failed(SP_ENOMEM, "private table");
    for (size_t i = 0; i < keys->count; i++) {
        const struct bench_row *row = &keys->rows[i];
        uint64_t at = XXH3_64bits(bench_key(keys, row), row->key_bytes) & keys->mask;
        while (keys->buckets[at] != 0)
            at = (at + 1) & keys->mask;
        keys->buckets[at] = (uint32_t)i + 1;
    }
    return TOOL_OK;
}

size_t bench_private_get(const struct bench_keys *keys, const void *key, size_t key_bytes,
                         void *out)
{
    uint64_t at = XXH3_64bits(key, key_bytes) & keys->mask;
    for (; keys->buckets[at] != 0; at = (at + 1) & keys->mask) {
        const struct bench_row *row = &keys->rows[keys->buckets[at] - 1];
        const unsigned char *bytes = bench_key(keys, row);
        if (row->key_bytes == key_bytes && memcmp(bytes, key, key_bytes) == 0) {
            memcpy(out, bytes + key_bytes, row->value_bytes);
            return row->value_bytes;
        }
    }
    return SIZE_MAX;
}

void bench_keys_free(struct bench_keys *keys)
{
    free(keys->bytes);
    free(keys->asked);
    free(keys->rows);
    free(keys->buckets);
    memset(keys, 0, sizeof *keys);
}
