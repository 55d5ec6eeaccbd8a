/* SPDX-License-Identifier: Apache-2.0
 *
 * test_region.c - a pond's files (alloc/region.c, region_write.c, leases.c).
 *
 * Goal: a pond is created whole or not at all; what is not a sound pond is refused with the reason;
 * memory is taken and given back; the locks keep out whom they must.
 * Method: ponds in a directory of the test's own; each field of the superblock damaged in turn.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/region.h"
#include "tests/unit/status_asserts.h"

#define LIMIT (UINT64_C(8) << 20)

static char top[64];
static char directory[96];
static char why[REGION_WHY_BYTES];

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/dev/shm/test-region-XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(directory, sizeof directory, "%s/a/b", top);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", top);
    return system(command);
}

static void create(struct region *region)
{
    struct region_create how = {
        .name = "test", .limit_bytes = LIMIT, .meta_bytes = 100000, .gid = -1};
    assert_ok(region_create(directory, &how, region, why));
}

static void create_published(void)
{
    struct region region;
    create(&region);
    assert_ok(region_publish(directory, &region, why));
    region_detach(&region);
}

static off_t blocks(const struct region *region)
{
    struct stat about;
    assert_int_equal(fstat(region->fd, &about), 0);
    return about.st_blocks;
}

/* --- names ------------------------------------------------------------------------------------ */

static void test_directory(void **state)
{
    (void)state;
    char out[64];
    unsetenv("SIDEPOND");
    unsetenv("SIDEPOND_ROOT");
    assert_ok(region_directory(NULL, out, sizeof out));
    assert_string_equal(out, "/dev/shm/sidepond/main");
    assert_ok(region_directory("x-1.y_Z", out, sizeof out));
    assert_string_equal(out, "/dev/shm/sidepond/x-1.y_Z");
    assert_ok(region_directory("./x y", out, sizeof out));
    assert_string_equal(out, "./x y");
    assert_ok(region_directory("/x/y//", out, sizeof out));
    assert_string_equal(out, "/x/y");
    assert_ok(region_directory("//", out, sizeof out));
    assert_string_equal(out, "/");
    setenv("SIDEPOND_ROOT", "/tmp/", 1);
    setenv("SIDEPOND", "other", 1);
    assert_ok(region_directory(NULL, out, sizeof out));
    assert_string_equal(out, "/tmp/other");
    unsetenv("SIDEPOND");
    unsetenv("SIDEPOND_ROOT");
    const char *const wrong[] = {
        "",
        ".",
        "..",
        ".x",
        "a b",
        "a\nb",
        "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_status(region_directory(wrong[i], out, sizeof out), SP_EINVAL);
    assert_status(region_directory("main", out, 10), SP_EINVAL);
}

/* --- creating --------------------------------------------------------------------------------- */

static void test_create(void **state)
{
    (void)state;
    struct region writer, reader;
    struct stat about;
    char path[160];
    create(&writer);
    assert_status(region_attach(directory, &reader, why), SP_ENOPOND);
    assert_ok(region_publish(directory, &writer, why));
    assert_ok(region_attach(directory, &reader, why));
    assert_int_equal((uintptr_t)reader.arena % FORMAT_ARENA_ALIGN, 0);
    assert_int_equal((uintptr_t)writer.arena % FORMAT_ARENA_ALIGN, 0);
    assert_int_equal(reader.unit_limit, LIMIT / FORMAT_UNIT_BYTES);
    assert_int_equal(reader.unit_limit, region_units_for(LIMIT));
    assert_string_equal(reader.super->name, "test");
    assert_true(reader.meta >= reader.base + FORMAT_HEADER_BYTES);
    assert_true(reader.meta + 100000 <= reader.arena);
    assert_false(region_replaced(directory, &reader));
    snprintf(path, sizeof path, "%s/pond", directory);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);
    snprintf(path, sizeof path, "%s/leases", directory);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0660);
    assert_int_equal(stat(directory, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0750);
    uint64_t id = writer.super->id[0];
    region_detach(&writer);
    create(&writer); /* a second one; the first stays until it is published */
    assert_false(region_replaced(directory, &reader));
    assert_ok(region_publish(directory, &writer, why));
    assert_true(region_replaced(directory, &reader));
    assert_true(writer.super->id[0] != id);
    assert_int_equal(reader.super->id[0], id);
    region_detach(&writer);
    region_detach(&reader);
}

static void test_units_for(void **state)
{
    (void)state;
    assert_int_equal(region_units_for(0), 256);
    assert_int_equal(region_units_for(4096), 256);
    assert_int_equal(region_units_for(8191), 256);
    assert_int_equal(region_units_for(8192), 512);
    assert_int_equal(region_units_for(UINT64_MAX), UINT64_C(1) << 36);
}

static void test_memory(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    uint64_t off = (uint64_t)(region.arena - region.base);
    off_t before = blocks(&region);
    assert_ok(region_commit(&region, off, 1 << 20));
    assert_int_equal(blocks(&region) - before, (1 << 20) / 512);
    memset(region.arena, 0x55, 1 << 20);
    assert_ok(region_commit(&region, off, 1 << 20));
    assert_int_equal(region.arena[4095], 0x55);
    assert_ok(region_punch(&region, off + 1, 8192)); /* one whole page inside */
    assert_int_equal(blocks(&region) - before, (1 << 20) / 512 - 8);
    assert_int_equal(region.arena[4095], 0x55);
    assert_int_equal(region.arena[8192], 0x55);
    assert_int_equal(region.arena[4096], 0);
    assert_ok(region_punch(&region, off, 100));
    assert_ok(region_commit(&region, off, 0));
    (void)region_collapse(&region, off, 1 << 20); /* too small: nothing */
    assert_ok(region_commit(&region, off, 4 << 20));
    memset(region.arena, 0x66, 4 << 20);
    (void)region_collapse(&region, off, 4 << 20); /* may or may not be possible here */
    assert_int_equal(region.arena[(4 << 20) - 1], 0x66);
    assert_status(region_commit(&region, off, UINT64_C(1) << 50), SP_ENOSHM);
    region_space_text(&region, UINT64_C(1) << 50, why);
    assert_non_null(strstr(why, "1099511627776 KiB"));
    region_detach(&region);
}

/* --- refusing --------------------------------------------------------------------------------- */

/* Changes bytes of the pond file, with or without a new checksum, and says what attach answers. */
static int attach_changed(size_t off, const void *bytes, size_t count, bool sign)
{
    char path[160];
    struct super super, damaged;
    struct region region;
    snprintf(path, sizeof path, "%s/pond", directory);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &super, sizeof super, 0), sizeof super);
    damaged = super;
    memcpy((char *)&damaged + off, bytes, count);
    if (sign)
        damaged.checksum = super_checksum(&damaged);
    assert_int_equal(pwrite(fd, &damaged, sizeof damaged, 0), sizeof damaged);
    int status = region_attach(directory, &region, why);
    assert_int_equal(pwrite(fd, &super, sizeof super, 0), sizeof super);
    close(fd);
    if (status == SP_OK)
        region_detach(&region);
    return status;
}

static void test_refused_fields(void **state)
{
    (void)state;
    create_published();
    const uint64_t values[] = {0,
                               1,
                               4095,
                               4096,
                               UINT64_MAX,
                               UINT64_C(1) << 63,
                               1 << 21,
                               UINT64_C(1) << 36,
                               (UINT64_C(1) << 36) + 1};
    const size_t sizes[] = {
        offsetof(struct super, file_bytes), offsetof(struct super, meta_off),
        offsetof(struct super, meta_bytes), offsetof(struct super, arena_off),
        offsetof(struct super, unit_limit),
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            if (sizes[i] == offsetof(struct super, arena_off) && values[j] == FORMAT_ARENA_ALIGN)
                continue; /* what it is */
            int status = attach_changed(sizes[i], &values[j], 8, true);
            assert_true(status == SP_ECORRUPT || status == SP_OK);
            assert_status(attach_changed(sizes[i], &values[j], 8, false), SP_ECORRUPT);
        }
    }
    /* The story: with an arena of less than a root's size, "the last place for a root" was
     * anywhere. */
    for (uint64_t units = 0; units < FORMAT_UNITS_LEAST; units += 51)
        assert_status(attach_changed(offsetof(struct super, unit_limit), &units, 8, true),
                      SP_ECORRUPT);
    const uint32_t older = 0, newer = 2, feature = 1, tables = 257;
    assert_status(attach_changed(offsetof(struct super, format_version), &older, 4, true),
                  SP_EFORMAT);
    assert_non_null(strstr(why, "older format 0"));
    assert_status(attach_changed(offsetof(struct super, format_version), &newer, 4, true),
                  SP_EFORMAT);
    assert_non_null(strstr(why, "newer format 2"));
    assert_status(attach_changed(offsetof(struct super, features), &feature, 4, true), SP_EFORMAT);
    assert_status(attach_changed(offsetof(struct super, magic), "ELF", 3, true), SP_EFORMAT);
    assert_non_null(strstr(why, "not a pond"));
    assert_status(attach_changed(offsetof(struct super, magic), &values[0], 8, true), SP_EFORMAT);
    assert_non_null(strstr(why, "not a complete pond"));
    assert_status(attach_changed(offsetof(struct super, table_count), &tables, 4, true),
                  SP_ECORRUPT);
    char name[64];
    memset(name, 'x', sizeof name);
    assert_status(attach_changed(offsetof(struct super, name), name, 64, true), SP_ECORRUPT);
    struct region region;
    assert_ok(region_attach(directory, &region, why));
    region_detach(&region);
}

/* Every single bit of the fixed lines. */
static void test_refused_bits(void **state)
{
    (void)state;
    create_published();
    struct super super;
    char path[160];
    snprintf(path, sizeof path, "%s/pond", directory);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &super, sizeof super, 0), sizeof super);
    close(fd);
    for (size_t bit = 0; bit < offsetof(struct super, committed) * 8; bit++) {
        uint8_t byte = ((uint8_t *)&super)[bit / 8] ^ (uint8_t)(1u << bit % 8);
        int status = attach_changed(bit / 8, &byte, 1, false);
        assert_true(status == SP_ECORRUPT || status == SP_EFORMAT);
    }
}

static void test_refused_files(void **state)
{
    (void)state;
    struct region region;
    char path[160], other[160];
    assert_status(region_attach(top, &region, why), SP_ENOPOND);
    assert_status(region_attach("/dev/null", &region, why), SP_ENOPOND);
    create_published();
    snprintf(path, sizeof path, "%s/pond", directory);
    snprintf(other, sizeof other, "%s/elsewhere", directory);
    assert_int_equal(chmod(path, 0646), 0);
    assert_status(region_attach(directory, &region, why), SP_EACCESS);
    assert_int_equal(chmod(path, 0640), 0);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(truncate(path, about.st_size - 4096), 0);
    assert_status(region_attach(directory, &region, why), SP_ECORRUPT);
    assert_non_null(strstr(why, "truncated"));
    assert_int_equal(truncate(path, about.st_size + 4096), 0);
    assert_status(region_attach(directory, &region, why), SP_ECORRUPT);
    assert_int_equal(truncate(path, about.st_size), 0);
    assert_ok(region_attach(directory, &region, why));
    region_detach(&region);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_status(region_attach(directory, &region, why), SP_EACCESS);
    assert_non_null(strstr(why, "symbolic link"));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_status(region_attach(directory, &region, NULL), SP_EFORMAT);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_status(region_attach(directory, &region, why), SP_EFORMAT);
    rmdir(path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "short", 5), 5);
    close(fd);
    assert_status(region_attach(directory, &region, why), SP_EFORMAT);
    assert_non_null(strstr(why, "only 5 bytes"));
}

/* --- locks ------------------------------------------------------------------------------------ */

static void test_writer_lock(void **state)
{
    (void)state;
    struct region region;
    int fd, second;
    long holder;
    assert_ok(region_writer_lock(directory, &fd, &holder, why));
    create_published();
    assert_ok(region_attach(directory, &region, why));
    assert_true(region_writer_alive(&region));
    assert_status(region_writer_lock(directory, &second, &holder, why), SP_EBUSY);
    assert_int_equal(holder, getpid());
    assert_non_null(strstr(why, "another daemon"));
    close(fd);
    assert_false(region_writer_alive(&region));
    assert_ok(region_writer_lock(directory, &fd, &holder, why));
    close(fd);
    region_detach(&region);
}

static void test_leases(void **state)
{
    (void)state;
    struct region region;
    struct region_leases one, two;
    create_published();
    assert_ok(region_attach(directory, &region, why));
    const uint64_t *id = region.super->id;
    const uint64_t wrong[2] = {id[0] + 1, id[1]};
    assert_status(region_leases_attach(directory, wrong, &one), SP_ENOTREADY);
    assert_ok(region_leases_attach(directory, id, &one));
    assert_ok(region_leases_attach(directory, id, &two));
    assert_ok(region_lease_lock(&one, 7));
    assert_true(region_lease_held(&two, 7));
    assert_false(region_lease_held(&one, 7));
    assert_status(region_lease_lock(&two, 7), SP_EBUSY);
    assert_ok(region_lease_lock(&two, 8));
    assert_status(region_lease_lock(&two, FORMAT_LEASES_MAX), SP_EINVAL);
    region_lease_unlock(&one, 7);
    assert_ok(region_lease_lock(&two, 7));
    one.leases[7].pinned = 5;
    assert_int_equal(two.leases[7].pinned, 5);
    region_leases_detach(&two);
    assert_ok(region_lease_lock(&one, 7));
    /* One that is there and right stays; one of another pond is replaced. */
    assert_ok(region_leases_create(directory, id, -1, why));
    assert_int_equal(one.leases[7].pinned, 5);
    assert_true(region_leases_whole(&one));
    assert_ok(region_leases_create(directory, wrong, -1, why));
    assert_ok(region_leases_attach(directory, wrong, &two));
    assert_int_equal(two.leases[7].pinned, 0);
    char path[160];
    snprintf(path, sizeof path, "%s/leases", directory);
    assert_int_equal(truncate(path, 100), 0);
    assert_false(region_leases_whole(&two));
    region_leases_detach(&two);
    assert_status(region_leases_attach(directory, wrong, &two), SP_ECORRUPT);
    unlink(path);
    assert_status(region_leases_attach(directory, wrong, &two), SP_ENOTREADY);
    region_leases_detach(&one);
    region_detach(&region);
}

/* A lock goes with the process that has it, however it ends. */
static void test_lease_of_the_dead(void **state)
{
    (void)state;
    struct region region;
    struct region_leases leases;
    create_published();
    assert_ok(region_attach(directory, &region, why));
    pid_t pid = fork();
    if (pid == 0) {
        if (region_leases_attach(directory, region.super->id, &leases) != SP_OK ||
            region_lease_lock(&leases, 3) != SP_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_ok(region_leases_attach(directory, region.super->id, &leases));
    assert_false(region_lease_held(&leases, 3));
    assert_ok(region_lease_lock(&leases, 3));
    region_leases_detach(&leases);
    region_detach(&region);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_directory),      TEST(test_create),
        TEST(test_units_for),      TEST(test_memory),
        TEST(test_refused_fields), TEST(test_refused_bits),
        TEST(test_refused_files),  TEST(test_writer_lock),
        TEST(test_leases),         TEST(test_lease_of_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
