/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_vectors.c - client/ring makes what docs/ring-vectors.json says.
 *
 * Method: the file's checksums, slots, scores and maps, step by step; each map also encodes to the
 * bytes that it was decoded from. tests/system/test_ring_map.py has another implementation do the
 * same, which was written from docs/RING.md and made the file.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "client/ring/map_internal.h"

static json_t *vectors;

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    assert_non_null(text);
    return text;
}

static uint64_t number_of(json_t *object, const char *name)
{
    json_t *number = json_object_get(object, name);
    assert_true(json_is_integer(number));
    return (uint64_t)json_integer_value(number);
}

static uint64_t hex_of(json_t *object, const char *name)
{
    return strtoull(text_of(object, name), NULL, 16);
}

static void checksums_and_slots(void **state)
{
    size_t i;
    json_t *value;
    (void)state;
    json_array_foreach(json_object_get(vectors, "crc16"), i, value)
    {
        const char *key = text_of(value, "key");
        assert_int_equal(ring_crc16(key, strlen(key)), number_of(value, "crc16"));
    }
    assert_true(i > 10);
    json_array_foreach(json_object_get(vectors, "slots"), i, value)
    {
        const char *key = text_of(value, "key");
        assert_int_equal(ring_slot(key, strlen(key), (unsigned)number_of(value, "slots")),
                         number_of(value, "slot"));
    }
    assert_true(i > 10);
}

static void scores(void **state)
{
    size_t i;
    json_t *value;
    (void)state;
    json_array_foreach(json_object_get(vectors, "scores"), i, value)
        assert_true(plan_score(plan_seed(text_of(value, "name")),
                               (unsigned)number_of(value, "slot")) == hex_of(value, "score"));
    assert_true(i > 10);
}

static void put_member(struct ring_node *node, json_t *from)
{
    snprintf(node->name, sizeof node->name, "%s", text_of(from, "name"));
    snprintf(node->address, sizeof node->address, "%s", text_of(from, "address"));
    snprintf(node->zone, sizeof node->zone, "%s", text_of(from, "zone"));
    node->weight = (uint16_t)number_of(from, "weight");
    node->state =
        strcmp(text_of(from, "state"), "draining") == 0 ? RING_NODE_DRAINING : RING_NODE_READY;
    node->start = hex_of(from, "start");
}

static struct ring_map *run_next(const struct ring_map *map,
                                 const struct ring_parameters *parameters, json_t *members)
{
    struct ring_node nodes[32] = {0};
    char why[RING_WHY_BYTES];
    struct ring_map *out;
    const size_t count = json_array_size(members);
    assert_in_range(count, 1, 32);
    for (size_t i = 0; i < count; i++)
        put_member(&nodes[i], json_array_get(members, i));
    assert_int_equal(ring_map_next(map, parameters, nodes, count, &out, why), SP_OK);
    return out;
}

static struct ring_map *run_hold(const struct ring_map *map, json_t *hold)
{
    uint64_t slots[RING_SLOT_WORDS] = {0};
    struct ring_map *out;
    size_t i;
    json_t *slot;
    json_array_foreach(json_object_get(hold, "slots"), i, slot)
        slots[json_integer_value(slot) / 64] |= UINT64_C(1) << json_integer_value(slot) % 64;
    assert_int_equal(ring_map_hold(map, text_of(hold, "name"), hex_of(hold, "start"), slots, &out),
                     SP_OK);
    return out;
}

static void check_bytes(const uint8_t *bytes, size_t size, json_t *expected)
{
    if (json_is_object(expected)) {
        uint64_t checksum = 0;
        for (unsigned i = 0; i < 8; i++)
            checksum |= (uint64_t)bytes[size - 8 + i] << 8 * i;
        assert_int_equal(size, number_of(expected, "bytes"));
        assert_true(checksum == hex_of(expected, "checksum"));
        return;
    }
    const char *hex = json_string_value(expected);
    assert_non_null(hex);
    assert_int_equal(strlen(hex), 2 * size);
    for (size_t i = 0; i < size; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", bytes[i]);
        assert_memory_equal(digits, hex + 2 * i, 2);
    }
}

static void check_map(const struct ring_map *map, json_t *expected)
{
    struct ring_map *decoded;
    uint8_t *bytes, *again;
    size_t size, again_size;
    if (map == NULL) {
        assert_true(json_is_null(expected));
        return;
    }
    assert_int_equal(ring_map_encode(map, &bytes, &size), SP_OK);
    check_bytes(bytes, size, expected);
    assert_int_equal(ring_map_decode(bytes, size, &decoded), SP_OK);
    assert_int_equal(ring_map_encode(decoded, &again, &again_size), SP_OK);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    ring_map_unref(decoded);
    free(again);
    free(bytes);
}

static void run_scenario(json_t *scenario)
{
    json_t *given = json_object_get(scenario, "parameters"), *step;
    struct ring_parameters parameters = {.slots = (uint16_t)number_of(given, "slots"),
                                         .replicas = (uint8_t)number_of(given, "replicas")};
    struct ring_map *map = NULL, *next;
    size_t i;
    parameters.kind = strcmp(text_of(given, "kind"), "redis") == 0 ? RING_REDIS : RING_SIDEPOND;
    json_array_foreach(json_object_get(scenario, "steps"), i, step)
    {
        json_t *members = json_object_get(step, "members");
        print_message("%s, step %zu\n", text_of(scenario, "name"), i);
        next = members ? run_next(map, &parameters, members)
                       : run_hold(map, json_object_get(step, "hold"));
        check_map(next, json_object_get(step, "map"));
        if (next != NULL) {
            ring_map_unref(map);
            map = next;
        }
    }
    ring_map_unref(map);
}

static void maps(void **state)
{
    size_t i;
    json_t *scenario;
    (void)state;
    json_array_foreach(json_object_get(vectors, "maps"), i, scenario) run_scenario(scenario);
    assert_true(i > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_and_slots),
        cmocka_unit_test(scores),
        cmocka_unit_test(maps),
    };
    const char *source = getenv("SIDEPOND_SOURCE_DIR");
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/docs/ring-vectors.json", source ? source : ".");
    vectors = json_load_file(path, 0, &error);
    if (vectors == NULL) {
        fprintf(stderr, "%s: %s\n", path, error.text);
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(vectors);
    return failed;
}
