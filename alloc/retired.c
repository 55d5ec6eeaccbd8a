/* SPDX-License-Identifier: Apache-2.0
 *
 * retired.c - ponds that were replaced: telling their readers, and giving their memory back.
 *
 * A reader that only reads by copy looks at nothing but its mapping, so the one way to tell it is
 * the flag in `committed`. That word has the same place in every format, and the flag is set as
 * soon as the file is long enough and starts with our magic, whatever else is wrong with it.
 *
 * A second name of the file keeps it within reach until that is done and every lease must have
 * ended. A daemon that dies or stops before leaves the name to the next one. Limits: beyond
 * REGION_RETIRED_MAX such ponds at a time the memory goes when the last reader lets go.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/region_internal.h"

#define NAME_BYTES 32u

static void retired_name(unsigned number, char *out)
{
    if (number == 0)
        snprintf(out, NAME_BYTES, FORMAT_POND_FILE ".old");
    else
        snprintf(out, NAME_BYTES, FORMAT_POND_FILE ".old%u", number);
}

void region_retired_keep(int dir_fd)
{
    char name[NAME_BYTES];
    for (unsigned i = 0; i < REGION_RETIRED_MAX; i++) {
        retired_name(i, name);
        if (linkat(dir_fd, FORMAT_POND_FILE, dir_fd, name, 0) == 0)
            return;
    }
}

/* Whether the name is all that a daemon did before it died: the pond is still in its place. */
static bool is_current(int dir_fd, int fd)
{
    struct stat mine, current;
    return fstat(fd, &mine) == 0 &&
           fstatat(dir_fd, FORMAT_POND_FILE, &current, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == current.st_dev && mine.st_ino == current.st_ino;
}

static void mark(int fd, off_t bytes)
{
    uint64_t magic;
    if (bytes < (off_t)FORMAT_SUPER_BYTES ||
        pread(fd, &magic, sizeof magic, 0) != (ssize_t)sizeof magic || !region_magic_is_ours(magic))
        return;
    struct super *super = mmap(NULL, FORMAT_SUPER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (super == MAP_FAILED)
        return;
    atomic_fetch_or_explicit(&super->committed, VERSION_RETIRED, memory_order_seq_cst);
    munmap(super, FORMAT_SUPER_BYTES);
}

int region_retired_open(const char *directory, unsigned number, int *fd)
{
    char name[NAME_BYTES];
    off_t bytes = 0;
    retired_name(number, name);
    int dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return SP_ENOPOND;
    int status = region_open_file(dir_fd, directory, name, O_RDWR, fd, &bytes, NULL);
    if (status == SP_OK) {
        status = region_check_owner(*fd, directory, name, NULL);
        if (status == SP_OK && is_current(dir_fd, *fd)) {
            unlinkat(dir_fd, name, 0);
            status = SP_ENOPOND;
        }
        if (status == SP_OK)
            mark(*fd, bytes);
        else
            close(*fd);
    }
    close(dir_fd);
    if (status != SP_OK)
        *fd = -1;
    return status;
}

void region_retired_end(const char *directory, unsigned number, int fd)
{
    char path[4096], name[NAME_BYTES];
    struct stat about;
    retired_name(number, name);
    struct region file = {.dir_fd = -1, .fd = fd};
    if (fstat(fd, &about) == 0 && about.st_size > (off_t)FORMAT_HEADER_BYTES)
        (void)region_punch(&file, FORMAT_HEADER_BYTES,
                           (uint64_t)about.st_size - FORMAT_HEADER_BYTES);
    if (snprintf(path, sizeof path, "%s/%s", directory, name) < (int)sizeof path)
        unlink(path);
    close(fd);
}

/* --- files of others -------------------------------------------------------------------------- */

static bool is_foreign(int fd)
{
    uint64_t page[FORMAT_SUPER_BYTES / sizeof(uint64_t)] = {0};
    if (pread(fd, page, sizeof page, 0) < 0 || region_magic_is_ours(page[0]))
        return false;
    for (size_t i = 0; i < sizeof page / sizeof page[0]; i++)
        if (page[i] != 0)
            return true;
    return false;
}

bool region_foreign(const char *directory)
{
    struct stat about;
    off_t bytes;
    int fd, dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool foreign = dir_fd >= 0 &&
                   fstatat(dir_fd, FORMAT_POND_FILE, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
                   !S_ISREG(about.st_mode);
    if (dir_fd >= 0 && !foreign &&
        region_open_file(dir_fd, directory, FORMAT_POND_FILE, O_RDONLY, &fd, &bytes, NULL) ==
            SP_OK) {
        foreign = is_foreign(fd);
        close(fd);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return foreign;
}
