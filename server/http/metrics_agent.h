/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_agent.h - what the agent tells over HTTP.
 *
 *   GET  /metrics   Prometheus text format; what there is, is declared in metrics_agent.c
 *   GET  /healthz   200 while the main loop turns and every server is being checked
 *   GET  /readyz    200 when every server is registered in ZooKeeper, else 503 and a sentence
 */
#ifndef SIDEPOND_HTTP_METRICS_AGENT_H
#define SIDEPOND_HTTP_METRICS_AGENT_H

#include "server/agent/agent.h"
#include "server/http/http.h"

struct agent_site {
    struct agent *agent;
    const struct http_counters *counters;
};

/* For http_serve; what it is of stays in place as long as that serves. */
struct http_site agent_http_site(const struct agent_site *site);

/* As http_metrics_reference, without its head. */
void agent_metrics_reference(FILE *out);

#endif
