/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_names.c - nodes whose names come to stand for other addresses.
 *
 * Goal: a node that moved to another address under its name is found again, without another map; a
 * resolver that does not answer holds up nobody, neither calls nor the PINGs of other nodes.
 * Method: a resolver of the test's own, in the place of the C library's, which says where false
 * nodes (ring_fake.c) are, and is silent at will.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "tests/system/ring_fake.h"
#include "tests/system/ring_servers.h"

#define K(text)    (text), (sizeof(text) - 1)
#define WITHIN_MS  5000u
#define TIMEOUT_MS 2000u

/* --- the resolver: "a.test" and "b.test" ------------------------------------------------------ */

static _Atomic int ports[2], finds[2];
static _Atomic bool silent[2], asked[2], unknown[2];

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    unsigned which = name[0] == 'b';
    struct sockaddr_in *to = calloc(1, sizeof *to);
    (void)service, (void)hints;
    *out = calloc(1, sizeof **out);
    if (to == NULL || *out == NULL)
        abort();
    atomic_store(&asked[which], true);
    while (atomic_load(&silent[which]))
        nanosleep(&pause, NULL);
    if (atomic_load(&unknown[which])) {
        free(to);
        free(*out);
        return EAI_NONAME;
    }
    *to = (struct sockaddr_in){.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)atomic_load(&ports[which])),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    **out = (struct addrinfo){
        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)to, .ai_addrlen = sizeof *to};
    atomic_fetch_add(&finds[which], 1);
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    free(found->ai_addr);
    free(found);
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Where the names are at first, and where they come to be. */
static struct fake_node first[2], then[2];

static bool kept_back(struct sp_ring *ring, unsigned which)
{
    struct sp_ring_node *nodes;
    size_t count;
    assert_ok(sp_ring_nodes(ring, &nodes, &count, NULL));
    bool is = nodes[which].kept_back;
    free(nodes);
    return is;
}

static void await_node(struct sp_ring *ring, unsigned which, bool wanted)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (uint64_t until = clock_ms() + WITHIN_MS; kept_back(ring, which) != wanted;) {
        assert_true(clock_ms() < until);
        nanosleep(&pause, NULL);
    }
}

static void assert_copies(struct sp_ring *ring, unsigned expected)
{
    struct sp_ring_copies copies;
    struct sp_buffer value = {0};
    uint64_t began = clock_ms();
    assert_ok(
        sp_ring_set(ring, K("k"), K("v"), 0, expected == 1 ? SP_RING_ONE : SP_RING_ALL, &copies));
    assert_int_equal(copies.have, expected);
    assert_ok(sp_ring_get(ring, K("k"), &value));
    assert_in_range(clock_ms() - began, 0, TIMEOUT_MS * 2);
    sp_buffer_free(&value);
}

/* What was at the name's first address is gone. */
static void move(unsigned which)
{
    atomic_store(&ports[which], then[which].port);
    atomic_store(&first[which].hangs_up, true);
}

static int begin(void **state)
{
    static struct sp_ring *ring;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    for (unsigned i = 0; i < 2; i++) {
        fake_node_start(&first[i]);
        fake_node_start(&then[i]);
        atomic_store(&first[i].missed, 1); /* nobody repairs the other one */
        atomic_store(&ports[i], first[i].port);
        atomic_store(&silent[i], false);
    }
    options.nodes = "a=a.test:1,b=b.test:1";
    options.timeout_ms = TIMEOUT_MS;
    options.connect_ms = TIMEOUT_MS;
    options.hedge_ms = 200; /* the machine may be busy */
    options.probe_ms = 10;
    assert_ok(sp_ring_open(&options, &ring));
    *state = ring;
    return 0;
}

static int end(void **state)
{
    atomic_store(&silent[1], false); /* closing waits for the resolver */
    sp_ring_close(*state);
    for (unsigned i = 0; i < 2; i++) {
        fake_node_end(&first[i]);
        fake_node_end(&then[i]);
    }
    return 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_moved(void **state)
{
    struct sp_ring *ring = *state;
    assert_copies(ring, 2);
    move(0);
    assert_copies(ring, 1);
    await_node(ring, 0, false);
    assert_copies(ring, 2);
    assert_true(atomic_load(&then[0].puts) > 0);
}

/* While nobody says where "b" is, "a" fails and comes back as ever. */
static void test_silent_resolver(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct sp_ring *ring = *state;
    assert_copies(ring, 2);
    atomic_store(&silent[1], true);
    atomic_store(&asked[1], false);
    move(1);
    assert_copies(ring, 1);
    for (uint64_t until = clock_ms() + WITHIN_MS; !atomic_load(&asked[1]);) {
        assert_true(clock_ms() < until);
        nanosleep(&pause, NULL);
    }
    assert_copies(ring, 1);
    atomic_store(&first[0].hangs_up, true);
    assert_true(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ONE, NULL) != SP_OK);
    await_node(ring, 0, true);
    atomic_store(&first[0].hangs_up, false);
    await_node(ring, 0, false);
    assert_copies(ring, 1);
    atomic_store(&silent[1], false);
    await_node(ring, 1, false);
    assert_copies(ring, 2);
}

static void give_map(struct fake_node *node)
{
    const struct ring_parameters parameters = RING_PARAMETERS_INIT;
    const struct ring_node nodes[2] = {
        {.name = "a", .address = "a.test:1", .weight = 100, .start = 1},
        {.name = "b", .address = "b.test:1", .weight = 100, .start = 1}};
    struct ring_map *map;
    char why[RING_WHY_BYTES];
    assert_ok(ring_map_next(NULL, &parameters, nodes, 2, &map, why));
    map->epoch = 7;
    pthread_mutex_lock(&node->mutex);
    node->map = map;
    pthread_mutex_unlock(&node->mutex);
    atomic_store(&node->epoch, 7);
}

/* A map with a node that is not found yet counts, and the others are PINGed as ever. */
static void test_new_in_the_map(void **state)
{
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    (void)state;
    options.nodes = "a=a.test:1";
    options.timeout_ms = options.connect_ms = TIMEOUT_MS;
    options.hedge_ms = 200;
    options.probe_ms = 10;
    assert_ok(sp_ring_open(&options, &ring));
    assert_ok(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ALL, NULL));
    atomic_store(&silent[1], true);
    give_map(&first[0]);
    assert_ok(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ONE, NULL)); /* tells of it */
    assert_ok(sp_ring_wait(ring, 1, WITHIN_MS));
    assert_copies(ring, 1);
    atomic_store(&first[0].hangs_up, true);
    assert_true(sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ONE, NULL) != SP_OK);
    await_node(ring, 0, true);
    atomic_store(&first[0].hangs_up, false);
    await_node(ring, 0, false);
    atomic_store(&silent[1], false);
    await_node(ring, 1, false);
    assert_copies(ring, 2);
    sp_ring_close(ring);
}

/* A name that is not known at first is looked up anew, though no call fails on its node. */
static void test_known_later(void **state)
{
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    const struct timespec pause = {.tv_nsec = 1000000};
    (void)state;
    options.nodes = "a=a.test:1,b=b.test:1";
    options.timeout_ms = options.connect_ms = TIMEOUT_MS;
    options.hedge_ms = 200;
    options.probe_ms = 10;
    atomic_store(&unknown[1], true);
    assert_ok(sp_ring_open(&options, &ring));
    int before = atomic_load(&finds[1]);
    atomic_store(&unknown[1], false);
    for (uint64_t until = clock_ms() + WITHIN_MS; atomic_load(&finds[1]) == before;) {
        assert_true(clock_ms() < until);
        nanosleep(&pause, NULL);
    }
    for (uint64_t until = clock_ms() + WITHIN_MS;
         sp_ring_set(ring, K("k"), K("v"), 0, SP_RING_ALL, NULL) != SP_OK;) {
        assert_true(clock_ms() < until); /* the answer is taken a moment later */
        nanosleep(&pause, NULL);
    }
    sp_ring_close(ring);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_moved), TEST(test_silent_resolver),
                                       TEST(test_new_in_the_map), TEST(test_known_later)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
