/* SPDX-License-Identifier: Apache-2.0
 *
 * region.c - finding a pond, checking its superblock and mapping it.
 *
 * The superblock is read into private memory once, checked there, and every size that is used
 * afterwards comes from that copy: a file that changes under the reader cannot move a limit. The
 * mapping covers the whole file. Its address is chosen so that the arena starts at a multiple of
 * 2 MiB in memory as it does in the file; only then can the kernel map huge pages.
 *
 * Costs: some ten system calls for an attach, nothing after it. Address space of the file's size is
 * reserved, memory is not. Limits: FORMAT_UNIT_BITS.
 */
#include "alloc/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/hash.h"
#include "alloc/region_internal.h"

#define PAGE_BYTES        4096u
#define MAGIC_NAME_MASK   UINT64_C(0x00ffffffffffffff) /* "idepond" without the final 1 */
#define ROOT_DEFAULT      "/dev/shm/sidepond"
#define POND_NAME_DEFAULT "main"

int region_why(char *why, int status, const char *format, ...)
{
    if (why == NULL)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, REGION_WHY_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

static int status_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return SP_ENOPOND;
    case EACCES:
    case EPERM:
    case EROFS:
        return SP_EACCESS;
    case ENOSPC:
    case EDQUOT:
        return SP_ENOSHM;
    case ENOMEM:
        return SP_ENOMEM;
    default:
        return SP_ESYS;
    }
}

int region_why_errno(char *why, const char *what, const char *directory, const char *file)
{
    int error = errno;
    char text[128];
    const char *reason = strerror_r(error, text, sizeof text);
    int status = status_of_errno(error);
    region_why(why, status, "%s %s%s%s: %s", what, directory, file[0] == '\0' ? "" : "/", file,
               reason);
    errno = error;
    return status;
}

/* --- names ------------------------------------------------------------------------------------ */

static bool is_pond_name(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size >= FORMAT_NAME_BYTES || name[0] == '.')
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

/* The size of a path without the slashes at its end; "/" stays. */
static int bare_size(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    return (int)size;
}

int region_directory(const char *name, char *out, size_t cap)
{
    if (name == NULL)
        name = secure_getenv("SIDEPOND");
    if (name == NULL)
        name = POND_NAME_DEFAULT;
    int size;
    if (strchr(name, '/') != NULL) {
        size = snprintf(out, cap, "%.*s", bare_size(name), name);
    } else {
        if (!is_pond_name(name))
            return SP_EINVAL;
        const char *root = secure_getenv("SIDEPOND_ROOT");
        if (root == NULL)
            root = ROOT_DEFAULT;
        size = snprintf(out, cap, "%.*s/%s", bare_size(root), root, name);
    }
    return size < 0 || (size_t)size >= cap ? SP_EINVAL : SP_OK;
}

/* --- checking --------------------------------------------------------------------------------- */

uint64_t super_checksum(const struct super *super)
{
    uint8_t fixed[offsetof(struct super, checksum)];
    memcpy(fixed, super, sizeof fixed);
    memset(fixed, 0, sizeof super->magic);
    return hash_bytes(fixed, sizeof fixed);
}

bool region_magic_is_ours(uint64_t magic)
{
    return (magic & MAGIC_NAME_MASK) == (FORMAT_MAGIC & MAGIC_NAME_MASK);
}

/* Whether this is a pond at all, and one of the format that this build knows. */
static int check_format(const struct super *super, const char *directory, char *why)
{
    uint64_t magic = atomic_load_explicit(&super->magic, memory_order_relaxed);
    if (magic == 0)
        return region_why(
            why, SP_EFORMAT,
            "%s/" FORMAT_POND_FILE " is not a complete pond: its creation was cut off", directory);
    if (!region_magic_is_ours(magic))
        return region_why(why, SP_EFORMAT, "%s/" FORMAT_POND_FILE " is not a pond", directory);
    unsigned version = super->format_version;
    if (magic != FORMAT_MAGIC || version != FORMAT_VERSION)
        return region_why(why, SP_EFORMAT,
                          "%s/" FORMAT_POND_FILE " is of %s format %u, this build reads format %u",
                          directory, version < FORMAT_VERSION ? "an older" : "a newer", version,
                          FORMAT_VERSION);
    if (super->features != 0)
        return region_why(why, SP_EFORMAT,
                          "%s/" FORMAT_POND_FILE
                          " needs features (bits 0x%x) that this build does not know",
                          directory, super->features);
    return SP_OK;
}

/* Whether the parts lie one behind the other in the file, each where its use needs it. */
static const char *layout_fault(const struct super *super)
{
    if (super->file_bytes % PAGE_BYTES != 0 || super->meta_off % PAGE_BYTES != 0 ||
        super->arena_off % FORMAT_ARENA_ALIGN != 0)
        return "a part of it is not aligned";
    if (super->meta_off < FORMAT_HEADER_BYTES || super->meta_off > super->arena_off ||
        super->meta_bytes > super->arena_off - super->meta_off ||
        super->arena_off >= super->file_bytes)
        return "its parts overlap";
    uint64_t arena_units = (super->file_bytes - super->arena_off) >> FORMAT_UNIT_SHIFT;
    if (super->unit_limit < FORMAT_UNITS_LEAST)
        return "its arena is smaller than a page";
    if (super->unit_limit > arena_units || super->unit_limit > UINT64_C(1) << FORMAT_UNIT_BITS)
        return "its arena is larger than the file";
    if (memchr(super->name, '\0', sizeof super->name) == NULL)
        return "its name has no end";
    return NULL;
}

static int check_super(const struct super *super, uint64_t file_bytes, const char *directory,
                       char *why)
{
    int status = check_format(super, directory, why);
    if (status != SP_OK)
        return status;
    if (super_checksum(super) != super->checksum)
        return region_why(why, SP_ECORRUPT,
                          "%s/" FORMAT_POND_FILE " is corrupt: the superblock's checksum is wrong",
                          directory);
    if (file_bytes != super->file_bytes)
        return region_why(why, SP_ECORRUPT,
                          "%s/" FORMAT_POND_FILE " is %s: %llu bytes instead of %llu", directory,
                          file_bytes < super->file_bytes ? "truncated" : "too long",
                          (unsigned long long)file_bytes, (unsigned long long)super->file_bytes);
    const char *fault = layout_fault(super);
    if (fault == NULL &&
        atomic_load_explicit(&super->table_count, memory_order_relaxed) > FORMAT_TABLES_MAX)
        fault = "it claims more tables than there are slots";
    if (fault != NULL)
        return region_why(why, SP_ECORRUPT, "%s/" FORMAT_POND_FILE " is corrupt: %s", directory,
                          fault);
    return SP_OK;
}

/* --- attaching -------------------------------------------------------------------------------- */

int region_open_file(int dir_fd, const char *directory, const char *file, int flags, int *fd,
                     off_t *bytes, char *why)
{
    /* O_NONBLOCK: a pipe in the file's place must not stop us. */
    *fd = openat(dir_fd, file, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0 && errno == ELOOP)
        return region_why(why, SP_EACCESS, "%s/%s is a symbolic link, which is not followed",
                          directory, file);
    if (*fd < 0)
        return region_why_errno(why, "cannot open", directory, file);
    struct stat about;
    int status;
    if (fstat(*fd, &about) != 0)
        status = region_why_errno(why, "cannot look at", directory, file);
    else if (!S_ISREG(about.st_mode))
        status = region_why(why, SP_EFORMAT, "%s/%s is not a regular file", directory, file);
    else if ((about.st_mode & S_IWOTH) != 0)
        status = region_why(why, SP_EACCESS, "%s/%s is refused: everybody may write it", directory,
                            file);
    else {
        *bytes = about.st_size;
        return SP_OK;
    }
    close(*fd);
    *fd = -1;
    return status;
}

int region_map(struct region *region, const struct super *super, int protection, char *why)
{
    size_t bytes = (size_t)super->file_bytes;
    size_t room = bytes + FORMAT_ARENA_ALIGN;
    uint8_t *reserved =
        mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return region_why_errno(why, "cannot reserve addresses for", super->name, "");
    size_t skip = -(uintptr_t)reserved & (FORMAT_ARENA_ALIGN - 1);
    uint8_t *base = mmap(reserved + skip, bytes, protection, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                         region->fd, 0);
    if (base == MAP_FAILED) {
        int status = region_why_errno(why, "cannot map", super->name, "");
        munmap(reserved, room);
        return status;
    }
    if (skip > 0)
        munmap(reserved, skip);
    munmap(base + bytes, room - skip - bytes);
    region->base = base;
    region->file_bytes = bytes;
    region->super = (struct super *)base;
    region->slots = (struct table_slot *)(base + FORMAT_SUPER_BYTES);
    region->meta = base + super->meta_off;
    region->arena = base + super->arena_off;
    region->unit_limit = super->unit_limit;
    hash_secret_init(&region->hash, super->hash_seed);
    return SP_OK;
}

static int read_and_map(struct region *region, const char *directory, off_t bytes, int protection,
                        char *why)
{
    struct super super = {0};
    ssize_t got = pread(region->fd, &super, sizeof super, 0);
    if (got < 0)
        return region_why_errno(why, "cannot read", directory, FORMAT_POND_FILE);
    if ((size_t)got < sizeof super)
        return region_why(why, SP_EFORMAT,
                          "%s/" FORMAT_POND_FILE " is not a pond: it has only %lld bytes",
                          directory, (long long)bytes);
    int status = check_super(&super, (uint64_t)bytes, directory, why);
    return status == SP_OK ? region_map(region, &super, protection, why) : status;
}

int region_attach_as(const char *directory, int flags, int protection, struct region *out,
                     char *why)
{
    *out = (struct region){.dir_fd = -1, .fd = -1};
    out->dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (out->dir_fd < 0)
        return region_why_errno(why, "cannot open", directory, "");
    off_t bytes = 0;
    int status =
        region_open_file(out->dir_fd, directory, FORMAT_POND_FILE, flags, &out->fd, &bytes, why);
    if (status == SP_OK)
        status = read_and_map(out, directory, bytes, protection, why);
    if (status != SP_OK)
        region_detach(out);
    return status;
}

int region_attach(const char *directory, struct region *out, char *why)
{
    return region_attach_as(directory, O_RDONLY, PROT_READ, out, why);
}

void region_detach(struct region *region)
{
    if (region->base != NULL)
        munmap(region->base, region->file_bytes);
    if (region->fd >= 0)
        close(region->fd);
    if (region->dir_fd >= 0)
        close(region->dir_fd);
    *region = (struct region){.dir_fd = -1, .fd = -1};
}

bool region_replaced(const char *directory, const struct region *region)
{
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/" FORMAT_POND_FILE, directory);
    struct stat mine, current;
    if (size < 0 || (size_t)size >= sizeof path || fstat(region->fd, &mine) != 0 ||
        lstat(path, &current) != 0)
        return false;
    return mine.st_dev != current.st_dev || mine.st_ino != current.st_ino;
}

bool region_writer_alive(const struct region *region)
{
    int fd = openat(region->dir_fd, REGION_LOCK_FILE,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false;
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = REGION_LOCK_BYTE, .l_len = 1};
    bool held = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return held;
}
