/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_servers.c - starting and ending redis-servers for a test.
 */
#include "tests/system/ring_servers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STARTS_WITHIN_MS 10000

static int free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    close(fd);
    return ntohs(name.sin_port);
}

static void become_server(const struct ring_servers *servers, unsigned which)
{
    char port[16];
    snprintf(port, sizeof port, "%d", servers->ports[which]);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
    execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
           "--appendonly", "no", "--dir", servers->directory, (char *)NULL);
    perror("redis-server");
    _exit(127);
}

static redisContext *connect_to(const struct ring_servers *servers, unsigned which)
{
    const struct timeval limit = {.tv_sec = 5};
    redisContext *context = redisConnectWithTimeout("127.0.0.1", servers->ports[which], limit);
    if (context != NULL && context->err != 0) {
        redisFree(context);
        context = NULL;
    }
    return context;
}

void ring_servers_start(struct ring_servers *servers, unsigned which)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    servers->pids[which] = fork();
    assert_true(servers->pids[which] >= 0);
    if (servers->pids[which] == 0)
        become_server(servers, which);
    for (int tries = 0; tries < STARTS_WITHIN_MS / 5; tries++) {
        redisContext *context = connect_to(servers, which);
        redisReply *reply = context != NULL ? redisCommand(context, "PING") : NULL;
        bool answers = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        if (reply != NULL)
            freeReplyObject(reply);
        if (context != NULL)
            redisFree(context);
        if (answers)
            return;
        nanosleep(&pause, NULL);
    }
    fail_msg("redis-server %u does not answer", which);
}

void ring_servers_signal(const struct ring_servers *servers, unsigned which, int signal)
{
    assert_int_equal(kill(servers->pids[which], signal), 0);
    if (signal == SIGSTOP) /* until it has stopped */
        assert_int_equal(waitpid(servers->pids[which], NULL, WUNTRACED), servers->pids[which]);
}

void ring_servers_kill(struct ring_servers *servers, unsigned which)
{
    if (servers->pids[which] <= 0)
        return;
    kill(servers->pids[which], SIGKILL);
    waitpid(servers->pids[which], NULL, 0);
    servers->pids[which] = 0;
}

unsigned ring_servers_of(const struct ring_servers *servers, const char *key, unsigned copy)
{
    struct sp_ring_where where;
    assert_ok(sp_ring_where(servers->ring, key, strlen(key), &where));
    assert_true(copy < where.count);
    return (unsigned)(where.names[copy][0] - 'a');
}

void ring_servers_key(const struct ring_servers *servers, unsigned owner, unsigned number,
                      char out[32])
{
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(out, 32, "key:%u:%u", number, i);
        if (ring_servers_of(servers, out, 0) == owner)
            return;
    }
    fail_msg("server %u owns nothing", owner);
}

void ring_servers_get(const struct ring_servers *servers, unsigned which, const char *key,
                      char out[64])
{
    redisContext *context = connect_to(servers, which);
    assert_non_null(context);
    redisReply *reply = redisCommand(context, "GET %s", key);
    assert_non_null(reply);
    snprintf(out, 64, "%s", reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);
    redisFree(context);
}

int ring_servers_setup(void **state)
{
    static struct ring_servers servers;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    memset(&servers, 0, sizeof servers);
    *state = &servers;
    snprintf(servers.directory, sizeof servers.directory, "/tmp/sidepond-ring.XXXXXX");
    assert_non_null(mkdtemp(servers.directory));
    size_t size = 0;
    for (unsigned i = 0; i < SERVERS; i++) {
        servers.ports[i] = free_port();
        ring_servers_start(&servers, i);
        size +=
            (size_t)snprintf(servers.list + size, sizeof servers.list - size, "%s%c=127.0.0.1:%d",
                             i > 0 ? "," : "", 'a' + (int)i, servers.ports[i]);
    }
    options.nodes = servers.list;
    options.redis = true;
    options.probe_ms = 20;
    options.hedge_ms = 20;
    assert_ok(sp_ring_open(&options, &servers.ring));
    return 0;
}

int ring_servers_teardown(void **state)
{
    struct ring_servers *servers = *state;
    sp_ring_close(servers->ring);
    for (unsigned i = 0; i < SERVERS; i++)
        ring_servers_kill(servers, i);
    rmdir(servers->directory);
    return 0;
}
