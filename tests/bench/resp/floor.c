/* SPDX-License-Identifier: Apache-2.0
 *
 * floor.c - one thread: epoll, recv of what is there, a walk over the lengths, one send. It looks
 * at no key and keeps nothing, so no server that does can be much faster with these system calls.
 *
 * Limits: 256 connections; a request, and the replies to one read, must fit into 256 KiB; requests
 * are arrays of bulk strings. What is otherwise closes the connection.
 */
#include "floor.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

enum { CONNECTIONS_MAX = 256, ROOM_BYTES = 256 << 10, READ_BYTES = 16 << 10, EVENTS = 64 };

struct connection {
    int fd;
    size_t have;
    char in[ROOM_BYTES];
};

struct server {
    int epoll;
    struct connection *connections[CONNECTIONS_MAX]; /* by descriptor */
    char out[ROOM_BYTES * 4];
    struct wire_reply value;
};

/* A number and its line end; where it ends, or NULL: not all of it is here. */
static const char *length_at(const char *at, const char *end, size_t *out)
{
    size_t number = 0;
    while (at < end && *at >= '0' && *at <= '9')
        number = number * 10 + (size_t)(*at++ - '0');
    *out = number;
    return end - at >= 2 ? at + 2 : NULL;
}

/* Where the command ends, or NULL: not all of it is here. */
static const char *command_end(const char *at, const char *end, bool *is_get)
{
    size_t count = 0;
    size_t bytes = 0;
    const char *next = at < end ? length_at(at + 1, end, &count) : NULL;
    for (size_t i = 0; next && i < count; i++) {
        next = end - next > 1 ? length_at(next + 1, end, &bytes) : NULL;
        if (!next || (size_t)(end - next) < bytes + 2)
            return NULL;
        if (i == 0)
            *is_get = bytes == 3 && (next[0] == 'G' || next[0] == 'g');
        next += bytes + 2;
    }
    return next;
}

/* Answers all whole commands. False: the connection has to go. */
static bool answer(struct server *server, struct connection *connection)
{
    const char *at = connection->in;
    const char *end = at + connection->have;
    const char *next;
    size_t bytes = 0;
    bool is_get = false;
    while ((next = command_end(at, end, &is_get)) != NULL) {
        const char *text = is_get ? server->value.text : "+OK\r\n";
        size_t text_bytes = is_get ? server->value.bytes : 5;
        if (bytes + text_bytes > sizeof(server->out))
            return false;
        memcpy(server->out + bytes, text, text_bytes);
        bytes += text_bytes;
        at = next;
    }
    connection->have = (size_t)(end - at);
    if (connection->have > 0 && at != connection->in)
        memmove(connection->in, at, connection->have);
    return bytes == 0 || send(connection->fd, server->out, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

static bool serve_one(struct server *server, struct connection *connection)
{
    size_t room = sizeof(connection->in) - connection->have;
    if (room == 0)
        return false;
    ssize_t got = recv(connection->fd, connection->in + connection->have,
                       room < READ_BYTES ? room : READ_BYTES, MSG_DONTWAIT);
    if (got <= 0)
        return false;
    connection->have += (size_t)got;
    return answer(server, connection);
}

static void drop(struct server *server, int fd)
{
    free(server->connections[fd]);
    server->connections[fd] = NULL;
    close(fd);
}

static void accept_one(struct server *server, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct connection *connection = fd < CONNECTIONS_MAX ? malloc(sizeof(*connection)) : NULL;
    if (!connection) {
        close(fd);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    connection->fd = fd;
    connection->have = 0;
    server->connections[fd] = connection;
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        drop(server, fd);
}

_Noreturn void floor_serve(int listener)
{
    static struct server server;
    struct epoll_event events[EVENTS];
    struct epoll_event accepts = {.events = EPOLLIN, .data.fd = listener};
    wire_get_reply(WIRE_RESP, &server.value);
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(server.epoll, EPOLL_CTL_ADD, listener, &accepts);
    for (;;) {
        int count = epoll_wait(server.epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_one(&server, listener);
            else if (!serve_one(&server, server.connections[fd]))
                drop(&server, fd);
        }
    }
}
