/* SPDX-License-Identifier: Apache-2.0
 *
 * jobs.c - starting jobs, ending them, and their replies on the way back.
 *
 * A job belongs to its thread until it is posted to the client's I/O thread, and to that from then
 * on. `session` is touched on the I/O thread only, where sessions end too: so a reply never goes to
 * a session that is gone. The lock is for the list of jobs that run, and for sleeping.
 */
#include "server/command/jobs.h"
#include "alloc/clock.h"

#include <stdlib.h>
#include <time.h>

#include "alloc/thread.h"
#include "server/command/commands.h"
#include "server/command/multi.h"

#define POST_AGAIN_MS 10

void jobs_init(struct jobs *jobs)
{
    *jobs = (struct jobs){.running = 0};
    pthread_mutex_init(&jobs->lock, NULL);
    thread_cond_init(&jobs->changed);
}

void jobs_destroy(struct jobs *jobs)
{
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
}

void jobs_stop(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    for (struct job *job = jobs->first; job; job = job->next)
        atomic_store(&job->unwanted, true);
    pthread_cond_broadcast(&jobs->changed);
    while (jobs->running > 0)
        pthread_cond_wait(&jobs->changed, &jobs->lock);
    pthread_mutex_unlock(&jobs->lock);
}

/* Until the time, or whatever wakes the jobs. With the lock. */
static void wait_ms(struct jobs *jobs, uint32_t ms)
{
    thread_wait(&jobs->changed, &jobs->lock, clock_ms() + ms);
}

bool job_sleep(struct job *job, uint32_t ms)
{
    struct jobs *jobs = &job->service->jobs;
    pthread_mutex_lock(&jobs->lock);
    if (!atomic_load(&job->unwanted))
        wait_ms(jobs, ms);
    pthread_mutex_unlock(&jobs->lock);
    return !atomic_load(&job->unwanted);
}

/* --- the way back ----------------------------------------------------------------------------- */

static void job_free(struct job *job)
{
    buffer_free(&job->out);
    free(job->args);
    free(job);
}

static void reply_late(struct session *session, struct job *job)
{
    struct thread_stats *stats = session->thread->stats;
    size_t mark = reply_mark(&session->reply);
    if (job->out.failed)
        reply_error(&session->reply, "ERR out of memory");
    else
        buffer_append(session->reply.out, job->out.bytes, job->out.size);
    if (session->reply.out->size > mark && session->reply.out->bytes[mark] == '-') {
        stats_error(stats, session->reply.out->bytes + mark, session->reply.out->size - mark);
        stats_add(&stats->by_command[job->command->number].failed, 1);
    }
    if (job->muted)
        reply_rewind(&session->reply, mark);
}

/* On the client's I/O thread. */
static void deliver(void *argument)
{
    struct job *job = argument;
    struct session *session = job->session;
    if (session) {
        reply_late(session, job);
        session->job = NULL;
        session->paused = false;
        net_output(session->connection); /* to be sent after this callback */
        net_resume(session->connection);
    }
    job_free(job);
}

static void unlink_job(struct jobs *jobs, const struct job *job)
{
    struct job **link = &jobs->first;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
}

static void *job_main(void *argument)
{
    struct job *job = argument;
    struct service *service = job->service;
    struct jobs *jobs = &service->jobs;
    job->run(job);
    pthread_mutex_lock(&jobs->lock);
    unlink_job(jobs, job);
    while (net_post(service->net, job->thread, deliver, job) != SP_OK)
        wait_ms(jobs, POST_AGAIN_MS); /* no memory; the net outlives the jobs */
    jobs->running--;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* --- starting --------------------------------------------------------------------------------- */

static struct job *job_new(struct session *session, const struct call *call,
                           void (*run)(struct job *job))
{
    size_t bytes;
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    *job = (struct job){.service = session->service,
                        .command = call->command,
                        .session = session,
                        .thread = session->thread->number,
                        .muted = session->mute == MUTE_ALL || session->mute == MUTE_THIS,
                        .count = call->count,
                        .out = BUFFER_INIT,
                        .run = run};
    atomic_init(&job->unwanted, false);
    job->reply = (struct reply){&job->out, session->reply.protocol};
    job->args = call_copy_args(call, &bytes);
    if (job->args)
        return job;
    free(job);
    return NULL;
}

/* Why it does not run; NULL: it does. */
static const char *try_start(struct jobs *jobs, struct job *job)
{
    const char *why = NULL;
    pthread_mutex_lock(&jobs->lock);
    if (jobs->stopping)
        why = "the server is ending";
    else if (jobs->running >= JOBS_MAX)
        why = "as many such commands as may run at a time are running";
    else if (thread_start_detached(job_main, job) != SP_OK)
        why = "cannot start a thread";
    if (!why) {
        job->next = jobs->first;
        jobs->first = job;
        jobs->running++;
    }
    pthread_mutex_unlock(&jobs->lock);
    return why;
}

void job_start(struct session *session, const struct call *call, void (*run)(struct job *job))
{
    struct job *job = job_new(session, call, run);
    const char *why = job ? try_start(&session->service->jobs, job) : "out of memory";
    if (why) {
        reply_error(&session->reply, "ERR %s", why);
        if (job)
            job_free(job);
        return;
    }
    session->job = job;
    session->paused = true;
    net_pause(session->connection);
}

void job_leave(struct session *session)
{
    struct job *job = session->job;
    struct jobs *jobs = &session->service->jobs;
    if (!job)
        return;
    job->session = NULL;
    atomic_store(&job->unwanted, true);
    pthread_mutex_lock(&jobs->lock);
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
}
