/* SPDX-License-Identifier: Apache-2.0
 *
 * enroll.c - the cluster's parents and parameters, and the node's own entry.
 *
 * What is to be done follows from what the last look has seen, and never from what was tried: after
 * a connection was lost while the entry was being made, the next look finds it or does not.
 *
 *   the entry                               what is done
 *   is not there                            it is made
 *   is this session's                       its text is put right
 *   is of the same start id                 an earlier session of this process: replaced
 *   is of the same address                  an earlier process of this node: replaced
 *   is of the same address, but this one    a later process of this node: it is left alone
 *     has been registered before
 *   is of another session, but this session another process that stands for this node: it is left
 *     has been registered before              alone
 *   is of another address                   two nodes with one name: this one is refused, until
 *                                           the other's session has ended
 *
 * Replacing deletes and makes the entry as one, so that nobody sees the node gone.
 *
 * A node that leaves says so in its entry first, and is no member from then on. So it can be told
 * from one that has only lost ZooKeeper, however many leave at once and whether they answer or not
 * (doubt.c).
 */
#include "client/member/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- parents and parameters ------------------------------------------------------------------- */

static int make_parent(struct member *member, const char *path, bool open_to_all)
{
    int status =
        call_status(call_end(member, call_create(member, path, "", 0, false, open_to_all)));
    if (status == SP_EACCESS)
        return member_fail(member, status, "ZooKeeper does not allow %s to be made", path);
    return status == SP_EEXISTS ? SP_OK : status;
}

/* The folders above the cluster's are everybody's: rings with other passwords lie there too. */
static int make_parents(struct member *member)
{
    char path[MEMBER_PATH_BYTES];
    int status = SP_OK;
    if (member->view.there)
        return SP_OK;
    for (const char *end = member->base; status == SP_OK && end != NULL;) {
        end = strchr(end + 1, '/');
        size_t size = end != NULL ? (size_t)(end - member->base) : strlen(member->base);
        snprintf(path, sizeof path, "%.*s", (int)size, member->base);
        status = make_parent(member, path, end != NULL);
    }
    member_path(member, path, "nodes", NULL);
    if (status == SP_OK)
        status = make_parent(member, path, false);
    if (status == SP_OK)
        member->view.names_fresh = false;
    return status;
}

static int compare_parameters(struct member *member, const struct call *call)
{
    struct ring_parameters theirs;
    const struct ring_parameters *ours = &member->parameters;
    char why[RING_WHY_BYTES], own[MEMBER_OWN_BYTES];
    if (json_read_parameters(call->data, (size_t)call->size, &theirs, why) != SP_OK)
        return member_fail(member, SP_EREFUSED, "%s/parameters: %s", member->base, why);
    if (theirs.slots == ours->slots && theirs.replicas == ours->replicas &&
        theirs.kind == ours->kind)
        return SP_OK;
    json_write_parameters(ours, own);
    return member_fail(member, SP_EREFUSED,
                       "this node's parameters are not the ring's: here %s, in %s/parameters %.*s",
                       own, member->base, call->size, call->data);
}

static int agree(struct member *member)
{
    char path[MEMBER_PATH_BYTES], own[MEMBER_OWN_BYTES];
    member_path(member, path, "parameters", NULL);
    struct call *call = call_get(member, path);
    int status = call_status(call_wait(member, call));
    if (status == SP_OK)
        status = compare_parameters(member, call);
    call_free(call);
    if (status != SP_ENOTFOUND)
        return status;
    json_write_parameters(&member->parameters, own);
    status =
        call_status(call_end(member, call_create(member, path, own, strlen(own), false, false)));
    if (status == SP_EACCESS)
        return member_fail(member, status,
                           "ZooKeeper does not let this node make %s: is `user` "
                           "or the password wrong?",
                           path);
    return status == SP_EEXISTS ? SP_EBUSY : status; /* somebody else has made them: look again */
}

static int prepare(struct member *member)
{
    int status = make_parents(member);
    if (status == SP_OK && !member->agreed)
        status = agree(member);
    member->agreed = status == SP_OK;
    return status;
}

/* --- the entry -------------------------------------------------------------------------------- */

static int refuse(struct member *member, const struct seen *seen)
{
    if (!seen->good)
        return member_fail(member, SP_EREFUSED,
                           "the name %s is taken in ZooKeeper by what is no node of a ring",
                           member->node.name);
    if (strcmp(seen->node.address, member->node.address) != 0)
        return member_fail(member, SP_EREFUSED,
                           "two nodes are called %s: this one at %s, and one at %s that is "
                           "registered in ZooKeeper",
                           member->node.name, member->node.address, seen->node.address);
    return member_fail(member, SP_EREFUSED,
                       "another process has registered as %s at %s after this one",
                       member->node.name, member->node.address);
}

/* Whether the other session's entry is one of an earlier self. Not where this session has been
 * registered already: then the other one came later, and two would take turns for ever. */
static bool is_earlier(const struct member *member, const struct seen *seen,
                       const struct ring_node *own, int64_t session)
{
    if (!seen->good || member->enrolled_session == session)
        return false;
    if (seen->node.start == own->start)
        return true;
    return strcmp(seen->node.address, own->address) == 0 && member->enrolled_start != own->start;
}

static int write_entry(struct member *member, const struct ring_node *own, bool leaving,
                       const struct seen *seen, int64_t session)
{
    char path[MEMBER_PATH_BYTES], text[MEMBER_OWN_BYTES];
    member_path(member, path, "nodes", own->name);
    int status = json_write_node(own, leaving, text);
    if (status != SP_OK)
        return member_fail(member, SP_EREFUSED, "what this node says of itself is no JSON: %s",
                           sp_status_text(status));
    size_t size = strlen(text);
    struct call *call;
    if (seen == NULL)
        call = call_create(member, path, text, size, true, false);
    else if (seen->owner == session)
        call = call_set(member, path, text, size, seen->version);
    else if (is_earlier(member, seen, own, session))
        call = call_replace(member, path, text, size, seen->version);
    else
        return refuse(member, seen);
    status = call_status(call_end(member, call));
    if (status == SP_EACCESS)
        return member_fail(member, status,
                           "ZooKeeper does not let this node write %s: is `user` or the password "
                           "wrong?",
                           path);
    return status;
}

/* The entry has been made, or is another one than the view has. */
static void forget_own(struct member *member)
{
    struct seen *seen = view_find(&member->view, member->node.name);
    if (seen != NULL)
        seen->fresh = false;
    member->view.names_fresh = false;
}

static int take_out(struct member *member, const struct seen *seen)
{
    char path[MEMBER_PATH_BYTES];
    member_path(member, path, "nodes", member->node.name);
    int status = call_status(call_end(member, call_delete(member, path, seen->version)));
    forget_own(member);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

static void note_registered(struct member *member, uint64_t start, int64_t session)
{
    member->registered = true;
    member->enrolled_start = start;
    member->enrolled_session = session;
}

static int put_in(struct member *member, const struct ring_node *own, bool leaving,
                  const struct seen *seen, int64_t session)
{
    int status = prepare(member);
    if (status != SP_OK)
        return status;
    status = write_entry(member, own, leaving, seen, session);
    forget_own(member);
    if (status == SP_OK) {
        note_registered(member, own->start, session);
        status = look(member); /* the map is changed with this node in it */
    }
    return status == SP_EEXISTS || status == SP_ENOTFOUND ? SP_EBUSY : status;
}

int enroll(struct member *member)
{
    if (!member->is_node)
        return SP_OK;
    pthread_mutex_lock(&member->box->mutex);
    struct ring_node own = member->node;
    bool wants_in = member->wants_in, leaving = member->leaving;
    own.start = member->start;
    pthread_mutex_unlock(&member->box->mutex);
    int64_t session = zoo_client_id(member->session->handle)->client_id;
    struct seen *seen = view_find(&member->view, own.name);
    bool ours = seen != NULL && seen->owner == session;
    member->registered = ours && seen->good && seen->node.start == own.start;
    bool right = member->registered && seen->node.weight == own.weight &&
                 seen->leaving == leaving && strcmp(seen->node.zone, own.zone) == 0;
    if (right && wants_in) /* also where the answer to making it was lost */
        note_registered(member, own.start, session);
    if (wants_in && (ours || !leaving))
        return right ? SP_OK : put_in(member, &own, leaving, seen, session);
    member->registered = false;
    return ours ? take_out(member, seen) : SP_OK;
}
