/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.c - starting and ending, and the members' calls.
 *
 * Each server has a member and two threads. They are started one after the other, and ended all at
 * once: each is told first, and then waited for, so that the slowest one makes the time.
 */
#include "server/agent/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/agent/internal.h"
#include "server/log/log.h"
#include "server/thread.h"

#define ANSWER_MS 900 /* a member waits a second at the most */

/* --- the members' calls ------------------------------------------------------------------------
 */

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
    if (!redis_open(&redis, context, node->address, ANSWER_MS / 2))
        return false;
    redisReply *pong = redis_ask(&redis, "PING");
    bool good = pong != NULL;
    freeReplyObject(pong);
    redis_close(&redis);
    return good;
}

/* --- starting ----------------------------------------------------------------------------------
 */

static int read_credential(const struct config_agent *config, char **out, char *why)
{
    char *password;
    *out = NULL;
    if (config->zookeeper_user == NULL)
        return SP_OK;
    int status =
        config_password_file(config->zookeeper_password_file, &password, why, AGENT_WHY_BYTES);
    if (status != SP_OK)
        return status;
    if (asprintf(out, "%s:%s", config->zookeeper_user, password) < 0)
        *out = NULL;
    config_password_free(password);
    return *out != NULL ? SP_OK : SP_ENOMEM;
}

/* Each server has a file of its own beside the one that is configured. */
static char *file_of(const struct watched *server)
{
    char *path = NULL;
    if (server->settings->file == NULL ||
        asprintf(&path, "%s.%s", server->settings->file, server->config->name) < 0)
        return NULL;
    return path;
}

static int open_member(struct watched *server, const char *credential, char *why)
{
    const struct config_agent *config = server->settings;
    char *file = file_of(server);
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
static void name_node(struct watched *server)
{
    const struct config_agent_node *config = server->config;
    server->node = (struct ring_node){.weight = (uint16_t)config->weight, .start = 1};
    snprintf(server->node.name, sizeof server->node.name, "%s", config->name);
    snprintf(server->node.address, sizeof server->node.address, "%s", config->address);
    snprintf(server->node.zone, sizeof server->node.zone, "%s",
             config->zone != NULL ? config->zone : "");
}

static void init_locks(struct watched *server)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int start_server(struct watched *server, const char *credential, char *why)
{
    int status = SP_OK;
    name_node(server);
    server->wake = eventfd(0, EFD_CLOEXEC);
    if (server->wake < 0)
        status = SP_ESYS;
    if (status == SP_OK && server->config->password_file != NULL)
        status = config_password_file(server->config->password_file, &server->password, why,
                                      AGENT_WHY_BYTES);
    if (status == SP_OK)
        status = open_member(server, credential, why);
    if (status == SP_OK)
        status = thread_start(&server->checker, check_server, server);
    server->has_checker = status == SP_OK;
    if (status == SP_OK)
        status = thread_start(&server->copier, copy_to_server, server);
    server->has_copier = status == SP_OK;
    if (status != SP_OK && why[0] == '\0')
        snprintf(why, AGENT_WHY_BYTES, "%s: %s", server->config->name, sp_status_text(status));
    return status;
}

int agent_start(const struct config_agent *config, struct agent **out, char why[AGENT_WHY_BYTES])
{
    char *credential = NULL;
    why[0] = '\0';
    struct agent *agent = calloc(1, sizeof *agent);
    struct watched *servers = calloc(config->node_count, sizeof *servers);
    int status =
        agent != NULL && servers != NULL ? read_credential(config, &credential, why) : SP_ENOMEM;
    if (agent == NULL || servers == NULL) {
        free(agent);
        free(servers);
        return status;
    }
    agent->servers = servers;
    for (unsigned i = 0; i < config->node_count && status == SP_OK; i++, agent->count++) {
        servers[i].settings = config;
        servers[i].config = &config->nodes[i];
        init_locks(&servers[i]);
        status = start_server(&servers[i], credential, why);
    }
    config_password_free(credential);
    if (status == SP_OK)
        *out = agent;
    else
        agent_stop(agent);
    return status;
}

/* --- ending ------------------------------------------------------------------------------------
 */

static void tell_to_end(struct watched *server)
{
    uint64_t one = 1;
    pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    if (server->wake >= 0)
        (void)!write(server->wake, &one, sizeof one);
}

static void end_server(struct watched *server)
{
    if (server->has_checker)
        pthread_join(server->checker, NULL);
    if (server->has_copier)
        pthread_join(server->copier, NULL);
    member_close(server->member);
    ring_map_unref(server->map);
    config_password_free(server->password);
    if (server->wake >= 0)
        close(server->wake);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
}

void agent_stop(struct agent *agent)
{
    for (unsigned i = 0; i < agent->count; i++)
        tell_to_end(&agent->servers[i]);
    for (unsigned i = 0; i < agent->count; i++)
        end_server(&agent->servers[i]);
    free(agent->servers);
    free(agent);
}
