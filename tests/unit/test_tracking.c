/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tracking.c - what CLIENT TRACKING remembers (server/command/tracking_keys.h,
 * tracking_prefixes.h).
 *
 * Goal: the table of keys and the prefixes hold what was put in, and give each of it out once.
 * Method: random operations beside plain arrays, from a printed seed (SIDEPOND_SEED repeats). Keys
 * share few hashes, so chains are long; prefixes are of two letters, so most lie on chains.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random_numbers.h"
#include "server/command/tracking_keys.h"
#include "server/command/tracking_prefixes.h"
#include "server/resp/reply.h"
#include "sidepond/status.h"

#define KEYS       500u
#define CLIENTS    9u
#define OPERATIONS 200000u

/* --- keys ------------------------------------------------------------------------------------- */

/* Bit c of readers[k]: client c + 1 has read key k. */
struct keys_model {
    uint32_t readers[KEYS];
};

static size_t key_text(unsigned key, char out[16])
{
    return (size_t)snprintf(out, 16, "key %u", key);
}

/* Few, and in few stripes. */
static uint64_t key_hash(unsigned key)
{
    return (uint64_t)(key % 5) << 58 | key % 31;
}

/* Whether what was taken out is what the model has, which forgets it then. */
static unsigned check_taken(struct keys_model *model, struct tracked *tracked)
{
    char text[32];
    unsigned key;
    assert_true(tracked->key_bytes < sizeof(text));
    memcpy(text, tracked->key, tracked->key_bytes);
    text[tracked->key_bytes] = '\0';
    assert_int_equal(sscanf(text, "key %u", &key), 1);
    const uint64_t *ids = tracked_ids(tracked);
    uint32_t readers = 0;
    for (uint32_t i = 0; i < tracked->count; i++) {
        assert_true(i == 0 || ids[i - 1] < ids[i]);
        readers |= 1u << (ids[i] - 1);
    }
    assert_int_equal(readers, model->readers[key]);
    model->readers[key] = 0;
    tracked_free(tracked);
    return key;
}

static bool is_third(void *context, const struct tracked *tracked)
{
    (void)context;
    return (tracked->hash & 31) % 3 == 0;
}

static void check_all(struct keys_model *model, struct tracked_keys *keys)
{
    struct tracked *next, *tracked = tracked_keys_take_all(keys, is_third, NULL);
    for (; tracked; tracked = next) {
        next = tracked->next;
        assert_int_equal(check_taken(model, tracked) % 31 % 3, 0);
    }
    for (unsigned key = 0; key < KEYS; key++)
        assert_true(key % 31 % 3 != 0 || model->readers[key] == 0);
}

static void check_counts(const struct keys_model *model, struct tracked_keys *keys)
{
    uint64_t count = 0, items = 0;
    for (unsigned key = 0; key < KEYS; key++) {
        count += model->readers[key] != 0;
        items += (uint64_t)__builtin_popcount(model->readers[key]);
    }
    assert_int_equal(atomic_load(&keys->keys), count);
    assert_int_equal(atomic_load(&keys->items), items);
}

static void keys_step(struct keys_model *model, struct tracked_keys *keys)
{
    char text[16];
    unsigned key = random_below(KEYS), client = random_below(CLIENTS);
    size_t bytes = key_text(key, text);
    unsigned sort = random_below(1000);
    if (sort < 700) {
        assert_int_equal(tracked_keys_add(keys, key_hash(key), text, bytes, client + 1), SP_OK);
        model->readers[key] |= 1u << client;
    } else if (sort < 960) {
        struct tracked *tracked = tracked_keys_take(keys, key_hash(key), text, bytes);
        assert_int_equal(tracked != NULL, model->readers[key] != 0);
        if (tracked)
            assert_int_equal(check_taken(model, tracked), key);
    } else if (sort < 998) {
        bool any = atomic_load(&keys->keys) > 0;
        struct tracked *tracked = tracked_keys_take_any(keys);
        assert_int_equal(tracked != NULL, any);
        if (tracked)
            check_taken(model, tracked);
    } else if (sort == 998) {
        check_all(model, keys);
    } else {
        tracked_keys_clear(keys);
        memset(model, 0, sizeof(*model));
    }
}

static void test_keys(void **state)
{
    static struct keys_model model;
    static struct tracked_keys keys;
    (void)state;
    assert_int_equal(tracked_keys_init(&keys), SP_OK);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        keys_step(&model, &keys);
        if (i % 1000 == 0)
            check_counts(&model, &keys);
    }
    check_counts(&model, &keys);
    tracked_keys_destroy(&keys);
}

/* --- prefixes --------------------------------------------------------------------------------- */

#define LETTERS_MAX 4u
#define PREFIXES    31u /* of up to LETTERS_MAX letters */
#define CHANGES_MAX 40u

struct model_change {
    char key[LETTERS_MAX + 3];
    uint64_t writer;
};

struct prefixes_model {
    bool has[PREFIXES][CLIENTS];
    struct model_change changes[PREFIXES][CHANGES_MAX];
    size_t change_count[PREFIXES];
};

/* "", "a", "b", "aa", ...: the binary digits below the highest of number + 1. */
static size_t prefix_text(unsigned number, char out[LETTERS_MAX + 1])
{
    unsigned digits = number + 1, count = 31 - (unsigned)__builtin_clz(digits);
    for (unsigned i = 0; i < count; i++)
        out[i] = digits >> (count - 1 - i) & 1 ? 'b' : 'a';
    out[count] = '\0';
    return count;
}

static bool is_wanted(const struct prefixes_model *model, unsigned prefix)
{
    bool wanted = false;
    for (unsigned c = 0; c < CLIENTS; c++)
        wanted = wanted || model->has[prefix][c];
    return wanted;
}

static int by_key(const void *left, const void *right)
{
    return strcmp(left, right);
}

/* The array of keys that a client is to be told: sorted, each once. */
static size_t model_print(const struct prefixes_model *model, unsigned prefix, uint64_t except,
                          struct buffer *out)
{
    struct reply reply = {out, 2};
    char keys[CHANGES_MAX][sizeof(model->changes[0][0].key)];
    size_t count = 0;
    for (size_t i = 0; i < model->change_count[prefix]; i++) {
        const struct model_change *change = &model->changes[prefix][i];
        bool last = true;
        for (size_t j = i + 1; j < model->change_count[prefix]; j++)
            last = last && strcmp(change->key, model->changes[prefix][j].key) != 0;
        if (last && (except == 0 || change->writer != except))
            memcpy(keys[count++], change->key, sizeof(change->key));
    }
    qsort(keys, count, sizeof(keys[0]), by_key);
    reply_array(&reply, count);
    for (size_t i = 0; i < count; i++)
        reply_bulk(&reply, keys[i], strlen(keys[i]));
    return count;
}

static void note_change(struct prefixes_model *model, struct tracked_prefixes *prefixes)
{
    struct model_change change = {.writer = random_below(CLIENTS + 1)};
    size_t bytes = random_below(sizeof(change.key));
    char text[LETTERS_MAX + 1];
    for (size_t i = 0; i < bytes; i++)
        change.key[i] = (char)('a' + random_below(2));
    assert_true(tracked_prefixes_note(prefixes, change.key, bytes, change.writer));
    for (unsigned p = 0; p < PREFIXES; p++) {
        size_t size = prefix_text(p, text);
        if (is_wanted(model, p) && size <= bytes && memcmp(text, change.key, size) == 0)
            model->changes[p][model->change_count[p]++] = change;
    }
}

static void check_prefix(const struct prefixes_model *model, const struct tracked_prefix *prefix,
                         unsigned number)
{
    for (unsigned c = 0; c < CLIENTS; c++)
        assert_int_equal(tracked_prefix_has(prefix, c + 1), model->has[number][c]);
    assert_int_equal(prefix->change_count, model->change_count[number]);
    for (unsigned c = 0; c <= CLIENTS; c++) {
        bool changed = false;
        for (size_t i = 0; i < model->change_count[number]; i++)
            changed = changed || model->changes[number][i].writer == c;
        assert_int_equal(tracked_prefix_changed_by(prefix, c), changed);
    }
    for (uint64_t except = 0; except <= CLIENTS; except++) {
        struct buffer found = BUFFER_INIT, expected = BUFFER_INIT;
        assert_int_equal(tracked_prefix_print(prefix, except, &found),
                         model_print(model, number, except, &expected));
        assert_int_equal(found.size, expected.size);
        assert_memory_equal(found.bytes, expected.bytes, found.size);
        buffer_free(&found);
        buffer_free(&expected);
    }
}

static void check_overlap(const struct prefixes_model *model,
                          const struct tracked_prefixes *prefixes)
{
    char text[LETTERS_MAX + 1], other[LETTERS_MAX + 1], first[LETTERS_MAX + 2] = "c";
    unsigned client = random_below(CLIENTS);
    size_t bytes = prefix_text(random_below(PREFIXES), text);
    for (unsigned p = 0; p < PREFIXES; p++) {
        size_t size = prefix_text(p, other);
        if (model->has[p][client] && memcmp(text, other, size < bytes ? size : bytes) == 0 &&
            strcmp(other, first) < 0)
            memcpy(first, other, size + 1);
    }
    const struct tracked_prefix *found =
        tracked_prefixes_overlap(prefixes, text, bytes, client + 1);
    assert_int_equal(found != NULL, strcmp(first, "c") != 0);
    assert_true(!found ||
                (found->bytes == strlen(first) && memcmp(found->text, first, found->bytes) == 0));
}

/* Everything that is told, as the model has it; then nothing is left. */
static void tell(struct prefixes_model *model, struct tracked_prefixes *prefixes)
{
    char text[LETTERS_MAX + 1];
    size_t wanted = 0;
    for (unsigned p = 0; p < PREFIXES; p++)
        wanted += is_wanted(model, p);
    assert_int_equal(prefixes->count, wanted);
    for (size_t i = 0; i < prefixes->count; i++) {
        struct tracked_prefix *prefix = prefixes->sorted[i];
        unsigned number = 0;
        while (prefix_text(number, text) != prefix->bytes ||
               memcmp(text, prefix->text, prefix->bytes) != 0)
            number++;
        check_prefix(model, prefix, number);
        tracked_prefix_told(prefixes, prefix);
    }
    memset(model->change_count, 0, sizeof(model->change_count));
    assert_int_equal(prefixes->changes, 0);
}

static void join_or_leave(struct prefixes_model *model, struct tracked_prefixes *prefixes)
{
    char text[LETTERS_MAX + 1];
    unsigned client = random_below(CLIENTS), p = random_below(PREFIXES);
    if (random_below(4) > 0) {
        size_t bytes = prefix_text(p, text);
        assert_int_equal(tracked_prefixes_add(prefixes, text, bytes, client + 1), SP_OK);
        model->has[p][client] = true;
        return;
    }
    tracked_prefixes_leave(prefixes, client + 1);
    for (p = 0; p < PREFIXES; p++) {
        model->has[p][client] = false;
        if (!is_wanted(model, p))
            model->change_count[p] = 0;
    }
}

static void test_prefixes(void **state)
{
    static struct prefixes_model model;
    struct tracked_prefixes prefixes = TRACKED_PREFIXES_INIT;
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        join_or_leave(&model, &prefixes);
        for (unsigned i = random_below(CHANGES_MAX / 2); i > 0; i--)
            note_change(&model, &prefixes);
        join_or_leave(&model, &prefixes);
        for (unsigned i = random_below(CHANGES_MAX / 2); i > 0; i--)
            note_change(&model, &prefixes);
        check_overlap(&model, &prefixes);
        tell(&model, &prefixes);
    }
    tracked_prefixes_free(&prefixes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
