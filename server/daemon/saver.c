/* SPDX-License-Identifier: Apache-2.0
 *
 * saver.c - the snapshot file: saved after a commit, at most once in a time, and at the end.
 *
 * A save that fails is tried again after that time. While a file is written the pond goes on; the
 * file before it stays until the new one is complete.
 */
#include "server/daemon/saver.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/log/log.h"

struct saver {
    struct store *store;
    struct http_counters *counters;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* CLOCK_MONOTONIC */
    char path[PATH_MAX]; /* "": nothing is saved */
    uint32_t every_ms;
    unsigned changes; /* of the path */
    uint64_t version; /* in the pond */
    uint64_t saved;   /* in the file */
    int64_t next_ms;  /* CLOCK_MONOTONIC: not before */
    bool stop;
    bool ended;
};

static bool is_unsaved(const struct saver *saver)
{
    return saver->path[0] && saver->version != saver->saved;
}

/* Waits, with the lock held, until there is something to save; false: nothing, and the end. */
static bool wait_for_work(struct saver *saver)
{
    while (!saver->stop) {
        bool unsaved = is_unsaved(saver);
        if (unsaved && (int64_t)clock_ms() >= saver->next_ms)
            return true;
        if (unsaved)
            thread_wait(&saver->wake, &saver->lock, (uint64_t)saver->next_ms);
        else
            pthread_cond_wait(&saver->wake, &saver->lock);
    }
    return is_unsaved(saver);
}

static bool save(struct saver *saver, const char *path)
{
    char why[STORE_WHY_BYTES] = "";
    int64_t begun_ms = (int64_t)clock_ms();
    int status = store_save(saver->store, path, why);
    if (status != SP_OK) {
        atomic_fetch_add(&saver->counters->saves_bad, 1);
        log_limited(LOG_ERR, "saver", 60, "cannot save %s: %s", path,
                    why[0] ? why : sp_status_text(status));
        return false;
    }
    atomic_fetch_add(&saver->counters->saves_good, 1);
    atomic_store(&saver->counters->saved_at_ms, clock_wall_ms());
    log_event(LOG_DEBUG, "saver", "saved", LOG_STR("file", path),
              LOG_INT("ms", (int64_t)clock_ms() - begun_ms));
    return true;
}

static void *saver_run(void *argument)
{
    struct saver *saver = argument;
    char path[PATH_MAX];
    pthread_mutex_lock(&saver->lock);
    while (wait_for_work(saver)) {
        uint64_t version = saver->version;
        unsigned changes = saver->changes;
        bool last = saver->stop;
        memcpy(path, saver->path, sizeof(path));
        pthread_mutex_unlock(&saver->lock);
        bool good = save(saver, path);
        pthread_mutex_lock(&saver->lock);
        bool same = saver->changes == changes; /* else the new file has nothing yet */
        if (same)
            saver->next_ms = (int64_t)clock_ms() + saver->every_ms;
        if (same && good)
            saver->saved = version;
        if (last)
            break;
    }
    saver->ended = true;
    pthread_cond_signal(&saver->wake);
    pthread_mutex_unlock(&saver->lock);
    return NULL;
}

static void saver_free(struct saver *saver)
{
    pthread_cond_destroy(&saver->wake);
    pthread_mutex_destroy(&saver->lock);
    free(saver);
}

int saver_start(struct store *store, const char *path, uint32_t every_ms,
                struct http_counters *counters, struct saver **out)
{
    struct saver *saver = calloc(1, sizeof(*saver));
    if (!saver)
        return SP_ENOMEM;
    snprintf(saver->path, sizeof(saver->path), "%s", path);
    saver->store = store;
    saver->counters = counters;
    saver->every_ms = every_ms;
    pthread_mutex_init(&saver->lock, NULL);
    thread_cond_init(&saver->wake);
    int status = thread_start(&saver->thread, saver_run, saver);
    if (status != SP_OK) {
        saver_free(saver);
        return status;
    }
    *out = saver;
    return SP_OK;
}

void saver_change(struct saver *saver, const char *path, uint32_t every_ms)
{
    pthread_mutex_lock(&saver->lock);
    if (strcmp(saver->path, path) != 0) {
        snprintf(saver->path, sizeof(saver->path), "%s", path);
        saver->changes++;
        saver->saved = 0;
    }
    saver->every_ms = every_ms;
    saver->next_ms = 0;
    pthread_cond_signal(&saver->wake);
    pthread_mutex_unlock(&saver->lock);
}

void saver_tell(struct saver *saver, uint64_t version)
{
    pthread_mutex_lock(&saver->lock);
    if (saver->version != version) {
        saver->version = version;
        pthread_cond_signal(&saver->wake);
    }
    pthread_mutex_unlock(&saver->lock);
}

bool saver_stop(struct saver *saver, uint32_t wait_ms)
{
    uint64_t until_ms = clock_ms() + wait_ms;
    bool in_time = true;
    if (!saver)
        return true;
    pthread_mutex_lock(&saver->lock);
    saver->stop = true;
    pthread_cond_signal(&saver->wake);
    while (!saver->ended && in_time)
        in_time = thread_wait(&saver->wake, &saver->lock, until_ms);
    bool ended = saver->ended;
    pthread_mutex_unlock(&saver->lock);
    if (!ended)
        return false;
    pthread_join(saver->thread, NULL);
    saver_free(saver);
    return true;
}
