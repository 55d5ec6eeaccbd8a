/* SPDX-License-Identifier: Apache-2.0
 *
 * net_fixture.c - see net_fixture.h.
 */
#include "net_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cmocka.h>

struct net_fixture f;
static SSL_CTX *client_context;

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void turn(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
}

void path_of(char *out, size_t cap, const char *name)
{
    snprintf(out, cap, "%s/%s", f.directory, name);
}

/* --- certificates ----------------------------------------------------------------------------- */

static void write_key(const char *name, EVP_PKEY *key)
{
    char path[128];
    path_of(path, sizeof(path), name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
}

static void write_cert(const char *name, X509 *cert)
{
    char path[128];
    path_of(path, sizeof(path), name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    assert_int_equal(fclose(file), 0);
}

/* Signed by itself, for an hour. */
void make_certificate(const char *cert_name, const char *key_name, const char *common_name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    assert_non_null(key);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    write_cert(cert_name, cert);
    write_key(key_name, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* Good until the next call. */
struct net_tls tls_of(const char *cert_name, const char *key_name)
{
    static char cert_file[128], key_file[128];
    path_of(cert_file, sizeof(cert_file), cert_name);
    path_of(key_file, sizeof(key_file), key_name);
    return (struct net_tls){.cert_file = cert_file, .key_file = key_file};
}

/* --- the server ------------------------------------------------------------------------------- */

size_t echo(struct session *session, uint8_t *bytes, size_t size)
{
    buffer_append(net_output(session->connection), bytes, size);
    return size;
}

static void *on_opened(void *context, struct net_connection *connection)
{
    struct session *session = calloc(1, sizeof(*session));
    (void)context;
    if (!session)
        return NULL;
    session->connection = connection;
    atomic_fetch_add(&f.balance[net_thread_of(connection)], 1);
    atomic_store(&f.last, session);
    atomic_fetch_add(&f.opened, 1);
    return session;
}

static size_t on_input(void *argument, uint8_t *bytes, size_t size)
{
    struct session *session = argument;
    uint64_t largest = atomic_load(&f.largest_shown);
    while (size > largest && !atomic_compare_exchange_weak(&f.largest_shown, &largest, size))
        continue;
    atomic_fetch_add(&f.inputs, 1);
    return f.input(session, bytes, size);
}

static void on_closed(void *argument)
{
    struct session *session = argument;
    if (f.closing)
        f.closing(session);
    atomic_fetch_sub(&f.balance[net_thread_of(session->connection)], 1);
    free(session);
    atomic_fetch_add(&f.closed, 1);
}

static void on_tick(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    atomic_fetch_add(&f.ticks, 1);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void on_ahead(void *context, unsigned thread, const struct net_input *inputs, size_t count)
{
    (void)context;
    assert_true(thread < net_threads(f.net));
    assert_in_range(count, 2, NET_AHEAD_MAX);
    if (f.ahead)
        f.ahead(inputs, count);
}

void net_up(const struct net_up *up)
{
    char why[NET_WHY_BYTES];
    struct net_listen listens[4] = {{.address = TCP_AT}};
    size_t count = 1;
    struct net_tls tls = tls_of("cert", "key");
    struct net_handler handler = {.opened = on_opened,
                                  .input = on_input,
                                  .ahead = on_ahead,
                                  .closed = on_closed,
                                  .thread_tick = on_tick};
    f.fds_before = open_descriptors();
    f.opened = f.closed = f.inputs = f.largest_shown = 0;
    f.last = NULL;
    f.closing = NULL;
    f.ahead = NULL;
    if (!f.input)
        f.input = echo;
    if (up->unix_too)
        listens[count++] = (struct net_listen){.address = f.unix_at};
    if (up->six_too)
        listens[count++] = (struct net_listen){.address = SIX_AT};
    if (up->tls_too)
        listens[count++] = (struct net_listen){.address = TLS_AT, .tls = true};
    struct net_options options = {.threads = up->threads,
                                  .limits = up->limits,
                                  .listens = listens,
                                  .listens_count = count,
                                  .tls = up->tls_too ? &tls : NULL,
                                  .full_text = up->full_text,
                                  .query_text = up->query_text};
    int status = net_start(&options, &handler, &f.net, why);
    if (status != SP_OK)
        fail_msg("net_start: %s", why);
}

void net_down(uint32_t grace_ms)
{
    net_stop(f.net, grace_ms);
    f.net = NULL;
    f.input = NULL;
    assert_int_equal(f.opened, f.closed);
    assert_int_equal(open_descriptors(), f.fds_before);
}

int net_after(void **state)
{
    (void)state;
    net_stop(f.net, 0);
    f.net = NULL;
    f.input = NULL;
    return 0;
}

struct net_stats stats(void)
{
    struct net_stats out;
    net_stats(f.net, &out);
    return out;
}

/* The first event loop of a process opens a pair of descriptors that stay. */
static void forget_first_descriptors(void)
{
    char why[NET_WHY_BYTES];
    struct net_options options = {.limits = NET_LIMITS_INIT};
    struct net_handler handler = {.opened = on_opened, .input = on_input};
    assert_int_equal(net_start(&options, &handler, &f.net, why), SP_OK);
    net_stop(f.net, 0);
}

int net_group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(f.directory, sizeof(f.directory), "/tmp/sidepond-test-net.XXXXXX");
    assert_non_null(mkdtemp(f.directory));
    path_of(f.unix_path, sizeof(f.unix_path), "socket");
    snprintf(f.unix_at, sizeof(f.unix_at), "unix:%.90s", f.unix_path);
    make_certificate("cert", "key", "first");
    client_context = SSL_CTX_new(TLS_client_method());
    forget_first_descriptors();
    return client_context ? 0 : -1;
}

int net_group_teardown(void **state)
{
    char command[128];
    (void)state;
    SSL_CTX_free(client_context);
    snprintf(command, sizeof(command), "rm -rf %s", f.directory);
    return system(command);
}

/* --- on its thread ---------------------------------------------------------------------------- */

struct errand {
    void (*function)(void *session);
    struct session *session;
    atomic_bool done;
};

static void run_errand(void *argument)
{
    struct errand *errand = argument;
    errand->function(errand->session);
    atomic_store(&errand->done, true);
}

void on_thread_of(struct session *session, void (*function)(void *session))
{
    struct errand errand = {.function = function, .session = session};
    assert_non_null(session);
    assert_int_equal(net_post(f.net, net_thread_of(session->connection), run_errand, &errand),
                     SP_OK);
    AWAIT(atomic_load(&errand.done));
}

static struct net_about described;

static void describe(void *session)
{
    net_describe(((struct session *)session)->connection, &described);
}

struct net_about about(struct session *session)
{
    on_thread_of(session, describe);
    return described;
}

/* --- clients ---------------------------------------------------------------------------------- */

static void limit_waiting(int fd)
{
    struct timeval limit = {.tv_sec = AWAIT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

struct client client_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct client client = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    limit_waiting(client.fd);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

static struct client client_four(const char *host, unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(inet_pton(AF_INET, host, &address.sin_addr), 1);
    limit_waiting(client.fd);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

static struct client client_six(unsigned port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)port),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct client client = {.fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    limit_waiting(client.fd);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

bool client_shakes_hands(struct client *client)
{
    client->ssl = SSL_new(client_context);
    assert_int_equal(SSL_set_fd(client->ssl, client->fd), 1);
    return SSL_connect(client->ssl) == 1;
}

void client_common_name(const struct client *client, char *out, size_t cap)
{
    X509 *cert = SSL_get1_peer_certificate(client->ssl);
    assert_non_null(cert);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out, (int)cap);
    X509_free(cert);
}

struct client client_without_tls(const char *address)
{
    unsigned port = net_port(f.net, address);
    if (strcmp(address, f.unix_at) == 0)
        return client_unix(f.unix_path);
    assert_int_not_equal(port, 0);
    if (address[0] == '[')
        return client_six(port);
    return client_four(strcmp(address, TLS_AT) == 0 ? "127.0.0.2" : "127.0.0.1", port);
}

struct client client_at(const char *address)
{
    struct client client = client_without_tls(address);
    if (strcmp(address, TLS_AT) == 0)
        assert_true(client_shakes_hands(&client));
    return client;
}

void say(const struct client *client, const void *bytes, size_t size)
{
    const char *from = bytes;
    for (size_t sent = 0; sent < size;) {
        ssize_t more = client->ssl ? SSL_write(client->ssl, from + sent, (int)(size - sent))
                                   : send(client->fd, from + sent, size - sent, MSG_NOSIGNAL);
        assert_true(more > 0);
        sent += (size_t)more;
    }
}

static ssize_t hear_some(const struct client *client, void *bytes, size_t size)
{
    return client->ssl ? SSL_read(client->ssl, bytes, (int)size) : recv(client->fd, bytes, size, 0);
}

void hear(const struct client *client, void *bytes, size_t size)
{
    char *to = bytes;
    for (size_t got = 0; got < size;) {
        ssize_t more = hear_some(client, to + got, size - got);
        assert_true(more > 0);
        got += (size_t)more;
    }
}

bool is_end(const struct client *client)
{
    char byte;
    ssize_t got = hear_some(client, &byte, 1);
    return got <= 0 && errno != EAGAIN;
}

void hang_up(struct client *client)
{
    SSL_free(client->ssl);
    close(client->fd);
    *client = (struct client){.fd = -1};
}

void round_trip(const struct client *client, const char *text)
{
    char back[256];
    size_t size = strlen(text);
    assert_true(size <= sizeof(back));
    say(client, text, size);
    hear(client, back, size);
    assert_memory_equal(back, text, size);
}
