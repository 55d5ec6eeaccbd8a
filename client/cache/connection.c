/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c - one connection to the cache server: connecting, logging in, and exchanges of
 * requests for replies.
 *
 * hiredis understands the replies; sending and receiving is done here, so that no signal is raised
 * when the server has gone away (the library has no business with SIGPIPE), that both directions go
 * on at once however much is sent, and that it is known whether anything was sent, on which depends
 * whether a request may be repeated. Only poll waits. The time-out begins anew with each piece that
 * goes or comes.
 *
 * Costs: send, poll, recv for a small request and its reply.
 *
 * Limits: no TLS; it is for the same host, where the Unix socket is. A name of a host is looked up
 * by getaddrinfo, which has its own time-outs.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/cache/link.h"

#define RECEIVE_BYTES 16384u /* at one time */

static const char unix_prefix[] = "unix:";
#define UNIX_PREFIX (sizeof unix_prefix - 1)

/* --- addresses -------------------------------------------------------------------------------- */

static bool is_unix(const char *address)
{
    return strncmp(address, unix_prefix, UNIX_PREFIX) == 0;
}

bool connection_split_address(const char *address, char host[LINK_ADDRESS_BYTES], const char **port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0')
        return false;
    size_t size = (size_t)(colon - address);
    bool brackets = size > 2 && address[0] == '[' && address[size - 1] == ']';
    if (brackets) {
        address++;
        size -= 2;
    }
    if (size == 0 || size >= LINK_ADDRESS_BYTES)
        return false;
    memcpy(host, address, size);
    host[size] = '\0';
    *port = colon + 1;
    return brackets || strpbrk(host, ":[]") == NULL;
}

int connection_check_address(const char *address)
{
    struct sockaddr_un name;
    char host[LINK_ADDRESS_BYTES];
    const char *port;
    size_t size = strlen(address);
    if (is_unix(address)) {
        if (size == UNIX_PREFIX || size - UNIX_PREFIX >= sizeof name.sun_path)
            return error_set(SP_EINVAL,
                             "the path of a Unix socket has 1 to %zu bytes, and that of %s has %zu",
                             sizeof name.sun_path - 1, address, size - UNIX_PREFIX);
    } else if (size >= LINK_ADDRESS_BYTES || !connection_split_address(address, host, &port)) {
        return error_set(SP_EINVAL,
                         "an address is unix:/PATH, HOST:PORT or [ADDRESS]:PORT, not \"%.80s\"",
                         address);
    }
    return SP_OK;
}

/* --- connecting ------------------------------------------------------------------------------- */

static int cannot_connect(const struct connection *connection, int error)
{
    int status = SP_ENODAEMON;
    if (error == EACCES || error == EPERM)
        status = SP_EACCESS;
    else if (error == EMFILE || error == ENFILE || error == ENOBUFS)
        status = SP_ESYS;
    else if (error == ENOMEM)
        status = SP_ENOMEM;
    else if (error == ETIMEDOUT)
        status = SP_ETIMEDOUT;
    return error_set(status, "cannot connect to %s: %s", connection->address, strerror(error));
}

/* A TCP connection that a signal interrupted goes on by itself. 0 or an errno. */
static int wait_connected(const struct connection *connection)
{
    int error = 0;
    socklen_t error_bytes = sizeof error;
    uint64_t until = clock_ms() + connection->timeout_ms;
    struct pollfd entry = {.fd = connection->fd, .events = POLLOUT};
    int ready = -1;
    for (uint64_t now = clock_ms(); ready < 0 && now <= until; now = clock_ms()) {
        ready = poll(&entry, 1, (int)(until - now));
        if (ready < 0 && errno != EINTR)
            return errno;
    }
    if (ready <= 0)
        return ETIMEDOUT;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0)
        return errno;
    return error;
}

/* 0 or an errno. The socket blocks only here: nothing else is sent or received without
 * MSG_DONTWAIT. */
static int connect_to(struct connection *connection, const struct sockaddr *to, socklen_t size)
{
    const struct timeval limit = {.tv_sec = connection->timeout_ms / 1000,
                                  .tv_usec = connection->timeout_ms % 1000 * 1000L};
    connection->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return errno;
    while (connect(connection->fd, to, size) != 0) {
        if (errno == EINTR && to->sa_family != AF_UNIX)
            return wait_connected(connection);
        if (errno == EAGAIN || errno == EINPROGRESS)
            return ETIMEDOUT;
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

static int connect_unix(struct connection *connection)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, connection->address + UNIX_PREFIX,
           strlen(connection->address + UNIX_PREFIX));
    int error = connect_to(connection, (const struct sockaddr *)&name, sizeof name);
    return error == 0 ? SP_OK : cannot_connect(connection, error);
}

static int connect_tcp(struct connection *connection)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char host[LINK_ADDRESS_BYTES];
    const char *port;
    const int on = 1;
    if (!connection_split_address(connection->address, host, &port))
        return SP_EINVAL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return error_set(SP_ENODAEMON, "cannot connect to %s: %s", connection->address,
                         gai_strerror(failed));
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *at = found; at != NULL && error != 0; at = at->ai_next) {
        connection_close(connection);
        error = connect_to(connection, at->ai_addr, at->ai_addrlen);
    }
    freeaddrinfo(found);
    if (error != 0)
        return cannot_connect(connection, error);
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return SP_OK;
}

static int log_in(struct connection *connection, const struct link_settings *settings)
{
    struct command command = {.count = 0};
    const struct request request = {.commands = &command, .count = 1};
    redisReply *reply;
    command_word(&command, "AUTH");
    if (settings->user[0] != '\0')
        command_word(&command, settings->user);
    command_word(&command, settings->password);
    int status = request_run_on(connection, &request, &reply);
    if (status != SP_OK)
        return status;
    status = reply_status(reply, 1u << REDIS_REPLY_STATUS, connection->address);
    freeReplyObject(reply);
    return status;
}

int connection_open(struct connection *connection, const struct link_settings *settings)
{
    memcpy(connection->address, settings->address, sizeof connection->address);
    connection->timeout_ms = settings->timeout_ms;
    connection->generation = settings->generation;
    connection->reader = redisReaderCreate();
    if (connection->reader == NULL)
        return error_plain(SP_ENOMEM);
    int status = connection_check_address(settings->address);
    if (status != SP_OK)
        return status;
    status = is_unix(settings->address) ? connect_unix(connection) : connect_tcp(connection);
    if (status == SP_OK && settings->password[0] != '\0')
        status = log_in(connection, settings);
    return status;
}

void connection_close(struct connection *connection)
{
    int fd = connection->fd;
    connection->fd = -1; /* first: what a child of a fork finds here it closes */
    if (fd >= 0)
        close(fd);
}

void connection_end(struct connection *connection)
{
    if (connection->fd >= 0)
        (void)shutdown(connection->fd, SHUT_RDWR);
    connection_close(connection);
}

bool connection_usable(const struct connection *connection)
{
    char byte;
    return connection->fd >= 0 && connection->reader->pos == connection->reader->len &&
           recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* --- an exchange ------------------------------------------------------------------------------ */

static int lost(const struct connection *connection, const char *why)
{
    return error_set(SP_ENODAEMON, "the connection to %s is lost: %s", connection->address, why);
}

/* As much as the socket takes. If it takes no more for good, the server may still have said why. */
static void send_some(const struct connection *connection, struct exchange *exchange)
{
    while (exchange->sent < exchange->size && !exchange->broken) {
        ssize_t sent = send(connection->fd, exchange->bytes + exchange->sent,
                            exchange->size - exchange->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            exchange->sent += (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        else if (errno != EINTR)
            exchange->broken = true;
    }
}

/* The replies that are complete. */
static int take_replies(const struct connection *connection, struct exchange *exchange)
{
    while (exchange->got < exchange->wanted) {
        void *reply = NULL;
        if (redisReaderGetReply(connection->reader, &reply) != REDIS_OK)
            return connection->reader->err == REDIS_ERR_OOM
                       ? error_plain(SP_ENOMEM)
                       : lost(connection, connection->reader->errstr);
        if (reply == NULL)
            return SP_OK;
        exchange->replies[exchange->got++] = reply;
    }
    return SP_OK;
}

static int receive_some(const struct connection *connection, struct exchange *exchange)
{
    char bytes[RECEIVE_BYTES];
    ssize_t size = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size == 0)
        return lost(connection, "it was closed");
    if (size < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR
                   ? SP_OK
                   : lost(connection, strerror(errno));
    if (redisReaderFeed(connection->reader, bytes, (size_t)size) != REDIS_OK)
        return error_plain(SP_ENOMEM);
    return take_replies(connection, exchange);
}

/* Until the socket has something for us or takes something. */
static int wait_for(const struct connection *connection, const struct exchange *exchange)
{
    uint64_t allowed_ms = (uint64_t)connection->timeout_ms + exchange->extra_ms;
    uint64_t until = clock_ms() + allowed_ms;
    short wanted = POLLIN;
    if (exchange->sent < exchange->size && !exchange->broken)
        wanted |= POLLOUT;
    for (;;) {
        struct pollfd entry = {.fd = connection->fd, .events = wanted};
        uint64_t now = clock_ms();
        uint64_t left = now < until ? until - now : 0;
        int ready = poll(&entry, 1, left < INT32_MAX ? (int)left : INT32_MAX);
        if (ready > 0)
            return SP_OK;
        if (ready < 0 && errno != EINTR)
            return error_set(SP_ESYS, "poll: %s", strerror(errno));
        if (ready < 0 && exchange->go_on != NULL && !exchange->go_on(exchange->context))
            return error_plain(SP_ECANCELED);
        if (ready == 0 && left == 0)
            return error_set(SP_ETIMEDOUT, "%s did not answer within %llu ms", connection->address,
                             (unsigned long long)allowed_ms);
    }
}

int connection_exchange(struct connection *connection, struct exchange *exchange)
{
    if (connection->fd < 0)
        return lost(connection, "it belongs to the process before the fork");
    int status = SP_OK;
    while (status == SP_OK && exchange->got < exchange->wanted) {
        send_some(connection, exchange);
        status = wait_for(connection, exchange);
        if (status == SP_OK)
            status = receive_some(connection, exchange);
    }
    if (status == SP_OK)
        connection->reused = true;
    return status;
}
