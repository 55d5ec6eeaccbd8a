/* SPDX-License-Identifier: Apache-2.0
 *
 * complaints.c - a list of complaints about one file.
 *
 * Complaints are found in the order of the checks and wanted in the order of the file, so they are
 * kept and sorted. One that finds no memory still counts as an error. Limits: COMPLAINTS_MAX kept.
 */
#include "server/config/complaints.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void add(struct complaints *complaints, unsigned line, unsigned column, const char *prefix,
                const char *format, va_list args) __attribute__((format(printf, 5, 0)));

static void add(struct complaints *complaints, unsigned line, unsigned column, const char *prefix,
                const char *format, va_list args)
{
    char *body = NULL;
    char *text = NULL;
    if (complaints->count == COMPLAINTS_MAX || vasprintf(&body, format, args) < 0) {
        complaints->dropped_count++;
        return;
    }
    if (asprintf(&text, "%s%s", prefix, body) < 0) {
        complaints->dropped_count++;
        free(body);
        return;
    }
    free(body);
    complaints->items[complaints->count] = (struct complaint){
        .line = line, .column = column, .order = complaints->count, .text = text};
    complaints->count++;
}

void config_complain(struct complaints *complaints, unsigned line, unsigned column,
                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(complaints, line, column, "", format, args);
    va_end(args);
    complaints->error_count++;
}

void config_warn(struct complaints *complaints, unsigned line, unsigned column, const char *format,
                 ...)
{
    va_list args;
    va_start(args, format);
    add(complaints, line, column, "warning: ", format, args);
    va_end(args);
}

static int by_place(const void *left, const void *right)
{
    const struct complaint *a = left;
    const struct complaint *b = right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void config_complaints_print(struct complaints *complaints, const char *file, FILE *out)
{
    if (!out)
        return;
    qsort(complaints->items, complaints->count, sizeof(complaints->items[0]), by_place);
    for (unsigned i = 0; i < complaints->count; i++) {
        const struct complaint *item = &complaints->items[i];
        if (item->line)
            fprintf(out, "%s:%u:%u: %s\n", file, item->line, item->column, item->text);
        else
            fprintf(out, "%s: %s\n", file, item->text);
    }
    if (complaints->dropped_count)
        fprintf(out, "%s: and %u more\n", file, complaints->dropped_count);
}

void config_complaints_free(struct complaints *complaints)
{
    for (unsigned i = 0; i < complaints->count; i++)
        free(complaints->items[i].text);
    complaints->count = 0;
}

const char *config_quote(const char *text, char out[QUOTED_BYTES])
{
    enum { ROOM = QUOTED_BYTES - 6 };
    size_t n = 0;
    out[n++] = '\'';
    for (; *text && n < ROOM; text++)
        out[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
    /* A cut inside a UTF-8 sequence would print as rubbish. */
    while (*text && n > 1 && ((unsigned char)*text & 0xc0) == 0x80) {
        text--;
        n--;
    }
    if (*text)
        n += (size_t)snprintf(out + n, QUOTED_BYTES - n, "...");
    out[n++] = '\'';
    out[n] = '\0';
    return out;
}
