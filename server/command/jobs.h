/* SPDX-License-Identifier: Apache-2.0
 *
 * jobs.h - commands that take longer than an I/O thread may: each runs on a thread of its own,
 * while its client waits and all others are served.
 *
 *   I/O thread      run_command -> job_start: the client is paused, its later requests stay unread
 *   job's thread    job->run writes a reply into the job
 *   I/O thread      the reply goes to the client, who is resumed
 *
 * For operators, not for traffic: at most JOBS_MAX at a time, each for the price of a thread. The
 * figures of such a command count its calls and errors, and of its time only the start. A client
 * that goes away, or the service that ends, makes its job unwanted; a job looks for that where it
 * takes long. Such a command needs COMMAND_NO_MULTI, for EXEC cannot wait.
 */
#ifndef SIDEPOND_COMMAND_JOBS_H
#define SIDEPOND_COMMAND_JOBS_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/bytes/buffer.h"
#include "server/resp/reply.h"
#include "server/resp/request.h"

#define JOBS_MAX 16u

struct call;
struct command;
struct service;
struct session;

struct job {
    struct job *next; /* of those that run */
    struct service *service;
    const struct command *command;
    struct session *session; /* its I/O thread's; NULL: the client has gone */
    unsigned thread;         /* the session's */
    bool muted;              /* the client wants no reply */
    struct resp_arg *args;   /* as of the call; the job's own */
    size_t count;
    atomic_bool unwanted;
    struct buffer out;
    struct reply reply; /* to `out` */
    void (*run)(struct job *job);
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a job has ended or is unwanted; CLOCK_MONOTONIC */
    struct job *first;
    unsigned running;
    bool stopping;
    atomic_bool checking; /* SIDEPOND CHECK runs: one at a time */
};

void jobs_init(struct jobs *jobs);
void jobs_destroy(struct jobs *jobs);
/* Takes no more, makes all unwanted and waits for their end; before the net stops. */
void jobs_stop(struct jobs *jobs);

/* Runs a call so; where that is not possible the error is replied at once. */
void job_start(struct session *session, const struct call *call, void (*run)(struct job *job));
/* The client of a session that has a job goes away. */
void job_leave(struct session *session);

/* For a job: sleeps so long, or until it is unwanted; false: it is. */
bool job_sleep(struct job *job, uint32_t ms);

#endif
