/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_random.c - random documents.
 */
#include "bson_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random_numbers.h"

#define FIELDS_MAX 10
#define DEPTH_MAX  4
#define DATES      INT64_C(253402300800000) /* to 9999: what is later, libbson writes as a string */

static int64_t random_int(void)
{
    return (int64_t)random_next() >> random_below(64);
}

static double random_double(void)
{
    static const double some[] = {0.0, -0.0, 1.0, 0.1, 1e300, 0x1p63, -0x1p63, 1e-320, 1.5};
    double f;
    uint64_t bits = random_next();
    if (random_below(2))
        return some[random_below(sizeof(some) / sizeof(*some))];
    if (random_below(2))
        return (double)random_int() / (double)(1u << random_below(20));
    memcpy(&f, &bits, sizeof(f));
    return f != f ? 0.25 : f;
}

/* Up to 30 characters: ASCII, what JSON escapes, two to four bytes of UTF-8, zeros. */
static size_t random_text(char *out, bool zeros)
{
    static const char *const parts[] = {"a",
                                        "Zq",
                                        " ",
                                        "\"",
                                        "\\",
                                        "/",
                                        "\n",
                                        "\x01",
                                        "\xc3\xbc",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80",
                                        "5",
                                        "{",
                                        "$oid"};
    size_t size = 0;
    for (unsigned i = random_below(30); i > 0; i--) {
        const char *part = parts[random_below(sizeof(parts) / sizeof(*parts))];
        memcpy(out + size, part, strlen(part));
        size += strlen(part);
        if (zeros && random_below(20) == 0)
            out[size++] = 0;
    }
    out[size] = 0;
    return size;
}

bson_decimal128_t bson_random_decimal(void)
{
    bson_decimal128_t decimal;
    const unsigned digits = random_below(35);
    const int spread = random_below(4) ? 60 : 12287;
    char text[64];
    int size = snprintf(text, sizeof(text), "%s", random_below(2) ? "-" : "");
    if (random_below(50) == 0) {
        snprintf(text + size, sizeof(text) - (size_t)size, "%s",
                 random_below(2) ? "Infinity" : "NaN");
        if (text[size] == 'N')
            memmove(text, text + size, 4);
    } else {
        for (unsigned i = 0; i < (digits ? digits : 1); i++)
            text[size++] = (char)('0' + (random_below(2) ? random_below(10) : 0));
        snprintf(text + size, sizeof(text) - (size_t)size, "E%d",
                 (int)random_below((unsigned)spread) - spread / 2);
    }
    if (!bson_decimal128_from_string(text, &decimal))
        bson_decimal128_from_string("1", &decimal);
    return decimal;
}

static void append_fields(bson_t *document, unsigned depth, bool array);

static void append_nested(bson_t *document, const char *name, unsigned depth)
{
    bson_t inner;
    if (random_below(2)) {
        bson_append_document_begin(document, name, -1, &inner);
        append_fields(&inner, depth + 1, false);
        bson_append_document_end(document, &inner);
    } else {
        bson_append_array_begin(document, name, -1, &inner);
        append_fields(&inner, depth + 1, true);
        bson_append_array_end(document, &inner);
    }
}

static void append_binary(bson_t *document, const char *name)
{
    static const bson_subtype_t subtypes[] = {BSON_SUBTYPE_BINARY, BSON_SUBTYPE_BINARY_DEPRECATED,
                                              BSON_SUBTYPE_UUID, BSON_SUBTYPE_MD5,
                                              BSON_SUBTYPE_USER};
    uint8_t bytes[64];
    const bson_subtype_t subtype = subtypes[random_below(5)];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)random_next();
    const unsigned size = subtype == BSON_SUBTYPE_UUID ? 16 : random_below(sizeof(bytes));
    bson_append_binary(document, name, -1, subtype, bytes, size);
}

static void append_scope(bson_t *document, const char *name, unsigned depth)
{
    bson_t *scope = bson_new();
    append_fields(scope, depth + 1, false);
    bson_append_code_with_scope(document, name, -1, "f()", scope);
    bson_destroy(scope);
}

static void append_rare(bson_t *document, const char *name, unsigned depth)
{
    bson_oid_t id;
    bson_oid_init(&id, NULL);
    switch (random_below(10)) {
    case 0:
        bson_append_regex(document, name, -1, "^a\"b$", "im");
        return;
    case 1:
        bson_append_dbpointer(document, name, -1, "db.c", &id);
        return;
    case 2:
        bson_append_code(document, name, -1, "function() {}");
        return;
    case 3:
        bson_append_symbol(document, name, -1, "symbol", -1);
        return;
    case 4:
        append_scope(document, name, depth);
        return;
    case 5:
        bson_append_timestamp(document, name, -1, (uint32_t)random_next(), (uint32_t)random_next());
        return;
    case 6:
        bson_append_minkey(document, name, -1);
        return;
    case 7:
        bson_append_maxkey(document, name, -1);
        return;
    case 8:
        bson_append_undefined(document, name, -1);
        return;
    default:
        append_binary(document, name);
    }
}

static void append_scalar(bson_t *document, const char *name)
{
    bson_oid_t id;
    char text[256];
    size_t size;
    bson_decimal128_t decimal;
    switch (random_below(9)) {
    case 0:
        bson_append_double(document, name, -1, random_double());
        return;
    case 1:
        size = random_text(text, true);
        bson_append_utf8(document, name, -1, text, (int)size);
        return;
    case 2:
        bson_oid_init(&id, NULL);
        bson_append_oid(document, name, -1, &id);
        return;
    case 3:
        bson_append_bool(document, name, -1, random_below(2));
        return;
    case 4:
        bson_append_date_time(document, name, -1, random_int() % DATES);
        return;
    case 5:
        bson_append_null(document, name, -1);
        return;
    case 6:
        bson_append_int32(document, name, -1, (int32_t)random_int());
        return;
    case 7:
        bson_append_int64(document, name, -1, random_int());
        return;
    default:
        decimal = bson_random_decimal();
        bson_append_decimal128(document, name, -1, &decimal);
    }
}

static void append_fields(bson_t *document, unsigned depth, bool array)
{
    const unsigned count = random_below(FIELDS_MAX);
    for (unsigned i = 0; i < count; i++) {
        char name[300];
        char text[256];
        const unsigned kind = random_below(10);
        random_text(text, false);
        for (char *at = text; *at; at++) /* a dot divides paths, and a dollar sign is not ours */
            if (*at == '.' || *at == '$')
                *at = '_';
        if (array)
            snprintf(name, sizeof(name), "%u", i);
        else
            snprintf(name, sizeof(name), "%u%s", i, text);
        if (kind < 2 && depth < DEPTH_MAX)
            append_nested(document, name, depth);
        else if (kind < 4)
            append_rare(document, name, depth);
        else
            append_scalar(document, name);
    }
}

bson_t *bson_random(void)
{
    bson_t *document = bson_new();
    append_fields(document, 0, false);
    return document;
}
