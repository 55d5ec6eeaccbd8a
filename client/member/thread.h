/* SPDX-License-Identifier: Apache-2.0
 *
 * thread.h - starts a thread that gets no signals: they are the application's. Threads that the
 * ZooKeeper client starts from there get none either.
 */
#ifndef SIDEPOND_MEMBER_THREAD_H
#define SIDEPOND_MEMBER_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "sidepond/status.h"

/* SP_ESYS if there is none to be had. Detached: nobody waits for its end. */
static inline int member_thread_start(pthread_t *thread, bool detached, void *(*run)(void *),
                                      void *argument)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return SP_ESYS;
    (void)pthread_attr_setdetachstate(&attributes,
                                      detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed ? SP_ESYS : SP_OK;
}

#endif
