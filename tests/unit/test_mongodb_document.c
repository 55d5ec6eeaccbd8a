/* SPDX-License-Identifier: Apache-2.0
 *
 * test_mongodb_document.c - Goal: what `columns` keep of a document that came with a change is what
 * find's projection would have kept; and no document, however broken or deep, does harm. Method:
 * documents and paths, and what MongoDB's manual says of each, as extended JSON; single bits that
 * are flipped; documents in documents. libbson's own check says what is well formed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/source/mongodb_feed.h"

struct sample {
    const char *document;
    const char *paths[4];
    const char *kept;
};

static const struct sample samples[] = {
    {"{'_id': 1, 'a': 2, 'b': 3}", {"_id", "b"}, "{'_id': 1, 'b': 3}"},
    {"{'b': 3, '_id': 1, 'a': 2}", {"_id", "a", "b"}, "{'b': 3, '_id': 1, 'a': 2}"},
    {"{'_id': 1, 'a': 2}", {"a"}, "{'a': 2}"},
    {"{'_id': 1}", {"a", "b.c"}, "{}"},
    /* an embedded document stays, even empty; what is none does not */
    {"{'a': {'b': 1, 'c': 2}}", {"a.b"}, "{'a': {'b': 1}}"},
    {"{'a': {'c': 2}}", {"a.b"}, "{'a': {}}"},
    {"{'a': 5}", {"a.b"}, "{}"},
    {"{'a': null}", {"a.b"}, "{}"},
    {"{'a': {'b': 1, 'c': {'d': 2, 'e': 3}}}", {"a.c.e", "a.b"}, "{'a': {'b': 1, 'c': {'e': 3}}}"},
    {"{'ab': 1, 'a': {'b': 2}}", {"a.b"}, "{'a': {'b': 2}}"},
    {"{'a': {'b': 2}}", {"a"}, "{'a': {'b': 2}}"},
    /* in arrays the path goes on in each document */
    {"{'a': [{'b': 1, 'c': 2}, 3, {'c': 4}]}", {"a.b"}, "{'a': [{'b': 1}, {}]}"},
    {"{'a': [1, 2]}", {"a.b"}, "{'a': []}"},
    {"{'a': [[{'b': 1, 'c': 2}, 7], {'b': 3}]}", {"a.b"}, "{'a': [[{'b': 1}], {'b': 3}]}"},
    {"{'a': ['x', 'y']}", {"a.0"}, "{'a': []}"},
    {"{'a': [{'0': 'x'}, 'y']}", {"a.0"}, "{'a': [{'0': 'x'}]}"},
    /* odd names */
    {"{'a.b': 1, 'a': {'b': 2}}", {"a.b"}, "{'a': {'b': 2}}"},
    {"{'': 1, 'a': {'': 2, 'b': 3}}", {"a.b"}, "{'a': {'b': 3}}"},
    {"{'a': {'b': {'': 1}}}", {"a.b"}, "{'a': {'b': {'': 1}}}"},
    {"{'$a': 1, 'b': {'$c': 2}}", {"b"}, "{'b': {'$c': 2}}"},
    {"{'a': 1, 'b': 2, 'a': 3}", {"a"}, "{'a': 1, 'a': 3}"},
};

static bson_t *from_json(const char *quoted)
{
    char json[256];
    bson_error_t why;
    size_t bytes = 0;
    for (; quoted[bytes]; bytes++)
        json[bytes] = (char)(quoted[bytes] == '\'' ? '"' : quoted[bytes]);
    bson_t *document = bson_new_from_json((const uint8_t *)json, (ssize_t)bytes, &why);
    if (!document)
        fail_msg("%s: %s", quoted, why.message);
    return document;
}

static void test_samples(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *sample = &samples[i];
        bson_t *document = from_json(sample->document), *expected = from_json(sample->kept);
        bson_t kept = BSON_INITIALIZER;
        assert_true(mongo_can_project(sample->paths));
        assert_true(mongo_project(document, sample->paths, &kept));
        assert_true(bson_validate(&kept, BSON_VALIDATE_NONE, NULL));
        char *text = bson_as_canonical_extended_json(&kept, NULL);
        if (!bson_equal(&kept, expected))
            fail_msg("%s: %s", sample->document, text);
        bson_free(text);
        bson_destroy(&kept);
        bson_destroy(expected);
        bson_destroy(document);
    }
}

/* What has a meaning of its own there, and what is longer than any column's name. */
static void test_paths_that_only_the_server_knows(void **state)
{
    (void)state;
    char path[600];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_false(mongo_can_project((const char *const[]){"_id", "a.$", NULL}));
    assert_false(mongo_can_project((const char *const[]){path, NULL}));
    assert_true(mongo_can_project(NULL));
}

/* Whatever bit is wrong, it is seen where libbson sees it, and nothing beyond the end is read. */
static void test_broken(void **state)
{
    (void)state;
    bson_t *whole =
        from_json("{'a': [{'b': {'c': 'text'}}, {'b': 2.5}], 'd': true, 'e': {'$regex': "
                  "'x', '$options': 'i'}, 'f': {'$oid': '0123456789abcdef01234567'}}");
    const char *const paths[] = {"a.b.c", "d", NULL};
    assert_true(mongo_is_valid(whole));
    for (uint32_t at = 4; at < whole->len; at++) {
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            uint8_t *bytes = malloc(whole->len);
            bson_t broken, kept = BSON_INITIALIZER;
            assert_non_null(bytes);
            memcpy(bytes, bson_get_data(whole), whole->len);
            bytes[at] ^= (uint8_t)flip;
            if (bson_init_static(&broken, bytes, whole->len)) {
                assert_true(!mongo_is_valid(&broken) ||
                            bson_validate(&broken, BSON_VALIDATE_NONE, NULL));
                mongo_project(&broken, paths, &kept);
            }
            bson_destroy(&kept);
            free(bytes);
        }
    }
    bson_destroy(whole);
}

/* {a: {a: {...}}}, of so many levels. */
static bool deep_is_valid(unsigned levels)
{
    const uint32_t step = 7, least = 5;
    uint32_t left = least + (levels - 1) * (step + 1);
    uint8_t *bytes = calloc(1, left), *at = bytes;
    bson_t document;
    assert_non_null(bytes);
    assert_true(left >= least);
    const uint32_t size = left;
    for (unsigned i = 1; i < levels; i++, at += step, left -= step + 1) {
        memcpy(at, &left, sizeof(left));
        memcpy(at + sizeof(left),
               "\x03"
               "a",
               3);
    }
    memcpy(at, &left, sizeof(left));
    assert_true(bson_init_static(&document, bytes, size));
    const bool valid = mongo_is_valid(&document);
    free(bytes);
    return valid;
}

/* MongoDB stores up to 180 levels, others more than a stack has room for. */
static void test_deep(void **state)
{
    (void)state;
    assert_true(deep_is_valid(1));
    assert_true(deep_is_valid(180));
    assert_true(deep_is_valid(200));
    assert_false(deep_is_valid(201));
    assert_false(deep_is_valid(2000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_paths_that_only_the_server_knows),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
