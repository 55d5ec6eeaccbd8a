/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c - one server that is watched: its member's calls, its login, its start and end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/agent/internal.h"
#include "server/log/log.h"

#define ANSWER_MS 900 /* a member waits a second at the most */

/* --- the members' calls ----------------------------------------------------------------------- */

static void on_map(void *context, const struct ring_map *map)
{
    struct watched *server = context;
    pthread_mutex_lock(&server->mutex);
    struct ring_map *before = server->map;
    server->map = ring_map_ref(map);
    server->map_changed = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    ring_map_unref(before);
}

static void on_session_lost(void *context)
{
    struct watched *server = context;
    pthread_mutex_lock(&server->mutex);
    server->losses++;
    pthread_mutex_unlock(&server->mutex);
    log_warning("agent", "%s: the session of ZooKeeper was lost", server->node.name);
}

static void on_status(void *context, const struct member_status *status)
{
    struct watched *server = context;
    if (status->why[0] != '\0')
        log_limited(LOG_WARNING, "agent", 10, "%s: %s", server->node.name, status->why);
    else if (status->registered)
        log_info("agent", "%s is registered", server->node.name);
}

static bool answers(void *context, const struct ring_node *node)
{
    struct redis redis = {0};
    if (!redis_open(&redis, context, node->address, ANSWER_MS / 3))
        return false;
    redisReply *pong = redis_ask(&redis, "PING");
    bool good = pong != NULL;
    freeReplyObject(pong);
    redis_close(&redis);
    return good;
}

/* --- logins ----------------------------------------------------------------------------------- */

int login_read(const struct config_agent_node *node, struct login *out, char why[AGENT_WHY_BYTES])
{
    *out = (struct login){0};
    if (node->password_file == NULL)
        return SP_OK;
    int status = config_password_file(node->password_file, &out->password, why, AGENT_WHY_BYTES);
    if (status == SP_OK && why[0] != '\0')
        log_warning("agent", "%s", why);
    if (status == SP_OK && node->user != NULL && (out->user = strdup(node->user)) == NULL)
        status = SP_ENOMEM;
    if (status != SP_OK)
        login_free(out);
    return status;
}

void login_free(struct login *login)
{
    config_password_free(login->password);
    free(login->user);
    *login = (struct login){0};
}

/* --- starting --------------------------------------------------------------------------------- */

/* Each server has a file of its own beside the one that is configured. */
static char *file_of(const struct config_agent *config, const struct watched *server)
{
    char *path = NULL;
    if (config->file == NULL || asprintf(&path, "%s.%s", config->file, server->node.name) < 0)
        return NULL;
    return path;
}

static int open_member(struct watched *server, const struct config_agent *config,
                       const char *credential, char *why)
{
    char *file = file_of(config, server);
    struct member_options options = {
        .servers = config->zookeeper,
        .cluster = config->cluster,
        .credential = credential,
        .session_ms = config->session_ms,
        .node = &server->node,
        .parameters = {.slots = (uint16_t)config->slots,
                       .replicas = (uint8_t)config->replicas,
                       .kind = RING_REDIS},
        .file = file,
        .on_map = on_map,
        .on_session_lost = on_session_lost,
        .on_status = on_status,
        .answers = answers,
        .context = server,
    };
    int status = member_open(&options, &server->member, why);
    free(file);
    return status;
}

/* The start id is the server's, once it has told its run_id. */
static void name_node(struct watched *server, const struct config_agent_node *config)
{
    server->node = (struct ring_node){.weight = (uint16_t)config->weight, .start = 1};
    snprintf(server->node.name, sizeof server->node.name, "%s", config->name);
    snprintf(server->node.address, sizeof server->node.address, "%s", config->address);
    snprintf(server->node.zone, sizeof server->node.zone, "%s",
             config->zone != NULL ? config->zone : "");
    memcpy(server->figures.name, server->node.name, sizeof server->figures.name);
}

static void init_locks(struct watched *server)
{
    pthread_mutex_init(&server->mutex, NULL);
    thread_cond_init(&server->changed);
}

void server_limits(struct watched *server, const struct config_agent *config)
{
    atomic_store(&server->check_ms, config->check_ms);
    atomic_store(&server->deadline_ms, config->deadline_ms);
    atomic_store(&server->throttle_bytes, config->throttle_bytes);
}

int server_new(const struct config_agent *config, const struct config_agent_node *node,
               struct watched **out, char why[AGENT_WHY_BYTES])
{
    struct watched *server = calloc(1, sizeof *server);
    if (server == NULL)
        return SP_ENOMEM;
    init_locks(server);
    name_node(server, node);
    server_limits(server, config);
    check_expect(server, 0, config->deadline_ms);
    server->wake = eventfd(0, EFD_CLOEXEC);
    int status = server->wake < 0 ? SP_ESYS : login_read(node, &server->login, why);
    if (status != SP_OK) {
        server_free(server);
        return status;
    }
    *out = server;
    return SP_OK;
}

int server_open(struct watched *server, const struct config_agent *config, const char *credential,
                char why[AGENT_WHY_BYTES])
{
    int status = open_member(server, config, credential, why);
    if (status == SP_OK)
        status = thread_start(&server->checker, check_server, server);
    server->has_checker = status == SP_OK;
    if (status == SP_OK)
        status = thread_start(&server->copier, copy_to_server, server);
    server->has_copier = status == SP_OK;
    return status;
}

/* --- ending ----------------------------------------------------------------------------------- */

static void stop_threads(struct watched *server)
{
    uint64_t one = 1;
    pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    if (server->wake >= 0)
        (void)!write(server->wake, &one, sizeof one);
}

void server_tell_to_leave(struct watched *server)
{
    stop_threads(server);
    member_leave(server->member);
}

static bool is_in_map(const struct watched *server)
{
    return server->map != NULL && ring_map_find(server->map, server->node.name) >= 0;
}

/* Where ZooKeeper is away nobody learns that it leaves. */
void server_await_gone(struct watched *server, uint64_t until_ms)
{
    struct member_status status;
    bool in_time = true;
    member_status(server->member, &status);
    pthread_mutex_lock(&server->mutex);
    bool heard = status.link == MEMBER_CONNECTED && status.registered;
    while (heard && is_in_map(server) && in_time)
        in_time = thread_wait(&server->changed, &server->mutex, until_ms);
    bool stays = is_in_map(server);
    pthread_mutex_unlock(&server->mutex);
    if (stays)
        log_warning("agent", "%s is no longer watched, and still in the map", server->node.name);
}

void server_tell_to_end(struct watched *server)
{
    stop_threads(server);
    member_tell_to_end(server->member);
}

void server_free(struct watched *server)
{
    server_tell_to_end(server);
    if (server->has_checker)
        pthread_join(server->checker, NULL);
    if (server->has_copier)
        pthread_join(server->copier, NULL);
    member_close(server->member);
    ring_map_unref(server->map);
    login_free(&server->login);
    if (server->wake >= 0)
        close(server->wake);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
