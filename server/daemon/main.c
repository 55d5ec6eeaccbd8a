/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - sidepondd: the commands, and the order in which the daemon's parts start and end.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "server/daemon/agent.h"
#include "server/daemon/arguments.h"
#include "server/daemon/daemon.h"
#include "server/daemon/plan.h"
#include "server/log/log.h"

/* How a command ends that only asks. */
static int exit_code(int status)
{
    switch (status) {
    case SP_OK:
        return EXIT_GOOD;
    case SP_ECONFIG:
        return EXIT_CONFIG;
    case SP_ESOURCE:
        return EXIT_UNAVAILABLE;
    default:
        return EXIT_OTHER;
    }
}

static int check_databases(const struct config *config)
{
    struct refresh_check found = {0};
    fflush(stdout);
    int status = refresh_check(config, NULL, stderr, NULL, &found);
    if (status != SP_OK) {
        fprintf(stderr, "sidepondd: %s\n", sp_status_text(status));
        return exit_code(status);
    }
    if (found.wrong)
        return EXIT_CONFIG;
    puts(found.unreachable ? "\nNot every database answers: what it has is not known."
                           : "\nEvery database answers and has what is configured.");
    return found.unreachable ? EXIT_UNAVAILABLE : EXIT_GOOD;
}

static int check(const struct arguments *arguments)
{
    struct config *config = NULL;
    int code = EXIT_GOOD;
    if (config_load(arguments->config, stderr, &config) != SP_OK)
        return EXIT_CONFIG;
    config_explain(config, stdout);
    if (arguments->connect)
        code = check_databases(config);
    config_free(config);
    return code;
}

static int plan(const struct arguments *arguments)
{
    struct config *config = NULL;
    if (config_load(arguments->config, stderr, &config) != SP_OK)
        return EXIT_CONFIG;
    int status = plan_print(config, arguments->json, stdout);
    config_free(config);
    return exit_code(status);
}

/* The order of starting. What is started later may use all that was started before. */
static int start(struct daemon *daemon, const char *config_path)
{
    int code = daemon_load_config(daemon, config_path);
    if (code == EXIT_GOOD)
        code = daemon_open_log(daemon->config);
    if (code == EXIT_GOOD)
        code = daemon_init_loop(daemon); /* signals, from here on */
    if (code == EXIT_GOOD)
        code = daemon_open_store(daemon); /* readers of an older pond are served all the while */
    if (code == EXIT_GOOD)
        code = daemon_start_cache(daemon);
    if (code == EXIT_GOOD)
        code = daemon_start_refresh(daemon);
    if (code == EXIT_GOOD)
        code = daemon_start_http(daemon, daemon->config);
    if (code == EXIT_GOOD)
        daemon_look(daemon); /* then the snapshot file if need be, the groups, the saver */
    return code;
}

/* The end where a thread does not end in time: nothing that it uses is taken away, not even this
 * stack. The kernel does that, and the pond is whole at any moment. */
_Noreturn static void cut_off(int code, const char *why)
{
    log_warning("daemon", "%s", why);
    fflush(stdout);
    fflush(stderr);
    _exit(code);
}

/* Ending, in reverse. */
static int finish(struct daemon *daemon, int code)
{
    http_stop(daemon->http);
    cache_server_stop(daemon->cache);
    if (!saver_stop(daemon->saver, SAVE_MS))
        cut_off(code, "the snapshot file was not saved in time; the one before it stays");
    if (daemon->refresh && !daemon->stopped)
        cut_off(code, "a refresh did not end in time and is cut off");
    refresh_free(daemon->refresh);
    if (daemon->store)
        store_close(daemon->store);
    config_free(daemon->config);
    daemon_close_loop(daemon);
    log_info("daemon", "ended");
    return code;
}

static int run(const struct arguments *arguments)
{
    struct daemon daemon = {.cancel = REFRESH_CANCEL_INIT};
    daemon.counters.started_at_ms = clock_wall_ms();
    atomic_store(&daemon.counters.tick_ms, clock_ms());
    int code = start(&daemon, arguments->config);
    if (code != EXIT_GOOD) {
        daemon.stopped = true; /* no group has been started */
        return finish(&daemon, code);
    }
    code = daemon_run(&daemon);
    return finish(&daemon, code);
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    if (!arguments_parse(argc, argv, &arguments))
        return EXIT_USAGE;
    switch (arguments.command) {
    case COMMAND_HELP:
        arguments_help(stdout);
        return EXIT_GOOD;
    case COMMAND_VERSION:
        printf("sidepondd %s\n", sp_version());
        return EXIT_GOOD;
    case COMMAND_REFERENCE:
        config_reference(stdout);
        return EXIT_GOOD;
    case COMMAND_METRICS:
        http_metrics_reference(stdout);
        return EXIT_GOOD;
    case COMMAND_AGENT:
        return daemon_agent(arguments.config);
    case COMMAND_CHECK:
        return check(&arguments);
    case COMMAND_PLAN:
        return plan(&arguments);
    default:
        return run(&arguments);
    }
}
