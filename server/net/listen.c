/* SPDX-License-Identifier: Apache-2.0
 *
 * listen.c - addresses, listening sockets, and accepting.
 *
 * All listeners are on thread 0. A wake-up accepts ACCEPTS_MOST at most, so a storm of connections
 * leaves the thread time for those it has. Where descriptors run out, one that is held in reserve
 * is given up to accept a connection and close it, and the listener rests until the next tick.
 */
#include "server/net/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log/log.h"

#define ACCEPTS_MOST 64u
#define BACKLOG      1024
#define UNIX_PREFIX  "unix:"

/* A peer that is gone without a word is noticed within ten minutes. */
enum { KEEPALIVE_IDLE_S = 300, KEEPALIVE_INTERVAL_S = 100, KEEPALIVE_PROBES = 3 };

/* --- addresses -------------------------------------------------------------------------------- */

void address_print(const struct sockaddr *address, char *out)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
        snprintf(out, NET_ADDRESS_BYTES, "%s:%u", host, ntohs(four->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
        snprintf(out, NET_ADDRESS_BYTES, "[%s]:%u", host, ntohs(six->sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)address;
        snprintf(out, NET_ADDRESS_BYTES, "%.*s", (int)sizeof(local->sun_path), local->sun_path);
    } else {
        snprintf(out, NET_ADDRESS_BYTES, "?");
    }
}

void address_print_local(int fd, char *out)
{
    union address address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, &address.any, &size) != 0)
        address.any.sa_family = AF_UNSPEC;
    address_print(&address.any, out);
}

static socklen_t address_size(const union address *address)
{
    switch (address->any.sa_family) {
    case AF_INET:
        return sizeof(address->four);
    case AF_INET6:
        return sizeof(address->six);
    default:
        return sizeof(address->local);
    }
}

static int parse_unix(const char *path, union address *out, char *why)
{
    if (strlen(path) >= sizeof(out->local.sun_path) || !*path) {
        snprintf(why, NET_WHY_BYTES, "%s: the path of a Unix socket has from 1 to %zu bytes", path,
                 sizeof(out->local.sun_path) - 1);
        return SP_EINVAL;
    }
    *out = (union address){.local = {.sun_family = AF_UNIX}};
    strcpy(out->local.sun_path, path);
    return SP_OK;
}

/* HOST:PORT or [HOST]:PORT. */
static int parse_host(const char *text, union address *out, char *why)
{
    char host[NET_ADDRESS_BYTES];
    const char *colon = strrchr(text, ':'), *from = text;
    size_t size = colon ? (size_t)(colon - text) : 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        from = text + 1;
        size -= 2;
    }
    if (!colon || size == 0 || size >= sizeof(host)) {
        snprintf(why, NET_WHY_BYTES, "%s: an address is HOST:PORT, [HOST]:PORT or unix:PATH", text);
        return SP_EINVAL;
    }
    memcpy(host, from, size);
    host[size] = '\0';
    int wrong = getaddrinfo(host, colon + 1, &hints, &found);
    if (wrong != 0) {
        snprintf(why, NET_WHY_BYTES, "%s: %s", text, gai_strerror(wrong));
        return SP_EINVAL;
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return SP_OK;
}

static int parse_address(const char *text, union address *out, char *why)
{
    *out = (union address){0};
    if (strlen(text) >= NET_ADDRESS_BYTES) {
        snprintf(why, NET_WHY_BYTES, "%.64s...: the address is too long", text);
        return SP_EINVAL;
    }
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(text + strlen(UNIX_PREFIX), out, why);
    return parse_host(text, out, why);
}

bool net_address_is_local(const char *address)
{
    union address parsed;
    char why[NET_WHY_BYTES];
    if (parse_address(address, &parsed, why) != SP_OK)
        return false;
    if (parsed.any.sa_family == AF_INET)
        return ntohl(parsed.four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (parsed.any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&parsed.six.sin6_addr);
    return parsed.any.sa_family == AF_UNIX;
}

/* --- accepting -------------------------------------------------------------------------------- */

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void rest(struct listener *listener)
{
    uv_poll_stop(&listener->poll);
    listener->is_resting = true;
}

/* No descriptors: the client is accepted with the one in reserve, and told so by being closed. */
static void shed(struct listener *listener)
{
    struct net *net = listener->net;
    count(&net->threads[0].counters.accept_errors, 1);
    log_limited(LOG_WARNING, "net", 1, "no descriptors left: connections to %s are refused",
                listener->address);
    if (net->reserve_fd >= 0) {
        close(net->reserve_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    rest(listener);
}

static bool is_full(struct net *net)
{
    uint32_t most = atomic_load_explicit(&net->limits.clients_max, memory_order_relaxed);
    return most != 0 && atomic_load_explicit(&net->connections, memory_order_relaxed) >= most;
}

static void refuse(struct listener *listener, int fd)
{
    const char *text = listener->net->full_text;
    count(&listener->net->threads[0].counters.rejected, 1);
    if (text && !listener->is_tls)
        (void)!send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* False: there is nobody more, or not now. */
static bool accept_one(struct listener *listener)
{
    union address peer = {0};
    socklen_t size = sizeof(peer);
    int fd = accept4(listener->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            shed(listener);
        return errno == ECONNABORTED || errno == EINTR;
    }
    peer.any.sa_family = listener->bound.any.sa_family;
    if (is_full(listener->net))
        refuse(listener, fd);
    else
        connection_hand_over(listener->net, fd, &peer, listener->is_tls);
    return true;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status;
    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MOST && accept_one(listener); i++)
        continue;
}

/* --- making a listener ------------------------------------------------------------------------ */

static int bind_failed(const struct listener *listener, char *why)
{
    int status = errno == EADDRINUSE                 ? SP_EBUSY
                 : errno == EACCES || errno == EPERM ? SP_EACCESS
                                                     : SP_ESYS;
    snprintf(why, NET_WHY_BYTES, "cannot listen on %s: %s", listener->address,
             errno == EADDRINUSE ? "another program listens there" : strerror(errno));
    return status;
}

/* A socket file that nobody listens on any more goes away. */
static void remove_stale(const union address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct stat about;
    if (fd < 0)
        return;
    bool refused = connect(fd, &address->any, sizeof(address->local)) != 0 && errno == ECONNREFUSED;
    if (refused && lstat(address->local.sun_path, &about) == 0 && S_ISSOCK(about.st_mode))
        unlink(address->local.sun_path);
    close(fd);
}

static int bind_unix(struct listener *listener, mode_t mode, char *why)
{
    const char *path = listener->bound.local.sun_path;
    struct stat about;
    remove_stale(&listener->bound);
    /* The directory decides until the mode is set: nobody is accepted before listen(). */
    if (bind(listener->fd, &listener->bound.any, sizeof(listener->bound.local)) != 0 ||
        stat(path, &about) != 0)
        return bind_failed(listener, why);
    listener->dev = about.st_dev; /* from here on the file goes with the listener */
    listener->ino = about.st_ino;
    return chmod(path, mode ? mode : 0700) == 0 ? SP_OK : bind_failed(listener, why);
}

/* Those that accepted sockets inherit, so that they cost nothing for each. */
static void set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                   {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
                   {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
                   {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES}};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

static int bind_host(struct listener *listener, char *why)
{
    int one = 1;
    socklen_t size = sizeof(listener->bound);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (listener->bound.any.sa_family == AF_INET6)
        setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    set_options(listener->fd);
    if (bind(listener->fd, &listener->bound.any, address_size(&listener->bound)) != 0)
        return bind_failed(listener, why);
    getsockname(listener->fd, &listener->bound.any, &size); /* which port, if it was 0 */
    return SP_OK;
}

static void close_socket(struct listener *listener)
{
    struct stat about;
    const char *path = listener->bound.local.sun_path;
    if (listener->fd < 0)
        return;
    close(listener->fd);
    listener->fd = -1;
    if (listener->bound.any.sa_family == AF_UNIX && listener->ino != 0 && stat(path, &about) == 0 &&
        about.st_dev == listener->dev && about.st_ino == listener->ino)
        unlink(path);
}

static int open_socket(struct listener *listener, const struct net_listen *listen_at, char *why)
{
    listener->fd =
        socket(listener->bound.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0)
        return bind_failed(listener, why);
    int status = listener->bound.any.sa_family == AF_UNIX
                     ? bind_unix(listener, listen_at->unix_mode, why)
                     : bind_host(listener, why);
    if (status == SP_OK && listen(listener->fd, BACKLOG) != 0)
        status = bind_failed(listener, why);
    return status;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* On thread 0; it has been taken off the list. */
static void end_listener(struct listener *listener)
{
    if (listener->is_polled)
        uv_close((uv_handle_t *)&listener->poll, on_closed);
    close_socket(listener);
    if (!listener->is_polled)
        free(listener);
}

static void begin(struct net_thread *thread, struct item *item)
{
    struct listener *listener =
        (struct listener *)(void *)((char *)item - offsetof(struct listener, item));
    listener->poll.data = listener;
    listener->is_begun = true;
    if (thread->is_stopping || uv_poll_init(&thread->loop, &listener->poll, listener->fd) != 0)
        return; /* it stays on the list, and ends with it */
    listener->is_polled = true;
    uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
}

static struct listener *find(struct net *net, const char *address)
{
    struct listener *listener;
    LIST_FOREACH(listener, &net->listeners, next)
    {
        if (strcmp(listener->address, address) == 0)
            break;
    }
    return listener;
}

static int open_listed(struct listener *listener, const struct net_listen *listen_at, char *why)
{
    struct net *net = listener->net;
    int status = SP_EEXISTS;
    pthread_mutex_lock(&net->listen_lock);
    if (find(net, listen_at->address))
        snprintf(why, NET_WHY_BYTES, "%s is listened on already", listen_at->address);
    else
        status = open_socket(listener, listen_at, why);
    if (status == SP_OK) {
        LIST_INSERT_HEAD(&net->listeners, listener, next);
        thread_give(&net->threads[0], &listener->item); /* before anyone can find and remove it */
    }
    pthread_mutex_unlock(&net->listen_lock);
    return status;
}

int net_listen_add(struct net *net, const struct net_listen *listen_at, char *why)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    snprintf(why, NET_WHY_BYTES, "out of memory");
    if (!listener)
        return SP_ENOMEM;
    listener->net = net;
    listener->fd = -1;
    listener->is_tls = listen_at->tls;
    listener->item.run = begin;
    snprintf(listener->address, sizeof(listener->address), "%s", listen_at->address);
    /* A name server may take its time: thread 0 takes the lock at each tick. */
    int status = parse_address(listen_at->address, &listener->bound, why);
    if (status == SP_OK && listen_at->tls && !net_has_tls(net)) {
        snprintf(why, NET_WHY_BYTES, "%s is for TLS, and there is no certificate",
                 listen_at->address);
        status = SP_EINVAL;
    }
    if (status == SP_OK)
        status = open_listed(listener, listen_at, why);
    if (status == SP_OK)
        return SP_OK;
    close_socket(listener);
    free(listener);
    return status;
}

/* --- ends ------------------------------------------------------------------------------------- */

struct removal {
    struct item item;
    struct listener *listener;
    sem_t done;
};

static void run_removal(struct net_thread *thread, struct item *item)
{
    struct removal *removal = (struct removal *)(void *)item; /* its first member */
    (void)thread;
    end_listener(removal->listener);
    sem_post(&removal->done);
}

int net_listen_remove(struct net *net, const char *address)
{
    struct removal removal = {.item = {.run = run_removal}};
    pthread_mutex_lock(&net->listen_lock);
    removal.listener = find(net, address);
    if (removal.listener)
        LIST_REMOVE(removal.listener, next);
    pthread_mutex_unlock(&net->listen_lock);
    if (!removal.listener)
        return SP_ENOTFOUND;
    sem_init(&removal.done, 0, 0);
    if (thread_give(&net->threads[0], &removal.item)) {
        while (sem_wait(&removal.done) != 0)
            continue;
    }
    sem_destroy(&removal.done);
    return SP_OK;
}

unsigned net_port(struct net *net, const char *address)
{
    unsigned port = 0;
    pthread_mutex_lock(&net->listen_lock);
    const struct listener *listener = find(net, address);
    if (listener && listener->bound.any.sa_family == AF_INET)
        port = ntohs(listener->bound.four.sin_port);
    else if (listener && listener->bound.any.sa_family == AF_INET6)
        port = ntohs(listener->bound.six.sin6_port);
    pthread_mutex_unlock(&net->listen_lock);
    return port;
}

void listeners_stop(struct net *net)
{
    struct listener *listener;
    pthread_mutex_lock(&net->listen_lock);
    while ((listener = LIST_FIRST(&net->listeners)) != NULL && listener->is_begun) {
        LIST_REMOVE(listener, next);
        end_listener(listener);
    }
    pthread_mutex_unlock(&net->listen_lock);
}

void listeners_free(struct net *net)
{
    struct listener *listener;
    while ((listener = LIST_FIRST(&net->listeners)) != NULL) {
        LIST_REMOVE(listener, next);
        listener->is_polled = false;
        end_listener(listener);
    }
}

void listeners_wake(struct net *net)
{
    struct listener *listener;
    pthread_mutex_lock(&net->listen_lock);
    LIST_FOREACH(listener, &net->listeners, next)
    {
        if (!listener->is_resting)
            continue;
        listener->is_resting = false;
        uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
    }
    pthread_mutex_unlock(&net->listen_lock);
}
