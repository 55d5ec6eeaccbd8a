/* SPDX-License-Identifier: Apache-2.0
 *
 * serve.c - the HTTP server: routes, methods, and who may ask.
 *
 * libmicrohttpd serves from one thread of its own. Limits: CONNECTIONS_MAX connections, each idle
 * for at most IDLE_SECONDS, requests of at most REQUEST_BYTES; a request's body is thrown away.
 */
#include "server/http/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/log/log.h"
#include "sidepond/status.h"

enum {
    CONNECTIONS_MAX = 32,
    IDLE_SECONDS = 10,
    REQUEST_BYTES = 16384,
};

struct http {
    struct http_site site;
    struct MHD_Daemon *server;
    unsigned port;
};

/* --- answers --------------------------------------------------------------------------------- */

void http_say(struct http_answer *answer, unsigned code, const char *format, ...)
{
    va_list arguments;
    answer->code = code;
    va_start(arguments, format);
    vsnprintf(answer->plain, sizeof(answer->plain), format, arguments);
    va_end(arguments);
}

void http_give(struct http_answer *answer, const char *type, char *text)
{
    answer->type = type;
    answer->text = text;
    if (!text)
        http_say(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
}

/* --- routes ---------------------------------------------------------------------------------- */

/* The route of a path, and what follows its name. */
static const struct http_route *find_route(const struct http_site *site, const char *path,
                                           const char **rest)
{
    for (size_t i = 0; i < site->count; i++) {
        const struct http_route *route = &site->routes[i];
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
                          const char *method, struct http_answer *answer)
{
    const char *rest = NULL;
    const struct http_route *route = find_route(&http->site, path, &rest);
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool is_post = strcmp(method, "POST") == 0;
    if (!route) {
        http_say(answer, MHD_HTTP_NOT_FOUND, "%s\n", http->site.paths);
    } else if (route->is_post ? !is_post : !is_get) {
        answer->allow = route->is_post ? "POST" : "GET, HEAD";
        http_say(answer, MHD_HTTP_METHOD_NOT_ALLOWED, "allowed: %s\n", answer->allow);
    } else if (route->is_post && !may_post(connection)) {
        http_say(answer, MHD_HTTP_FORBIDDEN, "only from this host, and not from a browser\n");
    } else {
        route->answer(http->site.context, rest, answer);
    }
}

/* --- libmicrohttpd --------------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct http_answer *answer)
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
    struct http_answer answer = {.code = MHD_HTTP_OK, .type = "text/plain; charset=utf-8"};
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

int http_serve(const char *listen, const struct http_site *site, struct http **out,
               char why[HTTP_WHY_BYTES])
{
    char host[HTTP_WHY_BYTES];
    const char *port = NULL;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    if (!split_listen(listen, host, sizeof(host), &port) ||
        getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &address) !=
            0) {
        snprintf(why, HTTP_WHY_BYTES, "%.100s is not ADDRESS:PORT", listen);
        return SP_EINVAL;
    }
    int status = SP_ENOMEM;
    struct http *http = calloc(1, sizeof(*http));
    if (http) {
        http->site = *site;
        errno = 0;
        http->server = start_server(http, address);
        status = http->server ? SP_OK : SP_ESYS;
    }
    freeaddrinfo(address);
    if (status != SP_OK) {
        snprintf(why, HTTP_WHY_BYTES, "cannot listen on %.100s: %s", listen,
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

/* --- moving ---------------------------------------------------------------------------------- */

/* The new address may hold the old one's port: once more without the old one, which comes back if
 * that does not help. */
static int replace(struct http **http, char *now, const char *listen, const struct http_site *site,
                   struct http **out, char *why)
{
    char back_why[HTTP_WHY_BYTES];
    http_stop(*http);
    *http = NULL;
    int status = http_serve(listen, site, out, why);
    if (status != SP_OK && http_serve(now, site, http, back_why) != SP_OK) {
        log_error("http", "%s", back_why);
        now[0] = '\0'; /* so that the next reload tries again */
    }
    return status;
}

int http_move(struct http **http, char now[HTTP_LISTEN_BYTES], const char *listen,
              const struct http_site *site)
{
    char why[HTTP_WHY_BYTES];
    struct http *moved = NULL;
    if (strcmp(listen, now) == 0)
        return SP_OK;
    int status = *listen ? http_serve(listen, site, &moved, why) : SP_OK;
    if (status == SP_ESYS && *http)
        status = replace(http, now, listen, site, &moved, why);
    if (status != SP_OK) {
        log_error("http", "%s", why);
        return status;
    }
    if (moved)
        log_info("http", "listening on %s, port %u", listen, http_port(moved));
    http_stop(*http);
    *http = moved;
    snprintf(now, HTTP_LISTEN_BYTES, "%s", listen);
    return SP_OK;
}
