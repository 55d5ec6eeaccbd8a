/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c - numbers, sizes, ages and values as people read them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "table.h"

const char *text_count(const struct tool *tool, uint64_t number, char out[TEXT_BYTES])
{
    char digits[TEXT_BYTES];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, number);
    char *to = out;
    for (int i = 0; i < size; i++) {
        *to++ = digits[i];
        if (tool->terminal && i + 1 < size && (size - i - 1) % 3 == 0)
            *to++ = ',';
    }
    *to = '\0';
    return out;
}

const char *text_size(uint64_t bytes, char out[TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)bytes;
    int unit = 0;
    while (size >= 1024 && unit < 5) {
        size /= 1024;
        unit++;
    }
    snprintf(out, TEXT_BYTES, unit > 0 && size < 100 ? "%.1f %s" : "%.0f %s", size, units[unit]);
    return out;
}

const char *text_age(uint64_t ms, char out[TEXT_BYTES])
{
    uint64_t s = ms / 1000;
    if (ms == UINT64_MAX)
        snprintf(out, TEXT_BYTES, "never");
    else if (s < 10)
        snprintf(out, TEXT_BYTES, "%.1f s", (double)ms / 1000);
    else if (s < 120)
        snprintf(out, TEXT_BYTES, "%" PRIu64 " s", s);
    else if (s < 7200)
        snprintf(out, TEXT_BYTES, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        snprintf(out, TEXT_BYTES, "%" PRIu64 " h", s / 3600);
    else
        snprintf(out, TEXT_BYTES, "%" PRIu64 " days", s / 86400);
    return out;
}

const char *text_table_state(const struct sp_table_info *info, char out[TEXT_BYTES])
{
    bool feed = info->feed != SP_FEED_NONE;
    snprintf(out, TEXT_BYTES, "%s%s%s%s", sp_table_state_text(info->state),
             info->stale ? ", stale" : "", feed ? ", " : "",
             feed ? sp_table_feed_text(info->feed) : "");
    return out;
}

const char *text_time(int64_t unix_ms, char out[TEXT_BYTES])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm parts;
    if (unix_ms == 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(out, TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(out, TEXT_BYTES, "never");
    return out;
}

const char *text_bar(uint64_t part, uint64_t whole, size_t width, char *out)
{
    size_t full = 0;
    if (whole > 0)
        full = part >= whole ? width : (size_t)((double)part / (double)whole * (double)width + 0.5);
    if (full == 0 && part > 0)
        full = 1;
    out[0] = '[';
    memset(out + 1, '#', full);
    memset(out + 1 + full, '.', width - full);
    out[width + 1] = ']';
    out[width + 2] = '\0';
    return out;
}

/* Bytes of the UTF-8 sequence at `at`, or 0 if it is none. Overlong forms pass; they do no harm. */
static size_t utf8_size(const unsigned char *at, size_t left)
{
    size_t size = at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (size == 0 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* U+0080..U+009F are control characters too */
    return at[0] == 0xc2 && at[1] < 0xa0 ? 0 : size;
}

static size_t escape_one(unsigned char byte, char *to)
{
    static const char letters[] = "abtnvfr"; /* 7..13 */
    if (byte >= 7 && byte <= 13) {
        to[0] = '\\';
        to[1] = letters[byte - 7];
        return 2;
    }
    return (size_t)sprintf(to, "\\x%02x", byte);
}

char *text_escape(const char *text, size_t size)
{
    char *out = malloc(4 * size + 1);
    size_t used = 0;
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < size;) {
        const unsigned char *at = (const unsigned char *)text + i;
        size_t whole = *at >= 0x20 && *at < 0x7f ? 1 : utf8_size(at, size - i);
        if (whole == 0) {
            used += escape_one(*at, out + used);
            i++;
            continue;
        }
        memcpy(out + used, at, whole);
        used += whole;
        i += whole;
    }
    out[used] = '\0';
    return out;
}

char *text_value_raw(const struct sp_value *value, size_t *size)
{
    char *out;
    if (!value->is_null && (value->type == SP_TYPE_BYTES || value->type == SP_TYPE_TEXT)) {
        *size = value->bytes.size;
        out = malloc(*size + 1);
        if (out == NULL)
            return NULL;
        if (*size > 0)
            memcpy(out, value->bytes.data, *size);
        out[*size] = '\0';
        return out;
    }
    *size = sp_value_text(value, NULL, 0);
    out = malloc(*size + 1);
    if (out != NULL)
        sp_value_text(value, out, *size + 1);
    return out;
}

char *text_value(const struct sp_value *value, bool escape)
{
    size_t size = value->is_null ? 4 : sp_value_text(value, NULL, 0);
    char *text = malloc(size + 1);
    if (text == NULL)
        return NULL;
    if (value->is_null)
        memcpy(text, "NULL", 5);
    else
        sp_value_text(value, text, size + 1);
    if (!escape)
        return text;
    char *escaped = text_escape(text, size);
    free(text);
    return escaped;
}
