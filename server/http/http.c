/* SPDX-License-Identifier: Apache-2.0
 *
 * http.c - the HTTP server: routes, methods, and what each answers.
 *
 * libmicrohttpd serves from one thread of its own. Limits: CONNECTIONS_MAX connections, each idle
 * for at most IDLE_SECONDS, requests of at most REQUEST_BYTES; a request's body is thrown away.
 */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"

enum {
    CONNECTIONS_MAX = 32,
    IDLE_SECONDS = 10,
    REQUEST_BYTES = 16384,
    TICK_LATE_MS = 5000, /* the main loop turns ten times a second */
};

struct http {
    struct http_options options;
    struct MHD_Daemon *server;
    unsigned port;
};

/* --- answers --------------------------------------------------------------------------------- */

struct answer {
    unsigned code;
    const char *type;
    const char *allow; /* with 405 */
    char *text;        /* to be freed, or NULL: then `plain` */
    char plain[512];
};

static void say(struct answer *answer, unsigned code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct answer *answer, unsigned code, const char *format, ...)
{
    va_list arguments;
    answer->code = code;
    va_start(arguments, format);
    vsnprintf(answer->plain, sizeof(answer->plain), format, arguments);
    va_end(arguments);
}

static void get_metrics(struct http *http, const char *rest, struct answer *answer)
{
    (void)rest;
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    answer->text = http_metrics_text(&http->options);
    if (!answer->text)
        say(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
}

static void get_tables(struct http *http, const char *rest, struct answer *answer)
{
    (void)rest;
    answer->type = "application/json";
    answer->text = http_tables_json(&http->options);
    if (!answer->text)
        say(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "{\"error\": \"out of memory\"}\n");
}

static void get_health(struct http *http, const char *rest, struct answer *answer)
{
    (void)rest;
    int64_t late_ms = (int64_t)clock_ms() - (int64_t)atomic_load(&http->options.counters->tick_ms);
    if (late_ms > TICK_LATE_MS)
        say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "the main loop has not turned for %lld ms\n",
            (long long)late_ms);
    else
        say(answer, MHD_HTTP_OK, "ok\n");
}

static void get_ready(struct http *http, const char *rest, struct answer *answer)
{
    char why[HTTP_WHY_BYTES];
    (void)rest;
    if (refresh_ready(http->options.refresh, why, sizeof(why)))
        say(answer, MHD_HTTP_OK, "ready\n");
    else
        say(answer, MHD_HTTP_SERVICE_UNAVAILABLE, "%s\n", why);
}

static void post_refresh(struct http *http, const char *rest, struct answer *answer)
{
    if (refresh_now(http->options.refresh, *rest ? rest : NULL, NULL) == SP_OK)
        say(answer, MHD_HTTP_ACCEPTED, "refresh begun\n");
    else
        say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
}

static void post_confirm(struct http *http, const char *rest, struct answer *answer)
{
    int status = refresh_confirm(http->options.refresh, rest, NULL);
    if (status == SP_OK) {
        log_event(LOG_WARNING, "http", "confirmed: rows may be dropped", LOG_STR("table", rest));
        say(answer, MHD_HTTP_ACCEPTED, "confirmed; refresh begun\n");
    } else if (status == SP_ENOTABLE) {
        say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
    } else {
        say(answer, MHD_HTTP_CONFLICT, "no refresh of this table is held\n");
    }
}

static void post_hold(struct http *http, const char *rest, struct answer *answer)
{
    if (refresh_hold(http->options.refresh, rest) != SP_OK) {
        say(answer, MHD_HTTP_NOT_FOUND, "there is no such table\n");
        return;
    }
    log_event(LOG_WARNING, "http", "held: not refreshed until asked for", LOG_STR("table", rest));
    say(answer, MHD_HTTP_ACCEPTED, "held until /refresh/%s or /confirm/%s\n", rest, rest);
}

/* --- routes ---------------------------------------------------------------------------------- */

struct route {
    const char *path;
    bool is_post;
    bool takes_rest; /* what follows a slash */
    bool needs_rest;
    void (*answer)(struct http *http, const char *rest, struct answer *answer);
};

static const struct route routes[] = {
    {"/metrics", false, false, false, get_metrics}, {"/healthz", false, false, false, get_health},
    {"/readyz", false, false, false, get_ready},    {"/tables", false, false, false, get_tables},
    {"/refresh", true, true, false, post_refresh},  {"/confirm", true, true, true, post_confirm},
    {"/hold", true, true, true, post_hold},
};

/* The route of a path, and what follows its name. */
static const struct route *find_route(const char *path, const char **rest)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        size_t size = strlen(route->path);
        if (strncmp(path, route->path, size) != 0)
            continue;
        *rest = path + size;
        if (**rest == '\0' && !route->needs_rest)
            return route;
        if (**rest == '/' && route->takes_rest && *++*rest)
            return route;
    }
    return NULL;
}

static bool is_local(const struct sockaddr *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    if (!address)
        return false;
    if (address->sa_family == AF_INET)
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127));
}

/* A page in a browser could post here too; only browsers send an Origin. */
static bool may_post(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info && is_local(info->client_addr) &&
           !MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin");
}

static void route_request(struct http *http, struct MHD_Connection *connection, const char *path,
                          const char *method, struct answer *answer)
{
    const char *rest = NULL;
    const struct route *route = find_route(path, &rest);
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool is_post = strcmp(method, "POST") == 0;
    if (!route) {
        say(answer, MHD_HTTP_NOT_FOUND,
            "there are /metrics, /healthz, /readyz, /tables; by POST /refresh[/TABLE], "
            "/confirm/TABLE, /hold/TABLE\n");
    } else if (route->is_post ? !is_post : !is_get) {
        answer->allow = route->is_post ? "POST" : "GET, HEAD";
        say(answer, MHD_HTTP_METHOD_NOT_ALLOWED, "allowed: %s\n", answer->allow);
    } else if (route->is_post && !may_post(connection)) {
        say(answer, MHD_HTTP_FORBIDDEN, "only from this host, and not from a browser\n");
    } else {
        route->answer(http, rest, answer);
    }
}

/* --- libmicrohttpd --------------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct answer *answer)
{
    struct MHD_Response *response;
    if (answer->text)
        response = MHD_create_response_from_buffer(strlen(answer->text), answer->text,
                                                   MHD_RESPMEM_MUST_FREE);
    else
        response = MHD_create_response_from_buffer(strlen(answer->plain), answer->plain,
                                                   MHD_RESPMEM_MUST_COPY);
    if (!response) {
        free(answer->text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (answer->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    enum MHD_Result result = MHD_queue_response(connection, answer->code, response);
    MHD_destroy_response(response);
    return result;
}

/* Called when the head is there, for each piece of the body, and at the end. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *http_version, const char *upload,
                              size_t *upload_bytes, void **seen)
{
    static char head_seen;
    struct answer answer = {.code = MHD_HTTP_OK, .type = "text/plain; charset=utf-8"};
    (void)http_version;
    (void)upload;
    if (*seen == NULL) {
        *seen = &head_seen;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    route_request(context, connection, path, method, &answer);
    return send_answer(connection, &answer);
}

static void log_line(void *context, const char *format, va_list arguments)
{
    char line[HTTP_WHY_BYTES];
    (void)context;
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    log_limited(LOG_DEBUG, "http", 10, "%s", line);
}

/* Splits ADDRESS:PORT or [ADDRESS]:PORT. */
static bool split_listen(const char *listen, char *host, size_t cap, const char **port)
{
    const char *colon = strrchr(listen, ':');
    if (!colon || colon == listen)
        return false;
    size_t size = (size_t)(colon - listen);
    if (*listen == '[' && size > 2 && colon[-1] == ']') {
        listen++;
        size -= 2;
    }
    if (size >= cap)
        return false;
    memcpy(host, listen, size);
    host[size] = '\0';
    *port = colon + 1;
    return true;
}

static struct MHD_Daemon *start_server(struct http *http, const struct addrinfo *address)
{
    sigset_t all;
    sigset_t before;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ERROR_LOG;
    if (address->ai_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *server = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, log_line, NULL,
        MHD_OPTION_SOCK_ADDR, address->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return server;
}

int http_start(const struct http_options *options, struct http **out, char *why)
{
    char host[HTTP_WHY_BYTES];
    const char *port = NULL;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    if (!split_listen(options->listen, host, sizeof(host), &port) ||
        getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &address) !=
            0) {
        snprintf(why, HTTP_WHY_BYTES, "%.100s is not ADDRESS:PORT", options->listen);
        return SP_EINVAL;
    }
    int status = SP_ENOMEM;
    struct http *http = calloc(1, sizeof(*http));
    if (http) {
        http->options = *options;
        errno = 0;
        http->server = start_server(http, address);
        status = http->server ? SP_OK : SP_ESYS;
    }
    freeaddrinfo(address);
    if (status != SP_OK) {
        snprintf(why, HTTP_WHY_BYTES, "cannot listen on %.100s: %s", options->listen,
                 errno ? strerror(errno) : sp_status_text(status));
        free(http);
        return status;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->server, MHD_DAEMON_INFO_BIND_PORT);
    http->port = info ? info->port : 0;
    *out = http;
    return SP_OK;
}

unsigned http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->server);
    free(http);
}
