/* SPDX-License-Identifier: Apache-2.0
 *
 * change.c - the map: telling of it, and changing it (docs/RING.md, "Who changes it").
 *
 * A change is computed from the last look, and written on the condition that the map is still the
 * one of that look. Who comes too late reads the new one and begins again. The first of the members
 * by name writes at once; the others wait for a tenth of a second and compute anew. A node that has
 * become complete for slots writes that at once, whoever it is.
 *
 * A map that is not in ZooKeeper though this member knows one, or that is damaged there, is written
 * again: nodes would otherwise begin with a ring in which nobody has any data.
 */
#include "client/member/internal.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_MS   100
#define JITTER_MS 50

/* --- telling ---------------------------------------------------------------------------------- */

static bool same_map(const struct ring_map *a, const struct ring_map *b)
{
    uint8_t *left = NULL, *right = NULL;
    size_t left_size = 0, right_size = 0;
    if (a == NULL || a->epoch != b->epoch)
        return false;
    bool same = ring_map_encode(a, &left, &left_size) == SP_OK &&
                ring_map_encode(b, &right, &right_size) == SP_OK && left_size == right_size &&
                memcmp(left, right, left_size) == 0;
    free(left);
    free(right);
    return same;
}

static void tell(struct member *member, struct ring_map *map)
{
    pthread_mutex_lock(&member->box->mutex);
    struct ring_map *before = member->map;
    member->map = ring_map_ref(map);
    pthread_cond_broadcast(&member->box->changed);
    pthread_mutex_unlock(&member->box->mutex);
    ring_map_unref(before);
    if (member->calls.on_map != NULL)
        member->calls.on_map(member->calls.context, map);
}

static void save_in(struct member *member, const struct ring_map *map, const char *path)
{
    int status = path != NULL ? ring_map_save(map, path) : SP_OK;
    if (status != SP_OK)
        (void)member_fail(member, SP_OK, "the map cannot be saved in %s: %s", path,
                          sp_status_text(status));
}

static void save(struct member *member, const struct ring_map *map)
{
    save_in(member, map, member->also);
    save_in(member, map, member->file);
}

bool change_is_ours(const struct member *member, const struct ring_map *map)
{
    return !member->is_node || (map->parameters.slots == member->parameters.slots &&
                                map->parameters.kind == member->parameters.kind);
}

/* Whether this node may still have to go on as the process that was before it. */
static bool may_stand_in(const struct member *member)
{
    return member->is_node && member->calls.on_old_map != NULL && member->enrolled_start == 0;
}

void change_publish(struct member *member)
{
    struct view *view = &member->view;
    if (view->map == NULL || view->map == member->map)
        return;
    if (!may_stand_in(member))
        member->file_ms = INT64_MAX;
    if (same_map(member->map, view->map)) {
        ring_map_unref(view->map);
        view->map = ring_map_ref(member->map);
        return;
    }
    ring_map_unref(member->kept);
    member->kept = ring_map_ref(view->map);
    member->change_ms = 0;
    save(member, view->map);
    tell(member, view->map);
}

/* The node by its name and address, whichever process it was then; 0: it is not there. */
static uint64_t start_in(const struct member *member, const struct ring_map *map)
{
    int at = ring_map_find(map, member->node.name);
    bool same = at >= 0 && strcmp(map->nodes[at].address, member->node.address) == 0;
    return same ? map->nodes[at].start : 0;
}

/* Tells of a map that is not of ZooKeeper. A node that ZooKeeper has not yet registered goes on as
 * the process that was before it: it is found as that by everybody who has this map. */
static void tell_old(struct member *member, struct ring_map *map)
{
    uint64_t start = start_in(member, map);
    bool goes_on = may_stand_in(member);
    pthread_mutex_lock(&member->box->mutex);
    if (goes_on && start != 0)
        member->start = start;
    pthread_mutex_unlock(&member->box->mutex);
    if (goes_on)
        member->calls.on_old_map(member->calls.context, map, start);
    tell(member, map);
}

void change_publish_file(struct member *member)
{
    bool known = member->kept != NULL && change_is_ours(member, member->kept);
    bool goes_on = may_stand_in(member);
    member->file_ms = INT64_MAX;
    if (goes_on && member->connected)
        member->file_ms = member_now_ms() + MEMBER_FILE_MS; /* it is about to answer, or is not */
    else if (known && (goes_on || member->map == NULL)) {
        save(member, member->kept);
        tell_old(member, member->kept);
    } else if (goes_on)
        member->calls.on_old_map(member->calls.context, NULL, 0);
}

void change_publish_learnt(struct member *member)
{
    pthread_mutex_lock(&member->box->mutex);
    struct ring_map *map = member->learnt;
    member->learnt = NULL;
    pthread_mutex_unlock(&member->box->mutex);
    bool later = map != NULL && (member->kept == NULL || map->epoch > member->kept->epoch);
    if (member->connected || !later || !change_is_ours(member, map)) {
        ring_map_unref(map);
        return;
    }
    ring_map_unref(member->kept);
    member->kept = map;
    member->file_ms = INT64_MAX;
    save(member, map);
    tell_old(member, map);
}

/* --- the members ------------------------------------------------------------------------------ */

/* As they have registered, and as operators want them. */
static size_t take_members(struct member *member, struct ring_node *out)
{
    struct view *view = &member->view;
    size_t count = 0;
    for (size_t i = 0; i < view->node_count; i++) {
        if (!view->nodes[i].good || view->nodes[i].leaving)
            continue;
        struct ring_node *node = &out[count++];
        *node = view->nodes[i].node;
        struct member_wish wish = wish_of(view->wanted, node->name);
        if (wish.weight != 0)
            node->weight = wish.weight;
        if (wish.drain)
            node->state = RING_NODE_DRAINING;
    }
    return count;
}

static bool is_first(struct member *member)
{
    struct view *view = &member->view;
    for (size_t i = 0; i < view->node_count; i++)
        if (view->nodes[i].good && !view->nodes[i].leaving)
            return strcmp(view->nodes[i].node.name, member->node.name) == 0;
    return false;
}

/* --- holds ------------------------------------------------------------------------------------ */

/* Drops those that are in the map, and those of slots that are no longer meant for this node: what
 * it has of them becomes old. Returns whether there are any. */
static bool take_holds(struct member *member, const struct ring_map *map,
                       uint64_t holds[RING_SLOT_WORDS])
{
    bool some = false;
    int at = map != NULL ? ring_map_find(map, member->node.name) : -1;
    bool known = at >= 0 && map->nodes[at].start == member->enrolled_start;
    pthread_mutex_lock(&member->box->mutex);
    for (unsigned slot = 0; known && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        bool target = false, holder = false;
        for (unsigned i = 0; i < copies->target_count; i++)
            target = target || copies->targets[i] == at;
        for (unsigned i = 0; i < copies->holder_count; i++)
            holder = holder || copies->holders[i] == at;
        if (!target || holder)
            member->holds[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    }
    memcpy(holds, member->holds, sizeof member->holds);
    pthread_mutex_unlock(&member->box->mutex);
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        some = some || holds[i] != 0;
    return known && some;
}

/* --- changing --------------------------------------------------------------------------------- */

static int write_map(struct member *member, const struct ring_map *map)
{
    char path[MEMBER_PATH_BYTES];
    uint8_t *bytes;
    size_t size;
    struct view *view = &member->view;
    member_path(member, path, "map", NULL);
    int status = ring_map_encode(map, &bytes, &size);
    if (status != SP_OK)
        return status;
    bool create = view->map_version < 0;
    struct call *call = create ? call_create(member, path, bytes, size, false, false)
                               : call_set(member, path, bytes, size, view->map_version);
    status = call_status(call_wait(member, call));
    int version = status == SP_OK && !create ? call->stat.version : 0;
    call_free(call);
    free(bytes);
    if (status == SP_EACCESS)
        return member_fail(member, status, "ZooKeeper does not let this node write %s", path);
    view->map_fresh = status == SP_OK;
    view->map_version = version;
    return status == SP_EEXISTS || status == SP_ENOTFOUND ? SP_EBUSY : status;
}

static int take_over(struct member *member, struct ring_map *map)
{
    int status = write_map(member, map);
    if (status != SP_OK) {
        ring_map_unref(map);
        return status;
    }
    ring_map_unref(member->view.map);
    member->view.map = map;
    pthread_mutex_lock(&member->box->mutex);
    member->status.map_changes++;
    pthread_mutex_unlock(&member->box->mutex);
    change_publish(member);
    return SP_OK;
}

/* Whether this node may write what the members make of the map; otherwise it waits for its turn. */
static bool may_follow(struct member *member)
{
    int64_t now = member_now_ms();
    if (is_first(member) || (member->change_ms != 0 && member->change_ms <= now))
        return true;
    if (member->change_ms == 0)
        member->change_ms = now + WAIT_MS + member_random(member, JITTER_MS);
    return false;
}

/* *out NULL: the members make nothing else of the map, or it is not yet this node's turn. */
static int next_map(struct member *member, const struct ring_map *base, struct ring_map **out)
{
    char why[RING_WHY_BYTES] = "";
    uint32_t known = base != NULL ? base->node_count : 0;
    struct ring_node *members = calloc(member->view.node_count + known + 1, sizeof *members);
    *out = NULL;
    if (members == NULL)
        return SP_ENOMEM;
    size_t count = take_members(member, members);
    int64_t again_ms = base != NULL ? doubt_add(member, base, members, &count) : 0;
    int status = ring_map_next(base, &member->parameters, members, count, out, why);
    free(members);
    if (again_ms != 0 && again_ms < member->look_ms)
        member->look_ms = again_ms;
    if (status != SP_OK)
        return member_fail(member, SP_EREFUSED, "no map can be made: %s", why);
    if (*out == NULL && base != NULL && member->view.map == NULL)
        *out = ring_map_ref(base);
    if (*out != NULL && !may_follow(member)) {
        ring_map_unref(*out);
        *out = NULL;
    } else {
        member->change_ms = 0;
    }
    return SP_OK;
}

/* The map that the change starts from: ZooKeeper's, or where there is none, the last one known. */
static const struct ring_map *base_map(const struct member *member)
{
    const struct ring_map *kept = member->kept;
    if (member->view.map != NULL)
        return member->view.map;
    return kept != NULL && change_is_ours(member, kept) ? kept : NULL;
}

int change(struct member *member)
{
    uint64_t holds[RING_SLOT_WORDS];
    struct ring_map *next, *held = NULL;
    if (!member->registered)
        return SP_OK;
    const struct ring_map *base = base_map(member);
    int status = next_map(member, base, &next);
    if (status != SP_OK)
        return status;
    const struct ring_map *latest = next != NULL ? next : member->view.map;
    if (latest != NULL && take_holds(member, member->view.map, holds))
        status = ring_map_hold(latest, member->node.name, member->enrolled_start, holds, &held);
    if (held != NULL) {
        ring_map_unref(next);
        next = held;
    }
    if (status != SP_OK || next == NULL) {
        ring_map_unref(next);
        return status;
    }
    return take_over(member, next);
}
