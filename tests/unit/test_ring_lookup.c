/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_lookup.c - Goal: nobody waits for a name that takes long to be looked up: not who
 * connects, not the end of a peer or of the ring; and who asks later gets what was found. Method: a
 * getaddrinfo of the test's own (the linker's --wrap), which hangs until it is let go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <netdb.h>

#include "alloc/clock.h"
#include "server/ring/internal.h"

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **out);

static _Atomic bool hangs;
static _Atomic unsigned looked_up;

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **out)
{
    bool name = strcmp(host, "host.test") == 0;
    if (!name || (hints->ai_flags & AI_NUMERICHOST))
        return __real_getaddrinfo(host, port, hints, out);
    while (atomic_load(&hangs))
        rest();
    atomic_fetch_add(&looked_up, 1);
    return __real_getaddrinfo("127.0.0.1", port, hints, out);
}

static int setup(void **state)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    atomic_store(&ring->ack_timeout_ms, 20);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->lookups.lock, NULL);
    pthread_cond_init(&ring->control_wake, NULL);
    atomic_store(&looked_up, 0);
    atomic_store(&hangs, false);
    *state = ring;
    return 0;
}

static int teardown(void **state)
{
    struct ring *ring = *state;
    lookups_free(&ring->lookups);
    pthread_cond_destroy(&ring->control_wake);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
    return 0;
}

static void test_addresses(void **state)
{
    struct ring *ring = *state;
    struct host_addresses found;
    static const char *const plain[] = {"127.0.0.1:1", "[::1]:2", "unix:/a/path"};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(lookup_address(ring, plain[i], 0, &found), SP_OK);
        assert_int_equal(found.count, 1);
        assert_string_equal(found.addresses[0], plain[i]);
    }
    assert_int_equal(lookup_address(ring, "host.test:3", 5000, &found), SP_OK);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.addresses[0], "127.0.0.1:3");
    assert_int_equal(lookup_address(ring, "no port", 5000, &found), SP_ENODAEMON);
    assert_non_null(strstr(sp_error_detail(), "no port"));
}

static void test_a_name_that_takes_long(void **state)
{
    struct ring *ring = *state;
    struct host_addresses found;
    uint64_t began_ms = clock_ms();
    atomic_store(&hangs, true);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(lookup_address(ring, "host.test:3", 10, &found), SP_ETIMEDOUT);
    assert_in_range(clock_ms() - began_ms, 30, 3000);
    atomic_store(&hangs, false);
    assert_int_equal(lookup_address(ring, "host.test:3", 5000, &found), SP_OK);
    assert_int_equal(atomic_load(&looked_up), 1);
}

static void test_the_end(void **state)
{
    struct ring *ring = *state;
    struct host_addresses found;
    struct ring_node node = {.name = "b", .address = "host.test:1"};
    atomic_store(&hangs, true);
    uint64_t began_ms = clock_ms();
    pthread_mutex_lock(&ring->lock);
    struct peer *peer = peer_start(ring, &node);
    pthread_mutex_unlock(&ring->lock);
    assert_non_null(peer);
    pthread_mutex_lock(&ring->lock);
    peer_end(peer);
    pthread_mutex_unlock(&ring->lock);
    peer_free(peer);
    atomic_store(&ring->stopping, true);
    assert_int_equal(lookup_address(ring, "host.test:1", 60000, &found), SP_ETIMEDOUT);
    assert_in_range(clock_ms() - began_ms, 0, 5000);
    atomic_store(&hangs, false); /* the thread that hung gives back what it has */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_that_takes_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
