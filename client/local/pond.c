/* SPDX-License-Identifier: Apache-2.0
 *
 * pond.c - opening and closing, and what happens at a fork.
 *
 * A handle is private memory and a read-only mapping, both of which a forked child simply has. What
 * it must not share are the leases: their locks belong to the open file, so a child that kept the
 * descriptor would keep its parent's leases alive after the parent's death. The child closes it and
 * opens its own when it needs one. So it is with the cache's connections.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/local/internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#define POLL_MS 10 /* how often a pond that is awaited is looked for */

/* --- all ponds of the process, for fork ------------------------------------------------------- */

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t list_once = PTHREAD_ONCE_INIT;
static struct sp_pond *list;

static void before_fork(void)
{
    pthread_mutex_lock(&list_mutex);
    for (struct sp_pond *pond = list; pond != NULL; pond = pond->next)
        pthread_mutex_lock(&pond->mutex);
}

static void unlock_all(void)
{
    for (struct sp_pond *pond = list; pond != NULL; pond = pond->next)
        pthread_mutex_unlock(&pond->mutex);
    pthread_mutex_unlock(&list_mutex);
}

static void in_child(void)
{
    atomic_fetch_add_explicit(&fork_generation, 1, memory_order_relaxed);
    for (struct sp_pond *pond = list; pond != NULL; pond = pond->next) {
        struct mapping *map = atomic_load_explicit(&pond->current, memory_order_relaxed);
        for (; map != NULL; map = map->older)
            leases_forked(map);
        cache_forked(pond);
    }
    unlock_all();
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, unlock_all, in_child);
}

static void list_add(struct sp_pond *pond)
{
    pthread_once(&list_once, watch_forks);
    pthread_mutex_lock(&list_mutex);
    pond->next = list;
    if (list != NULL)
        list->prev = pond;
    list = pond;
    pthread_mutex_unlock(&list_mutex);
}

static void list_remove(struct sp_pond *pond)
{
    pthread_mutex_lock(&list_mutex);
    if (pond->next != NULL)
        pond->next->prev = pond->prev;
    if (pond->prev != NULL)
        pond->prev->next = pond->next;
    else
        list = pond->next;
    pthread_mutex_unlock(&list_mutex);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Maps the pages of what has memory. Holes are left out: reading one would give it memory. */
static void populate(const struct region *region)
{
    off_t end = (off_t)region->file_bytes;
    for (off_t from = lseek(region->fd, 0, SEEK_DATA); from >= 0 && from < end;) {
        off_t to = lseek(region->fd, from, SEEK_HOLE);
        if (to <= from)
            return;
        (void)madvise(region->base + from, (size_t)(to - from), MADV_POPULATE_READ);
        from = lseek(region->fd, to, SEEK_DATA);
    }
}

/* One attempt. A retired pond is one whose successor is about to come. */
static int try_open(const char *directory, struct mapping **out)
{
    int status = mapping_open(directory, out, error_buffer());
    if (status != SP_OK)
        return status;
    uint64_t committed = map_committed(*out);
    if (committed != 0 && (committed & VERSION_RETIRED) == 0)
        return SP_OK;
    mapping_free(*out);
    return error_set(SP_ENOTREADY, "the pond in %s %s", directory,
                     committed == 0 ? "has no data yet" : "is retired");
}

static int open_waiting(const char *directory, uint32_t wait_ms, struct mapping **out)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    uint64_t began = clock_monotonic_ms();
    for (;;) {
        int status = try_open(directory, out);
        bool may_come = status == SP_ENOPOND || status == SP_ENOTREADY;
        if (!may_come || clock_monotonic_ms() - began >= wait_ms)
            return status;
        nanosleep(&pause, NULL);
    }
}

int sp_open(const char *name, const struct sp_open_options *options, struct sp_pond **out)
{
    struct sp_open_options with = SP_OPEN_OPTIONS_INIT;
    *out = NULL;
    int status = options_over(&with, sizeof with, options, "SP_OPEN_OPTIONS_INIT");
    if (status != SP_OK)
        return status;
    struct sp_pond *pond = calloc(1, sizeof *pond);
    if (pond == NULL)
        return error_plain(SP_ENOMEM);
    struct mapping *map;
    status = region_directory(name, pond->directory, sizeof pond->directory);
    if (status != SP_OK)
        status = error_set(status, "\"%s\" is not the name of a pond", name != NULL ? name : "");
    else
        status = open_waiting(pond->directory, with.wait_ms, &map);
    if (status != SP_OK) {
        free(pond);
        return status;
    }
    pthread_mutex_init(&pond->mutex, NULL);
    atomic_init(&pond->current, map);
    atomic_init(&pond->checked_ms, clock_monotonic_ms());
    if (with.populate)
        populate(&map->region);
    list_add(pond);
    *out = pond;
    return SP_OK;
}

void sp_close(struct sp_pond *pond)
{
    if (pond == NULL)
        return;
    list_remove(pond);
    scans_free(pond);
    cache_free(pond);
    tables_free(pond);
    struct mapping *map = pond_mapping(pond);
    while (map != NULL) {
        struct mapping *older = map->older;
        mapping_free(map);
        map = older;
    }
    pthread_mutex_destroy(&pond->mutex);
    free(pond);
}
