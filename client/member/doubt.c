/* SPDX-License-Identifier: Apache-2.0
 *
 * doubt.c - nodes that vanished together, and whether they answer.
 *
 * When more than half of the map's nodes, or all but one, are no longer in ZooKeeper, that is
 * rather ZooKeeper's trouble than theirs. Then each of them is asked itself, on a thread of its
 * own, because asking takes up to a second. Until it has answered, and while it does, it counts as
 * a member; it is asked again from time to time, even when the others have become fewer than half.
 * One that does not answer is believed to have gone, until it is back.
 *
 * Costs: a thread for each node in doubt, for as long as the question lasts.
 */
#include "client/member/internal.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/thread.h"

#define AGAIN_MS 300

struct question {
    struct member *member;
    struct doubt *doubt; /* stays while it is being asked */
    struct ring_node node;
};

static void *asker(void *argument)
{
    struct question *question = argument;
    struct member *member = question->member;
    struct mailbox *box = member->box;
    bool answers = member->calls.answers(member->calls.context, &question->node);
    mailbox_ref(box);
    pthread_mutex_lock(&box->mutex);
    question->doubt->verdict = answers ? DOUBT_ANSWERS : DOUBT_GONE;
    member->asking--; /* from here on the member may end */
    box->poked = true;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->mutex);
    mailbox_unref(box);
    free(question);
    return NULL;
}

/* What cannot be asked is not believed to have gone. */
static void ask_node(struct member *member, struct doubt *doubt)
{
    struct question *question = malloc(sizeof *question);
    pthread_mutex_lock(&member->box->mutex);
    doubt->verdict = question == NULL ? DOUBT_ANSWERS : DOUBT_ASKING;
    member->asking += question != NULL;
    pthread_mutex_unlock(&member->box->mutex);
    doubt->again_ms = member_now_ms() + AGAIN_MS;
    if (question == NULL)
        return;
    *question = (struct question){.member = member, .doubt = doubt, .node = doubt->node};
    if (thread_start_detached(asker, question) == SP_OK)
        return;
    free(question);
    pthread_mutex_lock(&member->box->mutex);
    doubt->verdict = DOUBT_ANSWERS;
    member->asking--;
    pthread_mutex_unlock(&member->box->mutex);
}

static struct doubt *find_doubt(struct member *member, const struct ring_node *node)
{
    struct doubt *doubt = member->doubts;
    while (doubt != NULL &&
           (strcmp(doubt->node.name, node->name) != 0 || doubt->node.start != node->start))
        doubt = doubt->next;
    return doubt;
}

static struct doubt *new_doubt(struct member *member, const struct ring_node *node)
{
    struct doubt *doubt = calloc(1, sizeof *doubt);
    if (doubt == NULL)
        return NULL;
    doubt->node = *node;
    doubt->next = member->doubts;
    member->doubts = doubt;
    ask_node(member, doubt);
    return doubt;
}

static enum doubt_verdict verdict_of(struct member *member, const struct doubt *doubt)
{
    pthread_mutex_lock(&member->box->mutex);
    enum doubt_verdict verdict = doubt->verdict;
    pthread_mutex_unlock(&member->box->mutex);
    return verdict;
}

/* Whether a vanished node is a member all the same. */
static bool consult(struct member *member, struct doubt *doubt, int64_t *again_ms)
{
    enum doubt_verdict verdict = verdict_of(member, doubt);
    doubt->used = true;
    if (verdict == DOUBT_ANSWERS && member_now_ms() >= doubt->again_ms) {
        ask_node(member, doubt);
        verdict = DOUBT_ASKING;
    }
    if (verdict == DOUBT_ANSWERS && (*again_ms == 0 || doubt->again_ms < *again_ms))
        *again_ms = doubt->again_ms;
    return verdict != DOUBT_GONE;
}

/* Those that are back, or no longer in the map; who is being asked stays. */
static void drop_unused(struct member *member)
{
    struct doubt **at = &member->doubts;
    while (*at != NULL) {
        struct doubt *doubt = *at;
        if (doubt->used || verdict_of(member, doubt) == DOUBT_ASKING) {
            at = &doubt->next;
            continue;
        }
        *at = doubt->next;
        free(doubt);
    }
}

void doubt_free(struct member *member)
{
    for (struct doubt *doubt = member->doubts; doubt != NULL; doubt = doubt->next)
        doubt->used = false;
    drop_unused(member);
}

static size_t count_vanished(struct member *member, const struct ring_map *map)
{
    size_t vanished = 0;
    for (uint32_t i = 0; i < map->node_count; i++)
        vanished += view_find(&member->view, map->nodes[i].name) == NULL;
    return vanished;
}

int64_t doubt_add(struct member *member, const struct ring_map *map, struct ring_node *members,
                  size_t *count)
{
    int64_t again_ms = 0;
    if (member->calls.answers == NULL)
        return 0;
    size_t vanished = count_vanished(member, map);
    bool many = 2 * vanished > map->node_count || vanished + 1 >= map->node_count;
    for (struct doubt *doubt = member->doubts; doubt != NULL; doubt = doubt->next)
        doubt->used = false;
    for (uint32_t i = 0; vanished > 0 && i < map->node_count; i++) {
        const struct ring_node *node = &map->nodes[i];
        if (view_find(&member->view, node->name) != NULL)
            continue;
        struct doubt *doubt = find_doubt(member, node);
        if (doubt == NULL && many)
            doubt = new_doubt(member, node);
        if (doubt != NULL && consult(member, doubt, &again_ms))
            members[(*count)++] = *node;
    }
    drop_unused(member);
    return again_ms;
}
