/* SPDX-License-Identifier: Apache-2.0
 *
 * feeder.c - a store and a refresh, driven as the daemon's main loop drives them: ten times a
 * second, and whenever a refresh has ended.
 */
#include "feeder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "server/log/log.h"

#define TICK_NS 100000000L

/* Comes from the group's thread, which takes no signals; page_guard.c needs this one there. */
static void on_change(void *context)
{
    struct feeder *feeder = context;
    sigset_t fault;
    sigemptyset(&fault);
    sigaddset(&fault, SIGSEGV);
    pthread_sigmask(SIG_UNBLOCK, &fault, NULL);
    pthread_mutex_lock(&feeder->lock);
    feeder->told++;
    feeder->told_at_s = bench_now_s();
    pthread_cond_signal(&feeder->wake);
    pthread_mutex_unlock(&feeder->lock);
}

static struct config *load_config(const struct feeder *feeder, const char *name, const char *yaml)
{
    char text[2048];
    struct config *config;
    snprintf(text, sizeof(text), "pond: %s\ndirectory: %s\n%s", name, feeder->directory, yaml);
    if (config_load_buffer("bench.yaml", text, strlen(text), stderr, &config) != SP_OK)
        bench_die("the configuration is wrong");
    return config;
}

void feeder_open(struct feeder *feeder, const char *name, const char *yaml)
{
    char why[STORE_WHY_BYTES] = "";
    struct store_opened opened;
    pthread_condattr_t monotonic;
    *feeder = (struct feeder){0};
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_WARNING);
    snprintf(feeder->directory, sizeof(feeder->directory), "%s/%s", bench_directory(), name);
    pthread_mutex_init(&feeder->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&feeder->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    struct config *config = load_config(feeder, name, yaml);
    const struct store_options options = {.directory = feeder->directory,
                                          .name = config->pond,
                                          .limit_bytes = config->memory_bytes,
                                          .lease_limit_ms = config->lease_limit_ms,
                                          .gid = -1,
                                          .huge_pages = config->huge_pages};
    if (store_open(&options, &feeder->store, &opened, why) != SP_OK)
        bench_die("%s", why);
    const struct refresh_options refreshing = {.store = feeder->store,
                                               .directory = feeder->directory,
                                               .on_change = on_change,
                                               .context = feeder};
    bench_must(refresh_new(&refreshing, &feeder->refresh), "refresh_new");
    bench_must(refresh_apply(feeder->refresh, config), "refresh_apply");
}

/* One turn of the main loop: a tick, at most TICK_NS of waiting. */
static void turn(struct feeder *feeder)
{
    struct timespec until;
    refresh_tick(feeder->refresh);
    store_tick(feeder->store);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&feeder->lock);
    uint64_t before = feeder->told;
    while (feeder->told == before &&
           pthread_cond_timedwait(&feeder->wake, &feeder->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&feeder->lock);
}

void feeder_drive(struct feeder *feeder, bool (*done)(void *context), void *context)
{
    while (!done(context))
        turn(feeder);
}

static uint64_t told(struct feeder *feeder)
{
    pthread_mutex_lock(&feeder->lock);
    uint64_t count = feeder->told;
    pthread_mutex_unlock(&feeder->lock);
    return count;
}

double feeder_first(struct feeder *feeder)
{
    double start = bench_now_s();
    refresh_tick(feeder->refresh);
    while (told(feeder) == 0)
        turn(feeder);
    feeder_status(feeder);
    return feeder->told_at_s - start;
}

double feeder_again(struct feeder *feeder)
{
    uint64_t before = told(feeder);
    double start = bench_now_s();
    bench_must(refresh_now(feeder->refresh, NULL, NULL), "refresh_now");
    while (told(feeder) == before)
        turn(feeder);
    feeder_status(feeder);
    return feeder->told_at_s - start;
}

struct refresh_status feeder_status(struct feeder *feeder)
{
    struct refresh_status *all;
    size_t count;
    bench_must(refresh_status(feeder->refresh, &all, &count), "refresh_status");
    struct refresh_status status = all[0];
    free(all);
    if (status.state != SP_TABLE_FRESH)
        bench_die("the refresh failed: %s", status.error);
    return status;
}

void feeder_close(struct feeder *feeder)
{
    char path[128];
    refresh_stop(feeder->refresh);
    while (!refresh_tick(feeder->refresh))
        turn(feeder);
    refresh_free(feeder->refresh);
    store_close(feeder->store);
    static const char *const files[] = {"pond", "leases"};
    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/%s", feeder->directory, files[i]);
        remove(path);
    }
    pthread_cond_destroy(&feeder->wake);
    pthread_mutex_destroy(&feeder->lock);
}
