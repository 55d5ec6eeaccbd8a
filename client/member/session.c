/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c - one handle of the ZooKeeper client: opening, its events, closing.
 *
 * zookeeper_init resolves names and starts threads, and may not come back where the system has no
 * more threads; zookeeper_close waits for the network. So both are called on threads of their own.
 * A session that is left while it is still being opened is closed by the thread that opens it.
 *
 * A handle is never given other servers. An expired one is thrown away, and a new session is
 * opened.
 *
 * What the client logs goes to a callback, which cannot say for which handle: so one line of all
 * handles of the process is kept, at most one a second, and shown where a member says what is
 * wrong.
 */
#include "client/member/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/thread.h"

#define LOG_EVERY_MS 1000

/* --- what the client logs --------------------------------------------------------------------- */

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_line[MEMBER_WHY_BYTES];
static int64_t log_at_ms;

/* "2026-01-01 00:00:00,000:PID(0x7f..):ZOO_WARN@function@line: text" */
static void logged(const char *message)
{
    const char *level = strstr(message, ":ZOO_");
    if (level == NULL || strncmp(level, ":ZOO_INFO", 9) == 0)
        return;
    const char *text = strstr(level, ": ");
    text = text != NULL ? text + 2 : message;
    int64_t now = member_now_ms();
    if (pthread_mutex_trylock(&log_mutex) != 0)
        return;
    if (log_at_ms == 0 || now - log_at_ms >= LOG_EVERY_MS) {
        strncpy(log_line, text, sizeof log_line - 1);
        log_at_ms = now;
    }
    pthread_mutex_unlock(&log_mutex);
}

void session_last_log(char out[MEMBER_WHY_BYTES])
{
    pthread_mutex_lock(&log_mutex);
    memcpy(out, log_line, MEMBER_WHY_BYTES);
    pthread_mutex_unlock(&log_mutex);
}

/* --- counting; mutex held --------------------------------------------------------------------- */

static void free_events(struct session *session)
{
    while (session->events != NULL) {
        struct event *next = session->events->next;
        free(session->events);
        session->events = next;
    }
}

/* Gives one reference back, and the mutex. */
static void session_unlock_unref(struct session *session)
{
    struct mailbox *box = session->box;
    bool last = --session->references == 0;
    pthread_mutex_unlock(&box->mutex);
    if (!last)
        return;
    free_events(session);
    free(session->servers);
    free(session);
    mailbox_unref(box);
}

/* --- events ----------------------------------------------------------------------------------- */

/* Mutex held. */
static void note_state(struct session *session, int state)
{
    bool connected = state == ZOO_CONNECTED_STATE;
    if (connected != session->connected)
        session->since_ms = member_now_ms();
    session->connected = connected;
    if (state == ZOO_EXPIRED_SESSION_STATE)
        session->expired = true;
    if (state == ZOO_AUTH_FAILED_STATE)
        session->refused = true;
}

/* Mutex held. */
static void note_change(struct session *session, const char *path)
{
    size_t size = strlen(path) + 1;
    struct event *event = malloc(sizeof *event + size);
    if (event == NULL) {
        session->lost_events = true;
        return;
    }
    memcpy(event->path, path, size);
    event->next = session->events;
    session->events = event;
}

static void watched(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct session *session = context;
    (void)handle;
    pthread_mutex_lock(&session->box->mutex);
    if (type == ZOO_SESSION_EVENT)
        note_state(session, state);
    else if (path != NULL)
        note_change(session, path);
    session->box->poked = true;
    pthread_cond_broadcast(&session->box->changed);
    pthread_mutex_unlock(&session->box->mutex);
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void *opener(void *argument)
{
    struct session *session = argument;
    zhandle_t *handle = zookeeper_init2(session->servers, watched, (int)session->wanted_ms, NULL,
                                        session, 0, logged);
    int error = errno;
    if (handle != NULL) /* names are resolved when a connection is lost, not at each turn */
        (void)zoo_set_servers_resolution_delay(handle, -1);
    pthread_mutex_lock(&session->box->mutex);
    bool left = session->phase == SESSION_LEFT;
    if (!left) {
        session->handle = handle;
        session->error = error;
        session->phase = handle != NULL ? SESSION_OPEN : SESSION_FAILED;
        session->box->poked = true;
        pthread_cond_broadcast(&session->box->changed);
    } else if (handle != NULL) {
        pthread_mutex_unlock(&session->box->mutex);
        zookeeper_close(handle);
        pthread_mutex_lock(&session->box->mutex);
    }
    session_unlock_unref(session);
    return NULL;
}

static void *closer(void *argument)
{
    struct session *session = argument;
    zookeeper_close(session->handle);
    pthread_mutex_lock(&session->box->mutex);
    session->phase = SESSION_CLOSED;
    pthread_cond_broadcast(&session->box->changed);
    session_unlock_unref(session);
    return NULL;
}

int session_open(struct member *member, struct session **out)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return SP_ENOMEM;
    session->servers = strdup(member->servers);
    session->box = member->box;
    session->wanted_ms = member->session_ms;
    session->since_ms = member_now_ms();
    session->references = 2;
    mailbox_ref(session->box);
    int status = session->servers == NULL ? SP_ENOMEM : thread_start_detached(opener, session);
    if (status == SP_OK) {
        *out = session;
        return SP_OK;
    }
    session->references = 1;
    pthread_mutex_lock(&session->box->mutex);
    session_unlock_unref(session);
    return status;
}

/* Without a thread to be had the handle is closed here. */
static void begin_closing(struct session *session)
{
    pthread_mutex_lock(&session->box->mutex);
    bool open = session->phase == SESSION_OPEN;
    session->phase = open ? SESSION_OPEN : SESSION_LEFT;
    session->references += open;
    pthread_mutex_unlock(&session->box->mutex);
    if (open && thread_start_detached(closer, session) != SP_OK)
        closer(session);
}

void session_close(struct session *session, int64_t until_ms)
{
    if (session == NULL)
        return;
    begin_closing(session);
    pthread_mutex_lock(&session->box->mutex);
    while (session->phase == SESSION_OPEN && mailbox_wait(session->box, until_ms))
        ;
    session_unlock_unref(session);
}
