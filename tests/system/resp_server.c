/* SPDX-License-Identifier: Apache-2.0
 *
 * resp_server.c - the cache server alone, for tests, fuzzers and benchmarks: a store in a
 * directory, and the service on top, without configuration, tables or log.
 *
 *     resp_server DIRECTORY ADDRESS... [--threads N] [--limit BYTES] [--cache BYTES] [--no-evict]
 *                 [--huge-pages] [--password TEXT] [--node NAME [--of NAME=ADDRESS]...
 *                 [--throttle BYTES]]
 *
 * Addresses are those of server/net/net.h. Says "ready" on standard output when it serves; ends at
 * SIGTERM or SIGINT with 0. --limit is the pond's size (256 MiB), --cache the cache's share of it
 * (three quarters). With --node it is the node of that name of a ring of 16 slots, without
 * ZooKeeper, whose nodes are those of --of; --throttle is what it pulls in a second at most.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/command/service.h"
#include "server/ring/ring.h"
#include "server/store/store.h"

#define LISTENS_MAX 8u
#define NODES_MAX   4u
#define TICK_NS     (100L * 1000 * 1000)

struct arguments {
    struct store_options store;
    struct service_options service;
    struct net_listen listens[LISTENS_MAX];
    const char *node; /* NULL: of no ring */
    struct ring_options ring;
    struct ring_node nodes[NODES_MAX];
};

static int usage(void)
{
    fputs("usage: resp_server DIRECTORY ADDRESS... [--threads N] [--limit BYTES] [--cache BYTES]"
          " [--no-evict] [--huge-pages] [--password TEXT] [--node NAME [--of NAME=ADDRESS]...\n"
          "       [--throttle BYTES]]\n",
          stderr);
    return 2;
}

static bool whole_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    *out = text ? strtoull(text, &end, 10) : 0;
    return text && end != text && *end == '\0' && *out > 0;
}

/* NAME=ADDRESS */
static bool parse_node(const char *text, struct arguments *out)
{
    const char *equals = text ? strchr(text, '=') : NULL;
    if (!equals || out->ring.list_count == NODES_MAX || (size_t)(equals - text) >= RING_NAME_BYTES)
        return false;
    struct ring_node *node = &out->nodes[out->ring.list_count++];
    *node = (struct ring_node){.weight = 100, .start = 1};
    memcpy(node->name, text, (size_t)(equals - text));
    snprintf(node->address, sizeof(node->address), "%s", equals + 1);
    return true;
}

static int parse_text(char **words, struct arguments *out)
{
    if (strcmp(words[0], "--password") == 0)
        out->service.password = words[1];
    else if (strcmp(words[0], "--node") == 0)
        out->node = words[1];
    else if (strcmp(words[0], "--of") != 0 || !parse_node(words[1], out))
        return 0;
    return words[1] ? 2 : 0;
}

/* One option and, where it has one, its value; how many words that was, 0: it is wrong. */
static int parse_option(char **words, struct arguments *out)
{
    uint64_t number;
    if (strcmp(words[0], "--no-evict") == 0) {
        out->service.settings.evict = false;
        return 1;
    }
    if (strcmp(words[0], "--huge-pages") == 0) {
        out->store.huge_pages = true;
        return 1;
    }
    int took = parse_text(words, out);
    if (took > 0)
        return took;
    if (!whole_number(words[1], &number))
        return 0;
    if (strcmp(words[0], "--threads") == 0 && number <= NET_THREADS_MAX)
        out->service.threads = (unsigned)number;
    else if (strcmp(words[0], "--limit") == 0)
        out->store.limit_bytes = number;
    else if (strcmp(words[0], "--cache") == 0)
        out->service.settings.cache_bytes = number;
    else if (strcmp(words[0], "--throttle") == 0)
        out->ring.throttle_bytes = number;
    else
        return 0;
    return 2;
}

static bool parse(char **words, struct arguments *out)
{
    while (*words) {
        int took = 1;
        if (strncmp(*words, "--", 2) == 0)
            took = parse_option(words, out);
        else if (!out->store.directory)
            out->store.directory = *words;
        else if (out->service.listens_count < LISTENS_MAX)
            out->listens[out->service.listens_count++].address = *words;
        else
            took = 0;
        if (took == 0)
            return false;
        words += took;
    }
    return out->service.listens_count > 0;
}

/* False: the list does not name this node. */
static bool join_ring(struct arguments *arguments)
{
    struct ring_options *ring = &arguments->ring;
    if (!arguments->node)
        return true;
    ring->list = arguments->nodes;
    for (size_t i = 0; i < ring->list_count; i++)
        if (strcmp(arguments->nodes[i].name, arguments->node) == 0)
            ring->node = arguments->nodes[i];
    arguments->service.ring = ring;
    return ring->node.name[0] != '\0';
}

/* Ticks until a signal asks to end. */
static void serve(struct store *store, struct service *service, const sigset_t *ends)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};
    puts("ready");
    fflush(stdout);
    while (sigtimedwait(ends, NULL, &tick) < 0) {
        store_tick(store);
        service_tick(service);
    }
}

static int run(struct arguments *arguments, const sigset_t *ends)
{
    char why[STORE_WHY_BYTES > NET_WHY_BYTES ? STORE_WHY_BYTES : NET_WHY_BYTES] = "";
    struct store *store;
    struct store_opened opened;
    int status = store_open(&arguments->store, &store, &opened, why);
    if (status != SP_OK) {
        fprintf(stderr, "resp_server: %s: %s\n", sp_status_text(status), why);
        return 1;
    }
    arguments->service.store = store;
    arguments->service.directory = arguments->store.directory;
    struct service *service;
    status = service_start(&arguments->service, &service, why);
    if (status == SP_OK) {
        serve(store, service, ends);
        service_stop(service);
    } else {
        fprintf(stderr, "resp_server: %s: %s\n", sp_status_text(status), why);
    }
    store_close(store);
    return status == SP_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    (void)argc;
    static struct arguments arguments = {
        .store = {.name = "test",
                  .limit_bytes = UINT64_C(256) << 20,
                  .lease_limit_ms = 60000,
                  .gid = -1},
        .service = {.threads = 1, .settings = SERVICE_SETTINGS_INIT},
        .ring = {.cluster = "test",
                 .parameters = {.slots = 16, .replicas = 2, .kind = RING_SIDEPOND},
                 .ack_timeout_ms = 150,
                 .compare_ms = 1000,
                 .clock_ahead_ms = 60000,
                 .tombstone_ms = 3600000}};
    if (!parse(argv + 1, &arguments) || !join_ring(&arguments))
        return usage();
    if (arguments.service.settings.cache_bytes == 0)
        arguments.service.settings.cache_bytes = arguments.store.limit_bytes / 4 * 3;
    arguments.service.listens = arguments.listens;
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    return run(&arguments, &ends);
}
