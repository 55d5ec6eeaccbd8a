/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_prefixes.h - who wants to hear of which prefixes of keys, and which keys with them have
 * changed since they were last told.
 *
 * Not for several threads at once: the caller has a lock.
 */
#ifndef SIDEPOND_COMMAND_TRACKING_PREFIXES_H
#define SIDEPOND_COMMAND_TRACKING_PREFIXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/bytes/buffer.h"

struct tracked_prefix {
    struct tracked_prefix *parent; /* the longest other one that this one begins with */
    uint64_t *ids;                 /* of its clients */
    size_t id_count, id_cap;
    struct buffer changed; /* struct changed_head and the key, for each change */
    size_t change_count;
    size_t bytes;
    char text[];
};

struct tracked_prefixes {
    struct tracked_prefix **sorted; /* by their bytes, as memcmp and then by size */
    size_t count, cap;
    size_t changes; /* that wait, over all prefixes */
};
#define TRACKED_PREFIXES_INIT                                                                      \
    {                                                                                              \
        NULL, 0, 0, 0                                                                              \
    }

#define TRACKED_PREFIXES_MAX 65536u

/* SP_ENOMEM; SP_ETOOBIG: there are TRACKED_PREFIXES_MAX. Nothing happens if the client has it. */
int tracked_prefixes_add(struct tracked_prefixes *prefixes, const void *text, size_t bytes,
                         uint64_t id);
/* Takes a client out of all of them. */
void tracked_prefixes_leave(struct tracked_prefixes *prefixes, uint64_t id);
/* A prefix of the client that begins with the text, or that the text begins with: the first in
 * order; NULL: there is none. */
const struct tracked_prefix *tracked_prefixes_overlap(const struct tracked_prefixes *prefixes,
                                                      const void *text, size_t bytes, uint64_t id);
bool tracked_prefix_has(const struct tracked_prefix *prefix, uint64_t id);
void tracked_prefixes_free(struct tracked_prefixes *prefixes);

/* Notes with all prefixes of a key that it was changed, by client `writer` (0: by none). False:
 * there was no memory for that. */
bool tracked_prefixes_note(struct tracked_prefixes *prefixes, const void *key, size_t bytes,
                           uint64_t writer);

/* What has changed since tracked_prefix_told, as a reply's array of keys: in order, each once, but
 * without those that the client `except` (0: none) was the last to change. How many. */
size_t tracked_prefix_print(const struct tracked_prefix *prefix, uint64_t except,
                            struct buffer *out);
/* Whether the client has changed any of them. */
bool tracked_prefix_changed_by(const struct tracked_prefix *prefix, uint64_t id);
void tracked_prefix_told(struct tracked_prefixes *prefixes, struct tracked_prefix *prefix);

#endif
