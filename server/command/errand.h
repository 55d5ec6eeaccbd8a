/* SPDX-License-Identifier: Apache-2.0
 *
 * errand.h - what a session waits for that another thread will tell, while the session may close.
 *
 *   I/O thread      errand_init, errand_begin; then the other thread has it too
 *   other thread    errand_end, once for each errand_begin
 *   I/O thread      errand->done, unless the session has closed
 *
 * Both threads have a reference; who gives back the last one frees it. `session` is touched on the
 * I/O thread only, where sessions end too. The net outlives the other thread, and answers that it
 * has ended (net.h, net_end).
 */
#ifndef SIDEPOND_COMMAND_ERRAND_H
#define SIDEPOND_COMMAND_ERRAND_H

#include <stdatomic.h>

struct service;
struct session;

struct errand {
    _Atomic unsigned references;
    struct service *service;
    unsigned thread;         /* the session's */
    struct session *session; /* NULL: it has closed */
    void (*done)(struct errand *errand);
    void (*destroy)(struct errand *errand); /* frees it */
};

/* The session's reference; the functions are set by the caller. */
void errand_init(struct errand *errand, struct session *session);
/* One more reference, for the thread that will call errand_end. */
void errand_begin(struct errand *errand);
/* Any thread. */
void errand_end(struct errand *errand);
/* The session gives its reference back; NULL is fine. */
void errand_leave(struct errand *errand);

#endif
