/* SPDX-License-Identifier: Apache-2.0
 *
 * region_write.c - what only the daemon does to a pond's files: making them, backing them with
 * memory, giving memory back, and the lock that keeps a second daemon away.
 *
 * A new pond is built under a temporary name and renamed into place when it is complete, magic
 * included, so nobody ever opens half of one. Memory is taken with fallocate before it is touched:
 * on a full tmpfs that is an error here, where a store would be a SIGBUS.
 *
 * Costs: region_commit clears the memory it takes (about 0.2 s per GiB). Limits: the file system
 * must know fallocate and hole punching (tmpfs, ext4, xfs, btrfs do).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "alloc/region_internal.h"

#define PAGE_BYTES      4096u
#define POND_NEW_FILE   FORMAT_POND_FILE ".new"
#define LEASES_NEW_FILE FORMAT_LEASES_FILE ".new"
#define DIRECTORY_MODE  0750
#define POND_MODE       0640
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

uint64_t region_units_for(uint64_t limit_bytes)
{
    uint64_t units = limit_bytes / PAGE_BYTES * (PAGE_BYTES / FORMAT_UNIT_BYTES);
    uint64_t least = PAGE_BYTES / FORMAT_UNIT_BYTES;
    uint64_t most = UINT64_C(1) << FORMAT_UNIT_BITS;
    return units < least ? least : units > most ? most : units;
}

/* --- files ------------------------------------------------------------------------------------ */

int region_check_owner(int fd, const char *directory, const char *file, char *why)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return region_why_errno(why, "cannot look at", directory, file);
    if (about.st_uid != geteuid() && geteuid() != 0)
        return region_why(why, SP_EACCESS, "%s%s%s belongs to user %ld, not to us (%ld)", directory,
                          file[0] == '\0' ? "" : "/", file, (long)about.st_uid, (long)geteuid());
    return SP_OK;
}

int region_attach_writer(const char *directory, struct region *out, char *why)
{
    int status = region_attach_as(directory, O_RDWR, PROT_READ | PROT_WRITE, out, why);
    if (status != SP_OK)
        return status;
    status = region_check_owner(out->fd, directory, FORMAT_POND_FILE, why);
    if (status != SP_OK)
        region_detach(out);
    return status;
}

/* Makes the directory and, where they are missing, those above it. */
static int make_directory(const char *directory, char *why)
{
    char path[4096];
    int size = snprintf(path, sizeof path, "%s", directory);
    if (size <= 0 || (size_t)size >= sizeof path)
        return region_why(why, SP_EINVAL, "the pond's directory has a name that is too long");
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return region_why_errno(why, "cannot make directory", path, "");
        *slash = '/';
    }
    if (mkdir(path, DIRECTORY_MODE) != 0)
        return errno == EEXIST ? SP_OK : region_why_errno(why, "cannot make directory", path, "");
    /* The umask may have taken bits that the group needs. */
    if (chmod(path, DIRECTORY_MODE) != 0)
        return region_why_errno(why, "cannot set the mode of", path, "");
    return SP_OK;
}

int region_open_directory(const char *directory, int *fd, char *why)
{
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? SP_OK : region_why_errno(why, "cannot open", directory, "");
}

/* Lets the group that may read the pond into the directory, at its files and at the lock. */
static int give_to_group(int dir_fd, const char *directory, long gid, char *why)
{
    static const char *const files[] = {".", FORMAT_POND_FILE, FORMAT_LEASES_FILE,
                                        FORMAT_HINTS_FILE, REGION_LOCK_FILE};
    struct stat about;
    for (size_t i = 0; gid >= 0 && i < sizeof files / sizeof files[0]; i++) {
        if (fstatat(dir_fd, files[i], &about, AT_SYMLINK_NOFOLLOW) != 0 ||
            about.st_gid == (gid_t)gid)
            continue;
        if (fchownat(dir_fd, files[i], (uid_t)-1, (gid_t)gid, AT_SYMLINK_NOFOLLOW) != 0)
            return region_why_errno(why, "cannot set the group of", directory,
                                    i == 0 ? "" : files[i]);
    }
    return SP_OK;
}

int region_give_to_group(const char *directory, long gid, char *why)
{
    int dir_fd;
    int status = region_open_directory(directory, &dir_fd, why);
    if (status != SP_OK)
        return status;
    status = give_to_group(dir_fd, directory, gid, why);
    close(dir_fd);
    return status;
}

int region_make_file(int dir_fd, const char *directory, const char *file, mode_t mode, long gid,
                     uint64_t bytes, int *fd, char *why)
{
    if (unlinkat(dir_fd, file, 0) != 0 && errno != ENOENT)
        return region_why_errno(why, "cannot remove", directory, file);
    *fd = openat(dir_fd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return region_why_errno(why, "cannot create", directory, file);
    if ((gid < 0 || fchown(*fd, (uid_t)-1, (gid_t)gid) == 0) && fchmod(*fd, mode) == 0 &&
        ftruncate(*fd, (off_t)bytes) == 0)
        return SP_OK;
    int status = region_why_errno(why, "cannot set up", directory, file);
    unlinkat(dir_fd, file, 0);
    close(*fd);
    *fd = -1;
    return status;
}

/* --- creating --------------------------------------------------------------------------------- */

static int random_bytes(void *out, size_t bytes, char *why)
{
    if (getrandom(out, bytes, 0) != (ssize_t)bytes)
        return region_why(why, SP_ESYS, "getrandom failed");
    return SP_OK;
}

static int plan_super(const struct region_create *how, struct super *super, char *why)
{
    *super = (struct super){.format_version = FORMAT_VERSION};
    int size = snprintf(super->name, sizeof super->name, "%s", how->name);
    if (size <= 0 || (size_t)size >= sizeof super->name)
        return region_why(why, SP_EINVAL, "a pond's name has 1 to %u bytes", FORMAT_NAME_BYTES - 1);
    int status = random_bytes(super->id, sizeof super->id, why);
    if (status == SP_OK)
        status = random_bytes(&super->hash_seed, sizeof super->hash_seed, why);
    if (status != SP_OK)
        return status;
    super->unit_limit = region_units_for(how->limit_bytes);
    super->meta_off = round_up(FORMAT_HEADER_BYTES, PAGE_BYTES);
    super->meta_bytes = how->meta_bytes;
    super->arena_off = round_up(super->meta_off + how->meta_bytes, FORMAT_ARENA_ALIGN);
    super->file_bytes =
        round_up(super->arena_off + (super->unit_limit << FORMAT_UNIT_SHIFT), PAGE_BYTES);
    super->created_ms = clock_wall_ms();
    super->checksum = super_checksum(super);
    return SP_OK;
}

static int back_and_map(struct region *region, const struct super *super, char *why)
{
    int status = region_commit(region, 0, round_up(FORMAT_HEADER_BYTES, PAGE_BYTES));
    if (status == SP_ENOSHM) {
        region_space_text(region, FORMAT_HEADER_BYTES, why);
        return status;
    }
    if (status != SP_OK)
        return region_why_errno(why, "cannot take memory for", super->name, "");
    status = region_map(region, super, PROT_READ | PROT_WRITE, why);
    if (status == SP_OK)
        memcpy(region->super, super, sizeof *super);
    return status;
}

int region_create(const char *directory, const struct region_create *how, struct region *out,
                  char *why)
{
    *out = (struct region){.dir_fd = -1, .fd = -1};
    struct super super;
    int status = plan_super(how, &super, why);
    if (status == SP_OK)
        status = make_directory(directory, why);
    if (status == SP_OK)
        status = region_open_directory(directory, &out->dir_fd, why);
    if (status == SP_OK)
        status = region_check_owner(out->dir_fd, directory, "", why);
    if (status == SP_OK)
        status = give_to_group(out->dir_fd, directory, how->gid, why);
    if (status == SP_OK)
        status = region_make_file(out->dir_fd, directory, POND_NEW_FILE, POND_MODE, how->gid,
                                  super.file_bytes, &out->fd, why);
    if (status != SP_OK)
        goto detach;
    status = back_and_map(out, &super, why);
    if (status == SP_OK)
        return SP_OK;
    unlinkat(out->dir_fd, POND_NEW_FILE, 0);
detach:
    region_detach(out);
    return status;
}

int region_publish(const char *directory, struct region *region, char *why)
{
    struct stat about;
    if (fstat(region->fd, &about) != 0)
        return region_why_errno(why, "cannot look at", directory, POND_NEW_FILE);
    atomic_store_explicit(&region->super->magic, FORMAT_MAGIC, memory_order_release);
    region_retired_keep(region->dir_fd);
    if (renameat(region->dir_fd, POND_NEW_FILE, region->dir_fd, FORMAT_POND_FILE) != 0)
        return region_why_errno(why, "cannot rename into place", directory, POND_NEW_FILE);
    return region_leases_create(directory, region->super->id, (long)about.st_gid, why);
}

void region_discard(struct region *region)
{
    if (region->dir_fd >= 0)
        unlinkat(region->dir_fd, POND_NEW_FILE, 0);
}

/* --- leases ----------------------------------------------------------------------------------- */

static int fill_leases(int fd, const uint64_t id[2])
{
    struct lease_head head = {
        .magic = LEASES_MAGIC, .id = {id[0], id[1]}, .lease_count = FORMAT_LEASES_MAX};
    if (fallocate(fd, 0, 0, (off_t)LEASES_FILE_BYTES) != 0 ||
        ftruncate(fd, (off_t)LEASES_FILE_BYTES) != 0)
        return -1;
    return pwrite(fd, &head, sizeof head, 0) == (ssize_t)sizeof head ? 0 : -1;
}

int region_leases_mend(struct region_leases *leases, const uint64_t id[2])
{
    return fill_leases(leases->fd, id) == 0 ? SP_OK : SP_ESYS;
}

/* Mends a file of the wrong size where it lies, since readers may hold leases in what is left. */
static void mend_file(const char *directory, int dir_fd, const uint64_t id[2])
{
    int fd;
    off_t bytes;
    struct lease_head head;
    if (region_open_file(dir_fd, directory, FORMAT_LEASES_FILE, O_RDWR, &fd, &bytes, NULL) != SP_OK)
        return;
    bool no_head = pread(fd, &head, sizeof head, 0) < (ssize_t)sizeof head;
    if (bytes != (off_t)LEASES_FILE_BYTES && region_check_owner(fd, directory, "", NULL) == SP_OK &&
        (no_head || (head.id[0] == id[0] && head.id[1] == id[1])))
        (void)fill_leases(fd, id); /* if that fails, a new file takes its place */
    close(fd);
}

static bool leases_present(const char *directory, const uint64_t id[2])
{
    struct region_leases present;
    if (region_leases_attach(directory, id, &present) != SP_OK)
        return false;
    region_leases_detach(&present);
    return true;
}

int region_leases_create(const char *directory, const uint64_t id[2], long gid, char *why)
{
    if (leases_present(directory, id))
        return SP_OK;
    int dir_fd, fd;
    int status = region_open_directory(directory, &dir_fd, why);
    if (status != SP_OK)
        return status;
    mend_file(directory, dir_fd, id);
    if (leases_present(directory, id))
        goto close_directory;
    status = region_make_file(dir_fd, directory, LEASES_NEW_FILE, REGION_SHARED_MODE, gid,
                              LEASES_FILE_BYTES, &fd, why);
    if (status != SP_OK)
        goto close_directory;
    if (fill_leases(fd, id) != 0 ||
        renameat(dir_fd, LEASES_NEW_FILE, dir_fd, FORMAT_LEASES_FILE) != 0) {
        status = region_why_errno(why, "cannot make", directory, FORMAT_LEASES_FILE);
        unlinkat(dir_fd, LEASES_NEW_FILE, 0);
    }
    close(fd);
close_directory:
    close(dir_fd);
    return status;
}

/* --- memory ----------------------------------------------------------------------------------- */

static int allocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
    int result;
    do {
        result = fallocate(fd, mode, (off_t)off, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return SP_OK;
    return errno == ENOSPC || errno == EDQUOT ? SP_ENOSHM : SP_ESYS;
}

int region_commit(struct region *region, uint64_t off, uint64_t bytes)
{
    return bytes == 0 ? SP_OK : allocate(region->fd, 0, off, bytes);
}

void region_space_text(const struct region *region, uint64_t bytes, char *why)
{
    struct statvfs space;
    unsigned long long kib = (unsigned long long)((bytes + 1023) / 1024);
    if (fstatvfs(region->fd, &space) != 0) {
        region_why(why, 0, "the pond's file system is full: %llu KiB more were needed", kib);
        return;
    }
    unsigned long long available = (unsigned long long)space.f_bavail * space.f_frsize / 1024;
    unsigned long long total = (unsigned long long)space.f_blocks * space.f_frsize / 1024;
    region_why(
        why, 0,
        "the pond's file system is full: %llu KiB more were needed, %llu of its %llu KiB are "
        "free",
        kib, available, total);
}

int region_punch(struct region *region, uint64_t off, uint64_t bytes)
{
    uint64_t from = round_up(off, PAGE_BYTES);
    uint64_t to = (off + bytes) / PAGE_BYTES * PAGE_BYTES;
    if (from >= to)
        return SP_OK;
    return allocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
}

bool region_collapse(struct region *region, uint64_t off, uint64_t bytes)
{
    uint64_t from = round_up(off, FORMAT_ARENA_ALIGN);
    uint64_t to = (off + bytes) / FORMAT_ARENA_ALIGN * FORMAT_ARENA_ALIGN;
    if (from >= to)
        return false;
    return madvise(region->base + from, to - from, MADV_COLLAPSE) == 0;
}

/* --- the writer's lock ------------------------------------------------------------------------ */

static long read_holder(int fd)
{
    char text[32] = {0};
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    return got > 0 ? strtol(text, NULL, 10) : 0;
}

int region_writer_lock(const char *directory, int *fd, long *holder, char *why)
{
    *fd = -1;
    *holder = 0;
    int dir_fd;
    int status = make_directory(directory, why);
    if (status == SP_OK)
        status = region_open_directory(directory, &dir_fd, why);
    if (status != SP_OK)
        return status;
    int lock_fd = openat(dir_fd, REGION_LOCK_FILE,
                         O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, POND_MODE);
    close(dir_fd);
    if (lock_fd < 0)
        return region_why_errno(why, "cannot open", directory, REGION_LOCK_FILE);
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = REGION_LOCK_BYTE, .l_len = 1};
    if (fcntl(lock_fd, F_OFD_SETLK, &lock) == 0) {
        char text[32];
        int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        /* Only for people: a failure here costs the next daemon our name. */
        if (ftruncate(lock_fd, 0) == 0 && pwrite(lock_fd, text, (size_t)size, 0) == size)
            (void)fchmod(lock_fd, POND_MODE);
        *fd = lock_fd;
        return SP_OK;
    }
    *holder = read_holder(lock_fd);
    status = errno == EAGAIN || errno == EACCES
                 ? region_why(why, SP_EBUSY, "another daemon (pid %ld) keeps the pond in %s",
                              *holder, directory)
                 : region_why_errno(why, "cannot lock", directory, REGION_LOCK_FILE);
    close(lock_fd);
    return status;
}
