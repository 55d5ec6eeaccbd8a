/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dump.c - Goal: RESTORE takes exactly what DUMP made. Method: values of many sizes there and
 * back; each payload with any of its bits turned, cut at any place or made longer is refused; so
 * are random bytes, also such with a right head and a right checksum but of an unknown kind or
 * version. Payloads lie in blocks of their exact size, so that the sanitizers see a step beyond.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "alloc/hash.h"
#include "random_numbers.h"
#include "server/command/dump.h"
#include "sidepond/status.h"

static uint8_t *random_bytes(size_t bytes)
{
    uint8_t *out = malloc(bytes ? bytes : 1);
    assert_non_null(out);
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)random_next();
    return out;
}

static uint8_t *payload_of(const uint8_t *value, size_t bytes)
{
    uint8_t *out = malloc(dump_bytes(bytes));
    assert_non_null(out);
    dump_encode(value, bytes, out);
    return out;
}

/* Decodes a copy in a block of its own. */
static int decode_exactly(const uint8_t *payload, size_t bytes)
{
    const uint8_t *value;
    size_t value_bytes;
    uint8_t *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    if (bytes > 0)
        memcpy(copy, payload, bytes);
    int status = dump_decode(copy, bytes, &value, &value_bytes);
    free(copy);
    return status;
}

static void put_checksum(uint8_t *payload, size_t bytes)
{
    uint64_t checksum = hash_bytes(payload, bytes - DUMP_CHECKSUM_BYTES);
    memcpy(payload + bytes - DUMP_CHECKSUM_BYTES, &checksum, sizeof(checksum));
}

static void test_there_and_back(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 3000; bytes = bytes < 40 ? bytes + 1 : bytes * 2) {
        const uint8_t *back;
        size_t back_bytes;
        uint8_t *value = random_bytes(bytes);
        uint8_t *payload = payload_of(value, bytes);
        assert_int_equal(dump_decode(payload, dump_bytes(bytes), &back, &back_bytes), SP_OK);
        assert_int_equal(back_bytes, bytes);
        assert_memory_equal(back, value, bytes);
        free(payload);
        free(value);
    }
}

static void test_damage(void **state)
{
    (void)state;
    uint8_t *value = random_bytes(50);
    uint8_t *payload = payload_of(value, 50);
    for (size_t bit = 0; bit < dump_bytes(50) * 8; bit++) {
        payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(decode_exactly(payload, dump_bytes(50)), SP_EFORMAT);
        payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bytes = 0; bytes < dump_bytes(50); bytes++)
        assert_int_equal(decode_exactly(payload, bytes), SP_EFORMAT);
    assert_int_equal(decode_exactly(payload, dump_bytes(50)), SP_OK);
    free(payload);
    free(value);
}

static void test_random_bytes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        size_t bytes = random_next() % 40;
        uint8_t *payload = random_bytes(bytes);
        if (bytes >= DUMP_HEAD_BYTES && i % 2 == 0)
            memcpy(payload, "SP\1", 4);
        assert_int_equal(decode_exactly(payload, bytes), SP_EFORMAT);
        free(payload);
    }
}

static void test_other_kinds_and_versions(void **state)
{
    (void)state;
    size_t bytes = dump_bytes(3);
    uint8_t *payload = payload_of((const uint8_t *)"abc", 3);
    payload[DUMP_HEAD_BYTES - 1] = 9;
    put_checksum(payload, bytes);
    assert_int_equal(decode_exactly(payload, bytes), SP_ETYPE);
    payload[DUMP_HEAD_BYTES - 1] = DUMP_STRING;
    payload[DUMP_HEAD_BYTES - 2] = DUMP_VERSION + 1;
    put_checksum(payload, bytes);
    assert_int_equal(decode_exactly(payload, bytes), SP_EFORMAT);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_other_kinds_and_versions),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
