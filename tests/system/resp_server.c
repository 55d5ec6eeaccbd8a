/* SPDX-License-Identifier: Apache-2.0
 *
 * resp_server.c - the cache server alone, without configuration or tables: for tests and
 * benchmarks.
 *
 *   resp_server DIRECTORY [--listen ADDRESS]... [--memory MIB] [--cache MIB] [--threads N]
 *               [--refuse]
 *
 * Serves until SIGTERM or SIGINT. Prints "ready" when it can be reached.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "server/command/service.h"
#include "server/store/store.h"

#define LISTENS_MAX 8

static volatile sig_atomic_t ended;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

struct setup {
    struct store_options store;
    struct service_options service;
    struct net_listen listens[LISTENS_MAX];
};

static bool take_options(int argc, char **argv, struct setup *setup)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'}, {"memory", required_argument, NULL, 'm'},
        {"cache", required_argument, NULL, 'c'},  {"threads", required_argument, NULL, 't'},
        {"refuse", no_argument, NULL, 'r'},       {"password", required_argument, NULL, 'p'},
        {"huge-pages", no_argument, NULL, 'h'},   {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'l' && setup->service.listens_count < LISTENS_MAX)
            setup->listens[setup->service.listens_count++].address = optarg;
        else if (option == 'm')
            setup->store.limit_bytes = strtoull(optarg, NULL, 10) << 20;
        else if (option == 'c')
            setup->service.cache_bytes = strtoull(optarg, NULL, 10) << 20;
        else if (option == 't')
            setup->service.threads = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'r')
            setup->service.evict = false;
        else if (option == 'p')
            setup->service.password = optarg;
        else if (option == 'h')
            setup->store.huge_pages = true;
        else
            return false;
    }
    if (optind + 1 != argc)
        return false;
    setup->store.directory = setup->service.directory = argv[optind];
    return true;
}

/* The daemon's tick. */
static void serve(struct store *store, struct service *service)
{
    const struct timespec tick = {0, 100000000};
    while (!ended) {
        store_tick(store);
        service_tick(service);
        nanosleep(&tick, NULL);
    }
}

int main(int argc, char **argv)
{
    struct setup setup = {
        .store = {.name = "test", .limit_bytes = 256 << 20, .lease_limit_ms = 60000, .gid = -1},
        .service = {
            .threads = 1, .cache_bytes = 128 << 20, .evict = true, .limits = NET_LIMITS_INIT}};
    char why[NET_WHY_BYTES] = "";
    struct store_opened opened;
    struct service *service;
    if (!take_options(argc, argv, &setup)) {
        fprintf(stderr, "usage: see the head of resp_server.c\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test that dies takes it along */
    signal(SIGTERM, on_end);
    signal(SIGINT, on_end);
    signal(SIGPIPE, SIG_IGN);
    setup.service.listens = setup.listens;
    if (store_open(&setup.store, &setup.service.store, &opened, why) != SP_OK ||
        service_start(&setup.service, &service, why) != SP_OK) {
        fprintf(stderr, "resp_server: %s\n", why);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    serve(setup.service.store, service);
    service_stop(service);
    store_close(setup.service.store);
    return 0;
}
