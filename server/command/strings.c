/* SPDX-License-Identifier: Apache-2.0
 *
 * strings.c - reading and writing whole values, and parts of them.
 *
 * A command that changes a value writes a new one from the old one and publishes it; so a reader in
 * shared memory sees the one or the other.
 */
#include "server/command/commands.h"

#include <string.h>

/* --- reading -------------------------------------------------------------------------------- */

void run_get(struct session *session, const struct call *call)
{
    reply_value(session, &call->args[1], call->probe);
}

void run_mget(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    reply_array(&session->reply, call->count - 1);
    for (size_t i = 1; i < call->count; i++) {
        if (key_is_row(session, &call->args[i]))
            row_reply_json(session, &call->args[i]);
        else if (key_find(session, &call->args[i], &entry))
            reply_bulk(&session->reply, entry.value, entry.value_bytes);
        else
            reply_null(&session->reply);
    }
}

void run_strlen(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    bool found = key_find(session, &call->args[1], &entry);
    reply_integer(&session->reply, found ? (int64_t)entry.value_bytes : 0);
}

void run_getrange(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    int64_t start, end;
    if (!arg_integer(session, &call->args[2], &start) ||
        !arg_integer(session, &call->args[3], &end))
        return;
    int64_t size = key_find(session, &call->args[1], &entry) ? (int64_t)entry.value_bytes : 0;
    bool crossed = start < 0 && end < 0 && start > end;
    if (start < 0)
        start = start + size < 0 ? 0 : start + size;
    if (end < 0)
        end = end + size < 0 ? 0 : end + size;
    if (end >= size)
        end = size - 1;
    if (crossed || start > end || size == 0)
        reply_bulk(&session->reply, "", 0);
    else
        reply_bulk(&session->reply, entry.value + start, (size_t)(end - start + 1));
}

/* --- SET and its kin ------------------------------------------------------------------------ */

enum set_flag { SET_NX = 1, SET_XX = 2, SET_GET = 4, SET_KEEPTTL = 8, SET_PERSIST = 16 };

struct set_options {
    unsigned flags;
    const struct resp_arg *expire; /* NULL: not given */
    bool absolute;
    unsigned unit_ms;
};

/* The same one may come again, and then the last counts; another one may not. */
static bool take_expire(struct set_options *options, const struct resp_arg *word,
                        const struct resp_arg *value)
{
    static const struct {
        const char *word;
        bool absolute;
        unsigned unit_ms;
    } kinds[] = {{"ex", false, 1000}, {"px", false, 1}, {"exat", true, 1000}, {"pxat", true, 1}};
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!arg_is(word, kinds[i].word))
            continue;
        bool other = options->expire && (options->absolute != kinds[i].absolute ||
                                         options->unit_ms != kinds[i].unit_ms);
        if (!value || other || (options->flags & (SET_KEEPTTL | SET_PERSIST)))
            return false;
        options->expire = value;
        options->absolute = kinds[i].absolute;
        options->unit_ms = kinds[i].unit_ms;
        return true;
    }
    return false;
}

static bool take_set_word(struct set_options *options, const struct resp_arg *word)
{
    unsigned flags = options->flags;
    if (arg_is(word, "nx") && !(flags & SET_XX))
        options->flags |= SET_NX;
    else if (arg_is(word, "xx") && !(flags & SET_NX))
        options->flags |= SET_XX;
    else if (arg_is(word, "get"))
        options->flags |= SET_GET;
    else if (arg_is(word, "keepttl") && !options->expire)
        options->flags |= SET_KEEPTTL;
    else
        return false;
    return true;
}

static bool take_set_options(struct session *session, const struct call *call,
                             struct set_options *options)
{
    for (size_t i = 3; i < call->count; i++) {
        const struct resp_arg *next = i + 1 < call->count ? &call->args[i + 1] : NULL;
        if (take_expire(options, &call->args[i], next))
            i++;
        else if (!take_set_word(options, &call->args[i])) {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

/* The wall clock at which it expires; false, with the error replied. */
static bool expire_at(struct session *session, const struct call *call,
                      const struct set_options *options, int64_t *expiry_ms)
{
    *expiry_ms = CACHE_NO_EXPIRY;
    if (!options->expire)
        return true;
    int64_t value;
    if (!arg_integer(session, options->expire, &value))
        return false;
    return expiry_from(session, call->command, value, options->unit_ms, options->absolute, true,
                       expiry_ms);
}

void run_set(struct session *session, const struct call *call)
{
    struct set_options options = {0};
    struct cache_entry old;
    const struct resp_arg *key = &call->args[1];
    int64_t expiry_ms;
    if (!take_set_options(session, call, &options) ||
        !expire_at(session, call, &options, &expiry_ms))
        return;
    bool look = options.flags != 0;
    bool found = look && key_find(session, key, &old);
    size_t mark = reply_mark(&session->reply);
    if (options.flags & SET_GET)
        found ? reply_bulk(&session->reply, old.value, old.value_bytes)
              : reply_null(&session->reply);
    if ((found && (options.flags & SET_NX)) || (!found && (options.flags & SET_XX))) {
        if (!(options.flags & SET_GET))
            reply_null(&session->reply);
        return;
    }
    if ((options.flags & SET_KEEPTTL) && found)
        expiry_ms = old.expiry_ms;
    int status =
        key_put(session, key, call->hash, call->args[2].bytes, call->args[2].size, expiry_ms);
    if (status != SP_OK) {
        reply_rewind(&session->reply, mark);
        reply_store_error(session, status);
        return;
    }
    key_event(session, EVENT_STRING, "set", key);
    if (expiry_ms != CACHE_NO_EXPIRY && !(options.flags & SET_KEEPTTL))
        key_event(session, EVENT_GENERIC, "expire", key);
    if (!(options.flags & SET_GET))
        reply_ok(&session->reply);
}

/* SETNX, SETEX, PSETEX, GETSET: an entry for a key in any case. */
static bool set_plainly(struct session *session, const struct call *call,
                        const struct resp_arg *value, int64_t expiry_ms)
{
    int status = key_put(session, &call->args[1], call->hash, value->bytes, value->size, expiry_ms);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return false;
    }
    key_event(session, EVENT_STRING, "set", &call->args[1]);
    return true;
}

void run_setnx(struct session *session, const struct call *call)
{
    struct cache_entry old;
    if (key_find(session, &call->args[1], &old))
        reply_integer(&session->reply, 0);
    else if (set_plainly(session, call, &call->args[2], CACHE_NO_EXPIRY))
        reply_integer(&session->reply, 1);
}

static void set_for(struct session *session, const struct call *call, unsigned unit_ms)
{
    struct set_options options = {.expire = &call->args[2], .unit_ms = unit_ms};
    int64_t expiry_ms;
    if (!expire_at(session, call, &options, &expiry_ms) ||
        !set_plainly(session, call, &call->args[3], expiry_ms))
        return;
    key_event(session, EVENT_GENERIC, "expire", &call->args[1]);
    reply_ok(&session->reply);
}

void run_setex(struct session *session, const struct call *call)
{
    set_for(session, call, 1000);
}

void run_psetex(struct session *session, const struct call *call)
{
    set_for(session, call, 1);
}

void run_getset(struct session *session, const struct call *call)
{
    struct cache_entry old;
    size_t mark = reply_mark(&session->reply);
    if (key_find(session, &call->args[1], &old))
        reply_bulk(&session->reply, old.value, old.value_bytes);
    else
        reply_null(&session->reply);
    int status = key_put(session, &call->args[1], call->hash, call->args[2].bytes,
                         call->args[2].size, CACHE_NO_EXPIRY);
    if (status != SP_OK) {
        reply_rewind(&session->reply, mark);
        reply_store_error(session, status);
        return;
    }
    key_event(session, EVENT_STRING, "set", &call->args[1]);
}

void run_getdel(struct session *session, const struct call *call)
{
    struct cache_entry old;
    if (!key_find(session, &call->args[1], &old)) {
        key_delete_absent(session, &call->args[1], call->hash);
        reply_null(&session->reply);
        return;
    }
    reply_bulk(&session->reply, old.value, old.value_bytes);
    key_delete(session, &call->args[1], call->hash);
    key_event(session, EVENT_GENERIC, "del", &call->args[1]);
}

static bool take_getex_options(struct session *session, const struct call *call,
                               struct set_options *options)
{
    for (size_t i = 2; i < call->count; i++) {
        const struct resp_arg *next = i + 1 < call->count ? &call->args[i + 1] : NULL;
        if (take_expire(options, &call->args[i], next)) {
            i++;
        } else if (arg_is(&call->args[i], "persist") && !options->expire) {
            options->flags |= SET_PERSIST;
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

void run_getex(struct session *session, const struct call *call)
{
    struct set_options options = {0};
    struct cache_entry old;
    const struct resp_arg *key = &call->args[1];
    int64_t expiry_ms;
    if (!take_getex_options(session, call, &options))
        return;
    if (!key_find(session, key, &old)) {
        reply_null(&session->reply);
        return;
    }
    if (!expire_at(session, call, &options, &expiry_ms))
        return;
    reply_bulk(&session->reply, old.value, old.value_bytes);
    if (options.expire && options.absolute && expiry_ms <= session_now(session)) {
        key_delete(session, key, call->hash);
        key_event(session, EVENT_GENERIC, "del", key);
    } else if (options.expire) {
        key_set_expiry(session, key, call->hash, &old, expiry_ms);
        key_event(session, EVENT_GENERIC, "expire", key);
    } else if ((options.flags & SET_PERSIST) && old.expiry_ms != CACHE_NO_EXPIRY) {
        key_set_expiry(session, key, call->hash, &old, CACHE_NO_EXPIRY);
        key_event(session, EVENT_GENERIC, "persist", key);
    }
}

/* --- several keys --------------------------------------------------------------------------- */

static bool set_pairs(struct session *session, const struct call *call)
{
    several_begin(session);
    int status = SP_OK;
    for (size_t i = 1; i < call->count && status == SP_OK; i += 2) {
        const struct resp_arg *key = &call->args[i], *value = &call->args[i + 1];
        status = key_put(session, key, session_hash(session, key), value->bytes, value->size,
                         CACHE_NO_EXPIRY);
        if (status == SP_OK)
            key_event(session, EVENT_STRING, "set", key);
    }
    several_end(session);
    if (status != SP_OK)
        reply_store_error(session, status);
    return status == SP_OK;
}

static bool pairs_are_whole(struct session *session, const struct call *call)
{
    if (call->count % 2 == 1)
        return true;
    reply_wrong_arity(session, call->command);
    return false;
}

void run_mset(struct session *session, const struct call *call)
{
    if (pairs_are_whole(session, call) && set_pairs(session, call))
        reply_ok(&session->reply);
}

void run_msetnx(struct session *session, const struct call *call)
{
    struct cache_entry old;
    if (!pairs_are_whole(session, call))
        return;
    for (size_t i = 1; i < call->count; i += 2) {
        if (key_find(session, &call->args[i], &old)) {
            reply_integer(&session->reply, 0);
            return;
        }
    }
    if (set_pairs(session, call))
        reply_integer(&session->reply, 1);
}

/* --- parts of values ------------------------------------------------------------------------ */

/* Replaces or appends bytes: a new value of `size`, of the old one with `patch` at `offset`. */
static bool write_patched(struct session *session, const struct call *call,
                          const struct cache_entry *old, const struct resp_arg *patch,
                          size_t offset, size_t size)
{
    struct cache_write write;
    size_t old_bytes = old ? old->value_bytes : 0;
    const struct resp_arg *key = &call->args[1];
    key_written(session, call->hash);
    int status = cache_write_begin(session_cache(session), call->hash, key->bytes, key->size, size,
                                   old, &write);
    if (status == SP_OK) {
        if (old_bytes > 0)
            memcpy(write.value, old->value, old_bytes);
        if (offset > old_bytes)
            memset(write.value + old_bytes, 0, offset - old_bytes);
        memcpy(write.value + offset, patch->bytes, patch->size);
        status =
            cache_write_end(session_cache(session), &write, old ? old->expiry_ms : CACHE_NO_EXPIRY);
    }
    if (status == SP_OK)
        key_changed(session, key, call->hash);
    else
        reply_store_error(session, status);
    return status == SP_OK;
}

static bool size_is_allowed(struct session *session, uint64_t size)
{
    if (size <= CACHE_VALUE_MAX)
        return true;
    reply_store_error(session, SP_ETOOBIG);
    return false;
}

void run_append(struct session *session, const struct call *call)
{
    struct cache_entry old;
    const struct resp_arg *more = &call->args[2];
    bool found = key_find(session, &call->args[1], &old);
    size_t before = found ? old.value_bytes : 0;
    if (!size_is_allowed(session, (uint64_t)before + more->size) ||
        !write_patched(session, call, found ? &old : NULL, more, before, before + more->size))
        return;
    key_event(session, EVENT_STRING, "append", &call->args[1]);
    reply_integer(&session->reply, (int64_t)(before + more->size));
}

void run_setrange(struct session *session, const struct call *call)
{
    struct cache_entry old;
    const struct resp_arg *patch = &call->args[3];
    int64_t offset;
    if (!arg_integer(session, &call->args[2], &offset))
        return;
    if (offset < 0) {
        reply_error(&session->reply, "ERR offset is out of range");
        return;
    }
    bool found = key_find(session, &call->args[1], &old);
    size_t before = found ? old.value_bytes : 0;
    if (patch->size == 0) {
        reply_integer(&session->reply, (int64_t)before);
        return;
    }
    if (!size_is_allowed(session, (uint64_t)offset + patch->size))
        return;
    size_t end = (size_t)offset + patch->size, size = end > before ? end : before;
    if (!write_patched(session, call, found ? &old : NULL, patch, (size_t)offset, size))
        return;
    key_event(session, EVENT_STRING, "setrange", &call->args[1]);
    reply_integer(&session->reply, (int64_t)size);
}
