/* SPDX-License-Identifier: Apache-2.0
 *
 * list.h - doubly linked lists of keys. The links of all lists of a cache are two arrays, since a
 * key is in at most one list at a time.
 */
#ifndef SIDEPOND_LIST_H
#define SIDEPOND_LIST_H

#include <stdlib.h>

#include "policy.h"

struct links {
    uint32_t *newer, *older;
};

struct list {
    uint32_t newest, oldest;
    uint32_t size;
};

static inline struct links links_new(uint32_t key_count)
{
    return (struct links){policy_alloc(key_count, sizeof(uint32_t)),
                          policy_alloc(key_count, sizeof(uint32_t))};
}

static inline void links_free(struct links *links)
{
    free(links->newer);
    free(links->older);
}

static inline struct list list_empty(void)
{
    return (struct list){KEY_NONE, KEY_NONE, 0};
}

static inline void list_push(struct list *list, struct links *links, uint32_t key)
{
    links->newer[key] = KEY_NONE;
    links->older[key] = list->newest;
    if (list->newest == KEY_NONE)
        list->oldest = key;
    else
        links->newer[list->newest] = key;
    list->newest = key;
    list->size++;
}

static inline void list_remove(struct list *list, struct links *links, uint32_t key)
{
    uint32_t newer = links->newer[key], older = links->older[key];
    if (newer == KEY_NONE)
        list->newest = older;
    else
        links->older[newer] = older;
    if (older == KEY_NONE)
        list->oldest = newer;
    else
        links->newer[older] = newer;
    list->size--;
}

/* Takes the oldest out. The list is not empty. */
static inline uint32_t list_pop(struct list *list, struct links *links)
{
    uint32_t key = list->oldest;
    list_remove(list, links, key);
    return key;
}

#endif
