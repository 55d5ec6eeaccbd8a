/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_map.c - the ring's map, and the clock of its versions (client/ring).
 *
 * Goal: whatever happens to the members, each slot is held by different nodes, in different zones
 * where that can be; every node has its quota of copies and of owned slots; nobody's last holder is
 * dropped; nothing moves without need; a map comes out of its encoding and its file as it went in,
 * and damage is noticed. Method: thousands of random histories of members and holders, from a
 * printed seed (SIDEPOND_SEED repeats it), judged by a checker that counts anew; and sizes from 3
 * to 1000 nodes, where joining and leaving are compared with the least possible movement.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/ring/clock.h"
#include "client/ring/map.h"
#include "random_numbers.h"

#define MEMBERS 40

/* --- members --------------------------------------------------------------------------------- */

static void make_node(struct ring_node *node, unsigned number, const char *zone, unsigned weight)
{
    memset(node, 0, sizeof *node);
    snprintf(node->name, sizeof node->name, "node-%u", number);
    snprintf(node->address, sizeof node->address, "10.0.0.1:%u", number + 1);
    snprintf(node->zone, sizeof node->zone, "%s", zone);
    node->weight = (uint16_t)weight;
    node->start = number + 1;
}

static struct ring_map *next_of(const struct ring_map *map,
                                const struct ring_parameters *parameters,
                                const struct ring_node *members, unsigned count)
{
    struct ring_map *out;
    char why[RING_WHY_BYTES];
    if (ring_map_next(map, parameters, members, count, &out, why) != SP_OK)
        fail_msg("%s", why);
    return out;
}

/* --- the checker ----------------------------------------------------------------------------- */

struct tally {
    unsigned copies[RING_NODES_MAX], owned[RING_NODES_MAX];
    unsigned takers, zones, copies_each, zone_most;
};

static bool takes(const struct ring_map *map, unsigned node)
{
    bool all_drain = true;
    for (unsigned i = 0; i < map->node_count; i++)
        all_drain = all_drain && map->nodes[i].state == RING_NODE_DRAINING;
    return all_drain || map->nodes[node].state == RING_NODE_READY;
}

static bool is_same_zone(const struct ring_map *map, unsigned a, unsigned b)
{
    return a == b || (map->nodes[a].zone[0] && strcmp(map->nodes[a].zone, map->nodes[b].zone) == 0);
}

static void count_takers(const struct ring_map *map, struct tally *tally)
{
    for (unsigned i = 0; i < map->node_count; i++) {
        bool new_zone = takes(map, i);
        tally->takers += takes(map, i);
        for (unsigned j = 0; j < i; j++)
            new_zone = new_zone && !(takes(map, j) && is_same_zone(map, i, j));
        tally->zones += new_zone;
    }
    tally->copies_each =
        tally->takers < map->parameters.replicas ? tally->takers : map->parameters.replicas;
    tally->zone_most = (tally->copies_each + tally->zones - 1) / tally->zones;
}

static void check_slot(const struct ring_map *map, unsigned number, struct tally *tally)
{
    const struct ring_slot_copies *slot = &map->slots[number];
    bool complete = true;
    assert_in_range(slot->holder_count, 1, RING_COPIES_MAX);
    assert_int_equal(slot->target_count, tally->copies_each);
    for (unsigned i = 0; i < slot->target_count; i++) {
        unsigned in_zone = 0;
        bool held = false;
        assert_true(takes(map, slot->targets[i]));
        for (unsigned j = 0; j < slot->target_count; j++) {
            in_zone += is_same_zone(map, slot->targets[i], slot->targets[j]);
            assert_true(i == j || slot->targets[i] != slot->targets[j]);
        }
        for (unsigned j = 0; j < slot->holder_count; j++)
            held = held || slot->holders[j] == slot->targets[i];
        assert_in_range(in_zone, 1, tally->zone_most);
        tally->copies[slot->targets[i]]++;
        complete = complete && held;
    }
    for (unsigned i = 0; i < slot->holder_count; i++)
        for (unsigned j = 0; j < i; j++)
            assert_int_not_equal(slot->holders[i], slot->holders[j]);
    if (complete) {
        assert_int_equal(slot->holder_count, slot->target_count);
        assert_memory_equal(slot->holders, slot->targets, slot->target_count * sizeof(uint16_t));
    }
    tally->owned[slot->targets[0]]++;
}

/* Of nodes of one weight, all without zones, none has two copies more than another one. */
static void check_even(const struct ring_map *map, const struct tally *tally)
{
    for (unsigned i = 0; i < map->node_count; i++)
        for (unsigned j = 0; j < i; j++) {
            if (!takes(map, i) || !takes(map, j))
                continue;
            if (map->nodes[i].zone[0] || map->nodes[j].zone[0] ||
                map->nodes[i].weight != map->nodes[j].weight)
                continue;
            assert_in_range(tally->copies[i] + 1, tally->copies[j], tally->copies[j] + 2);
        }
}

static void check_map(const struct ring_map *map, struct tally *tally)
{
    memset(tally, 0, sizeof *tally);
    count_takers(map, tally);
    for (unsigned i = 0; i < map->parameters.slots; i++)
        check_slot(map, i, tally);
    for (unsigned i = 0; i < map->node_count; i++) {
        assert_in_range(tally->owned[i], tally->copies[i] / tally->copies_each,
                        (tally->copies[i] + tally->copies_each - 1) / tally->copies_each);
        assert_true(i == 0 || strcmp(map->nodes[i - 1].name, map->nodes[i].name) < 0);
    }
    check_even(map, tally);
}

/* A slot keeps a holder that it had, of those that are there and have not been started anew. */
static void check_kept(const struct ring_map *old, const struct ring_map *map)
{
    for (unsigned number = 0; number < map->parameters.slots; number++) {
        const struct ring_slot_copies *before = &old->slots[number], *now = &map->slots[number];
        bool could = false, kept = false;
        for (unsigned i = 0; i < before->holder_count; i++) {
            const struct ring_node *node = &old->nodes[before->holders[i]];
            const int at = ring_map_find(map, node->name);
            could = could || (at >= 0 && map->nodes[at].start == node->start);
            for (unsigned j = 0; at >= 0 && j < now->holder_count; j++)
                kept = kept || (now->holders[j] == at && map->nodes[at].start == node->start);
        }
        assert_true(kept || !could);
    }
}

static void check_codec(const struct ring_map *map)
{
    uint8_t *bytes, *again;
    size_t size, again_size;
    struct ring_map *decoded;
    assert_int_equal(ring_map_encode(map, &bytes, &size), SP_OK);
    assert_int_equal(ring_map_decode(bytes, size, &decoded), SP_OK);
    assert_int_equal(ring_map_encode(decoded, &again, &again_size), SP_OK);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(again);
    free(bytes);
    ring_map_unref(decoded);
}

/* --- random histories ------------------------------------------------------------------------ */

struct world {
    struct ring_parameters parameters;
    struct ring_node members[MEMBERS];
    bool there[MEMBERS];
    unsigned zones; /* 0: none */
    struct ring_map *map;
};

static unsigned present(const struct world *world, struct ring_node *out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < MEMBERS; i++)
        if (world->there[i])
            out[count++] = world->members[i];
    return count;
}

static void change_member(struct world *world, unsigned i)
{
    struct ring_node *node = &world->members[i];
    switch (random_below(10)) {
    case 0:
        node->weight = (uint16_t)(1 + random_below(random_below(2) ? 5 : RING_WEIGHT_MAX));
        break;
    case 1:
        node->state ^= 1;
        break;
    case 2:
        node->start = 1 + random_below(1000000);
        break;
    case 3:
        snprintf(node->zone, sizeof node->zone, world->zones ? "z%u" : "%.0u",
                 world->zones ? random_below(world->zones) : 0);
        break;
    case 4:
        snprintf(node->address, sizeof node->address, "[::1]:%u", 1 + random_below(65535));
        break;
    default:
        world->there[i] = !world->there[i];
        break;
    }
}

static bool was_target(const struct ring_map *old, unsigned slot, const char *name)
{
    const int at = ring_map_find(old, name);
    for (unsigned i = 0; i < old->slots[slot].target_count; i++)
        if (old->slots[slot].targets[i] == at)
            return true;
    return false;
}

/* Only a new holder, or all targets together, push others out. */
static void check_held(const struct ring_map *old, const struct ring_map *map, int node)
{
    for (unsigned number = 0; number < map->parameters.slots; number++) {
        const struct ring_slot_copies *before = &old->slots[number], *now = &map->slots[number];
        bool is_holder = false, was_holder = false;
        for (unsigned i = 0; i < now->holder_count; i++)
            is_holder = is_holder || now->holders[i] == node;
        for (unsigned i = 0; i < before->holder_count; i++)
            was_holder = was_holder || before->holders[i] == node;
        if (is_holder == was_holder)
            assert_memory_equal(before, now, sizeof *before);
        else
            assert_true(is_holder && was_target(old, number, old->nodes[node].name));
    }
}

/* A node has become complete for some slots. */
static void hold_some(struct world *world)
{
    uint64_t slots[RING_SLOT_WORDS];
    struct ring_map *next;
    const struct ring_node *node = &world->map->nodes[random_below(world->map->node_count)];
    for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
        slots[i] = random_below(3) ? UINT64_MAX : (uint64_t)random_below(1u << 30) << 20;
    assert_int_equal(ring_map_hold(world->map, node->name, node->start, slots, &next), SP_OK);
    if (next == NULL)
        return;
    assert_int_equal(next->epoch, world->map->epoch + 1);
    check_held(world->map, next, ring_map_find(next, node->name));
    ring_map_unref(world->map);
    world->map = next;
}

static void step(struct world *world)
{
    struct ring_node members[MEMBERS];
    struct tally tally;
    for (unsigned i = 1 + random_below(3); i > 0; i--)
        change_member(world, random_below(MEMBERS / (1 + random_below(8))));
    const unsigned count = present(world, members);
    struct ring_map *next = next_of(world->map, &world->parameters, members, count);
    if (next != NULL) {
        assert_null(next_of(next, &world->parameters, members, count));
        assert_int_equal(next->epoch, world->map ? world->map->epoch + 1 : 1);
        if (world->map != NULL)
            check_kept(world->map, next);
        ring_map_unref(world->map);
        world->map = next;
    }
    for (unsigned i = random_below(4); i > 0 && world->map != NULL; i--)
        hold_some(world);
    if (world->map == NULL)
        return;
    check_codec(world->map);
    check_map(world->map, &tally);
}

static void random_histories(void **state)
{
    const time_t end = time(NULL) + (getenv("SIDEPOND_LONG") ? 60 : 3);
    unsigned histories = 0, steps = 0;
    (void)state;
    while (time(NULL) < end && histories < 2000) {
        struct world world = {.zones = random_below(2) ? 0 : 1 + random_below(5)};
        world.parameters.slots = (uint16_t)(16u << random_below(5));
        world.parameters.replicas = (uint8_t)(1 + random_below(3));
        for (unsigned i = 0; i < MEMBERS; i++) {
            char zone[8] = "";
            if (world.zones && random_below(10))
                snprintf(zone, sizeof zone, "z%u", random_below(world.zones));
            make_node(&world.members[i], i, zone, 100);
            world.there[i] = i < 1 + random_below(4);
        }
        for (unsigned i = 0; i < 20; i++, steps++)
            step(&world);
        ring_map_unref(world.map);
        histories++;
    }
    print_message("%u histories, %u steps\n", histories, steps);
}

/* --- movement -------------------------------------------------------------------------------- */

static unsigned moved(const struct ring_map *old, const struct ring_map *map)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < map->parameters.slots; slot++)
        for (unsigned i = 0; i < map->slots[slot].target_count; i++)
            count += !was_target(old, slot, map->nodes[map->slots[slot].targets[i]].name);
    return count;
}

static unsigned copies_of(const struct ring_map *map, const char *name)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < map->parameters.slots; slot++)
        count += was_target(map, slot, name);
    return count;
}

/* What the new node gets, or the old one had, moves, and nothing else. */
static void join_and_leave(void **state)
{
    static const unsigned sizes[] = {3, 10, 100, 1000};
    struct ring_parameters parameters = RING_PARAMETERS_INIT;
    struct ring_node *nodes = calloc(1001, sizeof *nodes);
    struct tally tally;
    (void)state;
    for (unsigned i = 0; i < 1001; i++)
        make_node(&nodes[i], i * 7919 % 10007, "", 100);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned size = sizes[i];
        struct ring_map *map = next_of(NULL, &parameters, nodes, size);
        struct ring_map *more = next_of(map, &parameters, nodes, size + 1);
        struct ring_map *less = next_of(map, &parameters, nodes, size - 1);
        const unsigned joined = copies_of(more, nodes[size].name);
        check_map(map, &tally);
        check_map(more, &tally);
        check_map(less, &tally);
        assert_int_equal(moved(map, more), joined);
        if (size > 3)
            assert_int_equal(moved(map, less), copies_of(map, nodes[size - 1].name));
        else
            assert_in_range(moved(map, less), 10922, 10924);
        ring_map_unref(map);
        ring_map_unref(more);
        ring_map_unref(less);
    }
    free(nodes);
}

/* A node that joins and goes before it has pulled anything leaves everything as it was. */
static void join_undone(void **state)
{
    struct ring_parameters parameters = {.slots = 1024, .replicas = 2};
    struct ring_node nodes[5];
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        make_node(&nodes[i], i, "", 100);
    struct ring_map *map = next_of(NULL, &parameters, nodes, 4);
    struct ring_map *more = next_of(map, &parameters, nodes, 5);
    struct ring_map *again = next_of(more, &parameters, nodes, 4);
    for (unsigned slot = 0; slot < parameters.slots; slot++)
        assert_int_equal(again->slots[slot].holder_count, 2);
    assert_int_equal(moved(map, again), 0);
    ring_map_unref(map);
    ring_map_unref(more);
    ring_map_unref(again);
}

/* --- what is refused ------------------------------------------------------------------------- */

static void refused(struct ring_node *members, unsigned count, const char *part)
{
    struct ring_parameters parameters = RING_PARAMETERS_INIT;
    struct ring_map *out;
    char why[RING_WHY_BYTES];
    assert_int_equal(ring_map_next(NULL, &parameters, members, count, &out, why), SP_EINVAL);
    assert_null(out);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" says nothing of %s", why, part);
}

static void bad_members(void **state)
{
    static const char *const addresses[] = {"",           "host",        ":1",      "host:0",
                                            "host:65536", "a:b:1",       "[::1]",   "[]:1",
                                            "unix:/",     "unix:socket", "h ost:1", "host:1x"};
    struct ring_node nodes[2];
    (void)state;
    make_node(&nodes[0], 1, "", 100);
    make_node(&nodes[1], 1, "", 100);
    refused(nodes, 2, "two nodes of the name node-1");
    make_node(&nodes[0], 1, "", 0);
    refused(nodes, 1, "weight");
    make_node(&nodes[0], 1, "a b", 1);
    refused(nodes, 1, "zone");
    make_node(&nodes[0], 1, "", 1);
    nodes[0].start = 0;
    refused(nodes, 1, "start id");
    make_node(&nodes[0], 1, "", 1);
    nodes[0].name[0] = '/';
    refused(nodes, 1, "name");
    memset(nodes[0].name, 'a', sizeof nodes[0].name);
    refused(nodes, 1, "name");
    for (unsigned i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        make_node(&nodes[0], 1, "", 1);
        snprintf(nodes[0].address, sizeof nodes[0].address, "%s", addresses[i]);
        refused(nodes, 1, "address");
    }
}

/* --- bytes and files ------------------------------------------------------------------------- */

static struct ring_map *small_map(void)
{
    struct ring_parameters parameters = {.slots = 16, .replicas = 2};
    struct ring_node nodes[3];
    for (unsigned i = 0; i < 3; i++)
        make_node(&nodes[i], i, "zone", 100);
    struct ring_map *map = next_of(NULL, &parameters, nodes, 2);
    struct ring_map *next = next_of(map, &parameters, nodes, 3);
    ring_map_unref(map);
    return next;
}

/* Each byte changed, and each length: none of it is a map. */
static void damaged_bytes(void **state)
{
    struct ring_map *map = small_map(), *out;
    uint8_t *bytes;
    size_t size;
    (void)state;
    assert_int_equal(ring_map_encode(map, &bytes, &size), SP_OK);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (uint8_t)(1 + random_below(255));
        const int status = ring_map_decode(bytes, size, &out);
        assert_int_equal(status, i < 8 ? SP_EFORMAT : SP_ECORRUPT);
        ring_map_unref(map);
        free(bytes);
        map = small_map();
        assert_int_equal(ring_map_encode(map, &bytes, &size), SP_OK);
    }
    for (size_t i = 0; i < size; i++)
        assert_int_equal(ring_map_decode(bytes, i, &out), i < 8 ? SP_EFORMAT : SP_ECORRUPT);
    free(bytes);
    ring_map_unref(map);
}

static void put_file(const char *path, const void *bytes, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static void files(void **state)
{
    struct ring_map *map = small_map(), *loaded;
    char folder[] = "/tmp/ring-map-XXXXXX", path[64], none[64];
    struct stat stat_of;
    uint8_t *bytes;
    size_t size;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/map", folder);
    snprintf(none, sizeof none, "%s/none/map", folder);
    assert_int_equal(ring_map_load(path, &loaded), SP_ENOTFOUND);
    assert_int_equal(ring_map_save(map, none), SP_ENOTFOUND);
    assert_int_equal(ring_map_load(folder, &loaded), SP_EFORMAT);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(ring_map_save(map, path), SP_ESYS); /* a directory is not replaced */
    assert_int_equal(rmdir(path), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ring_map_save(map, path), SP_OK);
        assert_int_equal(ring_map_load(path, &loaded), SP_OK);
        assert_int_equal(loaded->epoch, map->epoch);
        ring_map_unref(loaded);
    }
    assert_int_equal(ring_map_encode(map, &bytes, &size), SP_OK);
    put_file(path, bytes, size - 1);
    assert_int_equal(ring_map_load(path, &loaded), SP_ECORRUPT);
    put_file(path, "", 0);
    assert_int_equal(ring_map_load(path, &loaded), SP_EFORMAT);
    assert_int_equal(ring_map_save(map, path), SP_OK);
    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(stat_of.st_size, size);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* so nothing was left beside it */
    free(bytes);
    ring_map_unref(map);
}

/* --- the clock ------------------------------------------------------------------------------- */

static void clock_goes_on(void **state)
{
    struct ring_clock clock = {0};
    const int64_t wall = ENTRY_CLOCK_EPOCH_MS + 1000;
    (void)state;
    assert_int_equal(ring_clock_stamp(&clock, wall), 1000 << 8);
    assert_int_equal(ring_clock_stamp(&clock, wall), (1000 << 8) + 1);
    assert_int_equal(ring_clock_stamp(&clock, wall - 500), (1000 << 8) + 2);
    assert_int_equal(ring_clock_stamp(&clock, wall + 1), 1001 << 8);
    ring_clock_see(&clock, 5000 << 8);
    ring_clock_see(&clock, 4000 << 8);
    ring_clock_see(&clock, UINT64_MAX);
    assert_int_equal(ring_clock_stamp(&clock, wall), (5000 << 8) + 1);
    assert_int_equal(ring_clock_stamp(&clock, 0), (5000 << 8) + 2);
    assert_int_equal(ring_clock_wall_ms(1000 << 8), wall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories), cmocka_unit_test(join_and_leave),
        cmocka_unit_test(join_undone),      cmocka_unit_test(bad_members),
        cmocka_unit_test(damaged_bytes),    cmocka_unit_test(files),
        cmocka_unit_test(clock_goes_on),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
