/* SPDX-License-Identifier: Apache-2.0
 *
 * region_internal.h - what region.c, region_write.c, leases.c and hints.c share.
 */
#ifndef SIDEPOND_ALLOC_REGION_INTERNAL_H
#define SIDEPOND_ALLOC_REGION_INTERNAL_H

#include <sys/types.h>

#include "alloc/region.h"

#define REGION_LOCK_FILE "lock"
/* The lock file holds the daemon's pid as text; the lock is on a byte of its own beyond it. */
#define REGION_LOCK_BYTE   4096
#define REGION_SHARED_MODE 0660 /* of the files that readers write too */

/* Puts a sentence into `why` (REGION_WHY_BYTES; may be NULL) and returns the status. */
int region_why(char *why, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call on DIRECTORY/FILE, by errno. */
int region_why_errno(char *why, const char *what, const char *directory, const char *file);

/* Whether these are the first bytes of a pond, of whatever format. */
bool region_magic_is_ours(uint64_t magic);

/* Whether a file belongs to our user (or we are root): SP_EACCESS. */
int region_check_owner(int fd, const char *directory, const char *file, char *why);

/* Keeps the pond that is about to be replaced under a name of its own. */
void region_retired_keep(int dir_fd);

/* Opens a file of the pond's directory: no symbolic link, regular, not writable by everybody. */
int region_open_file(int dir_fd, const char *directory, const char *file, int flags, int *fd,
                     off_t *bytes, char *why);

int region_open_directory(const char *directory, int *fd, char *why);

/* Makes a file of our own under a temporary name, with its group (-1: leave), mode and size. */
int region_make_file(int dir_fd, const char *directory, const char *file, mode_t mode, long gid,
                     uint64_t bytes, int *fd, char *why);

/* Maps the file whose superblock has been checked, or is known to be right. */
int region_map(struct region *region, const struct super *super, int protection, char *why);

/* Opens, checks and maps. `flags` is O_RDONLY or O_RDWR. */
int region_attach_as(const char *directory, int flags, int protection, struct region *out,
                     char *why);

#endif
