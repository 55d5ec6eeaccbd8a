/* SPDX-License-Identifier: Apache-2.0
 *
 * soak_heap.c - counts the blocks that a program has allocated; soak.py preloads it into sidepondd.
 *
 * malloc and its kin stand before those of the C library, whose other names they call. Each block
 * is counted when it comes and when it goes, with its usable size, in a file that SOAK_HEAP names.
 * The file is mapped by both sides: the test reads how much the daemon holds without asking it,
 * block by block, where the resident set shows only whole pages, and those that glibc keeps.
 *
 *   file    total: blocks, bytes | for each of CLASSES sizes: blocks
 *   class   usable size / 16 below 1 KiB, then one for each power of two
 *
 * SOAK_BREAK=free:N makes the program forget every N-th free, and SOAK_BREAK=close:N leave a
 * descriptor open at every N-th close: the faults that the test must find.
 *
 * Costs three atomic additions for each call. Limits: memory that is mapped without malloc is not
 * seen (stacks, files), and what the C library keeps of freed blocks counts as free.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLASSES       100
#define SMALL_CLASSES 64
#define UNIT_BYTES    16

struct heap {
    _Atomic int64_t blocks, bytes;
    _Atomic int64_t by_class[CLASSES];
};

static struct heap before_main;
static struct heap *heap = &before_main; /* changed once, while there is one thread */
static unsigned long forget_free, forget_close;
static _Atomic unsigned long frees, closes;

void *libc_malloc(size_t size) __asm__("__libc_malloc");
void *libc_calloc(size_t count, size_t size) __asm__("__libc_calloc");
void *libc_realloc(void *block, size_t size) __asm__("__libc_realloc");
void *libc_memalign(size_t align, size_t size) __asm__("__libc_memalign");
void libc_free(void *block) __asm__("__libc_free");

static unsigned class_of(size_t size)
{
    unsigned found = SMALL_CLASSES;
    if (size < (size_t)SMALL_CLASSES * UNIT_BYTES)
        return (unsigned)(size / UNIT_BYTES);
    for (size_t end = (size_t)SMALL_CLASSES * UNIT_BYTES * 2; size >= end && end; end *= 2)
        found++;
    return found < CLASSES ? found : CLASSES - 1;
}

static void count(size_t size, int64_t blocks)
{
    atomic_fetch_add_explicit(&heap->blocks, blocks, memory_order_relaxed);
    atomic_fetch_add_explicit(&heap->bytes, blocks * (int64_t)size, memory_order_relaxed);
    atomic_fetch_add_explicit(&heap->by_class[class_of(size)], blocks, memory_order_relaxed);
}

static void *counted(void *block)
{
    if (block)
        count(malloc_usable_size(block), 1);
    return block;
}

static bool is_nth(_Atomic unsigned long *counter, unsigned long n)
{
    return n > 0 && (atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1) % n == 0;
}

/* --- malloc and its kin ----------------------------------------------------------------------- */

void *malloc(size_t size)
{
    return counted(libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    return counted(libc_calloc(number, size));
}

void free(void *block)
{
    if (!block || is_nth(&frees, forget_free))
        return;
    count(malloc_usable_size(block), -1);
    libc_free(block);
}

void *realloc(void *block, size_t size)
{
    size_t before = block ? malloc_usable_size(block) : 0;
    void *moved = libc_realloc(block, size);
    if (block && (moved || size == 0))
        count(before, -1);
    return counted(moved);
}

void *memalign(size_t align, size_t size)
{
    return counted(libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    void *block = memalign(align, size);
    if (!block)
        return ENOMEM;
    *out = block;
    return 0;
}

/* --- descriptors ------------------------------------------------------------------------------ */

int close(int fd)
{
    if (is_nth(&closes, forget_close) && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
        return -1;
    return (int)syscall(SYS_close, fd);
}

/* --- the start -------------------------------------------------------------------------------- */

static void read_breakage(const char *text)
{
    const char *frees_at = text ? strstr(text, "free:") : NULL;
    const char *closes_at = text ? strstr(text, "close:") : NULL;
    if (frees_at)
        forget_free = strtoul(frees_at + 5, NULL, 10);
    if (closes_at)
        forget_close = strtoul(closes_at + 6, NULL, 10);
}

/* Before main, when there is one thread. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SOAK_HEAP");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, sizeof(struct heap)) != 0)
        return;
    void *shared = mmap(NULL, sizeof(struct heap), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED)
        return;
    memcpy(shared, &before_main, sizeof(before_main));
    heap = shared;
    read_breakage(getenv("SOAK_BREAK"));
}
