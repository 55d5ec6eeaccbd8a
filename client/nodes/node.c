/* SPDX-License-Identifier: Apache-2.0
 *
 * node.c - a node as this handle sees it: its breaker, and figures.
 *
 * The breaker opens at the first refused or reset connection, or after TIMEOUTS_TO_OPEN calls in a
 * row without an answer in time. The keeper PINGs a node that is kept back, or that has been slow
 * once, at once and then every probe_ms: an answer closes the breaker, as any answer does, and
 * silence opens it. It changes the order in which nodes are asked, nothing else.
 *
 * Costs: a call that is answered adds to three counters, without a lock. The latencies are those of
 * the last NODE_LATENCIES calls, and are sorted when somebody asks.
 */
#include <stdlib.h>
#include <string.h>

#include "client/nodes/nodes.h"

struct node *node_new(const struct ring_node *of)
{
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return NULL;
    atomic_init(&node->references, 1);
    memcpy(node->name, of->name, sizeof node->name);
    memcpy(node->address, of->address, sizeof node->address);
    atomic_init(&node->start, of->start);
    return node;
}

void node_ref(struct node *node)
{
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
}

void node_unref(struct node *node)
{
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) != 1)
        return;
    pool_free_all(node);
    trust_forget(node);
    copy_forget(node);
    free(node);
}

void node_answered(struct node *node, uint64_t us, size_t replies)
{
    uint32_t at = atomic_fetch_add_explicit(&node->latency_at, 1, memory_order_relaxed);
    uint32_t short_us = us < 1 ? 1 : us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    atomic_store_explicit(&node->latencies_us[at % NODE_LATENCIES], short_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&node->calls, replies, memory_order_relaxed);
    if (atomic_load_explicit(&node->timeouts, memory_order_relaxed) != 0)
        atomic_store_explicit(&node->timeouts, 0, memory_order_relaxed);
    if (node_kept_back(node))
        node_close_breaker(node);
    else if (atomic_load_explicit(&node->suspect, memory_order_relaxed))
        atomic_store_explicit(&node->suspect, false, memory_order_relaxed);
}

bool node_failed(struct node *node, bool slow)
{
    atomic_fetch_add_explicit(&node->failures, 1, memory_order_relaxed);
    if (slow &&
        atomic_fetch_add_explicit(&node->timeouts, 1, memory_order_relaxed) + 1 < TIMEOUTS_TO_OPEN)
        return false;
    if (!slow) {
        atomic_store_explicit(&node->restarted, true, memory_order_relaxed);
        atomic_store_explicit(&node->down, true, memory_order_relaxed);
    }
    if (atomic_exchange_explicit(&node->open, true, memory_order_relaxed))
        return false;
    atomic_store_explicit(&node->probe_us, 0, memory_order_relaxed);
    return true;
}

bool node_suspect(struct node *node)
{
    return !node_kept_back(node) &&
           !atomic_exchange_explicit(&node->suspect, true, memory_order_relaxed);
}

void node_open_breaker(struct node *node)
{
    atomic_store_explicit(&node->down, true, memory_order_relaxed);
    atomic_store_explicit(&node->open, true, memory_order_relaxed);
}

void node_close_breaker(struct node *node)
{
    atomic_store_explicit(&node->suspect, false, memory_order_relaxed);
    atomic_store_explicit(&node->timeouts, 0, memory_order_relaxed);
    atomic_store_explicit(&node->down, false, memory_order_relaxed);
    atomic_store_explicit(&node->open, false, memory_order_relaxed);
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

void node_latencies(const struct node *node, uint32_t *median_us, uint32_t *p99_us)
{
    uint32_t sorted[NODE_LATENCIES];
    size_t count = 0;
    for (size_t i = 0; i < NODE_LATENCIES; i++) {
        sorted[count] = atomic_load_explicit(&node->latencies_us[i], memory_order_relaxed);
        count += sorted[count] != 0;
    }
    qsort(sorted, count, sizeof sorted[0], by_size);
    *median_us = count > 0 ? sorted[count / 2] : 0;
    *p99_us = count > 0 ? sorted[count * 99 / 100] : 0;
}
