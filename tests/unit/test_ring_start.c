/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_start.c - Goal: a ring that begins knows its member before it goes by a map of it, as
 * what it is complete for has to be told to the member. Method: a member that tells of a map on
 * another thread before it is given out.
 */
#include <pthread.h>
#include <time.h>

#include "tests/unit/store_fixture.h"

#include "server/ring/internal.h"

enum { SLOTS = 16 };

int __wrap_member_open(const struct member_options *options, struct member **out, char *why);
void __wrap_member_close(struct member *member);
void __wrap_member_unhold(struct member *member);

/* --- a member (the linker's --wrap) ----------------------------------------------------------- */

static struct {
    struct member_options options;
    pthread_t thread;
    struct ring_map *map;
    bool early;          /* the ring has had the map before it had the member */
    _Atomic bool unheld; /* it has had it afterwards */
} fake;

static void *tell(void *unused)
{
    fake.options.on_map(fake.options.context, fake.map);
    return unused;
}

int __wrap_member_open(const struct member_options *options, struct member **out, char *why)
{
    const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    const struct ring_node node = *options->node;
    fake.options = *options;
    assert_ok(ring_map_next(NULL, &options->parameters, &node, 1, &fake.map, why));
    assert_int_equal(pthread_create(&fake.thread, NULL, tell, NULL), 0);
    nanosleep(&moment, NULL); /* time enough for what is not to be */
    fake.early = ring_epoch(options->context) != 0;
    *out = (struct member *)&fake;
    return SP_OK;
}

void __wrap_member_close(struct member *member)
{
    assert_true(member == NULL || member == (struct member *)&fake);
}

void __wrap_member_unhold(struct member *member)
{
    assert_ptr_equal(member, &fake);
    atomic_store(&fake.unheld, true);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_a_map_waits_for_the_member(void **state)
{
    struct fixture *f = *state;
    const struct cache_options cache_options = {.limit_bytes = 1 << 20};
    struct ring_options options = {.node = {.name = "a", .address = "127.0.0.1:1", .weight = 1},
                                   .parameters = {.slots = SLOTS, .replicas = 2},
                                   .cluster = "test",
                                   .zookeeper = "127.0.0.1:1",
                                   .session_ms = 1000,
                                   .tombstone_ms = 60000,
                                   .compare_ms = 60000,
                                   .ack_timeout_ms = 20};
    struct ring *ring;
    char why[MEMBER_WHY_BYTES];
    options.node.start = 1;
    assert_ok(cache_open(f->store, &cache_options, &options.cache));
    assert_ok(ring_start(&options, &ring, why));
    pthread_join(fake.thread, NULL);
    assert_false(fake.early);
    assert_true(atomic_load(&fake.unheld));
    assert_int_equal(ring_epoch(ring), fake.map->epoch);
    ring_stop(ring);
    ring_map_unref(fake.map);
    cache_close(options.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_map_waits_for_the_member, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
