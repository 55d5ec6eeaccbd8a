/* SPDX-License-Identifier: Apache-2.0
 *
 * region.h - a pond's files, mapped: finding, attaching, creating, and backing them with memory.
 *
 * The pond file is as large as the pond's limit from the start and mapped whole, so nobody ever
 * remaps; it is sparse, and the writer backs a range with memory (fallocate) before it is touched, so
 * that a full file system is an error at the writer and never a signal at a reader.
 *
 * Readers use region_attach; everything else is the daemon's.
 */
#ifndef SIDEPOND_REGION_H
#define SIDEPOND_REGION_H

#include <stdbool.h>

#include "alloc/format.h"
#include "sidepond/status.h"

struct region {
    int dir_fd;     /* the pond's directory */
    int fd;         /* the pond file */
    uint8_t *base;  /* whole file; PROT_READ for readers; aligned to FORMAT_ARENA_ALIGN */
    size_t file_bytes;
    struct super *super;
    struct table_slot *slots; /* [FORMAT_TABLES_MAX] */
    uint8_t *meta;
    uint8_t *arena;
    uint64_t unit_limit;
    uint64_t hash_seed;
};

#define REGION_WHY_BYTES 512

/* The directory of a pond: with a slash in the name that name, else $SIDEPOND_ROOT (default
 * /dev/shm/sidepond) / name. NULL: $SIDEPOND, else "main". SP_EINVAL for a name that is not one. */
int region_directory(const char *name, char *out, size_t cap);

/* Maps an existing pond read-only. Checks the superblock against the file, so that every offset in
 * it can be used: SP_ENOPOND, SP_EACCESS, SP_EFORMAT, SP_ECORRUPT, SP_ESYS with a sentence in why. */
int region_attach(const char *directory, struct region *out, char *why);

/* The same for the daemon: read-write. */
int region_attach_writer(const char *directory, struct region *out, char *why);

/* Creates the files of a new pond in a directory (made if absent, mode 0750) under temporary names,
 * backed up to the end of the header, everything else sparse; region_publish renames them into place
 * and writes magic. An existing pond there stays untouched until then. `gid` -1: leave. */
struct region_create {
    const char *name;
    uint64_t limit_bytes;
    uint64_t meta_bytes;  /* asked of the allocator for region_units_for(limit_bytes) units */
    long gid;
};
uint64_t region_units_for(uint64_t limit_bytes);
int region_create(const char *directory, const struct region_create *how, struct region *out,
                  char *why);
int region_publish(const char *directory, struct region *region, char *why);

void region_detach(struct region *region);

/* Backs a range of the file with memory. SP_ENOSHM, SP_ESYS. */
int region_commit(struct region *region, uint64_t off, uint64_t bytes);
/* Gives the memory of a range back; it reads as zeros then. Whole 4 KiB pages inside the range. */
int region_punch(struct region *region, uint64_t off, uint64_t bytes);
/* Asks for huge pages under a range that is backed (Linux 6.1+; else a no-op returning false). */
bool region_collapse(struct region *region, uint64_t off, uint64_t bytes);

/* The leases file: opened anew (an own open file description, so own OFD locks) and mapped shared.
 * region_leases_create makes it, for a pond of that id. */
struct region_leases {
    int fd;
    struct lease_head *head;
    struct lease *leases;
};
int region_leases_create(const char *directory, const uint64_t id[2], long gid, char *why);
int region_leases_attach(const char *directory, const uint64_t id[2], struct region_leases *out);
void region_leases_detach(struct region_leases *leases);
/* An OFD lock on one lease's bytes, not waiting: SP_OK, SP_EBUSY, SP_ESYS. */
int region_lease_lock(struct region_leases *leases, unsigned index);
void region_lease_unlock(struct region_leases *leases, unsigned index);

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

/* Clocks, in milliseconds. */
uint64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void);

#endif
