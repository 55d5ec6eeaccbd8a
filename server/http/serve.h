/* SPDX-License-Identifier: Apache-2.0
 *
 * serve.h - an HTTP server for those who look after a process: routes, and what each answers. It
 * knows nothing of what they tell.
 */
#ifndef SIDEPOND_HTTP_SERVE_H
#define SIDEPOND_HTTP_SERVE_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_WHY_BYTES    256
#define HTTP_LISTEN_BYTES 256

struct http;

struct http_answer {
    unsigned code; /* 200 unless another one is said */
    const char *type;
    const char *allow; /* with 405 */
    char *text;        /* to be freed, or NULL: then `plain` */
    char plain[512];
};
void http_say(struct http_answer *answer, unsigned code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As http_say with 200, of any size: the text is freed. NULL: no memory. */
void http_give(struct http_answer *answer, const char *type, char *text);
#define HTTP_TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define HTTP_TYPE_JSON    "application/json"

struct http_route {
    const char *path;
    bool is_post;    /* only from this host, and not from a browser */
    bool takes_rest; /* what follows a slash */
    bool needs_rest;
    void (*answer)(void *context, const char *rest, struct http_answer *answer);
};

struct http_site {
    const struct http_route *routes;
    size_t count;
    const char *paths; /* a sentence for who asks for anything else */
    void *context;
};

/* Serves on ADDRESS:PORT or [ADDRESS]:PORT from a thread of its own from now on. The site is
 * copied. SP_ESYS, SP_EINVAL with a sentence in why. */
int http_serve(const char *listen, const struct http_site *site, struct http **out,
               char why[HTTP_WHY_BYTES]);
unsigned http_port(const struct http *http);
void http_stop(struct http *http); /* NULL is fine */

/* Goes over to another address, "": to none; `now` is the one in use, and is changed with it. A
 * failure is logged, and leaves what there was. SP_EINVAL, SP_ESYS, SP_ENOMEM. */
int http_move(struct http **http, char now[HTTP_LISTEN_BYTES], const char *listen,
              const struct http_site *site);

#endif
