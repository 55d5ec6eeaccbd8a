/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c - one request to ZooKeeper, and waiting for its answer.
 *
 * The client's synchronous calls can wait for ever when a session ends meanwhile. So requests are
 * asynchronous, and it is the member's thread that waits, with a deadline of its own and until the
 * member is closed; the answer of one that was given up is thrown away when it comes. Several
 * requests can be begun before the first is waited for.
 *
 * The client answers each request that it took, at the latest when its handle is closed; so the
 * reference that it holds comes back always.
 */
#include "client/member/internal.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_LEAST_MS 2000

static void call_release(struct call *call)
{
    struct mailbox *box = call->box;
    pthread_mutex_lock(&box->mutex);
    bool last = --call->references == 0;
    pthread_mutex_unlock(&box->mutex);
    if (!last)
        return;
    for (int i = 0; i < call->name_count; i++)
        free(call->names[i]);
    free((void *)call->names);
    free(call->data);
    free(call);
    mailbox_unref(box);
}

static struct call *call_new(struct member *member)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->box = member->box;
    call->references = 2;
    mailbox_ref(call->box);
    return call;
}

/* The client has taken the request, or has not and then never answers. */
static struct call *call_begun(struct call *call, int rc)
{
    if (rc == ZOK)
        return call;
    call->rc = rc;
    call->done = true;
    call_release(call);
    return call;
}

/* --- answers, on the client's thread ---------------------------------------------------------- */

static void answered(struct call *call, int rc)
{
    pthread_mutex_lock(&call->box->mutex);
    call->rc = rc;
    call->done = true;
    pthread_cond_broadcast(&call->box->changed);
    pthread_mutex_unlock(&call->box->mutex);
    call_release(call);
}

static void answered_data(int rc, const char *value, int size, const struct Stat *stat,
                          const void *context)
{
    struct call *call = (struct call *)context;
    if (rc == ZOK) {
        call->size = size > 0 ? size : 0;
        call->data = calloc(1, (size_t)call->size + 1);
        if (call->data == NULL)
            rc = ZSYSTEMERROR;
        else if (call->size > 0)
            memcpy(call->data, value, (size_t)call->size);
        call->stat = *stat;
    }
    answered(call, rc);
}

static void answered_stat(int rc, const struct Stat *stat, const void *context)
{
    struct call *call = (struct call *)context;
    if (rc == ZOK)
        call->stat = *stat;
    answered(call, rc);
}

static void answered_names(int rc, const struct String_vector *names, const void *context)
{
    struct call *call = (struct call *)context;
    if (rc == ZOK && names->count > 0) {
        call->names = (char **)calloc((size_t)names->count, sizeof *call->names);
        for (int i = 0; call->names != NULL && i < names->count; i++, call->name_count++)
            if ((call->names[i] = strdup(names->data[i])) == NULL)
                break;
        if (call->name_count < names->count)
            rc = ZSYSTEMERROR;
    }
    answered(call, rc);
}

static void answered_text(int rc, const char *value, const void *context)
{
    (void)value;
    answered((struct call *)context, rc);
}

static void answered_plain(int rc, const void *context)
{
    answered((struct call *)context, rc);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Watches tell the session's own watcher, which the handle has. */
struct call *call_get(struct member *member, const char *path)
{
    struct call *call = call_new(member);
    return call == NULL
               ? NULL
               : call_begun(call, zoo_aget(member->session->handle, path, 1, answered_data, call));
}

struct call *call_exists(struct member *member, const char *path)
{
    struct call *call = call_new(member);
    return call == NULL ? NULL
                        : call_begun(call, zoo_aexists(member->session->handle, path, 1,
                                                       answered_stat, call));
}

struct call *call_children(struct member *member, const char *path)
{
    struct call *call = call_new(member);
    return call == NULL ? NULL
                        : call_begun(call, zoo_aget_children(member->session->handle, path, 1,
                                                             answered_names, call));
}

/* Readable by all, and for who has the credential everything; without one, open. */
static const struct ACL_vector *acl_of(const struct member *member, bool open_to_all)
{
    static char world[] = "world", anyone[] = "anyone", auth[] = "auth", none[] = "";
    static struct ACL closed[2] = {
        {.perms = 1 /* ZOO_PERM_READ */, .id = {.scheme = world, .id = anyone}},
        {.perms = 31 /* ZOO_PERM_ALL */, .id = {.scheme = auth, .id = none}},
    };
    static const struct ACL_vector closed_vector = {.count = 2, .data = closed};
    return open_to_all || member->credential == NULL ? &ZOO_OPEN_ACL_UNSAFE : &closed_vector;
}

struct call *call_create(struct member *member, const char *path, const void *data, size_t size,
                         bool ephemeral, bool open_to_all)
{
    struct call *call = call_new(member);
    if (call == NULL)
        return NULL;
    int rc =
        zoo_acreate(member->session->handle, path, data, (int)size, acl_of(member, open_to_all),
                    ephemeral ? ZOO_EPHEMERAL : 0, answered_text, call);
    return call_begun(call, rc);
}

struct call *call_set(struct member *member, const char *path, const void *data, size_t size,
                      int version)
{
    struct call *call = call_new(member);
    if (call == NULL)
        return NULL;
    return call_begun(call, zoo_aset(member->session->handle, path, data, (int)size, version,
                                     answered_stat, call));
}

struct call *call_delete(struct member *member, const char *path, int version)
{
    struct call *call = call_new(member);
    if (call == NULL)
        return NULL;
    return call_begun(call,
                      zoo_adelete(member->session->handle, path, version, answered_plain, call));
}

struct call *call_replace(struct member *member, const char *path, const void *data, size_t size,
                          int version)
{
    struct call *call = call_new(member);
    if (call == NULL)
        return NULL;
    zoo_delete_op_init(&call->ops[0], path, version);
    zoo_create_op_init(&call->ops[1], path, data, (int)size, acl_of(member, false), ZOO_EPHEMERAL,
                       call->created, sizeof call->created);
    return call_begun(call, zoo_amulti(member->session->handle, 2, call->ops, call->results,
                                       answered_plain, call));
}

struct call *call_authenticate(struct member *member)
{
    struct call *call = call_new(member);
    if (call == NULL)
        return NULL;
    return call_begun(call, zoo_add_auth(member->session->handle, "digest", member->credential,
                                         (int)strlen(member->credential), answered_plain, call));
}

/* --- waiting ---------------------------------------------------------------------------------- */

int call_wait(struct member *member, struct call *call)
{
    if (call == NULL)
        return ZSYSTEMERROR;
    int64_t patience = member->session_ms > WAIT_LEAST_MS ? member->session_ms : WAIT_LEAST_MS;
    int64_t until = member_now_ms() + patience;
    pthread_mutex_lock(&call->box->mutex);
    while (!call->done && !call->box->stopping && mailbox_wait(call->box, until))
        ;
    int rc = call->done ? call->rc : ZOPERATIONTIMEOUT;
    pthread_mutex_unlock(&call->box->mutex);
    return rc;
}

void call_free(struct call *call)
{
    if (call != NULL)
        call_release(call);
}

int call_end(struct member *member, struct call *call)
{
    int rc = call_wait(member, call);
    call_free(call);
    return rc;
}

int call_status(int rc)
{
    static const struct {
        int rc, status;
    } table[] = {
        {ZOK, SP_OK},
        {ZNONODE, SP_ENOTFOUND},
        {ZNODEEXISTS, SP_EEXISTS},
        {ZNOAUTH, SP_EACCESS},
        {ZAUTHFAILED, SP_EACCESS},
        {ZBADVERSION, SP_EBUSY},
        {ZOPERATIONTIMEOUT, SP_ETIMEDOUT},
        {ZSYSTEMERROR, SP_ENOMEM},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].rc == rc)
            return table[i].status;
    return SP_ENODAEMON;
}
