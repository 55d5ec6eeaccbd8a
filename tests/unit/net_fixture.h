/* SPDX-License-Identifier: Apache-2.0
 *
 * net_fixture.h - what tests of server/net need: a server whose handler is exchanged from test to
 * test, certificates in the test's own directory, and clients over TCP, Unix sockets and TLS that
 * give up after AWAIT_MS instead of hanging.
 *
 * One server at a time. net_down() checks what holds of every server that has gone: each session
 * was closed once, and no descriptor is left.
 */
#ifndef SIDEPOND_TESTS_NET_FIXTURE_H
#define SIDEPOND_TESTS_NET_FIXTURE_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/net/net.h"

enum { AWAIT_MS = 20000, SESSIONS_MAX = 4096 };

#define TCP_AT "127.0.0.1:0"
#define SIX_AT "[::1]:0"
#define TLS_AT "127.0.0.2:0" /* another address, as listeners are named by theirs */

struct session {
    struct net_connection *connection;
    uint64_t steps; /* the handler's own */
};

struct net_fixture {
    char directory[64];
    char unix_at[96], unix_path[96];
    struct net *net;
    size_t (*input)(struct session *session, uint8_t *bytes, size_t size);
    void (*ahead)(const struct net_input *inputs, size_t count); /* NULL: does nothing */
    void (*closing)(struct session *session); /* NULL: nothing more than to free it */
    int fds_before;
    _Atomic uint64_t opened, closed, ticks, inputs, largest_shown;
    struct session *_Atomic last; /* the session opened last */
    _Atomic uint64_t balance[NET_THREADS_MAX];
};
extern struct net_fixture f;

struct net_up {
    unsigned threads;
    bool unix_too, six_too, tls_too;
    struct net_limits limits;
    const char *full_text, *query_text;
};
#define NET_UP_INIT                                                                                \
    {                                                                                              \
        .threads = 1, .limits = NET_LIMITS_INIT                                                    \
    }

int net_group_setup(void **state);
int net_group_teardown(void **state);

void net_up(const struct net_up *up);
void net_down(uint32_t grace_ms);
int net_after(void **state); /* of each test: takes down what a failed one has left */
struct net_stats stats(void);
void path_of(char *out, size_t cap, const char *name);
void make_certificate(const char *cert_name, const char *key_name, const char *common_name);
struct net_tls tls_of(const char *cert_name, const char *key_name);

uint64_t now_ms(void);
void turn(void); /* 1 ms */
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        uint64_t await_since = now_ms();                                                           \
        while (!(condition) && now_ms() - await_since < AWAIT_MS)                                  \
            turn();                                                                                \
        assert_true(condition);                                                                    \
    } while (0)

/* Runs the function on the session's thread, and returns when it has. */
void on_thread_of(struct session *session, void (*function)(void *session));
struct net_about about(struct session *session);

struct client {
    int fd;
    SSL *ssl; /* NULL: none */
};
struct client client_at(const char *address); /* a listener of f.net */
struct client client_without_tls(const char *address);
struct client client_unix(const char *path);
bool client_shakes_hands(struct client *client);
void client_common_name(const struct client *client, char *out, size_t cap);
void say(const struct client *client, const void *bytes, size_t size);
void hear(const struct client *client, void *bytes, size_t size); /* exactly so many */
bool is_end(const struct client *client); /* the next thing heard is the end, or a reset */
void hang_up(struct client *client);
void round_trip(const struct client *client, const char *text);

/* Handlers. */
size_t echo(struct session *session, uint8_t *bytes, size_t size);

#endif
