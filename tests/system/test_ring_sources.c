/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_sources.c - where the ring's client learns of the ring: the file in a pond's directory,
 * and ZooKeeper.
 *
 * Goal: a handle has the map as soon as there is one, and follows it; a forked child has a session
 * of its own; without ZooKeeper the last map is used, also by a handle that is opened then, from
 * its file; what operators want arrives. Method: a directory that the test writes maps into as
 * sidepondd does; a real ZooKeeper (zookeeper_kit.py) in which the test registers false nodes
 * (ring_fake.c).
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "client/member/member.h"
#include "tests/system/ring_fake.h"
#include "tests/system/ring_servers.h"

#define K(text)   (text), (sizeof(text) - 1)
#define WITHIN_MS 10000u

/* ThreadSanitizer bears no thread in the child of a process that has some. */
#ifdef __SANITIZE_THREAD__
#define FORKS false
#else
#define FORKS true
#endif

static uint64_t epoch_of(struct sp_ring *ring, struct sp_ring_state *state)
{
    struct sp_ring_node *nodes;
    size_t count;
    assert_ok(sp_ring_nodes(ring, &nodes, &count, state));
    free(nodes);
    return state->epoch;
}

/* --- a pond's directory ----------------------------------------------------------------------- */

static void publish(const char *path, uint64_t epoch, uint8_t replicas, int port)
{
    struct ring_parameters parameters = RING_PARAMETERS_INIT;
    struct ring_node node = {.name = "a", .weight = 100, .start = 7};
    struct ring_map *map;
    char why[RING_WHY_BYTES];
    parameters.replicas = replicas;
    snprintf(node.address, sizeof node.address, "127.0.0.1:%d", port);
    assert_ok(ring_map_next(NULL, &parameters, &node, 1, &map, why));
    map->epoch = epoch;
    assert_ok(ring_map_save(map, path));
    ring_map_unref(map);
}

static void test_pond(void **state)
{
    char directory[] = "/tmp/sidepond-ring.XXXXXX", path[64];
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring_state ring_state;
    struct fake_node node;
    struct sp_ring *ring;
    struct sp_buffer value = {0};
    (void)state;
    fake_node_start(&node);
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/ring", directory);
    options.pond = directory;
    options.timeout_ms = 100;
    options.probe_ms = 10;
    assert_status(SP_ENOPOND, sp_ring_open(&options, &ring)); /* no daemon of a ring */
    publish(path, 3, 2, node.port);
    assert_ok(sp_ring_open(&options, &ring));
    assert_int_equal(epoch_of(ring, &ring_state), 3);
    assert_ok(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_get(ring, K("k"), &value));
    publish(path, 4, 2, node.port);
    assert_ok(sp_ring_wait(ring, 3, WITHIN_MS));
    assert_int_equal(epoch_of(ring, &ring_state), 4);
    publish(path, 1, 1, node.port); /* another ring: what the daemon says counts */
    assert_ok(sp_ring_wait(ring, 4, WITHIN_MS));
    assert_int_equal(epoch_of(ring, &ring_state), 1);
    assert_int_equal(ring_state.replicas, 1);
    FILE *broken = fopen(path, "we");
    assert_non_null(broken);
    fputs("no map", broken);
    fclose(broken);
    assert_status(SP_ETIMEDOUT, sp_ring_wait(ring, 1, 100)); /* the last one stays in use */
    assert_ok(sp_ring_get(ring, K("k"), &value));
    assert_status(SP_EINVAL, sp_ring_drain(ring, "a", true));
    sp_ring_close(ring);
    assert_int_not_equal(sp_ring_open(&options, &ring), SP_OK);
    unlink(path);
    rmdir(directory);
    fake_node_end(&node);
    sp_buffer_free(&value);
}

/* --- ZooKeeper -------------------------------------------------------------------------------- */

struct zookeeper {
    pid_t pid;
    int input; /* it ends when this is closed */
    char servers[256];
};

/* False: it is not installed. */
static bool zookeeper_start(struct zookeeper *zookeeper)
{
    int in[2], out[2];
    char path[4096];
    const char *source = getenv("SIDEPOND_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/system/zookeeper_kit.py", source != NULL ? source : ".");
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    zookeeper->pid = fork();
    if (zookeeper->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        close(out[0]);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl("/usr/bin/python3", "python3", path, "1", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    zookeeper->input = in[1];
    FILE *said = fdopen(out[0], "r");
    bool runs = fgets(zookeeper->servers, sizeof zookeeper->servers, said) != NULL;
    fclose(said);
    zookeeper->servers[strcspn(zookeeper->servers, "\n")] = '\0';
    return runs && strchr(zookeeper->servers, ':') != NULL;
}

static void zookeeper_end(struct zookeeper *zookeeper)
{
    close(zookeeper->input);
    waitpid(zookeeper->pid, NULL, 0);
}

static void ignore_map(void *context, const struct ring_map *map)
{
    (void)context, (void)map;
}

static void ignore_loss(void *context)
{
    (void)context;
}

static struct member *join(const struct zookeeper *zookeeper, struct ring_node *node, char name,
                           int port)
{
    struct member *member;
    char why[MEMBER_WHY_BYTES];
    *node = (struct ring_node){.name = {name}, .weight = 100, .start = 5};
    snprintf(node->address, sizeof node->address, "127.0.0.1:%d", port);
    const struct member_options options = {.servers = zookeeper->servers,
                                           .cluster = "main",
                                           .session_ms = 2000,
                                           .node = node,
                                           .registers_at_once = true,
                                           .parameters = RING_PARAMETERS_INIT,
                                           .on_map = ignore_map,
                                           .on_session_lost = ignore_loss};
    assert_ok(member_open(&options, &member, why));
    return member;
}

/* The children of a fork: the handle works there as well, and learns of what comes. */
static int in_child(struct sp_ring *ring)
{
    struct sp_buffer value = {0};
    struct sp_ring_state state;
    bool good = sp_ring_get(ring, K("k"), &value) == SP_OK && value.size == 1 &&
                sp_ring_weight(ring, "a", 77) == SP_OK;
    uint64_t epoch = epoch_of(ring, &state);
    (void)sp_ring_wait(ring, epoch, WITHIN_MS); /* the weight makes another map */
    good = good && epoch_of(ring, &state) != epoch;
    sp_buffer_free(&value);
    sp_ring_close(ring);
    return good ? 0 : 1;
}

static void test_fork(struct sp_ring *ring)
{
    int result;
    pid_t child = fork();
    if (child == 0)
        _exit(in_child(ring));
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    struct sp_buffer value = {0};
    assert_ok(sp_ring_get(ring, K("k"), &value));
    sp_buffer_free(&value);
}

/* Node "a" drains; other changes (the node that joined last, a weight) may be seen first. */
static void test_drain(struct sp_ring *ring)
{
    assert_ok(sp_ring_drain(ring, "a", true));
    for (bool drains = false; !drains;) {
        struct sp_ring_node *nodes;
        struct sp_ring_state state;
        size_t count;
        uint64_t epoch = epoch_of(ring, &state);
        assert_ok(sp_ring_nodes(ring, &nodes, &count, NULL));
        drains = nodes[0].state == SP_RING_DRAINING || nodes[0].state == SP_RING_DRAINED;
        free(nodes);
        if (!drains)
            assert_ok(sp_ring_wait(ring, epoch, WITHIN_MS));
    }
}

static void test_without(struct zookeeper *zookeeper, struct sp_ring *ring,
                         struct sp_ring_options *options)
{
    struct sp_ring *late;
    struct sp_ring_state state;
    struct sp_buffer value = {0};
    const struct timespec pause = {.tv_nsec = 5000000};
    zookeeper_end(zookeeper);
    for (uint64_t until = clock_ms() + WITHIN_MS; clock_ms() < until;) {
        epoch_of(ring, &state);
        if (state.zookeeper_away)
            break;
        nanosleep(&pause, NULL);
    }
    assert_true(state.zookeeper_away);
    assert_ok(sp_ring_get(ring, K("k"), &value));
    assert_ok(sp_ring_set(ring, K("k"), K("w"), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_open(options, &late));
    assert_ok(sp_ring_get(late, K("k"), &value));
    assert_int_equal(((char *)value.data)[0], 'w');
    sp_ring_close(late);
    options->file = NULL;
    options->timeout_ms = 100;
    assert_status(SP_ENOTREADY, sp_ring_open(options, &late));
    sp_buffer_free(&value);
}

static void test_zookeeper(void **state)
{
    struct zookeeper zookeeper;
    struct fake_node nodes[2];
    struct ring_node registered[2];
    struct member *members[2];
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    char file[] = "/tmp/sidepond-ring-map.XXXXXX";
    (void)state;
    if (!zookeeper_start(&zookeeper)) {
        zookeeper_end(&zookeeper);
        print_message("ZooKeeper is not installed\n");
        return;
    }
    int made = mkstemp(file);
    assert_true(made >= 0);
    close(made);
    unlink(file);
    for (unsigned i = 0; i < 2; i++) {
        fake_node_start(&nodes[i]);
        members[i] = join(&zookeeper, &registered[i], (char)('a' + i), nodes[i].port);
    }
    options.zookeeper = zookeeper.servers;
    options.file = file;
    options.timeout_ms = WITHIN_MS;
    assert_ok(sp_ring_open(&options, &ring));
    assert_ok(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ONE, NULL));
    if (FORKS)
        test_fork(ring);
    test_drain(ring);
    test_without(&zookeeper, ring, &options);
    sp_ring_close(ring);
    for (unsigned i = 0; i < 2; i++) {
        member_close(members[i]);
        fake_node_end(&nodes[i]);
    }
    unlink(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pond),
                                       cmocka_unit_test(test_zookeeper)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
