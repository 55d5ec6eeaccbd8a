/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_node.c - a node of a ring alone, for tests: a store, the cache server on it, and its part
 * in a ring, without configuration, tables or HTTP.
 *
 *     ring_node DIRECTORY PORT NAME ADDRESS SLOTS MEMORY nodes NAME=ADDRESS,...
 *     ring_node DIRECTORY PORT NAME ADDRESS SLOTS MEMORY zookeeper SERVERS SESSION_MS
 *
 * It listens on 127.0.0.1:PORT, and others reach it at ADDRESS. MEMORY is in bytes. It ends at
 * SIGTERM.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ring/map.h"
#include "server/command/service.h"
#include "server/ring/ring.h"
#include "server/store/store.h"

#define NODES_MAX 64u
#define TICK_NS   (100L * 1000 * 1000)
#define STALL_MS  500u

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fill_node(struct ring_node *node, const char *name, const char *address)
{
    *node = (struct ring_node){.weight = 100, .start = 1};
    snprintf(node->name, sizeof(node->name), "%s", name);
    snprintf(node->address, sizeof(node->address), "%s", address);
}

static size_t parse_list(char *text, struct ring_node *list)
{
    size_t count = 0;
    for (char *item; count < NODES_MAX && (item = strsep(&text, ",")) != NULL; count++) {
        char *address = strchr(item, '=');
        if (!address)
            return 0;
        *address++ = '\0';
        fill_node(&list[count], item, address);
    }
    return count;
}

/* Ticks until a signal asks to end; what stands still tells the ring, as the daemon does. */
static void serve(struct store *store, struct service *service, const sigset_t *ends)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};
    uint64_t last_ms = now_ms();
    while (sigtimedwait(ends, NULL, &tick) < 0) {
        uint64_t at_ms = now_ms();
        if (at_ms - last_ms > STALL_MS)
            ring_stalled(service_ring(service), at_ms - last_ms);
        last_ms = at_ms;
        store_tick(store);
        service_tick(service);
    }
}

static int run(const struct store_options *from, struct service_options *options,
               const sigset_t *ends)
{
    char why[1024] = "";
    struct store *store;
    struct store_opened opened;
    struct service *service = NULL;
    int status = store_open(from, &store, &opened, why);
    if (status == SP_OK) {
        options->store = store;
        status = service_start(options, &service, why);
        if (status == SP_OK) {
            serve(store, service, ends);
            service_stop(service);
        }
        store_close(store);
    }
    if (status != SP_OK)
        fprintf(stderr, "ring_node: %s: %s\n", sp_status_text(status), why);
    return status == SP_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct ring_node list[NODES_MAX];
    char address[64];
    sigset_t ends;
    if (argc < 9)
        return 2;
    struct store_options store = {.directory = argv[1],
                                  .name = argv[3],
                                  .limit_bytes = strtoull(argv[6], NULL, 10),
                                  .lease_limit_ms = 60000,
                                  .gid = -1};
    struct ring_options ring = {.cluster = "main",
                                .parameters = {.slots = (uint16_t)strtoul(argv[5], NULL, 10),
                                               .replicas = 2,
                                               .kind = RING_SIDEPOND},
                                .ack_timeout_ms = 100,
                                .compare_ms = 60000,
                                .clock_ahead_ms = 60000,
                                .tombstone_ms = 3600000,
                                .throttle_bytes = 64u << 20};
    struct net_listen listens[1] = {{.address = address}};
    struct service_options service = {.threads = 1,
                                      .settings = SERVICE_SETTINGS_INIT,
                                      .listens = listens,
                                      .listens_count = 1,
                                      .directory = argv[1],
                                      .ring = &ring};
    snprintf(address, sizeof(address), "127.0.0.1:%s", argv[2]);
    fill_node(&ring.node, argv[3], argv[4]);
    if (strcmp(argv[7], "zookeeper") == 0) {
        ring.zookeeper = argv[8];
        ring.session_ms = argc > 9 ? (uint32_t)strtoul(argv[9], NULL, 10) : 1000;
    } else {
        ring.list = list;
        ring.list_count = parse_list(argv[8], list);
    }
    service.settings.cache_bytes = store.limit_bytes / 4 * 3;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    return run(&store, &service, &ends);
}
