/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.c - tells the service manager, in the protocol of sd_notify(3).
 *
 * A message is a datagram to the socket that NOTIFY_SOCKET names. sd_notify() itself waits while
 * nobody reads there and the socket is full, which it is after some ten messages: the daemon would
 * stand still for as long. Here a message that does not fit stays due, and is sent by a later call,
 * at the latest notify_alive's. Of each kind only the last one is kept.
 *
 * Limits: a socket of the address family AF_UNIX, as every service manager on the same host has.
 */
#include "server/daemon/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "alloc/clock.h"

enum { LINE_BYTES = 1024 };

/* In the order in which they are sent. */
enum {
    DUE_RELOADING = 1 << 0,
    DUE_READY = 1 << 1,
    DUE_STOPPING = 1 << 2,
    DUE_STATUS = 1 << 3,
    DUE_WATCHDOG = 1 << 4,
    DUE_LAST = DUE_WATCHDOG,
};

/* --- sending ---------------------------------------------------------------------------------- */

/* The service manager's address; a name that begins with '@' is not in the file system. */
static bool find_address(struct sockaddr_un *address, socklen_t *bytes)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const size_t length = path ? strlen(path) : 0;
    if (length < 2 || (path[0] != '/' && path[0] != '@') || length >= sizeof(address->sun_path))
        return false;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length);
    const bool is_file = path[0] == '/';
    if (!is_file)
        address->sun_path[0] = '\0';
    *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + is_file);
    return true;
}

/* False: there is no room now. What cannot be sent at all counts as sent. */
static bool send_line(const char *line)
{
    struct sockaddr_un address;
    socklen_t bytes;
    if (!find_address(&address, &bytes))
        return true;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    const ssize_t sent = sendto(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT,
                                (const struct sockaddr *)&address, bytes);
    const bool no_room = sent < 0 && (errno == EAGAIN || errno == ENOBUFS);
    close(fd);
    return !no_room;
}

static bool send_kind(const struct notify *notify, unsigned kind)
{
    char line[LINE_BYTES];
    switch (kind) {
    case DUE_RELOADING:
        snprintf(line, sizeof(line), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, notify->reloading_us);
        return send_line(line);
    case DUE_READY:
        return send_line("READY=1");
    case DUE_STOPPING:
        return send_line("STOPPING=1");
    case DUE_STATUS:
        snprintf(line, sizeof(line), "STATUS=%s", notify->status);
        return send_line(line);
    default:
        return send_line("WATCHDOG=1");
    }
}

static void send_due(struct notify *notify)
{
    for (unsigned kind = 1; kind <= DUE_LAST; kind <<= 1) {
        if (!(notify->due & kind))
            continue;
        if (!send_kind(notify, kind))
            return;
        notify->due &= ~kind;
    }
}

/* --- what there is to tell -------------------------------------------------------------------- */

void notify_init(struct notify *notify)
{
    uint64_t watchdog_us = 0;
    if (sd_watchdog_enabled(0, &watchdog_us) > 0)
        notify->watchdog_ms = watchdog_us / 2000;
}

void notify_ready(struct notify *notify)
{
    notify->due |= DUE_READY;
    send_due(notify);
}

void notify_reloading(struct notify *notify)
{
    notify->due &= ~(unsigned)DUE_READY; /* it will be said again */
    notify->due |= DUE_RELOADING;
    notify->reloading_us = clock_us();
    send_due(notify);
}

void notify_stopping(struct notify *notify)
{
    notify->due = (notify->due & DUE_STATUS) | DUE_STOPPING;
    send_due(notify);
}

void notify_alive(struct notify *notify, uint64_t now_ms)
{
    if (notify->watchdog_ms && now_ms >= notify->watchdog_at_ms) {
        notify->watchdog_at_ms = now_ms + notify->watchdog_ms;
        notify->due |= DUE_WATCHDOG;
    }
    send_due(notify);
}

void notify_status(struct notify *notify, const char *status)
{
    char line[sizeof(notify->status)];
    snprintf(line, sizeof(line), "%s", status);
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) /* a new line would be another message */
            *at = ' ';
    if (strcmp(line, notify->status) != 0) {
        memcpy(notify->status, line, sizeof(line));
        notify->due |= DUE_STATUS;
    }
    send_due(notify);
}
