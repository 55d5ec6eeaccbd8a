/* SPDX-License-Identifier: Apache-2.0
 *
 * hints.h - the hints file: where readers say which entries of the cache they use, and how often
 * they found one (format.h).
 *
 * Everybody in the pond's group can write the file, and truncate it, which makes touching the
 * mapping a SIGBUS. So the daemon, which must outlive any reader, looks at it through hints_take
 * alone; the mapping is for readers.
 */
#ifndef SIDEPOND_HINTS_H
#define SIDEPOND_HINTS_H

#include <stdbool.h>

#include "alloc/format.h"
#include "sidepond/status.h"

struct hints {
    int fd;
    struct hints_head *head; /* NULL: not mapped */
    _Atomic uint8_t *bytes;
    uint64_t capacity; /* of the mapping, which goes beyond the file's end until that has grown */
};

/* Makes the file for a pond of that id, without any hints yet. One that is there, of that id and
 * with the same or a larger capacity, stays, since readers have it mapped. `gid` -1: leave. The
 * caller holds the writer's lock. SP_EINVAL (a capacity above HINTS_BYTES_MAX), SP_EACCESS,
 * SP_ENOSHM, SP_ESYS with a sentence in why (REGION_WHY_BYTES, or NULL). */
int hints_create(const char *directory, const uint64_t id[2], uint64_t capacity, long gid,
                 char *why);

/* Opens and maps it. SP_ENOTREADY: it is absent, or of another pond; SP_EACCESS, SP_ECORRUPT,
 * SP_ENOMEM, SP_ESYS. */
int hints_attach(const char *directory, const uint64_t id[2], struct hints *out);
void hints_detach(struct hints *hints);

/* Makes room for so many hints, of the file's capacity at most, and tells readers. Never shrinks.
 * Writes the head's words anew, so it mends a damaged file as well. SP_ENOSHM, SP_ESYS. The
 * daemon's. */
int hints_grow(struct hints *hints, const uint64_t id[2], uint64_t bytes);

/* What readers have added up since the file was made; 0 where that cannot be read. The daemon's: by
 * a system call, and of no more worth than those who can write the file. */
void hints_counts(const struct hints *hints, uint64_t *hits, uint64_t *misses);

/* How many hints can be touched now. Asks the system. */
uint64_t hints_backed(const struct hints *hints);

/* The daemon's look: copies `bytes` hints from `first` on and clears them. Those set in between are
 * lost. What the file does not have reads as 0. Two system calls where there are hints, else one;
 * so take a page at a time. */
void hints_take(struct hints *hints, uint64_t first, uint8_t *out, size_t bytes);

#endif
