/* SPDX-License-Identifier: Apache-2.0
 *
 * write.c - sp_ring_set, sp_ring_delete and sp_ring_mput.
 */
#include <stdlib.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

static int check_put(const struct spread_item *item)
{
    if (item->value != NULL && item->value_bytes > SP_VALUE_BYTES_MAX)
        return error_set(SP_ETOOBIG, "a value has at most %u bytes, and this has %zu",
                         SP_VALUE_BYTES_MAX, item->value_bytes);
    if (item->ttl_ms < 0 || item->ttl_ms > INT64_MAX / 4)
        return error_set(SP_EINVAL, "a time to live is neither below 0 nor for aeons");
    return ring_check_key(item->key, item->key_bytes);
}

static int run_one(struct sp_ring *ring, struct spread_item *item, enum sp_ring_need need,
                   struct sp_ring_copies *copies)
{
    char why[NODE_TEXT_BYTES];
    int status = check_put(item);
    if (status == SP_OK)
        status = spread_run(ring, item, 1, need, why);
    if (status == SP_OK && item->status != SP_OK)
        status = error_set(item->status, "%s", why);
    if (copies != NULL)
        *copies = item->copies;
    return status;
}

int sp_ring_set(struct sp_ring *ring, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes, int64_t ttl_ms, enum sp_ring_need need,
                struct sp_ring_copies *copies)
{
    struct spread_item item = {.key = key,
                               .key_bytes = key_bytes,
                               .value = value != NULL ? value : "",
                               .value_bytes = value_bytes,
                               .ttl_ms = ttl_ms};
    if (value == NULL && value_bytes > 0)
        return error_set(SP_EINVAL, "there is no value");
    return run_one(ring, &item, need, copies);
}

int sp_ring_delete(struct sp_ring *ring, const void *key, size_t key_bytes, enum sp_ring_need need,
                   struct sp_ring_copies *copies)
{
    struct spread_item item = {.key = key, .key_bytes = key_bytes};
    return run_one(ring, &item, need, copies);
}

static int check_puts(const struct sp_ring_put *puts, struct spread_item *items, size_t count)
{
    int status = SP_OK;
    for (size_t i = 0; i < count && status == SP_OK; i++) {
        items[i].key = puts[i].key;
        items[i].key_bytes = puts[i].key_bytes;
        items[i].value = puts[i].value;
        items[i].value_bytes = puts[i].value_bytes;
        items[i].ttl_ms = puts[i].ttl_ms;
        status = check_put(&items[i]);
    }
    return status;
}

int sp_ring_mput(struct sp_ring *ring, struct sp_ring_put *puts, size_t count,
                 enum sp_ring_need need)
{
    char why[NODE_TEXT_BYTES];
    if (count == 0)
        return SP_OK;
    if (count > UINT32_MAX)
        return error_plain(SP_EINVAL);
    struct spread_item *items = calloc(count, sizeof *items);
    if (items == NULL)
        return error_plain(SP_ENOMEM);
    int status = check_puts(puts, items, count);
    if (status == SP_OK)
        status = spread_run(ring, items, count, need, why);
    int whole = status;
    for (size_t i = 0; i < count; i++) {
        puts[i].status = whole != SP_OK ? whole : items[i].status;
        puts[i].copies = items[i].copies;
        if (status == SP_OK && puts[i].status != SP_OK)
            status = error_set(puts[i].status, "%s", why);
    }
    free(items);
    return status;
}
