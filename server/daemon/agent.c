/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.c - `sidepondd --agent`: starts the agent, waits for the signal to end, stops it.
 *
 * The signals are blocked before any thread is started, so that it is this one that gets them.
 */
#include "server/daemon/agent.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "server/agent/agent.h"
#include "server/daemon/daemon.h"
#include "server/daemon/notify.h"
#include "server/log/log.h"

static int run(const struct config *config, const sigset_t *signals)
{
    struct agent *agent;
    char why[AGENT_WHY_BYTES];
    int number;
    if (agent_start(&config->agent, &agent, why) != SP_OK) {
        log_error("agent", "%s", why);
        return EXIT_CONFIG;
    }
    notify_ready();
    while (sigwait(signals, &number) != 0)
        ;
    notify_stopping();
    agent_stop(agent);
    log_info("agent", "ended");
    return EXIT_GOOD;
}

int daemon_agent(const char *config_path)
{
    struct config *config = NULL;
    struct notify notify;
    sigset_t signals;
    if (config_load(config_path, stderr, &config) != SP_OK)
        return EXIT_CONFIG;
    if (!config->agent.enabled) {
        fprintf(stderr, "%s: there is no section 'agent'\n", config_path);
        config_free(config);
        return EXIT_CONFIG;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    notify_init(&notify);
    int code = daemon_open_log(config);
    if (code == EXIT_GOOD)
        code = run(config, &signals);
    config_free(config);
    return code;
}
