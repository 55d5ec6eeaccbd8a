/* SPDX-License-Identifier: Apache-2.0
 *
 * feeder.h - what sidepondd does, in this process: a store and a refresh that fills it, driven as
 * the daemon's main loop drives them.
 */
#ifndef SIDEPOND_BENCH_FEEDER_H
#define SIDEPOND_BENCH_FEEDER_H

#include <pthread.h>
#include <stdint.h>

#include "server/refresh/refresh.h"

struct feeder {
    char directory[96];
    struct store *store;
    struct refresh *refresh;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint64_t told;    /* refreshes and failures so far */
    double told_at_s; /* when the last one ended */
};

/* Opens an empty pond `name` in the benchmark's directory for the configuration, a YAML text
 * without `directory` and `pond`. The refresh is not yet begun. */
void feeder_open(struct feeder *feeder, const char *name, const char *yaml);
/* Begins the refreshes, and returns when the first has ended: the seconds that it took. */
double feeder_first(struct feeder *feeder);
/* A full refresh of everything, on demand; seconds. */
double feeder_again(struct feeder *feeder);
/* Drives it until this becomes true. */
void feeder_drive(struct feeder *feeder, bool (*done)(void *context), void *context);
/* The table's status; it must be one that is fresh. */
struct refresh_status feeder_status(struct feeder *feeder);
void feeder_close(struct feeder *feeder);

#endif
