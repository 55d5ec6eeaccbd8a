/* SPDX-License-Identifier: Apache-2.0
 *
 * test_hash.c - the hash of keys (alloc/hash.h).
 *
 * Goal: it is what docs/FORMAT.md says; every bit of a key, and its length, changes every bit of
 * the hash half of the time; the parts that an index takes of it (top bits: directory, low 28:
 * bucket and tag) are even for the keys that tables have. Method: known values; flipped bits of
 * random keys of each length, from a printed seed (SIDEPOND_SEED repeats); counted and lettered
 * keys thrown into bins.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/hash.h"
#include "random_numbers.h"

/* Of docs/FORMAT.md; computed apart from this code. */
static void known_values(void **state)
{
    static const struct {
        const char *key;
        size_t bytes;
        uint64_t hash;
    } known[] = {
        {"", 0, UINT64_C(0xe0dc07b932e0c51f)},
        {"a", 1, UINT64_C(0xa5686ff65ed8f2a9)},
        {"user", 4, UINT64_C(0x8920f6ccb775520b)},
        {"\x2a\0\0\0\0\0\0\0", 8, UINT64_C(0x961d1febc882779f)},
        {"a@example.org", 13, UINT64_C(0x8f58c9a9ed9d3395)},
        {"0123456789abcdef", 16, UINT64_C(0x6c821697166abf6a)},
        {"customer:000000000007919", 24, UINT64_C(0x57b72fc4e5ec2c8a)},
        {"01234567012345670123456701234567", 32, UINT64_C(0x7b65be1a2e5f8ab4)},
    };
    struct hash_secret secret;
    (void)state;
    hash_secret_init(&secret, 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (hash_key(&secret, known[i].key, known[i].bytes) != known[i].hash)
            fail_msg("%s: 0x%" PRIx64, known[i].key,
                     hash_key(&secret, known[i].key, known[i].bytes));
}

/* How often each bit of the hash changes with one bit of the key: 0.5 +- 6 standard deviations. */
static void every_bit_counts(void **state)
{
    enum { TRIALS = 500 };
    const double allowed = 6 * sqrt(0.25 / TRIALS);
    (void)state;
    for (size_t bytes = 1; bytes <= 64; bytes++) {
        for (size_t bit = 0; bit < bytes * 8; bit += 1 + bytes / 9) {
            unsigned changed[64] = {0};
            for (unsigned n = 0; n < TRIALS; n++) {
                uint8_t key[64];
                struct hash_secret secret;
                hash_secret_init(&secret, random_next()); /* there are few keys of a few bytes */
                for (size_t i = 0; i < sizeof key; i++)
                    key[i] = (uint8_t)random_next();
                uint64_t difference = hash_key(&secret, key, bytes);
                key[bit / 8] ^= (uint8_t)(1u << bit % 8);
                difference ^= hash_key(&secret, key, bytes);
                for (unsigned i = 0; i < 64; i++)
                    changed[i] += difference >> i & 1;
            }
            for (unsigned i = 0; i < 64; i++)
                if (fabs((double)changed[i] / TRIALS - 0.5) > allowed)
                    fail_msg("%zu bytes: bit %zu of the key changes bit %u of the hash %u times of "
                             "%d",
                             bytes, bit, i, changed[i], TRIALS);
        }
    }
}

/* Keys of zeros differ by their length alone. */
static void the_length_counts(void **state)
{
    static const uint8_t zeros[128];
    uint64_t hashes[128];
    struct hash_secret secret;
    (void)state;
    hash_secret_init(&secret, random_next());
    for (size_t i = 0; i < 128; i++) {
        hashes[i] = hash_key(&secret, zeros, i);
        for (size_t j = 0; j < i; j++)
            assert_true(hashes[i] != hashes[j]);
    }
}

enum { BINS = 1024, KEYS = 200000 };

/* Chi-squared over the bins, less its mean, in its standard deviations. */
static double unevenness(const unsigned *bins)
{
    const double expected = (double)KEYS / BINS;
    double sum = 0;
    for (unsigned i = 0; i < BINS; i++)
        sum += (bins[i] - expected) * (bins[i] - expected) / expected;
    return (sum - (BINS - 1)) / sqrt(2.0 * (BINS - 1));
}

static size_t key_of(unsigned kind, uint32_t i, uint8_t *key)
{
    const uint64_t wide = kind == 1 ? (uint64_t)i << 32 : kind == 2 ? (uint64_t)i * 1000 : i;
    switch (kind) {
    case 0:
    case 1:
    case 2:
        memcpy(key, &wide, sizeof wide);
        return sizeof wide;
    case 3:
        memcpy(key, &i, sizeof i);
        return sizeof i;
    case 4:
        return (size_t)sprintf((char *)key, "%u", i);
    case 5:
        return (size_t)sprintf((char *)key, "user%u@example.org", i);
    case 6:
        return (size_t)sprintf((char *)key, "customer:%015u", i);
    default:
        return (size_t)sprintf((char *)key, "00000000-0000-4000-8000-%012x", i);
    }
}

static void ordinary_keys_are_spread(void **state)
{
    struct hash_secret secret;
    (void)state;
    hash_secret_init(&secret, random_next());
    for (unsigned kind = 0; kind < 8; kind++) {
        unsigned top[BINS] = {0}, bucket[BINS] = {0}, low[BINS] = {0};
        for (uint32_t i = 0; i < KEYS; i++) {
            uint8_t key[64];
            size_t bytes = key_of(kind, i, key);
            uint64_t hash = hash_key(&secret, key, bytes);
            top[hash >> 54]++;
            bucket[tag_bucket(hash & TAG_MASK, BINS)]++;
            low[hash % BINS]++;
        }
        if (unevenness(top) > 6 || unevenness(bucket) > 6 || unevenness(low) > 6)
            fail_msg("kind %u: %.1f %.1f %.1f", kind, unevenness(top), unevenness(bucket),
                     unevenness(low));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(the_length_counts),
        cmocka_unit_test(ordinary_keys_are_spread),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
