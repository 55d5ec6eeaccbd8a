/* SPDX-License-Identifier: Apache-2.0
 *
 * leases.c - the leases file as a reader sees it: opening, and the locks on its slots.
 *
 * An OFD lock belongs to the open file description: the kernel drops it when the last descriptor of
 * it is closed, which a dying process does in any PID namespace, and closing some other descriptor
 * of the same file does not. So each attach opens the file anew. What lies in the file may have
 * been written by anybody in the pond's group; nothing of it is used but compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/region_internal.h"

static int check_head(int fd, const uint64_t id[2])
{
    struct lease_head head;
    ssize_t got = pread(fd, &head, sizeof head, 0);
    if (got < 0)
        return SP_ESYS;
    if ((size_t)got < sizeof head || head.magic != LEASES_MAGIC)
        return SP_ECORRUPT;
    return head.id[0] == id[0] && head.id[1] == id[1] ? SP_OK : SP_ENOTREADY;
}

int region_leases_attach(const char *directory, const uint64_t id[2], struct region_leases *out)
{
    *out = (struct region_leases){.fd = -1};
    int dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return errno == EACCES ? SP_EACCESS : SP_ENOTREADY;
    off_t bytes = 0;
    int status =
        region_open_file(dir_fd, directory, FORMAT_LEASES_FILE, O_RDWR, &out->fd, &bytes, NULL);
    close(dir_fd);
    if (status != SP_OK)
        return status == SP_ENOPOND ? SP_ENOTREADY : status;
    status = bytes == (off_t)LEASES_FILE_BYTES ? check_head(out->fd, id) : SP_ECORRUPT;
    if (status == SP_OK) {
        void *map = mmap(NULL, LEASES_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
        if (map == MAP_FAILED) {
            status = errno == ENOMEM ? SP_ENOMEM : SP_ESYS;
        } else {
            out->head = map;
            out->leases = (struct lease *)(out->head + 1);
        }
    }
    if (status != SP_OK)
        region_leases_detach(out);
    return status;
}

void region_leases_detach(struct region_leases *leases)
{
    if (leases->head != NULL)
        munmap(leases->head, LEASES_FILE_BYTES);
    if (leases->fd >= 0)
        close(leases->fd);
    *leases = (struct region_leases){.fd = -1};
}

bool region_leases_whole(const struct region_leases *leases)
{
    struct stat about;
    return fstat(leases->fd, &about) == 0 && about.st_size >= (off_t)LEASES_FILE_BYTES;
}

static struct flock lease_range(unsigned index, short type)
{
    return (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(sizeof(struct lease_head) + index * sizeof(struct lease)),
        .l_len = (off_t)sizeof(struct lease),
    };
}

int region_lease_lock(struct region_leases *leases, unsigned index)
{
    if (index >= FORMAT_LEASES_MAX)
        return SP_EINVAL;
    struct flock range = lease_range(index, F_WRLCK);
    if (fcntl(leases->fd, F_OFD_SETLK, &range) == 0)
        return SP_OK;
    return errno == EAGAIN || errno == EACCES ? SP_EBUSY : SP_ESYS;
}

void region_lease_unlock(struct region_leases *leases, unsigned index)
{
    struct flock range = lease_range(index, F_UNLCK);
    if (index < FORMAT_LEASES_MAX)
        (void)fcntl(leases->fd, F_OFD_SETLK, &range);
}

bool region_lease_held(const struct region_leases *leases, unsigned index)
{
    struct flock range = lease_range(index, F_WRLCK);
    return index < FORMAT_LEASES_MAX && fcntl(leases->fd, F_OFD_GETLK, &range) == 0 &&
           range.l_type != F_UNLCK;
}
