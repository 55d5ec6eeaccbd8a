/* SPDX-License-Identifier: Apache-2.0
 *
 * region.h - a pond's files, mapped: finding, attaching, creating, and backing them with memory.
 *
 * The pond file is as large as the pond's limit from the start and mapped whole, so nobody ever
 * remaps; it is sparse, and the writer backs a range with memory (fallocate) before it is touched,
 * so that a full file system is an error at the writer and never a signal at a reader.
 *
 * Readers use region_attach; everything else is the daemon's.
 */
#ifndef SIDEPOND_REGION_H
#define SIDEPOND_REGION_H

#include <stdbool.h>

#include "alloc/clock.h"
#include "alloc/format.h"
#include "alloc/hash.h"
#include "sidepond/status.h"

struct region {
    int dir_fd;    /* the pond's directory */
    int fd;        /* the pond file */
    uint8_t *base; /* whole file; PROT_READ for readers; aligned to FORMAT_ARENA_ALIGN */
    size_t file_bytes;
    struct super *super;
    struct table_slot *slots; /* [FORMAT_TABLES_MAX] */
    uint8_t *meta;
    uint8_t *arena;
    uint64_t unit_limit;
    struct hash_secret hash;
};

#define REGION_WHY_BYTES 512

/* The checksum of a superblock's fixed lines, with magic taken as 0. */
uint64_t super_checksum(const struct super *super);

/* The directory of a pond: with a slash in the name that name, else $SIDEPOND_ROOT (default
 * /dev/shm/sidepond) / name; slashes at the end go. NULL: $SIDEPOND, else "main". SP_EINVAL for a
 * name that is not one. */
int region_directory(const char *name, char *out, size_t cap);

/* Maps an existing pond read-only. Checks the superblock against the file, so that every offset in
 * it can be used: SP_ENOPOND, SP_EACCESS, SP_EFORMAT, SP_ECORRUPT, SP_ENOMEM, SP_ESYS with a
 * sentence in why (REGION_WHY_BYTES, or NULL; so wherever there is a `why`). */
int region_attach(const char *directory, struct region *out, char *why);

/* Whether the directory's pond file is another one than the region's by now. */
bool region_replaced(const char *directory, const struct region *region);

/* The same for the daemon: read-write, and only files that belong to its own user. */
int region_attach_writer(const char *directory, struct region *out, char *why);

/* Creates the file of a new pond in a directory (made if absent, mode 0750) under a temporary name,
 * backed up to the end of the header, everything else sparse. An existing pond there stays
 * untouched until region_publish, which writes magic, renames the file into place and then makes a
 * leases file for it. In this order: a crash between the two leaves a new pond whose leases file is
 * of another id, which region_leases_create replaces; the other order would leave the old pond with
 * a leases file that its readers' leases are not in. `gid` -1: leave. The caller holds the writer's
 * lock. */
struct region_create {
    const char *name;
    uint64_t limit_bytes;
    uint64_t meta_bytes; /* asked of the allocator for region_units_for(limit_bytes) units */
    long gid;
};
/* Units of an arena of limit_bytes, in whole 4 KiB pages; at least one page. The limit is the
 * arena's alone: header and metadata come on top. */
uint64_t region_units_for(uint64_t limit_bytes);
int region_create(const char *directory, const struct region_create *how, struct region *out,
                  char *why);
int region_publish(const char *directory, struct region *region, char *why);
/* Removes what region_create has made and region_publish has not renamed. */
void region_discard(struct region *region);
/* Whether the file in the pond's place has something in it that no Sidepond has written. */
bool region_foreign(const char *directory);
/* Gives directory, pond, leases and lock to a group, where they belong to another one. */
int region_give_to_group(const char *directory, long gid, char *why);

/* Ponds that were replaced keep a name of their own (pond.old, pond.old1 ...) until their memory is
 * given back, so that a daemon that starts later can go on with it. region_retired_open marks one
 * as retired, which tells its readers; SP_ENOPOND: there is none of this number.
 * region_retired_end gives its memory back, removes the name and closes the descriptor. */
#define REGION_RETIRED_MAX 4u
int region_retired_open(const char *directory, unsigned number, int *fd);
void region_retired_end(const char *directory, unsigned number, int fd);

void region_detach(struct region *region);

/* Backs a range of the file with memory. SP_ENOSHM (region_space_text makes the sentence: how much
 * was asked for, how much the file system has), SP_ESYS with errno. */
int region_commit(struct region *region, uint64_t off, uint64_t bytes);
void region_space_text(const struct region *region, uint64_t bytes, char *why);
/* Gives the memory of a range back; it reads as zeros then. Whole 4 KiB pages inside the range. */
int region_punch(struct region *region, uint64_t off, uint64_t bytes);
/* Asks for huge pages under a range that is backed (Linux 6.1+; else a no-op returning false). */
bool region_collapse(struct region *region, uint64_t off, uint64_t bytes);

/* The leases file: opened anew (an own open file description, so own OFD locks) and mapped shared.
 * region_leases_create makes it, for a pond of that id; one that is there and of that id stays,
 * since readers may hold leases in it. Attaching answers SP_ENOTREADY where the file is absent or
 * of another pond (the daemon is about to make it), SP_EACCESS, SP_ECORRUPT, SP_ENOMEM, SP_ESYS.
 * Everybody who may read the pond can write the file, also truncate it: touching the mapping of a
 * truncated file is SIGBUS, so look with region_leases_whole first. */
struct region_leases {
    int fd;
    struct lease_head *head;
    struct lease *leases;
};
int region_leases_create(const char *directory, const uint64_t id[2], long gid, char *why);
int region_leases_attach(const char *directory, const uint64_t id[2], struct region_leases *out);
void region_leases_detach(struct region_leases *leases);
bool region_leases_whole(const struct region_leases *leases);
/* Gives a file that was cut off its size and head back, in place: what is left of the leases stays,
 * those that were cut off read as 0, which tells their holders. SP_ESYS with errno. */
int region_leases_mend(struct region_leases *leases, const uint64_t id[2]);
/* An OFD lock on one lease's bytes, not waiting: SP_OK, SP_EBUSY, SP_ESYS. */
int region_lease_lock(struct region_leases *leases, unsigned index);
void region_lease_unlock(struct region_leases *leases, unsigned index);
/* Whether somebody else, through another attach, holds it. */
bool region_lease_held(const struct region_leases *leases, unsigned index);

/* The writer's lock: one daemon for one pond directory; held as long as the descriptor is open.
 * SP_EBUSY: another one has it (its pid in *holder, 0 if unknown). */
int region_writer_lock(const char *directory, int *fd, long *holder, char *why);
/* Whether somebody holds it. */
bool region_writer_alive(const struct region *region);

/* A unit's address. No check: the caller has compared unit (and size) with unit_limit. */
static inline void *region_at(const struct region *region, uint64_t unit)
{
    return region->arena + (unit << FORMAT_UNIT_SHIFT);
}
/* Whether [unit, unit + count) lies in the arena and is not "none". */
static inline bool region_holds(const struct region *region, uint64_t unit, uint64_t count)
{
    return unit != 0 && unit < region->unit_limit && count <= region->unit_limit - unit;
}

#endif
