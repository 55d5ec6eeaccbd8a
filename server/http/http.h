/* SPDX-License-Identifier: Apache-2.0
 *
 * http.h - metrics, health and the state of the tables over HTTP.
 *
 *   GET  /metrics          Prometheus text format; what there is, is declared in metrics.c
 *   GET  /healthz          200 while the daemon's main loop turns
 *   GET  /readyz           200 when every table can be read, else 503 and a sentence
 *   GET  /tables           the tables as JSON
 *   POST /refresh, /refresh/TABLE   begins a full refresh now
 *   POST /confirm/TABLE             lets a refresh that is held back drop what it would drop
 *   POST /hold/TABLE                lets a table as it is until it is refreshed or confirmed
 *
 * There is no authentication: POST is for callers on this host only, and not for browsers.
 */
#ifndef SIDEPOND_HTTP_H
#define SIDEPOND_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "server/http/serve.h"
#include "server/refresh/refresh.h"
#include "server/store/store.h"

/* What the daemon counts for the metrics. Times are wall clock in milliseconds, 0: never. */
struct http_counters {
    int64_t started_at_ms;
    _Atomic uint64_t tick_ms; /* CLOCK_MONOTONIC of the main loop's last turn */
    _Atomic uint64_t reloads_good, reloads_bad;
    _Atomic bool reload_failed;   /* the last one */
    _Atomic int64_t loaded_at_ms; /* the configuration in use */
    _Atomic uint64_t saves_good, saves_bad;
    _Atomic int64_t saved_at_ms;
};

struct service;

struct http_options {
    struct refresh *refresh;
    struct store *store;
    const struct http_counters *counters;
    struct service *service; /* of the cache; NULL: none */
};

/* For http_serve; the options stay in place as long as that serves. */
struct http_site http_site(const struct http_options *options);

/* Every metric as a row of Markdown: name, type, labels, meaning. */
void http_metrics_reference(FILE *out);

/* What GET /metrics and GET /tables answer, to be freed. NULL: no memory. */
char *http_metrics_text(const struct http_options *options);
char *http_tables_json(const struct http_options *options);

#endif
