/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: MariaDB says nothing while it looks for a position in its binary log, which can take longer
 * than connect_timeout: the feed waits for it as long as the server lives, and not when it hangs.
 * Method: runs under mariadb_server.py, which starts a server for it alone. Between the two stands
 * a proxy, a thread of this program, that holds back what the server sends after it was asked for
 * its log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "feed_model.h"
#include "source_mariadb_fixture.h"

#define COM_BINLOG_DUMP 0x12
#define PAIRS_MAX       8
#define TIMEOUT_MS      1000 /* connect_timeout */
#define LONG_MS         60000

/* --- the proxy ------------------------------------------------------------------------------ */

struct pair {
    int client, server;
    double held_until; /* nothing of the server's goes on before; 0: all does */
};

struct proxy {
    char path[256], server_path[256];
    double hold_ms;                     /* after COM_BINLOG_DUMP */
    void (*at_dump)(struct fixture *f); /* called then, or NULL */
    struct fixture *f;
    atomic_bool stop;
    int listener;
    struct pair pairs[PAIRS_MAX];
    unsigned count;
    pthread_t thread;
};

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

static void accept_pair(struct proxy *proxy)
{
    const struct sockaddr_un address = address_of(proxy->server_path);
    struct pair *pair = &proxy->pairs[proxy->count++];
    assert_in_range(proxy->count, 1, PAIRS_MAX);
    *pair = (struct pair){.client = accept(proxy->listener, NULL, NULL),
                          .server = socket(AF_UNIX, SOCK_STREAM, 0)};
    if (connect(pair->server, (const struct sockaddr *)&address, sizeof(address)) != 0)
        shutdown(pair->client, SHUT_RDWR);
}

/* Passes on what has arrived; at the end, the end. */
static ssize_t pass(int from, int to, unsigned char *data, size_t bytes)
{
    const ssize_t got = recv(from, data, bytes, 0);
    if (got <= 0)
        shutdown(to, SHUT_RDWR);
    else if (send(to, data, (size_t)got, MSG_NOSIGNAL) != got)
        shutdown(from, SHUT_RDWR);
    return got;
}

static void from_client(struct proxy *proxy, struct pair *pair)
{
    unsigned char data[4096];
    const ssize_t got = pass(pair->client, pair->server, data, sizeof(data));
    if (got <= 4 || data[4] != COM_BINLOG_DUMP || data[3] != 0)
        return;
    if (proxy->at_dump)
        proxy->at_dump(proxy->f);
    pair->held_until = source_now_ms() + proxy->hold_ms;
}

static void serve(struct proxy *proxy)
{
    struct pollfd fds[1 + 2 * PAIRS_MAX] = {{.fd = proxy->listener, .events = POLLIN}};
    unsigned char data[65536];
    for (unsigned i = 0; i < proxy->count; i++) {
        const struct pair *pair = &proxy->pairs[i];
        const bool held = source_now_ms() < pair->held_until;
        fds[1 + 2 * i] = (struct pollfd){.fd = pair->client, .events = POLLIN};
        fds[2 + 2 * i] = (struct pollfd){.fd = held ? -1 : pair->server, .events = POLLIN};
    }
    const unsigned count = proxy->count;
    poll(fds, 1 + 2 * count, 10);
    for (unsigned i = 0; i < count; i++) {
        struct pair *pair = &proxy->pairs[i];
        if (fds[1 + 2 * i].revents)
            from_client(proxy, pair);
        if (fds[2 + 2 * i].revents)
            pass(pair->server, pair->client, data, sizeof(data));
    }
    if (fds[0].revents)
        accept_pair(proxy);
}

static void *run(void *context)
{
    struct proxy *proxy = context;
    while (!atomic_load_explicit(&proxy->stop, memory_order_relaxed))
        serve(proxy);
    for (unsigned i = 0; i < proxy->count; i++) {
        close(proxy->pairs[i].client);
        close(proxy->pairs[i].server);
    }
    close(proxy->listener);
    return NULL;
}

static void start_proxy(struct proxy *proxy, struct fixture *f, double hold_ms,
                        void (*at_dump)(struct fixture *f))
{
    *proxy = (struct proxy){.hold_ms = hold_ms, .at_dump = at_dump, .f = f};
    snprintf(proxy->path, sizeof(proxy->path), "%s/proxy", getenv("SIDEPOND_MARIADB_DIR"));
    snprintf(proxy->server_path, sizeof(proxy->server_path), "%s", server_socket(f));
    const struct sockaddr_un address = address_of(proxy->path);
    unlink(proxy->path);
    proxy->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(proxy->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(proxy->listener, PAIRS_MAX), 0);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run, proxy), 0);
}

static void stop_proxy(struct proxy *proxy)
{
    atomic_store_explicit(&proxy->stop, true, memory_order_relaxed);
    pthread_join(proxy->thread, NULL);
    unlink(proxy->path);
}

/* --- tests ---------------------------------------------------------------------------------- */

/* Checks, takes a snapshot and starts through the proxy; the status of the start. */
static int start(struct fixture *f, const struct proxy *proxy, double *took_ms)
{
    static const char *const key[] = {"id", NULL};
    const struct source_feed_class *class = f->class->feed;
    const struct source_feed_options options = {.name = "test"};
    const struct source_table table = {.name = "t", .relation = "t", .key = key};
    struct source_description description = {0};
    const struct source_description *described = &description;
    char dsn[512], stream[FEED_STREAM_BYTES], position[FEED_POSITION_BYTES];
    snprintf(dsn, sizeof(dsn), "mariadb://root@localhost/shop?socket=%s", proxy->path);
    f->options.dsn = dsn;
    f->options.connect_timeout_ms = TIMEOUT_MS;
    open_source(f);
    must(f, f->class->describe(f->source, &table, &description, &f->error));
    must(f, class->check(f->source, &options, &table, &described, 1, stream, &f->error));
    must(f, class->snapshot(f->source, position, &f->error));
    must(f, f->class->end(f->source, &f->error));
    const double begun = source_now_ms();
    const int status = class->start(f->source, position, &f->error);
    *took_ms = source_now_ms() - begun;
    source_description_free(&description);
    return status;
}

static void make_table(struct fixture *f)
{
    sql(f, "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1)");
}

static void test_slow(void **state)
{
    struct fixture *f = *state;
    struct proxy proxy;
    double took_ms;
    make_table(f);
    start_proxy(&proxy, f, 2.2 * TIMEOUT_MS, NULL);
    must(f, start(f, &proxy, &took_ms));
    assert_true(took_ms >= 2 * TIMEOUT_MS);
    close_source(f);
    stop_proxy(&proxy);
}

static void pause_server(struct fixture *f)
{
    (void)f;
    server("pause");
}

static void test_hanging(void **state)
{
    struct fixture *f = *state;
    struct proxy proxy;
    double took_ms;
    make_table(f);
    start_proxy(&proxy, f, LONG_MS, pause_server);
    const int status = start(f, &proxy, &took_ms);
    server("resume");
    assert_int_equal(status, SP_ESOURCE);
    print_message("%s\n", f->error.text);
    assert_non_null(strstr(f->error.text, "within connect_timeout, nor answered"));
    assert_true(f->error.transient);
    assert_true(took_ms < 10 * TIMEOUT_MS);
    close_source(f);
    stop_proxy(&proxy);
}

static void cancel_source(struct fixture *f)
{
    f->class->cancel(f->source);
}

static void test_canceled(void **state)
{
    struct fixture *f = *state;
    struct proxy proxy;
    double took_ms;
    make_table(f);
    start_proxy(&proxy, f, LONG_MS, cancel_source);
    assert_int_equal(start(f, &proxy, &took_ms), SP_ECANCELED);
    assert_true(took_ms < TIMEOUT_MS);
    close_source(f);
    stop_proxy(&proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARIADB_TEST(test_slow),
        MARIADB_TEST(test_hanging),
        MARIADB_TEST(test_canceled),
    };
    return cmocka_run_group_tests_name("feed_mariadb_start", tests, NULL, NULL);
}
