/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_wire.c - the connections that libmongoc works on.
 *
 * libmongoc only blocks, but it lets its connections be made by somebody else. These here are
 * sockets that never block; each wait is a poll on the socket and on the source's waker, no longer
 * than libmongoc's own limit or the deadline of the running call. So cancel and time limits work
 * in every state: connecting, the TLS handshake, a command, rows. What was ended so fails like a
 * lost connection, and since the source remembers why, each further try of libmongoc fails at once.
 *
 * libmongoc, when it looks at its servers anew and one that it knows does not answer, opens another
 * connection to it, with a lock of its own held that it takes once more where that fails at once
 * (1.23). So to a host that was reached before, a connection that cannot be had is one that is lost
 * already; that libmongoc finds out without the lock.
 *
 * Hosts are tried one after the other. Limits: the look-up of a host name, of SRV records too,
 * blocks and cannot be ended.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "alloc/fnv.h"
#include "server/source/mongodb.h"

#define STREAM_TYPE     100 /* none of libmongoc's own */
#define READ_AHEAD      1024
#define USER_TIMEOUT_MS 30000

struct wire {
    mongoc_stream_t stream; /* the first member: libmongoc knows this only */
    struct source *source;
    int fd;
    int error; /* the errno of the last call, or 0 */
};

static struct wire *wire_of(mongoc_stream_t *stream)
{
    return (struct wire *)stream;
}

/* --- waiting -------------------------------------------------------------------------------- */

/* Whether the source must not wait any more, which is remembered. */
static bool is_over(struct source *source)
{
    if (waker_take(&source->waker))
        source->canceled = true;
    if (!source->canceled && waker_left_ms(source->deadline_ms) == 0)
        source->late = true;
    return source->canceled || source->late || source->broken;
}

/* The lesser of two times as poll has them. */
static int least_ms(int a, int b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

/* A moment from now, as waker_left_ms wants it; 0: never. */
static uint64_t moment(int32_t timeout_ms)
{
    return timeout_ms < 0 ? 0 : clock_ms() + (uint64_t)timeout_ms;
}

/* Whether the socket became ready until then; if not, errno says why. */
static bool wait_ready(struct source *source, int fd, short events, uint64_t until_ms)
{
    for (;;) {
        if (is_over(source)) {
            errno = source->late ? ETIMEDOUT : ECANCELED;
            return false;
        }
        const int own = waker_left_ms(until_ms);
        if (waker_poll(&source->waker, fd, events,
                       least_ms(own, waker_left_ms(source->deadline_ms))))
            return true;
        if (own == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

/* --- the stream that libmongoc sees ----------------------------------------------------------- */

static int wire_close(mongoc_stream_t *stream)
{
    struct wire *wire = wire_of(stream);
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    return 0;
}

static void wire_destroy(mongoc_stream_t *stream)
{
    wire_close(stream);
    free(stream);
}

static int wire_flush(mongoc_stream_t *stream)
{
    (void)stream;
    return 0;
}

/* Past what was moved: the first of the rest, which may be a part of a piece. */
static void advance(struct iovec *piece, const mongoc_iovec_t *iov, size_t iovcnt, size_t *at,
                    size_t bytes)
{
    while (*at < iovcnt && bytes >= piece->iov_len) {
        bytes -= piece->iov_len;
        if (++*at < iovcnt)
            *piece = (struct iovec){iov[*at].iov_base, iov[*at].iov_len};
    }
    if (*at < iovcnt) {
        piece->iov_base = (char *)piece->iov_base + bytes;
        piece->iov_len -= bytes;
    }
}

/* Waits where the socket is not ready. Whether to try again; a timeout of 0 never waits. */
static bool retry(struct wire *wire, short events, int32_t timeout_ms, uint64_t until_ms)
{
    if (errno == EINTR)
        return true;
    if ((errno == EAGAIN || errno == EWOULDBLOCK) && timeout_ms != 0 &&
        wait_ready(wire->source, wire->fd, events, until_ms))
        return true;
    wire->error = errno;
    return false;
}

static ssize_t wire_writev(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t iovcnt,
                           int32_t timeout_ms)
{
    struct wire *wire = wire_of(stream);
    const uint64_t until_ms = moment(timeout_ms);
    struct iovec piece = {iovcnt ? iov[0].iov_base : NULL, iovcnt ? iov[0].iov_len : 0};
    ssize_t total = 0;
    wire->error = 0;
    for (size_t at = 0; at < iovcnt;) {
        const ssize_t sent = send(wire->fd, piece.iov_base, piece.iov_len,
                                  MSG_NOSIGNAL | MSG_DONTWAIT | (at + 1 < iovcnt ? MSG_MORE : 0));
        if (sent < 0 && !retry(wire, POLLOUT, timeout_ms, until_ms))
            return total > 0 && wire->error == EAGAIN ? total : -1;
        if (sent >= 0) {
            total += sent;
            advance(&piece, iov, iovcnt, &at, (size_t)sent);
        }
    }
    return total;
}

static ssize_t wire_readv(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t iovcnt,
                          size_t min_bytes, int32_t timeout_ms)
{
    struct wire *wire = wire_of(stream);
    const uint64_t until_ms = moment(timeout_ms);
    struct iovec piece = {iovcnt ? iov[0].iov_base : NULL, iovcnt ? iov[0].iov_len : 0};
    size_t total = 0;
    wire->error = 0;
    for (size_t at = 0; at < iovcnt;) {
        const ssize_t got = recv(wire->fd, piece.iov_base, piece.iov_len, MSG_DONTWAIT);
        if (got == 0) {
            wire->error = errno = ECONNRESET;
            return -1;
        }
        if (got < 0 && !retry(wire, POLLIN, timeout_ms, until_ms))
            return -1;
        if (got < 0)
            continue;
        total += (size_t)got;
        if (total >= min_bytes)
            return (ssize_t)total;
        advance(&piece, iov, iovcnt, &at, (size_t)got);
    }
    return (ssize_t)total;
}

static int wire_setsockopt(mongoc_stream_t *stream, int level, int name, void *value,
                           mongoc_socklen_t bytes)
{
    return setsockopt(wire_of(stream)->fd, level, name, value, bytes);
}

static bool wire_check_closed(mongoc_stream_t *stream)
{
    char byte;
    const ssize_t got = recv(wire_of(stream)->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static bool wire_timed_out(mongoc_stream_t *stream)
{
    return wire_of(stream)->error == ETIMEDOUT;
}

static bool wire_should_retry(mongoc_stream_t *stream)
{
    const int error = wire_of(stream)->error;
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* All of one source: libmongoc asks of one client's connections at a time. */
static ssize_t poll_all(mongoc_stream_poll_t *streams, size_t count, int32_t timeout_ms,
                        struct pollfd *fds)
{
    struct source *source = wire_of(streams[0].stream)->source;
    const bool over = is_over(source);
    bool lost = false;
    for (size_t i = 0; i < count; i++)
        lost |= wire_of(streams[i].stream)->fd < 0;
    for (size_t i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = wire_of(streams[i].stream)->fd,
                                 .events = (short)streams[i].events};
    fds[count] = (struct pollfd){.fd = source->waker.event_fd, .events = POLLIN};
    const int left = lost ? 0 : least_ms(timeout_ms, waker_left_ms(source->deadline_ms));
    const int ready = over ? 0 : poll(fds, (nfds_t)count + 1, left);
    const bool ended = over || is_over(source);
    ssize_t told = 0;
    for (size_t i = 0; i < count; i++) {
        streams[i].revents = ended ? POLLERR : fds[i].fd < 0 ? POLLHUP : fds[i].revents;
        told += streams[i].revents != 0;
    }
    return ready < 0 && !ended ? -1 : told;
}

static ssize_t wire_poll(mongoc_stream_poll_t *streams, size_t count, int32_t timeout_ms)
{
    struct pollfd *fds = count ? calloc(count + 1, sizeof(*fds)) : NULL;
    if (!fds)
        return -1;
    const ssize_t told = poll_all(streams, count, timeout_ms, fds);
    free(fds);
    return told;
}

static mongoc_stream_t *wire_new(struct source *source, int fd)
{
    struct wire *wire = calloc(1, sizeof(*wire));
    if (!wire)
        return NULL;
    wire->source = source;
    wire->fd = fd;
    wire->stream = (mongoc_stream_t){
        .type = STREAM_TYPE,
        .destroy = wire_destroy,
        .close = wire_close,
        .flush = wire_flush,
        .writev = wire_writev,
        .readv = wire_readv,
        .setsockopt = wire_setsockopt,
        .check_closed = wire_check_closed,
        .poll = wire_poll,
        .failed = wire_destroy,
        .timed_out = wire_timed_out,
        .should_retry = wire_should_retry,
    };
    return &wire->stream;
}

/* --- connecting ----------------------------------------------------------------------------- */

static void set_options(int fd)
{
    const int on = 1, idle_s = 30, interval_s = 10, count = 3;
    const unsigned user_ms = USER_TIMEOUT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
}

/* A connected socket, or -1 with errno. */
static int connect_to(struct source *source, const struct sockaddr *address, socklen_t bytes,
                      uint64_t until_ms)
{
    int why = 0;
    socklen_t why_bytes = sizeof(why);
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (address->sa_family != AF_UNIX)
        set_options(fd);
    if (connect(fd, address, bytes) == 0)
        return fd;
    if (errno != EINPROGRESS && errno != EAGAIN)
        why = errno;
    else if (!wait_ready(source, fd, POLLOUT, until_ms))
        why = errno;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &why_bytes) != 0)
        why = errno;
    if (why == 0)
        return fd;
    close(fd);
    errno = why;
    return -1;
}

static int connect_unix(struct source *source, const char *path, uint64_t until_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    return connect_to(source, (struct sockaddr *)&address, sizeof(address), until_ms);
}

/* The first address of the host that answers. A failed look-up leaves its text. */
static int connect_host(struct source *source, const mongoc_host_list_t *host, uint64_t until_ms,
                        const char **lookup)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *list = NULL;
    char port[8];
    int fd = -1;
    if (host->family == AF_UNIX)
        return connect_unix(source, host->host, until_ms);
    snprintf(port, sizeof(port), "%u", (unsigned)host->port);
    const int failed = getaddrinfo(host->host, port, &wanted, &list);
    if (failed) {
        *lookup = gai_strerror(failed);
        return -1;
    }
    for (const struct addrinfo *at = list; at && fd < 0 && !is_over(source); at = at->ai_next)
        fd = connect_to(source, at->ai_addr, at->ai_addrlen, until_ms);
    const int why = errno;
    freeaddrinfo(list);
    errno = why;
    return fd;
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* With a password, even none, OpenSSL does not ask for it at the terminal. */
static mongoc_ssl_opt_t tls_options(const mongoc_uri_t *uri, const char *key_password)
{
    mongoc_ssl_opt_t options = *mongoc_ssl_opt_get_default();
    const bool insecure = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSINSECURE, false);
    options.pem_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILE, NULL);
    options.pem_pwd = key_password;
    options.ca_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, NULL);
    options.weak_cert_validation =
        insecure ||
        mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES, false);
    options.allow_invalid_hostname =
        insecure || mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDHOSTNAMES, false);
    return options;
}

/* TLS over the stream, which belongs to what is returned; both are gone where it fails. */
static mongoc_stream_t *start_tls(const struct source *source, const char *host,
                                  mongoc_stream_t *stream, uint64_t until_ms, bson_error_t *error)
{
    mongoc_ssl_opt_t options = tls_options(source->uri, mongo_key_password(source));
    mongoc_stream_t *tls = mongoc_stream_tls_new_with_hostname(stream, host, &options, 1);
    if (!tls) {
        mongoc_stream_destroy(stream);
        bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET,
                       "cannot start TLS: the files of the certificates cannot be read, or the "
                       "password is not that of the key");
        return NULL;
    }
    if (mongoc_stream_tls_handshake_block(tls, host, waker_left_ms(until_ms), error))
        return tls;
    mongoc_stream_destroy(tls);
    return NULL;
}

/* --- the whole ------------------------------------------------------------------------------ */

static mongoc_stream_t *open_wire(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                  void *source, bson_error_t *error)
{
    const int32_t limit_ms =
        mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, 10000);
    const uint64_t until_ms = moment(limit_ms);
    const char *lookup = NULL;
    const int fd = connect_host(source, host, until_ms, &lookup);
    if (fd < 0) {
        bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
                       "cannot connect to %s: %s", host->host_and_port,
                       lookup ? lookup : strerror(errno));
        return NULL;
    }
    mongoc_stream_t *stream = wire_new(source, fd);
    if (!stream) {
        close(fd);
        bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT, "out of memory");
        return NULL;
    }
    if (mongoc_uri_get_tls(uri))
        stream = start_tls(source, host->host, stream, until_ms, error);
    return stream ? mongoc_stream_buffered_new(stream, READ_AHEAD) : NULL;
}

/* Whether the host was reached before; from now on it was, if it is reached now. */
static bool was_reached(struct source *source, const mongoc_host_list_t *host, bool now)
{
    const uint64_t hash = fnv_text(FNV_START, host->host_and_port);
    for (unsigned i = 0; i < source->reached_count; i++)
        if (source->reached[i] == hash)
            return true;
    if (source->reached_count == MONGO_REACHED_MAX)
        return true;
    if (now)
        source->reached[source->reached_count++] = hash;
    return false;
}

mongoc_stream_t *mongo_wire_open(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                 void *source, bson_error_t *error)
{
    mongoc_stream_t *stream = open_wire(uri, host, source, error);
    if (!was_reached(source, host, stream) || stream)
        return stream;
    mongoc_stream_t *lost = wire_new(source, -1);
    return lost ? mongoc_stream_buffered_new(lost, READ_AHEAD) : NULL;
}
