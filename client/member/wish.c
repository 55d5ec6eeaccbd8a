/* SPDX-License-Identifier: Apache-2.0
 *
 * wish.c - what operators want of a node: read, changed and written by version.
 *
 * A caller waits for the member's thread. Who has waited long enough leaves a wish that is being
 * served to that thread, which frees it. Names and members that are not known here are kept.
 */
#include "client/member/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 16

/* --- the text --------------------------------------------------------------------------------- */

struct member_wish wish_of(json_t *wanted, const char *name)
{
    struct member_wish wish = {0};
    json_t *entry = json_object_get(wanted, name);
    json_int_t weight = json_integer_value(json_object_get(entry, "weight"));
    wish.drain = json_is_true(json_object_get(entry, "drain"));
    if (weight > 0 && weight <= (json_int_t)RING_WEIGHT_MAX)
        wish.weight = (uint16_t)weight;
    return wish;
}

static int put_member(json_t *object, const char *key, json_t *value, bool there)
{
    if (!there) {
        json_decref(value);
        (void)json_object_del(object, key);
        return 0;
    }
    return json_object_set_new(object, key, value);
}

/* The text with this wish in it; to be freed. */
static char *text_with(json_t *wanted, const struct wish *wish)
{
    json_t *all = json_is_object(wanted) ? json_deep_copy(wanted) : json_object();
    json_t *known = json_object_get(all, wish->node);
    json_t *entry = json_is_object(known) ? json_incref(known) : json_object();
    const struct member_wish *value = &wish->value;
    bool failed = put_member(entry, "drain", json_true(), value->drain) != 0 ||
                  put_member(entry, "weight", json_integer(value->weight), value->weight != 0) != 0;
    bool empty = json_object_size(entry) == 0;
    failed = put_member(all, wish->node, entry, !empty) != 0 || failed;
    char *text = failed ? NULL : json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(all);
    return text;
}

/* --- serving ---------------------------------------------------------------------------------- */

static int write_text(struct member *member, const char *text)
{
    char path[MEMBER_PATH_BYTES];
    struct view *view = &member->view;
    member_path(member, path, "wanted", NULL);
    struct call *call = view->wanted_version < 0
                            ? call_create(member, path, text, strlen(text), false, false)
                            : call_set(member, path, text, strlen(text), view->wanted_version);
    int status = call_status(call_end(member, call));
    view->wanted_fresh = false;
    return status == SP_EEXISTS ? SP_EBUSY : status;
}

static int serve_write(struct member *member, const struct wish *wish)
{
    int status = SP_EBUSY;
    for (unsigned tries = 0; status == SP_EBUSY && tries < TRIES; tries++) {
        status = look_wanted(member);
        if (status != SP_OK)
            continue;
        char *text = text_with(member->view.wanted, wish);
        status = text == NULL ? SP_ENOMEM : write_text(member, text);
        free(text);
    }
    return status;
}

static int serve(struct member *member, struct wish *wish)
{
    if (wish->write)
        return serve_write(member, wish);
    member->view.wanted_fresh = false; /* others may have written it just now */
    int status = look_wanted(member);
    if (status == SP_OK)
        wish->value = wish_of(member->view.wanted, wish->node);
    return status;
}

static struct wish *take_wish(struct member *member)
{
    pthread_mutex_lock(&member->box->mutex);
    struct wish *wish = member->wishes;
    if (wish != NULL) {
        member->wishes = wish->next;
        wish->phase = WISH_TAKEN;
    }
    pthread_mutex_unlock(&member->box->mutex);
    return wish;
}

static void finish(struct member *member, struct wish *wish, int status)
{
    pthread_mutex_lock(&member->box->mutex);
    wish->status = status;
    wish->phase = WISH_DONE;
    bool left = wish->left;
    pthread_cond_broadcast(&member->box->changed);
    pthread_mutex_unlock(&member->box->mutex);
    if (left)
        free(wish);
}

void wish_serve(struct member *member)
{
    for (struct wish *wish = take_wish(member); wish != NULL; wish = take_wish(member))
        finish(member, wish, serve(member, wish));
}

void wish_refuse(struct member *member, int status)
{
    for (struct wish *wish = take_wish(member); wish != NULL; wish = take_wish(member))
        finish(member, wish, status);
}

/* --- asking; any thread ----------------------------------------------------------------------- */

static void unlink_wish(struct member *member, struct wish *wish)
{
    struct wish **at = &member->wishes;
    while (*at != wish)
        at = &(*at)->next;
    *at = wish->next;
}

/* Mutex held. Frees the wish, or leaves it to who serves it. */
static int wait_for_wish(struct member *member, struct wish *wish, struct member_wish *out,
                         int64_t until_ms)
{
    while (wish->phase != WISH_DONE && mailbox_wait(member->box, until_ms))
        ;
    if (wish->phase == WISH_TAKEN) {
        wish->left = true;
        return SP_ETIMEDOUT;
    }
    int status = wish->status;
    if (wish->phase == WISH_WAITING) {
        unlink_wish(member, wish);
        status = member->away_since_ms != 0 ? SP_ENODAEMON : SP_ETIMEDOUT;
    }
    *out = wish->value;
    free(wish);
    return status;
}

static int ask(struct member *member, const char *node, bool write, struct member_wish *value,
               uint32_t ms)
{
    if (member->pid != getpid() || node[0] == '\0' || strlen(node) >= RING_NAME_BYTES ||
        value->weight > RING_WEIGHT_MAX || pthread_equal(pthread_self(), member->thread))
        return SP_EINVAL;
    struct wish *wish = calloc(1, sizeof *wish);
    if (wish == NULL)
        return SP_ENOMEM;
    memcpy(wish->node, node, strlen(node) + 1);
    wish->value = *value;
    wish->write = write;
    pthread_mutex_lock(&member->box->mutex);
    struct wish **at = &member->wishes;
    while (*at != NULL)
        at = &(*at)->next;
    *at = wish;
    member->box->poked = true;
    pthread_cond_broadcast(&member->box->changed);
    int status = wait_for_wish(member, wish, value, member_now_ms() + ms);
    pthread_mutex_unlock(&member->box->mutex);
    return status;
}

int member_want(struct member *member, const char *node, const struct member_wish *wish,
                uint32_t ms)
{
    struct member_wish value = *wish;
    return ask(member, node, true, &value, ms);
}

int member_wanted(struct member *member, const char *node, struct member_wish *out, uint32_t ms)
{
    *out = (struct member_wish){0};
    return ask(member, node, false, out, ms);
}
