/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c - where a handle learns of the ring: from a list; from ZooKeeper, through a member that
 * only looks; or from the file that the daemon of this host keeps in its pond's directory, so that
 * a host has one session of ZooKeeper for all of its processes. The file is looked at with each
 * turn of the keeper, which costs one stat.
 *
 * Whatever the source says is used, also a map that is older than the one before: it may be another
 * ring. What nodes say (keeper.c) is used only if it is later.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define SESSION_MS 4000u

/* --- a list ----------------------------------------------------------------------------------- */

static int begin_list(struct sp_ring *ring)
{
    const struct ring_settings *with = &ring->settings;
    const struct ring_parameters parameters = {.slots = with->slots,
                                               .replicas = with->replicas,
                                               .kind = with->redis ? RING_REDIS : RING_SIDEPOND};
    struct ring_node *nodes = NULL;
    struct ring_map *map = NULL;
    size_t count;
    char why[RING_WHY_BYTES] = "";
    int status = node_list_parse(with->nodes, &nodes, &count, why);
    if (status == SP_OK)
        status = ring_map_next(NULL, &parameters, nodes, count, &map, why);
    free(nodes);
    if (status != SP_OK)
        return error_set(status, "nodes: %s", why);
    status = view_install(ring, map);
    ring_map_unref(map);
    return status;
}

/* --- ZooKeeper -------------------------------------------------------------------------------- */

static void on_map(void *context, const struct ring_map *map)
{
    struct sp_ring *ring = context;
    pthread_mutex_lock(&ring->mutex);
    struct ring_map *before = ring->watch.news;
    ring->watch.news = ring_map_ref(map);
    pthread_mutex_unlock(&ring->mutex);
    ring_map_unref(before);
    ring_wake(ring);
}

static void on_session_lost(void *context)
{
    (void)context; /* who only looks has nothing to lose */
}

static void on_status(void *context, const struct member_status *status)
{
    struct sp_ring *ring = context;
    pthread_mutex_lock(&ring->mutex);
    ring->watch.status = *status;
    pthread_mutex_unlock(&ring->mutex);
}

static int begin_zookeeper(struct sp_ring *ring)
{
    char why[MEMBER_WHY_BYTES] = "";
    const struct member_options options = {.servers = ring->settings.zookeeper,
                                           .cluster = ring->settings.cluster,
                                           .credential = ring->settings.credential,
                                           .session_ms = SESSION_MS,
                                           .file = ring->settings.file,
                                           .on_map = on_map,
                                           .on_session_lost = on_session_lost,
                                           .on_status = on_status,
                                           .context = ring};
    int status = member_open(&options, &ring->watch.member, why);
    if (status != SP_OK)
        return error_set(status, "ZooKeeper: %s", why);
    ring->watch.process = getpid();
    return SP_OK;
}

static void step_zookeeper(struct sp_ring *ring)
{
    pthread_mutex_lock(&ring->mutex);
    struct ring_map *news = ring->watch.news;
    ring->watch.news = NULL;
    pthread_mutex_unlock(&ring->mutex);
    if (news == NULL)
        return;
    if (view_install(ring, news) != SP_OK) { /* no memory: again in the next turn */
        pthread_mutex_lock(&ring->mutex);
        if (ring->watch.news == NULL) {
            ring->watch.news = news;
            news = NULL;
        }
        pthread_mutex_unlock(&ring->mutex);
    }
    ring_map_unref(news);
}

/* --- the pond's file -------------------------------------------------------------------------- */

static bool file_is_known(const struct watch *watch, const struct stat *now)
{
    return watch->file_seen && watch->file_inode == now->st_ino &&
           watch->file_seconds == now->st_mtim.tv_sec &&
           watch->file_nanoseconds == now->st_mtim.tv_nsec;
}

static void note_file(struct watch *watch, const struct stat *now)
{
    watch->file_seen = true;
    watch->file_inode = now->st_ino;
    watch->file_seconds = now->st_mtim.tv_sec;
    watch->file_nanoseconds = now->st_mtim.tv_nsec;
}

/* The file is known when its map is in use: before that, the child of a fork that comes in between
 * has to read it, and so has this process if it lacked memory. What is no map is looked at again
 * when it has changed. */
static int step_pond(struct sp_ring *ring)
{
    struct ring_map *map;
    struct stat now;
    const char *path = ring->settings.published;
    if (stat(path, &now) != 0 || file_is_known(&ring->watch, &now))
        return SP_OK;
    int status = ring_map_load(path, &map);
    if (status == SP_EFORMAT || status == SP_ECORRUPT)
        note_file(&ring->watch, &now);
    if (status != SP_OK)
        return error_set(status, "%s: %s", path, sp_status_text(status));
    status = view_install(ring, map);
    if (status == SP_OK)
        note_file(&ring->watch, &now);
    ring_map_unref(map);
    return status;
}

static int begin_pond(struct sp_ring *ring)
{
    char directory[sizeof ring->settings.published];
    struct stat there;
    memcpy(directory, ring->settings.published, sizeof directory);
    char *slash = strrchr(directory, '/');
    if (slash != NULL)
        *slash = '\0';
    if (stat(directory, &there) != 0)
        return error_set(errno == EACCES ? SP_EACCESS : SP_ENOPOND, "%s: %s", directory,
                         strerror(errno));
    return step_pond(ring);
}

/* --- all of them ------------------------------------------------------------------------------ */

int watch_begin(struct sp_ring *ring)
{
    switch (ring->settings.source) {
    case SOURCE_LIST:
        return begin_list(ring);
    case SOURCE_ZOOKEEPER:
        return begin_zookeeper(ring);
    default:
        return begin_pond(ring);
    }
}

void watch_step(struct sp_ring *ring)
{
    if (ring->settings.source == SOURCE_ZOOKEEPER)
        step_zookeeper(ring);
    else if (ring->settings.source == SOURCE_POND)
        (void)step_pond(ring);
}

void watch_end(struct sp_ring *ring)
{
    member_close(ring->watch.member);
    ring->watch.member = NULL;
    ring_map_unref(ring->watch.news);
    ring->watch.news = NULL;
}

int watch_forked(struct sp_ring *ring)
{
    if (ring->settings.source != SOURCE_ZOOKEEPER || ring->watch.process == getpid())
        return SP_OK;
    ring->watch.member = NULL; /* the parent's */
    return begin_zookeeper(ring);
}
