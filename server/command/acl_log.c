/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_log.c - ACL LOG: what was refused of late. Equal refusals within a minute are one entry.
 */
#include "server/command/acl_log.h"

#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/client.h"
#include "server/command/commands.h"

#define SAME_WITHIN_MS 60000

static const char *const reasons[] = {[ACL_DENIED_COMMAND] = "command",
                                      [ACL_DENIED_KEY] = "key",
                                      [ACL_DENIED_CHANNEL] = "channel",
                                      [ACL_DENIED_AUTH] = "auth"};

static void describe(struct session *session, enum acl_denial why, const struct resp_arg *object,
                     const struct call *call, struct acl_log_entry *entry)
{
    *entry = (struct acl_log_entry){.why = why, .at_ms = clock_wall_ms(), .count = 1};
    entry->in_multi = session->thread->in_exec;
    const char *name = object ? object->bytes : command_full_name(call->command);
    size_t size = object ? object->size : strlen(name);
    if (size > sizeof(entry->object) - 1)
        size = sizeof(entry->object) - 1;
    memcpy(entry->object, name, size);
    entry->object_bytes = size;
    const char *user = session->user ? session->user->name : "";
    if (why == ACL_DENIED_AUTH)
        snprintf(entry->user, sizeof(entry->user), "%.*s", arg_print(object), object->bytes);
    else
        snprintf(entry->user, sizeof(entry->user), "%s", user);
    client_describe(session, entry->client, sizeof(entry->client));
}

static bool same_refusal(const struct acl_log_entry *a, const struct acl_log_entry *b)
{
    return a->why == b->why && a->in_multi == b->in_multi && a->object_bytes == b->object_bytes &&
           memcmp(a->object, b->object, a->object_bytes) == 0 && strcmp(a->user, b->user) == 0 &&
           b->at_ms - a->at_ms < SAME_WITHIN_MS;
}

void acl_log_add(struct session *session, enum acl_denial why, const struct resp_arg *object,
                 const struct call *call)
{
    struct acl_log *log = &session->service->acl_log;
    struct acl_log_entry entry;
    describe(session, why, object, call, &entry);
    pthread_mutex_lock(&log->lock);
    size_t at = 0;
    while (at < log->count && !same_refusal(&log->entries[at], &entry))
        at++;
    if (at < log->count)
        entry.count = log->entries[at].count + 1;
    else if (log->count < ACL_LOG_MAX)
        log->count++;
    else
        at = ACL_LOG_MAX - 1;
    memmove(&log->entries[1], &log->entries[0], at * sizeof(entry));
    log->entries[0] = entry;
    pthread_mutex_unlock(&log->lock);
}

static void field(struct session *session, const char *name, const char *value, size_t size)
{
    reply_bulk(&session->reply, name, strlen(name));
    reply_bulk(&session->reply, value, size);
}

static void reply_entry(struct session *session, const struct acl_log_entry *entry)
{
    reply_map(&session->reply, 7);
    reply_bulk(&session->reply, "count", 5);
    reply_integer(&session->reply, (int64_t)entry->count);
    field(session, "reason", reasons[entry->why], strlen(reasons[entry->why]));
    field(session, "context", entry->in_multi ? "multi" : "toplevel", entry->in_multi ? 5 : 8);
    field(session, "object", entry->object, entry->object_bytes);
    field(session, "username", entry->user, strlen(entry->user));
    reply_bulk(&session->reply, "age-seconds", 11);
    reply_double(&session->reply, (double)(clock_wall_ms() - entry->at_ms) / 1000);
    field(session, "client-info", entry->client, strlen(entry->client));
}

void run_acl_log(struct session *session, const struct call *call)
{
    struct acl_log *log = &session->service->acl_log;
    int64_t count = 10;
    if (call->count == 3 && arg_is(&call->args[2], "reset")) {
        pthread_mutex_lock(&log->lock);
        log->count = 0;
        pthread_mutex_unlock(&log->lock);
        reply_ok(&session->reply);
        return;
    }
    if (call->count == 3 && !arg_integer(session, &call->args[2], &count))
        return;
    pthread_mutex_lock(&log->lock);
    if (count < 0 || count > (int64_t)log->count)
        count = (int64_t)log->count;
    reply_array(&session->reply, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        reply_entry(session, &log->entries[i]);
    pthread_mutex_unlock(&log->lock);
}
