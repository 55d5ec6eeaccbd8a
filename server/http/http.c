/* SPDX-License-Identifier: Apache-2.0
 *
 * http.c - what the daemon tells over HTTP: the routes, and what each answers.
 */
#include "server/http/http.h"

#include <microhttpd.h>
#include <stdlib.h>

#include "alloc/clock.h"
#include "server/log/log.h"

enum { TICK_LATE_MS = 5000 /* the main loop turns ten times a second */ };

/* --- answers --------------------------------------------------------------------------------- */

static void get_metrics(void *context, const char *rest, struct http_answer *answer)
{
    (void)rest;
    http_give(answer, HTTP_TYPE_METRICS, http_metrics_text(context));
}

static void get_tables(void *context, const char *rest, struct http_answer *answer)
{
    (void)rest;
    http_give(answer, HTTP_TYPE_JSON, http_tables_json(context));
}

static void get_health(void *context, const char *rest, struct http_answer *answer)
{
    const struct http_options *options = context;
    (void)rest;
    int64_t late_ms = (int64_t)clock_ms() - (int64_t)atomic_load(&options->counters->tick_ms);
    if (late_ms > TICK_LATE_MS)
        http_say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "the main loop has not turned for %lld ms\n",
                 (long long)late_ms);
    else
        http_say(answer, MHD_HTTP_OK, "ok\n");
}

static void get_ready(void *context, const char *rest, struct http_answer *answer)
{
    const struct http_options *options = context;
    char why[HTTP_WHY_BYTES];
    (void)rest;
    if (refresh_ready(options->refresh, why, sizeof(why)))
        http_say(answer, MHD_HTTP_OK, "ready\n");
    else
        http_say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "%s\n", why);
}

static void post_refresh(void *context, const char *rest, struct http_answer *answer)
{
    const struct http_options *options = context;
    if (refresh_now(options->refresh, *rest ? rest : NULL, NULL) == SP_OK)
        http_say(answer, MHD_HTTP_ACCEPTED, "refresh begun\n");
    else
        http_say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
}

static void post_confirm(void *context, const char *rest, struct http_answer *answer)
{
    const struct http_options *options = context;
    int status = refresh_confirm(options->refresh, rest, NULL);
    if (status == SP_OK) {
        log_event(LOG_WARNING, "http", "confirmed: rows may be dropped", LOG_STR("table", rest));
        http_say(answer, MHD_HTTP_ACCEPTED, "confirmed; refresh begun\n");
    } else if (status == SP_ENOTABLE) {
        http_say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
    } else {
        http_say(answer, MHD_HTTP_CONFLICT, "no refresh of this table is held\n");
    }
}

static void post_hold(void *context, const char *rest, struct http_answer *answer)
{
    const struct http_options *options = context;
    if (refresh_hold(options->refresh, rest) != SP_OK) {
        http_say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
        return;
    }
    log_event(LOG_WARNING, "http", "held: not refreshed until asked for", LOG_STR("table", rest));
    http_say(answer, MHD_HTTP_ACCEPTED, "held until /refresh/%s or /confirm/%s\n", rest, rest);
}

/* --- routes ---------------------------------------------------------------------------------- */

static const struct http_route routes[] = {
    {"/metrics", false, false, false, get_metrics}, {"/healthz", false, false, false, get_health},
    {"/readyz", false, false, false, get_ready},    {"/tables", false, false, false, get_tables},
    {"/refresh", true, true, false, post_refresh},  {"/confirm", true, true, true, post_confirm},
    {"/hold", true, true, true, post_hold},
};

struct http_site http_site(const struct http_options *options)
{
    return (struct http_site){.routes = routes,
                              .count = sizeof(routes) / sizeof(routes[0]),
                              .paths = "there are /metrics, /healthz, /readyz, /tables; by POST "
                                       "/refresh[/TABLE], /confirm/TABLE, /hold/TABLE",
                              .context = (void *)(uintptr_t)options};
}
