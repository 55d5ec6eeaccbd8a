/* SPDX-License-Identifier: Apache-2.0
 *
 * row_check.c - whether bytes are UTF-8, and whether they are one JSON text.
 *
 * Both are pure functions that look at each byte about once and allocate nothing. The JSON checker
 * is a loop over tokens with a stack of one bit for each open bracket; it decodes nothing.
 *
 * Costs: ASCII text eight bytes at a time; other text and JSON a few nanoseconds a byte.
 * Limits: JSON nested deeper than ROW_JSON_DEPTH_MAX is refused.
 */
#include <string.h>

#include "alloc/row_internal.h"

/* --- UTF-8 --------------------------------------------------------------------------------- */

/* The bytes that a first byte asks for after it, and what the second may be: the limits exclude
 * overlong forms, surrogates and what is beyond U+10FFFF. 0: no character starts like this. */
static unsigned utf8_follow(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first >= 0xC2 && first <= 0xDF)
        return 1;
    if (first >= 0xE0 && first <= 0xEF) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 2;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        if (first == 0xF0)
            *low = 0x90;
        if (first == 0xF4)
            *high = 0x8F;
        return 3;
    }
    return 0;
}

bool row_utf8_next(const unsigned char *at, size_t left, size_t *used)
{
    unsigned char low, high;
    const unsigned char first = at[0];
    *used = 1;
    if (first < 0x80)
        return true;
    const unsigned follow = utf8_follow(first, &low, &high);
    for (unsigned i = 1; i <= follow; i++) {
        if (i == left || at[i] < low || at[i] > high)
            return false;
        (*used)++;
        low = 0x80;
        high = 0xBF;
    }
    return follow > 0;
}

bool row_utf8_valid(const void *text, size_t text_bytes)
{
    const unsigned char *bytes = text;
    size_t i = 0;
    while (i < text_bytes) {
        uint64_t eight;
        size_t used;
        if (text_bytes - i >= sizeof(eight)) {
            memcpy(&eight, bytes + i, sizeof(eight));
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += sizeof(eight);
                continue;
            }
        }
        if (!row_utf8_next(bytes + i, text_bytes - i, &used))
            return false;
        i += used;
    }
    return true;
}

/* --- JSON ---------------------------------------------------------------------------------- */

struct json {
    const unsigned char *at;
    const unsigned char *end;
    unsigned depth;
    uint64_t in_object[ROW_JSON_DEPTH_MAX / 64]; /* one bit for each level */
};

/* The byte at the cursor; 0, which no JSON text has outside of errors, at the end. */
static unsigned char json_peek(const struct json *json)
{
    return json->at < json->end ? *json->at : 0;
}

static void json_skip_space(struct json *json)
{
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

static bool json_accept(struct json *json, unsigned char c)
{
    if (json->at == json->end || *json->at != c)
        return false;
    json->at++;
    return true;
}

static bool json_word(struct json *json, const char *word)
{
    const size_t bytes = strlen(word);
    if ((size_t)(json->end - json->at) < bytes || memcmp(json->at, word, bytes) != 0)
        return false;
    json->at += bytes;
    return true;
}

static bool json_digits(struct json *json)
{
    const unsigned char *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
        json->at++;
    return json->at > start;
}

static bool json_number(struct json *json)
{
    json_accept(json, '-');
    if (!json_accept(json, '0') && !json_digits(json))
        return false;
    if (json_accept(json, '.') && !json_digits(json))
        return false;
    if (!json_accept(json, 'e') && !json_accept(json, 'E'))
        return true;
    if (!json_accept(json, '+'))
        json_accept(json, '-');
    return json_digits(json);
}

static bool is_hex(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* After a backslash. */
static bool json_escape(struct json *json)
{
    if (json_accept(json, 'u')) {
        for (unsigned i = 0; i < 4; i++, json->at++)
            if (json->at == json->end || !is_hex(*json->at))
                return false;
        return true;
    }
    const unsigned char c = json_peek(json);
    if (c == 0 || !strchr("\"\\/bfnrt", c))
        return false;
    json->at++;
    return true;
}

static bool json_string(struct json *json)
{
    size_t used;
    if (!json_accept(json, '"'))
        return false;
    while (json->at < json->end) {
        const unsigned char c = *json->at;
        if (c == '"' || c == '\\') {
            json->at++;
            if (c == '"')
                return true;
            if (!json_escape(json))
                return false;
        } else if (c < 0x20 || !row_utf8_next(json->at, (size_t)(json->end - json->at), &used)) {
            return false;
        } else {
            json->at += used;
        }
    }
    return false;
}

static bool json_scalar(struct json *json)
{
    switch (json_peek(json)) {
    case '"':
        return json_string(json);
    case 't':
        return json_word(json, "true");
    case 'f':
        return json_word(json, "false");
    case 'n':
        return json_word(json, "null");
    default:
        return json_number(json);
    }
}

static bool json_is_in_object(const struct json *json)
{
    const unsigned level = json->depth - 1;
    return json->in_object[level / 64] >> (level % 64) & 1;
}

static bool json_open(struct json *json, bool object)
{
    if (json->depth == ROW_JSON_DEPTH_MAX)
        return false;
    const uint64_t bit = UINT64_C(1) << (json->depth % 64);
    uint64_t *bits = &json->in_object[json->depth / 64];
    *bits = object ? *bits | bit : *bits & ~bit;
    json->depth++;
    return true;
}

/* The name of an object's member and its colon; in an array, nothing. */
static bool json_name(struct json *json)
{
    if (json->depth == 0 || !json_is_in_object(json))
        return true;
    json_skip_space(json);
    if (!json_string(json))
        return false;
    json_skip_space(json);
    return json_accept(json, ':');
}

/* After a value: closes what ends here. `*more`: another value must follow. */
static bool json_after_value(struct json *json, bool *more)
{
    *more = false;
    for (; json->depth > 0; json->depth--) {
        json_skip_space(json);
        if (json_accept(json, ',')) {
            *more = true;
            return true;
        }
        if (!json_accept(json, json_is_in_object(json) ? '}' : ']'))
            return false;
    }
    return true;
}

/* A value up to where its first scalar ends or an empty bracket closes. */
static bool json_value(struct json *json)
{
    for (;;) {
        if (!json_name(json))
            return false;
        json_skip_space(json);
        const unsigned char c = json_peek(json);
        if (c != '{' && c != '[')
            return json_scalar(json);
        json->at++;
        if (!json_open(json, c == '{'))
            return false;
        json_skip_space(json);
        if (json_accept(json, c == '{' ? '}' : ']')) {
            json->depth--;
            return true;
        }
    }
}

bool row_json_valid(const void *text, size_t text_bytes)
{
    if (text_bytes == 0)
        return false;
    struct json json = {.at = text, .end = (const unsigned char *)text + text_bytes};
    bool more;
    do {
        if (!json_value(&json) || !json_after_value(&json, &more))
            return false;
    } while (more);
    json_skip_space(&json);
    return json.at == json.end;
}
