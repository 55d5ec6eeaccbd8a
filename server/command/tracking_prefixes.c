/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_prefixes.c - prefixes in a sorted array, each with a link to its parent.
 *
 * All prefixes of a key lie on one chain of parents: let P be one of them and E the greatest prefix
 * that is not above the key. Whatever lies between P and the key in the order of bytes begins with
 * P, so E does, and P is E or an ancestor of it. So a key costs one binary search and a walk up.
 *
 * Costs: a new prefix costs a move of those behind it and a look at those that begin with it; a
 * client that leaves costs a pass over all of them. A change costs the key's bytes and 16 until it
 * is told; a key that changes often is noted as often, and told once.
 */
#include "server/command/tracking_prefixes.h"

#include <stdlib.h>
#include <string.h>

#include "server/resp/reply.h"
#include "sidepond/status.h"

struct changed_head {
    uint64_t writer;
    uint32_t bytes; /* of the key, which comes next */
};
#define HEAD_BYTES 12u

/* --- the array -------------------------------------------------------------------------------- */

static int compare(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    size_t both = a_bytes < b_bytes ? a_bytes : b_bytes;
    int order = both > 0 ? memcmp(a, b, both) : 0;
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static bool begins_with(const void *text, size_t bytes, const struct tracked_prefix *prefix)
{
    return prefix->bytes == 0 ||
           (prefix->bytes <= bytes && memcmp(text, prefix->text, prefix->bytes) == 0);
}

/* How many are not above the text. */
static size_t upper_bound(const struct tracked_prefixes *prefixes, const void *text, size_t bytes)
{
    size_t low = 0, high = prefixes->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct tracked_prefix *prefix = prefixes->sorted[middle];
        if (compare(prefix->text, prefix->bytes, text, bytes) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* In the sorted order a prefix's parent is the one before it, or an ancestor of that. */
static void find_parents(struct tracked_prefixes *prefixes)
{
    struct tracked_prefix *last = NULL;
    for (size_t i = 0; i < prefixes->count; i++) {
        struct tracked_prefix *prefix = prefixes->sorted[i];
        while (last && !begins_with(prefix->text, prefix->bytes, last))
            last = last->parent;
        prefix->parent = last;
        last = prefix;
    }
}

/* A new prefix gets its parent, and becomes that of those which begin with it, and which come next
 * to it, unless they have a longer one. */
static void link_parents(struct tracked_prefixes *prefixes, size_t at)
{
    struct tracked_prefix *prefix = prefixes->sorted[at];
    struct tracked_prefix *parent = at > 0 ? prefixes->sorted[at - 1] : NULL;
    while (parent && !begins_with(prefix->text, prefix->bytes, parent))
        parent = parent->parent;
    prefix->parent = parent;
    for (size_t i = at + 1; i < prefixes->count; i++) {
        struct tracked_prefix *longer = prefixes->sorted[i];
        if (!begins_with(longer->text, longer->bytes, prefix))
            break;
        if (longer->parent == parent)
            longer->parent = prefix;
    }
}

static struct tracked_prefix *insert(struct tracked_prefixes *prefixes, size_t at, const void *text,
                                     size_t bytes)
{
    if (prefixes->count == prefixes->cap) {
        size_t cap = prefixes->cap ? prefixes->cap * 2 : 8;
        struct tracked_prefix **sorted =
            realloc(prefixes->sorted, cap * sizeof(struct tracked_prefix *));
        if (!sorted)
            return NULL;
        prefixes->sorted = sorted;
        prefixes->cap = cap;
    }
    struct tracked_prefix *prefix = calloc(1, sizeof(*prefix) + bytes);
    if (!prefix)
        return NULL;
    prefix->bytes = bytes;
    if (bytes > 0)
        memcpy(prefix->text, text, bytes);
    memmove(prefixes->sorted + at + 1, prefixes->sorted + at,
            (prefixes->count - at) * sizeof(struct tracked_prefix *));
    prefixes->sorted[at] = prefix;
    prefixes->count++;
    link_parents(prefixes, at);
    return prefix;
}

static void free_prefix(struct tracked_prefixes *prefixes, struct tracked_prefix *prefix)
{
    prefixes->changes -= prefix->change_count;
    buffer_free(&prefix->changed);
    free(prefix->ids);
    free(prefix);
}

/* --- clients ---------------------------------------------------------------------------------- */

bool tracked_prefix_has(const struct tracked_prefix *prefix, uint64_t id)
{
    size_t i = 0;
    while (i < prefix->id_count && prefix->ids[i] != id)
        i++;
    return i < prefix->id_count;
}

static int add_id(struct tracked_prefix *prefix, uint64_t id)
{
    if (tracked_prefix_has(prefix, id))
        return SP_OK;
    if (prefix->id_count == prefix->id_cap) {
        size_t cap = prefix->id_cap ? prefix->id_cap * 2 : 4;
        uint64_t *ids = realloc(prefix->ids, cap * sizeof(*ids));
        if (!ids)
            return SP_ENOMEM;
        prefix->ids = ids;
        prefix->id_cap = cap;
    }
    prefix->ids[prefix->id_count++] = id;
    return SP_OK;
}

/* Takes those out that nobody wants. */
static void drop_unwanted(struct tracked_prefixes *prefixes)
{
    size_t kept = 0;
    for (size_t i = 0; i < prefixes->count; i++) {
        struct tracked_prefix *prefix = prefixes->sorted[i];
        if (prefix->id_count > 0)
            prefixes->sorted[kept++] = prefix;
        else
            free_prefix(prefixes, prefix);
    }
    prefixes->count = kept;
    find_parents(prefixes);
}

int tracked_prefixes_add(struct tracked_prefixes *prefixes, const void *text, size_t bytes,
                         uint64_t id)
{
    size_t at = upper_bound(prefixes, text, bytes);
    struct tracked_prefix *prefix = at > 0 ? prefixes->sorted[at - 1] : NULL;
    bool found = prefix && compare(prefix->text, prefix->bytes, text, bytes) == 0;
    if (!found && prefixes->count == TRACKED_PREFIXES_MAX)
        return SP_ETOOBIG;
    if (!found)
        prefix = insert(prefixes, at, text, bytes);
    int status = prefix ? add_id(prefix, id) : SP_ENOMEM;
    if (status != SP_OK)
        drop_unwanted(prefixes);
    return status;
}

const struct tracked_prefix *tracked_prefixes_overlap(const struct tracked_prefixes *prefixes,
                                                      const void *text, size_t bytes, uint64_t id)
{
    size_t at = upper_bound(prefixes, text, bytes);
    const struct tracked_prefix *above = at > 0 ? prefixes->sorted[at - 1] : NULL, *found = NULL;
    for (; above; above = above->parent) {
        if (begins_with(text, bytes, above) && tracked_prefix_has(above, id))
            found = above; /* the shortest one is the first in order */
    }
    for (; !found && at < prefixes->count; at++) {
        const struct tracked_prefix *below = prefixes->sorted[at];
        if (below->bytes < bytes || (bytes > 0 && memcmp(below->text, text, bytes) != 0))
            break;
        if (tracked_prefix_has(below, id))
            found = below;
    }
    return found;
}

void tracked_prefixes_leave(struct tracked_prefixes *prefixes, uint64_t id)
{
    for (size_t i = 0; i < prefixes->count; i++) {
        struct tracked_prefix *prefix = prefixes->sorted[i];
        size_t at = 0;
        while (at < prefix->id_count && prefix->ids[at] != id)
            at++;
        if (at < prefix->id_count)
            prefix->ids[at] = prefix->ids[--prefix->id_count];
    }
    drop_unwanted(prefixes);
}

void tracked_prefixes_free(struct tracked_prefixes *prefixes)
{
    for (size_t i = 0; i < prefixes->count; i++)
        free_prefix(prefixes, prefixes->sorted[i]);
    free(prefixes->sorted);
    *prefixes = (struct tracked_prefixes)TRACKED_PREFIXES_INIT;
}

/* --- changes ---------------------------------------------------------------------------------- */

static bool note(struct tracked_prefixes *prefixes, struct tracked_prefix *prefix, const void *key,
                 size_t bytes, uint64_t writer)
{
    uint32_t size = (uint32_t)bytes;
    if (!buffer_reserve(&prefix->changed, HEAD_BYTES + bytes))
        return false;
    buffer_append(&prefix->changed, &writer, sizeof(writer));
    buffer_append(&prefix->changed, &size, sizeof(size));
    buffer_append(&prefix->changed, key, bytes);
    prefix->change_count++;
    prefixes->changes++;
    return true;
}

bool tracked_prefixes_note(struct tracked_prefixes *prefixes, const void *key, size_t bytes,
                           uint64_t writer)
{
    bool noted = true;
    size_t at = upper_bound(prefixes, key, bytes);
    struct tracked_prefix *prefix = at > 0 ? prefixes->sorted[at - 1] : NULL;
    while (prefix && !begins_with(key, bytes, prefix))
        prefix = prefix->parent;
    for (; prefix; prefix = prefix->parent)
        noted = note(prefixes, prefix, key, bytes, writer) && noted;
    return noted;
}

static struct changed_head head_at(const char *at)
{
    struct changed_head head;
    memcpy(&head.writer, at, sizeof(head.writer));
    memcpy(&head.bytes, at + sizeof(head.writer), sizeof(head.bytes));
    return head;
}

struct change {
    const char *key;
    size_t bytes, number;
    uint64_t writer;
};

/* By key, and the last change of a key first. */
static int compare_changes(const void *left, const void *right)
{
    const struct change *a = left, *b = right;
    int order = compare(a->key, a->bytes, b->key, b->bytes);
    return order != 0 ? order : (a->number < b->number) - (a->number > b->number);
}

/* The changes in order; NULL: no memory. */
static struct change *sort_changes(const struct tracked_prefix *prefix)
{
    struct change *changes = malloc((prefix->change_count + 1) * sizeof(*changes));
    const char *at = prefix->changed.bytes;
    if (!changes)
        return NULL;
    for (size_t i = 0; i < prefix->change_count; i++) {
        struct changed_head head = head_at(at);
        changes[i] = (struct change){at + HEAD_BYTES, head.bytes, i, head.writer};
        at += HEAD_BYTES + head.bytes;
    }
    qsort(changes, prefix->change_count, sizeof(*changes), compare_changes);
    return changes;
}

size_t tracked_prefix_print(const struct tracked_prefix *prefix, uint64_t except,
                            struct buffer *out)
{
    struct reply reply = {out, 2};
    struct change *changes = sort_changes(prefix);
    const struct change *last = NULL;
    size_t count = 0;
    if (!changes) {
        out->failed = true;
        return 0;
    }
    for (size_t i = 0; i < prefix->change_count; i++) {
        const struct change *change = &changes[i];
        bool again = last && compare(last->key, last->bytes, change->key, change->bytes) == 0;
        last = change;
        if (again || (except != 0 && change->writer == except))
            continue;
        reply_bulk(&reply, change->key, change->bytes);
        count++;
    }
    free(changes);
    reply_array_at(&reply, 0, count);
    return count;
}

bool tracked_prefix_changed_by(const struct tracked_prefix *prefix, uint64_t id)
{
    struct changed_head head;
    for (size_t at = 0; at < prefix->changed.size; at += HEAD_BYTES + head.bytes) {
        head = head_at(prefix->changed.bytes + at);
        if (head.writer == id)
            return true;
    }
    return false;
}

void tracked_prefix_told(struct tracked_prefixes *prefixes, struct tracked_prefix *prefix)
{
    prefixes->changes -= prefix->change_count;
    prefix->change_count = 0;
    buffer_free(&prefix->changed);
}
