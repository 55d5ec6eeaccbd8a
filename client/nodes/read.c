/* SPDX-License-Identifier: Apache-2.0
 *
 * read.c - sp_ring_get and sp_ring_mget.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

static int put_get(struct batch *batch, uint32_t item, struct sp_buffer *out)
{
    const struct sp_ring_get *get = (struct sp_ring_get *)batch->context + item;
    const struct argument arguments[] = {{"GET", 3}, {get->key, get->key_bytes}};
    return put_arguments(out, arguments, 2);
}

static void prepare_get(struct batch *batch, uint32_t item, unsigned part, struct answer *answer)
{
    (void)part;
    answer->value = &((struct sp_ring_get *)batch->context + item)->value;
}

enum verdict verdict_of_error(struct batch *batch, struct item *item, const char *text,
                              const struct node *node)
{
    static const char *const elsewhere[] = {"LOADING ",  "MASTERDOWN ", "CLUSTERDOWN ",
                                            "READONLY ", "TRYAGAIN ",   "BUSY ",
                                            "MISCONF ",  "NOREPLICAS "};
    snprintf(batch->why, sizeof batch->why, "%s (%s): %s", node->name, node->address, text);
    if (strncmp(text, "NOTHELD ", 8) == 0) {
        ring_later_epoch(batch->ring, strtoull(text + 8, NULL, 10));
        return VERDICT_UNSURE;
    }
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++)
        if (strncmp(text, elsewhere[i], strlen(elsewhere[i])) == 0)
            return VERDICT_REFUSED;
    item->status = error_status(text);
    return item->status == SP_EACCESS ? VERDICT_REFUSED : VERDICT_DONE;
}

static enum verdict answered_get(struct batch *batch, uint32_t at, unsigned part,
                                 struct answer *answer, const struct node *node)
{
    struct item *item = &batch->items[at];
    enum verdict verdict;
    (void)part;
    switch (answer->type) {
    case SP_REPLY_TEXT:
        item->status = SP_OK;
        return VERDICT_DONE;
    case SP_REPLY_NULL:
        verdict = batch_absence(batch, item, node);
        if (verdict == VERDICT_DONE)
            item->status = SP_ENOTFOUND;
        return verdict;
    case SP_REPLY_ERROR:
        return verdict_of_error(batch, item, answer->text, node);
    default:
        item->status = SP_EREFUSED;
        return VERDICT_DONE;
    }
}

static int plan_gets(struct batch *batch)
{
    const struct sp_ring_get *gets = batch->context;
    for (size_t i = 0; i < batch->count; i++)
        batch->items[i].slot =
            ring_slot(gets[i].key, gets[i].key_bytes, batch->view->map->parameters.slots);
    return SP_OK;
}

static const struct batch_rules get_rules = {plan_gets, put_get, prepare_get, answered_get, NULL};

/* On Redis nodes, once more where it may be found; all together no longer than the hedging delay,
 * or without one, than there is time. */
static void look_again(const struct batch *batch, struct sp_ring_get *gets)
{
    const uint32_t hedge_ms = batch->ring->settings.hedge_ms;
    uint64_t now = clock_us();
    const uint64_t until = hedge_ms != 0 ? now + hedge_ms * UINT64_C(1000) : batch->deadline_us;
    for (size_t i = 0; i < batch->count && (now = clock_us()) < until; i++) {
        struct item *item = &batch->items[i];
        if (item->done && item->status == SP_ENOTFOUND &&
            copy_find(batch->ring, batch->view, item->slot, gets[i].key, gets[i].key_bytes,
                      (uint32_t)((until - now) / 1000 + 1), &gets[i].value))
            item->status = SP_OK;
    }
}

static int run_gets(struct sp_ring *ring, struct sp_ring_get *gets, struct item *items,
                    size_t count)
{
    struct batch batch;
    memset(items, 0, count * sizeof *items);
    for (size_t i = 0; i < count; i++)
        gets[i].value.size = 0;
    batch.ring = ring;
    batch.rules = &get_rules;
    batch.context = gets;
    batch.items = items;
    batch.count = count;
    batch.why[0] = '\0';
    int status = batch_run(&batch);
    if (batch.view != NULL && batch.view->map->parameters.kind == RING_REDIS)
        look_again(&batch, gets);
    view_give(batch.view);
    for (size_t i = 0; i < count; i++) {
        gets[i].status = items[i].done ? items[i].status : status;
        if (status == SP_OK && items[i].status != SP_OK && items[i].status != SP_ENOTFOUND)
            status = error_set(items[i].status, "%s", batch.why);
    }
    return status;
}

int sp_ring_get(struct sp_ring *ring, const void *key, size_t key_bytes, struct sp_buffer *value)
{
    struct item item;
    struct sp_ring_get get = {.key = key, .key_bytes = key_bytes, .value = *value};
    int status = ring_check_key(key, key_bytes);
    if (status != SP_OK)
        return status;
    status = run_gets(ring, &get, &item, 1);
    *value = get.value;
    return status != SP_OK ? status : get.status;
}

int sp_ring_mget(struct sp_ring *ring, struct sp_ring_get *gets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = ring_check_key(gets[i].key, gets[i].key_bytes);
        if (status != SP_OK)
            return status;
    }
    if (count == 0)
        return SP_OK;
    if (count > UINT32_MAX)
        return error_plain(SP_EINVAL);
    struct item *items = malloc(count * sizeof *items);
    if (items == NULL)
        return error_plain(SP_ENOMEM);
    int status = run_gets(ring, gets, items, count);
    free(items);
    return status;
}
