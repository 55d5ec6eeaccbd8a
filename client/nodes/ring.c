/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c - opening and closing a ring, and what happens at a fork.
 *
 * A forked child closes its copies of all connections at once and has no keeper; the first call
 * that uses the handle there starts one, and opens a session of ZooKeeper of its own, if the parent
 * had one. The map, the breakers and what nodes missed stay as they were.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define CLOCK_AHEAD_MS 60000 /* as nodes have it by default (clock_ahead) */
#define TICK_MOST_US   10000u

static const char published_name[] = "ring"; /* in the pond's directory */

/* --- all rings of the process, for fork ------------------------------------------------------- */

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t list_once = PTHREAD_ONCE_INIT;
static struct sp_ring *list;

static void before_fork(void)
{
    pthread_mutex_lock(&list_mutex);
    for (struct sp_ring *ring = list; ring != NULL; ring = ring->next)
        pthread_mutex_lock(&ring->mutex);
}

static void in_parent(void)
{
    for (struct sp_ring *ring = list; ring != NULL; ring = ring->next)
        pthread_mutex_unlock(&ring->mutex);
    pthread_mutex_unlock(&list_mutex);
}

static void init_conditions(struct sp_ring *ring)
{
    thread_cond_init(&ring->changed);
    thread_cond_init(&ring->woken);
}

/* Connections in use by threads that the child does not have are closed too; their memory stays. */
static void in_child(void)
{
    for (struct sp_ring *ring = list; ring != NULL; ring = ring->next) {
        for (struct node *node = ring->nodes; node != NULL; node = node->next) {
            for (struct channel *at = node->all; at != NULL; at = at->next)
                channel_close(at);
            node->idle = NULL;
            node->idle_count = 0;
            node->generation++;
        }
        atomic_store(&ring->keeping, false);
        ring->lookup.running = false;
        init_conditions(ring); /* nobody waits here */
    }
    in_parent();
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, in_parent, in_child);
}

static void list_add(struct sp_ring *ring)
{
    pthread_once(&list_once, watch_forks);
    pthread_mutex_lock(&list_mutex);
    ring->next = list;
    if (list != NULL)
        list->prev = ring;
    list = ring;
    pthread_mutex_unlock(&list_mutex);
}

static void list_remove(struct sp_ring *ring)
{
    pthread_mutex_lock(&list_mutex);
    if (ring->next != NULL)
        ring->next->prev = ring->prev;
    if (ring->prev != NULL)
        ring->prev->next = ring->next;
    else
        list = ring->next;
    pthread_mutex_unlock(&list_mutex);
}

/* --- settings --------------------------------------------------------------------------------- */

static int check_options(const struct sp_ring_options *with)
{
    if (with->connect_ms == 0 || with->timeout_ms == 0 || with->probe_ms == 0)
        return error_set(SP_EINVAL, "connect_ms, timeout_ms and probe_ms are at least 1");
    if (with->replicas < 1 || with->replicas > RING_COPIES_MAX)
        return error_set(SP_EINVAL, "replicas is 1 to %u", RING_COPIES_MAX);
    if (with->slots < RING_SLOTS_LEAST || with->slots > RING_SLOTS_MAX ||
        (with->slots & (with->slots - 1)) != 0)
        return error_set(SP_EINVAL, "slots is a power of two from %u to %u", RING_SLOTS_LEAST,
                         RING_SLOTS_MAX);
    if (with->user != NULL && with->password == NULL)
        return error_set(SP_EINVAL, "a user without a password cannot log in");
    return SP_OK;
}

static const char *copy_text(char **at, const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static int copy_texts(struct ring_settings *to, const struct sp_ring_options *from)
{
    const char *const texts[] = {from->nodes, from->zookeeper, from->credential, from->cluster,
                                 from->file,  from->user,      from->password};
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bytes += texts[i] != NULL ? strlen(texts[i]) + 1 : 0;
    to->texts = malloc(bytes);
    to->texts_bytes = bytes;
    if (to->texts == NULL)
        return error_plain(SP_ENOMEM);
    char *at = to->texts;
    to->nodes = copy_text(&at, from->nodes);
    to->zookeeper = copy_text(&at, from->zookeeper);
    to->credential = copy_text(&at, from->credential);
    to->cluster = copy_text(&at, from->cluster);
    to->file = copy_text(&at, from->file);
    to->user = copy_text(&at, from->user);
    to->password = copy_text(&at, from->password);
    return SP_OK;
}

static int set_published(struct ring_settings *to, const char *pond)
{
    size_t room = sizeof to->published - sizeof published_name - 1;
    int status = region_directory(pond, to->published, room);
    if (status != SP_OK)
        return error_set(status, "\"%s\" is not the name of a pond", pond != NULL ? pond : "");
    size_t size = strlen(to->published);
    snprintf(to->published + size, sizeof to->published - size, "/%s", published_name);
    return SP_OK;
}

/* A socket's time-out is rounded up to ticks; it lasts one or two more, as one has begun already
 * and the kernel's timers are a tick late. Half a tick over the delay is bearable: with a poll
 * instead of the recv, every call would cost one more. */
uint32_t receive_ms_of(uint32_t hedge_ms, uint32_t tick_us)
{
    uint64_t ticks = (hedge_ms * UINT64_C(1000) + tick_us / 2) / tick_us;
    return ticks < 3 ? 0 : (uint32_t)((ticks - 2) * tick_us / 1000);
}

static void set_receive_ms(struct ring_settings *to)
{
    struct timespec tick = {0};
    (void)clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    uint32_t tick_us = tick.tv_nsec >= 1000 ? (uint32_t)(tick.tv_nsec / 1000) : TICK_MOST_US;
    to->receive_ms = receive_ms_of(to->hedge_ms, tick_us);
}

static int set_settings(struct ring_settings *to, const struct sp_ring_options *from)
{
    int status = check_options(from);
    if (status == SP_OK)
        status = copy_texts(to, from);
    if (status != SP_OK)
        return status;
    to->source = from->nodes != NULL       ? SOURCE_LIST
                 : from->zookeeper != NULL ? SOURCE_ZOOKEEPER
                                           : SOURCE_POND;
    to->redis = from->redis;
    to->replicas = from->replicas;
    to->slots = from->slots;
    to->connect_ms = from->connect_ms;
    to->timeout_ms = from->timeout_ms;
    to->hedge_ms = from->hedge_ms < from->timeout_ms ? from->hedge_ms : from->timeout_ms;
    set_receive_ms(to);
    to->probe_ms = from->probe_ms;
    to->idle_max = from->idle_max;
    return to->source == SOURCE_POND ? set_published(to, from->pond) : SP_OK;
}

/* --- the keeper ------------------------------------------------------------------------------- */

/* The mutex is held. The library's threads take no signals of the program's. */
static int start_keeper(struct sp_ring *ring)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&ring->keeper, NULL, keeper_main, ring);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return error_set(SP_ESYS, "a thread: %s", strerror(error));
    atomic_store_explicit(&ring->keeping, true, memory_order_release);
    return SP_OK;
}

int ring_alive_slowly(struct sp_ring *ring)
{
    pthread_mutex_lock(&ring->mutex);
    int status = SP_OK;
    if (!atomic_load_explicit(&ring->keeping, memory_order_relaxed)) {
        status = watch_forked(ring);
        if (status == SP_OK)
            status = start_keeper(ring);
    }
    pthread_mutex_unlock(&ring->mutex);
    return status;
}

void ring_wake(struct sp_ring *ring)
{
    pthread_mutex_lock(&ring->mutex);
    ring->work = true;
    pthread_cond_signal(&ring->woken);
    pthread_mutex_unlock(&ring->mutex);
}

void ring_see_version(struct sp_ring *ring, uint64_t version)
{
    ring_clock_see_until(&ring->clock, version, clock_wall_ms() + CLOCK_AHEAD_MS);
}

void ring_later_epoch(struct sp_ring *ring, uint64_t epoch)
{
    uint64_t known = atomic_load_explicit(&ring->later_epoch, memory_order_relaxed);
    while (epoch > known &&
           !atomic_compare_exchange_weak_explicit(&ring->later_epoch, &known, epoch,
                                                  memory_order_release, memory_order_relaxed))
        continue;
    if (epoch > known)
        ring_wake(ring);
}

/* --- views ------------------------------------------------------------------------------------ */

static bool epoch_there(const struct sp_ring *ring, uint64_t epoch, bool other)
{
    if (ring->view == NULL)
        return false;
    uint64_t now = ring->view->map->epoch;
    return other ? now != epoch : now >= epoch;
}

int ring_await_epoch(struct sp_ring *ring, uint64_t epoch, bool other, uint32_t ms)
{
    uint64_t until_ms = clock_ms() + ms;
    bool in_time = true;
    pthread_mutex_lock(&ring->mutex);
    while (!epoch_there(ring, epoch, other) && in_time)
        in_time = thread_wait(&ring->changed, &ring->mutex, until_ms);
    bool there = epoch_there(ring, epoch, other);
    pthread_mutex_unlock(&ring->mutex);
    return there ? SP_OK : error_plain(SP_ETIMEDOUT);
}

static int not_ready(struct sp_ring *ring)
{
    char why[MEMBER_WHY_BYTES] = "";
    if (ring->settings.source == SOURCE_POND)
        return error_set(SP_ENOPOND, "%s: no daemon of this pond tells of a ring",
                         ring->settings.published);
    pthread_mutex_lock(&ring->mutex);
    memcpy(why, ring->watch.status.why, sizeof why);
    pthread_mutex_unlock(&ring->mutex);
    return error_set(SP_ENOTREADY, "no map of the ring \"%s\" at %s so far%s%s",
                     ring->settings.cluster, ring->settings.zookeeper, why[0] != '\0' ? ": " : "",
                     why);
}

int ring_view(struct sp_ring *ring, struct view **out)
{
    *out = NULL;
    int status = ring_alive(ring);
    if (status != SP_OK)
        return status;
    *out = view_take(ring);
    if (*out == NULL && ring_await_epoch(ring, 0, false, ring->settings.timeout_ms) == SP_OK)
        *out = view_take(ring);
    return *out != NULL ? SP_OK : not_ready(ring);
}

int ring_check_key(const void *key, size_t key_bytes)
{
    if (key_bytes > SP_KEY_BYTES_MAX)
        return error_set(SP_ETOOBIG, "a key has at most %u bytes, and this has %zu",
                         SP_KEY_BYTES_MAX, key_bytes);
    return key == NULL && key_bytes > 0 ? error_set(SP_EINVAL, "there is no key") : SP_OK;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void free_nodes(struct sp_ring *ring)
{
    while (ring->nodes != NULL) {
        struct node *node = ring->nodes;
        ring->nodes = node->next;
        trust_forget(node); /* witnesses may tell of each other */
        node_unref(node);
    }
}

static void stop_keeper(struct sp_ring *ring)
{
    pthread_mutex_lock(&ring->mutex);
    ring->stopping = true;
    pthread_cond_signal(&ring->woken);
    pthread_mutex_unlock(&ring->mutex);
    if (atomic_load(&ring->keeping))
        pthread_join(ring->keeper, NULL);
}

static void ring_free(struct sp_ring *ring)
{
    view_give(ring->view);
    free_nodes(ring);
    commands_free(atomic_load(&ring->commands));
    if (ring->settings.texts != NULL)
        explicit_bzero(ring->settings.texts, ring->settings.texts_bytes);
    free(ring->settings.texts);
    pthread_cond_destroy(&ring->changed);
    pthread_cond_destroy(&ring->woken);
    pthread_mutex_destroy(&ring->mutex);
    free(ring);
}

void sp_ring_close(struct sp_ring *ring)
{
    if (ring == NULL)
        return;
    if (atomic_load(&ring->keeping)) {
        stop_keeper(ring);
        struct view *view = view_take(ring);
        if (view != NULL)
            trust_keep(ring, view); /* what has not been told yet */
        view_give(view);
    }
    lookup_end(ring);
    watch_end(ring);
    list_remove(ring);
    ring_free(ring);
}

/* The list is there before anything is connected, so that a fork meanwhile knows of it. */
static int ring_start(struct sp_ring *ring)
{
    list_add(ring);
    int status = watch_begin(ring);
    if (status == SP_OK) {
        pthread_mutex_lock(&ring->mutex);
        status = start_keeper(ring);
        pthread_mutex_unlock(&ring->mutex);
    }
    struct view *view;
    if (status == SP_OK)
        status = ring_view(ring, &view);
    if (status == SP_OK)
        view_give(view);
    return status;
}

int sp_ring_open(const struct sp_ring_options *options, struct sp_ring **out)
{
    struct sp_ring_options with = SP_RING_OPTIONS_INIT;
    *out = NULL;
    int status = options_over(&with, sizeof with, options, "SP_RING_OPTIONS_INIT");
    if (status != SP_OK)
        return status;
    struct sp_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return error_plain(SP_ENOMEM);
    pthread_mutex_init(&ring->mutex, NULL);
    init_conditions(ring);
    status = set_settings(&ring->settings, &with);
    if (status != SP_OK) {
        ring_free(ring);
        return status;
    }
    status = ring_start(ring);
    if (status != SP_OK) {
        char why[REGION_WHY_BYTES];
        snprintf(why, sizeof why, "%s", sp_error_detail());
        sp_ring_close(ring);
        return error_set(status, "%s", why);
    }
    *out = ring;
    return SP_OK;
}
