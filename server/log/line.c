/* SPDX-License-Identifier: Apache-2.0
 *
 * line.c - one message, one line.
 *
 * Allocates nothing, so that "out of memory" can be logged; that is why JSON is not made by a
 * library here. Text is copied character by character: what is no UTF-8 becomes U+FFFD, what would
 * move a terminal's cursor or begin a new line is escaped. The last LINE_RESERVE bytes of a line
 * are kept for closing it, so cutting never breaks its syntax.
 */
#include "server/log/line.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LINE_RESERVE = 32, COMPONENT_BYTES = 64 };

struct line {
    char *bytes;
    size_t used;
    bool cut;
};

const char *log_level_name(int level)
{
    switch (level) {
    case LOG_WARNING:
        return "warning";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    default:
        return "error";
    }
}

/* All of it or nothing. */
static bool put(struct line *line, const char *bytes, size_t count)
{
    if (line->used + count > LOG_LINE_BYTES - LINE_RESERVE) {
        line->cut = true;
        return false;
    }
    memcpy(line->bytes + line->used, bytes, count);
    line->used += count;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* From the reserve: what closes something open. */
static void put_end(struct line *line, const char *text)
{
    size_t count = strlen(text);
    memcpy(line->bytes + line->used, text, count);
    line->used += count;
}

/* Bytes of the UTF-8 character at `p`, 0 if there is none. */
static size_t utf8_bytes(const unsigned char *p)
{
    size_t count = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < count; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : count;
}

static bool put_escape(struct line *line, unsigned char c)
{
    char escape[8];
    const char *known = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
    if (known)
        return put_text(line, known);
    snprintf(escape, sizeof(escape), "\\u%04x", c);
    return put_text(line, escape);
}

/* A string's inside; `quoted`: between double quotes. Cut where it no longer fits. */
static void put_escaped(struct line *line, const char *text, bool quoted)
{
    const unsigned char *p = (const unsigned char *)text;
    bool fits = true;
    while (fits && *p) {
        size_t count = utf8_bytes(p);
        bool c1 = count == 2 && p[0] == 0xc2 && p[1] < 0xa0;
        if (count == 0)
            fits = put_text(line, "\xef\xbf\xbd");
        else if (*p < 0x20 || *p == 0x7f || c1)
            fits = put_escape(line, c1 ? p[1] : *p);
        else if (quoted && (*p == '"' || *p == '\\'))
            fits = put(line, (char[]){'\\', (char)*p}, 2);
        else
            fits = put(line, (const char *)p, count);
        p += count ? count : 1;
    }
}

static void put_quoted(struct line *line, const char *text)
{
    if (!put_text(line, "\""))
        return;
    put_escaped(line, text, true);
    put_end(line, "\"");
}

/* What of a field needs no quotes in either format. */
static const char *print_number(const struct log_field *field, char out[32])
{
    switch (field->type) {
    case LOG_FIELD_INT:
        snprintf(out, 32, "%" PRId64, field->integer);
        break;
    case LOG_FIELD_UINT:
        snprintf(out, 32, "%" PRIu64, field->natural);
        break;
    case LOG_FIELD_REAL:
        if (!isfinite(field->real))
            return "null";
        snprintf(out, 32, "%.9g", field->real);
        break;
    default:
        return field->boolean ? "true" : "false";
    }
    return out;
}

static void put_json_field(struct line *line, const struct log_field *field)
{
    char number[32];
    size_t before = line->used;
    if (!put_text(line, ",\"") || !put_text(line, field->key) || !put_text(line, "\":"))
        goto undo;
    if (field->type == LOG_FIELD_TEXT && field->text) {
        if (line->used + 1 > LOG_LINE_BYTES - LINE_RESERVE)
            goto undo;
        put_quoted(line, field->text);
        return;
    }
    if (put_text(line, field->type == LOG_FIELD_TEXT ? "null" : print_number(field, number)))
        return;
undo:
    line->cut = true;
    line->used = before;
}

static bool is_plain(const char *text)
{
    if (!*text)
        return false;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p == '=' || *p == 0x7f)
            return false;
    return true;
}

static void put_text_field(struct line *line, const struct log_field *field)
{
    char number[32];
    if (!put_text(line, " ") || !put_text(line, field->key) || !put_text(line, "="))
        return;
    if (field->type != LOG_FIELD_TEXT)
        put_text(line, print_number(field, number));
    else if (!field->text)
        put_text(line, "-");
    else if (is_plain(field->text))
        put_escaped(line, field->text, false);
    else
        put_quoted(line, field->text);
}

static void print_time(const struct timespec *time, char out[32])
{
    struct tm utc;
    gmtime_r(&time->tv_sec, &utc);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(time->tv_nsec / 1000000) % 1000);
}

static void format_json(struct line *line, unsigned flags, const struct log_record *record)
{
    char time[32];
    char component[COMPONENT_BYTES];
    print_time(&record->time, time);
    snprintf(component, sizeof(component), "%s", record->component);
    put_text(line, "{");
    if (!(flags & LOG_LINE_JOURNAL)) {
        put_text(line, "\"time\":\"");
        put_text(line, time);
        put_text(line, "\",");
    }
    put_text(line, "\"level\":\"");
    put_text(line, log_level_name(record->level));
    put_text(line, "\",\"component\":");
    put_quoted(line, component);
    put_text(line, ",\"message\":");
    put_quoted(line, record->message);
    for (const struct log_field *field = record->fields; field && field->key; field++)
        put_json_field(line, field);
    if (record->suppressed)
        put_json_field(line, &(struct log_field)LOG_UINT("suppressed", record->suppressed));
    put_end(line, line->cut ? ",\"truncated\":true}\n" : "}\n");
}

static const char *colour(int level)
{
    return level <= LOG_ERR ? "\x1b[31m" : level == LOG_WARNING ? "\x1b[33m" : "\x1b[2m";
}

static void put_text_head(struct line *line, unsigned flags, const struct log_record *record)
{
    char head[64];
    char time[32];
    bool coloured = flags & LOG_LINE_COLOUR;
    print_time(&record->time, time);
    snprintf(head, sizeof(head), "%s %s%-7s%s ", time, coloured ? colour(record->level) : "",
             log_level_name(record->level), coloured ? "\x1b[0m" : "");
    put_text(line, head);
}

static void put_text_body(struct line *line, const struct log_record *record)
{
    put_escaped(line, record->component, false);
    put_text(line, ": ");
    put_escaped(line, record->message, false);
    for (const struct log_field *field = record->fields; field && field->key; field++)
        put_text_field(line, field);
    if (record->suppressed)
        put_text_field(line, &(struct log_field)LOG_UINT("suppressed", record->suppressed));
}

size_t log_line_format(char out[LOG_LINE_BYTES], unsigned flags, const struct log_record *record)
{
    struct line line = {.bytes = out};
    char prefix[8];
    if (flags & LOG_LINE_JOURNAL) {
        snprintf(prefix, sizeof(prefix), "<%d>", record->level & 7);
        put_text(&line, prefix);
    }
    if (flags & LOG_LINE_JSON) {
        format_json(&line, flags, record);
        return line.used;
    }
    if (!(flags & LOG_LINE_JOURNAL))
        put_text_head(&line, flags, record);
    put_text_body(&line, record);
    put_end(&line, line.cut ? "...\n" : "\n");
    return line.used;
}

static void add_journal_field(struct log_journal_entry *out, const char *prefix, const char *key,
                              const char *value)
{
    size_t room = LOG_JOURNAL_BYTES - out->used;
    char *start = out->bytes + out->used;
    if (out->count == LOG_JOURNAL_FIELDS_MAX)
        return;
    int bytes = snprintf(start, room, "%s%s=%s", prefix, key, value);
    if (bytes < 0 || (size_t)bytes >= room)
        return;
    for (char *p = start + strlen(prefix); *p != '='; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    out->fields[out->count++] = (struct iovec){.iov_base = start, .iov_len = (size_t)bytes};
    out->used += (size_t)bytes + 1;
}

void log_journal_format(struct log_journal_entry *out, const struct log_record *record)
{
    char number[32];
    char message[LOG_LINE_BYTES];
    struct line line = {.bytes = message};
    put_text_body(&line, record);
    put_end(&line, line.cut ? "..." : "");
    message[line.used] = '\0';
    out->count = 0;
    out->used = 0;
    add_journal_field(out, "", "message", message);
    snprintf(number, sizeof(number), "%d", record->level & 7);
    add_journal_field(out, "", "priority", number);
    add_journal_field(out, "", "syslog_identifier", "sidepondd");
    add_journal_field(out, "SIDEPOND_", "component", record->component);
    for (const struct log_field *field = record->fields; field && field->key; field++) {
        const char *value =
            field->type == LOG_FIELD_TEXT ? field->text : print_number(field, number);
        if (value)
            add_journal_field(out, "SIDEPOND_", field->key, value);
    }
}
