/* SPDX-License-Identifier: Apache-2.0
 *
 * look.c - what lies in ZooKeeper, read and kept.
 *
 * Everything that is read leaves a watch, and stays fresh until an event names it; so a look reads
 * what has changed and nothing else, and does nothing where nothing has. What is not there is
 * watched by asking whether it exists. Everything is read anew after each connection and every 30
 * to 60 seconds, so that a watch that was lost is missed for no longer than that.
 *
 * Events are taken before anything is read: what changes meanwhile is seen by the next look.
 */
#include "client/member/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the view --------------------------------------------------------------------------------- */

void view_forget(struct view *view)
{
    view->names_fresh = view->wanted_fresh = view->map_fresh = false;
    for (size_t i = 0; i < view->node_count; i++)
        view->nodes[i].fresh = false;
}

void view_free(struct view *view)
{
    free(view->nodes);
    json_decref(view->wanted);
    ring_map_unref(view->map);
    *view = (struct view){.wanted_version = -1, .map_version = -1};
}

struct seen *view_find(struct view *view, const char *name)
{
    for (size_t i = 0; i < view->node_count; i++)
        if (strcmp(view->nodes[i].node.name, name) == 0)
            return &view->nodes[i];
    return NULL;
}

/* --- events ----------------------------------------------------------------------------------- */

static void note_event(struct member *member, const char *path)
{
    struct view *view = &member->view;
    size_t base = strlen(member->base);
    if (strncmp(path, member->base, base) != 0 || path[base] != '/') {
        view_forget(view);
        return;
    }
    path += base + 1;
    if (strcmp(path, "map") == 0)
        view->map_fresh = false;
    else if (strcmp(path, "wanted") == 0)
        view->wanted_fresh = false;
    else if (strcmp(path, "nodes") == 0)
        view->names_fresh = false;
    else if (strncmp(path, "nodes/", 6) == 0) {
        struct seen *seen = view_find(view, path + 6);
        if (seen != NULL)
            seen->fresh = false;
        view->names_fresh = false;
    }
}

static void take_events(struct member *member)
{
    struct session *session = member->session;
    pthread_mutex_lock(&member->box->mutex);
    struct event *event = session->events;
    bool lost = session->lost_events;
    session->events = NULL;
    session->lost_events = false;
    pthread_mutex_unlock(&member->box->mutex);
    if (lost)
        view_forget(&member->view);
    while (event != NULL) {
        struct event *next = event->next;
        note_event(member, event->path);
        free(event);
        event = next;
    }
}

/* --- the nodes -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct seen *)a)->node.name, ((const struct seen *)b)->node.name);
}

/* The entries that there are now; what is known of them stays. */
static int take_names(struct member *member, const struct call *call)
{
    struct view *view = &member->view;
    struct seen *nodes = calloc((size_t)call->name_count + 1, sizeof *nodes);
    size_t count = 0;
    if (nodes == NULL)
        return SP_ENOMEM;
    for (int i = 0; i < call->name_count; i++) {
        struct seen *known = view_find(view, call->names[i]);
        struct seen *seen = &nodes[count];
        if (strlen(call->names[i]) >= sizeof seen->node.name)
            continue; /* nobody of ours */
        count++;
        if (known != NULL)
            *seen = *known;
        else
            memcpy(seen->node.name, call->names[i], strlen(call->names[i]) + 1);
    }
    qsort(nodes, count, sizeof *nodes, by_name);
    free(view->nodes);
    view->nodes = nodes;
    view->node_count = count;
    return SP_OK;
}

/* Leaves a watch on what was not there. SP_EBUSY: now it is. */
static int watch_absent(struct member *member, const char *path)
{
    int rc = call_end(member, call_exists(member, path));
    return rc == ZOK ? SP_EBUSY : rc == ZNONODE ? SP_OK : call_status(rc);
}

static int look_names(struct member *member)
{
    char path[MEMBER_PATH_BYTES];
    struct view *view = &member->view;
    if (view->names_fresh)
        return SP_OK;
    member_path(member, path, "nodes", NULL);
    struct call *call = call_children(member, path);
    int status = call_status(call_wait(member, call));
    view->there = status == SP_OK;
    if (status == SP_OK) {
        status = take_names(member, call);
    } else if (status == SP_ENOTFOUND) {
        view->node_count = 0;
        status = watch_absent(member, path);
    }
    call_free(call);
    view->names_fresh = status == SP_OK;
    return status;
}

/* An entry that has gone meanwhile is not there at the next look. */
static int take_entry(struct member *member, struct seen *seen, const struct call *call, int rc)
{
    char why[RING_WHY_BYTES], name[RING_NAME_BYTES];
    seen->good = false;
    if (rc == ZNONODE)
        member->view.names_fresh = false;
    if (rc != ZOK)
        return rc == ZNONODE ? SP_EBUSY : call_status(rc);
    memcpy(name, seen->node.name, sizeof name);
    seen->owner = call->stat.ephemeralOwner;
    seen->version = call->stat.version;
    seen->good = json_read_node(name, call->data, (size_t)call->size, &seen->node, &seen->leaving,
                                why) == SP_OK;
    memcpy(seen->node.name, name, sizeof name);
    seen->fresh = true;
    if (!seen->good)
        (void)member_fail(member, SP_OK, "the entry of node %s is passed over: %s", name, why);
    return SP_OK;
}

/* All that are not fresh are asked for together. */
static int look_entries(struct member *member)
{
    struct view *view = &member->view;
    int status = SP_OK;
    struct call **calls = (struct call **)calloc(view->node_count + 1, sizeof *calls);
    if (calls == NULL)
        return SP_ENOMEM;
    for (size_t i = 0; i < view->node_count; i++) {
        char path[MEMBER_PATH_BYTES];
        member_path(member, path, "nodes", view->nodes[i].node.name);
        if (!view->nodes[i].fresh)
            calls[i] = call_get(member, path);
        if (!view->nodes[i].fresh && calls[i] == NULL)
            status = SP_ENOMEM;
    }
    for (size_t i = 0; i < view->node_count; i++) {
        if (calls[i] == NULL)
            continue;
        int failed = take_entry(member, &view->nodes[i], calls[i], call_wait(member, calls[i]));
        status = status == SP_OK ? failed : status;
        call_free(calls[i]);
    }
    free((void *)calls);
    return status;
}

/* --- what operators want, and the map --------------------------------------------------------- */

int look_wanted(struct member *member)
{
    char path[MEMBER_PATH_BYTES];
    struct view *view = &member->view;
    if (view->wanted_fresh)
        return SP_OK;
    member_path(member, path, "wanted", NULL);
    struct call *call = call_get(member, path);
    int status = call_status(call_wait(member, call));
    if (status == SP_OK || status == SP_ENOTFOUND) {
        json_decref(view->wanted);
        view->wanted = NULL;
        view->wanted_version = -1;
    }
    if (status == SP_OK) {
        view->wanted = json_loadb(call->data, (size_t)call->size, 0, NULL);
        view->wanted_version = call->stat.version;
        if (!json_is_object(view->wanted))
            (void)member_fail(member, SP_OK, "%s is not a JSON object: it is passed over", path);
    } else if (status == SP_ENOTFOUND) {
        status = watch_absent(member, path);
    }
    call_free(call);
    view->wanted_fresh = status == SP_OK;
    return status;
}

static void take_map(struct member *member, const struct call *call, const char *path)
{
    struct view *view = &member->view;
    view->map_version = call->stat.version;
    int status = ring_map_decode(call->data, (size_t)call->size, &view->map);
    if (status != SP_OK) {
        view->map = NULL;
        (void)member_fail(member, SP_OK, "%s is no map of a ring: %s", path,
                          sp_status_text(status));
    }
}

static int look_map(struct member *member)
{
    char path[MEMBER_PATH_BYTES];
    struct view *view = &member->view;
    if (view->map_fresh)
        return SP_OK;
    member_path(member, path, "map", NULL);
    struct call *call = call_get(member, path);
    int status = call_status(call_wait(member, call));
    if (status == SP_OK || status == SP_ENOTFOUND) {
        ring_map_unref(view->map);
        view->map = NULL;
        view->map_version = -1;
    }
    if (status == SP_OK)
        take_map(member, call, path);
    else if (status == SP_ENOTFOUND)
        status = watch_absent(member, path);
    call_free(call);
    view->map_fresh = status == SP_OK;
    return status;
}

int look(struct member *member)
{
    take_events(member);
    int status = look_names(member);
    if (status == SP_OK)
        status = look_entries(member);
    if (status == SP_OK)
        status = look_wanted(member);
    return status == SP_OK ? look_map(member) : status;
}
