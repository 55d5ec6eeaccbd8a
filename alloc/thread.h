/* SPDX-License-Identifier: Apache-2.0
 *
 * thread.h - threads that get no signals, and waiting for each other by the monotonic clock.
 *
 * Signals are the main loop's or, in the library, the application's; so threads that other
 * libraries start from these get none either.
 */
#ifndef SIDEPOND_THREAD_H
#define SIDEPOND_THREAD_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "sidepond/status.h"

/* SP_ESYS if there is none to be had. */
static inline int thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? SP_ESYS : SP_OK;
}

/* Nobody waits for its end. */
static inline int thread_start_detached(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int status = thread_start(&thread, run, argument);
    if (status == SP_OK)
        pthread_detach(thread);
    return status;
}

/* A condition for thread_wait. */
static inline void thread_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* With the lock: until the condition is signalled or, as always, for no reason; false: clock_ms()
 * is until_ms. */
static inline bool thread_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ms)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                   .tv_nsec = (long)(until_ms % 1000) * 1000000};
    return pthread_cond_timedwait(condition, lock, &until) != ETIMEDOUT;
}

#endif
