/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.c - `sidepondd --agent`: starts the agent, tells the service manager and over HTTP how it
 * is, takes another configuration on SIGHUP, stops.
 *
 * The signals are blocked before any thread is started, so that it is this one that gets them. It
 * waits for them a tenth of a second at a time.
 *
 * On SIGHUP the file is read anew. If it is wrong, or changes what cannot be changed while nodes
 * are in a ring, the old configuration stays in use, and the log says why. Otherwise servers that
 * are new are watched, those that are no longer there are taken out of the ring, and all others
 * stay in it.
 */
#include "server/daemon/agent.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/daemon/daemon.h"
#include "server/daemon/notify.h"
#include "server/http/metrics_agent.h"
#include "server/log/log.h"

enum { STATUS_NODES = 1024 };

struct agent_daemon {
    const char *config_path;
    struct config *config;
    struct agent *agent;
    struct http_counters counters;
    struct agent_site site; /* what HTTP tells of */
    struct http *http;
    char http_listen[HTTP_LISTEN_BYTES];
    struct notify notify;
    uint64_t status_at_ms;
    char reload_error[256]; /* "" if the last one was good */
};

static bool move_http(struct agent_daemon *daemon, const struct config *config)
{
    const struct http_site site = agent_http_site(&daemon->site);
    const char *listen = config->http_listen ? config->http_listen : "";
    return http_move(&daemon->http, daemon->http_listen, listen, &site) == SP_OK;
}

/* --- a reload --------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* What cannot change while nodes are in the ring; NULL if nothing of it has. */
static const char *needs_restart(const struct config_agent *from, const struct config_agent *to)
{
    if (!same(from->cluster, to->cluster))
        return "agent.cluster";
    if (!same(from->zookeeper, to->zookeeper))
        return "agent.zookeeper";
    if (!same(from->zookeeper_user, to->zookeeper_user))
        return "agent.zookeeper_user";
    if (!same(from->zookeeper_password_file, to->zookeeper_password_file))
        return "agent.zookeeper_password_file";
    if (!same(from->file, to->file))
        return "agent.file";
    if (from->session_ms != to->session_ms)
        return "agent.session";
    if (from->replicas != to->replicas)
        return "agent.replicas";
    return from->slots != to->slots ? "agent.slots" : NULL;
}

static void refuse(struct agent_daemon *daemon, const char *why)
{
    snprintf(daemon->reload_error, sizeof(daemon->reload_error), "reload refused: %.200s", why);
    log_error("agent", "%s; the old configuration stays in use", daemon->reload_error);
    atomic_fetch_add(&daemon->counters.reloads_bad, 1);
    atomic_store(&daemon->counters.reload_failed, true);
}

/* NULL, with what is wrong in the log. */
static struct config *read_config(const char *path)
{
    struct config *config = NULL;
    char *complaints = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&complaints, &size);
    if (!out)
        return NULL;
    int status = config_load(path, out, &config);
    fclose(out);
    daemon_log_lines(status == SP_OK ? LOG_WARNING : LOG_ERR, complaints);
    free(complaints);
    return status == SP_OK ? config : NULL;
}

/* Whether it has been taken over. */
static bool take_over(struct agent_daemon *daemon, const struct config *config)
{
    char why[AGENT_WHY_BYTES];
    const char *option = needs_restart(&daemon->config->agent, &config->agent);
    if (!config->agent.enabled) {
        refuse(daemon, "there is no section 'agent'");
        return false;
    }
    if (option) {
        snprintf(why, sizeof(why), "a change of '%s' needs a restart", option);
        refuse(daemon, why);
        return false;
    }
    if (!move_http(daemon, config)) {
        refuse(daemon, "cannot listen on the address of http");
        return false;
    }
    if (agent_change(daemon->agent, &config->agent, why) != SP_OK) {
        (void)move_http(daemon, daemon->config);
        refuse(daemon, why);
        return false;
    }
    return true;
}

static void reload(struct agent_daemon *daemon)
{
    log_info("agent", "reloading %s", daemon->config_path);
    notify_reloading(&daemon->notify);
    struct config *config = read_config(daemon->config_path);
    if (!config) {
        refuse(daemon, "the configuration is wrong");
    } else if (take_over(daemon, config)) {
        config_free(daemon->config);
        daemon->config = config;
        config = NULL;
        daemon_open_log(daemon->config);
        daemon->reload_error[0] = '\0';
        atomic_fetch_add(&daemon->counters.reloads_good, 1);
        atomic_store(&daemon->counters.reload_failed, false);
        log_info("agent", "configuration reloaded");
    }
    config_free(config);
    daemon->status_at_ms = 0;
    notify_ready(&daemon->notify);
}

/* --- the loop --------------------------------------------------------------------------------- */

/* "2 of 3 servers are in the ring; c is not: it does not answer in time" */
static void tell_status(struct agent_daemon *daemon, uint64_t now_ms)
{
    char text[sizeof(daemon->notify.status)];
    struct agent_figures *servers = calloc(STATUS_NODES, sizeof(*servers));
    const struct agent_figures *out = NULL;
    size_t in = 0;
    daemon->status_at_ms = now_ms + STATUS_MS;
    if (!servers)
        return;
    size_t count = agent_figures(daemon->agent, servers, STATUS_NODES);
    for (size_t i = 0; i < count && i < STATUS_NODES; i++) {
        in += servers[i].registered;
        if (!servers[i].registered && !out)
            out = &servers[i];
    }
    int size = snprintf(text, sizeof(text), "%s%s%zu of %zu servers are in the ring",
                        daemon->reload_error, daemon->reload_error[0] ? "; " : "", in, count);
    if (out)
        snprintf(text + size, sizeof(text) - (size_t)size, "; %s is not%s%s", out->name,
                 out->why[0] ? ": " : "", out->why);
    notify_status(&daemon->notify, text);
    free(servers);
}

static void loop(struct agent_daemon *daemon, const sigset_t *signals)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000L * 1000};
    for (;;) {
        int number = sigtimedwait(signals, NULL, &tick);
        uint64_t now_ms = clock_ms();
        if (number == SIGTERM || number == SIGINT)
            return;
        if (number == SIGHUP)
            reload(daemon);
        atomic_store(&daemon->counters.tick_ms, clock_ms());
        notify_alive(&daemon->notify, now_ms);
        if (now_ms >= daemon->status_at_ms)
            tell_status(daemon, now_ms);
    }
}

static int run(struct agent_daemon *daemon, const sigset_t *signals)
{
    char why[AGENT_WHY_BYTES];
    daemon->counters.started_at_ms = clock_wall_ms();
    atomic_store(&daemon->counters.tick_ms, clock_ms());
    if (agent_start(&daemon->config->agent, &daemon->agent, why) != SP_OK) {
        log_error("agent", "%s", why);
        return EXIT_CONFIG;
    }
    daemon->site = (struct agent_site){.agent = daemon->agent, .counters = &daemon->counters};
    if (!move_http(daemon, daemon->config)) {
        agent_stop(daemon->agent);
        return EXIT_UNAVAILABLE;
    }
    notify_ready(&daemon->notify);
    loop(daemon, signals);
    notify_stopping(&daemon->notify);
    http_stop(daemon->http);
    agent_stop(daemon->agent);
    log_info("agent", "ended");
    return EXIT_GOOD;
}

int daemon_agent(const char *config_path)
{
    struct agent_daemon daemon = {.config_path = config_path};
    sigset_t signals;
    if (config_load(config_path, stderr, &daemon.config) != SP_OK)
        return EXIT_CONFIG;
    if (!daemon.config->agent.enabled) {
        fprintf(stderr, "%s: there is no section 'agent'\n", config_path);
        config_free(daemon.config);
        return EXIT_CONFIG;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a server may close its connection at any moment */
    notify_init(&daemon.notify);
    int code = daemon_open_log(daemon.config);
    if (code == EXIT_GOOD)
        code = run(&daemon, &signals);
    config_free(daemon.config);
    return code;
}
