/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c - starts servers, fills them and asks how much memory they have.
 *
 * A port is found by binding one that the system chooses and closing it again; a server that finds
 * it taken meanwhile ends, which is seen, and another is tried. Ours is the program resp_server of
 * the build, beside the one that runs.
 */
#include "peers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/bench.h"
#include "common/rows.h"
#include "floor.h"

#define START_SECONDS 20
#define START_TRIES   3
#define FILL_BYTES    (128u << 10)
#define LIMIT_BYTES   "4294967296"
#define CACHE_BYTES   "4026531840"

const char *peer_name(enum peer_kind kind)
{
    static const char *const names[PEER_KINDS] = {"sidepond", "Redis", "memcached", "the floor"};
    return names[kind];
}

void peer_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (cpu < 0 || i == cpu)
            CPU_SET(i, &set);
    /* With a single processor there is nothing to pin; the figures then say less. */
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bench_note("processor %d cannot be had: %s", cpu, strerror(errno));
}

/* --- processes ------------------------------------------------------------------------------ */

static _Noreturn void run_ours(const struct peer *peer)
{
    char program[512];
    char address[192];
    char threads[16];
    char pond[160];
    ssize_t bytes = readlink("/proc/self/exe", program, sizeof(program) - 32);
    program[bytes > 0 ? bytes : 0] = '\0';
    char *slash = strrchr(program, '/');
    snprintf(slash ? slash + 1 : program, 32, "resp_server");
    if (peer->options.transport == PEER_TCP)
        snprintf(address, sizeof(address), "127.0.0.1:%u", peer->port);
    else
        snprintf(address, sizeof(address), "unix:%s", peer->socket);
    snprintf(threads, sizeof(threads), "%u", peer->options.threads);
    snprintf(pond, sizeof(pond), "%s/pond", peer->directory);
    execl(program, "resp_server", pond, address, "--threads", threads, "--limit", LIMIT_BYTES,
          "--cache", CACHE_BYTES, peer->options.huge_pages ? "--huge-pages" : (char *)NULL,
          (char *)NULL);
    _exit(127);
}

static _Noreturn void run_redis(const struct peer *peer)
{
    char port[16];
    char threads[16];
    bool tcp = peer->options.transport == PEER_TCP;
    bool aof = peer->options.keeps == PEER_KEEPS_AOF;
    snprintf(port, sizeof(port), "%u", peer->port);
    snprintf(threads, sizeof(threads), "%u", peer->options.threads);
    execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", tcp ? port : "0",
           "--unixsocket", peer->socket, "--dir", peer->directory, "--save", "", "--appendonly",
           aof ? "yes" : "no", "--io-threads", threads, "--io-threads-do-reads",
           peer->options.threads > 1 ? "yes" : "no", (char *)NULL);
    _exit(127);
}

static _Noreturn void run_memcached(const struct peer *peer)
{
    const struct passwd *user = getpwuid(geteuid());
    const char *name = user ? user->pw_name : "nobody";
    char port[16];
    char threads[16];
    snprintf(port, sizeof(port), "%u", peer->port);
    snprintf(threads, sizeof(threads), "%u", peer->options.threads);
    if (peer->options.transport == PEER_TCP)
        execlp("memcached", "memcached", "-l", "127.0.0.1", "-p", port, "-m", "4096", "-t", threads,
               "-u", name, (char *)NULL);
    else
        execlp("memcached", "memcached", "-s", peer->socket, "-m", "4096", "-t", threads, "-u",
               name, (char *)NULL);
    _exit(127);
}

static _Noreturn void run_floor(const struct peer *peer)
{
    int one = 1;
    int listener = socket(peer->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (const struct sockaddr *)&peer->address, peer->address_bytes) != 0 ||
        listen(listener, 128) != 0)
        _exit(127);
    floor_serve(listener);
}

static _Noreturn void run(const struct peer *peer)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (peer->options.pinned)
        peer_pin(0);
    if (!freopen("/dev/null", "w", stdout))
        _exit(127);
    switch (peer->options.kind) {
    case PEER_OURS:
        run_ours(peer);
    case PEER_REDIS:
        run_redis(peer);
    case PEER_MEMCACHED:
        run_memcached(peer);
    default:
        run_floor(peer);
    }
}

void peer_restart(struct peer *peer)
{
    if (peer->options.transport == PEER_UNIX)
        unlink(peer->socket);
    peer->pid = fork();
    if (peer->pid == 0)
        run(peer);
    if (peer->pid < 0)
        bench_die("fork: %s", strerror(errno));
}

void peer_kill(struct peer *peer)
{
    if (peer->pid > 0) {
        kill(peer->pid, SIGKILL);
        waitpid(peer->pid, NULL, 0);
    }
    peer->pid = 0;
}

static bool is_gone(struct peer *peer)
{
    if (waitpid(peer->pid, NULL, WNOHANG) != peer->pid)
        return false;
    peer->pid = 0;
    return true;
}

static bool wait_for_it(struct peer *peer)
{
    double until = bench_now_s() + START_SECONDS;
    int fd;
    while ((fd = peer_connect(peer)) < 0) {
        if (is_gone(peer) || bench_now_s() > until)
            return false;
        poll(NULL, 0, 5);
    }
    close(fd);
    return true;
}

/* --- addresses ------------------------------------------------------------------------------ */

static void choose_port(struct peer *peer)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&peer->address;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer->address_bytes = sizeof(*in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)in, sizeof(*in)) != 0 ||
        getsockname(fd, (struct sockaddr *)in, &peer->address_bytes) != 0)
        bench_die("no port is free: %s", strerror(errno));
    close(fd);
    peer->port = ntohs(in->sin_port);
}

static void choose_address(struct peer *peer)
{
    snprintf(peer->socket, sizeof(peer->socket), "%s/socket", peer->directory);
    if (peer->options.transport == PEER_TCP) {
        choose_port(peer);
        return;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)&peer->address;
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(un->sun_path, peer->socket, strnlen(peer->socket, sizeof(un->sun_path) - 1));
    peer->address_bytes = sizeof(*un);
}

bool peer_start(struct peer *peer, const struct peer_options *options)
{
    static unsigned started;
    *peer = (struct peer){.options = *options,
                          .wire = options->kind == PEER_MEMCACHED ? WIRE_MEMCACHED : WIRE_RESP};
    if (peer->options.threads == 0)
        peer->options.threads = 1;
    snprintf(peer->directory, sizeof(peer->directory), "%s/%u", bench_directory(), started++);
    if (mkdir(peer->directory, 0700) != 0)
        bench_die("%s: %s", peer->directory, strerror(errno));
    for (unsigned i = 0; i < START_TRIES; i++) {
        choose_address(peer);
        peer_restart(peer);
        if (wait_for_it(peer))
            return true;
        peer_kill(peer);
    }
    bench_note("%s cannot be started", peer_name(options->kind));
    return false;
}

/* Files of it, and of the folders in it, one deep: the pond's, Redis' parts of its log. */
static void each_file(const char *directory, unsigned depth,
                      void (*take)(const char *path, void *context), void *context)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char path[512];
    while (dir && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (entry->d_type == DT_DIR && depth > 0)
            each_file(path, depth - 1, take, context);
        take(path, context);
    }
    if (dir)
        closedir(dir);
}

static void remove_file(const char *path, void *context)
{
    (void)context;
    (void)remove(path);
}

void peer_stop(struct peer *peer)
{
    peer_kill(peer);
    each_file(peer->directory, 1, remove_file, NULL);
    rmdir(peer->directory);
}

/* --- talking to it -------------------------------------------------------------------------- */

int peer_connect(const struct peer *peer)
{
    int one = 1;
    int fd = socket(peer->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&peer->address, peer->address_bytes) != 0) {
        close(fd);
        return -1;
    }
    if (peer->options.transport == PEER_TCP)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

size_t peer_ask(int fd, const char *request, size_t request_bytes, char *reply, size_t room)
{
    size_t have = 0;
    reply[0] = '\0';
    if (send(fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
        return 0;
    do {
        ssize_t got = recv(fd, reply + have, room - have - 1, 0);
        if (got <= 0)
            return 0;
        have += (size_t)got;
        reply[have] = '\0';
    } while (reply[have - 1] != '\n' && have + 1 < room);
    return have;
}

/* As many replies as requests were sent, all alike. */
static void take_replies(int fd, const struct wire_reply *reply, size_t count)
{
    char in[4096];
    size_t left = count * reply->bytes;
    while (left > 0) {
        size_t want = sizeof(in) / reply->bytes * reply->bytes;
        ssize_t got = recv(fd, in, left < want ? left : want, MSG_WAITALL);
        if (got <= 0)
            bench_die("a server hung up while it was filled");
        for (size_t at = 0; at + reply->bytes <= (size_t)got; at += reply->bytes)
            if (memcmp(in + at, reply->text, reply->bytes) != 0)
                bench_die("a server answers a SET by %.60s", in + at);
        left -= (size_t)got;
    }
}

static void send_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            bench_die("a server hung up while it was filled");
        data += sent;
        bytes -= (size_t)sent;
    }
}

uint64_t peer_fill(const struct peer *peer, const struct peer_fill *fill)
{
    static char out[FILL_BYTES + ROWS_VALUE_MAX + 2 * WIRE_HEAD_MAX];
    struct wire_reply reply;
    uint64_t data_bytes = 0;
    size_t bytes = 0;
    size_t waiting = 0;
    int fd = peer_connect(peer);
    wire_set_reply(peer->wire, &reply);
    for (uint32_t i = 0; i < fill->count; i++) {
        uint32_t number = fill->first + i;
        size_t value = fill->lognormal ? rows_lognormal(number, 0) : WIRE_VALUE_BYTES;
        bytes += wire_set(peer->wire, number, value, fill->expires_unix_s, out + bytes);
        data_bytes += WIRE_KEY_BYTES + value;
        waiting++;
        if (bytes < FILL_BYTES && i + 1 < fill->count)
            continue;
        send_all(fd, out, bytes);
        take_replies(fd, &reply, waiting);
        bytes = waiting = 0;
    }
    close(fd);
    return data_bytes;
}

/* --- memory --------------------------------------------------------------------------------- */

static void add_blocks(const char *path, void *context)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        *(uint64_t *)context += (uint64_t)st.st_blocks * 512;
}

/* Resident pages but for those that are shared: a pond's are counted as blocks of its files. */
static uint64_t private_bytes(pid_t pid)
{
    char path[64];
    char line[256];
    unsigned long long kib;
    uint64_t sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1 || sscanf(line, "RssFile: %llu", &kib) == 1)
            sum += kib * 1024;
    if (file)
        fclose(file);
    return sum;
}

uint64_t peer_memory_bytes(const struct peer *peer)
{
    uint64_t bytes = private_bytes(peer->pid);
    if (peer->options.kind == PEER_OURS)
        each_file(peer->directory, 1, add_blocks, &bytes);
    return bytes;
}

double peer_cpu_s(const struct peer *peer)
{
    clockid_t clock;
    struct timespec taken = {0};
    if (clock_getcpuclockid(peer->pid, &clock) == 0)
        clock_gettime(clock, &taken);
    return (double)taken.tv_sec + (double)taken.tv_nsec * 1e-9;
}
