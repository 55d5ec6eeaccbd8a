/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.c - walks over all keys: KEYS and SCAN, by the cache's cursor (cache.h).
 */
#include "server/command/commands.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/resp/glob.h"
#include "server/resp/number.h"

#define SCAN_STEP 1000u /* keys that KEYS looks at under one lock */

struct walk {
    struct session *session;
    const struct resp_arg *pattern; /* NULL: all */
    uint64_t found;
};

static void visit(void *context, const struct cache_entry *entry)
{
    struct walk *walk = context;
    const struct resp_arg *pattern = walk->pattern;
    if (pattern && !glob_match(pattern->bytes, pattern->size, (const char *)entry->key,
                               entry->key_bytes, false))
        return;
    reply_bulk(&walk->session->reply, entry->key, entry->key_bytes);
    walk->found++;
}

static bool matches_all(const struct resp_arg *pattern)
{
    return pattern->size == 1 && pattern->bytes[0] == '*';
}

/* The keys are replied as they are found, and their number is put before them at the end. */
void run_keys(struct session *session, const struct call *call)
{
    struct walk walk = {session, matches_all(&call->args[1]) ? NULL : &call->args[1], 0};
    struct buffer *all = session->reply.out, found = BUFFER_INIT;
    uint64_t cursor = 0;
    session->reply.out = &found;
    do {
        thread_lock(session->thread);
        cursor = cache_scan(session_cache(session), cursor, SCAN_STEP, visit, &walk);
        if (!session->thread->in_exec)
            thread_unlock(session->thread);
    } while (cursor != 0);
    session->reply.out = all;
    reply_array(&session->reply, walk.found);
    buffer_append(all, found.bytes, found.size);
    all->failed |= found.failed;
    buffer_free(&found);
}

/* As strtoul takes it, with a sign or empty, since clients may rely on that too. */
static bool take_cursor(struct session *session, const struct resp_arg *arg, uint64_t *cursor)
{
    char text[24];
    char *end;
    if (arg->size < sizeof(text)) {
        memcpy(text, arg->bytes, arg->size);
        text[arg->size] = '\0';
        errno = 0;
        *cursor = strtoull(text, &end, 10);
        if (!isspace((unsigned char)text[0]) && *end == '\0' && errno != ERANGE)
            return true;
    }
    reply_error(&session->reply, "ERR invalid cursor");
    return false;
}

struct scan_options {
    const struct resp_arg *pattern;
    int64_t count;
    bool none; /* TYPE asks for what is never there */
};

static bool take_scan_options(struct session *session, const struct call *call,
                              struct scan_options *options)
{
    *options = (struct scan_options){NULL, 10, false};
    for (size_t i = 2; i < call->count; i += 2) {
        const struct resp_arg *value = i + 1 < call->count ? &call->args[i + 1] : NULL;
        if (value && arg_is(&call->args[i], "match")) {
            options->pattern = matches_all(value) ? NULL : value;
        } else if (value && arg_is(&call->args[i], "type")) {
            options->none = !arg_is(value, "string");
        } else if (value && arg_is(&call->args[i], "count")) {
            if (!arg_integer(session, value, &options->count))
                return false;
            if (options->count < 1) {
                reply_syntax_error(session);
                return false;
            }
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

static void visit_nothing(void *context, const struct cache_entry *entry)
{
    (void)context;
    (void)entry;
}

#define SCAN_MOST 100000 /* under one lock, whatever COUNT says */

void run_scan(struct session *session, const struct call *call)
{
    struct scan_options options;
    uint64_t cursor;
    char text[NUMBER_INT_BYTES];
    if (!take_cursor(session, &call->args[1], &cursor) ||
        !take_scan_options(session, call, &options))
        return;
    struct walk walk = {session, options.pattern, 0};
    struct buffer *all = session->reply.out, found = BUFFER_INIT;
    unsigned count = options.count < SCAN_MOST ? (unsigned)options.count : SCAN_MOST;
    session->reply.out = &found;
    cursor = cache_scan(session_cache(session), cursor, count, options.none ? visit_nothing : visit,
                        &walk);
    session->reply.out = all;
    reply_array(&session->reply, 2);
    reply_bulk(&session->reply, text, number_print(text, (int64_t)cursor));
    reply_array(&session->reply, walk.found);
    buffer_append(all, found.bytes, found.size);
    all->failed |= found.failed;
    buffer_free(&found);
}
