/* SPDX-License-Identifier: Apache-2.0
 *
 * map_file.c - a map in a file, for starts without ZooKeeper and for processes of the same host.
 *
 * A map is written beside the file, synced, and put into its place by rename, so that a reader sees
 * the old one or the new one, and a crash leaves one of them. Several processes may save to the
 * same file: the last one counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ring/map_internal.h"

#define FILE_BYTES_MAX (1024 * 1024)
#define NAMES_TRIED    16u

static int status_of_errno(void)
{
    switch (errno) {
    case ENOENT:
        return SP_ENOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return SP_EACCESS;
    case ENOSPC:
    case EDQUOT:
        return SP_ENOSPC;
    default:
        return SP_ESYS;
    }
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return status_of_errno();
        bytes += written;
        size -= (size_t)written;
    }
    return SP_OK;
}

/* A new file beside that one. One that a crash has left behind costs another name. */
static int open_beside(const char *path, char beside[PATH_MAX], int *fd)
{
    static _Atomic unsigned counter;
    for (unsigned i = 0; i < NAMES_TRIED; i++) {
        const int size = snprintf(beside, PATH_MAX, "%s.%ld.%u", path, (long)getpid(),
                                  atomic_fetch_add(&counter, 1));
        if (size >= PATH_MAX)
            return SP_EINVAL;
        *fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (*fd >= 0)
            return SP_OK;
        if (errno != EEXIST)
            break;
    }
    return status_of_errno();
}

static int save_bytes(const char *path, const uint8_t *bytes, size_t size)
{
    char beside[PATH_MAX];
    int fd;
    int status = open_beside(path, beside, &fd);
    if (status != SP_OK)
        return status;
    status = write_all(fd, bytes, size);
    if (status == SP_OK && fsync(fd) != 0)
        status = status_of_errno();
    if (close(fd) != 0 && status == SP_OK)
        status = status_of_errno();
    if (status == SP_OK && rename(beside, path) != 0)
        status = status_of_errno();
    if (status != SP_OK)
        unlink(beside);
    return status;
}

int ring_map_save(const struct ring_map *map, const char *path)
{
    uint8_t *bytes;
    size_t size;
    int status = ring_map_encode(map, &bytes, &size);
    if (status != SP_OK)
        return status;
    status = save_bytes(path, bytes, size);
    free(bytes);
    return status;
}

/* Until the end of the file, or until the room is full. */
static int read_all(int fd, uint8_t *bytes, size_t room, size_t *size)
{
    *size = 0;
    while (*size < room) {
        const ssize_t got = read(fd, bytes + *size, room - *size);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return status_of_errno();
        *size += (size_t)got;
    }
    return SP_OK;
}

static int load_from(int fd, struct ring_map **out)
{
    struct stat stat;
    size_t size;
    if (fstat(fd, &stat) != 0)
        return status_of_errno();
    if (!S_ISREG(stat.st_mode) || stat.st_size > FILE_BYTES_MAX)
        return SP_EFORMAT;
    const size_t room = (size_t)stat.st_size + 1;
    uint8_t *bytes = malloc(room);
    if (bytes == NULL)
        return SP_ENOMEM;
    int status = read_all(fd, bytes, room, &size);
    if (status == SP_OK)
        status = ring_map_decode(bytes, size, out);
    free(bytes);
    return status;
}

int ring_map_load(const char *path, struct ring_map **out)
{
    *out = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return status_of_errno();
    const int status = load_from(fd, out);
    close(fd);
    return status;
}
