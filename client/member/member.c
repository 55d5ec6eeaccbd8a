/* SPDX-License-Identifier: Apache-2.0
 *
 * member.c - opening and closing a member, and what any thread may call; the mailbox.
 *
 * Calls leave what they want in the member and poke its thread. A process that was forked from the
 * member's has neither that thread nor the ZooKeeper client's, and their locks as they happened to
 * be; so each call looks first whose process it is in, and the child's member does nothing. What it
 * holds stays with the child, a copy of the connection's descriptor among it: the session lives as
 * long as the parent sends its heartbeats, and no longer.
 */
#include "client/member/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/thread.h"

#define SESSION_MOST_MS 3600000u

/* --- the mailbox ------------------------------------------------------------------------------ */

int64_t member_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct mailbox *mailbox_new(void)
{
    struct mailbox *box = calloc(1, sizeof *box);
    if (box == NULL)
        return NULL;
    pthread_mutex_init(&box->mutex, NULL);
    thread_cond_init(&box->changed);
    box->references = 1;
    return box;
}

void mailbox_ref(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    box->references++;
    pthread_mutex_unlock(&box->mutex);
}

void mailbox_unref(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    bool last = --box->references == 0;
    pthread_mutex_unlock(&box->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&box->changed);
    pthread_mutex_destroy(&box->mutex);
    free(box);
}

void mailbox_poke(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    box->poked = true;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

bool mailbox_wait(struct mailbox *box, int64_t until_ms)
{
    if (until_ms == INT64_MAX) {
        pthread_cond_wait(&box->changed, &box->mutex);
        return true;
    }
    return thread_wait(&box->changed, &box->mutex, (uint64_t)until_ms);
}

uint32_t member_random(struct member *member, uint32_t limit)
{
    member->seed = member->seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)member->seed * limit) >> 32);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int invalid(char *why, const char *text)
{
    snprintf(why, MEMBER_WHY_BYTES, "%s", text);
    return SP_EINVAL;
}

/* A name in a path of ZooKeeper. */
static bool is_name(const char *text)
{
    struct ring_node node = {.address = "unix:/x", .weight = 1, .start = 1};
    char why[RING_WHY_BYTES];
    if (text == NULL || strlen(text) >= sizeof node.name)
        return false;
    memcpy(node.name, text, strlen(text) + 1);
    return ring_node_check(&node, why) == SP_OK && strcmp(text, ".") != 0 &&
           strcmp(text, "..") != 0;
}

static int check_options(const struct member_options *options, char *why)
{
    char reason[RING_WHY_BYTES] = "";
    if (options->servers == NULL || options->servers[0] == '\0' || options->servers[0] == '/')
        return invalid(why, "no servers of ZooKeeper are given");
    if (!is_name(options->cluster))
        return invalid(why, "the cluster's name is none: 1 to 63 letters, digits, _ . - :");
    if (options->session_ms == 0 || options->session_ms > SESSION_MOST_MS)
        return invalid(why, "the session lasts between a millisecond and an hour");
    if (options->credential != NULL && strchr(options->credential, ':') == NULL)
        return invalid(why, "the credential is not USER:PASSWORD");
    if (options->node == NULL)
        return SP_OK;
    if (!is_name(options->node->name) || ring_node_check(options->node, reason) != SP_OK)
        return invalid(why, reason[0] != '\0' ? reason : "the node's name is none");
    return SP_OK;
}

/* Parts the chroot from the servers: its nodes are made as the others are. */
static int take_chroot(struct member *member, char *why)
{
    char *slash = strchr(member->servers, '/');
    char *chroot = slash != NULL ? strdup(slash) : strdup("");
    if (slash != NULL)
        *slash = '\0';
    if (chroot == NULL)
        return SP_ENOMEM;
    for (size_t size = strlen(chroot); size > 0 && chroot[size - 1] == '/'; size--)
        chroot[size - 1] = '\0';
    int size =
        snprintf(member->base, sizeof member->base, "%s/sidepond/%s", chroot, member->cluster);
    free(chroot);
    if (size >= (int)sizeof member->base || strstr(member->base, "//") != NULL)
        return invalid(why, "the chroot of ZooKeeper is no path, or too long");
    return SP_OK;
}

static char *copy(const char *text, bool *failed)
{
    char *out = text != NULL ? strdup(text) : NULL;
    *failed = *failed || (text != NULL && out == NULL);
    return out;
}

static int copy_options(struct member *member, const struct member_options *options, char *why)
{
    bool failed = false;
    member->servers = copy(options->servers, &failed);
    member->cluster = copy(options->cluster, &failed);
    member->credential = copy(options->credential, &failed);
    member->file = copy(options->file, &failed);
    member->also = copy(options->also, &failed);
    if (failed)
        return SP_ENOMEM;
    member->session_ms = options->session_ms;
    member->parameters = options->parameters;
    member->calls = *options;
    member->is_node = options->node != NULL;
    if (member->is_node) {
        member->node = *options->node;
        member->start = options->node->start;
        member->wants_in = options->registers_at_once;
    }
    return take_chroot(member, why);
}

static void free_member(struct member *member)
{
    if (member->credential != NULL)
        explicit_bzero(member->credential, strlen(member->credential));
    view_free(&member->view);
    doubt_free(member);
    ring_map_unref(member->kept);
    ring_map_unref(member->map);
    ring_map_unref(member->learnt);
    free(member->servers);
    free(member->cluster);
    free(member->credential);
    free(member->file);
    free(member->also);
    if (member->box != NULL)
        mailbox_unref(member->box);
    free(member);
}

static void load_kept(struct member *member, const char *path)
{
    struct ring_map *map;
    if (path == NULL || ring_map_load(path, &map) != SP_OK)
        return;
    bool later = member->kept == NULL || map->epoch > member->kept->epoch;
    if (!later || !change_is_ours(member, map)) {
        ring_map_unref(map);
        return;
    }
    ring_map_unref(member->kept);
    member->kept = map;
}

static void begin(struct member *member)
{
    int64_t now = member_now_ms();
    member->pid = getpid();
    member->view = (struct view){.wanted_version = -1, .map_version = -1};
    member->seed = (uint32_t)(now ^ member->pid ^ (intptr_t)member);
    member->look_ms = member->file_ms = INT64_MAX;
    member->away_since_ms = now;
    member->full_ms = now;
    load_kept(member, member->file);
    load_kept(member, member->also);
    if (member->kept != NULL || member->calls.on_old_map != NULL)
        member->file_ms = now + MEMBER_FILE_MS;
}

int member_open(const struct member_options *options, struct member **out, char *why)
{
    why[0] = '\0';
    int status = check_options(options, why);
    if (status != SP_OK)
        return status;
    struct member *member = calloc(1, sizeof *member);
    if (member == NULL)
        return SP_ENOMEM;
    member->box = mailbox_new();
    status = member->box == NULL ? SP_ENOMEM : copy_options(member, options, why);
    if (status == SP_OK) {
        begin(member);
        status = thread_start(&member->thread, member_work, member);
        if (status != SP_OK)
            snprintf(why, MEMBER_WHY_BYTES, "no thread can be started");
    }
    if (status != SP_OK) {
        free_member(member);
        return status;
    }
    *out = member;
    return SP_OK;
}

/* --- closing ---------------------------------------------------------------------------------- */

void member_tell_to_end(struct member *member)
{
    if (member == NULL || member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    member->box->stopping = true;
    pthread_cond_broadcast(&member->box->changed);
    pthread_mutex_unlock(&member->box->mutex);
}

void member_close(struct member *member)
{
    /* In the child of a fork, locks and lists may be in the middle of a change: all is left alone.
     */
    if (member == NULL || member->pid != getpid())
        return;
    member_tell_to_end(member);
    pthread_join(member->thread, NULL);
    pthread_mutex_lock(&member->box->mutex);
    while (member->asking > 0) /* a second at the most */
        (void)mailbox_wait(member->box, INT64_MAX);
    pthread_mutex_unlock(&member->box->mutex);
    free_member(member);
}

/* --- any thread ------------------------------------------------------------------------------- */

void member_register(struct member *member, bool wanted, uint64_t start)
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    if (member->start != start)
        memset(member->holds, 0, sizeof member->holds);
    member->wants_in = wanted;
    member->start = start;
    pthread_mutex_unlock(&member->box->mutex);
    mailbox_poke(member->box);
}

void member_leave(struct member *member)
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    member->leaving = true;
    pthread_mutex_unlock(&member->box->mutex);
    mailbox_poke(member->box);
}

void member_change(struct member *member, uint16_t weight, const char *zone)
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    member->node.weight = weight;
    snprintf(member->node.zone, sizeof member->node.zone, "%s", zone);
    pthread_mutex_unlock(&member->box->mutex);
    mailbox_poke(member->box);
}

void member_hold(struct member *member, const uint64_t slots[RING_SLOT_WORDS])
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        member->holds[i] |= slots[i];
    pthread_mutex_unlock(&member->box->mutex);
    mailbox_poke(member->box);
}

void member_unhold(struct member *member)
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    memset(member->holds, 0, sizeof member->holds);
    pthread_mutex_unlock(&member->box->mutex);
}

void member_learn(struct member *member, const struct ring_map *map)
{
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    struct ring_map *before = member->learnt;
    member->learnt = ring_map_ref(map);
    pthread_mutex_unlock(&member->box->mutex);
    ring_map_unref(before);
    mailbox_poke(member->box);
}

void member_status(struct member *member, struct member_status *out)
{
    *out = (struct member_status){0};
    if (member->pid != getpid())
        return;
    pthread_mutex_lock(&member->box->mutex);
    *out = member->status;
    if (member->away_since_ms != 0)
        out->away_ms = (uint64_t)(member_now_ms() - member->away_since_ms) + 1;
    pthread_mutex_unlock(&member->box->mutex);
}

struct ring_map *member_map(struct member *member)
{
    if (member->pid != getpid())
        return NULL;
    pthread_mutex_lock(&member->box->mutex);
    struct ring_map *map = member->map != NULL ? ring_map_ref(member->map) : NULL;
    pthread_mutex_unlock(&member->box->mutex);
    return map;
}

int member_wait(struct member *member, uint64_t epoch, uint32_t ms)
{
    if (member->pid != getpid())
        return SP_EINVAL;
    int64_t until_ms = member_now_ms() + ms;
    bool there, waited = true;
    pthread_mutex_lock(&member->box->mutex);
    while (!(there = member->map != NULL && member->map->epoch >= epoch) && waited)
        waited = mailbox_wait(member->box, until_ms);
    pthread_mutex_unlock(&member->box->mutex);
    return there ? SP_OK : SP_ETIMEDOUT;
}
