/* SPDX-License-Identifier: Apache-2.0
 *
 * textbook_buddy.c - binary buddy allocation with trimmed tails.
 *
 * A free block of order k starts at a multiple of 2^k and is in the doubly linked list of its
 * order; links and orders lie in arrays beside the arena. A request takes the smallest block of
 * at least the next power of two, splits it down, and gives the unused tail back as smaller
 * blocks. Free splits its range into aligned blocks and merges each with its buddy while that is
 * free. O(log n), 9 bytes of metadata to a unit.
 */
#include "textbook_buddy.h"

#include <string.h>
#include <sys/mman.h>

static void *map_zeroed(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void push(struct textbook_buddy *t, uint32_t first, unsigned order)
{
    uint32_t head = t->heads[order];

    t->next[first] = head;
    t->prev[first] = TEXTBOOK_NONE;
    if (head != TEXTBOOK_NONE)
        t->prev[head] = first;
    t->heads[order] = first;
    t->order[first] = (unsigned char)(order + 1);
}

static void unlink_block(struct textbook_buddy *t, uint32_t first, unsigned order)
{
    uint32_t next = t->next[first];
    uint32_t prev = t->prev[first];

    if (prev == TEXTBOOK_NONE)
        t->heads[order] = next;
    else
        t->next[prev] = next;
    if (next != TEXTBOOK_NONE)
        t->prev[next] = prev;
    t->order[first] = 0;
}

static void free_block(struct textbook_buddy *t, uint32_t first, unsigned order)
{
    for (;; order++) {
        uint32_t buddy = first ^ (1U << order);
        if (buddy >= t->units || t->order[buddy] != order + 1)
            break;
        unlink_block(t, buddy, order);
        first &= ~(1U << order);
    }
    push(t, first, order);
}

int textbook_init(struct textbook_buddy *t, uint64_t units)
{
    t->next = map_zeroed(units * sizeof *t->next);
    t->prev = map_zeroed(units * sizeof *t->prev);
    t->order = map_zeroed(units);
    t->units = units;
    memset(t->heads, 0xff, sizeof t->heads);
    if (!t->next || !t->prev || !t->order)
        return -1;
    push(t, 0, (unsigned)__builtin_ctzll(units));
    return 0;
}

uint32_t textbook_alloc(struct textbook_buddy *t, uint32_t count)
{
    unsigned want = count == 1 ? 0 : 32 - (unsigned)__builtin_clz(count - 1);
    unsigned order = want;

    while (order < TEXTBOOK_ORDERS && t->heads[order] == TEXTBOOK_NONE)
        order++;
    if (order == TEXTBOOK_ORDERS)
        return TEXTBOOK_NONE;
    uint32_t first = t->heads[order];
    unlink_block(t, first, order);
    while (order-- > want)
        push(t, first + (1U << order), order);
    textbook_free(t, first + count, (1U << want) - count);
    return first;
}

void textbook_free(struct textbook_buddy *t, uint32_t first, uint32_t count)
{
    while (count != 0) {
        unsigned order = 31 - (unsigned)__builtin_clz(count);
        if (first != 0 && (unsigned)__builtin_ctz(first) < order)
            order = (unsigned)__builtin_ctz(first);
        free_block(t, first, order);
        first += 1U << order;
        count -= 1U << order;
    }
}

size_t textbook_meta_bytes(uint64_t units)
{
    return units * (2 * sizeof(uint32_t) + 1);
}
