/* SPDX-License-Identifier: Apache-2.0
 *
 * dump.c - DUMP and RESTORE: a value with a version and a checksum around it (dump.h).
 *
 * Cost: a copy of the value and its checksum, some 10 GB/s, with the cache's lock.
 * A row of a table is not dumped: it belongs to its database, and could not be restored.
 */
#include "server/command/dump.h"

#include <string.h>

#include "alloc/hash.h"
#include "server/command/commands.h"

/* --- payloads --------------------------------------------------------------------------------- */

#define KIND_AT 3u

static const uint8_t head[DUMP_HEAD_BYTES] = {'S', 'P', DUMP_VERSION, DUMP_STRING};

void dump_encode(const void *value, size_t value_bytes, uint8_t *out)
{
    memcpy(out, head, sizeof(head));
    if (value_bytes > 0)
        memcpy(out + sizeof(head), value, value_bytes);
    uint64_t checksum = hash_bytes(out, sizeof(head) + value_bytes);
    memcpy(out + sizeof(head) + value_bytes, &checksum, sizeof(checksum));
}

int dump_decode(const void *payload, size_t bytes, const uint8_t **value, size_t *value_bytes)
{
    const uint8_t *at = payload;
    uint64_t checksum;
    if (bytes < dump_bytes(0) || memcmp(at, head, KIND_AT) != 0)
        return SP_EFORMAT;
    size_t covered = bytes - DUMP_CHECKSUM_BYTES;
    memcpy(&checksum, at + covered, sizeof(checksum));
    if (checksum != hash_bytes(at, covered))
        return SP_EFORMAT;
    if (at[KIND_AT] != DUMP_STRING)
        return SP_ETYPE;
    *value = at + sizeof(head);
    *value_bytes = covered - sizeof(head);
    return SP_OK;
}

/* --- DUMP ------------------------------------------------------------------------------------- */

void run_dump(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    const struct resp_arg *key = &call->args[1];
    if (key_is_row(session, key)) {
        reply_row_not_dumped(session, key);
        return;
    }
    if (!key_find(session, key, &entry)) {
        reply_null(&session->reply);
        return;
    }
    char *at = reply_bulk_begin(&session->reply, dump_bytes(entry.value_bytes));
    if (at)
        dump_encode(entry.value, entry.value_bytes, (uint8_t *)at);
}

/* --- RESTORE ---------------------------------------------------------------------------------- */

struct restore_options {
    bool replace, absolute, idle, frequency;
};

/* IDLETIME and FREQ are checked and then have no effect: eviction knows neither. */
static bool take_use(struct session *session, const struct resp_arg *word,
                     const struct resp_arg *value, struct restore_options *options)
{
    bool idle = arg_is(word, "idletime");
    int64_t number;
    if (!arg_integer(session, value, &number))
        return false;
    if (number < 0 || (!idle && number > 255)) {
        reply_error(&session->reply, idle ? "ERR Invalid IDLETIME value, must be >= 0"
                                          : "ERR Invalid FREQ value, must be >= 0 and <= 255");
        return false;
    }
    *(idle ? &options->idle : &options->frequency) = true;
    return true;
}

static bool take_options(struct session *session, const struct call *call,
                         struct restore_options *options)
{
    *options = (struct restore_options){0};
    for (size_t i = 4; i < call->count; i++) {
        const struct resp_arg *word = &call->args[i];
        bool more = i + 1 < call->count;
        if (arg_is(word, "replace")) {
            options->replace = true;
        } else if (arg_is(word, "absttl")) {
            options->absolute = true;
        } else if (more && ((arg_is(word, "idletime") && !options->frequency) ||
                            (arg_is(word, "freq") && !options->idle))) {
            if (!take_use(session, word, &call->args[++i], options))
                return false;
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

static void reply_wrong_ttl(struct session *session)
{
    reply_error(&session->reply, "ERR Invalid TTL value, must be >= 0");
}

static bool take_ttl(struct session *session, const struct resp_arg *arg, int64_t *ttl)
{
    if (!arg_integer(session, arg, ttl))
        return false;
    if (*ttl < 0)
        reply_wrong_ttl(session);
    return *ttl >= 0;
}

/* Makes of a ttl the wall clock at which it is over; false, with the error replied. */
static bool to_expiry(struct session *session, bool absolute, int64_t *ttl)
{
    if (*ttl == CACHE_NO_EXPIRY || absolute ||
        !__builtin_add_overflow(*ttl, session_now(session), ttl))
        return true;
    reply_wrong_ttl(session);
    return false;
}

static bool take_payload(struct session *session, const struct resp_arg *payload,
                         struct resp_arg *value)
{
    const uint8_t *at;
    int status = dump_decode(payload->bytes, payload->size, &at, &value->size);
    value->bytes = (const char *)at;
    if (status == SP_EFORMAT)
        reply_error(&session->reply, "ERR DUMP payload version or checksum are wrong");
    else if (status != SP_OK)
        reply_error(&session->reply, "ERR Bad data format");
    return status == SP_OK;
}

/* What has expired already takes the place of what was there, and is gone at once. */
static void restore_expired(struct session *session, const struct call *call)
{
    if (key_delete(session, &call->args[1], call->hash))
        key_event(session, EVENT_GENERIC, "del", &call->args[1]);
    reply_ok(&session->reply);
}

void run_restore(struct session *session, const struct call *call)
{
    struct restore_options options;
    struct cache_entry old;
    struct resp_arg value;
    const struct resp_arg *key = &call->args[1];
    int64_t expiry_ms;
    if (!take_options(session, call, &options))
        return;
    if (!options.replace && key_find(session, key, &old)) {
        reply_error(&session->reply, "BUSYKEY Target key name already exists.");
        return;
    }
    if (!take_ttl(session, &call->args[2], &expiry_ms) ||
        !take_payload(session, &call->args[3], &value) ||
        !to_expiry(session, options.absolute, &expiry_ms))
        return;
    if (expiry_ms != CACHE_NO_EXPIRY && expiry_ms <= session_now(session)) {
        restore_expired(session, call);
        return;
    }
    int status = key_put(session, key, call->hash, value.bytes, value.size, expiry_ms);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    key_event(session, EVENT_GENERIC, "restore", key);
    reply_ok(&session->reply);
}
