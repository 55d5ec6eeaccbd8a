/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.c - the servers that are watched: starting, changing and ending them.
 *
 * Starting is changing from none. What can be wrong with a configuration is found first: servers
 * that are new are made, with their passwords read, but do not run yet, and the passwords of the
 * others are read. Then those that are no longer wanted end, since one of the same name may take
 * their place; each is told first, and then waited for, so that the slowest one makes the time.
 *
 * Those that a reload takes out say in ZooKeeper that they leave, and stay there until the map is
 * without them: the other nodes would not believe that many have gone that still answer. An agent
 * that is stopped does not say so; where it watched most of a ring, that ring goes on.
 */
#include "server/agent/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/agent/internal.h"
#include "server/log/log.h"

#define LEAVE_MS 2000 /* until the map is without those that are taken out */

/* --- what a configuration comes to ------------------------------------------------------------ */

/* One of its servers. */
struct wanted {
    const struct config_agent_node *config;
    struct watched *server;
    bool is_new;
    struct login login; /* of one that is not new */
};

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

static struct watched *find_server(const struct agent *agent, const struct config_agent_node *node)
{
    for (unsigned i = 0; i < agent->count; i++) {
        const struct ring_node *known = &agent->servers[i]->node;
        if (strcmp(known->name, node->name) == 0 && strcmp(known->address, node->address) == 0)
            return agent->servers[i];
    }
    return NULL;
}

static int prepare(const struct agent *agent, const struct config_agent *config,
                   struct wanted *wanted, char *why)
{
    int status = SP_OK;
    for (unsigned i = 0; i < config->node_count && status == SP_OK; i++) {
        struct wanted *one = &wanted[i];
        one->config = &config->nodes[i];
        one->server = find_server(agent, one->config);
        one->is_new = one->server == NULL;
        why[0] = '\0';
        status = one->is_new ? server_new(config, one->config, &one->server, why)
                             : login_read(one->config, &one->login, why);
        if (status != SP_OK && why[0] == '\0')
            snprintf(why, AGENT_WHY_BYTES, "%s: %s", one->config->name, sp_status_text(status));
    }
    return status;
}

static void drop(struct wanted *wanted, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        login_free(&wanted[i].login);
        if (wanted[i].is_new && wanted[i].server != NULL)
            server_free(wanted[i].server);
    }
}

/* --- changing --------------------------------------------------------------------------------- */

static void leave(struct agent *agent, unsigned from, unsigned to)
{
    uint64_t until_ms = clock_ms() + LEAVE_MS;
    for (unsigned i = from; i < to; i++)
        server_tell_to_leave(agent->servers[i]);
    for (unsigned i = from; i < to; i++)
        server_await_gone(agent->servers[i], until_ms);
}

/* Takes the servers that are not wanted out of the list, and ends them. */
static void end_others(struct agent *agent, const struct wanted *wanted, unsigned count)
{
    unsigned kept = 0, gone = agent->count;
    for (unsigned i = 0; i < gone; i++) {
        bool stays = false;
        for (unsigned k = 0; k < count; k++)
            stays = stays || wanted[k].server == agent->servers[i];
        if (!stays)
            continue;
        pthread_mutex_lock(&agent->mutex); /* those that stay come first */
        struct watched *server = agent->servers[i];
        agent->servers[i] = agent->servers[kept];
        agent->servers[kept++] = server;
        pthread_mutex_unlock(&agent->mutex);
    }
    pthread_mutex_lock(&agent->mutex);
    agent->count = kept;
    pthread_mutex_unlock(&agent->mutex);
    if (kept > 0 || count > 0)
        leave(agent, kept, gone);
    for (unsigned i = kept; i < gone; i++)
        server_tell_to_end(agent->servers[i]);
    for (unsigned i = kept; i < gone; i++) {
        log_info("agent", "%s is no longer watched", agent->servers[i]->node.name);
        server_free(agent->servers[i]);
    }
}

static void update(struct wanted *wanted, const struct config_agent *config)
{
    struct watched *server = wanted->server;
    const char *zone = wanted->config->zone != NULL ? wanted->config->zone : "";
    uint16_t weight = (uint16_t)wanted->config->weight;
    server_limits(server, config);
    pthread_mutex_lock(&server->mutex);
    struct login before = server->login;
    server->login = wanted->login;
    pthread_mutex_unlock(&server->mutex);
    wanted->login = (struct login){0};
    login_free(&before);
    if (server->node.weight == weight && strcmp(server->node.zone, zone) == 0)
        return;
    server->node.weight = weight;
    snprintf(server->node.zone, sizeof server->node.zone, "%s", zone);
    member_change(server->member, weight, zone);
    log_info("agent", "%s: weight %u%s%s", server->node.name, weight,
             zone[0] != '\0' ? ", zone " : "", zone);
}

static int add(struct agent *agent, struct wanted *wanted, const struct config_agent *config,
               const char *credential, char *why)
{
    struct watched *server = wanted->server;
    int status = server_open(server, config, credential, why);
    wanted->server = NULL;
    if (status != SP_OK) {
        if (why[0] == '\0')
            snprintf(why, AGENT_WHY_BYTES, "%s: %s", server->node.name, sp_status_text(status));
        server_free(server);
        return status;
    }
    pthread_mutex_lock(&agent->mutex);
    agent->servers[agent->count++] = server;
    pthread_mutex_unlock(&agent->mutex);
    return SP_OK;
}

/* Room in the list for as many servers. */
static int grow(struct agent *agent, unsigned count)
{
    pthread_mutex_lock(&agent->mutex);
    struct watched **servers =
        (struct watched **)realloc((void *)agent->servers, count * sizeof *servers);
    if (servers != NULL)
        agent->servers = servers;
    pthread_mutex_unlock(&agent->mutex);
    return servers != NULL ? SP_OK : SP_ENOMEM;
}

/* From here on nothing of the configuration can be wrong. */
static int take_over(struct agent *agent, struct wanted *wanted, const struct config_agent *config,
                     const char *credential, char *why)
{
    int status = SP_OK;
    if (config->node_count > agent->count)
        status = grow(agent, config->node_count);
    if (status != SP_OK)
        return status;
    end_others(agent, wanted, config->node_count);
    for (unsigned i = 0; i < config->node_count; i++) {
        int failed = SP_OK;
        if (wanted[i].is_new)
            failed = add(agent, &wanted[i], config, credential, why);
        else
            update(&wanted[i], config);
        status = status == SP_OK ? failed : status;
    }
    return status;
}

int agent_change(struct agent *agent, const struct config_agent *config, char why[AGENT_WHY_BYTES])
{
    char *credential = NULL;
    struct wanted *wanted = calloc(config->node_count + 1, sizeof *wanted);
    why[0] = '\0';
    int status = wanted == NULL ? SP_ENOMEM : read_credential(config, &credential, why);
    if (status == SP_OK)
        status = prepare(agent, config, wanted, why);
    if (status == SP_OK)
        status = take_over(agent, wanted, config, credential, why);
    if (status != SP_OK && why[0] == '\0')
        snprintf(why, AGENT_WHY_BYTES, "%s", sp_status_text(status));
    if (wanted != NULL)
        drop(wanted, config->node_count);
    config_password_free(credential);
    free(wanted);
    return status;
}

/* --- starting and ending ---------------------------------------------------------------------- */

int agent_start(const struct config_agent *config, struct agent **out, char why[AGENT_WHY_BYTES])
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL) {
        snprintf(why, AGENT_WHY_BYTES, "%s", sp_status_text(SP_ENOMEM));
        return SP_ENOMEM;
    }
    pthread_mutex_init(&agent->mutex, NULL);
    int status = agent_change(agent, config, why);
    if (status == SP_OK)
        *out = agent;
    else
        agent_stop(agent);
    return status;
}

void agent_stop(struct agent *agent)
{
    if (agent == NULL)
        return;
    end_others(agent, NULL, 0);
    free((void *)agent->servers);
    pthread_mutex_destroy(&agent->mutex);
    free(agent);
}

/* --- what operators see ----------------------------------------------------------------------- */

const char *agent_state_name(enum agent_state state)
{
    static const char *const names[AGENT_STATES] = {
        [AGENT_UNCHECKED] = "unchecked",     [AGENT_WELL] = "well",
        [AGENT_UNREACHABLE] = "unreachable", [AGENT_SILENT] = "silent",
        [AGENT_REFUSES] = "refuses",         [AGENT_LOADING] = "loading",
        [AGENT_REPLICA] = "replica"};
    return (unsigned)state < AGENT_STATES ? names[state] : "";
}

static void count_slots(const struct ring_map *map, struct agent_figures *out)
{
    int self = map != NULL ? ring_map_find(map, out->name) : -1;
    for (unsigned slot = 0; self >= 0 && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        bool holder = false, target = false;
        for (unsigned i = 0; i < copies->holder_count; i++)
            holder = holder || copies->holders[i] == self;
        for (unsigned i = 0; i < copies->target_count; i++)
            target = target || copies->targets[i] == self;
        out->held += holder;
        out->pulling += target && !holder;
    }
}

static void see(struct watched *server, struct agent_figures *out)
{
    struct member_status status;
    member_status(server->member, &status);
    pthread_mutex_lock(&server->mutex);
    *out = server->figures;
    uint64_t now_ms = clock_ms();
    out->late_ms = now_ms > server->due_ms ? now_ms - server->due_ms : 0;
    struct ring_map *map = server->map != NULL ? ring_map_ref(server->map) : NULL;
    pthread_mutex_unlock(&server->mutex);
    out->connected = status.link == MEMBER_CONNECTED;
    out->registered = status.registered;
    count_slots(map, out);
    ring_map_unref(map);
}

size_t agent_figures(struct agent *agent, struct agent_figures *out, size_t most)
{
    pthread_mutex_lock(&agent->mutex);
    size_t count = agent->count;
    for (size_t i = 0; i < count && i < most; i++)
        see(agent->servers[i], &out[i]);
    pthread_mutex_unlock(&agent->mutex);
    return count;
}
