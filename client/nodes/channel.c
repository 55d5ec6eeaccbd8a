/* SPDX-License-Identifier: Apache-2.0
 *
 * channel.c - one socket to a node: connecting without waiting, the greeting, sending, receiving.
 *
 * The greeting (AUTH, and SIDEPOND ATTACH for sidepondd) and the first requests go out together, so
 * a fresh connection costs one round trip more, that of TCP. Where the greeting fails, the requests
 * behind it fail as well: nothing is done by a user who has no right to it.
 *
 * The socket blocks, which only channel_receive makes use of, for about receive_ms at most;
 * everything else is sent and received without waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "client/cache/link.h"
#include "client/nodes/nodes.h"

#define RECEIVE_BYTES 16384u /* at one time */
#define OUT_KEPT      65536u /* more is given back */
#define KEEPALIVE_S   15

/* --- connecting ------------------------------------------------------------------------------- */

static void set_options(int fd, int family, const struct channel_settings *settings)
{
    const int on = 1, idle_s = KEEPALIVE_S;
    const unsigned unacknowledged_ms = settings->timeout_ms * 2;
    const struct timeval limit = {.tv_sec = settings->receive_ms / 1000,
                                  .tv_usec = settings->receive_ms % 1000 * 1000L};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (family == AF_UNIX)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
                     sizeof unacknowledged_ms);
}

/* From now on calls on the socket wait where they are not told otherwise. */
static int connected(struct channel *channel)
{
    channel->connecting = false;
    int flags = fcntl(channel->fd, F_GETFL);
    return flags < 0 || fcntl(channel->fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? errno : 0;
}

/* Begins to connect to the address at hand, or the next one that does not fail at once. */
static int connect_some(struct channel *channel, const struct node_addresses *addresses,
                        const struct channel_settings *settings)
{
    int error = EADDRNOTAVAIL;
    for (; channel->address < addresses->count; channel->address++) {
        const struct sockaddr_storage *to = &addresses->at[channel->address];
        channel->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (channel->fd < 0)
            return errno;
        set_options(channel->fd, to->ss_family, settings);
        if (connect(channel->fd, (const struct sockaddr *)to, addresses->sizes[channel->address]) ==
            0)
            return connected(channel);
        if (errno == EINPROGRESS || (errno == EINTR && to->ss_family != AF_UNIX)) {
            channel->connecting = true;
            return 0;
        }
        error = errno;
        channel_close(channel);
    }
    return error;
}

static int put_greeting(struct channel *channel, const struct channel_settings *settings)
{
    char digits[PUT_NUMBER_BYTES];
    struct argument login[3] = {{"AUTH", 4}};
    size_t count = 1;
    int status = SP_OK;
    if (settings->password != NULL) {
        if (settings->user != NULL)
            login[count++] = (struct argument){settings->user, strlen(settings->user)};
        login[count++] = (struct argument){settings->password, strlen(settings->password)};
        status = put_arguments(&channel->out, login, count);
        channel->greetings++;
    }
    if (settings->attach && status == SP_OK) {
        const struct argument attach[] = {
            {"SIDEPOND", 8}, {"ATTACH", 6}, {digits, put_digits(digits, settings->epoch)}};
        status = put_arguments(&channel->out, attach, 3);
        channel->greetings++;
    }
    channel->base = channel->out.size;
    return status;
}

int channel_open(struct channel *channel, const struct node_addresses *addresses,
                 const struct channel_settings *settings)
{
    channel->reader = answer_reader_new();
    if (channel->reader == NULL || put_greeting(channel, settings) != SP_OK)
        return ENOMEM;
    channel->connect_by_us = clock_us() + settings->connect_ms * 1000ull;
    return connect_some(channel, addresses, settings);
}

int channel_connected(struct channel *channel)
{
    int error = 0;
    socklen_t error_bytes = sizeof error;
    if (getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0)
        return errno;
    return error != 0 ? error : connected(channel);
}

int channel_next_address(struct channel *channel, const struct node_addresses *addresses,
                         const struct channel_settings *settings)
{
    channel_close(channel);
    channel->connecting = false;
    channel->connect_by_us = clock_us() + settings->connect_ms * 1000ull;
    channel->address++;
    return connect_some(channel, addresses, settings);
}

/* --- sending and receiving -------------------------------------------------------------------- */

int channel_send(struct channel *channel)
{
    while (channel->sent < channel->out.size) {
        ssize_t sent = send(channel->fd, (const char *)channel->out.data + channel->sent,
                            channel->out.size - channel->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            channel->sent += (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

int channel_receive(struct channel *channel, bool wait, bool *some)
{
    char bytes[RECEIVE_BYTES];
    ssize_t size = recv(channel->fd, bytes, sizeof bytes, wait ? 0 : MSG_DONTWAIT);
    *some = size > 0;
    if (size == 0)
        return ECONNRESET;
    if (size < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : errno;
    return redisReaderFeed(channel->reader, bytes, (size_t)size) == REDIS_OK ? 0 : ENOMEM;
}

bool channel_begins(const struct channel *channel)
{
    return channel->reader->ridx == -1;
}

int channel_reply(struct channel *channel)
{
    void *reply = NULL;
    struct answer *answer = &channel->answer;
    channel->reader->privdata = answer;
    if (redisReaderGetReply(channel->reader, &reply) != REDIS_OK)
        return channel->reader->err == REDIS_ERR_OOM ? SP_ENOMEM : SP_ENODAEMON;
    if (reply == NULL)
        return 0;
    if (answer->tree)
        answer->reply = reply;
    return 1;
}

/* --- the end ---------------------------------------------------------------------------------- */

bool channel_quiet(const struct channel *channel)
{
    return channel_begins(channel) && channel->reader->pos == channel->reader->len;
}

bool channel_usable(const struct channel *channel)
{
    char byte;
    return channel->fd >= 0 && recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

void channel_rest(struct channel *channel)
{
    channel->reused = true;
    channel->base = channel->sent = channel->out.size = 0;
    channel->answer.value = NULL;
    if (channel->out.cap > OUT_KEPT)
        sp_buffer_free(&channel->out);
}

void channel_close(struct channel *channel)
{
    int fd = channel->fd;
    channel->fd = -1; /* first: what a child of a fork finds here it closes */
    if (fd >= 0)
        close(fd);
}

void channel_free(struct channel *channel)
{
    if (channel->fd >= 0)
        (void)shutdown(channel->fd, SHUT_RDWR);
    channel_close(channel);
    if (channel->reader != NULL)
        redisReaderFree(channel->reader);
    sp_buffer_free(&channel->out);
    free(channel);
}
