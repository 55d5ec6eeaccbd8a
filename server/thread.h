/* SPDX-License-Identifier: Apache-2.0
 *
 * thread.h - starts a thread that gets no signals: they are the main loop's.
 */
#ifndef SIDEPOND_THREAD_H
#define SIDEPOND_THREAD_H

#include <pthread.h>
#include <signal.h>

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

#endif
