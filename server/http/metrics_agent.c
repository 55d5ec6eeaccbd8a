/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_agent.c - the metrics of the agent, declared once like those of metrics.c, and its other
 * answers over HTTP. Those of a server have its name in the ring as label `node`.
 */
#include "server/http/metrics_agent.h"

#include <microhttpd.h>
#include <stdlib.h>

#include "alloc/clock.h"
#include "server/http/text.h"

enum { LOOP_LATE_MS = 10 * 1000 /* it turns ten times a second; a reload waits for what ends */ };

/* The servers as they are seen at one time. */
struct sight {
    const struct http_counters *counters;
    struct agent_figures *servers;
    size_t count;
};

static bool look(const struct agent_site *site, struct sight *out)
{
    size_t count = agent_figures(site->agent, NULL, 0);
    *out = (struct sight){.counters = site->counters,
                          .servers = calloc(count + 1, sizeof(*out->servers))};
    if (!out->servers)
        return false;
    size_t now = agent_figures(site->agent, out->servers, count);
    out->count = now < count ? now : count;
    return true;
}

/* --- metrics --------------------------------------------------------------------------------- */

struct agent_metric {
    const char *name, *type, *labels, *help;
    double (*value)(const struct agent_figures *server); /* one for each server */
    void (*emit)(const struct agent_metric *metric, const struct sight *sight, struct text *out);
};

static double up(const struct agent_figures *server)
{
    return server->state == AGENT_WELL;
}

static double registered(const struct agent_figures *server)
{
    return server->registered;
}

static double connected(const struct agent_figures *server)
{
    return server->connected;
}

static double answered(const struct agent_figures *server)
{
    return (double)server->answered_at_ms / 1000;
}

static double memory(const struct agent_figures *server)
{
    return (double)server->memory_bytes;
}

static double keys(const struct agent_figures *server)
{
    return (double)server->keys;
}

static double checks(const struct agent_figures *server)
{
    return (double)server->checks;
}

static double failed(const struct agent_figures *server)
{
    return (double)server->failed_checks;
}

static double held(const struct agent_figures *server)
{
    return server->held;
}

static double pulling(const struct agent_figures *server)
{
    return server->pulling;
}

static double copied_keys(const struct agent_figures *server)
{
    return (double)server->copied_keys;
}

static double copied_bytes(const struct agent_figures *server)
{
    return (double)server->copied_bytes;
}

static double removed_keys(const struct agent_figures *server)
{
    return (double)server->removed_keys;
}

static void emit_state(const struct agent_metric *metric, const struct sight *sight,
                       struct text *out)
{
    for (size_t i = 0; i < sight->count; i++)
        for (unsigned state = 0; state < AGENT_STATES; state++)
            text_add(out, "%s{node=\"%s\",state=\"%s\"} %d\n", metric->name, sight->servers[i].name,
                     agent_state_name(state), sight->servers[i].state == state);
}

static void emit_reloads(const struct agent_metric *metric, const struct sight *sight,
                         struct text *out)
{
    text_add(out, "%s{result=\"success\"} %llu\n%s{result=\"failure\"} %llu\n", metric->name,
             (unsigned long long)atomic_load(&sight->counters->reloads_good), metric->name,
             (unsigned long long)atomic_load(&sight->counters->reloads_bad));
}

static void emit_reload_failed(const struct agent_metric *metric, const struct sight *sight,
                               struct text *out)
{
    text_add(out, "%s %d\n", metric->name, atomic_load(&sight->counters->reload_failed));
}

static const struct agent_metric agent_metrics[] = {
    {"sidepond_agent_node_up", "gauge", "node", "1 if the server was well at its last check.",
     .value = up},
    {"sidepond_agent_node_state", "gauge", "node, state",
     "1 for the state that the server was in at its last check: unchecked, well, unreachable, "
     "silent (no answer in time), refuses (an error, or no Redis), loading, replica.",
     .emit = emit_state},
    {"sidepond_agent_node_registered", "gauge", "node",
     "1 if the server is registered in ZooKeeper.", .value = registered},
    {"sidepond_agent_node_zookeeper_connected", "gauge", "node",
     "1 if its session of ZooKeeper is connected.", .value = connected},
    {"sidepond_agent_node_answered_timestamp_seconds", "gauge", "node",
     "When the server was last found well; 0: never.", .value = answered},
    {"sidepond_agent_node_memory_bytes", "gauge", "node",
     "What the server says that it uses (used_memory), when it was last well.", .value = memory},
    {"sidepond_agent_node_keys", "gauge", "node",
     "Keys in the server's database 0, when it was last well.", .value = keys},
    {"sidepond_agent_node_checks_total", "counter", "node", "Checks of the server.",
     .value = checks},
    {"sidepond_agent_node_failed_checks_total", "counter", "node",
     "Those at which it was not well.", .value = failed},
    {"sidepond_agent_node_held_slots", "gauge", "node", "Slots that the server holds by the map.",
     .value = held},
    {"sidepond_agent_node_pulling_slots", "gauge", "node",
     "Slots that it shall hold and has not got all of yet.", .value = pulling},
    {"sidepond_agent_node_copied_keys_total", "counter", "node",
     "Keys that were copied to it from other servers.", .value = copied_keys},
    {"sidepond_agent_node_copied_bytes_total", "counter", "node", "And their size, as DUMP has it.",
     .value = copied_bytes},
    {"sidepond_agent_node_removed_keys_total", "counter", "node",
     "Keys that were removed from it because they had been deleted elsewhere.",
     .value = removed_keys},
    {"sidepond_agent_reloads_total", "counter", "result",
     "Reloads of the agent's configuration; result is success or failure.", .emit = emit_reloads},
    {"sidepond_agent_reload_failed", "gauge", "",
     "1 if the last reload was refused: the configuration before it is in use.",
     .emit = emit_reload_failed},
};
#define AGENT_METRICS (sizeof(agent_metrics) / sizeof(agent_metrics[0]))

static void emit(const struct agent_metric *metric, const struct sight *sight, struct text *out)
{
    text_add(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
             metric->type);
    if (metric->emit)
        metric->emit(metric, sight, out);
    for (size_t i = 0; metric->value && i < sight->count; i++)
        text_add(out, "%s{node=\"%s\"} %.17g\n", metric->name, sight->servers[i].name,
                 metric->value(&sight->servers[i]));
}

void agent_metrics_reference(FILE *out)
{
    for (size_t i = 0; i < AGENT_METRICS; i++)
        fprintf(out, "| `%s` | %s | %s | %s |\n", agent_metrics[i].name, agent_metrics[i].type,
                agent_metrics[i].labels, agent_metrics[i].help);
}

/* --- answers --------------------------------------------------------------------------------- */

static void get_metrics(void *context, const char *rest, struct http_answer *answer)
{
    struct sight sight;
    struct text out = {0};
    (void)rest;
    if (!look(context, &sight)) {
        http_give(answer, HTTP_TYPE_METRICS, NULL);
        return;
    }
    for (size_t i = 0; i < AGENT_METRICS; i++)
        emit(&agent_metrics[i], &sight, &out);
    free(sight.servers);
    http_give(answer, HTTP_TYPE_METRICS, text_take(&out));
}

static void get_health(void *context, const char *rest, struct http_answer *answer)
{
    const struct agent_site *site = context;
    struct sight sight;
    (void)rest;
    uint64_t turned_ms = atomic_load(&site->counters->tick_ms);
    if (clock_ms() > turned_ms + LOOP_LATE_MS) {
        http_say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "the main loop has not turned for %llu ms\n",
                 (unsigned long long)(clock_ms() - turned_ms));
        return;
    }
    if (!look(site, &sight)) {
        http_say(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
        return;
    }
    http_say(answer, MHD_HTTP_OK, "ok\n");
    for (size_t i = 0; i < sight.count; i++)
        if (sight.servers[i].late_ms > 0)
            http_say(answer, MHD_HTTP_SERVICE_UNAVAILABLE,
                     "the check of %s is %llu ms later than it may be\n", sight.servers[i].name,
                     (unsigned long long)sight.servers[i].late_ms);
    free(sight.servers);
}

static void get_ready(void *context, const char *rest, struct http_answer *answer)
{
    struct sight sight;
    (void)rest;
    if (!look(context, &sight)) {
        http_say(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
        return;
    }
    http_say(answer, MHD_HTTP_OK, "ready\n");
    for (size_t i = 0; i < sight.count; i++) {
        const struct agent_figures *server = &sight.servers[i];
        if (!server->registered)
            http_say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "%s is not in the ring: %s%s%s\n",
                     server->name, agent_state_name(server->state), server->why[0] ? ": " : "",
                     server->why);
    }
    free(sight.servers);
}

static const struct http_route routes[] = {
    {"/metrics", false, false, false, get_metrics},
    {"/healthz", false, false, false, get_health},
    {"/readyz", false, false, false, get_ready},
};

struct http_site agent_http_site(const struct agent_site *site)
{
    return (struct http_site){.routes = routes,
                              .count = sizeof(routes) / sizeof(routes[0]),
                              .paths = "there are /metrics, /healthz and /readyz",
                              .context = (void *)(uintptr_t)site};
}
