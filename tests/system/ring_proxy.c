/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_proxy.c - a TCP proxy in front of a node, by which networks fail without privileges.
 *
 *     ring_proxy LISTEN_PORT NODE_PORT
 *
 * Both ports are on 127.0.0.1. Every line on standard input changes how it behaves, and is answered
 * by "ok" when that is in force:
 *
 *     pass          bytes go through
 *     refuse        nobody listens, and connections are closed
 *     reset         connections are accepted and reset, those that there are as well
 *     cut           a partition: nothing arrives and nothing is told, in both directions; who
 *                   connects is accepted by the system and hears nothing
 *     cut SOURCE... the same only for those who connect from these addresses, as 127.0.0.12
 *     slow MS       bytes go through, each piece so many ms late
 *     lose PERCENT  of the pieces so many are late by 200 ms, as a lost segment is that TCP repeats
 *
 * After a `cut` the bytes that were held go through, as TCP would have sent them again.
 * It ends when standard input does. One thread; poll; a connection has a buffer for each direction.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX    1024u
#define BUFFER_BYTES 65536u
#define LOSS_MS      200u
#define LINE_BYTES   256u
#define SOURCES_MAX  16u

enum mode { PASS, REFUSE, RESET, CUT };

/* One direction: what has been read of one side and is to be written to the other. */
struct flow {
    size_t from, until; /* in the buffer */
    uint64_t due_ms;    /* when it may go */
    bool ended;         /* the side it comes from writes no more */
    uint8_t buffer[BUFFER_BYTES];
};

struct link {
    int fd[2]; /* client, node */
    in_addr_t source;
    bool cut;
    struct flow flow[2];
};

struct proxy {
    int listener;
    uint16_t port, node_port;
    enum mode mode;
    uint32_t slow_ms, lose_percent;
    uint64_t random;
    size_t source_count; /* of those that are cut */
    in_addr_t sources[SOURCES_MAX];
    size_t link_count;
    struct link *links[LINKS_MAX];
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "ring_proxy: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void listen_again(struct proxy *proxy)
{
    const struct sockaddr_in address = loopback(proxy->port);
    int one = 1;
    if (proxy->listener >= 0)
        return;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(proxy->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(proxy->listener, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(proxy->listener, 512) != 0)
        die("listen");
}

/* --- links ---------------------------------------------------------------------------------- */

static void end_link(struct proxy *proxy, size_t position, bool reset)
{
    const struct linger hard = {.l_onoff = 1};
    struct link *link = proxy->links[position];
    for (int side = 0; side < 2; side++) {
        if (reset)
            setsockopt(link->fd[side], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(link->fd[side]);
    }
    free(link);
    proxy->links[position] = proxy->links[--proxy->link_count];
}

static void end_all(struct proxy *proxy, bool reset)
{
    while (proxy->link_count > 0)
        end_link(proxy, proxy->link_count - 1, reset);
}

static void prepare(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* On loopback a connection is made or refused at once. */
static int connect_node(const struct proxy *proxy)
{
    const struct sockaddr_in address = loopback(proxy->node_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool is_cut(const struct proxy *proxy, in_addr_t source)
{
    size_t i = 0;
    while (i < proxy->source_count && proxy->sources[i] != source)
        i++;
    return i < proxy->source_count;
}

static void accept_link(struct proxy *proxy)
{
    const struct linger hard = {.l_onoff = 1};
    struct sockaddr_in from = {.sin_port = 0};
    socklen_t size = sizeof(from);
    int client = accept4(proxy->listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct link *link = NULL;
    int node = proxy->mode == RESET || proxy->link_count == LINKS_MAX ? -1 : connect_node(proxy);
    if (node >= 0)
        link = calloc(1, sizeof(*link));
    if (!link) {
        setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(client);
        if (node >= 0)
            close(node);
        return;
    }
    prepare(client);
    prepare(node);
    link->fd[0] = client;
    link->fd[1] = node;
    link->source = from.sin_addr.s_addr;
    link->cut = is_cut(proxy, link->source);
    proxy->links[proxy->link_count++] = link;
}

static void delay(struct proxy *proxy, struct flow *flow)
{
    flow->due_ms = now_ms() + proxy->slow_ms;
    proxy->random = proxy->random * 6364136223846793005u + 1442695040888963407u;
    if ((proxy->random >> 33) % 100 < proxy->lose_percent)
        flow->due_ms += LOSS_MS;
}

/* False: the connection is broken. */
static bool read_flow(struct proxy *proxy, struct link *link, int side)
{
    struct flow *flow = &link->flow[side];
    ssize_t got = recv(link->fd[side], flow->buffer, BUFFER_BYTES, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    flow->ended = got == 0;
    flow->from = 0;
    flow->until = (size_t)got;
    delay(proxy, flow);
    if (flow->ended)
        shutdown(link->fd[!side], SHUT_WR);
    return true;
}

static bool write_flow(struct link *link, int side)
{
    struct flow *flow = &link->flow[side];
    ssize_t sent =
        send(link->fd[!side], flow->buffer + flow->from, flow->until - flow->from, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    flow->from += (size_t)sent;
    return true;
}

/* --- the loop ------------------------------------------------------------------------------- */

static short wanted(const struct link *link, int fd_side, uint64_t now)
{
    const struct flow *in = &link->flow[fd_side];
    const struct flow *out = &link->flow[!fd_side];
    short events = 0;
    if (link->cut)
        return 0;
    if (!in->ended && in->from == in->until)
        events |= POLLIN;
    if (out->from < out->until && out->due_ms <= now)
        events |= POLLOUT;
    return events;
}

static bool serve_link(struct proxy *proxy, struct link *link, const struct pollfd *polled)
{
    for (int side = 0; side < 2; side++) {
        short seen = polled[side].revents;
        if (seen & (POLLERR | POLLNVAL))
            return false;
        if ((seen & (POLLIN | POLLHUP)) && wanted(link, side, 0) & POLLIN &&
            !read_flow(proxy, link, side))
            return false;
        if (seen & POLLOUT && link->flow[!side].from < link->flow[!side].until &&
            !write_flow(link, !side))
            return false;
    }
    return !(link->flow[0].ended && link->flow[1].ended);
}

static void cut_sources(struct proxy *proxy, char *list)
{
    struct in_addr source;
    proxy->source_count = 0;
    for (char *word; list && (word = strsep(&list, " \n")) != NULL;)
        if (proxy->source_count < SOURCES_MAX && inet_pton(AF_INET, word, &source) == 1)
            proxy->sources[proxy->source_count++] = source.s_addr;
    for (size_t i = 0; i < proxy->link_count; i++)
        proxy->links[i]->cut = is_cut(proxy, proxy->links[i]->source);
}

static bool obey(struct proxy *proxy)
{
    char line[LINE_BYTES];
    if (!fgets(line, sizeof(line), stdin))
        return false;
    cut_sources(proxy, strncmp(line, "cut ", 4) == 0 ? line + 4 : NULL);
    const uint32_t number = strchr(line, ' ') ? (uint32_t)strtoul(strchr(line, ' '), NULL, 10) : 0;
    proxy->slow_ms = strncmp(line, "slow", 4) == 0 ? number : 0;
    proxy->lose_percent = strncmp(line, "lose", 4) == 0 ? number : 0;
    proxy->mode = strncmp(line, "refuse", 6) == 0  ? REFUSE
                  : strncmp(line, "reset", 5) == 0 ? RESET
                  : strcmp(line, "cut\n") == 0     ? CUT
                                                   : PASS;
    if (proxy->mode == REFUSE && proxy->listener >= 0) {
        close(proxy->listener);
        proxy->listener = -1;
    }
    if (proxy->mode == REFUSE || proxy->mode == RESET)
        end_all(proxy, proxy->mode == RESET);
    if (proxy->mode != REFUSE)
        listen_again(proxy);
    printf("ok\n");
    fflush(stdout);
    return true;
}

/* One round; false: the end. A cut proxy looks at nothing but its orders. */
static bool serve(struct proxy *proxy, struct pollfd *polled)
{
    bool open = proxy->mode != CUT;
    size_t links = open ? proxy->link_count : 0;
    bool waits = proxy->slow_ms > 0 || proxy->lose_percent > 0;
    uint64_t now = now_ms();
    polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = open ? proxy->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < links; i++)
        for (int side = 0; side < 2; side++) {
            struct link *link = proxy->links[i];
            short events = wanted(link, side, now);
            waits |= link->flow[side].from < link->flow[side].until;
            polled[2 + 2 * i + (size_t)side] =
                (struct pollfd){.fd = events ? link->fd[side] : -1, .events = events};
        }
    if (poll(polled, (nfds_t)(2 + 2 * links), waits ? 1 : -1) < 0 && errno != EINTR)
        die("poll");
    for (size_t i = links; i-- > 0;)
        if (!serve_link(proxy, proxy->links[i], &polled[2 + 2 * i]))
            end_link(proxy, i, false);
    if (polled[1].revents & POLLIN)
        accept_link(proxy);
    return !(polled[0].revents & (POLLIN | POLLHUP)) || obey(proxy);
}

int main(int argc, char **argv)
{
    static struct proxy proxy = {.listener = -1, .random = 1};
    static struct pollfd polled[2 + 2 * LINKS_MAX];
    if (argc != 3) {
        fprintf(stderr, "ring_proxy LISTEN_PORT NODE_PORT\n");
        return 2;
    }
    proxy.port = (uint16_t)strtoul(argv[1], NULL, 10);
    proxy.node_port = (uint16_t)strtoul(argv[2], NULL, 10);
    /* Orders are read line by line, and poll must see what stdio has not taken. */
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    listen_again(&proxy);
    printf("ok\n");
    fflush(stdout);
    while (serve(&proxy, polled))
        ;
    end_all(&proxy, false);
    return 0;
}
