/* SPDX-License-Identifier: Apache-2.0
 *
 * test_bson.c - BSON: walking, fields, extended JSON, decimals (alloc/bson.c, bson_json.c,
 * bson_number.c); keys are test_bson_key.c's.
 *
 * Goal: what libbson says of a document is what we say of it, and no document whatever can do harm.
 * Method: documents made by hand, one for each type; random documents made by libbson from a
 * printed seed (SIDEPOND_SEED repeats), walked and written as JSON by both, the JSON compared by
 * jansson; random decimals written by both. Documents are cut at every byte and have every bit
 * flipped, in memory of exactly their size.
 */
#include "bson_random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "alloc/bson.h"
#include "alloc/row.h"
#include "random_numbers.h"

#define RANDOM_DOCUMENTS 1000

typedef size_t (*writer)(const struct sp_value *value, char *out, size_t cap);

static char *written(writer write, const struct sp_value *value)
{
    const size_t size = write(value, NULL, 0);
    char *out = malloc(size + 1);
    assert_int_equal(write(value, out, size + 1), size);
    return out;
}

static void writes(struct sp_value value, const char *expected)
{
    char *json = written(row_value_json, &value);
    assert_string_equal(json, expected);
    free(json);
}

/* --- by hand ------------------------------------------------------------------------------- */

/* A value's bytes, its type first, and what is to be made of it. */
struct vector {
    const char *bytes;
    size_t size;
    enum sp_type plain;
    const char *json;
};
#define VECTOR(bytes, plain, json)                                                                 \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, SP_TYPE_##plain, json                                            \
    }

static const struct vector vectors[] = {
    VECTOR("\x01\0\0\0\0\0\0\xf8\x3f", FLOAT64, "1.5"),
    VECTOR("\x01\0\0\0\0\0\0\xf0\x3f", FLOAT64, "1.0"),
    VECTOR("\x01\0\0\0\0\0\0\0\x80", FLOAT64, "-0.0"),
    VECTOR("\x01\0\0\0\0\0\0\xf0\x7f", FLOAT64, "{\"$numberDouble\": \"Infinity\"}"),
    VECTOR("\x01\0\0\0\0\0\0\xf0\xff", FLOAT64, "{\"$numberDouble\": \"-Infinity\"}"),
    VECTOR("\x01\0\0\0\0\0\0\xf8\x7f", FLOAT64, "{\"$numberDouble\": \"NaN\"}"),
    VECTOR("\x02\4\0\0\0a\"\n\0", TEXT, "\"a\\\"\\n\""),
    VECTOR("\x02\1\0\0\0\0", TEXT, "\"\""),
    VECTOR("\x02\3\0\0\0\xff\xfe\0", TEXT, "\"\xef\xbf\xbd\xef\xbf\xbd\""),
    VECTOR("\x03\5\0\0\0\0", BSON, "{}"),
    VECTOR("\x03\x13\0\0\0\x10x\0\1\0\0\0\x0ay\0\x08z\0\1\0", BSON,
           "{\"x\": 1, \"y\": null, \"z\": true}"),
    VECTOR("\x04\5\0\0\0\0", BSON_VALUE, "[]"),
    VECTOR("\x04\x13\0\0\0\x10\x30\0\1\0\0\0\x10\x31\0\xff\xff\xff\xff\0", BSON_VALUE, "[1, -1]"),
    VECTOR("\x05\2\0\0\0\0\xde\xad", BYTES,
           "{\"$binary\": {\"base64\": \"3q0=\", \"subType\": \"00\"}}"),
    VECTOR("\x05\x10\0\0\0\4\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", UUID,
           "{\"$binary\": {\"base64\": \"ABEiM0RVZneImaq7zN3u/w==\", \"subType\": \"04\"}}"),
    VECTOR("\x05\x06\0\0\0\2\2\0\0\0\xde\xad", BSON_VALUE,
           "{\"$binary\": {\"base64\": \"3q0=\", \"subType\": \"02\"}}"),
    VECTOR("\x05\1\0\0\0\x80\xff", BSON_VALUE,
           "{\"$binary\": {\"base64\": \"/w==\", \"subType\": \"80\"}}"),
    VECTOR("\x06", BSON_VALUE, "{\"$undefined\": true}"),
    VECTOR("\x07\x50\x7f\x1f\x77\xbc\xf8\x6c\xd7\x99\x43\x90\x11", BSON_VALUE,
           "{\"$oid\": \"507f1f77bcf86cd799439011\"}"),
    VECTOR("\x08\0", BOOL, "false"),
    VECTOR("\x09\xc5\xd8\xd6\xcc\x3b\1\0\0", TIMESTAMP,
           "{\"$date\": \"2012-12-24T12:15:30.501Z\"}"),
    VECTOR("\x09\0\0\0\0\0\0\0\0", TIMESTAMP, "{\"$date\": \"1970-01-01T00:00:00Z\"}"),
    VECTOR("\x09\xff\xff\xff\xff\xff\xff\xff\xff", TIMESTAMP,
           "{\"$date\": {\"$numberLong\": \"-1\"}}"),
    VECTOR("\x09\xff\xdb\x1f\xd2\x77\xe6\0\0", TIMESTAMP,
           "{\"$date\": \"9999-12-31T23:59:59.999Z\"}"),
    VECTOR("\x09\0\xdc\x1f\xd2\x77\xe6\0\0", TIMESTAMP,
           "{\"$date\": {\"$numberLong\": \"253402300800000\"}}"),
    VECTOR("\x09\xff\xff\xff\xff\xff\xff\xff\x7f", BSON_VALUE,
           "{\"$date\": {\"$numberLong\": \"9223372036854775807\"}}"),
    VECTOR("\x0b^a\0im\0", BSON_VALUE,
           "{\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"im\"}}"),
    VECTOR("\x0c\4\0\0\0a.b\0\x50\x7f\x1f\x77\xbc\xf8\x6c\xd7\x99\x43\x90\x11", BSON_VALUE,
           "{\"$dbPointer\": {\"$ref\": \"a.b\", \"$id\": {\"$oid\": "
           "\"507f1f77bcf86cd799439011\"}}}"),
    VECTOR("\x0d\2\0\0\0f\0", BSON_VALUE, "{\"$code\": \"f\"}"),
    VECTOR("\x0e\2\0\0\0s\0", BSON_VALUE, "{\"$symbol\": \"s\"}"),
    VECTOR("\x0f\x16\0\0\0\2\0\0\0f\0\x0c\0\0\0\x10x\0\1\0\0\0\0", BSON_VALUE,
           "{\"$code\": \"f\", \"$scope\": {\"x\": 1}}"),
    VECTOR("\x10\xff\xff\xff\x7f", INT32, "2147483647"),
    VECTOR("\x11\1\0\0\0\xff\xff\xff\xff", BSON_VALUE,
           "{\"$timestamp\": {\"t\": 4294967295, \"i\": 1}}"),
    VECTOR("\x12\xff\xff\xff\xff\xff\xff\xff\x7f", INT64, "9223372036854775807"),
    VECTOR("\x13\x96\0\0\0\0\0\0\0\0\0\0\0\0\0\x3c\x30", BSON_VALUE,
           "{\"$numberDecimal\": \"1.50\"}"),
    VECTOR("\x7f", BSON_VALUE, "{\"$maxKey\": 1}"),
    VECTOR("\xff", BSON_VALUE, "{\"$minKey\": 1}"),
};

static void every_type_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        const struct vector *vector = &vectors[i];
        const void *data;
        size_t size;
        struct sp_value plain;
        uint8_t *exact = malloc(vector->size);
        memcpy(exact, vector->bytes, vector->size);
        const struct sp_value value = sp_bytes(SP_TYPE_BSON_VALUE, exact, vector->size);
        writes(value, vector->json);
        assert_int_equal(sp_bson_raw(&value, &data, &size), exact[0]);
        assert_ptr_equal(data, exact + 1);
        assert_int_equal(size, vector->size - 1);
        assert_int_equal(sp_bson_plain(&value, &plain), SP_OK);
        assert_int_equal(plain.type, vector->plain);
        assert_false(plain.is_null);
        if (plain.type == SP_TYPE_BSON || plain.type == SP_TYPE_BSON_VALUE)
            writes(plain, vector->json);
        free(exact);
    }
}

static void plain_values_are_exact(void **state)
{
    struct sp_value plain;
    (void)state;
    struct sp_value null = sp_bytes(SP_TYPE_BSON_VALUE, "\x0a", 1);
    assert_int_equal(sp_bson_plain(&null, &plain), SP_OK);
    assert_true(plain.is_null);
    writes(null, "null");
    struct sp_value date = sp_bytes(SP_TYPE_BSON_VALUE, "\x09\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(sp_bson_plain(&date, &plain), SP_OK);
    assert_int_equal(plain.i, -1000);
    struct sp_value text = sp_bytes(SP_TYPE_BSON_VALUE, "\x02\3\0\0\0a\0\0", 8);
    assert_int_equal(sp_bson_plain(&text, &plain), SP_OK);
    assert_int_equal(plain.bytes.size, 2);
    assert_memory_equal(plain.bytes.data, "a", 2);
    struct sp_value other = sp_int(7);
    assert_int_equal(sp_bson_plain(&other, &plain), SP_OK);
    assert_int_equal(plain.i, 7);
}

static struct sp_value sample_document(uint8_t *out)
{
    bson_t *document = bson_new();
    bson_t inner, list, item;
    BSON_APPEND_INT32(document, "n", 7);
    BSON_APPEND_NULL(document, "nothing");
    BSON_APPEND_DOCUMENT_BEGIN(document, "inner", &inner);
    BSON_APPEND_UTF8(&inner, "name", "abc");
    BSON_APPEND_NULL(&inner, "x");
    bson_append_document_end(document, &inner);
    BSON_APPEND_ARRAY_BEGIN(document, "list", &list);
    BSON_APPEND_INT32(&list, "0", 1);
    BSON_APPEND_DOCUMENT_BEGIN(&list, "1", &item);
    BSON_APPEND_INT32(&item, "z", 2);
    bson_append_document_end(&list, &item);
    bson_append_array_end(document, &list);
    BSON_APPEND_INT32(document, "n", 8);
    const size_t size = document->len;
    memcpy(out, bson_get_data(document), size);
    bson_destroy(document);
    return sp_bytes(SP_TYPE_BSON, out, size);
}

static void finds(const struct sp_value *document, const char *path, int status, const char *json)
{
    struct sp_value found;
    assert_int_equal(sp_bson_field(document, path, strlen(path), &found), status);
    if (status == SP_OK)
        writes(found, json);
}

static void fields_are_found_by_path(void **state)
{
    uint8_t bytes[256];
    const struct sp_value document = sample_document(bytes);
    static const struct {
        const char *path;
        int status;
        const char *json;
    } cases[] = {
        {"n", SP_OK, "7"}, /* the first of two */
        {"nothing", SP_OK, "null"},
        {"inner", SP_OK, "{\"name\": \"abc\", \"x\": null}"},
        {"inner.name", SP_OK, "\"abc\""},
        {"inner.x", SP_OK, "null"},
        {"list", SP_OK, "[1, {\"z\": 2}]"},
        {"list.0", SP_OK, "1"},
        {"list.1.z", SP_OK, "2"},
        {"list.2", SP_ENOTFOUND, NULL},
        {"list.00", SP_ENOTFOUND, NULL},
        {"list.-1", SP_ENOTFOUND, NULL},
        {"list.", SP_ENOTFOUND, NULL},
        {"list.9999999999", SP_ENOTFOUND, NULL},
        {"list.z", SP_ENOTFOUND, NULL},
        {"n.x", SP_ENOTFOUND, NULL},
        {"inner.nam", SP_ENOTFOUND, NULL},
        {"inner.names", SP_ENOTFOUND, NULL},
        {"inne", SP_ENOTFOUND, NULL},
        {"", SP_ENOTFOUND, NULL},
        {".", SP_ENOTFOUND, NULL},
        {"inner.", SP_ENOTFOUND, NULL},
        {".inner", SP_ENOTFOUND, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        finds(&document, cases[i].path, cases[i].status, cases[i].json);
    struct sp_value list, found;
    assert_int_equal(sp_bson_field(&document, "list", 4, &list), SP_OK);
    finds(&list, "1.z", SP_OK, "2");
    finds(&list, "1", SP_OK, "{\"z\": 2}");
    list.bson_type = SP_BSON_INT32;
    assert_int_equal(sp_bson_field(&list, "1", 1, &found), SP_ETYPE);
    const struct sp_value none = sp_null(SP_TYPE_BSON);
    assert_int_equal(sp_bson_field(&none, "1", 1, &found), SP_ETYPE);
    const struct sp_value empty = sp_bytes(SP_TYPE_BSON_VALUE, "", 0);
    assert_int_equal(sp_bson_field(&empty, "1", 1, &found), SP_ETYPE);
}

/* --- damage -------------------------------------------------------------------------------- */

/* Everything that reads, on bytes in memory of exactly their size. */
static void read_all(const uint8_t *bytes, size_t size, enum sp_type type)
{
    uint8_t *exact = malloc(size + 1);
    struct sp_bson_walk walk;
    struct sp_bson_entry entry;
    struct sp_value found;
    memcpy(exact + 1, bytes, size);
    const struct sp_value value = sp_bytes(type, exact + 1, size);
    char *json = written(row_value_json, &value);
    char *text = written(row_value_text, &value);
    if (!row_json_valid(json, strlen(json)))
        fail_msg("\"%s\" is no JSON", json);
    (void)sp_bson_field(&value, "list.1.z", 8, &found);
    (void)sp_bson_field(&value, "nobody", 6, &found);
    (void)sp_bson_plain(&value, &found);
    int status = sp_bson_walk_begin(&value, &walk);
    while (status == SP_OK && (status = sp_bson_walk_next(&walk, &entry)) == SP_OK)
        assert_int_equal(strlen(entry.name), entry.name_bytes);
    assert_true(status == SP_ENOTFOUND || status == SP_ECORRUPT || status == SP_ETYPE);
    free(text);
    free(json);
    free(exact);
}

static void damaged(const uint8_t *bytes, size_t size, enum sp_type type)
{
    uint8_t *copy = malloc(size);
    for (size_t cut = 0; cut < size; cut++)
        read_all(bytes, cut, type);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        memcpy(copy, bytes, size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_all(copy, size, type);
    }
    free(copy);
}

static void damaged_documents_do_no_harm(void **state)
{
    uint8_t bytes[256];
    const struct sp_value document = sample_document(bytes);
    (void)state;
    damaged(bytes, document.bytes.size, SP_TYPE_BSON);
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
        damaged((const uint8_t *)vectors[i].bytes, vectors[i].size, SP_TYPE_BSON_VALUE);
    for (unsigned i = 0; i < 10; i++) {
        bson_t *random = bson_random();
        if (random->len < 600)
            damaged(bson_get_data(random), random->len, SP_TYPE_BSON);
        bson_destroy(random);
    }
}

static void corrupt(const char *bytes, size_t size)
{
    const struct sp_value value = sp_bytes(SP_TYPE_BSON_VALUE, bytes, size);
    const void *data;
    struct sp_value plain;
    size_t raw;
    writes(value, "null");
    assert_int_equal(sp_bson_plain(&value, &plain), SP_ECORRUPT);
    assert_int_equal(sp_bson_raw(&value, &data, &raw), SP_ECORRUPT);
}
#define CORRUPT(bytes) corrupt(bytes, sizeof(bytes) - 1)

static void broken_values_are_refused(void **state)
{
    (void)state;
    CORRUPT("");
    CORRUPT("\x14");
    CORRUPT("\0");
    CORRUPT("\x08\2");
    CORRUPT("\x08");
    CORRUPT("\x10\0\0\0");
    CORRUPT("\x10\0\0\0\0\0");
    CORRUPT("\x02\0\0\0\0");
    CORRUPT("\x02\2\0\0\0aa");
    CORRUPT("\x02\2\0\0\0a\0\0");
    CORRUPT("\x02\xff\xff\xff\xff\0");
    CORRUPT("\x03\4\0\0\0");
    CORRUPT("\x03\5\0\0\0\1");
    CORRUPT("\x05\2\0\0\0\0a");
    CORRUPT("\x05\xff\xff\xff\xff\0");
    CORRUPT("\x0b^\0");
    CORRUPT("\x0b^");
    CORRUPT("\x0c\1\0\0\0\0\0\0\0");
    CORRUPT("\x0f\x0e\0\0\0\1\0\0\0\0\5\0\0\0");
    CORRUPT("\x0f\x0e\0\0\0\2\0\0\0\0\5\0\0\0\0");
    CORRUPT("\x13\0\0\0\0");
}

/* Documents in documents; returns the size. */
static size_t nested(uint8_t *out, unsigned levels)
{
    size_t size = 5;
    memcpy(out, "\5\0\0\0\0", 5);
    for (unsigned i = 1; i < levels; i++) {
        memmove(out + 7, out, size);
        size += 8;
        const uint32_t told = (uint32_t)size;
        memcpy(out, &told, 4);
        memcpy(out + 4,
               "\x03"
               "a",
               3);
        out[size - 1] = 0;
    }
    return size;
}

static void depth_is_limited(void **state)
{
    static uint8_t bytes[8 * 1000];
    char path[2 * BSON_DEPTH_MAX];
    struct sp_value found;
    (void)state;
    struct sp_value value = sp_bytes(SP_TYPE_BSON, bytes, nested(bytes, BSON_DEPTH_MAX));
    char *json = written(row_value_json, &value);
    assert_true(row_json_valid(json, strlen(json)));
    assert_int_equal(strlen(json), 2 + 7 * (BSON_DEPTH_MAX - 1));
    free(json);
    memset(path, 'a', sizeof(path));
    for (size_t i = 1; i < sizeof(path); i += 2)
        path[i] = '.';
    assert_int_equal(sp_bson_field(&value, path, 2 * BSON_DEPTH_MAX - 3, &found), SP_OK);
    writes(found, "{}");
    value = sp_bytes(SP_TYPE_BSON, bytes, nested(bytes, BSON_DEPTH_MAX + 1));
    writes(value, "null");
    value = sp_bytes(SP_TYPE_BSON, bytes, nested(bytes, 900));
    writes(value, "null");
}

/* --- beside libbson ------------------------------------------------------------------------ */

static void same_value(const bson_iter_t *iter, const struct sp_value *ours)
{
    const void *data;
    size_t size;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_DOUBLE:
        assert_int_equal(ours->type, SP_TYPE_FLOAT64);
        assert_memory_equal(&ours->f, &(double){bson_iter_double(iter)}, sizeof(double));
        break;
    case BSON_TYPE_UTF8: {
        uint32_t bytes;
        const char *text = bson_iter_utf8(iter, &bytes);
        assert_int_equal(ours->type, SP_TYPE_TEXT);
        assert_int_equal(ours->bytes.size, bytes);
        assert_memory_equal(ours->bytes.data, text, bytes);
        break;
    }
    case BSON_TYPE_INT32:
        assert_int_equal(ours->type, SP_TYPE_INT32);
        assert_int_equal(ours->i, bson_iter_int32(iter));
        break;
    case BSON_TYPE_INT64:
        assert_int_equal(ours->type, SP_TYPE_INT64);
        assert_int_equal(ours->i, bson_iter_int64(iter));
        break;
    case BSON_TYPE_BOOL:
        assert_int_equal(ours->i, bson_iter_bool(iter));
        break;
    case BSON_TYPE_NULL:
        assert_true(ours->is_null);
        break;
    case BSON_TYPE_DATE_TIME:
        if (ours->type == SP_TYPE_TIMESTAMP)
            assert_int_equal(ours->i, bson_iter_date_time(iter) * 1000);
        break;
    case BSON_TYPE_OID:
        assert_int_equal(sp_bson_raw(ours, &data, &size), SP_BSON_OBJECT_ID);
        assert_memory_equal(data, bson_iter_oid(iter), size);
        break;
    default:
        if (ours->type == SP_TYPE_BSON_VALUE)
            assert_int_equal(ours->bson_type, bson_iter_type(iter) & 0xff);
    }
}

/* All fields of a document, in order, by libbson and by us; those in them by their paths. */
static unsigned compare_walks(const struct sp_value *whole, const struct sp_value *document,
                              bson_iter_t *iter, const char *before)
{
    struct sp_bson_walk walk;
    struct sp_bson_entry entry;
    unsigned count = 0;
    assert_int_equal(sp_bson_walk_begin(document, &walk), SP_OK);
    while (bson_iter_next(iter)) {
        struct sp_value found;
        bson_iter_t inner;
        char path[1024];
        const char *name = bson_iter_key(iter);
        snprintf(path, sizeof(path), "%s%s", before, name);
        assert_int_equal(sp_bson_walk_next(&walk, &entry), SP_OK);
        assert_string_equal(entry.name, name);
        same_value(iter, &entry.value);
        assert_int_equal(sp_bson_field(whole, path, strlen(path), &found), SP_OK);
        assert_memory_equal(&found.i, &entry.value.i, sizeof(found.i));
        assert_int_equal(found.type, entry.value.type);
        count++;
        const bool nested_document = BSON_ITER_HOLDS_DOCUMENT(iter) || BSON_ITER_HOLDS_ARRAY(iter);
        if (nested_document && bson_iter_recurse(iter, &inner)) {
            strncat(path, ".", sizeof(path) - strlen(path) - 1);
            count += compare_walks(whole, &entry.value, &inner, path);
        }
    }
    assert_int_equal(sp_bson_walk_next(&walk, &entry), SP_ENOTFOUND);
    return count;
}

static json_t *parsed(const char *json)
{
    json_error_t error;
    json_t *value = json_loads(json, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!value)
        fail_msg("%s: \"%s\"", error.text, json);
    return value;
}

static void same_json(const bson_t *document, const struct sp_value *value)
{
    char *theirs = bson_as_relaxed_extended_json(document, NULL);
    char *ours = written(row_value_json, value);
    json_t *left = parsed(ours);
    json_t *right = parsed(theirs);
    if (!json_equal(left, right))
        fail_msg("ours:   %s\ntheirs: %s", ours, theirs);
    json_decref(left);
    json_decref(right);
    free(ours);
    bson_free(theirs);
}

static void documents_are_libbsons(void **state)
{
    unsigned fields = 0;
    (void)state;
    for (unsigned i = 0; i < RANDOM_DOCUMENTS; i++) {
        bson_t *document = bson_random();
        bson_iter_t iter;
        const struct sp_value value =
            sp_bytes(SP_TYPE_BSON, bson_get_data(document), document->len);
        assert_true(bson_iter_init(&iter, document));
        fields += compare_walks(&value, &value, &iter, "");
        same_json(document, &value);
        bson_destroy(document);
    }
    print_message("%u documents, %u fields\n", RANDOM_DOCUMENTS, fields);
}

static void decimals_are_libbsons(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        char theirs[BSON_DECIMAL128_STRING];
        char ours[SP_BSON_DECIMAL_BYTES];
        const bson_decimal128_t decimal = bson_random_decimal();
        bson_decimal128_to_string(&decimal, theirs);
        const size_t size = sp_bson_decimal_text(&decimal, ours);
        assert_int_equal(size, strlen(ours));
        assert_string_equal(ours, theirs);
    }
}

/* --- rows ---------------------------------------------------------------------------------- */

static void rows_hold_documents(void **state)
{
    const struct row_column columns[] = {
        {.name = "_id", .type = SP_TYPE_BSON_VALUE, .key_position = 0},
        {.name = "a.b", .type = SP_TYPE_BSON_VALUE, .key_position = -1, .nullable = true},
        {.name = "document", .type = SP_TYPE_BSON, .key_position = -1}};
    struct sp_value values[3] = {sp_bytes(SP_TYPE_BSON_VALUE, "\x10\1\0\0\0", 5),
                                 sp_bytes(SP_TYPE_BSON_VALUE, "\x10\7\0\0\0", 5)};
    uint8_t document[256], row[512], again[512];
    struct schema *schema;
    struct sp_value found;
    size_t size, same;
    unsigned bad;
    (void)state;
    values[2] = sample_document(document);
    assert_int_equal(schema_build(columns, 3, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_int_equal(schema->document, 2);
    assert_int_equal(row_encode(schema, values, row, sizeof(row), &size, &bad), SP_OK);
    values[1] = sp_bytes(SP_TYPE_BSON_VALUE, "\7\0\0\0", 4);
    values[1].bson_type = SP_BSON_INT32;
    assert_int_equal(row_encode(schema, values, again, sizeof(again), &same, &bad), SP_OK);
    assert_int_equal(size, same);
    assert_memory_equal(row, again, size);
    assert_int_equal(row_column_get(schema, 1, "", 0, row, size, &found), SP_OK);
    assert_int_equal(found.bson_type, 0);
    writes(found, "7");
    assert_int_equal(row_column_get(schema, 2, "", 0, row, size, &found), SP_OK);
    finds(&found, "list.1.z", SP_OK, "2");
    values[1] = sp_null(SP_TYPE_BSON_VALUE);
    assert_int_equal(row_encode(schema, values, row, sizeof(row), &size, &bad), SP_OK);
    assert_int_equal(row_column_get(schema, 1, "", 0, row, size, &found), SP_OK);
    assert_true(found.is_null);
    values[1] = sp_bytes(SP_TYPE_BSON_VALUE, "\x10\7\0\0", 4);
    assert_int_equal(row_encode(schema, values, row, sizeof(row), &size, &bad), SP_ETYPE);
    assert_int_equal(bad, 1);
    values[1] = sp_null(SP_TYPE_BSON_VALUE);
    values[2].bytes.size--;
    assert_int_equal(row_encode(schema, values, row, sizeof(row), &size, &bad), SP_ETYPE);
    assert_int_equal(bad, 2);
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),        cmocka_unit_test(plain_values_are_exact),
        cmocka_unit_test(fields_are_found_by_path),  cmocka_unit_test(damaged_documents_do_no_harm),
        cmocka_unit_test(broken_values_are_refused), cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(documents_are_libbsons),    cmocka_unit_test(decimals_are_libbsons),
        cmocka_unit_test(rows_hold_documents),
    };
    random_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
