/* SPDX-License-Identifier: Apache-2.0
 *
 * expire.c - when keys expire: EXPIRE and TTL, each in four forms.
 */
#include "server/command/commands.h"

/* --- setting -------------------------------------------------------------------------------- */

static bool invalid_expire(struct session *session, const struct command *command)
{
    reply_error(&session->reply, "ERR invalid expire time in '%s' command", command->name);
    return false;
}

bool expiry_from(struct session *session, const struct command *command, int64_t value,
                 unsigned unit_ms, bool absolute, bool positive, int64_t *expiry_ms)
{
    if ((positive && value <= 0) || __builtin_mul_overflow(value, (int64_t)unit_ms, expiry_ms) ||
        (!absolute && __builtin_add_overflow(*expiry_ms, session_now(session), expiry_ms)))
        return invalid_expire(session, command);
    return true;
}

enum { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static bool take_expire_flags(struct session *session, const struct call *call, unsigned *flags)
{
    static const char *const words[] = {"nx", "xx", "gt", "lt"};
    *flags = 0;
    for (size_t i = 3; i < call->count; i++) {
        unsigned w = 0;
        while (w < 4 && !arg_is(&call->args[i], words[w]))
            w++;
        if (w == 4) {
            reply_error(&session->reply, "ERR Unsupported option %.*s", (int)call->args[i].size,
                        call->args[i].bytes);
            return false;
        }
        *flags |= 1u << w;
    }
    if ((*flags & EXPIRE_NX) && (*flags & ~(unsigned)EXPIRE_NX)) {
        reply_error(&session->reply,
                    "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((*flags & EXPIRE_GT) && (*flags & EXPIRE_LT)) {
        reply_error(&session->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* A key without an expiry counts as one that is infinitely far away. */
static bool flags_allow(unsigned flags, int64_t old_ms, int64_t new_ms)
{
    bool never = old_ms == CACHE_NO_EXPIRY;
    if ((flags & EXPIRE_NX) && !never)
        return false;
    if ((flags & EXPIRE_XX) && never)
        return false;
    if ((flags & EXPIRE_GT) && (never || new_ms <= old_ms))
        return false;
    return !((flags & EXPIRE_LT) && !never && new_ms >= old_ms);
}

static void expire(struct session *session, const struct call *call, unsigned unit_ms,
                   bool absolute)
{
    const struct resp_arg *key = &call->args[1];
    struct cache_entry entry;
    unsigned flags;
    int64_t value, expiry_ms;
    if (!take_expire_flags(session, call, &flags) ||
        !arg_integer(session, &call->args[2], &value) ||
        !expiry_from(session, call->command, value, unit_ms, absolute, false, &expiry_ms))
        return;
    bool found = key_find(session, key, &entry);
    if (!found && expiry_ms <= session_now(session))
        key_delete_absent(session, key, call->hash);
    if (!found || !flags_allow(flags, entry.expiry_ms, expiry_ms)) {
        reply_integer(&session->reply, 0);
        return;
    }
    if (expiry_ms <= session_now(session)) {
        key_delete(session, key, call->hash);
        key_event(session, EVENT_GENERIC, "del", key);
    } else {
        int status = key_set_expiry(session, key, call->hash, &entry, expiry_ms);
        if (status != SP_OK) {
            reply_store_error(session, status);
            return;
        }
        key_event(session, EVENT_GENERIC, "expire", key);
    }
    reply_integer(&session->reply, 1);
}

void run_expire(struct session *session, const struct call *call)
{
    expire(session, call, 1000, false);
}

void run_pexpire(struct session *session, const struct call *call)
{
    expire(session, call, 1, false);
}

void run_expireat(struct session *session, const struct call *call)
{
    expire(session, call, 1000, true);
}

void run_pexpireat(struct session *session, const struct call *call)
{
    expire(session, call, 1, true);
}

void run_persist(struct session *session, const struct call *call)
{
    const struct resp_arg *key = &call->args[1];
    struct cache_entry entry;
    if (!key_find(session, key, &entry) || entry.expiry_ms == CACHE_NO_EXPIRY) {
        reply_integer(&session->reply, 0);
        return;
    }
    int status = key_set_expiry(session, key, call->hash, &entry, CACHE_NO_EXPIRY);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    key_event(session, EVENT_GENERIC, "persist", key);
    reply_integer(&session->reply, 1);
}

/* --- asking --------------------------------------------------------------------------------- */

/* -2: no such key; -1: it does not expire. */
static void tell_expiry(struct session *session, const struct call *call, unsigned unit_ms,
                        bool absolute)
{
    const struct resp_arg *key = &call->args[1];
    struct cache_entry entry;
    int64_t answer = -2;
    if (key_is_row(session, key)) {
        int exists = row_exists(session, key);
        if (exists < 0)
            return;
        answer = exists ? -1 : -2;
    } else if (key_find(session, key, &entry)) {
        int64_t ms = entry.expiry_ms - (absolute ? 0 : session_now(session));
        if (entry.expiry_ms == CACHE_NO_EXPIRY)
            answer = -1;
        else if (absolute)
            answer = ms / unit_ms;
        else
            answer = (ms + unit_ms / 2) / unit_ms;
    }
    reply_integer(&session->reply, answer);
}

void run_ttl(struct session *session, const struct call *call)
{
    tell_expiry(session, call, 1000, false);
}

void run_pttl(struct session *session, const struct call *call)
{
    tell_expiry(session, call, 1, false);
}

void run_expiretime(struct session *session, const struct call *call)
{
    tell_expiry(session, call, 1000, true);
}

void run_pexpiretime(struct session *session, const struct call *call)
{
    tell_expiry(session, call, 1, true);
}
