/* SPDX-License-Identifier: Apache-2.0
 *
 * work.c - the member's thread: what is due, and when it shall be tried again.
 *
 * A turn is: look, tell of the map, register, change the map. It is the same at the start, for each
 * event, after each connection and from time to time; where nothing has changed it asks ZooKeeper
 * nothing. A turn that fails is repeated: at once where another node was faster, soon where
 * ZooKeeper did not answer, after some seconds where it refused.
 *
 * A session that is only disconnected is kept: ZooKeeper keeps it as well, and counts its time anew
 * when it has been down itself. That a session has expired is told by the server after connecting
 * again, and never before; so the member counts itself how long it has been away, and says that it
 * is not registered when that was longer than the session lasts.
 */
#include "client/member/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_PATIENCE_MS 10000 /* for zookeeper_init */
#define OPEN_AGAIN_MS    1000
#define GATHER_MS        3 /* events that come together are one turn */
#define AGAIN_MS         20
#define RETRY_MS         300
#define REFUSED_MS       2000
#define FULL_MS          30000
#define CLOSE_MS         2000

/* --- what is told of it ----------------------------------------------------------------------- */

void member_path(const struct member *member, char out[MEMBER_PATH_BYTES], const char *folder,
                 const char *name)
{
    snprintf(out, MEMBER_PATH_BYTES, name != NULL ? "%s/%s/%s" : "%s/%s", member->base, folder,
             name);
}

int member_fail(struct member *member, int status, const char *format, ...)
{
    char why[MEMBER_WHY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&member->box->mutex);
    memcpy(member->turn_why, why, sizeof why);
    pthread_mutex_unlock(&member->box->mutex);
    return status;
}

/* Tells of a status that is another one than before. */
static void set_status(struct member *member, enum member_link link, bool registered,
                       const char *why)
{
    struct member_status told;
    pthread_mutex_lock(&member->box->mutex);
    struct member_status *status = &member->status;
    bool changed =
        status->link != link || status->registered != registered || strcmp(status->why, why) != 0;
    status->link = link;
    status->registered = registered;
    memmove(status->why, why, strlen(why) + 1);
    pthread_cond_broadcast(&member->box->changed);
    pthread_mutex_unlock(&member->box->mutex);
    if (!changed || member->calls.on_status == NULL)
        return;
    member_status(member, &told);
    member->calls.on_status(member->calls.context, &told);
}

/* --- the session ------------------------------------------------------------------------------ */

static void open_session(struct member *member, int64_t now)
{
    if (now < member->open_ms)
        return;
    member->opened_ms = now;
    member->open_ms = now + OPEN_AGAIN_MS;
    member->connected = member->authenticated = member->was_connected = false;
    member->registered = false;
    int status = session_open(member, &member->session);
    if (status != SP_OK)
        set_status(member, MEMBER_CONNECTING, false, sp_status_text(status));
}

static void drop_session(struct member *member, enum member_link link, const char *why)
{
    int64_t now = member_now_ms();
    member->tell_lost = member->tell_lost || member->was_connected;
    session_close(member->session, now);
    member->session = NULL;
    member->connected = false;
    view_forget(&member->view);
    set_status(member, link, false, why);
}

static void expired(struct member *member)
{
    pthread_mutex_lock(&member->box->mutex);
    member->status.sessions_lost++;
    pthread_mutex_unlock(&member->box->mutex);
    member->open_ms = 0;
    drop_session(member, MEMBER_CONNECTING, "the session of ZooKeeper has expired");
}

/* Whoever learns of the loss suspects what it has before it is a member again. */
static void connected(struct member *member, int64_t now)
{
    member->connected = member->was_connected = true;
    pthread_mutex_lock(&member->box->mutex);
    member->status.session_ms = (uint64_t)zoo_recv_timeout(member->session->handle);
    member->away_since_ms = 0;
    if (member->tell_lost) /* others may have taken it out, and written without it */
        memset(member->holds, 0, sizeof member->holds);
    pthread_mutex_unlock(&member->box->mutex);
    if (member->tell_lost && member->calls.on_session_lost != NULL)
        member->calls.on_session_lost(member->calls.context);
    member->tell_lost = false;
    member->agreed = false;
    view_forget(&member->view);
    member->look_ms = now;
}

static void disconnected(struct member *member, int64_t since_ms)
{
    char line[MEMBER_WHY_BYTES];
    member->connected = false;
    pthread_mutex_lock(&member->box->mutex);
    member->away_since_ms = since_ms;
    pthread_mutex_unlock(&member->box->mutex);
    session_last_log(line);
    set_status(member, MEMBER_CONNECTING, member->registered, line);
}

/* What the ZooKeeper client's threads have said of the session. */
static void follow_session(struct member *member, int64_t now)
{
    struct session *session = member->session;
    pthread_mutex_lock(&member->box->mutex);
    enum session_phase phase = session->phase;
    bool is_connected = phase == SESSION_OPEN && session->connected;
    bool is_expired = session->expired, is_refused = session->refused;
    int64_t since_ms = session->since_ms;
    int error = session->error;
    char line[MEMBER_WHY_BYTES];
    pthread_mutex_unlock(&member->box->mutex);
    member->session_phase = phase;
    session_last_log(line);
    if (phase == SESSION_OPENING && now - member->opened_ms < OPEN_PATIENCE_MS)
        return;
    if (phase == SESSION_OPENING)
        drop_session(member, MEMBER_CONNECTING,
                     "the ZooKeeper client does not come back from opening a session");
    else if (phase == SESSION_FAILED)
        drop_session(member, MEMBER_CONNECTING, line[0] != '\0' ? line : strerror(error));
    else if (is_expired)
        expired(member);
    else if (is_refused)
        drop_session(member, MEMBER_REFUSED, "ZooKeeper refuses the credential");
    else if (is_connected && !member->connected)
        connected(member, now);
    else if (!is_connected && member->connected)
        disconnected(member, since_ms);
}

/* The session may have ended without this side's knowing. */
static int64_t away(struct member *member, int64_t now)
{
    pthread_mutex_lock(&member->box->mutex);
    uint64_t session_ms =
        member->status.session_ms != 0 ? member->status.session_ms : member->session_ms;
    int64_t lost_ms = member->away_since_ms + (int64_t)session_ms;
    bool told = !member->status.registered;
    pthread_mutex_unlock(&member->box->mutex);
    if (member->connected || told)
        return INT64_MAX;
    if (now < lost_ms)
        return lost_ms;
    set_status(member, MEMBER_CONNECTING, false,
               "ZooKeeper has been away for longer than the session lasts: other nodes may have "
               "taken this one out of the ring");
    return INT64_MAX;
}

/* --- a turn ----------------------------------------------------------------------------------- */

static int authenticate(struct member *member)
{
    if (member->authenticated || member->credential == NULL)
        return SP_OK;
    int status = call_status(call_end(member, call_authenticate(member)));
    member->authenticated = status == SP_OK;
    return status;
}

/* Everything once; the map is told of even where the rest is refused. */
static int do_turn(struct member *member)
{
    int status = authenticate(member);
    if (status == SP_OK)
        status = look(member);
    if (status == SP_OK)
        change_publish(member);
    if (status == SP_OK)
        status = enroll(member);
    if (status == SP_OK)
        change_publish(member);
    return status == SP_OK ? change(member) : status;
}

static int64_t pause_after(struct member *member, int status)
{
    if (status == SP_EBUSY)
        return 1 + member_random(member, AGAIN_MS);
    if (status == SP_EACCESS || status == SP_EREFUSED)
        return REFUSED_MS + member_random(member, REFUSED_MS / 2);
    return RETRY_MS + member_random(member, RETRY_MS);
}

static void take_turn(struct member *member, int64_t now)
{
    char why[MEMBER_WHY_BYTES];
    if (now >= member->full_ms) {
        view_forget(&member->view);
        member->full_ms = now + FULL_MS + member_random(member, FULL_MS);
    }
    member->look_ms = INT64_MAX;
    (void)member_fail(member, SP_OK, "%s", "");
    int status = do_turn(member);
    if (status != SP_OK)
        member->look_ms = member_now_ms() + pause_after(member, status);
    memcpy(why, member->turn_why, sizeof why);
    if (status == SP_EBUSY)
        return; /* another node was faster: the turn is not over */
    if (why[0] == '\0' && status != SP_OK)
        snprintf(why, sizeof why, "ZooKeeper: %s", sp_status_text(status));
    bool refused = status == SP_EACCESS || status == SP_EREFUSED;
    set_status(member, refused ? MEMBER_REFUSED : MEMBER_CONNECTED, member->registered, why);
}

/* --- the thread ------------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Waits until then, or until there is something to do; false: the member is to end. */
static bool wait_for_work(struct member *member, int64_t until_ms)
{
    struct mailbox *box = member->box;
    pthread_mutex_lock(&box->mutex);
    while (!box->poked && !box->stopping && mailbox_wait(box, until_ms))
        ;
    bool poked = box->poked, stopping = box->stopping;
    box->poked = false;
    pthread_mutex_unlock(&box->mutex);
    if (poked)
        member->look_ms = earlier(member->look_ms, member_now_ms() + GATHER_MS);
    return !stopping;
}

/* What hinders a session that has never been connected is told as it comes. */
static int64_t wait_for_connection(struct member *member, int64_t now)
{
    char line[MEMBER_WHY_BYTES];
    if (member->was_connected)
        return INT64_MAX;
    session_last_log(line);
    if (line[0] != '\0' && member->session_phase == SESSION_OPEN)
        set_status(member, MEMBER_CONNECTING, false, line);
    return now + OPEN_AGAIN_MS;
}

/* Does what is due; returns when the next thing is. */
static int64_t do_work(struct member *member)
{
    int64_t now = member_now_ms();
    if (member->session == NULL)
        open_session(member, now);
    if (member->session != NULL)
        follow_session(member, now);
    if (member->file_ms <= now)
        change_publish_file(member);
    change_publish_learnt(member);
    int64_t next = earlier(member->file_ms, away(member, now));
    if (member->session == NULL)
        return earlier(next, member->open_ms);
    if (!member->connected)
        return earlier(next, wait_for_connection(member, now));
    wish_serve(member);
    if (member->look_ms <= now || member->full_ms <= now ||
        (member->change_ms != 0 && member->change_ms <= now))
        take_turn(member, now);
    if (member->change_ms != 0)
        next = earlier(next, member->change_ms);
    return earlier(earlier(next, member->full_ms), member->look_ms);
}

void *member_work(void *argument)
{
    struct member *member = argument;
    while (wait_for_work(member, do_work(member)))
        ;
    wish_refuse(member, SP_ECANCELED);
    session_close(member->session, member_now_ms() + CLOSE_MS);
    return NULL;
}
