/* SPDX-License-Identifier: Apache-2.0
 *
 * errand.c - references of errands, and their way back to the I/O thread.
 */
#include "server/command/errand.h"

#include <time.h>

#include "server/command/session.h"

#define POST_AGAIN_NS (1000L * 1000) /* where there is no memory for posting */

void errand_init(struct errand *errand, struct session *session)
{
    atomic_init(&errand->references, 1);
    errand->service = session->service;
    errand->thread = session->thread->number;
    errand->session = session;
}

void errand_begin(struct errand *errand)
{
    atomic_fetch_add_explicit(&errand->references, 1, memory_order_relaxed);
}

static void release(struct errand *errand)
{
    if (atomic_fetch_sub_explicit(&errand->references, 1, memory_order_acq_rel) == 1)
        errand->destroy(errand);
}

static void deliver(void *argument)
{
    struct errand *errand = argument;
    if (errand->session)
        errand->done(errand);
    release(errand);
}

void errand_end(struct errand *errand)
{
    const struct timespec again = {.tv_nsec = POST_AGAIN_NS};
    int status;
    while ((status = net_post(errand->service->net, errand->thread, deliver, errand)) == SP_ENOMEM)
        nanosleep(&again, NULL);
    if (status != SP_OK)
        release(errand); /* the thread has ended, and its sessions end with it */
}

void errand_leave(struct errand *errand)
{
    if (!errand)
        return;
    errand->session = NULL;
    release(errand);
}
