/* SPDX-License-Identifier: Apache-2.0
 *
 * test_agent_change.c - Goal: what an agent watches stays as it is where there is no memory for
 * another configuration; a server whose checks go on as they were told to is not taken for late
 * when they shall be more frequent. Method: an agent without ZooKeeper, and a server that says what
 * Redis says; reallocations that fail, and a monotonic clock that can be put forward (the linker's
 * --wrap).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/clock.h"
#include "server/agent/agent.h"

#define WITHIN_MS 10000u
#define HOUR_MS   3600000u

/* --- memory and time -------------------------------------------------------------------------- */

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

static _Atomic bool no_memory;
static _Atomic unsigned ahead_seconds;

void *__wrap_realloc(void *old, size_t size)
{
    return atomic_load(&no_memory) ? NULL : __real_realloc(old, size);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = __real_clock_gettime(clock, out);
    if (clock == CLOCK_MONOTONIC)
        out->tv_sec += atomic_load(&ahead_seconds);
    return result;
}

/* --- a server --------------------------------------------------------------------------------- */

static int listener;
static _Atomic int talking = -1;
static char address[64];

/* Each request is one of PING and INFO, and comes in one piece. */
static void *serve(void *context)
{
    static const char info[] = "role:master\r\nrun_id:0123\r\nloading:0\r\n";
    char request[256], answer[256];
    int link;
    (void)context;
    while ((link = accept(listener, NULL, NULL)) >= 0) {
        ssize_t size;
        atomic_store(&talking, link);
        while ((size = recv(link, request, sizeof request - 1, 0)) > 0) {
            request[size] = '\0';
            if (strstr(request, "INFO") != NULL)
                snprintf(answer, sizeof answer, "$%zu\r\n%s\r\n", sizeof info - 1, info);
            else
                snprintf(answer, sizeof answer, "+PONG\r\n");
            (void)!send(link, answer, strlen(answer), MSG_NOSIGNAL);
        }
        atomic_store(&talking, -1);
        close(link);
    }
    return NULL;
}

static pthread_t server;

static int setup(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    (void)state;
    atomic_store(&no_memory, false);
    atomic_store(&ahead_seconds, 0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
    return pthread_create(&server, NULL, serve, NULL);
}

static int teardown(void **state)
{
    (void)state;
    shutdown(listener, SHUT_RDWR);
    shutdown(atomic_load(&talking), SHUT_RDWR); /* of an agent that a failed test has left */
    pthread_join(server, NULL);
    close(listener);
    return 0;
}

/* --- an agent --------------------------------------------------------------------------------- */

static struct config_agent_node nodes[2];

static struct config_agent configure(unsigned first, unsigned count, uint32_t check_ms)
{
    nodes[0] = (struct config_agent_node){.name = "a", .address = address, .weight = 100};
    nodes[1] = (struct config_agent_node){.name = "b", .address = "127.0.0.1:1", .weight = 100};
    return (struct config_agent){.enabled = true,
                                 .cluster = "test",
                                 .zookeeper = "127.0.0.1:1",
                                 .session_ms = 4000,
                                 .replicas = 2,
                                 .slots = 16,
                                 .check_ms = check_ms,
                                 .deadline_ms = 5000,
                                 .throttle_bytes = 1 << 20,
                                 .nodes = nodes + first,
                                 .node_count = count};
}

static struct agent_figures figures_of(struct agent *agent)
{
    struct agent_figures figures[2];
    assert_int_equal(agent_figures(agent, figures, 2), 1);
    return figures[0];
}

static bool is_well(const struct agent_figures *figures)
{
    return figures->state == AGENT_WELL;
}

static bool is_in_time(const struct agent_figures *figures)
{
    return figures->late_ms == 0;
}

static void await(struct agent *agent, bool (*what)(const struct agent_figures *figures))
{
    struct agent_figures figures = figures_of(agent);
    for (uint64_t until_ms = clock_ms() + WITHIN_MS; !what(&figures); figures = figures_of(agent)) {
        assert_true(clock_ms() < until_ms);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static struct agent *begin(void)
{
    const struct config_agent config = configure(0, 1, HOUR_MS);
    char why[AGENT_WHY_BYTES];
    struct agent *agent;
    assert_int_equal(agent_start(&config, &agent, why), SP_OK);
    await(agent, is_well);
    atomic_store(&ahead_seconds, 1800);
    await(agent, is_in_time); /* it rests until the next check */
    atomic_store(&ahead_seconds, 0);
    return agent;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_no_memory(void **state)
{
    const struct config_agent more = configure(0, 2, HOUR_MS), other = configure(1, 1, HOUR_MS);
    char why[AGENT_WHY_BYTES];
    struct agent *agent = begin();
    (void)state;
    atomic_store(&no_memory, true);
    assert_int_equal(agent_change(agent, &more, why), SP_ENOMEM);
    assert_string_not_equal(why, "");
    assert_string_equal(figures_of(agent).name, "a");
    int status = agent_change(agent, &other, why);
    assert_string_equal(figures_of(agent).name, status == SP_OK ? "b" : "a");
    atomic_store(&no_memory, false);
    agent_stop(agent);
}

static void test_not_late(void **state)
{
    struct config_agent often = configure(0, 1, 100);
    char why[AGENT_WHY_BYTES];
    struct agent *agent = begin();
    (void)state;
    often.deadline_ms = 100;
    assert_int_equal(agent_change(agent, &often, why), SP_OK);
    atomic_store(&ahead_seconds, 1800);
    assert_int_equal(figures_of(agent).late_ms, 0);
    atomic_store(&ahead_seconds, 7200);
    assert_true(figures_of(agent).late_ms > 0);
    atomic_store(&ahead_seconds, 0);
    agent_stop(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_late, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
