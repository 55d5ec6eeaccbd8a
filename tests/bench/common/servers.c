/* SPDX-License-Identifier: Apache-2.0
 *
 * servers.c - Redis and memcached as peers. Every SET is answered by the same number of bytes
 * ("+OK", "STORED"), so answers are counted, and compared with what a success looks like.
 */
#include "servers.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define OUT_BYTES     (256u << 10)
#define START_SECONDS 20

static const char *const answers[] = {"+OK\r\n", "STORED\r\n"};

static _Noreturn void run(const struct server *server)
{
    const char *directory = bench_directory();
    const struct passwd *user = getpwuid(geteuid());
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen("/dev/null", "w", stdout))
        _exit(127);
    if (server->kind == SERVER_REDIS)
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->socket,
               "--dir", directory, "--save", "", "--appendonly", "no", (char *)NULL);
    else
        execlp("memcached", "memcached", "-s", server->socket, "-m", "4096", "-t", "1", "-u",
               user ? user->pw_name : "nobody", (char *)NULL);
    _exit(127);
}

static bool is_gone(struct server *server)
{
    int status;
    if (waitpid(server->pid, &status, WNOHANG) != server->pid)
        return false;
    server->pid = 0;
    return true;
}

static bool connect_to(struct server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    double until = bench_now_s() + START_SECONDS;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server->socket);
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(server->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        if (is_gone(server) || bench_now_s() > until)
            return false;
        poll(NULL, 0, 5);
    }
    return true;
}

static uint64_t resident_bytes(pid_t pid)
{
    char path[64];
    char line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

bool server_start(struct server *server, enum server_kind kind)
{
    *server = (struct server){.kind = kind, .fd = -1, .out_cap = OUT_BYTES};
    snprintf(server->socket, sizeof(server->socket), "%s/%s", bench_directory(),
             kind == SERVER_REDIS ? "redis" : "memcached");
    server->out = malloc(server->out_cap);
    server->pid = fork();
    if (server->pid == 0)
        run(server);
    if (!server->out || server->pid < 0 || !connect_to(server)) {
        server_stop(server);
        return false;
    }
    server->empty_bytes = resident_bytes(server->pid);
    return true;
}

void server_stop(struct server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    if (server->fd >= 0)
        close(server->fd);
    unlink(server->socket);
    free(server->out);
    *server = (struct server){.fd = -1};
}

uint64_t server_memory_bytes(const struct server *server)
{
    return resident_bytes(server->pid) - server->empty_bytes;
}

/* --- talking to it -------------------------------------------------------------------------- */

/* Takes what has been answered and compares it; how many bytes. */
static size_t take_answers(struct server *server, size_t offset)
{
    const char *answer = answers[server->kind];
    size_t period = strlen(answer);
    char in[16384];
    ssize_t got = recv(server->fd, in, sizeof(in), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        bench_die("a peer hung up");
    for (ssize_t i = 0; i < got; i++)
        if (in[i] != answer[(offset + (size_t)i) % period])
            bench_die("a peer answers: %.60s", in);
    return (size_t)got;
}

void server_flush(struct server *server)
{
    size_t sent = 0;
    size_t taken = 0;
    while (sent < server->out_bytes || taken < server->answer_bytes) {
        struct pollfd ready = {.fd = server->fd, .events = POLLIN};
        if (sent < server->out_bytes)
            ready.events |= POLLOUT;
        poll(&ready, 1, -1);
        if (ready.revents & POLLOUT) {
            ssize_t done = send(server->fd, server->out + sent, server->out_bytes - sent,
                                MSG_DONTWAIT | MSG_NOSIGNAL);
            sent += done > 0 ? (size_t)done : 0;
        }
        if (ready.revents & ~POLLOUT)
            taken += take_answers(server, taken);
    }
    server->out_bytes = 0;
    server->answer_bytes = 0;
}

static void append(struct server *server, const void *data, size_t bytes)
{
    memcpy(server->out + server->out_bytes, data, bytes);
    server->out_bytes += bytes;
}

void server_set(struct server *server, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes)
{
    char head[96];
    int head_bytes;
    if (server->out_bytes + key_bytes + value_bytes + 2 * sizeof(head) > server->out_cap)
        server_flush(server);
    if (server->kind == SERVER_REDIS) {
        head_bytes = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%zu\r\n", key_bytes);
        append(server, head, (size_t)head_bytes);
        append(server, key, key_bytes);
        head_bytes = snprintf(head, sizeof(head), "\r\n$%zu\r\n", value_bytes);
    } else {
        append(server, "set ", 4);
        append(server, key, key_bytes);
        head_bytes = snprintf(head, sizeof(head), " 0 0 %zu\r\n", value_bytes);
    }
    append(server, head, (size_t)head_bytes);
    append(server, value, value_bytes);
    append(server, "\r\n", 2);
    server->answer_bytes += strlen(answers[server->kind]);
}
