/* SPDX-License-Identifier: Apache-2.0
 *
 * hints.c - the hints file: making, mapping, growing and reading it.
 *
 * The file is no longer than what is backed with memory: fallocate lengthens it, and hint_bytes
 * says so to readers, who check the length all the same before they believe it. A mapping reserves
 * addresses for the whole capacity, so nobody ever remaps.
 *
 * Costs: a byte of memory for each bucket that the file has room for, in whole pages.
 */
#include "alloc/hints.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/region_internal.h"

#define HINTS_NEW_FILE FORMAT_HINTS_FILE ".new"

static int read_head(int fd, const uint64_t id[2], struct hints_head *head)
{
    ssize_t got = pread(fd, head, sizeof *head, 0);
    if (got < 0)
        return SP_ESYS;
    if ((size_t)got < sizeof *head || head->magic != HINTS_MAGIC || head->capacity == 0 ||
        head->capacity > HINTS_BYTES_MAX)
        return SP_ECORRUPT;
    return head->id[0] == id[0] && head->id[1] == id[1] ? SP_OK : SP_ENOTREADY;
}

static int allocate(int fd, uint64_t bytes)
{
    int result;
    do {
        result = fallocate(fd, 0, 0, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return SP_OK;
    return errno == ENOSPC || errno == EDQUOT ? SP_ENOSHM : SP_ESYS;
}

/* --- making ----------------------------------------------------------------------------------- */

static bool hints_present(const char *directory, const uint64_t id[2], uint64_t capacity)
{
    struct hints present;
    if (hints_attach(directory, id, &present) != SP_OK)
        return false;
    bool enough = present.capacity >= capacity;
    hints_detach(&present);
    return enough;
}

static int fill(int fd, const struct hints_head *head)
{
    int status = allocate(fd, HINTS_HEAD_BYTES);
    if (status == SP_OK && pwrite(fd, head, sizeof *head, 0) != (ssize_t)sizeof *head)
        status = SP_ESYS;
    return status;
}

int hints_create(const char *directory, const uint64_t id[2], uint64_t capacity, long gid,
                 char *why)
{
    struct hints_head head = {.magic = HINTS_MAGIC, .id = {id[0], id[1]}, .capacity = capacity};
    int dir_fd, fd;
    if (capacity == 0 || capacity > HINTS_BYTES_MAX)
        return region_why(why, SP_EINVAL, "a hints file cannot hold %llu hints",
                          (unsigned long long)capacity);
    if (hints_present(directory, id, capacity))
        return SP_OK;
    int status = region_open_directory(directory, &dir_fd, why);
    if (status != SP_OK)
        return status;
    status =
        region_make_file(dir_fd, directory, HINTS_NEW_FILE, REGION_SHARED_MODE, gid, 0, &fd, why);
    if (status != SP_OK)
        goto close_directory;
    if (fill(fd, &head) != SP_OK ||
        renameat(dir_fd, HINTS_NEW_FILE, dir_fd, FORMAT_HINTS_FILE) != 0) {
        status = region_why_errno(why, "cannot make", directory, FORMAT_HINTS_FILE);
        unlinkat(dir_fd, HINTS_NEW_FILE, 0);
    }
    close(fd);
close_directory:
    close(dir_fd);
    return status;
}

/* --- mapping ---------------------------------------------------------------------------------- */

static int map_file(struct hints *hints, uint64_t capacity)
{
    void *map = mmap(NULL, HINTS_HEAD_BYTES + capacity, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE, hints->fd, 0);
    if (map == MAP_FAILED)
        return errno == ENOMEM ? SP_ENOMEM : SP_ESYS;
    hints->head = map;
    hints->bytes = (_Atomic uint8_t *)map + HINTS_HEAD_BYTES;
    hints->capacity = capacity;
    return SP_OK;
}

int hints_attach(const char *directory, const uint64_t id[2], struct hints *out)
{
    *out = (struct hints){.fd = -1};
    int dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return errno == EACCES ? SP_EACCESS : SP_ENOTREADY;
    off_t bytes = 0;
    struct hints_head head;
    int status =
        region_open_file(dir_fd, directory, FORMAT_HINTS_FILE, O_RDWR, &out->fd, &bytes, NULL);
    close(dir_fd);
    if (status != SP_OK)
        return status == SP_ENOPOND ? SP_ENOTREADY : status;
    status = bytes >= (off_t)HINTS_HEAD_BYTES ? read_head(out->fd, id, &head) : SP_ECORRUPT;
    if (status == SP_OK)
        status = map_file(out, head.capacity);
    if (status != SP_OK)
        hints_detach(out);
    return status;
}

void hints_detach(struct hints *hints)
{
    if (hints->head != NULL)
        munmap(hints->head, HINTS_HEAD_BYTES + hints->capacity);
    if (hints->fd >= 0)
        close(hints->fd);
    *hints = (struct hints){.fd = -1};
}

/* --- growing and reading ---------------------------------------------------------------------- */

static uint64_t file_hints(const struct hints *hints)
{
    struct stat about;
    if (fstat(hints->fd, &about) != 0 || about.st_size < (off_t)HINTS_HEAD_BYTES)
        return 0;
    uint64_t bytes = (uint64_t)about.st_size - HINTS_HEAD_BYTES;
    return bytes < hints->capacity ? bytes : hints->capacity;
}

int hints_grow(struct hints *hints, const uint64_t id[2], uint64_t bytes)
{
    uint64_t had = file_hints(hints);
    struct hints_head head = {
        .magic = HINTS_MAGIC, .id = {id[0], id[1]}, .capacity = hints->capacity};
    if (bytes > hints->capacity)
        bytes = hints->capacity;
    bytes = bytes > had ? bytes : had;
    int status = allocate(hints->fd, HINTS_HEAD_BYTES + bytes);
    if (status != SP_OK)
        return status;
    /* Behind the memory, in the order of the file: a reader that sees it finds that. What readers
     * add up stays. */
    const size_t size = offsetof(struct hints_head, hits);
    atomic_init(&head.hint_bytes, bytes);
    return pwrite(hints->fd, &head, size, 0) == (ssize_t)size ? SP_OK : SP_ESYS;
}

void hints_counts(const struct hints *hints, uint64_t *hits, uint64_t *misses)
{
    uint64_t words[2];
    if (pread(hints->fd, words, sizeof words, offsetof(struct hints_head, hits)) !=
        (ssize_t)sizeof words)
        words[0] = words[1] = 0;
    *hits = words[0];
    *misses = words[1];
}

uint64_t hints_backed(const struct hints *hints)
{
    return hints->head == NULL ? 0 : file_hints(hints);
}

void hints_take(struct hints *hints, uint64_t first, uint8_t *out, size_t bytes)
{
    static const uint8_t zeros[4096];
    off_t at = (off_t)(HINTS_HEAD_BYTES + first);
    ssize_t got = pread(hints->fd, out, bytes, at);
    size_t have = got > 0 ? (size_t)got : 0;
    memset(out + have, 0, bytes - have);
    for (size_t done = 0; done < have; done += sizeof zeros) {
        size_t size = have - done < sizeof zeros ? have - done : sizeof zeros;
        if (memcmp(out + done, zeros, size) == 0)
            continue;
        /* If this fails, the same hints are seen once more. */
        (void)!pwrite(hints->fd, zeros, size, at + (off_t)done);
    }
}
