/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_open.c - which ring is meant: by the options, else by the environment (SIDEPOND_NODES,
 * SIDEPOND_ZOOKEEPER, SIDEPOND_CLUSTER), else by the daemon of the pond. An option of one kind
 * beats the environment of every kind.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring_nodes.h"

#define SETTLE_LOOKS 100 /* each 2 ms */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static void read_place(const struct tool *tool, struct sp_ring_options *options)
{
    const char *cluster = tool_option(tool, "cluster");
    options->nodes = tool_option(tool, "nodes");
    options->zookeeper = tool_option(tool, "zookeeper");
    options->pond = tool->pond_name;
    if (options->nodes == NULL && options->zookeeper == NULL && options->pond == NULL) {
        options->nodes = environment("SIDEPOND_NODES");
        options->zookeeper = environment("SIDEPOND_ZOOKEEPER");
        options->pond = environment("SIDEPOND");
    }
    if (cluster == NULL)
        cluster = environment("SIDEPOND_CLUSTER");
    if (cluster != NULL)
        options->cluster = cluster;
}

static int read_numbers(const struct tool *tool, struct sp_ring_options *options)
{
    uint64_t replicas, slots;
    int code = tool_option_count(tool, "replicas", 1, options->replicas, &replicas);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "slots", 16, options->slots, &slots);
    if (code == TOOL_OK)
        code = tool_option_ms(tool, "timeout", options->timeout_ms, &options->timeout_ms);
    if (code != TOOL_OK)
        return code;
    if (replicas > 3 || slots > 16384 || (slots & (slots - 1)) != 0) {
        tool_error("--replicas is 1 to 3, --slots a power of two from 16 to 16384");
        return TOOL_USAGE;
    }
    options->replicas = (uint8_t)replicas;
    options->slots = (uint16_t)slots;
    options->redis = tool_option(tool, "redis") != NULL;
    return TOOL_OK;
}

static int read_secrets(struct tool *tool, char **credential)
{
    const char *file = tool_option(tool, "credential-file");
    int code = tool_credentials(tool);
    if (code == TOOL_OK && file != NULL)
        code = tool_secret_read(file, "credential", credential);
    return code;
}

static int cannot_open(const struct sp_ring_options *options, int status)
{
    if (options->nodes != NULL)
        return tool_failed(status, "cannot open the ring of these nodes");
    if (options->zookeeper != NULL)
        return tool_failed(status, "cannot open the ring \"%s\" of ZooKeeper at %s",
                           options->cluster, options->zookeeper);
    const char *pond = options->pond != NULL ? options->pond : "main";
    if (status != SP_ENOPOND)
        return tool_failed(status, "cannot open the ring of the pond \"%s\"", pond);
    tool_error("no daemon of the pond \"%s\" tells of a ring; name one with --zookeeper HOSTS or "
               "--nodes LIST",
               pond);
    return TOOL_UNAVAILABLE;
}

/* The map comes a moment before the word that ZooKeeper is there. */
static void settle(struct sp_ring *ring)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    struct sp_ring_state state = {.zookeeper_away = true};
    for (int i = 0; i < SETTLE_LOOKS && state.zookeeper_away; i++) {
        struct sp_ring_node *nodes = NULL;
        size_t count;
        if (i > 0)
            nanosleep(&pause, NULL);
        if (sp_ring_nodes(ring, &nodes, &count, &state) != SP_OK)
            return;
        free(nodes);
    }
}

int tool_ring_open(struct tool *tool)
{
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    char *credential = NULL;
    (void)signal(SIGPIPE, SIG_IGN); /* a node may close its connection any time */
    read_place(tool, &options);
    int code = read_numbers(tool, &options);
    if (code == TOOL_OK)
        code = read_secrets(tool, &credential);
    if (code == TOOL_OK) {
        options.user = tool->user;
        options.password = tool->password;
        options.credential = credential;
        int status = sp_ring_open(&options, &tool->ring);
        code = status == SP_OK ? TOOL_OK : cannot_open(&options, status);
        if (code == TOOL_OK)
            settle(tool->ring);
    }
    tool_secret_free(credential);
    return code;
}

enum sp_ring_need tool_ring_need(const struct tool *tool)
{
    const char *need = tool_option(tool, "need");
    return need != NULL && strcmp(need, "one") == 0 ? SP_RING_ONE : SP_RING_ALL;
}

int ring_node_find(const struct sp_ring_node *nodes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(nodes[i].name, name) == 0)
            return (int)i;
    tool_error("no node \"%s\" in the ring; its nodes:", name);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  %s %s\n", nodes[i].name, nodes[i].address);
    return -1;
}
